//! The documented deployment callback: a deployer says that it deployed an agent.
//!
//! Here the controller is the deployer, and what is recorded is what it saw itself. A callback is therefore an authenticated
//! wake-up and no more: the agent is looked at again, as after `reconcile`. Nothing of the body is stored; where it says
//! something else than is recorded, the look finds out who is right.
//!
//! Signed as Standard Webhooks 1.0.0 says: `webhook-signature` holds, among others, `v1,` and the base64 of the HMAC-SHA256
//! of `{webhook-id}.{webhook-timestamp}.{body}`. The secret is the agent's own, derived from the install key
//! (`talon secrets callback NAME` shows it).
#![allow(clippy::disallowed_methods)] // Opens the secret, to compute with it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::Json as JsonAnswer;
use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use talon_core::agent::AgentStatus;
use talon_core::guesses::ClientAddress;
use talon_core::secret::{SecretValue, keyed_bytes};
use talon_core::{AgentId, AgentName};
use talon_store::fleet::{Actor, Decided};
use utoipa::ToSchema;

use crate::App;
use crate::http::{Answer, FieldError, Json, Kind, Problem, ProblemBody};
use crate::http::{is_media_type, parse_json, read_body};

/// How far a callback's clock may be from ours.
const TOLERANCE: Duration = Duration::from_secs(300);
/// Longest body.
const MAX_BODY: usize = 16 * 1024;
/// Longest id.
const MAX_ID: usize = 256;
/// Whose name the audit log has for a look that a callback asked for: a deployer has no token.
const ACTOR: &str = "callback";
/// Most signatures that are looked at.
const MAX_SIGNATURES: usize = 8;
/// Ids that are remembered, in all. One that is pushed out does no harm: a second look changes nothing.
const REMEMBERED: usize = 4_096;

/// What a deployer made. Nothing of it is stored.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"worker_name": "research-pro-7f3c", "worker_url": "https://research-pro-7f3c.example.workers.dev"}))]
pub struct DeploymentCallback {
    /// The Worker's address.
    #[schema(max_length = 2048, pattern = "^https://")]
    worker_url: Option<String>,
    /// Its name.
    #[schema(min_length = 1, max_length = 63)]
    worker_name: Option<String>,
    /// The bucket's name.
    #[schema(min_length = 1, max_length = 63)]
    r2_bucket_name: Option<String>,
    /// The id of the token that opens the bucket.
    #[schema(min_length = 1, max_length = 64)]
    r2_token_id: Option<String>,
    /// SHA-256 of the token that the Worker shows to the Hub, in hex.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    auth_token_hash: Option<String>,
}

/// What becomes of a callback.
#[derive(Debug, Serialize, ToSchema)]
pub struct CallbackAnswer {
    /// Whether everything it says is what is recorded. If not, nothing is changed by it: the agent is looked at.
    agrees: bool,
    /// Whether this `webhook-id` came before; then no other look is asked for.
    repeated: bool,
}

