//! One WebSocket, from opening to closing: frames in, frames out, and every reason to end it. Reading and writing go on side
//! by side, so that a peer that does not read is still heard, for as long as what waits for it is bounded.

use std::pin::pin;
use std::sync::Arc;

use axum::extract::ws::{Message, WebSocket};
use futures::{Stream, StreamExt};
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::auth::Presented;
use crate::end::End;
use crate::fields::Fields;
use crate::frame::{self, Id, Incoming, Method, code};
use crate::outbox::{Outbox, outbox};
use crate::rate::Meter;
use crate::register::{self, Request};
use crate::session::Session;
use crate::shared::Shared;

/// Refused registrations on one connection.
const MAX_REFUSALS: u32 = 5;

/// What a connection holds until it has registered, and what for as long as it is open.
pub struct Places {
    /// One of the open connections.
    pub connection: OwnedSemaphorePermit,
    /// One of those that have not registered.
    pub unregistered: OwnedSemaphorePermit,
}

/// Speaks with one peer until the connection ends.
pub async fn serve(
    shared: Arc<Shared>,
    socket: WebSocket,
    url_token: Option<Presented>,
    places: Places,
) {
    let (sink, mut stream) = socket.split();
    let (outbox, writer) = outbox(shared.config.max_outgoing, shared.config.write_timeout);
    let closing = shared.config.close_timeout;
    let _place = places.connection;
    let connection = Connection {
        id: shared.new_id(),
        meter: Meter::new(&shared.config.unregistered_rate),
        state: State::New {
            _place: places.unregistered,
            url_token,
            refusals: 0,
            until: Instant::now() + shared.config.register_timeout,
        },
        shared,
        outbox: outbox.clone(),
    };
    let mut writing = pin!(writer.run(sink));
    let mut written = false;
    let end = {
        let mut reading = pin!(connection.run(&mut stream));
        loop {
            tokio::select! {
                end = &mut reading => break end,
                () = &mut writing, if !written => written = true,
            }
        }
    };
    let (code, reason) = end.close();
    outbox.close(code, reason);
    // The handshake: our word goes out, the peer's comes back; neither may take long.
    let handshake = async {
        if !written {
            writing.await;
        }
        drain(&mut stream).await;
    };
    let _ = tokio::time::timeout(closing, handshake).await;
}

/// Reads and forgets. A stream that fails without the peer having gone is held open, because closing it with unread bytes
/// would take our closing frame back.
async fn drain(stream: &mut (impl Stream<Item = Result<Message, axum::Error>> + Unpin)) {
    while let Some(message) = stream.next().await {
        if message.as_ref().is_err_and(|e| End::from(e) != End::Gone) {
            std::future::pending::<()>().await;
        }
    }
}

struct Connection {
    shared: Arc<Shared>,
    id: String,
    outbox: Outbox,
    meter: Meter,
    state: State,
}

enum State {
    New {
        _place: OwnedSemaphorePermit,
        url_token: Option<Presented>,
        refusals: u32,
        until: Instant,
    },
    Registered(Box<Session>),
}

impl Connection {
    async fn run<S>(mut self, stream: &mut S) -> End
    where
        S: Stream<Item = Result<Message, axum::Error>> + Unpin,
    {
        let hello = json!({"connection_id": self.id});
        let hello = frame::notification("connection.established", hello);
        if self.outbox.send(hello).await.is_err() {
            return End::Gone;
        }
        let stopping = self.shared.stopping.clone();
        let outbox = self.outbox.clone();
        loop {
            let step = tokio::select! {
                biased;
                () = stopping.cancelled() => Err(End::Restart),
                () = outbox.gone() => Err(End::Gone),
                // What others ask is bounded; what a peer sends is not, and must not keep them waiting.
                event = self.state.event() => match (event, &mut self.state) {
                    (Some(event), State::Registered(session)) => session.handle(event).await,
                    (_, _) => Err(End::Unregistered),
                },
                message = stream.next() => match message {
                    Some(Ok(message)) => self.message(message).await,
                    Some(Err(e)) => Err(End::from(&e)),
                    None => Err(End::Gone),
                },
            };
            if let Err(end) = step {
                self.log(end);
                return end;
            }
        }
    }

    fn log(&self, end: End) {
        match &self.state {
            State::Registered(session) => {
                tracing::info!(agent = session.name(), connection = %self.id, ?end, "disconnected");
            }
            State::New { .. } => tracing::debug!(connection = %self.id, ?end, "never registered"),
        }
    }

