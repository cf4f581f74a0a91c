//! Where Cloudflare's own files are wrong, or are silent about what its own tools do.

use super::{Edition, Finding, Side};

/// One thing that a file says and reality does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exception {
    /// To speak of it.
    pub name: &'static str,
    /// In which file; `None`: both.
    pub edition: Option<Edition>,
    /// On which side.
    pub side: Side,
    /// How the operation begins and ends: `("PUT ", "/scripts/{script_name}")`.
    pub operation: (&'static str, &'static str),
    /// How the finding begins; `#` stands for any index in a list.
    pub what: &'static str,
    /// Why reality is right.
    pub reason: &'static str,
}

impl Exception {
    /// Whether it excuses the finding.
    pub fn covers(&self, finding: &Finding) -> bool {
        self.edition.is_none_or(|e| e == finding.edition)
            && self.side == finding.side
            && finding.operation.starts_with(self.operation.0)
            && finding.operation.ends_with(self.operation.1)
            && without_indices(&finding.what).starts_with(self.what)
    }
}

/// `body/result/3/x: …` as `body/result/#/x: …`.
fn without_indices(what: &str) -> String {
    let (place, rest) = what.split_once(':').unwrap_or((what, ""));
    let place: Vec<&str> = place
        .split('/')
        .map(|s| match s.parse::<u32>() {
            Ok(_) => "#",
            Err(_) => s,
        })
        .collect();
    format!("{}:{rest}", place.join("/"))
}

/// All of them.
pub const EXCEPTIONS: &[Exception] = &[
    Exception {
        name: "exclude-script",
        edition: None,
        side: Side::Request,
        operation: ("PUT ", "/workers/scripts/{script_name}"),
        what: "query excludeScript: not declared",
        reason: "Cloudflare's own tool sends it with every upload; it keeps the code out of the answer.",
    },
    Exception {
        name: "inherit-strict-2024",
        edition: Some(Edition::Y2024),
        side: Side::Request,
        operation: ("PUT ", "/workers/scripts/{script_name}"),
        what: "query bindings_inherit: not declared",
        reason: "Newer than the file; declared in the one of 2026.",
    },
    Exception {
        name: "jurisdiction-2024",
        edition: Some(Edition::Y2024),
        side: Side::Request,
        operation: ("", ""),
        what: "header cf-r2-jurisdiction: not declared",
        reason: "Newer than the file; declared in the one of 2026.",
    },
    Exception {
        name: "delete-without-body",
        edition: Some(Edition::Y2024),
        side: Side::Request,
        operation: ("DELETE ", "/workers/scripts/{script_name}"),
        what: "body: required, but none was sent",
        reason: "Nobody sends one; the file of 2026 declares none.",
    },
    Exception {
        name: "delete-tail-without-body",
        edition: Some(Edition::Y2024),
        side: Side::Request,
        operation: ("DELETE ", "/tails/{id}"),
        what: "body: required, but none was sent",
        reason: "Nobody sends one, wrangler least of all; the file of 2026 declares none.",
    },
    Exception {
        name: "merge-patch",
        edition: Some(Edition::Y2026),
        side: Side::Request,
        operation: ("PATCH ", "/secrets-bulk"),
        what: "body: content type application/merge-patch+json is not declared",
        reason: "It is a JSON merge patch, and Cloudflare's own tool calls it one.",
    },
    Exception {
        name: "module-parts",
        edition: Some(Edition::Y2026),
        side: Side::Request,
        operation: ("PUT ", "/workers/scripts/{script_name}"),
        what: "body/files/",
        reason: "The file lists the classes of a TypeScript library here; on the wire each module is a part.",
    },
    Exception {
        name: "location-case-list",
        edition: None,
        side: Side::Answer,
        operation: ("GET ", "/r2/buckets"),
        what: "body/result/buckets/#/location",
        reason: "The schema has lower case, the API answers in upper case.",
    },
    Exception {
        name: "location-case",
        edition: None,
        side: Side::Answer,
        operation: ("", "/r2/buckets/{bucket_name}"),
        what: "body/result/location",
        reason: "The schema has lower case, the API answers in upper case.",
    },
    Exception {
        name: "location-case-create",
        edition: None,
        side: Side::Answer,
        operation: ("POST ", "/r2/buckets"),
        what: "body/result/location",
        reason: "The schema has lower case, the API answers in upper case.",
    },
    Exception {
        name: "bucket-list-2024",
        edition: Some(Edition::Y2024),
        side: Side::Answer,
        operation: ("GET ", "/r2/buckets"),
        what: "body/result: ",
        reason: "The list is an object with `buckets`, as the file of 2026 says.",
    },
    Exception {
        name: "delete-worker-answer-2024",
        edition: Some(Edition::Y2024),
        side: Side::Answer,
        operation: ("DELETE ", "/workers/scripts/{script_name}"),
        what: "HTTP 200: not declared",
        reason: "The file declares no body; the API answers with the usual envelope.",
    },
    Exception {
        name: "usage-model-2024",
        edition: Some(Edition::Y2024),
        side: Side::Answer,
        operation: ("", "/workers/scripts"),
        what: "body/result/#/usage_model",
        reason: "`standard` is newer than the file.",
    },
    Exception {
        name: "usage-model-upload-2024",
        edition: Some(Edition::Y2024),
        side: Side::Answer,
        operation: ("PUT ", "/workers/scripts/{script_name}"),
        what: "body/result/usage_model",
        reason: "`standard` is newer than the file.",
    },
    Exception {
        name: "bindings-2024",
        edition: Some(Edition::Y2024),
        side: Side::Answer,
        operation: ("", "/settings"),
        what: "body/result/bindings/#",
        reason: "Most types of bindings are newer than the file.",
    },
    Exception {
        name: "null-tags-2024",
        edition: Some(Edition::Y2024),
        side: Side::Answer,
        operation: ("", "/settings"),
        what: "body/result/tags: null",
        reason: "Fresh Workers answer with null.",
    },
];
