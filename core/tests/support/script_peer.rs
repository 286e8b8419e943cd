//! Scripts for the peer machine.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use potluck_core::Machine;
use potluck_core::content::{Geometry, Kind, ListingFault, PieceSet, Selection};
use potluck_core::ids::{
    ChainingValue, ChunkAddr, ChunkRun, ContentKey, DownloadId, LinkId, OpId, PeerId, PieceIndex, Slot,
};
use potluck_core::peer::*;
use potluck_core::seed::Seed;
use potluck_core::time::Instant;
use potluck_core::wire::peer::{Holding, KnownPeer, Offer, PeerMessage, Refusal, RequestRef};
use potluck_core::wire::tracker::{
    Cursor, HolderRow, Matching, PeerRow, RefusedRequest, Row, TrackerMessage, TrackerRequest,
};

use super::{CONTENTS, Choices, Content, Story, TICKS_MAX, check_message, handle_twice, play, sendable};

/// Operations remembered to be quoted.
const OPS_MAX: usize = 256;

/// Reads `bytes` as a script for the peer machine and plays it.
///
/// # Panics
/// Where the machine breaks its contract.
pub(crate) fn peer_script(bytes: &[u8]) {
    play(&mut Run::new(), bytes, Run::step, |run| &run.story);
}

/// What the machine asked for and waits to hear of.
#[derive(Clone, Debug)]
enum Pending {
    Dial { op: OpId, addr: SocketAddr, role: Role },
    Open { op: OpId, key: ContentKey, place: Place, with_table: bool },
    Reserve(OpId),
    Listing(OpId, DownloadId),
    Sync(OpId),
    Finish(OpId),
    Copy(OpId),
}

#[derive(Clone, Debug)]
struct Expected {
    link: LinkId,
    op: OpId,
    key: ContentKey,
    run: ChunkRun,
}

/// A link that is up, and what was said on it.
#[derive(Debug, Default)]
struct Up {
    tracker: bool,
    credit: i64,
    /// The machine's slots on it.
    mine: Vec<Slot>,
    choices: Vec<u32>,
    /// Numbers of the machine's requests to the tracker.
    seqs: Vec<u32>,
}

struct Run {
    machines: [Peer; 2],
    now: Instant,
    links: BTreeMap<LinkId, Up>,
    next_link: u64,
    pending: VecDeque<Pending>,
    expected: VecDeque<Expected>,
    downloads: BTreeMap<DownloadId, ContentKey>,
    story: Story,
}

impl Run {
    fn new() -> Self {
        let config = PeerConfig {
            peer: PeerId([0; 32]),
            name: "me".to_owned(),
            any_name: false,
            listen_port: 1000,
            seed: Seed::from_number(1),
            inflight_bytes_max: 8 << 20,
            upload_links_max: 2,
            up_rate_max: 0,
            down_rate_max: 0,
        };
        Self {
            machines: [Peer::new(config.clone()), Peer::new(config)],
            now: Instant::ZERO,
            links: BTreeMap::new(),
            next_link: 1,
            pending: VecDeque::new(),
            expected: VecDeque::new(),
            downloads: BTreeMap::new(),
            story: Story::default(),
        }
    }

    const fn machine(&self) -> &Peer {
        &self.machines[0]
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        match choices.below(64) {
            0..8 => self.complete(choices, true),
            8 => self.complete(choices, false),
            9..12 if self.links.len() < 6 => self.meet(choices),
            9..28 => self.arrive(choices, true),
            28..30 => self.arrive(choices, false),
            30..44 => {
                let link = self.some_link(choices, false);
                let Some(msg) = sendable(self.peer_message(choices, link)) else { return };
                self.input(PeerInput::Peer { link, msg });
            }
            44..46 => {
                let link = self.some_link(choices, true);
                let Some(msg) = sendable(self.tracker_message(choices, link)) else { return };
                self.input(PeerInput::Tracker { link, msg });
            }
            46..50 => {
                let link = self.some_link(choices, false);
                let bytes = if choices.rarely(64) { u32::MAX } else { 300_000 * choices.below(8) as u32 };
                if let Some(up) = self.links.get_mut(&link) {
                    up.credit += i64::from(bytes);
                }
                self.input(PeerInput::Writable { link, bytes });
            }
            50 => {
                let link = self.some_link(choices, false);
                self.links.remove(&link);
                // What was being written then is reported still.
                self.expected.retain(|e| e.link != link || choices.rarely(4));
                let reason = choices.one_of(&[
                    CloseReason::Broken,
                    CloseReason::Done,
                    CloseReason::Misbehaved(Misbehaviour::Garbage),
                    CloseReason::Overflow,
                ]);
                self.input(PeerInput::LinkDown { link, reason: reason.unwrap_or(CloseReason::Broken) });
            }
            51 => self.notice(choices),
            52..55 => {
                let command = self.command(choices);
                self.input(PeerInput::Command(command));
            }
            55 => self.input(PeerInput::Tick),
            _ => {
                self.now = self.now + choices.pause();
                self.input(PeerInput::Tick);
            }
        }
    }

