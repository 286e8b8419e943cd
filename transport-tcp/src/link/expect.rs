//! What a link's reader may accept, and who may write it.
//!
//! The machine says beforehand which chunks may arrive on which link ([`PeerEffect::Expect`]) and takes that back
//! (`Unexpect`). Two things follow from it:
//!
//! - [`Expectations`], one table per link: its reader looks up every chunk header here. The key is the link's own number
//!   for the content, the piece and the chunk.
//! - [`Landing`], one per piece that anything is expected of, shared by all links: a chunk may be expected from two links,
//!   and only the first that is whole is written. Taking the chunk's mark is the right to write it.
//!
//! The actor writes these tables, readers take from them: each lock is held for a few instructions, once per chunk.
//!
//! [`PeerEffect::Expect`]: potluck_core::peer::PeerEffect::Expect

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use potluck_core::content::Geometry;
use potluck_core::ids::{ChunkAddr, ChunkRun, ContentKey, OpId, PieceIndex, Slot};
use potluck_core::limits::CHUNKS_PER_PIECE_MAX;
use potluck_core::peer::Place;

// A piece's chunks are a mask of 64 bits.
const _: () = assert!(CHUNKS_PER_PIECE_MAX <= 64);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code panics while it holds one of these locks; a poisoned table is still a table.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bit(chunk: u16) -> u64 {
    1_u64.checked_shl(u32::from(chunk)).unwrap_or(0)
}

/// The chunks of a run as a mask; those beyond the 64th do not exist.
fn mask(run: ChunkRun) -> u64 {
    let count = 1_u64.checked_shl(u32::from(run.count)).map_or(u64::MAX, |end| end - 1);
    count.checked_shl(u32::from(run.first)).unwrap_or(0)
}

/// One piece at its place: which of its chunks are wanted, and which are being written.
#[derive(Debug, Default)]
pub(crate) struct Landing(Mutex<Marks>);

#[derive(Debug, Default)]
struct Marks {
    wanted: u64,
    writing: u64,
}

/// What a reader that has a whole chunk may do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Write it, report it, then say [`Landing::written`].
    Granted,
    /// An earlier arrival of the same chunk is being written: ask again.
    Busy,
    /// Another link was first, or it is not wanted any more: drop it.
    Gone,
}

impl Landing {
    /// Takes the right to write a chunk.
    fn claim(&self, chunk: u16) -> Claim {
        let mut marks = lock(&self.0);
        if marks.wanted & bit(chunk) == 0 {
            return Claim::Gone;
        }
        if marks.writing & bit(chunk) != 0 {
            return Claim::Busy;
        }
        marks.wanted &= !bit(chunk);
        marks.writing |= bit(chunk);
        Claim::Granted
    }

    /// A claimed chunk is written, or could not be.
    pub(crate) fn written(&self, chunk: u16) {
        lock(&self.0).writing &= !bit(chunk);
    }

    /// Sets the mark of every chunk of a run.
    fn want(&self, run: ChunkRun) {
        lock(&self.0).wanted |= mask(run);
    }
}

/// The landings of a peer. Owned by the actor; a landing lives as long as something is expected or written there.
#[derive(Debug, Default)]
pub(crate) struct Landings {
    by_piece: HashMap<(Place, PieceIndex), Weak<Landing>>,
    /// Size at which dead entries are swept out: twice what was alive after the last sweep.
    sweep_at: usize,
}

impl Landings {
    /// The landing of a run, with its chunks marked as wanted.
    pub(crate) fn want(&mut self, place: Place, run: ChunkRun) -> Arc<Landing> {
        if self.by_piece.len() > self.sweep_at.max(1024) {
            self.by_piece.retain(|_, landing| landing.strong_count() > 0);
            self.sweep_at = self.by_piece.len() * 2;
        }
        let landing = match self.by_piece.entry((place, run.piece)) {
            Entry::Occupied(mut entry) => entry.get().upgrade().unwrap_or_else(|| {
                let landing = Arc::default();
                entry.insert(Arc::downgrade(&landing));
                landing
            }),
            Entry::Vacant(entry) => {
                let landing = Arc::default();
                entry.insert(Arc::downgrade(&landing));
                landing
            }
        };
        landing.want(run);
        landing
    }
}

/// A chunk that a reader is about to read: what its header was matched with.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    /// The `Expect` to quote.
    pub(crate) op: OpId,
    /// Where it goes.
    pub(crate) place: Place,
    /// Its content's geometry.
    pub(crate) geometry: Geometry,
    /// Who may write it.
    pub(crate) landing: Arc<Landing>,
}

