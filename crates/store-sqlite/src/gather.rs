//! Many small writes, one commit: a commit waits for the disk, and what arrives meanwhile goes into the next one together.
//!
//! Guarantees: an answer is given only after the commit that holds its write; writes are carried out in the order in which
//! they were handed in, each seeing the ones before it; a write that fails takes no other with it; giving up waiting for
//! an answer interrupts nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnection, SqlitePool};
use talon_store::{StoreError, StoreResult};
use tokio::sync::oneshot;

use crate::error::translate;

/// Writes in one transaction at most, so that the other writers of this process get their turn.
const AT_ONCE: usize = 256;

/// A write that may share its transaction with others. May be run again after a rollback.
#[async_trait]
pub(crate) trait Write: Send + Sync + 'static {
    /// What it answers.
    type Answer: Send;
    /// Carries it out.
    async fn run(&self, db: &mut SqliteConnection) -> StoreResult<Self::Answer>;
}

#[async_trait]
trait Job: Send {
    /// Carries it out and keeps the answer. Whether it succeeded.
    async fn run(&mut self, db: &mut SqliteConnection) -> bool;
    /// Replaces the answer.
    fn fail(&mut self, error: StoreError);
    /// Gives the answer to whoever still waits for it.
    fn tell(self: Box<Self>);
}

struct Pending<W: Write> {
    write: W,
    answer: StoreResult<W::Answer>,
    asker: oneshot::Sender<StoreResult<W::Answer>>,
}

#[async_trait]
impl<W: Write> Job for Pending<W> {
    async fn run(&mut self, db: &mut SqliteConnection) -> bool {
        self.answer = self.write.run(db).await;
        self.answer.is_ok()
    }

    fn fail(&mut self, error: StoreError) {
        self.answer = Err(error);
    }

    fn tell(self: Box<Self>) {
        // Who no longer waits does not want to know.
        let _ = self.asker.send(self.answer);
    }
}

#[derive(Default)]
struct Queue {
    jobs: Vec<Box<dyn Job>>,
    /// Whether a task is working through the queue.
    worked: bool,
}

/// Collects the writes of one database.
pub(crate) struct Gather {
    writer: SqlitePool,
    queue: Mutex<Queue>,
}

impl Gather {
    pub(crate) fn new(writer: SqlitePool) -> Arc<Self> {
        Arc::new(Self {
            writer,
            queue: Mutex::default(),
        })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a write in and waits until it is committed.
    pub(crate) async fn write<W: Write>(self: &Arc<Self>, write: W) -> StoreResult<W::Answer> {
        let (asker, answer) = oneshot::channel();
        let job = Box::new(Pending {
            write,
            answer: Err(closed()),
            asker,
        });
        let idle = {
            let mut queue = self.queue();
            queue.jobs.push(job);
            !std::mem::replace(&mut queue.worked, true)
        };
        if idle {
            // A task of its own: the caller may go away, the writes of others must not go with it.
            tokio::spawn(self.clone().work());
        }
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    async fn work(self: Arc<Self>) {
        let mut turn = Turn {
            gather: &self,
            over: false,
        };
        while let Some(mut jobs) = turn.next() {
            if !self.together(&mut jobs).await {
                for job in &mut jobs {
                    self.together(std::slice::from_mut(job)).await;
                }
            }
            jobs.into_iter().for_each(Job::tell);
        }
    }

    /// Carries jobs out in one transaction. `false` if one of several failed: then none is done.
    async fn together(&self, jobs: &mut [Box<dyn Job>]) -> bool {
        let error = match self.try_together(jobs).await {
            Ok(done) => return done || jobs.len() == 1,
            Err(error) => error,
        };
        for job in jobs {
            job.fail(StoreError::Unavailable(error.to_string()));
        }
        true
    }

    async fn try_together(&self, jobs: &mut [Box<dyn Job>]) -> StoreResult<bool> {
        let begin = self.writer.begin_with("BEGIN IMMEDIATE");
        let mut tx = begin.await.map_err(translate)?;
        for job in jobs {
            if !job.run(&mut tx).await {
                tx.rollback().await.map_err(translate)?;
                return Ok(false);
            }
        }
        tx.commit().await.map_err(translate)?;
        Ok(true)
    }
}

/// The right to work through the queue. Given back however the work ends, and then nobody waits for an answer in vain.
struct Turn<'a> {
    gather: &'a Gather,
    /// Given back: the queue may be somebody else's by now.
    over: bool,
}

impl Turn<'_> {
    fn next(&mut self) -> Option<Vec<Box<dyn Job>>> {
        let mut queue = self.gather.queue();
        if queue.jobs.is_empty() {
            queue.worked = false;
            self.over = true;
            return None;
        }
        let some = queue.jobs.len().min(AT_ONCE);
        Some(queue.jobs.drain(..some).collect())
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let left = {
            let mut queue = self.gather.queue();
            queue.worked = false;
            std::mem::take(&mut queue.jobs)
        };
        drop(left);
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the database was closed".to_owned())
}
