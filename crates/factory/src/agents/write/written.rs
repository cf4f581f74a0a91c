//! What became of a write, and how it is answered.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use talon_core::{AgentId, AgentName};
use talon_store::access::Outcome;

use super::changes::WritePlan;
use crate::App;
use crate::agents::AGENTS;
use crate::agents::look::{missing, response};
use crate::agents::wait::{Waiting, until};
use crate::http::Answer;

/// What became of a write.
pub enum CarriedOut {
    /// Nothing is written.
    Rehearsed(WritePlan),
    /// It is in the database.
    Written {
        id: AgentId,
        created: bool,
        name: AgentName,
        warnings: Vec<String>,
        /// What the caller waits for, and how long.
        wait: Option<Waiting>,
    },
}

impl CarriedOut {
    /// How a creation ended, to be told again; `None`: it made nothing. The agent is named by its id: its name may be
    /// another's when it is told.
    pub fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::Written {
                created: true, id, ..
            } => Some(Outcome {
                status: StatusCode::CREATED.as_u16(),
                agent: id.to_string(),
            }),
            Self::Written { .. } | Self::Rehearsed(_) => None,
        }
    }

    /// The response, once what the caller waits for is so.
    pub async fn answer(self, app: &App) -> Answer<Response> {
        let (id, created, name, warnings, wait) = match self {
            Self::Rehearsed(plan) => return Ok(axum::Json(plan).into_response()),
            Self::Written {
                id,
                created,
                name,
                warnings,
                wait,
            } => (id, created, name, warnings, wait),
        };
        let mut ended = None;
        let snapshot = match wait {
            Some(waiting) => {
                let (snapshot, how) = until(app, id, waiting).await?;
                ended = Some(how);
                snapshot
            }
            None => app.store().load(id).await?.ok_or_else(missing)?,
        };
        let status = if created {
            StatusCode::CREATED
        } else {
            StatusCode::OK
        };
        let mut answer = response(status, &snapshot);
        let headers = answer.headers_mut();
        if let Some(ended) = ended {
            headers.insert("talon-wait", ended.header());
        }
        for warning in &warnings {
            if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{warning}\"")) {
                headers.append(header::WARNING, value);
            }
        }
        if created {
            located(headers, name.as_str());
        }
        Ok(answer)
    }
}

/// Where a new agent is.
pub fn located(headers: &mut HeaderMap, name: &str) {
    if let Ok(location) = HeaderValue::from_str(&format!("{AGENTS}/{name}")) {
        headers.insert(header::LOCATION, location);
    }
}
