//! The configuration: defaults, then `talon.yaml`, then environment variables, then flags; the later wins. Each value
//! knows where it came from. No secret is ever held here, only references to them.

pub mod keys;
pub mod settings;
pub mod token;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::cli::Global;
use crate::exit::Failure;
use crate::output::safe;
use keys::{KEYS, Key, Kind};
pub use settings::Settings;

/// The file that is read if none is named.
const DEFAULT_FILE: &str = "talon.yaml";
/// A configuration is small; anything longer is a mistake.
const MAX_FILE_BYTES: usize = 256 * 1024;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// The configuration file.
    File(PathBuf),
    /// An environment variable.
    Env(&'static str),
    /// A flag of this command.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Env(name) => write!(f, "${name}"),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// The configuration in effect.
#[derive(Debug, Clone)]
pub struct Config {
    /// The values.
    pub settings: Settings,
    origins: BTreeMap<&'static str, Origin>,
    /// Variables that look like keys and are none.
    pub unknown_variables: Vec<String>,
}

impl Config {
    /// Reads file and environment, and puts the flags on top.
    pub fn load(global: &Global) -> Result<Self, Failure> {
        let file = match &global.config {
            Some(path) => Some(path.clone()),
            None => Some(PathBuf::from(DEFAULT_FILE)).filter(|p| p.exists()),
        };
        let tree = match &file {
            Some(path) => read_file(path)?,
            None => Map::new(),
        };
        let flags = [(
            "databaseUrl",
            "--database-url",
            global.database_url.as_deref(),
        )];
        Self::merge(
            tree,
            file.as_deref(),
            |name| std::env::var(name).ok(),
            &flags,
        )
        .map(|mut c| {
            c.unknown_variables = unknown_variables();
            c
        })
    }

    fn merge(
        mut tree: Map<String, Value>,
        file: Option<&Path>,
        env: impl Fn(&str) -> Option<String>,
        flags: &[(&'static str, &'static str, Option<&str>)],
    ) -> Result<Self, Failure> {
        let mut origins = BTreeMap::new();
        for key in KEYS {
            if let (Some(path), Some(_)) = (file, lookup(&tree, key.path)) {
                origins.insert(key.path, Origin::File(path.to_owned()));
            }
            let set = key
                .env
                .iter()
                .find_map(|name| Some((*name, env(name).filter(|v| !v.is_empty())?)));
            if let Some((name, text)) = set {
                put(&mut tree, key.path, value_of(key, name, text)?);
                origins.insert(key.path, Origin::Env(name));
            }
        }
        for (path, flag, value) in flags {
            if let Some(value) = value {
                put(&mut tree, path, Value::String((*value).to_owned()));
                origins.insert(path, Origin::Flag(flag));
            }
        }
        let settings: Settings = serde_path_to_error::deserialize(Value::Object(tree))
            .map_err(|e| wrong(file, &format!("{}: {}", e.path(), e.inner())))?;
        for (key, reference) in [
            ("cloudflare.apiToken", &settings.cloudflare.api_token),
            ("router.serviceKey", &settings.router.service_key),
            ("vault.token", &settings.vault.token),
        ] {
            if let Some(reference) = reference {
                token::TokenSource::parse(key, reference)?;
            }
        }
        Ok(Self {
            settings,
            origins,
            unknown_variables: Vec::new(),
        })
    }

    /// Where the value of a key came from.
    pub fn origin(&self, path: &str) -> Origin {
        self.origins.get(path).cloned().unwrap_or(Origin::Default)
    }

    /// Every key with its effective value, fit to be shown, and where it came from.
    pub fn rows(&self) -> Vec<(&'static str, Value, Origin)> {
        let tree = match serde_json::to_value(&self.settings) {
            Ok(Value::Object(tree)) => tree,
            _ => Map::new(),
        };
        KEYS.iter()
            .map(|key| {
                let value = lookup(&tree, key.path).cloned().unwrap_or(Value::Null);
                let shown = match (key.path, value.as_str()) {
                    ("databaseUrl", Some(url)) => Value::String(crate::database::masked(url)),
                    _ => value,
                };
                (key.path, shown, self.origin(key.path))
            })
            .collect()
    }
}

fn wrong(file: Option<&Path>, what: &str) -> Failure {
    let place = file.map_or("the configuration".to_owned(), |p| p.display().to_string());
    Failure::usage(
        format!("{place}: {}", safe(what)),
        "talon config show lists the keys; deploy/talon.example.yaml explains them",
    )
}

fn read_file(path: &Path) -> Result<Map<String, Value>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::usage(
            format!(
                "the configuration file {} cannot be read: {error}",
                path.display()
            ),
            "name another with --config, or take the flag (or TALON_CONFIG) away",
        )
    })?;
    if text.len() > MAX_FILE_BYTES {
        return Err(wrong(Some(path), "longer than 256 KiB"));
    }
    let value: Value = serde_yaml::from_str::<serde_yaml::Value>(&text)
        .and_then(serde_yaml::from_value)
        .map_err(|error| wrong(Some(path), &error.to_string()))?;
    match value {
        Value::Object(tree) => Ok(tree),
        Value::Null => Ok(Map::new()),
        _ => Err(wrong(Some(path), "a mapping of keys to values is expected")),
    }
}

