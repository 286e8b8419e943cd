//! What goes into the peer machine and what comes out of it.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::content::{Kind, Listing, ListingFault, PieceSet, PieceTable, Selection};
use crate::ids::{ChainingValue, ChunkAddr, ChunkRun, ContentKey, DownloadId, LinkId, OpId, PeerId, Slot};
use crate::seed::Seed;
use crate::wire::peer::{Offer, PeerMessage};
use crate::wire::tracker::{
    Accepting, HolderRow, Matching, PeerRow, RefusedRequest, Row, TrackerMessage, TrackerRequest,
};

use super::PeerEvent;

/// What a peer is told once, at its start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PeerConfig {
    /// Who it is.
    pub peer: PeerId,
    /// Name to join trackers with.
    pub name: String,
    /// Nobody chose the name: take a free one like it if it is taken.
    pub any_name: bool,
    /// Port at which the driver accepts links; 0: none.
    pub listen_port: u16,
    /// Everything random follows from it.
    pub seed: Seed,
    /// Bytes that may be under way to this peer, over all links: its buffer budget.
    pub inflight_bytes_max: u64,
    /// Links served at the same time; others hear "busy".
    pub upload_links_max: u32,
    /// Cap on bytes sent per second; 0: none.
    pub up_rate_max: u64,
    /// Cap on bytes asked for per second; 0: none.
    pub down_rate_max: u64,
}

/// What the far end of a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Another peer.
    Peer,
    /// The tracker.
    Tracker,
}

/// Why a link ended, or is to be ended. Goes over no wire; logs and tests read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CloseReason {
    /// The far end closed it in order, or this side is done with it.
    Done,
    /// The connection broke.
    Broken,
    /// Nothing was heard for too long.
    Silent,
    /// It said what the protocol does not allow.
    Misbehaved(Misbehaviour),
    /// The same two peers have another link.
    Duplicate,
    /// It is this peer itself.
    Myself,
    /// It is banned.
    Banned,
    /// A bound on the number of links was reached.
    Full,
    /// It did not take what was sent to it.
    Overflow,
    /// This peer leaves.
    Leaving,
}

/// The ways in which a remote can be at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Misbehaviour {
    /// Bytes that are no frame, or a message that does not decode.
    Garbage,
    /// A message that its place in the conversation does not allow.
    OutOfPlace,
    /// A piece, slot or range that does not exist.
    OutOfRange,
    /// More than the stated bounds allow.
    TooMuch,
    /// Bytes whose hash is wrong, not retracted.
    BadPiece,
    /// A piece table, or a length, that does not fit the id.
    BadTable,
}

/// Why a dial failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DialError {
    /// Nobody listens there.
    Refused,
    /// No answer in time.
    TimedOut,
    /// There is no way there.
    Unreachable,
    /// Somebody answered who does not speak this protocol.
    NotPotluck,
    /// As many files are open as may be, and a connection is one. Works again when some are closed.
    TooManyOpen,
}

/// Where the driver is to put a download. The driver maps it to a path; members of a folder lie below their folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Place {
    /// The content of a download: a file at its target, or a folder's listing (kept inside the folder's staging place).
    Root(DownloadId),
    /// Entry number `entry` of a folder's listing.
    Member {
        /// The folder's download.
        download: DownloadId,
        /// Index into the listing's entries.
        entry: u32,
    },
}

/// What can be wrong with a disk, or with what is on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum StorageFault {
    /// No space left (or over quota). Goes on when there is space again.
    Full,
    /// Reading, writing or syncing failed.
    Io,
    /// Not allowed.
    Denied,
    /// Another process downloads to this target.
    Locked,
    /// Something else stands under the target's name; it is not touched.
    Occupied,
    /// The path cannot exist there (a file where a folder should be, a name that the file system cannot hold).
    BadPath,
    /// Somebody else cut, extended, moved or removed what is there of the download. All of it is looked at anew.
    Altered,
    /// As many files are open as may be. Goes on when some are closed.
    TooManyOpen,
    /// No file may grow so large: a limit of the person's, or of the file system. Goes on when it is raised.
    TooLarge,
}

/// Why an expected chunk did not become bytes on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChunkFault {
    /// The frame's length is not the chunk's.
    WrongLength,
    /// It could not be written.
    Storage(StorageFault),
}

