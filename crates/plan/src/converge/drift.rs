//! Whether the Worker is as we left it, and so whether and how it is uploaded.

use std::time::Duration;

use chrono::{DateTime, Utc};
use talon_core::Snapshot;
use talon_core::cloud::WorkerInfo;
use talon_core::mutation::{Mutation, ResourceWrite};
use talon_core::resource::ResourceKind;

use super::{Builder, POLL};
use crate::desired;
use crate::know::{Known, later};
use crate::report::Action;
use crate::step::{Need, StepKind};

/// In a baseline, before the moment by which our last secrets call had been answered.
const AFTER_PUSH: &str = "|by:";
/// How much later than our estimate of its clock at the answer Cloudflare may have stamped the call.
const CLOCKS: Duration = Duration::from_secs(2);

/// How the Worker is to be uploaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// There is none: everything is supplied.
    Fresh,
    /// There is only one that holds keys: these are inherited, everything else is supplied.
    Stub,
    /// It is live and as we left it: what did not change is inherited.
    Upgrade,
    /// It is live and was changed behind our back: everything is supplied again.
    Repair,
}

/// More must be seen before this can be decided.
pub(super) struct Pending;

impl Builder<'_> {
    /// Whether and how the Worker is to be uploaded; `Err` when more must be seen first.
    pub(super) fn worker_mode(&mut self) -> Result<Option<Mode>, Pending> {
        if let Some(refused) = self.refused_since_look() {
            let why = "an upload was refused: younger lists must show what is there";
            self.verdict(ResourceKind::Worker, Action::Wait, why);
            self.plan.needs.push(Need::ListsAfter(refused));
            return Err(Pending);
        }
        let info = match self.plan.facts.worker.clone() {
            Known::Absent => return Ok(Some(Mode::Fresh)),
            Known::Vanished => {
                self.drift(
                    "worker",
                    format!(
                        "the Worker {} was deleted outside Talon; it is made again",
                        self.names.worker
                    ),
                );
                return Ok(Some(Mode::Fresh));
            }
            Known::Present(info) => info,
            Known::Foreign(_) | Known::Unknown(_) => return Err(Pending),
        };
        let Some(record) = self.record(ResourceKind::Worker).cloned() else {
            return Err(Pending);
        };
        if record.desired_hash.as_deref() == Some(desired::STUB_CODE) {
            return Ok(Some(Mode::Stub));
        }
        let wants_new_code = record.desired_hash.as_deref() != Some(self.code.hash.as_str());
        let refused = record.attempts > 0;
        let upgrade = if refused { Mode::Repair } else { Mode::Upgrade };
        let Some(info) = info else {
            return Ok(wants_new_code.then_some(upgrade));
        };
        let confirmed = record.confirmed_at.unwrap_or(DateTime::<Utc>::MIN_UTC);
        if !self.input.observed.worker.after(confirmed) {
            return Ok(wants_new_code.then_some(upgrade));
        }
        let marks = self.marks(&info);
        let as_left = marks
            .as_ref()
            .is_some_and(|m| record.desired_hash.as_ref() == Some(&m.code));
        let untouched = (record.observed_hash.as_ref()).is_none_or(|b| agrees(b, &info));
        if as_left && untouched {
            return Ok(wants_new_code.then_some(upgrade));
        }
        if !self
            .input
            .observed
            .worker
            .after(later(confirmed, self.input.world.timing.list_lag))
            && !untouched
        {
            // Within the lag a list may still show how it was before our own last write.
            self.recheck(self.input.world.timing.list_lag.min(POLL * 2));
            return Ok(wants_new_code.then_some(upgrade));
        }
        if !as_left {
            self.drift(
                "worker",
                format!(
                    "the Worker {} was changed outside Talon; it is uploaded again",
                    self.names.worker
                ),
            );
            return Ok(Some(Mode::Repair));
        }
        let Some(settings) = &self.input.observed.settings else {
            self.plan.needs.push(Need::Settings);
            self.verdict(
                ResourceKind::Worker,
                Action::Wait,
                "it was modified; its settings must be read",
            );
            return Err(Pending);
        };
        let same_code = record.observed_hash.as_deref().map(etag_of) == Some(etag_now(&info));
        if same_code && desired::settings_match(self.input, &self.names, &self.code, settings) {
            return Ok(wants_new_code.then_some(upgrade));
        }
        self.drift(
            "worker",
            format!(
                "the Worker {} was edited outside Talon; it is uploaded again",
                self.names.worker
            ),
        );
        Ok(Some(Mode::Repair))
    }

    /// When an upload was refused after the look: then what that look and the records say, of the Worker or of the
    /// bucket it binds, is not to be trusted.
    fn refused_since_look(&self) -> Option<DateTime<Utc>> {
        let record = self
            .record(ResourceKind::Worker)
            .filter(|r| r.attempts > 0)?;
        record
            .intent_at
            .filter(|t| !self.input.observed.worker.after(*t))
    }

    /// The first list entry after our own last write, with our marks, is what later lists are compared with.
    pub(super) fn adopt_baseline(&mut self) {
        let Known::Present(Some(info)) = self.plan.facts.worker.clone() else {
            return;
        };
        let Some(record) = self.record(ResourceKind::Worker) else {
            return;
        };
        let seen = baseline(&info);
        if record.observed_hash.as_ref() == Some(&seen) || self.plan.recheck_in.is_some() {
            return;
        }
        let marks = self.marks(&info);
        let matches = marks.is_some_and(|m| {
            record.desired_hash.as_ref() == Some(&m.code)
                && record.try_id.as_ref() == Some(&m.try_id)
        });
        if matches
            && record
                .confirmed_at
                .is_some_and(|c| self.input.observed.worker.after(c))
        {
            let write = ResourceWrite {
                external_id: Some(info.script_tag.clone()),
                observed_hash: Some(Some(seen)),
                ..ResourceWrite::new(ResourceKind::Worker, &self.names.worker, record.state)
            };
            let kind = StepKind::Record(vec![Mutation::Resource(write)]);
            self.step(kind, Vec::new(), false, "remember how the list shows it");
        }
    }
}

