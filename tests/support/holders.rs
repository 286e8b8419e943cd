//! One peer machine that downloads, its disk, the readers of its links, and holders that do as a script says: they send in any
//! order, twice, never, late, wrongly, take back, leave, come again. The readers and the disk follow the contract of
//! `PeerEffect::Expect` to the letter; a chunk is first matched, then read, then written and reported, each when the script
//! lets it. After every input the machine's invariants are checked, and that it holds nothing that is not right on the disk.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use potluck_core::Machine;
use potluck_core::content::{self, Kind, PieceSet};
use potluck_core::effects::Effects;
use potluck_core::ids::{
    ChainingValue, ChunkAddr, ContentKey, DownloadId, LinkId, OpId, PeerId, PieceIndex, Slot,
};
use potluck_core::peer::*;
use potluck_core::seed::Seed;
use potluck_core::time::Instant;
use potluck_core::wire::peer::{Holding, PeerMessage, Refusal, RequestRef};

use crate::synthetic::Synthetic;

/// What a holder calls the content.
const THEIRS: Slot = Slot(7);
const DOWNLOAD: DownloadId = DownloadId(1);

/// A content, with bytes or without.
pub(crate) struct Subject {
    pub(crate) of: Synthetic,
    /// Its bytes, for contents small enough to have some.
    pub(crate) bytes: Option<Vec<u8>>,
    /// Pieces that lie on the disk already.
    pub(crate) have: PieceSet,
}

/// What is on its way from a holder.
#[derive(Clone, Debug)]
enum Frame {
    Says(PeerMessage),
    Chunk { slot: Slot, at: ChunkAddr, right: bool, long: bool },
}

/// A chunk that a reader has matched and is reading.
#[derive(Clone, Copy, Debug)]
struct Reading {
    op: OpId,
    at: ChunkAddr,
    right: bool,
    long: bool,
}

pub(crate) struct Holder {
    peer: PeerId,
    addr: SocketAddr,
    pub(crate) has: PieceSet,
    pub(crate) link: Option<LinkId>,
    /// The machine's number for the content on the link.
    slot: Option<Slot>,
    /// Chunks asked of it and not sent.
    pending: Vec<ChunkAddr>,
    choices: Vec<(u32, Vec<PieceIndex>)>,
    wire: VecDeque<Frame>,
    reading: Option<Reading>,
    /// Pieces of which it sent something wrong.
    pub(crate) tampered: BTreeSet<PieceIndex>,
}

/// Counts, in chunks.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Written to the disk.
    pub(crate) written: u64,
    /// Read from links where they had been asked for.
    pub(crate) received: u64,
    /// What the faults of the script may have cost.
    pub(crate) excused: u64,
}

pub(crate) struct World {
    pub(crate) peer: Peer,
    pub(crate) subject: Subject,
    pub(crate) holders: Vec<Holder>,
    pub(crate) events: Vec<PeerEvent>,
    pub(crate) tally: Tally,
    pub(crate) now: Instant,
    /// Chunks of the content in its part file.
    disk: BTreeMap<ChunkAddr, ChainingValue>,
    file: Vec<u8>,
    /// Written since the last sync that went well: what a failed one may lose.
    unsynced: BTreeSet<ChunkAddr>,
    /// Covered by a sync that fails.
    losing: BTreeSet<ChunkAddr>,
    sync_fails: bool,
    reports: VecDeque<PeerInput>,
    expected: BTreeMap<(LinkId, Slot, ChunkAddr), OpId>,
    wanted: BTreeSet<ChunkAddr>,
    /// Written, and not reported yet.
    writing: BTreeSet<ChunkAddr>,
    next_link: u64,
    inputs: u64,
    check_every: u64,
}

fn key(world: &World) -> ContentKey {
    world.subject.of.key
}

