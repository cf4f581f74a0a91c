//! Keys that came over HTTP: Talon keeps no copy, so what the Worker has of them must be known before anything is sent
//! that would leave one behind.

use std::collections::BTreeSet;
use std::time::Duration;

use talon_core::event::EventReason;
use talon_core::mutation::{Mutation, ResourceWrite, SecretWrite};
use talon_core::resource::{ResourceKind, ResourceState};
use talon_core::snapshot::{SecretRecord, SecretSource, SecretState};

use super::drift::Mode;
use super::landed::event;
use super::{Builder, POLL};
use crate::report::Action;
use crate::step::{Need, StepKind, SupplySource};

impl Builder<'_> {
    /// Finds out by the names of the Worker's secrets what became of keys whose call had no answer. Whether it waits for
    /// that, or puts the records right.
    pub(super) fn settle_keys(&mut self) -> bool {
        let open = |s: &&SecretRecord| {
            s.source == SecretSource::WriteThrough && s.state == SecretState::Pushing
        };
        let open: Vec<SecretRecord> = self
            .input
            .snapshot
            .secrets
            .iter()
            .filter(open)
            .cloned()
            .collect();
        if open.is_empty() {
            return false;
        }
        let mut writes = Vec::new();
        if self.plan.facts.worker.is_missing() {
            // A key that never was on a Worker went nowhere; one that was is lost, which is said elsewhere.
            writes.extend(open.iter().filter(|s| never_was(s)).map(gone));
        } else if self.settling() {
            self.wait_for_settling("a key that came over HTTP may still be on its way");
            return true;
        } else if let Some(names) = self.secret_names() {
            for secret in &open {
                if names.contains(&secret.name) {
                    writes.push(arrived(secret));
                } else if never_was(secret) {
                    writes.push(gone(secret));
                }
            }
        } else {
            self.ask_for_names("it must be seen which keys arrived");
            return true;
        }
        if writes.is_empty() {
            return false;
        }
        if self.plan.facts.worker.is_present() {
            writes.push(self.version_unknown());
        }
        writes.push(event(
            EventReason::TryObserved,
            &self.names.worker,
            "it was seen what became of keys whose call had no answer",
        ));
        self.step(
            StepKind::Record(writes),
            Vec::new(),
            false,
            "put the records right after what was seen",
        );
        true
    }

    /// A key of the model's own provider was being taken away, and the call had no answer. Without that key everything else
    /// waits, so that nothing else would find out, or go on with it. Whether there is something to be done or waited for.
    pub(super) fn finish_taking_away(&mut self) -> bool {
        if self.secrets.provider_has_key {
            return false;
        }
        let open = |s: &&SecretRecord| {
            s.state == SecretState::Pushing && self.secrets.unwanted.contains(&s.name)
        };
        let secrets = self.input.snapshot.secrets.iter();
        let open: Vec<SecretRecord> = secrets.filter(open).cloned().collect();
        if open.is_empty() {
            return false;
        }
        let (there, gone_by_now): (Vec<SecretRecord>, Vec<SecretRecord>) =
            if self.plan.facts.worker.is_missing() {
                (Vec::new(), open)
            } else if self.settling() {
                self.wait_for_settling("a key that was taken away may still be on its way out");
                return true;
            } else if let Some(names) = self.secret_names() {
                open.into_iter().partition(|s| names.contains(&s.name))
            } else {
                self.ask_for_names("it must be seen which keys are gone");
                return true;
            };
        if !gone_by_now.is_empty() {
            self.step(
                StepKind::Record(gone_by_now.iter().map(gone).collect()),
                Vec::new(),
                false,
                "put the records right after what was seen",
            );
        }
        if !there.is_empty() {
            self.step(
                StepKind::PushSecrets {
                    worker: self.names.worker.clone(),
                    set: Vec::new(),
                    unset: there.into_iter().map(|s| s.name).collect(),
                },
                Vec::new(),
                false,
                "a key was taken away, and is still there",
            );
        }
        true
    }

    fn wait_for_settling(&mut self, why: &str) {
        let until = self
            .record(ResourceKind::Worker)
            .and_then(|r| r.settle_until)
            .unwrap_or(self.now());
        self.recheck((until - self.now()).to_std().unwrap_or(POLL) + Duration::from_millis(50));
        self.verdict(ResourceKind::Worker, Action::Wait, why);
    }

    /// The version that the call made was in the answer that got lost: what is inherited from the one before lacks it.
    fn version_unknown(&self) -> Mutation {
        let state = ResourceState::Present;
        Mutation::Resource(ResourceWrite {
            version_id: Some(None),
            ..ResourceWrite::new(ResourceKind::Worker, &self.names.worker, state)
        })
    }

    /// Asks for the names of the Worker's secrets before everything is sent again: what it does not have cannot be
    /// inherited.
    pub(super) fn names_needed(&mut self, mode: Option<Mode>) -> bool {
        let refused = self
            .record(ResourceKind::Worker)
            .is_some_and(|r| r.attempts > 0);
        let everything = mode == Some(Mode::Repair) || (mode == Some(Mode::Stub) && refused);
        let asks =
            everything && !self.secrets.write_through.is_empty() && self.secret_names().is_none();
        if asks {
            self.ask_for_names("it must be seen which keys it still has");
        }
        asks
    }

    /// The first key that came over HTTP and is not on the Worker any more, as far as that is known.
    pub(super) fn lost_key(&self, mode: Option<Mode>) -> Option<String> {
        let keys = &self.secrets.write_through;
        if mode == Some(Mode::Fresh) {
            return keys.first().cloned();
        }
        let names = self.secret_names()?;
        keys.iter().find(|k| !names.contains(*k)).cloned()
    }

    /// A reference wins over a key that came over HTTP, and it is said.
    pub(super) fn tell_of_superseded_keys(&mut self) {
        let superseded: Vec<Mutation> = self
            .secrets
            .known
            .iter()
            .filter(|s| matches!(s.source, SupplySource::Reference { .. }))
            .filter(|s| {
                let record = self.input.snapshot.secret(&s.name);
                record.is_some_and(|r| r.source == SecretSource::WriteThrough)
            })
            .map(|s| {
                let text = format!(
                    "{}: its reference replaces the key that came over HTTP",
                    s.name
                );
                event(EventReason::SecretsPushed, &self.names.worker, &text)
            })
            .collect();
        self.plan.opening.extend(superseded);
    }

    fn ask_for_names(&mut self, why: &str) {
        self.plan.needs.push(Need::SecretNames);
        self.verdict(ResourceKind::Worker, Action::Wait, why);
    }

    /// Names of the Worker's secrets, if they were read for this pass.
    fn secret_names(&self) -> Option<BTreeSet<String>> {
        let observed = self.input.observed;
        observed.secret_names.clone().or_else(|| {
            let settings = observed.settings.as_ref()?;
            let secrets = settings.bindings.iter().filter(|b| b.kind == "secret_text");
            Some(secrets.map(|b| b.name.clone()).collect())
        })
    }
}

fn never_was(secret: &SecretRecord) -> bool {
    secret.pushed_at.is_none()
}

fn gone(secret: &SecretRecord) -> Mutation {
    Mutation::SecretGone {
        name: secret.name.clone(),
    }
}

/// It is there. Which value it has is known only if there never was another.
fn arrived(secret: &SecretRecord) -> Mutation {
    Mutation::Secret(SecretWrite {
        name: secret.name.clone(),
        provider: secret.provider.clone(),
        source: secret.source,
        reference: None,
        state: SecretState::Pushed,
        fingerprint: secret.fingerprint.clone().filter(|_| never_was(secret)),
    })
}
