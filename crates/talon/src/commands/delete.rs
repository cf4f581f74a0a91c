//! `talon delete`.

use std::io::{BufRead, IsTerminal, Write};

use serde_json::json;
use talon_core::Snapshot;

use super::DryRunFlag;
use crate::exit::{Exit, Failure};
use crate::fleet::Fleet;
use crate::follow::{Ended, Goal, How, Target, Wait};
use crate::output::{list_document, safe, steps};
use crate::session::{Session, bare};
use crate::view;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Deletion cannot be undone: the Worker, the bucket with all its objects, the token and the card go. The \
record stays, hidden, for billing. With --wait, 8 means that something could not be cleaned up."
)]
pub struct Args {
    /// Which agents
    #[arg(required = true)]
    names: Vec<String>,
    /// Leave the R2 bucket and what is in it
    #[arg(long)]
    keep_bucket: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Wait until all is cleaned up, and print the result of each resource
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    dry_run: DryRunFlag,
}

/// Asks for deletion.
pub async fn run(args: Args, session: Session) -> Result<Exit, Failure> {
    let fleet = session.fleet().await?;
    let mut agents = Vec::new();
    for name in &args.names {
        agents.push(session.agent(&*fleet, name).await?);
    }
    refuse_protected(&agents)?;
    if args.dry_run.is_set() {
        return dry_run(&args, &session, &agents);
    }
    if !args.yes {
        confirm_all(&args, &agents)?;
    }
    for s in &agents {
        fleet
            .request_deletion(s, args.keep_bucket)
            .await
            .map_err(|e| e.about(&format!("agent/{}", s.agent.name)))?;
        if !session.output.is_machine() {
            session
                .output
                .line(&format!("agent/{} deletion requested", s.agent.name));
        }
    }
    if args.wait {
        return wait(&session, &*fleet, &agents).await;
    }
    if session.output.is_machine() {
        let mut items = Vec::new();
        let asked: Vec<_> = agents
            .iter()
            .map(|s| (s.agent.id, s.agent.name.to_string()))
            .collect();
        for s in fleet.look(&asked).await? {
            items.extend(s.as_ref().map(view::document));
        }
        session.output.document(&list_document(items))?;
    } else {
        let first = agents.first().map_or("NAME", |s| s.agent.name.as_str());
        session.output.progress(&format!(
            "the controller cleans up; to watch: talon wait {first} --for=delete"
        ));
    }
    Ok(Exit::Success)
}

fn refuse_protected(agents: &[Snapshot]) -> Result<(), Failure> {
    match agents
        .iter()
        .find(|s| s.agent.spec.deletion_protected && !s.agent.is_deleting())
    {
        Some(s) => Err(Failure::rejected(
            format!("agent/{} is protected from deletion", s.agent.name),
            "set spec.deletionProtected: false (or deletion_protected by SQL) first, if it really shall go",
        )),
        None => Ok(()),
    }
}

fn dry_run(args: &Args, session: &Session, agents: &[Snapshot]) -> Result<Exit, Failure> {
    if session.output.is_machine() {
        let names: Vec<_> = agents.iter().map(|s| &s.agent.name).collect();
        session.output.document(
            &json!({ "dryRun": true, "wouldDelete": names, "keepBucket": args.keep_bucket }),
        )?;
        return Ok(Exit::Success);
    }
    for s in agents {
        let mut parts: Vec<String> = s
            .resources
            .iter()
            .filter(|r| r.intent_at.is_some())
            .map(|r| {
                let keep = args.keep_bucket
                    && r.kind.as_str().starts_with("r2_")
                    && r.kind.as_str() != "r2_token";
                format!(
                    "{} {}{}",
                    view::kind_label(r.kind),
                    safe(&r.name),
                    if keep { " (kept)" } else { "" }
                )
            })
            .collect();
        if parts.is_empty() {
            parts.push("nothing at Cloudflare yet".to_owned());
        }
        session.output.line(&format!(
            "agent/{} would be deleted (dry run): {}",
            s.agent.name,
            parts.join(", ")
        ));
    }
    Ok(Exit::Success)
}

fn confirm_all(args: &Args, agents: &[Snapshot]) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(
            "deleting needs a confirmation, and there is no terminal to ask on",
            "add --yes if it is meant",
        ));
    }
    for s in agents {
        let name = s.agent.name.as_str();
        let what = if args.keep_bucket {
            "The R2 bucket stays.".to_owned()
        } else {
            match &s.agent.status.r2_bucket {
                Some(bucket) => format!(
                    "All objects in the R2 bucket {} go with it; they cannot be recovered.",
                    safe(bucket)
                ),
                None => "It has no R2 bucket yet.".to_owned(),
            }
        };
        let mut err = std::io::stderr().lock();
        let _ = write!(
            err,
            "Delete agent {name}?  {what}\nType the name to confirm: "
        );
        let _ = err.flush();
        let mut line = String::new();
        std::io::stdin()
            .lock()
            .read_line(&mut line)
            .map_err(|e| Failure::io("the confirmation cannot be read", &e))?;
        if bare(line.trim()) != name {
            return Err(Failure::new(
                Exit::Failure,
                "not confirmed; nothing was deleted",
                "run it again and type the name, or add --yes",
            ));
        }
    }
    Ok(())
}

async fn wait(session: &Session, fleet: &dyn Fleet, agents: &[Snapshot]) -> Result<Exit, Failure> {
    session.warn_if_held(fleet).await?;
    let targets = agents.iter().map(Target::of).collect();
    let ended = Wait {
        fleet,
        output: &session.output,
        timeout: session.global.wait_for(),
        reattach: "talon wait NAME --for=delete",
        edited: Vec::new(),
    }
    .until(&Goal::Gone, targets)
    .await?;
    if session.output.is_machine() {
        let items = ended
            .iter()
            .filter_map(|e| e.snapshot.as_ref())
            .map(view::document)
            .collect();
        session.output.document(&list_document(items))?;
    } else {
        for e in &ended {
            session.output.write(&results(e, session));
        }
    }
    super::wait::verdict(session, &ended)
}

/// The result of each resource, and one line that sums them up.
fn results(ended: &Ended, session: &Session) -> String {
    let Some(s) = &ended.snapshot else {
        return String::new();
    };
    let colour = session.output.colour;
    let lines = steps::deleting(s);
    let name = &ended.target.name;
    let mut text = format!("agent/{name}\n{}", steps::render(&lines, colour));
    let left = view::leftovers(s).count();
    match ended.how {
        How::Reached => text.push_str(&format!("{} {name} deleted\n", colour.good("✓"))),
        How::LeftOver => text.push_str(&format!(
            "{} {} of {} cleaned up. What is left over may still cost money.\n",
            colour.bad("✗"),
            lines.len() - left,
            lines.len()
        )),
        How::Gone | How::Stalled | How::TimedOut => {}
    }
    text
}
