//! What a body says, checked as far as it can be without the database.

use serde_json::Value;
use talon_core::secret::SecretValue;
use talon_core::secret_writer::KeyName;
use talon_core::{AgentName, AgentSpec, Owner, validate};
use talon_store::codes;

use super::params::FieldValidation;
use crate::agents::secrets;
use crate::agents::spec::{Unknown, read, shown};
use crate::http::{Answer, FieldError, Kind, Problem};

/// What a body says, checked as far as it can be without the database.
pub struct Wanted {
    pub name: AgentName,
    pub owner: Option<Owner>,
    pub spec: AgentSpec,
    pub warnings: Vec<String>,
    /// Keys to be handed through to its Worker.
    pub keys: Vec<(KeyName, SecretValue)>,
}

/// Reads a body, `/status` and all: everything that is wrong at once. `name`: the path's.
pub fn wanted(mut body: Value, path: Option<&str>, validation: FieldValidation) -> Answer<Wanted> {
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
            if let Some(Ok(keys)) = keys {
                errors.extend(secrets::handed_in(Some(keys)).err().unwrap_or_default());
            }
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
pub fn fixed(pointer: &str) -> FieldError {
    FieldError {
        pointer: pointer.to_owned(),
        code: codes::FIXED.to_owned(),
        detail: codes::message(codes::FIXED).unwrap_or_default().to_owned(),
    }
}

pub fn invalid(errors: Vec<FieldError>) -> Problem {
    let n = errors.len();
    Problem::new(
        Kind::Invalid,
        format!("{n} thing(s) are not as they must be; see errors"),
    )
    .with_errors(errors)
}
