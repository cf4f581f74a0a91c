//! `talon apply`.

use chrono::Utc;
use serde_json::{Value, json};
use talon_core::condition::{ConditionType, Truth};
use talon_store::{Applied, ApplyOptions, ApplyOutcome};

use super::DryRunFlag;
use crate::cli::Format;
use crate::exit::{Exit, Failure};
use crate::fleet::{self, Fleet};
use crate::follow::{Ended, Goal, How, Target, Wait};
use crate::manifests::{self, Document, Source};
use crate::output::{age, safe};
use crate::session::Session;
use crate::view;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Every document is checked first; if one is invalid, every mistake is listed and nothing is applied.\n\
Examples:\n  talon apply -f agent.yaml --wait\n  talon apply -f agents/ -R\n  cat agent.yaml | talon apply -f -"
)]
pub struct Args {
    #[command(flatten)]
    source: Source,
    /// Wait until every agent is Ready; with =connected, until its Worker is connected to the Hub
    #[arg(long, value_name = "connected", num_args = 0..=1, require_equals = true, default_missing_value = "ready")]
    wait: Option<WaitFor>,
    /// Only if the agent is at this generation (0: only if it does not exist); for a single document
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    if_generation: Option<i64>,
    #[command(flatten)]
    dry_run: DryRunFlag,
}

/// What `--wait` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum WaitFor {
    /// Deployed at this generation
    Ready,
    /// Deployed, and the Worker connected to the Hub
    Connected,
}

/// Applies manifests.
pub async fn run(args: Args, session: Session) -> Result<Exit, Failure> {
    let mut documents = manifests::load(&args.source, &session)?;
    if args.if_generation.is_some() && documents.len() != 1 {
        return Err(Failure::usage(
            format!(
                "--if-generation speaks of one agent, and there are {} documents",
                documents.len()
            ),
            "apply them one by one",
        ));
    }
    manifests::warn(&documents, &session);
    let fleet = session.fleet().await?;
    manifests::settle_owners(&mut documents, &*fleet).await?;
    let applied = apply_all(&args, &*fleet, &documents).await?;
    let dry_run = args.dry_run.is_set();
    let Some(wait_for) = args.wait.filter(|_| !dry_run) else {
        report(&session, &documents, &applied, &[], dry_run)?;
        return Ok(Exit::Success);
    };
    wait(&session, &*fleet, &documents, &applied, wait_for).await
}

/// Rehearses every document, then applies every document: nothing is written if one of them is refused.
async fn apply_all(
    args: &Args,
    fleet: &dyn Fleet,
    documents: &[Document],
) -> Result<Vec<Applied>, Failure> {
    let options = |dry_run| ApplyOptions {
        if_generation: args.if_generation,
        dry_run,
        ..ApplyOptions::default()
    };
    let mut rehearsed = Vec::new();
    let mut before = Vec::new();
    let mut refused: Vec<Failure> = Vec::new();
    for d in documents {
        let there = fleet.get(d.name.as_str(), false).await?;
        match fleet::apply(fleet, d, there.as_ref(), options(true)).await {
            Ok(applied) => rehearsed.push(applied),
            Err(refusal) => refused.push(Failure::from(refusal).about(&d.title())),
        }
        before.push(there);
    }
    if let Some(first) = refused.first() {
        let mut failure = first.clone();
        let lines: Vec<String> = refused.iter().map(|f| f.message.clone()).collect();
        failure.message = format!("nothing was applied:\n  {}", lines.join("\n  "));
        return Err(failure);
    }
    if args.dry_run.is_set() {
        return Ok(rehearsed);
    }
    let mut applied = Vec::new();
    for (d, there) in documents.iter().zip(&before) {
        let result = fleet::apply(fleet, d, there.as_ref(), options(false))
            .await
            .map_err(|refusal| Failure::from(refusal).about(&d.title()))?;
        applied.push(result);
    }
    Ok(applied)
}

fn word(outcome: ApplyOutcome) -> &'static str {
    match outcome {
        ApplyOutcome::Created => "created",
        ApplyOutcome::Updated => "updated",
        ApplyOutcome::Unchanged => "unchanged",
    }
}

