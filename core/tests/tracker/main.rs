//! The tracker machine, driven by hand: exact sequences, bounds, and a comparison with a small model.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "what is not as expected fails the test"
)]

mod arbitrary;
mod harness;
mod model;
mod offers;
mod search;
mod sessions;
mod shares;
mod visitors;
mod watching;
