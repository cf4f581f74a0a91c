//! Waiting until something holds of agents, and showing how they come along.
//!
//! Only looks: whatever happens here, the controller carries on. Looks again whenever something changed and at least
//! every second; ends when every agent has reached its goal or will not, when time runs out, or on Ctrl-C.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use talon_core::condition::{ConditionType, Truth};
use talon_core::{AgentId, Generation, Snapshot};
use tokio::signal::unix::{SignalKind, signal};

use crate::exit::{Exit, Failure};
use crate::fleet::Fleet;
use crate::jsonpath::{self, Path};
use crate::output::block::Progress;
use crate::output::{Output, age, safe};
use crate::view;

/// How often a cleanup step must have failed before people are told that its resource is left over.
const ENOUGH_ROUNDS: i64 = 3;

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Goal {
    /// A condition has this status, at the agent's present generation.
    Condition(ConditionType, Truth),
    /// The row is archived.
    Gone,
    /// A path of the document has this value (`None`: any).
    Path(Path, Option<String>),
    /// A pass with a later epoch has ended.
    Pass {
        /// The epoch before.
        after_epoch: i64,
    },
}

/// One agent that is waited for.
#[derive(Debug, Clone)]
pub struct Target {
    /// Which.
    pub id: AgentId,
    /// Its name, for people.
    pub name: String,
    /// The generation that counts, at least.
    pub generation: Generation,
}

impl Target {
    /// The agent as it is now.
    pub fn of(snapshot: &Snapshot) -> Self {
        Self {
            id: snapshot.agent.id,
            name: snapshot.agent.name.to_string(),
            generation: snapshot.agent.generation,
        }
    }
}

/// How waiting for one agent ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Which.
    pub target: Target,
    /// How.
    pub how: How,
    /// The last look; `None` if the row has vanished.
    pub snapshot: Option<Snapshot>,
}

/// How waiting ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// The goal is reached.
    Reached,
    /// Deleted, but something is left over.
    LeftOver,
    /// It will not be reached: the agent is gone, or going.
    Gone,
    /// It will not be reached without a person.
    Stalled,
    /// Time ran out.
    TimedOut,
}

impl How {
    /// The exit code it stands for.
    pub fn exit(self) -> Exit {
        match self {
            Self::Reached => Exit::Success,
            Self::LeftOver => Exit::LeftOver,
            Self::Gone => Exit::NotFound,
            Self::Stalled => Exit::Stalled,
            Self::TimedOut => Exit::TimedOut,
        }
    }
}

/// How to wait.
pub struct Wait<'a> {
    /// Where the agents are.
    pub fleet: &'a dyn Fleet,
    /// Where to show progress.
    pub output: &'a Output,
    /// How long.
    pub timeout: Duration,
    /// How to re-attach after Ctrl-C; printed then and under the block.
    pub reattach: &'static str,
    /// The agents that were edited just now: what happened to them since then is told, too.
    pub edited: Vec<AgentId>,
}

