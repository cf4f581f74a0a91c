//! How far the change feed has come, told to every open page of this process by one reader.

use std::sync::Arc;
use std::time::Duration;

use talon_store::Store;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long to wait for news while somebody looks: what the controller writes in this process is not always announced.
const WATCHED: Duration = Duration::from_millis(200);
/// How long while nobody does.
const UNWATCHED: Duration = Duration::from_secs(5);
/// After an error.
const PAUSE: Duration = Duration::from_secs(1);

/// The number of the latest change that was seen, and whether the database answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Of the change feed.
    pub seq: i64,
    /// The database answered the last time.
    pub answers: bool,
}

/// Starts the reader; it ends with `stop`, or when nobody holds the receiver any more.
pub fn follow(
    store: Arc<dyn talon_store::WholeStore>,
    stop: CancellationToken,
) -> watch::Receiver<Seen> {
    let (tell, seen) = watch::channel(Seen {
        seq: 0,
        answers: true,
    });
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tell.closed() => return,
                () = look(&*store, &tell) => {}
            }
        }
    });
    seen
}

async fn look(store: &dyn talon_store::WholeStore, tell: &watch::Sender<Seen>) {
    let patience = if tell.receiver_count() > 1 {
        WATCHED
    } else {
        UNWATCHED
    };
    // The hint may fail as the database does; the look itself decides.
    let waited = Store::wait(store, patience).await;
    let latest = store.last_change().await;
    let failed = waited.is_err() || latest.is_err();
    tell.send_if_modified(|seen| {
        let now = Seen {
            seq: latest.as_ref().map_or(seen.seq, |seq| *seq),
            answers: latest.is_ok(),
        };
        let changed = *seen != now;
        *seen = now;
        changed
    });
    if failed {
        tokio::time::sleep(PAUSE).await;
    }
}
