//! Three-valued knowledge: what a record and a look together say about a thing.
//!
//! Rules. A definite answer of our own that is younger than the look wins. A look may lag behind Cloudflare's own
//! answers by `list_lag`: within that time it may confirm but not contradict. A thing whose last call has no known
//! outcome is `unknown` until a look shows it, or a look that began after the call can no longer land does not.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use talon_core::cloud::{BucketInfo, TokenInfo, WorkerInfo};
use talon_core::name::WorkerMarks;
use talon_core::resource::{ResourceKind, ResourceRecord, ResourceState};

use crate::desired::Names;
use crate::input::{Input, Look, Timing};

/// How long a fresh Worker may be listed without its tags. Source: observed on the live API.
const TAGLESS: Duration = Duration::from_secs(60);

/// What is known of a thing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Known<T> {
    /// Not there, and never was or rightly gone.
    #[default]
    Absent,
    /// It was there by our own records, and a trustworthy look no longer shows it.
    Vanished,
    /// There; with what the look showed, where the look is trustworthy.
    Present(Option<T>),
    /// There, but not ours.
    Foreign(String),
    /// Cannot be told yet.
    Unknown(Unknown),
}

/// Why it cannot be told, and what would help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// For people.
    pub why: String,
    /// A look that began after this may tell.
    pub look_after: DateTime<Utc>,
}

impl<T> Known<T> {
    /// Whether it is there and ours.
    pub fn is_present(&self) -> bool {
        matches!(self, Self::Present(_))
    }

    /// Whether it is not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Absent | Self::Vanished)
    }
}

/// What is known of each of an agent's things.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The Worker.
    pub worker: Known<WorkerInfo>,
    /// The bucket.
    pub bucket: Known<BucketInfo>,
    /// The R2 token that is (or becomes) the recorded one.
    pub token: Known<TokenInfo>,
    /// Other tokens of our name.
    pub extra_tokens: Vec<TokenInfo>,
    /// Whether the workers.dev address is on, by our own records.
    pub route: bool,
    /// Whether a card is registered.
    pub card: bool,
}

