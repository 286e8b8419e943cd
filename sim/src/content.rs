//! Contents without bytes: what a chunk hashes to is a function of the content and the position.
//!
//! The values are invented, the folding is real: a content's table folds up to its id by the same functions as everywhere, so
//! that the machines verify exactly as they do in the real world. It is computed once per content and shared by all hosts.
//! In a small world contents have real bytes, and the values are those of the bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use potluck_core::content::{
    Geometry, Kind, Listing, PieceTable, chunk_value, empty_id, fold_piece, fold_table,
};
use potluck_core::ids::{ChainingValue, ChunkAddr, ContentId, ContentKey, PieceIndex};
use potluck_core::limits::CHUNK_BYTES;
use potluck_core::seed::Seed;

/// A content of the world.
#[derive(Debug)]
pub(crate) struct Content {
    /// What names it.
    pub(crate) key: ContentKey,
    /// File or folder.
    pub(crate) kind: Kind,
    /// Its label.
    pub(crate) name: String,
    /// Where its pieces and chunks lie.
    pub(crate) geometry: Geometry,
    /// The piece table; `None` for at most one piece.
    pub(crate) table: Option<Arc<PieceTable>>,
    /// A folder's listing.
    pub(crate) listing: Option<Arc<Listing>>,
    /// The bytes, where the world carries them.
    pub(crate) bytes: Option<Vec<u8>>,
    /// Members of a folder, as indices of the world's contents, by entry of the listing.
    pub(crate) members: Vec<Option<u32>>,
    values: Vec<ChainingValue>,
    chunks_per_piece: usize,
}

impl Content {
    /// A content of `length` invented bytes; `None` if there can be none of this length.
    pub(crate) fn invent(seed: &Seed, name: &str, length: u64) -> Option<Self> {
        let geometry = Geometry::new(length)?;
        let seed = seed.fork(name);
        let value = |at: ChunkAddr| value_of(&seed, at, 0);
        let values: Vec<_> = addresses(&geometry).map(value).collect();
        Self::assemble(geometry, name, Kind::File, values, None)
    }

    /// A content of real bytes.
    pub(crate) fn real(name: &str, kind: Kind, bytes: Vec<u8>) -> Option<Self> {
        let geometry = Geometry::new(bytes.len() as u64)?;
        let values: Option<Vec<_>> = addresses(&geometry)
            .map(|at| chunk_value(&geometry, at, slice(&geometry, at, &bytes)?))
            .collect();
        Self::assemble(geometry, name, kind, values?, Some(bytes))
    }

    fn assemble(
        geometry: Geometry,
        name: &str,
        kind: Kind,
        values: Vec<ChainingValue>,
        bytes: Option<Vec<u8>>,
    ) -> Option<Self> {
        let length = geometry.length();
        let chunks_per_piece = (geometry.piece_length() / CHUNK_BYTES).max(1) as usize;
        let (id, table) = if geometry.pieces() == 0 {
            (empty_id(), None)
        } else if geometry.is_single_chunk() {
            (ContentId(values.first()?.0), None)
        } else {
            let mut pieces = Vec::with_capacity(geometry.pieces() as usize);
            for (index, chunks) in values.chunks(chunks_per_piece).enumerate() {
                pieces.push(fold_piece(&geometry, PieceIndex(index as u32), chunks)?);
            }
            if pieces.len() == 1 {
                (ContentId(pieces[0].0), None)
            } else {
                let id = fold_table(&geometry, &pieces)?;
                (id, Some(Arc::new(PieceTable::new(ContentKey { id, length }, pieces).ok()?)))
            }
        };
        Some(Self {
            key: ContentKey { id, length },
            kind,
            name: name.to_owned(),
            geometry,
            table,
            listing: None,
            bytes,
            members: Vec::new(),
            values,
            chunks_per_piece,
        })
    }

    /// Number of chunks.
    pub(crate) fn chunks(&self) -> usize {
        self.values.len()
    }

