//! The plan for an agent that is to go: Worker → objects → bucket → token → card → look again → archive.
//!
//! No step waits for another to succeed, but for the bucket that must be empty. Each result stands in its own record.

use std::time::Duration;

use chrono::{DateTime, Utc};
use talon_core::event::{EventReason, NewEvent, Severity};
use talon_core::mutation::{Cleanup, Mutation, ResourceWrite};
use talon_core::resource::{CleanupResult, ResourceKind, ResourceRecord, ResourceState};
use talon_core::spec::DeletionPolicy;

use crate::desired::Names;
use crate::input::{Input, Look};
use crate::know::{self, Known, later};
use crate::report::{Action, Verdict};
use crate::step::{Need, Plan, Step, StepId, StepKind};

/// How long until lists are looked at again that still show what was deleted.
const POLL: Duration = Duration::from_secs(5);

/// Each has a cleanup result of its own.
const KINDS: [ResourceKind; 5] = [
    ResourceKind::Worker,
    ResourceKind::R2Objects,
    ResourceKind::R2Bucket,
    ResourceKind::R2Token,
    ResourceKind::AgentCard,
];

const LAST_LOOK: &str = "a last look makes sure that nothing came back";

/// What is to be done for an agent that is to go.
pub fn plan(input: &Input<'_>) -> Plan {
    let names = Names::of(input);
    let facts = know::facts(input, &names);
    let mut builder = Builder {
        input,
        names,
        plan: Plan {
            facts,
            ..Plan::default()
        },
        next: 0,
        records: Vec::new(),
    };
    builder.build();
    builder.plan
}

struct Builder<'a> {
    input: &'a Input<'a>,
    names: Names,
    plan: Plan,
    next: StepId,
    records: Vec<Mutation>,
}