impl World {
    /// A download begins; each holder has its pieces and listens.
    pub(crate) fn new(subject: Subject, holders: &[PieceSet]) -> Self {
        let config = PeerConfig {
            peer: PeerId([9; 32]),
            name: "me".to_owned(),
            any_name: false,
            listen_port: 1000,
            seed: Seed::from_number(5),
            inflight_bytes_max: 64 << 20,
            upload_links_max: 8,
            up_rate_max: 0,
            down_rate_max: 0,
        };
        let holders: Vec<Holder> =
            holders.iter().zip(1..).map(|(has, i)| Holder::new(i, has.clone())).collect();
        let peers = holders.iter().map(|h| h.addr).collect();
        let check_every = if subject.of.geometry.pieces() > 64 { 16 } else { 1 };
        let mut world = Self {
            peer: Peer::new(config),
            disk: BTreeMap::new(),
            file: vec![0; subject.bytes.as_ref().map_or(0, Vec::len)],
            subject,
            holders,
            events: Vec::new(),
            tally: Tally::default(),
            now: Instant::ZERO,
            unsynced: BTreeSet::new(),
            losing: BTreeSet::new(),
            sync_fails: false,
            reports: VecDeque::new(),
            expected: BTreeMap::new(),
            wanted: BTreeSet::new(),
            writing: BTreeSet::new(),
            next_link: 1,
            inputs: 0,
            check_every,
        };
        for piece in world.subject.have.clone().iter() {
            for at in world.chunks(piece) {
                world.disk.insert(at, world.subject.of.value(at));
            }
        }
        let fetch = Command::Fetch {
            download: DOWNLOAD,
            key: key(&world),
            kind: Kind::File,
            name: "it".to_owned(),
            peers,
            how: FetchOptions::default(),
        };
        world.input(PeerInput::Command(fetch));
        world
    }

    fn chunks(&self, piece: PieceIndex) -> impl Iterator<Item = ChunkAddr> + use<> {
        let chunks = self.subject.of.geometry.chunks(piece).unwrap_or(0);
        (0..chunks).map(move |chunk| ChunkAddr { piece, chunk })
    }

    pub(crate) fn chunks_per_piece(&self) -> u64 {
        self.chunks(PieceIndex(0)).count() as u64
    }

    /// Chunks that the disk lacked when it began.
    pub(crate) fn needed(&self) -> u64 {
        self.subject.have.iter_missing().map(|piece| self.chunks(piece).count() as u64).sum()
    }

    pub(crate) fn completed(&self) -> bool {
        self.events.contains(&PeerEvent::Completed { download: DOWNLOAD })
    }

    /// Holders of whom nothing is fetched any more.
    pub(crate) fn dropped(&self) -> Vec<usize> {
        let dropped: Vec<PeerId> = self.peer.dropped(key(self)).collect();
        (0..self.holders.len()).filter(|i| dropped.contains(&self.holders[*i].peer)).collect()
    }

    pub(crate) fn held(&self) -> PieceSet {
        self.peer.held(key(self)).expect("the machine takes part in the swarm")
    }

    /// The missing pieces as the machine last told the person, if it waits.
    pub(crate) fn said_missing(&self) -> Option<Vec<(PieceIndex, PieceIndex)>> {
        self.events.iter().rev().find_map(|event| match event {
            PeerEvent::Waiting { missing, .. } => Some(Some(missing.clone())),
            PeerEvent::Resumed { .. } => Some(None),
            _ => None,
        })?
    }

    /// Is the file what it should be, byte by byte?
    pub(crate) fn is_right(&self) -> bool {
        let all = (0..self.subject.of.geometry.pieces()).map(PieceIndex);
        let chunks = all.flat_map(|piece| self.chunks(piece));
        let values = chunks.into_iter().all(|at| self.disk.get(&at) == Some(&self.subject.of.value(at)));
        values && self.subject.bytes.as_ref().is_none_or(|bytes| *bytes == self.file)
    }

    // The machine and its driver.

    fn input(&mut self, input: PeerInput) {
        if let PeerInput::Synced { result: Err(_), .. } = input {
            self.lose();
        }
        self.handle(input);
        let mut ticks = 0;
        while self.peer.deadline().is_some_and(|d| d.at <= self.now) {
            self.handle(PeerInput::Tick);
            ticks += 1;
            assert!(ticks < 64, "{:?} moves or is cleared", self.peer.deadline());
        }
    }

