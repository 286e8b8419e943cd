//! Contents that have hashes and no bytes: the chaining value of each chunk follows from a salt, piece and content values
//! from folding them. So a content of gigabytes costs little, and what is right can still be told from what is wrong.

use std::sync::Arc;

use potluck_core::content::{Geometry, PieceTable, empty_id, fold_piece, fold_table};
use potluck_core::ids::{ChainingValue, ChunkAddr, ContentId, ContentKey, PieceIndex};

/// A content, known by the values of its chunks.
#[derive(Clone, Debug)]
pub(crate) struct Synthetic {
    pub(crate) key: ContentKey,
    pub(crate) geometry: Geometry,
    pub(crate) table: Option<Arc<PieceTable>>,
    values: Vec<Vec<ChainingValue>>,
}

impl Synthetic {
    /// A content without bytes.
    pub(crate) fn new(length: u64, salt: u8) -> Self {
        Self::of_values(length, |_, at| {
            let mut hasher = blake3::Hasher::new();
            hasher.update(&[salt]).update(&at.piece.0.to_le_bytes()).update(&at.chunk.to_le_bytes());
            ChainingValue(*hasher.finalize().as_bytes())
        })
    }

    /// A content whose chunks have these values.
    pub(crate) fn of_values(length: u64, value: impl Fn(&Geometry, ChunkAddr) -> ChainingValue) -> Self {
        let geometry = Geometry::new(length).expect("a plausible length");
        let values: Vec<Vec<ChainingValue>> = (0..geometry.pieces())
            .map(PieceIndex)
            .map(|piece| {
                let chunks = 0..geometry.chunks(piece).expect("a piece of the content");
                chunks.map(|chunk| value(&geometry, ChunkAddr { piece, chunk })).collect()
            })
            .collect();
        let pieces: Vec<ChainingValue> = (0..geometry.pieces())
            .zip(&values)
            .map(|(piece, values)| {
                fold_piece(&geometry, PieceIndex(piece), values).expect("all chunks of a piece")
            })
            .collect();
        if geometry.pieces() <= 1 {
            let id = pieces.first().map_or_else(empty_id, |value| ContentId(value.0));
            return Self { key: ContentKey { id, length }, geometry, table: None, values };
        }
        let id = fold_table(&geometry, &pieces).expect("all pieces of the content");
        let key = ContentKey { id, length };
        let table = Some(Arc::new(PieceTable::new(key, pieces).expect("the table just folded")));
        Self { key, geometry, table, values }
    }

    /// The right value of a chunk; of one that does not exist, any.
    pub(crate) fn value(&self, at: ChunkAddr) -> ChainingValue {
        let piece = self.values.get(at.piece.0 as usize);
        piece.and_then(|values| values.get(usize::from(at.chunk))).copied().unwrap_or(ChainingValue([0; 32]))
    }
}
