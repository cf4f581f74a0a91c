//! R2 objects over REST.

use chrono::SecondsFormat;
use http::StatusCode;
use serde_json::{Value, json};

use super::Cx;
use super::r2::key;
use crate::reply::{ApiError, Handled, Reply};
use crate::world::BucketKey;
use crate::world::bucket::{ObjectStore, show_object};
use crate::world::object::{HttpMetadata, Object};

fn store<'a>(cx: &'a Cx<'_>) -> Handled<&'a ObjectStore> {
    let key = key(cx)?;
    cx.world.objects.get(&key).ok_or_else(ApiError::no_bucket)
}

fn store_mut<'a>(cx: &'a mut Cx<'_>, key: &BucketKey) -> Handled<&'a mut ObjectStore> {
    cx.world
        .objects
        .get_mut(key)
        .ok_or_else(ApiError::no_bucket)
}

fn no_object() -> ApiError {
    ApiError::new(404, 10007, "The specified key does not exist.")
}

/// `GET …/objects`: by cursor, at most 1000 a page.
pub(crate) fn list(cx: &Cx<'_>) -> Handled {
    let per_page = cx.number("per_page", 20, 1000);
    let text = |key: &str| cx.query.get(key).map(String::as_str).unwrap_or_default();
    let cursor = hex::decode(text("cursor"))
        .ok()
        .and_then(|b| String::from_utf8(b).ok())
        .ok_or_else(|| ApiError::new(400, 10001, "The cursor is not valid."))?;
    let after = if cursor.is_empty() {
        text("start_after").to_owned()
    } else {
        cursor
    };
    let delimiter = cx.query.get("delimiter").map(String::as_str);
    let page = store(cx)?.page(text("prefix"), delimiter, &after, per_page);
    let shown: Vec<Value> = page
        .objects
        .iter()
        .map(|(key, object)| show_object(key, object))
        .collect();
    let mut info = json!({"per_page": per_page, "is_truncated": page.next.is_some()});
    if let Some(next) = &page.next {
        info["cursor"] = json!(hex::encode(next));
    }
    if !page.prefixes.is_empty() {
        info["delimited"] = json!(page.prefixes);
    }
    Ok(Reply::page(Value::Array(shown), info))
}

/// `GET …/objects/{key}`: the bytes.
pub(crate) fn get(cx: &Cx<'_>) -> Handled {
    let object = store(cx)?.objects.get(cx.param(1)).ok_or_else(no_object)?;
    let kind = object.http.content_type();
    let mut reply = Reply::raw(StatusCode::OK, kind, object.body.clone())
        .header("etag", format!("\"{}\"", object.etag));
    for (name, value) in object.http.headers() {
        reply = reply.header(name, value);
    }
    Ok(reply)
}

/// `PUT …/objects/{key}`: the raw body.
pub(crate) fn put(mut cx: Cx<'_>) -> Handled {
    let bucket = key(&cx)?;
    let name = cx.param(1).to_owned();
    if name.len() > 1024 {
        return Err(ApiError::new(400, 10020, "The object key is too long."));
    }
    let version = cx.world.chance.hex32();
    let http = HttpMetadata::of(&cx.request.headers);
    let object = Object::new(cx.request.body.clone(), http, version.clone(), cx.now);
    let shown = json!({
        "key": name,
        "etag": object.etag,
        "size": object.body.len().to_string(),
        "version": version,
        "uploaded": object.uploaded.to_rfc3339_opts(SecondsFormat::Millis, true),
        "storage_class": "Standard",
    });
    store_mut(&mut cx, &bucket)?.objects.insert(name, object);
    Ok(Reply::ok(shown))
}

/// `DELETE …/objects/{key}`.
pub(crate) fn delete(mut cx: Cx<'_>) -> Handled {
    let bucket = key(&cx)?;
    let name = cx.param(1).to_owned();
    store_mut(&mut cx, &bucket)?.objects.remove(&name);
    Ok(Reply::ok(json!({"key": name})))
}

/// `DELETE …/objects`: a JSON list of at most 1000 keys, or with `?prefix=` everything below it (done at once, where the
/// live API makes it a job).
pub(crate) fn bulk_delete(mut cx: Cx<'_>) -> Handled {
    let bucket = key(&cx)?;
    if let Some(prefix) = cx.query.get("prefix").cloned() {
        let id = cx.world.chance.uuid();
        let store = store_mut(&mut cx, &bucket)?;
        let before = store.objects.len();
        store.objects.retain(|key, _| !key.starts_with(&prefix));
        let clear = store.objects.is_empty();
        let deleted = before - store.objects.len();
        return Ok(Reply::ok(json!({
            "id": id,
            "jobType": "prefixDelete",
            "status": "COMPLETED",
            "prefixDelete": {"prefix": prefix, "deletedObjects": deleted, "isBucketClear": clear},
        })));
    }
    let body = cx.json()?;
    let keys = body
        .as_array()
        .filter(|l| l.len() <= 1000)
        .and_then(|l| l.iter().map(Value::as_str).collect::<Option<Vec<_>>>())
        .ok_or_else(|| ApiError::bad_body("The body must be a list of at most 1000 keys."))?;
    let store = store_mut(&mut cx, &bucket)?;
    for key in &keys {
        store.objects.remove(*key);
    }
    Ok(Reply::ok(keys.iter().map(|k| json!({"key": k})).collect()))
}