    fn handle(&mut self, input: PeerInput) {
        let mut out = Effects::new();
        self.peer.handle(self.now, input, &mut out);
        self.inputs += 1;
        if self.inputs.is_multiple_of(self.check_every) {
            self.check();
        }
        for effect in out.drain() {
            self.perform(effect);
        }
    }

    /// Nothing is held that is not right on the disk.
    pub(crate) fn check(&self) {
        self.peer.check_invariants();
        for piece in self.held().iter() {
            for at in self.chunks(piece) {
                let right = self.disk.get(&at) == Some(&self.subject.of.value(at));
                assert!(right, "{at:?} is held and not right on the disk");
            }
        }
    }

    fn perform(&mut self, effect: PeerEffect) {
        match effect {
            PeerEffect::Dial { op, addr, .. } => match self.holders.iter().position(|h| h.addr == addr) {
                Some(i) if self.holders[i].link.is_none() => self.link_up(i, Some(op)),
                _ => self.reports.push_back(PeerInput::DialFailed { op, error: DialError::Refused }),
            },
            PeerEffect::Close { link, .. } => {
                if let Some(i) = self.of(link) {
                    self.cut(i);
                }
            }
            PeerEffect::SendPeer { link, msg } => {
                if let Some(i) = self.of(link) {
                    self.told(i, msg);
                }
            }
            PeerEffect::Expect { link, op, slot, run, .. } => {
                for chunk in run.first..run.first + run.count {
                    let at = ChunkAddr { piece: run.piece, chunk };
                    self.expected.insert((link, slot, at), op);
                    if !self.writing.contains(&at) {
                        self.wanted.insert(at);
                    }
                }
            }
            PeerEffect::Unexpect { op, .. } => self.expected.retain(|_, o| *o != op),
            PeerEffect::Open { op, table, .. } => {
                let have = self.subject.have.clone();
                let result = match (&table, self.subject.of.geometry.pieces()) {
                    (None, 2..) => Opening::NeedsTable,
                    _ => Opening::Part { table, have },
                };
                self.reports.push_back(PeerInput::Opened { op, result: Ok(result) });
            }
            PeerEffect::Reserve { op, .. } => {
                self.reports.push_back(PeerInput::Reserved { op, result: Ok(()) })
            }
            PeerEffect::Sync { op, .. } => {
                let written = std::mem::take(&mut self.unsynced);
                let result = if std::mem::take(&mut self.sync_fails) {
                    self.losing.extend(written);
                    Err(StorageFault::Io)
                } else {
                    Ok(())
                };
                self.reports.push_back(PeerInput::Synced { op, result });
            }
            PeerEffect::Finish { op, .. } => {
                assert!(self.is_right(), "only what is right is put in place");
                self.reports.push_back(PeerInput::Finished { op, result: Ok(()) });
            }
            PeerEffect::Report(event) => self.events.push(event),
            PeerEffect::Release { .. } => {}
            PeerEffect::SendTracker { .. }
            | PeerEffect::SendChunk { .. }
            | PeerEffect::ReadListing { .. }
            | PeerEffect::CopyLocal { .. } => panic!("not in this world: {effect:?}"),
        }
    }

    /// What had been written before a failed sync is lost, unless it was written again.
    fn lose(&mut self) {
        for at in std::mem::take(&mut self.losing) {
            self.disk.remove(&at);
            self.tally.excused += self.chunks_per_piece();
        }
    }

    fn of(&self, link: LinkId) -> Option<usize> {
        self.holders.iter().position(|h| h.link == Some(link))
    }

    // What a script can do.

    pub(crate) fn link_up(&mut self, i: usize, op: Option<OpId>) {
        if self.holders[i].link.is_some() {
            return;
        }
        let link = LinkId(self.next_link);
        self.next_link += 1;
        let holder = &mut self.holders[i];
        holder.link = Some(link);
        let hello = PeerMessage::Hello { name: format!("holder{i}"), listen_port: holder.addr.port() };
        holder.wire.push_back(Frame::Says(hello));
        holder.join(self.subject.of.key);
        let (peer, addr) = (holder.peer, holder.addr);
        self.reports.push_back(PeerInput::LinkUp { link, op, role: Role::Peer, peer, addr });
    }

