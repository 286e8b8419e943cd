//! Machines joined by hand: a tracker and a few peers whose effects become each other's inputs at once, in order. There is no
//! network and no disk; time passes only when a test says so. For exact sequences: what a message leads to, step by step.

#![allow(unreachable_pub, missing_docs, reason = "a module of tests, shared by path")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use potluck_core::Machine;
use potluck_core::content::{
    self, ContentHasher, Geometry, Kind, Listing, ListingEntry, Node as ListedNode, PieceSet, PieceTable,
    SafePath,
};
use potluck_core::effects::Effects;
use potluck_core::ids::{
    ChunkAddr, ChunkRun, ContentKey, DownloadId, LinkId, OpId, PeerId, PieceIndex, Slot,
};
use potluck_core::limits::CHUNK_BYTES;
use potluck_core::peer::*;
use potluck_core::seed::Seed;
use potluck_core::time::Instant;
use potluck_core::tracker::{Tracker, TrackerConfig, TrackerEffect, TrackerInput};
use potluck_core::wire::peer::PeerMessage;

/// Bytes of chunk frames that a connection takes before it reports room again.
const CREDIT: u32 = 1 << 20;

/// What a link's reader accepts: (own slot, chunk) to the operation and the place.
type Expected = BTreeMap<(Slot, ChunkAddr), (OpId, Place, ContentKey)>;

/// One peer with its disk.
pub struct Node {
    pub peer: Peer,
    pub events: Vec<PeerEvent>,
    /// Everything it sent, for tests that look at exact messages.
    pub said: Vec<PeerMessage>,
    pub alive: bool,
    /// Contents it can read.
    pub sources: BTreeMap<ContentKey, Arc<Vec<u8>>>,
    /// Part files.
    pub parts: BTreeMap<Place, (ContentKey, Vec<u8>)>,
    /// Finished files.
    pub files: BTreeMap<Place, Vec<u8>>,
    /// Chunks it sends are overwritten with zeros.
    pub corrupt: bool,
    /// Chunks it sent, in order.
    pub sent: Vec<ChunkAddr>,
    /// Its disk takes this many chunks more.
    pub full_after: Option<u32>,
    /// Somebody cuts so many of its files of several chunks before they are finished.
    pub cut_parts: u32,
    /// It does not answer requests.
    pub mute: bool,
    wanted: BTreeSet<(Place, ChunkAddr)>,
    expected: BTreeMap<LinkId, Expected>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Peer(usize),
    Tracker,
}

enum Event {
    Peer(usize, PeerInput),
    Tracker(TrackerInput),
    /// A chunk frame arrives at a reader.
    Chunk {
        to: usize,
        link: LinkId,
        slot: Slot,
        key: ContentKey,
        at: ChunkAddr,
        bytes: Vec<u8>,
    },
}

/// The machines and what is under way between them.
pub struct Pair {
    pub now: Instant,
    pub nodes: Vec<Node>,
    pub tracker: Option<Tracker>,
    /// The tracker does not hear that links end.
    pub tracker_silent: bool,
    queue: VecDeque<Event>,
    links: BTreeMap<(bool, u64, LinkId), (End, LinkId)>,
    next_link: u64,
    steps: u64,
}

pub fn addr(i: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, i as u8 + 1], 1000))
}

pub fn tracker_addr() -> SocketAddr {
    SocketAddr::from(([10, 0, 1, 1], 7070))
}

/// Bytes that no two positions share.
pub fn bytes(len: usize, salt: u8) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&[salt]).finalize_xof().fill(&mut out);
    out
}

/// Key and piece table of some bytes.
pub fn hash(bytes: &[u8]) -> (ContentKey, Option<Arc<PieceTable>>) {
    let mut hasher = ContentHasher::new(Geometry::new(bytes.len() as u64).expect("a plausible length"));
    hasher.update(bytes);
    let (key, table) = hasher.finish().expect("all bytes were given");
    (key, table.map(Arc::new))
}

fn end_id(end: End) -> (bool, u64) {
    match end {
        End::Peer(i) => (true, i as u64),
        End::Tracker => (false, 0),
    }
}

