//! Resync: compares every row with the lists in memory, and wakes only the agents whose plan is not empty.

use talon_core::cloud::CallClass;
use talon_core::condition::{ConditionType, StoredCondition, Truth};
use talon_core::{AgentId, Snapshot};
use talon_plan::{Block, Input, Knock};
use talon_store::StoreResult;
use talon_store::glance::SECRETS_NEED_SOMEBODY;

use crate::failure::Verdict;
use crate::inventory::Inventory;
use crate::observe::{Anchor, Observer, disown_foreign_token};
use crate::shared::Shared;

/// Rows read at a time.
const PAGE: i64 = 500;

/// What a resync did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    /// Agents looked at.
    pub looked_at: usize,
    /// Agents woken.
    pub woken: usize,
}

/// Compares all agents with this inventory. The inner error: Cloudflare or the Router could not be asked.
pub async fn run(shared: &Shared, inventory: &Inventory) -> StoreResult<Result<Report, Verdict>> {
    let world = match shared.world(CallClass::Resync).await {
        Ok(world) => world,
        Err(verdict) => return Ok(Err(verdict)),
    };
    let cards = match shared.registry.list().await {
        Ok(cards) => cards
            .into_iter()
            .collect::<std::collections::HashMap<_, _>>(),
        Err(e) => return Ok(Err(crate::failure::of_registry(&e))),
    };
    let mut report = Report::default();
    let mut after: Option<AgentId> = None;
    loop {
        let page = shared.store.load_page(after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.agent.id);
        let monotonic = shared.clock.monotonic();
        // References are polled here: no entry is asked for twice, and what was read goes with the page.
        let batch = shared.secrets.batch();
        let observer = Observer {
            secrets: batch.as_deref().unwrap_or(shared.secrets.as_ref()),
            key: &shared.key,
            world: &world,
        };
        let mut wake = Vec::new();
        for mut snapshot in page {
            report.looked_at += 1;
            let leased = snapshot.work.lease_until.is_some_and(|t| t > snapshot.now);
            let wait = wait_of(&snapshot);
            if leased || matches!(wait, Wait::LeftAlone) {
                continue;
            }
            let id = snapshot.agent.id;
            shared.surveyor.want(snapshot.agent.spec.r2.jurisdiction);
            let anchor = Anchor {
                database: snapshot.now,
                monotonic,
            };
            let card = Some(cards.get(&id).cloned());
            disown_foreign_token(&mut snapshot, inventory, &world.install);
            let (observed, _) = observer
                .observe(&snapshot, Some(inventory), anchor, card, None)
                .await;
            let plan = talon_plan::plan(&Input {
                snapshot: &snapshot,
                observed: &observed,
                world: &world,
            });
            let untold = plan.held.is_some() && !says_held(&snapshot);
            let stuck = plan.block.as_ref().is_some_and(|b| !says(&snapshot, b));
            let knocks = matches!(plan.knock, Knock::Now { .. });
            let work = !plan.steps.is_empty() || !plan.needs.is_empty();
            let wakes = match wait {
                Wait::LeftAlone => false,
                Wait::Secrets => {
                    let resolved = observed.references.values().all(Result::is_ok);
                    work && resolved && plan.block.is_none()
                }
                // A knock comes at the time it waits for.
                Wait::Later => work || untold || stuck,
                Wait::Nothing => work || knocks || untold || stuck,
            };
            if wakes {
                wake.push(id);
            }
        }
        report.woken += wake.len();
        if !wake.is_empty() {
            shared.store.enqueue(&wake).await?;
        }
    }
    Ok(Ok(report))
}

/// What an agent that nobody works on waits for.
#[derive(Debug, Clone, Copy)]
enum Wait {
    /// For nothing: only a change or a resync wakes it.
    Nothing,
    /// It stands still because of its references: it comes back by itself, but what they point at may be there before, as
    /// when the daemon was restarted with it.
    Secrets,
    /// It comes back by itself, to speak to its Worker or to look again. That may be minutes off, and what was changed
    /// behind our back does not wait for it.
    Later,
    /// It is due, or its last pass failed or was put off by Cloudflare: then that wait is its own, whatever lists show.
    LeftAlone,
}

fn wait_of(snapshot: &Snapshot) -> Wait {
    let throttled = snapshot
        .conditions
        .iter()
        .any(|c| c.condition.kind == ConditionType::Throttled && c.condition.status == Truth::True);
    match snapshot.work.next_due_at {
        None => Wait::Nothing,
        Some(due) if due <= snapshot.now => Wait::LeftAlone,
        Some(_) if waits_for_secrets(snapshot) => Wait::Secrets,
        Some(_) if throttled || snapshot.work.failure_count > 0 => Wait::LeftAlone,
        Some(_) => Wait::Later,
    }
}

/// Whether it stands still because of its references.
fn waits_for_secrets(snapshot: &Snapshot) -> bool {
    snapshot.conditions.iter().any(|c| {
        c.condition.kind == ConditionType::Stalled
            && c.condition.status == Truth::True
            && SECRETS_NEED_SOMEBODY.contains(&c.condition.reason)
    })
}

/// Whether the row already tells people why nothing can be done: a Worker that is gone with its keys leaves nothing to
/// be done, and is to be told all the same.
fn says(snapshot: &Snapshot, block: &Block) -> bool {
    snapshot.conditions.iter().any(|c| {
        c.condition.kind == ConditionType::Reconciling && c.condition.reason == block.reason
    })
}

/// Whether the row already tells people that effects are withheld.
fn says_held(snapshot: &Snapshot) -> bool {
    let held = |c: &StoredCondition| {
        c.condition.kind == ConditionType::Held && c.condition.status == Truth::True
    };
    snapshot.conditions.iter().any(held)
}
