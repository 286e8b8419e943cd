//! The handshake: the first 64 bytes in each direction. Specified by hand and frozen: it is what lets everything
//! after it change.
//!
//! ```text
//!  0         8         10      11         16         24        56         64
//!  | magic   | version | seeks | reserved | features | peer id | reserved |
//!    8 bytes   u16 LE    u8      5 zeros    u64 LE     32 bytes  8 zeros
//! ```
//!
//! The dialer sends first and says in `seeks` what it looks for; the accepter answers with the same layout, repeating
//! `seeks`, or closes if it is not that. Reserved bytes are sent as zeros and not looked at. Feature bits that both
//! sides have set hold for the link.

use crate::ids::PeerId;

/// The first eight bytes each way.
pub const MAGIC: [u8; 8] = *b"potluck\n";
/// The version spoken here. Different versions do not understand each other.
pub const VERSION: u16 = 1;
/// Feature bits that this side sets: none are defined yet.
pub const FEATURES: u64 = 0;

/// What the dialer looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Seeks {
    /// A peer: the link carries [`PeerMessage`](super::peer::PeerMessage)s and chunks.
    Peer = 0,
    /// A tracker: the link carries [`TrackerRequest`](super::tracker::TrackerRequest)s and
    /// [`TrackerMessage`](super::tracker::TrackerMessage)s.
    Tracker = 1,
    /// Only the answer to this handshake: who is there? The connection is closed after it.
    Probe = 2,
}

/// Who is at one end of a connection, and what it can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// Its protocol version.
    pub version: u16,
    /// Its feature bits.
    pub features: u64,
    /// Its identity; of a tracker, an identity as well.
    pub peer: PeerId,
    /// What the dialer looks for.
    pub seeks: Seeks,
}

/// Why 64 bytes are not the handshake of somebody to talk to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeFault {
    /// The magic is missing.
    #[error("the other side does not speak potluck")]
    NotPotluck,
    /// It speaks another version.
    #[error("the other side speaks version {theirs} of the protocol, this side version {VERSION}")]
    Version {
        /// Its version.
        theirs: u16,
    },
    /// It looks for something unknown.
    #[error("the other side seeks something unknown ({0})")]
    Seeks(u8),
}

impl Handshake {
    /// Length of a handshake.
    pub const BYTES: usize = 64;

    /// This release's handshake.
    #[must_use]
    pub const fn new(peer: PeerId, seeks: Seeks) -> Self {
        Self { version: VERSION, features: FEATURES, peer, seeks }
    }

    /// The handshake as it goes over the wire.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        out[..8].copy_from_slice(&MAGIC);
        out[8..10].copy_from_slice(&self.version.to_le_bytes());
        out[10] = self.seeks as u8;
        out[16..24].copy_from_slice(&self.features.to_le_bytes());
        out[24..56].copy_from_slice(&self.peer.0);
        out
    }

    /// Reads a handshake of this version.
    ///
    /// # Errors
    /// Another magic, another version, or something unknown that is sought.
    pub fn decode(bytes: &[u8; Self::BYTES]) -> Result<Self, HandshakeFault> {
        if bytes[..8] != MAGIC {
            return Err(HandshakeFault::NotPotluck);
        }
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if version != VERSION {
            return Err(HandshakeFault::Version { theirs: version });
        }
        let seeks = match bytes[10] {
            0 => Seeks::Peer,
            1 => Seeks::Tracker,
            2 => Seeks::Probe,
            other => return Err(HandshakeFault::Seeks(other)),
        };
        let mut features = [0; 8];
        features.copy_from_slice(&bytes[16..24]);
        let mut peer = [0; 32];
        peer.copy_from_slice(&bytes[24..56]);
        Ok(Self { version, features: u64::from_le_bytes(features), peer: PeerId(peer), seeks })
    }
}

#[cfg(test)]
mod tests;
