//! `talon plan -f`.

use serde_json::json;
use talon_core::Snapshot;
use talon_plan::spec_diff::{self, Effect, FieldChange, Stage};
use talon_store::ApplyOptions;

use crate::exit::{Exit, Failure};
use crate::fleet::{self, Fleet, Refusal};
use crate::manifests::{self, Document, Source};
use crate::output::{Colour, age};
use crate::session::Session;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 nothing to do, 1 changes, 5 something would be refused, 10 failed otherwise."
)]
pub struct Args {
    #[command(flatten)]
    source: Source,
}

/// What applying one document would do.
struct Planned {
    document: Document,
    before: Option<Snapshot>,
    changes: Vec<FieldChange>,
    /// Why the database would refuse it.
    refused: Option<String>,
}

/// Compares manifests with rows, and says what each difference will cause.
pub async fn run(args: Args, session: Session) -> Result<Exit, Failure> {
    let mut documents = manifests::load(&args.source, &session)?;
    manifests::warn(&documents, &session);
    let fleet = session.fleet().await?;
    manifests::settle_owners(&mut documents, &*fleet).await?;
    let mut planned = Vec::new();
    for document in documents {
        planned.push(plan_one(&*fleet, document).await?);
    }
    let exit = exit_of(&planned);
    if session.output.is_machine() {
        let items: Vec<_> = planned.iter().map(as_json).collect();
        session
            .output
            .document(&json!({ "kind": "Plan", "items": items }))?;
    } else {
        let mut text: String = planned
            .iter()
            .map(|p| render(p, session.output.colour))
            .collect();
        text.push_str(&footer(&planned, &args.source));
        session.output.write(&text);
    }
    Ok(exit)
}

async fn plan_one(fleet: &dyn Fleet, document: Document) -> Result<Planned, Failure> {
    let before = fleet.get(document.name.as_str(), false).await?;
    let changes = before
        .as_ref()
        .map(|s| spec_diff::diff(&s.agent.spec, &document.spec, Stage::of(s)))
        .unwrap_or_default();
    let rehearsal = ApplyOptions {
        dry_run: true,
        ..ApplyOptions::default()
    };
    let refused = match fleet::apply(fleet, &document, before.as_ref(), rehearsal).await {
        Ok(_) => None,
        Err(Refusal::Rule(code, message)) => Some(format!("{code} {message}")),
        Err(Refusal::Other(failure)) => return Err(failure.about(&document.title())),
    };
    Ok(Planned {
        document,
        before,
        changes,
        refused,
    })
}

impl Planned {
    fn creates(&self) -> bool {
        self.before.is_none()
    }

    fn rejected(&self) -> usize {
        let fields = self
            .changes
            .iter()
            .filter(|c| c.effect == Effect::Immutable)
            .count();
        fields.max(usize::from(self.refused.is_some()))
    }
}

fn exit_of(planned: &[Planned]) -> Exit {
    if planned.iter().any(|p| p.rejected() > 0) {
        Exit::Rejected
    } else if planned.iter().any(|p| p.creates() || !p.changes.is_empty()) {
        Exit::Failure
    } else {
        Exit::Success
    }
}

fn render(p: &Planned, colour: Colour) -> String {
    let name = &p.document.name;
    let Some(s) = &p.before else {
        let mut text = format!(
            "{} agent/{name}   new\n    Worker, R2 bucket, R2 token, Agent card: 4 changing calls to Cloudflare\n",
            colour.good("+")
        );
        if let Some(why) = &p.refused {
            text.push_str(&format!("    {} {why}\n", colour.bad("✗")));
        }
        return text;
    };
    let generation = s.agent.generation.0;
    if p.changes.is_empty() && p.refused.is_none() {
        return format!("= agent/{name}   generation {generation}, no changes\n");
    }
    let mut text = format!(
        "{} agent/{name}   generation {generation} → {}\n",
        colour.notable("~"),
        generation + 1
    );
    let width = p.changes.iter().map(|c| c.field.len()).max().unwrap_or(0);
    for c in &p.changes {
        let (mark, effect) = match (c.effect, s.agent.status.first_deployed_at) {
            (Effect::Immutable, Some(at)) => (
                colour.bad("✗"),
                format!("IMMUTABLE since {}", age::stamp(at)),
            ),
            (Effect::Immutable, None) => {
                (colour.bad("✗"), "IMMUTABLE: the bucket exists".to_owned())
            }
            (effect, _) => (colour.notable("~"), effect.as_str().to_owned()),
        };
        text.push_str(&format!(
            "    {mark} {:<width$}   {}   {effect}\n",
            c.field,
            c.values()
        ));
    }
    if let Some(why) = &p.refused {
        text.push_str(&format!("    {} {why}\n", colour.bad("✗")));
    }
    text
}

fn footer(planned: &[Planned], source: &Source) -> String {
    let rejected: usize = planned.iter().map(Planned::rejected).sum();
    let create = planned.iter().filter(|p| p.creates()).count();
    let update: usize = planned
        .iter()
        .map(|p| {
            p.changes
                .iter()
                .filter(|c| c.effect != Effect::Immutable)
                .count()
        })
        .sum();
    let mut text = String::new();
    if rejected > 0 {
        text.push_str("\nCannot apply: revert what is marked ✗, or create a new agent.\n");
    }
    text.push_str(&format!(
        "Would do: {create} create, {update} update, 0 delete, {rejected} rejected.\n"
    ));
    if let ([one], 0) = (planned, rejected)
        && (one.creates() || !one.changes.is_empty())
    {
        let generation = one.before.as_ref().map_or(0, |s| s.agent.generation.0);
        text.push_str(&format!(
            "To apply exactly this plan: talon apply {} --if-generation {generation}\n",
            source.as_flags()
        ));
    }
    text
}

fn as_json(p: &Planned) -> serde_json::Value {
    json!({
        "name": p.document.name,
        "action": if p.creates() { "create" } else if p.changes.is_empty() { "none" } else { "update" },
        "generation": p.before.as_ref().map(|s| s.agent.generation),
        "changes": p.changes,
        "refused": p.refused,
    })
}
