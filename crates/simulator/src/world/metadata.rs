//! The `metadata` part of an upload: what it says, and what of it is refused.

use chrono::{DateTime, NaiveDate, Utc};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::migration::Migrations;
use super::worker::Module;
use crate::multipart::Part;
use crate::reply::{ApiError, Handled};

/// What Cloudflare assumes when no date is given.
const OLDEST_DATE: &str = "2021-11-02";

/// The fields the simulator understands; others are accepted and ignored, as the live API does.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Metadata {
    pub(crate) main_module: Option<String>,
    pub(crate) body_part: Option<String>,
    pub(crate) compatibility_date: Option<String>,
    pub(crate) compatibility_flags: Option<Vec<String>>,
    pub(crate) bindings: Option<Vec<Value>>,
    pub(crate) keep_bindings: Option<Vec<String>>,
    pub(crate) tags: Option<Vec<String>>,
    pub(crate) migrations: Option<Migrations>,
    pub(crate) annotations: Option<Map<String, Value>>,
    pub(crate) observability: Option<Value>,
    pub(crate) logpush: Option<bool>,
    pub(crate) tail_consumers: Option<Value>,
    pub(crate) usage_model: Option<String>,
    pub(crate) limits: Option<Value>,
    pub(crate) placement: Option<Value>,
}

impl Metadata {
    /// Reads the JSON of the `metadata` (or `settings`) part. The message never repeats the body: it holds secrets.
    pub(crate) fn parse(body: &[u8], now: DateTime<Utc>) -> Handled<Self> {
        let metadata: Self = serde_json::from_slice(body).map_err(|e| {
            ApiError::new(
                400,
                10021,
                format!(
                    "The metadata is not valid JSON of the expected shape (line {}, column {}).",
                    e.line(),
                    e.column()
                ),
            )
        })?;
        if let Some(tags) = &metadata.tags {
            check_tags(tags)?;
        }
        if let Some(date) = &metadata.compatibility_date {
            check_date(date, now)?;
        }
        Ok(metadata)
    }

    /// The compatibility date, or the one that stands for none.
    pub(crate) fn date(&self) -> String {
        self.compatibility_date
            .clone()
            .unwrap_or_else(|| OLDEST_DATE.to_owned())
    }
}

/// At most 8 tags, none with the characters of tag filters.
pub(crate) fn check_tags(tags: &[String]) -> Handled<()> {
    if tags.len() > 8 {
        return Err(ApiError::invalid_script(
            "A Worker may have at most 8 tags.",
        ));
    }
    match tags
        .iter()
        .find(|t| t.is_empty() || t.contains([',', '&', ':']))
    {
        Some(tag) => Err(ApiError::invalid_script(format!(
            "Tag '{tag}' must not be empty nor contain ',', '&' or ':'."
        ))),
        None => Ok(()),
    }
}

fn check_date(date: &str, now: DateTime<Utc>) -> Handled<()> {
    let parsed = NaiveDate::parse_from_str(date, "%Y-%m-%d").map_err(|_| {
        ApiError::invalid_script("The compatibility date must look like 2026-11-01.")
    })?;
    // A week of grace, as the live API gives for dates that the newest runtime knows already.
    if parsed > now.date_naive() + chrono::Duration::days(7) {
        return Err(ApiError::invalid_script(format!(
            "Can't set compatibility date in the future: {date}"
        )));
    }
    Ok(())
}

/// A whole upload.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) metadata: Metadata,
    pub(crate) main_module: String,
    pub(crate) has_modules: bool,
    pub(crate) modules: Vec<Module>,
}

impl Submission {
    /// Takes the parts of a form apart: one `metadata`, every other part a module named after its field.
    pub(crate) fn from_parts(parts: Vec<Part>, now: DateTime<Utc>) -> Handled<Self> {
        let mut metadata = None;
        let mut modules = Vec::new();
        for part in parts {
            if part.name == "metadata" {
                metadata = Some(Metadata::parse(&part.body, now)?);
                continue;
            }
            if modules.iter().any(|m: &Module| m.name == part.name) {
                return Err(ApiError::invalid_script(format!(
                    "Module '{}' was uploaded twice.",
                    part.name
                )));
            }
            let content_type = part
                .content_type
                .or_else(|| {
                    part.filename
                        .as_deref()
                        .filter(|f| f.ends_with(".js") || f.ends_with(".mjs"))
                        .map(|_| "application/javascript+module".to_owned())
                })
                .unwrap_or_else(|| "application/octet-stream".to_owned());
            modules.push(Module {
                name: part.name,
                content_type,
                body: part.body,
            });
        }
        let metadata = metadata
            .ok_or_else(|| ApiError::invalid_script("The upload has no part named 'metadata'."))?;
        let (main_module, has_modules) = match (&metadata.main_module, &metadata.body_part) {
            (Some(main), _) => (main.clone(), true),
            (None, Some(body)) => (body.clone(), false),
            (None, None) => {
                return Err(ApiError::invalid_script(
                    "The metadata must name a main_module or a body_part.",
                ));
            }
        };
        let main = modules
            .iter()
            .find(|m| m.name == main_module)
            .ok_or_else(|| {
                ApiError::invalid_script(format!("No such module: \"{main_module}\"."))
            })?;
        if has_modules
            && !main
                .content_type
                .starts_with("application/javascript+module")
            && !main.content_type.starts_with("text/x-python")
        {
            return Err(ApiError::invalid_script(format!(
                "The main module \"{main_module}\" must be an ES module (application/javascript+module)."
            )));
        }
        Ok(Self {
            metadata,
            main_module,
            has_modules,
            modules,
        })
    }
}
