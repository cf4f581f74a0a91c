//! [`TaskRouter`]: gives a task to an agent, by name or by what is needed. Storing the task, waking a sleeping agent and the
//! answer's stream are the Hub's, behind [`Deliver`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use talon_core::deliver::{Deliver, DeliverError, TaskStream, TaskUpdate};
use talon_core::search::{AgentSearch, Asker, FoundAgent, SearchError};
use talon_core::task::{NewTask, SessionId, TaskId};
use uuid::Uuid;

/// What a task is given if nothing else is asked for.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(600);

/// How many agents are tried for a search.
const TRIES: usize = 5;
/// The least that an agent must fit to be given a task that nobody addressed to it.
const LEAST: f64 = 0.25;
/// How much of the best one's fit the next must reach to stand in for it.
const NEARLY: f64 = 0.75;

/// Who is to do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskFor {
    /// The agent of this name.
    Name(String),
    /// Whoever fits this description best.
    Search(String),
}

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRequest {
    /// In words.
    pub text: String,
    /// The conversation that it goes on with; `None`: a new one.
    pub session: Option<SessionId>,
    /// Asking again with the same id is the same task; `None`: a new one.
    pub id: Option<TaskId>,
    /// Passed on to the agent; an object, or null. For a search, the skill that was found is added as `skill_id`.
    pub metadata: Value,
    /// After this the task fails; `None`: [`DEFAULT_DEADLINE`].
    pub deadline: Option<Duration>,
}

/// A task on its way.
pub struct Routed {
    /// Hub name of the agent that has it.
    pub agent: String,
    /// The task's id.
    pub task: TaskId,
    /// The conversation.
    pub session: SessionId,
    /// What comes back.
    pub stream: Box<dyn TaskStream>,
}

impl std::fmt::Debug for Routed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Routed")
            .field("agent", &self.agent)
            .field("task", &self.task)
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

/// Why nobody got the task. The text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// Nobody of that name whom the asker may see.
    #[error("no agent is called {0}; search for one by what it should do")]
    NoSuchAgent(String),
    /// Nobody fits the description.
    #[error("no agent was found that can do this; say it in other words, or name an agent")]
    NobodyFound,
    /// Searches are answered elsewhere.
    #[error("this Router finds nobody; name an agent")]
    NotHere,
    /// The agent is being deleted.
    #[error("agent {0} is being deleted and takes no more tasks; ask another one")]
    Deleting(String),
    /// Too many tasks wait for the agent, or for each of those that were found.
    #[error("agent {0} has too many waiting tasks; try again later")]
    Busy(String),
    /// The id is another task's.
    #[error("task id {0} is taken by another task; choose another id, or none")]
    IdTaken(TaskId),
    /// Not what can be asked.
    #[error("{0}")]
    Invalid(String),
    /// Something that is needed cannot be reached.
    #[error("temporarily unavailable: {0}; try again")]
    Unavailable(String),
}

