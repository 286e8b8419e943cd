//! Messages between a peer and its tracker: requests (kinds 64 to 95, and 128 to 143 that an older tracker skips), replies
//! and pushes (kinds 96 to 127, and 144 to 159).
//!
//! Every request carries a `seq` that its reply quotes. One-shot visitors may ask without joining.

use std::net::{IpAddr, SocketAddr};

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::messages::messages;
use super::peer::Offer;
use crate::content::Kind;
use crate::ids::{ContentKey, PeerId, SessionToken};

/// One content that a peer registers.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Ad {
    /// What it is.
    pub key: ContentKey,
    /// File or folder.
    pub kind: Kind,
    /// The label it is shared under.
    pub name: String,
    /// It belongs to a shared folder: listed only on request.
    pub member: bool,
    /// How many of its pieces the peer holds; equal to their number: complete.
    pub pieces: u32,
    /// Bytes of all of it: of a file its length, of a folder those of its files; 0: not known yet.
    pub total: u64,
}

/// Which contents are asked for.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub enum Matching {
    /// All.
    All,
    /// Exactly this name.
    Name(String),
    /// Names that contain this text, letters of either case.
    Substring(String),
    /// Names that match this glob (`*`, `?`, `[…]`, `{…}`), whole.
    Glob(String),
    /// Names that begin so.
    Prefix(String),
    /// Ids that begin with these hex digits (8 to 64).
    IdPrefix(String),
}

/// Where the next page begins: after the row of this name and key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize, Deserialize)]
pub struct Cursor {
    /// Name of the last row.
    pub name: String,
    /// Key of the last row.
    pub key: ContentKey,
}

/// One content as the tracker lists it: one row per (name, key).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Row {
    /// What it is.
    pub key: ContentKey,
    /// File or folder.
    pub kind: Kind,
    /// A label; to be checked before use.
    pub name: String,
    /// Number of holders that have all of it.
    pub complete: u32,
    /// Number of holders that have a part.
    pub partial: u32,
    /// Bytes of all of it, as its holders state; 0: none of them knows yet.
    pub total: u64,
}

/// Where a peer can be dialed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize, Deserialize)]
pub struct Reach {
    /// Its address; `None`: the address at which you reach this tracker, for a peer on the tracker's own machine.
    pub ip: Option<IpAddr>,
    /// Its port.
    pub port: u16,
    /// A handshake there was answered by this very peer.
    pub dialable: bool,
}

/// One holder of a content.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct HolderRow {
    /// Who.
    pub peer: PeerId,
    /// Its name among live peers.
    pub name: String,
    /// Where.
    pub reach: Reach,
    /// Pieces held.
    pub pieces: u32,
}

/// One live peer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct PeerRow {
    /// Who.
    pub peer: PeerId,
    /// Its name among live peers.
    pub name: String,
    /// Where.
    pub reach: Reach,
}

/// Whose offers a peer accepts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub enum Accepting {
    /// Nobody's.
    #[default]
    Nobody,
    /// Everybody's.
    Everybody,
    /// Those of peers of these names, at most [`ACCEPTED_NAMES_MAX`](crate::limits::ACCEPTED_NAMES_MAX).
    Names(Vec<String>),
}

