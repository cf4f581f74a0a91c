//! The Router on real stores, and its HTTP client against a real server.

mod quality;
mod remote;
mod route;
mod search;
mod vectors;
mod world;
