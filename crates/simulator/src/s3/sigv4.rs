//! AWS Signature Version 4, in the `Authorization` header or in the query (presigned).

use chrono::{DateTime, NaiveDateTime, Utc};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use super::{S3Call, S3Error};
use crate::operation::percent_decode;
use crate::rest::Request;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// Regions that R2 takes for its own.
const REGIONS: &[&str] = &[
    "auto",
    "us-east-1",
    "",
    "wnam",
    "enam",
    "weur",
    "eeur",
    "apac",
    "oc",
];
/// How far the clocks of both sides may be apart.
const SKEW: chrono::Duration = chrono::Duration::minutes(15);

/// What a request claims.
pub(super) struct Signature {
    pub(super) access_key: String,
    /// `date/region/service/aws4_request`.
    scope: String,
    signed_headers: String,
    signature: String,
    at: DateTime<Utc>,
    /// Seconds a presigned request lives; `None` for one signed in its headers.
    expires: Option<i64>,
}

fn invalid(message: impl Into<String>) -> S3Error {
    S3Error::new(400, "InvalidArgument", message)
}

/// Reads the signature.
pub(super) fn parse(request: &Request, call: &S3Call) -> Result<Signature, S3Error> {
    let presigned = call.parameter("X-Amz-Signature").is_some();
    let (credential, signed_headers, signature, stamp) = if presigned {
        let get = |name: &str| {
            call.parameter(name)
                .map(str::to_owned)
                .ok_or_else(|| invalid(format!("{name} is missing")))
        };
        if call.parameter("X-Amz-Algorithm") != Some(ALGORITHM) {
            return Err(invalid("Only AWS4-HMAC-SHA256 is supported"));
        }
        (
            get("X-Amz-Credential")?,
            get("X-Amz-SignedHeaders")?,
            get("X-Amz-Signature")?,
            get("X-Amz-Date")?,
        )
    } else {
        let fields = request
            .header("authorization")
            .and_then(|h| h.strip_prefix(ALGORITHM))
            .ok_or_else(|| invalid("Authorization"))?;
        let get = |name: &str| {
            fields
                .split(',')
                .filter_map(|f| f.trim().split_once('='))
                .find(|(k, _)| *k == name)
                .map(|(_, v)| v.to_owned())
                .ok_or_else(|| invalid("Authorization"))
        };
        let stamp = request
            .header("x-amz-date")
            .ok_or_else(|| invalid("x-amz-date is missing"))?;
        (
            get("Credential")?,
            get("SignedHeaders")?,
            get("Signature")?,
            stamp.to_owned(),
        )
    };
    let (access_key, scope) = credential
        .split_once('/')
        .ok_or_else(|| invalid("Credential"))?;
    if access_key.len() != 32 {
        return Err(invalid(format!(
            "Credential access key has length {}, should be 32",
            access_key.len()
        )));
    }
    let at = NaiveDateTime::parse_from_str(&stamp, "%Y%m%dT%H%M%SZ")
        .map_err(|_| invalid("The date is malformed"))?
        .and_utc();
    let expires = presigned.then(|| {
        call.parameter("X-Amz-Expires")
            .and_then(|e| e.parse().ok())
            .unwrap_or(0)
    });
    Ok(Signature {
        access_key: access_key.to_owned(),
        scope: scope.to_owned(),
        signed_headers,
        signature,
        at,
        expires,
    })
}

impl Signature {
    /// Checks it against the secret, the body and the time.
    pub(super) fn verify(
        &self,
        request: &Request,
        call: &S3Call,
        secret: &str,
        now: DateTime<Utc>,
    ) -> Result<(), S3Error> {
        let scope: Vec<&str> = self.scope.split('/').collect();
        let [date, region, "s3", "aws4_request"] = scope.as_slice() else {
            return Err(invalid("Credential scope"));
        };
        if !REGIONS.contains(region) {
            return Err(S3Error::new(
                400,
                "InvalidRegionName",
                format!(
                    "The region name '{region}' is not valid. Must be one of: wnam, enam, weur, eeur, apac, auto"
                ),
            ));
        }
        let payload = self.payload_hash(request)?;
        let canonical = self.canonical_request(request, call, &payload);
        let to_sign = format!(
            "{ALGORITHM}\n{}\n{}\n{}",
            self.at.format("%Y%m%dT%H%M%SZ"),
            self.scope,
            hex::encode(Sha256::digest(canonical))
        );
        let mut key = hmac(format!("AWS4{secret}").as_bytes(), date);
        for part in [*region, "s3", "aws4_request"] {
            key = hmac(&key, part);
        }
        if hex::encode(hmac(&key, &to_sign)) != self.signature {
            return Err(S3Error::new(
                403,
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided. Check your secret access key and signing method.",
            ));
        }
        self.check_time(now)
    }

    fn check_time(&self, now: DateTime<Utc>) -> Result<(), S3Error> {
        match self.expires {
            Some(seconds)
                if now > self.at + chrono::Duration::seconds(seconds.clamp(0, 604_800)) =>
            {
                Err(S3Error::new(403, "ExpiredRequest", "Request has expired"))
            }
            Some(_) if self.at > now + SKEW => Err(skewed()),
            Some(_) => Ok(()),
            None if (now - self.at).abs() > SKEW => Err(skewed()),
            None => Ok(()),
        }
    }

