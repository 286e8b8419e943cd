//! Contents that have hashes and no bytes: the chaining value of each chunk follows from a salt, piece and content values
//! from folding them. So a content of terabytes costs nothing, and what is right can still be told from what is wrong.

use std::sync::Arc;

use potluck_core::content::{Geometry, PieceTable, empty_id, fold_piece, fold_table};
use potluck_core::ids::{ChainingValue, ChunkAddr, ContentId, ContentKey, PieceIndex};

/// A content without bytes.
#[derive(Clone, Debug)]
pub(crate) struct Synthetic {
    pub(crate) key: ContentKey,
    pub(crate) geometry: Geometry,
    pub(crate) table: Option<Arc<PieceTable>>,
    salt: u8,
}

impl Synthetic {
    pub(crate) fn new(length: u64, salt: u8) -> Self {
        let geometry = Geometry::new(length).expect("a plausible length");
        let pieces: Vec<ChainingValue> = (0..geometry.pieces())
            .map(PieceIndex)
            .map(|piece| {
                let chunks = 0..geometry.chunks(piece).expect("a piece of the content");
                let values: Vec<_> = chunks.map(|chunk| value(salt, ChunkAddr { piece, chunk })).collect();
                fold_piece(&geometry, piece, &values).expect("all chunks of a piece")
            })
            .collect();
        if geometry.pieces() <= 1 {
            let id = pieces.first().map_or_else(empty_id, |value| ContentId(value.0));
            return Self { key: ContentKey { id, length }, geometry, table: None, salt };
        }
        let id = fold_table(&geometry, &pieces).expect("all pieces of the content");
        let key = ContentKey { id, length };
        let table = Some(Arc::new(PieceTable::new(key, pieces).expect("the table just folded")));
        Self { key, geometry, table, salt }
    }

    /// The right value of a chunk.
    pub(crate) fn value(&self, at: ChunkAddr) -> ChainingValue {
        value(self.salt, at)
    }
}

fn value(salt: u8, at: ChunkAddr) -> ChainingValue {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[salt]).update(&at.piece.0.to_le_bytes()).update(&at.chunk.to_le_bytes());
    ChainingValue(*hasher.finalize().as_bytes())
}