    /// The link breaks; a chunk that was written then is reported still.
    pub(crate) fn link_down(&mut self, i: usize) {
        let Some(link) = self.holders[i].link else { return };
        self.tally.excused += self.chunks_per_piece();
        self.cut(i);
        self.reports.push_back(PeerInput::LinkDown { link, reason: CloseReason::Broken });
    }

    fn cut(&mut self, i: usize) {
        let holder = &mut self.holders[i];
        let Some(link) = holder.link.take() else { return };
        holder.slot = None;
        holder.reading = None;
        holder.pending.clear();
        holder.choices.clear();
        holder.wire.clear();
        self.expected.retain(|(l, ..), _| *l != link);
    }

    /// The machine tells a holder something, which it takes note of at once.
    fn told(&mut self, i: usize, msg: PeerMessage) {
        let held = self.held();
        let geometry = self.subject.of.geometry;
        let holder = &mut self.holders[i];
        match msg {
            PeerMessage::Join { slot, holding, .. } => {
                holder.slot = Some(slot);
                assert!(holding != Holding::Everything || held.is_full(), "a holder of all has all");
            }
            PeerMessage::Have { pieces, .. } => {
                // A failed sync in the same input takes pieces back that were announced before.
                assert!(pieces.iter().all(|p| p.0 < geometry.pieces()), "pieces that exist are announced");
            }
            PeerMessage::Request { run, .. } => {
                holder.pending.extend(
                    (run.first..run.first + run.count).map(|chunk| ChunkAddr { piece: run.piece, chunk }),
                );
            }
            PeerMessage::RequestAny { choice, pieces, .. } => holder.choices.push((choice, pieces)),
            PeerMessage::Cancel { which: RequestRef::Piece(piece), .. } => {
                holder.pending.retain(|at| at.piece != piece);
            }
            PeerMessage::Cancel { which: RequestRef::Choice(choice), .. } => {
                holder.choices.retain(|(c, _)| *c != choice);
            }
            PeerMessage::RequestTable { slot, first, count } => {
                let table = self.subject.of.table.as_ref().expect("a table is asked for where there is one");
                let end = (first + count).min(geometry.pieces());
                let values = table.values()[first as usize..end as usize].to_vec();
                holder.wire.push_back(Frame::Says(PeerMessage::Table { slot, first, values }));
            }
            PeerMessage::Leave { .. } => {
                holder.slot = None;
                holder.pending.clear();
                holder.choices.clear();
            }
            PeerMessage::Ping { nonce } => holder.wire.push_back(Frame::Says(PeerMessage::Pong { nonce })),
            _ => {}
        }
    }

    /// A holder sends the `n`th of what it was asked for.
    pub(crate) fn serve(&mut self, i: usize, n: usize, right: bool) -> bool {
        let holder = &mut self.holders[i];
        let Some(slot) = holder.slot else { return false };
        if holder.pending.is_empty() && !holder.choices.is_empty() {
            let (choice, pieces) = holder.choices.remove(n % holder.choices.len());
            let chosen: Vec<PieceIndex> = pieces.into_iter().filter(|p| holder.has.contains(*p)).collect();
            let Some(piece) = chosen.get(n % chosen.len().max(1)).copied() else {
                let which = RequestRef::Choice(choice);
                holder.wire.push_back(Frame::Says(PeerMessage::Refuse { slot, which, why: Refusal::Lacks }));
                return true;
            };
            let chunks = self.subject.of.geometry.chunks(piece).unwrap_or(0);
            holder.pending.extend((0..chunks).map(|chunk| ChunkAddr { piece, chunk }));
        }
        if holder.pending.is_empty() {
            return false;
        }
        let at = holder.pending.remove(n % holder.pending.len());
        if !holder.has.contains(at.piece) {
            let which = RequestRef::Piece(at.piece);
            holder.pending.retain(|other| other.piece != at.piece);
            holder.wire.push_back(Frame::Says(PeerMessage::Refuse { slot, which, why: Refusal::Lacks }));
            return true;
        }
        if !right {
            holder.tampered.insert(at.piece);
        }
        holder.wire.push_back(Frame::Chunk { slot, at, right, long: false });
        if !right {
            self.tally.excused += 2 * self.chunks_per_piece();
        }
        true
    }

