//! The peer machine by hand: one input at a time, its invariants checked after each, and all that it wanted done kept.
#![allow(
    dead_code,
    clippy::wildcard_enum_match_arm,
    reason = "shared; a case looks for some effects among many"
)]

use std::net::SocketAddr;
use std::time::Duration;

use potluck_core::Machine;
use potluck_core::content::{Kind, PieceSet};
use potluck_core::effects::Effects;
use potluck_core::ids::{
    ChainingValue, ChunkAddr, ChunkRun, DownloadId, LinkId, OpId, PeerId, PieceIndex, SessionToken, Slot,
};
use potluck_core::limits;
use potluck_core::peer::*;
use potluck_core::seed::Seed;
use potluck_core::time::Instant;
use potluck_core::wire::peer::{Holding, PeerMessage};
use potluck_core::wire::tracker::TrackerMessage;

use crate::synthetic::Synthetic;

pub(crate) const DOWNLOAD: DownloadId = DownloadId(1);
pub(crate) const TRACKER: LinkId = LinkId(1000);

pub(crate) fn addr(i: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, i], 1000))
}

/// A peer, and all that it wanted done so far.
pub(crate) struct Case {
    pub(crate) peer: Peer,
    pub(crate) now: Instant,
    pub(crate) done: Vec<PeerEffect>,
}

impl Case {
    pub(crate) fn new() -> Self {
        Self::with_inflight(16 << 20)
    }

    /// A peer that has at most so many bytes under way.
    pub(crate) fn with_inflight(inflight_bytes_max: u64) -> Self {
        let config = PeerConfig {
            peer: PeerId([100; 32]),
            name: "me".to_owned(),
            any_name: false,
            listen_port: 1000,
            seed: Seed::from_number(1),
            inflight_bytes_max,
            upload_links_max: 8,
            up_rate_max: 0,
            down_rate_max: 0,
        };
        Self { peer: Peer::new(config), now: Instant::ZERO, done: Vec::new() }
    }

    /// Gives an input; what the peer wants done for it.
    pub(crate) fn input(&mut self, input: PeerInput) -> Vec<PeerEffect> {
        let mut out = Effects::new();
        self.peer.handle(self.now, input, &mut out);
        self.peer.check_invariants();
        let effects: Vec<PeerEffect> = out.drain().collect();
        self.done.extend(effects.iter().cloned());
        effects
    }

    pub(crate) fn command(&mut self, command: Command) -> Vec<PeerEffect> {
        self.input(PeerInput::Command(command))
    }

    pub(crate) fn says(&mut self, link: LinkId, msg: PeerMessage) -> Vec<PeerEffect> {
        self.input(PeerInput::Peer { link, msg })
    }

    pub(crate) fn pass(&mut self, time: Duration) -> Vec<PeerEffect> {
        let (end, mut effects) = (self.now + time, Vec::new());
        while let Some(due) = self.peer.deadline().filter(|d| d.at <= end) {
            self.now = self.now.max(due.at);
            effects.extend(self.input(PeerInput::Tick));
        }
        self.now = end;
        effects
    }

    pub(crate) fn share(&mut self, content: &Synthetic, name: &str) {
        let (key, table) = (content.key, content.table.clone());
        let (name, total) = (name.to_owned(), key.length);
        self.command(Command::Share { key, kind: Kind::File, name, member: false, total, table });
    }

    /// A download whose place is open, with some pieces in it.
    pub(crate) fn fetch(&mut self, content: &Synthetic, have: PieceSet) {
        self.fetch_kind(content, Kind::File);
        let table = content.table.clone();
        self.open(Opening::Part { table, have });
    }

    pub(crate) fn fetch_kind(&mut self, content: &Synthetic, kind: Kind) {
        let (key, name) = (content.key, "it".to_owned());
        let (peers, how) = (Vec::new(), FetchOptions::default());
        self.command(Command::Fetch { download: DOWNLOAD, key, kind, name, peers, how });
    }

    pub(crate) fn open(&mut self, opening: Opening) -> Vec<PeerEffect> {
        let op = self.last(|e| match e {
            PeerEffect::Open { op, .. } => Some(*op),
            _ => None,
        });
        self.input(PeerInput::Opened { op, result: Ok(opening) })
    }

    /// A peer dials us.
    pub(crate) fn link_up(&mut self, link: LinkId, peer: PeerId, addr: SocketAddr) -> Vec<PeerEffect> {
        self.input(PeerInput::LinkUp { link, op: None, role: Role::Peer, peer, addr })
    }

    /// A peer links up; its links and slots are its number.
    pub(crate) fn meet(&mut self, i: u8) -> LinkId {
        let link = LinkId(i.into());
        self.link_up(link, PeerId([i; 32]), addr(i));
        self.says(link, PeerMessage::Hello { name: format!("peer{i}"), listen_port: 1000 });
        link
    }

