//! Acceptance of what a look shows that an earlier call did: the records are put right before anything is sent.

use chrono::{DateTime, Utc};
use talon_core::TryId;
use talon_core::cloud::WorkerInfo;
use talon_core::event::{EventReason, NewEvent, Severity};
use talon_core::mutation::{Intent, Mutation, Outcome, ResourceWrite, SecretWrite, StatusWrite};
use talon_core::name::WorkerMarks;
use talon_core::resource::{ResourceKind, ResourceRecord, ResourceState};
use talon_core::snapshot::{AuthTokenState, SecretRecord, SecretSource, SecretState};

use super::Builder;
use super::drift::{agrees, baseline};
use crate::know::{Known, Unknown, later};
use crate::step::StepKind;

impl Builder<'_> {
    /// Puts the records right when a look shows what an earlier call did: our own open try, or another one.
    pub(super) fn accept_what_landed(&mut self) -> bool {
        let mut writes = Vec::new();
        if let Known::Present(Some(info)) = self.plan.facts.bucket.clone()
            && self
                .record(ResourceKind::R2Bucket)
                .is_none_or(|r| r.state != ResourceState::Present)
        {
            writes.push(adopted(
                ResourceKind::R2Bucket,
                &info.name,
                ResourceState::Present,
            ));
        }
        if let Known::Present(Some(token)) = self.plan.facts.token.clone()
            && self
                .record(ResourceKind::R2Token)
                .is_none_or(|r| r.external_id.as_ref() != Some(&token.id))
        {
            let mut write = ResourceWrite {
                external_id: Some(Some(token.id.clone())),
                outcome: Some(Outcome::Ok),
                intent: Some(Intent::Settled),
                confirmed: true,
                ..ResourceWrite::new(
                    ResourceKind::R2Token,
                    token.name,
                    ResourceState::ValueUnplaced,
                )
            };
            write.observed_hash = Some(None);
            writes.push(Mutation::Resource(write));
            writes.push(Mutation::Status(StatusWrite {
                r2_token_id: Some(Some(token.id)),
                ..StatusWrite::default()
            }));
        }
        let mut waits = false;
        if let Known::Present(Some(info)) = self.plan.facts.worker.clone() {
            match self.landed(&info) {
                Landed::AsRecorded => {}
                Landed::OurTry(marks) => writes.extend(self.promote(&info, &marks)),
                Landed::OtherTry(marks) => writes.extend(self.accept_other(&info, &marks)),
                Landed::NotYet => writes.extend(self.give_up_try(&info)),
                Landed::TooEarly(look_after) => {
                    let why = "an earlier upload may still land".to_owned();
                    let as_of = self.input.observed.worker.as_of;
                    self.await_look(ResourceKind::Worker, &Unknown { why, look_after }, as_of);
                    waits = true;
                }
            }
        }
        if writes.is_empty() {
            return waits;
        }
        self.step(
            StepKind::Record(writes),
            Vec::new(),
            false,
            "put the records right after what was seen",
        );
        true
    }

    fn landed(&self, info: &WorkerInfo) -> Landed {
        let marks = self.marks(info);
        let look = &self.input.observed.worker;
        let Some(r) = self.record(ResourceKind::Worker) else {
            return marks.map_or(Landed::AsRecorded, Landed::OtherTry);
        };
        let open = match r.state {
            ResourceState::Unknown => true,
            ResourceState::Present | ResourceState::ValueUnplaced | ResourceState::Absent => false,
        };
        match marks {
            Some(m) if r.try_id.as_ref() == Some(&m.try_id) => match r.state {
                ResourceState::Present | ResourceState::ValueUnplaced => Landed::AsRecorded,
                ResourceState::Unknown | ResourceState::Absent => Landed::OurTry(m),
            },
            None if !open => Landed::AsRecorded,
            marks => {
                let lag = self.input.world.timing.list_lag;
                let quiet = if open {
                    r.settle_until.or(r.intent_at).map(|t| later(t, lag))
                } else {
                    r.confirmed_at.map(|c| later(c, lag))
                };
                match (quiet, marks) {
                    (Some(t), _) if !look.after(t) => Landed::TooEarly(t),
                    (_, Some(_)) if open && r.observed_hash == Some(baseline(info)) => {
                        Landed::NotYet
                    }
                    (_, Some(m)) => Landed::OtherTry(m),
                    (_, None) => Landed::AsRecorded,
                }
            }
        }
    }

    /// The open try did not land, and what was live before it is untouched: its credentials are still the ones. The
    /// secrets the try would have brought stay `pushing`, and so are sent again. The recorded code stays as well: doubts
    /// about what is live outlast a try that did not land.
    fn give_up_try(&self, info: &WorkerInfo) -> Vec<Mutation> {
        let Some(live) = self.marks(info) else {
            return Vec::new();
        };
        let open = self
            .record(ResourceKind::Worker)
            .and_then(|r| r.try_id.clone());
        let mut writes = vec![Mutation::Resource(ResourceWrite {
            try_id: Some(live.try_id),
            intent: Some(Intent::Settled),
            confirmed: true,
            ..ResourceWrite::new(
                ResourceKind::Worker,
                &self.names.worker,
                ResourceState::Present,
            )
        })];
        writes.extend(self.retire(|t| Some(t) == open.as_ref()));
        writes
    }

    pub(super) fn marks(&self, info: &WorkerInfo) -> Option<WorkerMarks> {
        let settings = self
            .input
            .observed
            .settings
            .as_ref()
            .and_then(|s| s.tags.as_ref());
        info.tags
            .as_ref()
            .or(settings)
            .and_then(|t| WorkerMarks::from_tags(t))
    }

    /// The open try is live: its credentials are the current ones.
    fn promote(&self, info: &WorkerInfo, marks: &WorkerMarks) -> Vec<Mutation> {
        let mut writes = vec![
            self.seen_live(info, marks, marks.code.clone()),
            event(
                EventReason::TryObserved,
                &self.names.worker,
                "an upload whose answer was lost is live",
            ),
        ];
        writes.extend(self.address_of_another(info));
        let carried_auth = self
            .input
            .snapshot
            .auth_tokens
            .iter()
            .any(|t| t.try_id == marks.try_id);
        if carried_auth {
            writes.push(Mutation::AuthTokenState {
                try_id: marks.try_id.clone(),
                state: AuthTokenState::Current,
            });
            writes.extend(self.retire(|t| t != &marks.try_id));
            if let Some(token) = self
                .record(ResourceKind::R2Token)
                .filter(|r| r.state == ResourceState::ValueUnplaced && self.older_than_try(r))
            {
                writes.push(adopted(
                    ResourceKind::R2Token,
                    &token.name,
                    ResourceState::Present,
                ));
            }
        }
        // Keys that came over HTTP travel in calls of their own.
        let with_it = |s: &&SecretRecord| {
            s.state == SecretState::Pushing && s.source != SecretSource::WriteThrough
        };
        for secret in self.input.snapshot.secrets.iter().filter(with_it) {
            writes.push(Mutation::Secret(SecretWrite {
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

    /// The record of a Worker that was seen live by another sign than the answer to its upload.
    fn seen_live(&self, info: &WorkerInfo, marks: &WorkerMarks, code: String) -> Mutation {
        Mutation::Resource(ResourceWrite {
            external_id: Some(info.script_tag.clone()),
            try_id: Some(marks.try_id.clone()),
            desired_hash: Some(code),
            observed_hash: Some(Some(baseline(info))),
            // The version it made was in the answer that got lost: an older one holds older secrets.
            version_id: Some(None),
            outcome: Some(Outcome::Ok),
            intent: Some(Intent::Settled),
            confirmed: true,
            ..ResourceWrite::new(
                ResourceKind::Worker,
                &self.names.worker,
                ResourceState::Present,
            )
        })
    }

    /// A Worker that was made anew under the name has no address, whatever was recorded of the one before.
    fn address_of_another(&self, info: &WorkerInfo) -> Option<Mutation> {
        let known = self
            .record(ResourceKind::Worker)
            .and_then(|r| r.external_id.as_ref())?;
        let another = info.script_tag.as_ref().is_some_and(|tag| tag != known);
        another.then(|| {
            let (kind, state) = (ResourceKind::WorkerRoute, ResourceState::Absent);
            Mutation::Resource(ResourceWrite::new(kind, &self.names.worker, state))
        })
    }

    /// Whether the R2 token got its value before the open try was sent, so that the try carried it: a later roll made
    /// the value that the try carried worthless.
    pub(super) fn older_than_try(&self, token: &ResourceRecord) -> bool {
        let sent = self.record(ResourceKind::Worker).and_then(|r| r.intent_at);
        let valued = [token.intent_at, token.confirmed_at]
            .into_iter()
            .flatten()
            .max();
        sent.zip(valued)
            .is_some_and(|(sent, valued)| valued <= sent)
    }

    /// Another try than the recorded one is live: its code may do, its credentials do not.
    fn accept_other(&self, info: &WorkerInfo, marks: &WorkerMarks) -> Vec<Mutation> {
        // Behind an open try stands either an earlier one, or the last one after somebody edited it: then its code is
        // not what its tags say, and is sent again.
        let record = self.record(ResourceKind::Worker);
        let doubtful = record
            .filter(|r| r.state == ResourceState::Unknown)
            .and_then(|r| r.observed_hash.as_ref())
            .is_some_and(|known| !agrees(known, info));
        let code = if doubtful {
            String::new()
        } else {
            marks.code.clone()
        };
        let mut writes = vec![
            self.seen_live(info, marks, code),
            event(
                EventReason::DriftDetected,
                &self.names.worker,
                "another upload than the last one is live; its credentials are replaced",
            ),
        ];
        writes.extend(self.address_of_another(info));
        writes.extend(self.retire(|_| true));
        if let Some(token) = self
            .record(ResourceKind::R2Token)
            .filter(|r| r.state == ResourceState::Present)
        {
            writes.push(adopted(
                ResourceKind::R2Token,
                &token.name,
                ResourceState::ValueUnplaced,
            ));
        }
        // Whatever it carries of the other secrets is not known: all that can be are pushed again. Keys that came over
        // HTTP are kept by every upload.
        let kept = |s: &&SecretRecord| s.source == SecretSource::WriteThrough;
        for secret in self.input.snapshot.secrets.iter().filter(|s| !kept(s)) {
            writes.push(Mutation::Secret(SecretWrite {
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

    pub(super) fn retire(&self, which: impl Fn(&TryId) -> bool) -> Vec<Mutation> {
        self.input
            .snapshot
            .auth_tokens
            .iter()
            .filter(|t| t.state != AuthTokenState::Retired && which(&t.try_id))
            .map(|t| Mutation::AuthTokenState {
                try_id: t.try_id.clone(),
                state: AuthTokenState::Retired,
            })
            .collect()
    }
}

enum Landed {
    AsRecorded,
    OurTry(WorkerMarks),
    OtherTry(WorkerMarks),
    /// The Worker is as it was before the open try, and the try can no longer land.
    NotYet,
    /// Only a look that began after this can tell.
    TooEarly(DateTime<Utc>),
}

pub(crate) fn adopted(kind: ResourceKind, name: &str, state: ResourceState) -> Mutation {
    Mutation::Resource(ResourceWrite {
        outcome: Some(Outcome::Ok),
        intent: Some(Intent::Settled),
        confirmed: true,
        ..ResourceWrite::new(kind, name, state)
    })
}

pub(crate) fn event(reason: EventReason, worker: &str, message: &str) -> Mutation {
    let severity = if reason == EventReason::DriftDetected {
        Severity::Warning
    } else {
        Severity::Normal
    };
    Mutation::Event(NewEvent {
        severity,
        reason,
        object: format!("worker/{worker}"),
        message: message.to_owned(),
    })
}
