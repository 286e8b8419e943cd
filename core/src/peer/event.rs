//! What the peer machine tells the person, or the program around it.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::content::{Listing, ListingFault};
use crate::ids::{ContentKey, DownloadId, OpId, PeerId, PieceIndex};
use crate::wire::peer::Offer;
use crate::wire::tracker::{PeerRow, RefusedRequest};

use super::{Answer, Misbehaviour, StorageFault};

/// What a person, or the program around the peer, may want to know. Peers appear by id;
/// [`HolderStatus`](super::HolderStatus) and the rows have their names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerEvent {
    /// The tracker knows us, and everything shared is registered.
    Joined {
        /// The tracker.
        tracker: SocketAddr,
        /// Our name there.
        name: String,
        /// The address the tracker sees us at.
        observed: SocketAddr,
        /// Number of registered contents.
        contents: u32,
    },
    /// The tracker refuses our name; this one is free. The session is not opened until a `Rename` or `JoinTracker` command.
    NameTaken {
        /// A free name.
        offer: String,
    },
    /// The tracker does not let us join. Told once, however often it is tried.
    JoinRefused {
        /// The tracker.
        tracker: SocketAddr,
        /// Why. After `BadName` it is not tried again until a `Rename` or `JoinTracker` command.
        why: RefusedRequest,
    },
    /// The tracker does not register what we share. It is told again from time to time.
    AnnounceRefused {
        /// Why.
        why: RefusedRequest,
        /// Number of contents that it does not list.
        contents: u32,
    },
    /// The tracker cannot be reached; it is tried again by itself.
    TrackerLost {
        /// The tracker.
        tracker: SocketAddr,
    },
    /// Everything shared is registered again (after a change).
    Registered {
        /// Number of registered contents.
        contents: u32,
    },
    /// An answer to a question.
    Answer {
        /// The question's number.
        op: OpId,
        /// What came of it.
        answer: Answer,
    },
    /// Peers joined or left the tracker.
    PeersChanged {
        /// Came, or took another name.
        joined: Vec<PeerRow>,
        /// Left, with the name they had.
        left: Vec<(PeerId, String)>,
    },
    /// The listing of a folder was read: what is in it, chosen or not.
    Listed {
        /// The download.
        download: DownloadId,
        /// What is in the folder.
        listing: Arc<Listing>,
    },
    /// A peer whose offers are accepted offers a content that is not here. To accept it is to fetch it.
    Offered {
        /// Who.
        peer: PeerId,
        /// How it is called among live peers.
        name: String,
        /// Where it can be dialed, if it listens.
        addr: Option<SocketAddr>,
        /// What; its name is to be checked before use.
        offer: Offer,
        /// Bytes of all of it, as the peer states.
        total: u64,
    },
    /// A piece is verified and held.
    PieceVerified {
        /// The download.
        download: DownloadId,
        /// The content (of a folder: the member's).
        key: ContentKey,
        /// Which piece.
        piece: PieceIndex,
        /// Who sent (the last chunk of) it.
        from: PeerId,
    },
    /// The download cannot go on by itself right now.
    Waiting {
        /// Which.
        download: DownloadId,
        /// Why.
        reason: WaitReason,
        /// Missing pieces as inclusive ranges (of a folder: of its listing, or empty).
        missing: Vec<(PieceIndex, PieceIndex)>,
    },
    /// It goes on.
    Resumed {
        /// Which.
        download: DownloadId,
    },
    /// All of it is verified and stands under its final name.
    Completed {
        /// Which.
        download: DownloadId,
    },
    /// It cannot be done.
    Failed {
        /// Which.
        download: DownloadId,
        /// Why.
        reason: FailReason,
    },
    /// A remote was at fault.
    Misbehaved {
        /// Who.
        peer: PeerId,
        /// Where.
        addr: SocketAddr,
        /// How.
        what: Misbehaviour,
        /// The content concerned, if any.
        key: Option<ContentKey>,
        /// It is banned altogether (else: dropped for this content or this link).
        banned: bool,
    },
    /// A holder took back what it had sent and holds the content no longer.
    Retracted {
        /// Who.
        peer: PeerId,
        /// What.
        key: ContentKey,
    },
    /// We withdrew a content whose file changed. It is to be hashed anew by the driver.
    Withdrawn {
        /// What.
        key: ContentKey,
    },
    /// Somebody began to fetch a content from us; a folder, if it takes part in one that the content is a member of.
    UploadBegan {
        /// Who.
        peer: PeerId,
        /// What.
        key: ContentKey,
    },
    /// Somebody ended fetching from us.
    UploadEnded {
        /// Who.
        peer: PeerId,
        /// What.
        key: ContentKey,
        /// Payload bytes sent; of a folder those of its members, too.
        bytes: u64,
        /// The remote has all of it now.
        complete: bool,
    },
    /// Left in order; no link is left.
    Left,
}

/// Why a download waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WaitReason {
    /// No holder is known or reachable.
    NoHolder,
    /// The holders in reach together lack pieces.
    MissingPieces,
    /// Those that may have them have been too busy for long.
    Busy,
    /// The disk.
    Storage(StorageFault),
    /// The person stopped it.
    Stopped,
}

/// Why a download failed for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailReason {
    /// The place cannot be used.
    Storage(StorageFault),
    /// The key is none that a content can have, or its pieces do not fit its id or length.
    NotAContent,
    /// The folder's listing has a path that is refused, or is no listing.
    BadListing(ListingFault),
    /// A bound was reached.
    TooMany,
    /// No file of the folder is chosen: nothing was put in place.
    NothingChosen,
}
