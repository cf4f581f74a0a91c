//! The Inventory: what the account's lists showed, fetched once and shared by all agents.
//!
//! Guarantees: a caller that needs lists newer than a moment gets them, and callers that ask at the same time share
//! one fetch. The three lists of one inventory begin at the same moment at the latest. Between the beginnings of two
//! fetches that succeed lies the spacing: whoever needs newer lists sooner waits until then, with all the others that
//! do, so that an agent that flaps costs no list after list.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use talon_core::AgentId;
use talon_core::clock::Clock;
use talon_core::cloud::{
    ApiMessage, BucketInfo, CallClass, CallCx, Cloud, CloudError, CloudResult, TokenInfo,
    WorkerInfo,
};
use talon_core::spec::Jurisdiction;
use talon_store::StoreResult;

/// One fetch of the account's lists.
#[derive(Debug, Default)]
pub struct Inventory {
    /// Monotonic time at which the fetch began.
    pub taken: Duration,
    /// By script name.
    pub workers: BTreeMap<String, WorkerInfo>,
    /// By bucket name.
    pub buckets: BTreeMap<String, BucketInfo>,
    /// By token name, oldest first.
    pub tokens: BTreeMap<String, Vec<TokenInfo>>,
    /// The jurisdictions that were listed.
    pub jurisdictions: BTreeSet<Jurisdiction>,
    /// Those that Cloudflare refuses to list, and why: the agents that live there cannot be observed, all others can.
    pub refused: BTreeMap<Jurisdiction, CloudError>,
}

/// Looks at two inventories in a row before the newer one is used. If it cannot, the newer one is not used at all.
#[async_trait::async_trait]
pub trait Watch: Send + Sync {
    /// Called with the one before (if any) and the new one.
    async fn compare(&self, before: Option<&Inventory>, after: &Inventory) -> StoreResult<()>;
}

/// Fetches inventories and keeps the latest.
pub struct Surveyor {
    cloud: Arc<dyn Cloud>,
    clock: Arc<dyn Clock>,
    watch: Arc<dyn Watch>,
    latest: Mutex<Option<Arc<Inventory>>>,
    wanted: Mutex<BTreeSet<Jurisdiction>>,
    fetching: tokio::sync::Mutex<()>,
    spacing: Duration,
}

impl Surveyor {
    /// A surveyor that has seen nothing yet, and fetches no sooner than `spacing` after the last time.
    pub fn new(
        cloud: Arc<dyn Cloud>,
        clock: Arc<dyn Clock>,
        watch: Arc<dyn Watch>,
        spacing: Duration,
    ) -> Self {
        Self {
            cloud,
            clock,
            watch,
            latest: Mutex::new(None),
            wanted: Mutex::new(BTreeSet::from([Jurisdiction::Default])),
            fetching: tokio::sync::Mutex::new(()),
            spacing,
        }
    }

    /// The latest inventory, if any.
    pub fn latest(&self) -> Option<Arc<Inventory>> {
        self.latest
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Has the buckets of this jurisdiction listed from now on.
    pub fn want(&self, jurisdiction: Jurisdiction) {
        self.wanted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(jurisdiction);
    }

    fn good(&self, after: Duration) -> Option<Arc<Inventory>> {
        let wanted = self
            .wanted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let asked = |i: &Inventory, j| i.jurisdictions.contains(j) || i.refused.contains_key(j);
        self.latest()
            .filter(|i| i.taken > after && wanted.iter().all(|j| asked(i, j)))
    }

    /// An inventory whose fetch began after this monotonic time. Waits for the spacing to be over if there is none yet;
    /// may be dropped at any moment.
    pub async fn newer_than(
        &self,
        after: Duration,
        class: CallClass,
    ) -> CloudResult<Arc<Inventory>> {
        if let Some(good) = self.good(after) {
            return Ok(good);
        }
        let _one_at_a_time = self.fetching.lock().await;
        if let Some(good) = self.good(after) {
            return Ok(good);
        }
        let before = self.latest();
        if let Some(before) = &before {
            let early = (before.taken + self.spacing).saturating_sub(self.clock.monotonic());
            if !early.is_zero() {
                tokio::time::sleep(early).await;
            }
        }
        let fresh = Arc::new(self.fetch(class).await?);
        if let Err(error) = self.watch.compare(before.as_deref(), &fresh).await {
            return Err(CloudError::Transient(ApiMessage {
                call: "GET lists",
                http: None,
                code: None,
                message: format!(
                    "not used, because they could not be compared with the database: {error}"
                ),
                ray: None,
            }));
        }
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(fresh.clone());
        Ok(fresh)
    }

    async fn fetch(&self, class: CallClass) -> CloudResult<Inventory> {
        let cx = CallCx {
            class,
            remaining: None,
        };
        let mut jurisdictions = BTreeSet::new();
        let wanted = self
            .wanted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let taken = self.clock.monotonic();
        let workers = self.cloud.list_workers(cx).await?;
        let (mut buckets, mut refused) = (BTreeMap::new(), BTreeMap::new());
        for jurisdiction in wanted {
            match self.cloud.list_buckets(cx, jurisdiction).await {
                Ok(listed) => {
                    buckets.extend(listed.into_iter().map(|b| (b.name.clone(), b)));
                    jurisdictions.insert(jurisdiction);
                }
                Err(error) if jurisdiction != Jurisdiction::Default && is_refusal(&error) => {
                    refused.insert(jurisdiction, error);
                }
                Err(error) => return Err(error),
            }
        }
        let mut tokens: BTreeMap<String, Vec<TokenInfo>> = BTreeMap::new();
        for token in self.cloud.list_tokens(cx).await? {
            tokens.entry(token.name.clone()).or_default().push(token);
        }
        for same_name in tokens.values_mut() {
            same_name.sort_by(|a, b| (a.issued_on, &a.id).cmp(&(b.issued_on, &b.id)));
        }
        let workers = workers.into_iter().map(|w| (w.name.clone(), w)).collect();
        Ok(Inventory {
            taken,
            workers,
            buckets,
            tokens,
            jurisdictions,
            refused,
        })
    }
}

/// Whether Cloudflare answered and does not show it: not every account has every jurisdiction.
fn is_refusal(error: &CloudError) -> bool {
    match error {
        CloudError::Auth(_)
        | CloudError::Invalid(_)
        | CloudError::NotFound(_)
        | CloudError::Conflict(_)
        | CloudError::Exists(_)
        | CloudError::NotEmpty(_) => true,
        CloudError::Throttled { .. } | CloudError::Transient(_) | CloudError::Ambiguous(_) => false,
    }
}

/// The agents of this install whose Workers an inventory shows.
pub fn marked_workers<'a>(
    inventory: &'a Inventory,
    install: &'a talon_core::InstallId,
) -> impl Iterator<Item = (AgentId, &'a WorkerInfo)> {
    inventory.workers.values().filter_map(|w| {
        let marks = talon_core::name::WorkerMarks::from_tags(w.tags.as_ref()?)?;
        (marks.install == *install).then_some((marks.agent, w))
    })
}
