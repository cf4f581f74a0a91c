//! Single objects and lists of them.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use data_encoding::{BASE64, BASE64_MIME};
use md5::{Digest, Md5};
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};

use super::protocol::{About, Conditional, EtagTest, List, Put, Range, Refusal, answer, describe};
use crate::reply::Reply;
use crate::world::bucket::ObjectStore;
use crate::world::object::{Checksums, Object, STANDARD};

/// Longest key, in bytes.
const MAX_KEY: usize = 1024;
/// Most custom metadata, in bytes.
const MAX_METADATA: usize = 8192;
/// Most entries of a list.
const MAX_LIST: i64 = 1000;
/// Most entries of a list that comes with metadata.
const MAX_DETAILED_LIST: usize = 100;

/// What handlers return.
pub(super) type Served = Result<Reply, Refusal>;

pub(super) fn check_key(key: &str) -> Result<(), Refusal> {
    if key.len() > MAX_KEY {
        return Err(Refusal::BAD_KEY);
    }
    Ok(())
}

/// Custom metadata and storage class within their limits.
pub(super) fn check_about(about: &About) -> Result<BTreeMap<String, String>, Refusal> {
    // As text in Latin-1 where it fits, else in UTF-16.
    let size = |text: &str| {
        let wide = text.chars().any(|c| c as u32 >= 256);
        text.encode_utf16().count() * if wide { 2 } else { 1 }
    };
    let custom = about.custom();
    if custom.iter().map(|(k, v)| size(k) + size(v)).sum::<usize>() > MAX_METADATA {
        return Err(Refusal::METADATA_TOO_LARGE);
    }
    Ok(custom)
}

pub(super) fn storage_class(about: &About) -> String {
    about
        .storage_class
        .as_deref()
        .unwrap_or(STANDARD)
        .to_owned()
}

fn found<'a>(store: &'a ObjectStore, key: &str) -> Result<&'a Object, Refusal> {
    check_key(key)?;
    store.objects.get(key).ok_or(Refusal::NO_KEY)
}

/// `head`.
pub(super) fn head(store: &ObjectStore, key: &str) -> Served {
    let object = found(store, key)?;
    let whole = Some((0, object.body.len()));
    Ok(answer(&describe(key, object, whole), &Bytes::new()))
}

/// `get`.
pub(super) fn get(
    store: &ObjectStore,
    key: &str,
    range: Option<Range>,
    range_header: Option<&str>,
    only_if: Option<&Conditional>,
) -> Served {
    let object = found(store, key)?;
    let size = object.body.len();
    if !holds(only_if, Some(object)) {
        return Err(Refusal::PRECONDITION.about(describe(key, object, Some((0, size)))));
    }
    let part = match (range_header, range) {
        (Some(header), _) => of_header(header, size),
        (None, Some(range)) => Some(of_range(range, size)?),
        (None, None) => None,
    };
    let (offset, length) = part.unwrap_or((0, size));
    let value = object.body.slice(offset..offset + length);
    Ok(answer(
        &describe(key, object, Some((offset, length))),
        &value,
    ))
}

/// Offset and length of a range within an object.
fn of_range(range: Range, size: usize) -> Result<(usize, usize), Refusal> {
    let total = i64::try_from(size).map_err(|_| Refusal::INTERNAL)?;
    let (offset, length) = match range.suffix {
        Some(suffix) if suffix <= 0 => return Err(Refusal::BAD_RANGE),
        Some(suffix) => {
            let suffix = suffix.min(total);
            (total - suffix, suffix)
        }
        None => {
            let offset = range.offset.unwrap_or(0);
            (offset, range.length.unwrap_or(total.saturating_sub(offset)))
        }
    };
    if offset < 0 || offset > total || length <= 0 {
        return Err(Refusal::BAD_RANGE);
    }
    let length = length.min(total - offset);
    let fits = |n: i64| usize::try_from(n).map_err(|_| Refusal::BAD_RANGE);
    Ok((fits(offset)?, fits(length)?))
}

/// One satisfiable range of a `Range` header; anything else means the whole object.
fn of_header(header: &str, size: usize) -> Option<(usize, usize)> {
    let (unit, ranges) = header.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") || ranges.contains(',') {
        return None;
    }
    let (from, to) = ranges.trim().split_once('-')?;
    let (from, to) = (from.trim(), to.trim());
    let last = size.checked_sub(1)?;
    let (first, last) = match (from.is_empty(), to.is_empty()) {
        (true, true) => return None,
        (true, false) => {
            let suffix: usize = to.parse().ok().filter(|n| *n > 0)?;
            (size.saturating_sub(suffix), last)
        }
        (false, true) => (from.parse().ok()?, last),
        (false, false) => (from.parse().ok()?, to.parse::<usize>().ok()?.min(last)),
    };
    (first <= last).then(|| (first, last - first + 1))
}

