//! What changes between two specs of an agent, field by field, and what each change will cause. Pure.

use serde::Serialize;
use talon_core::AgentSpec;
use talon_core::secret::SecretRef;
use talon_core::spec::Skill;

use talon_core::Snapshot;
use talon_core::resource::{ResourceKind, ResourceState};
use talon_core::text::for_terminal;

/// What a change causes (architecture.md, "Update classes").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// The card is registered again; Cloudflare is not called.
    RouterOnly,
    /// One bulk secrets call; nothing is uploaded.
    SecretPush,
    /// Goes into the first upload: nothing is deployed yet.
    FirstUpload,
    /// Goes into the bucket: there is none yet.
    FirstBucket,
    /// Nothing is called; the controller behaves otherwise from now on.
    Behaviour,
    /// Refused.
    Immutable,
}

impl Effect {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RouterOnly => "router registration only",
            Self::SecretPush => "push secrets, no redeploy",
            Self::FirstUpload => "part of the first upload",
            Self::FirstBucket => "when the bucket is created",
            Self::Behaviour => "no call to Cloudflare",
            Self::Immutable => "IMMUTABLE",
        }
    }
}

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldChange {
    /// Where: `spec.model`, `spec.skills[research].tags`.
    pub field: String,
    /// What was there, escaped and short; `None` if nothing.
    pub from: Option<String>,
    /// What will be there; `None` if nothing.
    pub to: Option<String>,
    /// What it causes.
    pub effect: Effect,
}

impl FieldChange {
    /// `old → new`, in the form that fits.
    pub fn values(&self) -> String {
        match (&self.from, &self.to) {
            (Some(from), Some(to)) => format!("{from} → {to}"),
            (None, Some(to)) => format!("+ {to}"),
            (Some(from), None) => format!("- {from}"),
            (None, None) => "changed".to_owned(),
        }
    }
}

/// What is known of the agent that decides what a change causes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stage {
    /// It was deployed once.
    pub deployed: bool,
    /// Its bucket exists or is being made.
    pub bucket_exists: bool,
}

impl Stage {
    /// What an agent's records say.
    pub fn of(snapshot: &Snapshot) -> Self {
        Self {
            deployed: snapshot.agent.status.first_deployed_at.is_some(),
            bucket_exists: snapshot
                .resource(ResourceKind::R2Bucket)
                .is_some_and(|r| r.state != ResourceState::Absent),
        }
    }
}

fn safe(text: &str) -> String {
    for_terminal(text).into_owned()
}

/// Compares two specs.
pub fn diff(old: &AgentSpec, new: &AgentSpec, stage: Stage) -> Vec<FieldChange> {
    let mut found = Differences(Vec::new());
    let identity = if stage.deployed {
        Effect::Immutable
    } else {
        Effect::FirstUpload
    };
    let card = if stage.deployed {
        Effect::RouterOnly
    } else {
        Effect::FirstUpload
    };
    let secret = if stage.deployed {
        Effect::SecretPush
    } else {
        Effect::FirstUpload
    };
    let bucket = if stage.bucket_exists {
        Effect::Immutable
    } else {
        Effect::FirstBucket
    };
    let AgentSpec {
        display_name,
        description,
        display_description,
        persona,
        instructions,
        model,
        keep_alive,
        visibility,
        api_key_refs: _,
        secrets_version,
        skills: _,
        wallet_address,
        theme,
        avatar_url,
        cover_url,
        r2,
        suspend,
        deletion_policy,
        deletion_protected,
    } = new;
    found.text("displayName", &old.display_name, display_name, card);
    found.text("description", &old.description, description, card);
    found.text(
        "displayDescription",
        &old.display_description,
        display_description,
        card,
    );
    found.long("persona", &old.persona, persona, identity);
    found.long("instructions", &old.instructions, instructions, identity);
    found.value("model", &old.model, model, secret);
    found.value("keepAlive", &old.keep_alive, keep_alive, secret);
    found.value("visibility", &old.visibility, visibility, card);
    refs(&mut found, old, new, secret);
    found.value(
        "secretsVersion",
        &old.secrets_version,
        secrets_version,
        secret,
    );
    skills(&mut found, &old.skills, &new.skills, card);
    found.text("walletAddress", &old.wallet_address, wallet_address, card);
    found.value("theme", &old.theme, theme, card);
    found.text("avatarUrl", &old.avatar_url, avatar_url, card);
    found.text("coverUrl", &old.cover_url, cover_url, card);
    found.value("r2", &old.r2, r2, bucket);
    found.value("suspend", &old.suspend, suspend, Effect::Behaviour);
    found.value(
        "deletionPolicy",
        &old.deletion_policy,
        deletion_policy,
        Effect::Behaviour,
    );
    found.value(
        "deletionProtected",
        &old.deletion_protected,
        deletion_protected,
        Effect::Behaviour,
    );
    found.0
}

