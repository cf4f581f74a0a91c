//! What the dashboard shows of the daemon in this process: calls, passes, and how the token for Cloudflare stands.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::Utc;
use talon_cloudflare::{Client, NEEDED_PERMISSIONS, TokenTerms};
use talon_controller::budget::CallBudget;
use talon_controller::times::PassTimes;
use talon_core::cloud::{CallClass, CallCx, Cloud, CloudError};
use talon_dashboard::{Calls, CloudToken, Passes};
use tokio_util::sync::CancellationToken;

/// When the token is looked at first: whatever the daemon has to do at its start goes before.
const FIRST_LOOK: Duration = Duration::from_secs(5);
/// How often afterwards.
const LOOK_AGAIN: Duration = Duration::from_secs(15 * 60);

/// Shows the daemon.
pub struct Gauge {
    budget: Arc<CallBudget>,
    passes: Arc<PassTimes>,
    token: Mutex<Option<CloudToken>>,
}

impl Gauge {
    /// Of a daemon with this budget; nothing is asked yet.
    pub fn new(budget: Arc<CallBudget>, passes: Arc<PassTimes>) -> Self {
        Self {
            budget,
            passes,
            token: Mutex::default(),
        }
    }

    /// Looks at the token now and then, until `stop`.
    pub async fn watch_token(self: Arc<Self>, client: Arc<Client>, stop: CancellationToken) {
        let mut pause = FIRST_LOOK;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            let seen = look(&client).await;
            *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
            pause = LOOK_AGAIN;
        }
    }
}

async fn look(client: &Client) -> CloudToken {
    // Everything else goes first.
    let cx = CallCx {
        class: CallClass::Sweep,
        remaining: Some(Duration::from_secs(30)),
    };
    let status = match client.verify_token(cx).await {
        Ok(check) => Ok(check.status),
        Err(CloudError::Auth(_)) => Ok("refused".to_owned()),
        Err(_) => Err("not reached".to_owned()),
    };
    let terms = match status {
        Ok(_) => client.token_terms(cx).await.ok(),
        Err(_) => None,
    };
    let TokenTerms {
        expires_on,
        permissions,
    } = terms.unwrap_or(TokenTerms {
        expires_on: None,
        permissions: None,
    });
    let missing = permissions.as_ref().map(|held| {
        let lacks = |needed: &&str| !held.iter().any(|name| name == needed);
        NEEDED_PERMISSIONS.into_iter().filter(lacks).collect()
    });
    CloudToken {
        status,
        expires_on,
        missing: missing.unwrap_or_default(),
        permissions,
        asked_at: Utc::now(),
    }
}

impl talon_dashboard::Gauge for Gauge {
    fn calls(&self) -> Calls {
        Calls {
            used: self.budget.used(),
            paused_for: self.budget.pause_left(),
        }
    }

    fn passes(&self) -> Option<Passes> {
        self.passes.summary().map(|s| Passes {
            count: s.count,
            p50: s.p50,
            p99: s.p99,
        })
    }

    fn token(&self) -> Option<CloudToken> {
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        token.clone()
    }
}
