//! potluck's protocol logic, as sans-IO state machines.
//!
//! This crate decides everything and performs nothing: no sockets, no files, no clock, no entropy, no threads. Two
//! machines live here, [`peer::Peer`] and [`tracker::Tracker`]; a *driver* feeds them inputs and performs the effects
//! they answer with. `potluck-transport-tcp` is the driver of the real world, `potluck-sim` the one of a simulated world.
//!
//! # Words
//!
//! | word | meaning |
//! |---|---|
//! | content | what is shared: a file, named by the BLAKE3 hash of its bytes, its [`ContentId`](ids::ContentId) |
//! | piece | power-of-two-sized, aligned span of a content: the unit of verification, availability and scheduling |
//! | chunk | 256 KiB-aligned span of a piece: the unit of request and transfer, a whole BLAKE3 subtree |
//! | holder | a peer with at least one verified piece of a content: complete or partial |
//! | swarm | the holders and downloaders of one content |
//! | tracker | the index: peers, contents, holders; it never touches file bytes |
//! | link | an established connection between two peers, or of a peer and its tracker |
//! | machine | a sans-IO state machine: input in, effects out |
//! | driver | what performs a machine's effects: the TCP driver, or the simulator |
//!
//! # The contract
//!
//! A machine has one way in, [`Machine::handle`], and one way out, the [`Effects`](effects::Effects) it fills.
//!
//! - `now` never goes back.
//! - All output of an input is in the buffer when `handle` returns; at most [`limits::EFFECTS_PER_INPUT_MAX`] effects per
//!   input, what exceeds it waits inside and the deadline says "now" ([`TimerKind::Continue`](time::TimerKind::Continue)).
//! - A due [`Machine::deadline`] is answered by a `Tick` input, which moves or clears it.
//! - The same seed, configuration and sequence of `(now, input)` gives the same effects, bit for bit.
//! - The fault of a peer is an effect (close, report), never a panic and never an error that ends the machine.
//! - Every completion quotes the [`OpId`](ids::OpId) it answers; an unknown one is ignored.
//! - Payload bytes never enter a machine.

mod bucket;
pub mod content;
pub mod effects;
pub mod ids;
pub mod limits;
pub mod origin;
pub mod peer;
pub mod seed;
pub mod time;
pub mod tracker;
pub mod wire;

/// A sans-IO state machine: the peer's, the tracker's, or a test's mutant wrapped around one of them.
pub trait Machine {
    /// What happens to it: commands, messages, completions, the passing of time.
    type Input;
    /// What it wants done.
    type Effect;
    /// Takes one input at `now` and appends what is to be done to `out`.
    fn handle(&mut self, now: time::Instant, input: Self::Input, out: &mut effects::Effects<Self::Effect>);
    /// When it wants a `Tick`, and why; `None` while it waits for nothing.
    fn deadline(&self) -> Option<time::Deadline>;
}
