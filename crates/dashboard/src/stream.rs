//! `GET /ui/stream`: tells a page that something changed, and no more; the page then asks for what its visitor may see.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, Stream};
use tokio::sync::watch;

use crate::app::App;
use crate::feed::Seen;
use crate::session::Session;

/// How often a silent stream says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often it looks whether its session still holds.
const RECHECK: Duration = Duration::from_secs(60);
/// When browsers try again after a break.
const RETRY: Duration = Duration::from_secs(2);

struct Watcher {
    app: App,
    session: Session,
    seen: watch::Receiver<Seen>,
    first: bool,
}

/// Serves the stream: at first where the feed stands, then every step.
pub async fn serve(State(app): State<App>, session: Session) -> Response {
    let seen = app.seen();
    let begin = Watcher {
        app,
        session,
        seen,
        first: true,
    };
    Sse::new(steps(begin))
        .keep_alive(KeepAlive::new().interval(HEARTBEAT).text("alive"))
        .into_response()
}

fn steps(begin: Watcher) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(begin, |mut state| async move {
        loop {
            if std::mem::take(&mut state.first) {
                let seen = *state.seen.borrow_and_update();
                return Some((Ok(event(seen).retry(RETRY)), state));
            }
            let stop = state.app.stopping().clone();
            tokio::select! {
                () = stop.cancelled() => return None,
                changed = state.seen.changed() => {
                    changed.ok()?;
                    let seen = *state.seen.borrow_and_update();
                    return Some((Ok(event(seen)), state));
                }
                () = tokio::time::sleep(RECHECK) => {
                    // A database that does not answer is no reason to end the stream.
                    if let Ok(None) = state.app.admit(&state.session.token).await {
                        return None;
                    }
                }
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
