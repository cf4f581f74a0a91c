//! Multipart uploads through a binding. They are the same uploads as S3's.

use std::collections::BTreeSet;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde_json::json;

use super::objects::{Served, check_about, check_key, storage_class};
use super::protocol::{About, PublishedPart, Refusal, answer, describe};
use crate::reply::Reply;
use crate::world::bucket::ObjectStore;
use crate::world::object::{Pending, part_etag};

/// Smallest part but for the last, in bytes.
const MIN_PART: usize = 5 * 1024 * 1024;

/// `createMultipartUpload`.
pub(super) fn create(
    store: &mut ObjectStore,
    key: String,
    about: &About,
    id: String,
    now: DateTime<Utc>,
) -> Served {
    check_key(&key)?;
    let mut upload = Pending::new(key, about.http(), now);
    upload.custom = check_about(about)?;
    upload.storage_class = storage_class(about);
    let shown = json!({"uploadId": id});
    store.uploads.insert(id, upload);
    Ok(answer(&shown, &Bytes::new()))
}

/// `uploadPart`.
pub(super) fn part(
    store: &mut ObjectStore,
    key: &str,
    id: &str,
    number: u32,
    value: Bytes,
) -> Served {
    check_key(key)?;
    let upload = store
        .uploads
        .get_mut(id)
        .filter(|u| u.key == key)
        .ok_or(Refusal::NO_UPLOAD)?;
    let etag = part_etag(&value);
    upload.parts.insert(number, value);
    Ok(answer(&json!({"etag": etag}), &Bytes::new()))
}

/// What to say of an upload that is not open.
fn not_open(store: &ObjectStore, id: &str) -> Refusal {
    if store.ended_uploads.contains(id) {
        Refusal::NO_UPLOAD
    } else {
        // Strange, but what R2 answers for an id that never was.
        Refusal::INTERNAL
    }
}

/// `completeMultipartUpload`.
pub(super) fn complete(
    store: &mut ObjectStore,
    key: &str,
    id: &str,
    named: &[PublishedPart],
    version: String,
    now: DateTime<Utc>,
) -> Served {
    check_key(key)?;
    let upload = store
        .uploads
        .get(id)
        .filter(|u| u.key == key)
        .ok_or_else(|| not_open(store, id))?;
    let numbers: BTreeSet<u32> = named.iter().map(|p| p.part).collect();
    if numbers.len() != named.len() {
        return Err(Refusal::INTERNAL);
    }
    let mut parts = named
        .iter()
        .map(|p| {
            let body = upload.parts.get(&p.part)?;
            (part_etag(body) == p.etag).then_some((p.part, body))
        })
        .collect::<Option<Vec<_>>>()
        .ok_or(Refusal::BAD_PART)?;
    let short = |parts: &[(u32, &Bytes)]| {
        let all_but_last = parts.len().saturating_sub(1);
        parts[..all_but_last]
            .iter()
            .any(|(_, b)| b.len() < MIN_PART)
    };
    if short(&parts) {
        return Err(Refusal::TOO_SMALL);
    }
    parts.sort_by_key(|(number, _)| *number);
    if let Some(((_, last), others)) = parts.split_last()
        && let Some((_, first)) = others.first()
    {
        let uneven = others.iter().any(|(_, b)| b.len() != first.len());
        if short(&parts) || uneven || last.len() > first.len() {
            return Err(Refusal::BAD_UPLOAD);
        }
    }
    let bodies: Vec<&Bytes> = parts.iter().map(|(_, body)| *body).collect();
    let object = upload.join(&bodies, version, now);
    let shown = describe(key, &object, None);
    store.uploads.remove(id);
    store.ended_uploads.insert(id.to_owned());
    store.objects.insert(key.to_owned(), object);
    Ok(answer(&shown, &Bytes::new()))
}

/// `abortMultipartUpload`: one that has ended already stays as it is.
pub(super) fn abort(store: &mut ObjectStore, key: &str, id: &str) -> Served {
    check_key(key)?;
    let open = store.uploads.get(id).is_some_and(|u| u.key == key);
    if open {
        store.uploads.remove(id);
        store.ended_uploads.insert(id.to_owned());
    } else if !store.ended_uploads.contains(id) {
        return Err(Refusal::INTERNAL);
    }
    Ok(Reply::raw(http::StatusCode::OK, "application/json", ""))
}
