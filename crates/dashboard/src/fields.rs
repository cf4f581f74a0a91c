//! Forms: read only from our own pages, and only with the token that the session's pages carry.

use axum::RequestExt;
use axum::extract::{FromRequest, FromRequestParts, Request};
use http::{HeaderMap, header};

use crate::app::App;
use crate::error::PageError;
use crate::session::{NoSession, Session, same};

/// The fields of a form. No `Debug`: one of them may be a key.
#[derive(Default)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// The first value of this name; empty if there is none.
    pub fn get(&self, name: &str) -> &str {
        self.maybe(name).unwrap_or("")
    }

    /// The first value of this name.
    pub fn maybe(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    /// Takes the first value of this name out of the form.
    pub fn take(&mut self, name: &str) -> String {
        let found = self.0.iter_mut().find(|(found, _)| found == name);
        found
            .map(|(_, value)| std::mem::take(value))
            .unwrap_or_default()
    }

    /// Whether a box was ticked.
    pub fn ticked(&self, name: &str) -> bool {
        self.maybe(name).is_some()
    }

    /// Reads a body. Line ends as browsers send them become plain ones.
    pub fn parse(body: &[u8]) -> Self {
        Self(
            form_urlencoded::parse(body)
                .map(|(name, value)| (name.into_owned(), value.replace("\r\n", "\n")))
                .collect(),
        )
    }
}

/// Refuses what another site made the browser send, as far as the browser tells.
pub fn same_site(headers: &HeaderMap) -> Result<(), PageError> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let elsewhere = match (text("sec-fetch-site"), text("origin")) {
        (Some(site), _) => site != "same-origin" && site != "none",
        (None, Some(origin)) => {
            let host = text(header::HOST.as_str()).unwrap_or_default();
            origin.split_once("://").is_none_or(|(_, at)| at != host)
        }
        (None, None) => false,
    };
    if elsewhere {
        return Err(PageError::foreign());
    }
    Ok(())
}

/// A form that a session's own page sent.
pub struct Posted {
    /// Who sent it.
    pub session: Session,
    /// What it holds.
    pub fields: Fields,
}

/// Why a form is not taken.
pub enum NotPosted {
    /// Nobody is signed in.
    NoSession(NoSession),
    /// It cannot be read, or came from elsewhere.
    Error(PageError),
}

impl axum::response::IntoResponse for NotPosted {
    fn into_response(self) -> axum::response::Response {
        match self {
            Self::NoSession(no) => no.into_response(),
            Self::Error(error) => error.into_response(),
        }
    }
}

impl FromRequest<App> for Posted {
    type Rejection = NotPosted;

    async fn from_request(mut request: Request, app: &App) -> Result<Self, NotPosted> {
        same_site(request.headers()).map_err(NotPosted::Error)?;
        let session = request
            .extract_parts_with_state::<Session, _>(app)
            .await
            .map_err(NotPosted::NoSession)?;
        let body = axum::body::Bytes::from_request(request, app)
            .await
            .map_err(|_| NotPosted::Error(PageError::unreadable()))?;
        let fields = Fields::parse(&body);
        if !same(fields.get("csrf"), &session.csrf) {
            return Err(NotPosted::Error(PageError::foreign()));
        }
        Ok(Self { session, fields })
    }
}

/// The colours that somebody chose, if they did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Theme(pub Option<&'static str>);

impl Theme {
    /// The words that the cookie may hold.
    pub fn parse(word: &str) -> Self {
        Self(["light", "dark"].into_iter().find(|known| *known == word))
    }
}

impl<S: Sync> FromRequestParts<S> for Theme {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut http::request::Parts,
        _: &S,
    ) -> Result<Self, Self::Rejection> {
        Ok(crate::session::cookie(&parts.headers, "theme").map_or(Self(None), Self::parse))
    }
}
