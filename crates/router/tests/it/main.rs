//! The Router on real stores, and its HTTP client against a real server.

mod search;
mod world;
