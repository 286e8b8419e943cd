//! Messages between two peers: kinds 1 to 63, and 160 to 175 that others may skip.
//!
//! One link carries all contents of the two. Each side numbers the contents it takes part in by a [`Slot`] of its own
//! and says so in `Join`. What tells of one's own state (`Join`, `Have`, `Leave`, `Retract` …) and what asks
//! (`Request` …) uses the sender's slot; what answers (a chunk, `Refuse`, `Table`) quotes the asker's, so that one
//! may ask before the other side's `Join` has arrived.

use std::net::SocketAddr;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::messages::messages;
use crate::content::Kind;
use crate::ids::{ChainingValue, ChunkRun, ContentKey, PeerId, PieceIndex, Slot};

/// Which request is meant by an answer or a cancellation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize, Deserialize)]
pub enum RequestRef {
    /// All that was asked of this piece.
    Piece(PieceIndex),
    /// The choice of this number.
    Choice(u32),
}

/// Why a request is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub enum Refusal {
    /// No upload slot or no room in the queue: ask again after this many milliseconds, or ask another.
    Busy {
        /// Milliseconds.
        retry_ms: u32,
    },
    /// The piece (of a choice: none of its pieces) is not held.
    Lacks,
}

/// How much of a content the sender of a `Join` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub enum Holding {
    /// No piece.
    Nothing,
    /// Every piece; for a folder also every member.
    Everything,
    /// What the `Bitfield`s that follow say.
    Some,
    /// No piece, but the piece table.
    Table,
}

/// A holder as peers tell each other of it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct KnownPeer {
    /// Who it is.
    pub peer: PeerId,
    /// Where it can be dialed.
    pub addr: SocketAddr,
}

/// A content as a peer offers it when it is asked by name.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Offer {
    /// What it is.
    pub key: ContentKey,
    /// File or folder.
    pub kind: Kind,
    /// The label it is shared under; to be checked before use.
    pub name: String,
}

messages! {
    /// What one peer says to another.
    pub enum PeerMessage {
        /// First message on every link: how the sender is called and where it accepts links.
        1 max 128 Hello {
            /// Name the sender joined its tracker with; may be empty.
            name: String,
            /// Port it listens on at the address it dials from; 0 if it does not listen.
            listen_port: u16,
        }
        /// The sender takes part in this swarm; it may serve, and it may ask.
        2 max 64 Join {
            /// The sender's number for this content.
            slot: Slot,
            /// The content.
            key: ContentKey,
            /// What it holds.
            holding: Holding,
        }
        /// The sender's pieces `first ..`, one bit each, lowest bit first.
        3 max 32800 Bitfield {
            /// The sender's number for the content.
            slot: Slot,
            /// Index of the first bit's piece, a multiple of eight.
            first: u32,
            /// The bits; those past the last piece are zero.
            bits: Vec<u8>,
        }
        /// The sender holds these pieces, too.
        4 max 8192 Have {
            /// The sender's number for the content.
            slot: Slot,
            /// Newly verified pieces.
            pieces: Vec<PieceIndex>,
        }
        /// The sender takes no part in this swarm any more; what was asked of it is void.
        5 max 16 Leave {
            /// The sender's number for the content.
            slot: Slot,
        }
        /// The sender's bytes of these pieces were not what it had announced: it takes back what it sent of them.
        6 max 8192 Retract {
            /// The sender's number for the content.
            slot: Slot,
            /// The pieces; none means all.
            pieces: Vec<PieceIndex>,
        }
        /// Asks for the chunks of a run, in order.
        7 max 32 Request {
            /// The sender's number for the content.
            slot: Slot,
            /// What is wanted.
            run: ChunkRun,
        }
        /// Asks for one whole piece of these, whichever the holder has given away least ("first copies first").
        8 max 512 RequestAny {
            /// The sender's number for the content.
            slot: Slot,
            /// Number of this choice, unique among the sender's open ones on this link.
            choice: u32,
            /// Pieces to choose from; disjoint from all other requests of the sender.
            pieces: Vec<PieceIndex>,
        }
        /// Takes a request back; chunks already under way are skipped by the receiver.
        9 max 16 Cancel {
            /// The sender's number for the content.
            slot: Slot,
            /// Which request.
            which: RequestRef,
        }
        /// A request is not served.
        10 max 24 Refuse {
            /// The asker's number for the content.
            slot: Slot,
            /// Which request.
            which: RequestRef,
            /// Why.
            why: Refusal,
        }
        /// Asks for a slice of the piece table.
        11 max 16 RequestTable {
            /// The sender's number for the content.
            slot: Slot,
            /// First piece of the slice.
            first: u32,
            /// Number of pieces, at most [`TABLE_SLICE_PIECES`](crate::limits::TABLE_SLICE_PIECES).
            count: u32,
        }
        /// A slice of the piece table; empty: the sender does not have it.
        12 max 65600 Table {
            /// The asker's number for the content.
            slot: Slot,
            /// First piece of the slice.
            first: u32,
            /// Chaining values of the pieces.
            values: Vec<ChainingValue>,
        }
        /// Holders that the sender knows of this swarm.
        13 max 4096 Holders {
            /// The sender's number for the content.
            slot: Slot,
            /// At most [`HOLDER_SAMPLE`](crate::limits::HOLDER_SAMPLE).
            peers: Vec<KnownPeer>,
        }
        /// Asks whether the other side has something of this name, or of this id (64 hex digits, or a prefix).
        14 max 600 Find {
            /// Quoted by the answer.
            seq: u32,
            /// Name or id.
            what: String,
        }
        /// What the sender has of what was asked: nothing means "have not".
        15 max 16384 Found {
            /// The question's number.
            seq: u32,
            /// At most 32 offers.
            offers: Vec<Offer>,
        }
        /// Answer to a `Join`: the sender takes no part in this swarm; what was asked of it there is void.
        18 max 4096 Absent {
            /// The number of the one who joined.
            slot: Slot,
            /// Where there are too many: others that take part, at most [`HOLDER_SAMPLE`](crate::limits::HOLDER_SAMPLE).
            peers: Vec<KnownPeer>,
        }
        /// What the sender is asked for now leaves at once.
        160 max 8 Spare {
            /// Chunks that are leaving already: 0 says that nothing is.
            ahead: u16,
        }
        /// Are you there?
        16 max 16 Ping {
            /// Quoted by the answer.
            nonce: u64,
        }
        /// Yes.
        17 max 16 Pong {
            /// The question's nonce.
            nonce: u64,
        }
    }
}
