//! What Talon assumes of the real Cloudflare and could not find out without an account, checked with the resources of
//! one throw-away agent. Safety never rests on one of these; speed and clear messages do.
//!
//! Makes a Worker, a bucket and a token named `talon-verify-…`, and removes them again, whatever happens in between.

mod checks;
mod run;

use std::time::Duration;

use talon_core::cloud::{Binding, CallClass, CallCx, WorkerUpload};

use crate::client::Client;

/// How one assumption stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// As assumed.
    Holds,
    /// Otherwise, and how.
    Differs(String),
    /// Not found out, because something before it failed.
    NotChecked(String),
}

/// The checks by name, in the order in which they were made.
pub type Report = Vec<(&'static str, Verdict)>;

/// What an upload of the throw-away Worker must hold; modules, compatibility date and migration come from the caller's
/// bundle.
#[derive(Debug)]
pub struct Wanted {
    /// All bindings but those of Durable Objects, which the bundle adds.
    pub bindings: Vec<Binding>,
    /// All tags.
    pub tags: Vec<String>,
    /// Whether the bundle's Durable Object migration goes along: only with the first upload.
    pub migrate: bool,
}

/// How patient the checks are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Pause between two looks.
    pub pause: Duration,
    /// Longest wait for something to show.
    pub most: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            pause: Duration::from_secs(2),
            most: Duration::from_secs(90),
        }
    }
}

/// Runs every check on a real account. `mark` makes the names unique: 4–16 characters of `[a-z0-9]`.
///
/// Takes one to five minutes and about sixty calls. Leaves nothing behind that it can remove; what it cannot remove is
/// in the report under `cleanup-…`.
pub async fn verify_account(
    client: &Client,
    bundle: &(dyn Fn(Wanted) -> WorkerUpload + Sync),
    mark: &str,
    patience: Patience,
) -> Report {
    let mut run = run::Run::new(client, bundle, mark, patience);
    run.account().await;
    run.absent_things().await;
    run.bucket().await;
    run.worker().await;
    run.secrets().await;
    run.token().await;
    run.storage().await;
    run.clean_up().await;
    run.report
}

/// Nothing here is in a hurry, and nobody's lease runs.
fn cx() -> CallCx {
    CallCx {
        class: CallClass::UserChange,
        remaining: None,
    }
}