impl Wait<'_> {
    /// Waits until `goal` is decided for every target. `Err(Interrupted)` on Ctrl-C.
    pub async fn until(&self, goal: &Goal, targets: Vec<Target>) -> Result<Vec<Ended>, Failure> {
        let mut progress = Progress::new(
            self.output,
            self.reattach,
            targets.len() > 1,
            self.edited.clone(),
        );
        let result = self.look(goal, targets, &mut progress).await;
        progress.finish();
        result
    }

    async fn look(
        &self,
        goal: &Goal,
        targets: Vec<Target>,
        progress: &mut Progress,
    ) -> Result<Vec<Ended>, Failure> {
        let deadline = Instant::now() + self.timeout;
        let order: Vec<AgentId> = targets.iter().map(|t| t.id).collect();
        let mut open = targets;
        let mut ended: BTreeMap<AgentId, Ended> = BTreeMap::new();
        // Before anything is shown, so that whoever sees the first line can interrupt.
        let mut interrupt = signal(SignalKind::interrupt())
            .map_err(|e| Failure::io("signals cannot be waited for", &e))?;
        let mut warned = false;
        let mut changes = self.fleet.watch().await?;
        loop {
            let mut still = Vec::new();
            let out_of_time = Instant::now() >= deadline;
            let asked: Vec<_> = open.iter().map(|t| (t.id, t.name.clone())).collect();
            let looked = tokio::select! {
                _ = interrupt.recv() => return Err(self.interrupted(&open)),
                looked = self.fleet.look(&asked) => looked?,
            };
            for (target, snapshot) in open.into_iter().zip(looked) {
                if let Some(s) = &snapshot {
                    progress.update(s);
                    if !warned && view::nobody_home(s) {
                        warned = true;
                        progress.note("no daemon has taken this up yet: is talon run (or talon dev) running on this database?");
                    }
                }
                let how = decide(goal, &target, snapshot.as_ref())
                    .or(out_of_time.then_some(How::TimedOut));
                match how {
                    Some(how) => {
                        ended.insert(
                            target.id,
                            Ended {
                                target,
                                how,
                                snapshot,
                            },
                        );
                    }
                    None => still.push(target),
                }
            }
            open = still;
            progress.tick();
            if open.is_empty() {
                break;
            }
            // Many agents are not looked at more often than the database bears.
            let pause = Duration::from_millis((open.len() as u64 * 2).clamp(20, 1_000));
            let next =
                Duration::from_secs(1).min(deadline.saturating_duration_since(Instant::now()));
            let ids: Vec<AgentId> = open.iter().map(|t| t.id).collect();
            tokio::select! {
                _ = interrupt.recv() => return Err(self.interrupted(&open)),
                hint = async {
                    tokio::time::sleep(pause).await;
                    changes.hint(&ids, next).await
                } => hint?,
            }
        }
        Ok(order.iter().filter_map(|id| ended.remove(id)).collect())
    }

    fn interrupted(&self, open: &[Target]) -> Failure {
        let names: Vec<_> = open.iter().map(|t| t.name.as_str()).collect();
        Failure::new(
            Exit::Interrupted,
            format!(
                "interrupted while waiting for {}; the controller carries on",
                names.join(", ")
            ),
            self.reattach
                .replace("NAME", names.first().unwrap_or(&"NAME")),
        )
    }
}

/// Whether the goal is decided, and how; `None`: not yet.
fn decide(goal: &Goal, target: &Target, snapshot: Option<&Snapshot>) -> Option<How> {
    let Some(s) = snapshot else {
        return Some(if *goal == Goal::Gone {
            How::Reached
        } else {
            How::Gone
        });
    };
    if *goal == Goal::Gone && s.agent.is_archived() {
        let left = view::leftovers(s).next().is_some();
        return Some(if left { How::LeftOver } else { How::Reached });
    }
    if *goal == Goal::Gone && s.agent.is_deleting() {
        // Cleanup goes on whatever happens; what was tried often enough is told now, not when the row is archived.
        return only_stubborn_left(s).then_some(How::LeftOver);
    }
    if reached(goal, target, s) {
        return Some(How::Reached);
    }
    if s.agent.is_archived() || (s.agent.is_deleting() && matches!(goal, Goal::Condition(..))) {
        return Some(How::Gone);
    }
    let person_needed = view::holds_now(s, ConditionType::Stalled).is_some()
        && s.agent.generation >= target.generation
        && !matches!(goal, Goal::Pass { .. });
    person_needed.then_some(How::Stalled)
}

/// Whether every resource has its result, and those that failed were tried three times.
fn only_stubborn_left(s: &Snapshot) -> bool {
    let mut failed = view::leftovers(s).peekable();
    failed.peek().is_some()
        && failed.all(|r| r.attempts >= ENOUGH_ROUNDS)
        && s.resources.iter().all(|r| r.cleanup_result.is_some())
}

fn reached(goal: &Goal, target: &Target, s: &Snapshot) -> bool {
    match goal {
        Goal::Gone => s.agent.is_archived(),
        Goal::Condition(kind, wanted) => view::condition(s, *kind).is_some_and(|c| {
            c.condition.status == *wanted && c.condition.observed_generation >= target.generation
        }),
        Goal::Path(path, value) => path
            .find(&view::document(s))
            .is_some_and(|found| value.as_ref().is_none_or(|v| jsonpath::text(found) == *v)),
        Goal::Pass { after_epoch } => {
            s.work.lease_epoch.0 > *after_epoch && s.work.lease_owner.is_none()
        }
    }
}

