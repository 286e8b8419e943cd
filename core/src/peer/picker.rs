//! Which piece next: the rarest of those that are open.
//!
//! A piece is *open* while it is neither held nor asked of anybody. Open pieces stand in one array, ordered by how many
//! linked partial holders have them (complete holders have all and change no order), in random order among equals: the
//! "bucketed" picker of libtorrent. Changing a piece's count moves it over one bucket's border, O(1); opening and closing
//! it is O(number of buckets).

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use crate::content::PieceSet;
use crate::ids::PieceIndex;

/// Not in the order.
const CLOSED: u32 = u32::MAX;
/// Candidates looked at from the rarest on, before the search turns to the holder's own set.
const SCAN_MAX: usize = 256;

/// The order of open pieces. Invariants: `order[pos[p]] == p` for open pieces; bucket `k` is
/// `order[ends[k-1]..ends[k]]` and holds the open pieces of count `k`.
#[derive(Debug)]
pub struct Picker {
    /// Linked partial holders per piece.
    counts: Vec<u16>,
    order: Vec<u32>,
    pos: Vec<u32>,
    ends: Vec<u32>,
    open: PieceSet,
    /// Piece at which the next search by the holder's set begins: who has nothing rare gives something else each time.
    cursor: u32,
    rng: ChaCha8Rng,
    /// Somebody reads along: the first open piece is picked, whichever is rarest.
    in_order: bool,
}

impl Picker {
    /// All pieces of `wanted` are open, nobody has any.
    pub fn new(wanted: &PieceSet, mut rng: ChaCha8Rng, in_order: bool) -> Self {
        let pieces = wanted.len() as usize;
        let mut order: Vec<u32> = wanted.iter().map(|p| p.0).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, below(&mut rng, i + 1));
        }
        let mut pos = vec![CLOSED; pieces];
        for (i, p) in order.iter().enumerate() {
            pos[*p as usize] = i as u32;
        }
        let ends = vec![order.len() as u32];
        Self { counts: vec![0; pieces], order, pos, ends, open: wanted.clone(), cursor: 0, rng, in_order }
    }

    /// Are pieces picked from the first to the last?
    pub(super) const fn is_in_order(&self) -> bool {
        self.in_order
    }

    /// Number of open pieces.
    pub(super) fn open_count(&self) -> u32 {
        self.order.len() as u32
    }

    pub(super) fn is_open(&self, piece: PieceIndex) -> bool {
        self.open.contains(piece)
    }

    /// Linked partial holders that have it.
    pub(super) fn count(&self, piece: PieceIndex) -> u16 {
        self.counts.get(piece.0 as usize).copied().unwrap_or(0)
    }

    fn bucket_start(&self, count: usize) -> u32 {
        if count == 0 { 0 } else { self.ends[count - 1] }
    }

    fn swap(&mut self, i: u32, j: u32) {
        self.order.swap(i as usize, j as usize);
        self.pos[self.order[i as usize] as usize] = i;
        self.pos[self.order[j as usize] as usize] = j;
    }

    /// A partial holder has one piece more.
    pub fn gained(&mut self, piece: PieceIndex) {
        let p = piece.0 as usize;
        let Some(count) = self.counts.get_mut(p) else { return };
        let before = *count as usize;
        *count = count.saturating_add(1);
        if *count as usize == before || self.pos[p] == CLOSED {
            return;
        }
        // To the end of its bucket, then the border moves before it; a random place in the next bucket.
        while self.ends.len() <= before + 1 {
            self.ends.push(self.order.len() as u32);
        }
        let last = self.ends[before] - 1;
        self.swap(self.pos[p], last);
        self.ends[before] = last;
        let into = last + below(&mut self.rng, (self.ends[before + 1] - last) as usize) as u32;
        self.swap(last, into);
    }

    /// A partial holder has one piece less, or is gone with it.
    pub(super) fn lost(&mut self, piece: PieceIndex) {
        let p = piece.0 as usize;
        let Some(count) = self.counts.get_mut(p).filter(|c| **c > 0) else { return };
        *count -= 1;
        let after = *count as usize;
        if self.pos[p] == CLOSED {
            return;
        }
        let first = self.ends[after];
        self.swap(self.pos[p], first);
        self.ends[after] = first + 1;
        let start = self.bucket_start(after);
        let into = start + below(&mut self.rng, (first + 1 - start) as usize) as u32;
        self.swap(first, into);
    }

    /// The piece is held, or asked of somebody.
    pub fn close(&mut self, piece: PieceIndex) {
        if !self.open.remove(piece) {
            return;
        }
        let p = piece.0 as usize;
        let mut hole = self.pos[p];
        for k in self.counts[p] as usize..self.ends.len() {
            let last = self.ends[k] - 1;
            self.swap(hole, last);
            self.ends[k] = last;
            hole = last;
        }
        self.order.pop();
        self.pos[p] = CLOSED;
    }

    /// The piece is wanted, and asked of nobody (any more).
    pub fn reopen(&mut self, piece: PieceIndex) {
        if !self.open.insert(piece) {
            return;
        }
        let p = piece.0 as usize;
        let count = self.counts[p] as usize;
        while self.ends.len() <= count {
            self.ends.push(self.order.len() as u32);
        }
        self.order.push(piece.0);
        let mut hole = self.order.len() as u32 - 1;
        self.pos[p] = hole;
        for k in (count..self.ends.len()).rev() {
            let start = self.bucket_start(k);
            self.ends[k] += 1;
            if k > count {
                self.swap(hole, start);
                hole = start;
            }
        }
        let start = self.bucket_start(count);
        let into = start + below(&mut self.rng, (hole + 1 - start) as usize) as u32;
        self.swap(hole, into);
    }

    /// The rarest open piece (or, in order, the first one) that `takes`; `theirs` is what the holder has (`None`: all).
    pub fn pick(
        &mut self,
        theirs: Option<&PieceSet>,
        mut takes: impl FnMut(PieceIndex) -> bool,
    ) -> Option<PieceIndex> {
        let has = |p: PieceIndex| theirs.is_none_or(|set| set.contains(p));
        if self.in_order {
            return self.open.iter().find(|p| has(*p) && takes(*p));
        }
        for p in self.order.iter().take(SCAN_MAX).map(|p| PieceIndex(*p)) {
            if has(p) && takes(p) {
                return Some(p);
            }
        }
        if self.order.len() <= SCAN_MAX {
            return None;
        }
        // Nothing rare for this holder: any open piece of its own, by words, from where the last search ended.
        let theirs = theirs.unwrap_or(&self.open);
        let found = self.open.intersection_round(theirs, self.cursor).find(|p| takes(*p))?;
        self.cursor = found.0;
        Some(found)
    }

    /// Open pieces from the rarest on.
    pub(super) fn rarest(&self) -> impl Iterator<Item = PieceIndex> + '_ {
        self.order.iter().map(|p| PieceIndex(*p))
    }

    /// Panics where the invariants do not hold; O(pieces).
    pub(super) fn check(&self) {
        assert_eq!(self.order.len() as u32, self.open.count(), "open pieces and their order");
        let mut k = 0;
        for (i, p) in self.order.iter().enumerate() {
            while self.ends[k] as usize <= i {
                k += 1;
            }
            assert_eq!(self.pos[*p as usize] as usize, i, "position of piece {p}");
            assert_eq!(self.counts[*p as usize] as usize, k, "bucket of piece {p}");
        }
        assert_eq!(self.ends.last().copied(), Some(self.order.len() as u32), "end of the last bucket");
    }
}

