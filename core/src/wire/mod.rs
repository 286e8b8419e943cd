//! The wire: a handshake of fixed bytes, then length-prefixed frames (`docs/protocol.md` has every byte).
//!
//! - [`handshake`]: the first 64 bytes each way, specified by hand and frozen.
//! - [`frame`]: the frame header, the chunk header.
//! - [`codec`]: the one place that knows bincode.
//! - [`peer`]: messages between peers. [`tracker`]: messages between a peer and its tracker.
//!
//! Released messages never change. New kinds are appended behind feature bits; an unknown kind from 128 up is
//! skipped, an unknown one below is the sender's fault.

pub mod codec;
pub mod frame;
pub mod handshake;
mod messages;
pub mod peer;
pub mod tracker;

pub use messages::WireMessage;
