//! How Workers look through the API.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use super::conditions::Conditions;
use super::worker::{Deployment, Version, Worker};

/// A time as the Workers API writes it.
pub(crate) fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Tags as they show now: null if never set, or while the Worker is fresh and the condition is on.
pub(crate) fn tags(worker: &Worker, conditions: &mut Conditions, now: DateTime<Utc>) -> Value {
    let hidden = worker.tags.is_some() && now < worker.created_on + conditions.null_tags();
    conditions.fired.null_tags += u64::from(hidden);
    if hidden {
        Value::Null
    } else {
        json!(worker.tags)
    }
}

/// A line of the list of Workers; `tags` as [`tags`] gave them.
pub(crate) fn list_row(worker: &Worker, tags: Value) -> Value {
    let mut row = Map::new();
    row.insert("id".to_owned(), json!(worker.name));
    row.insert("tag".to_owned(), json!(worker.tag));
    row.insert("tags".to_owned(), tags);
    row.insert("created_on".to_owned(), json!(time(worker.created_on)));
    row.insert("modified_on".to_owned(), json!(time(worker.modified_on)));
    row.insert("handlers".to_owned(), json!(["fetch"]));
    row.insert("named_handlers".to_owned(), named_handlers(worker));
    row.insert("has_assets".to_owned(), json!(false));
    row.insert("logpush".to_owned(), json!(worker.logpush));
    row.insert("tail_consumers".to_owned(), json!(worker.tail_consumers));
    row.insert("last_deployed_from".to_owned(), json!("api"));
    optional(&mut row, "migration_tag", worker.migration_tag.as_ref());
    optional(&mut row, "observability", worker.observability.as_ref());
    if let Some(live) = worker.live() {
        row.insert("etag".to_owned(), json!(live.etag));
        row.insert("has_modules".to_owned(), json!(live.has_modules));
        row.insert("usage_model".to_owned(), json!(live.usage_model));
        row.insert(
            "compatibility_date".to_owned(),
            json!(live.compatibility_date),
        );
        row.insert(
            "compatibility_flags".to_owned(),
            json!(live.compatibility_flags),
        );
        optional(&mut row, "placement", live.placement.as_ref());
    }
    Value::Object(row)
}

/// The answer to an upload.
pub(crate) fn uploaded(worker: &Worker, version: &Version) -> Value {
    let mut shown = list_row(worker, json!(worker.tags));
    shown["etag"] = json!(version.etag);
    shown["startup_time_ms"] = json!(7);
    shown["deployment_id"] = json!(version.id.replace('-', ""));
    shown["entry_point"] = json!(version.main_module);
    shown
}

/// Script and version settings.
pub(crate) fn settings(worker: &Worker, version: &Version, tags: Value) -> Value {
    let mut shown = Map::new();
    shown.insert("bindings".to_owned(), bindings(worker, version));
    shown.insert(
        "compatibility_date".to_owned(),
        json!(version.compatibility_date),
    );
    shown.insert(
        "compatibility_flags".to_owned(),
        json!(version.compatibility_flags),
    );
    shown.insert("usage_model".to_owned(), json!(version.usage_model));
    shown.insert("tags".to_owned(), tags);
    shown.insert("logpush".to_owned(), json!(worker.logpush));
    shown.insert("tail_consumers".to_owned(), json!(worker.tail_consumers));
    optional(&mut shown, "observability", worker.observability.as_ref());
    optional(&mut shown, "migration_tag", worker.migration_tag.as_ref());
    optional(&mut shown, "limits", version.limits.as_ref());
    optional(&mut shown, "placement", version.placement.as_ref());
    shown.insert("annotations".to_owned(), json!(version.annotations));
    Value::Object(shown)
}

/// Settings that belong to no version.
pub(crate) fn script_settings(worker: &Worker, tags: Value) -> Value {
    json!({
        "logpush": worker.logpush,
        "observability": worker.observability,
        "tags": tags,
        "tail_consumers": worker.tail_consumers,
    })
}

fn bindings(worker: &Worker, version: &Version) -> Value {
    version
        .bindings
        .iter()
        .map(|b| b.show(&worker.classes))
        .collect()
}

/// A version in a list.
pub(crate) fn version_row(version: &Version) -> Value {
    json!({
        "id": version.id,
        "number": version.number,
        "metadata": {
            "created_on": time(version.created_on),
            "modified_on": time(version.created_on),
            "source": version.source,
            "author_id": "",
            "author_email": "",
            "hasPreview": false,
        },
        "annotations": version.annotations,
    })
}

/// A version by itself.
pub(crate) fn version(worker: &Worker, version: &Version) -> Value {
    let mut shown = version_row(version);
    shown["startup_time_ms"] = json!(7);
    shown["resources"] = json!({
        "bindings": bindings(worker, version),
        "script": {
            "etag": version.etag,
            "handlers": ["fetch"],
            "named_handlers": named_handlers(worker),
            "last_deployed_from": "api",
        },
        "script_runtime": {
            "compatibility_date": version.compatibility_date,
            "compatibility_flags": version.compatibility_flags,
            "usage_model": version.usage_model,
        },
    });
    if let Some(tag) = &worker.migration_tag {
        shown["resources"]["script_runtime"]["migration_tag"] = json!(tag);
    }
    shown
}

/// A deployment.
pub(crate) fn deployment(deployment: &Deployment) -> Value {
    let versions: Vec<Value> = deployment
        .versions
        .iter()
        .map(|(id, percentage)| json!({"version_id": id, "percentage": percentage}))
        .collect();
    json!({
        "id": deployment.id,
        "source": "api",
        "strategy": "percentage",
        "author_email": "",
        "annotations": deployment.annotations,
        "versions": versions,
        "created_on": time(deployment.created_on),
    })
}

/// A Worker in the newer API, where it has an id of its own.
pub(crate) fn beta(worker: &Worker) -> Value {
    let observability = worker
        .observability
        .clone()
        .unwrap_or_else(|| json!({"enabled": false}));
    json!({
        "id": worker.tag,
        "name": worker.name,
        "created_on": time(worker.created_on),
        "updated_on": time(worker.modified_on),
        "deployed_on": worker.deployments.last().map(|d| time(d.created_on)),
        "logpush": worker.logpush,
        "observability": observability,
        "tags": worker.tags.clone().unwrap_or_default(),
        "tail_consumers": worker.tail_consumers.clone().unwrap_or_else(|| json!([])),
        "references": {"dispatch_namespace_outbounds": [], "domains": [], "durable_objects": [], "queues": [], "workers": []},
        "subdomain": {"enabled": worker.enabled, "previews_enabled": worker.previews_enabled},
    })
}

fn named_handlers(worker: &Worker) -> Value {
    worker
        .classes
        .keys()
        .map(|class| json!({"name": class, "handlers": ["class"]}))
        .collect()
}

fn optional<T: serde::Serialize>(map: &mut Map<String, Value>, key: &str, value: Option<&T>) {
    if let Some(value) = value {
        map.insert(key.to_owned(), json!(value));
    }
}