    /// A holder sends what nobody asked it for, or sends it again.
    pub(crate) fn intrude(&mut self, i: usize, piece: u32, chunk: u16, right: bool, long: bool) {
        let piece = PieceIndex(piece % self.subject.of.geometry.pieces());
        let chunk = chunk % self.subject.of.geometry.chunks(piece).unwrap_or(1);
        let holder = &mut self.holders[i];
        let Some(slot) = holder.slot else { return };
        if !right || long {
            holder.tampered.insert(piece);
        }
        holder.wire.push_back(Frame::Chunk { slot, at: ChunkAddr { piece, chunk }, right, long });
        self.tally.excused += 2 * self.chunks_per_piece();
    }

    /// A holder forgets what it was asked for, or says that it will not send it.
    pub(crate) fn refuse(&mut self, i: usize, n: usize, why: Option<Refusal>) {
        let holder = &mut self.holders[i];
        let Some(slot) = holder.slot else { return };
        let which = if holder.pending.is_empty() {
            if holder.choices.is_empty() {
                return;
            }
            RequestRef::Choice(holder.choices.remove(n % holder.choices.len()).0)
        } else {
            let piece = holder.pending[n % holder.pending.len()].piece;
            holder.pending.retain(|at| at.piece != piece);
            RequestRef::Piece(piece)
        };
        if let Some(why) = why {
            holder.wire.push_back(Frame::Says(PeerMessage::Refuse { slot, which, why }));
        }
    }

    /// A holder's file changed: it takes back some pieces, or all.
    pub(crate) fn retract(&mut self, i: usize, pieces: Vec<PieceIndex>) {
        let holder = &mut self.holders[i];
        if holder.link.is_none() {
            return;
        }
        let all: Vec<PieceIndex> = holder.has.iter().collect();
        for piece in if pieces.is_empty() { all } else { pieces.clone() } {
            holder.has.remove(piece);
            holder.pending.retain(|at| at.piece != piece);
        }
        holder.wire.push_back(Frame::Says(PeerMessage::Retract { slot: THEIRS, pieces }));
        // At most what it sent of pieces that are not whole: of each that was asked of it.
        self.tally.excused += 4 * self.chunks_per_piece();
    }

    pub(crate) fn have(&mut self, i: usize, piece: PieceIndex) {
        let holder = &mut self.holders[i];
        if holder.link.is_some() && piece.0 < holder.has.len() {
            holder.has.insert(piece);
            holder.wire.push_back(Frame::Says(PeerMessage::Have { slot: THEIRS, pieces: vec![piece] }));
        }
    }

    /// What it has of the wanted pieces is announced anew, for it may have said that it lacks some.
    fn have_all(&mut self, i: usize) {
        let holder = &mut self.holders[i];
        let pieces: Vec<PieceIndex> =
            self.subject.have.iter_missing().filter(|p| holder.has.contains(*p)).collect();
        if holder.link.is_some() {
            holder.wire.push_back(Frame::Says(PeerMessage::Have { slot: THEIRS, pieces }));
        }
    }

    pub(crate) fn fail_next_sync(&mut self) {
        self.sync_fails = true;
    }

    /// The reader of a link goes one step: it takes up the next frame, or has read the chunk that it took up before.
    pub(crate) fn read(&mut self, i: usize) -> bool {
        let Some(link) = self.holders[i].link else { return false };
        if let Some(reading) = self.holders[i].reading.take() {
            self.write(reading);
            return true;
        }
        match self.holders[i].wire.pop_front() {
            None => return false,
            Some(Frame::Says(msg)) => self.reports.push_back(PeerInput::Peer { link, msg }),
            Some(Frame::Chunk { slot, at, right, long }) => {
                if let Some(op) = self.expected.remove(&(link, slot, at)) {
                    self.tally.received += 1;
                    self.holders[i].reading = Some(Reading { op, at, right, long });
                }
            }
        }
        true
    }