    /// The chunk's place in a table of all chunks.
    pub(crate) fn index(&self, at: ChunkAddr) -> Option<usize> {
        let chunks = self.geometry.chunks(at.piece)?;
        (at.chunk < chunks).then(|| at.piece.0 as usize * self.chunks_per_piece + usize::from(at.chunk))
    }

    /// The piece's chunks in a table of all chunks.
    pub(crate) fn range(&self, piece: PieceIndex) -> std::ops::Range<usize> {
        let first = piece.0 as usize * self.chunks_per_piece;
        let count = self.geometry.chunks(piece).map_or(0, usize::from);
        first..first + count
    }

    /// What the chunk hashes to, if its bytes are right (`taint` 0) or spoiled.
    pub(crate) fn value(&self, at: ChunkAddr, taint: u32) -> Option<ChainingValue> {
        let index = self.index(at)?;
        match (&self.bytes, taint) {
            (_, 0) => self.values.get(index).copied(),
            (Some(_), _) => chunk_value(&self.geometry, at, &self.read(at, taint)?),
            (None, _) => Some(value_of(&Seed(self.key.id.0), at, taint)),
        }
    }

    /// The chunk's real bytes, right or spoiled; `None` in a world without bytes.
    pub(crate) fn read(&self, at: ChunkAddr, taint: u32) -> Option<Vec<u8>> {
        let mut bytes = slice(&self.geometry, at, self.bytes.as_ref()?)?.to_vec();
        if taint != 0 {
            let place = taint as usize % bytes.len().max(1);
            *bytes.get_mut(place)? ^= 0x55;
        }
        Some(bytes)
    }
}

fn addresses(geometry: &Geometry) -> impl Iterator<Item = ChunkAddr> + '_ {
    (0..geometry.pieces()).map(PieceIndex).flat_map(|piece| {
        let chunks = geometry.chunks(piece).unwrap_or(0);
        (0..chunks).map(move |chunk| ChunkAddr { piece, chunk })
    })
}

fn slice<'a>(geometry: &Geometry, at: ChunkAddr, bytes: &'a [u8]) -> Option<&'a [u8]> {
    let first = geometry.chunk_offset(at)? as usize;
    bytes.get(first..first + geometry.chunk_bytes(at)? as usize)
}

fn value_of(seed: &Seed, at: ChunkAddr, taint: u32) -> ChainingValue {
    let mut place = [0; 10];
    place[..4].copy_from_slice(&at.piece.0.to_le_bytes());
    place[4..6].copy_from_slice(&at.chunk.to_le_bytes());
    place[6..].copy_from_slice(&taint.to_le_bytes());
    ChainingValue(*blake3::keyed_hash(&seed.0, &place).as_bytes())
}

/// All contents of a world, numbered. Equal bytes are one content, however often a plan has them.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    contents: Vec<Content>,
    by_key: BTreeMap<ContentKey, u32>,
    planned: Vec<u32>,
}

impl Catalog {
    /// Adds the next content of the plan.
    pub(crate) fn add(&mut self, content: Content) {
        let next = self.contents.len() as u32;
        let number = *self.by_key.entry(content.key).or_insert(next);
        self.planned.push(number);
        if number == next {
            self.contents.push(content);
        }
    }

    /// The number of what the plan knows by this one.
    pub(crate) fn planned(&self, number: u32) -> Option<u32> {
        self.planned.get(number as usize).copied()
    }

    /// The content of this number.
    pub(crate) fn get(&self, number: u32) -> &Content {
        &self.contents[number as usize]
    }

    /// The number of a content.
    pub(crate) fn find(&self, key: ContentKey) -> Option<u32> {
        self.by_key.get(&key).copied()
    }

    /// The numbers of all contents.
    pub(crate) fn numbers(&self) -> std::ops::Range<u32> {
        0..self.contents.len() as u32
    }

    /// All contents in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Content)> {
        (0..).zip(&self.contents)
    }
}