impl Builder<'_> {
    fn record(&self, kind: ResourceKind) -> Option<&ResourceRecord> {
        self.input.snapshot.resource(kind)
    }

    fn done(&self, kind: ResourceKind) -> bool {
        self.record(kind)
            .and_then(|r| r.cleanup_result)
            .is_some_and(|c| c != CleanupResult::Failed)
    }

    fn step(&mut self, kind: StepKind, after: Vec<StepId>, why: &str) -> StepId {
        let id = self.next;
        self.next += 1;
        self.plan
            .verdicts
            .push(Verdict::new(kind.resource(), Action::Delete, why));
        self.plan.steps.push(Step {
            id,
            kind,
            after,
            rebuilds: false,
            why: why.to_owned(),
        });
        id
    }

    /// Notes a result that needs no call.
    fn settle(
        &mut self,
        kind: ResourceKind,
        name: &str,
        result: CleanupResult,
        note: Option<&str>,
    ) {
        self.plan.verdicts.push(Verdict::new(
            kind,
            Action::Keep,
            note.unwrap_or("nothing to remove"),
        ));
        self.records.push(Mutation::Resource(ResourceWrite {
            confirmed: true,
            cleanup: Some(Cleanup {
                result,
                error: note.map(str::to_owned),
            }),
            ..ResourceWrite::new(kind, name, ResourceState::Absent)
        }));
    }

    fn build(&mut self) {
        let keep_bucket =
            self.input.snapshot.agent.spec.deletion_policy == DeletionPolicy::KeepBucket;
        self.worker();
        self.bucket(keep_bucket);
        self.token();
        self.card();
        if !self.records.is_empty() {
            let records = std::mem::take(&mut self.records);
            let id = self.next;
            self.next += 1;
            let why = "nothing to remove".to_owned();
            self.plan.steps.insert(
                0,
                Step {
                    id,
                    kind: StepKind::Record(records),
                    after: Vec::new(),
                    rebuilds: false,
                    why,
                },
            );
        }
        let waits = !self.plan.needs.is_empty() || self.plan.recheck_in.is_some();
        if self.plan.steps.is_empty() && !waits {
            self.look_again();
        }
        self.give_up_after_deadline();
    }

    fn worker(&mut self) {
        let back = self.came_back(&self.input.observed.worker, ResourceKind::Worker)
            && self.plan.facts.worker.is_present();
        if self.done(ResourceKind::Worker) && !back {
            return;
        }
        let worker = self.names.worker.clone();
        if let Known::Foreign(_) = self.plan.facts.worker {
            let note = "a Worker of this name exists that is not ours; it was left alone";
            self.settle(
                ResourceKind::Worker,
                &worker,
                CleanupResult::AlreadyAbsent,
                Some(note),
            );
            return;
        }
        if self.record(ResourceKind::Worker).is_none() && !self.plan.facts.worker.is_present() {
            self.settle(
                ResourceKind::Worker,
                &worker,
                CleanupResult::AlreadyAbsent,
                None,
            );
            return;
        }
        if self.input.observed.worker.seen.is_some() && !self.plan.facts.worker.is_present() {
            // Listed, and not known to be ours: an older list, or tags that are not shown yet.
            self.poll_lists("it is listed; a younger list must show that it is ours");
            return;
        }
        let why = if back {
            "it came back after it was deleted"
        } else {
            "the agent is deleted"
        };
        self.step(StepKind::DeleteWorker { worker }, Vec::new(), why);
    }

    fn bucket(&mut self, keep: bool) {
        let bucket = self.names.bucket_ref(self.input);
        let back = self.came_back(&self.input.observed.bucket, ResourceKind::R2Bucket)
            && self.plan.facts.bucket.is_present();
        let (objects_done, bucket_done) = (
            self.done(ResourceKind::R2Objects),
            self.done(ResourceKind::R2Bucket),
        );
        if objects_done && bucket_done && !back {
            return;
        }
        let none =
            self.record(ResourceKind::R2Bucket).is_none() && !self.plan.facts.bucket.is_present();
        let verdict = if matches!(self.plan.facts.bucket, Known::Foreign(_)) {
            Some((
                CleanupResult::AlreadyAbsent,
                Some("a bucket of this name exists that is not ours; it was left alone"),
            ))
        } else if none {
            Some((CleanupResult::AlreadyAbsent, None))
        } else if keep {
            Some((CleanupResult::Kept, Some("kept, as deletion_policy asks")))
        } else {
            None
        };
        if let Some((result, note)) = verdict {
            self.settle(ResourceKind::R2Objects, &bucket.name, result, note);
            self.settle(ResourceKind::R2Bucket, &bucket.name, result, note);
            return;
        }
        // Whether it was made is open, and so is whose a bucket of this name is: a list that is younger than our call tells.
        let open = self
            .record(ResourceKind::R2Bucket)
            .filter(|r| r.state == ResourceState::Unknown)
            .and_then(|r| r.intent_at);
        if let Some(intent) = open.filter(|t| !self.input.observed.bucket.after(*t)) {
            let why = "a list must show whose a bucket of this name is";
            self.wait_for_lists_of(ResourceKind::R2Bucket, intent, why);
            return;
        }
        let emptied = (!objects_done || back).then(|| {
            self.step(
                StepKind::EmptyBucket(bucket.clone()),
                Vec::new(),
                "a bucket must be empty before it can go",
            )
        });
        self.step(
            StepKind::DeleteBucket(bucket),
            emptied.into_iter().collect(),
            "the agent is deleted",
        );
    }

    fn token(&mut self) {
        let name = self.names.token.clone();
        let listed = self.input.observed.tokens.seen.clone().unwrap_or_default();
        let record = self.record(ResourceKind::R2Token).cloned();
        let recorded = record.as_ref().and_then(|r| r.external_id.clone());
        let fresh = self.came_back(&self.input.observed.tokens, ResourceKind::R2Token);
        let done = self.done(ResourceKind::R2Token);
        // Only what a list shows under our name is ours: a recorded id alone may be anybody's.
        let unseen = (recorded.as_ref()).is_some_and(|id| listed.iter().all(|t| t.id != *id));
        if unseen && !done {
            let shown_after = know::token_shown_after(self.input, record.as_ref());
            if !self.input.observed.tokens.after(shown_after) {
                let why = "a list must show that the recorded token bears our name";
                self.wait_for_lists_of(ResourceKind::R2Token, shown_after, why);
                return;
            }
        }
        // After that only a list that can be trusted has them deleted once more: one landed late, or an incomplete list had
        // us believe that it was gone, the recorded one included.
        let ids: Vec<String> = listed
            .into_iter()
            .filter(|_| !done || fresh)
            .map(|t| t.id)
            .collect();
        if !ids.is_empty() {
            let why = if done {
                "a token of our name is there after all"
            } else {
                "the agent is deleted"
            };
            self.step(StepKind::DeleteToken { ids, name }, Vec::new(), why);
            return;
        }
        if done {
            return;
        }
        let open = record
            .filter(|r| r.state == ResourceState::Unknown)
            .and_then(|r| r.intent_at);
        match open {
            Some(intent) if !self.input.observed.tokens.after(intent) => {
                self.plan.verdicts.push(Verdict::new(
                    ResourceKind::R2Token,
                    Action::Wait,
                    "its id must be looked up",
                ));
                self.plan.needs.push(Need::ListsAfter(intent));
            }
            Some(_) | None => self.settle(
                ResourceKind::R2Token,
                &name,
                CleanupResult::AlreadyAbsent,
                None,
            ),
        }
    }

    fn card(&mut self) {
        if self.done(ResourceKind::AgentCard) {
            return;
        }
        let url = format!("ws-agent://{}", self.input.snapshot.agent.name);
        if self.record(ResourceKind::AgentCard).is_none() && !self.plan.facts.card {
            self.settle(
                ResourceKind::AgentCard,
                &url,
                CleanupResult::AlreadyAbsent,
                None,
            );
            return;
        }
        self.step(StepKind::DeregisterCard, Vec::new(), "the agent is deleted");
    }

    /// Whether a look that can be trusted was made after this was cleaned up.
    fn came_back<T>(&self, look: &Look<T>, kind: ResourceKind) -> bool {
        let lag = self.input.world.timing.list_lag;
        self.done(kind)
            && look.seen.is_some()
            && self
                .record(kind)
                .and_then(|r| r.confirmed_at)
                .is_none_or(|c| look.after(later(c, lag)))
    }

    /// An upload in flight from a holder that was frozen could have brought the Worker back: only lists fetched after
    /// that can no longer happen, and showing nothing, end the cleanup.
    fn look_again(&mut self) {
        let snapshot = self.input.snapshot;
        let timing = &self.input.world.timing;
        // Names are persisted before the first call: without them nothing was ever sent.
        let never_made = snapshot.agent.status.worker_name.is_none();
        if !never_made {
            let cleaned = snapshot.resources.iter().filter_map(|r| r.cleaned_at).max();
            let frozen = snapshot
                .work
                .unclean_until
                .map(|t| later(t, timing.request_timeout));
            let sent = snapshot
                .resources
                .iter()
                .filter_map(|r| r.settle_until)
                .max();
            // What lands at the last moment is listed a little later.
            let [frozen, sent] = [frozen, sent].map(|t| t.map(|t| later(t, timing.list_lag)));
            let quiet = [cleaned, frozen, sent]
                .into_iter()
                .flatten()
                .max()
                .unwrap_or(DateTime::<Utc>::MIN_UTC);
            let observed = self.input.observed;
            let looks = [
                observed.worker.as_of,
                observed.bucket.as_of,
                observed.tokens.as_of,
            ];
            if looks.iter().any(|l| l.is_none_or(|l| l <= quiet)) {
                self.wait_for_lists(quiet, LAST_LOOK);
                return;
            }
            let shown = self.plan.facts.worker.is_present()
                || matches!(self.plan.facts.worker, Known::Unknown(_))
                || (self.bucket_should_be_gone()
                    && (self.plan.facts.bucket.is_present()
                        || matches!(self.plan.facts.bucket, Known::Unknown(_))))
                || observed.tokens.seen.as_ref().is_some_and(|t| !t.is_empty());
            if shown {
                self.poll_lists(LAST_LOOK);
                return;
            }
        }
        self.archive(
            Vec::new(),
            "everything is cleaned up; the row is kept for billing".to_owned(),
            Severity::Normal,
        );
    }

    fn bucket_should_be_gone(&self) -> bool {
        self.record(ResourceKind::R2Bucket)
            .is_some_and(|r| r.cleanup_result != Some(CleanupResult::Kept))
    }

    fn poll_lists(&mut self, why: &str) {
        let recent = chrono::TimeDelta::from_std(POLL).unwrap_or_default();
        self.wait_for_lists(self.input.snapshot.now - recent, why);
    }

    fn wait_for_lists(&mut self, after: DateTime<Utc>, why: &str) {
        self.wait_for_lists_of(ResourceKind::Worker, after, why);
    }

    fn wait_for_lists_of(&mut self, kind: ResourceKind, after: DateTime<Utc>, why: &str) {
        let (now, observed) = (self.input.snapshot.now, self.input.observed);
        self.plan
            .verdicts
            .push(Verdict::new(kind, Action::Wait, why));
        let looked = [
            observed.worker.as_of,
            observed.bucket.as_of,
            observed.tokens.as_of,
        ];
        if after < now && looked.iter().any(|l| l.is_none_or(|l| l <= after)) {
            self.plan.needs.push(Need::ListsAfter(after));
        } else {
            let wait = (after - now).to_std().unwrap_or_default();
            self.plan.recheck_in = Some(wait.max(POLL).min(wait + POLL));
        }
    }

    fn archive(&mut self, mut writes: Vec<Mutation>, message: String, severity: Severity) {
        let event = NewEvent {
            severity,
            reason: EventReason::Archived,
            object: format!("agent/{}", self.input.snapshot.agent.name),
            message,
        };
        writes.extend([Mutation::Event(event), Mutation::Archive]);
        let kind = StepKind::Record(writes);
        let id = self.next;
        self.next += 1;
        let why = "cleanup is over".to_owned();
        self.plan.steps.push(Step {
            id,
            kind,
            after: Vec::new(),
            rebuilds: false,
            why,
        });
    }

    /// After the deadline and enough rounds the row is archived with its leftovers named; the sweep goes on for ever.
    fn give_up_after_deadline(&mut self) {
        let snapshot = self.input.snapshot;
        let timing = &self.input.world.timing;
        let Some(requested) = snapshot.agent.deletion_requested_at else {
            return;
        };
        let failing: Vec<&ResourceRecord> = snapshot
            .resources
            .iter()
            .filter(|r| r.cleanup_result == Some(CleanupResult::Failed))
            .collect();
        let tried_enough = failing.iter().all(|r| r.attempts >= timing.cleanup_rounds);
        let waits_for_objects = |kind: ResourceKind| {
            kind == ResourceKind::R2Bucket
                && failing.iter().any(|r| r.kind == ResourceKind::R2Objects)
        };
        let is_failing =
            |kind: ResourceKind| waits_for_objects(kind) || failing.iter().any(|r| r.kind == kind);
        let only_failing_left = self
            .plan
            .steps
            .iter()
            .all(|s| is_failing(s.kind.resource()));
        // What waits to be looked at has had no round yet.
        let all_had_theirs = KINDS.iter().all(|k| self.done(*k) || is_failing(*k));
        if failing.is_empty()
            || !tried_enough
            || !only_failing_left
            || !all_had_theirs
            || snapshot.now < later(requested, timing.cleanup_deadline)
        {
            return;
        }
        // A bucket whose objects stay was never tried, and stays as well.
        let untried = self
            .record(ResourceKind::R2Bucket)
            .filter(|r| r.cleanup_result.is_none());
        let error = Some("not tried: its objects could not be removed".to_owned());
        let left = untried.map(|r| {
            Mutation::Resource(ResourceWrite {
                cleanup: Some(Cleanup {
                    result: CleanupResult::Failed,
                    error,
                }),
                ..ResourceWrite::new(r.kind, &r.name, r.state)
            })
        });
        let names: Vec<String> = failing
            .iter()
            .copied()
            .chain(untried)
            .map(|r| format!("{} {}", r.kind, r.name))
            .collect();
        let message = format!(
            "left over after {} tries: {}; the sweep goes on",
            timing.cleanup_rounds,
            names.join(", ")
        );
        self.plan.steps.clear();
        self.plan.needs.clear();
        self.plan.recheck_in = None;
        self.archive(left.into_iter().collect(), message, Severity::Warning);
    }
}
