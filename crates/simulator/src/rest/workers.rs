//! Workers: list, upload, settings, secrets, workers.dev.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Map, Value, json};
use talon_core::secret::SecretValue;

use super::Cx;
use crate::operation::percent_decode;
use crate::reply::{ApiError, Handled, Reply};
use crate::world::binding::check_secret;
use crate::world::metadata::{Metadata, Submission, check_tags};
use crate::world::upload::Terms;
use crate::world::view;
use crate::world::worker::{Version, Worker};

/// The Worker of the path as reads see it, and its newest version.
pub(crate) fn seen(cx: &mut Cx<'_>) -> Handled<(Arc<Worker>, Arc<Version>)> {
    let name = cx.param(0).to_owned();
    let worker = cx
        .world
        .seen(cx.now)
        .workers
        .get(&name)
        .cloned()
        .ok_or_else(ApiError::no_worker)?;
    let latest = worker.latest().cloned().ok_or_else(ApiError::no_worker)?;
    Ok((worker, latest))
}

/// How new versions of this request are made.
pub(crate) fn terms(cx: &Cx<'_>) -> Terms {
    let wrangler = cx
        .request
        .header("user-agent")
        .is_some_and(|a| a.starts_with("wrangler/"));
    Terms {
        strict: cx
            .query
            .get("bindings_inherit")
            .is_some_and(|v| v == "strict"),
        source: if wrangler { "wrangler" } else { "api" },
    }
}

/// The Worker as it is right after a change.
fn current(cx: &Cx<'_>, name: &str) -> Handled<Arc<Worker>> {
    cx.world
        .catalog()
        .workers
        .get(name)
        .cloned()
        .ok_or_else(ApiError::no_worker)
}

/// `GET …/scripts`, whole, filtered by `tags=a:yes,b:no`.
pub(crate) fn list(cx: Cx<'_>) -> Handled {
    if cx.world.conditions.empty_worker_list {
        cx.world.conditions.fired.empty_worker_list += 1;
        return Ok(Reply::ok(json!([])));
    }
    let filters: Vec<(&str, bool)> = cx
        .query
        .get("tags")
        .map(String::as_str)
        .unwrap_or_default()
        .split(',')
        .filter(|f| !f.is_empty())
        .map(|f| match f.rsplit_once(':') {
            Some((tag, "no")) => (tag, false),
            Some((tag, "yes")) => (tag, true),
            Some(_) | None => (f, true),
        })
        .collect();
    let workers: Vec<Arc<Worker>> = cx
        .world
        .listed(cx.now)
        .workers
        .values()
        .filter(|w| {
            let has = |tag: &str| w.tags.iter().flatten().any(|t| t == tag);
            filters.iter().all(|(tag, wanted)| has(tag) == *wanted)
        })
        .cloned()
        .collect();
    let rows = workers
        .iter()
        .map(|w| {
            let tags = view::tags(w, &mut cx.world.conditions, cx.now);
            let mut row = view::list_row(w, tags);
            row["routes"] = Value::Null;
            row
        })
        .collect();
    Ok(Reply::ok(rows))
}

/// `PUT …/scripts/{name}`.
pub(crate) fn upload(cx: Cx<'_>) -> Handled {
    let name = cx.param(0).to_owned();
    let submission = Submission::from_parts(cx.form()?, cx.now)?;
    let terms = terms(&cx);
    let version = cx.world.upload(&name, submission, terms, cx.now)?;
    Ok(Reply::ok(view::uploaded(&*current(&cx, &name)?, &version)))
}

/// `GET …/scripts/{name}`: the code, not JSON.
pub(crate) fn content(mut cx: Cx<'_>) -> Handled {
    let (worker, latest) = seen(&mut cx)?;
    let version = worker.live().cloned().unwrap_or(latest);
    if !version.has_modules {
        let body = version
            .modules
            .iter()
            .find(|m| m.name == version.main_module)
            .map(|m| m.body.clone())
            .unwrap_or_default();
        return Ok(Reply::raw(StatusCode::OK, "application/javascript", body));
    }
    let boundary = format!("----{}", version.id);
    let mut body = Vec::new();
    for module in version.modules.iter() {
        body.extend_from_slice(
            format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{0}\"; filename=\"{0}\"\r\nContent-Type: {1}\r\n\r\n",
                module.name, module.content_type
            )
            .as_bytes(),
        );
        body.extend_from_slice(&module.body);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    Ok(Reply::raw(
        StatusCode::OK,
        format!("multipart/form-data; boundary={boundary}"),
        body,
    )
    .header("cf-entrypoint", version.main_module.clone())
    .header("etag", version.etag.clone()))
}