/// Says that an agent was deployed from elsewhere: it is looked at again, and nothing else. Signed as Standard Webhooks 1.0.0
/// says, with the agent's own secret.
#[utoipa::path(post, path = "/api/v1/openclaw/agents/{name}/deployment-callback", operation_id = "deployment_callback", tag = "agents",
    security(("webhook" = [])),
    params(("name" = String, Path, description = "The agent's name", example = "research-pro"),
        ("webhook-id" = String, Header, description = "Of this callback; the same when it is sent again", example = "msg_1"),
        ("webhook-timestamp" = String, Header, description = "When it is sent: seconds since 1970; five minutes off at most", example = "1614265330"),
        ("webhook-signature" = String, Header, description = "`v1,` and base64; several with spaces between them", example = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")),
    request_body = DeploymentCallback, responses(
    (status = 202, description = "A look is due", body = CallbackAnswer),
    (status = 401, description = "No signature of this agent's secret, or not of this time", content_type = "application/problem+json", body = ProblemBody),
    (status = 422, description = "The body is not what a deployer says", content_type = "application/problem+json", body = ProblemBody),
    (status = 429, description = "Too many wrong signatures from this address", content_type = "application/problem+json", body = ProblemBody),
    (status = 501, description = "This server takes no callbacks", content_type = "application/problem+json", body = ProblemBody),
    (status = 503, description = "The database cannot be reached", content_type = "application/problem+json", body = ProblemBody),
))]
pub async fn deployment_callback(
    State(app): State<App>,
    Path(name): Path<String>,
    from: Option<Extension<ClientAddress>>,
    headers: HeaderMap,
    body: Body,
) -> Answer<Response> {
    let secrets = app
        .callbacks()
        .ok_or_else(|| Problem::new(Kind::NotImplemented, "this server takes no callbacks"))?;
    let envelope = Envelope::of(&headers)?;
    // Before the database is asked: what is old costs nothing.
    envelope.must_be_of(app.now().timestamp())?;
    if !is_media_type(&headers, "application/json") {
        let text = "send the body as application/json";
        return Err(Problem::new(Kind::UnsupportedMediaType, text));
    }
    let bytes = read_body(body, MAX_BODY, app.config().request_timeout).await?;
    let from = from.map(|Extension(from)| from);
    // Who sends what is not signed is counted as who shows wrong tokens is; before the database is asked.
    let shown = hex::encode(Sha256::digest(envelope.signatures));
    let attempt = app.guesses().attempt(from, &shown).map_err(|wait| {
        let text =
            "too many callbacks or tokens from this address were wrong: wait, then send it again";
        Problem::new(Kind::TooManyRequests, text).retry_after(wait)
    })?;
    // A name that is nobody's is refused as a signature that is nobody's: who cannot sign learns of no agent.
    let found = match AgentName::parse(&name) {
        Ok(_) => app.store().get(&name, false).await?,
        Err(_) => None,
    };
    let id = found.as_ref().map(|found| found.agent.id);
    let secret = secrets.callback_secret(id.unwrap_or_else(nobody));
    let signed = envelope.is_signed(&secret, &bytes);
    let Some(found) = found.filter(|_| signed) else {
        attempt.wrong();
        return Err(unsigned());
    };
    drop(attempt);
    let said: DeploymentCallback = Json {
        value: parse_json(&bytes)?,
    }
    .typed()?;
    said.check()?;
    let agent = &found.agent;
    let answer = CallbackAnswer {
        agrees: said.agrees(&agent.status),
        repeated: app.callbacks_seen().has(agent.id, envelope.id),
    };
    if !answer.repeated {
        let actor = Actor {
            name: ACTOR.to_owned(),
            source: from.map_or_else(
                || "unknown".to_owned(),
                |ClientAddress(address)| address.to_string(),
            ),
        };
        let decided = Decided {
            id: agent.id,
            generation: None,
        };
        app.store()
            .request_reconcile_as(&actor, &agent.name, Some(decided))
            .await?;
        // Afterwards: one that failed comes again under its id, and must count then.
        app.callbacks_seen().note(agent.id, envelope.id);
        tracing::info!(agent = %agent.name, agrees = answer.agrees, "a deployment callback: the agent is looked at");
    }
    Ok((StatusCode::ACCEPTED, JsonAnswer(answer)).into_response())
}

/// In whose name what is addressed to no agent is computed: it takes as long.
fn nobody() -> AgentId {
    AgentId(uuid::Uuid::nil())
}

fn unsigned() -> Problem {
    Problem::new(
        Kind::Unauthenticated,
        "no webhook-signature is one of this agent's secret over this id, timestamp and body: talon secrets callback NAME \
         shows the secret",
    )
}

/// The headers of a callback.
struct Envelope<'h> {
    id: &'h str,
    timestamp: &'h str,
    signatures: &'h str,
}

