//! `talon wait`.

use talon_core::condition::{ConditionType, Truth};

use crate::exit::{Exit, Failure};
use crate::follow::{self, Goal, Target, Wait};
use crate::jsonpath::Path;
use crate::session::{Session, bare};
use crate::view;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Ends with 6 if the agent is stalled (a person is needed), 7 when time runs out.\n\
Examples:\n  talon wait research-pro\n  talon wait research-pro --for=delete --timeout 10m\n  \
talon wait research-pro --for=jsonpath='{.status.deploymentStatus}'=deployed"
)]
pub struct Args {
    /// Which agents
    #[arg(required = true)]
    names: Vec<String>,
    /// For what: condition=TYPE[=True|False], connected, delete, jsonpath='{.path}'[=VALUE]
    #[arg(long = "for", default_value = "condition=Ready", value_parser = parse_goal, value_name = "WHAT")]
    goal: Goal,
}

/// Reads what follows `--for=`.
pub fn parse_goal(text: &str) -> Result<Goal, String> {
    if text == "delete" {
        return Ok(Goal::Gone);
    }
    if text == "connected" {
        return Ok(Goal::Condition(ConditionType::HubConnected, Truth::True));
    }
    if let Some(rest) = text.strip_prefix("condition=") {
        let (kind, truth) = rest.split_once('=').unwrap_or((rest, "True"));
        let kind = kind.parse().map_err(|_| {
            let all: Vec<_> = ConditionType::ALL.iter().map(|c| c.as_str()).collect();
            format!("the conditions are {}", all.join(", "))
        })?;
        let truth = truth
            .parse()
            .map_err(|_| "a condition is True, False or Unknown".to_owned())?;
        return Ok(Goal::Condition(kind, truth));
    }
    if let Some(rest) = text.strip_prefix("jsonpath=") {
        // The value follows the last brace, if the path has braces: a filter may hold an equals sign itself.
        let split = match rest.rfind('}') {
            Some(end) => rest[end + 1..]
                .strip_prefix('=')
                .map(|v| (&rest[..=end], v)),
            None => rest.split_once('='),
        };
        let (path, value) = split.map_or((rest, None), |(p, v)| (p, Some(v.to_owned())));
        return Ok(Goal::Path(Path::parse(path)?, value));
    }
    Err("one of condition=Ready, connected, delete, jsonpath='{.status.…}'=VALUE".to_owned())
}

/// Waits.
pub async fn run(args: Args, session: Session) -> Result<Exit, Failure> {
    let fleet = session.fleet().await?;
    let mut targets = Vec::new();
    let mut all_connected = true;
    for name in &args.names {
        match session.find(&*fleet, name, false).await {
            Ok(snapshot) => {
                if snapshot.agent.spec.suspend && args.goal != Goal::Gone {
                    let text = format!(
                        "{} is suspended: nothing happens to it until talon resume",
                        snapshot.agent.name
                    );
                    session.output.warn(&text);
                }
                if args.goal == Goal::Gone && !snapshot.agent.is_deleting() {
                    session.output.warn(&format!(
                        "nobody has asked for the deletion of {name}: talon delete {name} does",
                        name = snapshot.agent.name
                    ));
                }
                all_connected &= view::holds(&snapshot, ConditionType::HubConnected);
                targets.push(Target::of(&snapshot));
            }
            // What is not there has been deleted: exactly what is waited for.
            Err(failure) if failure.exit == Exit::NotFound && args.goal == Goal::Gone => {
                session
                    .output
                    .progress(&format!("agent/{} is not there", bare(name)));
            }
            Err(failure) => return Err(failure),
        }
    }
    session.warn_if_held(&*fleet).await?;
    if args.goal == Goal::Condition(ConditionType::HubConnected, Truth::True) {
        if !all_connected {
            session.warn_if_nobody_works(&*fleet).await?;
        }
        session
            .output
            .progress("waiting until HubConnected is True: the Worker has registered at the Hub");
    }
    let ended = Wait {
        fleet: &*fleet,
        output: &session.output,
        timeout: session.global.wait_for(),
        reattach: "talon wait NAME",
        edited: Vec::new(),
    }
    .until(&args.goal, targets)
    .await?;
    conclude(&session, &args.goal, &ended)
}

/// Prints how waiting ended for each agent; the first bad ending is the failure.
pub fn conclude(session: &Session, goal: &Goal, ended: &[follow::Ended]) -> Result<Exit, Failure> {
    let out = &session.output;
    if out.is_machine() {
        let items: Vec<_> = ended
            .iter()
            .filter_map(|e| e.snapshot.as_ref())
            .map(view::document)
            .collect();
        out.document(&crate::output::list_document(items))?;
    } else {
        for e in ended.iter().filter(|e| e.how == follow::How::Reached) {
            let what = match goal {
                Goal::Gone => "deleted".to_owned(),
                Goal::Condition(kind, truth) => format!("condition met: {kind}={}", truth.as_str()),
                Goal::Path(..) => "condition met".to_owned(),
                Goal::Pass { .. } => "reconciled".to_owned(),
            };
            out.line(&format!("agent/{} {what}", e.target.name));
        }
    }
    verdict(session, ended)
}

/// The exit code of several endings; every failure but the worst is printed as a warning, the worst is returned.
pub fn verdict(session: &Session, ended: &[follow::Ended]) -> Result<Exit, Failure> {
    let exit = follow::worst(ended);
    let mut worst = None;
    for e in ended {
        if let Some(failure) = follow::failure_of(e, session.global.wait_for()) {
            if worst.is_none() && failure.exit == exit {
                worst = Some(failure);
            } else {
                session.output.warn(&failure.to_string());
            }
        }
    }
    worst.map_or(Ok(exit), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_read() {
        assert_eq!(parse_goal("delete"), Ok(Goal::Gone));
        assert_eq!(
            parse_goal("condition=Ready"),
            Ok(Goal::Condition(ConditionType::Ready, Truth::True))
        );
        assert_eq!(
            parse_goal("condition=Stalled=False"),
            Ok(Goal::Condition(ConditionType::Stalled, Truth::False))
        );
        assert_eq!(
            parse_goal("connected"),
            Ok(Goal::Condition(ConditionType::HubConnected, Truth::True))
        );
        for text in [
            "jsonpath={.status.deploymentStatus}=deployed",
            "jsonpath=.status.deploymentStatus=deployed",
        ] {
            let path = Path::parse(".status.deploymentStatus").expect("a path");
            assert_eq!(
                parse_goal(text),
                Ok(Goal::Path(path, Some("deployed".into())))
            );
        }
        let filter = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
        assert!(matches!(parse_goal(filter), Ok(Goal::Path(_, None))));
        for bad in [
            "",
            "condition=Nope",
            "condition=Ready=Maybe",
            "jsonpath=",
            "gone",
        ] {
            assert!(parse_goal(bad).is_err(), "{bad}");
        }
    }
}
