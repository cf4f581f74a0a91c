//! `talon demo`: the whole life of two agents on this machine.

mod network;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::Value;
use talon_core::Snapshot;
use talon_core::condition::{ConditionType, Truth};
use talon_simulator::{CallClass, CallRecord, Fault, FaultRule};

use super::RuntimeFlag;
use super::dev::{Model, apply_examples};
use super::run::stop_signals;
use crate::config::settings::HubSettings;
use crate::exit::{Exit, Failure};
use crate::fleet::Rows;
use crate::follow::{self, Ended, Goal, Target, Wait};
use crate::local::{Local, Place, Plan};
use crate::logging::{self, LogFormat};
use crate::output::{age, safe, steps};
use crate::session::Session;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Uses a temporary directory and a local Cloudflare that runs Workers: no account, no key, nothing left behind. The \
agents think with a stand-in for a model. Their runtime is built, and workerd fetched, from npm on first use; without npm \
the part that needs running Workers is left out."
)]
pub struct Args {
    /// How long the local Cloudflare takes for each call that changes something
    #[arg(long, default_value = "800ms", value_parser = age::parse_duration, value_name = "DURATION")]
    latency: Duration,
    #[command(flatten)]
    runtime: RuntimeFlag,
}

/// Longest time one act may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// The agent that is looked at more closely.
const STAR: &str = "research-pro";

/// Plays it, and cleans up even if an act fails or somebody interrupts.
pub async fn run(args: Args, session: Session) -> Result<Exit, Failure> {
    logging::start(LogFormat::Text, "error")?;
    let mut told = Box::pin(stop_signals()?);
    let mut config = session.config.settings.controller();
    config.list_lag_seconds = 1.0;
    config.list_spacing_seconds = 1.0;
    let plan = Plan {
        place: Place::Temporary,
        config,
        hub: HubSettings::default(),
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        wanted: args.runtime.wanted(&session.config.settings),
    };
    let local = tokio::select! {
        local = Local::start(plan, &session.output) => local?,
        () = &mut told => return Err(interrupted()),
    };
    let began = Instant::now();
    let played = tokio::select! {
        played = show(&args, &session, &local) => played,
        () = told => Err(interrupted()),
    };
    let closed = local.shutdown().await;
    played.and(closed)?;
    session.output.line(&format!(
        "Done in {}. Next: talon dev, and give tasks of your own.",
        age::short(began.elapsed())
    ));
    Ok(Exit::Success)
}

fn interrupted() -> Failure {
    Failure::new(
        Exit::Interrupted,
        "interrupted; everything that was begun is removed",
        "start it again: talon demo",
    )
}

async fn show(args: &Args, session: &Session, local: &Local) -> Result<(), Failure> {
    slow_down(local, args.latency)?;
    session.output.line(&format!(
        "talon demo: a database ({}), a local Cloudflare ({}) and a Hub; nothing leaves this machine.\n",
        safe(&local.database.shown()),
        local.cloud.api_base()
    ));
    play(session, local).await
}

/// As far away as the real one, so that there is something to see.
fn slow_down(local: &Local, latency: Duration) -> Result<(), Failure> {
    if latency.is_zero() {
        return Ok(());
    }
    let ms = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
    let rule = FaultRule::on_class(CallClass::Write, Fault::Latency { ms });
    local
        .cloud
        .faults()
        .add(vec![rule])
        .map_err(|e| Failure::new(Exit::Failure, e, "try again with --latency 0s"))
}