/// What became of an outgoing chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SendResult {
    /// The link's socket took all of it.
    Sent,
    /// The file behind it was no longer what was shared: padding was sent, and the content is not to be served any more.
    SourceChanged,
}

/// What was found at the place of a download.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Opening {
    /// The target stands there already, and is right. Nothing is to be done but to serve it.
    Finished {
        /// Its piece table; `None` for a content of at most one piece.
        table: Option<Arc<PieceTable>>,
    },
    /// The part file is open. These pieces of it are right.
    Part {
        /// The piece table, from the sidecar or as given; `None` for a content of at most one piece.
        table: Option<Arc<PieceTable>>,
        /// Verified pieces.
        have: PieceSet,
    },
    /// There is no sidecar to take a piece table from; open it again with one.
    NeedsTable,
}

/// How a download is to be done. The default: all of it, from everybody, in whichever order is best.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FetchOptions {
    /// Fetch only from peers of these names; empty: from all.
    pub only_from: Vec<String>,
    /// Fetch from at most so many peers at a time; 0: from as many as there are.
    pub holders_max: u32,
    /// Fetch from the beginning to the end, for somebody who reads along. Costs a swarm its variety.
    pub in_order: bool,
    /// Of a folder, fetch only these files. The peer does not become a holder of the folder then, only of the files.
    pub select: Selection,
}

/// What the person, or the program around the peer, wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Keep a session with the tracker at this address. Replaces an earlier one. Downloads that `LeaveTracker` paused go on.
    JoinTracker {
        /// Where it listens.
        addr: SocketAddr,
    },
    /// End the session, close every link, pause downloads; no link is accepted until a tracker is joined. Shares stay known.
    LeaveTracker,
    /// Offer a content; the driver can read it at any time.
    Share {
        /// What it is.
        key: ContentKey,
        /// File or folder (then `key` is that of its listing).
        kind: Kind,
        /// Its label.
        name: String,
        /// It is listed as part of a folder.
        member: bool,
        /// Bytes of all of it: of a folder, those of its files; of a file, its length.
        total: u64,
        /// Its piece table; `None` for at most one piece.
        table: Option<Arc<PieceTable>>,
    },
    /// Offer it no longer.
    Unshare {
        /// What.
        key: ContentKey,
    },
    /// Download a content (a folder with all its members).
    Fetch {
        /// Number for events and for the driver's places.
        download: DownloadId,
        /// What it is.
        key: ContentKey,
        /// File or folder.
        kind: Kind,
        /// Its label.
        name: String,
        /// Where holders may be found, besides those the tracker knows.
        peers: Vec<SocketAddr>,
        /// From whom, in which order, and what of it.
        how: FetchOptions,
    },
    /// Pause a download; what is verified stays.
    Stop {
        /// Which.
        download: DownloadId,
    },
    /// Go on with a paused download.
    Resume {
        /// Which.
        download: DownloadId,
    },
    /// Ask the tracker (and, if there is none in reach, the peers that are linked or known).
    Ask {
        /// Quoted by [`PeerEvent::Answer`].
        op: OpId,
        /// What.
        question: Question,
    },
    /// Be told of peers that join and leave ([`PeerEvent::PeersChanged`]).
    WatchPeers {
        /// Or be told no longer.
        on: bool,
    },
    /// Whose offers are told ([`PeerEvent::Offered`]). At first nobody's.
    AcceptOffers {
        /// Whose.
        from: Accepting,
    },
    /// Cap the rates, in bytes per second; 0: none.
    LimitRates {
        /// Sent.
        up: u64,
        /// Asked for.
        down: u64,
    },
    /// Leave in order: tell the tracker and the links, close them. [`PeerEvent::Left`] follows.
    Leave,
    /// A content that is offered goes by these names, too, and by no others that were said before.
    AlsoNamed {
        /// What.
        key: ContentKey,
        /// Its other names; what exceeds [`OTHER_NAMES_PER_CONTENT`](crate::limits::OTHER_NAMES_PER_CONTENT) is left out.
        names: Vec<String>,
    },
}

