//! A host's link in one direction, and the order in which streams have their turns on it.
//!
//! Small frames go first. Of the others the turn goes to the stream that would be done first, had each stream that waits
//! its equal share of the bytes: fair queueing (Demers, Keshav and Shenker, 1989), with the beginning of the turn that is being
//! served for the time of day, as start-time fair queueing has it (Goyal, Vin and Cheng, 1996). So chunks are served
//! round-robin, and the bursts of a connection that starts, which are parts of one chunk, take together one chunk's place
//! in the round.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use potluck_core::time::Instant;

use super::EndId;

#[derive(Debug)]
pub(super) struct Pipe {
    /// Bytes per second.
    pub(super) rate: u64,
    pub(super) free_at: Instant,
    /// Streams whose next frame is small: they go first.
    small: VecDeque<EndId>,
    /// The others, by the end of their turns; where that is the same, in the order in which they came.
    fair: BinaryHeap<Reverse<Waiting>>,
    came: u64,
    /// Beginning of the turn served last, in bytes of each stream's share.
    share: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    ends: u64,
    came: u64,
    begins: u64,
    end: EndId,
}

impl Pipe {
    pub(super) const fn new(rate: u64) -> Self {
        Self {
            rate,
            free_at: Instant::ZERO,
            small: VecDeque::new(),
            fair: BinaryHeap::new(),
            came: 0,
            share: 0,
        }
    }

    /// A stream waits for a turn of small frames.
    pub(super) fn queue_small(&mut self, end: EndId) {
        self.small.push_back(end);
    }

    /// A stream waits for a turn of about so many bytes; `served` is where its turns on this link have come to.
    pub(super) fn queue(&mut self, end: EndId, bytes: u32, served: &mut u64) {
        let begins = self.share.max(*served);
        *served = begins + u64::from(bytes);
        self.came += 1;
        self.fair.push(Reverse(Waiting { ends: *served, came: self.came, begins, end }));
    }

    /// Whose turn it is.
    pub(super) fn next(&mut self) -> Option<EndId> {
        if let Some(end) = self.small.pop_front() {
            return Some(end);
        }
        let Reverse(next) = self.fair.pop()?;
        self.share = self.share.max(next.begins);
        Some(next.end)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.small.is_empty() && self.fair.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.small.clear();
        self.fair.clear();
    }

    /// Never no time at all: what happens in one instant has no order, and what a connection carries comes after it.
    pub(super) fn time_for(&self, bytes: u32) -> Duration {
        Duration::from_nanos((u64::from(bytes) * 1_000_000_000 / self.rate.max(1)).max(1))
    }
}
