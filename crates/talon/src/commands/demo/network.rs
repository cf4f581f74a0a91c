//! What the agents of `talon demo` do once they are connected: one is found, gets tasks, writes, remembers.

use talon_controller::clock::OsRandom;
use talon_core::Snapshot;
use talon_core::clock::Random;
use talon_core::condition::{ConditionType, Truth};
use talon_core::deliver::TaskUpdate;
use talon_core::search::Asker;
use talon_core::task::{NewTask, TaskId, TaskState};
use talon_core::text::for_terminal_lines;

use super::{PATIENCE, wait};
use crate::exit::{Exit, Failure};
use crate::follow::Goal;
use crate::local::Local;
use crate::output::safe;
use crate::session::Session;

/// What is needed; no word of it stands in the skill that is meant.
const NEED: &str = "prove or disprove claims";
/// What is asked first, and then.
const TASKS: [&str; 2] = [
    "Save a note: the bridge over the Elbe was opened in 1893",
    "What did I tell you before?",
];
/// Where agents keep what they write.
const ARTIFACTS: &str = "workspace/artifacts/";

/// Plays the acts from number `act` on; gives the number of the next one.
pub async fn play(
    session: &Session,
    local: &Local,
    agents: &[Snapshot],
    star: &Snapshot,
    act: usize,
) -> Result<usize, Failure> {
    let out = &session.output;
    out.line(&format!(
        "\n{act}. Both Workers run in workerd, and connect to the Hub (talon wait --for=connected)"
    ));
    let connected = Goal::Condition(ConditionType::HubConnected, Truth::True);
    for e in wait(session, local, &connected, agents).await? {
        out.line(&format!("   agent/{} connected", e.target.name));
    }
    out.line(&format!(
        "\n{}. Who can do it? (talon search \"{NEED}\")",
        act + 1
    ));
    find(session, local, star).await?;
    out.line(&format!(
        "\n{}. Tasks over the Hub, in one conversation (talon task {})",
        act + 2,
        star.agent.name
    ));
    let conversation = new_id()?;
    for task in TASKS {
        out.line(&format!("   > {task}"));
        let answer = ask(local, star, &conversation, task).await?;
        for line in for_terminal_lines(&answer).lines() {
            out.line(&format!("     {line}"));
        }
        if task == TASKS[0] {
            show_artifacts(session, local, star)?;
        }
    }
    Ok(act + 3)
}

async fn find(session: &Session, local: &Local, star: &Snapshot) -> Result<(), Failure> {
    let router = local.service.search();
    let asker = Asker {
        agent: None,
        owner: star.agent.owner.0.clone(),
    };
    let found = router
        .search(&asker, NEED, 3)
        .await
        .map_err(|e| failed(format!("the search failed: {e}")))?;
    for agent in &found {
        session.output.line(&format!(
            "   {:.2}  agent/{}  skill {}",
            agent.score,
            safe(&agent.name),
            safe(agent.best_skill_id.as_deref().unwrap_or("-"))
        ));
    }
    match found.first() {
        Some(best) if best.name == star.agent.name.as_str() => Ok(()),
        _ => Err(failed(format!("{} was not found", star.agent.name))),
    }
}

/// Gives a task and waits for the answer.
async fn ask(
    local: &Local,
    star: &Snapshot,
    conversation: &TaskId,
    text: &str,
) -> Result<String, Failure> {
    let hub = local
        .service
        .deliver()
        .ok_or_else(|| failed("there is no Hub".to_owned()))?;
    let task = NewTask {
        id: new_id()?,
        agent: star.agent.name.to_string(),
        session: conversation.clone(),
        text: text.to_owned(),
        metadata: serde_json::json!({}),
        asked_by: None,
        deadline_in: PATIENCE,
    };
    let mut updates = hub
        .deliver(task)
        .await
        .map_err(|e| failed(format!("the task was not taken: {e}")))?;
    while let Some(update) = updates.next().await {
        match update {
            TaskUpdate::Done {
                state: TaskState::Completed,
                text,
            } => return Ok(text),
            TaskUpdate::Done { state, text } => {
                return Err(failed(format!("the task ended {state}: {}", safe(&text))));
            }
            TaskUpdate::Status { .. } => {}
        }
    }
    Err(failed("the Hub stopped".to_owned()))
}

/// What the agent wrote, read back from its bucket.
fn show_artifacts(session: &Session, local: &Local, star: &Snapshot) -> Result<(), Failure> {
    let bucket = star.agent.status.r2_bucket.as_deref().unwrap_or_default();
    let objects = local.cloud.objects(star.agent.spec.r2.jurisdiction, bucket);
    let mut artifacts = objects
        .iter()
        .filter(|(key, _)| key.starts_with(ARTIFACTS))
        .peekable();
    if artifacts.peek().is_none() {
        return Err(failed("nothing was written to the bucket".to_owned()));
    }
    for (key, body) in artifacts {
        let text = String::from_utf8_lossy(body);
        session.output.line(&format!(
            "     R2 {}/{}: {}",
            safe(bucket),
            safe(key),
            safe(text.trim_end())
        ));
    }
    Ok(())
}

fn new_id() -> Result<TaskId, Failure> {
    let mut bytes = [0u8; 8];
    OsRandom.fill(&mut bytes);
    TaskId::parse(&format!("demo-{:016x}", u64::from_be_bytes(bytes)))
        .map_err(|e| failed(e.to_string()))
}

fn failed(what: String) -> Failure {
    Failure::new(
        Exit::Failure,
        what,
        "start it again with TALON_LOG=debug, which tells more",
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::STAR;
    use super::NEED;
    use crate::local::EXAMPLES;

    fn words(text: &str) -> BTreeSet<String> {
        text.split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(str::to_lowercase)
            .collect()
    }

    #[test]
    fn what_is_needed_shares_no_word_with_the_skills_of_whom_it_finds() {
        let needed = words(NEED);
        let documents = crate::manifests::examples(&EXAMPLES).expect("valid");
        let star = documents.iter().find(|d| d.name.as_str() == STAR);
        for skill in &star.expect("it is one of the examples").spec.skills {
            let text = serde_json::to_string(skill).expect("JSON");
            let shared: Vec<_> = needed.intersection(&words(&text)).cloned().collect();
            assert!(shared.is_empty(), "{}: {shared:?}", skill.id);
        }
    }
}
