//! What other people have in the account.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use talon_core::name::{self, WorkerMarks};

use crate::simulation::world::{Bucket, Token, Worker, World};

/// Things of other people, some of which look like ours.
pub(super) fn plant(world: &mut World, now: DateTime<Utc>) {
    let install = talon_core::InstallId::from_random(*b"9876543210");
    let id = talon_core::AgentId(uuid::Uuid::from_u128(7));
    let marks = WorkerMarks {
        install: install.clone(),
        agent: id,
        code: "0".repeat(16),
        try_id: talon_core::TryId::new(1, 1),
    };
    for (worker, tags) in [
        ("alpha", Vec::new()),
        ("alpha-of-others", marks.to_tags()),
        ("bravo-old", vec!["talon".to_owned()]),
    ] {
        let made = Worker {
            tag: format!("foreign-{worker}"),
            tags,
            etag: "foreign".to_owned(),
            texts: BTreeMap::new(),
            plain: BTreeMap::new(),
            secrets: BTreeMap::from([("KEY".to_owned(), "theirs".to_owned())]),
            versions: BTreeMap::new(),
            bucket: None,
            class: None,
            route: false,
            migration: None,
            compatibility: ("2026-01-01".to_owned(), Vec::new()),
            created_on: now,
            modified_on: now,
            undeployed: false,
        };
        world.now.workers.insert(worker.to_owned(), made);
    }
    for bucket in ["openclaw", "openclaw-aaaaaa-alpha-of-others"] {
        let made = Bucket {
            jurisdiction: talon_core::spec::Jurisdiction::Default,
            created: now,
            objects: ["theirs".to_owned()].into(),
            uploads: BTreeSet::new(),
        };
        world.now.buckets.insert(bucket.to_owned(), made);
    }
    for token in [
        "controller".to_owned(),
        name::token_name(&install, id),
        "alpha".to_owned(),
    ] {
        world.now.tokens.push(Token {
            id: format!("foreign-{token}"),
            name: token,
            value: "theirs".to_owned(),
            bucket: String::new(),
            issued: now,
        });
    }
}
