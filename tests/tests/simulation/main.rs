//! The real controller under the seeded simulation. See `talon_tests::simulation` for what goes wrong in it.

mod crashes;
mod keys;
mod latch;
mod redeploys;
mod scenes;
mod walks;
