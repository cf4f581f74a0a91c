//! What is worth knowing of an agent beside its state.

use talon_core::Snapshot;
use talon_explain::{safe, view};

use crate::ui::{Markup, ago, escape};

/// A label, and what it says.
pub struct Fact {
    pub label: &'static str,
    pub value: Markup,
}

/// In the order in which they are shown.
pub fn of(s: &Snapshot) -> Vec<Fact> {
    let (spec, status) = (&s.agent.spec, &s.agent.status);
    let text = |label, value: &str| Fact {
        label,
        value: Markup::trusted(escape(&safe(value))),
    };
    let code = |label, value: &str| Fact {
        label,
        value: Markup::trusted(format!("<code>{}</code>", escape(&safe(value)))),
    };
    let mut facts = vec![
        code("Model", &spec.model),
        text(
            "Visibility",
            if spec.visibility == talon_core::spec::Visibility::Public {
                "public"
            } else {
                "private"
            },
        ),
        text("Keep-alive", if spec.keep_alive { "on" } else { "off" }),
        text(
            "Skills",
            &match spec.skills.as_slice() {
                [] => "one default skill".to_owned(),
                list => list
                    .iter()
                    .map(|k| k.id.as_str())
                    .collect::<Vec<_>>()
                    .join(", "),
            },
        ),
    ];
    if let Some(sha) = &status.identity_sha256 {
        facts.push(code(
            "IDENTITY.md",
            &format!("sha256 {}", view::short_hash(sha)),
        ));
    }
    if let Some(at) = status.first_deployed_at {
        facts.push(Fact {
            label: "Locked since",
            value: ago(s.now, at),
        });
    }
    if let Some(presence) = &s.presence {
        facts.push(Fact {
            label: "Hub",
            value: match presence.connected {
                true => Markup::trusted(format!(
                    "connected {} ago",
                    ago(s.now, presence.connected_at)
                )),
                false => {
                    Markup::trusted(format!("last seen {} ago", ago(s.now, presence.last_seen)))
                }
            },
        });
    }
    if let Some(account) = &status.cloudflare_account {
        facts.push(code("Account", account));
    }
    facts.push(code("Id", &s.agent.id.to_string()));
    let flags = [
        (spec.suspend, "suspended"),
        (spec.deletion_protected, "protected from deletion"),
        (
            !spec.deletion_policy.is_default(),
            "deletion keeps the bucket",
        ),
    ];
    for (_, flag) in flags.iter().filter(|(on, _)| *on) {
        facts.push(text("Flag", flag));
    }
    facts
}
