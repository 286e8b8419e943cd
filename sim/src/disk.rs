//! A disk: which chunks stand where, right or wrong, and which of them would survive a power cut.
//!
//! Writes, syncs and openings take their time one after the other; reads of what is served are taken to come from the page
//! cache and cost nothing. A power cut keeps every durable chunk; of each other one it keeps, drops or tears, by chance. A
//! failed sync leaves what it should have written undurable for good: only writing it again helps (as on Linux).

use std::collections::BTreeMap;
use std::time::Duration;

use fixedbitset::FixedBitSet;
use potluck_core::content::PieceSet;
use potluck_core::ids::PieceIndex;
use potluck_core::peer::Place;
use potluck_core::time::Instant;

use crate::content::Content;
use crate::dice::Dice;

/// How long things take.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiskSpeed {
    /// Nanoseconds per write, besides its bytes.
    pub write_ns: u64,
    /// Bytes per second written (and hashed).
    pub write_rate: u64,
    /// Nanoseconds per sync, besides its bytes.
    pub sync_ns: u64,
    /// Bytes per second hashed when a part file is opened again.
    pub hash_rate: u64,
}

impl Default for DiskSpeed {
    /// A solid-state disk behind a page cache, and one core that hashes.
    fn default() -> Self {
        Self { write_ns: 20_000, write_rate: 1_500_000_000, sync_ns: 2_000_000, hash_rate: 2_000_000_000 }
    }
}

/// What is wrong with a disk at present.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DiskFaults {
    /// There is no space for anything new.
    pub(crate) full: bool,
    /// Writes fail.
    pub(crate) write: bool,
    /// Reads for serving fail.
    pub(crate) read: bool,
    /// Syncs fail.
    pub(crate) sync: bool,
}

/// A download's file.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// The content, by number.
    pub(crate) content: u32,
    /// Chunks whose bytes are right.
    pub(crate) right: FixedBitSet,
    /// Chunks with other bytes.
    pub(crate) wrong: FixedBitSet,
    /// Chunks that a power cut leaves as they are.
    pub(crate) durable: FixedBitSet,
    /// Chunks that a failed sync let go: no later sync makes them durable.
    pub(crate) let_go: FixedBitSet,
    /// Chunks that were not durable when a sync failed, of pieces not verified since: what was on its way then may have been
    /// written already as far as the machine knows, and does not count.
    pub(crate) doubted: FixedBitSet,
    /// The piece table lies beside it, durably.
    pub(crate) sidecar: bool,
    /// It stands under its final name.
    pub(crate) finished: bool,
    /// Its real bytes, in a world that has them.
    pub(crate) bytes: Vec<u8>,
}

impl Part {
    fn new(number: u32, content: &Content) -> Self {
        let none = FixedBitSet::with_capacity(content.chunks());
        let bytes = vec![0; content.bytes.as_ref().map_or(0, Vec::len)];
        Self {
            content: number,
            right: none.clone(),
            wrong: none.clone(),
            durable: none.clone(),
            let_go: none.clone(),
            doubted: none,
            sidecar: false,
            finished: false,
            bytes,
        }
    }

    /// Are all chunks of this piece right?
    pub(crate) fn holds(&self, content: &Content, piece: PieceIndex) -> bool {
        content.range(piece).all(|chunk| self.right.contains(chunk))
    }

    /// Pieces whose chunks are all right.
    pub(crate) fn pieces(&self, content: &Content) -> PieceSet {
        let mut set = PieceSet::empty(content.geometry.pieces());
        for piece in (0..content.geometry.pieces()).map(PieceIndex) {
            if self.holds(content, piece) {
                set.insert(piece);
            }
        }
        set
    }

    /// Is every chunk right?
    pub(crate) fn is_right(&self) -> bool {
        self.right.is_full() || self.right.is_empty()
    }

    /// Takes a chunk's bytes.
    pub(crate) fn write(&mut self, chunk: usize, right: bool) {
        self.right.set(chunk, right);
        self.wrong.set(chunk, !right);
        self.durable.remove(chunk);
        self.let_go.remove(chunk);
    }

    /// A sync failed: nothing since the last good one can be believed, also what was written while it ran.
    pub(crate) fn let_unsynced_go(&mut self) {
        let lost = self.unsynced();
        self.let_go.union_with(&lost);
        let mut doubted = self.durable.clone();
        doubted.toggle_range(..);
        self.doubted.union_with(&doubted);
    }

    /// Chunks that a sync beginning at this moment is to make durable.
    pub(crate) fn unsynced(&self) -> FixedBitSet {
        let mut set = self.right.clone();
        set.union_with(&self.wrong);
        set.difference_with(&self.durable);
        set.difference_with(&self.let_go);
        set
    }

