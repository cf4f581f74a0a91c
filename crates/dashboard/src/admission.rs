//! How long an answer that lasts may go on.
//!
//! Guarantees: it ends with its session, with its token, and after an hour; it holds a place among its visitor's long answers
//! as long as it lasts.

use std::time::Duration;

use talon_core::turns::Place;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::error::PageError;
use crate::session::Session;

/// How long it lasts at most; the page opens it anew.
const LONGEST: Duration = Duration::from_secs(3_600);

/// Leave for an answer that lasts.
pub struct Admission {
    app: App,
    session: Session,
    /// How often the token is looked at.
    every: Duration,
    /// When it is looked at again.
    next_check: Instant,
    /// When it ends, whatever happens.
    ends: Instant,
    /// Its place among the visitor's long answers.
    _place: Option<Place<String>>,
}

impl Admission {
    /// For whoever was let in just now. Looks `every` so often whether their token is still accepted.
    ///
    /// Fails if as many long answers of theirs are under way as may be.
    pub fn begin(app: App, session: Session, every: Duration) -> Result<Self, PageError> {
        let place = match app.turns() {
            Some(turns) => {
                let place = turns.stay(&session.visitor.counted_as());
                Some(place.ok_or_else(PageError::too_many)?)
            }
            None => None,
        };
        let now = Instant::now();
        Ok(Self {
            app,
            session,
            every,
            next_check: now + every,
            ends: now + LONGEST,
            _place: place,
        })
    }

    /// As it is, but no longer than this.
    #[cfg(test)]
    pub fn within(mut self, longest: Duration) -> Self {
        self.ends = Instant::now() + longest;
        self
    }

    /// When [`Admission::holds`] is to be asked at the latest.
    pub fn due(&self) -> Instant {
        self.next_check.min(self.ends)
    }

    /// Ends when the server stops.
    pub fn stopping(&self) -> &CancellationToken {
        self.app.stopping()
    }

    /// Whether it may go on. To be asked before every event, so that a feed that never rests does not put it off.
    pub async fn holds(&mut self) -> bool {
        let now = Instant::now();
        let session = &self.session;
        if now >= self.ends || self.app.sessions().is_over(&session.nonce, session.ends) {
            return false;
        }
        if now < self.next_check {
            return true;
        }
        self.next_check = now + self.every;
        // A database that does not answer is no reason to end the stream.
        !matches!(self.app.admit(&session.token).await, Ok(None))
    }
}
