//! `talon keys`: the API keys with which people let agents that they run themselves into the Hub.
#![allow(clippy::disallowed_methods)] // A new key is shown once, to whoever made it.

use std::time::Duration;

use data_encoding::BASE32_NOPAD;
use serde_json::json;
use talon_controller::clock::OsRandom;
use talon_core::clock::Random;
use talon_core::presence::ApiKey;
use talon_core::secret::SecretValue;
use talon_hub::API_KEY_PREFIX;

use crate::exit::{Exit, Failure};
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

/// Bytes of chance in a key.
const CHANCE: usize = 30;

/// Works on the database.
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
    let store = session.whole_store().await?;
    let owner = session.owner().unwrap_or_default();
    let key = new_key();
    let made = store
        .create_api_key(&owner.0, label, &key.sha256_hex(), expires)
        .await?;
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

fn new_key() -> SecretValue {
    let mut bytes = [0u8; CHANCE];
    OsRandom.fill(&mut bytes);
    let text = BASE32_NOPAD.encode(&bytes).to_ascii_lowercase();
    bytes.fill(0);
    SecretValue::new(format!("{API_KEY_PREFIX}{text}"))
}

async fn list(session: &Session) -> Result<Exit, Failure> {
    let store = session.whole_store().await?;
    let keys = store.api_keys(session.global.owner.as_deref()).await?;
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
    let store = session.whole_store().await?;
    if !store.revoke_api_key(id).await? {
        return Err(Failure::new(
            Exit::NotFound,
            "there is no valid key of this id",
            "talon keys list shows the ids",
        ));
    }
    let out = &session.output;
    if out.is_machine() {
        out.document(&json!({ "id": id, "revoked": true }))?;
    } else {
        out.line(&format!(
            "key {} revoked; connections of its agents end within two minutes",
            safe(id)
        ));
    }
    Ok(Exit::Success)
}
