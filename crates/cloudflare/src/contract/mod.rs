//! Holds requests and answers against Cloudflare's OpenAPI files, for tests: what the client sends, and what a stand-in
//! for Cloudflare answers.
//!
//! The files are not part of this repository: [`DIR`] names the folder with `openapi-2026.json` (current shapes) and
//! `openapi-2024.json` (older, with patterns). Where a file is known to be wrong, [`EXCEPTIONS`] says so, with the reason.

mod document;
mod exceptions;
mod multipart;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;

use document::Document;
pub use exceptions::{EXCEPTIONS, Exception};
use serde_json::{Value, json};

/// The environment variable that names the folder.
pub const DIR: &str = "TALON_CLOUDFLARE_OPENAPI_DIR";

/// Which of the two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Edition {
    /// `openapi-2026.json`.
    Y2026,
    /// `openapi-2024.json`.
    Y2024,
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// What is sent.
    Request,
    /// What comes back.
    Answer,
}

/// A request as it stood on the wire.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `GET`.
    pub method: &'a str,
    /// Below the API's base: `/accounts/…`.
    pub path: &'a str,
    /// Decoded.
    pub query: &'a [(String, String)],
    /// Names in lower case.
    pub headers: &'a [(String, String)],
    /// Empty for none.
    pub body: &'a [u8],
}

impl Request<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }
}

/// Something that a file does not allow, and that no exception excuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whose rule it is.
    pub edition: Edition,
    /// `PUT /accounts/{account_id}/…`.
    pub operation: String,
    /// Request or answer.
    pub side: Side,
    /// Where and what.
    pub what: String,
}

/// The two files.
pub struct Contract {
    documents: Vec<Document>,
    used: Mutex<BTreeSet<&'static str>>,
}

impl Contract {
    /// The files that the environment names; `None` if it names none.
    ///
    /// # Errors
    /// What is wrong with the files.
    pub fn from_env() -> Result<Option<Self>, String> {
        std::env::var_os(DIR)
            .map(|dir| Self::load(Path::new(&dir)))
            .transpose()
    }

    /// The files of a folder.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn load(dir: &Path) -> Result<Self, String> {
        Ok(Self {
            documents: vec![
                Document::load(&dir.join("openapi-2026.json"), Edition::Y2026)?,
                Document::load(&dir.join("openapi-2024.json"), Edition::Y2024)?,
            ],
            used: Mutex::default(),
        })
    }

    /// Names of the exceptions that excused something so far.
    pub fn used(&self) -> BTreeSet<&'static str> {
        self.used.lock().map(|u| u.clone()).unwrap_or_default()
    }

    /// Everything about a request that either file does not allow. A path that neither knows is a finding.
    pub fn check_request(&self, request: &Request<'_>) -> Vec<Finding> {
        self.each(request.method, request.path, Side::Request, |doc, op| {
            let mut found = doc.check_parameters(op, request);
            found.extend(check_body(doc, op, request));
            found
        })
    }

    /// Everything about an answer of the API that either file does not allow.
    pub fn check_answer(&self, method: &str, path: &str, http: u16, body: &[u8]) -> Vec<Finding> {
        self.each(method, path, Side::Answer, |doc, op| {
            let Some(schema) = doc.answer_schema(op, http) else {
                return vec![format!("HTTP {http}: not declared")];
            };
            match serde_json::from_slice::<Value>(body) {
                Ok(body) => doc.check_value(&schema, &body, "body"),
                Err(_) => vec!["body: not JSON".to_owned()],
            }
        })
    }

    fn each(
        &self,
        method: &str,
        path: &str,
        side: Side,
        check: impl Fn(&Document, &document::Operation) -> Vec<String>,
    ) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut known = false;
        for doc in &self.documents {
            let Some(op) = doc.find(method, path) else {
                continue;
            };
            known = true;
            let operation = format!("{method} {}", op.template);
            findings.extend(check(doc, &op).into_iter().map(|what| Finding {
                edition: doc.edition,
                operation: operation.clone(),
                side,
                what,
            }));
        }
        if !known {
            findings.push(Finding {
                edition: Edition::Y2026,
                operation: format!("{method} {path}"),
                side,
                what: "no such operation".to_owned(),
            });
        }
        findings.retain(|f| !self.excused(f));
        findings
    }

    fn excused(&self, finding: &Finding) -> bool {
        let Some(exception) = EXCEPTIONS.iter().find(|e| e.covers(finding)) else {
            return false;
        };
        if let Ok(mut used) = self.used.lock() {
            used.insert(exception.name);
        }
        true
    }
}

fn check_body(doc: &Document, op: &document::Operation, request: &Request<'_>) -> Vec<String> {
    let declared = doc.request_body(op);
    let Some(content) = declared.as_ref().and_then(|b| b.get("content")) else {
        return if request.body.is_empty() {
            Vec::new()
        } else {
            vec!["body: none is declared".to_owned()]
        };
    };
    if request.body.is_empty() {
        let required = declared.as_ref().and_then(|b| b.get("required")) == Some(&json!(true));
        return required
            .then(|| "body: required, but none was sent".to_owned())
            .into_iter()
            .collect();
    }
    let sent = request.header("content-type").unwrap_or_default();
    let kind = sent.split(';').next().unwrap_or_default().trim();
    let mut found = Vec::new();
    let schema = content.get(kind).or_else(|| {
        found.push(format!("body: content type {kind} is not declared"));
        content.as_object().and_then(|c| c.values().next())
    });
    let value = if kind == "multipart/form-data" {
        multipart::as_value(sent, request.body)
    } else {
        serde_json::from_slice(request.body).ok()
    };
    match (schema.and_then(|s| s.get("schema")), value) {
        (Some(schema), Some(value)) => found.extend(doc.check_value(schema, &value, "body")),
        (None, Some(_)) => {}
        (_, None) => found.push("body: cannot be read".to_owned()),
    }
    found
}
