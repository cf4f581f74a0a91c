//! What every request passes through: its id, its limits, how bodies and queries are read, and how problems are told.

mod extract;
mod late;
mod problem;
mod rejected;
mod request;
mod strict;

pub use extract::{Json, Params, is_media_type, parse_json, read_body, read_json};
pub use late::limit_bodies;
pub use problem::{Answer, FieldError, Kind, Problem, ProblemBody};
pub use request::{limit_time, surround};
