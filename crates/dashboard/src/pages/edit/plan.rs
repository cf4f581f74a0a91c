//! What writing a manifest would do: checked, compared, and rehearsed in the database.

use talon_core::Snapshot;
use talon_core::manifest::{self, Manifest, ManifestError};
use talon_explain::age;
use talon_plan::spec_diff::{self, Effect, Stage};
use talon_store::{ApplyOptions, StoreError, WholeStore, codes};

use crate::error::PageError;
use crate::session::Session;

/// Something that is wrong, with its place.
pub struct Wrong {
    pub pointer: String,
    pub detail: String,
    pub line: String,
}

/// One difference.
pub struct Change {
    pub refused: bool,
    pub icon: &'static str,
    pub field: String,
    pub values: String,
    pub effect: String,
}

/// What would be done.
#[derive(Default)]
pub struct Plan {
    pub headline: String,
    pub errors: Vec<Wrong>,
    pub changes: Vec<Change>,
    pub empty: &'static str,
    pub may_apply: bool,
}

fn wrong(e: ManifestError) -> Wrong {
    Wrong {
        line: e
            .line
            .map(|line| format!("line {line}"))
            .unwrap_or_default(),
        pointer: if e.pointer.is_empty() {
            "manifest".to_owned()
        } else {
            talon_explain::safe(&e.pointer)
        },
        detail: e.detail,
    }
}

fn one(found: Result<Vec<Manifest>, Vec<ManifestError>>) -> Result<Manifest, Vec<Wrong>> {
    let mut found = found.map_err(|errors| errors.into_iter().map(wrong).collect::<Vec<_>>())?;
    match (found.pop(), found.is_empty()) {
        (Some(manifest), true) => Ok(manifest),
        _ => Err(vec![said(
            "manifest",
            "holds several agents: this page takes one; talon apply -f takes them all",
        )]),
    }
}

fn said(pointer: &str, detail: &str) -> Wrong {
    Wrong {
        pointer: pointer.to_owned(),
        detail: detail.to_owned(),
        line: String::new(),
    }
}

/// What never changes, in the words of the database's own rule.
fn fixed(pointer: &str) -> Wrong {
    said(pointer, codes::message(codes::FIXED).unwrap_or_default())
}

/// Reads a manifest, content included.
pub fn read(yaml: &str) -> Result<Manifest, Vec<Wrong>> {
    one(manifest::parse_valid(yaml, "manifest"))
}

/// Reads a manifest's form only.
pub fn parse(yaml: &str) -> Result<Manifest, Vec<Wrong>> {
    one(manifest::parse(yaml, "manifest"))
}

impl Plan {
    /// Before anything was changed.
    pub fn begin() -> Self {
        Self {
            headline: "nothing changed yet".to_owned(),
            empty: "Change something in the form or in the manifest; what it would cause is shown here first.",
            ..Self::default()
        }
    }

    /// The manifest cannot be taken.
    pub fn unreadable(errors: Vec<Wrong>) -> Self {
        Self {
            headline: "cannot be applied: correct what is marked".to_owned(),
            errors,
            ..Self::default()
        }
    }

    /// Compares and rehearses what would be applied so.
    pub async fn make(
        store: &dyn WholeStore,
        session: &Session,
        before: Option<&Snapshot>,
        wanted: &Manifest,
        options: ApplyOptions,
    ) -> Result<Self, PageError> {
        let mut errors = Vec::new();
        if !session.visitor.sees(&wanted.owner) {
            errors.push(said(
                "/metadata/owner",
                "your token makes agents of its own owner only",
            ));
        }
        if let Some(s) = before {
            if s.agent.name != wanted.name {
                errors.push(fixed("/metadata/name"));
            }
            if s.agent.owner != wanted.owner {
                errors.push(fixed("/metadata/owner"));
            }
        }
        if !errors.is_empty() {
            return Ok(Self::unreadable(errors));
        }
        let changes = match before {
            Some(s) => changes(s, wanted),
            None => Vec::new(),
        };
        let rehearsal = ApplyOptions {
            dry_run: true,
            ..options
        };
        let actor = session.visitor.actor();
        match store
            .apply_as(&actor, &wanted.name, &wanted.owner, &wanted.spec, rehearsal)
            .await
        {
            Ok(_) => {}
            Err(StoreError::Rejected { code, message }) => errors.push(said(&code, &message)),
            // Whose the other one is, is nobody's business.
            Err(StoreError::Stale { .. }) if before.is_none() => {
                errors.push(said("/metadata/name", "the name is taken"))
            }
            Err(StoreError::Stale { actual, .. }) => errors.push(said(
                "generation",
                &format!(
                    "the agent changed meanwhile and is at generation {actual}: load the page again"
                ),
            )),
            Err(StoreError::NotFound) => errors.push(said(
                "name",
                "the agent that this page showed is gone, and another has its name: load the page again",
            )),
            Err(error) => return Err(error.into()),
        }
        let refused = errors
            .len()
            .max(changes.iter().filter(|c| c.refused).count());
        Ok(Self {
            headline: headline(before, &changes, refused),
            empty: if before.is_some() {
                "No changes: the agent is like this already."
            } else {
                "Creates a Worker, an R2 bucket, an R2 token and an Agent Card: four changing calls to Cloudflare."
            },
            may_apply: refused == 0 && (before.is_none() || !changes.is_empty()),
            errors,
            changes,
        })
    }
}

fn headline(before: Option<&Snapshot>, changes: &[Change], refused: usize) -> String {
    match before {
        _ if refused > 0 => format!("cannot be applied: {refused} refused"),
        None => "1 to create".to_owned(),
        Some(_) if changes.is_empty() => "nothing to do".to_owned(),
        Some(s) => format!(
            "generation {} → {}, {} to change",
            s.agent.generation,
            s.agent.generation.0 + 1,
            changes.len()
        ),
    }
}

fn changes(s: &Snapshot, wanted: &Manifest) -> Vec<Change> {
    spec_diff::diff(&s.agent.spec, &wanted.spec, Stage::of(s))
        .into_iter()
        .map(|c| {
            let refused = c.effect == Effect::Immutable;
            Change {
                refused,
                icon: if refused { "lock" } else { "edit" },
                values: c.values(),
                effect: match (c.effect, s.agent.status.first_deployed_at) {
                    (Effect::Immutable, Some(at)) => format!("immutable since {}", age::stamp(at)),
                    (Effect::Immutable, None) => "immutable: the bucket exists".to_owned(),
                    (effect, _) => effect.as_str().to_owned(),
                },
                field: c.field,
            }
        })
        .collect()
}
