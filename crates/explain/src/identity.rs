//! Where IDENTITY.md, as it was deployed, and what the Router shows by now say different things. Pure.
//!
//! What was deployed stays for the agent's whole life; name, description, pictures and skills go on to change in the
//! Router alone. Both texts are read by the headings that the compiler writes, which no text of a user's can imitate.

use std::collections::BTreeMap;

use talon_core::text::clip;
use talon_core::{Snapshot, identity};

use crate::safe;

/// How much of a text is shown.
const SHOWN: usize = 60;

/// One part on which the two differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Which part: `Name`, `Theme`, `Avatar`, `skill research`.
    pub part: String,
    /// What the agent was deployed with, escaped and short; `None`: nothing.
    pub deployed: Option<String>,
    /// What the Router shows, escaped and short; `None`: nothing.
    pub now: Option<String>,
}

/// The parts that differ; none before the agent was deployed.
pub fn differences(s: &Snapshot) -> Vec<Difference> {
    let status = &s.agent.status;
    let (Some(deployed), Some(_)) = (&status.identity_md, status.first_deployed_at) else {
        return Vec::new();
    };
    let now = identity::compile(&s.agent.name, &s.agent.spec).markdown;
    let (deployed, now) = (parts(deployed), parts(&now));
    let mut names: Vec<&String> = deployed.keys().chain(now.keys()).collect();
    names.sort();
    names.dedup();
    let differ = names
        .into_iter()
        .filter(|p| deployed.get(*p) != now.get(*p));
    differ
        .map(|part| {
            let (was, is) = (deployed.get(part), now.get(part));
            Difference {
                part: safe(part),
                deployed: was.map(|text| excerpt(text, is)),
                now: is.map(|text| excerpt(text, was)),
            }
        })
        .collect()
}

/// A short piece of a text in one line, from a little before the place where it is another than the other one.
fn excerpt(text: &str, other: Option<&String>) -> String {
    let line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = line(text);
    let other = other.map(|o| line(o)).unwrap_or_default();
    let same = text.chars().zip(other.chars()).take_while(|(a, b)| a == b);
    let from = same.count();
    // All of it, if it is short; a lead-in of a few words otherwise.
    let skipped = match text.chars().count() <= SHOWN {
        true => 0,
        false => from.saturating_sub(SHOWN / 3),
    };
    let rest: String = text.chars().skip(skipped).collect();
    let dots = if skipped > 0 { "…" } else { "" };
    safe(&format!("{dots}{}", clip(&rest, SHOWN)))
}

/// Labels and skills of an IDENTITY.md, by name. Persona and instructions are left out: they cannot change.
fn parts(markdown: &str) -> BTreeMap<String, String> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    let mut skill: Option<String> = None;
    let mut labels = true;
    for line in markdown.lines() {
        if line.starts_with("## ") {
            (skill, labels) = (None, false);
        } else if let Some(heading) = line.strip_prefix("### ") {
            let (id, name) = heading.split_once(": ").unwrap_or((heading, ""));
            let part = format!("skill {id}");
            found.insert(part.clone(), format!("{name}:"));
            skill = Some(part);
        } else if let Some(text) = skill.as_ref().and_then(|s| found.get_mut(s)) {
            text.push('\n');
            text.push_str(line);
        } else if labels
            && let Some((label, value)) = line
                .strip_prefix("- **")
                .and_then(|rest| rest.split_once(":** "))
        {
            found.insert(label.to_owned(), value.to_owned());
        }
    }
    found.values_mut().for_each(|text| {
        text.truncate(text.trim_end().len());
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;
    use talon_core::spec::{PricingModel, Skill};

    fn skill(id: &str, description: &str) -> Skill {
        Skill {
            id: id.to_owned(),
            name: id.to_uppercase(),
            description: description.to_owned(),
            pricing_model: PricingModel::Free,
            price_usd: None,
            tags: Vec::new(),
            examples: Vec::new(),
        }
    }

    fn deployed() -> Snapshot {
        let mut s = crate::fixtures::deployed("research-pro");
        s.agent.spec.display_name = Some("Research Pro".to_owned());
        s.agent.spec.instructions = "Cite.\n### skill: of mine\n- **Name:** no label".to_owned();
        s.agent.spec.skills = vec![skill("a", "Does a."), skill("b", "Does b.")];
        let identity = identity::compile(&s.agent.name, &s.agent.spec);
        s.agent.status.identity_md = Some(identity.markdown);
        s.agent.status.first_deployed_at = Some(DateTime::UNIX_EPOCH);
        s
    }

    #[test]
    fn nothing_differs_as_long_as_nothing_is_changed() {
        let mut s = deployed();
        assert_eq!(differences(&s), []);
        // What it costs is no part of the identity.
        s.agent.spec.skills[0].pricing_model = PricingModel::PerRequest;
        s.agent.spec.skills[0].price_usd = Some(1.0);
        assert_eq!(differences(&s), []);
    }

    #[test]
    fn what_was_changed_taken_away_and_added_is_named() {
        let mut s = deployed();
        s.agent.spec.display_name = None;
        s.agent.spec.avatar_url = Some("https://example.com/a.png".to_owned());
        s.agent.spec.skills = vec![skill("a", "Does a, and more."), skill("c", "Does c.")];
        let found = differences(&s);
        let lines: Vec<(&str, Option<&str>, Option<&str>)> = found
            .iter()
            .map(|d| (d.part.as_str(), d.deployed.as_deref(), d.now.as_deref()))
            .collect();
        assert_eq!(
            lines,
            [
                ("Avatar", None, Some("https://example.com/a.png")),
                ("Name", Some("Research Pro"), Some(s.agent.name.as_str())),
                ("skill a", Some("A: Does a."), Some("A: Does a, and more.")),
                ("skill b", Some("B: Does b."), None),
                ("skill c", None, Some("C: Does c.")),
            ]
        );
    }

    #[test]
    fn of_long_texts_the_place_that_differs_is_shown() {
        let mut s = deployed();
        let long = "word ".repeat(60);
        s.agent.spec.skills[0].description = format!("{long} old end");
        let identity = identity::compile(&s.agent.name, &s.agent.spec);
        s.agent.status.identity_md = Some(identity.markdown);
        s.agent.spec.skills[0].description = format!("{long} new end");
        let found = differences(&s);
        assert!(
            found[0]
                .deployed
                .as_ref()
                .is_some_and(|t| t.ends_with("old end"))
        );
        assert!(
            found[0]
                .now
                .as_ref()
                .is_some_and(|t| t.ends_with("new end"))
        );
    }

    #[test]
    fn before_the_first_deployment_nothing_differs() {
        let mut s = deployed();
        s.agent.status.first_deployed_at = None;
        s.agent.spec.display_name = None;
        assert_eq!(differences(&s), []);
    }
}
