//! From a step to the call it makes, with the values of this pass in their places.

use std::collections::BTreeMap;

use talon_core::name::WorkerMarks;
use talon_core::{Snapshot, TryId};
use talon_plan::desired::{STUB_CODE, TRY_VARIABLE};
use talon_plan::step::UploadPlan;
use talon_plan::{StepKind, Supply, SupplySource};

use crate::reality::{Call, Upload, sha};
use crate::stage::Stage;

/// What a pass made and hands from one step to the next.
pub struct Made {
    pub try_id: TryId,
    pub auth: Option<String>,
    pub auth_placed: bool,
    pub r2: Option<(String, String)>,
}

impl Stage {
    pub fn call_of(&self, snapshot: &Snapshot, kind: &StepKind, made: &Made) -> Option<Call> {
        Some(match kind {
            StepKind::Record(_) => return None,
            StepKind::CreateBucket(b) => Call::CreateBucket(b.name.clone(), b.jurisdiction),
            StepKind::CreateToken(t) => Call::CreateToken(t.name.clone()),
            StepKind::RollToken { id, .. } => Call::RollToken(id.clone()),
            StepKind::DropToken { id } => Call::DeleteTokens(vec![id.clone()]),
            StepKind::DeleteToken { ids, .. } => Call::DeleteTokens(ids.clone()),
            StepKind::Upload(u) => Call::Upload(Box::new(self.upload_of(snapshot, u, made))),
            StepKind::UploadStub { worker } => {
                let marks = WorkerMarks {
                    install: self.world.install.clone(),
                    agent: snapshot.agent.id,
                    code: STUB_CODE.to_owned(),
                    try_id: made.try_id.clone(),
                };
                Call::Stub(worker.clone(), marks.to_tags())
            }
            StepKind::EnableRoute { worker } => Call::Route(worker.clone()),
            StepKind::PushSecrets { worker, set, unset } => {
                let mut changes = BTreeMap::new();
                for supply in set {
                    changes.insert(supply.name.clone(), Some(self.value_of(supply, made)));
                }
                changes.extend(unset.iter().map(|n| (n.clone(), None)));
                Call::Push(worker.clone(), changes)
            }
            StepKind::RegisterCard(card) => Call::Register(card.clone()),
            StepKind::DeleteWorker { worker } => Call::DeleteWorker(worker.clone()),
            StepKind::EmptyBucket(b) => Call::EmptyBucket(b.name.clone()),
            StepKind::DeleteBucket(b) => Call::DeleteBucket(b.name.clone()),
            StepKind::DeregisterCard => Call::Deregister,
        })
    }

    fn upload_of(&self, snapshot: &Snapshot, u: &UploadPlan, made: &Made) -> Upload {
        let marks = WorkerMarks {
            install: self.world.install.clone(),
            agent: snapshot.agent.id,
            code: u.code.clone(),
            try_id: made.try_id.clone(),
        };
        let mut plain: BTreeMap<_, _> = u.plain.iter().cloned().collect();
        plain.insert(TRY_VARIABLE.to_owned(), made.try_id.to_string());
        Upload {
            worker: u.worker.clone(),
            tags: marks.to_tags(),
            content: format!("{}\n{}", self.world.bundle.sha256, u.identity_md),
            plain,
            bucket: u.bucket.name.clone(),
            supply: u
                .supply
                .iter()
                .map(|s| (s.name.clone(), self.value_of(s, made)))
                .collect(),
            inherit: u.inherit.clone(),
            migrate: u.migrate,
            flags: self.world.bundle.compatibility_flags.clone(),
        }
    }

    pub fn key(&self, name: &str) -> String {
        match self.keys.get(name) {
            None => format!("sk of {name}"),
            Some(Ok(value)) => value.clone(),
            Some(Err(problem)) => panic!("{name} has no value: {problem:?}"),
        }
    }

    /// The fingerprints of what was made in this pass, as the executor adds them.
    pub fn fill_fingerprints(&self, kind: &mut StepKind, made: &Made) {
        let supply = match kind {
            StepKind::Upload(upload) => &mut upload.supply,
            StepKind::PushSecrets { set, .. } => set,
            _ => return,
        };
        for one in supply.iter_mut().filter(|s| s.fingerprint.is_none()) {
            one.fingerprint = Some(sha(&self.value_of(one, made)));
        }
    }

    pub fn value_of(&self, supply: &Supply, made: &Made) -> String {
        let at_hand =
            |v: Option<String>| v.unwrap_or_else(|| panic!("no value for {} at hand", supply.name));
        match &supply.source {
            SupplySource::Reference { .. } => self.key(&supply.name),
            SupplySource::WriteThrough { .. } => at_hand(self.handed_in.get(&supply.name).cloned()),
            SupplySource::Text(text) => text.clone(),
            SupplySource::ControlToken => "control".to_owned(),
            SupplySource::AuthToken => at_hand(made.auth.clone()),
            SupplySource::R2AccessKeyId => at_hand(made.r2.as_ref().map(|r| r.0.clone())),
            SupplySource::R2SecretAccessKey => at_hand(made.r2.as_ref().map(|r| sha(&r.1))),
        }
    }
}

pub fn deletes(call: &Call) -> bool {
    matches!(
        call,
        Call::DeleteBucket(_)
            | Call::EmptyBucket(_)
            | Call::DeleteTokens(_)
            | Call::DeleteWorker(_)
            | Call::Deregister
    )
}
