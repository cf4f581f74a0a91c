//! The plan for an agent that is to exist: bucket → token → one upload → address → card, and what keeps them so.

mod drift;
mod keys;
mod landed;
mod registered;
mod secrets;
mod steps;

use std::time::Duration;

use chrono::{DateTime, Utc};
use talon_core::condition::Reason;
use talon_core::event::{EventReason, NewEvent, Severity};
use talon_core::mutation::{Mutation, StatusWrite};
use talon_core::resource::{ResourceKind, ResourceRecord};
use talon_core::status::DeploymentStatus;
use talon_core::validate;

use crate::desired::{self, Code, Names, Secrets};
use crate::input::{Input, Subdomain};
use crate::know::{self, Facts, Known, Unknown};
use crate::report::{Action, Verdict};
use crate::step::{Block, Need, Plan, Step, StepId, StepKind, brings_auth_token};
use drift::Pending;
pub(crate) use drift::after_push;
pub(crate) use landed::{adopted, event};

/// How often an open outcome is looked at while the request may still land.
const POLL: Duration = Duration::from_secs(5);

/// What is to be done for an agent that is to exist.
pub fn plan(input: &Input<'_>) -> Plan {
    let names = Names::of(input);
    let facts = know::facts(input, &names);
    if let Some(block) = standing_block(input, &facts) {
        return blocked(facts, block);
    }
    let code = desired::code(input, &names);
    let secrets = desired::secrets(input);
    let mut builder = Builder {
        input,
        names,
        code,
        secrets,
        plan: Plan {
            facts,
            ..Plan::default()
        },
        next: 0,
    };
    builder.build();
    builder.plan
}

fn blocked(facts: Facts, block: Block) -> Plan {
    let action = if block.stalled {
        Action::Refuse
    } else {
        Action::Wait
    };
    let kinds = [
        ResourceKind::R2Bucket,
        ResourceKind::R2Token,
        ResourceKind::Worker,
        ResourceKind::AgentCard,
    ];
    let verdicts = kinds
        .into_iter()
        .map(|k| Verdict::new(k, action, block.message.clone()))
        .collect();
    Plan {
        verdicts,
        block: Some(block),
        facts,
        ..Plan::default()
    }
}

/// What forbids any effect, whatever the state of things.
fn standing_block(input: &Input<'_>, facts: &Facts) -> Option<Block> {
    let agent = &input.snapshot.agent;
    let block = |reason, at: &str, message: String, stalled| {
        Some(Block {
            reason,
            at: at.to_owned(),
            message,
            stalled,
        })
    };
    if agent.spec.suspend {
        return block(
            Reason::Suspended,
            "Spec",
            "the row asks to be left alone (suspend)".to_owned(),
            false,
        );
    }
    let mut violations = agent.violations.clone();
    violations.extend(validate::validate(&agent.name, &agent.spec));
    if !violations.is_empty() {
        let text: Vec<String> = violations
            .iter()
            .take(3)
            .map(|v| format!("{}: {}", v.pointer, v.detail))
            .collect();
        let more = violations.len().saturating_sub(3);
        let tail = if more > 0 {
            format!("; and {more} more")
        } else {
            String::new()
        };
        return block(
            Reason::InvalidSpec,
            "Spec",
            format!("{}{tail}", text.join("; ")),
            true,
        );
    }
    if input.world.subdomain == Subdomain::Missing {
        let message = "the Cloudflare account has no workers.dev subdomain; choose one in the dashboard under Workers & Pages";
        return block(Reason::NoSubdomain, "Worker", message.to_owned(), true);
    }
    if let Known::Foreign(name) = &facts.worker {
        let message = format!(
            "a Worker named {name} exists and is not ours; remove or rename it, Talon will not touch it"
        );
        return block(Reason::NameConflict, "Worker", message, true);
    }
    if let Known::Foreign(name) = &facts.bucket {
        let message = format!(
            "an R2 bucket named {name} exists and is not ours; remove it, Talon will not touch it"
        );
        return block(Reason::NameConflict, "R2 bucket", message, true);
    }
    None
}
struct Builder<'a> {
    input: &'a Input<'a>,
    names: Names,
    code: Code,
    secrets: Secrets,
    plan: Plan,
    next: StepId,
}

