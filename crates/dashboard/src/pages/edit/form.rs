//! The fields of the form, and how they go into a manifest and come out of one.

use talon_core::manifest::Manifest;
use talon_core::secret::{Provider, SecretRef};
use talon_core::spec::{AgentSpec, Visibility};
use talon_core::{Owner, Snapshot};

use crate::fields::Fields;

/// What the form shows.
#[derive(Debug, Default)]
pub struct Form {
    pub name: String,
    pub owner: String,
    pub display_name: String,
    pub description: String,
    pub persona: String,
    pub instructions: String,
    pub model: String,
    pub public: bool,
    pub provider: String,
    pub reference: String,
    pub more_refs: usize,
    pub keep_alive: bool,
    pub deletion_protected: bool,
    pub skills: usize,
}

fn text(value: &Option<String>) -> String {
    value.clone().unwrap_or_default()
}

fn some(value: &str) -> Option<String> {
    (!value.trim().is_empty()).then(|| value.trim().to_owned())
}

impl Form {
    /// What a manifest says.
    pub fn of(manifest: &Manifest) -> Self {
        let spec = &manifest.spec;
        let first = spec
            .api_key_refs
            .iter()
            .find(|(_, reference)| reference.parse().is_some());
        Self {
            name: manifest.name.to_string(),
            owner: manifest.owner.to_string(),
            display_name: text(&spec.display_name),
            description: text(&spec.description),
            persona: spec.persona.clone(),
            instructions: spec.instructions.clone(),
            model: spec.model.clone(),
            public: spec.visibility == Visibility::Public,
            provider: first
                .map(|(provider, _)| provider.to_string())
                .unwrap_or_default(),
            reference: first
                .map(|(_, reference)| reference.0.clone())
                .unwrap_or_default(),
            more_refs: spec.api_key_refs.len().saturating_sub(1),
            keep_alive: spec.keep_alive,
            deletion_protected: spec.deletion_protected,
            skills: spec.skills.len(),
        }
    }

    /// What somebody typed; fields that are locked say what is stored.
    pub fn from_fields(fields: &Fields, before: Option<&Snapshot>) -> Self {
        let stored = before.map(|s| {
            Self::of(&Manifest {
                name: s.agent.name.clone(),
                owner: s.agent.owner.clone(),
                spec: s.agent.spec.clone(),
            })
        });
        let or_stored = |name: &str, of: fn(&Self) -> &String| {
            let typed = fields.maybe(name).map(str::to_owned);
            typed
                .or_else(|| stored.as_ref().map(|form| of(form).clone()))
                .unwrap_or_default()
        };
        Self {
            name: or_stored("name", |f| &f.name).trim().to_owned(),
            owner: or_stored("owner", |f| &f.owner).trim().to_owned(),
            display_name: fields.get("display_name").to_owned(),
            description: fields.get("description").to_owned(),
            persona: or_stored("persona", |f| &f.persona),
            instructions: or_stored("instructions", |f| &f.instructions),
            model: fields.get("model").trim().to_owned(),
            public: fields.get("visibility") == "public",
            provider: fields.get("provider").trim().to_owned(),
            reference: fields.get("reference").trim().to_owned(),
            more_refs: stored.as_ref().map_or(0, |form| form.more_refs),
            keep_alive: fields.ticked("keep_alive"),
            deletion_protected: fields.ticked("deletion_protected"),
            skills: stored.as_ref().map_or(0, |form| form.skills),
        }
    }

    /// The manifest's text with these fields in place of its own. As text, so that a name that is none is told with its
    /// place, like everything else.
    pub fn over(&self, under: Option<Manifest>, only_owner: Option<&Owner>) -> String {
        let first = under.as_ref().map(Self::of).map(|form| form.provider);
        let mut spec = under.map_or_else(empty, |manifest| manifest.spec);
        spec.display_name = some(&self.display_name);
        spec.description = some(&self.description);
        spec.persona.clone_from(&self.persona);
        spec.instructions.clone_from(&self.instructions);
        spec.model.clone_from(&self.model);
        spec.visibility = if self.public {
            Visibility::Public
        } else {
            Visibility::Private
        };
        spec.keep_alive = self.keep_alive;
        spec.deletion_protected = self.deletion_protected;
        if let Some(first) = first {
            spec.api_key_refs.remove(&Provider(first));
        }
        if !self.provider.is_empty() {
            spec.api_key_refs.insert(
                Provider(self.provider.clone()),
                SecretRef(self.reference.clone()),
            );
        }
        let owner = only_owner.map_or(self.owner.as_str(), |owner| owner.0.as_str());
        let mut metadata = serde_json::json!({ "name": self.name });
        if !owner.is_empty() && owner != Owner::default().0 {
            metadata["owner"] = owner.into();
        }
        // JSON is YAML.
        serde_json::json!({
            "apiVersion": "talon.dev/v1",
            "kind": "OpenClawAgent",
            "metadata": metadata,
            "spec": spec,
        })
        .to_string()
    }
}

fn empty() -> AgentSpec {
    AgentSpec {
        display_name: None,
        description: None,
        display_description: None,
        persona: String::new(),
        instructions: String::new(),
        model: String::new(),
        keep_alive: false,
        visibility: Visibility::Private,
        api_key_refs: Default::default(),
        secrets_version: 1,
        skills: Vec::new(),
        wallet_address: None,
        theme: None,
        avatar_url: None,
        cover_url: None,
        r2: Default::default(),
        suspend: false,
        deletion_policy: Default::default(),
        deletion_protected: false,
    }
}