impl From<SearchError> for RouteError {
    fn from(e: SearchError) -> Self {
        match e {
            SearchError::Invalid(why) => Self::Invalid(why),
            SearchError::NotHere => Self::NotHere,
            SearchError::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

impl From<DeliverError> for RouteError {
    fn from(e: DeliverError) -> Self {
        match e {
            DeliverError::NoSuchAgent(agent) => Self::NoSuchAgent(agent),
            DeliverError::Deleting(agent) => Self::Deleting(agent),
            DeliverError::IdTaken(id) => Self::IdTaken(id),
            DeliverError::Busy(agent) => Self::Busy(agent),
            DeliverError::Invalid(why) => Self::Invalid(why),
            DeliverError::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

/// Gives tasks to agents.
pub struct TaskRouter {
    search: Arc<dyn AgentSearch>,
    deliver: Arc<dyn Deliver>,
}

impl TaskRouter {
    /// Finds by this search and hands over to this Hub.
    pub fn new(search: Arc<dyn AgentSearch>, deliver: Arc<dyn Deliver>) -> Self {
        Self { search, deliver }
    }

    /// Hands a task over and returns once it is stored; a sleeping agent is woken. An agent that the asker may not see is
    /// answered for as one that does not exist. By search, the best agent gets it; if that one has just gone or has too much
    /// to do, the next that fits nearly as well. A task id that was routed before stays with its agent.
    pub async fn route(
        &self,
        asker: &Asker,
        to: &TaskFor,
        request: TaskRequest,
    ) -> Result<Routed, RouteError> {
        if request.text.trim().is_empty() {
            let why = "the task has no text: say what is to be done";
            return Err(RouteError::Invalid(why.to_owned()));
        }
        if !request.metadata.is_object() && !request.metadata.is_null() {
            let why = "metadata: an object or nothing";
            return Err(RouteError::Invalid(why.to_owned()));
        }
        match to {
            TaskFor::Name(agent) => self.by_name(asker, agent, request).await,
            TaskFor::Search(query) => self.by_search(asker, query, request).await,
        }
    }

    /// The same task, given before and ended since: its end stands, whatever has become of the agent.
    pub async fn ended(
        &self,
        asker: &Asker,
        agent: &str,
        request: &TaskRequest,
    ) -> Result<Option<Routed>, RouteError> {
        let Some(id) = &request.id else {
            return Ok(None);
        };
        let session = request.session.as_ref().unwrap_or(id);
        let known = self.deliver.task(id).await?.filter(|known| {
            known.state.is_final()
                && known.asked_by == asker.agent
                && known.agent == agent
                && known.session == *session
                && known.text == request.text
        });
        Ok(known.map(|known| Routed {
            agent: known.agent,
            task: known.id,
            session: known.session,
            stream: Box::new(Ended(Some(TaskUpdate::Done {
                state: known.state,
                text: known.answer.unwrap_or_default(),
            }))),
        }))
    }

    async fn by_name(
        &self,
        asker: &Asker,
        agent: &str,
        request: TaskRequest,
    ) -> Result<Routed, RouteError> {
        if asker.agent.as_deref() == Some(agent) {
            let why = "an agent cannot give itself a task: name another one";
            return Err(RouteError::Invalid(why.to_owned()));
        }
        if let Some(ended) = self.ended(asker, agent, &request).await? {
            return Ok(ended);
        }
        if !self.search.is_visible(asker, agent).await? {
            return Err(RouteError::NoSuchAgent(agent.to_owned()));
        }
        self.hand_over(new_task(asker, agent, None, request)).await
    }

    async fn by_search(
        &self,
        asker: &Asker,
        query: &str,
        request: TaskRequest,
    ) -> Result<Routed, RouteError> {
        if let Some(id) = &request.id
            && let Some(known) = self.deliver.task(id).await?
        {
            if known.asked_by != asker.agent || known.text != request.text {
                return Err(RouteError::IdTaken(id.clone()));
            }
            return self.by_name(asker, &known.agent, request).await;
        }
        let found = self.search.search(asker, query, TRIES).await?;
        let best = found.first().map_or(0.0, |agent| agent.score);
        let least = (best * NEARLY).max(LEAST);
        let mut refused = RouteError::NobodyFound;
        for agent in found.iter().filter(|agent| agent.score >= least) {
            let task = new_task(asker, &agent.name, Some(agent), request.clone());
            match self.hand_over(task).await {
                Err(RouteError::NoSuchAgent(_) | RouteError::Deleting(_)) => {}
                Err(busy @ RouteError::Busy(_)) => refused = busy,
                done => return done,
            }
        }
        Err(refused)
    }

    async fn hand_over(&self, task: NewTask) -> Result<Routed, RouteError> {
        let (agent, id, session) = (task.agent.clone(), task.id.clone(), task.session.clone());
        let stream = self.deliver.deliver(task).await?;
        Ok(Routed {
            agent,
            task: id,
            session,
            stream,
        })
    }
}

/// Says the end of a task, once.
struct Ended(Option<TaskUpdate>);

#[async_trait]
impl TaskStream for Ended {
    async fn next(&mut self) -> Option<TaskUpdate> {
        self.0.take()
    }
}

fn new_task(
    asker: &Asker,
    agent: &str,
    found: Option<&FoundAgent>,
    request: TaskRequest,
) -> NewTask {
    let id = request.id.unwrap_or_else(new_id);
    let mut metadata = request.metadata;
    if let Some(skill) = found.and_then(|found| found.best_skill_id.as_ref())
        && metadata.get("skill_id").is_none()
    {
        metadata["skill_id"] = skill.clone().into();
    }
    NewTask {
        agent: agent.to_owned(),
        session: request.session.unwrap_or_else(|| id.clone()),
        id,
        text: request.text,
        metadata,
        asked_by: asker.agent.clone(),
        deadline_in: request.deadline.unwrap_or(DEFAULT_DEADLINE),
    }
}

fn new_id() -> TaskId {
    let id = format!("task-{}", Uuid::new_v4().simple());
    // Cannot happen: hexadecimal digits and a hyphen are allowed, and 37 characters are not too many.
    TaskId::parse(&id).unwrap_or_else(|_| unreachable!("a made id is an id"))
}
