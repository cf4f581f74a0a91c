//! Creating, replacing, changing and deleting agents.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use talon_core::secret::SecretValue;
use talon_core::secret_writer::KeyName;
use talon_core::{AgentId, AgentName, AgentSpec, Owner, Snapshot, validate};
use talon_plan::spec_diff::{self, Effect, FieldChange, Stage};
use talon_store::access::Outcome;
use talon_store::fleet::Decided;
use talon_store::{ApplyOptions, ApplyOutcome, StoreError, codes};
use utoipa::{IntoParams, ToSchema};

use super::AGENTS;
use super::attempt::{Begun, IdempotencyKey, end};
use super::conditional::Conditional;
use super::look::{actor, find, missing, must_find, response};
use super::secrets;
use super::spec::{Spec, Unknown, read, shown};
use super::view::{AgentView, Cleanup};
use super::wait::{Goal, WaitParams, until};
use crate::App;
use crate::auth::{Caller, Operator};
use crate::http::{
    Answer, FieldError, Json, Kind, Params, Problem, ProblemBody, is_media_type, read_json,
};

const MERGE_PATCH: &str = "application/merge-patch+json";

/// `?dryRun=server`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DryRun {
    /// Do everything, then take it back.
    Server,
}

/// `?fieldValidation=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
pub enum FieldValidation {
    /// Unknown fields are errors.
    #[default]
    Strict,
    /// Unknown fields are left out, with a `Warning` header.
    Warn,
}

/// How to write.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct WriteParams {
    /// With `server`, everything is checked and nothing is written; the answer is the plan.
    #[param(inline)]
    dry_run: Option<DryRun>,
    /// What unknown fields are: errors, or warnings.
    #[param(inline)]
    field_validation: Option<FieldValidation>,
    /// Answer only when the agent is there, needs a person, or time is up; the header `Talon-Wait` says which.
    #[param(inline)]
    wait: Option<Goal>,
    /// How long to wait: `60s`, `5m`. At most five minutes.
    #[param(pattern = "^[0-9]{1,4}(s|m)$", example = "60s")]
    timeout: Option<String>,
}

/// A new agent.
#[derive(ToSchema)]
#[allow(dead_code)] // Only its schema is used: bodies are read against the manifest's own schema.
#[schema(example = json!({"name": "research-pro", "spec": {
    "persona": "You are a careful research analyst.", "instructions": "Cite every claim.",
    "model": "anthropic/claude-sonnet-4-6", "api_key_refs": {"anthropic": "env:TALON_SECRET_ANTHROPIC"}}}))]
pub struct CreateAgent {
    /// 3 to 30 lower-case letters, digits and single inner hyphens.
    #[schema(min_length = 3, max_length = 30, pattern = "^[a-z0-9]+(-[a-z0-9]+)*$")]
    name: String,
    /// Whose it is; the token's owner if left out, else `default`.
    #[schema(min_length = 1, max_length = 64, pattern = "^[a-z0-9._-]+$")]
    #[schema(nullable = false)]
    owner: Option<String>,
    /// What it shall be.
    spec: Spec,
    /// Keys of model providers, by provider. They reach the agent's Worker and nothing else.
    #[schema(write_only, format = Password, value_type = Option<Object>, nullable = false)]
    api_keys: Option<Value>,
}

/// An agent as it shall be.
#[derive(ToSchema)]
#[allow(dead_code)] // As above.
#[schema(example = json!({"spec": {
    "persona": "You are a careful research analyst.", "instructions": "Cite every claim.",
    "model": "anthropic/claude-sonnet-4-6", "api_key_refs": {"anthropic": "env:TALON_SECRET_ANTHROPIC"}}}))]
pub struct ReplaceAgent {
    /// As in the path.
    #[schema(nullable = false)]
    name: Option<String>,
    /// As it is: never changes.
    #[schema(nullable = false)]
    owner: Option<String>,
    /// What it shall be.
    spec: Spec,
}

