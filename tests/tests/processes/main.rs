//! The real binary as a process: killed, stopped, in pairs, fed by hand, and searched for secrets.

mod chaos;