    /// Gives an input, and then ticks for as long as the machine says "now".
    fn input(&mut self, input: PeerInput) {
        self.handle(input);
        let mut ticks = 0;
        while self.machine().deadline().is_some_and(|d| d.at <= self.now) {
            let due = self.machine().deadline();
            self.handle(PeerInput::Tick);
            ticks += 1;
            assert!(ticks < TICKS_MAX, "{due:?} at {:?} moves or is cleared", self.now);
        }
    }

    fn handle(&mut self, input: PeerInput) {
        self.story.tell(self.now, &input);
        let effects = handle_twice(self.now, input, &mut self.machines);
        for effect in &effects {
            self.story.tell(self.now, effect);
        }
        self.machine().check_invariants();
        for effect in effects {
            self.effect(effect);
        }
        while self.pending.len() > OPS_MAX {
            self.pending.pop_front();
        }
        while self.expected.len() > OPS_MAX {
            self.expected.pop_front();
        }
    }

    /// Notes what an effect asks for; it must be one that a driver can perform.
    fn effect(&mut self, effect: PeerEffect) {
        match effect {
            PeerEffect::Dial { op, addr, role } => self.pending.push_back(Pending::Dial { op, addr, role }),
            PeerEffect::Close { link, .. } => {
                assert!(self.links.remove(&link).is_some(), "{link:?} is up when it is closed");
                self.expected.retain(|e| e.link != link);
            }
            PeerEffect::SendPeer { link, msg } => {
                check_message(&msg);
                let up = self.up(link);
                assert!(!up.tracker, "the tracker is spoken to as one");
                if let PeerMessage::Join { slot, .. } = msg
                    && !up.mine.contains(&slot)
                {
                    up.mine.push(slot);
                }
                if let PeerMessage::RequestAny { choice, .. } = msg {
                    up.choices.push(choice);
                }
            }
            PeerEffect::SendTracker { link, msg } => {
                check_message(&msg);
                let up = self.up(link);
                assert!(up.tracker, "a peer is spoken to as one");
                up.seqs.extend(seq_of(&msg));
            }
            PeerEffect::SendChunk { link, key, at, .. } => {
                let held = self.machine().held(key).expect("only what is held is sent");
                assert!(held.contains(at.piece), "{at:?} of {key:?} is held when it is sent");
                let geometry = Geometry::new(key.length).expect("a content");
                let bytes = geometry.chunk_bytes(at).expect("a chunk of the content");
                let up = self.up(link);
                up.credit -= i64::from(bytes) + 16;
                assert!(up.credit >= 0, "no chunk without credit");
            }
            PeerEffect::Expect { link, op, key, run, .. } => {
                self.up(link);
                let geometry = Geometry::new(key.length).expect("a content");
                assert!(geometry.contains_run(run), "{run:?} exists");
                self.expected.push_back(Expected { link, op, key, run });
            }
            // A link that went down takes what was expected on it along; saying so again does no harm.
            PeerEffect::Unexpect { .. } => {}
            PeerEffect::Open { op, key, place, table } => {
                self.pending.push_back(Pending::Open { op, key, place, with_table: table.is_some() });
            }
            PeerEffect::Reserve { op, .. } => self.pending.push_back(Pending::Reserve(op)),
            PeerEffect::ReadListing { op, download } => {
                self.pending.push_back(Pending::Listing(op, download))
            }
            PeerEffect::Sync { op, .. } => self.pending.push_back(Pending::Sync(op)),
            PeerEffect::Finish { op, .. } => self.pending.push_back(Pending::Finish(op)),
            PeerEffect::CopyLocal { op, .. } => self.pending.push_back(Pending::Copy(op)),
            PeerEffect::Release { .. } => {}
            PeerEffect::Report(event) => self.report(&event),
        }
    }

