//! The piece table: the chaining values of a content's pieces, known to fold up to its id.

use serde::{Deserialize, Serialize};

use super::{Geometry, fold_table};
use crate::ids::{ChainingValue, ContentKey, PieceIndex};

/// A table that was folded and found to lead to the id. That does not prove the length (another length cuts the same
/// tree elsewhere): only the last piece's bytes do. Contents of at most one piece have no table.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Recorded", into = "Recorded")]
pub struct PieceTable {
    key: ContentKey,
    values: Vec<ChainingValue>,
}

/// Why values are not the table of a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableFault {
    /// No content is this long.
    #[error("no content has {length} bytes")]
    TooLong {
        /// The stated length.
        length: u64,
    },
    /// The content has at most one piece: its hash is its id, it has no table.
    #[error("a content of {length} bytes has no piece table")]
    NoTable {
        /// The stated length.
        length: u64,
    },
    /// As many values as pieces are needed.
    #[error("{values} values for {pieces} pieces")]
    WrongCount {
        /// Values given.
        values: usize,
        /// Pieces of the content.
        pieces: u32,
    },
    /// The values lead to another id.
    #[error("the piece table does not fold to the content's id")]
    WrongId,
}

impl PieceTable {
    /// Folds `values` and compares with the key's id.
    ///
    /// # Errors
    /// A wrong number of values, a content that has no table, or another id.
    pub fn new(key: ContentKey, values: Vec<ChainingValue>) -> Result<Self, TableFault> {
        let length = key.length;
        let geometry = Geometry::new(length).ok_or(TableFault::TooLong { length })?;
        if geometry.is_single_chunk() {
            return Err(TableFault::NoTable { length });
        }
        if values.len() != geometry.pieces() as usize {
            return Err(TableFault::WrongCount { values: values.len(), pieces: geometry.pieces() });
        }
        if fold_table(&geometry, &values) != Some(key.id) {
            return Err(TableFault::WrongId);
        }
        Ok(Self { key, values })
    }

    /// A table whose fold the caller just computed.
    pub(super) const fn folded(key: ContentKey, values: Vec<ChainingValue>) -> Self {
        Self { key, values }
    }

    /// The content.
    #[must_use]
    pub const fn key(&self) -> ContentKey {
        self.key
    }

    /// The pieces' values, first to last.
    #[must_use]
    pub fn values(&self) -> &[ChainingValue] {
        &self.values
    }

    /// One piece's value.
    #[must_use]
    pub fn value(&self, piece: PieceIndex) -> Option<ChainingValue> {
        self.values.get(piece.0 as usize).copied()
    }
}

impl std::fmt::Debug for PieceTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PieceTable({:?}, {} pieces)", self.key.id, self.values.len())
    }
}

/// How a table stands in a recording; read back, it is folded again.
#[derive(Serialize, Deserialize)]
struct Recorded {
    key: ContentKey,
    values: Vec<ChainingValue>,
}

impl From<PieceTable> for Recorded {
    fn from(table: PieceTable) -> Self {
        Self { key: table.key, values: table.values }
    }
}

impl TryFrom<Recorded> for PieceTable {
    type Error = TableFault;
    fn try_from(recorded: Recorded) -> Result<Self, TableFault> {
        Self::new(recorded.key, recorded.values)
    }
}
