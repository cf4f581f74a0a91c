//! Who an actor of the audit log is, for people.

use std::collections::BTreeMap;

use talon_explain::safe;

use crate::app::App;
use crate::error::PageError;
use crate::session::Session;

/// How the audit log names a token.
const TOKEN: &str = "token:";

/// Labels of the tokens that somebody may know of.
pub struct Names(BTreeMap<String, String>);

impl Names {
    /// Of every token, or of those of the visitor's owner.
    pub async fn read(app: &App, session: &Session) -> Result<Self, PageError> {
        let tokens = app.store().tokens(session.visitor.owner.as_ref()).await?;
        Ok(Self(tokens.into_iter().map(|t| (t.id, t.label)).collect()))
    }

    /// The label of a token, `operator`, or the database's own word.
    pub fn who(&self, actor: &str) -> String {
        let token = actor.strip_prefix(TOKEN);
        match token.map(|id| (id, self.0.get(id))) {
            Some((_, Some(label))) => safe(label),
            Some((id, None)) => format!("token {}", safe(id)),
            None if actor == "sql" => "SQL".to_owned(),
            None => safe(actor),
        }
    }
}

/// What was done, in words.
pub fn action(word: &str) -> String {
    match word {
        "insert" => "created".to_owned(),
        "update" => "changed".to_owned(),
        "delete" => "asked to delete".to_owned(),
        "set_secret" => "set a key".to_owned(),
        "unset_secret" => "removed a key".to_owned(),
        "rotate_auth" => "rotated the auth token".to_owned(),
        "token_create" => "made a token".to_owned(),
        "token_revoke" => "revoked a token".to_owned(),
        "reconcile" => "asked for a pass".to_owned(),
        "cleanup_retry" => "asked to clean up again".to_owned(),
        "hold" => "set a hold".to_owned(),
        "release_hold" => "released the hold".to_owned(),
        other => safe(&other.replace('_', " ")),
    }
}
