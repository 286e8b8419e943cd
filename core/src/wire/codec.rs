//! The one place that knows bincode.
//!
//! Bodies are bincode's *legacy* encoding (that of bincode 1.3): little-endian integers of fixed width, `u64`
//! lengths, `u32` enum variants; `docs/protocol.md` spells it out in bytes. bincode is pinned at 2.0.1: the crate has
//! no maintainers any more (RUSTSEC-2025-0141), and 3.0.0 on the registry is a tombstone. To replace it is to rewrite
//! this file and to keep the golden vectors.
//!
//! Decoding is safe against anybody: it never panics, uses up the body to its last byte, and takes memory in proportion
//! to the body's length, whatever lengths the body claims (`tests/wire_memory.rs` measures it).

use bincode::config::{self, Configuration, Fixint, Limit, LittleEndian};
use bincode::{Decode, Encode};

/// Why a body is not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// This family has no such kind.
    #[error("unknown message kind {kind}")]
    UnknownKind {
        /// The kind.
        kind: u8,
    },
    /// The body is over its kind's cap.
    #[error("message of kind {kind} has {bytes} bytes, at most {max} are allowed")]
    TooLong {
        /// The kind.
        kind: u8,
        /// The body's length.
        bytes: usize,
        /// The cap.
        max: u32,
    },
    /// The bytes are not of this type: cut short, a number out of range, text that is not UTF-8, a claimed length that
    /// the body cannot hold.
    #[error("message does not decode")]
    Malformed,
    /// Bytes are left over.
    #[error("message has {left} bytes too many")]
    Trailing {
        /// How many.
        left: usize,
    },
}

/// Appends `value` to `out`.
pub fn encode<T: Encode>(value: &T, out: &mut Vec<u8>) {
    // Writing to memory does not fail, and no message holds a type whose encoding can (locks, system times).
    let written = bincode::encode_into_std_write(value, out, config::legacy());
    debug_assert!(written.is_ok(), "encoding to memory failed: {written:?}");
}

/// Reads a value that is exactly `body`.
///
/// # Errors
/// [`DecodeError::Malformed`] or [`DecodeError::Trailing`].
pub fn decode<T: Decode<()>>(body: &[u8]) -> Result<T, DecodeError> {
    // bincode counts a claimed sequence by its elements' size in memory before it allocates. In memory our elements
    // take less than twice their shortest encoding; the limit is a constant of its type, so there are classes of it.
    let honest = 2 * body.len() + 128;
    if honest <= KIB {
        within::<KIB, T>(body)
    } else if honest <= 4 * KIB {
        within::<{ 4 * KIB }, T>(body)
    } else if honest <= 16 * KIB {
        within::<{ 16 * KIB }, T>(body)
    } else if honest <= 64 * KIB {
        within::<{ 64 * KIB }, T>(body)
    } else if honest <= 256 * KIB {
        within::<{ 256 * KIB }, T>(body)
    } else {
        within::<{ 1024 * KIB }, T>(body)
    }
}

const KIB: usize = 1024;

fn within<const LIMIT: usize, T: Decode<()>>(body: &[u8]) -> Result<T, DecodeError> {
    const fn limited<const LIMIT: usize>() -> Configuration<LittleEndian, Fixint, Limit<LIMIT>> {
        config::legacy().with_limit::<LIMIT>()
    }
    let (value, used) =
        bincode::decode_from_slice(body, limited::<LIMIT>()).map_err(|_| DecodeError::Malformed)?;
    match body.len() - used {
        0 => Ok(value),
        left => Err(DecodeError::Trailing { left }),
    }
}

#[cfg(test)]
mod tests;