impl Pair {
    pub fn new(peers: usize) -> Self {
        let nodes = (0..peers).map(|i| Self::node(i, 0)).collect();
        let config = TrackerConfig { seed: Seed::from_number(99), lease_ms: 15_000 };
        Self {
            now: Instant::ZERO,
            nodes,
            tracker: Some(Tracker::new(config)),
            tracker_silent: false,
            queue: VecDeque::new(),
            links: BTreeMap::new(),
            next_link: 1,
            steps: 0,
        }
    }

    fn node(i: usize, generation: u8) -> Node {
        let mut id = [i as u8 + 1; 32];
        id[31] = generation;
        let config = PeerConfig {
            peer: PeerId(id),
            name: format!("peer{i}"),
            any_name: generation > 0,
            listen_port: 1000,
            seed: Seed::from_number(i as u64 + 1),
            inflight_bytes_max: 16 << 20,
            upload_links_max: 32,
            up_rate_max: 0,
            down_rate_max: 0,
        };
        Node {
            peer: Peer::new(config),
            events: Vec::new(),
            said: Vec::new(),
            alive: true,
            sources: BTreeMap::new(),
            parts: BTreeMap::new(),
            files: BTreeMap::new(),
            corrupt: false,
            sent: Vec::new(),
            full_after: None,
            cut_parts: 0,
            mute: false,
            wanted: BTreeSet::new(),
            expected: BTreeMap::new(),
        }
    }

    /// A peer that starts anew on the disk that is left: another process, another id.
    pub fn restart(&mut self, i: usize) {
        let old = std::mem::replace(&mut self.nodes[i], Self::node(i, 1));
        self.nodes[i].parts = old.parts;
        self.nodes[i].files = old.files;
    }

    pub fn input(&mut self, i: usize, input: PeerInput) {
        self.queue.push_back(Event::Peer(i, input));
    }

    pub fn command(&mut self, i: usize, command: Command) {
        self.input(i, PeerInput::Command(command));
        self.run();
    }

    pub fn join(&mut self, i: usize) {
        self.command(i, Command::JoinTracker { addr: tracker_addr() });
    }

    pub fn share(&mut self, i: usize, name: &str, bytes: Vec<u8>) -> ContentKey {
        let (key, table) = hash(&bytes);
        self.nodes[i].sources.insert(key, Arc::new(bytes));
        let (name, total) = (name.to_owned(), key.length);
        let share = Command::Share { key, kind: Kind::File, name, member: false, total, table };
        self.command(i, share);
        key
    }

    /// Shares files as a folder: the members, then their listing.
    pub fn share_folder(&mut self, i: usize, name: &str, files: &[(String, Vec<u8>)]) -> ContentKey {
        let mut entries = Vec::new();
        for (path, bytes) in files {
            let (key, table) = hash(bytes);
            self.nodes[i].sources.insert(key, Arc::new(bytes.clone()));
            let name = path.clone();
            let total = key.length;
            self.command(i, Command::Share { key, kind: Kind::File, name, member: true, total, table });
            let path = SafePath::parse(path).expect("a path");
            entries
                .push(ListingEntry { path, node: ListedNode::File { key, executable: false, mtime_ns: 0 } });
        }
        let bytes = Listing::new(entries).expect("a listing").encode();
        let (key, table) = hash(&bytes);
        self.nodes[i].sources.insert(key, Arc::new(bytes));
        let (name, total) = (name.to_owned(), files.iter().map(|(_, bytes)| bytes.len() as u64).sum());
        self.command(i, Command::Share { key, kind: Kind::Folder, name, member: false, total, table });
        key
    }

    pub fn fetch(&mut self, i: usize, key: ContentKey, peers: Vec<SocketAddr>) -> DownloadId {
        let download = self.begin_from(i, key, peers);
        self.run();
        download
    }

