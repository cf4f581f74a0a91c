//! Keeps what is in memory out of core dumps and away from other processes, and out of memory that is freed: keys pass
//! through it.

use talon_wiping_alloc::Wiping;

/// Wipes whatever is freed, the copies that HTTP and JSON layers make included.
#[global_allocator]
static MEMORY: Wiping = Wiping(std::alloc::System);

/// No core dumps, no attaching by others of the same user. What the system refuses is no reason not to run: it is a
/// second line of defence.
pub fn keep_memory_private() {
    let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0);
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_dumpable(false);
}

#[cfg(test)]
mod tests {
    use nix::sys::resource::{Resource, getrlimit};

    #[test]
    fn no_core_is_dumped_and_nobody_attaches() {
        super::keep_memory_private();
        assert_eq!(getrlimit(Resource::RLIMIT_CORE), Ok((0, 0)));
        #[cfg(target_os = "linux")]
        assert_eq!(nix::sys::prctl::get_dumpable(), Ok(false));
    }
}
