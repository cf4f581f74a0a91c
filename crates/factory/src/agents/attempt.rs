//! `Idempotency-Key`: a request that comes twice is done once.

use std::time::Duration;

use axum::extract::FromRequestParts;
use http::HeaderName;
use http::request::Parts;
use serde_json::Value;
use talon_core::secret::keyed_hex;
use talon_store::access::{Attempt, Attempted, KEEP_ATTEMPTS, Outcome};

use crate::App;
use crate::auth::Caller;
use crate::http::{Answer, Kind, Problem};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const MAX_KEY: usize = 255;
/// In place of a status: the attempt ended, and whether it was carried out is not known.
const OPEN: u16 = 0;

/// The key that the caller chose, if any.
#[derive(Debug, Default)]
pub struct IdempotencyKey(Option<String>);

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Answer<Self> {
        let Some(value) = parts.headers.get(KEY) else {
            return Ok(Self(None));
        };
        let text = value.to_str().ok().map(str::trim);
        let text = text.filter(|text| (1..=MAX_KEY).contains(&text.len()));
        text.map(|text| Self(Some(text.to_owned()))).ok_or_else(|| {
            Problem::new(
                Kind::Malformed,
                format!("Idempotency-Key has 1 to {MAX_KEY} printable ASCII characters"),
            )
        })
    }
}

/// What is to be done with a request.
pub enum Begun {
    /// Do it; then tell how it ended.
    Do {
        /// What to tell it of.
        attempt: Option<Attempt>,
        /// It was begun before, and nobody knows whether it was done.
        resumes: bool,
    },
    /// It was done: this is how it ended.
    Again(Outcome),
}

impl IdempotencyKey {
    /// Looks whether this was asked before. `what` and `query` and the body make the request; only a keyed hash of them is
    /// kept.
    pub async fn begin(
        self,
        app: &App,
        caller: &Caller,
        what: &str,
        body: &Value,
    ) -> Answer<Begun> {
        let Some(key) = self.0 else {
            return Ok(Begun::Do {
                attempt: None,
                resumes: false,
            });
        };
        let hash_key = app.operator().as_key();
        // Of the value and not of the bytes: serde_json writes one value in one way.
        let body = body.to_string();
        let request = keyed_hex(
            hash_key,
            &[b"attempt:", what.as_bytes(), &[0], body.as_bytes()],
        );
        let attempt = Attempt {
            caller: caller.name.to_string(),
            key,
            request,
        };
        // Longer than any request lasts: one that did not end by then was killed.
        let patience = app.config().request_timeout * 2 + app.config().max_wait;
        let store = app.store();
        // First without any patience running out: who is first then is the first that ever asked.
        let mut found = store.attempt(&attempt, KEEP_ATTEMPTS).await?;
        let mut resumes = false;
        if found == Attempted::Running {
            found = store.attempt(&attempt, patience).await?;
            resumes = true;
        }
        if matches!(&found, Attempted::Done(outcome) if outcome.status == OPEN) {
            (found, resumes) = (Attempted::First, true);
        }
        match found {
            Attempted::First => Ok(Begun::Do {
                attempt: Some(attempt),
                resumes,
            }),
            Attempted::Done(outcome) => Ok(Begun::Again(outcome)),
            Attempted::Running => Err(Problem::new(
                Kind::Conflict,
                "a request with this Idempotency-Key is under way",
            )
            .retry_after(Duration::from_secs(1))),
            Attempted::Another => Err(Problem::new(
                Kind::Invalid,
                "this Idempotency-Key was used for another request: choose a new one",
            )),
        }
    }
}

/// Remembers how an attempt ended, or forgets it: what was refused may be corrected and come again.
pub async fn end(app: &App, attempt: Option<Attempt>, outcome: Option<Outcome>) {
    let Some(attempt) = attempt else { return };
    // The request itself has ended; if this is lost, it comes again as one under way, and is told to wait.
    if let Err(error) = app.store().attempted(&attempt, outcome.as_ref()).await {
        tracing::warn!(%error, "how an attempt ended could not be stored");
    }
}

/// Remembers that nobody knows whether it was carried out, so that the next with this key takes what stands there for its
/// own work.
pub async fn leave_open(app: &App, attempt: Option<Attempt>) {
    let open = Outcome {
        status: OPEN,
        agent: String::new(),
    };
    // If this is lost too, the attempt is one under way until patience with it ends; then it is as open.
    end(app, attempt, Some(open)).await;
}
