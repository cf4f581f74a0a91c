//! LISTEN/NOTIFY: a hint that something may have become due. The due scan is the truth.
//!
//! Every time the connection is made, also again after it was lost, waiters are told: what was announced meanwhile is
//! found by looking.

use std::sync::Arc;
use std::time::Duration;

use sqlx::Executor;
use sqlx::postgres::{PgConnectOptions, PgListener};
use talon_store::wake::Wake;
use tokio::task::JoinHandle;

use crate::connect;

/// The channel; payloads carry an agent's id and are not read.
const CHANNEL: &str = "talon";

/// After this much silence the connection is asked whether it still lives.
const SILENCE: Duration = Duration::from_secs(20);

/// How long it may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Pause before the first reconnection; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);

const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A task that listens for as long as this lives.
#[derive(Debug)]
pub(crate) struct Listening(JoinHandle<()>);

impl Listening {
    /// Starts it.
    pub(crate) fn start(options: PgConnectOptions, wake: Arc<Wake>) -> Self {
        Self(tokio::spawn(async move {
            let mut pause = FIRST_PAUSE;
            loop {
                let error = match listen(&options, &wake, &mut pause).await {
                    Ok(()) => "closed".to_owned(),
                    Err(error) => crate::error::translate(&error).to_string(),
                };
                tracing::warn!(
                    error,
                    "the connection for notifications was lost; agents are found by looking until it is back"
                );
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One connection's life.
async fn listen(
    options: &PgConnectOptions,
    wake: &Wake,
    pause: &mut Duration,
) -> Result<(), sqlx::Error> {
    let pool = connect::listener_pool(options.clone());
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    *pause = FIRST_PAUSE;
    wake.announce();
    loop {
        match tokio::time::timeout(SILENCE, listener.try_recv()).await {
            Ok(Ok(Some(_))) => wake.announce(),
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Err(_) => match tokio::time::timeout(ANSWER, listener.execute("SELECT 1")).await {
                Ok(answered) => {
                    answered?;
                }
                Err(_) => return Ok(()),
            },
        }
    }
}
