//! Tests of the planner against a model of the world: a store, an account and a router in miniature, in memory.

mod calls;
mod cleanup;
mod crash;
mod create;
mod database;
mod decisions;
mod diary;
mod door;
mod drift;
mod fixture;
mod foreign;
mod golden;
mod history;
mod hub;
mod keys;
mod knock;
mod late;
mod lint;
mod lost;
mod reality;
mod scenario;
mod stage;
mod status;
mod update;
mod walk;
