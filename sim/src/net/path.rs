//! What stands between hosts: partitions and clogs.

use std::time::Duration;

use fixedbitset::FixedBitSet;
use potluck_core::time::Instant;

use super::HostId;

/// Something that keeps frames from passing, or delays them.
#[derive(Clone, Debug)]
pub(crate) struct Barrier {
    /// To take it down by.
    pub(crate) number: u32,
    /// Hosts on one side.
    pub(crate) from: FixedBitSet,
    /// Hosts on the other.
    pub(crate) to: FixedBitSet,
    /// It stands in the way back, too.
    pub(crate) both_ways: bool,
    /// Nanoseconds of delay; `None`: nothing passes.
    pub(crate) delay: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Barriers(Vec<(Instant, Barrier)>);

impl Barriers {
    pub(super) fn raise(&mut self, now: Instant, barrier: Barrier) {
        self.0.push((now, barrier));
    }

    /// Takes a barrier down; for how long it stood.
    pub(super) fn lower(&mut self, now: Instant, number: u32) -> Option<Duration> {
        let index = self.0.iter().position(|(_, barrier)| barrier.number == number)?;
        Some(now.since(self.0.remove(index).0))
    }

    fn between(&self, from: HostId, to: HostId) -> impl Iterator<Item = &Barrier> {
        let (from, to) = (from as usize, to as usize);
        let meets = move |b: &&Barrier| {
            (b.from.contains(from) && b.to.contains(to))
                || (b.both_ways && b.from.contains(to) && b.to.contains(from))
        };
        self.0.iter().map(|(_, barrier)| barrier).filter(meets)
    }

    /// Does nothing pass from here to there?
    pub(super) fn blocks(&self, from: HostId, to: HostId) -> bool {
        !self.0.is_empty() && self.between(from, to).any(|barrier| barrier.delay.is_none())
    }

    /// Nanoseconds of delay on the way from here to there.
    pub(super) fn delay(&self, from: HostId, to: HostId) -> u64 {
        if self.0.is_empty() { 0 } else { self.between(from, to).filter_map(|barrier| barrier.delay).sum() }
    }
}
