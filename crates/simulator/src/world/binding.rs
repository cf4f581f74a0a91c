//! Bindings: their shapes, what is inherited and kept from the version before, and what they may refer to.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use talon_core::secret::SecretValue;

use super::bucket::jurisdiction;
use super::worker::{Class, Version, Worker};
use super::{Catalog, World};
use crate::reply::{ApiError, Handled};
use crate::runner::RunBinding;

/// Most bindings of one version.
const MAX_BINDINGS: usize = 128;
/// Most bytes of one text or secret.
const MAX_TEXT: usize = 5 * 1024;

/// The types the simulator accepts, each with the text fields it must have.
const SHAPES: &[(&str, &[&str])] = &[
    ("ai", &[]),
    ("analytics_engine", &["dataset"]),
    ("assets", &[]),
    ("browser", &[]),
    ("d1", &[]),
    ("dispatch_namespace", &["namespace"]),
    ("durable_object_namespace", &["class_name"]),
    ("hyperdrive", &["id"]),
    ("images", &[]),
    ("json", &[]),
    ("kv_namespace", &["namespace_id"]),
    ("plain_text", &["text"]),
    ("queue", &["queue_name"]),
    ("r2_bucket", &["bucket_name"]),
    ("secret_text", &["text"]),
    ("secrets_store_secret", &["store_id", "secret_name"]),
    ("send_email", &[]),
    ("service", &["service"]),
    ("vectorize", &["index_name"]),
    ("version_metadata", &[]),
    ("workflow", &["workflow_name"]),
];

/// One binding of a version.
#[derive(Debug, Clone)]
pub(crate) struct Binding {
    pub(crate) name: String,
    pub(crate) kind: String,
    /// All other fields; a secret's text is never among them.
    pub(crate) fields: Map<String, Value>,
    pub(crate) secret: Option<Arc<SecretValue>>,
}

impl Binding {
    /// A secret.
    pub(crate) fn secret(name: &str, value: SecretValue) -> Self {
        Self {
            name: name.to_owned(),
            kind: "secret_text".to_owned(),
            fields: Map::new(),
            secret: Some(Arc::new(value)),
        }
    }

    /// As the API shows it: a secret has a name and a type only.
    pub(crate) fn show(&self, classes: &BTreeMap<String, Class>) -> Value {
        let mut shown = self.fields.clone();
        shown.insert("name".to_owned(), json!(self.name));
        shown.insert("type".to_owned(), json!(self.kind));
        if let Some(class) = self
            .field("class_name")
            .filter(|_| self.field("script_name").is_none())
            .and_then(|name| classes.get(name))
        {
            shown.insert("namespace_id".to_owned(), json!(class.namespace_id));
        }
        Value::Object(shown)
    }

    pub(crate) fn run(&self) -> RunBinding {
        RunBinding {
            name: self.name.clone(),
            kind: self.kind.clone(),
            fields: self.fields.clone(),
            secret: self.secret.clone(),
        }
    }

    pub(crate) fn field(&self, key: &str) -> Option<&str> {
        self.fields.get(key).and_then(Value::as_str)
    }

    /// Whether it points at another Worker of this name.
    pub(crate) fn refers_to(&self, worker: &str) -> bool {
        self.field("service") == Some(worker) || self.field("script_name") == Some(worker)
    }

    /// Reads a binding that is not `inherit`.
    fn parse(name: &str, kind: &str, given: &Map<String, Value>) -> Handled<Self> {
        let Some((_, required)) = SHAPES.iter().find(|(known, _)| *known == kind) else {
            return Err(ApiError::invalid_script(format!(
                "Binding '{name}' has an unknown type."
            )));
        };
        for field in *required {
            if !given.get(*field).is_some_and(Value::is_string) {
                return Err(ApiError::invalid_script(format!(
                    "Binding '{name}' of type {kind} must have a string '{field}'."
                )));
            }
        }
        let too_long = ["text", "json"]
            .iter()
            .any(|field| match given.get(*field) {
                Some(Value::String(text)) => text.len() > MAX_TEXT,
                Some(other) => other.to_string().len() > MAX_TEXT,
                None => false,
            });
        if too_long {
            return Err(ApiError::invalid_script(format!(
                "Binding '{name}' exceeds the size limit of 5 KB."
            )));
        }
        let mut fields = given.clone();
        fields.remove("name");
        fields.remove("type");
        let mut secret = None;
        if kind == "secret_text"
            && let Some(Value::String(text)) = fields.remove("text")
        {
            secret = Some(Arc::new(SecretValue::new(text)));
            fields.clear();
        }
        Ok(Self {
            name: name.to_owned(),
            kind: kind.to_owned(),
            fields,
            secret,
        })
    }
}

/// Where a new version's bindings come from.
pub(crate) struct Source<'a> {
    /// The bindings in the request.
    pub(crate) given: &'a [Value],
    /// Types that stay although they are not named.
    pub(crate) keep: &'a [String],
    /// `bindings_inherit=strict`: an `inherit` without anything to inherit is refused instead of dropped.
    pub(crate) strict: bool,
    /// The Worker as it is.
    pub(crate) worker: Option<&'a Worker>,
}

