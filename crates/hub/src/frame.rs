//! JSON-RPC 2.0 frames: strict in what the Hub sends, lenient in what it reads. Parsing borrows from the frame, so that a
//! hostile one costs no more memory than its own size, and never panics.

use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::fields::Fields;

/// What an agent sent.
#[derive(Debug)]
pub enum Incoming<'a> {
    /// A request, or a notification if it has no id.
    Call {
        /// To be repeated in the reply.
        id: Option<Id>,
        /// What is asked.
        method: Method,
        /// Empty if there were none, or if they were no object.
        params: Fields<'a>,
    },
    /// The reply to a request of the Hub.
    Reply {
        /// Which request.
        id: Id,
        /// `Err`: the agent refused.
        outcome: Result<(), String>,
    },
}

/// The methods that agents call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `agent.register`
    Register,
    /// `heartbeat`
    Heartbeat,
    /// `task.status`
    TaskStatus,
    /// `task.complete`
    TaskComplete,
    /// `task.artifact`
    TaskArtifact,
    /// `agent.search`
    Search,
    /// `agent.send_task`
    SendTask,
    /// Anything else.
    Unknown,
}

impl Method {
    fn parse(name: &str) -> Self {
        match name {
            "agent.register" => Self::Register,
            "heartbeat" => Self::Heartbeat,
            "task.status" => Self::TaskStatus,
            "task.complete" => Self::TaskComplete,
            "task.artifact" => Self::TaskArtifact,
            "agent.search" => Self::Search,
            "agent.send_task" => Self::SendTask,
            _ => Self::Unknown,
        }
    }
}

/// The id of a request: a string or a number, kept as the JSON it was, so that the reply repeats it exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Id(Box<str>);

impl Id {
    /// Longest id that is taken, in bytes of JSON.
    const MAX: usize = 256;

    fn parse(raw: &RawValue) -> Result<Option<Self>, Malformed> {
        let text = raw.get().trim();
        match text.as_bytes().first() {
            Some(b'n') => Ok(None),
            Some(b'"' | b'-' | b'0'..=b'9') if text.len() <= Self::MAX => {
                Ok(Some(Self(text.into())))
            }
            _ => Err(Malformed::Request(None)),
        }
    }

    /// The id as the number it is, if it is one of ours.
    pub fn number(&self) -> Option<u64> {
        self.0.trim_matches('"').parse().ok()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a frame could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Malformed {
    /// Not JSON.
    Json,
    /// JSON, but no request and no reply. With its id, if that could be read.
    Request(Option<Id>),
}

impl Malformed {
    /// What the agent is told.
    pub fn reply(&self) -> String {
        match self {
            Self::Json => error(None, code::PARSE, "the frame is not JSON"),
            Self::Request(id) => error(
                id.as_ref(),
                code::INVALID_REQUEST,
                "the frame is no JSON-RPC request",
            ),
        }
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<&'a RawValue>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// Reads one frame.
pub fn parse(text: &str) -> Result<Incoming<'_>, Malformed> {
    if !text.trim_start().starts_with('{') {
        // A list would be read as a structure by position. Batches are no part of the protocol.
        return match serde_json::from_str::<serde::de::IgnoredAny>(text) {
            Ok(_) => Err(Malformed::Request(None)),
            Err(_) => Err(Malformed::Json),
        };
    }
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|e| {
        if e.is_data() {
            Malformed::Request(None)
        } else {
            Malformed::Json
        }
    })?;
    let id = envelope.id.map(Id::parse).transpose()?.flatten();
    if let Some(method) = envelope.method {
        let Ok(method) = serde_json::from_str::<String>(method.get()) else {
            return Err(Malformed::Request(id));
        };
        return Ok(Incoming::Call {
            id,
            method: Method::parse(&method),
            params: envelope.params.map(Fields::read).unwrap_or_default(),
        });
    }
    let outcome = match (envelope.result, envelope.error) {
        (_, Some(error)) => Err(Fields::read(error).text("message").unwrap_or_default()),
        (_, None) => Ok(()),
    };
    match id {
        Some(id) if envelope.result.is_some() || outcome.is_err() => {
            Ok(Incoming::Reply { id, outcome })
        }
        id => Err(Malformed::Request(id)),
    }
}

/// Error codes: those of JSON-RPC, and ours below −32000.
pub mod code {
    /// Not JSON.
    pub const PARSE: i32 = -32700;
    /// No request.
    pub const INVALID_REQUEST: i32 = -32600;
    /// Unknown method.
    pub const NO_METHOD: i32 = -32601;
    /// The parameters do not do.
    pub const INVALID_PARAMS: i32 = -32602;
    /// The Hub or its database failed; trying again may help.
    pub const INTERNAL: i32 = -32603;
    /// The rate limit was exceeded; the connection is closed.
    pub const RATE: i32 = -32029;
    /// Register first.
    pub const UNREGISTERED: i32 = -32001;
    /// No such agent, or not to be seen by whoever asks.
    pub const NO_AGENT: i32 = -32002;
    /// Too much is under way already; try again later.
    pub const BUSY: i32 = -32003;
}

/// A reply with a result, which is JSON.
pub fn result(id: &Id, result: impl fmt::Display) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
}

/// A reply with an error.
pub fn error(id: Option<&Id>, code: i32, message: &str) -> String {
    let id = id.map_or("null", |id| &*id.0);
    let message = quoted(message);
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{message}}}}}"#)
}

/// A notification; the parameters are JSON.
pub fn notification(method: &str, params: impl fmt::Display) -> String {
    let method = quoted(method);
    format!(r#"{{"jsonrpc":"2.0","method":{method},"params":{params}}}"#)
}

/// The answer to a heartbeat.
pub fn heartbeat_ack() -> String {
    r#"{"jsonrpc":"2.0","method":"heartbeat_ack"}"#.to_owned()
}

/// A request of the Hub; its ids are numbers.
pub fn request(id: u64, method: &str, params: impl fmt::Display) -> String {
    let method = quoted(method);
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":{method},"params":{params}}}"#)
}

fn quoted(text: &str) -> serde_json::Value {
    serde_json::Value::from(text)
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
