//! What is counted.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::plan::FaultKind;

/// Counts of a whole run. Times are nanoseconds since its start.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Tally {
    /// Events of the world.
    pub events: u64,
    /// Inputs that machines took.
    pub inputs: u64,
    /// Effects that were performed.
    pub effects: u64,
    /// Nanoseconds that peers were up, summed over all of them.
    pub peer_time: u64,
    /// Faults that had an effect, by kind.
    pub faults: BTreeMap<FaultKind, u64>,
    /// By host.
    pub hosts: Vec<HostTally>,
    /// Verified bytes of all downloads, in steps of [`TIMELINE_STEP`] nanoseconds.
    pub timeline: Vec<u64>,
    /// Every download that was begun.
    pub downloads: Vec<DownloadRecord>,
}

/// Nanoseconds per entry of [`Tally::timeline`].
pub const TIMELINE_STEP: u64 = 100 * crate::plan::MILLI;

/// Counts of one host: bytes on the wire.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct HostTally {
    /// Bytes of chunk frames that left, whatever became of them.
    pub payload_sent: u64,
    /// Control frames sent.
    pub control_sent: u64,
    /// Chunk frames received and written.
    pub payload_used: u64,
    /// Chunk frames received and skipped: late, duplicate, unasked, or wrong.
    pub payload_wasted: u64,
    /// Connections it dialed or accepted.
    pub links: u64,
}

/// A download.
#[derive(Clone, Debug, Serialize)]
pub struct DownloadRecord {
    /// Who.
    pub host: u32,
    /// What.
    pub content: u32,
    /// When it was asked for first.
    pub began: u64,
    /// When it became complete, for the last time if its disk was lost; `None` if it is not.
    pub completed: Option<u64>,
}

impl Tally {
    pub(super) fn fired(&mut self, kind: FaultKind) {
        *self.faults.entry(kind).or_default() += 1;
    }

    pub(super) fn verified(&mut self, now: u64, bytes: u64) {
        let index = (now / TIMELINE_STEP) as usize;
        if self.timeline.len() <= index {
            self.timeline.resize(index + 1, 0);
        }
        self.timeline[index] += bytes;
    }

    /// Sums over all hosts.
    #[must_use]
    pub fn total(&self) -> HostTally {
        let add = |a: HostTally, b: &HostTally| HostTally {
            payload_sent: a.payload_sent + b.payload_sent,
            control_sent: a.control_sent + b.control_sent,
            payload_used: a.payload_used + b.payload_used,
            payload_wasted: a.payload_wasted + b.payload_wasted,
            links: a.links + b.links,
        };
        self.hosts.iter().fold(HostTally::default(), add)
    }
}
