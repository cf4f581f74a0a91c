//! A registered connection: what the agent says, and what others ask of it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use crate::directory::{Command, Link};
use crate::end::End;
use crate::fields::{Fields, Report};
use crate::frame::{self, Id, Method, code};
use crate::outbox::Outbox;
use crate::register;
use crate::shared::Shared;
use crate::window::Window;
use crate::{delegation, presence, search};

/// See the module. Dropping it gives the agent's place back.
pub struct Session {
    shared: Arc<Shared>,
    link: Arc<Link>,
    outbox: Outbox,
    window: Window,
    commands: mpsc::Receiver<Command>,
    jobs: Arc<Semaphore>,
    silent: Limit,
    probed: Option<Limit>,
    recheck_at: Instant,
}

/// What a peer is given beyond a limit, so that what it said in time but was not read yet still counts.
const LAST_CHANCE: Duration = Duration::from_millis(100);

/// By when something must have come.
#[derive(Debug, Clone, Copy)]
struct Limit {
    at: Instant,
    last_chance: bool,
}

impl Limit {
    fn after(wait: Duration) -> Self {
        Self {
            at: Instant::now() + wait,
            last_chance: false,
        }
    }

    /// Whether it is over, for good.
    fn is_over(&mut self, now: Instant) -> bool {
        if now < self.at {
            return false;
        }
        if self.last_chance {
            return true;
        }
        self.last_chance = true;
        self.at = now + LAST_CHANCE;
        false
    }
}

/// What may happen to a session beside a frame.
pub enum Event {
    /// Somebody asks something of it.
    Command(Command),
    /// A command was missed.
    Missed,
    /// A time has come.
    Time,
}

impl Session {
    /// Begins with a registration that was let in.
    pub fn new(
        shared: Arc<Shared>,
        (link, commands): register::Registered,
        outbox: Outbox,
    ) -> Self {
        let now = Instant::now();
        Self {
            window: Window::new(shared.clone(), link.clone(), outbox.clone()),
            jobs: Arc::new(Semaphore::new(shared.config.max_side_jobs)),
            silent: Limit::after(shared.config.heartbeat_timeout),
            probed: None,
            recheck_at: now + shared.spread(shared.config.recheck),
            shared,
            link,
            outbox,
            commands,
        }
    }

    /// The agent's name.
    pub fn name(&self) -> &str {
        &self.link.name
    }

    /// Waits for the next thing that is no frame.
    pub async fn event(&mut self) -> Event {
        let probed = self.probed.map(|limit| limit.at);
        let times = [probed, self.window.retry_at()];
        let next = times
            .into_iter()
            .flatten()
            .fold(self.silent.at, Instant::min);
        tokio::select! {
            biased;
            Some(command) = self.commands.recv() => Event::Command(command),
            () = self.link.missed() => Event::Missed,
            () = tokio::time::sleep_until(next) => Event::Time,
        }
    }

    /// Acts on it.
    pub async fn handle(&mut self, event: Event) -> Result<(), End> {
        match event {
            Event::Command(Command::Offer(task)) => self.window.offer(&task).await,
            Event::Command(Command::Backlog) | Event::Missed => self.window.look().await,
            Event::Command(Command::Ended(id)) => self.window.ended(&id).await,
            Event::Command(Command::Probe) => {
                if self.probed.is_none() {
                    self.probed = Some(Limit::after(self.shared.config.probe_timeout));
                    self.outbox.ping();
                }
                Ok(())
            }
            Event::Command(Command::Deleting) => self.deleting().await,
            Event::Time => self.time().await,
        }
    }

    /// The agent is being deleted: its tasks have ended, it stops them, and goes.
    async fn deleting(&mut self) -> Result<(), End> {
        match register::unwelcome(&self.shared, &self.link).await {
            Ok(Some(end)) => {
                self.window.stop_ended().await?;
                Err(end)
            }
            // The next agent of its name; or said again soon.
            Ok(None) | Err(_) => Ok(()),
        }
    }

    async fn time(&mut self) -> Result<(), End> {
        let now = Instant::now();
        if self.silent.is_over(now) {
            return Err(End::Silent);
        }
        if self.probed.as_mut().is_some_and(|limit| limit.is_over(now)) {
            return Err(End::Replaced);
        }
        if self.window.retry_at().is_some_and(|at| now >= at) {
            return self.window.look().await;
        }
        Ok(())
    }

    /// Anything at all came from the peer.
    pub fn alive(&mut self) {
        self.probed = None;
        self.link.seen();
    }

    /// Sends the tasks that wait. To be called once the registration was answered.
    pub async fn start(&mut self) -> Result<(), End> {
        self.window.refill().await
    }