/// A question to the tracker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    /// Contents, all pages.
    Contents {
        /// Which.
        matching: Matching,
        /// Also members of folders.
        members: bool,
        /// Rows wanted at most, over all pages.
        limit: u32,
    },
    /// Holders of a content, all pages.
    Holders {
        /// Which.
        key: ContentKey,
    },
    /// Live peers, all pages.
    Peers,
    /// Another name for this peer.
    Rename {
        /// The wanted name.
        name: String,
    },
    /// Offer a content that is shared here to another peer. Answered once that peer was told, or why it was not.
    OfferTo {
        /// To whom.
        to: PeerId,
        /// What.
        offer: Offer,
        /// Bytes of all of it.
        total: u64,
    },
    /// Answered once everything shared so far is registered, or refused.
    Synced,
}

/// What a question came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Contents that the tracker lists.
    Contents(Vec<Row>),
    /// Contents that peers offered while no tracker was in reach.
    Offers {
        /// Who has what.
        offers: Vec<(PeerId, Offer)>,
        /// Every peer that answered; who offers nothing has nothing.
        answered: Vec<PeerId>,
    },
    /// Holders, with addresses that can be dialed from here.
    Holders(Vec<(HolderRow, SocketAddr)>),
    /// Peers, with addresses that can be dialed from here.
    Peers(Vec<(PeerRow, SocketAddr)>),
    /// It is done.
    Done,
    /// The tracker refused.
    Refused(RefusedRequest),
    /// No tracker answered in time.
    Unreachable,
}

/// Everything that can happen to a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerInput {
    /// The person wants something.
    Command(Command),
    /// A link is up, both handshakes are done.
    LinkUp {
        /// Its number from now on.
        link: LinkId,
        /// The dial it answers; `None`: the far end dialed.
        op: Option<OpId>,
        /// What the far end is.
        role: Role,
        /// Who the far end says it is.
        peer: PeerId,
        /// Where the far end is.
        addr: SocketAddr,
    },
    /// A dial failed.
    DialFailed {
        /// Which.
        op: OpId,
        /// Why.
        error: DialError,
    },
    /// A link is gone; nothing more comes from it, chunks that were arriving included.
    LinkDown {
        /// Which.
        link: LinkId,
        /// Why.
        reason: CloseReason,
    },
    /// A peer says something.
    Peer {
        /// Over which link.
        link: LinkId,
        /// What.
        msg: PeerMessage,
    },
    /// The tracker says something.
    Tracker {
        /// Over which link.
        link: LinkId,
        /// What.
        msg: TrackerMessage,
    },
    /// A link takes this many more bytes of chunk frames (headers included).
    Writable {
        /// Which.
        link: LinkId,
        /// How many more.
        bytes: u32,
    },
    /// Bytes of a chunk that is not whole yet came in: a slow link is alive. At most every 250 ms per link.
    Receiving {
        /// Over which link.
        link: LinkId,
        /// Bytes since the last such input or the chunk's beginning.
        bytes: u32,
    },
    /// A chunk that was expected arrived, was hashed and written; or why not.
    ChunkArrived {
        /// The `Expect` it belongs to.
        op: OpId,
        /// Which chunk.
        at: ChunkAddr,
        /// Its chaining value (of a content of one chunk: the root hash).
        result: Result<ChainingValue, ChunkFault>,
    },
    /// An outgoing chunk is done with.
    ChunkSent {
        /// Over which link.
        link: LinkId,
        /// The content.
        key: ContentKey,
        /// Which chunk.
        at: ChunkAddr,
        /// What became of it.
        result: SendResult,
    },
    /// The file behind a shared content was seen to have changed, or to be gone.
    SourceChanged {
        /// The content.
        key: ContentKey,
    },
    /// A place was opened.
    Opened {
        /// Which effect.
        op: OpId,
        /// What is there.
        result: Result<Opening, StorageFault>,
    },
    /// Space for the whole content was taken, or there is too little.
    Reserved {
        /// Which effect.
        op: OpId,
        /// Whether it worked.
        result: Result<(), StorageFault>,
    },
    /// A content that was here already was copied to another place.
    Copied {
        /// Which effect.
        op: OpId,
        /// Whether it worked.
        result: Result<(), StorageFault>,
    },
    /// A folder's listing was read, or its bytes are no listing, or one with a refused path.
    ListingRead {
        /// Which effect.
        op: OpId,
        /// The listing.
        result: Result<Result<Arc<Listing>, ListingFault>, StorageFault>,
    },
    /// What had been written to a place when the sync began is durable.
    Synced {
        /// Which effect.
        op: OpId,
        /// Whether it worked.
        result: Result<(), StorageFault>,
    },
    /// A place stands under its final name, durably.
    Finished {
        /// Which effect.
        op: OpId,
        /// Whether it worked.
        result: Result<(), StorageFault>,
    },
    /// The deadline came.
    Tick,
}

