//! Virtual time: machines are told the time, they never ask for it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Nanoseconds since the driver's start: printable, comparable, replayable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Instant(pub u64);

impl Instant {
    /// The driver's start.
    pub const ZERO: Self = Self(0);

    /// The instant `millis` milliseconds after the driver's start.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }

    /// Time passed since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Instant {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// When a machine wants to be ticked, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Deadline {
    /// A `Tick` at or after this instant moves or clears the deadline.
    pub at: Instant,
    /// The timer that asked for it.
    pub why: TimerKind,
}

/// The timers of both machines; a histogram of them finds timer storms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TimerKind {
    /// Effects are waiting that did not fit into the last answer.
    Continue,
    /// A keep-alive is due, or one went unanswered.
    KeepAlive,
    /// A link has not delivered what it owes in the time its rate suggests.
    Stall,
    /// A dial may be tried (again).
    Dial,
    /// A tracker session is to be (re)opened, or a request to the tracker timed out.
    Tracker,
    /// Batched haves, announcements or pushes are due.
    Flush,
    /// Data is to be synced, or a paused disk tried again.
    Storage,
    /// A suspect has had its time to retract.
    Blame,
    /// A busy holder may be asked again.
    Retry,
    /// A rate cap lets the next bytes go.
    Rate,
    /// A peer's lease ends.
    Lease,
    /// A reachability probe took too long.
    Probe,
    /// A download that waits for a holder says so.
    Waiting,
}