/// A merge patch (RFC 7396): null takes a field out, a list replaces the whole list.
#[derive(ToSchema)]
#[allow(dead_code)] // As above.
#[schema(example = json!({"spec": {"model": "openai/gpt-5", "display_name": null}}))]
pub struct PatchAgent {
    /// What shall change.
    #[schema(value_type = Object)]
    spec: Value,
}

/// What a write would do.
#[derive(Debug, Serialize, ToSchema)]
pub struct WritePlan {
    /// `created`, `updated` or `unchanged`.
    pub outcome: String,
    /// The generation before; 0: there is none.
    pub generation: i64,
    /// Field by field.
    pub changes: Vec<Change>,
}

/// What a write answers: the agent or, for a dry run, the plan.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[allow(dead_code)] // Only its schema is used.
pub enum Written {
    /// It is so.
    Agent(Box<AgentView>),
    /// It would be so.
    Plan(WritePlan),
}

/// One field that differs.
#[derive(Debug, Serialize, ToSchema)]
pub struct Change {
    /// Where: `spec.model`, `spec.skills[research].tags`.
    pub field: String,
    /// What is there, short.
    pub from: Option<String>,
    /// What will be there, short.
    pub to: Option<String>,
    /// What it causes: `router_only`, `secret_push`, `first_upload`, `first_bucket`, `behaviour` or `immutable`.
    pub effect: String,
}

impl From<FieldChange> for Change {
    fn from(change: FieldChange) -> Self {
        let effect = match change.effect {
            Effect::RouterOnly => "router_only",
            Effect::SecretPush => "secret_push",
            Effect::FirstUpload => "first_upload",
            Effect::FirstBucket => "first_bucket",
            Effect::Behaviour => "behaviour",
            Effect::Immutable => "immutable",
        };
        // Names of skills and providers stand in brackets or are lower-case: only our own names are turned.
        let (name, rest) = match change.field.split_once('[') {
            Some((name, rest)) => match rest.rsplit_once(']') {
                Some((inner, tail)) => (shown(name), format!("[{inner}]{}", shown(tail))),
                None => (shown(name), String::new()),
            },
            None => (shown(&change.field), String::new()),
        };
        Self {
            field: name + &rest,
            from: change.from,
            to: change.to,
            effect: effect.to_owned(),
        }
    }
}

/// What a body says, checked as far as it can be without the database.
struct Wanted {
    name: AgentName,
    owner: Option<Owner>,
    spec: AgentSpec,
    warnings: Vec<String>,
    /// Keys to be handed through to its Worker.
    keys: Vec<(KeyName, SecretValue)>,
}

