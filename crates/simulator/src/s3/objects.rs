//! Single objects.

use bytes::Bytes;
use http::StatusCode;

use super::{S3Cx, S3Error, Served};
use crate::reply::Reply;
use crate::world::object::{HttpMetadata, Object, http_date};

const META: &str = "x-amz-meta-";

fn no_key() -> S3Error {
    S3Error::new(404, "NoSuchKey", "The specified key does not exist.")
}

fn found(cx: &mut S3Cx<'_>) -> Result<Object, S3Error> {
    let key = cx.call.key.clone();
    cx.store()?.objects.get(&key).cloned().ok_or_else(no_key)
}

fn described(mut reply: Reply, object: &Object) -> Reply {
    reply = reply
        .header("etag", format!("\"{}\"", object.etag))
        .header("last-modified", http_date(object.uploaded))
        .header("accept-ranges", "bytes");
    for (name, value) in object.http.headers() {
        reply = reply.header(name, value);
    }
    for (name, value) in &object.custom {
        reply = reply.header(format!("{META}{name}"), value.clone());
    }
    reply
}

/// `GET /{bucket}/{key}`, with one byte range if asked.
pub(super) fn get(mut cx: S3Cx<'_>) -> Served {
    let object = found(&mut cx)?;
    let kind = object.http.content_type();
    let Some(range) = cx.request.header("range") else {
        let reply = Reply::raw(StatusCode::OK, kind, object.body.clone());
        return Ok(described(reply, &object));
    };
    let total = object.body.len();
    let (from, to) = bounds(range, total).ok_or_else(|| {
        S3Error::new(
            416,
            "InvalidRange",
            "The requested range is not satisfiable",
        )
    })?;
    let part: Bytes = object.body.slice(from..=to);
    let reply = Reply::raw(StatusCode::PARTIAL_CONTENT, kind, part)
        .header("content-range", format!("bytes {from}-{to}/{total}"));
    Ok(described(reply, &object))
}

/// First and last byte of `bytes=a-b`, `bytes=a-` or `bytes=-n`.
fn bounds(range: &str, total: usize) -> Option<(usize, usize)> {
    let last = total.checked_sub(1)?;
    let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (from, to) = if from.is_empty() {
        (total.saturating_sub(to.parse().ok()?), last)
    } else if to.is_empty() {
        (from.parse().ok()?, last)
    } else {
        (from.parse().ok()?, to.parse::<usize>().ok()?.min(last))
    };
    (from <= to).then_some((from, to))
}

/// `HEAD /{bucket}/{key}`.
pub(super) fn head(mut cx: S3Cx<'_>) -> Served {
    let object = found(&mut cx)?;
    let reply = Reply::raw(StatusCode::OK, object.http.content_type(), "")
        .header("content-length", object.body.len().to_string());
    Ok(described(reply, &object))
}

/// `PUT /{bucket}/{key}`.
pub(super) fn put(mut cx: S3Cx<'_>) -> Served {
    let key = cx.call.key.clone();
    if key.len() > 1024 {
        return Err(S3Error::new(400, "KeyTooLongError", "Your key is too long"));
    }
    let http = HttpMetadata::of(&cx.request.headers);
    let version = cx.world.chance.hex32();
    let mut object = Object::new(cx.request.body.clone(), http, version, cx.now);
    for (name, value) in &cx.request.headers {
        if let (Some(name), Ok(value)) = (name.as_str().strip_prefix(META), value.to_str()) {
            object.custom.insert(name.to_owned(), value.to_owned());
        }
    }
    let etag = format!("\"{}\"", object.etag);
    cx.store()?.objects.insert(key, object);
    Ok(Reply::raw(StatusCode::OK, "application/xml", "").header("etag", etag))
}

/// `DELETE /{bucket}/{key}`; one that is not there counts as deleted.
pub(super) fn delete(mut cx: S3Cx<'_>) -> Served {
    let key = cx.call.key.clone();
    cx.store()?.objects.remove(&key);
    Ok(Reply::raw(StatusCode::NO_CONTENT, "application/xml", ""))
}
