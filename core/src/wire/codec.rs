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
    // take at most four times their shortest encoding (a short text: three words for eight bytes); the limit is a
    // constant of its type, so there are classes of it, each twice the one before.
    let honest = 4 * body.len() + 128;
    match honest.div_ceil(KIB) {
        0..=1 => within::<KIB, T>(body),
        2 => within::<{ 2 * KIB }, T>(body),
        3..=4 => within::<{ 4 * KIB }, T>(body),
        5..=8 => within::<{ 8 * KIB }, T>(body),
        9..=16 => within::<{ 16 * KIB }, T>(body),
        17..=32 => within::<{ 32 * KIB }, T>(body),
        33..=64 => within::<{ 64 * KIB }, T>(body),
        65..=128 => within::<{ 128 * KIB }, T>(body),
        129..=256 => within::<{ 256 * KIB }, T>(body),
        257..=512 => within::<{ 512 * KIB }, T>(body),
        _ => within::<{ 1024 * KIB }, T>(body),
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
