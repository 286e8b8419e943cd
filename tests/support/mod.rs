//! What the tests across crates share.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "every test binary uses its part of this"
)]

pub mod hostile;
pub mod picture;
pub mod processes;
pub mod shells;
pub mod terminal;
