//! Multipart uploads.

use bytes::Bytes;
use chrono::SecondsFormat;
use http::StatusCode;

use super::xml::{HEADER, NS, elements, escape, text};
use super::{S3Cx, S3Error, Served};
use crate::reply::Reply;
use crate::world::object::{HttpMetadata, Pending, part_etag};

fn no_upload() -> S3Error {
    S3Error::new(
        404,
        "NoSuchUpload",
        "The specified multipart upload does not exist.",
    )
}

fn id(cx: &S3Cx<'_>) -> String {
    cx.parameter("uploadId").unwrap_or_default().to_owned()
}

fn pending<'a>(cx: &'a mut S3Cx<'_>) -> Result<&'a mut Pending, S3Error> {
    let (id, key) = (id(cx), cx.call.key.clone());
    cx.store()?
        .uploads
        .get_mut(&id)
        .filter(|u| u.key == key)
        .ok_or_else(no_upload)
}

/// `GET /{bucket}?uploads`: by key, then by id.
pub(super) fn list(mut cx: S3Cx<'_>) -> Served {
    let max = cx.max("max-uploads");
    let owned = |name: &str| cx.parameter(name).unwrap_or_default().to_owned();
    let (prefix, after_key, after_id) = (
        owned("prefix"),
        owned("key-marker"),
        owned("upload-id-marker"),
    );
    let name = cx.bucket.1.clone();
    let mut uploads: Vec<(&String, &Pending)> = cx
        .store()?
        .uploads
        .iter()
        .filter(|(id, u)| {
            u.key.starts_with(&prefix)
                && (u.key > after_key
                    || (u.key == after_key && !after_id.is_empty() && **id > after_id))
        })
        .collect();
    uploads.sort_by(|a, b| (&a.1.key, a.0).cmp(&(&b.1.key, b.0)));
    let more = uploads.len() > max;
    uploads.truncate(max);
    let mut body = format!(
        "{HEADER}<ListMultipartUploadsResult {NS}><Bucket>{name}</Bucket><KeyMarker>{}</KeyMarker><MaxUploads>{max}</MaxUploads><IsTruncated>{more}</IsTruncated>",
        escape(&after_key)
    );
    if let Some((id, upload)) = uploads.last().filter(|_| more) {
        body.push_str(&format!(
            "<NextKeyMarker>{}</NextKeyMarker><NextUploadIdMarker>{id}</NextUploadIdMarker>",
            escape(&upload.key)
        ));
    }
    for (id, upload) in uploads {
        body.push_str(&format!(
            "<Upload><Key>{}</Key><UploadId>{id}</UploadId><StorageClass>STANDARD</StorageClass><Initiated>{}</Initiated></Upload>",
            escape(&upload.key),
            upload.initiated.to_rfc3339_opts(SecondsFormat::Millis, true)
        ));
    }
    body.push_str("</ListMultipartUploadsResult>");
    Ok(Reply::raw(StatusCode::OK, "application/xml", body))
}

/// `POST /{bucket}/{key}?uploads`.
pub(super) fn create(mut cx: S3Cx<'_>) -> Served {
    let id = cx.world.chance.hex32();
    let http = HttpMetadata::of(&cx.request.headers);
    let upload = Pending::new(cx.call.key.clone(), http, cx.now);
    let body = format!(
        "{HEADER}<InitiateMultipartUploadResult {NS}><Bucket>{}</Bucket><Key>{}</Key><UploadId>{id}</UploadId></InitiateMultipartUploadResult>",
        cx.bucket.1,
        escape(&upload.key)
    );
    cx.store()?.uploads.insert(id, upload);
    Ok(Reply::raw(StatusCode::OK, "application/xml", body))
}

/// `PUT /{bucket}/{key}?partNumber=&uploadId=`.
pub(super) fn part(mut cx: S3Cx<'_>) -> Served {
    let number: u32 = cx
        .parameter("partNumber")
        .and_then(|n| n.parse().ok())
        .filter(|n| (1..=10_000).contains(n))
        .ok_or_else(|| S3Error::new(400, "InvalidArgument", "The part number is not valid"))?;
    let body = cx.request.body.clone();
    let etag = part_etag(&body);
    pending(&mut cx)?.parts.insert(number, body);
    Ok(Reply::raw(StatusCode::OK, "application/xml", "").header("etag", format!("\"{etag}\"")))
}

/// `POST /{bucket}/{key}?uploadId=`: joins the parts that are named, in the order of their numbers.
pub(super) fn complete(mut cx: S3Cx<'_>) -> Served {
    let bad = || {
        S3Error::new(
            400,
            "InvalidPart",
            "One or more of the specified parts could not be found.",
        )
    };
    let listed = String::from_utf8_lossy(&cx.request.body).into_owned();
    let now = cx.now;
    let version = cx.world.chance.hex32();
    let upload = pending(&mut cx)?;
    let mut joined: Vec<&Bytes> = Vec::new();
    let parts = elements(&listed, "Part");
    for part in &parts {
        let number: u32 = text(part, "PartNumber")
            .and_then(|n| n.trim().parse().ok())
            .ok_or_else(bad)?;
        let found = upload.parts.get(&number).ok_or_else(bad)?;
        let claimed = text(part, "ETag").unwrap_or_default();
        if claimed.trim_matches('"') != part_etag(found) {
            return Err(bad());
        }
        joined.push(found);
    }
    if parts.is_empty() {
        return Err(bad());
    }
    let object = upload.join(&joined, version, now);
    let key = upload.key.clone();
    let body = format!(
        "{HEADER}<CompleteMultipartUploadResult {NS}><Bucket>{}</Bucket><Key>{}</Key><ETag>&quot;{}&quot;</ETag></CompleteMultipartUploadResult>",
        cx.bucket.1,
        escape(&key),
        object.etag
    );
    let id = id(&cx);
    let store = cx.store()?;
    store.uploads.remove(&id);
    store.ended_uploads.insert(id);
    store.objects.insert(key, object);
    Ok(Reply::raw(StatusCode::OK, "application/xml", body))
}

/// `DELETE /{bucket}/{key}?uploadId=`.
pub(super) fn abort(mut cx: S3Cx<'_>) -> Served {
    pending(&mut cx)?;
    let id = id(&cx);
    let store = cx.store()?;
    store.uploads.remove(&id);
    store.ended_uploads.insert(id);
    Ok(Reply::raw(StatusCode::NO_CONTENT, "application/xml", ""))
}
