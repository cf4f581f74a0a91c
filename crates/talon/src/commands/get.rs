//! `talon get`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use talon_core::condition::Truth;
use talon_core::status::DeploymentStatus;
use talon_core::{AgentId, Snapshot};
use talon_store::ListFilter;

use crate::cli::Format;
use crate::exit::{Exit, Failure};
use crate::fleet::Watch;
use crate::output::{self, age, list_document, safe, table};
use crate::session::Session;
use crate::view;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  talon get\n  talon get -w --status failed\n  talon get research-pro -o json"
)]
pub struct Args {
    /// Only this agent
    name: Option<String>,
    /// Stay, and print each agent again when it changes, until Ctrl-C (or --timeout)
    #[arg(short, long)]
    watch: bool,
    /// Only agents of this status
    #[arg(long, value_parser = parse_status, value_name = "pending|deploying|deployed|failed|deleting")]
    status: Option<DeploymentStatus>,
    /// Also agents that were deleted and whose record is kept for billing
    #[arg(long)]
    include_deleted: bool,
}

fn parse_status(text: &str) -> Result<DeploymentStatus, String> {
    text.parse()
        .map_err(|_| "one of pending, deploying, deployed, failed, deleting".to_owned())
}

/// How long nobody looks whether standard output is still read.
const QUIET: Duration = Duration::from_secs(5);

/// Lists agents.
pub async fn run(args: Args, session: Session) -> Result<Exit, Failure> {
    let fleet = session.fleet().await?;
    // Before the list, so that nothing is missed between the two.
    let changes = match args.watch {
        true => Some(fleet.watch().await?),
        false => None,
    };
    let snapshots = match &args.name {
        Some(name) => vec![session.find(&*fleet, name, args.include_deleted).await?],
        None => {
            let filter = ListFilter {
                status: args.status,
                owner: session.owner(),
                include_archived: args.include_deleted,
            };
            fleet.list(&filter).await?
        }
    };
    if let Some(changes) = changes {
        return watch(&args, &session, changes, snapshots).await;
    }
    print(&session, &snapshots, args.name.is_some())?;
    Ok(Exit::Success)
}

fn print(session: &Session, snapshots: &[Snapshot], one: bool) -> Result<(), Failure> {
    let out = &session.output;
    match out.format {
        Format::Json | Format::Yaml => {
            let mut items: Vec<_> = snapshots.iter().map(view::document).collect();
            let document = match (one, items.pop()) {
                (true, Some(item)) => item,
                (_, last) => {
                    items.extend(last);
                    list_document(items)
                }
            };
            out.document(&document)?;
        }
        Format::Name => {
            for s in snapshots {
                out.line(&format!("agent/{}", s.agent.name));
            }
        }
        Format::Table | Format::Wide if snapshots.is_empty() => {
            out.progress("no agents. Create one: talon apply -f MANIFEST.yaml (talon schema describes manifests)");
        }
        Format::Table | Format::Wide => {
            let wide = out.format == Format::Wide;
            let headings = headings(wide);
            let mut rows: Vec<_> = snapshots.iter().map(|s| row(s, wide)).collect();
            if let Some(width) = out.width().filter(|_| !wide) {
                table::shorten(headings, &mut rows, MESSAGE, width);
            }
            out.write(&table::render(headings, &rows, None));
            if !one {
                out.line(&summary(snapshots));
            }
        }
    }
    Ok(())
}

/// The column that may be long.
const MESSAGE: usize = 4;

fn headings(wide: bool) -> &'static [&'static str] {
    if wide {
        &[
            "NAME",
            "STATUS",
            "READY",
            "SYNC",
            "MESSAGE",
            "CREATED",
            "OWNER",
            "GENERATION",
            "OBSERVED",
            "MODEL",
            "URL",
        ]
    } else {
        &["NAME", "STATUS", "READY", "SYNC", "MESSAGE", "AGE"]
    }
}

