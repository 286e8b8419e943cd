//! Caps on rates, as the person set them: what a peer sends, and what it asks for.

use std::time::Duration;

use potluck_core::ids::ChunkAddr;
use potluck_core::limits::CHUNK_BYTES;
use potluck_core::time::Instant;
use potluck_core::wire::peer::PeerMessage;

use super::World;
use crate::net::{EndId, HostId};
use crate::plan::RolePlan;

/// What a cap lets go at once after an idle spell is what it lets go in this time.
const BURST: Duration = Duration::from_millis(100);
/// A machine counts in floating point, and never waits for less than a microsecond.
const ROUNDING: Duration = Duration::from_millis(1);

/// What went at a capped rate, as the time by which all of it may have gone.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Meter {
    paid_off: Instant,
}

impl Meter {
    /// `bytes` go now, as part of what may go in one go of at least `portion` bytes. Says by how much that is too soon.
    fn go(&mut self, now: Instant, rate: u64, bytes: u64, portion: u64) -> Result<(), Duration> {
        let time = |bytes: u64| Duration::from_secs_f64(bytes as f64 / rate as f64);
        self.paid_off = self.paid_off.max(now) + time(bytes);
        let ahead = self.paid_off.since(now);
        let allowed = BURST + time(bytes.max(portion)) + ROUNDING;
        if ahead <= allowed { Ok(()) } else { Err(ahead - allowed) }
    }
}

/// The meters of a host's process.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Meters {
    up: Meter,
    down: Meter,
}

impl World<'_> {
    /// Caps of an honest peer on what it sends and what it asks for; 0: none.
    fn caps(&self, host: HostId) -> (u64, u64) {
        match &self.plan.hosts[host as usize].role {
            RolePlan::Peer(peer) if peer.hostile.is_none() => (peer.up_cap, peer.down_cap),
            RolePlan::Peer(_) | RolePlan::Tracker { .. } => (0, 0),
        }
    }

    /// A chunk leaves.
    pub(super) fn check_up_cap(&mut self, host: HostId, bytes: u32) {
        let (cap, _) = self.caps(host);
        let now = self.now;
        if cap > 0
            && let Err(early) = self.host(host).meters.up.go(now, cap, bytes.into(), 0)
        {
            self.fail(host, || {
                format!("sends faster than its cap of {cap} bytes per second: {early:?} too soon")
            });
        }
    }

    /// Chunks are asked for. A choice asks for one piece, the smallest as far as is known.
    pub(super) fn check_down_cap(&mut self, host: HostId, end: EndId, msg: &PeerMessage) {
        let (_, cap) = self.caps(host);
        let Some(record) = self.ends.get(end.index()).and_then(Option::as_deref).filter(|_| cap > 0) else {
            return;
        };
        let geometry = |slot| Some(&self.catalog.get(*record.slots.get(slot)?).geometry);
        let bytes = if let PeerMessage::Request { slot, run } = msg
            && let Some(geometry) = geometry(slot)
        {
            let chunk = |offset| ChunkAddr { piece: run.piece, chunk: run.first + offset };
            (0..run.count).map(|offset| geometry.chunk_bytes(chunk(offset)).map_or(0, u64::from)).sum()
        } else if let PeerMessage::RequestAny { slot, pieces, .. } = msg
            && let Some(geometry) = geometry(slot)
        {
            pieces.iter().filter_map(|&piece| geometry.piece_bytes(piece)).min().unwrap_or(0)
        } else {
            return;
        };
        let now = self.now;
        // A choice counts as a whole piece until it is made: of the last piece, which is short, the rest is given back late.
        let portion = (cap / 10).max(CHUNK_BYTES) + CHUNK_BYTES;
        if let Err(early) = self.host(host).meters.down.go(now, cap, bytes, portion) {
            self.fail(host, || {
                format!("asks faster than its cap of {cap} bytes per second: {early:?} too soon")
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_may_go_and_then_no_more_than_the_rate() {
        let mut meter = Meter::default();
        let at = |ms: u64| Instant(ms * 1_000_000);
        // A tenth of a second's worth was saved up, and one frame may go while some of it is left.
        assert!(meter.go(at(0), 1000, 100, 0).is_ok());
        assert!(meter.go(at(0), 1000, 500, 0).is_ok());
        assert!(meter.go(at(0), 1000, 50, 0).is_err());
        let mut meter = Meter::default();
        for step in 0..100 {
            assert!(meter.go(at(step * 100), 1000, 100, 0).is_ok(), "the rate itself may go for ever");
        }
        assert!(
            (100..200).any(|step| meter.go(at(step * 100), 1000, 110, 0).is_err()),
            "a tenth more may not"
        );
    }
}