/// What may arrive on one link.
#[derive(Debug, Default)]
pub(crate) struct Expectations(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    /// Almost always one entry per piece; a second one only while an earlier `Expect` of the same piece is not through.
    by_piece: HashMap<(Slot, PieceIndex), Vec<Awaited>>,
    by_op: HashMap<OpId, Vec<(Slot, PieceIndex)>>,
    /// Chunks that were expected and are not any more: as many may still come unexpected without fault.
    forgiven: usize,
}

#[derive(Debug)]
struct Awaited {
    expected: Expected,
    chunks: u64,
}

impl Expectations {
    /// Performs `Expect`. A key that no content can have expects nothing.
    pub(crate) fn add(
        &self,
        op: OpId,
        slot: Slot,
        key: ContentKey,
        place: Place,
        run: ChunkRun,
        landing: Arc<Landing>,
    ) {
        let Some(geometry) = Geometry::new(key.length) else { return };
        let expected = Expected { op, place, geometry, landing };
        let mut table = lock(&self.0);
        table.by_piece.entry((slot, run.piece)).or_default().push(Awaited { expected, chunks: mask(run) });
        table.by_op.entry(op).or_default().push((slot, run.piece));
    }

    /// Performs `Unexpect`.
    pub(crate) fn remove(&self, op: OpId) {
        let mut table = lock(&self.0);
        for at in table.by_op.remove(&op).unwrap_or_default() {
            let Entry::Occupied(mut entry) = table.by_piece.entry(at) else { continue };
            let mut dropped = 0;
            entry.get_mut().retain(|awaited| {
                let keep = awaited.expected.op != op;
                dropped += if keep { 0 } else { awaited.chunks.count_ones() as usize };
                keep
            });
            if entry.get().is_empty() {
                entry.remove();
            }
            table.forgiven += dropped;
        }
    }

    /// What a chunk's header is matched with; `None`: nobody expects it.
    pub(crate) fn find(&self, slot: Slot, at: ChunkAddr) -> Option<Expected> {
        let table = lock(&self.0);
        let awaited = table.by_piece.get(&(slot, at.piece))?;
        awaited.iter().find(|awaited| awaited.chunks & bit(at.chunk) != 0).map(|found| found.expected.clone())
    }

    /// The chunk is whole. Is it still expected for this `op`, and may it be written? Anything but `Busy` ends the
    /// expectation of this chunk.
    pub(crate) fn claim(&self, slot: Slot, at: ChunkAddr, op: OpId) -> Claim {
        let mut table = lock(&self.0);
        let Some(awaited) = table.by_piece.get_mut(&(slot, at.piece)).and_then(|awaited| {
            awaited
                .iter_mut()
                .find(|awaited| awaited.expected.op == op && awaited.chunks & bit(at.chunk) != 0)
        }) else {
            return Claim::Gone;
        };
        let claim = awaited.expected.landing.claim(at.chunk);
        if claim != Claim::Busy {
            awaited.chunks &= !bit(at.chunk);
            table.tidy(slot, at.piece, op);
        }
        claim
    }

    /// Ends the expectation of a chunk that came with a wrong length. Its mark stays, for others that expect it.
    pub(crate) fn give_up(&self, slot: Slot, at: ChunkAddr, op: OpId) {
        let mut table = lock(&self.0);
        for awaited in table.by_piece.get_mut(&(slot, at.piece)).into_iter().flatten() {
            if awaited.expected.op == op {
                awaited.chunks &= !bit(at.chunk);
            }
        }
        table.tidy(slot, at.piece, op);
    }

    /// Counts a chunk that nobody expects. `false`: there were more of them than cancelled requests can explain.
    pub(crate) fn tolerate(&self) -> bool {
        let mut table = lock(&self.0);
        if table.forgiven == 0 {
            return false;
        }
        table.forgiven -= 1;
        true
    }
}

