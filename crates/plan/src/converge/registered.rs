//! A registration at the Hub as evidence: whoever shows the auth token of a try runs what that try brought.

use talon_core::event::EventReason;
use talon_core::mutation::{Intent, Mutation, Outcome, ResourceWrite, SecretWrite};
use talon_core::resource::{ResourceKind, ResourceState};
use talon_core::snapshot::{AuthTokenRecord, AuthTokenState, SecretSource, SecretState};

use super::Builder;
use super::drift::after_push;
use super::landed::{adopted, event};
use crate::step::StepKind;

impl Builder<'_> {
    /// Promotes the last try, whose answer was lost, if the Worker is connected with its token.
    ///
    /// Of an open upload only the token is promoted: what code it brought is known when its tag is seen, which no call
    /// needs to wait for. A secrets call leaves no tag; that its token arrived says that all of it did, since it is one
    /// call for all.
    pub(super) fn accept_registration(&mut self) -> bool {
        let Some(token) = self.registered_candidate() else {
            return false;
        };
        let Some(worker) = self.record(ResourceKind::Worker) else {
            return false;
        };
        let mut writes = vec![
            Mutation::AuthTokenState {
                try_id: token.try_id.clone(),
                state: AuthTokenState::Current,
            },
            event(
                EventReason::TryObserved,
                &self.names.worker,
                "the Worker registered at the Hub with the token of a call whose answer was lost",
            ),
        ];
        match worker.state {
            ResourceState::Unknown if worker.try_id.as_ref() == Some(&token.try_id) => {}
            ResourceState::Present if self.plan.facts.worker.is_present() => {
                writes.extend(self.retire(|t| *t != token.try_id));
                writes.extend(self.secrets_call_landed());
            }
            ResourceState::Unknown
            | ResourceState::Present
            | ResourceState::ValueUnplaced
            | ResourceState::Absent => return false,
        }
        self.step(
            StepKind::Record(writes),
            Vec::new(),
            false,
            "put the records right after what was seen at the Hub",
        );
        true
    }

    /// The candidate that the Worker is connected with, if no later token is accepted: a connection of before a later
    /// call says nothing of that call, and may be one that only seems to be open.
    fn registered_candidate(&self) -> Option<&AuthTokenRecord> {
        let snapshot = self.input.snapshot;
        let presence = snapshot.presence.as_ref().filter(|p| p.connected)?;
        let accepted = |t: &&AuthTokenRecord| t.state != AuthTokenState::Retired;
        snapshot
            .auth_tokens
            .iter()
            .filter(accepted)
            .max_by_key(|t| (t.created_at, &t.try_id))
            .filter(|t| t.state == AuthTokenState::Candidate && t.sha256 == presence.token_sha256)
    }

    fn secrets_call_landed(&self) -> Vec<Mutation> {
        let mut writes = vec![Mutation::Resource(ResourceWrite {
            observed_hash: Some(after_push(self.input.snapshot, None)),
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
        })];
        let brought = self.input.snapshot.secrets.iter().filter(|s| {
            s.state == SecretState::Pushing
                && match s.source {
                    SecretSource::Generated => true,
                    // Without one it could not be read, and so was not sent.
                    SecretSource::Reference => s.fingerprint.is_some(),
                    // Keys that came over HTTP travel in calls of their own.
                    SecretSource::WriteThrough => false,
                }
        });
        writes.extend(brought.map(|s| {
            Mutation::Secret(SecretWrite {
                name: s.name.clone(),
                provider: s.provider.clone(),
                source: s.source,
                reference: s.reference.clone(),
                state: SecretState::Pushed,
                fingerprint: s.fingerprint.clone(),
            })
        }));
        if let Some(token) = self
            .record(ResourceKind::R2Token)
            .filter(|r| r.state == ResourceState::ValueUnplaced && self.older_than_try(r))
        {
            let (kind, state) = (ResourceKind::R2Token, ResourceState::Present);
            writes.push(adopted(kind, &token.name, state));
        }
        writes
    }
}
