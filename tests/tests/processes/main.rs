//! The real binary as a process: killed, stopped, in pairs, fed by hand, and searched for secrets.

mod by_hand;
mod canary;
mod chaos;
mod faces;
mod faults;
mod handed_in;
mod identity;
mod keys;
mod matrix;
mod network;
mod over_http;
mod planted;
mod stopping;
mod two_daemons;
mod watchers;
