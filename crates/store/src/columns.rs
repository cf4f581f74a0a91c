//! How an [`AgentSpec`] stands in the columns of `agent_source`: one encoding for every store.
//!
//! Guarantees: `decode(encode(spec))` is the spec; encoding is canonical, so that two specs are equal exactly when
//! their cells are; a column that does not parse is read as its default and named by a violation, and no value is
//! ever repeated. JSON columns use snake_case keys; camelCase is understood as well.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value;
use talon_core::secret::{Provider, RefTarget, SecretRef, looks_like_key};
use talon_core::spec::{DeletionPolicy, Jurisdiction, R2Spec, Skill, Theme, Visibility};
use talon_core::validate::Violation;
use talon_core::{AgentSpec, Owner, Snapshot};

use crate::codes;
use crate::error::StoreError;

/// Longest persona, in bytes.
pub const MAX_PERSONA: usize = 65_536;
/// Longest instructions, in bytes.
pub const MAX_INSTRUCTIONS: usize = 262_144;
/// Longest JSON column, in bytes.
pub const MAX_JSON: usize = 262_144;
/// Longest other text, in bytes.
pub const MAX_TEXT: usize = 16_384;
/// Longest `api_key_refs`, in bytes.
pub const MAX_REFS: usize = 4_096;

/// Where the bucket lives, by the `r2` column as it was read; the default if that cannot be told.
pub fn jurisdiction(r2: &str) -> Jurisdiction {
    from_json::<R2Spec>(r2).unwrap_or_default().jurisdiction
}

/// The content of one column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// A text column; `None` is NULL.
    Text(Option<String>),
    /// A column of JSON text; `None` is NULL.
    Json(Option<String>),
    /// An integer column.
    Int(i64),
    /// A boolean column (0 and 1 on SQLite).
    Bool(bool),
}

/// The spec columns as they were read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RawSpec {
    /// `display_name`
    pub display_name: Option<String>,
    /// `description`
    pub description: Option<String>,
    /// `display_description`
    pub display_description: Option<String>,
    /// `persona`
    pub persona: String,
    /// `instructions`
    pub instructions: String,
    /// `model`
    pub model: String,
    /// `keep_alive`
    pub keep_alive: bool,
    /// `visibility`
    pub visibility: String,
    /// `api_key_refs`
    pub api_key_refs: String,
    /// `secrets_version`
    pub secrets_version: i64,
    /// `skills`
    pub skills: String,
    /// `wallet_address`
    pub wallet_address: Option<String>,
    /// `theme`
    pub theme: Option<String>,
    /// `avatar_url`
    pub avatar_url: Option<String>,
    /// `cover_url`
    pub cover_url: Option<String>,
    /// `r2`
    pub r2: String,
    /// `suspend`
    pub suspend: bool,
    /// `deletion_policy`
    pub deletion_policy: String,
    /// `deletion_protected`
    pub deletion_protected: bool,
}

/// The word that a unit variant of a serde enum is stored as.
fn word<T: serde::Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(s)) => s,
        _ => String::new(),
    }
}

fn parse_word<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_value(Value::String(text.to_owned())).ok()
}

/// Rewrites the camelCase keys of an object to snake_case, in depth.
fn snake_keys(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter()
                .map(|(k, v)| {
                    let mut key = String::with_capacity(k.len() + 2);
                    for c in k.chars() {
                        if c.is_ascii_uppercase() {
                            key.push('_');
                        }
                        key.push(c.to_ascii_lowercase());
                    }
                    (key, snake_keys(v))
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(snake_keys).collect()),
        other => other,
    }
}

fn json<T: serde::Serialize>(value: &T) -> String {
    // Specs hold strings, numbers and enums only: serialising them cannot fail.
    serde_json::to_value(value).map_or_else(|_| "null".to_owned(), |v| snake_keys(v).to_string())
}

