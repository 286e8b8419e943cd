//! Which pieces of a content somebody holds: a bit per piece, and their number kept beside them.

use fixedbitset::FixedBitSet;
use serde::{Deserialize, Serialize};

use crate::ids::PieceIndex;

/// A set of pieces out of a fixed number of them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Recorded", into = "Recorded")]
pub struct PieceSet {
    /// As long as the content has pieces; bits past the end are zero.
    bits: FixedBitSet,
    /// Number of bits set.
    count: u32,
}

/// Why a slice of a bitfield does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SliceFault {
    /// Slices begin at a multiple of eight.
    #[error("a slice begins at piece {first}, which is not a multiple of eight")]
    Misaligned {
        /// Where it begins.
        first: u32,
    },
    /// The slice is empty, or reaches past the byte of the last piece.
    #[error("a slice of {bytes} bytes at piece {first} does not lie within {pieces} pieces")]
    OutOfRange {
        /// Where it begins.
        first: u32,
        /// Its length.
        bytes: usize,
        /// Pieces of the content.
        pieces: u32,
    },
    /// A bit past the last piece is set.
    #[error("a bit past the last piece is set")]
    Overhang,
}

impl PieceSet {
    /// No piece out of `len`.
    #[must_use]
    pub fn empty(len: u32) -> Self {
        Self { bits: FixedBitSet::with_capacity(len as usize), count: 0 }
    }

    /// All of `len` pieces.
    #[must_use]
    pub fn full(len: u32) -> Self {
        let mut set = Self::empty(len);
        set.bits.insert_range(..);
        set.count = len;
        set
    }

    /// Number of pieces that the content has.
    #[must_use]
    pub fn len(&self) -> u32 {
        // It was a u32 when the set was made.
        self.bits.len() as u32
    }

    /// Number of pieces in the set; takes no time.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Is this piece in it? One that does not exist is not.
    #[must_use]
    pub fn contains(&self, piece: PieceIndex) -> bool {
        self.bits.contains(piece.0 as usize)
    }

    /// Puts a piece in; true if it exists and was not in before.
    pub fn insert(&mut self, piece: PieceIndex) -> bool {
        let newly = piece.0 < self.len() && !self.bits.put(piece.0 as usize);
        self.count += u32::from(newly);
        newly
    }

    /// Takes a piece out; true if it was in.
    pub fn remove(&mut self, piece: PieceIndex) -> bool {
        let was_in = self.contains(piece);
        if was_in {
            self.bits.remove(piece.0 as usize);
            self.count -= 1;
        }
        was_in
    }

