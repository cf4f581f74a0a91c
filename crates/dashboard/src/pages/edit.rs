//! Making and changing an agent: form and manifest side by side, and a rehearsal in the database before anything is written.

mod form;
mod pasted;
mod plan;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use talon_core::manifest::{Manifest, to_yaml};
use talon_core::{AgentId, Owner, Snapshot};
use talon_store::ApplyOptions;

use super::agent::{locked, shown_yaml};
use super::{Shell, find_to_change, require};
use crate::app::App;
use crate::error::{PageError, show as render};
use crate::fields::{Fields, Posted, Theme};
use crate::session::Session;
use crate::ui::icon;
use crate::visitor::Role;
use form::Form;
use plan::Plan;

#[derive(Template)]
#[template(path = "edit.html")]
struct EditPage {
    shell: Shell,
    name: Option<String>,
    action: String,
    generation: i64,
    agent: Option<AgentId>,
    locked: Option<String>,
    f: Form,
    yaml: String,
    plan: Plan,
}

/// What a new agent begins with.
const EXAMPLE: &str = "apiVersion: talon.dev/v1
kind: OpenClawAgent
metadata:
  name: research-pro
spec:
  persona: You are a careful research analyst.
  instructions: Cite every claim.
  model: anthropic/claude-sonnet-4-6
  apiKeyRefs:
    anthropic: env:TALON_SECRET_ANTHROPIC
";

fn page(
    app: &App,
    session: &Session,
    theme: Theme,
    before: Option<&Snapshot>,
    shown: (Form, String, Plan),
) -> Result<Response, PageError> {
    let name = before.map(|s| s.agent.name.to_string());
    let (title, section, action) = match &name {
        Some(name) => (
            format!("Edit {name}"),
            "agent",
            format!("/agents/{name}/edit"),
        ),
        None => ("New agent".to_owned(), "new", "/new".to_owned()),
    };
    let (f, yaml, plan) = shown;
    render(&EditPage {
        shell: Shell::new(app, session, theme, title, section, action.clone()),
        generation: before.map_or(0, |s| s.agent.generation.0),
        agent: before.map(|s| s.agent.id),
        locked: before.and_then(locked),
        name,
        action,
        f,
        yaml,
        plan,
    })
}

/// `GET /new`.
pub async fn new(
    State(app): State<App>,
    session: Session,
    theme: Theme,
) -> Result<Response, PageError> {
    require(&session, Role::Operator)?;
    let owner = session.visitor.owner.clone().unwrap_or_default();
    let yaml = match owner == Owner::default() {
        true => EXAMPLE.to_owned(),
        false => EXAMPLE.replace(
            "name: research-pro",
            &format!("name: research-pro\n  owner: {owner}"),
        ),
    };
    let form = plan::read(&yaml).map(|m| Form::of(&m)).unwrap_or_default();
    page(&app, &session, theme, None, (form, yaml, Plan::begin()))
}

/// `GET /agents/{name}/edit`.
pub async fn edit(
    State(app): State<App>,
    session: Session,
    theme: Theme,
    Path(name): Path<String>,
) -> Result<Response, PageError> {
    let s = find_to_change(&app, &session, &name).await?;
    let yaml = shown_yaml(&s);
    let form = Form::of(&as_manifest(&s));
    page(&app, &session, theme, Some(&s), (form, yaml, Plan::begin()))
}

fn as_manifest(s: &Snapshot) -> Manifest {
    Manifest {
        name: s.agent.name.clone(),
        owner: s.agent.owner.clone(),
        spec: s.agent.spec.clone(),
    }
}

/// `POST /new`.
pub async fn new_posted(
    State(app): State<App>,
    theme: Theme,
    posted: Posted,
) -> Result<Response, PageError> {
    require(&posted.session, Role::Operator)?;
    answer(&app, theme, &posted, None).await
}

/// `POST /agents/{name}/edit`.
pub async fn posted(
    State(app): State<App>,
    theme: Theme,
    Path(name): Path<String>,
    posted: Posted,
) -> Result<Response, PageError> {
    let s = find_to_change(&app, &posted.session, &name).await?;
    answer(&app, theme, &posted, Some(s)).await
}

/// What a form asks for: a plan from its fields, a plan from the manifest, or to write the manifest.
async fn answer(
    app: &App,
    theme: Theme,
    posted: &Posted,
    before: Option<Snapshot>,
) -> Result<Response, PageError> {
    let Posted { session, fields } = posted;
    let yaml = fields.get("yaml").to_owned();
    let wanted = match fields.get("do") {
        "plan-form" => from_form(fields, &yaml, session, before.as_ref()),
        _ => plan::read(&yaml),
    };
    let manifest = match wanted {
        Ok(manifest) => manifest,
        Err(errors) => {
            let mut form = Form::from_fields(fields, before.as_ref());
            form.reference = pasted::reference(&form.reference);
            let yaml = pasted::manifest(&yaml);
            return page(
                app,
                session,
                theme,
                before.as_ref(),
                (form, yaml, Plan::unreadable(errors)),
            );
        }
    };
    let yaml = match fields.get("do") {
        "plan-form" => to_yaml(&manifest.name, &manifest.owner, &manifest.spec),
        _ => yaml,
    };
    // Only to the agent that was shown, as it was shown: its name may be another's by now.
    let shown = |s: &Snapshot| fields.get("agent").parse().unwrap_or(s.agent.id);
    let options = ApplyOptions {
        if_generation: Some(match &before {
            Some(_) => fields.get("generation").parse().unwrap_or(0),
            None => 0,
        }),
        if_agent: before.as_ref().map(shown),
        dry_run: false,
    };
    let plan = Plan::make(&**app.store(), session, before.as_ref(), &manifest, options).await?;
    if fields.get("do") == "apply" && plan.may_apply {
        app.store()
            .apply_as(
                &session.visitor.actor(),
                &manifest.name,
                &manifest.owner,
                &manifest.spec,
                options,
            )
            .await?;
        let done = if before.is_some() {
            "applied"
        } else {
            "created"
        };
        return Ok(Redirect::to(&format!("/agents/{}?done={done}", manifest.name)).into_response());
    }
    page(
        app,
        session,
        theme,
        before.as_ref(),
        (Form::of(&manifest), yaml, plan),
    )
}

/// The manifest with what the form's fields say in place of its own: the form does not know every field.
fn from_form(
    fields: &Fields,
    yaml: &str,
    session: &Session,
    before: Option<&Snapshot>,
) -> Result<Manifest, Vec<plan::Wrong>> {
    let under = match (before, plan::parse(yaml)) {
        (_, Ok(manifest)) => Some(manifest),
        (Some(s), Err(_)) => Some(as_manifest(s)),
        (None, Err(_)) => None,
    };
    let text = Form::from_fields(fields, before).over(under, session.visitor.owner.as_ref());
    plan::read(&text)
}
