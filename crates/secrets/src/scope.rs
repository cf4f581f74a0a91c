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
    /// Paths of Vault, as references write them; a final `/*` stands for everything below.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vault: Vec<String>,
}

impl Default for Scopes {
    /// Owner `default` may read `TALON_SECRET_*`, nobody any file.
    fn default() -> Self {
        let scope = Scope {
            env: vec!["TALON_SECRET_*".to_owned()],
            ..Scope::default()
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
    /// Whether the owner may read this environment variable. No pattern opens the daemon's own settings, and one that is
    /// only `*` matches nothing.
    pub fn allows_env(&self, name: &str) -> bool {
        !is_the_daemons(name)
            && self
                .env
                .iter()
                .any(|pattern| match pattern.strip_suffix('*') {
                    Some(prefix) => !prefix.is_empty() && name.starts_with(prefix),
                    None => pattern == name,
                })
    }
}

impl Scope {
    /// Whether the owner may read this path of Vault. A pattern that is only `*` or `/*` matches nothing, and none reaches
    /// beyond a part of the path: `kv/team/*` does not open `kv/team-two/key`.
    pub fn allows_vault(&self, path: &str) -> bool {
        self.vault
            .iter()
            .any(|pattern| match pattern.strip_suffix("/*") {
                Some(above) => {
                    !above.is_empty()
                        && path
                            .strip_prefix(above)
                            .is_some_and(|rest| rest.starts_with('/'))
                }
                None => pattern == path,
            })
    }
}

/// Whether a variable configures the daemon: its Cloudflare token, a database password, the install key's file. `TALON_*`
/// in a scope would otherwise hand them to the agents of that owner.
fn is_the_daemons(name: &str) -> bool {
    let own = name.starts_with("TALON_") && !name.starts_with("TALON_SECRET_");
    own || matches!(
        name,
        "CLOUDFLARE_API_TOKEN" | "CLOUDFLARE_ACCOUNT_ID" | "VAULT_TOKEN" | "BAO_TOKEN"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_vault_is_opened_by_its_name_or_by_what_is_above_it() {
        let scope = Scope {
            vault: ["kv/team/*", "kv/shared", "*", "/*", "kv/*x"]
                .map(str::to_owned)
                .to_vec(),
            ..Scope::default()
        };
        for open in ["kv/team/rp", "kv/team/a/b", "kv/shared"] {
            assert!(scope.allows_vault(open), "{open}");
        }
        for shut in [
            "kv/team",
            "kv/team-two/rp",
            "kv/shared/x",
            "kv/x",
            "other",
            "",
        ] {
            assert!(!scope.allows_vault(shut), "{shut}");
        }
    }

    #[test]
    fn no_pattern_opens_the_daemons_own_variables() {
        let patterns = ["TALON_*", "T*", "CLOUDFLARE_*", "TALON_DATABASE_URL", "*"];
        let scope = Scope {
            env: patterns.map(str::to_owned).to_vec(),
            ..Scope::default()
        };
        for own in [
            "TALON_CLOUDFLARE_API_TOKEN",
            "CLOUDFLARE_API_TOKEN",
            "TALON_DATABASE_URL",
            "TALON_INSTALL_KEY_FILE",
        ] {
            assert!(!scope.allows_env(own), "{own}");
        }
        assert!(scope.allows_env("TALON_SECRET_ANTHROPIC"));
        assert!(scope.allows_env("TEAM_KEY"));
    }
}