/// Reads a body, `/status` and all: everything that is wrong at once. `name`: the path's.
fn wanted(mut body: Value, path: Option<&str>, validation: FieldValidation) -> Answer<Wanted> {
    let unknown = match validation {
        FieldValidation::Strict => Unknown::Refused,
        FieldValidation::Warn => Unknown::Dropped,
    };
    let mut errors = Vec::new();
    let wrong = |pointer: &str, code: &str, detail: String| FieldError {
        pointer: pointer.to_owned(),
        code: code.to_owned(),
        detail,
    };
    let named = body.get("name").and_then(Value::as_str).map(str::to_owned);
    let name = match (path, named) {
        (Some(path), Some(named)) if path != named => {
            errors.push(fixed("/name"));
            None
        }
        (Some(path), _) => Some(path.to_owned()),
        (None, Some(named)) => Some(named),
        (None, None) => {
            if body.get("name").is_none() && body.is_object() {
                let detail = "name is missing: add it".to_owned();
                errors.push(wrong("/name", "required", detail));
            }
            None
        }
    };
    let name = name.and_then(|name| match AgentName::parse(&name) {
        Ok(name) => Some(name),
        Err(e) => {
            errors.push(wrong("/name", "invalid", e.to_string()));
            None
        }
    });
    let owner = body.get("owner").and_then(Value::as_str).map(|text| {
        let owner = Owner::parse(text);
        if owner.is_none() {
            let detail = "an owner has 1 to 64 lower-case letters, digits, '.', '_' and '-'";
            errors.push(wrong("/owner", "invalid", detail.to_owned()));
        }
        owner
    });
    let keys = body.as_object_mut().and_then(|o| o.get_mut("api_keys"));
    let keys = keys.map(|keys| match path {
        None => Ok(keys.clone()),
        Some(_) => Err(()),
    });
    let read = read(&mut body, unknown);
    let (spec, mut warnings) = match read {
        Ok(read) => read,
        Err(more) => {
            errors.extend(more);
            return Err(invalid(errors));
        }
    };
    // Any name will do to check the rest of the spec, if the real one is wrong.
    let placeholder = AgentName::parse("placeholder").ok();
    if let Some(any) = name.as_ref().or(placeholder.as_ref()) {
        for violation in validate::validate(any, &spec) {
            errors.push(FieldError {
                pointer: shown(&violation.pointer),
                code: "invalid".to_owned(),
                detail: violation.detail,
            });
        }
    }
    let keys = match keys.transpose() {
        Ok(keys) => secrets::handed_in(keys).unwrap_or_else(|more| {
            errors.extend(more);
            Vec::new()
        }),
        Err(()) => {
            errors.push(FieldError {
                pointer: "/api_keys".to_owned(),
                code: "not_here".to_owned(),
                detail: "keys of an agent that is there are changed by PUT to its secrets/KEY: leave it out".to_owned(),
            });
            Vec::new()
        }
    };
    warnings.extend(looks_like_keys(&spec));
    match (name, errors.is_empty()) {
        (Some(name), true) => Ok(Wanted {
            name,
            owner: owner.flatten(),
            spec,
            warnings,
            keys,
        }),
        _ => Err(invalid(errors)),
    }
}

/// Where a text that is stored and published looks like it holds a key; never what stands there.
fn looks_like_keys(spec: &AgentSpec) -> impl Iterator<Item = String> {
    let found = validate::warnings(spec).into_iter();
    found.map(|w| format!("{}: {}", shown(&w.pointer), w.detail))
}

/// The spec of a body that speaks of the agent of this name.
pub fn wanted_spec(body: Value, name: &str) -> Answer<AgentSpec> {
    wanted(body, Some(name), FieldValidation::Strict).map(|wanted| wanted.spec)
}

/// What never changes, in the words of the database's own rule.
fn fixed(pointer: &str) -> FieldError {
    FieldError {
        pointer: pointer.to_owned(),
        code: codes::FIXED.to_owned(),
        detail: codes::message(codes::FIXED).unwrap_or_default().to_owned(),
    }
}

fn invalid(errors: Vec<FieldError>) -> Problem {
    let n = errors.len();
    Problem::new(
        Kind::Invalid,
        format!("{n} thing(s) are not as they must be; see errors"),
    )
    .with_errors(errors)
}

/// How one write goes.
struct Write<'a> {
    app: &'a App,
    caller: &'a Caller,
    params: &'a WriteParams,
    before: Option<Snapshot>,
    /// The generation at which it may happen; 0: only if there is nothing.
    if_generation: Option<i64>,
}

