//! Keeps what is in memory out of core dumps and away from other processes: keys pass through it.

/// No core dumps, no attaching by others of the same user. What the system refuses is no reason not to run: it is a
/// second line of defence.
pub fn keep_memory_private() {
    let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0);
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_dumpable(false);
}
