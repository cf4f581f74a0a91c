//! Who may use Talon: API tokens with their roles, when they were last used, when they end. A token is shown once.

use std::time::Duration;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::{Redirect, Response};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use talon_core::Owner;
use talon_core::secret::SecretValue;
use talon_explain::{age, safe};
use talon_store::access::{ApiToken, NewAudit, NewToken};

use super::{Shell, require};
use crate::app::App;
use crate::error::{PageError, show as render};
use crate::fields::{Fields, Posted, Theme};
use crate::session::Session;
use crate::ui::{Markup, ago, icon, pill};
use crate::visitor::Role;

/// A token that ends sooner wants a look.
const SOON: TimeDelta = TimeDelta::days(7);
/// As over HTTP.
const MAX_LABEL: usize = 100;
/// What may be chosen, in days; the HTTP API takes any number up to ten years.
const LASTS: [u64; 4] = [7, 30, 90, 365];

struct Line {
    id: String,
    label: String,
    role: Role,
    owner: String,
    state: Markup,
    made: Markup,
    used: Option<Markup>,
    ends: String,
    /// It can be revoked.
    accepted: bool,
    /// This session rests on it.
    own: bool,
}

/// What was typed, to be typed no second time.
#[derive(Default)]
struct Typed {
    label: String,
    role: String,
    owner: String,
    days: String,
}

struct Wrong {
    label: Option<&'static str>,
    owner: Option<&'static str>,
}

