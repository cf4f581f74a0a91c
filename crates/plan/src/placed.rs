//! What is said of an agent's secrets: on the Worker by Cloudflare's word, or by the Worker's own.

use talon_core::condition::{Reason, Truth};
use talon_core::snapshot::SecretState;

use crate::input::Input;
use crate::step::Plan;

/// The condition `SecretsReady`.
pub(crate) fn secrets_ready(input: &Input<'_>, plan: &Plan) -> (Truth, Reason, String) {
    if let Some(block) = plan.block.as_ref().filter(|b| b.at.starts_with("Secrets")) {
        return (
            Truth::False,
            block.reason,
            format!("{}: {}", block.at, block.message),
        );
    }
    let missing = crate::desired::secrets(input).missing;
    if let Some(m) = missing.first() {
        return (
            Truth::False,
            m.problem.reason,
            format!("{}: {}", m.name, m.problem.message),
        );
    }
    let records = &input.snapshot.secrets;
    let open = records
        .iter()
        .filter(|r| r.state == SecretState::Pushing)
        .count();
    let verified = records.iter().all(|r| r.state == SecretState::Verified);
    match records.len() {
        0 => (Truth::False, Reason::NotDeployed, String::new()),
        _ if open > 0 => (
            Truth::Unknown,
            Reason::InProgress,
            format!("{open} on their way"),
        ),
        n if verified => (Truth::True, Reason::Pushed, format!("{n} of {n}")),
        n => {
            let problem = (input.snapshot.contact.as_ref()).and_then(|c| c.problem.as_ref());
            let text = match problem {
                Some(problem) => format!("{n} of {n}; not confirmed: {problem}"),
                None => format!("{n} of {n}"),
            };
            (Truth::True, Reason::PushedUnverified, text)
        }
    }
}