/// How a list shows a Worker: changes whenever anybody writes to it.
pub(super) fn baseline(info: &WorkerInfo) -> String {
    let modified = info.modified_on.map(|t| t.to_rfc3339()).unwrap_or_default();
    format!("{}|{modified}", etag_now(info))
}

/// The baseline that outlives a secrets call of our own, which changes `modified_on` and not the etag: that hashes the
/// code alone. A later edit, between the call and the next list, changes either, or comes after the answer: `answered`,
/// on Cloudflare's own clock, as far as that is known.
pub(crate) fn after_push(snapshot: &Snapshot, answered: Option<DateTime<Utc>>) -> Option<String> {
    let worker = snapshot.resource(ResourceKind::Worker)?;
    let etag = Some(etag_of(worker.observed_hash.as_deref()?)).filter(|etag| !etag.is_empty())?;
    let answered = answered.map(|t| t.to_rfc3339()).unwrap_or_default();
    Some(format!("{etag}{AFTER_PUSH}{answered}"))
}

/// Whether a list shows a Worker as a baseline has it, as far as that one knows.
pub(super) fn agrees(known: &str, info: &WorkerInfo) -> bool {
    let Some((etag, answered)) = known.split_once(AFTER_PUSH) else {
        return known == baseline(info);
    };
    let answered = DateTime::parse_from_rfc3339(answered).ok();
    let ours = info
        .modified_on
        .zip(answered)
        .is_some_and(|(modified, answered)| modified <= later(answered.to_utc(), CLOCKS));
    etag == etag_now(info) && ours
}

fn etag_of(baseline: &str) -> &str {
    baseline.split('|').next().unwrap_or_default()
}

fn etag_now(info: &WorkerInfo) -> &str {
    info.etag.as_deref().unwrap_or_default()
}
