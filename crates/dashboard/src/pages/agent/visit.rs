//! A look at one agent: who looks, at what, and what the address asks for. Every tab begins with it.

use askama::Template;
use axum::extract::{FromRequestParts, Path, Query};
use axum::response::Response;
use http::request::Parts;
use serde::Deserialize;
use talon_core::Snapshot;

use super::frame::Frame;
use crate::app::App;
use crate::error::{PageError, rendered, show};
use crate::fields::Theme;
use crate::pages::find;
use crate::session::{NoSession, Session};
use crate::ui::Markup;

/// What the address asks for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// Events of this severity only.
    pub severity: String,
    /// Lines of these sources only.
    pub source: String,
    /// Lines behind this place.
    pub after: String,
    /// What was just done.
    pub done: String,
}

/// A look at an agent that its visitor may see.
pub struct Visit {
    pub app: App,
    pub session: Session,
    pub theme: Theme,
    pub asked: Asked,
    pub snapshot: Snapshot,
}

impl FromRequestParts<App> for Visit {
    type Rejection = NoSession;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, NoSession> {
        let session = Session::from_request_parts(parts, app).await?;
        let Ok(theme) = Theme::from_request_parts(parts, app).await;
        let Path(name) = Path::<String>::from_request_parts(parts, app)
            .await
            .map_err(|_| NoSession::Error(PageError::not_found()))?;
        let Query(asked) = Query::<Asked>::from_request_parts(parts, app)
            .await
            .map_err(|_| NoSession::Error(PageError::not_found()))?;
        let snapshot = find(app, &session, &name).await.map_err(NoSession::Error)?;
        Ok(Self {
            app: app.clone(),
            session,
            theme,
            asked,
            snapshot,
        })
    }
}

impl Visit {
    /// The page: a tab within the agent's frame.
    pub fn show(&self, tab: &'static str, content: &impl Template) -> Result<Response, PageError> {
        let content = Markup::trusted(rendered(content)?);
        show(&Frame::new(self, tab, content))
    }
}