/// Whether a pair may stand in `api_key_refs`. The databases check the same.
pub fn is_reference(provider: &Provider, reference: &SecretRef) -> bool {
    let name = provider.0.as_str();
    let named = (1..=32).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && !looks_like_key(name);
    let pointed = match reference.parse() {
        Some(RefTarget::Env(env)) => !looks_like_key(env),
        Some(RefTarget::File(_) | RefTarget::Discarded) => true,
        Some(RefTarget::Vault { field, .. }) => !looks_like_key(field),
        None => false,
    };
    named && pointed
}

/// The spec as columns, in a fixed order. Refuses what the database would refuse, with the same codes, before a
/// value has gone anywhere.
pub fn encode(spec: &AgentSpec) -> Result<Vec<(&'static str, Cell)>, StoreError> {
    if !spec.api_key_refs.iter().all(|(p, r)| is_reference(p, r)) {
        return Err(codes::rejected(codes::NOT_A_REFERENCE));
    }
    check_sizes(spec)?;
    let refs: BTreeMap<&str, &str> = spec
        .api_key_refs
        .iter()
        .map(|(p, r)| (p.0.as_str(), r.0.as_str()))
        .collect();
    let refs = serde_json::to_string(&refs).unwrap_or_else(|_| "{}".to_owned());
    if refs.len() > MAX_REFS {
        return Err(codes::rejected(codes::NOT_A_REFERENCE));
    }
    let cells = cells(spec, refs);
    if cells
        .iter()
        .any(|(_, c)| matches!(c, Cell::Json(Some(j)) if j.len() > MAX_JSON))
    {
        return Err(codes::invalid(
            "skills, theme and r2 must be JSON of at most 262144 bytes",
        ));
    }
    Ok(cells)
}

fn cells(spec: &AgentSpec, refs: String) -> Vec<(&'static str, Cell)> {
    let text = |t: &Option<String>| Cell::Text(t.clone());
    vec![
        ("display_name", text(&spec.display_name)),
        ("description", text(&spec.description)),
        ("display_description", text(&spec.display_description)),
        ("persona", Cell::Text(Some(spec.persona.clone()))),
        ("instructions", Cell::Text(Some(spec.instructions.clone()))),
        ("model", Cell::Text(Some(spec.model.clone()))),
        ("keep_alive", Cell::Bool(spec.keep_alive)),
        ("visibility", Cell::Text(Some(word(&spec.visibility)))),
        ("api_key_refs", Cell::Text(Some(refs))),
        ("secrets_version", Cell::Int(spec.secrets_version)),
        ("skills", Cell::Json(Some(json(&spec.skills)))),
        ("wallet_address", text(&spec.wallet_address)),
        ("theme", Cell::Json(spec.theme.as_ref().map(json))),
        ("avatar_url", text(&spec.avatar_url)),
        ("cover_url", text(&spec.cover_url)),
        ("r2", Cell::Json(Some(r2_json(&spec.r2)))),
        ("suspend", Cell::Bool(spec.suspend)),
        (
            "deletion_policy",
            Cell::Text(Some(word(&spec.deletion_policy))),
        ),
        ("deletion_protected", Cell::Bool(spec.deletion_protected)),
    ]
}

fn r2_json(r2: &R2Spec) -> String {
    if r2.is_default() {
        "{}".to_owned()
    } else {
        json(r2)
    }
}