/// The longest piece of a value that is shown.
const SHOWN: usize = 48;

struct Differences(Vec<FieldChange>);

impl Differences {
    fn push(&mut self, field: &str, from: Option<String>, to: Option<String>, effect: Effect) {
        self.0.push(FieldChange {
            field: format!("spec.{field}"),
            from,
            to,
            effect,
        });
    }

    fn value<T: PartialEq + Serialize>(&mut self, field: &str, old: &T, new: &T, effect: Effect) {
        if old != new {
            self.push(field, shown(old), shown(new), effect);
        }
    }

    fn text(&mut self, field: &str, old: &Option<String>, new: &Option<String>, effect: Effect) {
        self.value(field, old, new, effect);
    }

    /// Long texts are not shown, only measured.
    fn long(&mut self, field: &str, old: &str, new: &str, effect: Effect) {
        if old != new {
            let size = |s: &str| Some(format!("{} characters", s.chars().count()));
            self.push(field, size(old), size(new), effect);
        }
    }
}

fn shown<T: Serialize>(value: &T) -> Option<String> {
    let value = serde_json::to_value(value).ok()?;
    if value.is_null() {
        return None;
    }
    let text = match value.as_str() {
        Some(s) => format!("\"{}\"", safe(&talon_core::text::clip(s, SHOWN))),
        None => safe(&talon_core::text::clip(&value.to_string(), SHOWN * 2)),
    };
    Some(text)
}

fn refs(found: &mut Differences, old: &AgentSpec, new: &AgentSpec, effect: Effect) {
    let mut providers: Vec<_> = old
        .api_key_refs
        .keys()
        .chain(new.api_key_refs.keys())
        .collect();
    providers.sort();
    providers.dedup();
    for provider in providers {
        let (from, to) = (
            old.api_key_refs.get(provider),
            new.api_key_refs.get(provider),
        );
        if from != to {
            let field = format!("apiKeyRefs.{}", safe(&provider.0));
            found.push(&field, from.map(reference), to.map(reference), effect);
        }
    }
}

/// A text that does not parse may be a pasted key: never repeated.
fn reference(r: &SecretRef) -> String {
    match r.parse() {
        Some(_) => format!("\"{}\"", safe(&r.0)),
        None => "(not a reference)".to_owned(),
    }
}