    pub fn fetch_kind(
        &mut self,
        i: usize,
        key: ContentKey,
        kind: Kind,
        peers: Vec<SocketAddr>,
    ) -> DownloadId {
        let download = DownloadId(self.next_link);
        self.next_link += 1;
        let name = "got".to_owned();
        let fetch = Command::Fetch { download, key, kind, name, peers, how: FetchOptions::default() };
        self.input(i, PeerInput::Command(fetch));
        download
    }

    /// Asks for a download without delivering anything yet.
    pub fn begin(&mut self, i: usize, key: ContentKey) -> DownloadId {
        self.begin_from(i, key, Vec::new())
    }

    pub fn begin_from(&mut self, i: usize, key: ContentKey, peers: Vec<SocketAddr>) -> DownloadId {
        self.fetch_kind(i, key, Kind::File, peers)
    }

    /// The process dies: every connection is closed at once.
    pub fn kill(&mut self, i: usize) {
        self.nodes[i].alive = false;
        self.cut(End::Peer(i));
    }

    pub fn kill_tracker(&mut self) {
        self.tracker = None;
        self.cut(End::Tracker);
    }

    /// A peer loses its connection to the tracker.
    pub fn cut_tracker_link(&mut self, i: usize) {
        let of_tracker = |(at, (far, _)): (&(bool, u64, LinkId), &(End, LinkId))| {
            (at.0 && at.1 == i as u64 && *far == End::Tracker).then_some(*at)
        };
        let Some(at) = self.links.iter().find_map(of_tracker) else { return };
        let Some((far, far_link)) = self.links.remove(&at) else { return };
        self.links.remove(&(end_id(far).0, end_id(far).1, far_link));
        if !self.tracker_silent {
            self.down(far, far_link, CloseReason::Broken);
        }
        self.down(End::Peer(i), at.2, CloseReason::Broken);
    }

    fn cut(&mut self, end: End) {
        let own: Vec<_> = self.links.keys().copied().filter(|(p, i, _)| (*p, *i) == end_id(end)).collect();
        for at in own {
            let Some((far, far_link)) = self.links.remove(&at) else { continue };
            self.links.remove(&(end_id(far).0, end_id(far).1, far_link));
            self.down(far, far_link, CloseReason::Broken);
        }
        self.queue.retain(|e| !matches!((e, end), (Event::Peer(i, _), End::Peer(k)) if *i == k));
        self.run();
    }

    fn down(&mut self, end: End, link: LinkId, reason: CloseReason) {
        match end {
            End::Peer(i) => {
                self.nodes[i].expected.remove(&link);
                self.queue.push_back(Event::Peer(i, PeerInput::LinkDown { link, reason }));
            }
            End::Tracker => self.queue.push_back(Event::Tracker(TrackerInput::LinkDown { link, reason })),
        }
    }

    /// Delivers everything that is under way, until nothing is.
    pub fn run(&mut self) {
        let mut steps = 0u32;
        while let Some(event) = self.queue.pop_front() {
            self.step(event);
            steps += 1;
            assert!(steps < 2_000_000, "the machines never come to rest");
        }
    }

    /// Delivers at most `steps` events; true: nothing is under way any more.
    pub fn run_steps(&mut self, steps: usize) -> bool {
        for _ in 0..steps {
            let Some(event) = self.queue.pop_front() else { return true };
            self.step(event);
        }
        self.queue.is_empty()
    }

