//! The Agent Router: the registry of Agent Cards, search by what is needed, and the way of a task to an agent.
//!
//! - [`EmbeddedRegistry`] keeps cards and the vectors of their skills in Talon's own database, [`RemoteRegistry`] speaks to
//!   a Router elsewhere; a pass knows only [`talon_core::registry::Registry`].
//! - [`Router`] finds agents: full text and vectors over every skill, in memory, brought up to date before each search.
//! - [`TaskRouter`] gives a task to an agent by name or by search.

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
