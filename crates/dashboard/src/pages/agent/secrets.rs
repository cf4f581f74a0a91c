//! The secrets of an agent: names, fingerprints, sources; and a field that takes a value and never shows one.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{Redirect, Response};
use talon_core::secret::{Provider, SecretValue};
use talon_core::secret_writer::{KeyName, SecretWriteError, ValueStored};
use talon_explain::{secrets, view};
use talon_store::access::NewAudit;

use super::visit::Visit;
use crate::app::App;
use crate::error::PageError;
use crate::fields::Posted;
use crate::pages::{find, require};
use crate::ui::{Markup, ago, icon, pill};
use crate::visitor::Role;

struct Line {
    name: String,
    set: Markup,
    fingerprint: String,
    source: String,
    state: String,
    updated: Markup,
}

struct SetForm {
    refused: Option<&'static str>,
    /// Whose key the agent's model needs.
    provider: String,
}

#[derive(Template)]
#[template(path = "agent_secrets.html")]
struct SecretsTab {
    name: String,
    csrf: String,
    lines: Vec<Line>,
    set: Option<SetForm>,
}

/// `GET /agents/{name}/secrets`.
pub async fn show(visit: Visit) -> Result<Response, PageError> {
    let s = &visit.snapshot;
    let lines = secrets::lines(s)
        .into_iter()
        .map(|line| Line {
            name: line.name,
            set: match (line.set, line.state.as_str()) {
                (false, _) => pill("warn", "warn", "not set"),
                // Its answer was lost, or it is on its way.
                (true, "pushing") => pill("busy", "dots", "not certain"),
                (true, _) => pill("good", "check", "set"),
            },
            fingerprint: line.fingerprint,
            source: line.source,
            state: line.state,
            updated: line.pushed_at.map(|at| ago(s.now, at)).unwrap_or_default(),
        })
        .collect();
    let set = (!s.agent.is_deleting()).then(|| SetForm {
        provider: view::provider(s).map(|p| p.0).unwrap_or_default(),
        refused: match (
            visit.session.visitor.role >= Role::SecretWriter,
            visit.app.secrets(),
        ) {
            (false, _) => Some("Setting a key takes the role secret-writer."),
            (true, None) => {
                Some("This server takes no values: give the key by reference, in the manifest.")
            }
            (true, Some(_)) => None,
        },
    });
    visit.show(
        "/secrets",
        &SecretsTab {
            name: s.agent.name.to_string(),
            csrf: visit.session.csrf.clone(),
            lines,
            set,
        },
    )
}

/// `POST /agents/{name}/secrets`.
pub async fn set(
    State(app): State<App>,
    Path(name): Path<String>,
    posted: Posted,
) -> Result<Redirect, PageError> {
    require(&posted.session, Role::SecretWriter)?;
    let s = find(&app, &posted.session, &name).await?;
    let Posted {
        session,
        mut fields,
    } = posted;
    let value = SecretValue::new(fields.take("value"));
    let Some(writer) = app.secrets() else {
        return Err(PageError::refused(
            "This server takes no values: give the key by reference. What was sent was dropped.",
        ));
    };
    let Some(key) = KeyName::of(&Provider(fields.get("provider").trim().to_owned())) else {
        return Err(PageError::refused(
            "This is not the name of a model provider. What was sent was dropped.",
        ));
    };
    let who = session.visitor.counted_as();
    let _place = match app.turns() {
        Some(turns) => {
            turns.write_key(&who)?;
            Some(turns.keys_of(s.agent.id).ok_or_else(|| {
                PageError::refused(
                    "Another key of this agent is on its way. What was sent was dropped: try again.",
                )
            })?)
        }
        None => None,
    };
    // Before it is done: a key on a Worker of which the log says nothing must not be.
    let entry = NewAudit {
        action: "set_secret".to_owned(),
        object: s.agent.name.to_string(),
        fields: vec![key.to_string()],
    };
    app.store().audit(&session.visitor.actor(), &entry).await?;
    writer
        .set_keys(s.agent.id, vec![(key, value)])
        .await
        .map_err(|error| told(&error))?;
    Ok(Redirect::to(&format!(
        "/agents/{}/secrets?done=secret",
        s.agent.name
    )))
}

/// What became of the value, in words.
fn told(error: &SecretWriteError) -> PageError {
    let stored = match error.value_stored() {
        ValueStored::No => "The value was not stored.",
        ValueStored::Unknown => {
            "Whether the value was stored is not known yet; setting it once more is safe."
        }
    };
    PageError::refused(format!(
        "{}. {stored}",
        talon_explain::safe(&error.to_string())
    ))
}