fn check_sizes(spec: &AgentSpec) -> Result<(), StoreError> {
    let sized = |text: &str, max: usize| (1..=max).contains(&text.len());
    let small = |text: &Option<String>| text.as_ref().is_none_or(|t| t.len() <= MAX_TEXT);
    let texts = [
        ("persona", Some(&spec.persona)),
        ("instructions", Some(&spec.instructions)),
        ("model", Some(&spec.model)),
        ("display_name", spec.display_name.as_ref()),
        ("description", spec.description.as_ref()),
        ("display_description", spec.display_description.as_ref()),
        ("wallet_address", spec.wallet_address.as_ref()),
        ("avatar_url", spec.avatar_url.as_ref()),
        ("cover_url", spec.cover_url.as_ref()),
    ];
    if let Some((name, _)) = (texts.iter()).find(|(_, t)| t.is_some_and(|t| t.contains('\0'))) {
        return Err(codes::invalid(format!(
            "{name} must not hold a NUL character"
        )));
    }
    if !sized(&spec.persona, MAX_PERSONA) {
        return Err(codes::invalid("persona must have 1 to 65536 bytes"));
    }
    if !sized(&spec.instructions, MAX_INSTRUCTIONS) {
        return Err(codes::invalid("instructions must have 1 to 262144 bytes"));
    }
    if !sized(&spec.model, 200) {
        return Err(codes::invalid("model must have 1 to 200 bytes"));
    }
    let texts = [
        &spec.display_name,
        &spec.description,
        &spec.display_description,
        &spec.wallet_address,
        &spec.avatar_url,
        &spec.cover_url,
    ];
    if !texts.into_iter().all(small) {
        return Err(codes::invalid("texts must have at most 16384 bytes"));
    }
    Ok(())
}

/// Reads the columns back. What does not parse becomes its default and a violation.
pub fn decode(raw: RawSpec) -> (AgentSpec, Vec<Violation>) {
    let mut violations = Vec::new();
    let mut bad = |field: &str, detail: String| {
        violations.push(Violation {
            pointer: format!("/spec/{field}"),
            detail,
        });
    };
    let skills: Vec<Skill> = from_json(&raw.skills).unwrap_or_else(|| {
        bad(
            "skills",
            "column skills: each skill needs the texts id, name and description; see `talon schema`".to_owned(),
        );
        Vec::new()
    });
    let theme: Option<Theme> = raw.theme.as_deref().and_then(|t| {
        let parsed = from_json(t);
        if parsed.is_none() {
            bad(
                "theme",
                "column theme: must be an object with primary_color and background_color"
                    .to_owned(),
            );
        }
        parsed
    });
    let r2: R2Spec = from_json(&raw.r2).unwrap_or_else(|| {
        bad("r2", "column r2: may have location_hint, jurisdiction and storage_class with the words Cloudflare knows".to_owned());
        R2Spec::default()
    });
    let visibility: Visibility = parse_word(&raw.visibility).unwrap_or_else(|| {
        bad(
            "visibility",
            "column visibility: must be private or public".to_owned(),
        );
        Visibility::default()
    });
    let deletion_policy: DeletionPolicy = parse_word(&raw.deletion_policy).unwrap_or_else(|| {
        // The bucket is kept when nobody can tell what was meant.
        bad(
            "deletionPolicy",
            "column deletion_policy: must be delete or keep_bucket".to_owned(),
        );
        DeletionPolicy::KeepBucket
    });
    let refs: BTreeMap<Provider, SecretRef> = from_json(&raw.api_key_refs)
        .filter(|refs: &BTreeMap<Provider, SecretRef>| refs.iter().all(|(p, r)| is_reference(p, r)))
        .unwrap_or_else(|| {
            bad("apiKeyRefs", "column api_key_refs: must be an object of provider to reference (env:NAME, file:NAME, vault:path#field)".to_owned());
            BTreeMap::new()
        });
    let spec = AgentSpec {
        display_name: raw.display_name,
        description: raw.description,
        display_description: raw.display_description,
        persona: raw.persona,
        instructions: raw.instructions,
        model: raw.model,
        keep_alive: raw.keep_alive,
        visibility,
        api_key_refs: refs,
        secrets_version: raw.secrets_version,
        skills,
        wallet_address: raw.wallet_address,
        theme,
        avatar_url: raw.avatar_url,
        cover_url: raw.cover_url,
        r2,
        suspend: raw.suspend,
        deletion_policy,
        deletion_protected: raw.deletion_protected,
    };
    (spec, violations)
}

