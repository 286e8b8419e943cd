//! The tracker machine, driven by hand: exact sequences, bounds, and a comparison with a small model.

#![expect(clippy::wildcard_enum_match_arm, reason = "an answer is the expected one, or the test has failed")]

mod harness;
mod model;
mod search;
mod sessions;
mod shares;
mod visitors;
mod watching;
