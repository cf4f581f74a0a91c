//! How often wrong tokens may be shown from one address, whoever asks for tokens: the HTTP API, the dashboard.
//!
//! A token has 256 bits and is not found by guessing. What this bounds is the work and the noise of somebody who tries,
//! and how fast a token that was seen in part could be completed. Whoever shares an address with them keeps working: a
//! token that was accepted of late is accepted as long as it holds.

use std::collections::HashMap;
// As values, which is all that `core` has of them.
use core::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Clock;

/// Where a request came from, as far as it can be trusted: whoever connected, or whom a trusted proxy names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

/// Addresses, and tokens, that are remembered at most.
const MANY: usize = 10_000;
/// How long after its last use a token counts as accepted of late.
const LATELY: Duration = Duration::from_secs(3_600);

/// So many wrong tokens from one address at once, and one more each time this has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuessLimit {
    /// At once; 0: as many as anybody likes.
    pub at_once: u32,
    /// Until there is one more.
    pub every: Duration,
}

impl Default for GuessLimit {
    fn default() -> Self {
        Self {
            at_once: 20,
            every: Duration::from_secs(6),
        }
    }
}

/// The wrong tokens of each address, for everything in this process that asks for tokens. Of bounded size.
pub struct Guesses {
    limit: GuessLimit,
    clock: Arc<dyn Clock>,
    known: Mutex<Known>,
}

impl std::fmt::Debug for Guesses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guesses")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Known {
    /// When everything that was wrong from there will have been forgiven.
    forgiven_at: HashMap<IpAddr, Duration>,
    /// SHA-256 of tokens, and when they were accepted last.
    accepted: HashMap<String, Duration>,
    /// SHA-256 of tokens that are being looked at, and by how many.
    looked_at: HashMap<String, u32>,
}

/// A token that may be looked at. It counts as wrong meanwhile, so that many at once are no more than many in a row; dropped
/// without a word, it never was.
#[derive(Debug)]
#[must_use]
pub struct Attempt<'g> {
    guesses: &'g Guesses,
    place: Option<IpAddr>,
    token_sha256: String,
    is_counted: bool,
}

impl Attempt<'_> {
    /// It was wrong.
    pub fn wrong(self) {
        let now = self.guesses.clock.monotonic();
        self.wrong_at(now);
    }

    fn wrong_at(mut self, now: Duration) {
        let Some(place) = self.place else { return };
        // Not given back.
        if !std::mem::take(&mut self.is_counted) {
            self.guesses.known().count(place, self.guesses.limit, now);
        }
    }

    /// It was accepted.
    pub fn right(self) {
        let now = self.guesses.clock.monotonic();
        self.right_at(now);
    }

    fn right_at(self, now: Duration) {
        self.guesses.accept(&self.token_sha256, now);
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.place.is_none() {
            return;
        }
        let mut known = self.guesses.known();
        if let Some(number) = known.looked_at.get_mut(&self.token_sha256) {
            *number -= 1;
            if *number == 0 {
                known.looked_at.remove(&self.token_sha256);
            }
        }
        if self.is_counted
            && let Some(place) = self.place
            && let Some(forgiven_at) = known.forgiven_at.get_mut(&place)
        {
            *forgiven_at = forgiven_at.saturating_sub(self.guesses.limit.every);
        }
    }
}

impl Known {
    /// One more from there that is wrong. Nobody waits longer than from the beginning, however many came at once.
    fn count(&mut self, place: IpAddr, limit: GuessLimit, now: Duration) {
        let addresses = &mut self.forgiven_at;
        if addresses.len() >= MANY {
            addresses.retain(|_, forgiven_at| *forgiven_at > now);
        }
        // All of them at it: who did least is let go first.
        if addresses.len() >= MANY
            && let Some(least) = addresses.iter().min_by_key(|(_, at)| **at)
        {
            let least = *least.0;
            addresses.remove(&least);
        }
        let forgiven_at = addresses.entry(place).or_insert(now);
        let most = now + limit.every * limit.at_once;
        *forgiven_at = ((*forgiven_at).max(now) + limit.every).min(most);
    }
}