/// Adds a duration to a time without panicking.
pub fn later(t: DateTime<Utc>, d: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(d)
        .ok()
        .and_then(|d| t.checked_add_signed(d))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// Works out what is known.
pub fn facts(input: &Input<'_>, names: &Names) -> Facts {
    let record = |kind| input.snapshot.resource(kind);
    let (token, extra_tokens) = token(input, record(ResourceKind::R2Token));
    Facts {
        worker: worker(input, names, record(ResourceKind::Worker)),
        bucket: bucket(input, record(ResourceKind::R2Bucket)),
        token,
        extra_tokens,
        route: record(ResourceKind::WorkerRoute).is_some_and(|r| r.state == ResourceState::Present),
        card: input.observed.card.as_ref().is_some_and(Option::is_some),
    }
}

/// The verdict of record and look when the look shows nothing.
fn unseen<T, S>(
    record: Option<&ResourceRecord>,
    look: &Look<S>,
    timing: &Timing,
    patient: bool,
    what: &str,
) -> Known<T> {
    let Some(record) = record else {
        return match look.as_of {
            Some(_) => Known::Absent,
            None => unknown(
                format!("{what} was never looked at"),
                DateTime::<Utc>::MIN_UTC,
            ),
        };
    };
    let confirmed = record.confirmed_at.unwrap_or(DateTime::<Utc>::MIN_UTC);
    match record.state {
        ResourceState::Absent => Known::Absent,
        ResourceState::Present | ResourceState::ValueUnplaced => {
            if look.after(later(confirmed, timing.list_lag)) {
                Known::Vanished
            } else {
                Known::Present(None)
            }
        }
        ResourceState::Unknown => {
            let intent = record.intent_at.unwrap_or(confirmed);
            let settled = record.settle_until.unwrap_or(intent);
            // A list may lag behind what landed last; a call that can simply be repeated need not wait for that.
            let decided = if patient {
                later(settled, timing.list_lag)
            } else {
                intent
            };
            // An answer that came after the intent and contradicts the look needs a younger one.
            let answered = record.confirmed_at.filter(|c| *c >= intent);
            let decided = answered.map_or(decided, |c| decided.max(later(c, timing.list_lag)));
            if look.after(decided) {
                Known::Absent
            } else {
                unknown(
                    format!("the outcome of the last call for {what} is open"),
                    decided,
                )
            }
        }
    }
}

fn unknown<T>(why: String, look_after: DateTime<Utc>) -> Known<T> {
    Known::Unknown(Unknown { why, look_after })
}

/// Whether a record says that the thing is definitely gone and the look may still show it out of lag.
fn gone_but_listed<S>(
    record: Option<&ResourceRecord>,
    look: &Look<S>,
    timing: &Timing,
) -> Option<DateTime<Utc>> {
    let record = record.filter(|r| r.state == ResourceState::Absent)?;
    let trusted = later(record.confirmed_at?, timing.list_lag);
    (!look.after(trusted)).then_some(trusted)
}

fn worker(input: &Input<'_>, names: &Names, record: Option<&ResourceRecord>) -> Known<WorkerInfo> {
    let (look, timing, now) = (
        &input.observed.worker,
        &input.world.timing,
        input.snapshot.now,
    );
    let Some(info) = &look.seen else {
        return unseen(record, look, timing, true, "the Worker");
    };
    if record.is_some_and(|r| {
        r.state == ResourceState::Present && r.confirmed_at.is_some_and(|c| !look.after(c))
    }) {
        return Known::Present(None);
    }
    let same_script = record
        .and_then(|r| r.external_id.as_ref())
        .is_some_and(|id| Some(id) == info.script_tag.as_ref());
    let tags = info.tags.as_ref().or(input
        .observed
        .settings
        .as_ref()
        .and_then(|s| s.tags.as_ref()));
    let marks = tags.and_then(|t| WorkerMarks::from_tags(t));
    let ours = marks
        .is_some_and(|m| m.install == input.world.install && m.agent == input.snapshot.agent.id);
    if !ours && !same_script && tags.is_some_and(|t| !t.is_empty()) {
        return Known::Foreign(names.worker.clone());
    }
    if let Some(trusted) = gone_but_listed(record, look, timing) {
        return if look.after(record.and_then(|r| r.confirmed_at).unwrap_or(now)) {
            unknown(
                "the Worker was deleted and a list still shows it".to_owned(),
                trusted,
            )
        } else {
            Known::Absent
        };
    }
    if ours || same_script {
        return Known::Present(Some(info.clone()));
    }
    // A request may land until it is settled; the tags may follow later still.
    let sent = record.and_then(|r| r.settle_until.max(r.intent_at));
    let tagged = sent.map(|t| later(later(t, TAGLESS), timing.list_lag));
    match tagged {
        Some(tagged) if !look.after(tagged) => {
            unknown("a Worker of our name shows no tags yet".to_owned(), tagged)
        }
        Some(_) | None => Known::Foreign(names.worker.clone()),
    }
}

fn bucket(input: &Input<'_>, record: Option<&ResourceRecord>) -> Known<BucketInfo> {
    let (look, timing) = (&input.observed.bucket, &input.world.timing);
    let Some(info) = &look.seen else {
        return unseen(record, look, timing, false, "the bucket");
    };
    let ours = record.is_some_and(|r| match (r.intent_at, info.creation_date) {
        (Some(intent), Some(created)) => {
            later(created, timing.clock_skew) >= ours_since(r).unwrap_or(intent)
        }
        (Some(_), None) => true,
        (None, _) => false,
    });
    if !ours {
        return Known::Foreign(info.name.clone());
    }
    if let Some(trusted) = gone_but_listed(record, look, timing) {
        return if look.after(record.and_then(|r| r.confirmed_at).unwrap_or(trusted)) {
            unknown(
                "the bucket was deleted and a list still shows it".to_owned(),
                trusted,
            )
        } else {
            Known::Absent
        };
    }
    Known::Present(Some(info.clone()))
}

/// A list that began after this shows a recorded token under our name, or it is not (any more) there.
pub fn token_shown_after(input: &Input<'_>, record: Option<&ResourceRecord>) -> DateTime<Utc> {
    let answered = record.and_then(|r| r.confirmed_at.max(r.intent_at));
    let answered = answered.unwrap_or(DateTime::<Utc>::MIN_UTC);
    if input.observed.tokens.after(answered) {
        later(answered, input.world.timing.list_lag)
    } else {
        answered
    }
}

/// Since when a bucket is ours on Cloudflare's clock; `None` where it was not known yet.
fn ours_since(record: &ResourceRecord) -> Option<DateTime<Utc>> {
    let text = record.observed_hash.as_deref()?;
    DateTime::parse_from_rfc3339(text).ok().map(|t| t.to_utc())
}

fn token(input: &Input<'_>, record: Option<&ResourceRecord>) -> (Known<TokenInfo>, Vec<TokenInfo>) {
    let (look, timing) = (&input.observed.tokens, &input.world.timing);
    let listed = look.seen.as_deref().unwrap_or(&[]);
    let recorded = record
        .filter(|r| r.state != ResourceState::Absent)
        .and_then(|r| r.external_id.as_deref());
    let chosen = match recorded {
        Some(id) => listed.iter().find(|t| t.id == id),
        None => listed
            .first()
            .filter(|_| gone_but_listed(record, look, timing).is_none()),
    };
    let extra = |keep: &str| {
        listed
            .iter()
            .filter(|t| t.id != keep)
            .cloned()
            .collect::<Vec<_>>()
    };
    if let Some(chosen) = chosen {
        return (Known::Present(Some(chosen.clone())), extra(&chosen.id));
    }
    match unseen(record, look, timing, true, "the R2 token") {
        // The recorded one is gone, another of our name is there: the oldest takes its place.
        Known::Vanished if !listed.is_empty() => (
            Known::Present(listed.first().cloned()),
            extra(&listed[0].id),
        ),
        // Without an id there is nothing to roll or to delete.
        Known::Present(_) if recorded.is_none() => (Known::Absent, Vec::new()),
        known => (known, Vec::new()),
    }
}