fn report(
    session: &Session,
    documents: &[Document],
    applied: &[Applied],
    ended: &[Ended],
    dry_run: bool,
) -> Result<(), Failure> {
    if session.output.format == Format::Name {
        for d in documents {
            session.output.line(&format!("agent/{}", d.name));
        }
        return Ok(());
    }
    if !session.output.is_machine() {
        for (d, a) in documents.iter().zip(applied) {
            session.output.line(&format!(
                "agent/{} {}   generation {}{}",
                d.name,
                word(a.outcome),
                a.generation,
                if dry_run { "   (dry run)" } else { "" }
            ));
        }
        return Ok(());
    }
    let items: Vec<Value> = documents
        .iter()
        .zip(applied)
        .map(|(d, a)| {
            let mut item = json!({
                "name": d.name,
                // Of a row that would be new it means nothing.
                "id": (!dry_run || a.outcome != ApplyOutcome::Created).then_some(a.id),
                "generation": a.generation,
                "outcome": a.outcome,
                "dryRun": dry_run,
            });
            if let Some(s) = ended
                .iter()
                .find(|e| e.target.id == a.id)
                .and_then(|e| e.snapshot.as_ref())
            {
                item["agent"] = view::document(s);
            }
            item
        })
        .collect();
    session
        .output
        .document(&json!({ "kind": "ApplyResult", "items": items }))
}

async fn wait(
    session: &Session,
    fleet: &dyn Fleet,
    documents: &[Document],
    applied: &[Applied],
    wait_for: WaitFor,
) -> Result<Exit, Failure> {
    let out = &session.output;
    let for_people = matches!(out.format, Format::Table | Format::Wide);
    if for_people && out.is_interactive() {
        report(session, documents, applied, &[], false)?;
    } else if for_people {
        for (d, a) in documents.iter().zip(applied) {
            out.line(&format!(
                "{} agent/{} {} generation={}",
                age::stamp(Utc::now()),
                d.name,
                word(a.outcome),
                a.generation
            ));
        }
    }
    session.warn_if_held(fleet).await?;
    if wait_for == WaitFor::Connected {
        session.warn_if_nobody_works(fleet).await?;
    }
    let targets = documents
        .iter()
        .zip(applied)
        .map(|(d, a)| Target {
            id: a.id,
            name: d.name.to_string(),
            generation: a.generation,
        })
        .collect();
    let goal = match wait_for {
        WaitFor::Ready => Goal::Condition(ConditionType::Ready, Truth::True),
        WaitFor::Connected => Goal::Condition(ConditionType::HubConnected, Truth::True),
    };
    let began = std::time::Instant::now();
    let ended = Wait {
        fleet,
        output: out,
        timeout: session.global.wait_for(),
        reattach: match wait_for {
            WaitFor::Ready => "talon wait NAME",
            WaitFor::Connected => "talon wait NAME --for=connected",
        },
        edited: applied
            .iter()
            .filter(|a| a.outcome == ApplyOutcome::Created)
            .map(|a| a.id)
            .collect(),
    }
    .until(&goal, targets)
    .await?;
    if !for_people {
        report(session, documents, applied, &ended, false)?;
    } else {
        for e in ended.iter().filter(|e| e.how == How::Reached) {
            out.line(&final_line(session, e, wait_for, began.elapsed()));
        }
    }
    super::wait::verdict(session, &ended)
}

fn final_line(
    session: &Session,
    ended: &Ended,
    wait_for: WaitFor,
    elapsed: std::time::Duration,
) -> String {
    let name = &ended.target.name;
    let url = ended
        .snapshot
        .as_ref()
        .and_then(|s| s.agent.status.worker_url.as_deref())
        .map(safe)
        .unwrap_or_default();
    let connected = wait_for == WaitFor::Connected;
    if session.output.is_interactive() {
        let what = if connected {
            "deployed and connected"
        } else {
            "deployed"
        };
        let mark = session.output.colour.good("✓");
        format!("{mark} {name} {what} in {}   {url}", age::short(elapsed))
    } else {
        let what = if connected {
            "deployed connected"
        } else {
            "deployed"
        };
        format!(
            "{} agent/{name} {what} elapsed={} url={url}",
            age::stamp(Utc::now()),
            age::short(elapsed)
        )
    }
}
