//! Where pieces and chunks lie. All of it follows from a content's length, so that two peers who share equal bytes
//! always share one swarm.
//!
//! Units are bytes, pieces and chunks. Every address that comes from outside is checked here: what does not exist is
//! `None`. A content of at most 256 KiB is one chunk in one piece; an empty one has no piece at all; up to 512 MiB a
//! piece is exactly one chunk.

use serde::{Deserialize, Serialize};

use crate::ids::{ChunkAddr, ChunkRun, PieceIndex};
use crate::limits::{CHUNK_BYTES, CONTENT_BYTES_MAX, PIECE_BYTES_MAX, PIECE_BYTES_MIN, PIECES_WANTED};

/// How a content of one length is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Geometry {
    /// At most [`CONTENT_BYTES_MAX`].
    length: u64,
    /// A power of two, a multiple of [`CHUNK_BYTES`].
    piece_length: u64,
    /// `length / piece_length`, rounded up.
    pieces: u32,
}

impl Geometry {
    /// The geometry of a content of `length` bytes; `None` above [`CONTENT_BYTES_MAX`].
    #[must_use]
    pub fn new(length: u64) -> Option<Self> {
        if length > CONTENT_BYTES_MAX {
            return None;
        }
        let wanted = length.div_ceil(PIECES_WANTED).next_power_of_two();
        let piece_length = wanted.clamp(PIECE_BYTES_MIN, PIECE_BYTES_MAX);
        let pieces = u32::try_from(length.div_ceil(piece_length)).ok()?;
        Some(Self { length, piece_length, pieces })
    }

    /// Bytes of the content.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Number of pieces; 0 for an empty content.
    #[must_use]
    pub const fn pieces(&self) -> u32 {
        self.pieces
    }

    /// Bytes of every piece but the last, which may be shorter.
    #[must_use]
    pub const fn piece_length(&self) -> u64 {
        self.piece_length
    }

    /// Where a piece begins, in bytes from the content's start.
    #[must_use]
    pub fn piece_offset(&self, piece: PieceIndex) -> Option<u64> {
        (piece.0 < self.pieces).then(|| u64::from(piece.0) * self.piece_length)
    }

    /// Bytes of this piece: the last one may be short.
    #[must_use]
    pub fn piece_bytes(&self, piece: PieceIndex) -> Option<u64> {
        let offset = self.piece_offset(piece)?;
        Some((self.length - offset).min(self.piece_length))
    }

    /// Number of chunks in this piece.
    #[must_use]
    pub fn chunks(&self, piece: PieceIndex) -> Option<u16> {
        u16::try_from(self.piece_bytes(piece)?.div_ceil(CHUNK_BYTES)).ok()
    }

    /// Where a chunk begins, in bytes from the content's start.
    #[must_use]
    pub fn chunk_offset(&self, at: ChunkAddr) -> Option<u64> {
        (at.chunk < self.chunks(at.piece)?)
            .then_some(self.piece_offset(at.piece)? + u64::from(at.chunk) * CHUNK_BYTES)
    }

    /// Bytes of this chunk: the last one of the content may be short.
    #[must_use]
    pub fn chunk_bytes(&self, at: ChunkAddr) -> Option<u32> {
        let offset = self.chunk_offset(at)?;
        u32::try_from((self.length - offset).min(CHUNK_BYTES)).ok()
    }

    /// Is the content at most one chunk? Then the chunk's value is the root hash, and there is no piece table.
    #[must_use]
    pub const fn is_single_chunk(&self) -> bool {
        self.length <= CHUNK_BYTES
    }

    /// The last piece: the one whose offset proves the length. `None` for an empty content.
    #[must_use]
    pub fn last_piece(&self) -> Option<PieceIndex> {
        self.pieces.checked_sub(1).map(PieceIndex)
    }

    /// All chunks of a piece.
    #[must_use]
    pub fn whole_piece(&self, piece: PieceIndex) -> Option<ChunkRun> {
        Some(ChunkRun { piece, first: 0, count: self.chunks(piece)? })
    }

    /// Is the run at least one chunk long, and does all of it exist?
    #[must_use]
    pub fn contains_run(&self, run: ChunkRun) -> bool {
        let Some(chunks) = self.chunks(run.piece) else { return false };
        run.count > 0 && u32::from(run.first) + u32::from(run.count) <= u32::from(chunks)
    }

    /// The chunk in which the byte at `offset` lies.
    #[must_use]
    pub fn locate(&self, offset: u64) -> Option<ChunkAddr> {
        if offset >= self.length {
            return None;
        }
        Some(ChunkAddr {
            piece: PieceIndex(u32::try_from(offset / self.piece_length).ok()?),
            chunk: u16::try_from(offset % self.piece_length / CHUNK_BYTES).ok()?,
        })
    }
}

/// The length is above [`CONTENT_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no content is this long")]
pub struct TooLong;

impl TryFrom<u64> for Geometry {
    type Error = TooLong;
    fn try_from(length: u64) -> Result<Self, TooLong> {
        Self::new(length).ok_or(TooLong)
    }
}

impl From<Geometry> for u64 {
    fn from(geometry: Geometry) -> Self {
        geometry.length
    }
}

#[cfg(test)]
mod tests;
