//! What a request builds upon: `If-Match`, `If-None-Match`, `If-Generation`.

use axum::extract::FromRequestParts;
use http::header::{HeaderMap, HeaderName, IF_MATCH, IF_NONE_MATCH};
use http::request::Parts;
use talon_core::Snapshot;

use super::view::Tagged;
use crate::http::{Answer, Kind, Problem};

const IF_GENERATION: HeaderName = HeaderName::from_static("if-generation");

/// The preconditions of a request.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Conditional {
    if_match: Option<Tags>,
    if_none_match: Option<Tags>,
    if_generation: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Tags {
    Any,
    These(Vec<String>),
}

impl Tags {
    /// Whether one of them is this tag. Weak ones never are when a write depends on it.
    fn have(&self, etag: &str, weak_too: bool) -> bool {
        match self {
            Self::Any => true,
            Self::These(tags) => tags.iter().any(|tag| {
                let strong = if weak_too {
                    tag.strip_prefix("W/").unwrap_or(tag)
                } else {
                    tag
                };
                strong == etag
            }),
        }
    }
}

fn tags(headers: &HeaderMap, name: &HeaderName) -> Answer<Option<Tags>> {
    let mut found = Vec::new();
    for value in headers.get_all(name) {
        let text = value.to_str().map_err(|_| unreadable(name))?.trim();
        if text == "*" {
            return Ok(Some(Tags::Any));
        }
        for tag in text.split(',').map(str::trim) {
            let bare = tag.strip_prefix("W/").unwrap_or(tag);
            let quoted = bare.len() >= 2 && bare.starts_with('"') && bare.ends_with('"');
            if !quoted {
                return Err(unreadable(name));
            }
            found.push(tag.to_owned());
        }
    }
    Ok((!found.is_empty()).then_some(Tags::These(found)))
}

fn unreadable(name: &HeaderName) -> Problem {
    Problem::new(Kind::Malformed, format!("the header {name} cannot be read"))
}

impl<S: Sync> FromRequestParts<S> for Conditional {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Answer<Self> {
        let headers = &parts.headers;
        let if_generation = match headers.get(IF_GENERATION) {
            None => None,
            Some(value) => {
                let number = value.to_str().ok().and_then(|text| text.parse().ok());
                let number = number.filter(|n: &i64| *n >= 0);
                Some(number.ok_or_else(|| unreadable(&IF_GENERATION))?)
            }
        };
        Ok(Self {
            if_match: tags(headers, &IF_MATCH)?,
            if_none_match: tags(headers, &IF_NONE_MATCH)?,
            if_generation,
        })
    }
}

impl Conditional {
    /// Whether the client has this representation already.
    pub fn has(&self, etag: &str) -> bool {
        self.if_none_match
            .as_ref()
            .is_some_and(|tags| tags.have(etag, true))
    }

    /// Whether the request says what it builds upon.
    pub fn is_given(&self) -> bool {
        *self != Self::default()
    }

    /// Whether only something new may be written.
    pub fn creates_only(&self) -> bool {
        self.if_none_match == Some(Tags::Any) || self.if_generation == Some(0)
    }

    /// The generation at which a write may happen, if what is there is what the request builds upon; else 412.
    pub fn check(&self, found: Option<&Snapshot>) -> Answer<Option<i64>> {
        let failed = |detail: String| Err(Problem::new(Kind::PreconditionFailed, detail));
        let Some(snapshot) = found else {
            if self.if_match.is_some() || self.if_generation.is_some_and(|g| g != 0) {
                return failed("there is no agent of this name".to_owned());
            }
            return Ok((self.is_given()).then_some(0));
        };
        let generation = snapshot.agent.generation.0;
        let etag = Tagged::agent(snapshot).etag;
        let changed = self
            .if_match
            .as_ref()
            .is_some_and(|tags| !tags.have(&etag, false));
        if changed || self.if_generation.is_some_and(|g| g != generation) {
            return failed(format!(
                "the agent has changed (it is at generation {generation}): read it again, then decide"
            ));
        }
        if self
            .if_none_match
            .as_ref()
            .is_some_and(|tags| tags.have(&etag, false))
        {
            return failed("an agent of this name exists already".to_owned());
        }
        Ok(self.is_given().then_some(generation))
    }
}
