//! Listing and emptying a bucket.

use chrono::SecondsFormat;
use data_encoding::BASE64;
use http::StatusCode;
use md5::{Digest, Md5};

use super::sigv4::encode;
use super::xml::{HEADER, NS, elements, escape, text};
use super::{S3Cx, S3Error, Served};
use crate::reply::Reply;

/// `GET /{bucket}`: ListObjectsV2, and version 1 with `marker`.
pub(super) fn list_objects(mut cx: S3Cx<'_>) -> Served {
    let max = cx.max("max-keys");
    let owned = |name: &str| cx.parameter(name).unwrap_or_default().to_owned();
    let (prefix, delimiter) = (owned("prefix"), owned("delimiter"));
    let version_2 = owned("list-type") == "2";
    let by_url = owned("encoding-type") == "url";
    let start = if version_2 {
        owned("start-after")
    } else {
        owned("marker")
    };
    let after = match cx.parameter("continuation-token") {
        None => start,
        Some(token) => hex::decode(token)
            .ok()
            .and_then(|b| String::from_utf8(b).ok())
            .ok_or_else(|| {
                S3Error::new(
                    400,
                    "InvalidArgument",
                    "The continuation token is not valid",
                )
            })?,
    };
    let shown = |key: &str| {
        if by_url {
            encode(key, true)
        } else {
            escape(key)
        }
    };
    let name = cx.bucket.1.clone();
    let page = cx.store()?.page(&prefix, Some(&delimiter), &after, max);
    let mut body = format!(
        "{HEADER}<ListBucketResult {NS}><Name>{name}</Name><Prefix>{}</Prefix><MaxKeys>{max}</MaxKeys><IsTruncated>{}</IsTruncated>",
        shown(&prefix),
        page.next.is_some()
    );
    if by_url {
        body.push_str("<EncodingType>url</EncodingType>");
    }
    if !delimiter.is_empty() {
        body.push_str(&format!("<Delimiter>{}</Delimiter>", shown(&delimiter)));
    }
    if version_2 {
        let count = page.objects.len() + page.prefixes.len();
        body.push_str(&format!("<KeyCount>{count}</KeyCount>"));
        if let Some(next) = &page.next {
            body.push_str(&format!(
                "<NextContinuationToken>{}</NextContinuationToken>",
                hex::encode(next)
            ));
        }
    } else if let Some(next) = &page.next {
        body.push_str(&format!("<NextMarker>{}</NextMarker>", shown(next)));
    }
    for (key, object) in &page.objects {
        body.push_str(&format!(
            "<Contents><Key>{}</Key><LastModified>{}</LastModified><ETag>&quot;{}&quot;</ETag><Size>{}</Size><StorageClass>STANDARD</StorageClass></Contents>",
            shown(key),
            object.uploaded.to_rfc3339_opts(SecondsFormat::Millis, true),
            object.etag,
            object.body.len()
        ));
    }
    for prefix in &page.prefixes {
        body.push_str(&format!(
            "<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>",
            shown(prefix)
        ));
    }
    body.push_str("</ListBucketResult>");
    Ok(Reply::raw(StatusCode::OK, "application/xml", body))
}

/// `POST /{bucket}?delete`: at most 1000 keys; a key that is not there counts as deleted.
pub(super) fn delete_objects(mut cx: S3Cx<'_>) -> Served {
    if let Some(given) = cx.request.header("content-md5")
        && given != BASE64.encode(&Md5::digest(&cx.request.body))
    {
        return Err(S3Error::new(
            400,
            "BadDigest",
            "The Content-MD5 you specified did not match what we received.",
        ));
    }
    let malformed = || {
        S3Error::new(
            400,
            "MalformedXML",
            "The XML you provided was not well-formed or did not validate against our published schema.",
        )
    };
    let body = std::str::from_utf8(&cx.request.body).map_err(|_| malformed())?;
    let delete = elements(body, "Delete")
        .first()
        .copied()
        .ok_or_else(malformed)?;
    let objects = elements(delete, "Object");
    if !(1..=1000).contains(&objects.len()) {
        return Err(malformed());
    }
    let keys = objects
        .iter()
        .map(|o| text(o, "Key"))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(malformed)?;
    let quiet = text(delete, "Quiet").is_some_and(|q| q == "true");
    let mut answer = format!("{HEADER}<DeleteResult {NS}>");
    for key in keys {
        if cx.world.conditions.refuses_object(&key) {
            answer.push_str(&format!(
                "<Error><Key>{}</Key><Code>InternalError</Code><Message>We encountered an internal error. Please try again.</Message></Error>",
                escape(&key)
            ));
            continue;
        }
        cx.store()?.objects.remove(&key);
        if !quiet {
            answer.push_str(&format!("<Deleted><Key>{}</Key></Deleted>", escape(&key)));
        }
    }
    answer.push_str("</DeleteResult>");
    Ok(Reply::raw(StatusCode::OK, "application/xml", answer))
}