impl Accepting {
    /// Are offers of a peer of this name accepted?
    #[must_use]
    pub fn accepts(&self, name: &str) -> bool {
        match self {
            Self::Nobody => false,
            Self::Everybody => true,
            Self::Names(names) => names.iter().any(|accepted| accepted == name),
        }
    }
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub enum RefusedRequest {
    /// The name belongs to a live peer; this one is free.
    NameTaken {
        /// A free name.
        offer: String,
    },
    /// Not a name: empty, too long, or with characters that do not print.
    BadName,
    /// Only a joined peer may ask this.
    NotJoined,
    /// The registration belongs to somebody else, or to nobody.
    NotYours,
    /// A bound was reached; the text says which.
    Limit(String),
    /// The query cannot be understood; the text says why.
    BadQuery(String),
}

messages! {
    /// What a peer asks of its tracker.
    pub enum TrackerRequest {
        /// Become known under a name.
        64 max 256 Join {
            /// Quoted by the reply.
            seq: u32,
            /// The wanted name.
            name: String,
            /// The person did not choose the name: give a free one like it instead of refusing.
            any_name: bool,
            /// Port at which the peer accepts links at the address it connects from; 0: it does not.
            listen_port: u16,
            /// From an earlier join: take over that session's name and registrations.
            token: Option<SessionToken>,
        }
        /// Register contents, or update how much is held of them.
        65 max 131072 Announce {
            /// Quoted by the reply.
            seq: u32,
            /// At most [`ADS_PER_MESSAGE`](crate::limits::ADS_PER_MESSAGE).
            ads: Vec<Ad>,
        }
        /// Take back own registrations.
        66 max 16384 Withdraw {
            /// Quoted by the reply.
            seq: u32,
            /// At most [`ADS_PER_MESSAGE`](crate::limits::ADS_PER_MESSAGE).
            keys: Vec<ContentKey>,
        }
        /// List contents.
        67 max 1024 Search {
            /// Quoted by the reply.
            seq: u32,
            /// Which.
            matching: Matching,
            /// Also files that are listed only as part of a folder.
            members: bool,
            /// Continue after this row.
            after: Option<Cursor>,
            /// Rows wanted, at most [`ROWS_PER_REPLY`](crate::limits::ROWS_PER_REPLY).
            limit: u32,
        }
        /// List the holders of a content.
        68 max 128 Holders {
            /// Quoted by the reply.
            seq: u32,
            /// The content.
            key: ContentKey,
            /// Continue after this peer.
            after: Option<PeerId>,
            /// Rows wanted, at most [`ROWS_PER_REPLY`](crate::limits::ROWS_PER_REPLY).
            limit: u32,
        }
        /// List live peers.
        69 max 64 Peers {
            /// Quoted by the reply.
            seq: u32,
            /// Continue after this peer.
            after: Option<PeerId>,
            /// Rows wanted, at most [`ROWS_PER_REPLY`](crate::limits::ROWS_PER_REPLY).
            limit: u32,
        }
        /// Push the holders of this content, now a sample and then changes.
        70 max 64 Watch {
            /// The content.
            key: ContentKey,
        }
        /// Stop pushing.
        71 max 64 Unwatch {
            /// The content.
            key: ContentKey,
        }
        /// Push who joins and leaves, or stop it.
        72 max 8 WatchPeers {
            /// Push, or not.
            on: bool,
        }
        /// Take another name; registrations stay.
        73 max 256 Rename {
            /// Quoted by the reply.
            seq: u32,
            /// The wanted name.
            name: String,
        }
        /// Ask a holder that cannot be dialed to dial the asker instead.
        74 max 64 AskToDial {
            /// Who is to dial.
            peer: PeerId,
        }
        /// Leave in order: name and registrations are free at once.
        75 max 8 Leave {}
        /// Are you there?
        76 max 16 Ping {
            /// Quoted by the answer.
            nonce: u64,
        }
        /// Yes.
        77 max 16 Pong {
            /// The question's nonce.
            nonce: u64,
        }
        /// Whose offers are to be passed on to the sender; without it nobody's.
        128 max 8192 AcceptOffers {
            /// Quoted by the reply.
            seq: u32,
            /// Whose.
            from: Accepting,
        }
        /// Offer a content that the sender holds to another peer, if that accepts offers of the sender.
        129 max 512 OfferTo {
            /// Quoted by the reply.
            seq: u32,
            /// To whom.
            to: PeerId,
            /// What.
            offer: Offer,
            /// Bytes of all of it: of a file its length, of a folder those of its files.
            total: u64,
        }
        /// An own registration is to be listed under these names, too, and under no others that were said before.
        130 max 131072 AlsoNamed {
            /// The content.
            key: ContentKey,
            /// At most [`OTHER_NAMES_PER_CONTENT`](crate::limits::OTHER_NAMES_PER_CONTENT).
            names: Vec<String>,
        }
    }
}

messages! {
    /// What a tracker answers and pushes.
    pub enum TrackerMessage {
        /// The peer is known.
        96 max 256 Joined {
            /// The request's number.
            seq: u32,
            /// The name it has.
            name: String,
            /// The secret to take the session over with.
            token: SessionToken,
            /// The address the tracker sees it at, with the port it claims.
            observed: SocketAddr,
            /// A peer silent for this many milliseconds is forgotten.
            lease_ms: u32,
        }
        /// Announcement, withdrawal or renaming is done.
        97 max 16 Done {
            /// The request's number.
            seq: u32,
        }
        /// The request was refused.
        98 max 1024 Refused {
            /// The request's number.
            seq: u32,
            /// Why.
            why: RefusedRequest,
        }
        /// A page of contents.
        99 max 131072 Rows {
            /// The request's number.
            seq: u32,
            /// The rows, by name, then key.
            rows: Vec<Row>,
            /// Where the next page begins; `None`: that was all.
            next: Option<Cursor>,
        }
        /// A page of holders.
        100 max 65536 HolderRows {
            /// The request's number.
            seq: u32,
            /// The rows, by peer.
            rows: Vec<HolderRow>,
            /// Where the next page begins; `None`: that was all.
            next: Option<PeerId>,
        }
        /// A page of peers.
        101 max 65536 PeerRows {
            /// The request's number.
            seq: u32,
            /// The rows, by peer.
            rows: Vec<PeerRow>,
            /// Where the next page begins; `None`: that was all.
            next: Option<PeerId>,
        }
        /// Push of a watch: holders that came or changed, and those that left.
        102 max 16384 HolderChange {
            /// The content.
            key: ContentKey,
            /// New or changed holders, at most [`HOLDER_SAMPLE`](crate::limits::HOLDER_SAMPLE).
            now: Vec<HolderRow>,
            /// Holders that are none any more.
            gone: Vec<PeerId>,
        }
        /// Push of a watch on the list of peers.
        103 max 65536 PeerChange {
            /// Peers that joined, or took another name.
            joined: Vec<PeerRow>,
            /// Peers that left, with the name they had.
            left: Vec<(PeerId, String)>,
        }
        /// Please dial this peer: it wants something you hold and cannot reach you.
        104 max 512 PleaseDial {
            /// Who asks, and where it can be dialed.
            row: PeerRow,
        }
        /// Are you there?
        105 max 16 Ping {
            /// Quoted by the answer.
            nonce: u64,
        }
        /// Yes.
        106 max 16 Pong {
            /// The question's nonce.
            nonce: u64,
        }
        /// A peer whose offers are accepted offers a content.
        144 max 1024 Offered {
            /// Who, and where it can be dialed.
            from: PeerRow,
            /// What; its name is to be checked before use.
            offer: Offer,
            /// Bytes of all of it, as the peer states.
            total: u64,
        }
    }
}