impl<'h> Envelope<'h> {
    fn of(headers: &'h HeaderMap) -> Answer<Self> {
        let one = |name: &'static str| {
            let mut values = headers.get_all(name).iter();
            let only = values.next().filter(|_| values.next().is_none());
            let text = only.and_then(|value| value.to_str().ok());
            text.filter(|text| !text.is_empty()).ok_or_else(|| {
                let text = format!("send the header {name}, once (Standard Webhooks 1.0.0)");
                Problem::new(Kind::Unauthenticated, text)
            })
        };
        let envelope = Self {
            id: one("webhook-id")?,
            timestamp: one("webhook-timestamp")?,
            signatures: one("webhook-signature")?,
        };
        // A dot in it would let one id and timestamp be read as others.
        if envelope.id.len() > MAX_ID || envelope.id.contains('.') {
            let text = format!("webhook-id has at most {MAX_ID} characters, and no dot");
            return Err(Problem::new(Kind::Malformed, text));
        }
        Ok(envelope)
    }

    fn must_be_of(&self, now: i64) -> Answer<()> {
        let digits = self.timestamp.bytes().all(|b| b.is_ascii_digit());
        let sent: Option<i64> = self.timestamp.parse().ok().filter(|_| digits);
        let sent = sent.ok_or_else(|| {
            let text = "webhook-timestamp is a number of seconds since 1970";
            Problem::new(Kind::Malformed, text)
        })?;
        if sent.abs_diff(now) > TOLERANCE.as_secs() {
            return Err(Problem::new(
                Kind::Unauthenticated,
                "webhook-timestamp is more than five minutes from this server's time: sign it anew, and check both clocks",
            ));
        }
        Ok(())
    }

    /// Whether one of the signatures is this secret's. Every one of them is compared, in constant time.
    fn is_signed(&self, secret: &SecretValue, body: &[u8]) -> bool {
        let Some(key) = secret.expose().strip_prefix("whsec_") else {
            return false;
        };
        let Ok(key) = BASE64.decode(key.as_bytes()) else {
            return false;
        };
        let parts: [&[u8]; 5] = [
            self.id.as_bytes(),
            b".",
            self.timestamp.as_bytes(),
            b".",
            body,
        ];
        let wanted = BASE64.encode(&keyed_bytes(&key, &parts));
        let offered = self.signatures.split(' ').take(MAX_SIGNATURES);
        offered
            .filter_map(|one| one.strip_prefix("v1,"))
            .fold(subtle::Choice::from(0), |found, one| {
                found | one.as_bytes().ct_eq(wanted.as_bytes())
            })
            .into()
    }
}