    fn cut_power(&mut self, dice: &mut Dice) {
        let mut unsure = self.right.clone();
        unsure.union_with(&self.wrong);
        unsure.difference_with(&self.durable);
        for chunk in unsure.ones() {
            match dice.below(3) {
                0 => {}
                1 => {
                    self.right.remove(chunk);
                    self.wrong.remove(chunk);
                }
                _ => {
                    self.right.remove(chunk);
                    self.wrong.insert(chunk);
                }
            }
        }
        self.durable = self.right.clone();
        self.durable.union_with(&self.wrong);
        self.let_go.clear();
        self.doubted.clear();
    }
}

/// A file that is shared in place.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    /// It is not what it was; whoever looks sees it.
    pub(crate) changed: bool,
    /// Chunks that rotted without a trace.
    pub(crate) rotten: FixedBitSet,
}

/// A host's disk.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    speed: DiskSpeed,
    free_at: Instant,
    /// Present faults.
    pub(crate) faults: DiskFaults,
    /// Downloads, running and finished.
    pub(crate) parts: BTreeMap<Place, Part>,
    /// What is shared in place, by content number.
    pub(crate) shared: BTreeMap<u32, Shared>,
    /// Hosts are slowed by this factor in percent of their speed; 100: not at all.
    pub(crate) percent: u64,
}

impl Disk {
    pub(crate) const fn new(speed: DiskSpeed) -> Self {
        Self {
            speed,
            free_at: Instant::ZERO,
            faults: DiskFaults { full: false, write: false, read: false, sync: false },
            parts: BTreeMap::new(),
            shared: BTreeMap::new(),
            percent: 100,
        }
    }

    fn take(&mut self, now: Instant, nanos: u64) -> Instant {
        let cost = Duration::from_nanos(nanos.saturating_mul(100) / self.percent.max(1));
        self.free_at = self.free_at.max(now) + cost;
        self.free_at
    }

    /// When a write of so many bytes that begins now is done.
    pub(crate) fn write_time(&mut self, now: Instant, bytes: u64) -> Instant {
        self.take(now, self.speed.write_ns + nanos(bytes, self.speed.write_rate))
    }

    /// When a sync is done.
    pub(crate) fn sync_time(&mut self, now: Instant) -> Instant {
        self.take(now, self.speed.sync_ns)
    }

    /// When so many bytes are read back and hashed.
    pub(crate) fn hash_time(&mut self, now: Instant, bytes: u64) -> Instant {
        self.take(now, self.speed.sync_ns / 4 + nanos(bytes, self.speed.hash_rate))
    }

    /// The part file of a place, created if there is none, or one of another content.
    pub(crate) fn part(&mut self, place: Place, number: u32, content: &Content) -> &mut Part {
        let part = self.parts.entry(place).or_insert_with(|| Part::new(number, content));
        if part.content != number {
            *part = Part::new(number, content);
        }
        part
    }

    /// Is this chunk here, and right? `None`: it is not here at all.
    pub(crate) fn chunk(&self, number: u32, chunk: usize) -> Option<bool> {
        if let Some(shared) = self.shared.get(&number) {
            return Some(!shared.changed && !shared.rotten.contains(chunk));
        }
        let mut found = None;
        for part in self.parts.values().filter(|part| part.content == number) {
            if part.right.contains(chunk) {
                return Some(true);
            }
            if part.wrong.contains(chunk) {
                found = Some(false);
            }
        }
        found
    }

    /// Is this piece here, whole and right?
    pub(crate) fn holds(&self, number: u32, content: &Content, piece: PieceIndex) -> bool {
        let whole =
            |shared: &Shared| !shared.changed && content.range(piece).all(|c| !shared.rotten.contains(c));
        self.shared.get(&number).is_some_and(whole)
            || self.parts.values().any(|part| part.content == number && part.holds(content, piece))
    }

    /// Is this piece here, as far as its peer can know? Rot shows only to whoever is sent it.
    pub(crate) fn seems_held(&self, number: u32, content: &Content, piece: PieceIndex) -> bool {
        self.shared.get(&number).is_some_and(|shared| !shared.changed) || self.holds(number, content, piece)
    }

    /// Are all pieces here, whole and right?
    pub(crate) fn holds_all(&self, number: u32) -> bool {
        let whole = |shared: &Shared| !shared.changed && shared.rotten.is_clear();
        self.shared.get(&number).is_some_and(whole)
            || self.parts.values().any(|part| part.content == number && part.is_right())
    }

    /// The power is cut.
    pub(crate) fn cut_power(&mut self, dice: &mut Dice) {
        for part in self.parts.values_mut() {
            part.cut_power(dice);
        }
        self.free_at = Instant::ZERO;
    }

    /// All is lost.
    pub(crate) fn wipe(&mut self) {
        self.parts.clear();
        self.shared.clear();
        self.free_at = Instant::ZERO;
    }

    /// Shares a content in place.
    pub(crate) fn share(&mut self, number: u32, content: &Content) {
        let rotten = FixedBitSet::with_capacity(content.chunks());
        self.shared.insert(number, Shared { changed: false, rotten });
    }
}

const fn nanos(bytes: u64, rate: u64) -> u64 {
    let rate = if rate == 0 { 1 } else { rate };
    (bytes as u128 * 1_000_000_000 / rate as u128) as u64
}
