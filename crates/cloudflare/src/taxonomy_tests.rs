use super::*;

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum K {
    NotFound,
    Exists,
    Conflict,
    NotEmpty,
    Throttled(u64),
    Auth,
    Transient,
    Ambiguous,
    Invalid,
}

fn kind(e: &CloudError) -> K {
    match e {
        CloudError::NotFound(_) => K::NotFound,
        CloudError::Exists(_) => K::Exists,
        CloudError::Conflict(_) => K::Conflict,
        CloudError::NotEmpty(_) => K::NotEmpty,
        CloudError::Throttled { retry_after } => K::Throttled(retry_after.as_secs()),
        CloudError::Auth(_) => K::Auth,
        CloudError::Transient(_) => K::Transient,
        CloudError::Ambiguous(_) => K::Ambiguous,
        CloudError::Invalid(_) => K::Invalid,
    }
}

fn decide(
    method: Method,
    area: Area,
    http: u16,
    code: Option<i64>,
    text: &str,
    from_api: bool,
) -> K {
    let refusal = Refusal {
        message: ApiMessage {
            call: "test",
            http: Some(http),
            code,
            message: text.to_owned(),
            ray: None,
        },
        word: (area == Area::Storage && !text.is_empty()).then(|| text.to_owned()),
        retry_after: None,
        from_api,
    };
    kind(&classify(&Call::new("test", method, area), refusal))
}

#[test]
fn the_table() {
    use Area::{Buckets, Storage, Tokens, Workers};
    type Row = (Method, Area, u16, Option<i64>, &'static str, K);
    let table: &[Row] = &[
        // Not there.
        (Method::DELETE, Workers, 404, Some(10007), "", K::NotFound),
        (Method::GET, Workers, 404, Some(10090), "", K::NotFound),
        (Method::PUT, Workers, 404, Some(10056), "", K::NotFound),
        (Method::GET, Workers, 404, Some(4242), "", K::NotFound),
        (Method::DELETE, Buckets, 404, Some(10006), "", K::NotFound),
        (Method::DELETE, Tokens, 404, Some(1003), "", K::NotFound),
        (Method::GET, Storage, 404, None, "NoSuchBucket", K::NotFound),
        (
            Method::DELETE,
            Storage,
            404,
            None,
            "NoSuchUpload",
            K::NotFound,
        ),
        // A wrong path is not an absent thing.
        (Method::DELETE, Workers, 404, Some(7003), "", K::Invalid),
        (Method::DELETE, Tokens, 404, Some(7000), "", K::Invalid),
        (Method::PUT, Workers, 405, Some(10405), "", K::Invalid),
        // Taken.
        (Method::POST, Buckets, 409, Some(10004), "", K::Exists),
        (Method::POST, Buckets, 409, Some(10073), "", K::Exists),
        (Method::POST, Buckets, 409, None, "conflict", K::Exists),
        // The same codes elsewhere mean something else.
        (Method::PUT, Workers, 400, Some(10004), "", K::Invalid),
        (Method::PUT, Workers, 400, Some(10006), "", K::Invalid),
        (Method::PUT, Workers, 400, Some(10001), "", K::Invalid),
        // Not empty.
        (
            Method::DELETE,
            Buckets,
            409,
            None,
            "The bucket you tried to delete (b) is not empty (account a).",
            K::NotEmpty,
        ),
        (Method::DELETE, Buckets, 409, Some(10008), "", K::NotEmpty),
        (Method::DELETE, Buckets, 409, None, "locked", K::Conflict),
        // The state does not allow it.
        (Method::PATCH, Workers, 400, Some(10215), "", K::Conflict),
        (Method::PUT, Workers, 412, Some(10018), "", K::Conflict),
        // Throttled.
        (Method::PUT, Workers, 429, None, "", K::Throttled(300)),
        (Method::GET, Tokens, 400, Some(971), "", K::Throttled(300)),
        (
            Method::GET,
            Buckets,
            403,
            Some(10429),
            "",
            K::Throttled(300),
        ),
        (
            Method::POST,
            Storage,
            503,
            None,
            "SlowDown",
            K::Throttled(10),
        ),
        (
            Method::GET,
            Storage,
            400,
            None,
            "SlowDown",
            K::Throttled(10),
        ),
        // Not allowed.
        (Method::GET, Workers, 403, Some(10000), "", K::Auth),
        (Method::GET, Tokens, 401, None, "", K::Auth),
        (Method::GET, Tokens, 400, Some(6003), "", K::Auth),
        (Method::GET, Tokens, 400, Some(9106), "", K::Auth),
        (Method::GET, Tokens, 403, Some(9109), "", K::Auth),
        (Method::PUT, Workers, 403, Some(10034), "", K::Auth),
        (Method::POST, Buckets, 403, Some(10042), "", K::Invalid),
        // A new S3 key is not known at once.
        (
            Method::GET,
            Storage,
            401,
            None,
            "Unauthorized",
            K::Transient,
        ),
        (
            Method::POST,
            Storage,
            403,
            None,
            "AccessDenied",
            K::Transient,
        ),
        // Refused as it stands.
        (Method::PUT, Workers, 400, Some(10085), "", K::Invalid),
        (Method::PUT, Workers, 400, Some(10136), "", K::Invalid),
        (Method::PUT, Workers, 400, Some(10021), "", K::Invalid),
        (Method::PUT, Workers, 413, Some(10027), "", K::Invalid),
        (Method::POST, Buckets, 400, Some(10005), "", K::Invalid),
        (Method::POST, Tokens, 400, Some(1001), "", K::Invalid),
        (Method::GET, Workers, 302, None, "", K::Invalid),
        // Their trouble.
        (Method::GET, Workers, 500, Some(10013), "", K::Transient),
        (Method::PUT, Workers, 500, Some(10013), "", K::Ambiguous),
        (Method::PUT, Workers, 400, Some(10002), "", K::Ambiguous),
        (Method::DELETE, Buckets, 400, Some(10001), "", K::Ambiguous),
        (Method::POST, Buckets, 502, None, "", K::Ambiguous),
        (Method::DELETE, Workers, 523, None, "", K::Ambiguous),
        (Method::DELETE, Workers, 500, Some(10007), "", K::Ambiguous),
        (Method::GET, Buckets, 524, None, "", K::Transient),
        (
            Method::POST,
            Storage,
            500,
            None,
            "InternalError",
            K::Ambiguous,
        ),
        (Method::PUT, Tokens, 408, None, "", K::Ambiguous),
    ];
    for (method, area, http, code, text, want) in table {
        let got = decide(method.clone(), *area, *http, *code, text, true);
        assert_eq!(got, *want, "{method} {area:?} {http} {code:?} {text:?}");
    }
}

#[test]
fn a_404_of_a_proxy_is_not_absence() {
    for area in [Area::Workers, Area::Buckets, Area::Tokens, Area::Storage] {
        assert_eq!(
            decide(Method::DELETE, area, 404, None, "", false),
            K::Invalid
        );
    }
}

#[test]
fn no_status_above_499_on_a_write_is_ever_definite() {
    for area in [Area::Workers, Area::Buckets, Area::Tokens, Area::Storage] {
        for http in 500..600 {
            for code in [
                None,
                Some(10007),
                Some(10006),
                Some(10000),
                Some(1003),
                Some(10008),
            ] {
                assert_eq!(
                    decide(Method::PUT, area, http, code, "", true),
                    K::Ambiguous
                );
            }
        }
    }
}
