//! The real binary as a process: killed, stopped, in pairs, fed by hand, and searched for secrets.

mod by_hand;
mod canary;
mod chaos;
mod faces;
mod faults;
mod keys;
mod matrix;
mod network;
mod stopping;
mod two_daemons;
