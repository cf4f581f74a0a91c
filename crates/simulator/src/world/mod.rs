//! The state of the simulated account: a pure machine. No I/O; time is an argument, chance comes from a seed.
//!
//! Everything that lists or gets reads from a [`Catalog`], so that the answer can also be given from an older one.

pub(crate) mod binding;
pub(crate) mod bucket;
pub(crate) mod chance;
pub(crate) mod conditions;
pub(crate) mod metadata;
pub(crate) mod migration;
pub(crate) mod object;
pub(crate) mod outside;
pub(crate) mod permission;
pub(crate) mod tail;
pub(crate) mod token;
pub(crate) mod upload;
pub(crate) mod view;
pub(crate) mod worker;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use talon_core::spec::Jurisdiction;

use crate::config::SimConfig;
use crate::runner::RunnerEvent;
use bucket::{Bucket, ObjectStore};
use chance::Chance;
use conditions::Conditions;
use tail::Tail;
use token::{Owner, Token, TokenValue};
use worker::Worker;

/// A bucket's identity.
pub(crate) type BucketKey = (Jurisdiction, String);

/// What lists and gets see. Cheap to copy: every entry is shared.
#[derive(Debug, Clone, Default)]
pub(crate) struct Catalog {
    pub(crate) workers: BTreeMap<String, Arc<Worker>>,
    pub(crate) buckets: BTreeMap<BucketKey, Arc<Bucket>>,
    /// In the order of creation.
    pub(crate) tokens: Vec<Arc<Token>>,
}

impl Catalog {
    /// A Worker to be changed.
    pub(crate) fn worker_mut(&mut self, name: &str) -> Option<&mut Worker> {
        self.workers.get_mut(name).map(Arc::make_mut)
    }

    pub(crate) fn token(&self, id: &str) -> Option<&Arc<Token>> {
        self.tokens.iter().find(|t| t.id == id)
    }
}

/// The account.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) account_id: String,
    pub(crate) subdomain: Option<String>,
    pub(crate) conditions: Conditions,
    pub(crate) chance: Chance,
    pub(crate) max_workers: usize,
    pub(crate) max_tokens: usize,
    pub(crate) token_page_limit: usize,
    pub(crate) objects: BTreeMap<BucketKey, ObjectStore>,
    /// Who listens to Workers; expired ones are dropped when somebody looks.
    tails: Vec<Tail>,
    /// What the runner has yet to hear.
    pub(crate) events: VecDeque<RunnerEvent>,
    catalog: Catalog,
    /// The catalog as it was before the change at that time; kept only while something reads the past.
    history: VecDeque<(DateTime<Utc>, Catalog)>,
}

impl World {
    /// An account with nothing in it but the controller's token.
    pub(crate) fn new(config: &SimConfig, now: DateTime<Utc>) -> Self {
        let mut chance = Chance::new(config.seed);
        let mut catalog = Catalog::default();
        let long_ago = now - chrono::Duration::days(30);
        let given = [
            (Some(&config.api_token), "controller", Owner::Account),
            (config.user_token.as_ref(), "person", Owner::User),
        ];
        for (value, name, owner) in given {
            if let Some(value) = value {
                catalog.tokens.push(Arc::new(Token {
                    id: chance.hex32(),
                    name: name.to_owned(),
                    value: TokenValue::new(value.clone()),
                    owner,
                    policies: permission::everything(&config.account_id, &mut chance),
                    status: token::Status::Active,
                    issued_on: long_ago,
                    modified_on: long_ago,
                    value_set_on: long_ago,
                    not_before: None,
                    expires_on: None,
                }));
            }
        }
        Self {
            account_id: config.account_id.clone(),
            subdomain: config.subdomain.clone(),
            conditions: Conditions {
                new_token_delay_ms: u64::try_from(config.new_token_delay.as_millis())
                    .unwrap_or(u64::MAX),
                ..Conditions::default()
            },
            chance,
            max_workers: config.max_workers,
            max_tokens: config.max_tokens,
            token_page_limit: config.token_page_limit.max(1),
            objects: BTreeMap::new(),
            tails: Vec::new(),
            events: VecDeque::new(),
            catalog,
            history: VecDeque::new(),
        }
    }

    /// What is true now.
    pub(crate) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The catalog, to be changed now. What was before is kept as long as stale answers may need it.
    pub(crate) fn change(&mut self, now: DateTime<Utc>) -> &mut Catalog {
        let window = self.conditions.memory();
        if window > chrono::Duration::zero() {
            self.history.push_back((now, self.catalog.clone()));
            while self
                .history
                .front()
                .is_some_and(|(at, _)| *at < now - window)
            {
                self.history.pop_front();
            }
        } else {
            self.history.clear();
        }
        &mut self.catalog
    }

    /// What lists show now.
    pub(crate) fn listed(&mut self, now: DateTime<Utc>) -> &Catalog {
        let age = self.conditions.stale_lists();
        let stale = self.is_past(now, age);
        self.conditions.fired.stale_lists += u64::from(stale);
        self.as_of(now, age)
    }

    /// What reads of one thing show now.
    pub(crate) fn seen(&mut self, now: DateTime<Utc>) -> &Catalog {
        let age = self.conditions.stale_gets();
        let stale = self.is_past(now, age);
        self.conditions.fired.stale_gets += u64::from(stale);
        self.as_of(now, age)
    }

    fn is_past(&self, now: DateTime<Utc>, age: chrono::Duration) -> bool {
        age > chrono::Duration::zero() && self.history.iter().any(|(at, _)| *at > now - age)
    }

    fn as_of(&self, now: DateTime<Utc>, age: chrono::Duration) -> &Catalog {
        if age <= chrono::Duration::zero() {
            return &self.catalog;
        }
        self.history
            .iter()
            .find(|(at, _)| *at > now - age)
            .map_or(&self.catalog, |(_, before)| before)
    }
}
