//! The Agent Router: the registry of Agent Cards, search by what is needed, and the way of a task to an agent.
//!
//! - [`EmbeddedRegistry`] keeps cards and the vectors of their skills in Talon's own database, [`RemoteRegistry`] speaks to
//!   a Router elsewhere; a pass knows only [`talon_core::registry::Registry`].
//! - [`Router`] finds agents: full text and vectors over every skill, in memory, brought up to date before each search.
//! - [`TaskRouter`] gives a task to an agent by name or by search.
//!
//! **How good the search is.** Recall@5 over 222 skills, one search for each, written before any ranking was run on them
//! (`tests/quality`, measured and held by a test):
//!
//! | searches                             | full text | vectors | both   | MiniLM itself |
//! |--------------------------------------|-----------|---------|--------|---------------|
//! | as people ask                        | 83.3 %    | 96.4 %  | 96.4 % | 98.6 %        |
//! | in other words than the skill's      | 3.2 %     | 64.9 %  | 64.0 % | 80.6 %        |
//!
//! On what people ask it is within five points of MiniLM; where nearly no search shares a word with its skill it is not: a table
//! of word pieces knows no order and no context. The difference between vectors and both there is two searches.
//!
//! **How long it takes.** A search among 1,000 skills, release build of `examples/bench.rs`, 2,000 searches, on a machine of two
//! cores with ten processes waiting for them: in the middle 0.15 to 0.18 ms in memory and 0.30 to 0.34 ms on SQLite, of which
//! embedding the query is 0.01 to 0.05 ms. One in a hundred took 4 to 9 ms there, in memory as well.

mod embed;
mod embedded;
mod index;
mod model;
mod rank;
mod remote;
mod route;
mod router;
mod skill;
mod text;
mod wordpiece;

pub use embed::{EmbedError, Embedder};
pub use embedded::EmbeddedRegistry;
pub use model::StaticModel;
pub use remote::{RemoteConfig, RemoteError, RemoteRegistry};
pub use route::{DEFAULT_DEADLINE, RouteError, Routed, TaskFor, TaskRequest, TaskRouter};
pub use router::{MAX_FOUND, MAX_QUERY, NamesOnly, Router};
