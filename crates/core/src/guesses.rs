//! How often wrong tokens may be shown from one address, whoever asks for tokens: the HTTP API, the dashboard.
//!
//! A token has 256 bits and is not found by guessing. What this bounds is the work and the noise of somebody who tries,
//! and how fast a token that was seen in part could be completed. Whoever shares an address with them keeps working: a
//! token that was accepted of late is accepted as long as it holds.

use std::collections::HashMap;
// As values, which is all that `core` has of them.
use core::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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

/// The wrong tokens of each address. Of bounded size; times are of any clock that only goes forward.
#[derive(Debug, Default)]
pub struct Guesses {
    limit: GuessLimit,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// When everything that was wrong from there will have been forgiven.
    forgiven_at: HashMap<IpAddr, Duration>,
    /// SHA-256 of tokens, and when they were accepted last.
    accepted: HashMap<String, Duration>,
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
    pub fn new(limit: GuessLimit) -> Self {
        Self {
            limit,
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the token of this SHA-256 may be looked at; else how long to wait. To be asked before it is.
    pub fn may_try(
        &self,
        from: ClientAddress,
        token_sha256: &str,
        now: Duration,
    ) -> Result<(), Duration> {
        if self.limit.at_once == 0 {
            return Ok(());
        }
        let known = self.known();
        let Some(forgiven_at) = known.forgiven_at.get(&place(from.0)) else {
            return Ok(());
        };
        let lately = known.accepted.get(token_sha256);
        if lately.is_some_and(|at| now.saturating_sub(*at) < LATELY) {
            return Ok(());
        }
        // As if each wrong one had to be waited for, those at once in advance.
        let free_at = forgiven_at.saturating_sub(self.limit.every * (self.limit.at_once - 1));
        match free_at.checked_sub(now) {
            None | Some(Duration::ZERO) => Ok(()),
            Some(wait) => Err(wait),
        }
    }

    /// A token from there was wrong.
    pub fn wrong(&self, from: ClientAddress, now: Duration) {
        if self.limit.at_once == 0 {
            return;
        }
        let mut known = self.known();
        let addresses = &mut known.forgiven_at;
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
        let forgiven_at = addresses.entry(place(from.0)).or_insert(now);
        *forgiven_at = (*forgiven_at).max(now) + self.limit.every;
    }

    /// The token of this SHA-256 was accepted.
    pub fn right(&self, token_sha256: &str, now: Duration) {
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

    fn limited() -> Guesses {
        Guesses::new(GuessLimit {
            at_once: 3,
            every: at(10),
        })
    }

    #[test]
    fn wrong_tokens_use_up_and_time_gives_back() {
        let (guesses, ann) = (limited(), from("10.0.0.1"));
        for _ in 0..3 {
            assert_eq!(guesses.may_try(ann, "x", at(5)), Ok(()));
            guesses.wrong(ann, at(5));
        }
        assert_eq!(guesses.may_try(ann, "x", at(5)), Err(at(10)));
        assert_eq!(guesses.may_try(ann, "x", at(14)), Err(at(1)));
        assert_eq!(guesses.may_try(ann, "x", at(15)), Ok(()));
        guesses.wrong(ann, at(15));
        assert_eq!(guesses.may_try(ann, "x", at(15)), Err(at(10)));
        assert_eq!(guesses.may_try(from("10.0.0.2"), "x", at(15)), Ok(()));
    }

    #[test]
    fn a_token_that_was_accepted_works_beside_somebody_who_guesses() {
        let (guesses, ann) = (limited(), from("10.0.0.1"));
        guesses.right("good", at(0));
        for _ in 0..9 {
            guesses.wrong(ann, at(1));
        }
        assert_eq!(guesses.may_try(ann, "good", at(2)), Ok(()));
        assert!(guesses.may_try(ann, "other", at(2)).is_err());
    }

    #[test]
    fn a_network_is_one_address() {
        let guesses = limited();
        for n in 1..=3 {
            guesses.wrong(from(&format!("2001:db8::{n}")), at(0));
        }
        assert!(guesses.may_try(from("2001:db8::77"), "x", at(0)).is_err());
        assert!(
            guesses
                .may_try(from("2001:db8:0:1::77"), "x", at(0))
                .is_ok()
        );
        guesses.wrong(from("::ffff:10.0.0.1"), at(0));
        guesses.wrong(from("10.0.0.1"), at(0));
        guesses.wrong(from("10.0.0.1"), at(0));
        assert!(guesses.may_try(from("10.0.0.1"), "x", at(0)).is_err());
    }

    #[test]
    fn it_does_not_grow_without_end() {
        let guesses = limited();
        let addresses = u32::try_from(MANY).expect("a number") + 500;
        for n in 0..addresses {
            guesses.wrong(ClientAddress(IpAddr::V4(n.into())), at(0));
            guesses.right(&n.to_string(), at(0));
        }
        let known = guesses.known();
        assert!(known.forgiven_at.len() <= MANY && known.accepted.len() <= MANY);
    }
}