/// `DELETE …/scripts/{name}?force=`.
pub(crate) fn delete(cx: Cx<'_>) -> Handled {
    let name = cx.param(0).to_owned();
    cx.world.delete_worker(&name, cx.flag("force"), cx.now)?;
    Ok(Reply::ok(Value::Null))
}

/// `GET …/settings`.
pub(crate) fn settings(mut cx: Cx<'_>) -> Handled {
    let (worker, latest) = seen(&mut cx)?;
    let tags = view::tags(&worker, &mut cx.world.conditions, cx.now);
    Ok(Reply::ok(view::settings(&worker, &latest, tags)))
}

/// `PATCH …/settings`: multipart with a `settings` part; JSON is refused with 10001.
pub(crate) fn patch_settings(cx: Cx<'_>) -> Handled {
    let name = cx.param(0).to_owned();
    let part = cx
        .form()?
        .into_iter()
        .find(|p| p.name == "settings")
        .ok_or_else(|| ApiError::bad_body("The form has no part named 'settings'."))?;
    let settings = Metadata::parse(&part.body, cx.now)?;
    let terms = terms(&cx);
    let version = cx.world.patch_settings(&name, settings, terms, cx.now)?;
    let worker = current(&cx, &name)?;
    Ok(Reply::ok(view::settings(
        &worker,
        &version,
        json!(worker.tags),
    )))
}

/// `GET …/script-settings`.
pub(crate) fn script_settings(mut cx: Cx<'_>) -> Handled {
    let (worker, _) = seen(&mut cx)?;
    let tags = view::tags(&worker, &mut cx.world.conditions, cx.now);
    Ok(Reply::ok(view::script_settings(&worker, tags)))
}

/// `PATCH …/script-settings`: no new version.
pub(crate) fn patch_script_settings(cx: Cx<'_>) -> Handled {
    let name = cx.param(0).to_owned();
    let patch: Metadata = serde_json::from_value(cx.json()?)
        .map_err(|_| ApiError::bad_body("The settings do not have the expected shape."))?;
    if let Some(tags) = &patch.tags {
        check_tags(tags)?;
    }
    current(&cx, &name)?;
    let now = cx.now;
    if let Some(worker) = cx.world.change(now).worker_mut(&name) {
        worker.tags = patch.tags.or(worker.tags.take());
        worker.logpush = patch.logpush.unwrap_or(worker.logpush);
        worker.observability = patch.observability.or(worker.observability.take());
        worker.tail_consumers = patch.tail_consumers.or(worker.tail_consumers.take());
        worker.modified_on = now;
    }
    let worker = current(&cx, &name)?;
    Ok(Reply::ok(view::script_settings(
        &worker,
        json!(worker.tags),
    )))
}

fn secret_row(name: &str) -> Value {
    json!({"name": name, "type": "secret_text"})
}

fn secret_names(version: &Version) -> impl Iterator<Item = &str> {
    version
        .bindings
        .iter()
        .filter(|b| b.kind == "secret_text")
        .map(|b| b.name.as_str())
}

/// `GET …/secrets`: names only.
pub(crate) fn secrets(mut cx: Cx<'_>) -> Handled {
    let (_, latest) = seen(&mut cx)?;
    Ok(Reply::ok(secret_names(&latest).map(secret_row).collect()))
}

/// `GET …/secrets/{secret}`: its name and type.
pub(crate) fn get_secret(mut cx: Cx<'_>) -> Handled {
    let (_, latest) = seen(&mut cx)?;
    let wanted = secret_param(&cx);
    let found = secret_names(&latest).any(|n| n == wanted);
    if !found {
        return Err(no_secret(&wanted));
    }
    Ok(Reply::ok(secret_row(&wanted)))
}

/// `url_encoded=true` says that the name was encoded once more.
fn secret_param(cx: &Cx<'_>) -> String {
    if cx.flag("url_encoded") {
        percent_decode(cx.param(1))
    } else {
        cx.param(1).to_owned()
    }
}

fn no_secret(name: &str) -> ApiError {
    ApiError::new(
        404,
        10056,
        format!("Secret binding '{name}' was not found."),
    )
}

/// `PUT …/secrets`: one secret.
pub(crate) fn put_secret(cx: Cx<'_>) -> Handled {
    let worker = cx.param(0).to_owned();
    let (name, value) = one_secret(&cx.json()?)?;
    cx.world
        .push_secrets(&worker, vec![(name.clone(), Some(value))], cx.now)?;
    Ok(Reply::ok(secret_row(&name)))
}

