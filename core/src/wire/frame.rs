//! Frames: 16 bytes of header, then as many bytes as it says.
//!
//! ```text
//!  0        4      5       6         8        12       16
//!  | len    | kind | flags | chunk   | slot   | piece  | len bytes …
//!    u32 LE   u8     u8      u16 LE    u32 LE   u32 LE
//! ```
//!
//! Kind 0 is a chunk: raw payload, addressed by slot, piece and chunk. Every other kind is a control message, whose
//! address fields are zero. `flags` is zero. Lengths are checked here, before anything is allocated; a control
//! message's own cap by [`handling`].

use super::WireMessage;
use crate::ids::{ChunkAddr, PieceIndex, Slot};
use crate::limits::{CHUNK_BYTES, CONTROL_FRAME_BYTES_MAX};

/// Kind of a frame that carries a chunk.
pub const KIND_CHUNK: u8 = 0;
/// Unknown kinds from here up are skipped; unknown ones below are the sender's fault.
pub const KIND_SKIPPED_FROM: u8 = 128;

/// What a frame is, read from its first 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// A control message.
    Control {
        /// Its kind, never [`KIND_CHUNK`].
        kind: u8,
        /// Length of its body, at most [`CONTROL_FRAME_BYTES_MAX`].
        bytes: u32,
    },
    /// A chunk's payload.
    Chunk {
        /// The asker's number for the content.
        slot: Slot,
        /// Which chunk.
        at: ChunkAddr,
        /// Length of the payload, from 1 to [`CHUNK_BYTES`].
        bytes: u32,
    },
}

/// Why 16 bytes are not a frame's header, or not one that is allowed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameFault {
    /// The frame is longer than its kind may be.
    #[error("frame of kind {kind} has {bytes} bytes, at most {max} are allowed")]
    TooLong {
        /// The kind.
        kind: u8,
        /// Stated length.
        bytes: u32,
        /// The cap.
        max: u32,
    },
    /// A chunk without payload.
    #[error("chunk frame without payload")]
    EmptyChunk,
    /// A field that is zero in this kind of frame is not.
    #[error("frame of kind {kind} with a reserved field that is not zero")]
    Reserved {
        /// The kind.
        kind: u8,
    },
    /// A kind below 128 that is not known on this link.
    #[error("unknown frame kind {kind}")]
    UnknownKind {
        /// The kind.
        kind: u8,
    },
}

impl Header {
    /// Length of every header.
    pub const BYTES: usize = 16;

    /// The header as it goes over the wire.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let (bytes, kind, chunk, slot, piece) = match *self {
            Self::Control { kind, bytes } => (bytes, kind, 0, 0, 0),
            Self::Chunk { slot, at, bytes } => (bytes, KIND_CHUNK, at.chunk, slot.0, at.piece.0),
        };
        let mut out = [0; Self::BYTES];
        out[..4].copy_from_slice(&bytes.to_le_bytes());
        out[4] = kind;
        out[6..8].copy_from_slice(&chunk.to_le_bytes());
        out[8..12].copy_from_slice(&slot.to_le_bytes());
        out[12..].copy_from_slice(&piece.to_le_bytes());
        out
    }

    /// Reads a header and checks its length against the caps that hold for every link.
    ///
    /// # Errors
    /// A length over its cap, an empty chunk, or reserved fields that are not zero. (Kinds from 128 up may use the
    /// reserved fields for what is not known yet.)
    pub fn decode(header: &[u8; Self::BYTES]) -> Result<Self, FrameFault> {
        let [l0, l1, l2, l3, kind, flags, c0, c1, s0, s1, s2, s3, p0, p1, p2, p3] = *header;
        let bytes = u32::from_le_bytes([l0, l1, l2, l3]);
        let chunk = u16::from_le_bytes([c0, c1]);
        let slot = u32::from_le_bytes([s0, s1, s2, s3]);
        let piece = u32::from_le_bytes([p0, p1, p2, p3]);
        let max = if kind == KIND_CHUNK { CHUNK_BYTES as u32 } else { CONTROL_FRAME_BYTES_MAX };
        if bytes > max {
            return Err(FrameFault::TooLong { kind, bytes, max });
        }
        if kind == KIND_CHUNK {
            if flags != 0 {
                return Err(FrameFault::Reserved { kind });
            }
            if bytes == 0 {
                return Err(FrameFault::EmptyChunk);
            }
            return Ok(Self::Chunk {
                slot: Slot(slot),
                at: ChunkAddr { piece: PieceIndex(piece), chunk },
                bytes,
            });
        }
        if kind < KIND_SKIPPED_FROM && (flags != 0 || chunk != 0 || slot != 0 || piece != 0) {
            return Err(FrameFault::Reserved { kind });
        }
        Ok(Self::Control { kind, bytes })
    }

    /// Bytes that follow the header.
    #[must_use]
    pub const fn body_bytes(&self) -> u32 {
        match *self {
            Self::Control { bytes, .. } | Self::Chunk { bytes, .. } => bytes,
        }
    }
}

/// What a reader does with the body of a control frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handling {
    /// Read it and hand it to [`WireMessage::decode_body`].
    Decode,
    /// Skip it: a kind of a later release.
    Skip,
}

/// Decides over a control frame by its header alone, before room is made for its body, on a link that speaks `M`.
///
/// # Errors
/// A body over its kind's cap, or an unknown kind below [`KIND_SKIPPED_FROM`].
pub fn handling<M: WireMessage>(kind: u8, bytes: u32) -> Result<Handling, FrameFault> {
    match M::body_bytes_max(kind) {
        Some(max) if bytes > max => Err(FrameFault::TooLong { kind, bytes, max }),
        Some(_) => Ok(Handling::Decode),
        None if kind >= KIND_SKIPPED_FROM => Ok(Handling::Skip),
        None => Err(FrameFault::UnknownKind { kind }),
    }
}

/// Appends a whole control frame, header and body, to `out`.
pub fn encode_message<M: WireMessage>(msg: &M, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + Header::BYTES, 0);
    msg.encode_body(out);
    let kind = msg.kind();
    // The machines keep the bounds from which the caps are made, so the length fits.
    let bytes = (out.len() - start - Header::BYTES) as u32;
    debug_assert!(M::body_bytes_max(kind).is_some_and(|max| bytes <= max), "{} is over its cap", msg.name());
    out[start..start + Header::BYTES].copy_from_slice(&Header::Control { kind, bytes }.encode());
}

#[cfg(test)]
mod tests;
