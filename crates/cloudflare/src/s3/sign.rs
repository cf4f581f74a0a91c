//! AWS Signature Version 4, in headers, with the body's hash. R2 takes no other version.

use chrono::{DateTime, Utc};
use hmac::{Hmac, Mac};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};
use talon_core::secret::SecretValue;
use url::Url;

use super::Unsigned;
use crate::exposed::signing_bytes;

/// The headers that sign a request: `authorization`, `x-amz-date`, `x-amz-content-sha256`.
pub(crate) fn headers(
    request: &Unsigned,
    key_id: &str,
    secret: &SecretValue,
    now: DateTime<Utc>,
    region: &str,
) -> HeaderMap {
    let date = now.format("%Y%m%dT%H%M%SZ").to_string();
    let day = &date[..8];
    let body_hash = hex::encode(Sha256::digest(&request.body));
    let mut signed: Vec<(&str, &str)> = request
        .headers
        .iter()
        .map(|(name, value)| (*name, value.trim()))
        .collect();
    let host = host(&request.url);
    signed.push(("host", &host));
    signed.push(("x-amz-content-sha256", &body_hash));
    signed.push(("x-amz-date", &date));
    signed.sort_unstable();

    let lines: String = signed.iter().map(|(n, v)| format!("{n}:{v}\n")).collect();
    let names = signed.iter().map(|(n, _)| *n).collect::<Vec<_>>().join(";");
    let canonical = format!(
        "{}\n{}\n{}\n{lines}\n{names}\n{body_hash}",
        request.method,
        request.url.path(),
        request.url.query().unwrap_or_default(),
    );
    let scope = format!("{day}/{region}/s3/aws4_request");
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{date}\n{scope}\n{}",
        hex::encode(Sha256::digest(canonical))
    );
    let mut key = hmac(&signing_bytes(secret), day);
    for part in [region, "s3", "aws4_request"] {
        key = hmac(&key, part);
    }
    let signature = hex::encode(hmac(&key, &to_sign));
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={key_id}/{scope},SignedHeaders={names},Signature={signature}"
    );

    let mut out = HeaderMap::new();
    put(&mut out, AUTHORIZATION, &authorization);
    put(&mut out, HeaderName::from_static("x-amz-date"), &date);
    put(
        &mut out,
        HeaderName::from_static("x-amz-content-sha256"),
        &body_hash,
    );
    out
}

/// A value that cannot stand in a header (a token id with a line break) is left out, and the request refused.
fn put(out: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(mut value) = HeaderValue::from_str(text) {
        value.set_sensitive(name == AUTHORIZATION);
        out.insert(name, value);
    }
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    // Cannot happen: a key longer than a block is hashed first, a shorter one padded; no length is refused.
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key)
        .unwrap_or_else(|_| unreachable!("HMAC takes any key"));
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// As the HTTP client sends it: without the scheme's own port.
fn host(url: &Url) -> String {
    let name = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{name}:{port}"),
        None => name.to_owned(),
    }
}

/// Percent-encodes everything but unreserved characters, and `/` where it separates.
pub(crate) fn encode(text: &str, keep_slash: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) || (keep_slash && b == b'/') {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

/// Sorted and encoded as the signature wants it; sent in exactly this form.
pub(crate) fn canonical_query(pairs: &[(&str, &str)]) -> String {
    let mut encoded: Vec<_> = pairs
        .iter()
        .map(|(k, v)| (encode(k, false), encode(v, false)))
        .collect();
    encoded.sort_unstable();
    encoded
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect::<Vec<_>>()
        .join("&")
}

#[cfg(test)]
mod tests {
    use reqwest::Method;

    use super::*;

    /// The examples of "Signature Calculations for the Authorization Header" in the Amazon S3 API reference.
    fn example(method: Method, url: &str, extra: &[(&'static str, &str)], body: &[u8]) -> String {
        let request = Unsigned {
            method,
            url: Url::parse(url).unwrap(),
            headers: extra.iter().map(|(n, v)| (*n, (*v).to_owned())).collect(),
            body: body.to_vec(),
        };
        let secret = SecretValue::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into());
        let now = DateTime::from_timestamp(1_369_353_600, 0).unwrap();
        let headers = headers(&request, "AKIAIOSFODNN7EXAMPLE", &secret, now, "us-east-1");
        headers["authorization"].to_str().unwrap().to_owned()
    }

    #[test]
    fn the_published_examples() {
        assert_eq!(
            example(
                Method::GET,
                "https://examplebucket.s3.amazonaws.com/test.txt",
                &[("range", "bytes=0-9")],
                b""
            ),
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
             SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,\
             Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
        let list = format!(
            "https://examplebucket.s3.amazonaws.com/?{}",
            canonical_query(&[("prefix", "J"), ("max-keys", "2")])
        );
        assert!(
            example(Method::GET, &list, &[], b"")
                .ends_with("34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7")
        );
        assert!(
            example(
                Method::GET,
                "https://examplebucket.s3.amazonaws.com/?lifecycle=",
                &[],
                b""
            )
            .ends_with("fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543")
        );
        assert!(
            example(
                Method::PUT,
                "https://examplebucket.s3.amazonaws.com/test%24file.text",
                &[
                    ("date", "Fri, 24 May 2013 00:00:00 GMT"),
                    ("x-amz-storage-class", "REDUCED_REDUNDANCY")
                ],
                b"Welcome to Amazon S3."
            )
            .ends_with("98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd")
        );
    }

    #[test]
    fn encoding_is_strict() {
        assert_eq!(encode("a b+c/ü%'~", true), "a%20b%2Bc/%C3%BC%25%27~");
        assert_eq!(encode("a/b", false), "a%2Fb");
    }
}
