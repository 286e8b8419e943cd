//! What the tests across crates share.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "every test binary uses its part of this")]

pub mod processes;
