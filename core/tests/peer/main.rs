//! The peer machine by hand, input by input: cases that were wrong once, or that fail if a defence is taken out.
#![allow(clippy::wildcard_enum_match_arm, reason = "a case looks for some effects among many")]

mod case;
mod disks;
mod folders;
mod requests;
mod strangers;
mod swarms;
#[path = "../support/synthetic.rs"]
mod synthetic;
mod tables;
