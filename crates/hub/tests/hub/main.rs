//! A real Hub on a real port, spoken to by a WebSocket client that knows only the protocol.

mod client;
mod delegation;
mod faulty;
mod hostile;
#[path = "../../examples/load/hostile.rs"]
mod hostile_peers;
mod limits;
mod register;
mod restart;
mod tasks;
mod tokens;
mod world;