fn one_secret(body: &Value) -> Handled<(String, SecretValue)> {
    let text = |key: &str| body.get(key).and_then(Value::as_str);
    match (text("name"), text("text"), text("type")) {
        (Some(name), Some(value), Some("secret_text")) if !name.is_empty() => {
            check_secret(name, value)?;
            Ok((name.to_owned(), SecretValue::new(value.to_owned())))
        }
        _ => Err(ApiError::invalid_script(
            "A secret must have a name, a text and the type secret_text.",
        )),
    }
}

/// `DELETE …/secrets/{secret}`.
pub(crate) fn delete_secret(cx: Cx<'_>) -> Handled {
    let worker = cx.param(0).to_owned();
    let name = secret_param(&cx);
    let latest = current(&cx, &worker)?
        .latest()
        .cloned()
        .ok_or_else(ApiError::no_worker)?;
    let found = secret_names(&latest).any(|n| n == name);
    if !found {
        return Err(no_secret(&name));
    }
    cx.world.push_secrets(&worker, vec![(name, None)], cx.now)?;
    Ok(Reply::ok(Value::Null))
}

/// `PATCH …/secrets-bulk`: a JSON merge patch of at most 100 secrets; the answer maps every secret there is now.
pub(crate) fn bulk_secrets(cx: Cx<'_>) -> Handled {
    let worker = cx.param(0).to_owned();
    let body = cx.json()?;
    let given = body
        .get("secrets")
        .and_then(Value::as_object)
        .ok_or_else(|| ApiError::bad_body("The body must have an object 'secrets'."))?;
    if given.len() > 100 {
        return Err(ApiError::bad_body(
            "At most 100 secrets can be changed at once.",
        ));
    }
    let changes = given
        .iter()
        .map(|(name, change)| match change {
            Value::Null => Ok((name.clone(), None)),
            change => {
                let (inner, value) = one_secret(change)?;
                if inner != *name {
                    return Err(ApiError::invalid_script(format!(
                        "Secret '{name}' must carry its own name."
                    )));
                }
                Ok((inner, Some(value)))
            }
        })
        .collect::<Handled<Vec<_>>>()?;
    let version = cx.world.push_secrets(&worker, changes, cx.now)?;
    let shown: Map<String, Value> = secret_names(&version)
        .map(|n| (n.to_owned(), secret_row(n)))
        .collect();
    Ok(Reply::ok(Value::Object(shown)))
}

fn route_row(worker: &Worker) -> Value {
    json!({"enabled": worker.enabled, "previews_enabled": worker.previews_enabled})
}

/// `GET …/scripts/{name}/subdomain`.
pub(crate) fn route(mut cx: Cx<'_>) -> Handled {
    let (worker, _) = seen(&mut cx)?;
    Ok(Reply::ok(route_row(&worker)))
}

/// `POST …/scripts/{name}/subdomain`.
pub(crate) fn set_route(cx: Cx<'_>) -> Handled {
    let body = cx.json()?;
    let enabled = body
        .get("enabled")
        .and_then(Value::as_bool)
        .ok_or_else(|| ApiError::bad_body("The body must have a boolean 'enabled'."))?;
    // Without the dated header the older meaning holds: previews follow the route.
    let dated = cx
        .request
        .header("cloudflare-workers-script-api-date")
        .is_some();
    let previews = body.get("previews_enabled").and_then(Value::as_bool);
    change_route(cx, enabled, move |old| {
        previews.unwrap_or(if dated { old } else { enabled })
    })
}

/// `DELETE …/scripts/{name}/subdomain`.
pub(crate) fn delete_route(cx: Cx<'_>) -> Handled {
    change_route(cx, false, |_| false)
}

fn change_route(cx: Cx<'_>, enabled: bool, previews: impl FnOnce(bool) -> bool) -> Handled {
    let name = cx.param(0).to_owned();
    current(&cx, &name)?;
    if cx.world.subdomain.is_none() && enabled {
        return Err(ApiError::new(
            400,
            10063,
            "You need a workers.dev subdomain in order to proceed.",
        ));
    }
    if let Some(worker) = cx.world.change(cx.now).worker_mut(&name) {
        worker.enabled = enabled;
        worker.previews_enabled = previews(worker.previews_enabled);
    }
    Ok(Reply::ok(route_row(&*current(&cx, &name)?)))
}
