//! The plan for an agent that is to exist: bucket → token → one upload → address → card, and what keeps them so.

use std::time::Duration;

use chrono::{DateTime, Utc};
use talon_core::cloud::WorkerInfo;
use talon_core::condition::Reason;
use talon_core::event::{EventReason, NewEvent, Severity};
use talon_core::mutation::{Intent, Mutation, Outcome, ResourceWrite, StatusWrite};
use talon_core::name::WorkerMarks;
use talon_core::resource::{ResourceKind, ResourceRecord, ResourceState};
use talon_core::snapshot::{AuthTokenState, SecretState};
use talon_core::status::DeploymentStatus;
use talon_core::validate;

use crate::desired::{self, Code, Names, Secrets};
use crate::input::{Input, Subdomain};
use crate::know::{self, Facts, Known, Unknown, later};
use crate::report::{Action, Verdict};
use crate::step::{Block, Need, Plan, Step, StepId, StepKind, Supply, SupplySource, UploadPlan, brings_auth_token};

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
    let mut builder = Builder { input, names, code, secrets, plan: Plan { facts, ..Plan::default() }, next: 0 };
    builder.build();
    builder.plan
}

fn blocked(facts: Facts, block: Block) -> Plan {
    let action = if block.stalled { Action::Refuse } else { Action::Wait };
    let kinds = [ResourceKind::R2Bucket, ResourceKind::R2Token, ResourceKind::Worker, ResourceKind::AgentCard];
    let verdicts = kinds.into_iter().map(|k| Verdict::new(k, action, block.message.clone())).collect();
    Plan { verdicts, block: Some(block), facts, ..Plan::default() }
}

/// What forbids any effect, whatever the state of things.
fn standing_block(input: &Input<'_>, facts: &Facts) -> Option<Block> {
    let agent = &input.snapshot.agent;
    let block = |reason, at: &str, message: String, stalled| Some(Block { reason, at: at.to_owned(), message, stalled });
    if agent.spec.suspend {
        return block(Reason::Suspended, "Spec", "the row asks to be left alone (suspend)".to_owned(), false);
    }
    let mut violations = agent.violations.clone();
    violations.extend(validate::validate(&agent.name, &agent.spec));
    if !violations.is_empty() {
        let text: Vec<String> = violations.iter().take(3).map(|v| format!("{}: {}", v.pointer, v.detail)).collect();
        let more = violations.len().saturating_sub(3);
        let tail = if more > 0 { format!("; and {more} more") } else { String::new() };
        return block(Reason::InvalidSpec, "Spec", format!("{}{tail}", text.join("; ")), true);
    }
    if input.world.subdomain == Subdomain::Missing {
        let message = "the Cloudflare account has no workers.dev subdomain; choose one in the dashboard under Workers & Pages";
        return block(Reason::NoSubdomain, "Worker", message.to_owned(), true);
    }
    if let Known::Foreign(name) = &facts.worker {
        let message = format!("a Worker named {name} exists and is not ours; remove or rename it, Talon will not touch it");
        return block(Reason::NameConflict, "Worker", message, true);
    }
    if let Known::Foreign(name) = &facts.bucket {
        let message = format!("an R2 bucket named {name} exists and is not ours; remove it, Talon will not touch it");
        return block(Reason::NameConflict, "R2 bucket", message, true);
    }
    None
}

