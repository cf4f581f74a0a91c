//! `talon token`: who may use the HTTP API.
#![allow(clippy::disallowed_methods)] // A new token is shown once, to whoever made it.

use std::time::Duration;

use serde_json::{Value, json};
use talon_core::Owner;
use talon_store::access::{ApiToken, Role};

use crate::exit::{Exit, Failure};
use crate::fleet::{Revoked, WantedToken, nothing_to_revoke, revoked_document};
use crate::output::{age, safe, table};
use crate::session::Session;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Roles, each of which may do what the ones before it may: viewer reads; operator creates, changes and deletes agents and \
gives them tasks; secret-writer sets the keys of agents; admin makes tokens and holds everything. With --owner a token sees \
that owner's agents only. Only the hash of a token is kept: it is shown once, on standard output.\n\
Example:\n  talon token create --role operator --label ci --expires 90d > ci.token"
)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

/// What to do.
#[derive(Debug, clap::Subcommand)]
enum What {
    /// Make a token; it is printed once
    Create {
        /// What it allows
        #[arg(long, value_parser = role, value_name = "viewer|operator|secret-writer|admin")]
        role: Role,
        /// What it is for, to tell it from others
        #[arg(long)]
        label: String,
        /// After this it is not accepted any more: 90d, 12h [default: never]
        #[arg(long, value_name = "DURATION", value_parser = age::parse_duration)]
        expires: Option<Duration>,
    },
    /// List tokens (with --owner: of one owner)
    List,
    /// Accept a token no more
    Revoke {
        /// The token's id, from the list
        id: String,
    },
}

fn role(text: &str) -> Result<Role, String> {
    text.parse()
        .map_err(|_| "a role is viewer, operator, secret-writer or admin".to_owned())
}

/// Works on the database, or by way of a daemon.
pub async fn run(args: Args, session: Session) -> Result<Exit, Failure> {
    match args.what {
        What::Create {
            role,
            label,
            expires,
        } => create(&session, role, label, expires).await,
        What::List => list(&session).await,
        What::Revoke { id } => revoke(&session, &id).await,
    }
}

async fn create(
    session: &Session,
    role: Role,
    label: String,
    expires_in: Option<Duration>,
) -> Result<Exit, Failure> {
    let owner = match session.global.owner.as_deref() {
        None => None,
        Some(text) => Some(Owner::parse(text).ok_or_else(|| {
            Failure::usage(
                "--owner has not the shape of an owner",
                "an owner has 1 to 64 lower-case letters, digits, '.', '_' and '-'",
            )
        })?),
    };
    let fleet = session.fleet().await?;
    let wanted = WantedToken {
        label,
        role,
        owner,
        expires_in,
    };
    let (made, token) = fleet.create_token(&wanted).await?;
    let out = &session.output;
    if out.is_machine() {
        let mut document = as_json(&made);
        document["token"] = json!(token.expose());
        out.document(&document)?;
    } else {
        out.line(token.expose());
        out.progress(&format!(
            "token {id}, role {}, for the agents of {}; it is not shown again (talon token revoke {id} ends it)",
            made.role,
            whose(&made),
            id = safe(&made.id),
        ));
    }
    Ok(Exit::Success)
}

fn whose(token: &ApiToken) -> String {
    match &token.owner {
        Some(owner) => safe(&owner.0),
        None => "everybody".to_owned(),
    }
}

fn as_json(token: &ApiToken) -> Value {
    json!({
        "id": token.id,
        "label": token.label,
        "role": token.role,
        "owner": token.owner,
        "createdAt": token.created_at,
        "expiresAt": token.expires_at,
        "lastUsedAt": token.last_used_at,
        "revokedAt": token.revoked_at,
    })
}

async fn list(session: &Session) -> Result<Exit, Failure> {
    let fleet = session.fleet().await?;
    let tokens = fleet.tokens(session.owner().as_ref()).await?;
    let out = &session.output;
    if out.is_machine() {
        let items: Vec<Value> = tokens.iter().map(as_json).collect();
        out.document(&json!({ "kind": "TokenList", "items": items }))?;
        return Ok(Exit::Success);
    }
    if tokens.is_empty() {
        out.progress("no tokens; talon token create makes one");
        return Ok(Exit::Success);
    }
    let stamp = |at: Option<_>| at.map(age::stamp).unwrap_or_default();
    let rows: Vec<Vec<String>> = tokens
        .iter()
        .map(|token| {
            vec![
                safe(&token.id),
                token.role.to_string(),
                whose(token),
                safe(&token.label),
                state(token).to_owned(),
                age::stamp(token.created_at),
                stamp(token.last_used_at),
                stamp(token.expires_at),
            ]
        })
        .collect();
    out.write(&table::render(
        &[
            "ID",
            "ROLE",
            "OWNER",
            "LABEL",
            "STATE",
            "CREATED",
            "LAST USED",
            "EXPIRES",
        ],
        &rows,
        out.width(),
    ));
    Ok(Exit::Success)
}

fn state(token: &ApiToken) -> &'static str {
    if token.revoked_at.is_some() {
        "revoked"
    } else if token.expires_at.is_some_and(|at| at <= chrono::Utc::now()) {
        "expired"
    } else {
        "valid"
    }
}

async fn revoke(session: &Session, id: &str) -> Result<Exit, Failure> {
    let fleet = session.fleet().await?;
    let before = match fleet.revoke_token(session.owner().as_ref(), id).await? {
        Revoked::Now => false,
        Revoked::Before => true,
        Revoked::Unknown => return Err(nothing_to_revoke("token")),
    };
    let out = &session.output;
    if out.is_machine() {
        out.document(&revoked_document(id, before))?;
    } else if before {
        out.line(&format!("token {} unchanged (revoked already)", safe(id)));
    } else {
        out.line(&format!("token {} revoked", safe(id)));
    }
    Ok(Exit::Success)
}