    fn report(&self, event: &PeerEvent) {
        if let PeerEvent::PieceVerified { key, piece, .. } = event {
            // A failed sync later in the same input may take it back; but not more than the machine knows.
            assert!(piece.0 < Geometry::new(key.length).map_or(0, |g| g.pieces()), "{piece:?} exists");
        }
    }

    fn up(&mut self, link: LinkId) -> &mut Up {
        self.links.get_mut(&link).expect("nothing is done with a link that is gone")
    }

    /// Mostly one that is up; sometimes one that was, or never will be.
    fn some_link(&self, choices: &mut Choices<'_>, tracker: bool) -> LinkId {
        if choices.rarely(32) {
            return LinkId(choices.byte().into());
        }
        let these: Vec<LinkId> =
            self.links.iter().filter(|(_, up)| up.tracker == tracker).map(|(link, _)| *link).collect();
        choices.one_of(&these).unwrap_or(LinkId(0))
    }

    /// A link comes up, dialed or not, with or without its greeting; or a dial fails.
    fn meet(&mut self, choices: &mut Choices<'_>) {
        let dials: Vec<(usize, OpId, SocketAddr, Role)> = self
            .pending
            .iter()
            .enumerate()
            .filter_map(|(i, p)| {
                let Pending::Dial { op, addr, role } = p else { return None };
                Some((i, *op, *addr, *role))
            })
            .collect();
        let dialed = if choices.rarely(3) { None } else { choices.one_of(&dials) };
        let (op, addr, role) = match dialed {
            Some((i, op, addr, role)) => {
                self.pending.remove(i);
                if choices.rarely(6) {
                    let errors = [DialError::Refused, DialError::TimedOut, DialError::NotPotluck];
                    let error = choices.one_of(&errors).unwrap_or(DialError::Refused);
                    return self.input(PeerInput::DialFailed { op, error });
                }
                (Some(op), addr, role)
            }
            None if choices.rarely(16) => (Some(OpId(choices.byte().into())), choices.addr(), Role::Peer),
            None => (None, choices.addr(), if choices.rarely(16) { Role::Tracker } else { Role::Peer }),
        };
        let link = LinkId(self.next_link);
        self.next_link += 1;
        self.links.insert(link, Up { tracker: role == Role::Tracker, ..Up::default() });
        // Who answers is mostly who listens there, and has no other link.
        let number = 1 + self.next_link % 5;
        let peer = if choices.rarely(16) { choices.peer() } else { PeerId([number as u8; 32]) };
        self.input(PeerInput::LinkUp { link, op, role, peer, addr });
        if role == Role::Peer && !choices.rarely(16) {
            self.say(link, PeerMessage::Hello { name: choices.name(), listen_port: choices.port() });
            for _ in 0..choices.below(4) {
                self.join(choices, link);
            }
        }
        if role == Role::Tracker
            && let Some(seq) = self.links.get(&link).and_then(|up| up.seqs.first().copied())
            && !choices.rarely(4)
        {
            let (name, token) = (choices.name(), choices.token());
            let msg = TrackerMessage::Joined { seq, name, token, observed: choices.addr(), lease_ms: 15_000 };
            if let Some(msg) = sendable(msg) {
                self.input(PeerInput::Tracker { link, msg });
            }
        }
    }

    fn say(&mut self, link: LinkId, msg: PeerMessage) {
        if let Some(msg) = sendable(msg) {
            self.input(PeerInput::Peer { link, msg });
        }
    }