    async fn message(&mut self, message: Message) -> Result<(), End> {
        let size = match &message {
            Message::Text(text) => text.len(),
            Message::Binary(bytes) | Message::Ping(bytes) | Message::Pong(bytes) => bytes.len(),
            Message::Close(_) => return Err(End::Closed),
        };
        if let State::Registered(session) = &mut self.state {
            session.alive();
        }
        if !self.meter.frame(size) {
            let flood = frame::error(None, code::RATE, "rate limit exceeded");
            self.outbox.send(flood).await?;
            return Err(End::Flood);
        }
        match message {
            Message::Text(text) => self.text(&text).await,
            Message::Binary(_) => Err(End::NoText),
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => Ok(()),
        }
    }

    async fn text(&mut self, text: &str) -> Result<(), End> {
        match (frame::parse(text), &mut self.state) {
            (Err(malformed), _) => Ok(self.outbox.send(malformed.reply()).await?),
            (Ok(Incoming::Call { id, method, params }), State::Registered(session)) => {
                session.call(id, method, &params).await
            }
            (Ok(Incoming::Reply { id, outcome }), State::Registered(session)) => {
                session.replied(&id, outcome).await
            }
            (Ok(Incoming::Call { id, method, params }), State::New { .. }) => {
                self.early_call(id, method, &params).await
            }
            (Ok(Incoming::Reply { .. }), State::New { .. }) => Ok(()),
        }
    }

    /// A call before the registration.
    async fn early_call(
        &mut self,
        id: Option<Id>,
        method: Method,
        params: &Fields<'_>,
    ) -> Result<(), End> {
        let reply = match method {
            Method::Register => return self.register(id, params).await,
            Method::Heartbeat => Some(frame::heartbeat_ack()),
            Method::Unknown => {
                id.map(|id| frame::error(Some(&id), code::NO_METHOD, "no such method"))
            }
            Method::TaskStatus
            | Method::TaskComplete
            | Method::TaskArtifact
            | Method::Search
            | Method::SendTask => {
                id.map(|id| frame::error(Some(&id), code::UNREGISTERED, "register first"))
            }
        };
        match reply {
            Some(reply) => Ok(self.outbox.send(reply).await?),
            None => Ok(()),
        }
    }

    async fn register(&mut self, id: Option<Id>, params: &Fields<'_>) -> Result<(), End> {
        let State::New {
            url_token,
            refusals,
            ..
        } = &mut self.state
        else {
            return Ok(());
        };
        let request = Request::read(params, &self.shared.config);
        let outcome =
            register::register(&self.shared, &request, url_token.as_ref(), &self.id).await;
        let (result, registered) = match outcome {
            Ok(registered) => {
                let result = json!({"registered": true, "agent_id": request.name});
                (result, Some(registered))
            }
            Err(refusal) => {
                tracing::info!(agent = %talon_core::text::for_terminal(&request.name), connection = %self.id, %refusal, "registration refused");
                *refusals += 1;
                let result = json!({"registered": false, "error": refusal.to_string()});
                (result, None)
            }
        };
        let too_often = *refusals >= MAX_REFUSALS;
        if let Some(registered) = registered {
            // From here on the session's end is recorded whatever happens.
            let (shared, outbox) = (self.shared.clone(), self.outbox.clone());
            let session = Session::new(shared, registered, outbox);
            tracing::info!(agent = session.name(), connection = %self.id, runtime = request.runtime.as_deref().unwrap_or("unknown"), "registered");
            self.meter = Meter::new(&self.shared.config.rate);
            self.state = State::Registered(Box::new(session));
        }
        if let Some(id) = id {
            self.outbox.send(frame::result(&id, result)).await?;
        }
        match &mut self.state {
            State::Registered(session) => session.start().await,
            State::New { .. } if too_often => Err(End::Unregistered),
            State::New { .. } => Ok(()),
        }
    }
}

impl State {
    /// Waits for the next thing that is no frame; `None` when there was time enough to register.
    async fn event(&mut self) -> Option<crate::session::Event> {
        match self {
            Self::New { until, .. } => {
                tokio::time::sleep_until(*until).await;
                None
            }
            Self::Registered(session) => Some(session.event().await),
        }
    }
}