/// Whether a condition holds for an object, or for there being none.
fn holds(only_if: Option<&Conditional>, object: Option<&Object>) -> bool {
    let Some(only_if) = only_if else {
        return true;
    };
    let Some(object) = object else {
        return only_if.etag_matches.is_none() && only_if.uploaded_after.is_none();
    };
    let rounded = |ms: i64| {
        if only_if.seconds_granularity {
            ms.div_euclid(1000)
        } else {
            ms
        }
    };
    let uploaded = rounded(object.uploaded.timestamp_millis());
    let named = |tests: &[EtagTest], weakly: bool| {
        tests.iter().any(|test| match test {
            EtagTest::Wildcard => true,
            EtagTest::Strong { value } => *value == object.etag,
            EtagTest::Weak { value } => weakly && *value == object.etag,
        })
    };
    let matches = only_if.etag_matches.as_deref().map(|t| named(t, false));
    let differs = only_if
        .etag_does_not_match
        .as_deref()
        .map(|t| !named(t, true));
    // An etag that speaks for it outweighs the time, as in HTTP.
    let after = only_if
        .uploaded_after
        .is_none_or(|at| rounded(at) < uploaded || differs == Some(true));
    let before = only_if
        .uploaded_before
        .is_none_or(|at| uploaded < rounded(at) || matches == Some(true));
    matches != Some(false) && differs != Some(false) && after && before
}

/// `put`: the object, if the checksums fit and the condition holds.
pub(super) fn put(
    store: &mut ObjectStore,
    ask: &Put,
    value: Bytes,
    version: String,
    now: DateTime<Utc>,
) -> Served {
    check_key(&ask.object)?;
    let mut object = Object::new(value, ask.about.http(), version, now);
    object.custom = check_about(&ask.about)?;
    object.storage_class = storage_class(&ask.about);
    object.checksums = checksums(ask, &object)?;
    if !holds(ask.only_if.as_ref(), store.objects.get(&ask.object)) {
        return Err(Refusal::PRECONDITION);
    }
    let shown = describe(&ask.object, &object, None);
    store.objects.insert(ask.object.clone(), object);
    Ok(answer(&shown, &Bytes::new()))
}

/// Compares what the writer says with what came.
fn checksums(ask: &Put, object: &Object) -> Result<Checksums, Refusal> {
    let compare = |name: &str, given: Option<String>, found: &dyn Fn() -> String| {
        let Some(given) = given else {
            return Ok(None);
        };
        let found = found();
        if given.eq_ignore_ascii_case(&found) {
            Ok(Some(found))
        } else {
            Err(Refusal::digest(name, &given, &found))
        }
    };
    let body = &object.body;
    let md5 = match &ask.md5 {
        None => None,
        Some(text) => {
            let raw = BASE64
                .decode(text.as_bytes())
                .or_else(|_| BASE64_MIME.decode(text.as_bytes()))
                .map_err(|_| Refusal::BAD_METADATA)?;
            Some(hex::encode(raw))
        }
    };
    compare("MD5", md5, &|| hex::encode(Md5::digest(body)))?;
    Ok(Checksums {
        sha1: compare("SHA-1", ask.sha1.clone(), &|| {
            hex::encode(Sha1::digest(body))
        })?,
        sha256: compare("SHA-256", ask.sha256.clone(), &|| {
            hex::encode(Sha256::digest(body))
        })?,
        sha384: compare("SHA-384", ask.sha384.clone(), &|| {
            hex::encode(Sha384::digest(body))
        })?,
        sha512: compare("SHA-512", ask.sha512.clone(), &|| {
            hex::encode(Sha512::digest(body))
        })?,
    })
}

/// `delete`: what is not there counts as deleted.
pub(super) fn delete(store: &mut ObjectStore, keys: &[String]) -> Served {
    keys.iter().try_for_each(|k| check_key(k))?;
    for key in keys {
        store.objects.remove(key);
    }
    Ok(Reply::raw(http::StatusCode::OK, "application/json", ""))
}

/// `list`.
pub(super) fn list(store: &ObjectStore, ask: &List) -> Served {
    let limit = ask.limit.unwrap_or(MAX_LIST);
    if !(1..=MAX_LIST).contains(&limit) {
        return Err(Refusal::BAD_LIMIT);
    }
    let mut limit = usize::try_from(limit).map_err(|_| Refusal::BAD_LIMIT)?;
    let (http, custom) = (ask.include.contains(&0), ask.include.contains(&1));
    if http || custom {
        limit = limit.min(MAX_DETAILED_LIST);
    }
    let mut after = ask.start_after.clone().unwrap_or_default();
    if let Some(cursor) = ask.cursor.as_deref().filter(|c| !c.is_empty()) {
        let cursor = BASE64
            .decode(cursor.as_bytes())
            .ok()
            .and_then(|raw| String::from_utf8(raw).ok())
            .ok_or(Refusal::BAD_METADATA)?;
        after = after.max(cursor);
    }
    let prefix = ask.prefix.as_deref().unwrap_or_default();
    let page = store.page(prefix, ask.delimiter.as_deref(), &after, limit);
    let objects: Vec<Value> = page
        .objects
        .iter()
        .map(|(key, object)| {
            let mut shown = describe(key, object, None);
            if !http {
                shown["httpFields"] = json!({});
            }
            if !custom {
                shown["customFields"] = json!([]);
            }
            shown
        })
        .collect();
    let mut shown = json!({
        "objects": objects,
        "truncated": page.next.is_some(),
        "delimitedPrefixes": page.prefixes,
    });
    if let Some(next) = &page.next {
        shown["cursor"] = json!(BASE64.encode(next.as_bytes()));
    }
    Ok(answer(&shown, &Bytes::new()))
}
