//! `talon diff`: manifests against rows, or a row against what was last observed.

use serde_json::{Value, json};
use talon_core::Snapshot;
use talon_core::condition::ConditionType;
use talon_plan::spec_diff::{self, FieldChange, Stage};

use crate::exit::{Exit, Failure};
use crate::manifests::{self, Source};
use crate::output::safe;
use crate::session::Session;
use crate::view;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "talon diff -f FILE… [-R]\n       talon diff NAME",
    after_help = "With NAME: what the last pass of the controller found to differ between the row and Cloudflare.\n\
Exit codes: 0 no difference, 1 differences, 10 failed."
)]
pub struct Args {
    /// Compare this agent's row with what is deployed
    #[arg(conflicts_with = "file", required_unless_present = "file")]
    name: Option<String>,
    #[command(flatten)]
    source: Source,
}

/// Compares.
pub async fn run(args: Args, session: Session) -> Result<Exit, Failure> {
    match &args.name {
        Some(name) => against_live(name, &session).await,
        None => against_rows(&args.source, &session).await,
    }
}

async fn against_rows(source: &Source, session: &Session) -> Result<Exit, Failure> {
    let documents = manifests::load(source, session)?;
    let fleet = session.fleet().await?;
    let mut items: Vec<Value> = Vec::new();
    let mut text = String::new();
    for d in &documents {
        match fleet.get(d.name.as_str(), false).await? {
            None => {
                text.push_str(&format!("+ agent/{}   not in the database\n", d.name));
                items.push(json!({ "name": d.name, "exists": false, "changes": [] }));
            }
            Some(s) => {
                let changes = spec_diff::diff(&s.agent.spec, &d.spec, Stage::of(&s));
                if changes.is_empty() {
                    continue;
                }
                text.push_str(&format!("~ agent/{}\n{}", d.name, lines(&changes)));
                items.push(json!({ "name": d.name, "exists": true, "changes": changes }));
            }
        }
    }
    let exit = if items.is_empty() {
        Exit::Success
    } else {
        Exit::Failure
    };
    if session.output.is_machine() {
        session
            .output
            .document(&json!({ "kind": "Diff", "items": items }))?;
    } else {
        session.output.write(&text);
    }
    Ok(exit)
}

fn lines(changes: &[FieldChange]) -> String {
    let width = changes.iter().map(|c| c.field.len()).max().unwrap_or(0);
    changes
        .iter()
        .map(|c| format!("    {:<width$}   {}\n", c.field, c.values()))
        .collect()
}

async fn against_live(name: &str, session: &Session) -> Result<Exit, Failure> {
    let fleet = session.fleet().await?;
    let snapshot = session.agent(&*fleet, name).await?;
    let found = live_differences(&snapshot);
    if session.output.is_machine() {
        session.output.document(&json!({
            "name": snapshot.agent.name,
            "generation": snapshot.agent.generation,
            "observedGeneration": snapshot.agent.status.observed_generation,
            "differences": found.iter().map(|(what, why)| json!({ "what": what, "why": why })).collect::<Vec<_>>(),
        }))?;
    } else if found.is_empty() {
        session.output.progress(&format!(
            "agent/{}: what is deployed is what the row says (generation {})",
            snapshot.agent.name, snapshot.agent.generation
        ));
    } else {
        let width = found.iter().map(|(what, _)| what.len()).max().unwrap_or(0);
        let lines: String = found
            .iter()
            .map(|(what, why)| format!("    {what:<width$}   {why}\n"))
            .collect();
        session
            .output
            .write(&format!("~ agent/{}\n{lines}", snapshot.agent.name));
    }
    Ok(if found.is_empty() {
        Exit::Success
    } else {
        Exit::Failure
    })
}

/// What differs between row and reality, as the last pass saw it: `(what, why)`, escaped.
fn live_differences(s: &Snapshot) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let agent = &s.agent;
    if agent.status.observed_generation < agent.generation {
        found.push((
            "generation".to_owned(),
            format!(
                "row at {}, last pass worked on {}",
                agent.generation, agent.status.observed_generation
            ),
        ));
    }
    if let Some(drift) = view::condition(s, ConditionType::Drifted)
        && drift.condition.status == talon_core::condition::Truth::True
    {
        found.push(("drift".to_owned(), safe(&drift.condition.message)));
    }
    let verdicts = s
        .work
        .plan_report
        .as_ref()
        .and_then(|r| r.get("resources"))
        .and_then(Value::as_array);
    for verdict in verdicts.into_iter().flatten() {
        let field = |name: &str| {
            verdict
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        if field("action") != "Keep" {
            found.push((
                safe(field("resource")),
                format!(
                    "{}: {}",
                    safe(&field("action").to_lowercase()),
                    safe(field("why"))
                ),
            ));
        }
    }
    found
}