    /// A call of the agent.
    pub async fn call(
        &mut self,
        id: Option<Id>,
        method: Method,
        params: &Fields<'_>,
    ) -> Result<(), End> {
        match method {
            Method::Heartbeat => self.heartbeat(id).await,
            Method::TaskStatus | Method::TaskComplete => self.report(id, method, params).await,
            Method::TaskArtifact => self.reply(id, json!({"accepted": true})).await,
            Method::Register => self.register_again(id, params).await,
            Method::Search => self.side_job(id, |s| search::run(s, params)).await,
            Method::SendTask => self.side_job(id, |s| delegation::run(s, params)).await,
            Method::Unknown => self.fail(id, code::NO_METHOD, "no such method").await,
        }
    }

    /// A reply of the agent to a request of the Hub.
    pub async fn replied(&mut self, id: &Id, outcome: Result<(), String>) -> Result<(), End> {
        match (id.number(), outcome) {
            (Some(request), Err(why)) => self.window.refused(request, &why).await,
            (_, Ok(())) | (None, Err(_)) => Ok(()),
        }
    }

    async fn heartbeat(&mut self, id: Option<Id>) -> Result<(), End> {
        let now = Instant::now();
        self.silent = Limit::after(self.shared.config.heartbeat_timeout);
        if now >= self.recheck_at {
            self.recheck_at = now + self.shared.spread(self.shared.config.recheck);
            if let Ok(Some(end)) = register::unwelcome(&self.shared, &self.link).await {
                return Err(end);
            }
        }
        self.outbox.send(frame::heartbeat_ack()).await?;
        self.reply(id, json!({})).await
    }

    async fn report(
        &mut self,
        id: Option<Id>,
        method: Method,
        params: &Fields<'_>,
    ) -> Result<(), End> {
        let Some(report) = Report::read(params) else {
            return self
                .fail(id, code::INVALID_PARAMS, "task_id is missing")
                .await;
        };
        let accepted = if method == Method::TaskComplete {
            self.window.complete(&report).await?
        } else {
            self.window.status(&report).await?
        };
        self.reply(id, json!({"accepted": accepted})).await
    }

    async fn register_again(&mut self, id: Option<Id>, params: &Fields<'_>) -> Result<(), End> {
        let result = if params.text("agent_name").as_deref() == Some(self.name()) {
            json!({"registered": true, "agent_id": self.name()})
        } else {
            let why = format!("routing id mismatch: this connection is {}", self.name());
            json!({"registered": false, "error": why})
        };
        self.reply(id, result).await
    }

    /// Starts something that takes its time and answers by itself.
    async fn side_job<F, J>(&mut self, id: Option<Id>, job: F) -> Result<(), End>
    where
        F: FnOnce(SideJob) -> J,
        J: Future<Output = ()> + Send + 'static,
    {
        let Some(id) = id else {
            return Ok(()); // nobody would hear the answer
        };
        let Ok(place) = self.jobs.clone().try_acquire_owned() else {
            return self
                .fail(
                    Some(id),
                    code::BUSY,
                    "too much is under way; try again later",
                )
                .await;
        };
        let outbox = self.outbox.clone();
        let job = job(SideJob {
            shared: self.shared.clone(),
            link: self.link.clone(),
            outbox: outbox.clone(),
            id,
        });
        let stopping = self.shared.stopping.clone();
        self.shared.spawn(async move {
            tokio::select! {
                () = job => {}
                () = outbox.gone() => {}
                () = stopping.cancelled() => {}
            }
            drop(place);
        });
        Ok(())
    }

    async fn reply(&self, id: Option<Id>, result: serde_json::Value) -> Result<(), End> {
        match id {
            Some(id) => Ok(self.outbox.send(frame::result(&id, result)).await?),
            None => Ok(()),
        }
    }

    async fn fail(&self, id: Option<Id>, code: i32, message: &str) -> Result<(), End> {
        match id {
            Some(id) => Ok(self
                .outbox
                .send(frame::error(Some(&id), code, message))
                .await?),
            None => Ok(()),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.directory.release(&self.link);
        presence::ended(&self.shared, self.link.clone());
        if self.window.is_busy() && !self.shared.stopping.is_cancelled() {
            self.shared.waking.later(&self.shared, &self.link.name);
        }
    }
}

/// A search or a delegation, which runs beside the connection that asked.
pub struct SideJob {
    /// The Hub.
    pub shared: Arc<Shared>,
    /// Who asks.
    pub link: Arc<Link>,
    /// Where the answer goes.
    pub outbox: Outbox,
    /// The request.
    pub id: Id,
}

impl SideJob {
    /// Answers the request. That the asker is gone ends the job by itself.
    pub async fn result(&self, result: serde_json::Value) {
        let _ = self.outbox.send(frame::result(&self.id, result)).await;
    }

    /// Refuses the request.
    pub async fn error(&self, code: i32, message: &str) {
        let _ = self
            .outbox
            .send(frame::error(Some(&self.id), code, message))
            .await;
    }
}