impl DeploymentCallback {
    /// Everything that is not as it must be, at once.
    fn check(&self) -> Answer<()> {
        let name = |text: &str, most| {
            (1..=most).contains(&text.len())
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        let url = |text: &str| {
            text.len() <= 2048
                && text.starts_with("https://")
                && text.bytes().all(|b| b.is_ascii_graphic())
        };
        let hash = |text: &str| {
            text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let checks = [
            ("worker_url", self.worker_url.as_deref().is_none_or(url)),
            (
                "worker_name",
                self.worker_name.as_deref().is_none_or(|t| name(t, 63)),
            ),
            (
                "r2_bucket_name",
                self.r2_bucket_name.as_deref().is_none_or(|t| name(t, 63)),
            ),
            (
                "r2_token_id",
                self.r2_token_id.as_deref().is_none_or(|t| name(t, 64)),
            ),
            (
                "auth_token_hash",
                self.auth_token_hash.as_deref().is_none_or(hash),
            ),
        ];
        let wrong = checks.iter().filter(|(_, is_right)| !is_right);
        let errors: Vec<FieldError> = wrong
            .map(|(field, _)| FieldError {
                pointer: format!("/{field}"),
                code: "invalid".to_owned(),
                detail: "is not what this field holds".to_owned(),
            })
            .collect();
        if errors.is_empty() {
            return Ok(());
        }
        let text = "the body is not what a deployer says";
        Err(Problem::new(Kind::Invalid, text).with_errors(errors))
    }

    /// Whether everything it says is recorded.
    fn agrees(&self, status: &AgentStatus) -> bool {
        let same =
            |said: &Option<String>, recorded: &Option<String>| said.is_none() || said == recorded;
        same(&self.worker_url, &status.worker_url)
            && same(&self.worker_name, &status.worker_name)
            && same(&self.r2_bucket_name, &status.r2_bucket)
            && same(&self.r2_token_id, &status.r2_token_id)
            && same(&self.auth_token_hash, &status.auth_token_hash)
    }
}

/// The callbacks that came, by agent and id: those of this process, so many at most.
#[derive(Debug, Default)]
pub struct SeenCallbacks(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    known: BTreeSet<[u8; 32]>,
    order: VecDeque<[u8; 32]>,
}

impl SeenCallbacks {
    /// One length for all, however long an id is.
    fn mark(agent: AgentId, id: &str) -> [u8; 32] {
        Sha256::digest(format!("{agent}.{id}")).into()
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        // Whole whenever the lock is free.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, agent: AgentId, id: &str) -> bool {
        self.seen().known.contains(&Self::mark(agent, id))
    }

    fn note(&self, agent: AgentId, id: &str) {
        let mark = Self::mark(agent, id);
        let mut seen = self.seen();
        if !seen.known.insert(mark) {
            return;
        }
        seen.order.push_back(mark);
        if seen.order.len() > REMEMBERED
            && let Some(oldest) = seen.order.pop_front()
        {
            seen.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the reference implementations of Standard Webhooks have it in their tests.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const SENT: i64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn is_signed(id: &str, timestamp: &str, signatures: &str, body: &[u8], secret: &str) -> bool {
        let envelope = Envelope {
            id,
            timestamp,
            signatures,
        };
        envelope.is_signed(&SecretValue::new(secret.to_owned()), body)
    }

    #[test]
    fn the_published_vector_is_accepted_and_nothing_near_it() {
        let sent = SENT.to_string();
        assert!(is_signed(ID, &sent, SIGNATURE, BODY, SECRET));
        let others = format!(
            "v1a,{0} v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc= {SIGNATURE}",
            &SIGNATURE[3..]
        );
        assert!(is_signed(ID, &sent, &others, BODY, SECRET));
        for (id, timestamp, signatures, body, secret) in [
            ("msg_other", sent.as_str(), SIGNATURE, BODY, SECRET),
            (ID, "1614265331", SIGNATURE, BODY, SECRET),
            (ID, sent.as_str(), &SIGNATURE[3..], BODY, SECRET),
            (ID, sent.as_str(), "v1,", BODY, SECRET),
            (ID, sent.as_str(), SIGNATURE, b"{}", SECRET),
            (ID, sent.as_str(), SIGNATURE, BODY, "whsec_AAAA"),
            (ID, sent.as_str(), SIGNATURE, BODY, "no secret"),
        ] {
            assert!(!is_signed(id, timestamp, signatures, body, secret));
        }
    }

    #[test]
    fn five_minutes_and_no_more() {
        let of = |timestamp: &str, now| {
            let envelope = Envelope {
                id: ID,
                timestamp,
                signatures: SIGNATURE,
            };
            envelope.must_be_of(now).map_err(|p| p.kind())
        };
        let sent = SENT.to_string();
        for now in [SENT - 300, SENT, SENT + 300] {
            assert_eq!(of(&sent, now), Ok(()));
        }
        for now in [SENT - 301, SENT + 301] {
            assert_eq!(of(&sent, now), Err(Kind::Unauthenticated));
        }
        for odd in ["+1614265330", "1614265330.0", "99999999999999999999", "x"] {
            assert_eq!(of(odd, SENT), Err(Kind::Malformed), "{odd}");
        }
    }

    #[test]
    fn ids_are_remembered_and_not_without_end() {
        let seen = SeenCallbacks::default();
        let (ann, bob) = (
            AgentId(uuid::Uuid::from_u128(1)),
            AgentId(uuid::Uuid::from_u128(2)),
        );
        seen.note(ann, "first");
        assert!(seen.has(ann, "first") && !seen.has(bob, "first"));
        for n in 0..REMEMBERED {
            seen.note(bob, &n.to_string());
        }
        assert!(!seen.has(ann, "first") && seen.has(bob, "0"));
        assert_eq!(seen.seen().known.len(), REMEMBERED);
    }
}
