//! The real binary as a process: killed, stopped, in pairs, fed by hand, and searched for secrets.

mod by_hand;
mod canary;
mod chaos;
mod faults;
mod keys;
mod network;
mod stopping;
mod two_daemons;