    /// The far end holds some of a content. It numbers contents as the world does.
    fn join(&mut self, choices: &mut Choices<'_>, link: LinkId) {
        let number = choices.which_content();
        let (slot, content) = (Slot(number as u32), &CONTENTS[number]);
        let key = content.key;
        let bits = choices.one_of(&[0xff, 0x55, 0xaa, 0x0f]).unwrap_or(0);
        if bits == 0xff {
            return self.say(link, PeerMessage::Join { slot, key, holding: Holding::Everything });
        }
        self.say(link, PeerMessage::Join { slot, key, holding: Holding::Some });
        let bits = bitfield(content.synthetic.geometry.pieces(), bits);
        self.say(link, PeerMessage::Bitfield { slot, first: 0, bits });
    }

    /// A disk operation ends: as it should, or as nobody wants.
    fn complete(&mut self, choices: &mut Choices<'_>, well: bool) {
        let at: Vec<usize> =
            (0..self.pending.len()).filter(|i| !matches!(self.pending[*i], Pending::Dial { .. })).collect();
        let oldest = at.iter().take(2).copied().collect::<Vec<_>>();
        let Some(i) = choices.one_of(&oldest) else { return };
        let again = choices.rarely(16);
        let Some(pending) = (if again { self.pending.get(i).cloned() } else { self.pending.remove(i) })
        else {
            return;
        };
        let faults = [
            StorageFault::Io,
            StorageFault::Full,
            StorageFault::Denied,
            StorageFault::Locked,
            StorageFault::Occupied,
            StorageFault::BadPath,
            StorageFault::TooLarge,
        ];
        let mut done =
            || if well { Ok(()) } else { Err(choices.one_of(&faults).unwrap_or(StorageFault::Io)) };
        let input = match pending {
            Pending::Dial { .. } => return,
            Pending::Reserve(op) => PeerInput::Reserved { op, result: done() },
            Pending::Sync(op) => PeerInput::Synced { op, result: done() },
            Pending::Finish(op) => PeerInput::Finished { op, result: done() },
            Pending::Copy(op) => PeerInput::Copied { op, result: done() },
            Pending::Listing(op, download) => {
                let key = self.downloads.get(&download);
                let folder = CONTENTS.iter().find(|c| Some(&c.key) == key);
                let listing = folder.and_then(|c| c.listing.clone()).ok_or(ListingFault::NotAListing);
                PeerInput::ListingRead { op, result: done().map(|()| listing) }
            }
            Pending::Open { op, key, with_table, place } => {
                let result = done().and_then(|()| opening(choices, key, with_table));
                let _ = place;
                PeerInput::Opened { op, result }
            }
        };
        self.input(input);
    }

    /// A chunk that was expected arrives, right or wrong.
    fn arrive(&mut self, choices: &mut Choices<'_>, well: bool) {
        let all: Vec<usize> = (0..self.expected.len()).collect();
        let Some(i) = choices.one_of(&all) else { return };
        let Some(expected) = self.expected.get(i).cloned() else { return };
        let Expected { op, key, run, .. } = expected;
        let content = CONTENTS.iter().find(|c| c.key == key);
        let right = |at| content.map_or(ChainingValue([9; 32]), |c| c.synthetic.value(at));
        if well {
            self.expected.remove(i);
            for chunk in run.first..run.first + run.count {
                let at = ChunkAddr { piece: run.piece, chunk };
                self.input(PeerInput::ChunkArrived { op, at, result: Ok(right(at)) });
            }
            return;
        }
        let mut at = ChunkAddr { piece: run.piece, chunk: run.first };
        let result = match choices.below(6) {
            0 | 1 => Ok(ChainingValue([choices.byte(); 32])),
            2 => Err(ChunkFault::WrongLength),
            3 => Err(ChunkFault::Storage(StorageFault::Full)),
            4 => Err(ChunkFault::Storage(StorageFault::Io)),
            _ => {
                at = ChunkAddr { piece: PieceIndex(choices.number()), chunk: choices.number() as u16 };
                Ok(right(at))
            }
        };
        let op = if choices.rarely(16) { OpId(choices.byte().into()) } else { op };
        self.input(PeerInput::ChunkArrived { op, at, result });
    }

