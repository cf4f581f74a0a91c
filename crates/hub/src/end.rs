//! Why a connection ends, and what its peer is told.

use talon_store::StoreError;
use talon_store::network::AGENT_DELETED;

use crate::outbox::Gone;

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The peer closed it.
    Closed,
    /// The peer is gone, or does not read.
    Gone,
    /// The Hub stops.
    Restart,
    /// Not registered in time, or refused too often.
    Unregistered,
    /// No heartbeat for too long.
    Silent,
    /// It did not answer the ping while another connection wanted its place.
    Replaced,
    /// Its token was retired, or its API key revoked.
    Unwelcome,
    /// The agent is being deleted.
    Deleting,
    /// A frame was too large.
    Oversize,
    /// A frame was no text.
    NoText,
    /// A frame was no UTF-8, or no WebSocket frame at all.
    Garbled,
    /// Too many frames, or too many bytes.
    Flood,
    /// The database did not answer for too long; what the agent said must be said again.
    Database,
}

impl End {
    /// The closing code, and a word for whoever debugs the client.
    pub fn close(self) -> (u16, &'static str) {
        match self {
            Self::Closed | Self::Gone => (1000, ""),
            Self::Restart => (1012, "the Hub restarts"),
            Self::Unregistered => (1008, "not registered"),
            Self::Silent => (1008, "no heartbeat"),
            Self::Replaced => (1008, "no answer to a ping"),
            Self::Unwelcome => (1008, "the token is not valid any more"),
            Self::Deleting => (1008, AGENT_DELETED),
            Self::Oversize => (1009, "the frame is too large"),
            Self::NoText => (1003, "text frames only"),
            Self::Garbled => (1007, "the frame is garbled"),
            Self::Flood => (1008, "rate limit exceeded"),
            Self::Database => (1011, "the database is not available"),
        }
    }

    /// The answer of an agent could not be stored.
    pub fn database(e: StoreError) -> Self {
        tracing::error!(error = %e, "what an agent said could not be stored; it is asked to come back");
        Self::Database
    }
}

impl From<&axum::Error> for End {
    /// axum hides the WebSocket library's error type; its text is what tells. A test holds each of them.
    fn from(e: &axum::Error) -> Self {
        let text = e.to_string();
        if text.starts_with("Space limit exceeded") {
            Self::Oversize
        } else if text.starts_with("UTF-8")
            || (text.starts_with("WebSocket protocol error") && !text.contains("reset without"))
        {
            Self::Garbled
        } else {
            Self::Gone
        }
    }
}

impl From<Gone> for End {
    fn from(Gone: Gone) -> Self {
        Self::Gone
    }
}
