//! What is searched: the skills of a card. Cards of self-hosted agents are whatever somebody sent, so they are read with
//! patience and cut to size.

use serde_json::Value;
use talon_core::card::AgentCard;
use talon_core::search::FoundSkill;

/// Most skills of one agent that are searched.
const MOST_SKILLS: usize = 100;
/// Most tags, and most examples, of one skill that are searched.
const MOST_WORDS: usize = 20;
/// Longest name, tag or id, in bytes.
const LONGEST_NAME: usize = 200;
/// Longest description or example, in bytes.
const LONGEST_TEXT: usize = 2_000;

/// A skill as it is searched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Skill {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) tags: Vec<String>,
    pub(crate) examples: Vec<String>,
}

impl Skill {
    /// What an embedding model reads of it.
    pub(crate) fn text_to_embed(&self) -> String {
        let mut text = format!("{}. {}", self.name, self.description);
        if !self.tags.is_empty() {
            text.push_str(&format!(" ({})", self.tags.join(", ")));
        }
        for example in &self.examples {
            text.push(' ');
            text.push_str(example);
        }
        text
    }

    /// As a result names it, with at most `longest` bytes of description.
    pub(crate) fn found(&self, longest: usize) -> FoundSkill {
        FoundSkill {
            id: self.id.clone(),
            name: self.name.clone(),
            description: cut(&self.description, longest),
        }
    }
}

/// The skills of a registered card.
pub(crate) fn of_card(card: &AgentCard) -> Vec<Skill> {
    let list = |texts: &[String], longest: usize| -> Vec<String> {
        texts
            .iter()
            .take(MOST_WORDS)
            .map(|t| cut(t, longest))
            .collect()
    };
    let skills = card.skills.iter().take(MOST_SKILLS).map(|skill| Skill {
        id: cut(&skill.id, LONGEST_NAME),
        name: cut(&skill.name, LONGEST_NAME),
        description: cut(&skill.description, LONGEST_TEXT),
        tags: list(&skill.tags, LONGEST_NAME),
        examples: list(&skill.examples, LONGEST_TEXT),
    });
    or_one(skills.collect(), &card.name, &card.description)
}

/// The description and the skills of a card that somebody sent: what is missing or odd is passed over.
pub(crate) fn of_sent_card(agent: &str, card: &Value) -> (String, Vec<Skill>) {
    let description = text(card, "description", LONGEST_TEXT);
    let none = Vec::new();
    let sent = card
        .get("skills")
        .and_then(Value::as_array)
        .unwrap_or(&none);
    let skills = sent.iter().filter(|skill| skill.is_object());
    let skills = skills.take(MOST_SKILLS).map(|skill| Skill {
        id: text(skill, "id", LONGEST_NAME),
        name: text(skill, "name", LONGEST_NAME),
        description: text(skill, "description", LONGEST_TEXT),
        tags: texts(skill, "tags", LONGEST_NAME),
        examples: texts(skill, "examples", LONGEST_TEXT),
    });
    let skills = or_one(skills.collect(), agent, &description);
    (description, skills)
}

/// An agent without skills has one, made of its name and description.
fn or_one(skills: Vec<Skill>, agent: &str, description: &str) -> Vec<Skill> {
    if !skills.is_empty() {
        return skills;
    }
    vec![Skill {
        id: agent.to_owned(),
        name: agent.to_owned(),
        description: cut(description, LONGEST_TEXT),
        tags: Vec::new(),
        examples: Vec::new(),
    }]
}

fn text(value: &Value, key: &str, longest: usize) -> String {
    let text = value.get(key).and_then(Value::as_str).unwrap_or_default();
    cut(text, longest)
}

fn texts(value: &Value, key: &str, longest: usize) -> Vec<String> {
    let list = value.get(key).and_then(Value::as_array);
    let texts = list.into_iter().flatten().filter_map(Value::as_str);
    texts.take(MOST_WORDS).map(|t| cut(t, longest)).collect()
}

/// At most so many bytes of a text, whole characters.
pub(crate) fn cut(text: &str, longest: usize) -> String {
    text[..text.floor_char_boundary(longest)].to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn odd_cards_are_read_as_far_as_they_go() {
        for odd in [
            json!(null),
            json!([1]),
            json!("x"),
            json!({"skills": {"a": 1}, "description": 7}),
        ] {
            let (description, skills) = of_sent_card("my.agent", &odd);
            assert_eq!(description, "");
            assert_eq!(skills.len(), 1);
            assert_eq!(skills[0].id, "my.agent");
        }
        let card = json!({
            "description": "d", "skills": [
                7, {"id": "s", "name": "n", "description": "x".repeat(5_000), "tags": ["a", 1, "b"], "examples": "no"},
            ]
        });
        let (_, skills) = of_sent_card("my.agent", &card);
        assert_eq!(skills.len(), 1);
        assert_eq!(skills[0].tags, ["a", "b"]);
        assert_eq!(skills[0].description.len(), LONGEST_TEXT);
        assert!(skills[0].examples.is_empty());
    }

    #[test]
    fn a_cut_splits_no_character() {
        assert_eq!(cut("aä", 2), "a");
        assert_eq!(cut("aä", 3), "aä");
        assert_eq!(cut("a", 9), "a");
    }

    #[test]
    fn the_model_reads_every_part() {
        let skill = Skill {
            id: "i".to_owned(),
            name: "Name".to_owned(),
            description: "What it does.".to_owned(),
            tags: vec!["t1".to_owned(), "t2".to_owned()],
            examples: vec!["Do it?".to_owned()],
        };
        assert_eq!(skill.text_to_embed(), "Name. What it does. (t1, t2) Do it?");
    }
}