    /// Something that the driver sees of its own.
    fn notice(&mut self, choices: &mut Choices<'_>) {
        let link = self.some_link(choices, false);
        let key = choices.key();
        let input = match choices.below(4) {
            0 => PeerInput::Receiving { link, bytes: choices.number() },
            1 if choices.rarely(4) => PeerInput::SourceChanged { key },
            2 => {
                let at = ChunkAddr { piece: PieceIndex(choices.number()), chunk: choices.byte().into() };
                let result = if choices.rarely(16) { SendResult::SourceChanged } else { SendResult::Sent };
                PeerInput::ChunkSent { link, key, at, result }
            }
            _ => PeerInput::DialFailed { op: OpId(choices.byte().into()), error: DialError::Unreachable },
        };
        self.input(input);
    }

    fn command(&mut self, choices: &mut Choices<'_>) -> Command {
        let download = DownloadId(choices.below(6) as u64);
        match choices.below(20) {
            0..7 => {
                let Content { key, kind, .. } = *choices.content();
                let key = if choices.rarely(16) { choices.key() } else { key };
                let kind = if choices.rarely(16) { Kind::Folder } else { kind };
                let peers = choices.some(3, Choices::addr);
                let only_from = if choices.rarely(8) { vec![choices.name()] } else { Vec::new() };
                self.downloads.entry(download).or_insert(key);
                let holders_max = if choices.rarely(8) { 1 } else { 0 };
                let select = if choices.rarely(8) { Selection::nothing() } else { Selection::default() };
                let how = FetchOptions { only_from, holders_max, in_order: choices.rarely(8), select };
                Command::Fetch { download, key, kind, name: choices.name(), peers, how }
            }
            7..10 => {
                let content = choices.content();
                let (key, kind, table) = (content.key, content.kind, content.synthetic.table.clone());
                Command::Share {
                    key,
                    kind,
                    name: choices.name(),
                    member: choices.rarely(3),
                    total: key.length,
                    table,
                }
            }
            10 if choices.rarely(4) => Command::Unshare { key: choices.key() },
            11 if choices.rarely(2) => Command::Stop { download },
            11 | 12 => Command::Resume { download },
            13 | 14 => Command::JoinTracker { addr: choices.addr() },
            15 if choices.rarely(8) => Command::LeaveTracker,
            16 => Command::WatchPeers { on: choices.rarely(2) },
            17 => {
                let rates = [0, 1, 100_000, 10_000_000, u64::MAX];
                Command::LimitRates {
                    up: choices.one_of(&rates).unwrap_or(0),
                    down: choices.one_of(&rates).unwrap_or(0),
                }
            }
            18 if choices.rarely(64) => Command::Leave,
            _ => {
                let question = match choices.below(6) {
                    0 => Question::Contents {
                        matching: Matching::Name(choices.name()),
                        members: false,
                        limit: choices.number(),
                    },
                    1 => {
                        Question::Contents { matching: Matching::All, members: true, limit: choices.number() }
                    }
                    2 => Question::Holders { key: choices.key() },
                    3 => Question::Peers,
                    4 => Question::Rename { name: choices.name() },
                    _ => Question::Synced,
                };
                Command::Ask { op: OpId(choices.number().into()), question }
            }
        }
    }

