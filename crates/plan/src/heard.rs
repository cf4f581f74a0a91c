//! What is made of a Worker's answer: whether it runs with what was pushed, and what is to be put right if it does not.
//!
//! Guarantees: what it says is compared with the records, never taken into them, but for the names of what it runs. For
//! a minute after a write an old version may answer, and nothing is concluded. Repairs end after [`MOST_REPAIRS`] in a
//! row: a Worker that reports nonsense must not cost calls without end.

use talon_core::Snapshot;
use talon_core::contact::ContactWrite;
use talon_core::deliver::{WakeError, WorkerReport};
use talon_core::event::EventReason;
use talon_core::mutation::{Intent, Mutation, Outcome, ResourceWrite, SecretWrite};
use talon_core::resource::{ResourceKind, ResourceRecord, ResourceState};
use talon_core::secret::names;
use talon_core::snapshot::{AuthTokenState, SecretRecord, SecretSource, SecretState};

use crate::converge::{adopted, after_push, event};
use crate::knock::{mark, propagating};

/// How often in a row what a report asks for is pushed again.
const MOST_REPAIRS: i64 = 2;

/// The answer of a Worker that was spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whether it heard the wake.
    pub woken: bool,
    /// What it says of itself, or why that is not known.
    pub report: Result<WorkerReport, WakeError>,
}

/// What is written after a Worker was spoken to.
pub fn heard(snapshot: &Snapshot, answer: &Answer) -> Vec<Mutation> {
    let before = snapshot.contact.as_ref();
    let mark = mark(snapshot);
    let tries = before.filter(|c| c.mark == mark).map_or(0, |c| c.tries);
    let mut contact = ContactWrite {
        mark,
        tries: tries + 1,
        answered: answer.woken,
        problem: None,
        repairs: before.map_or(0, |c| c.repairs),
        try_id: before.and_then(|c| c.try_id.clone()),
        runtime: before.and_then(|c| c.runtime.clone()),
    };
    let mut writes = Vec::new();
    let finding = match &answer.report {
        Ok(report) => {
            contact.try_id = report.try_id.clone().or(contact.try_id);
            contact.runtime = report.runtime.clone().or(contact.runtime);
            let finding = compare(snapshot, report);
            writes.extend(confirmed(snapshot, report));
            finding
        }
        Err(WakeError::Refused) => Finding::Differs(Differs {
            other_try: false,
            secrets: snapshot.secret(names::CONTROL_TOKEN).into_iter().collect(),
            says: WakeError::Refused.to_string(),
        }),
        Err(error) => Finding::Unclear(error.to_string()),
    };
    match finding {
        Finding::AsPushed => {
            contact.tries = 0;
            contact.repairs = 0;
        }
        Finding::Unclear(problem) => contact.problem = Some(problem),
        Finding::Differs(differs) if propagating(snapshot) => {
            contact.problem = Some(format!(
                "{}; the last write may still be on its way",
                differs.says
            ));
        }
        Finding::Differs(differs) if contact.repairs >= MOST_REPAIRS => {
            contact.problem = Some(format!("{}, however often it is pushed", differs.says));
        }
        Finding::Differs(differs) => {
            let (again, lost) = wrong(snapshot, &differs);
            let told = told(&differs, &again, &lost);
            if !again.is_empty() {
                contact.repairs += 1;
                writes.extend(repair(snapshot, &again, &told));
            }
            contact.problem = Some(told);
        }
    }
    writes.push(Mutation::Contact(contact));
    writes
}

enum Finding<'a> {
    /// It runs with what was pushed, as far as that is known.
    AsPushed,
    /// It cannot be told.
    Unclear(String),
    /// It does not.
    Differs(Differs<'a>),
}

struct Differs<'a> {
    /// Another upload than the recorded one answers.
    other_try: bool,
    /// These have other values than were pushed.
    secrets: Vec<&'a SecretRecord>,
    /// In words.
    says: String,
}

fn worker(snapshot: &Snapshot) -> Option<&ResourceRecord> {
    snapshot.resource(ResourceKind::Worker)
}

