//! Takes tasks: checked, stored, then sent to the agent's connection or, without one, the agent is woken.

use std::sync::Arc;

use async_trait::async_trait;
use talon_core::deliver::{Deliver, DeliverError, TaskStream};
use talon_core::task::{NewTask, Task, TaskId, TaskState};
use talon_store::StoreError;
use talon_store::network::{Submitted, same_task};

use crate::Hub;
use crate::shared::{Shared, Target};
use crate::stream::Followed;
use crate::window::execute_frame;

/// What the text of a cancelled task says.
const CANCELED: &str = "canceled by whoever asked";
/// JSON may write one byte as six.
const ESCAPED: usize = 6;
/// More than a `task.execute` frame has beside text and metadata.
const FRAME_OVERHEAD: usize = 1_024;

/// Stores a task and sees to it that it is sent. Returns who follows it.
pub async fn deliver(shared: &Arc<Shared>, task: NewTask) -> Result<Followed, DeliverError> {
    check(shared, &task)?;
    if shared.stopping.is_cancelled() {
        return Err(DeliverError::Unavailable("the Hub stops".to_owned()));
    }
    let followed = shared.streams.follow(
        &task.id,
        &task.agent,
        shared.store.clone(),
        shared.config.follow_recheck,
    );
    let target = match target(shared, &task.agent).await {
        Ok(target) => target,
        // Asked again for a task whose agent is gone since: its answer is still there.
        Err(refused @ (DeliverError::NoSuchAgent(_) | DeliverError::Deleting(_))) => {
            let known = shared.store.task(&task.id).await.map_err(unavailable)?;
            let known = known.filter(|known| same_task(known, &task));
            return known.map(|known| followed.caught_up(&known)).ok_or(refused);
        }
        Err(refused) => return Err(refused),
    };
    let submitted = shared
        .store
        .submit_task(&task, shared.config.max_open_tasks)
        .await
        .map_err(unavailable)?;
    match submitted {
        Submitted::New(stored) => {
            tracing::debug!(agent = %stored.agent, task = %stored.id, bytes = stored.text.len(), "task stored");
            shared.deadlines.stored(task.deadline_in);
            hand_over(shared, &target, stored);
            Ok(followed)
        }
        Submitted::Known(known) => {
            if !known.state.is_final() && shared.directory.get(&known.agent).is_none() {
                wake(shared, &target, &known.agent);
            }
            Ok(followed.caught_up(&known))
        }
        Submitted::Taken => Err(DeliverError::IdTaken(task.id)),
        Submitted::Deleting => Err(DeliverError::Deleting(task.agent)),
        Submitted::Full(_) => Err(DeliverError::Busy(task.agent)),
    }
}

async fn target(shared: &Shared, name: &str) -> Result<Target, DeliverError> {
    let target = shared.target(name).await.map_err(unavailable)?;
    let target = target.ok_or_else(|| DeliverError::NoSuchAgent(name.to_owned()))?;
    if target.is_deleting() {
        return Err(DeliverError::Deleting(name.to_owned()));
    }
    Ok(target)
}

fn hand_over(shared: &Arc<Shared>, target: &Target, task: Task) {
    match shared.directory.get(&task.agent) {
        Some(link) => link.offer(task),
        None => wake(shared, target, &task.agent),
    }
}

fn wake(shared: &Arc<Shared>, target: &Target, name: &str) {
    match target {
        Target::Managed(_) => shared.waking.now(shared, name),
        Target::Hosted(_) => {} // nobody can
    }
}

fn check(shared: &Shared, task: &NewTask) -> Result<(), DeliverError> {
    let config = &shared.config;
    let invalid = |why: String| Err(DeliverError::Invalid(why));
    if task.text.len() > config.max_text {
        return invalid(format!("the text has more than {} bytes", config.max_text));
    }
    if task.deadline_in.is_zero() || task.deadline_in > config.max_deadline {
        let most = config.max_deadline.as_secs();
        return invalid(format!("the deadline must be within {most} s"));
    }
    if !task.metadata.is_object() && !task.metadata.is_null() {
        return invalid("the metadata must be an object".to_owned());
    }
    let metadata = task.metadata.to_string().len();
    if metadata > config.max_metadata {
        let most = config.max_metadata;
        return invalid(format!("the metadata has more than {most} bytes"));
    }
    if task.text.len() * ESCAPED + metadata + FRAME_OVERHEAD > config.max_frame {
        let frame = execute_frame(
            u64::MAX,
            &task.id,
            &task.session,
            &task.text,
            &task.metadata,
        );
        if frame.len() > config.max_frame {
            let most = config.max_frame;
            return invalid(format!("the text needs a frame of more than {most} bytes"));
        }
    }
    Ok(())
}

fn unavailable(e: StoreError) -> DeliverError {
    match e {
        StoreError::Rejected { message, .. } => DeliverError::Invalid(message),
        StoreError::StaleEpoch
        | StoreError::NotFound
        | StoreError::Stale { .. }
        | StoreError::Unavailable(_)
        | StoreError::Corrupt(_) => DeliverError::Unavailable(e.to_string()),
    }
}

/// Tells everybody that a task ended without its agent.
pub fn ended_without_agent(
    shared: &Shared,
    agent: &str,
    id: &TaskId,
    state: TaskState,
    text: &str,
) {
    shared.streams.end(id, state, text);
    if let Some(link) = shared.directory.get(agent) {
        link.ended(id);
    }
}

#[async_trait]
impl Deliver for Hub {
    async fn deliver(&self, task: NewTask) -> Result<Box<dyn TaskStream>, DeliverError> {
        Ok(Box::new(deliver(&self.shared, task).await?))
    }

    async fn cancel(&self, id: &TaskId) -> Result<bool, DeliverError> {
        let shared = &self.shared;
        let Some(task) = shared.store.task(id).await.map_err(unavailable)? else {
            return Ok(false);
        };
        let ended = shared
            .store
            .end_task(id, None, TaskState::Canceled, CANCELED)
            .await
            .map_err(unavailable)?;
        if ended {
            ended_without_agent(shared, &task.agent, id, TaskState::Canceled, CANCELED);
        }
        Ok(ended)
    }

    async fn task(&self, id: &TaskId) -> Result<Option<Task>, DeliverError> {
        self.shared.store.task(id).await.map_err(unavailable)
    }

    async fn is_online(&self, agent: &str) -> Result<bool, DeliverError> {
        Ok(self.shared.directory.get(agent).is_some())
    }
}