impl Table {
    /// Drops what is used up of an `Expect`.
    fn tidy(&mut self, slot: Slot, piece: PieceIndex, op: OpId) {
        let Entry::Occupied(mut entry) = self.by_piece.entry((slot, piece)) else { return };
        entry.get_mut().retain(|awaited| awaited.chunks != 0);
        let done = !entry.get().iter().any(|awaited| awaited.expected.op == op);
        if entry.get().is_empty() {
            entry.remove();
        }
        if done && let Entry::Occupied(mut places) = self.by_op.entry(op) {
            places.get_mut().retain(|at| *at != (slot, piece));
            if places.get().is_empty() {
                places.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use potluck_core::ids::{ContentId, DownloadId};

    use super::*;

    const KEY: ContentKey = ContentKey { id: ContentId([7; 32]), length: 1 << 32 };
    const PLACE: Place = Place::Root(DownloadId(1));

    fn run(piece: u32, first: u16, count: u16) -> ChunkRun {
        ChunkRun { piece: PieceIndex(piece), first, count }
    }

    fn at(piece: u32, chunk: u16) -> ChunkAddr {
        ChunkAddr { piece: PieceIndex(piece), chunk }
    }

    fn expect(landings: &mut Landings, table: &Expectations, op: u64, run: ChunkRun) {
        table.add(OpId(op), Slot(3), KEY, PLACE, run, landings.want(PLACE, run));
    }

    #[test]
    fn masks() {
        assert_eq!(mask(run(0, 0, 64)), u64::MAX);
        assert_eq!(mask(run(0, 62, 2)), 3 << 62);
        assert_eq!(mask(run(0, 1, 3)), 0b1110);
        assert_eq!(mask(run(0, 64, 1)), 0);
    }

    #[test]
    fn a_chunk_is_taken_once_and_only_where_it_is_expected() {
        let (mut landings, table) = (Landings::default(), Expectations::default());
        expect(&mut landings, &table, 1, run(5, 2, 2));
        assert!(table.find(Slot(3), at(5, 1)).is_none());
        assert!(table.find(Slot(4), at(5, 2)).is_none());
        assert!(table.find(Slot(3), at(5, 64)).is_none());
        assert_eq!(table.find(Slot(3), at(5, 3)).unwrap().op, OpId(1));
        assert_eq!(table.claim(Slot(3), at(5, 3), OpId(1)), Claim::Granted);
        assert_eq!(table.claim(Slot(3), at(5, 3), OpId(1)), Claim::Gone);
        assert!(table.find(Slot(3), at(5, 3)).is_none());
        assert_eq!(table.claim(Slot(3), at(5, 2), OpId(1)), Claim::Granted);
        assert!(lock(&table.0).by_piece.is_empty() && lock(&table.0).by_op.is_empty());
    }

    #[test]
    fn of_two_links_the_first_whole_chunk_wins() {
        let mut landings = Landings::default();
        let (one, two) = (Expectations::default(), Expectations::default());
        expect(&mut landings, &one, 1, run(5, 0, 1));
        expect(&mut landings, &two, 2, run(5, 0, 1));
        assert_eq!(two.claim(Slot(3), at(5, 0), OpId(2)), Claim::Granted);
        assert_eq!(one.claim(Slot(3), at(5, 0), OpId(1)), Claim::Gone);
    }

    #[test]
    fn asked_for_again_it_waits_for_the_write_that_is_under_way() {
        let mut landings = Landings::default();
        let (one, two) = (Expectations::default(), Expectations::default());
        expect(&mut landings, &one, 1, run(5, 0, 1));
        let landing = one.find(Slot(3), at(5, 0)).unwrap().landing;
        assert_eq!(one.claim(Slot(3), at(5, 0), OpId(1)), Claim::Granted);
        expect(&mut landings, &two, 2, run(5, 0, 1));
        assert_eq!(two.claim(Slot(3), at(5, 0), OpId(2)), Claim::Busy);
        landing.written(0);
        assert_eq!(two.claim(Slot(3), at(5, 0), OpId(2)), Claim::Granted);
    }

    #[test]
    fn what_is_unexpected_is_forgiven_as_often_as_it_was_asked_for() {
        let (mut landings, table) = (Landings::default(), Expectations::default());
        expect(&mut landings, &table, 1, run(5, 0, 4));
        expect(&mut landings, &table, 1, run(6, 0, 4));
        assert_eq!(table.claim(Slot(3), at(5, 0), OpId(1)), Claim::Granted);
        table.remove(OpId(1));
        assert_eq!(table.claim(Slot(3), at(5, 1), OpId(1)), Claim::Gone);
        assert!((0..7).all(|_| table.tolerate()));
        assert!(!table.tolerate());
        table.remove(OpId(1));
        assert!(lock(&table.0).by_piece.is_empty() && lock(&table.0).by_op.is_empty());
    }

    #[test]
    fn dead_landings_are_swept_out() {
        let mut landings = Landings::default();
        let kept = landings.want(PLACE, run(0, 0, 1));
        for piece in 1..10_000 {
            landings.want(PLACE, run(piece, 0, 1));
        }
        assert!(landings.by_piece.len() < 3000);
        assert_eq!(kept.claim(0), Claim::Granted);
    }
}