    fn peer_message(&self, choices: &mut Choices<'_>, link: LinkId) -> PeerMessage {
        let up = self.links.get(&link);
        // The far end numbers its slots by the content's index: so it means something by most.
        let theirs = Slot(choices.which_content() as u32);
        let content = &CONTENTS[theirs.0 as usize];
        let slot = if choices.rarely(16) { Slot(choices.number()) } else { theirs };
        let quoted = up.and_then(|up| choices.one_of(&up.mine)).unwrap_or(theirs);
        let pieces = content.synthetic.geometry.pieces();
        let piece = |choices: &mut Choices<'_>| match choices.below(8) {
            7 => PieceIndex(choices.number()),
            i => PieceIndex((pieces.saturating_sub(1)).saturating_sub(i as u32)),
        };
        match choices.below(24) {
            0 if choices.rarely(16) => {
                PeerMessage::Hello { name: choices.name(), listen_port: choices.port() }
            }
            0..4 => {
                let holdings = [Holding::Everything, Holding::Some, Holding::Nothing, Holding::Table];
                let holding = choices.one_of(&holdings).unwrap_or(Holding::Nothing);
                let key = if choices.rarely(16) { choices.key() } else { content.key };
                PeerMessage::Join { slot, key, holding }
            }
            4 | 5 => {
                let mut bits = bitfield(pieces, [0xff, 0x55, 0][choices.below(3)]);
                if choices.rarely(16) {
                    bits.push(1);
                }
                PeerMessage::Bitfield {
                    slot,
                    first: if choices.rarely(16) { choices.number() } else { 0 },
                    bits,
                }
            }
            6..9 => PeerMessage::Have { slot, pieces: choices.some(6, piece) },
            9 if choices.rarely(3) => PeerMessage::Leave { slot },
            10 => PeerMessage::Retract { slot, pieces: choices.some(3, piece) },
            11..14 => {
                let run = ChunkRun {
                    piece: piece(choices),
                    first: if choices.rarely(4) { choices.number() as u16 } else { 0 },
                    count: if choices.rarely(4) { choices.number() as u16 } else { 1 },
                };
                PeerMessage::Request { slot, run }
            }
            14 => PeerMessage::RequestAny { slot, choice: choices.number(), pieces: choices.some(20, piece) },
            15 => {
                let which = match choices.below(2) {
                    0 => RequestRef::Piece(piece(choices)),
                    _ => RequestRef::Choice(choices.number()),
                };
                PeerMessage::Cancel { slot, which }
            }
            16..19 => {
                let choice = up.and_then(|up| choices.one_of(&up.choices));
                let which = match (choices.below(2), choice) {
                    (1, Some(choice)) => RequestRef::Choice(choice),
                    _ => RequestRef::Piece(piece(choices)),
                };
                let why = if choices.rarely(2) {
                    Refusal::Lacks
                } else {
                    Refusal::Busy { retry_ms: choices.number() }
                };
                PeerMessage::Refuse { slot: quoted, which, why }
            }
            19 => PeerMessage::RequestTable { slot, first: choices.number(), count: choices.number() },
            20 => {
                let content = choices.content();
                let values = content.synthetic.table.as_ref().map_or(&[][..], |t| t.values());
                let first = if choices.rarely(8) { choices.number() } else { 0 };
                PeerMessage::Table { slot: quoted, first, values: values.to_vec() }
            }
            21 => PeerMessage::Holders { slot, peers: known_peers(choices) },
            22 => match choices.below(3) {
                0 => PeerMessage::Find { seq: choices.number(), what: choices.name() },
                1 => {
                    let offer =
                        |c: &mut Choices<'_>| Offer { key: c.key(), kind: Kind::File, name: c.name() };
                    PeerMessage::Found { seq: choices.number(), offers: choices.some(4, offer) }
                }
                _ if choices.rarely(4) => PeerMessage::Absent { slot: quoted, peers: known_peers(choices) },
                _ => PeerMessage::Ping { nonce: 0 },
            },
            _ => match choices.below(2) {
                0 => PeerMessage::Ping { nonce: 1 },
                _ => PeerMessage::Pong { nonce: 1 },
            },
        }
    }

    fn tracker_message(&self, choices: &mut Choices<'_>, link: LinkId) -> TrackerMessage {
        let seqs = self.links.get(&link).map_or(&[][..], |up| &up.seqs);
        let seq = if choices.rarely(8) { choices.number() } else { choices.one_of(seqs).unwrap_or(0) };
        let holder = |c: &mut Choices<'_>| HolderRow {
            peer: c.peer(),
            name: c.name(),
            reach: c.reach(),
            pieces: c.number(),
        };
        let peer = |c: &mut Choices<'_>| PeerRow { peer: c.peer(), name: c.name(), reach: c.reach() };
        let next_peer = |c: &mut Choices<'_>| if c.rarely(3) { Some(c.peer()) } else { None };
        match choices.below(12) {
            0 => {
                let (name, token, observed) = (choices.name(), choices.token(), choices.addr());
                TrackerMessage::Joined { seq, name, token, observed, lease_ms: choices.number() }
            }
            1 | 2 => TrackerMessage::Done { seq },
            3 => {
                let why = match choices.below(4) {
                    0 => RefusedRequest::NameTaken { offer: choices.name() },
                    1 => RefusedRequest::NotJoined,
                    2 => RefusedRequest::Limit(String::new()),
                    _ => RefusedRequest::BadName,
                };
                TrackerMessage::Refused { seq, why }
            }
            4 => {
                let row = |c: &mut Choices<'_>| Row {
                    key: c.key(),
                    kind: Kind::File,
                    name: c.name(),
                    complete: c.number(),
                    partial: c.number(),
                    total: u64::from(c.number()),
                };
                let rows = choices.some(4, row);
                let next = choices.rarely(2).then(|| Cursor { name: choices.name(), key: choices.key() });
                TrackerMessage::Rows { seq, rows, next }
            }
            5 => TrackerMessage::HolderRows { seq, rows: choices.some(4, holder), next: next_peer(choices) },
            6 => TrackerMessage::PeerRows { seq, rows: choices.some(4, peer), next: next_peer(choices) },
            7 | 8 => TrackerMessage::HolderChange {
                key: choices.key(),
                now: choices.some(4, holder),
                gone: choices.some(2, Choices::peer),
            },
            9 => TrackerMessage::PeerChange {
                joined: choices.some(3, peer),
                left: choices.some(2, |c| (c.peer(), c.name())),
            },
            10 => TrackerMessage::PleaseDial { row: peer(choices) },
            _ => match choices.below(2) {
                0 => TrackerMessage::Ping { nonce: 1 },
                _ => TrackerMessage::Pong { nonce: 1 },
            },
        }
    }
}