fn skills(found: &mut Differences, old: &[Skill], new: &[Skill], effect: Effect) {
    for skill in old {
        if !new.iter().any(|s| s.id == skill.id) {
            let field = format!("skills[{}]", safe(&skill.id));
            found.push(
                &field,
                Some(format!("\"{}\"", safe(&skill.name))),
                None,
                effect,
            );
        }
    }
    for skill in new {
        let field = |name: &str| format!("skills[{}]{name}", safe(&skill.id));
        let Some(was) = old.iter().find(|s| s.id == skill.id) else {
            found.push(
                &field(""),
                None,
                Some(format!("\"{}\"", safe(&skill.name))),
                effect,
            );
            continue;
        };
        found.value(&field(".name"), &was.name, &skill.name, effect);
        found.value(
            &field(".description"),
            &was.description,
            &skill.description,
            effect,
        );
        found.value(
            &field(".pricingModel"),
            &was.pricing_model,
            &skill.pricing_model,
            effect,
        );
        found.value(
            &field(".priceUsd"),
            &was.price_usd,
            &skill.price_usd,
            effect,
        );
        found.value(&field(".tags"), &was.tags, &skill.tags, effect);
        found.value(&field(".examples"), &was.examples, &skill.examples, effect);
    }
    let order = |list: &[Skill]| list.iter().map(|s| s.id.clone()).collect::<Vec<_>>();
    let (mut a, mut b) = (order(old), order(new));
    if a != b {
        a.sort();
        b.sort();
        if a == b {
            found.push(
                "skills",
                Some("one order".into()),
                Some("another order".into()),
                effect,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use talon_core::secret::Provider;

    fn spec(json: serde_json::Value) -> AgentSpec {
        let mut base =
            serde_json::json!({"persona": "p", "instructions": "i", "model": "anthropic/a"});
        if let (Some(base), Some(more)) = (base.as_object_mut(), json.as_object()) {
            base.extend(more.clone());
        }
        serde_json::from_value(base).expect("a spec")
    }

    const LIVE: Stage = Stage {
        deployed: true,
        bucket_exists: true,
    };

    #[test]
    fn the_same_spec_has_no_differences() {
        let a = spec(
            serde_json::json!({"theme": {}, "skills": [{"id": "x", "name": "X", "description": "d"}]}),
        );
        assert_eq!(diff(&a, &a.clone(), LIVE), []);
    }

    #[test]
    fn each_class_of_change_has_its_effect() {
        let old = spec(serde_json::json!({}));
        let cases = [
            (
                serde_json::json!({"displayName": "N"}),
                "spec.displayName",
                Effect::RouterOnly,
            ),
            (
                serde_json::json!({"model": "openai/b"}),
                "spec.model",
                Effect::SecretPush,
            ),
            (
                serde_json::json!({"keepAlive": true}),
                "spec.keepAlive",
                Effect::SecretPush,
            ),
            (
                serde_json::json!({"secretsVersion": 2}),
                "spec.secretsVersion",
                Effect::SecretPush,
            ),
            (
                serde_json::json!({"persona": "q"}),
                "spec.persona",
                Effect::Immutable,
            ),
            (
                serde_json::json!({"r2": {"locationHint": "weur"}}),
                "spec.r2",
                Effect::Immutable,
            ),
            (
                serde_json::json!({"suspend": true}),
                "spec.suspend",
                Effect::Behaviour,
            ),
            (
                serde_json::json!({"apiKeyRefs": {"anthropic": "env:TALON_SECRET_A"}}),
                "spec.apiKeyRefs.anthropic",
                Effect::SecretPush,
            ),
        ];
        for (change, field, effect) in cases {
            let changes = diff(&old, &spec(change), LIVE);
            assert_eq!(changes.len(), 1, "{field}");
            assert_eq!(
                (changes[0].field.as_str(), changes[0].effect),
                (field, effect)
            );
        }
    }

    #[test]
    fn before_the_first_deployment_nothing_is_immutable() {
        let old = spec(serde_json::json!({}));
        let new = spec(serde_json::json!({"persona": "q", "r2": {"locationHint": "weur"}}));
        let effects: Vec<_> = diff(&old, &new, Stage::default())
            .iter()
            .map(|c| c.effect)
            .collect();
        assert_eq!(effects, [Effect::FirstUpload, Effect::FirstBucket]);
    }

    #[test]
    fn what_is_not_a_reference_is_never_shown() {
        let old = spec(serde_json::json!({}));
        let mut new = old.clone();
        let pasted = "sk-ant-canary";
        new.api_key_refs
            .insert(Provider("anthropic".into()), SecretRef(pasted.into()));
        let text = format!("{:?}", diff(&old, &new, LIVE));
        assert!(!text.contains(pasted), "{text}");
    }

    #[test]
    fn skills_are_compared_by_id() {
        let skill = |id: &str, tags: &[&str]| serde_json::json!({"id": id, "name": id, "description": "d", "tags": tags});
        let old = spec(serde_json::json!({"skills": [skill("a", &[]), skill("b", &[])]}));
        let new = spec(serde_json::json!({"skills": [skill("b", &["finance"]), skill("c", &[])]}));
        let fields: Vec<_> = diff(&old, &new, LIVE)
            .into_iter()
            .map(|c| c.field)
            .collect();
        assert_eq!(
            fields,
            ["spec.skills[a]", "spec.skills[b].tags", "spec.skills[c]"]
        );
    }
}
