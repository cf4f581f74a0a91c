//! Versions, deployments, schedules, and the views of a Worker that wrangler reads.

use serde_json::{Map, Value, json};

use super::Cx;
use super::workers::{seen, terms};
use crate::reply::{ApiError, Handled, Reply};
use crate::world::metadata::Submission;
use crate::world::view::{self, time};
use crate::world::worker::Worker;

fn no_service() -> ApiError {
    ApiError::new(404, 10090, "This Worker does not exist on your account.")
}

/// `GET …/versions`, newest first.
pub(crate) fn list(mut cx: Cx<'_>) -> Handled {
    let (worker, _) = seen(&mut cx)?;
    let per_page = cx.number("per_page", 10, 100);
    let page = cx.number("page", 1, usize::MAX);
    let items: Vec<Value> = worker
        .versions
        .iter()
        .rev()
        .skip((page - 1).saturating_mul(per_page))
        .take(per_page)
        .map(|v| view::version_row(v))
        .collect();
    let total = worker.versions.len();
    let info = json!({
        "page": page,
        "per_page": per_page,
        "count": items.len(),
        "total_count": total,
        "total_pages": total.div_ceil(per_page),
    });
    Ok(Reply::page(json!({"items": items}), info))
}

/// `POST …/versions`: not live until deployed.
pub(crate) fn create(cx: Cx<'_>) -> Handled {
    let name = cx.param(0).to_owned();
    let submission = Submission::from_parts(cx.form()?, cx.now)?;
    let terms = terms(&cx);
    let version = cx.world.upload_version(&name, submission, terms, cx.now)?;
    let worker = cx
        .world
        .catalog()
        .workers
        .get(&name)
        .ok_or_else(ApiError::no_worker)?;
    Ok(Reply::ok(view::version(worker, &version)))
}

/// `GET …/versions/{id}`.
pub(crate) fn get(mut cx: Cx<'_>) -> Handled {
    let (worker, _) = seen(&mut cx)?;
    let version = worker.version(cx.param(1)).ok_or_else(|| {
        ApiError::new(
            404,
            100_146,
            "The requested Worker version could not be found.",
        )
    })?;
    Ok(Reply::ok(view::version(&worker, version)))
}

/// `GET …/deployments`, newest first.
pub(crate) fn deployments(mut cx: Cx<'_>) -> Handled {
    let (worker, _) = seen(&mut cx)?;
    let shown: Vec<Value> = worker
        .deployments
        .iter()
        .rev()
        .take(10)
        .map(|d| view::deployment(d))
        .collect();
    Ok(Reply::ok(json!({"deployments": shown})))
}

/// `POST …/deployments`.
pub(crate) fn deploy(cx: Cx<'_>) -> Handled {
    let name = cx.param(0).to_owned();
    let body = cx.json()?;
    let bad =
        || ApiError::bad_body("The body must have strategy 'percentage' and a list of versions.");
    if body.get("strategy").and_then(Value::as_str) != Some("percentage") {
        return Err(bad());
    }
    let versions = body
        .get("versions")
        .and_then(Value::as_array)
        .ok_or_else(bad)?
        .iter()
        .map(|v| {
            let id = v.get("version_id").and_then(Value::as_str)?;
            let percentage = v.get("percentage").and_then(Value::as_f64)?;
            Some((id.to_owned(), percentage))
        })
        .collect::<Option<Vec<_>>>()
        .ok_or_else(bad)?;
    let annotations = body
        .get("annotations")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    let deployment = cx.world.deploy(&name, versions, annotations, cx.now)?;
    Ok(Reply::ok(view::deployment(&deployment)))
}

fn schedule_rows(worker: &Worker) -> Value {
    let rows: Vec<Value> = worker
        .schedules
        .iter()
        .map(|(cron, at)| json!({"cron": cron, "created_on": time(*at), "modified_on": time(*at)}))
        .collect();
    json!({"schedules": rows})
}