/// Everything that a peer can want done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerEffect {
    /// Connect and shake hands; `LinkUp` or `DialFailed` answers within [`DIAL_TIMEOUT`](crate::limits::DIAL_TIMEOUT).
    Dial {
        /// To be quoted.
        op: OpId,
        /// Where.
        addr: SocketAddr,
        /// What is expected there.
        role: Role,
    },
    /// Close a link, after what was sent on it. No `LinkDown` follows.
    Close {
        /// Which.
        link: LinkId,
        /// Why.
        reason: CloseReason,
    },
    /// Send a control message to a peer.
    SendPeer {
        /// Over which link.
        link: LinkId,
        /// What.
        msg: PeerMessage,
    },
    /// Send a control message to the tracker.
    SendTracker {
        /// Over which link.
        link: LinkId,
        /// What.
        msg: TrackerRequest,
    },
    /// Send a chunk, in order with the messages; `ChunkSent` follows. Counts against the credit given by `Writable`.
    SendChunk {
        /// Over which link.
        link: LinkId,
        /// The asker's number for the content.
        slot: Slot,
        /// The content.
        key: ContentKey,
        /// Which chunk.
        at: ChunkAddr,
    },
    /// The link's reader may accept the chunks of this run under this slot, and writes them to this place. Each becomes a
    /// `ChunkArrived`. Performed before the request that follows it can reach the far end.
    ///
    /// A chunk may be expected from two links; the first that is whole is written and reported, the other is skipped. So the
    /// driver keeps one "wanted" mark per (place, chunk): `Expect` sets it (unless the chunk is just being written: that
    /// write's report answers for it), taking it is the right to write, and what finds no mark is dropped unreported.
    /// Otherwise a late chunk could overwrite a verified one.
    Expect {
        /// Over which link.
        link: LinkId,
        /// To be quoted by each chunk.
        op: OpId,
        /// Own number for the content.
        slot: Slot,
        /// The content.
        key: ContentKey,
        /// Where its bytes go.
        place: Place,
        /// Which chunks.
        run: ChunkRun,
    },
    /// What this `Expect` still waits for is not wanted any more; a chunk that is being read may still arrive.
    Unexpect {
        /// Over which link.
        link: LinkId,
        /// Which `Expect`.
        op: OpId,
    },
    /// Look at the place of a download, and open or create its part file; `Opened` answers. Without a table (for a content
    /// of more than one piece) nothing is created, and `NeedsTable` may be the answer.
    Open {
        /// To be quoted.
        op: OpId,
        /// The content.
        key: ContentKey,
        /// Where.
        place: Place,
        /// Its piece table, if known.
        table: Option<Arc<PieceTable>>,
    },
    /// Take the space for the whole content, beside the running download; `Reserved` answers. Sent once the length is proven.
    Reserve {
        /// To be quoted.
        op: OpId,
        /// Where.
        place: Place,
    },
    /// Read the finished listing at the root of a folder download; `ListingRead` answers.
    ReadListing {
        /// To be quoted.
        op: OpId,
        /// The folder's download.
        download: DownloadId,
    },
    /// Make what is written so far durable; `Synced` answers.
    Sync {
        /// To be quoted.
        op: OpId,
        /// Where.
        place: Place,
    },
    /// All pieces are verified: sync, give it its final name without replacing anything, sync the folder, delete the
    /// sidecar; `Finished` answers. For a member of a folder: it is complete within the staging place. For a folder's root:
    /// its listing and all members are complete; put the folder in place.
    Finish {
        /// To be quoted.
        op: OpId,
        /// Where.
        place: Place,
    },
    /// Write a content that is complete here (shared, or downloaded to another place) to this place as well, checking its
    /// hash on the way; `Copied` answers. The place is not opened before; `Finish` follows.
    CopyLocal {
        /// To be quoted.
        op: OpId,
        /// The content.
        key: ContentKey,
        /// Where to.
        place: Place,
    },
    /// Close the files of a place; its part stays on the disk.
    Release {
        /// Where.
        place: Place,
    },
    /// Tell the person.
    Report(PeerEvent),
}
