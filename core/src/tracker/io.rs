//! What goes into the tracker machine and what comes out of it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::ids::{LinkId, OpId, PeerId};
use crate::peer::CloseReason;
use crate::seed::Seed;
use crate::wire::tracker::{TrackerMessage, TrackerRequest};

/// What a tracker is told once, at its start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TrackerConfig {
    /// Everything random follows from it.
    pub seed: Seed,
    /// A peer silent for this many milliseconds is forgotten.
    pub lease_ms: u32,
}

/// Everything that can happen to a tracker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrackerInput {
    /// A link is up, both handshakes are done.
    LinkUp {
        /// Its number from now on.
        link: LinkId,
        /// Who the far end says it is.
        peer: PeerId,
        /// Where it dialed from.
        addr: SocketAddr,
    },
    /// A link is gone.
    LinkDown {
        /// Which.
        link: LinkId,
        /// Why.
        reason: CloseReason,
    },
    /// A peer asks.
    Request {
        /// Over which link.
        link: LinkId,
        /// What.
        msg: TrackerRequest,
    },
    /// A probe came to an end.
    Probed {
        /// Which.
        op: OpId,
        /// Who answered the handshake there, if anybody.
        answered_by: Option<PeerId>,
    },
    /// The deadline came.
    Tick,
}

/// Everything that a tracker can want done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrackerEffect {
    /// Send a message.
    Send {
        /// Over which link.
        link: LinkId,
        /// What.
        msg: TrackerMessage,
    },
    /// Connect, shake hands, close; `Probed` answers within [`DIAL_TIMEOUT`](crate::limits::DIAL_TIMEOUT).
    Probe {
        /// To be quoted.
        op: OpId,
        /// Where.
        addr: SocketAddr,
    },
    /// Close a link, after what was sent on it. No `LinkDown` follows.
    Close {
        /// Which.
        link: LinkId,
        /// Why.
        reason: CloseReason,
    },
    /// Tell the log.
    Report(TrackerEvent),
}

/// What a tracker's log tells, a line each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrackerEvent {
    /// A peer joined under a name that was accepted.
    Joined {
        /// Its name.
        name: String,
        /// Where it can be dialed, if it can.
        addr: SocketAddr,
        /// Peers present now.
        peers: u32,
    },
    /// A name was refused.
    NameRefused {
        /// The wanted name.
        name: String,
        /// Who wanted it.
        addr: SocketAddr,
        /// A free one that was offered.
        offer: String,
    },
    /// A peer took another name.
    Renamed {
        /// Before.
        from: String,
        /// Now.
        to: String,
    },
    /// A peer left: in order, or its link closed.
    Left {
        /// Its name.
        name: String,
        /// It said so before.
        in_order: bool,
        /// Peers present now.
        peers: u32,
    },
    /// A peer was silent for its whole lease.
    Expired {
        /// Its name.
        name: String,
        /// Peers present now.
        peers: u32,
    },
    /// A peer registered contents.
    Announced {
        /// Its name.
        name: String,
        /// The contents' names: the first few.
        contents: Vec<String>,
        /// How many in all.
        count: u32,
    },
    /// A peer withdrew contents.
    Withdrawn {
        /// Its name.
        name: String,
        /// How many.
        count: u32,
    },
    /// Somebody searched.
    Searched {
        /// Name or address of the asker.
        asker: String,
        /// What for.
        query: String,
        /// Rows answered.
        rows: u32,
    },
    /// Somebody looked up holders.
    LookedUp {
        /// Name or address of the asker.
        asker: String,
        /// The content's name, or its id.
        content: String,
        /// Holders answered, by name; the first few.
        holders: Vec<String>,
        /// How many in all.
        count: u32,
    },
    /// Changes were pushed to a watcher.
    Pushed {
        /// The watcher's name.
        to: String,
        /// What changed: the content's name, or "peers".
        what: String,
        /// Entries pushed.
        count: u32,
    },
    /// A peer's own port was probed.
    Probed {
        /// Its name.
        name: String,
        /// Where.
        addr: SocketAddr,
        /// It answered there as itself.
        dialable: bool,
    },
    /// A peer offered a content to another one, and that was told.
    Offered {
        /// Name of who offers.
        from: String,
        /// Name of whom.
        to: String,
        /// The content's name.
        what: String,
    },
    /// A peer did what the protocol does not allow, or reached a bound.
    Misbehaved {
        /// Name or address.
        who: String,
        /// How.
        what: crate::peer::Misbehaviour,
    },
}
