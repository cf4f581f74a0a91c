//! What a pass makes and hands from one step to the next.

use talon_core::card::AgentCard;
use talon_core::clock::Random;
use talon_core::secret::{SecretValue, names};
use talon_core::{Snapshot, TryId};
use talon_plan::step::brings_auth_token;
use talon_plan::{Plan, StepKind, Supply, SupplySource};
use talon_secrets::Redactor;

use super::StepError;
use crate::observe::{Values, knows};

/// What a pass made and must hand from one step to the next; wiped with it.
pub(super) struct Made {
    pub(super) try_id: TryId,
    auth_token: Option<SecretValue>,
    pub(super) auth_sha256: Option<String>,
    pub(super) auth_placed: bool,
    pub(super) r2_token_id: Option<String>,
    pub(super) r2_token_value: Option<SecretValue>,
}

impl Made {
    /// Draws the try and, if the plan brings one, the auth token.
    pub(super) fn begin(random: &dyn Random, snapshot: &Snapshot, plan: &Plan) -> Self {
        let mut dice = [0u8; 10];
        random.fill(&mut dice);
        let bits = dice.iter().fold(0u128, |n, b| (n << 8) | u128::from(*b));
        let ms = u64::try_from(snapshot.now.timestamp_millis()).unwrap_or_default();
        let brings = plan
            .steps
            .iter()
            .any(|s| supply(&s.kind).is_some_and(brings_auth_token));
        let auth_token = brings.then(|| {
            let mut bytes = [0u8; 32];
            random.fill(&mut bytes);
            talon_secrets::token::generate(bytes)
        });
        Self {
            try_id: TryId::new(ms, bits),
            auth_sha256: auth_token.as_ref().map(SecretValue::sha256_hex),
            auth_token,
            auth_placed: false,
            r2_token_id: None,
            r2_token_value: None,
        }
    }

    /// Completes a step with what is known by now: the card's credentials, and the fingerprints of the secrets that were
    /// made for it.
    pub(super) fn fill(&self, step: &mut StepKind, snapshot: &Snapshot, values: &Values) {
        match step {
            StepKind::RegisterCard(card) => self.fill_credentials(card, snapshot),
            StepKind::Upload(upload) => self.fill_fingerprints(&mut upload.supply, values),
            StepKind::PushSecrets { set, .. } => self.fill_fingerprints(set, values),
            StepKind::Record(_)
            | StepKind::CreateBucket(_)
            | StepKind::CreateToken(_)
            | StepKind::RollToken { .. }
            | StepKind::DropToken { .. }
            | StepKind::UploadStub { .. }
            | StepKind::EnableRoute { .. }
            | StepKind::DeleteWorker { .. }
            | StepKind::EmptyBucket(_)
            | StepKind::DeleteBucket(_)
            | StepKind::DeleteToken { .. }
            | StepKind::DeregisterCard => {}
        }
    }

    /// The card carries the hash of the token that is on the Worker by now.
    fn fill_credentials(&self, card: &mut AgentCard, snapshot: &Snapshot) {
        let current = snapshot.agent.status.auth_token_hash.clone();
        let hash = self
            .auth_sha256
            .clone()
            .filter(|_| self.auth_placed)
            .or(current);
        if let (Some(hash), Some(authentication)) = (hash, card.authentication.as_mut()) {
            authentication.credentials = hash;
        }
    }

    fn fill_fingerprints(&self, supply: &mut [Supply], values: &Values) {
        let Some(control) = values.get(names::CONTROL_TOKEN) else {
            return;
        };
        for one in supply.iter_mut().filter(|s| s.fingerprint.is_none()) {
            // One that is not at hand fails the step itself.
            if let Ok(value) = self.resolve(one, values) {
                one.fingerprint = Some(value.fingerprint(control, &one.name));
            }
        }
    }

    /// The value of a secret that is to be sent.
    pub(super) fn resolve(
        &self,
        supply: &Supply,
        values: &Values,
    ) -> Result<SecretValue, StepError> {
        let value = match &supply.source {
            SupplySource::Text(text) => Some(SecretValue::new(text.clone())),
            SupplySource::Reference { .. }
            | SupplySource::WriteThrough { .. }
            | SupplySource::ControlToken => values.get(&supply.name).map(SecretValue::duplicate),
            SupplySource::AuthToken => self.auth_token.as_ref().map(SecretValue::duplicate),
            SupplySource::R2AccessKeyId => self.r2_token_id.clone().map(SecretValue::new),
            SupplySource::R2SecretAccessKey => self
                .r2_token_value
                .as_ref()
                .map(|v| SecretValue::new(v.sha256_hex())),
        };
        value.ok_or_else(|| StepError::Defect(format!("no value for {} at hand", supply.name)))
    }

    /// Knows every secret of the pass: an answer may speak of one that an earlier call of it carried.
    pub(super) fn redactor(&self, values: &Values) -> Redactor {
        let mut redactor = knows(values);
        for value in [&self.auth_token, &self.r2_token_value]
            .into_iter()
            .flatten()
        {
            redactor.add(value);
        }
        if let Some(value) = &self.r2_token_value {
            redactor.add(&SecretValue::new(value.sha256_hex()));
        }
        redactor
    }
}

/// The secrets that a step sends, if it does.
fn supply(step: &StepKind) -> Option<&[Supply]> {
    match step {
        StepKind::Upload(upload) => Some(&upload.supply),
        StepKind::PushSecrets { set, .. } => Some(set),
        StepKind::Record(_)
        | StepKind::CreateBucket(_)
        | StepKind::CreateToken(_)
        | StepKind::RollToken { .. }
        | StepKind::DropToken { .. }
        | StepKind::UploadStub { .. }
        | StepKind::EnableRoute { .. }
        | StepKind::RegisterCard(_)
        | StepKind::DeleteWorker { .. }
        | StepKind::EmptyBucket(_)
        | StepKind::DeleteBucket(_)
        | StepKind::DeleteToken { .. }
        | StepKind::DeregisterCard => None,
    }
}