/// The pieces of a content that a pattern repeated every eight pieces has.
fn bitfield(pieces: u32, pattern: u8) -> Vec<u8> {
    let mut bits = vec![pattern; pieces.div_ceil(8) as usize];
    if let Some(last) = bits.last_mut()
        && !pieces.is_multiple_of(8)
    {
        *last &= (1 << (pieces % 8)) - 1;
    }
    bits
}

/// What a disk could answer to `Open`, and at times what it could not.
fn opening(choices: &mut Choices<'_>, key: ContentKey, with_table: bool) -> Result<Opening, StorageFault> {
    let content = match CONTENTS.iter().find(|c| c.key == key) {
        Some(content) if !choices.rarely(16) => content,
        _ => choices.content(),
    };
    let (table, pieces) = (content.synthetic.table.clone(), content.synthetic.geometry.pieces());
    if table.is_some() && !with_table && choices.rarely(2) {
        return Ok(Opening::NeedsTable);
    }
    Ok(match choices.below(32) {
        1 => Opening::Finished { table },
        2 => Opening::NeedsTable,
        3 => Opening::Part { table: None, have: PieceSet::empty(pieces) },
        4 => Opening::Part { table, have: PieceSet::full(pieces) },
        5..20 => {
            // All but the first and the last few: what is left of many pieces fits a short script.
            let mut have = PieceSet::full(pieces);
            for piece in (0..2).chain(pieces.saturating_sub(4)..pieces) {
                have.remove(PieceIndex(piece));
            }
            Opening::Part { table, have }
        }
        _ => Opening::Part { table, have: PieceSet::empty(pieces) },
    })
}

fn seq_of(msg: &TrackerRequest) -> Option<u32> {
    match msg {
        TrackerRequest::Join { seq, .. }
        | TrackerRequest::Rename { seq, .. }
        | TrackerRequest::Announce { seq, .. }
        | TrackerRequest::Withdraw { seq, .. }
        | TrackerRequest::Search { seq, .. }
        | TrackerRequest::Holders { seq, .. }
        | TrackerRequest::Peers { seq, .. }
        | TrackerRequest::AcceptOffers { seq, .. }
        | TrackerRequest::OfferTo { seq, .. } => Some(*seq),
        TrackerRequest::Leave {}
        | TrackerRequest::AlsoNamed { .. }
        | TrackerRequest::Watch { .. }
        | TrackerRequest::Unwatch { .. }
        | TrackerRequest::WatchPeers { .. }
        | TrackerRequest::AskToDial { .. }
        | TrackerRequest::Ping { .. }
        | TrackerRequest::Pong { .. } => None,
    }
}

fn known_peers(choices: &mut Choices<'_>) -> Vec<KnownPeer> {
    choices.some(40, |c| KnownPeer { peer: c.peer(), addr: c.addr() })
}
