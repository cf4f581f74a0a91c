//! What a refusal by a rule of the contract is over HTTP: 422 if the request can never succeed, 409 if the state of the
//! agent stands against it.

use talon_store::codes;

use super::problem::{FieldError, Kind, Problem};

/// The problem for a code of the contract. `message` is the rule's own sentence, which repeats no value.
pub fn problem(code: &str, message: String) -> Problem {
    let (kind, pointers): (Kind, &[&str]) = match code {
        codes::IMMUTABLE => (Kind::Invalid, &["/spec/persona", "/spec/instructions"]),
        codes::BUCKET_FIXED => (Kind::Invalid, &["/spec/r2"]),
        codes::NOT_A_REFERENCE => (Kind::Invalid, &["/spec/api_key_refs"]),
        codes::FIXED => (Kind::Conflict, &[]),
        codes::DELETING | codes::PROTECTED | codes::TAKEN => (Kind::Conflict, &[]),
        codes::INVALID => (Kind::Invalid, &["/spec"]),
        _ => (Kind::Invalid, &[]),
    };
    let errors = pointers
        .iter()
        .map(|pointer| FieldError {
            pointer: (*pointer).to_owned(),
            code: code.to_owned(),
            detail: message.clone(),
        })
        .collect();
    Problem::new(kind, format!("{code} {message}")).with_errors(errors)
}