/// A number below `n`, near enough to uniform for breaking ties.
fn below(rng: &mut ChaCha8Rng, n: usize) -> usize {
    ((u64::from(rng.next_u32()) * n as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;
    use proptest::prelude::*;

    /// One digit per piece: how many partial holders have it.
    fn picker(counts: &str) -> Picker {
        let mut picker = Picker::new(&PieceSet::full(counts.len() as u32), Seed::from_number(1).rng(), false);
        for (i, c) in counts.bytes().enumerate() {
            for _ in b'0'..c {
                picker.gained(PieceIndex(i as u32));
            }
        }
        picker.check();
        picker
    }

    fn set(bits: &str) -> PieceSet {
        let mut set = PieceSet::empty(bits.len() as u32);
        for (i, _) in bits.bytes().enumerate().filter(|(_, c)| *c == b'#') {
            set.insert(PieceIndex(i as u32));
        }
        set
    }

    #[test]
    fn picks_the_rarest_that_the_holder_has() {
        let mut picker = picker("3121");
        assert_eq!(picker.pick(Some(&set("#.#.")), |_| true), Some(PieceIndex(2)));
        assert_eq!(picker.pick(Some(&set("##..")), |_| true), Some(PieceIndex(1)));
        picker.close(PieceIndex(1));
        assert_eq!(picker.pick(Some(&set("##..")), |_| true), Some(PieceIndex(0)));
        assert_eq!(picker.pick(Some(&set("....")), |_| true), None);
        assert_eq!(picker.pick(None, |p| p.0 == 2), Some(PieceIndex(2)));
    }

    #[test]
    fn in_order_the_first_is_picked_however_common() {
        let mut picker = Picker::new(&PieceSet::full(1000), Seed::from_number(1).rng(), true);
        picker.gained(PieceIndex(0));
        assert_eq!(picker.pick(None, |_| true), Some(PieceIndex(0)));
        picker.close(PieceIndex(0));
        assert_eq!(picker.pick(None, |_| true), Some(PieceIndex(1)));
        picker.reopen(PieceIndex(0));
        assert_eq!(picker.pick(Some(&set("#.")), |_| true), Some(PieceIndex(0)));
        assert_eq!(picker.pick(None, |p| p.0 > 700), Some(PieceIndex(701)));
    }

    #[test]
    fn finds_the_only_piece_of_a_poor_holder_among_many() {
        let mut picker = Picker::new(&PieceSet::full(10_000), Seed::from_number(2).rng(), false);
        let mut theirs = PieceSet::empty(10_000);
        theirs.insert(PieceIndex(7_777));
        for p in theirs.iter().collect::<Vec<_>>() {
            picker.gained(p);
        }
        assert_eq!(picker.pick(Some(&theirs), |_| true), Some(PieceIndex(7_777)));
    }

    proptest! {
        #[test]
        fn the_order_survives_any_sequence(ops in prop::collection::vec((0u8..4, 0u32..40), 0..400)) {
            let mut picker = Picker::new(&PieceSet::full(40), Seed::from_number(3).rng(), false);
            for (op, p) in ops {
                let p = PieceIndex(p);
                match op {
                    0 => picker.gained(p),
                    1 => picker.lost(p),
                    2 => picker.close(p),
                    _ => picker.reopen(p),
                }
                picker.check();
            }
            let best = picker.pick(None, |_| true);
            let least = (0..40).filter(|p| picker.is_open(PieceIndex(*p))).map(|p| picker.count(PieceIndex(p))).min();
            prop_assert_eq!(best.map(|p| picker.count(p)), least);
        }
    }
}
