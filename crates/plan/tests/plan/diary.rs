//! What a stage saw, decided, called and wrote, line by line: for goldens of whole histories.

use chrono::{DateTime, Utc};
use talon_core::Snapshot;
use talon_core::mutation::{Intent, Mutation, Outcome, ResourceWrite};
use talon_plan::effect::{Answer, Failure};
use talon_plan::{Need, Plan};

#[derive(Debug, Clone, Default)]
pub struct Diary {
    lines: Vec<String>,
    /// The plan as last noted: one that stands still is told once.
    plan: Vec<String>,
}

impl Diary {
    /// What was noted since this was last asked.
    pub fn take(&mut self) -> String {
        std::mem::take(&mut self.lines).join("\n")
    }

    fn note(&mut self, line: String) {
        self.lines.push(line);
    }

    /// What was decided, if it is not what was decided before.
    pub fn plan(&mut self, plan: &Plan, now: DateTime<Utc>) {
        let mut told: Vec<String> = Vec::new();
        for v in &plan.verdicts {
            told.push(format!("  {} {:?}: {}", v.resource, v.action, v.why));
        }
        for s in &plan.steps {
            let rebuilds = if s.rebuilds { ", rebuilds" } else { "" };
            told.push(format!(
                "  step {} {} after {:?}{rebuilds}: {}",
                s.id,
                s.kind.name(),
                s.after,
                s.why
            ));
        }
        for need in &plan.needs {
            told.push(match need {
                Need::ListsAfter(t) => format!("  needs lists {}", since(*t, now)),
                Need::Settings => "  needs settings".to_owned(),
                Need::SecretNames => "  needs names of secrets".to_owned(),
            });
        }
        if let Some(recheck) = plan.recheck_in {
            told.push(format!("  again in {recheck:?}"));
        }
        if told != self.plan {
            self.note("plan".to_owned());
            self.lines.extend(told.iter().cloned());
            self.plan = told;
        }
    }

    pub fn call(&mut self, name: &str, outcome: &Result<Answer, Failure>) {
        let outcome = match outcome {
            Ok(Answer::Emptied { removed, empty }) => format!("{removed} removed, empty: {empty}"),
            Ok(Answer::WasAbsent) => "was absent".to_owned(),
            Ok(_) => "done".to_owned(),
            Err(f) => f.message.clone(),
        };
        self.note(format!("call {name}: {outcome}"));
    }

    /// What a transaction changes.
    pub fn writes(&mut self, row: &Snapshot, mutations: &[Mutation]) {
        for mutation in mutations {
            let line = match mutation {
                Mutation::Resource(w) => resource(w),
                Mutation::Secret(w) => format!("secret {} {} {}", w.name, w.source, w.state),
                Mutation::SecretGone { name } => format!("secret {name} gone"),
                Mutation::AuthTokenCandidate { .. } => "auth token candidate".to_owned(),
                Mutation::AuthTokenState { try_id, state } => {
                    let at = row.auth_tokens.iter().position(|t| t.try_id == *try_id);
                    format!("auth token {at:?} {state}")
                }
                Mutation::Names { .. } => "names".to_owned(),
                Mutation::Identity { .. } => "identity".to_owned(),
                Mutation::Latch { generation } => format!("latch {}", generation.0),
                Mutation::Status(w) if w.is_empty() => continue,
                Mutation::Status(w) => format!(
                    "status {:?} {:?} generation {:?} url {} token {:?} keys {:?} {:?}",
                    w.deployment_status,
                    w.deployment_error,
                    w.observed_generation.map(|g| g.0),
                    w.worker_url.is_some(),
                    w.r2_token_id,
                    w.has_anthropic_key,
                    w.has_openai_key
                ),
                Mutation::Contact(c) => format!("contact tries {}: {:?}", c.tries, c.problem),
                Mutation::Condition(c) => {
                    let old = row.conditions.iter().find(|o| o.condition.kind == c.kind);
                    if old.is_some_and(|o| o.condition == *c) {
                        continue;
                    }
                    format!(
                        "{} {} {}: {}",
                        c.kind,
                        c.status.as_str(),
                        c.reason,
                        c.message
                    )
                }
                Mutation::Event(e) => format!(
                    "event {:?} {} {}: {}",
                    e.severity, e.reason, e.object, e.message
                ),
                Mutation::Card(_) => "card".to_owned(),
                Mutation::CardGone => "card gone".to_owned(),
                Mutation::Archive => "archive".to_owned(),
            };
            self.note(format!("  - {line}"));
        }
    }
}

/// A time as it stands to another one.
fn since(t: DateTime<Utc>, now: DateTime<Utc>) -> String {
    if t == DateTime::<Utc>::MIN_UTC {
        return "at all".to_owned();
    }
    format!("from {} ms ago", (now - t).num_milliseconds())
}

fn resource(w: &ResourceWrite) -> String {
    let mut out = format!("{} {}", w.kind, w.state);
    let mut word = |text: String| {
        out.push(' ');
        out.push_str(&text);
    };
    match &w.outcome {
        Some(Outcome::Ok) => word("ok".to_owned()),
        Some(Outcome::Failed(m)) => word(format!("failed ({m})")),
        None => {}
    }
    match &w.intent {
        Some(Intent::Open { settle_in }) => word(format!("open for {settle_in:?}")),
        Some(Intent::Settled) => word("settled".to_owned()),
        Some(Intent::Cleared) => word("cleared".to_owned()),
        None => {}
    }
    for (name, written) in [
        ("id", w.external_id.as_ref().map(Option::is_some)),
        ("try", w.try_id.as_ref().map(|_| true)),
        ("desired", w.desired_hash.as_ref().map(|h| !h.is_empty())),
        ("observed", w.observed_hash.as_ref().map(Option::is_some)),
        ("version", w.version_id.as_ref().map(Option::is_some)),
    ] {
        match written {
            Some(true) => word(name.to_owned()),
            Some(false) => word(format!("no-{name}")),
            None => {}
        }
    }
    if w.confirmed {
        word("confirmed".to_owned());
    }
    if let Some(c) = &w.cleanup {
        word(format!("cleanup {} {:?}", c.result, c.error));
    }
    out
}
