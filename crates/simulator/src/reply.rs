//! Answers in Cloudflare's envelope.

use std::borrow::Cow;

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

/// An answer before it becomes HTTP.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) content_type: String,
    pub(crate) headers: Vec<(Cow<'static, str>, String)>,
    pub(crate) body: Bytes,
    /// The first error code, for the call log.
    pub(crate) code: Option<i64>,
}

/// A refusal: HTTP status and Cloudflare's errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    /// `None` where the live API sends no usable code.
    pub(crate) code: Option<i64>,
    pub(crate) message: String,
    /// More entries after the first.
    pub(crate) also: Vec<(i64, String)>,
}

/// What handlers return.
pub(crate) type Handled<T = Reply> = Result<T, ApiError>;

impl ApiError {
    pub(crate) fn new(status: u16, code: i64, message: impl Into<String>) -> Self {
        Self {
            status,
            code: Some(code),
            message: message.into(),
            also: Vec::new(),
        }
    }

    /// 10021: the script or its metadata is not acceptable.
    pub(crate) fn invalid_script(message: impl Into<String>) -> Self {
        Self::new(400, 10021, message)
    }

    /// 10007: no such Worker.
    pub(crate) fn no_worker() -> Self {
        Self::new(404, 10007, "This Worker does not exist on your account.")
    }

    /// 10006: no such bucket.
    pub(crate) fn no_bucket() -> Self {
        Self::new(404, 10006, "The specified bucket does not exist.")
    }

    /// 10000: the token does not allow this.
    pub(crate) fn forbidden() -> Self {
        Self::new(403, 10000, "Authentication error")
    }

    /// 10006 of the Workers API: the body does not parse.
    pub(crate) fn bad_body(message: impl Into<String>) -> Self {
        Self::new(400, 10006, message)
    }
}

impl Reply {
    /// Success with a result.
    pub(crate) fn ok(result: Value) -> Self {
        Self::json(
            StatusCode::OK,
            &json!({"success": true, "errors": [], "messages": [], "result": result}),
        )
    }

    /// Success with a result and paging information.
    pub(crate) fn page(result: Value, info: Value) -> Self {
        Self::json(
            StatusCode::OK,
            &json!({"success": true, "errors": [], "messages": [], "result": result, "result_info": info}),
        )
    }

    /// A body that is not the envelope.
    pub(crate) fn raw(
        status: StatusCode,
        content_type: impl Into<String>,
        body: impl Into<Bytes>,
    ) -> Self {
        Self {
            status,
            content_type: content_type.into(),
            headers: Vec::new(),
            body: body.into(),
            code: None,
        }
    }

    /// Any JSON.
    pub(crate) fn json(status: StatusCode, body: &Value) -> Self {
        Self::raw(status, "application/json", body.to_string())
    }

    /// With one more header.
    pub(crate) fn header(
        mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<String>,
    ) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

impl From<ApiError> for Reply {
    fn from(e: ApiError) -> Self {
        let mut first = json!({"message": e.message});
        if let Some(code) = e.code {
            first["code"] = json!(code);
        }
        let mut errors = vec![first];
        errors.extend(
            e.also
                .iter()
                .map(|(code, message)| json!({"code": code, "message": message})),
        );
        let mut reply = Self::json(
            StatusCode::from_u16(e.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            &json!({"success": false, "errors": errors, "messages": [], "result": null}),
        );
        reply.code = e.code;
        reply
    }
}
