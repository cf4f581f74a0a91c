//! `talon keys`: the API keys with which people let agents that they run themselves into the Hub.
#![allow(clippy::disallowed_methods)] // A new key is shown once, to whoever made it.

use std::time::Duration;

use serde_json::json;
use talon_core::presence::ApiKey;

use crate::exit::{Exit, Failure};
use crate::fleet::{Revoked, nothing_to_revoke, revoked_document};
use crate::output::{age, safe, table};
use crate::session::Session;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "An agent that you run yourself trades its key at the Hub's /auth/agent-token for a short token. Only the hash of a \
key is kept: it is shown once, on standard output.\n\
Example:\n  talon keys create --label laptop --expires 90d > laptop.key"
)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

/// What to do.
#[derive(Debug, clap::Subcommand)]
enum What {
    /// Make a key for an owner's agents (--owner); it is printed once
    Create {
        /// What it is for, to tell it from others
        #[arg(long)]
        label: String,
        /// After this it lets nobody in any more: 90d, 12h [default: never]
        #[arg(long, value_name = "DURATION", value_parser = age::parse_duration)]
        expires: Option<Duration>,
    },
    /// List keys (with --owner: of one owner)
    List,
    /// Let nobody in with a key any more
    Revoke {
        /// The key's id, from the list
        id: String,
    },
}

/// Works on the database, or by way of a daemon.
pub async fn run(args: Args, session: Session) -> Result<Exit, Failure> {
    match args.what {
        What::Create { label, expires } => create(&session, &label, expires).await,
        What::List => list(&session).await,
        What::Revoke { id } => revoke(&session, &id).await,
    }
}

async fn create(
    session: &Session,
    label: &str,
    expires: Option<Duration>,
) -> Result<Exit, Failure> {
    if label.trim().is_empty() {
        return Err(Failure::usage(
            "a key without a label cannot be told from others",
            "say with --label what it is for: --label laptop",
        ));
    }
    if expires.is_some_and(|time| time.is_zero()) {
        return Err(Failure::usage(
            "a key that has expired already lets nobody in",
            "give it time (--expires 90d), or leave --expires out",
        ));
    }
    let fleet = session.fleet().await?;
    let owner = session.owner();
    let (made, key) = fleet.create_key(owner.as_ref(), label, expires).await?;
    let out = &session.output;
    if out.is_machine() {
        let mut document = json!(made);
        document["key"] = json!(key.expose());
        out.document(&document)?;
    } else {
        out.line(key.expose());
        out.progress(&format!(
            "key {} for the agents of {}; it is not shown again (talon keys revoke {} ends it)",
            safe(&made.id),
            safe(&made.owner),
            safe(&made.id)
        ));
    }
    Ok(Exit::Success)
}

async fn list(session: &Session) -> Result<Exit, Failure> {
    let fleet = session.fleet().await?;
    let keys = fleet.keys(session.owner().as_ref()).await?;
    let out = &session.output;
    if out.is_machine() {
        out.document(&json!({ "kind": "ApiKeyList", "items": keys }))?;
        return Ok(Exit::Success);
    }
    if keys.is_empty() {
        out.progress("no keys; talon keys create makes one");
        return Ok(Exit::Success);
    }
    let rows: Vec<Vec<String>> = keys
        .iter()
        .map(|key| {
            vec![
                safe(&key.id),
                safe(&key.owner),
                safe(&key.label),
                state(key).to_owned(),
                age::stamp(key.created_at),
                key.expires_at.map(age::stamp).unwrap_or_default(),
            ]
        })
        .collect();
    out.write(&table::render(
        &["ID", "OWNER", "LABEL", "STATE", "CREATED", "EXPIRES"],
        &rows,
        out.width(),
    ));
    Ok(Exit::Success)
}

fn state(key: &ApiKey) -> &'static str {
    if key.revoked_at.is_some() {
        "revoked"
    } else if key.expires_at.is_some_and(|at| at <= chrono::Utc::now()) {
        "expired"
    } else {
        "valid"
    }
}

async fn revoke(session: &Session, id: &str) -> Result<Exit, Failure> {
    let fleet = session.fleet().await?;
    let before = match fleet.revoke_key(session.owner().as_ref(), id).await? {
        Revoked::Now => false,
        Revoked::Before => true,
        Revoked::Unknown => return Err(nothing_to_revoke("key")),
    };
    let out = &session.output;
    if out.is_machine() {
        out.document(&revoked_document(id, before))?;
    } else if before {
        out.line(&format!("key {} unchanged (revoked already)", safe(id)));
    } else {
        out.line(&format!(
            "key {} revoked; connections of its agents end within two minutes",
            safe(id)
        ));
    }
    Ok(Exit::Success)
}