/// `GET …/schedules`.
pub(crate) fn schedules(mut cx: Cx<'_>) -> Handled {
    let (worker, _) = seen(&mut cx)?;
    Ok(Reply::ok(schedule_rows(&worker)))
}

/// `PUT …/schedules`: replaces all.
pub(crate) fn put_schedules(cx: Cx<'_>) -> Handled {
    let body = cx.json()?;
    let crons = body
        .as_array()
        .and_then(|list| {
            list.iter()
                .map(|c| c.get("cron").and_then(Value::as_str).map(str::to_owned))
                .collect::<Option<Vec<_>>>()
        })
        .ok_or_else(|| ApiError::bad_body("The body must be a list of {\"cron\": …}."))?;
    let name = cx.param(0).to_owned();
    if !cx.world.catalog().workers.contains_key(&name) {
        return Err(ApiError::no_worker());
    }
    let now = cx.now;
    let worker = cx
        .world
        .change(now)
        .worker_mut(&name)
        .ok_or_else(ApiError::no_worker)?;
    worker.schedules = crons.into_iter().map(|c| (c, now)).collect();
    Ok(Reply::ok(schedule_rows(worker)))
}

/// `GET …/services/{name}`: what wrangler asks before it deploys.
pub(crate) fn service(mut cx: Cx<'_>) -> Handled {
    let (worker, _) = seen(&mut cx).map_err(|_| no_service())?;
    let tags = view::tags(&worker, &mut cx.world.conditions, cx.now);
    let mut script = view::list_row(&worker, tags);
    script["last_deployed_from"] = json!(worker.live().map_or("api", |v| v.source));
    let (created, modified) = (time(worker.created_on), time(worker.modified_on));
    let environment = json!({
        "environment": "production",
        "created_on": created,
        "modified_on": modified,
        "script": script,
    });
    let mut shown = Map::new();
    shown.insert("id".to_owned(), json!(worker.name));
    shown.insert("created_on".to_owned(), json!(created));
    shown.insert("modified_on".to_owned(), json!(modified));
    shown.insert("environments".to_owned(), json!([environment]));
    shown.insert("default_environment".to_owned(), environment);
    Ok(Reply::ok(Value::Object(shown)))
}

/// `DELETE …/services/{name}?force=`: how wrangler deletes.
pub(crate) fn delete_service(cx: Cx<'_>) -> Handled {
    let name = cx.param(0).to_owned();
    if !cx.world.catalog().workers.contains_key(&name) {
        return Err(no_service());
    }
    cx.world.delete_worker(&name, cx.flag("force"), cx.now)?;
    Ok(Reply::ok(Value::Null))
}

/// `GET …/workers/workers/{id or name}`.
pub(crate) fn beta(cx: Cx<'_>) -> Handled {
    let wanted = cx.param(0).to_owned();
    let worker = cx
        .world
        .seen(cx.now)
        .workers
        .values()
        .find(|w| w.name == wanted || w.tag == wanted)
        .cloned()
        .ok_or_else(ApiError::no_worker)?;
    Ok(Reply::ok(view::beta(&worker)))
}

/// `GET …/durable_objects/namespaces`.
pub(crate) fn namespaces(cx: &Cx<'_>) -> Handled {
    let rows: Vec<Value> = cx
        .world
        .catalog()
        .workers
        .values()
        .flat_map(|w| {
            w.classes.iter().map(|(name, class)| {
                json!({
                    "id": class.namespace_id,
                    "class": name,
                    "name": format!("{}_{name}", w.name),
                    "script": w.name,
                    "use_sqlite": class.sqlite,
                })
            })
        })
        .collect();
    let count = rows.len();
    Ok(Reply::page(
        Value::Array(rows),
        json!({"page": 1, "per_page": 1000, "count": count, "total_count": count, "total_pages": 1}),
    ))
}