/// The worst of several endings, as an exit code.
pub fn worst(ended: &[Ended]) -> Exit {
    const ORDER: [Exit; 5] = [
        Exit::NotFound,
        Exit::Stalled,
        Exit::TimedOut,
        Exit::LeftOver,
        Exit::Success,
    ];
    let exits: Vec<Exit> = ended.iter().map(|e| e.how.exit()).collect();
    ORDER
        .into_iter()
        .find(|exit| exits.contains(exit))
        .unwrap_or(Exit::Success)
}

/// The failure that an ending other than success is, with what to do.
pub fn failure_of(ended: &Ended, timeout: Duration) -> Option<Failure> {
    let name = &ended.target.name;
    let message = ended
        .snapshot
        .as_ref()
        .map(view::message)
        .unwrap_or_default();
    let failure = match ended.how {
        How::Reached => return None,
        How::LeftOver => Failure::new(
            Exit::LeftOver,
            format!("{name} is deleted, but {} left over", left_over(ended)),
            format!(
                "talon why {name} says why; the controller goes on trying and corrects the record"
            ),
        ),
        How::Gone => Failure::new(
            Exit::NotFound,
            format!("{name} is deleted or being deleted; what was waited for will not come"),
            format!("talon events {name} shows what happened"),
        ),
        How::Stalled => Failure::new(
            Exit::Stalled,
            format!("{name} is stalled: {message}"),
            format!("talon why {name} says what to do"),
        ),
        How::TimedOut => Failure::new(
            Exit::TimedOut,
            format!(
                "waited {} for {name}, and it is not done yet{}{message}; the controller carries on",
                age::short(timeout),
                if message.is_empty() { "" } else { ": " },
            ),
            if ended.snapshot.as_ref().is_some_and(view::nobody_home) {
                "no daemon has taken it up: start talon run (or talon dev) on this database"
                    .to_owned()
            } else {
                format!("talon why {name}, or wait longer (--timeout 15m)")
            },
        ),
    };
    Some(failure)
}

fn left_over(ended: &Ended) -> String {
    let names: Vec<String> = ended
        .snapshot
        .iter()
        .flat_map(view::leftovers)
        .map(|r| format!("the {} {}", view::kind_label(r.kind), safe(&r.name)))
        .collect();
    match names.len() {
        1 => format!("{} is", names[0]),
        _ => format!("{} are", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use talon_core::condition::Reason;
    use talon_core::resource::{CleanupResult, ResourceKind, ResourceState};

    use super::*;
    use crate::fixtures;

    /// An agent in deletion: one resource cleaned up, one that fails.
    fn deleting(failed_tries: i64) -> (Target, Snapshot) {
        let mut s = fixtures::deployed("research-pro");
        s.agent.deletion_requested_at = Some(fixtures::now());
        let mut gone = fixtures::record(ResourceKind::Worker, ResourceState::Absent);
        gone.cleanup_result = Some(CleanupResult::Deleted);
        let mut stubborn = fixtures::record(ResourceKind::R2Token, ResourceState::Present);
        stubborn.cleanup_result = Some(CleanupResult::Failed);
        stubborn.attempts = failed_tries;
        s.resources = vec![gone, stubborn];
        let target = Target {
            id: s.agent.id,
            name: s.agent.name.to_string(),
            generation: s.agent.generation,
        };
        (target, s)
    }

    #[test]
    fn a_deletion_ends_when_all_is_clean_but_what_was_tried_three_times() {
        let (target, once) = deleting(1);
        assert!(decide(&Goal::Gone, &target, Some(&once)).is_none());
        let (target, mut often) = deleting(3);
        let ended = decide(&Goal::Gone, &target, Some(&often));
        assert!(matches!(ended, Some(How::LeftOver)));
        often.resources[0].cleanup_result = None;
        assert!(
            decide(&Goal::Gone, &target, Some(&often)).is_none(),
            "something else is still under way"
        );
    }

    #[test]
    fn a_deletion_is_waited_for_whatever_stalls() {
        let (target, mut s) = deleting(1);
        fixtures::set(
            &mut s,
            ConditionType::Stalled,
            Truth::True,
            Reason::CloudflareAuth,
            "403",
        );
        assert!(decide(&Goal::Gone, &target, Some(&s)).is_none());
    }
}
