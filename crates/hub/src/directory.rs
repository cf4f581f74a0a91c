//! Which agent is connected where: name → live connection, in this process. One connection per agent.
//!
//! With several Hub processes this is the place that must ask the others (presence in the database names the process);
//! nothing else knows where a connection lives.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use talon_core::AgentId;
use talon_core::task::{Task, TaskId};
use tokio::sync::{Notify, mpsc};

/// Longest text of a task that is handed to a connection directly; longer ones are read from the database when their turn
/// comes, so that what waits here stays small.
const MAX_OFFER: usize = 16 * 1024;
/// What may wait for a connection.
const COMMANDS: usize = 32;

/// Which kind of agent holds a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// One that Talon deploys.
    Managed {
        /// Its row.
        id: AgentId,
        /// SHA-256 (hex) of the token it registered with.
        token_sha256: String,
    },
    /// One that somebody runs themselves.
    Hosted {
        /// Id of the API key it came with.
        key: String,
    },
}

/// What others ask of a connection.
#[derive(Debug)]
pub enum Command {
    /// Send this task, which is stored, unless it was sent already.
    Offer(Arc<Task>),
    /// Tasks wait in the database.
    Backlog,
    /// The task has ended without the agent: tell it to stop.
    Ended(TaskId),
    /// Somebody else wants to register in its place: is the peer alive?
    Probe,
    /// The agent is being deleted.
    Deleting,
}

/// A registered connection, as others see it.
#[derive(Debug)]
pub struct Link {
    /// Hub name of the agent.
    pub name: String,
    /// Whose it is.
    pub owner: String,
    /// The Hub's id of the connection.
    pub connection_id: String,
    /// Which kind of agent.
    pub kind: Kind,
    commands: mpsc::Sender<Command>,
    missed: Notify,
    alive: AtomicBool,
}

impl Link {
    /// A link, and where its connection hears what is asked of it.
    pub fn new(
        name: String,
        owner: String,
        connection_id: String,
        kind: Kind,
    ) -> (Self, mpsc::Receiver<Command>) {
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let link = Self {
            name,
            owner,
            connection_id,
            kind,
            commands,
            missed: Notify::new(),
            alive: AtomicBool::new(true),
        };
        (link, receiver)
    }

    /// Hands over a stored task. If the connection is busy it finds the task in the database later.
    pub fn offer(&self, task: Task) {
        let command = if task.text.len() <= MAX_OFFER {
            Command::Offer(Arc::new(task))
        } else {
            Command::Backlog
        };
        if self.commands.try_send(command).is_err() {
            self.missed.notify_one();
        }
    }

    /// Tells that a task ended without the agent. If the connection is busy it finds out later.
    pub fn ended(&self, id: &TaskId) {
        if self.commands.try_send(Command::Ended(id.clone())).is_err() {
            self.missed.notify_one();
        }
    }

    /// Makes the connection show that its peer is alive, or end.
    pub fn probe(&self) {
        let _ = self.commands.try_send(Command::Probe);
    }

    /// Tells that the agent is being deleted. To be repeated: a busy connection does not hear it.
    pub fn deleting(&self) {
        let _ = self.commands.try_send(Command::Deleting);
    }

    /// Returns once a command has been missed: the connection then looks into the database.
    pub async fn missed(&self) {
        self.missed.notified().await;
    }

    /// Notes a sign of life.
    pub fn seen(&self) {
        self.alive.store(true, Ordering::Relaxed);
    }

    /// Whether there was a sign of life since the last call.
    pub fn take_seen(&self) -> bool {
        self.alive.swap(false, Ordering::Relaxed)
    }
}

/// The live connections of this process.
#[derive(Debug, Default)]
pub struct Directory(Mutex<HashMap<String, Arc<Link>>>);

impl Directory {
    fn links(&self) -> MutexGuard<'_, HashMap<String, Arc<Link>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the agent's one place; `Err` with who holds it.
    pub fn claim(&self, link: Link) -> Result<Arc<Link>, Arc<Link>> {
        match self.links().entry(link.name.clone()) {
            Entry::Occupied(held) => Err(held.get().clone()),
            Entry::Vacant(free) => Ok(free.insert(Arc::new(link)).clone()),
        }
    }

    /// Frees the place, if this link still holds it.
    pub fn release(&self, link: &Arc<Link>) {
        let mut links = self.links();
        if links
            .get(&link.name)
            .is_some_and(|held| Arc::ptr_eq(held, link))
        {
            links.remove(&link.name);
        }
    }

    /// The connection of an agent.
    pub fn get(&self, name: &str) -> Option<Arc<Link>> {
        self.links().get(name).cloned()
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Link>> {
        self.links().values().cloned().collect()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.links().len()
    }
}