    /// The hash that was signed; a literal one must be the body's.
    fn payload_hash(&self, request: &Request) -> Result<String, S3Error> {
        let real = || hex::encode(Sha256::digest(&request.body));
        match request.header("x-amz-content-sha256") {
            None if self.expires.is_some() => Ok(UNSIGNED.to_owned()),
            None => Ok(real()),
            Some(UNSIGNED) => Ok(UNSIGNED.to_owned()),
            Some(streaming) if streaming.starts_with("STREAMING-") => Err(S3Error::new(
                501,
                "NotImplemented",
                "Streaming signatures are not implemented here.",
            )),
            Some(given) if given == real() => Ok(given.to_owned()),
            Some(_) => Err(S3Error::new(
                400,
                "XAmzContentSHA256Mismatch",
                "The provided 'x-amz-content-sha256' header does not match what was computed.",
            )),
        }
    }

    fn canonical_request(&self, request: &Request, call: &S3Call, payload: &str) -> String {
        let mut query: Vec<(String, String)> = call
            .query
            .iter()
            .filter(|(k, _)| k != "X-Amz-Signature")
            .map(|(k, v)| (encode(k, false), encode(v, false)))
            .collect();
        query.sort_unstable();
        let query: Vec<String> = query.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let headers: String = self
            .signed_headers
            .split(';')
            .map(|name| {
                let value: Vec<&str> = request
                    .headers
                    .get_all(name)
                    .iter()
                    .filter_map(|v| v.to_str().ok())
                    .collect();
                let joined = value.join(",");
                let collapsed: Vec<&str> = joined.split_whitespace().collect();
                format!("{name}:{}\n", collapsed.join(" "))
            })
            .collect();
        format!(
            "{}\n{}\n{}\n{headers}\n{}\n{payload}",
            request.method,
            encode(&percent_decode(&request.path), true),
            query.join("&"),
            self.signed_headers,
        )
    }
}

fn skewed() -> S3Error {
    S3Error::new(
        403,
        "RequestTimeTooSkewed",
        "The difference between the request time and the server's time is too large.",
    )
}

fn hmac(key: &[u8], message: &str) -> Vec<u8> {
    // Cannot happen: a key longer than a block is hashed first, a shorter one padded; no length is refused.
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key)
        .unwrap_or_else(|_| unreachable!("HMAC takes any key"));
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// Percent-encodes everything but unreserved characters (and, in paths and listings, slashes).
pub(super) fn encode(text: &str, keep_slash: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let plain =
            byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (keep_slash && byte == b'/');
        if plain {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue, Method};

    use super::*;

    // Secret, requests and signatures of the examples in Amazon's own description of Signature Version 4.
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    const SCOPE: &str = "20130524/us-east-1/s3/aws4_request";
    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn request(query: Option<&str>, headers: &[(&'static str, &'static str)]) -> Request {
        let mut map = HeaderMap::new();
        map.insert(
            "host",
            HeaderValue::from_static("examplebucket.s3.amazonaws.com"),
        );
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_static(value));
        }
        Request {
            method: Method::GET,
            path: "/test.txt".to_owned(),
            query: query.map(str::to_owned),
            headers: map,
            body: Bytes::new(),
        }
    }

    fn signature(headers: &str, signature: &str, expires: Option<i64>) -> Signature {
        Signature {
            access_key: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            scope: SCOPE.to_owned(),
            signed_headers: headers.to_owned(),
            signature: signature.to_owned(),
            at: at("20130524T000000Z"),
            expires,
        }
    }

    fn at(stamp: &str) -> DateTime<Utc> {
        NaiveDateTime::parse_from_str(stamp, "%Y%m%dT%H%M%SZ")
            .unwrap()
            .and_utc()
    }

    #[test]
    fn amazons_example_with_headers() {
        let request = request(
            None,
            &[
                ("range", "bytes=0-9"),
                ("x-amz-content-sha256", EMPTY),
                ("x-amz-date", "20130524T000000Z"),
            ],
        );
        let call = S3Call::of(&request);
        let good = signature(
            "host;range;x-amz-content-sha256;x-amz-date",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            None,
        );
        let check = |secret, now| {
            good.verify(&request, &call, secret, at(now))
                .map_err(|e| e.code)
        };
        assert_eq!(check(SECRET, "20130524T000500Z"), Ok(()));
        assert_eq!(
            check(SECRET, "20130524T002000Z"),
            Err("RequestTimeTooSkewed")
        );
        assert_eq!(
            check("wrong", "20130524T000500Z"),
            Err("SignatureDoesNotMatch")
        );
    }

    #[test]
    fn amazons_presigned_example() {
        let request = request(
            Some(
                "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
            ),
            &[],
        );
        let call = S3Call::of(&request);
        let good = signature(
            "host",
            "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
            Some(86_400),
        );
        let check = |now| {
            good.verify(&request, &call, SECRET, at(now))
                .map_err(|e| e.code)
        };
        assert_eq!(check("20130524T120000Z"), Ok(()));
        assert_eq!(check("20130525T000001Z"), Err("ExpiredRequest"));
        // The access key is Amazon's length, not R2's.
        assert_eq!(
            parse(&request, &call).err().map(|e| e.code),
            Some("InvalidArgument")
        );
    }
}
