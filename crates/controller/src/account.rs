//! What is known of the Cloudflare account as a whole: its workers.dev subdomain, read once.

use std::sync::Arc;
use std::time::Duration;

use talon_core::clock::Clock;
use talon_core::cloud::{CallClass, CallCx, Cloud, CloudResult};
use talon_plan::Subdomain;
use tokio::sync::Mutex;

/// How long an account without a subdomain is left alone: every agent of it asks, and none can go on.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// Remembers the account's subdomain once it is known.
pub struct Account {
    clock: Arc<dyn Clock>,
    answer: Mutex<Answer>,
}

#[derive(Debug, Clone, Default)]
enum Answer {
    #[default]
    None,
    /// There was none when this was asked (monotonic).
    Missing(Duration),
    Known(String),
}

impl Account {
    /// An account of which nothing is known yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            answer: Mutex::default(),
        }
    }

    /// The subdomain. Asks Cloudflare now and then until there is one, then never again.
    pub async fn subdomain(&self, cloud: &dyn Cloud, class: CallClass) -> CloudResult<Subdomain> {
        let mut answer = self.answer.lock().await;
        match &*answer {
            Answer::Known(subdomain) => return Ok(Subdomain::Known(subdomain.clone())),
            Answer::Missing(at) if self.clock.monotonic().saturating_sub(*at) < ASK_AGAIN => {
                return Ok(Subdomain::Missing);
            }
            Answer::Missing(_) | Answer::None => {}
        }
        let cx = CallCx {
            class,
            remaining: None,
        };
        Ok(match cloud.account_subdomain(cx).await? {
            Some(subdomain) => {
                *answer = Answer::Known(subdomain.clone());
                Subdomain::Known(subdomain)
            }
            None => {
                *answer = Answer::Missing(self.clock.monotonic());
                Subdomain::Missing
            }
        })
    }
}
