//! One sentence about the whole installation.

use talon_core::status::DeploymentStatus;
use talon_explain::age;
use talon_store::Hold;
use talon_store::glance::{ControllerState, GlanceCounts};

use crate::commands::with_commands;
use crate::ui::{Markup, escape, icon, thousands};
use crate::visitor::Visitor;

/// A due agent waits longer than this only if no daemon is at work.
const PATIENCE_SECONDS: i64 = 10;

fn banner(tone: &str, image: &'static str, head: &str, rest: &Markup) -> Markup {
    Markup::trusted(format!(
        "<div class=\"banner {tone}\">{}<div><b>{}</b> <p>{rest}</p></div></div>",
        icon(image),
        escape(head)
    ))
}

/// The most urgent thing there is to say.
pub fn sentence(
    counts: &GlanceCounts,
    state: &ControllerState,
    hold: Option<&Hold>,
    visitor: &Visitor,
) -> Markup {
    if let Some(hold) = hold {
        return banner(
            "warn",
            "pause",
            "Everything is on hold: nothing is deployed, repaired or deleted.",
            &Markup::trusted(format!(
                "{} · since {} · <a href=\"/controller\">what to do</a>",
                escape(&talon_explain::safe(&hold.reason)),
                age::since(state.now, hold.since)
            )),
        );
    }
    if let Some(oldest) = state.oldest_due
        && (state.now - oldest).num_seconds() >= PATIENCE_SECONDS
        && state.replicas.iter().all(|r| r.agents == 0)
    {
        return banner(
            "bad",
            "cross",
            &match visitor.owner {
                None => format!(
                    "No daemon is at work: {} due, the oldest for {}.",
                    agents(state.due),
                    age::since(state.now, oldest)
                ),
                // How many agents others have is none of an owner's business.
                Some(_) => "No daemon is at work: changes wait.".to_owned(),
            },
            &with_commands(
                "Start it with talon run; if one runs already, talon doctor says whether it uses this database.",
            ),
        );
    }
    let total = counts.total();
    let deployed = counts.of(DeploymentStatus::Deployed);
    if total == 0 {
        return banner(
            "good",
            "check",
            "Ready.",
            &Markup::trusted("There are no agents yet.".to_owned()),
        );
    }
    let live = format!("{} of {} deployed", thousands(deployed), agents(total));
    if counts.attention > 0 {
        let verb = if counts.attention == 1 {
            "wants"
        } else {
            "want"
        };
        return banner(
            "warn",
            "warn",
            &format!("{} {verb} a look.", agents(counts.attention)),
            &Markup::trusted(format!(
                "{live} · <a href=\"/?show=attention\">what to do</a>"
            )),
        );
    }
    let moving = counts.of(DeploymentStatus::Deploying)
        + counts.of(DeploymentStatus::Deleting)
        + counts.of(DeploymentStatus::Pending);
    if moving > 0 {
        return banner(
            "busy",
            "turn",
            &format!("{live}."),
            &Markup::trusted(format!("{} on the way; nothing needs you.", agents(moving))),
        );
    }
    banner(
        "good",
        "check",
        "All well.",
        &Markup::trusted(format!("{live}, as their rows say.")),
    )
}

/// So many agents, in words.
pub fn agents(number: u64) -> String {
    format!(
        "{} {}",
        thousands(number),
        if number == 1 { "agent" } else { "agents" }
    )
}
