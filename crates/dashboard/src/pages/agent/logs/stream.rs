//! `GET /agents/{name}/logs/stream`: lines as they come, as server-sent events (`line`) that hold the HTML of the page.
//!
//! Who reads slowly holds up nobody: a stream whose browser takes no line for a while ends. Who asks for a Worker's lines is
//! written down in the audit log before they are opened.

use std::convert::Infallible;
use std::time::Duration;

use askama::Template;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use http::{HeaderMap, header};
use talon_core::logs::LogLine;
use talon_store::access::NewAudit;
use tokio::sync::mpsc;

use super::line::Line;
use super::lines::{Lines, Next};
use super::source::Wanted;
use crate::admission::Admission;
use crate::error::PageError;
use crate::fields::same_site;
use crate::pages::agent::visit::Visit;
use crate::pages::require;
use crate::stream::{HEARTBEAT, RETRY};
use crate::visitor::Role;

/// How often it looks whether its token is still accepted: more often than other streams, for what people say is shown.
const RECHECK: Duration = HEARTBEAT;
/// Lines that wait for a browser.
const WAITING: usize = 64;
/// How long a browser may take for one line.
const SLOW: Duration = Duration::from_secs(20);

/// What a browser sends when it comes back: the id of the last event.
const LAST: &str = "last-event-id";

/// Serves the stream.
pub async fn stream(visit: Visit, headers: HeaderMap) -> Result<Response, PageError> {
    same_site(&headers)?;
    let wanted = Wanted::read(&visit.asked.source);
    if wanted.worker() {
        require(&visit.session, Role::Operator)?;
    }
    let logs = visit.app.logs().cloned().ok_or_else(PageError::not_found)?;
    let admission = Admission::begin(visit.app.clone(), visit.session.clone(), RECHECK)?;
    let agent = &visit.snapshot.agent;
    if wanted.worker() {
        let entry = NewAudit {
            action: "follow_worker".to_owned(),
            object: format!("agent/{}", agent.name),
            fields: Vec::new(),
        };
        let actor = visit.session.visitor.actor();
        visit.app.store().audit(&actor, &entry).await?;
    }
    let last = headers.get(LAST).and_then(|id| id.to_str().ok());
    let after = last.unwrap_or(&visit.asked.after);
    let lines = Lines::begin(logs, agent.id, wanted, after);
    let (events, receiver) = mpsc::channel(WAITING);
    tokio::spawn(follow(admission, lines, events));
    let events = stream::unfold(receiver, async |mut events| {
        Some((Ok::<_, Infallible>(events.recv().await?), events))
    });
    let alive = KeepAlive::new().interval(HEARTBEAT).text("alive");
    // Not even to be asked about again, as streams otherwise are.
    let keep = [(header::CACHE_CONTROL, "no-store")];
    Ok((keep, Sse::new(events).keep_alive(alive)).into_response())
}

/// In a task of its own: a browser that does not read cannot keep a tail open.
async fn follow(mut admission: Admission, mut lines: Lines, events: mpsc::Sender<Event>) {
    let stopping = admission.stopping().clone();
    // At once: a browser takes a stream for open when something comes.
    if !send(&events, Event::default().comment("open").retry(RETRY)).await {
        return;
    }
    loop {
        let next = tokio::select! {
            biased;
            () = events.closed() => return,
            () = stopping.cancelled() => return,
            () = tokio::time::sleep_until(admission.due()) => None,
            next = lines.next() => Some(next),
        };
        if !admission.holds().await {
            return;
        }
        let line = match next {
            None => None,
            Some(Next::Line(line)) => Some(line),
            Some(Next::Mend(source)) => lines.mend(source).await,
        };
        if let Some(line) = line
            && !send(&events, event(&line, lines.place())).await
        {
            return;
        }
    }
}

fn event(line: &LogLine, place: Option<String>) -> Event {
    // A line that cannot be rendered is shown as none rather than ending the stream.
    let html = Line::of(line).render().unwrap_or_default();
    let event = Event::default().event("line").data(html);
    match place {
        Some(place) => event.id(place),
        None => event,
    }
}

/// Whether the browser took it, or made room for it in time.
async fn send(events: &mpsc::Sender<Event>, event: Event) -> bool {
    matches!(
        tokio::time::timeout(SLOW, events.send(event)).await,
        Ok(Ok(()))
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use chrono::{DateTime, Utc};
    use talon_core::AgentId;
    use talon_core::logs::{AgentLogs, LogFeed, LogLevel, LogSource, Recent, TailError};
    use talon_store::access::AccessStore;
    use tokio::sync::watch;

    use super::*;
    use crate::stream::tests::world;

    /// Has a Worker that says something whenever it is asked, or nothing ever; counts who follows it.
    struct Chatter {
        talks: bool,
        followers: watch::Sender<usize>,
    }

    struct Feed {
        talks: bool,
        followers: watch::Sender<usize>,
    }

    impl Drop for Feed {
        fn drop(&mut self) {
            self.followers.send_modify(|n| *n -= 1);
        }
    }

    #[async_trait]
    impl LogFeed for Feed {
        async fn next(&mut self) -> Option<LogLine> {
            if !self.talks {
                std::future::pending::<()>().await;
            }
            tokio::task::yield_now().await;
            let (source, level) = (LogSource::Worker, LogLevel::Info);
            Some(LogLine::new(DateTime::<Utc>::default(), source, level, "x"))
        }
    }

    #[async_trait]
    impl AgentLogs for Chatter {
        fn recent(&self, _: AgentId, _: usize) -> Recent {
            Recent {
                lines: Vec::new(),
                dropped: 0,
                since: DateTime::default(),
                place: 0,
            }
        }

        fn follow(&self, _: AgentId, _: u64) -> Box<dyn LogFeed> {
            unreachable!("only the Worker is followed here")
        }

        async fn tail(&self, _: AgentId) -> Result<Box<dyn LogFeed>, TailError> {
            self.followers.send_modify(|n| *n += 1);
            Ok(Box::new(Feed {
                talks: self.talks,
                followers: self.followers.clone(),
            }))
        }
    }

    #[tokio::test]
    async fn a_revoked_token_ends_its_stream_and_the_tail_with_it() {
        for talks in [true, false] {
            let folder = tempfile::tempdir().expect("a folder");
            let (store, app, session, id) = world(&folder).await;
            let followers = watch::Sender::new(0);
            let logs = Arc::new(Chatter {
                talks,
                followers: followers.clone(),
            });
            let every = Duration::from_millis(20);
            let admission = Admission::begin(app, session, every).expect("a place");
            let lines = Lines::begin(logs, AgentId(uuid::Uuid::nil()), Wanted::Worker, "");
            let (events, mut receiver) = mpsc::channel(WAITING);
            let stream = tokio::spawn(follow(admission, lines, events));
            let reader = tokio::spawn(async move { while receiver.recv().await.is_some() {} });
            let mut open = followers.subscribe();
            let within = Duration::from_secs(60);
            let opened = tokio::time::timeout(within, open.wait_for(|n| *n == 1));
            opened.await.expect("in time").expect("opened");
            store.revoke_token(&id).await.expect("revoked");
            let ended = tokio::time::timeout(within, stream).await;
            ended.expect("the stream ends").expect("no panic");
            reader.await.expect("no panic");
            assert_eq!(*followers.borrow(), 0, "the tail is closed");
        }
    }
}
