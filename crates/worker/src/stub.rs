//! The tiny Worker that holds keys until the real one inherits them: no bindings, no Durable Object, no address.

use talon_core::cloud::{Module, WorkerUpload};

const SOURCE: &str =
    "export default { fetch() { return new Response(null, { status: 404 }); } };\n";

/// An upload of it with these tags.
pub fn upload(tags: Vec<String>) -> WorkerUpload {
    WorkerUpload {
        main_module: "stub.js".to_owned(),
        modules: vec![Module {
            name: "stub.js".to_owned(),
            content_type: "application/javascript+module",
            body: SOURCE.as_bytes().to_vec(),
        }],
        bindings: Vec::new(),
        compatibility_date: "2026-11-01".to_owned(),
        compatibility_flags: Vec::new(),
        migration: None,
        tags,
    }
}