impl Write<'_> {
    /// Applies and answers, or rehearses.
    async fn run(self, wanted: Wanted) -> Answer<Response> {
        let app = self.app;
        self.carry_out(wanted).await?.answer(app).await
    }

    /// Applies, or rehearses.
    async fn carry_out(self, mut wanted: Wanted) -> Answer<CarriedOut> {
        let keys = std::mem::take(&mut wanted.keys);
        if !keys.is_empty() {
            secrets::takes_keys(self.app, self.caller)?;
        }
        let wait = WaitParams {
            wait: self.params.wait,
            timeout: self.params.timeout.clone(),
        };
        let wait = wait.read(self.app)?;
        let owner = self.owner(&wanted)?;
        let dry_run = self.params.dry_run.is_some();
        let options = ApplyOptions {
            if_generation: self.if_generation,
            dry_run,
        };
        let store = self.app.store();
        let applied = store
            .apply_as(
                &actor(self.caller),
                &wanted.name,
                &owner,
                &wanted.spec,
                options,
            )
            .await
            .map_err(|error| self.refused(error, &wanted.spec))?;
        if dry_run {
            let plan = write_plan(self.before.as_ref(), &wanted.spec, applied.outcome);
            return Ok(CarriedOut::Rehearsed(plan));
        }
        if !keys.is_empty() {
            // The row comes first: what fails from here on leaves an agent that waits for its keys.
            secrets::hand_in(self.app, self.caller, &wanted.name, keys).await?;
        }
        Ok(CarriedOut::Written {
            id: applied.id,
            created: applied.outcome == ApplyOutcome::Created,
            name: wanted.name,
            warnings: wanted.warnings,
            wait,
        })
    }

    /// Whose the agent is or will be.
    fn owner(&self, wanted: &Wanted) -> Answer<Owner> {
        let own = self.before.as_ref().map(|s| &s.agent.owner);
        let own = own.or(self.caller.owner.as_ref());
        match (own, &wanted.owner) {
            (Some(own), Some(other)) if own != other => {
                let error = match self.before {
                    Some(_) => fixed("/owner"),
                    None => FieldError {
                        pointer: "/owner".to_owned(),
                        code: "not_yours".to_owned(),
                        detail: "is another than the token's: leave it out".to_owned(),
                    },
                };
                Err(invalid(vec![error]))
            }
            (Some(own), _) => Ok(own.clone()),
            (None, Some(wanted)) => Ok(wanted.clone()),
            (None, None) => Ok(Owner::default()),
        }
    }

    /// A refusal of the database. That a name is taken is a conflict, unless the request itself asked for that to be looked
    /// at. A rule about several fields points at those that the request would change.
    fn refused(&self, error: StoreError, wanted: &AgentSpec) -> Problem {
        match error {
            StoreError::Stale { expected: 0, .. } if self.before.is_none() => Problem::new(
                Kind::Conflict,
                "the name is taken: choose another, or change the agent by PUT or PATCH",
            ),
            error => match &self.before {
                Some(before) => Problem::from(error).only_at(&changed(&before.agent.spec, wanted)),
                None => error.into(),
            },
        }
    }
}

/// Pointers to the fields that differ.
fn changed(old: &AgentSpec, new: &AgentSpec) -> Vec<String> {
    let (old, new) = (Spec::from(old).into_json(), Spec::from(new).into_json());
    let fields = |spec: &Value| spec.as_object().cloned().unwrap_or_default();
    let (old, new) = (fields(&old), fields(&new));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differ = names.into_iter().filter(|n| old.get(*n) != new.get(*n));
    differ.map(|name| format!("/spec/{name}")).collect()
}

/// What became of a write.
enum CarriedOut {
    /// Nothing is written.
    Rehearsed(WritePlan),
    /// It is in the database.
    Written {
        id: AgentId,
        created: bool,
        name: AgentName,
        warnings: Vec<String>,
        /// What the caller waits for, and how long.
        wait: Option<(Goal, Duration)>,
    },
}

impl CarriedOut {
    /// How a creation ended, to be told again; `None`: it made nothing.
    fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::Written {
                created: true,
                name,
                ..
            } => Some(Outcome {
                status: StatusCode::CREATED.as_u16(),
                agent: name.to_string(),
            }),
            Self::Written { .. } | Self::Rehearsed(_) => None,
        }
    }

    /// The response, once what the caller waits for is so.
    async fn answer(self, app: &App) -> Answer<Response> {
        let (id, created, name, warnings, wait) = match self {
            Self::Rehearsed(plan) => return Ok(axum::Json(plan).into_response()),
            Self::Written {
                id,
                created,
                name,
                warnings,
                wait,
            } => (id, created, name, warnings, wait),
        };
        let mut ended = None;
        let snapshot = match wait {
            Some((goal, timeout)) => {
                let (snapshot, how) = until(app, id, goal, timeout).await?;
                ended = Some(how);
                snapshot
            }
            None => app.store().load(id).await?.ok_or_else(missing)?,
        };
        let status = if created {
            StatusCode::CREATED
        } else {
            StatusCode::OK
        };
        let mut answer = response(status, &snapshot);
        let headers = answer.headers_mut();
        if let Some(ended) = ended {
            headers.insert("talon-wait", ended.header());
        }
        for warning in &warnings {
            if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{warning}\"")) {
                headers.append(header::WARNING, value);
            }
        }
        if created {
            located(headers, name.as_str());
        }
        Ok(answer)
    }
}

