//! What tests and people see of the account. Names of secrets, never values.

use serde::Serialize;
use talon_core::spec::Jurisdiction;

use crate::world::World;
use crate::world::bucket::ObjectStore;
use crate::world::permission::Policy;
use crate::world::token::{Owner, Token, issued};
use crate::world::view::time;
use crate::world::worker::Worker;

/// A Worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WorkerView {
    /// Script name.
    pub name: String,
    /// Immutable id.
    pub tag: String,
    /// `None`: never set.
    pub tags: Option<Vec<String>>,
    /// Hash of the live code.
    pub etag: String,
    /// Whether workers.dev serves it.
    pub enabled: bool,
    /// Whether previews are on.
    pub previews_enabled: bool,
    /// The last applied migration.
    pub migration_tag: Option<String>,
    /// Module names of the live version.
    pub modules: Vec<String>,
    /// Bindings of the live version that are no secrets: name, type, and text, bucket or class.
    pub bindings: Vec<BindingView>,
    /// Names of the live version's secrets, sorted.
    pub secrets: Vec<String>,
    /// How many versions there are.
    pub versions: usize,
    /// Id of the live version.
    pub version_id: String,
    /// RFC 3339.
    pub created_on: String,
    /// RFC 3339.
    pub modified_on: String,
}

/// A binding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BindingView {
    /// Name in `env`.
    pub name: String,
    /// Type word.
    pub kind: String,
    /// Text, bucket or class.
    pub value: Option<String>,
}

/// A bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BucketView {
    /// Its name.
    pub name: String,
    /// Where it lives.
    pub jurisdiction: Jurisdiction,
    /// How many objects it holds.
    pub objects: usize,
    /// How many multipart uploads are unfinished.
    pub pending_uploads: usize,
    /// RFC 3339.
    pub creation_date: String,
}

/// A token of the account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenView {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What its policies name.
    pub resources: Vec<String>,
    /// RFC 3339.
    pub issued_on: String,
    /// When it got its present value, RFC 3339.
    pub value_set_on: String,
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StateView {
    /// The account.
    pub account_id: String,
    /// Its workers.dev subdomain.
    pub subdomain: Option<String>,
    /// By name.
    pub workers: Vec<WorkerView>,
    /// By jurisdiction and name.
    pub buckets: Vec<BucketView>,
    /// In the order of creation; the controller's own is the first.
    pub tokens: Vec<TokenView>,
}

impl World {
    /// Everything there is now, whatever stale lists say.
    pub(crate) fn state(&self) -> StateView {
        let catalog = self.catalog();
        StateView {
            account_id: self.account_id.clone(),
            subdomain: self.subdomain.clone(),
            workers: catalog.workers.values().map(|w| worker_view(w)).collect(),
            buckets: catalog
                .buckets
                .iter()
                .map(|(key, bucket)| {
                    let count = |f: fn(&ObjectStore) -> usize| self.objects.get(key).map_or(0, f);
                    BucketView {
                        name: bucket.name.clone(),
                        jurisdiction: bucket.jurisdiction,
                        objects: count(|s| s.objects.len()),
                        pending_uploads: count(|s| s.uploads.len()),
                        creation_date: time(bucket.creation_date),
                    }
                })
                .collect(),
            tokens: catalog
                .tokens
                .iter()
                .filter(|t| t.owner == Owner::Account)
                .map(|t| token_view(t))
                .collect(),
        }
    }
}

fn worker_view(worker: &Worker) -> WorkerView {
    let live = worker.live();
    let all = live.map(|v| v.bindings.as_slice()).unwrap_or_default();
    let mut secrets: Vec<String> = all
        .iter()
        .filter(|b| b.secret.is_some())
        .map(|b| b.name.clone())
        .collect();
    secrets.sort_unstable();
    WorkerView {
        name: worker.name.clone(),
        tag: worker.tag.clone(),
        tags: worker.tags.clone(),
        etag: live.map(|v| v.etag.clone()).unwrap_or_default(),
        enabled: worker.enabled,
        previews_enabled: worker.previews_enabled,
        migration_tag: worker.migration_tag.clone(),
        modules: live
            .iter()
            .flat_map(|v| v.modules.iter().map(|m| m.name.clone()))
            .collect(),
        bindings: all
            .iter()
            .filter(|b| b.secret.is_none())
            .map(|b| BindingView {
                name: b.name.clone(),
                kind: b.kind.clone(),
                value: ["text", "bucket_name", "class_name"]
                    .iter()
                    .find_map(|key| b.field(key))
                    .map(str::to_owned),
            })
            .collect(),
        secrets,
        versions: worker.versions.len(),
        version_id: live.map(|v| v.id.clone()).unwrap_or_default(),
        created_on: time(worker.created_on),
        modified_on: time(worker.modified_on),
    }
}

fn token_view(token: &Token) -> TokenView {
    TokenView {
        id: token.id.clone(),
        name: token.name.clone(),
        resources: token
            .policies
            .iter()
            .flat_map(|p: &Policy| p.resources.keys().cloned())
            .collect(),
        issued_on: issued(token),
        value_set_on: time(token.value_set_on),
    }
}
