//! `GET /ui/stream`: tells a page that something changed, and no more; the page then asks for what its visitor may see.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, Stream};
use tokio::sync::watch;

use crate::admission::Admission;
use crate::app::App;
use crate::error::PageError;
use crate::feed::Seen;
use crate::session::Session;

/// How often a silent stream says that it lives.
pub const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often it looks whether its session still holds, however much happens in between.
const RECHECK: Duration = Duration::from_secs(60);
/// When browsers try again after a break.
pub const RETRY: Duration = Duration::from_secs(2);

struct Watcher {
    admission: Admission,
    seen: watch::Receiver<Seen>,
    first: bool,
}

/// Serves the stream: at first where the feed stands, then every step.
pub async fn serve(State(app): State<App>, session: Session) -> Result<Response, PageError> {
    let begin = Watcher {
        seen: app.seen(),
        admission: Admission::begin(app, session, RECHECK)?,
        first: true,
    };
    Ok(Sse::new(steps(begin))
        .keep_alive(KeepAlive::new().interval(HEARTBEAT).text("alive"))
        .into_response())
}

fn steps(begin: Watcher) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(begin, |mut state| async move {
        loop {
            if !state.admission.holds().await {
                return None;
            }
            if std::mem::take(&mut state.first) {
                let seen = *state.seen.borrow_and_update();
                return Some((Ok(event(seen).retry(RETRY)), state));
            }
            let stop = state.admission.stopping().clone();
            let look = state.admission.due();
            tokio::select! {
                () = stop.cancelled() => return None,
                changed = state.seen.changed() => {
                    changed.ok()?;
                    if !state.admission.holds().await {
                        return None;
                    }
                    let seen = *state.seen.borrow_and_update();
                    return Some((Ok(event(seen)), state));
                }
                () = tokio::time::sleep_until(look) => {}
            }
        }
    })
}

fn event(seen: Seen) -> Event {
    let name = if seen.answers { "change" } else { "trouble" };
    Event::default()
        .event(name)
        .id(seen.seq.to_string())
        .data(seen.seq.to_string())
}

#[cfg(test)]
pub mod tests {
    use std::sync::Arc;

    use futures::StreamExt;
    use http::HeaderMap;
    use talon_core::clock::Clock;
    use talon_core::guesses::{GuessLimit, Guesses};
    use talon_store::access::{AccessStore, NewToken, Role};
    use talon_store_sqlite::SqliteStore;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::app::DashboardParts;
    use crate::session::hash_of;

    const TOKEN: &str = "made-up";

    /// A clock that stands.
    struct Still;

    impl Clock for Still {
        fn now(&self) -> chrono::DateTime<chrono::Utc> {
            chrono::DateTime::UNIX_EPOCH
        }

        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }
    }

    /// A database, a dashboard without a daemon, a viewer's session, and the id of the token behind it.
    pub async fn world(folder: &tempfile::TempDir) -> (Arc<SqliteStore>, App, Session, String) {
        let url = format!("sqlite://{}", folder.path().join("talon.db").display());
        SqliteStore::migrate(&url).await.expect("migrated");
        let store = Arc::new(SqliteStore::open(&url).await.expect("opened"));
        let new = NewToken {
            sha256: hash_of(TOKEN),
            label: "laptop".to_owned(),
            role: Role::Viewer,
            owner: None,
            expires_in: None,
        };
        let id = store.create_token(&new).await.expect("made").id;
        let app = App::new(
            DashboardParts {
                store: store.clone(),
                operator_sha256: hash_of("operator"),
                secrets: None,
                session_key: [7; 32],
                https: false,
                guesses: Arc::new(Guesses::new(GuessLimit::default(), Arc::new(Still))),
                gauge: None,
                logs: None,
                call_ceiling: 1,
                new_token: None,
                stopping: CancellationToken::new(),
            },
            None,
        );
        let session = Session {
            visitor: app
                .admit(&new.sha256)
                .await
                .expect("asked")
                .expect("let in"),
            csrf: String::new(),
            token: new.sha256,
            nonce: "00".to_owned(),
            ends: u64::MAX,
        };
        (store, app, session, id)
    }

    fn seen(seq: i64) -> Seen {
        Seen { seq, answers: true }
    }

    /// A stream whose feed never rests: there is always something to tell.
    async fn ends_under_load(begin: Watcher, tell: watch::Sender<Seen>) {
        let busy = tokio::spawn(async move {
            for seq in 1.. {
                if tell.send(seen(seq)).is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
        });
        let drained = async {
            let mut steps = Box::pin(steps(begin));
            while steps.next().await.is_some() {}
        };
        let ended = tokio::time::timeout(Duration::from_secs(60), drained).await;
        busy.abort();
        ended.expect("the stream ends");
    }

    #[tokio::test]
    async fn a_revoked_token_ends_its_stream_however_much_happens() {
        let folder = tempfile::tempdir().expect("a folder");
        let (store, app, session, id) = world(&folder).await;
        store.revoke_token(&id).await.expect("revoked");
        let (tell, feed) = watch::channel(seen(0));
        let every = Duration::from_millis(20);
        let begin = Watcher {
            admission: Admission::begin(app, session, every).expect("a place"),
            seen: feed,
            first: true,
        };
        ends_under_load(begin, tell).await;
    }

    #[tokio::test]
    async fn a_stream_ends_with_its_session_and_after_its_longest_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let (_store, app, session, _) = world(&folder).await;
        let admission = || Admission::begin(app.clone(), session.clone(), RECHECK);
        let begin = |admission, seen| Watcher {
            admission,
            seen,
            first: true,
        };
        let (tell, feed) = watch::channel(seen(0));
        let short = admission()
            .expect("a place")
            .within(Duration::from_millis(20));
        ends_under_load(begin(short, feed), tell).await;

        let (tell, feed) = watch::channel(seen(0));
        let mut steps = Box::pin(steps(begin(admission().expect("a place"), feed)));
        assert!(steps.next().await.is_some());
        drop(app.sessions().end(&HeaderMap::new(), &session));
        let end = tokio::time::timeout(Duration::from_secs(60), async {
            tell.send(seen(1)).expect("somebody listens");
            steps.next().await
        });
        assert!(end.await.expect("the stream ends").is_none());
    }
}
