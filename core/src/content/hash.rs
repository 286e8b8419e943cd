//! From bytes up to a content's id: BLAKE3 as a tree whose subtrees are chunks and pieces.
//!
//! BLAKE3 splits its input so that the left part is the largest power of two that is shorter than the whole. Chunks
//! and pieces are power-of-two-sized and aligned, so each is a subtree, with a *chaining value* of its own; merging
//! values pair by pair leads up to the root, which is what `b3sum` prints. A content of one chunk is its own root,
//! and that root hash stands in for the chunk's and the piece's value.

use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

use super::{Geometry, PieceTable};
use crate::ids::{ChainingValue, ChunkAddr, ContentId, ContentKey, PieceIndex};

/// The id of the content without bytes. It has no piece, so that nothing else could prove it.
#[must_use]
pub fn empty_id() -> ContentId {
    ContentId(*blake3::hash(&[]).as_bytes())
}

/// The value of one chunk: of a content of one chunk the root hash. `None` if there is no such chunk, or `bytes` has
/// not its length.
#[must_use]
pub fn chunk_value(geometry: &Geometry, at: ChunkAddr, bytes: &[u8]) -> Option<ChainingValue> {
    if bytes.len() as u64 != u64::from(geometry.chunk_bytes(at)?) {
        return None;
    }
    let mut subtree = Subtree::at(geometry, geometry.chunk_offset(at)?);
    subtree.0.update(bytes);
    Some(subtree.value(geometry))
}

/// A piece's value from those of all its chunks. `None` if there is no such piece, or it has another number of chunks.
#[must_use]
pub fn fold_piece(geometry: &Geometry, piece: PieceIndex, chunks: &[ChainingValue]) -> Option<ChainingValue> {
    if chunks.len() != usize::from(geometry.chunks(piece)?) {
        return None;
    }
    fold(chunks)
}

/// A content's id from the values of all its pieces. `None` for an empty content, or another number of pieces.
#[must_use]
pub fn fold_table(geometry: &Geometry, pieces: &[ChainingValue]) -> Option<ContentId> {
    if pieces.len() != geometry.pieces() as usize {
        return None;
    }
    match pieces {
        [] => None,
        [root] => Some(ContentId(root.0)),
        _ => {
            let (left, right) = pieces.split_at(left_count(pieces.len()));
            let root = merge_subtrees_root(&fold(left)?.0, &fold(right)?.0, Mode::Hash);
            Some(ContentId(*root.as_bytes()))
        }
    }
}

/// Merges equal-sized subtrees, of which only the last may be shorter, into the one above them.
fn fold(values: &[ChainingValue]) -> Option<ChainingValue> {
    match values {
        [] => None,
        [value] => Some(*value),
        _ => {
            let (left, right) = values.split_at(left_count(values.len()));
            Some(ChainingValue(merge_subtrees_non_root(&fold(left)?.0, &fold(right)?.0, Mode::Hash)))
        }
    }
}

/// The largest power of two below `count`, which is at least 2.
const fn left_count(count: usize) -> usize {
    1 << (count - 1).ilog2()
}

/// A hasher for the bytes from one offset on.
struct Subtree(blake3::Hasher);

impl Subtree {
    /// `offset` is a multiple of the chunk length.
    fn at(geometry: &Geometry, offset: u64) -> Self {
        let mut hasher = blake3::Hasher::new();
        if !geometry.is_single_chunk() {
            hasher.set_input_offset(offset);
        }
        Self(hasher)
    }

    /// The value of what was fed in, at least one byte.
    fn value(&self, geometry: &Geometry) -> ChainingValue {
        if geometry.is_single_chunk() {
            ChainingValue(*self.0.finalize().as_bytes())
        } else {
            ChainingValue(self.0.finalize_non_root())
        }
    }
}

/// Hashes one piece, fed in as its bytes come. Pieces are independent: as many can be hashed at once as there are
/// cores.
pub struct PieceHasher {
    geometry: Geometry,
    subtree: Subtree,
    /// Bytes still to come.
    left: u64,
}

impl PieceHasher {
    /// A hasher for this piece; `None` if there is no such piece.
    #[must_use]
    pub fn new(geometry: &Geometry, piece: PieceIndex) -> Option<Self> {
        Some(Self {
            geometry: *geometry,
            subtree: Subtree::at(geometry, geometry.piece_offset(piece)?),
            left: geometry.piece_bytes(piece)?,
        })
    }

    /// Bytes still to come.
    #[must_use]
    pub const fn left(&self) -> u64 {
        self.left
    }

    /// Takes the next bytes of the piece and returns how many it took: all, unless that would be more than are left.
    pub fn update(&mut self, bytes: &[u8]) -> usize {
        let take = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.subtree.0.update(&bytes[..take]);
        self.left -= take as u64;
        take
    }

    /// The piece's value; `None` while bytes are missing.
    #[must_use]
    pub fn finish(&self) -> Option<ChainingValue> {
        (self.left == 0).then(|| self.subtree.value(&self.geometry))
    }
}

/// Gathers the values of a content's pieces, in any order, or hashes its bytes in order; then folds them.
pub struct ContentHasher {
    geometry: Geometry,
    values: Vec<Option<ChainingValue>>,
    /// Pieces still without a value.
    missing: u32,
    /// The piece that [`update`](Self::update) is in.
    current: Option<(PieceIndex, PieceHasher)>,
}

impl ContentHasher {
    /// For a content of this geometry. Takes 33 bytes of memory per piece.
    #[must_use]
    pub fn new(geometry: Geometry) -> Self {
        let values = vec![None; geometry.pieces() as usize];
        let first = PieceIndex(0);
        let current = PieceHasher::new(&geometry, first).map(|hasher| (first, hasher));
        Self { geometry, values, missing: geometry.pieces(), current }
    }

    /// Gives one piece's value, as [`PieceHasher`] or [`fold_piece`] found it. False if there is no such piece.
    pub fn set(&mut self, piece: PieceIndex, value: ChainingValue) -> bool {
        let Some(slot) = self.values.get_mut(piece.0 as usize) else { return false };
        self.missing -= u32::from(slot.replace(value).is_none());
        true
    }

    /// Hashes the next bytes in order and returns how many it took: all, unless that would be more than the content
    /// has.
    pub fn update(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while let Some((piece, hasher)) = &mut self.current {
            taken += hasher.update(&bytes[taken..]);
            let Some(value) = hasher.finish() else { break };
            let piece = *piece;
            let next = PieceIndex(piece.0 + 1);
            self.current = PieceHasher::new(&self.geometry, next).map(|hasher| (next, hasher));
            self.set(piece, value);
        }
        taken
    }

    /// The content's key, and its table unless it has at most one piece. `None` while a piece has no value.
    #[must_use]
    pub fn finish(self) -> Option<(ContentKey, Option<PieceTable>)> {
        if self.missing > 0 {
            return None;
        }
        let values: Vec<ChainingValue> = self.values.into_iter().flatten().collect();
        let id = if values.is_empty() { empty_id() } else { fold_table(&self.geometry, &values)? };
        let key = ContentKey { id, length: self.geometry.length() };
        let table = (!self.geometry.is_single_chunk()).then(|| PieceTable::folded(key, values));
        Some((key, table))
    }
}

#[cfg(test)]
mod tests;