impl Builder<'_> {
    fn record(&self, kind: ResourceKind) -> Option<&ResourceRecord> {
        self.input.snapshot.resource(kind)
    }

    fn now(&self) -> DateTime<Utc> {
        self.input.snapshot.now
    }

    fn verdict(&mut self, kind: ResourceKind, action: Action, why: impl Into<String>) {
        self.plan.verdicts.retain(|v| v.resource != kind);
        self.plan.verdicts.push(Verdict::new(kind, action, why));
    }

    fn step(
        &mut self,
        kind: StepKind,
        after: Vec<StepId>,
        rebuilds: bool,
        why: impl Into<String>,
    ) -> StepId {
        let id = self.next;
        self.next += 1;
        self.plan.steps.push(Step {
            id,
            kind,
            after,
            rebuilds,
            why: why.into(),
        });
        id
    }

    fn drift(&mut self, object: &str, message: impl Into<String>) {
        self.plan.opening.push(Mutation::Event(NewEvent {
            severity: Severity::Warning,
            reason: EventReason::DriftDetected,
            object: object.to_owned(),
            message: message.into(),
        }));
    }

    fn build(&mut self) {
        if self.accept_registration()
            || self.wait_for_knowledge()
            || self.accept_what_landed()
            || self.settle_keys()
            || self.finish_taking_away()
        {
            return;
        }
        let mode = match self.worker_mode() {
            Ok(mode) => mode,
            Err(Pending) => return,
        };
        if self.names_needed(mode) || self.blocked_by_secrets(mode) {
            return;
        }
        let worker_missing = self.plan.facts.worker.is_missing();
        let deployed_before = self.input.snapshot.agent.status.first_deployed_at.is_some();
        let bucket = self.bucket_step(deployed_before);
        let worker_step_due = mode.is_some();
        let changed = self.changed_secrets();
        let settling = self.settling();
        let wants_auth = !worker_missing && mode.is_none() && !self.has_current_auth_token();
        let token_unplaced = self.token_value_needed(mode);
        let push = mode.is_none()
            && !worker_missing
            && (!changed.is_empty()
                || !self.secrets.unwanted.is_empty()
                || wants_auth
                || token_unplaced);
        if settling && (worker_step_due || push) {
            let until = self
                .record(ResourceKind::Worker)
                .and_then(|r| r.settle_until)
                .unwrap_or(self.now());
            self.recheck((until - self.now()).to_std().unwrap_or(POLL));
            self.verdict(
                ResourceKind::Worker,
                Action::Wait,
                "an earlier secrets call may still land",
            );
            return;
        }
        if token_unplaced && (self.roll_settling() || self.token_unseen()) {
            return;
        }
        let token = self.token_step(bucket, token_unplaced, deployed_before);
        let after: Vec<StepId> = [bucket, token].into_iter().flatten().collect();
        let write = match mode {
            Some(mode) => Some(self.upload_step(mode, &changed, after)),
            None if push => Some(self.push_step(&changed, wants_auth, token_unplaced, after)),
            None => {
                self.verdict(
                    ResourceKind::Worker,
                    Action::Keep,
                    "live, with our code and secrets",
                );
                None
            }
        };
        let route = self.route_step(mode, write);
        let brings_auth = self.plan.steps.iter().any(|s| match &s.kind {
            StepKind::Upload(u) => u.brings_auth_token(),
            StepKind::PushSecrets { set, .. } => brings_auth_token(set),
            _ => false,
        });
        self.card_step(write, route, brings_auth);
        self.drop_extra_tokens();
        if self.plan.steps.is_empty() {
            self.adopt_baseline();
        }
        self.open();
    }

    /// Asks for looks, or waits, while the outcome of an earlier call is open.
    fn wait_for_knowledge(&mut self) -> bool {
        let facts = self.plan.facts.clone();
        let mut any = false;
        if let Known::Unknown(u) = &facts.bucket {
            any = true;
            self.await_look(ResourceKind::R2Bucket, u, self.input.observed.bucket.as_of);
        }
        if let Known::Unknown(u) = &facts.token {
            any = true;
            self.await_look(ResourceKind::R2Token, u, self.input.observed.tokens.as_of);
        }
        if let Known::Unknown(u) = &facts.worker {
            any = true;
            self.await_look(ResourceKind::Worker, u, self.input.observed.worker.as_of);
        }
        any
    }

    fn await_look(&mut self, kind: ResourceKind, unknown: &Unknown, as_of: Option<DateTime<Utc>>) {
        self.verdict(kind, Action::Wait, unknown.why.clone());
        let recent = self.now() - chrono::TimeDelta::from_std(POLL).unwrap_or_default();
        if unknown.look_after < self.now() {
            self.plan.needs.push(Need::ListsAfter(unknown.look_after));
        } else if as_of.is_none_or(|a| a < recent) {
            self.plan.needs.push(Need::ListsAfter(recent));
        } else {
            let settles = (unknown.look_after - self.now())
                .to_std()
                .unwrap_or_default();
            self.recheck(POLL.min(settles + Duration::from_millis(50)));
        }
    }

    fn recheck(&mut self, after: Duration) {
        let after = after.max(Duration::from_millis(200));
        self.plan.recheck_in = Some(self.plan.recheck_in.map_or(after, |old| old.min(after)));
    }

    fn settling(&self) -> bool {
        self.record(ResourceKind::Worker)
            .and_then(|r| r.settle_until)
            .is_some_and(|t| t > self.now())
            && !self.plan.facts.worker.is_missing()
    }

    /// A roll whose answer was lost may still land, and would take the next one's value from the Worker unseen.
    fn roll_settling(&mut self) -> bool {
        let record = self.record(ResourceKind::R2Token);
        let until = record
            .and_then(|r| r.settle_until)
            .filter(|t| *t > self.now());
        let Some(until) = until.filter(|_| self.plan.facts.token.is_present()) else {
            return false;
        };
        self.recheck((until - self.now()).to_std().unwrap_or(POLL));
        self.verdict(
            ResourceKind::R2Token,
            Action::Wait,
            "an earlier roll may still land",
        );
        true
    }

    /// A recorded id that no list has shown under our name may be anybody's: nothing is rolled before one has.
    fn token_unseen(&mut self) -> bool {
        if self.plan.facts.token != Known::Present(None) {
            return false;
        }
        let look = &self.input.observed.tokens;
        let unknown = Unknown {
            why: "no list has shown yet that the recorded token bears our name".to_owned(),
            look_after: know::token_shown_after(self.input, self.record(ResourceKind::R2Token)),
        };
        self.await_look(ResourceKind::R2Token, &unknown, look.as_of);
        true
    }

    /// What must be written before the first effect.
    fn open(&mut self) {
        let status = &self.input.snapshot.agent.status;
        if !self.plan.steps.iter().any(|s| s.kind.has_effect()) {
            return;
        }
        if status.worker_name.as_ref() != Some(&self.names.worker)
            || status.r2_bucket.as_ref() != Some(&self.names.bucket)
        {
            self.plan.opening.push(Mutation::Names {
                worker: self.names.worker.clone(),
                bucket: self.names.bucket.clone(),
                account: self.input.world.account_id.clone(),
            });
        }
        if status.identity_sha256.as_ref() != Some(&self.code.identity_sha256) {
            self.plan.opening.push(Mutation::Identity {
                markdown: self.code.identity_md.clone(),
                sha256: self.code.identity_sha256.clone(),
            });
        }
        self.tell_of_superseded_keys();
        let status = &self.input.snapshot.agent.status;
        let rebuilding = self.plan.facts.worker.is_missing() || self.plan.facts.bucket.is_missing();
        let shown = status.deployment_status;
        if shown == DeploymentStatus::Pending || (shown == DeploymentStatus::Deployed && rebuilding)
        {
            self.plan.opening.push(Mutation::Status(StatusWrite {
                deployment_status: Some(DeploymentStatus::Deploying),
                ..StatusWrite::default()
            }));
        }
    }
}