/// Where a new agent is.
fn located(headers: &mut HeaderMap, name: &str) {
    if let Ok(location) = HeaderValue::from_str(&format!("{AGENTS}/{name}")) {
        headers.insert(header::LOCATION, location);
    }
}

/// What writing this spec would do.
pub fn write_plan(before: Option<&Snapshot>, spec: &AgentSpec, outcome: ApplyOutcome) -> WritePlan {
    let changes = before.map(|s| spec_diff::diff(&s.agent.spec, spec, Stage::of(s)));
    WritePlan {
        outcome: match outcome {
            ApplyOutcome::Created => "created",
            ApplyOutcome::Updated => "updated",
            ApplyOutcome::Unchanged => "unchanged",
        }
        .to_owned(),
        generation: before.map_or(0, |s| s.agent.generation.0),
        changes: changes.into_iter().flatten().map(Change::from).collect(),
    }
}

/// Creates an agent. 409 if the name is taken.
#[utoipa::path(post, path = "/api/v1/openclaw/agents", operation_id = "create_agent", tag = "agents",
    security(("bearer" = ["operator"])),
    params(WriteParams,
        ("Idempotency-Key" = Option<String>, Header, description = "The same request with the same key is done once, for 24 hours")),
    request_body = CreateAgent, responses(
        (status = 201, description = "It is made", body = AgentView,
            headers(("ETag" = String, description = "Its tag"), ("Location" = String, description = "Where it is"))),
        (status = 200, description = "With `dryRun`: what would be done", body = WritePlan),
        (status = 409, description = "The name is taken, or a request with this key is under way", content_type = "application/problem+json", body = ProblemBody),
        (status = 422, description = "It can never be made as written", content_type = "application/problem+json", body = ProblemBody),
))]
pub async fn create(
    State(app): State<App>,
    Operator(caller): Operator,
    Params(params): Params<WriteParams>,
    key: IdempotencyKey,
    body: Json,
) -> Answer<Response> {
    let what = format!("create:{:?}", params);
    let attempt = match key.begin(&app, &caller, &what, &body.value).await? {
        Begun::Do(attempt) => attempt,
        Begun::Again(outcome) => return again(&app, &caller, outcome).await,
    };
    let made = {
        let app = app.clone();
        // On its own: who asked may be gone before it has ended, and comes again to hear how it did. Waiting comes after.
        tokio::spawn(async move {
            let made = make(&app, &caller, &params, body.value).await;
            let outcome = made.as_ref().ok().and_then(CarriedOut::outcome);
            end(&app, attempt, outcome).await;
            made
        })
    };
    let made = made.await.map_err(|_| {
        Problem::new(
            Kind::Internal,
            "a defect of the server; whether the agent was made can be seen by reading it",
        )
    })??;
    made.answer(&app).await
}

async fn make(app: &App, caller: &Caller, params: &WriteParams, body: Value) -> Answer<CarriedOut> {
    let wanted = wanted(body, None, params.field_validation.unwrap_or_default())?;
    let write = Write {
        app,
        caller,
        params,
        before: None,
        if_generation: Some(0),
    };
    write.carry_out(wanted).await
}