fn compare<'a>(snapshot: &'a Snapshot, report: &WorkerReport) -> Finding<'a> {
    let tried = worker(snapshot).and_then(|r| r.try_id.as_ref());
    let open = worker(snapshot).is_some_and(|r| r.state == ResourceState::Unknown);
    let other_try = tried.is_some() && report.try_id.is_some() && report.try_id.as_ref() != tried;
    let secrets: Vec<&SecretRecord> = (snapshot.secrets.iter())
        .filter(|s| s.state != SecretState::Pushing && holds(report, s) == Some(false))
        .collect();
    if open && (other_try || !secrets.is_empty()) {
        return Finding::Unclear("an earlier version still answers".to_owned());
    }
    if other_try {
        let says = "another upload than the last one answers".to_owned();
        return Finding::Differs(Differs {
            other_try,
            secrets,
            says,
        });
    }
    if !secrets.is_empty() {
        let named: Vec<&str> = secrets.iter().map(|s| s.name.as_str()).collect();
        let says = format!(
            "it runs with other values of {} than were pushed",
            named.join(", ")
        );
        return Finding::Differs(Differs {
            other_try,
            secrets,
            says,
        });
    }
    let pushing = (snapshot.secrets.iter())
        .any(|s| s.state == SecretState::Pushing && holds(report, s) != Some(true));
    if pushing {
        return Finding::Unclear("a push has not arrived yet".to_owned());
    }
    Finding::AsPushed
}

/// Whether the Worker holds the value that was pushed; `None`: what was pushed is not known.
fn holds(report: &WorkerReport, secret: &SecretRecord) -> Option<bool> {
    let pushed = secret.fingerprint.as_ref()?;
    let held = if secret.name == names::SECRETS_REV {
        report.secrets_rev.as_ref()
    } else {
        report.fingerprints.get(&secret.name)
    };
    Some(held == Some(pushed))
}

/// What the report proves: secrets that arrived, and the call or the try that brought them.
fn confirmed(snapshot: &Snapshot, report: &WorkerReport) -> Vec<Mutation> {
    let Some(worker) = worker(snapshot) else {
        return Vec::new();
    };
    match worker.state {
        ResourceState::Unknown => promote_try(snapshot, worker, report),
        ResourceState::Present => {
            let mut writes = landed(snapshot, worker, report);
            let pushing = |s: &SecretRecord| s.state == SecretState::Pushing;
            let whole = !writes.is_empty();
            writes.extend(
                (snapshot.secrets.iter())
                    .filter(|s| s.state == SecretState::Pushed || (whole && pushing(s)))
                    .filter(|s| holds(report, s) == Some(true))
                    .map(|s| secret(s, SecretState::Verified, s.fingerprint.clone())),
            );
            writes
        }
        ResourceState::Absent | ResourceState::ValueUnplaced => Vec::new(),
    }
}

/// An upload whose answer was lost is live: its token is the current one. What code it brought is known when its tag is
/// seen, which no call needs to wait for.
fn promote_try(
    snapshot: &Snapshot,
    worker: &ResourceRecord,
    report: &WorkerReport,
) -> Vec<Mutation> {
    let candidate = (snapshot.auth_tokens.iter()).find(|t| {
        t.state == AuthTokenState::Candidate
            && Some(&t.try_id) == worker.try_id.as_ref()
            && Some(&t.try_id) == report.try_id.as_ref()
    });
    let Some(token) = candidate else {
        return Vec::new();
    };
    vec![
        Mutation::AuthTokenState {
            try_id: token.try_id.clone(),
            state: AuthTokenState::Current,
        },
        event(
            EventReason::TryObserved,
            &worker.name,
            "the Worker says that it runs an upload whose answer was lost",
        ),
    ]
}

