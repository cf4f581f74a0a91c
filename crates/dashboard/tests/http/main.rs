//! The dashboard over real HTTP on SQLite: who gets in, what forms are taken, whose agents are seen, what a browser may load.

mod doing;
mod logs;
mod pages;
mod people;
mod session;
mod world;
