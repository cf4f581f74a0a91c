//! Durable Object migrations: how the set of declared classes changes, guarded by a tag.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::chance::Chance;
use super::worker::{Class, Worker};
use crate::reply::{ApiError, Handled};

/// `metadata.migrations`, in one step or several.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Migrations {
    pub(crate) old_tag: Option<String>,
    pub(crate) new_tag: Option<String>,
    steps: Option<Vec<Step>>,
    #[serde(flatten)]
    single: Step,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Step {
    new_classes: Vec<String>,
    new_sqlite_classes: Vec<String>,
    deleted_classes: Vec<String>,
    renamed_classes: Vec<Rename>,
}

#[derive(Debug, Clone, Deserialize)]
struct Rename {
    from: String,
    to: String,
}

/// What a Worker's classes and tag are after the migrations, if they apply.
///
/// # Errors
/// 10079 (412) if `old_tag` is not the Worker's tag, 10074 if a step does not fit the classes there are.
pub(crate) fn apply(
    worker: Option<&Worker>,
    migrations: Option<&Migrations>,
    chance: &mut Chance,
) -> Handled<(BTreeMap<String, Class>, Option<String>)> {
    let mut classes = worker.map(|w| w.classes.clone()).unwrap_or_default();
    let current = worker.and_then(|w| w.migration_tag.clone());
    let Some(migrations) = migrations else {
        return Ok((classes, current));
    };
    if migrations.old_tag != current {
        return Err(ApiError::new(
            412,
            10079,
            format!(
                "Migration tag precondition failed; expected tag \"{}\", got \"{}\".",
                current.unwrap_or_default(),
                migrations.old_tag.as_deref().unwrap_or_default()
            ),
        ));
    }
    let steps: Vec<&Step> = match &migrations.steps {
        Some(steps) => steps.iter().collect(),
        None => vec![&migrations.single],
    };
    for step in steps {
        let new = step.new_classes.iter().map(|c| (c, false));
        for (class, sqlite) in new.chain(step.new_sqlite_classes.iter().map(|c| (c, true))) {
            let taken = classes.insert(
                class.clone(),
                Class {
                    sqlite,
                    namespace_id: chance.hex32(),
                },
            );
            if taken.is_some() {
                return Err(ApiError::new(
                    400,
                    10074,
                    format!(
                        "Cannot apply new-class migration to class '{class}' that is already depended on by existing Durable Objects."
                    ),
                ));
            }
        }
        for class in &step.deleted_classes {
            classes.remove(class).ok_or_else(|| missing(class))?;
        }
        for Rename { from, to } in &step.renamed_classes {
            let class = classes.remove(from).ok_or_else(|| missing(from))?;
            if classes.insert(to.clone(), class).is_some() {
                return Err(ApiError::new(
                    400,
                    10074,
                    format!("Cannot rename class '{from}' to '{to}': that class exists already."),
                ));
            }
        }
    }
    Ok((classes, migrations.new_tag.clone().or(current)))
}

fn missing(class: &str) -> ApiError {
    ApiError::new(
        400,
        10074,
        format!("Cannot apply a migration to class '{class}', which this Worker does not have."),
    )
}
