//! `agent.send_task`: an agent gives another one a task. An acknowledgement on the same id at once, the result later as a
//! notification `delegation.result`; after 180 s without one, a failure.

use std::future::Future;
use std::time::Duration;

use serde_json::json;
use talon_core::deliver::{DeliverError, TaskStream, TaskUpdate};
use talon_core::task::{NewTask, TaskId, TaskState};

use crate::fields::Fields;
use crate::frame::{self, code};
use crate::session::SideJob;
use crate::shared::Target;
use crate::stream::Followed;
use crate::{dispatch, search};

/// What the Hub waits beyond the task's own deadline, so that the task's end, whatever it is, is what the asker hears.
const GRACE: Duration = Duration::from_secs(2);

/// Why a delegation is refused: an error code and a text.
type Refused = (i32, String);

struct Wish {
    agent: String,
    message: String,
    skill: Option<String>,
    session: Option<String>,
    task: Option<String>,
}

/// Acknowledges `{agent_id, message, skill_id, session_id?, task_id?}`, then tells the result.
pub fn run(job: SideJob, params: &Fields<'_>) -> impl Future<Output = ()> + Send + use<> {
    let wish = Wish {
        agent: params.text("agent_id").unwrap_or_default(),
        message: params.message("message").unwrap_or_default(),
        skill: params.text("skill_id"),
        session: params.text("session_id"),
        task: params.text("task_id"),
    };
    async move {
        let (task, followed) = match start(&job, wish).await {
            Ok(started) => started,
            Err((code, why)) => return job.error(code, &why).await,
        };
        let owner = Some(job.link.owner.as_str());
        let ack = json!({
            "accepted": true,
            "task_id": task.id.known_to(owner),
            "session_id": task.session.known_to(owner),
            "agent_id": task.agent,
            "status": {"state": TaskState::Submitted},
        });
        job.result(ack).await;
        let (state, text) = outcome(&job, followed).await;
        let _ = job
            .outbox
            .send(result_frame(&job, &task, state, &text))
            .await;
    }
}

async fn start(job: &SideJob, wish: Wish) -> Result<(NewTask, Followed), Refused> {
    let task = read(job, wish)?;
    if !may_ask(job, &task.agent).await? {
        let why = DeliverError::NoSuchAgent(task.agent).to_string();
        return Err((code::NO_AGENT, why));
    }
    let followed = dispatch::deliver(&job.shared, task.clone())
        .await
        .map_err(|e| (error_code(&e), e.to_string()))?;
    Ok((task, followed))
}

fn read(job: &SideJob, wish: Wish) -> Result<NewTask, Refused> {
    let invalid = |why: &str| (code::INVALID_PARAMS, why.to_owned());
    if wish.message.trim().is_empty() {
        return Err(invalid("message: no text"));
    }
    if wish.agent == job.link.name {
        return Err(invalid("agent_id: an agent cannot give itself a task"));
    }
    let owner = Some(job.link.owner.as_str());
    let own = |id: &str| TaskId::chosen_by(owner, id).map_err(|e| invalid(&e.to_string()));
    let id = match wish.task {
        Some(given) => own(&given)?,
        None => own(&format!("task-{}", job.shared.new_id()))?,
    };
    let session = match wish.session {
        Some(given) => own(&given)?,
        None => id.clone(), // so that asking again with the same task id is the same task
    };
    let mut metadata = json!({"delegated_by": job.link.name});
    if let Some(skill) = wish.skill {
        metadata["skill_id"] = skill.into();
    }
    Ok(NewTask {
        id,
        agent: wish.agent,
        session,
        text: wish.message,
        metadata,
        asked_by: Some(job.link.name.clone()),
        deadline_in: job.shared.config.delegation_timeout,
    })
}

/// Private agents are there for their owner's agents only; to others they do not exist.
async fn may_ask(job: &SideJob, name: &str) -> Result<bool, Refused> {
    let unavailable = || (code::INTERNAL, "temporarily unavailable".to_owned());
    let target = job.shared.target(name).await.map_err(|_| unavailable())?;
    let Some(target) = target else {
        return Ok(false);
    };
    if target.owner() == job.link.owner {
        return Ok(true);
    }
    if matches!(&target, Target::Hosted(agent) if agent.public) {
        return Ok(true);
    }
    match &job.shared.search {
        Some(router) => router
            .is_visible(&search::asker(&job.link), name)
            .await
            .map_err(|_| unavailable()),
        None => Ok(false),
    }
}

fn error_code(e: &DeliverError) -> i32 {
    match e {
        DeliverError::NoSuchAgent(_) | DeliverError::Deleting(_) => code::NO_AGENT,
        DeliverError::IdTaken(_) | DeliverError::Invalid(_) => code::INVALID_PARAMS,
        DeliverError::Busy(_) => code::BUSY,
        DeliverError::Unavailable(_) => code::INTERNAL,
    }
}

async fn outcome(job: &SideJob, mut followed: Followed) -> (TaskState, String) {
    let timeout = job.shared.config.delegation_timeout;
    let end = async {
        loop {
            match followed.next().await {
                Some(TaskUpdate::Done { state, text }) => return (state, text),
                Some(TaskUpdate::Status { .. }) => {}
                // The Hub stops, and with it this connection.
                None => std::future::pending::<()>().await,
            }
        }
    };
    match tokio::time::timeout(timeout + GRACE, end).await {
        Ok(end) => end,
        Err(_) => {
            let text = format!("no answer within {} s", timeout.as_secs());
            (TaskState::Failed, text)
        }
    }
}

fn result_frame(job: &SideJob, task: &NewTask, state: TaskState, text: &str) -> String {
    let frame = |state: TaskState, text: &str| {
        let status = json!({
            "state": state,
            "message": {"role": "agent", "parts": [{"type": "text", "text": text}]},
        });
        let own = task.id.known_to(Some(&job.link.owner));
        let (id, agent) = (json!(own), json!(task.agent));
        let params = format!(
            r#"{{"original_id":{},"task_id":{id},"agent_id":{agent},"status":{status}}}"#,
            job.id
        );
        frame::notification("delegation.result", params)
    };
    let whole = frame(state, text);
    if whole.len() <= job.shared.config.max_frame {
        return whole;
    }
    let why = format!(
        "the answer is too long to be passed on ({} bytes)",
        text.len()
    );
    frame(TaskState::Failed, &why)
}