async fn play(session: &Session, local: &Local) -> Result<(), Failure> {
    let out = &session.output;
    out.line("1. Two manifests of deploy/examples (research-pro, news-digest) become two rows (talon apply), with a stand-in as their model");
    apply_examples(local, Model::StandIn).await?;
    let agents = local
        .store
        .list(&talon_store::ListFilter::default())
        .await?;
    for s in &agents {
        out.line(&format!(
            "   agent/{} created   generation {}",
            s.agent.name, s.agent.generation
        ));
    }
    out.line("\n2. The controller brings Cloudflare to them (talon wait)");
    let began = agents.iter().map(|s| s.agent.created_at).min();
    let ready = Goal::Condition(ConditionType::Ready, Truth::True);
    let live = wait(session, local, &ready, &agents).await?;
    for s in live.iter().filter_map(|e| e.snapshot.as_ref()) {
        let since = began.unwrap_or(s.agent.created_at);
        out.line(&format!("   agent/{}", s.agent.name));
        out.write(&indented(&steps::render(
            &steps::deploying(s, since),
            out.colour,
        )));
    }
    show_calls(session, local, &live);
    let star = live
        .iter()
        .filter_map(|e| e.snapshot.as_ref())
        .find(|s| s.agent.name.as_str() == STAR);
    let mut act = 3;
    if let Some(star) = star {
        out.line("\n3. The row, as SELECT sees it");
        out.write(&crate::sql::select_agent(&local.database, STAR).await?);
        out.line("\n4. The Agent Card in the Router (its credentials left out)");
        show_card(session, local, star).await?;
        act = 5;
    }
    act = match (&local.runs, star) {
        (Ok(()), Some(star)) => network::play(session, local, &agents, star, act).await?,
        (Err(why), _) => {
            let why = why.lines().next().unwrap_or_default();
            out.line(&format!("\n   No agent is asked anything: {}", safe(why)));
            act
        }
        (Ok(()), None) => act,
    };
    out.line(&format!(
        "\n{act}. Both are deleted (talon delete --wait), each resource with its result"
    ));
    for s in &agents {
        local.store.request_deletion(&s.agent.name, false).await?;
    }
    let gone = wait(session, local, &Goal::Gone, &agents).await?;
    for s in gone.iter().filter_map(|e| e.snapshot.as_ref()) {
        out.line(&format!("   agent/{}", s.agent.name));
        out.write(&indented(&steps::render(&steps::deleting(s), out.colour)));
    }
    out.line("");
    Ok(())
}

fn indented(block: &str) -> String {
    block.lines().map(|line| format!("   {line}\n")).collect()
}

async fn wait(
    session: &Session,
    local: &Local,
    goal: &Goal,
    agents: &[Snapshot],
) -> Result<Vec<Ended>, Failure> {
    let rows = Rows::own(local.store.clone());
    let ended = Wait {
        fleet: &rows,
        output: &session.output,
        timeout: PATIENCE,
        reattach: "the demo ends here; start it again: talon demo",
        edited: match goal {
            Goal::Condition(ConditionType::Ready, _) => agents.iter().map(|s| s.agent.id).collect(),
            _ => Vec::new(),
        },
    }
    .until(goal, agents.iter().map(Target::of).collect())
    .await
    .map_err(|failure| match failure.exit {
        // Here nothing carries on.
        Exit::Interrupted => interrupted(),
        _ => failure,
    })?;
    match ended.iter().find_map(|e| follow::failure_of(e, PATIENCE)) {
        None => Ok(ended),
        Some(failure) => Err(failure),
    }
}

fn show_calls(session: &Session, local: &Local, live: &[Ended]) {
    let calls = local.cloud.calls();
    let writes = calls.iter().filter(|c| c.took_effect()).count();
    session.output.line(&format!(
        "   {} calls to Cloudflare, of which {writes} changed something: {} for each agent",
        calls.len(),
        writes / live.len().max(1)
    ));
    for call in calls.iter().filter(|c| c.took_effect()) {
        session.output.line(&format!("     {}", shown(call)));
    }
}

fn shown(call: &CallRecord) -> String {
    let resource = call.resource();
    let path = resource.split('?').next().unwrap_or(resource);
    format!("{:<6} {}", call.method, safe(path))
}

async fn show_card(session: &Session, local: &Local, s: &Snapshot) -> Result<(), Failure> {
    let mut card = local
        .store
        .card(s.agent.id)
        .await?
        .map_or(Value::Null, |card| serde_json::json!(card));
    if let Some(fields) = card.as_object_mut() {
        fields.remove("authentication");
    }
    let text = serde_json::to_string_pretty(&card).unwrap_or_default();
    for line in text.lines() {
        session.output.line(&format!("   {}", safe(line)));
    }
    Ok(())
}