/// One IPv6 network of somebody's is one address.
fn place(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

impl Guesses {
    /// None yet.
    pub fn new(limit: GuessLimit, clock: Arc<dyn Clock>) -> Self {
        Self {
            limit,
            clock,
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the token of this SHA-256 may be looked at; else how long to wait. To be asked before it is. Where a request
    /// came from may be unknown: then nothing is counted.
    pub fn attempt(
        &self,
        from: Option<ClientAddress>,
        token_sha256: &str,
    ) -> Result<Attempt<'_>, Duration> {
        self.attempt_at(from, token_sha256, self.clock.monotonic())
    }

    fn attempt_at(
        &self,
        from: Option<ClientAddress>,
        token_sha256: &str,
        now: Duration,
    ) -> Result<Attempt<'_>, Duration> {
        let attempt = |place, is_counted| Attempt {
            guesses: self,
            place,
            token_sha256: token_sha256.to_owned(),
            is_counted,
        };
        let Some(from) = from.filter(|_| self.limit.at_once > 0) else {
            return Ok(attempt(None, false));
        };
        let place = place(from.0);
        let mut known = self.known();
        let lately = known.accepted.get(token_sha256);
        let is_known = lately.is_some_and(|at| now.saturating_sub(*at) < LATELY);
        if !is_known && let Some(forgiven_at) = known.forgiven_at.get(&place) {
            // As if each wrong one had to be waited for, those at once in advance.
            let free_at = forgiven_at.saturating_sub(self.limit.every * (self.limit.at_once - 1));
            if let Some(wait) = free_at.checked_sub(now).filter(|wait| !wait.is_zero()) {
                return Err(wait);
            }
        }
        let looked_at = known.looked_at.entry(token_sha256.to_owned()).or_default();
        *looked_at += 1;
        // The same token in many requests at once is one guess, and may be a good one that begins its day.
        let is_counted = *looked_at == 1 && !is_known;
        if is_counted {
            known.count(place, self.limit, now);
        }
        Ok(attempt(Some(place), is_counted))
    }

    /// The token of this SHA-256 was accepted.
    fn accept(&self, token_sha256: &str, now: Duration) {
        if self.limit.at_once == 0 {
            return;
        }
        let mut known = self.known();
        if let Some(at) = known.accepted.get_mut(token_sha256) {
            *at = now;
            return;
        }
        if known.accepted.len() >= MANY {
            known
                .accepted
                .retain(|_, at| now.saturating_sub(*at) < LATELY);
        }
        if known.accepted.len() < MANY {
            known.accepted.insert(token_sha256.to_owned(), now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(text: &str) -> ClientAddress {
        ClientAddress(text.parse().expect("an address"))
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Tests say themselves what time it is.
    struct Still;

    impl Clock for Still {
        fn now(&self) -> chrono::DateTime<chrono::Utc> {
            chrono::DateTime::UNIX_EPOCH
        }

        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }
    }

    fn limited() -> Guesses {
        let limit = GuessLimit {
            at_once: 3,
            every: at(10),
        };
        Guesses::new(limit, Arc::new(Still))
    }

    fn may_try(
        guesses: &Guesses,
        from: ClientAddress,
        token: &str,
        now: Duration,
    ) -> Option<Duration> {
        guesses.attempt_at(Some(from), token, now).err()
    }

    fn wrong(guesses: &Guesses, from: ClientAddress, now: Duration) {
        if let Ok(attempt) = guesses.attempt_at(Some(from), "wrong", now) {
            attempt.wrong_at(now);
        }
    }

    fn right(guesses: &Guesses, token: &str, now: Duration) {
        let attempt = guesses.attempt_at(None, token, now);
        attempt.expect("nobody waits").right_at(now);
    }

    #[test]
    fn wrong_tokens_use_up_and_time_gives_back() {
        let (guesses, ann) = (limited(), from("10.0.0.1"));
        for _ in 0..3 {
            assert_eq!(may_try(&guesses, ann, "x", at(5)), None);
            wrong(&guesses, ann, at(5));
        }
        assert_eq!(may_try(&guesses, ann, "x", at(5)), Some(at(10)));
        assert_eq!(may_try(&guesses, ann, "x", at(14)), Some(at(1)));
        assert_eq!(may_try(&guesses, ann, "x", at(15)), None);
        wrong(&guesses, ann, at(15));
        assert_eq!(may_try(&guesses, ann, "x", at(15)), Some(at(10)));
        assert_eq!(may_try(&guesses, from("10.0.0.2"), "x", at(15)), None);
    }

    #[test]
    fn many_at_once_are_no_more_than_many_in_a_row() {
        let (guesses, ann) = (limited(), from("10.0.0.1"));
        let tries: Vec<_> = (0..100)
            .filter_map(|n: u32| guesses.attempt_at(Some(ann), &n.to_string(), at(5)).ok())
            .collect();
        assert_eq!(tries.len(), 3);
        for attempt in tries {
            attempt.wrong_at(at(6));
        }
        assert_eq!(may_try(&guesses, ann, "x", at(6)), Some(at(9)));
        // Of one token any number, which is one guess; nobody is locked out for longer by it.
        let (guesses, bob) = (limited(), from("10.0.0.2"));
        let tries: Vec<_> = (0..100)
            .filter_map(|_| guesses.attempt_at(Some(bob), "same", at(5)).ok())
            .collect();
        assert_eq!(tries.len(), 100);
        for attempt in tries {
            attempt.wrong_at(at(5));
        }
        assert_eq!(may_try(&guesses, bob, "x", at(5)), Some(at(10)));
        assert_eq!(may_try(&guesses, bob, "x", at(15)), None);
        assert!(guesses.known().looked_at.is_empty());
    }

    #[test]
    fn what_was_accepted_or_never_looked_at_is_given_back() {
        let (guesses, ann) = (limited(), from("10.0.0.1"));
        for n in 0..9u32 {
            let attempt = guesses.attempt_at(Some(ann), &n.to_string(), at(0));
            let attempt = attempt.expect("nothing was wrong");
            if n % 2 == 0 {
                attempt.right_at(at(0));
            }
        }
        assert_eq!(may_try(&guesses, ann, "x", at(0)), None);
    }

    #[test]
    fn a_token_that_was_accepted_works_beside_somebody_who_guesses() {
        let (guesses, ann) = (limited(), from("10.0.0.1"));
        right(&guesses, "good", at(0));
        for _ in 0..9 {
            wrong(&guesses, ann, at(1));
        }
        assert_eq!(may_try(&guesses, ann, "good", at(2)), None);
        assert!(may_try(&guesses, ann, "other", at(2)).is_some());
    }

    #[test]
    fn a_network_is_one_address() {
        let guesses = limited();
        for n in 1..=3 {
            wrong(&guesses, from(&format!("2001:db8::{n}")), at(0));
        }
        assert!(may_try(&guesses, from("2001:db8::77"), "x", at(0)).is_some());
        assert!(may_try(&guesses, from("2001:db8:0:1::77"), "x", at(0)).is_none());
        wrong(&guesses, from("::ffff:10.0.0.1"), at(0));
        wrong(&guesses, from("10.0.0.1"), at(0));
        wrong(&guesses, from("10.0.0.1"), at(0));
        assert!(may_try(&guesses, from("10.0.0.1"), "x", at(0)).is_some());
    }

    #[test]
    fn it_does_not_grow_without_end() {
        let guesses = limited();
        let addresses = u32::try_from(MANY).expect("a number") + 500;
        for n in 0..addresses {
            wrong(&guesses, ClientAddress(IpAddr::V4(n.into())), at(0));
            right(&guesses, &n.to_string(), at(0));
        }
        let known = guesses.known();
        assert!(known.forgiven_at.len() <= MANY && known.accepted.len() <= MANY);
    }
}