/// A secrets call whose answer was lost arrived, if every value it would have brought is there: it is one call for all.
fn landed(snapshot: &Snapshot, worker: &ResourceRecord, report: &WorkerReport) -> Vec<Mutation> {
    let pushing: Vec<&SecretRecord> = (snapshot.secrets.iter())
        .filter(|s| s.state == SecretState::Pushing)
        .collect();
    let whole = pushing.iter().all(|s| holds(report, s) == Some(true));
    if worker.settle_until.is_none() || pushing.is_empty() || !whole {
        return Vec::new();
    }
    let mut writes = vec![
        Mutation::Resource(ResourceWrite {
            observed_hash: Some(after_push(snapshot, None)),
            // The version it made was in the answer that got lost: an older one holds older secrets.
            version_id: Some(None),
            outcome: Some(Outcome::Ok),
            intent: Some(Intent::Settled),
            confirmed: true,
            ..ResourceWrite::new(ResourceKind::Worker, &worker.name, ResourceState::Present)
        }),
        event(
            EventReason::TryObserved,
            &worker.name,
            "the Worker says that a secrets call whose answer was lost arrived",
        ),
    ];
    let brought = |name: &str| pushing.iter().any(|s| s.name == name);
    let newest = (snapshot.auth_tokens.iter())
        .filter(|t| t.state != AuthTokenState::Retired)
        .max_by_key(|t| (t.created_at, &t.try_id))
        .filter(|t| t.state == AuthTokenState::Candidate && brought(names::AUTH_TOKEN));
    if let Some(newest) = newest {
        writes.push(Mutation::AuthTokenState {
            try_id: newest.try_id.clone(),
            state: AuthTokenState::Current,
        });
        let others = (snapshot.auth_tokens.iter())
            .filter(|t| t.state == AuthTokenState::Candidate && t.try_id != newest.try_id);
        writes.extend(others.map(|t| Mutation::AuthTokenState {
            try_id: t.try_id.clone(),
            state: AuthTokenState::Retired,
        }));
    }
    let token = (snapshot.resource(ResourceKind::R2Token)).filter(|r| {
        r.state == ResourceState::ValueUnplaced && brought(names::R2_SECRET_ACCESS_KEY)
    });
    writes.extend(token.map(|r| adopted(ResourceKind::R2Token, &r.name, ResourceState::Present)));
    writes
}

/// What the Worker does not hold as it was pushed: what can be pushed again, and keys that came over HTTP, of which no
/// value is kept. Of another upload nothing is known: everything that can be supplied.
fn wrong<'a>(
    snapshot: &'a Snapshot,
    differs: &Differs<'_>,
) -> (Vec<&'a SecretRecord>, Vec<&'a SecretRecord>) {
    let named = |s: &SecretRecord| differs.secrets.iter().any(|d| d.name == s.name);
    let kept = |s: &SecretRecord| s.source != SecretSource::WriteThrough;
    let all = snapshot.secrets.iter();
    let again = all.clone().filter(|s| differs.other_try || named(s));
    (
        again.filter(|s| kept(s)).collect(),
        all.filter(|s| named(s) && !kept(s)).collect(),
    )
}

/// What is wrong and what comes of it, for people.
fn told(differs: &Differs<'_>, again: &[&SecretRecord], lost: &[&SecretRecord]) -> String {
    let mut told = differs.says.clone();
    if !lost.is_empty() {
        let names: Vec<&str> = lost.iter().map(|s| s.name.as_str()).collect();
        told += &format!(
            "; set {} again (talon secrets set), Talon keeps no copy",
            names.join(", ")
        );
    }
    if !again.is_empty() {
        told += if lost.is_empty() {
            "; it is pushed again"
        } else {
            "; the rest is pushed again"
        };
    }
    told
}

/// Makes the planner push these again.
fn repair(snapshot: &Snapshot, again: &[&SecretRecord], told: &str) -> Vec<Mutation> {
    let Some(worker) = worker(snapshot) else {
        return Vec::new();
    };
    let mut writes = vec![event(
        EventReason::DriftDetected,
        &worker.name,
        &format!("the Worker itself tells: {told}"),
    )];
    let among = |name: &str| again.iter().any(|s| s.name == name);
    if among(names::AUTH_TOKEN) {
        let accepted = (snapshot.auth_tokens.iter()).filter(|t| t.state != AuthTokenState::Retired);
        writes.extend(accepted.map(|t| Mutation::AuthTokenState {
            try_id: t.try_id.clone(),
            state: AuthTokenState::Retired,
        }));
    }
    if among(names::R2_ACCESS_KEY_ID) || among(names::R2_SECRET_ACCESS_KEY) {
        let token = (snapshot.resource(ResourceKind::R2Token))
            .filter(|r| r.state == ResourceState::Present);
        writes.extend(token.map(|r| {
            let unplaced = ResourceState::ValueUnplaced;
            adopted(ResourceKind::R2Token, &r.name, unplaced)
        }));
    }
    writes.extend(again.iter().map(|s| secret(s, SecretState::Pushing, None)));
    writes
}

fn secret(record: &SecretRecord, state: SecretState, fingerprint: Option<String>) -> Mutation {
    Mutation::Secret(SecretWrite {
        name: record.name.clone(),
        provider: record.provider.clone(),
        source: record.source,
        reference: record.reference.clone(),
        state,
        fingerprint,
    })
}
