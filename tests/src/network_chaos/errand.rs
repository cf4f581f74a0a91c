//! What is asked of agents that think with the stand-in model, and what they must answer.

use anyhow::{Result, ensure};
use rand::Rng;
use rand::rngs::StdRng;
use talon_core::task::TaskState;

/// What a task says that its agent gave up because it was stopped twice in the middle of it.
const GAVE_UP: &str = "restarted twice";
/// What comes before the reason when an agent could not ask another one.
const NOT_PASSED_ON: &str = "The tool delegate_task failed: ";
/// Why an agent may fail to ask another one while things go wrong: its connection or the Hub was away, or the other one
/// gave up.
const NOT_HEARD: [&str; 5] = [
    "not connected to the network",
    "the connection to the network was lost",
    "did not answer in time",
    "temporarily unavailable",
    GAVE_UP,
];

/// One thing to ask. Its id stands in its text, so that it is found wherever it left a trace.
#[derive(Debug, Clone)]
pub struct Errand {
    /// Task id.
    pub id: String,
    /// Who is asked.
    pub agent: String,
    /// In which session.
    pub session: String,
    /// What kind of thing.
    pub kind: Kind,
}

/// Kinds of things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// To say something back.
    Echo,
    /// To take so many milliseconds.
    Wait(u64),
    /// To write a file into the bucket.
    Note,
    /// To tell what was asked in this session before.
    Recall,
    /// To ask another agent.
    Delegate(String),
}

/// How an errand ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Final.
    pub state: TaskState,
    /// The answer, or why there is none.
    pub text: String,
}

impl End {
    /// Whether there is an answer.
    pub fn is_completed(&self) -> bool {
        self.state == TaskState::Completed
    }
}

impl Kind {
    /// One of them. `agents` may be asked by the one that is asked.
    pub fn any(dice: &mut StdRng, agents: &[String]) -> Self {
        match dice.random_range(0..100) {
            0..25 => Self::Echo,
            25..60 => Self::Wait(dice.random_range(100..2_500)),
            60..80 => Self::Note,
            80..92 => Self::Recall,
            _ => Self::Delegate(agents[dice.random_range(0..agents.len())].clone()),
        }
    }
}

impl Errand {
    /// In words that the stand-in understands.
    pub fn text(&self) -> String {
        let id = &self.id;
        match &self.kind {
            Kind::Echo => format!("hello {id}"),
            Kind::Wait(ms) => format!("wait {ms} ms for {id}"),
            Kind::Note => format!("write \"{}\" to {}", self.content(), self.file()),
            Kind::Recall => format!("What did I tell you before {id}?"),
            Kind::Delegate(other) => format!("ask {other}: hello {id}"),
        }
    }

    /// The file that a note becomes.
    pub fn file(&self) -> String {
        format!("notes/{}.txt", self.id)
    }

    /// What stands in it.
    pub fn content(&self) -> String {
        format!("kept for {}", self.id)
    }

    /// Whether another agent's answer came back.
    pub fn is_passed_on(&self, end: &End) -> bool {
        let answer = format!("Echo: hello {}", self.id);
        end.is_completed() && end.text.ends_with(&answer)
    }

    /// Whether an end is one that may be; `before` was asked in this session and ended before, in order.
    pub fn check(&self, end: &End, before: &[(&Self, &End)]) -> Result<()> {
        let (id, text) = (&self.id, &end.text);
        if !end.is_completed() {
            let honest = end.state == TaskState::Failed && text.contains(GAVE_UP);
            ensure!(honest, "{id} ended {}: {text}", end.state);
            return Ok(());
        }
        match &self.kind {
            Kind::Echo => ensure!(*text == format!("Echo: hello {id}"), "{id}: {text}"),
            Kind::Wait(ms) => ensure!(*text == format!("Waited {ms} ms."), "{id}: {text}"),
            Kind::Note => {
                let done = text.starts_with("Done. Wrote ") && text.contains(&self.file());
                ensure!(done, "{id}: {text}");
            }
            Kind::Recall => remembers(id, text, before)?,
            // The other one may give up, and the connection may be lost meanwhile: the agent is told, and says so.
            Kind::Delegate(_) => {
                let told_why = text
                    .strip_prefix(NOT_PASSED_ON)
                    .is_some_and(|why| NOT_HEARD.iter().any(|known| why.contains(known)));
                ensure!(self.is_passed_on(end) || told_why, "{id}: {text}");
            }
        }
        Ok(())
    }
}

/// What was answered is remembered once, in order; what was given up at most once.
fn remembers(id: &str, text: &str, before: &[(&Errand, &End)]) -> Result<()> {
    let remembered: Vec<&str> = text
        .lines()
        .filter(|line| {
            line.split_once(". ")
                .is_some_and(|(n, _)| n.parse::<u32>().is_ok())
        })
        .collect();
    let mut last = 0;
    for (errand, end) in before {
        let places: Vec<usize> = (0..remembered.len())
            .filter(|at| remembered[*at].ends_with(&errand.text()))
            .collect();
        let right = match (places.as_slice(), end.is_completed()) {
            ([at], _) => *at >= last,
            ([], completed) => !completed,
            _ => false,
        };
        ensure!(right, "{id} remembers {} at {places:?}: {text}", errand.id);
        last = places.first().copied().unwrap_or(last);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_could_not_ask_another_one_must_have_a_reason() {
        let errand = Errand {
            id: "e1".to_owned(),
            agent: "a".to_owned(),
            session: "s".to_owned(),
            kind: Kind::Delegate("b".to_owned()),
        };
        let end = |text: &str| End {
            state: TaskState::Completed,
            text: text.to_owned(),
        };
        for (text, may_be, passed_on) in [
            ("b says: Echo: hello e1", true, true),
            (
                "The tool delegate_task failed: not connected to the network",
                true,
                false,
            ),
            (
                "The tool delegate_task failed: no agent is called b",
                false,
                false,
            ),
            ("Echo: hello e2", false, false),
        ] {
            let end = end(text);
            assert_eq!(errand.check(&end, &[]).is_ok(), may_be, "{text}");
            assert_eq!(errand.is_passed_on(&end), passed_on, "{text}");
        }
    }
}