/// Works out the bindings of a new version. What is neither given nor kept is gone, secrets included.
pub(crate) fn resolve(source: &Source<'_>) -> Handled<Vec<Binding>> {
    let latest = source.worker.and_then(|w| w.latest());
    let mut bindings: Vec<Binding> = Vec::new();
    for given in source.given {
        let map = given
            .as_object()
            .ok_or_else(|| ApiError::invalid_script("Every binding must be an object."))?;
        let text = |key: &str| map.get(key).and_then(Value::as_str);
        let (Some(name), Some(kind)) = (text("name").filter(|n| !n.is_empty()), text("type"))
        else {
            return Err(ApiError::invalid_script(
                "Every binding must have a name and a type.",
            ));
        };
        if bindings.iter().any(|b| b.name == name) {
            return Err(ApiError::invalid_script(format!(
                "Binding name '{name}' is used more than once."
            )));
        }
        if kind == "inherit" {
            let old = text("old_name").unwrap_or(name);
            if let Some(mut found) = inherit(source, latest, text("version_id"), old)? {
                name.clone_into(&mut found.name);
                bindings.push(found);
            }
        } else {
            bindings.push(Binding::parse(name, kind, map)?);
        }
    }
    for old in latest.iter().flat_map(|v| &v.bindings) {
        if source.keep.contains(&old.kind) && bindings.iter().all(|b| b.name != old.name) {
            bindings.push(old.clone());
        }
    }
    check_count(&bindings)?;
    Ok(bindings)
}

/// At most 128 of them.
pub(crate) fn check_count(bindings: &[Binding]) -> Handled<()> {
    if bindings.len() > MAX_BINDINGS {
        return Err(ApiError::invalid_script(format!(
            "A Worker may have at most {MAX_BINDINGS} bindings."
        )));
    }
    Ok(())
}

/// Whether a secret's text is within the limit.
pub(crate) fn check_secret(name: &str, text: &str) -> Handled<()> {
    if text.len() > MAX_TEXT {
        return Err(ApiError::invalid_script(format!(
            "Binding '{name}' exceeds the size limit of 5 KB."
        )));
    }
    Ok(())
}

fn inherit(
    source: &Source<'_>,
    latest: Option<&Arc<Version>>,
    version_id: Option<&str>,
    old: &str,
) -> Handled<Option<Binding>> {
    let from = match version_id {
        None => latest,
        Some(id) => {
            let found = source.worker.and_then(|w| w.version(id));
            if found.is_none() {
                return Err(ApiError::new(
                    400,
                    10057,
                    format!(
                        "Binding '{old}' cannot be inherited: version {id} does not exist for this Worker."
                    ),
                ));
            }
            found
        }
    };
    let found = from.and_then(|v| v.bindings.iter().find(|b| b.name == old).cloned());
    if found.is_none() && source.strict {
        return Err(ApiError::new(
            400,
            10057,
            format!(
                "Binding '{old}' cannot be inherited: the previous version has no binding of that name."
            ),
        ));
    }
    Ok(found)
}

impl World {
    /// Whether everything the bindings refer to exists. `classes` are the Worker's own Durable Object classes.
    pub(crate) fn check_bindings(
        &self,
        worker: &str,
        bindings: &[Binding],
        classes: &BTreeMap<String, Class>,
    ) -> Handled<()> {
        bindings
            .iter()
            .try_for_each(|b| check_binding(self.catalog(), worker, b, classes))
    }
}

fn check_binding(
    catalog: &Catalog,
    worker: &str,
    binding: &Binding,
    classes: &BTreeMap<String, Class>,
) -> Handled<()> {
    let field = |key: &str| binding.field(key).unwrap_or_default();
    match binding.kind.as_str() {
        "r2_bucket" => {
            let name = field("bucket_name");
            let exists = jurisdiction(binding.field("jurisdiction"))
                .is_some_and(|j| catalog.buckets.contains_key(&(j, name.to_owned())));
            if !exists {
                return Err(ApiError::new(
                    400,
                    10085,
                    format!(
                        "R2 bucket '{name}' not found. Please use a different name and try again."
                    ),
                ));
            }
        }
        "durable_object_namespace" => {
            let class = field("class_name");
            let known = match binding.field("script_name").filter(|s| *s != worker) {
                None => classes.contains_key(class),
                Some(other) => catalog
                    .workers
                    .get(other)
                    .is_some_and(|w| w.classes.contains_key(class)),
            };
            if !known {
                return Err(ApiError::new(
                    400,
                    10061,
                    format!(
                        "Cannot create binding for class '{class}' because it is not currently configured to implement Durable Objects. Did you forget to apply a migration?"
                    ),
                ));
            }
        }
        "service" => {
            let target = field("service");
            if target != worker && !catalog.workers.contains_key(target) {
                return Err(ApiError::new(
                    400,
                    10144,
                    format!(
                        "Service binding '{}' references Worker '{target}' which was not found.",
                        binding.name
                    ),
                ));
            }
        }
        // Other products are not simulated: what they refer to is taken on trust.
        _ => {}
    }
    Ok(())
}
