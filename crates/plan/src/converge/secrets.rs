//! Which secrets are to be sent, and which lack stops everything.

use talon_core::condition::Reason;
use talon_core::resource::ResourceKind;
use talon_core::secret::names as secret_names;
use talon_core::snapshot::{AuthTokenState, SecretSource, SecretState};

use super::Builder;
use super::drift::Mode;
use crate::report::Action;
use crate::step::{Block, Supply, SupplySource};

impl Builder<'_> {
    pub(super) fn blocked_by_secrets(&mut self, mode: Option<Mode>) -> bool {
        let supplies_all = matches!(mode, Some(Mode::Fresh | Mode::Stub | Mode::Repair));
        let lost = self
            .secrets
            .missing
            .iter()
            .find(|m| supplies_all || !m.kept)
            .cloned();
        let gone = self.lost_key(mode);
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
                message: format!(
                    "{name} came over HTTP and is not on the Worker any more; set it again (talon secrets set), Talon keeps \
                     no copy"
                ),
                stalled: true,
            })
        } else if !self.secrets.provider_has_key {
            let provider = self
                .input
                .snapshot
                .agent
                .spec
                .model
                .split('/')
                .next()
                .unwrap_or_default()
                .to_owned();
            Some(Block {
                reason: Reason::AwaitingKeys,
                at: "Secrets".to_owned(),
                message: format!(
                    "the model's provider {provider} has no key; add api_key_refs.{provider}, or hand it in with talon secrets \
                     set"
                ),
                stalled: false,
            })
        } else {
            None
        };
        let Some(block) = block else { return false };
        self.plan.opening.clear();
        self.verdict(
            ResourceKind::Worker,
            if block.stalled {
                Action::Refuse
            } else {
                Action::Wait
            },
            block.message.clone(),
        );
        self.plan.block = Some(block);
        true
    }

    pub(super) fn has_current_auth_token(&self) -> bool {
        self.input
            .snapshot
            .auth_tokens
            .iter()
            .any(|t| t.state == AuthTokenState::Current)
    }

    /// Secrets that Talon can supply and that are not on the Worker as they should be.
    pub(super) fn changed_secrets(&self) -> Vec<Supply> {
        let differs = |s: &Supply| {
            self.input.snapshot.secret(&s.name).is_none_or(|r| {
                r.state == SecretState::Pushing
                    || r.source == SecretSource::WriteThrough
                    || r.fingerprint.is_none()
                    || r.fingerprint != s.fingerprint
            })
        };
        let revised = self
            .secrets
            .known
            .iter()
            .any(|s| s.name == secret_names::SECRETS_REV && differs(s));
        let by_reference = |s: &Supply| matches!(s.source, SupplySource::Reference { .. });
        let only_revision =
            revised && self.secrets.known.iter().filter(|s| differs(s)).count() == 1;
        self.secrets
            .known
            .iter()
            .filter(|s| differs(s) || (only_revision && by_reference(s)))
            .cloned()
            .collect()
    }
}
