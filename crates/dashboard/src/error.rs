//! What goes wrong, as a page that says what to do.

use askama::Template;
use axum::response::{Html, IntoResponse, Response};
use http::StatusCode;
use rand::RngCore;
use talon_core::turns::TooOften;
use talon_store::StoreError;

use crate::assets::Addresses;
use crate::ui::icon;

/// A page in place of the one that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageError {
    status: StatusCode,
    title: &'static str,
    what: String,
    next: &'static str,
    /// After so many seconds it may be asked again.
    wait: Option<u64>,
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    assets: Addresses,
    error: &'a PageError,
    request: String,
}

impl PageError {
    fn new(
        status: StatusCode,
        title: &'static str,
        what: impl Into<String>,
        next: &'static str,
    ) -> Self {
        Self {
            status,
            title,
            what: what.into(),
            next,
            wait: None,
        }
    }

    /// Nothing is there, or nothing that this visitor may see.
    pub fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "Nothing here",
            "There is no such page, or no such agent that you may see.",
            "talon get lists the agents there are",
        )
    }

    /// The role or the owner does not allow it.
    pub fn forbidden(what: &'static str) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "Not allowed",
            what,
            "Sign in with a token of a higher role: talon token create --role ROLE",
        )
    }

    /// Another site, or a page of an earlier session, sent the form.
    pub fn foreign() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "Not sent from this page",
            "The form did not come from a page of this session. Nothing was done.",
            "Go back, load the page again, and send it once more",
        )
    }

    /// The body is too large, or no form.
    pub fn unreadable() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "The form cannot be read",
            "It is too large, or not a form. Nothing was done.",
            "A manifest may have at most 1 MiB; talon apply -f takes it as well",
        )
    }

    /// As many pages are open as one visitor may have.
    pub fn too_many() -> Self {
        Self {
            wait: Some(60),
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "Too much at once",
                "As many pages, watches, waits and tasks are open for this token and its owner as may be at once.",
                "Close some of them; this page goes on without live updates",
            )
        }
    }

    /// A request that cannot be carried out as it stands.
    pub fn refused(what: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "Refused",
            what,
            "Go back and look at the agent as it is now",
        )
    }
}

impl From<TooOften> for PageError {
    fn from(TooOften(wait): TooOften) -> Self {
        Self {
            wait: Some(wait.as_secs() + 1),
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "Too often",
                "This token, or another of its owner, asks too often. Nothing was done.",
                "Wait a moment, then try again",
            )
        }
    }
}

impl From<StoreError> for PageError {
    fn from(error: StoreError) -> Self {
        let what = error.to_string();
        match error {
            StoreError::NotFound => Self::not_found(),
            StoreError::Stale { .. } => Self::new(
                StatusCode::CONFLICT,
                "Changed meanwhile",
                what,
                "Look at what changed, then begin again from there",
            ),
            StoreError::Rejected { .. } => Self::refused(what),
            StoreError::StaleEpoch | StoreError::Unavailable(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "The database does not answer",
                what,
                "This page tries again by itself; talon doctor looks closer",
            ),
            StoreError::Corrupt(_) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "The database does not fit this program",
                what,
                "talon doctor says which schema it has; talon migrate brings it up to date",
            ),
        }
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let mut id = [0u8; 8];
        rand::rng().fill_bytes(&mut id);
        let request = hex::encode(id);
        if self.status.is_server_error() {
            tracing::warn!(
                request,
                status = self.status.as_u16(),
                error = self.what,
                "a page could not be shown"
            );
        }
        let page = ErrorPage {
            assets: Addresses,
            error: &self,
            request: request.clone(),
        };
        let mut response = match page.render() {
            Ok(html) => (self.status, Html(html)).into_response(),
            Err(_) => self.status.into_response(),
        };
        if let Some(wait) = self.wait {
            let headers = response.headers_mut();
            headers.insert(http::header::RETRY_AFTER, wait.into());
        }
        if let Ok(value) = http::HeaderValue::from_str(&request) {
            response.headers_mut().insert("x-request-id", value);
        }
        response
    }
}

/// A template as an answer.
pub fn show(page: &impl Template) -> Result<Response, PageError> {
    Ok(Html(rendered(page)?).into_response())
}

/// A template as text.
pub fn rendered(page: &impl Template) -> Result<String, PageError> {
    page.render().map_err(|error| {
        tracing::error!(%error, "a template could not be rendered");
        PageError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "This page could not be made",
            "This is a defect of Talon.",
            "The command line shows the same data: talon get, talon describe",
        )
    })
}
