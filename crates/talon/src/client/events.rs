//! Events of an answer of a daemon, as they come: server-sent events.

use reqwest::Response;
use serde_json::Value;

use super::{MOST_BYTES, stranger, unreachable};
use crate::exit::Failure;

/// An event as it came.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    /// What kind it is.
    pub event: Option<String>,
    /// Its place.
    pub id: Option<String>,
    /// What it says.
    pub data: String,
}

/// Events of an answer, in order.
pub struct Events {
    server: String,
    answer: Response,
    waiting: Vec<u8>,
}

impl Events {
    /// Those of this answer of the server that is shown so.
    pub(super) fn of(server: String, answer: Response) -> Self {
        Self {
            server,
            answer,
            waiting: Vec::new(),
        }
    }

    /// The data of the next event; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Value>, Failure> {
        let Some(message) = self.message().await? else {
            return Ok(None);
        };
        serde_json::from_str(&message.data)
            .map(Some)
            .map_err(|_| stranger(&self.server))
    }

    /// The next event; `None` at the end. Whoever gives up waiting for it misses nothing.
    pub async fn message(&mut self) -> Result<Option<Message>, Failure> {
        loop {
            if let Some(end) = self.waiting.windows(2).position(|two| two == b"\n\n") {
                let rest = self.waiting.split_off(end + 2);
                let event = std::mem::replace(&mut self.waiting, rest);
                match message(&event) {
                    // A comment that says that the stream lives.
                    None => continue,
                    message => return Ok(message),
                }
            }
            let piece = self.answer.chunk().await;
            match piece.map_err(|e| unreachable(&self.server, e))? {
                None => return Ok(None),
                Some(piece) if self.waiting.len() + piece.len() > MOST_BYTES => {
                    return Err(stranger(&self.server));
                }
                Some(piece) => self.waiting.extend_from_slice(&piece),
            }
        }
    }
}

/// Reads an event; `None` if it has no data.
fn message(event: &[u8]) -> Option<Message> {
    let text = std::str::from_utf8(event).ok()?;
    let field = |name: &'static str| {
        text.lines()
            .filter_map(move |line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(|rest| rest.strip_prefix(' ').unwrap_or(rest))
    };
    let lines: Vec<&str> = field("data").collect();
    (!lines.is_empty()).then(|| Message {
        event: field("event").next_back().map(str::to_owned),
        id: field("id").next_back().map(str::to_owned),
        data: lines.join("\n"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_its_data_and_a_comment_is_none() {
        let event = b"event: done\nid: 1\ndata: {\"a\":\ndata: 1}\n\n";
        let expected = Message {
            event: Some("done".to_owned()),
            id: Some("1".to_owned()),
            data: "{\"a\":\n1}".to_owned(),
        };
        assert_eq!(message(event), Some(expected));
        assert_eq!(message(b": still there\n\n"), None);
    }
}