/// How the Worker is to be uploaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// There is none: everything is supplied.
    Fresh,
    /// It is live and as we left it: what did not change is inherited.
    Upgrade,
    /// It is live and was changed behind our back: everything is supplied again.
    Repair,
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
        self.plan.verdicts.push(Verdict::new(kind, action, why));
    }

    fn step(&mut self, kind: StepKind, after: Vec<StepId>, rebuilds: bool, why: impl Into<String>) -> StepId {
        let id = self.next;
        self.next += 1;
        self.plan.steps.push(Step { id, kind, after, rebuilds, why: why.into() });
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
        if self.wait_for_knowledge() || self.accept_what_landed() {
            return;
        }
        let mode = match self.worker_mode() {
            Ok(mode) => mode,
            Err(Pending) => return,
        };
        if self.blocked_by_secrets(mode) {
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
            && (!changed.is_empty() || !self.secrets.unwanted.is_empty() || wants_auth || token_unplaced);
        if settling && (worker_step_due || push) {
            let until = self.record(ResourceKind::Worker).and_then(|r| r.settle_until).unwrap_or(self.now());
            self.recheck((until - self.now()).to_std().unwrap_or(POLL));
            self.verdict(ResourceKind::Worker, Action::Wait, "an earlier secrets call may still land");
            return;
        }
        let token = self.token_step(bucket, token_unplaced, deployed_before);
        let after: Vec<StepId> = [bucket, token].into_iter().flatten().collect();
        let write = match mode {
            Some(mode) => Some(self.upload_step(mode, &changed, after)),
            None if push => Some(self.push_step(&changed, wants_auth, token_unplaced, after)),
            None => {
                self.verdict(ResourceKind::Worker, Action::Keep, "live, with our code and secrets");
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
            self.recheck(POLL);
        }
    }

    fn recheck(&mut self, after: Duration) {
        let after = after.max(Duration::from_millis(200));
        self.plan.recheck_in = Some(self.plan.recheck_in.map_or(after, |old| old.min(after)));
    }

    /// Puts the records right when a look shows what an earlier call did: our own open try, or another one.
    fn accept_what_landed(&mut self) -> bool {
        let mut writes = Vec::new();
        if let Known::Present(Some(info)) = self.plan.facts.bucket.clone()
            && self.record(ResourceKind::R2Bucket).is_none_or(|r| r.state != ResourceState::Present)
        {
            writes.push(adopted(ResourceKind::R2Bucket, &info.name, ResourceState::Present));
        }
        if let Known::Present(Some(token)) = self.plan.facts.token.clone()
            && self.record(ResourceKind::R2Token).is_none_or(|r| r.external_id.as_ref() != Some(&token.id))
        {
            let mut write = ResourceWrite {
                external_id: Some(Some(token.id.clone())),
                outcome: Some(Outcome::Ok),
                intent: Some(Intent::Settled),
                confirmed: true,
                ..ResourceWrite::new(ResourceKind::R2Token, token.name, ResourceState::ValueUnplaced)
            };
            write.observed_hash = Some(None);
            writes.push(Mutation::Resource(write));
            writes.push(Mutation::Status(StatusWrite { r2_token_id: Some(Some(token.id)), ..StatusWrite::default() }));
        }
        if let Known::Present(Some(info)) = self.plan.facts.worker.clone() {
            match self.landed(&info) {
                Landed::AsRecorded => {}
                Landed::OurTry(marks) => writes.extend(self.promote(&info, &marks)),
                Landed::OtherTry(marks) => writes.extend(self.accept_other(&info, &marks)),
                Landed::TooEarly(recheck) => {
                    self.recheck(recheck);
                    self.verdict(ResourceKind::Worker, Action::Wait, "an earlier upload may still land");
                    return true;
                }
            }
        }
        if writes.is_empty() {
            return false;
        }
        self.step(StepKind::Record(writes), Vec::new(), false, "put the records right after what was seen");
        true
    }

    fn landed(&self, info: &WorkerInfo) -> Landed {
        let Some(marks) = self.marks(info) else { return Landed::AsRecorded };
        let timing = &self.input.world.timing;
        let look = &self.input.observed.worker;
        match self.record(ResourceKind::Worker) {
            None => Landed::OtherTry(marks),
            Some(r) if r.try_id.as_ref() == Some(&marks.try_id) => match r.state {
                ResourceState::Present | ResourceState::ValueUnplaced => Landed::AsRecorded,
                ResourceState::Unknown | ResourceState::Absent => Landed::OurTry(marks),
            },
            Some(r) => {
                let quiet = match r.state {
                    ResourceState::Unknown => r.settle_until,
                    ResourceState::Present | ResourceState::ValueUnplaced | ResourceState::Absent => {
                        r.confirmed_at.map(|c| later(c, timing.list_lag))
                    }
                };
                match quiet {
                    Some(t) if !look.after(t) => {
                        let wait = (t - self.now()).to_std().unwrap_or_default();
                        Landed::TooEarly(wait.min(POLL))
                    }
                    Some(_) | None => Landed::OtherTry(marks),
                }
            }
        }
    }

    fn marks(&self, info: &WorkerInfo) -> Option<WorkerMarks> {
        let settings = self.input.observed.settings.as_ref().and_then(|s| s.tags.as_ref());
        info.tags.as_ref().or(settings).and_then(|t| WorkerMarks::from_tags(t))
    }

    /// The open try is live: its credentials are the current ones.
    fn promote(&self, info: &WorkerInfo, marks: &WorkerMarks) -> Vec<Mutation> {
        let mut writes = vec![
            Mutation::Resource(ResourceWrite {
                external_id: Some(info.script_tag.clone()),
                try_id: Some(marks.try_id.clone()),
                desired_hash: Some(marks.code.clone()),
                observed_hash: Some(Some(baseline(info))),
                outcome: Some(Outcome::Ok),
                intent: Some(Intent::Settled),
                confirmed: true,
                ..ResourceWrite::new(ResourceKind::Worker, &self.names.worker, ResourceState::Present)
            }),
            event(EventReason::TryObserved, &self.names.worker, "an upload whose answer was lost is live"),
        ];
        let carried_auth = self.input.snapshot.auth_tokens.iter().any(|t| t.try_id == marks.try_id);
        if carried_auth {
            writes.push(Mutation::AuthTokenState { try_id: marks.try_id.clone(), state: AuthTokenState::Current });
            writes.extend(self.retire(|t| t != &marks.try_id));
            if let Some(token) = self.record(ResourceKind::R2Token).filter(|r| r.state == ResourceState::ValueUnplaced) {
                writes.push(adopted(ResourceKind::R2Token, &token.name, ResourceState::Present));
            }
        }
        for secret in self.input.snapshot.secrets.iter().filter(|s| s.state == SecretState::Pushing) {
            writes.push(Mutation::Secret(talon_core::mutation::SecretWrite {
                name: secret.name.clone(),
                provider: secret.provider.clone(),
                source: secret.source,
                reference: secret.reference.clone(),
                state: SecretState::Pushed,
                fingerprint: secret.fingerprint.clone(),
            }));
        }
        writes
    }

    /// Another try than the recorded one is live: its code may do, its credentials do not.
    fn accept_other(&self, info: &WorkerInfo, marks: &WorkerMarks) -> Vec<Mutation> {
        let mut writes = vec![
            Mutation::Resource(ResourceWrite {
                external_id: Some(info.script_tag.clone()),
                try_id: Some(marks.try_id.clone()),
                desired_hash: Some(marks.code.clone()),
                observed_hash: Some(Some(baseline(info))),
                version_id: Some(None),
                outcome: Some(Outcome::Ok),
                intent: Some(Intent::Settled),
                confirmed: true,
                ..ResourceWrite::new(ResourceKind::Worker, &self.names.worker, ResourceState::Present)
            }),
            event(
                EventReason::DriftDetected,
                &self.names.worker,
                "another upload than the last one is live; its credentials are replaced",
            ),
        ];
        writes.extend(self.retire(|_| true));
        if let Some(token) = self.record(ResourceKind::R2Token).filter(|r| r.state == ResourceState::Present) {
            writes.push(adopted(ResourceKind::R2Token, &token.name, ResourceState::ValueUnplaced));
        }
        // Whatever it carries of the other secrets is not known: all are pushed again.
        for secret in &self.input.snapshot.secrets {
            writes.push(Mutation::Secret(talon_core::mutation::SecretWrite {
                name: secret.name.clone(),
                provider: secret.provider.clone(),
                source: secret.source,
                reference: secret.reference.clone(),
                state: SecretState::Pushing,
                fingerprint: None,
            }));
        }
        writes
    }

    fn retire(&self, which: impl Fn(&talon_core::TryId) -> bool) -> Vec<Mutation> {
        self.input
            .snapshot
            .auth_tokens
            .iter()
            .filter(|t| t.state != AuthTokenState::Retired && which(&t.try_id))
            .map(|t| Mutation::AuthTokenState { try_id: t.try_id.clone(), state: AuthTokenState::Retired })
            .collect()
    }

    /// Whether and how the Worker is to be uploaded; `Err` when more must be seen first.
    fn worker_mode(&mut self) -> Result<Option<Mode>, Pending> {
        let info = match self.plan.facts.worker.clone() {
            Known::Absent => return Ok(Some(Mode::Fresh)),
            Known::Vanished => {
                self.drift("worker", format!("the Worker {} was deleted outside Talon; it is made again", self.names.worker));
                return Ok(Some(Mode::Fresh));
            }
            Known::Present(info) => info,
            Known::Foreign(_) | Known::Unknown(_) => return Err(Pending),
        };
        let Some(record) = self.record(ResourceKind::Worker).cloned() else { return Err(Pending) };
        let wants_new_code = record.desired_hash.as_deref() != Some(self.code.hash.as_str());
        let refused = record.attempts > 0;
        let upgrade = if refused { Mode::Repair } else { Mode::Upgrade };
        let Some(info) = info else { return Ok(wants_new_code.then_some(upgrade)) };
        let confirmed = record.confirmed_at.unwrap_or(DateTime::<Utc>::MIN_UTC);
        if !self.input.observed.worker.after(confirmed) {
            return Ok(wants_new_code.then_some(upgrade));
        }
        let marks = self.marks(&info);
        let as_left = marks.as_ref().is_some_and(|m| record.desired_hash.as_ref() == Some(&m.code));
        let seen = baseline(&info);
        let untouched = record.observed_hash.as_ref().is_none_or(|b| *b == seen);
        if as_left && untouched {
            return Ok(wants_new_code.then_some(upgrade));
        }
        if !self.input.observed.worker.after(later(confirmed, self.input.world.timing.list_lag)) && !untouched {
            // Within the lag a list may still show how it was before our own last write.
            self.recheck(self.input.world.timing.list_lag.min(POLL * 2));
            return Ok(wants_new_code.then_some(upgrade));
        }
        if !as_left {
            self.drift("worker", format!("the Worker {} was changed outside Talon; it is uploaded again", self.names.worker));
            return Ok(Some(Mode::Repair));
        }
        let Some(settings) = &self.input.observed.settings else {
            self.plan.needs.push(Need::Settings);
            self.verdict(ResourceKind::Worker, Action::Wait, "it was modified; its settings must be read");
            return Err(Pending);
        };
        let same_code = record.observed_hash.as_deref().and_then(|b| b.split('|').next()) == seen.split('|').next();
        if same_code && desired::settings_match(self.input, &self.names, &self.code, settings) {
            return Ok(wants_new_code.then_some(upgrade));
        }
        self.drift("worker", format!("the Worker {} was edited outside Talon; it is uploaded again", self.names.worker));
        Ok(Some(Mode::Repair))
    }

    fn blocked_by_secrets(&mut self, mode: Option<Mode>) -> bool {
        let supplies_all = matches!(mode, Some(Mode::Fresh | Mode::Repair));
        let lost = self.secrets.missing.iter().find(|m| supplies_all || !m.kept).cloned();
        let gone = self.secrets.write_through.first().filter(|_| mode == Some(Mode::Fresh)).cloned();
        let block = if let Some(missing) = lost {
            Some(Block {
                reason: missing.problem.reason,
                at: format!("Secrets › {}", missing.name),
                message: missing.problem.message,
                stalled: !missing.problem.transient,
            })
        } else if let Some(name) = gone {
            Some(Block {
                reason: Reason::SecretValueMissing,
                at: format!("Secrets › {name}"),
                message: format!("{name} came over HTTP and went with the Worker; set it again, Talon keeps no copy"),
                stalled: true,
            })
        } else if !self.secrets.provider_has_key {
            let provider = self.input.snapshot.agent.spec.model.split('/').next().unwrap_or_default().to_owned();
            Some(Block {
                reason: Reason::AwaitingKeys,
                at: "Secrets".to_owned(),
                message: format!("the model's provider {provider} has no key; add api_key_refs.{provider}"),
                stalled: false,
            })
        } else {
            None
        };
        let Some(block) = block else { return false };
        self.plan.opening.clear();
        self.verdict(ResourceKind::Worker, if block.stalled { Action::Refuse } else { Action::Wait }, block.message.clone());
        self.plan.block = Some(block);
        true
    }

    fn bucket_step(&mut self, deployed_before: bool) -> Option<StepId> {
        match self.plan.facts.bucket {
            Known::Absent | Known::Vanished => {}
            Known::Present(_) | Known::Foreign(_) | Known::Unknown(_) => {
                self.verdict(ResourceKind::R2Bucket, Action::Keep, "there");
                return None;
            }
        }
        let vanished = self.plan.facts.bucket == Known::Vanished;
        if vanished {
            self.drift("r2_bucket", format!("the bucket {} was deleted outside Talon; it is made again, empty", self.names.bucket));
        }
        let why = if vanished { "deleted outside Talon" } else { "not there yet" };
        self.verdict(ResourceKind::R2Bucket, Action::Create, why);
        let bucket = self.names.new_bucket(self.input);
        Some(self.step(StepKind::CreateBucket(bucket), Vec::new(), vanished || deployed_before, why))
    }

    /// Whether the value of the R2 token must be brought to the Worker.
    fn token_value_needed(&self, mode: Option<Mode>) -> bool {
        match mode {
            Some(Mode::Fresh | Mode::Repair) => true,
            Some(Mode::Upgrade) | None => {
                self.plan.facts.token.is_missing()
                    || self.record(ResourceKind::R2Token).is_none_or(|r| r.state == ResourceState::ValueUnplaced)
            }
        }
    }

    fn token_step(&mut self, bucket: Option<StepId>, value_needed: bool, deployed_before: bool) -> Option<StepId> {
        if self.plan.facts.token.is_missing() {
            let vanished = self.plan.facts.token == Known::Vanished;
            if vanished {
                self.drift("r2_token", "the R2 token was deleted outside Talon; a new one is made and pushed");
            }
            let why = if vanished { "deleted outside Talon" } else { "not there yet" };
            self.verdict(ResourceKind::R2Token, Action::Create, why);
            let token = self.names.new_token(self.input);
            let after = bucket.into_iter().collect();
            return Some(self.step(StepKind::CreateToken(token), after, vanished || deployed_before, why));
        }
        let id = self.record(ResourceKind::R2Token).and_then(|r| r.external_id.clone());
        match id {
            Some(id) if value_needed => {
                self.verdict(ResourceKind::R2Token, Action::Update, "its value reached no live Worker");
                let kind = StepKind::RollToken { id, name: self.names.token.clone() };
                Some(self.step(kind, bucket.into_iter().collect(), false, "its value is shown once and was not kept"))
            }
            Some(_) | None => {
                self.verdict(ResourceKind::R2Token, Action::Keep, "there, its value is on the Worker");
                None
            }
        }
    }

    fn has_current_auth_token(&self) -> bool {
        self.input.snapshot.auth_tokens.iter().any(|t| t.state == AuthTokenState::Current)
    }

    fn settling(&self) -> bool {
        self.record(ResourceKind::Worker).and_then(|r| r.settle_until).is_some_and(|t| t > self.now())
            && !self.plan.facts.worker.is_missing()
    }

    /// Secrets that Talon can supply and that are not on the Worker as they should be.
    fn changed_secrets(&self) -> Vec<Supply> {
        let differs = |s: &Supply| {
            self.input.snapshot.secret(&s.name).is_none_or(|r| {
                r.state == SecretState::Pushing || r.fingerprint.is_none() || r.fingerprint != s.fingerprint
            })
        };
        let revised = self.secrets.known.iter().any(|s| s.name == talon_core::secret::names::SECRETS_REV && differs(s));
        let by_reference = |s: &Supply| matches!(s.source, SupplySource::Reference { .. });
        let only_revision = revised && self.secrets.known.iter().filter(|s| differs(s)).count() == 1;
        self.secrets.known.iter().filter(|s| differs(s) || (only_revision && by_reference(s))).cloned().collect()
    }

    fn upload_step(&mut self, mode: Mode, changed: &[Supply], after: Vec<StepId>) -> StepId {
        let unplaced = self.token_value_needed(Some(mode));
        let mut supply: Vec<Supply> = match mode {
            Mode::Fresh | Mode::Repair => self.secrets.known.clone(),
            Mode::Upgrade => changed.to_vec(),
        };
        let auth = mode != Mode::Upgrade || !self.has_current_auth_token();
        supply.extend(desired::made_secrets().into_iter().filter(|s| match s.source {
            SupplySource::AuthToken => auth,
            _ => unplaced,
        }));
        let inherit: Vec<String> = if mode == Mode::Fresh {
            Vec::new()
        } else {
            let supplied = |name: &str| supply.iter().any(|s| s.name == name);
            self.input.snapshot.secrets.iter().map(|s| s.name.clone()).filter(|n| {
                !supplied(n) && !self.secrets.unwanted.contains(n)
            }).collect()
        };
        let record = self.record(ResourceKind::Worker);
        let migrated = match &self.plan.facts.worker {
            Known::Present(Some(info)) => info.migration_tag.is_some(),
            Known::Present(None) => true,
            Known::Absent | Known::Vanished | Known::Foreign(_) | Known::Unknown(_) => false,
        };
        let upload = UploadPlan {
            worker: self.names.worker.clone(),
            code: self.code.hash.clone(),
            identity_md: self.code.identity_md.clone(),
            plain: self.code.plain.clone(),
            bucket: self.names.bucket_ref(self.input),
            supply,
            inherit_version: record.and_then(|r| r.version_id.clone()).filter(|_| !inherit.is_empty()),
            inherit,
            migrate: !migrated,
            fresh: mode == Mode::Fresh,
        };
        let rebuilds = mode == Mode::Fresh && self.input.snapshot.agent.status.first_deployed_at.is_some();
        let (action, why) = match mode {
            Mode::Fresh if rebuilds => (Action::Create, "it was there before and is gone"),
            Mode::Fresh => (Action::Create, "not there yet"),
            Mode::Upgrade => (Action::Update, "new code; secrets are inherited"),
            Mode::Repair => (Action::Update, "not as we left it; everything is sent again"),
        };
        self.verdict(ResourceKind::Worker, action, why);
        self.step(StepKind::Upload(Box::new(upload)), after, rebuilds, why)
    }

    fn push_step(&mut self, changed: &[Supply], auth: bool, r2: bool, after: Vec<StepId>) -> StepId {
        let mut set = changed.to_vec();
        set.extend(desired::made_secrets().into_iter().filter(|s| match s.source {
            SupplySource::AuthToken => auth,
            _ => r2,
        }));
        let why = "secrets changed; one call, no upload";
        self.verdict(ResourceKind::Worker, Action::Update, why);
        let kind = StepKind::PushSecrets {
            worker: self.names.worker.clone(),
            set,
            unset: self.secrets.unwanted.clone(),
        };
        self.step(kind, after, false, why)
    }

    fn route_step(&mut self, mode: Option<Mode>, write: Option<StepId>) -> Option<StepId> {
        let fresh = mode == Some(Mode::Fresh);
        if self.plan.facts.route && !fresh {
            self.verdict(ResourceKind::WorkerRoute, Action::Keep, "on");
            return None;
        }
        self.verdict(ResourceKind::WorkerRoute, Action::Create, "its workers.dev address is off");
        let kind = StepKind::EnableRoute { worker: self.names.worker.clone() };
        let rebuilds = fresh && self.input.snapshot.agent.status.first_deployed_at.is_some();
        Some(self.step(kind, write.into_iter().collect(), rebuilds, "its workers.dev address is off"))
    }

    fn card_step(&mut self, write: Option<StepId>, route: Option<StepId>, brings_auth: bool) {
        let current = self.input.snapshot.agent.status.auth_token_hash.as_deref().filter(|_| !brings_auth);
        let card = desired::agent_card(self.input, current);
        let why = match &self.input.observed.card {
            None => {
                self.verdict(ResourceKind::AgentCard, Action::Wait, "the Router was not asked");
                return;
            }
            Some(None) if self.record(ResourceKind::AgentCard).is_some_and(|r| r.state == ResourceState::Present) => {
                self.drift("agent_card", "the Agent Card was removed outside Talon; it is registered again");
                "removed outside Talon"
            }
            Some(None) => "not registered yet",
            Some(Some(hash)) if !brings_auth && *hash == card.hash() => {
                self.verdict(ResourceKind::AgentCard, Action::Keep, "registered");
                return;
            }
            Some(Some(_)) => "its content changed",
        };
        self.verdict(ResourceKind::AgentCard, Action::Update, why);
        let after = [write, route].into_iter().flatten().collect();
        self.step(StepKind::RegisterCard(Box::new(card)), after, false, why);
    }

    fn drop_extra_tokens(&mut self) {
        for token in self.plan.facts.extra_tokens.clone() {
            self.step(StepKind::DropToken { id: token.id }, Vec::new(), false, "a second token of our name");
        }
    }

    /// The first list entry after our own last write, with our marks, is what later lists are compared with.
    fn adopt_baseline(&mut self) {
        let Known::Present(Some(info)) = self.plan.facts.worker.clone() else { return };
        let Some(record) = self.record(ResourceKind::Worker) else { return };
        let seen = baseline(&info);
        if record.observed_hash.as_ref() == Some(&seen) || self.plan.recheck_in.is_some() {
            return;
        }
        let marks = self.marks(&info);
        let matches = marks.is_some_and(|m| {
            record.desired_hash.as_ref() == Some(&m.code) && record.try_id.as_ref() == Some(&m.try_id)
        });
        if matches && record.confirmed_at.is_some_and(|c| self.input.observed.worker.after(c)) {
            let write = ResourceWrite {
                external_id: Some(info.script_tag.clone()),
                observed_hash: Some(Some(seen)),
                ..ResourceWrite::new(ResourceKind::Worker, &self.names.worker, record.state)
            };
            let kind = StepKind::Record(vec![Mutation::Resource(write)]);
            self.step(kind, Vec::new(), false, "remember how the list shows it");
        }
    }

    /// What must be written before the first effect.
    fn open(&mut self) {
        let status = &self.input.snapshot.agent.status;
        if !self.plan.steps.iter().any(|s| s.kind.has_effect()) {
            return;
        }
        if status.worker_name.is_none() || status.r2_bucket.is_none() {
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
        let rebuilding = self.plan.facts.worker.is_missing() || self.plan.facts.bucket.is_missing();
        let shown = status.deployment_status;
        if shown == DeploymentStatus::Pending || (shown == DeploymentStatus::Deployed && rebuilding) {
            self.plan.opening.push(Mutation::Status(StatusWrite {
                deployment_status: Some(DeploymentStatus::Deploying),
                ..StatusWrite::default()
            }));
        }
    }
}

/// More must be seen before this can be decided.
struct Pending;

enum Landed {
    AsRecorded,
    OurTry(WorkerMarks),
    OtherTry(WorkerMarks),
    TooEarly(Duration),
}

/// How a list shows a Worker: changes whenever anybody writes to it.
pub fn baseline(info: &WorkerInfo) -> String {
    let modified = info.modified_on.map(|t| t.to_rfc3339()).unwrap_or_default();
    format!("{}|{modified}", info.etag.as_deref().unwrap_or_default())
}

fn adopted(kind: ResourceKind, name: &str, state: ResourceState) -> Mutation {
    Mutation::Resource(ResourceWrite {
        outcome: Some(Outcome::Ok),
        intent: Some(Intent::Settled),
        confirmed: true,
        ..ResourceWrite::new(kind, name, state)
    })
}

fn event(reason: EventReason, worker: &str, message: &str) -> Mutation {
    let severity = if reason == EventReason::DriftDetected { Severity::Warning } else { Severity::Normal };
    Mutation::Event(NewEvent { severity, reason, object: format!("worker/{worker}"), message: message.to_owned() })
}
