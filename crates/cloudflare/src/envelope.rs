//! The one place that speaks the API's envelope: `{success, errors, messages, result, result_info}`.
//!
//! Tolerates unknown fields, null results, missing arrays, codes as text, and failures that are HTML or plain text.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use talon_core::cloud::{ApiMessage, CloudError, CloudResult};
use talon_core::secret::SecretValue;

use crate::lenient::{count_field, text_field};
use crate::message::{clean, plain_words};
use crate::taxonomy::{Call, Refusal, classify};
use crate::transport::Answer;

/// A success.
#[derive(Debug)]
pub(crate) struct Success {
    /// `Value::Null` where there was none.
    pub(crate) result: Value,
    /// Paging.
    pub(crate) info: ResultInfo,
}

/// Paging, of both styles.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct ResultInfo {
    #[serde(default, deserialize_with = "text_field")]
    pub(crate) cursor: Option<String>,
    #[serde(default, deserialize_with = "count_field")]
    pub(crate) total_count: Option<u64>,
    #[serde(default, deserialize_with = "count_field")]
    pub(crate) total_pages: Option<u64>,
}

/// Reads an answer. `secrets` are taken out of every message.
pub(crate) fn open(call: &Call, answer: &Answer, secrets: &[&SecretValue]) -> CloudResult<Success> {
    let body = answer.body.as_ref();
    let parsed = serde_json::from_slice::<Value>(body).ok();
    let envelope = parsed.as_ref().and_then(Value::as_object);
    let refused = envelope
        .and_then(|e| e.get("success"))
        .and_then(Value::as_bool)
        == Some(false);
    if !answer.is_success() || refused {
        return Err(classify(
            call,
            refusal(call, answer, parsed.as_ref(), secrets),
        ));
    }
    // "This call has no response body on a successful delete", says the documentation of one of them.
    let empty = body.iter().all(u8::is_ascii_whitespace);
    if empty && call.is_write() {
        return Ok(Success {
            result: Value::Null,
            info: ResultInfo::default(),
        });
    }
    let is_envelope =
        envelope.is_some_and(|e| e.contains_key("success") || e.contains_key("result"));
    let Some(Value::Object(mut envelope)) = parsed.filter(|_| is_envelope) else {
        return Err(call.unclear(odd(
            call,
            answer,
            "the answer is not one of the API",
            secrets,
        )));
    };
    Ok(Success {
        result: envelope.remove("result").unwrap_or(Value::Null),
        info: envelope
            .remove("result_info")
            .and_then(|v| serde_json::from_value(v).ok())
            .unwrap_or_default(),
    })
}

/// Reads `result` as `T`; null counts as an empty object or list where `T` has a default.
pub(crate) fn typed<T: DeserializeOwned + Default>(
    call: &Call,
    answer: &Answer,
    result: Value,
) -> CloudResult<T> {
    if result.is_null() {
        return Ok(T::default());
    }
    // serde's own message may quote the value, which for some calls is a secret.
    serde_json::from_value(result)
        .map_err(|_| call.unclear(odd(call, answer, "the answer has an unexpected shape", &[])))
}

/// A message of ours about an answer.
pub(crate) fn odd(
    call: &Call,
    answer: &Answer,
    what: &str,
    secrets: &[&SecretValue],
) -> ApiMessage {
    ApiMessage {
        call: call.name,
        http: Some(answer.http),
        code: None,
        message: clean(what, secrets),
        ray: answer.ray(),
    }
}

fn refusal(
    call: &Call,
    answer: &Answer,
    parsed: Option<&Value>,
    secrets: &[&SecretValue],
) -> Refusal {
    let errors = parsed
        .and_then(|v| v.get("errors"))
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let code = errors.iter().find_map(|e| number(e.get("code")?));
    let text = if errors.is_empty() {
        plain_words(&String::from_utf8_lossy(&answer.body))
    } else {
        let texts = errors.iter().take(3).flat_map(texts);
        texts.collect::<Vec<_>>().join("; ")
    };
    let text = if text.is_empty() {
        "no explanation given".to_owned()
    } else {
        text
    };
    Refusal {
        message: ApiMessage {
            call: call.name,
            http: Some(answer.http),
            code,
            message: clean(&text, secrets),
            ray: answer.ray(),
        },
        word: None,
        retry_after: answer.retry_after(),
        from_api: parsed.is_some_and(|v| v.get("success").is_some() || v.get("errors").is_some()),
    }
}

/// An error's text and those of the errors that it rests on.
fn texts(error: &Value) -> Vec<String> {
    let own = error.get("message").and_then(Value::as_str);
    let chain = error.get("error_chain").and_then(Value::as_array);
    own.into_iter()
        .chain(
            chain
                .into_iter()
                .flatten()
                .take(2)
                .filter_map(|e| e.get("message").and_then(Value::as_str)),
        )
        .filter(|s| !s.is_empty())
        .map(str::to_owned)
        .collect()
}

fn number(v: &Value) -> Option<i64> {
    v.as_i64().or_else(|| v.as_str()?.trim().parse().ok())
}

/// An answer that lacks what the call was made for.
pub(crate) fn incomplete(call: &Call, what: &str) -> CloudError {
    call.unclear(crate::message::own(call.name, what))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reqwest::Method;
    use reqwest::header::HeaderMap;

    use super::*;
    use crate::taxonomy::Area;

    fn read(method: Method, http: u16, body: &str) -> CloudResult<Success> {
        let answer = Answer {
            http,
            headers: HeaderMap::new(),
            body: body.to_owned().into(),
        };
        open(&Call::new("test", method, Area::Workers), &answer, &[])
    }

    #[test]
    fn the_first_code_and_the_chain_are_told() {
        let body = r#"{"success":false,"errors":[{"message":"no code"},{"code":6003,"message":"Invalid request headers",
            "error_chain":[{"code":6111,"message":"Invalid format for Authorization header"}]}],"result":null}"#;
        let error = read(Method::GET, 400, body).unwrap_err();
        assert_eq!(error.code(), Some(6003));
        assert_eq!(
            error.api().map(|m| m.message.as_str()),
            Some("no code; Invalid request headers; Invalid format for Authorization header")
        );
    }

    #[test]
    fn success_false_is_a_refusal_whatever_the_status() {
        let error = read(
            Method::PUT,
            200,
            r#"{"success":false,"errors":[],"result":{}}"#,
        );
        assert!(matches!(error, Err(CloudError::Invalid(_))));
    }

    fn word() -> impl Strategy<Value = String> {
        prop_oneof![
            ".{0,80}",
            "[{}\\[\\]\",:a-z0-9 ]{0,80}",
            Just(r#"{"success":true}"#.to_owned()),
            Just(r#"{"result":null}"#.to_owned()),
            Just(r#"{"errors":[{"code":"x","message":7,"error_chain":3},null,4]}"#.to_owned()),
            Just(r#"{"success":"no","errors":{},"result_info":[]}"#.to_owned()),
        ]
    }

    proptest! {
        #[test]
        fn a_write_is_definite_only_by_a_clear_answer(http in 100u16..600, body in word()) {
            let outcome = read(Method::PUT, http, &body);
            match outcome {
                Ok(_) => prop_assert!((200..300).contains(&http)),
                Err(e) if http >= 500 => prop_assert!(e.is_ambiguous()),
                Err(e) if (200..300).contains(&http) => {
                    let refused = body.contains("false");
                    prop_assert!(e.is_ambiguous() || refused);
                }
                Err(e) => prop_assert!(e.api().is_none_or(|m| m.message.chars().count() <= 300)),
            }
        }
    }
}