/// The answer of an earlier attempt, with the agent as it is now.
async fn again(app: &App, caller: &Caller, outcome: Outcome) -> Answer<Response> {
    let snapshot = must_find(app, caller, &outcome.agent, true).await?;
    let status = StatusCode::from_u16(outcome.status).unwrap_or(StatusCode::OK);
    let mut answer = response(status, &snapshot);
    located(answer.headers_mut(), &outcome.agent);
    Ok(answer)
}

/// Brings an agent to exactly this spec. Must say what it builds upon: `If-Match`, `If-Generation`, or `If-None-Match: *`
/// for an agent that is not there yet.
#[utoipa::path(put, path = "/api/v1/openclaw/agents/{name}", operation_id = "replace_agent", tag = "agents",
    security(("bearer" = ["operator"])),
    params(("name" = String, Path, description = "The agent's name", example = "research-pro"), WriteParams,
        ("If-Match" = Option<String>, Header, description = "The tag of what is replaced, or *"),
        ("If-None-Match" = Option<String>, Header, description = "*: only if there is no such agent"),
        ("If-Generation" = Option<i64>, Header, description = "The generation of what is replaced; 0: there is none")),
    request_body = ReplaceAgent, responses(
        (status = 200, description = "It is so; with `dryRun`: what would be done", body = Written, headers(("ETag" = String, description = "Its tag"))),
        (status = 201, description = "It is made", body = AgentView, headers(("ETag" = String, description = "Its tag"))),
        (status = 404, description = "No such agent", content_type = "application/problem+json", body = ProblemBody),
        (status = 409, description = "The agent is being deleted", content_type = "application/problem+json", body = ProblemBody),
        (status = 412, description = "The agent has changed", content_type = "application/problem+json", body = ProblemBody),
        (status = 422, description = "It can never be so", content_type = "application/problem+json", body = ProblemBody),
        (status = 428, description = "It must say what it builds upon", content_type = "application/problem+json", body = ProblemBody),
))]
pub async fn replace(
    State(app): State<App>,
    Operator(caller): Operator,
    Path(name): Path<String>,
    Params(params): Params<WriteParams>,
    conditional: Conditional,
    body: Json,
) -> Answer<Response> {
    if !conditional.is_given() {
        return Err(Problem::new(
            Kind::PreconditionRequired,
            "say what this builds upon: If-Match and the agent's ETag, If-Generation, or If-None-Match: * for a new agent",
        ));
    }
    let before = find(&app, &caller, &name, false).await?;
    if before.is_none() && !conditional.creates_only() {
        return Err(missing());
    }
    let if_generation = conditional.check(before.as_ref())?;
    let validation = params.field_validation.unwrap_or_default();
    let wanted = wanted(body.value, Some(&name), validation)?;
    let write = Write {
        app: &app,
        caller: &caller,
        params: &params,
        before,
        if_generation,
    };
    write.run(wanted).await
}

/// Changes parts of an agent by a merge patch.
#[utoipa::path(patch, path = "/api/v1/openclaw/agents/{name}", operation_id = "patch_agent", tag = "agents",
    security(("bearer" = ["operator"])),
    params(("name" = String, Path, description = "The agent's name", example = "research-pro"), WriteParams,
        ("If-Match" = Option<String>, Header, description = "The tag of what is changed, or *"),
        ("If-Generation" = Option<i64>, Header, description = "The generation of what is changed")),
    request_body(content = PatchAgent, content_type = "application/merge-patch+json"), responses(
        (status = 200, description = "It is so; with `dryRun`: what would be done", body = Written, headers(("ETag" = String, description = "Its tag"))),
        (status = 404, description = "No such agent", content_type = "application/problem+json", body = ProblemBody),
        (status = 409, description = "The agent is being deleted", content_type = "application/problem+json", body = ProblemBody),
        (status = 412, description = "The agent has changed", content_type = "application/problem+json", body = ProblemBody),
        (status = 422, description = "It can never be so", content_type = "application/problem+json", body = ProblemBody),
))]
pub async fn patch(
    State(app): State<App>,
    Operator(caller): Operator,
    Path(name): Path<String>,
    Params(params): Params<WriteParams>,
    conditional: Conditional,
    request: Request,
) -> Answer<Response> {
    if !is_media_type(request.headers(), MERGE_PATCH) {
        return Err(Problem::new(
            Kind::UnsupportedMediaType,
            "send a merge patch, as application/merge-patch+json",
        )
        .with_header(
            HeaderName::from_static("accept-patch"),
            HeaderValue::from_static(MERGE_PATCH),
        ));
    }
    let patch = read_json(request.into_body(), &app).await?.value;
    let before = must_find(&app, &caller, &name, false).await?;
    let if_generation = conditional.check(Some(&before))?;
    let mut body = json!({"spec": Spec::from(&before.agent.spec).into_json()});
    merge(&mut body, patch);
    let validation = params.field_validation.unwrap_or_default();
    let wanted = wanted(body, Some(&name), validation)?;
    let write = Write {
        app: &app,
        caller: &caller,
        params: &params,
        // What was merged is what was read: if it changes in between, the write is refused.
        if_generation: if_generation.or(Some(before.agent.generation.0)),
        before: Some(before),
    };
    write.run(wanted).await
}

