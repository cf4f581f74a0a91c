//! The last lines about each agent, in memory: what `talon logs` shows of the controller.
//!
//! Guarantees: so many lines for an agent and so many in all, the oldest dropped first and counted; nothing reaches disk;
//! a follower costs nothing but its place. Lines are those of this process: with several daemons each knows its own.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use talon_core::AgentId;
use talon_core::clock::Clock;
use talon_core::logs::{LogFeed, LogLevel, LogLine, LogSource, Recent};
use tokio::sync::watch;

/// Most lines that are kept of one agent.
pub const PER_AGENT: usize = 500;
/// Most lines that are kept in all; a line is some 300 bytes, and a few KiB at most.
pub const IN_ALL: usize = 20_000;

/// See the module.
pub struct LogBook {
    clock: Arc<dyn Clock>,
    since: DateTime<Utc>,
    per_agent: usize,
    in_all: usize,
    pages: Mutex<Pages>,
    /// The number of the last line: wakes those who follow.
    last: watch::Sender<u64>,
}

#[derive(Default)]
struct Pages {
    next: u64,
    /// Every line by its number.
    lines: BTreeMap<u64, (AgentId, LogLine)>,
    agents: BTreeMap<AgentId, Page>,
}

/// One agent's.
#[derive(Default)]
struct Page {
    /// Numbers of its lines, ascending.
    lines: VecDeque<u64>,
    dropped: u64,
}

impl Pages {
    fn drop_oldest_of(&mut self, agent: AgentId) {
        let Some(page) = self.agents.get_mut(&agent) else {
            return;
        };
        if let Some(number) = page.lines.pop_front() {
            self.lines.remove(&number);
            page.dropped += 1;
        }
        if page.lines.is_empty() {
            self.agents.remove(&agent);
        }
    }
}

impl LogBook {
    /// An empty one.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::with_room(clock, PER_AGENT, IN_ALL)
    }

    fn with_room(clock: Arc<dyn Clock>, per_agent: usize, in_all: usize) -> Self {
        Self {
            since: clock.now(),
            clock,
            per_agent,
            in_all,
            pages: Mutex::default(),
            last: watch::Sender::new(0),
        }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        // Whole whenever the lock is free.
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line of the controller's, of this moment.
    pub fn line(&self, level: LogLevel, text: &str) -> LogLine {
        LogLine::new(self.clock.now(), LogSource::Controller, level, text)
    }

    /// Writes a line down. It must hold no secret.
    pub fn write(&self, agent: AgentId, line: LogLine) {
        let number = {
            let mut pages = self.pages();
            pages.next += 1;
            let number = pages.next;
            pages.lines.insert(number, (agent, line));
            let page = pages.agents.entry(agent).or_default();
            page.lines.push_back(number);
            if page.lines.len() > self.per_agent {
                pages.drop_oldest_of(agent);
            }
            if pages.lines.len() > self.in_all
                && let Some(oldest) = pages.lines.first_key_value().map(|(_, (agent, _))| *agent)
            {
                pages.drop_oldest_of(oldest);
            }
            number
        };
        self.last.send_replace(number);
    }

    /// The last lines about an agent.
    pub fn recent(&self, agent: AgentId, most: usize) -> Recent {
        let pages = self.pages();
        let (mut lines, mut dropped) = (Vec::new(), 0);
        if let Some(page) = pages.agents.get(&agent) {
            let skip = page.lines.len().saturating_sub(most);
            let numbers = page.lines.iter().skip(skip);
            lines.extend(numbers.filter_map(|n| Some(pages.lines.get(n)?.1.clone())));
            dropped = page.dropped;
        }
        Recent {
            lines,
            dropped,
            since: self.since,
            place: pages.next,
        }
    }

    /// The first line about an agent behind this place: its number, how many before it were dropped unread, the line.
    fn after(&self, agent: AgentId, place: u64, known_dropped: u64) -> Option<(u64, u64, LogLine)> {
        let pages = self.pages();
        let page = pages.agents.get(&agent)?;
        let at = page.lines.partition_point(|number| *number <= place);
        let number = *page.lines.get(at)?;
        let line = pages.lines.get(&number)?.1.clone();
        // Only if everything read so far is gone can something unread be gone too.
        let missed = if at == 0 {
            page.dropped.saturating_sub(known_dropped)
        } else {
            0
        };
        Some((number, missed, line))
    }

    /// How many lines of an agent this place lies behind, dropped ones included.
    fn read_up_to(&self, agent: AgentId, place: u64) -> u64 {
        let pages = self.pages();
        pages.agents.get(&agent).map_or(0, |page| {
            let at = page.lines.partition_point(|number| *number <= place);
            page.dropped + at as u64
        })
    }

    /// The lines about an agent behind this place, as they come.
    pub fn follow(self: &Arc<Self>, agent: AgentId, place: u64) -> Box<dyn LogFeed> {
        Box::new(Follower {
            read: self.read_up_to(agent, place),
            news: self.last.subscribe(),
            book: self.clone(),
            agent,
            place,
            waiting: None,
        })
    }
}