    /// Lets time pass, with every timer that is due on the way.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.run();
        loop {
            let due = |d: Option<potluck_core::time::Deadline>| d.map(|d| d.at).filter(|at| *at <= end);
            let nodes = self.nodes.iter().enumerate().filter(|(_, n)| n.alive);
            let next = nodes
                .filter_map(|(i, n)| Some((due(n.peer.deadline())?, i)))
                .chain(self.tracker.as_ref().and_then(|t| Some((due(t.deadline())?, usize::MAX))))
                .min();
            let Some((at, i)) = next else { break };
            self.now = self.now.max(at);
            match i {
                usize::MAX => self.queue.push_back(Event::Tracker(TrackerInput::Tick)),
                _ => self.queue.push_back(Event::Peer(i, PeerInput::Tick)),
            }
            self.run();
        }
        self.now = end;
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Peer(i, input) => {
                if !self.nodes[i].alive {
                    return;
                }
                let mut out = Effects::new();
                self.nodes[i].peer.handle(self.now, input, &mut out);
                self.steps += 1;
                // The check looks at everything: rarely in a long test.
                if self.steps < 5_000 || self.steps.is_multiple_of(512) {
                    self.nodes[i].peer.check_invariants();
                }
                for effect in out.drain() {
                    self.perform(i, effect);
                }
            }
            Event::Tracker(input) => {
                let Some(tracker) = &mut self.tracker else { return };
                let mut out = Effects::new();
                tracker.handle(self.now, input, &mut out);
                self.steps += 1;
                if self.steps < 5_000 || self.steps.is_multiple_of(512) {
                    tracker.check_invariants();
                }
                for effect in out.drain() {
                    self.perform_tracker(effect);
                }
            }
            Event::Chunk { to, link, slot, key, at, bytes } => self.arrive(to, link, slot, key, at, &bytes),
        }
    }

    fn arrive(&mut self, to: usize, link: LinkId, slot: Slot, key: ContentKey, at: ChunkAddr, bytes: &[u8]) {
        let node = &mut self.nodes[to];
        let Some((op, place, expected)) = node.expected.get_mut(&link).and_then(|e| e.remove(&(slot, at)))
        else {
            return;
        };
        assert_eq!(expected, key, "a slot names one content");
        if !node.wanted.remove(&(place, at)) {
            return;
        }
        match &mut node.full_after {
            Some(0) => {
                let result = Err(ChunkFault::Storage(StorageFault::Full));
                self.queue.push_back(Event::Peer(to, PeerInput::ChunkArrived { op, at, result }));
                return;
            }
            Some(left) => *left -= 1,
            None => {}
        }
        let geometry = Geometry::new(key.length).expect("a plausible length");
        let value = content::chunk_value(&geometry, at, bytes).expect("a chunk's length");
        let offset = geometry.chunk_offset(at).expect("a chunk of the content") as usize;
        let part = &mut node.parts.get_mut(&place).expect("an open place").1;
        if part.len() < offset + bytes.len() {
            part.resize(offset + bytes.len(), 0);
        }
        part[offset..offset + bytes.len()].copy_from_slice(bytes);
        self.queue.push_back(Event::Peer(to, PeerInput::ChunkArrived { op, at, result: Ok(value) }));
    }

    fn dial(&mut self, i: usize, op: OpId, to: SocketAddr, role: Role) {
        let far = match role {
            Role::Tracker => (to == tracker_addr() && self.tracker.is_some()).then_some(End::Tracker),
            Role::Peer => {
                (0..self.nodes.len()).find(|k| addr(*k) == to && self.nodes[*k].alive).map(End::Peer)
            }
        };
        let Some(far) = far else {
            self.queue.push_back(Event::Peer(i, PeerInput::DialFailed { op, error: DialError::Refused }));
            return;
        };
        let (near_link, far_link) = (LinkId(self.next_link), LinkId(self.next_link + 1));
        self.next_link += 2;
        let near = End::Peer(i);
        self.links.insert((end_id(near).0, end_id(near).1, near_link), (far, far_link));
        self.links.insert((end_id(far).0, end_id(far).1, far_link), (near, near_link));
        let me = self.nodes[i].peer.id();
        let from = SocketAddr::new(addr(i).ip(), 40_000);
        match far {
            End::Peer(k) => {
                let peer = self.nodes[k].peer.id();
                self.input(i, PeerInput::LinkUp { link: near_link, op: Some(op), role, peer, addr: to });
                self.input(i, PeerInput::Writable { link: near_link, bytes: CREDIT });
                self.input(k, PeerInput::LinkUp { link: far_link, op: None, role, peer: me, addr: from });
                self.input(k, PeerInput::Writable { link: far_link, bytes: CREDIT });
            }
            End::Tracker => {
                let peer = PeerId([0; 32]);
                self.queue.push_back(Event::Tracker(TrackerInput::LinkUp {
                    link: far_link,
                    peer: me,
                    addr: from,
                }));
                self.input(i, PeerInput::LinkUp { link: near_link, op: Some(op), role, peer, addr: to });
            }
        }
    }

    fn far(&self, i: usize, link: LinkId) -> Option<(End, LinkId)> {
        self.links.get(&(true, i as u64, link)).copied()
    }

    fn perform(&mut self, i: usize, effect: PeerEffect) {
        match effect {
            PeerEffect::Dial { op, addr, role } => self.dial(i, op, addr, role),
            PeerEffect::Close { link, reason } => {
                let Some((far, far_link)) = self.links.remove(&(true, i as u64, link)) else { return };
                self.links.remove(&(end_id(far).0, end_id(far).1, far_link));
                self.nodes[i].expected.remove(&link);
                let _ = reason;
                self.down(far, far_link, CloseReason::Done);
            }
            PeerEffect::SendPeer { link, msg } => {
                self.nodes[i].said.push(msg.clone());
                let asks = matches!(msg, PeerMessage::Request { .. } | PeerMessage::RequestAny { .. });
                if let Some((End::Peer(k), link)) = self.far(i, link)
                    && !(asks && self.nodes[k].mute)
                {
                    self.queue.push_back(Event::Peer(k, PeerInput::Peer { link, msg }));
                }
            }
            PeerEffect::SendTracker { link, msg } => {
                if let Some((End::Tracker, link)) = self.far(i, link) {
                    self.queue.push_back(Event::Tracker(TrackerInput::Request { link, msg }));
                }
            }
            PeerEffect::SendChunk { link, slot, key, at } => {
                let geometry = Geometry::new(key.length).expect("a plausible length");
                let from = geometry.chunk_offset(at).expect("a chunk of the content") as usize;
                let len = geometry.chunk_bytes(at).expect("a chunk of the content") as usize;
                self.nodes[i].sent.push(at);
                let source = self.nodes[i].readable(key);
                let mut bytes = source[from..from + len].to_vec();
                if self.nodes[i].corrupt {
                    bytes.fill(0);
                }
                if let Some((End::Peer(k), far)) = self.far(i, link) {
                    self.queue.push_back(Event::Chunk { to: k, link: far, slot, key, at, bytes });
                }
                self.input(i, PeerInput::ChunkSent { link, key, at, result: SendResult::Sent });
                self.input(i, PeerInput::Writable { link, bytes: len as u32 + 16 });
            }
            PeerEffect::Expect { link, op, slot, key, place, run } => {
                self.expect(i, link, op, slot, key, place, run)
            }
            PeerEffect::Unexpect { link, op } => {
                if let Some(expected) = self.nodes[i].expected.get_mut(&link) {
                    expected.retain(|_, (o, ..)| *o != op);
                }
            }
            PeerEffect::Open { op, key, place, table } => {
                let opening = self.nodes[i].open(key, place, table);
                self.input(i, PeerInput::Opened { op, result: Ok(opening) });
            }
            PeerEffect::Reserve { op, .. } => self.input(i, PeerInput::Reserved { op, result: Ok(()) }),
            PeerEffect::Sync { op, .. } => self.input(i, PeerInput::Synced { op, result: Ok(()) }),
            PeerEffect::ReadListing { op, download } => {
                let node = &self.nodes[i];
                let bytes = node.parts.get(&Place::Root(download)).map(|(_, bytes)| bytes.as_slice());
                let listing = Listing::decode(bytes.unwrap_or_default()).map(Arc::new);
                self.input(i, PeerInput::ListingRead { op, result: Ok(listing) });
            }
            PeerEffect::Finish { op, place } => {
                let node = &mut self.nodes[i];
                if node.cut_parts > 0
                    && let Some((_, part)) = node.parts.get_mut(&place)
                    && part.len() > 2 * CHUNK_BYTES as usize
                {
                    node.cut_parts -= 1;
                    part.truncate(CHUNK_BYTES as usize);
                    return self.input(i, PeerInput::Finished { op, result: Err(StorageFault::Altered) });
                }
                if let Some((key, bytes)) = node.parts.remove(&place) {
                    node.sources.insert(key, Arc::new(bytes.clone()));
                    node.files.insert(place, bytes);
                }
                self.input(i, PeerInput::Finished { op, result: Ok(()) });
            }
            PeerEffect::CopyLocal { op, key, place } => {
                let bytes = self.nodes[i].readable(key).to_vec();
                self.nodes[i].parts.insert(place, (key, bytes));
                self.input(i, PeerInput::Copied { op, result: Ok(()) });
            }
            PeerEffect::Release { .. } => {}
            PeerEffect::Report(event) => self.nodes[i].events.push(event),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the effect's fields")]
    fn expect(
        &mut self,
        i: usize,
        link: LinkId,
        op: OpId,
        slot: Slot,
        key: ContentKey,
        place: Place,
        run: ChunkRun,
    ) {
        let node = &mut self.nodes[i];
        for chunk in run.first..run.first + run.count {
            let at = ChunkAddr { piece: run.piece, chunk };
            node.expected.entry(link).or_default().insert((slot, at), (op, place, key));
            node.wanted.insert((place, at));
        }
    }

    fn perform_tracker(&mut self, effect: TrackerEffect) {
        match effect {
            TrackerEffect::Send { link, msg } => {
                if let Some((End::Peer(i), link)) = self.links.get(&(false, 0, link)).copied() {
                    self.input(i, PeerInput::Tracker { link, msg });
                }
            }
            TrackerEffect::Probe { op, addr: at } => {
                let node = (0..self.nodes.len()).find(|i| addr(*i) == at && self.nodes[*i].alive);
                let answered_by = node.map(|i| self.nodes[i].peer.id());
                self.queue.push_back(Event::Tracker(TrackerInput::Probed { op, answered_by }));
            }
            TrackerEffect::Close { link, .. } => {
                if let Some((far, far_link)) = self.links.remove(&(false, 0, link)) {
                    self.links.remove(&(end_id(far).0, end_id(far).1, far_link));
                    self.down(far, far_link, CloseReason::Done);
                }
            }
            TrackerEffect::Report(_) => {}
        }
    }
}

impl Node {
    /// The bytes of a content that this peer holds, wholly or in part.
    fn readable(&self, key: ContentKey) -> Arc<Vec<u8>> {
        self.sources.get(&key).cloned().unwrap_or_else(|| {
            let part = self.parts.values().find(|(k, _)| *k == key).expect("something to serve");
            Arc::new(part.1.clone())
        })
    }

    fn open(&mut self, key: ContentKey, place: Place, table: Option<Arc<PieceTable>>) -> Opening {
        let geometry = Geometry::new(key.length).expect("a plausible length");
        if table.is_none() && geometry.pieces() > 1 {
            return Opening::NeedsTable;
        }
        let (_, part) = self.parts.entry(place).or_insert_with(|| (key, Vec::new()));
        part.resize(key.length as usize, 0);
        let mut have = PieceSet::empty(geometry.pieces());
        for piece in (0..geometry.pieces()).map(PieceIndex) {
            let run = geometry.whole_piece(piece).expect("a piece");
            let values: Vec<_> = (0..run.count)
                .filter_map(|chunk| {
                    let at = ChunkAddr { piece, chunk };
                    let from = geometry.chunk_offset(at)? as usize;
                    let len = geometry.chunk_bytes(at)? as usize;
                    content::chunk_value(&geometry, at, &part[from..from + len])
                })
                .collect();
            let value = content::fold_piece(&geometry, piece, &values);
            let right = match &table {
                Some(table) => value == table.value(piece),
                None => value.is_some_and(|v| v.0 == key.id.0),
            };
            if right {
                have.insert(piece);
            }
        }
        Opening::Part { table, have }
    }

    pub fn listing(&self, key: ContentKey) -> Listing {
        Listing::decode(&self.sources[&key]).expect("a listing")
    }

    pub fn completed(&self, download: DownloadId) -> bool {
        self.events.contains(&PeerEvent::Completed { download })
    }
}