/// Parses an object, or an array of objects: serde would take an array for a struct as well.
fn from_json<T: DeserializeOwned>(text: &str) -> Option<T> {
    let value: Value = serde_json::from_str(text).ok()?;
    let shaped = match &value {
        Value::Object(_) => true,
        Value::Array(items) => items.iter().all(Value::is_object),
        _ => false,
    };
    shaped.then(|| serde_json::from_value(value).ok())?
}

/// The cells in which `wanted` differs from what was read. A stored column that did not parse always differs.
pub fn changed(
    wanted: Vec<(&'static str, Cell)>,
    stored: &AgentSpec,
    violations: &[Violation],
) -> Vec<(&'static str, Cell)> {
    let refs: BTreeMap<&str, &str> = stored
        .api_key_refs
        .iter()
        .map(|(p, r)| (p.0.as_str(), r.0.as_str()))
        .collect();
    let refs = serde_json::to_string(&refs).unwrap_or_else(|_| "{}".to_owned());
    let have = cells(stored, refs);
    wanted
        .into_iter()
        .zip(have)
        .filter(|((name, new), (_, old))| {
            new != old
                || violations
                    .iter()
                    .any(|v| v.detail.starts_with(&format!("column {name}:")))
        })
        .map(|(wanted, _)| wanted)
        .collect()
}

/// Refuses an owner that the column does not take: 1–64 characters of `[a-z0-9._-]`.
pub fn check_owner(owner: &Owner) -> Result<(), StoreError> {
    let ok = (1..=64).contains(&owner.0.len())
        && owner
            .0
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b));
    if ok {
        Ok(())
    } else {
        Err(codes::invalid(
            "owner must be 1 to 64 lower-case letters, digits, dots, underscores or hyphens",
        ))
    }
}

/// Brings the parts of a snapshot into the order in which every store gives them.
pub fn arrange(snapshot: &mut Snapshot) {
    snapshot.resources.sort_by_key(|r| r.kind);
    snapshot.secrets.sort_by(|a, b| a.name.cmp(&b.name));
    snapshot.auth_tokens.sort_by(|a, b| a.try_id.cmp(&b.try_id));
    snapshot.conditions.sort_by_key(|c| c.condition.kind);
}

#[cfg(test)]
mod tests {
    use super::*;
    use talon_core::spec::{Jurisdiction, PricingModel, StorageClass};

