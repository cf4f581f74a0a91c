//! `talon reconcile`.

use serde_json::json;
use talon_core::condition::{ConditionType, Truth};

use super::DryRunFlag;
use crate::exit::{Exit, Failure};
use crate::follow::{self, Goal, Target, Wait};
use crate::session::{Session, agent_name};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which agent
    name: String,
    /// Wait until the pass has ended and the agent is Ready
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    dry_run: DryRunFlag,
}

/// Makes a pass due now.
pub async fn run(args: Args, session: Session) -> Result<Exit, Failure> {
    let name = agent_name(&args.name)?;
    let fleet = session.fleet().await?;
    let before = session.agent(&*fleet, &args.name).await?;
    if args.dry_run.is_set() && session.output.is_machine() {
        session
            .output
            .document(&json!({ "dryRun": true, "wouldReconcile": name }))?;
        return Ok(Exit::Success);
    }
    if args.dry_run.is_set() {
        session
            .output
            .line(&format!("agent/{name} would be reconciled now (dry run)"));
        return Ok(Exit::Success);
    }
    fleet.request_reconcile(&before).await?;
    if !session.output.is_machine() {
        session
            .output
            .line(&format!("agent/{name} reconcile requested"));
    }
    if !args.wait {
        if session.output.is_machine() {
            let after = session.agent(&*fleet, &args.name).await?;
            session.output.document(&crate::view::document(&after))?;
        }
        return Ok(Exit::Success);
    }
    session.warn_if_held(&*fleet).await?;
    let wait = Wait {
        fleet: &*fleet,
        output: &session.output,
        timeout: session.global.wait_for(),
        reattach: "talon wait NAME",
        edited: Vec::new(),
    };
    let pass = Goal::Pass {
        after_epoch: before.work.lease_epoch.0,
    };
    let ended = wait.until(&pass, vec![Target::of(&before)]).await?;
    let suspended = before.agent.spec.suspend || before.agent.is_deleting();
    if suspended || follow::worst(&ended) != Exit::Success {
        return super::wait::conclude(&session, &pass, &ended);
    }
    let ready = Goal::Condition(ConditionType::Ready, Truth::True);
    let ended = wait.until(&ready, vec![Target::of(&before)]).await?;
    super::wait::conclude(&session, &ready, &ended)
}
