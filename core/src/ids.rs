//! Identities and handles: a newtype for every number that has a meaning.

use std::fmt;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::limits;

macro_rules! bytes32 {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        pub struct $name(pub [u8; 32]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            /// The first eight hex digits: enough to tell two apart in a log.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(&self.0[..4]))
            }
        }

        impl std::str::FromStr for $name {
            type Err = NotAnId;
            fn from_str(s: &str) -> Result<Self, NotAnId> {
                let mut bytes = [0; 32];
                hex::decode_to_slice(s, &mut bytes).map_err(|_| NotAnId)?;
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                hex::serde::serialize(self.0, s)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                hex::serde::deserialize(d).map(Self)
            }
        }
    };
}

/// The text is not 64 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id: expected 64 hex digits")]
pub struct NotAnId;

bytes32! {
    /// The BLAKE3 hash of a content's bytes: exactly what `b3sum FILE` prints.
    ContentId
}

bytes32! {
    /// 32 random bytes per process. Merely asserted (there is no key behind it yet), so bans key on (peer, address).
    PeerId
}

bytes32! {
    /// A BLAKE3 chaining value: of a chunk, of a piece; of a whole content it is the root hash, its id.
    ChainingValue
}

/// What names a swarm: the id, and the length that somebody stated for it.
///
/// Folding a piece table does not prove the length (another length cuts the same tree elsewhere), so both belong
/// together until the last piece has been verified.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
pub struct ContentKey {
    /// The hash of the bytes.
    pub id: ContentId,
    /// Number of bytes, at most [`limits::CONTENT_BYTES_MAX`].
    pub length: u64,
}

impl ContentKey {
    /// Is the length one that a content can have?
    #[must_use]
    pub const fn is_plausible(&self) -> bool {
        self.length <= limits::CONTENT_BYTES_MAX
    }
}

macro_rules! number {
    ($(#[$meta:meta])* $name:ident($int:ty)) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(Encode, Decode, Serialize, Deserialize)]
        pub struct $name(pub $int);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// A link, counted up by the driver and never reused. An unknown one is ignored.
    LinkId(u64)
}

number! {
    /// An operation that is answered later; counted up by the machine (those of commands: by whoever commands).
    OpId(u64)
}

number! {
    /// A download, numbered by whoever asks for it.
    DownloadId(u64)
}

number! {
    /// A content on one link, numbered by the side that sends it first in a `Join`. Answers quote the asker's number.
    Slot(u32)
}

number! {
    /// Index of a piece in its content.
    PieceIndex(u32)
}

/// The secret with which a reconnecting peer takes over its name and registrations.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
pub struct SessionToken(pub [u8; 16]);

impl fmt::Debug for SessionToken {
    /// Never printed: whoever has it owns the session.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken(..)")
    }
}

/// A run of consecutive chunks of one piece.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
pub struct ChunkRun {
    /// The piece.
    pub piece: PieceIndex,
    /// First chunk within the piece.
    pub first: u16,
    /// Number of chunks, at least 1.
    pub count: u16,
}

/// One chunk of a content.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
pub struct ChunkAddr {
    /// The piece.
    pub piece: PieceIndex,
    /// Index of the chunk within its piece.
    pub chunk: u16,
}
