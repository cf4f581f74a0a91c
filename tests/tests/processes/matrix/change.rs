//! What can be changed of an agent, and what each change is to cause.

use serde_json::{Map, Value};
use talon_core::AgentSpec;
use talon_core::secret::{Provider, SecretRef};
use talon_core::spec::{LocationHint, PricingModel, Visibility};
use talon_store::codes;

/// What an accepted change causes at Cloudflare once the agent is deployed, or why it is not accepted then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: it is the Router's.
    RouterOnly,
    /// One call that writes secrets, and no upload.
    SecretPush,
    /// Refused by this rule, once the agent was deployed.
    FixedOnceDeployed(&'static str),
    /// Refused by this rule, always.
    Fixed(&'static str),
}

/// One field.
pub struct Change {
    /// As the manifest names it; `name` and `owner` stand beside the spec.
    pub field: &'static str,
    /// What it causes.
    pub effect: Effect,
    /// Makes it; does nothing for what stands beside the spec.
    pub edit: fn(&mut AgentSpec),
}

/// What `name` and `owner` are to become.
pub const ANOTHER: &str = "somebody-else";

const fn change(field: &'static str, effect: Effect, edit: fn(&mut AgentSpec)) -> Change {
    Change {
        field,
        effect,
        edit,
    }
}

/// Every field of the table in `README.md`, and those that never change. Each edit gives a value that none had before.
pub const ALL: [Change; 14] = [
    change("displayName", Effect::RouterOnly, |s| {
        s.display_name = Some("Another Name".to_owned());
    }),
    change("description", Effect::RouterOnly, |s| {
        s.description = Some("Does other things.".to_owned());
    }),
    change("skills", Effect::RouterOnly, |s| {
        s.skills[0].description = "Researches other topics.".to_owned();
    }),
    // The pricing stands in the skills.
    change("skills", Effect::RouterOnly, |s| {
        s.skills[0].pricing_model = PricingModel::PerRequest;
        s.skills[0].price_usd = Some(0.25);
    }),
    change("visibility", Effect::RouterOnly, |s| {
        s.visibility = Visibility::Public;
    }),
    change("model", Effect::SecretPush, |s| {
        s.model = "anthropic/claude-opus-4-1".to_owned();
    }),
    change("keepAlive", Effect::SecretPush, |s| s.keep_alive = true),
    change("apiKeyRefs", Effect::SecretPush, |s| {
        let reference = SecretRef("env:TALON_SECRET_OPENAI".to_owned());
        s.api_key_refs
            .insert(Provider("openai".to_owned()), reference);
    }),
    change("secretsVersion", Effect::SecretPush, |s| {
        s.secrets_version += 1;
    }),
    change(
        "persona",
        Effect::FixedOnceDeployed(codes::IMMUTABLE),
        |s| s.persona = "You are careless.".to_owned(),
    ),
    change(
        "instructions",
        Effect::FixedOnceDeployed(codes::IMMUTABLE),
        |s| s.instructions = "Cite nothing.".to_owned(),
    ),
    change("r2", Effect::FixedOnceDeployed(codes::BUCKET_FIXED), |s| {
        s.r2.location_hint = Some(LocationHint::Weur);
    }),
    change("name", Effect::Fixed(codes::FIXED), |_| {}),
    change("owner", Effect::Fixed(codes::FIXED), |_| {}),
];

/// When the change is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nothing was deployed yet.
    Before,
    /// It is deployed.
    After,
    /// It is being deleted.
    Deleting,
}

/// What must come of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Accepted, and these writes to its Worker.
    Accepted(&'static [&'static str]),
    /// Refused, with the words of this rule.
    Refused(&'static str),
}

impl Change {
    /// What must come of it then, whichever way it is made.
    pub fn outcome(&self, phase: Phase) -> Outcome {
        match (phase, self.effect) {
            (_, Effect::Fixed(code)) => Outcome::Refused(code),
            (Phase::Deleting, _) => Outcome::Refused(codes::DELETING),
            (Phase::Before, _) | (Phase::After, Effect::RouterOnly) => Outcome::Accepted(&[]),
            (Phase::After, Effect::SecretPush) => Outcome::Accepted(&["workers.secrets.bulk"]),
            (Phase::After, Effect::FixedOnceDeployed(code)) => Outcome::Refused(code),
        }
    }

    /// Whether it stands beside the spec.
    pub fn is_beside_spec(&self) -> bool {
        matches!(self.effect, Effect::Fixed(_))
    }

    /// As SQL and the API name it.
    pub fn column(&self) -> String {
        snake(self.field)
    }

    /// The spec with the change, and the changed field's value as the manifest has it.
    pub fn applied(&self, spec: &AgentSpec) -> (AgentSpec, Value) {
        let mut changed = spec.clone();
        (self.edit)(&mut changed);
        let all = serde_json::to_value(&changed).unwrap_or_default();
        let value = match self.is_beside_spec() {
            true => ANOTHER.into(),
            false => all[self.field].clone(),
        };
        (changed, value)
    }
}

fn snake(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            text.push('_');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}

/// As the API has it: keys in snake_case.
pub fn as_api(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let turned = object.into_iter().map(|(k, v)| (snake(&k), as_api(v)));
            Value::Object(turned.collect::<Map<_, _>>())
        }
        Value::Array(list) => list.into_iter().map(as_api).collect(),
        other => other,
    }
}

/// As a literal of SQL.
pub fn as_sql(value: &Value) -> String {
    match value {
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => format!("'{}'", text.replace('\'', "''")),
        other => format!("'{}'", other.to_string().replace('\'', "''")),
    }
}