fn row(s: &Snapshot, wide: bool) -> Vec<String> {
    let agent = &s.agent;
    let mut cells = vec![
        agent.name.to_string(),
        agent.status.deployment_status.to_string(),
        match view::ready(s) {
            Truth::Unknown => "-".to_owned(),
            known => known.as_str().to_owned(),
        },
        view::agreement(s).as_str().to_owned(),
        view::message(s),
    ];
    if wide {
        cells.extend([
            age::stamp(agent.created_at),
            safe(&agent.owner.0),
            agent.generation.to_string(),
            agent.status.observed_generation.to_string(),
            safe(&agent.spec.model),
            agent
                .status
                .worker_url
                .as_deref()
                .map(safe)
                .unwrap_or_default(),
        ]);
    } else {
        cells.push(view::row_age(s));
    }
    cells
}

fn summary(snapshots: &[Snapshot]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for s in snapshots {
        *counts
            .entry(s.agent.status.deployment_status.as_str())
            .or_default() += 1;
    }
    let parts: Vec<_> = counts
        .iter()
        .map(|(status, n)| format!("{n} {status}"))
        .collect();
    let total = snapshots.len();
    format!("{}: {}", output::agents(total), parts.join(", "))
}

/// Column widths of a stream cannot be known in advance; these fit most.
fn stream_line(s: &Snapshot) -> String {
    let agent = &s.agent;
    format!(
        "{:<20}  {:<9}  {:<7}  {:<11}  {}",
        agent.name.as_str(),
        agent.status.deployment_status,
        view::ready(s).as_str(),
        view::agreement(s).as_str(),
        view::message(s)
    )
}

async fn watch(
    args: &Args,
    session: &Session,
    mut changes: Box<dyn Watch>,
    snapshots: Vec<Snapshot>,
) -> Result<Exit, Failure> {
    let out = &session.output;
    if matches!(out.format, Format::Table | Format::Wide) {
        out.line(&format!(
            "{:<20}  {:<9}  {:<7}  {:<11}  MESSAGE",
            "NAME", "STATUS", "READY", "SYNC"
        ));
    }
    let mut shown: BTreeMap<AgentId, String> = BTreeMap::new();
    for s in &snapshots {
        show(session, s, "ADDED", &mut shown)?;
    }
    let only = args
        .name
        .as_ref()
        .and(snapshots.first())
        .map(|s| s.agent.id);
    let deadline = session
        .global
        .timeout
        .map(|t| tokio::time::Instant::now() + t);
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let changed = tokio::select! {
            _ = &mut interrupt => return Ok(Exit::Interrupted),
            () = until(deadline) => return Ok(Exit::Success),
            changed = changes.next(QUIET) => changed?,
        };
        for s in changed
            .iter()
            .filter(|s| only.is_none_or(|o| o == s.agent.id))
        {
            let is_shown = shown.contains_key(&s.agent.id);
            if only.is_none() && !wanted(args, session, s) && !is_shown {
                continue;
            }
            let kind = match (s.agent.is_archived(), is_shown) {
                (true, _) => "DELETED",
                (false, true) => "MODIFIED",
                (false, false) => "ADDED",
            };
            show(session, s, kind, &mut shown)?;
        }
        if out.is_closed() {
            return Ok(Exit::Success);
        }
    }
}

async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn wanted(args: &Args, session: &Session, s: &Snapshot) -> bool {
    args.status
        .is_none_or(|w| s.agent.status.deployment_status == w)
        && session.owner().is_none_or(|o| s.agent.owner == o)
        && (args.include_deleted || !s.agent.is_archived())
}

/// Prints an agent, unless nothing that is shown has changed.
fn show(
    session: &Session,
    s: &Snapshot,
    kind: &str,
    shown: &mut BTreeMap<AgentId, String>,
) -> Result<(), Failure> {
    let out = &session.output;
    let item = match out.format {
        Format::Json | Format::Yaml => {
            let document = view::document(s);
            let text = document.to_string();
            if shown.get(&s.agent.id) == Some(&text) {
                return Ok(());
            }
            out.stream_item(&json!({ "type": kind, "object": document }))?;
            text
        }
        Format::Name => {
            let text = format!("agent/{}", s.agent.name);
            out.line(&text);
            text
        }
        Format::Table | Format::Wide => {
            let text = stream_line(s);
            if shown.get(&s.agent.id) == Some(&text) {
                return Ok(());
            }
            out.line(&text);
            text
        }
    };
    shown.insert(s.agent.id, item);
    Ok(())
}