/// RFC 7396.
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Value::Object(target) = target else {
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(&key);
        } else {
            merge(target.entry(key).or_insert(Value::Null), value);
        }
    }
}

/// How to delete.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeleteParams {
    /// Leaves the bucket and what is in it.
    #[param(default = false)]
    keep_bucket: Option<bool>,
    /// With `deleted`: answer only when everything is cleaned up, a person is needed, or time is up.
    #[param(inline)]
    wait: Option<Goal>,
    /// How long to wait: `60s`, `5m`. At most five minutes.
    #[param(pattern = "^[0-9]{1,4}(s|m)$", example = "60s")]
    timeout: Option<String>,
}

/// Asks for the deletion of an agent. The answer shows how far it is; asking again shows how far it is then.
#[utoipa::path(delete, path = "/api/v1/openclaw/agents/{name}", operation_id = "delete_agent", tag = "agents",
    security(("bearer" = ["operator"])),
    params(("name" = String, Path, description = "The agent's name", example = "research-pro"), DeleteParams,
        ("If-Match" = Option<String>, Header, description = "The tag of what is deleted, or *"),
        ("If-Generation" = Option<i64>, Header, description = "The generation of what is deleted")),
    responses(
        (status = 202, description = "It is being deleted", body = Cleanup),
        (status = 404, description = "No such agent, or deleted before", content_type = "application/problem+json", body = ProblemBody),
        (status = 409, description = "It is protected", content_type = "application/problem+json", body = ProblemBody),
        (status = 412, description = "The agent has changed", content_type = "application/problem+json", body = ProblemBody),
))]
pub async fn delete(
    State(app): State<App>,
    Operator(caller): Operator,
    Path(name): Path<String>,
    Params(params): Params<DeleteParams>,
    conditional: Conditional,
) -> Answer<Response> {
    let wait = WaitParams {
        wait: params.wait,
        timeout: params.timeout,
    };
    let wait = wait.read(&app)?;
    let before = must_find(&app, &caller, &name, false).await?;
    let decided = Some(Decided {
        id: before.agent.id,
        generation: conditional.check(Some(&before))?,
    });
    let keep_bucket = params.keep_bucket.unwrap_or_default();
    let by = actor(&caller);
    app.store()
        .request_deletion_as(&by, &before.agent.name, decided, keep_bucket)
        .await?;
    let id = before.agent.id;
    let (snapshot, ended) = match wait {
        Some((goal, timeout)) => {
            let (snapshot, ended) = until(&app, id, goal, timeout).await?;
            (snapshot, Some(ended))
        }
        None => (app.store().load(id).await?.ok_or_else(missing)?, None),
    };
    let mut answer = (StatusCode::ACCEPTED, axum::Json(Cleanup::from(&snapshot))).into_response();
    if let Some(ended) = ended {
        answer.headers_mut().insert("talon-wait", ended.header());
    }
    Ok(answer)
}
