//! Changes behind Talon's back: what other people with access to the account would do.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::World;
use super::metadata::{Metadata, Submission};
use super::upload::Terms;
use super::worker::{Module, etag};
use crate::reply::Handled;

/// What somebody else changes about a Worker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerEdit {
    /// The whole new set of tags.
    pub tags: Option<Vec<String>>,
    /// New code for the main module.
    pub code: Option<String>,
    /// Secrets to take away.
    pub drop_secrets: Vec<String>,
    /// Bindings of any type to take away.
    pub drop_bindings: Vec<String>,
    /// Switches workers.dev.
    pub enabled: Option<bool>,
    /// Makes the newest version one that does not serve, as an upload from elsewhere without a deployment does.
    pub leave_undeployed: bool,
}

const FOREIGN_CODE: &str =
    "export default { fetch() { return new Response(\"not Talon's\"); } };\n";

const SOMEBODY: Terms = Terms {
    strict: false,
    source: "dash",
};

impl World {
    /// Puts a Worker there that Talon has nothing to do with, in place of any other of that name.
    pub(crate) fn put_foreign_worker(
        &mut self,
        name: &str,
        tags: Option<Vec<String>>,
        now: DateTime<Utc>,
    ) -> Handled<()> {
        self.remove_worker(name, now);
        let submission = Submission {
            metadata: Metadata {
                tags,
                ..Metadata::default()
            },
            main_module: "index.js".to_owned(),
            has_modules: true,
            modules: vec![module("index.js", FOREIGN_CODE)],
        };
        self.upload(name, submission, SOMEBODY, now).map(|_| ())
    }

    /// Edits a Worker; returns whether there is one.
    pub(crate) fn edit_worker(
        &mut self,
        name: &str,
        edit: &WorkerEdit,
        now: DateTime<Utc>,
    ) -> bool {
        let Some((worker, latest)) = self
            .catalog()
            .workers
            .get(name)
            .and_then(|w| Some((Arc::clone(w), w.latest().cloned()?)))
        else {
            return false;
        };
        let changes_version = edit.code.is_some()
            || edit.leave_undeployed
            || !edit.drop_secrets.is_empty()
            || !edit.drop_bindings.is_empty();
        if changes_version {
            let mut version = latest.as_ref().clone();
            version.id = self.chance.uuid();
            version.number += 1;
            version.created_on = now;
            version.source = SOMEBODY.source;
            if let Some(code) = &edit.code {
                let mut modules = version.modules.as_ref().clone();
                modules.retain(|m| m.name != version.main_module);
                modules.push(module(&version.main_module, code));
                version.etag = etag(&version.main_module, &modules);
                version.modules = Arc::new(modules);
            }
            version.bindings.retain(|b| {
                let secret = b.secret.is_some() && edit.drop_secrets.contains(&b.name);
                !secret && !edit.drop_bindings.contains(&b.name)
            });
            // Cannot fail: the Worker is there.
            let _ = self.add_version(name, version, !edit.leave_undeployed, now);
        }
        if let Some(changed) = self.change(now).worker_mut(name) {
            if edit.tags.is_some() {
                changed.tags.clone_from(&edit.tags);
                changed.modified_on = now;
            }
            changed.enabled = edit.enabled.unwrap_or(worker.enabled);
        }
        true
    }

    /// Removes a token whatever is configured; returns whether it was there.
    pub(crate) fn remove_token(&mut self, id: &str, now: DateTime<Utc>) -> bool {
        let tokens = &mut self.change(now).tokens;
        let before = tokens.len();
        tokens.retain(|t| t.id != id);
        tokens.len() < before
    }
}

fn module(name: &str, code: &str) -> Module {
    Module {
        name: name.to_owned(),
        content_type: "application/javascript+module".to_owned(),
        body: Bytes::from(code.to_owned()),
    }
}