    /// What was read is written, if it is still wanted, and reported.
    fn write(&mut self, reading: Reading) {
        let Reading { op, at, right, long } = reading;
        if long {
            self.reports.push_back(PeerInput::ChunkArrived { op, at, result: Err(ChunkFault::WrongLength) });
            return;
        }
        if !self.wanted.remove(&at) {
            return;
        }
        let value = self.hash(at, right);
        self.disk.insert(at, value);
        self.unsynced.insert(at);
        self.losing.remove(&at);
        self.writing.insert(at);
        self.tally.written += 1;
        self.reports.push_back(PeerInput::ChunkArrived { op, at, result: Ok(value) });
    }

    /// Writes the bytes of a chunk where there are bytes; its value.
    fn hash(&mut self, at: ChunkAddr, right: bool) -> ChainingValue {
        let geometry = self.subject.of.geometry;
        let Some(bytes) = &self.subject.bytes else {
            let mut value = self.subject.of.value(at);
            value.0[0] ^= u8::from(!right);
            return value;
        };
        let from = geometry.chunk_offset(at).expect("a chunk of the content") as usize;
        let range = from..from + geometry.chunk_bytes(at).expect("a chunk of the content") as usize;
        let mut chunk = bytes[range.clone()].to_vec();
        chunk[0] ^= u8::from(!right);
        self.file[range].copy_from_slice(&chunk);
        content::chunk_value(&geometry, at, &chunk).expect("a chunk of the right length")
    }

    /// The machine hears of the oldest thing that it has not heard of.
    pub(crate) fn report(&mut self) -> bool {
        let Some(input) = self.reports.pop_front() else { return false };
        if let PeerInput::ChunkArrived { at, .. } = &input {
            self.writing.remove(at);
        }
        // What came over a link that was closed meanwhile is not passed on.
        let dead = match &input {
            PeerInput::Peer { link, .. } => self.of(*link).is_none(),
            _ => false,
        };
        if !dead {
            self.input(input);
        }
        true
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.peer.deadline().filter(|d| d.at <= end) {
            self.now = self.now.max(due.at);
            self.input(PeerInput::Tick);
        }
        self.now = end;
    }

    /// The faults are over: everybody who has something is here, announces it and sends what it is asked for, until nothing
    /// changes any more.
    pub(crate) fn settle(&mut self) {
        for i in 0..self.holders.len() {
            self.have_all(i);
        }
        let end = self.now + Duration::from_secs(120);
        while self.now < end && !self.completed() {
            for i in 0..self.holders.len() {
                self.link_up(i, None);
            }
            let (mut busy, mut steps) = (true, 0u32);
            while busy {
                steps += 1;
                assert!(steps < 100_000, "the swarm comes to rest");
                busy = self.report();
                for i in 0..self.holders.len() {
                    busy |= self.read(i);
                    busy |= self.serve(i, 0, true);
                }
            }
            self.pass(Duration::from_millis(50));
        }
        while self.report() {}
        self.check();
    }
}

impl Holder {
    fn new(i: u8, has: PieceSet) -> Self {
        Self {
            peer: PeerId([i; 32]),
            addr: SocketAddr::from(([10, 0, 0, i], 1000)),
            has,
            link: None,
            slot: None,
            pending: Vec::new(),
            choices: Vec::new(),
            wire: VecDeque::new(),
            reading: None,
            tampered: BTreeSet::new(),
        }
    }

    fn join(&mut self, key: ContentKey) {
        let all = self.has.is_full();
        let holding = if all { Holding::Everything } else { Holding::Some };
        self.wire.push_back(Frame::Says(PeerMessage::Join { slot: THEIRS, key, holding }));
        if !all {
            let bits = self.has.to_slice(0, self.has.len().div_ceil(8) as usize);
            self.wire.push_back(Frame::Says(PeerMessage::Bitfield { slot: THEIRS, first: 0, bits }));
        }
    }
}
