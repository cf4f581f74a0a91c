//! Which owner may use which references.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use talon_core::Owner;

/// The scopes of all owners: `secretScopes` in `talon.yaml`. An owner that is not named may use nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scopes(pub BTreeMap<Owner, Scope>);

/// What one owner may use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scope {
    /// Names of environment variables; a final `*` stands for any rest.
    #[serde(default)]
    pub env: Vec<String>,
    /// The directory whose files the owner may read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<PathBuf>,
}

impl Default for Scopes {
    /// Owner `default` may read `TALON_SECRET_*`, nobody any file.
    fn default() -> Self {
        let scope = Scope {
            env: vec!["TALON_SECRET_*".to_owned()],
            files: None,
        };
        Self(BTreeMap::from([(Owner::default(), scope)]))
    }
}

impl Scopes {
    /// The scope of an owner, if it has one.
    pub fn of(&self, owner: &Owner) -> Option<&Scope> {
        self.0.get(owner)
    }
}

impl Scope {
    /// Whether the owner may read this environment variable. A pattern that is only `*` matches nothing: it would open
    /// the daemon's own credentials.
    pub fn allows_env(&self, name: &str) -> bool {
        self.env
            .iter()
            .any(|pattern| match pattern.strip_suffix('*') {
                Some(prefix) => !prefix.is_empty() && name.starts_with(prefix),
                None => pattern == name,
            })
    }
}