fn value_of(key: &Key, name: &str, text: String) -> Result<Value, Failure> {
    let bad = |want: &str| {
        Failure::usage(
            format!("the environment variable {name} must be {want}"),
            format!("correct or unset {name} (it sets {})", key.path),
        )
    };
    match key.kind {
        Kind::Text => Ok(Value::String(text)),
        Kind::Number => text
            .parse::<serde_json::Number>()
            .map(Value::Number)
            .map_err(|_| bad("a number")),
        Kind::Switch => text
            .parse::<bool>()
            .map(Value::Bool)
            .map_err(|_| bad("true or false")),
        Kind::Json => serde_json::from_str(&text).map_err(|_| bad("JSON")),
        Kind::SecretReference => Ok(Value::String(format!("env:{name}"))),
    }
}

fn lookup<'t>(tree: &'t Map<String, Value>, path: &str) -> Option<&'t Value> {
    let (head, rest) = match path.split_once('.') {
        Some((head, rest)) => (head, Some(rest)),
        None => (path, None),
    };
    let value = tree.get(head)?;
    match rest {
        None => Some(value),
        Some(rest) => lookup(value.as_object()?, rest),
    }
}

fn put(tree: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            tree.insert(path.to_owned(), value);
        }
        Some((head, rest)) => {
            let inner = tree
                .entry(head)
                .or_insert_with(|| Value::Object(Map::new()));
            if !inner.is_object() {
                *inner = Value::Object(Map::new());
            }
            if let Some(inner) = inner.as_object_mut() {
                put(inner, rest, value);
            }
        }
    }
}

fn unknown_variables() -> Vec<String> {
    let known = |name: &str| {
        KEYS.iter().any(|k| k.env.contains(&name)) || keys::OTHER_VARIABLES.contains(&name)
    };
    let mut names: Vec<String> = std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|n| n.starts_with("TALON_") && !n.starts_with(keys::SECRET_PREFIX) && !known(n))
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn merged(tree: Value, env: &[(&str, &str)], flag: Option<&str>) -> Result<Config, Failure> {
        let tree = tree.as_object().cloned().unwrap_or_default();
        let env: BTreeMap<String, String> = env
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        Config::merge(
            tree,
            Some(Path::new("talon.yaml")),
            |name| env.get(name).cloned(),
            &[("databaseUrl", "--database-url", flag)],
        )
    }

    #[test]
    fn flag_beats_environment_beats_file_beats_default() {
        let file = json!({"databaseUrl": "sqlite://file.db", "workers": 3});
        let c = merged(file.clone(), &[], None).expect("valid");
        assert_eq!(c.settings.database_url, "sqlite://file.db");
        assert_eq!(c.origin("databaseUrl"), Origin::File("talon.yaml".into()));
        assert_eq!(c.origin("hub.url"), Origin::Default);
        let env = [
            ("TALON_DATABASE_URL", "sqlite://env.db"),
            ("TALON_WORKERS", "7"),
        ];
        let c = merged(file.clone(), &env, None).expect("valid");
        assert_eq!(c.settings.database_url, "sqlite://env.db");
        assert_eq!(c.settings.workers, 7);
        assert_eq!(c.origin("workers"), Origin::Env("TALON_WORKERS"));
        let c = merged(file, &env, Some("sqlite://flag.db")).expect("valid");
        assert_eq!(c.settings.database_url, "sqlite://flag.db");
        assert_eq!(c.origin("databaseUrl"), Origin::Flag("--database-url"));
    }

    #[test]
    fn a_token_in_the_environment_becomes_a_reference() {
        let env = [("CLOUDFLARE_API_TOKEN", "very-secret")];
        let c = merged(json!({}), &env, None).expect("valid");
        assert_eq!(
            c.settings.cloudflare.api_token.as_deref(),
            Some("env:CLOUDFLARE_API_TOKEN")
        );
        assert!(!format!("{c:?} {:?}", c.rows()).contains("very-secret"));
    }

    #[test]
    fn mistakes_are_refused_by_name_and_a_raw_token_is_never_repeated() {
        let unknown = merged(json!({"cloudflare": {"acountId": "x"}}), &[], None);
        assert!(
            unknown
                .is_err_and(|f| f.message.contains("cloudflare") && f.message.contains("acountId"))
        );
        let number = merged(json!({}), &[("TALON_WORKERS", "many")], None);
        assert!(number.is_err_and(|f| f.message.contains("TALON_WORKERS")));
        let raw = merged(
            json!({"cloudflare": {"apiToken": "canary-token"}}),
            &[],
            None,
        );
        assert!(raw.is_err_and(|f| !f.to_string().contains("canary-token")));
    }

    #[test]
    fn every_setting_is_a_key() {
        let Ok(Value::Object(tree)) = serde_json::to_value(Settings::default()) else {
            panic!("settings are a mapping");
        };
        fn leaves(prefix: &str, tree: &Map<String, Value>, into: &mut Vec<String>) {
            for (name, value) in tree {
                match value.as_object() {
                    Some(inner) if name != "secretScopes" => {
                        leaves(&format!("{prefix}{name}."), inner, into)
                    }
                    _ => into.push(format!("{prefix}{name}")),
                }
            }
        }
        let mut found = Vec::new();
        leaves("", &tree, &mut found);
        let mut keys: Vec<String> = KEYS.iter().map(|k| k.path.to_owned()).collect();
        found.sort();
        keys.sort();
        assert_eq!(found, keys);
    }
}