    fn raw_of(cells: &[(&'static str, Cell)]) -> RawSpec {
        let find = |name: &str| cells.iter().find(|(n, _)| *n == name).unwrap().1.clone();
        let text = |name: &str| match find(name) {
            Cell::Text(t) | Cell::Json(t) => t,
            other => panic!("{name}: {other:?}"),
        };
        let flag = |name: &str| find(name) == Cell::Bool(true);
        RawSpec {
            display_name: text("display_name"),
            description: text("description"),
            display_description: text("display_description"),
            persona: text("persona").unwrap(),
            instructions: text("instructions").unwrap(),
            model: text("model").unwrap(),
            keep_alive: flag("keep_alive"),
            visibility: text("visibility").unwrap(),
            api_key_refs: text("api_key_refs").unwrap(),
            secrets_version: match find("secrets_version") {
                Cell::Int(v) => v,
                other => panic!("{other:?}"),
            },
            skills: text("skills").unwrap(),
            wallet_address: text("wallet_address"),
            theme: text("theme"),
            avatar_url: text("avatar_url"),
            cover_url: text("cover_url"),
            r2: text("r2").unwrap(),
            suspend: flag("suspend"),
            deletion_policy: text("deletion_policy").unwrap(),
            deletion_protected: flag("deletion_protected"),
        }
    }

    fn full() -> AgentSpec {
        let mut spec = crate::conformance::support::spec();
        spec.skills = vec![Skill {
            id: "a".into(),
            name: "A".into(),
            description: "does a".into(),
            pricing_model: PricingModel::PerRequest,
            price_usd: Some(0.05),
            tags: vec!["x".into()],
            examples: vec![],
        }];
        spec.theme = Some(Theme::default());
        spec.r2.jurisdiction = Jurisdiction::Eu;
        spec.r2.storage_class = StorageClass::InfrequentAccess;
        spec.deletion_policy = DeletionPolicy::KeepBucket;
        spec.visibility = Visibility::Public;
        spec
    }

    #[test]
    fn a_nul_character_is_called_one_and_its_column_is_named() {
        let mut spec: AgentSpec = serde_json::from_value(serde_json::json!({
            "persona": "p\0", "instructions": "i", "model": "dev/echo",
        }))
        .unwrap();
        let said = |spec: &AgentSpec| encode(spec).unwrap_err().to_string();
        assert!(said(&spec).ends_with("persona must not hold a NUL character"));
        spec.persona = "p".to_owned();
        spec.avatar_url = Some("\0".to_owned());
        assert!(said(&spec).ends_with("avatar_url must not hold a NUL character"));
    }

    #[test]
    fn a_spec_survives_its_columns() {
        let spec = full();
        let (back, violations) = decode(raw_of(&encode(&spec).unwrap()));
        assert_eq!(back, spec);
        assert_eq!(violations, []);
        assert_eq!(changed(encode(&spec).unwrap(), &back, &[]), []);
    }

    #[test]
    fn json_columns_speak_snake_case() {
        let cells = encode(&full()).unwrap();
        let skills = raw_of(&cells).skills;
        assert!(
            skills.contains("\"pricing_model\":\"per_request\""),
            "{skills}"
        );
        assert!(!skills.contains("pricingModel"));
    }

    #[test]
    fn what_does_not_parse_is_named_and_never_repeated() {
        let mut raw = raw_of(&encode(&full()).unwrap());
        raw.skills = r#"[{"id":"sk-ant-canary"}]"#.into();
        raw.r2 = r#"{"jurisdiction":"canary"}"#.into();
        raw.visibility = "canary".into();
        raw.deletion_policy = "canary".into();
        raw.theme = Some("[\"canary\"]".into());
        let (spec, violations) = decode(raw);
        let pointers: Vec<_> = violations.iter().map(|v| v.pointer.as_str()).collect();
        assert_eq!(
            pointers,
            [
                "/spec/skills",
                "/spec/theme",
                "/spec/r2",
                "/spec/visibility",
                "/spec/deletionPolicy"
            ]
        );
        assert!(!format!("{violations:?}").contains("canary"));
        assert_eq!(spec.deletion_policy, DeletionPolicy::KeepBucket);
        let named: Vec<_> = changed(encode(&full()).unwrap(), &spec, &violations)
            .into_iter()
            .map(|(n, _)| n)
            .collect();
        assert_eq!(
            named,
            ["visibility", "skills", "theme", "r2", "deletion_policy"]
        );
    }

    #[test]
    fn keys_are_no_references() {
        for (provider, reference) in [
            ("anthropic", "sk-ant-api03-abcdef"),
            ("anthropic", "file:sk-ant-x"),
            ("anthropic", "env:AKIAIOSFODNN7EXAMPLE"),
            ("anthropic", "env:lower"),
            ("anthropic", "vault:kv/x#sk-ant"),
            ("sk_live_abc", "env:A"),
            ("Anthropic", "env:A"),
        ] {
            let mut spec = full();
            spec.api_key_refs
                .insert(Provider(provider.into()), SecretRef(reference.into()));
            let err = encode(&spec).unwrap_err();
            assert!(
                err.to_string().starts_with(codes::NOT_A_REFERENCE),
                "{provider} {reference}"
            );
            assert!(!err.to_string().contains(reference));
        }
    }
}
