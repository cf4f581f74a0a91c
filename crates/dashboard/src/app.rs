//! What every page works with.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::RngCore;
use talon_core::guesses::{Attempt, ClientAddress, Guesses};
use talon_core::logs::AgentLogs;
use talon_core::secret::SecretValue;
use talon_core::secret_writer::SecretWriter;
use talon_core::turns::Turns;
use talon_store::{StoreResult, WholeStore};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::feed::{self, Seen};
use crate::gauge::Gauge;
use crate::samples::Samples;
use crate::session::{Sessions, hash_of, same};
use crate::visitor::{self, Visitor};

/// How long a one-time link opens the dashboard.
const LINK_LASTS: Duration = Duration::from_secs(15 * 60);

/// Makes an API token that nobody can guess.
pub type NewToken = Box<dyn Fn() -> SecretValue + Send + Sync>;

/// What a dashboard is made of.
pub struct DashboardParts {
    /// The database.
    pub store: Arc<dyn WholeStore>,
    /// SHA-256 (lower-case hex) of the operator's token, which is accepted beside those in the database.
    pub operator_sha256: String,
    /// Brings keys to Workers; without it, keys are given by reference only.
    pub secrets: Option<Arc<dyn SecretWriter>>,
    /// Signs sessions: derived from the install key, so that every replica accepts what another one signed.
    pub session_key: [u8; 32],
    /// Browsers reach the dashboard by https only.
    pub https: bool,
    /// The daemon in this process, if there is one.
    pub gauge: Option<Arc<dyn Gauge>>,
    /// The lines of the daemon in this process and of its agents' Workers; without it, none are shown.
    pub logs: Option<Arc<dyn AgentLogs>>,
    /// Counts the wrong tokens that an address shows, beside those that it shows over HTTP.
    pub guesses: Arc<Guesses>,
    /// How many calls five minutes allow.
    pub call_ceiling: u32,
    /// Makes API tokens as the HTTP API does; without it, none are made here.
    pub new_token: Option<NewToken>,
    /// Ends every stream when the server stops.
    pub stopping: CancellationToken,
}

/// Shared by all requests. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Shared>);

struct Shared {
    parts: DashboardParts,
    sessions: Sessions,
    seen: watch::Receiver<Seen>,
    samples: Samples,
    links: Mutex<BTreeMap<String, (String, Instant)>>,
    turns: Option<Arc<Turns>>,
}

impl App {
    /// Must be made within a runtime: readers of the database begin to run.
    pub fn new(parts: DashboardParts, turns: Option<Arc<Turns>>) -> Self {
        let seen = feed::follow(Arc::clone(&parts.store), parts.stopping.clone());
        let samples = Samples::gather(
            Arc::clone(&parts.store),
            parts.gauge.clone(),
            parts.stopping.clone(),
        );
        Self(Arc::new(Shared {
            sessions: Sessions::new(parts.session_key, parts.https),
            seen,
            samples,
            links: Mutex::default(),
            turns,
            parts,
        }))
    }

    pub fn store(&self) -> &Arc<dyn WholeStore> {
        &self.0.parts.store
    }

    /// Whose token has this SHA-256, if it is accepted now.
    pub async fn admit(&self, sha256: &str) -> StoreResult<Option<Visitor>> {
        visitor::admit(&**self.store(), &self.0.parts.operator_sha256, sha256).await
    }

    /// How a session names whoever showed the token with this SHA-256.
    pub fn subject<'h>(&self, sha256: &'h str) -> &'h str {
        if same(sha256, &self.0.parts.operator_sha256) {
            visitor::OPERATOR
        } else {
            sha256
        }
    }

    /// Whether whoever is there may show this token now; else how long to wait. The operator always may: it is compared and
    /// not looked up.
    pub fn attempt(
        &self,
        from: Option<ClientAddress>,
        sha256: &str,
    ) -> Result<Attempt<'_>, Duration> {
        let is_operator = same(sha256, &self.0.parts.operator_sha256);
        let from = from.filter(|_| !is_operator);
        self.0.parts.guesses.attempt(from, sha256)
    }

    pub fn secrets(&self) -> Option<&Arc<dyn SecretWriter>> {
        self.0.parts.secrets.as_ref()
    }

    /// Counts what visitors ask for, beside what the same tokens ask over HTTP; `None`: nobody counts.
    pub fn turns(&self) -> Option<&Turns> {
        self.0.turns.as_deref()
    }

    pub fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    pub fn stopping(&self) -> &CancellationToken {
        &self.0.parts.stopping
    }

    pub fn call_ceiling(&self) -> u32 {
        self.0.parts.call_ceiling.max(1)
    }

    pub fn new_token(&self) -> Option<&NewToken> {
        self.0.parts.new_token.as_ref()
    }

    pub fn gauge(&self) -> Option<&Arc<dyn Gauge>> {
        self.0.parts.gauge.as_ref()
    }

    pub fn logs(&self) -> Option<&Arc<dyn AgentLogs>> {
        self.0.parts.logs.as_ref()
    }

    pub fn samples(&self) -> &Samples {
        &self.0.samples
    }

    pub fn seen(&self) -> watch::Receiver<Seen> {
        self.0.seen.clone()
    }

    /// A code that signs in once as the token with this hash.
    pub fn one_time_code(&self, token_sha256: &str) -> String {
        let mut bytes = [0u8; 24];
        rand::rng().fill_bytes(&mut bytes);
        let code = hex::encode(bytes);
        let mut links = self.0.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|_, (_, made)| made.elapsed() < LINK_LASTS);
        links.insert(hash_of(&code), (token_sha256.to_owned(), Instant::now()));
        code
    }

    /// Takes a code: the hash of the token that it stands for.
    pub fn redeem(&self, code: &str) -> Option<String> {
        let mut links = self.0.links.lock().unwrap_or_else(PoisonError::into_inner);
        let (token, made) = links.remove(&hash_of(code))?;
        (made.elapsed() < LINK_LASTS).then_some(token)
    }
}
