//! R2 buckets.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};
use talon_core::spec::Jurisdiction;

use super::Cx;
use crate::reply::{ApiError, Handled, Reply};
use crate::world::BucketKey;
use crate::world::bucket::{Bucket, jurisdiction};
use crate::world::view::time;

/// The jurisdiction this call speaks of. Only one per call.
fn of_call(cx: &Cx<'_>) -> Handled<Jurisdiction> {
    jurisdiction(cx.request.header("cf-r2-jurisdiction"))
        .ok_or_else(|| ApiError::new(400, 10001, "The jurisdiction is not valid."))
}

/// The bucket that the path and the header name.
pub(crate) fn key(cx: &Cx<'_>) -> Handled<BucketKey> {
    Ok((of_call(cx)?, cx.param(0).to_owned()))
}

/// `POST …/r2/buckets`.
pub(crate) fn create(cx: Cx<'_>) -> Handled {
    let jurisdiction = of_call(&cx)?;
    let bucket = cx.world.create_bucket(jurisdiction, &cx.json()?, cx.now)?;
    Ok(Reply::ok(bucket.show()))
}

/// `GET …/r2/buckets`: by cursor, 20 a page unless told, at most 1000.
pub(crate) fn list(cx: Cx<'_>) -> Handled {
    let jurisdiction = of_call(&cx)?;
    let per_page = cx.number("per_page", 20, 1000);
    let text = |key: &str| cx.query.get(key).cloned().unwrap_or_default();
    let (contains, start_after, cursor) =
        (text("name_contains"), text("start_after"), text("cursor"));
    let descending = text("direction") == "desc";
    let after = if cursor.is_empty() {
        start_after
    } else {
        hex::decode(&cursor)
            .ok()
            .and_then(|b| String::from_utf8(b).ok())
            .ok_or_else(|| ApiError::new(400, 10001, "The cursor is not valid."))?
    };
    let mut buckets: Vec<Arc<Bucket>> = cx
        .world
        .listed(cx.now)
        .buckets
        .values()
        .filter(|b| b.jurisdiction == jurisdiction && b.name.contains(&contains))
        .cloned()
        .collect();
    if descending {
        buckets.reverse();
    }
    buckets.retain(|b| {
        after.is_empty()
            || if descending {
                b.name < after
            } else {
                b.name > after
            }
    });
    let more = buckets.len() > per_page;
    buckets.truncate(per_page);
    let mut info = json!({"per_page": per_page});
    if let Some(last) = buckets.last().filter(|_| more) {
        info["cursor"] = json!(hex::encode(&last.name));
    }
    let shown: Vec<Value> = buckets.iter().map(|b| b.show()).collect();
    Ok(Reply::page(json!({"buckets": shown}), info))
}

/// `GET …/r2/buckets/{name}`.
pub(crate) fn get(cx: Cx<'_>) -> Handled {
    let key = key(&cx)?;
    let bucket = cx
        .world
        .seen(cx.now)
        .buckets
        .get(&key)
        .cloned()
        .ok_or_else(ApiError::no_bucket)?;
    Ok(Reply::ok(bucket.show()))
}

/// `DELETE …/r2/buckets/{name}`.
pub(crate) fn delete(cx: Cx<'_>) -> Handled {
    let key = key(&cx)?;
    cx.world.delete_bucket(&key, cx.now)?;
    Ok(Reply::ok(json!({})))
}

/// `POST /graphql`: how much a bucket holds, which is the one thing that is asked of the analytics here (by
/// `wrangler r2 bucket info`). Any other query gets the same shape with nothing in it.
pub(crate) fn metrics(cx: &Cx<'_>) -> Handled {
    let body = cx.json()?;
    let variables = &body["variables"];
    let wanted = variables["filter"]["bucketName"]
        .as_str()
        .unwrap_or_default();
    // A jurisdiction stands before the name; names have no underscore.
    let key = match wanted.split_once('_') {
        Some((place, name)) => jurisdiction(Some(place)).map(|j| (j, name.to_owned())),
        None => Some((Jurisdiction::Default, wanted.to_owned())),
    };
    let ours = variables["accountTag"] == cx.world.account_id.as_str();
    let store = key
        .filter(|_| ours)
        .and_then(|key| cx.world.objects.get(&key));
    let groups: Vec<Value> = store
        .into_iter()
        .map(|store| {
            let size: usize = store.objects.values().map(|o| o.body.len()).sum();
            json!({
                "max": {"objectCount": store.objects.len(), "payloadSize": size, "metadataSize": 0},
                "dimensions": {"datetime": time(cx.now)},
            })
        })
        .collect();
    Ok(Reply::json(
        StatusCode::OK,
        &json!({"data": {"viewer": {"accounts": [{"r2StorageAdaptiveGroups": groups}]}}, "errors": null}),
    ))
}
