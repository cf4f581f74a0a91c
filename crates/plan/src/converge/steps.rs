//! The steps themselves, one function for each resource.

use talon_core::resource::{ResourceKind, ResourceState};

use super::Builder;
use super::drift::Mode;
use crate::desired;
use crate::know::{Known, later};
use crate::report::Action;
use crate::step::{Need, StepId, StepKind, Supply, SupplySource, UploadPlan};

impl Builder<'_> {
    pub(super) fn bucket_step(&mut self, deployed_before: bool) -> Option<StepId> {
        match self.plan.facts.bucket {
            Known::Absent | Known::Vanished => {}
            Known::Present(_) | Known::Foreign(_) | Known::Unknown(_) => {
                self.verdict(ResourceKind::R2Bucket, Action::Keep, "there");
                return None;
            }
        }
        let vanished = self.plan.facts.bucket == Known::Vanished;
        if vanished {
            self.drift(
                "r2_bucket",
                format!(
                    "the bucket {} was deleted outside Talon; it is made again, empty",
                    self.names.bucket
                ),
            );
        }
        let why = if vanished {
            "deleted outside Talon"
        } else {
            "not there yet"
        };
        self.verdict(ResourceKind::R2Bucket, Action::Create, why);
        let bucket = self.names.new_bucket(self.input);
        Some(self.step(
            StepKind::CreateBucket(bucket),
            Vec::new(),
            vanished || deployed_before,
            why,
        ))
    }

    /// Whether the value of the R2 token must be brought to the Worker.
    pub(super) fn token_value_needed(&self, mode: Option<Mode>) -> bool {
        match mode {
            Some(Mode::Fresh | Mode::Stub | Mode::Repair) => true,
            Some(Mode::Upgrade) | None => {
                self.plan.facts.token.is_missing()
                    || self
                        .record(ResourceKind::R2Token)
                        .is_none_or(|r| r.state == ResourceState::ValueUnplaced)
            }
        }
    }

    pub(super) fn token_step(
        &mut self,
        bucket: Option<StepId>,
        value_needed: bool,
        deployed_before: bool,
    ) -> Option<StepId> {
        if self.plan.facts.token.is_missing() {
            let vanished = self.plan.facts.token == Known::Vanished;
            if vanished {
                self.drift(
                    "r2_token",
                    "the R2 token was deleted outside Talon; a new one is made and pushed",
                );
            }
            let why = if vanished {
                "deleted outside Talon"
            } else {
                "not there yet"
            };
            self.verdict(ResourceKind::R2Token, Action::Create, why);
            let token = self.names.new_token(self.input);
            let after = bucket.into_iter().collect();
            return Some(self.step(
                StepKind::CreateToken(token),
                after,
                vanished || deployed_before,
                why,
            ));
        }
        let id = self
            .record(ResourceKind::R2Token)
            .and_then(|r| r.external_id.clone());
        match id {
            Some(id) if value_needed => {
                self.verdict(
                    ResourceKind::R2Token,
                    Action::Update,
                    "its value reached no live Worker",
                );
                let kind = StepKind::RollToken {
                    id,
                    name: self.names.token.clone(),
                };
                // Rolled for a Worker that is made again, it belongs to that: a brake must stop both or neither.
                let rebuilds = deployed_before && self.plan.facts.worker.is_missing();
                Some(self.step(
                    kind,
                    bucket.into_iter().collect(),
                    rebuilds,
                    "its value is shown once and was not kept",
                ))
            }
            Some(_) | None => {
                self.verdict(
                    ResourceKind::R2Token,
                    Action::Keep,
                    "there, its value is on the Worker",
                );
                None
            }
        }
    }

    pub(super) fn upload_step(
        &mut self,
        mode: Mode,
        changed: &[Supply],
        after: Vec<StepId>,
    ) -> StepId {
        let unplaced = self.token_value_needed(Some(mode));
        let mut supply: Vec<Supply> = match mode {
            Mode::Fresh | Mode::Stub | Mode::Repair => self.secrets.known.clone(),
            Mode::Upgrade => changed.to_vec(),
        };
        let auth = mode != Mode::Upgrade || !self.has_current_auth_token();
        supply.extend(
            desired::made_secrets()
                .into_iter()
                .filter(|s| match s.source {
                    SupplySource::AuthToken => auth,
                    _ => unplaced,
                }),
        );
        let inherit: Vec<String> = if mode == Mode::Fresh {
            Vec::new()
        } else {
            let supplied = |name: &str| supply.iter().any(|s| s.name == name);
            self.input
                .snapshot
                .secrets
                .iter()
                .map(|s| s.name.clone())
                .filter(|n| !supplied(n) && !self.secrets.unwanted.contains(n))
                .collect()
        };
        let record = self.record(ResourceKind::Worker);
        let migrated = match &self.plan.facts.worker {
            _ if mode == Mode::Stub => false,
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
            inherit_version: record
                .and_then(|r| r.version_id.clone())
                .filter(|_| !inherit.is_empty()),
            inherit,
            migrate: !migrated,
            fresh: mode == Mode::Fresh,
        };
        let makes = matches!(mode, Mode::Fresh | Mode::Stub);
        let rebuilds = makes && self.input.snapshot.agent.status.first_deployed_at.is_some();
        let (action, why) = match mode {
            Mode::Fresh | Mode::Stub if rebuilds => {
                (Action::Create, "it was there before and is gone")
            }
            Mode::Fresh => (Action::Create, "not there yet"),
            Mode::Stub => (Action::Create, "only its keys are there yet"),
            Mode::Upgrade => (Action::Update, "new code; secrets are inherited"),
            Mode::Repair => (
                Action::Update,
                "not as we left it; everything is sent again",
            ),
        };
        self.verdict(ResourceKind::Worker, action, why);
        self.step(StepKind::Upload(Box::new(upload)), after, rebuilds, why)
    }

    pub(super) fn push_step(
        &mut self,
        changed: &[Supply],
        auth: bool,
        r2: bool,
        after: Vec<StepId>,
    ) -> StepId {
        let mut set = changed.to_vec();
        set.extend(
            desired::made_secrets()
                .into_iter()
                .filter(|s| match s.source {
                    SupplySource::AuthToken => auth,
                    _ => r2,
                }),
        );
        let why = "secrets changed; one call, no upload";
        self.verdict(ResourceKind::Worker, Action::Update, why);
        let kind = StepKind::PushSecrets {
            worker: self.names.worker.clone(),
            set,
            unset: self.secrets.unwanted.clone(),
        };
        self.step(kind, after, false, why)
    }

    pub(super) fn route_step(
        &mut self,
        mode: Option<Mode>,
        write: Option<StepId>,
    ) -> Option<StepId> {
        let fresh = mode == Some(Mode::Fresh);
        if self.plan.facts.route && !fresh {
            self.verdict(ResourceKind::WorkerRoute, Action::Keep, "on");
            return None;
        }
        self.verdict(
            ResourceKind::WorkerRoute,
            Action::Create,
            "its workers.dev address is off",
        );
        let kind = StepKind::EnableRoute {
            worker: self.names.worker.clone(),
        };
        let rebuilds = fresh && self.input.snapshot.agent.status.first_deployed_at.is_some();
        Some(self.step(
            kind,
            write.into_iter().collect(),
            rebuilds,
            "its workers.dev address is off",
        ))
    }

    pub(super) fn card_step(
        &mut self,
        write: Option<StepId>,
        route: Option<StepId>,
        brings_auth: bool,
    ) {
        let current = self
            .input
            .snapshot
            .agent
            .status
            .auth_token_hash
            .as_deref()
            .filter(|_| !brings_auth);
        let card = desired::agent_card(self.input, current);
        let why = match &self.input.observed.card {
            None => {
                self.verdict(
                    ResourceKind::AgentCard,
                    Action::Wait,
                    "the Router was not asked",
                );
                return;
            }
            Some(None)
                if self
                    .record(ResourceKind::AgentCard)
                    .is_some_and(|r| r.state == ResourceState::Present) =>
            {
                self.drift(
                    "agent_card",
                    "the Agent Card was removed outside Talon; it is registered again",
                );
                "removed outside Talon"
            }
            Some(None) => "not registered yet",
            Some(Some(hash)) if !brings_auth && *hash == card.hash() => {
                self.verdict(ResourceKind::AgentCard, Action::Keep, "registered");
                return;
            }
            Some(Some(_)) => "its content changed",
        };
        let there = matches!(self.input.observed.card, Some(Some(_)));
        let action = if there {
            Action::Update
        } else {
            Action::Create
        };
        self.verdict(ResourceKind::AgentCard, action, why);
        let after = [write, route].into_iter().flatten().collect();
        self.step(StepKind::RegisterCard(Box::new(card)), after, false, why);
    }

    /// Only a look that is younger than our last answer about tokens can tell which of them are too many. Alone in its
    /// plan: what it writes must not undo what another step wrote.
    pub(super) fn drop_extra_tokens(&mut self) {
        let extra = self.plan.facts.extra_tokens.clone();
        if extra.is_empty() || !self.plan.steps.is_empty() {
            return;
        }
        let confirmed = self
            .record(ResourceKind::R2Token)
            .and_then(|r| r.confirmed_at);
        let trusted = confirmed.map(|c| later(c, self.input.world.timing.list_lag));
        let why = "a second token of our name";
        match trusted {
            Some(t) if !self.input.observed.tokens.after(t) => {
                self.verdict(ResourceKind::R2Token, Action::Wait, why);
                if t < self.now() {
                    self.plan.needs.push(Need::ListsAfter(t));
                } else {
                    self.recheck((t - self.now()).to_std().unwrap_or_default());
                }
            }
            Some(_) | None => {
                self.verdict(ResourceKind::R2Token, Action::Delete, why);
                for token in extra {
                    self.step(StepKind::DropToken { id: token.id }, Vec::new(), false, why);
                }
            }
        }
    }
}