    /// Is every piece in it? (Of no pieces: yes.)
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.count == self.len()
    }

    /// Is no piece in it?
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Pieces in the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = PieceIndex> + '_ {
        self.bits.ones().map(|index| PieceIndex(index as u32))
    }

    /// Pieces that are not in the set, ascending.
    pub fn iter_missing(&self) -> impl Iterator<Item = PieceIndex> + '_ {
        self.bits.zeroes().map(|index| PieceIndex(index as u32))
    }

    /// Pieces that are not in the set, as inclusive ranges, ascending and as long as possible.
    #[must_use]
    pub fn missing_ranges(&self) -> Vec<(PieceIndex, PieceIndex)> {
        let mut ranges: Vec<(PieceIndex, PieceIndex)> = Vec::new();
        for piece in self.iter_missing() {
            match ranges.last_mut() {
                Some((_, last)) if last.0 + 1 == piece.0 => *last = piece,
                _ => ranges.push((piece, piece)),
            }
        }
        ranges
    }

    /// Pieces in this set and not in the other of the same length, in order; found by words.
    pub fn difference<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = PieceIndex> + 'a {
        let words = self.words().iter().zip(other.words());
        words.enumerate().flat_map(|(at, (own, others))| ones(at, own & !others))
    }

    /// Pieces in both sets of the same length, in order from the word of a piece on, then those before it; found by words.
    pub fn intersection_round<'a>(
        &'a self,
        other: &'a Self,
        first: u32,
    ) -> impl Iterator<Item = PieceIndex> + 'a {
        let start = (first / usize::BITS) as usize;
        let words = || self.words().iter().zip(other.words()).enumerate();
        let round = words().skip(start).chain(words().take(start));
        round.flat_map(|(at, (own, others))| ones(at, own & others))
    }

    /// The set as machine words, lowest piece in the lowest bit, for fast intersection. Bits past the end are zero.
    #[must_use]
    pub fn words(&self) -> &[usize] {
        self.bits.as_slice()
    }

    /// At most `bytes_max` bytes of the bitfield, from the byte of piece `first` on: lowest piece in the lowest bit,
    /// bits past the last piece zero. Empty past the end. `first` is rounded down to a multiple of eight.
    #[must_use]
    pub fn to_slice(&self, first: u32, bytes_max: usize) -> Vec<u8> {
        let from = (first / 8) as usize;
        let to = self.bits.len().div_ceil(8).min(from.saturating_add(bytes_max));
        const WORD: usize = size_of::<usize>();
        (from..to).map(|at| self.words()[at / WORD].to_le_bytes()[at % WORD]).collect()
    }

    /// Adds the pieces of a slice as [`to_slice`](Self::to_slice) makes them. Nothing is changed by one that does not
    /// fit.
    ///
    /// # Errors
    /// Misaligned, empty, or with bits or bytes past the last piece.
    pub fn merge_slice(&mut self, first: u32, bits: &[u8]) -> Result<(), SliceFault> {
        if !first.is_multiple_of(8) {
            return Err(SliceFault::Misaligned { first });
        }
        let from = (first / 8) as usize;
        let bytes = self.bits.len().div_ceil(8);
        if bits.is_empty() || bits.len() > bytes.saturating_sub(from) {
            return Err(SliceFault::OutOfRange { first, bytes: bits.len(), pieces: self.len() });
        }
        let used = self.bits.len() % 8;
        if used != 0 && from + bits.len() == bytes && bits[bits.len() - 1] >> used != 0 {
            return Err(SliceFault::Overhang);
        }
        for (at, byte) in bits.iter().enumerate() {
            let mut left = *byte;
            while left != 0 {
                // In range: both factors were checked against the length above.
                self.insert(PieceIndex(((from + at) * 8) as u32 + left.trailing_zeros()));
                left &= left - 1;
            }
        }
        Ok(())
    }
}

/// The pieces of one word.
fn ones(at: usize, mut word: usize) -> impl Iterator<Item = PieceIndex> {
    std::iter::from_fn(move || {
        let bit = (word != 0).then(|| word.trailing_zeros())?;
        word &= word - 1;
        Some(PieceIndex(at as u32 * usize::BITS + bit))
    })
}

impl std::fmt::Debug for PieceSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PieceSet({} of {})", self.count, self.len())
    }
}

/// How a set stands in a recording.
#[derive(Clone, Serialize, Deserialize)]
struct Recorded {
    len: u32,
    #[serde(with = "hex::serde")]
    bits: Vec<u8>,
}

impl From<PieceSet> for Recorded {
    fn from(set: PieceSet) -> Self {
        Self { len: set.len(), bits: set.to_slice(0, usize::MAX) }
    }
}

impl TryFrom<Recorded> for PieceSet {
    type Error = SliceFault;
    fn try_from(recorded: Recorded) -> Result<Self, SliceFault> {
        let bytes = recorded.bits.len();
        if bytes != (recorded.len as usize).div_ceil(8) {
            return Err(SliceFault::OutOfRange { first: 0, bytes, pieces: recorded.len });
        }
        let mut set = Self::empty(recorded.len);
        if bytes > 0 {
            set.merge_slice(0, &recorded.bits)?;
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests;