    /// It holds the pieces of a content that are marked.
    pub(crate) fn holds(&mut self, i: u8, content: &Synthetic, marks: &str) -> Vec<PeerEffect> {
        let (link, slot, key) = (LinkId(i.into()), Slot(i.into()), content.key);
        let mut effects = self.says(link, PeerMessage::Join { slot, key, holding: Holding::Some });
        let set = set(content, marks);
        effects.extend(
            self.says(link, PeerMessage::Bitfield { slot, first: 0, bits: set.to_slice(0, 1 << 10) }),
        );
        effects
    }

    /// A tracker session is up.
    pub(crate) fn join(&mut self, name: &str) {
        self.ask_to_join();
        self.joined(name);
    }

    /// The tracker is dialed, and has not answered the join.
    pub(crate) fn ask_to_join(&mut self) -> Vec<PeerEffect> {
        self.command(Command::JoinTracker { addr: addr(200) });
        let op = self.last(|e| match e {
            PeerEffect::Dial { op, role: Role::Tracker, .. } => Some(*op),
            _ => None,
        });
        let (peer, addr) = (PeerId([200; 32]), addr(200));
        self.input(PeerInput::LinkUp { link: TRACKER, op: Some(op), role: Role::Tracker, peer, addr })
    }

    pub(crate) fn joined(&mut self, name: &str) -> Vec<PeerEffect> {
        let msg = TrackerMessage::Joined {
            seq: 1,
            name: name.to_owned(),
            token: SessionToken([0; 16]),
            observed: addr(100),
            lease_ms: 15_000,
        };
        self.input(PeerInput::Tracker { link: TRACKER, msg })
    }

    pub(crate) fn last<T>(&self, find: impl Fn(&PeerEffect) -> Option<T>) -> T {
        self.done.iter().rev().find_map(find).expect("the peer wanted this done")
    }

    /// What was expected of a link and not taken back: operation and run.
    pub(crate) fn expected(&self, link: LinkId) -> Vec<(OpId, ChunkRun)> {
        let gone: Vec<OpId> = self.done.iter().filter_map(unexpected).collect();
        let all = self.done.iter().filter_map(|e| match e {
            PeerEffect::Expect { link: l, op, run, .. } if *l == link => Some((*op, *run)),
            _ => None,
        });
        all.filter(|(op, _)| !gone.contains(op)).collect()
    }

    pub(crate) fn arrive(
        &mut self,
        content: &Synthetic,
        op: OpId,
        piece: u32,
        right: bool,
    ) -> Vec<PeerEffect> {
        let at = ChunkAddr { piece: PieceIndex(piece), chunk: 0 };
        let value = if right { content.value(at) } else { ChainingValue([0; 32]) };
        self.input(PeerInput::ChunkArrived { op, at, result: Ok(value) })
    }

    /// Every chunk that was to be sent has left; over which links.
    pub(crate) fn chunks_leave(&mut self, effects: &[PeerEffect]) -> Vec<LinkId> {
        let mut links = Vec::new();
        for effect in effects {
            if let PeerEffect::SendChunk { link, key, at, .. } = *effect {
                links.push(link);
                self.input(PeerInput::ChunkSent { link, key, at, result: SendResult::Sent });
            }
        }
        links
    }

    /// The next that was asked of a link arrives, and all after it, until nothing is asked any more.
    pub(crate) fn arrive_all(&mut self, content: &Synthetic, link: LinkId) {
        let mut arrived: Vec<OpId> = Vec::new();
        while let Some((op, run)) = self.expected(link).into_iter().find(|(op, _)| !arrived.contains(op)) {
            arrived.push(op);
            self.arrive(content, op, run.piece.0, true);
        }
    }
}

pub(crate) fn dial_of(effects: &[PeerEffect], to: SocketAddr) -> Option<OpId> {
    effects.iter().find_map(|e| match e {
        PeerEffect::Dial { op, addr, .. } if *addr == to => Some(*op),
        _ => None,
    })
}

pub(crate) fn unexpected(effect: &PeerEffect) -> Option<OpId> {
    match effect {
        PeerEffect::Unexpect { op, .. } => Some(*op),
        _ => None,
    }
}

/// `#` marks a piece.
pub(crate) fn set(content: &Synthetic, marks: &str) -> PieceSet {
    let mut set = PieceSet::empty(content.geometry.pieces());
    for (piece, _) in (0..).zip(marks.bytes()).filter(|(_, mark)| *mark == b'#') {
        set.insert(PieceIndex(piece));
    }
    set
}

/// So many pieces of one chunk.
pub(crate) fn pieces(count: u64) -> Synthetic {
    Synthetic::new(count * limits::CHUNK_BYTES, 1)
}

pub(crate) fn sync_op(effect: &PeerEffect) -> Option<OpId> {
    match effect {
        PeerEffect::Sync { op, .. } => Some(*op),
        _ => None,
    }
}

pub(crate) fn finish_op(effect: &PeerEffect) -> Option<OpId> {
    match effect {
        PeerEffect::Finish { op, .. } => Some(*op),
        _ => None,
    }
}

pub(crate) fn says(effects: &[PeerEffect], wanted: &PeerMessage) -> bool {
    effects.iter().any(|e| matches!(e, PeerEffect::SendPeer { msg, .. } if msg == wanted))
}