struct Follower {
    book: Arc<LogBook>,
    news: watch::Receiver<u64>,
    agent: AgentId,
    place: u64,
    /// How many lines of the agent were read or told as dropped.
    read: u64,
    waiting: Option<LogLine>,
}

#[async_trait]
impl LogFeed for Follower {
    async fn next(&mut self) -> Option<LogLine> {
        loop {
            if let Some(line) = self.waiting.take() {
                return Some(line);
            }
            // Before the book is read: what is written meanwhile wakes it again.
            self.news.mark_unchanged();
            if let Some((place, missed, line)) = self.book.after(self.agent, self.place, self.read)
            {
                self.place = place;
                self.read += missed + 1;
                if missed == 0 {
                    return Some(line);
                }
                self.waiting = Some(line);
                let text = format!("{missed} lines are no longer kept");
                return Some(self.book.line(LogLevel::Warn, &text));
            }
            self.news.changed().await.ok()?;
        }
    }

    fn place(&self) -> Option<u64> {
        // A line that waits has not come yet.
        Some(self.place - u64::from(self.waiting.is_some()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn agent(n: u128) -> AgentId {
        AgentId(uuid::Uuid::from_u128(n))
    }

    fn book(per_agent: usize, in_all: usize) -> Arc<LogBook> {
        let clock = Arc::new(SystemClock::default());
        Arc::new(LogBook::with_room(clock, per_agent, in_all))
    }

    fn say(book: &LogBook, n: u128, text: &str) {
        book.write(agent(n), book.line(LogLevel::Info, text));
    }

    fn texts(recent: &Recent) -> Vec<&str> {
        recent.lines.iter().map(LogLine::text).collect()
    }

    #[test]
    fn the_oldest_go_first_and_are_counted() {
        let book = book(3, 100);
        for text in ["a", "b", "c", "d", "e"] {
            say(&book, 1, text);
        }
        say(&book, 2, "other");
        let recent = book.recent(agent(1), 100);
        assert_eq!((texts(&recent), recent.dropped), (vec!["c", "d", "e"], 2));
        assert_eq!(texts(&book.recent(agent(1), 2)), ["d", "e"]);
        assert_eq!(texts(&book.recent(agent(2), 2)), ["other"]);
    }

    #[test]
    fn a_busy_agent_pushes_out_the_oldest_of_all_and_the_room_is_never_exceeded() {
        let book = book(5, 8);
        say(&book, 1, "first");
        say(&book, 1, "second");
        for n in 0..7 {
            say(&book, 2 + n / 4, "x");
        }
        let recent = book.recent(agent(1), 10);
        assert_eq!((texts(&recent), recent.dropped), (vec!["second"], 1));
        for _ in 0..100 {
            say(&book, 9, "x");
        }
        assert!(book.pages().lines.len() <= 8);
        let numbers: usize = book.pages().agents.values().map(|p| p.lines.len()).sum();
        assert_eq!(numbers, book.pages().lines.len());
    }

    #[tokio::test]
    async fn a_follower_misses_none_and_is_told_of_those_that_were_dropped() {
        let book = book(3, 100);
        say(&book, 1, "before");
        let mut feed = book.follow(agent(1), book.recent(agent(1), 10).place);
        say(&book, 2, "another agent's");
        say(&book, 1, "a");
        assert_eq!(feed.next().await.expect("a line").text(), "a");
        for text in ["b", "c", "d", "e", "f"] {
            say(&book, 1, text);
        }
        let mut told = Vec::new();
        for _ in 0..4 {
            told.push(feed.next().await.expect("a line").text().to_owned());
        }
        assert_eq!(told, ["2 lines are no longer kept", "d", "e", "f"]);
        let waits = feed.next();
        tokio::pin!(waits);
        assert!(futures_poll(&mut waits).is_none());
        say(&book, 1, "g");
        assert_eq!(waits.await.expect("a line").text(), "g");
    }

    #[tokio::test]
    async fn who_comes_back_to_a_place_goes_on_behind_the_line_that_came_last() {
        let book = book(3, 100);
        let mut feed = book.follow(agent(1), 0);
        for text in ["a", "b", "c"] {
            say(&book, 1, text);
        }
        assert_eq!(feed.next().await.expect("a line").text(), "a");
        let mut again = book.follow(agent(1), feed.place().expect("a place"));
        assert_eq!(again.next().await.expect("a line").text(), "b");
        for text in ["d", "e", "f"] {
            say(&book, 1, text);
        }
        let told = again.next().await.expect("a line");
        assert_eq!(told.text(), "1 lines are no longer kept");
        let mut again = book.follow(agent(1), again.place().expect("a place"));
        assert_eq!(again.next().await.expect("a line").text(), "d");
    }

    fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::Pin::new(future).poll(&mut cx) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}