#[derive(Template)]
#[template(path = "access.html")]
struct AccessPage {
    shell: Shell,
    done: Option<&'static str>,
    /// The token that was made by this request, and its label.
    made: Option<(String, String)>,
    makes: bool,
    typed: Typed,
    wrong: Wrong,
    roles: [(Role, &'static str); 4],
    lasts: [u64; 4],
    lines: Vec<Line>,
    past: Vec<Line>,
}

/// What the address asks for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    done: String,
}

const ROLES: [(Role, &str); 4] = [
    (Role::Viewer, "reads"),
    (Role::Operator, "creates, changes and deletes agents"),
    (Role::SecretWriter, "sets keys as well"),
    (Role::Admin, "makes tokens, releases holds"),
];

async fn page(
    app: &App,
    session: &Session,
    theme: Theme,
    shown: (Typed, Wrong, Option<(String, String)>, Option<&'static str>),
) -> Result<Response, PageError> {
    let (typed, wrong, made, done) = shown;
    let tokens = app.store().tokens(session.visitor.owner.as_ref()).await?;
    let now = Utc::now();
    let all = tokens.into_iter().map(|token| line(token, session, now));
    let (lines, past) = all.partition(|line| line.accepted);
    render(&AccessPage {
        shell: Shell::new(
            app,
            session,
            theme,
            "Access",
            "access",
            "/access".to_owned(),
        ),
        done,
        made,
        makes: app.new_token().is_some(),
        typed,
        wrong,
        roles: ROLES,
        lasts: LASTS,
        lines,
        past,
    })
}

fn line(token: ApiToken, session: &Session, now: DateTime<Utc>) -> Line {
    let ended = token.expires_at.is_some_and(|at| at <= now);
    let soon = token.expires_at.is_some_and(|at| at - now < SOON);
    let state = match (token.revoked_at.is_some(), ended, soon) {
        (true, ..) => pill("idle", "cross", "revoked"),
        (false, true, _) => pill("idle", "clock", "expired"),
        (false, false, true) => pill("warn", "warn", "ends soon"),
        (false, false, false) => pill("good", "check", "accepted"),
    };
    Line {
        own: session.visitor.is_token(&token.id),
        label: safe(&token.label),
        role: token.role,
        owner: token
            .owner
            .map_or_else(|| "everybody's".to_owned(), |owner| safe(&owner.0)),
        state,
        made: ago(now, token.created_at),
        used: token.last_used_at.map(|at| ago(now, at)),
        ends: match (token.revoked_at, token.expires_at) {
            (Some(at), _) => format!("revoked {} ago", age::since(now, at)),
            (None, None) => "never ends".to_owned(),
            (None, Some(at)) if ended => format!("{} ago", age::since(now, at)),
            (None, Some(at)) => format!("in {}", age::since(at, now)),
        },
        accepted: token.revoked_at.is_none() && !ended,
        id: token.id,
    }
}

/// `GET /access`.
pub async fn show(
    State(app): State<App>,
    session: Session,
    theme: Theme,
    Query(asked): Query<Asked>,
) -> Result<Response, PageError> {
    require(&session, Role::Admin)?;
    let done = (asked.done == "revoked").then_some("Revoked: it is not accepted from now on.");
    let nothing = Wrong {
        label: None,
        owner: None,
    };
    page(
        &app,
        &session,
        theme,
        (Typed::default(), nothing, None, done),
    )
    .await
}

/// What is to be made, or what is wrong with it.
fn wanted(fields: &Fields, session: &Session) -> Result<NewToken, Wrong> {
    let label = fields.get("label").trim();
    let length = label.chars().count();
    let bad_label = !(1..=MAX_LABEL).contains(&length) || label.chars().any(char::is_control);
    let owner = match (fields.get("owner").trim(), &session.visitor.owner) {
        (_, Some(own)) => Ok(Some(own.clone())),
        ("", None) => Ok(None),
        (text, None) => Owner::parse(text).map(Some).ok_or(()),
    };
    let role = fields.get("role").parse().unwrap_or(Role::Viewer);
    let days: Option<u64> = fields.get("days").parse().ok();
    match (bad_label, owner) {
        (false, Ok(owner)) => Ok(NewToken {
            label: label.to_owned(),
            role,
            owner,
            sha256: String::new(),
            expires_in: days
                .filter(|days| LASTS.contains(days))
                .map(|days| Duration::from_secs(days * 86_400)),
        }),
        (bad_label, owner) => Err(Wrong {
            label: bad_label.then_some("One line of 1 to 100 characters."),
            owner: owner
                .is_err()
                .then_some("1 to 64 lower-case letters, digits, '.', '_' and '-'."),
        }),
    }
}

/// The one moment at which a token is not a secret: whoever made it must be told.
#[allow(clippy::disallowed_methods)]
fn shown_once(token: &SecretValue) -> String {
    token.expose().to_owned()
}

async fn note(app: &App, session: &Session, action: &str, id: String) -> Result<(), PageError> {
    let entry = NewAudit {
        action: action.to_owned(),
        object: id,
        fields: Vec::new(),
    };
    Ok(app.store().audit(&session.visitor.actor(), &entry).await?)
}

/// `POST /access`. The answer is the page itself, with the token in it: an address that leads to it would show it twice.
pub async fn make(
    State(app): State<App>,
    theme: Theme,
    posted: Posted,
) -> Result<Response, PageError> {
    let Posted { session, fields } = posted;
    require(&session, Role::Admin)?;
    let Some(new_token) = app.new_token() else {
        return Err(PageError::refused(
            "This server makes no tokens: talon token create does.",
        ));
    };
    let typed = Typed {
        label: fields.get("label").to_owned(),
        role: fields.get("role").to_owned(),
        owner: fields.get("owner").to_owned(),
        days: fields.get("days").to_owned(),
    };
    let wanted = match wanted(&fields, &session) {
        Ok(wanted) => wanted,
        Err(wrong) => return page(&app, &session, theme, (typed, wrong, None, None)).await,
    };
    let token = new_token();
    let new = NewToken {
        sha256: token.sha256_hex(),
        ..wanted
    };
    let made = app.store().create_token(&new).await?;
    note(&app, &session, "token_create", made.id).await?;
    let nothing = Wrong {
        label: None,
        owner: None,
    };
    let shown = Some((shown_once(&token), safe(&made.label)));
    page(
        &app,
        &session,
        theme,
        (Typed::default(), nothing, shown, None),
    )
    .await
}

/// `POST /access/{id}/revoke`.
pub async fn revoke(
    State(app): State<App>,
    Path(id): Path<String>,
    posted: Posted,
) -> Result<Redirect, PageError> {
    let session = posted.session;
    require(&session, Role::Admin)?;
    let known = app.store().tokens(session.visitor.owner.as_ref()).await?;
    if !known.iter().any(|token| token.id == id) || !app.store().revoke_token(&id).await? {
        return Err(PageError::refused(
            "There is no such token, or it was revoked before.",
        ));
    }
    note(&app, &session, "token_revoke", id).await?;
    Ok(Redirect::to("/access?done=revoked"))
}
