//! What an input costs the peer machine: chunks that arrive in a download with many pieces over many links, each folded,
//! announced to everybody, and followed by a request for another; and chunks that leave to many.
//!
//! Run: `cargo bench --bench peer_step`.
#![expect(clippy::unwrap_used, reason = "what cannot be set up ends the benchmark")]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use potluck_core::Machine;
use potluck_core::content::{Geometry, Kind, PieceSet, PieceTable, fold_piece, fold_table};
use potluck_core::effects::Effects;
use potluck_core::ids::{
    ChainingValue, ChunkAddr, ChunkRun, ContentKey, DownloadId, LinkId, OpId, PeerId, PieceIndex, Slot,
};
use potluck_core::limits::{BITFIELD_SLICE_BYTES, CHUNK_BYTES, PIECE_BYTES_MAX};
use potluck_core::peer::{
    Command, FetchOptions, Opening, Peer, PeerConfig, PeerEffect, PeerInput, Role, SendResult,
};
use potluck_core::seed::Seed;
use potluck_core::time::Instant;
use potluck_core::wire::frame::Header;
use potluck_core::wire::peer::{Holding, PeerMessage};
use rand_chacha::rand_core::Rng;

/// Pieces of 16 MiB begin a little above a thousand.
const PIECES: [u64; 3] = [1_100, 100_000, 1_000_000];
const LINKS: [u64; 2] = [8, 200];

fn config() -> PeerConfig {
    PeerConfig {
        peer: PeerId([255; 32]),
        name: "bench".to_owned(),
        any_name: false,
        listen_port: 1000,
        seed: Seed::from_number(1),
        inflight_bytes_max: 256 << 20,
        upload_links_max: 64,
        up_rate_max: 0,
        down_rate_max: 0,
    }
}

fn link_up(number: u64) -> PeerInput {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&number.to_le_bytes());
    let addr = SocketAddr::from(([10, 0, 1, number as u8], 1000));
    PeerInput::LinkUp { link: LinkId(number), op: None, role: Role::Peer, peer: PeerId(id), addr }
}

/// A download under way, and the chunks that it expects.
struct Swarm {
    peer: Peer,
    now: Instant,
    effects: Effects<PeerEffect>,
    expected: VecDeque<(OpId, ChunkAddr)>,
    value: ChainingValue,
}

impl Swarm {
    fn new(pieces: u64, links: u64) -> Self {
        let value = ChainingValue(*blake3::hash(b"every chunk").as_bytes());
        let geometry = Geometry::new(pieces * PIECE_BYTES_MAX).unwrap();
        let chunks = geometry.chunks(PieceIndex(0)).unwrap();
        let piece = fold_piece(&geometry, PieceIndex(0), &vec![value; chunks.into()]).unwrap();
        let values = vec![piece; geometry.pieces() as usize];
        let key = ContentKey { id: fold_table(&geometry, &values).unwrap(), length: geometry.length() };
        let table = Arc::new(PieceTable::new(key, values).unwrap());
        let mut swarm = Self {
            peer: Peer::new(config()),
            now: Instant::from_millis(1),
            effects: Effects::new(),
            expected: VecDeque::new(),
            value,
        };
        let (download, kind, name) = (DownloadId(1), Kind::File, "it".to_owned());
        let (peers, how) = (Vec::new(), FetchOptions::default());
        swarm.input(PeerInput::Command(Command::Fetch { download, key, kind, name, peers, how }));
        // The first operation is to open the place.
        let have = PieceSet::empty(geometry.pieces());
        let opening = Opening::Part { table: Some(table), have };
        swarm.input(PeerInput::Opened { op: OpId(1), result: Ok(opening) });
        let mut rng = Seed::from_number(3).rng();
        for number in 1..=links {
            let (link, slot) = (LinkId(number), Slot(1));
            swarm.input(link_up(number));
            let name = format!("peer {number}");
            swarm.says(link, PeerMessage::Hello { name, listen_port: 1000 });
            // Two have everything, the others an eighth each.
            if number <= 2 {
                swarm.says(link, PeerMessage::Join { slot, key, holding: Holding::Everything });
                continue;
            }
            swarm.says(link, PeerMessage::Join { slot, key, holding: Holding::Some });
            let mut set = PieceSet::empty(geometry.pieces());
            for _ in 0..pieces / 8 {
                set.insert(PieceIndex((u64::from(rng.next_u32()) % pieces) as u32));
            }
            for first in (0..geometry.pieces()).step_by(8 * BITFIELD_SLICE_BYTES) {
                let bits = set.to_slice(first, BITFIELD_SLICE_BYTES);
                swarm.says(link, PeerMessage::Bitfield { slot, first, bits });
            }
        }
        swarm
    }

    fn says(&mut self, link: LinkId, msg: PeerMessage) {
        self.input(PeerInput::Peer { link, msg });
    }

    fn input(&mut self, input: PeerInput) {
        self.peer.handle(self.now, input, &mut self.effects);
        for effect in self.effects.drain() {
            if let PeerEffect::Expect { op, run, .. } = effect {
                let at = |chunk| (op, ChunkAddr { piece: run.piece, chunk });
                self.expected.extend((run.first..run.first + run.count).map(at));
            }
        }
    }

    /// The oldest chunk that is expected arrives, and what is due is done.
    fn step(&mut self) {
        self.now = self.now + Duration::from_micros(200);
        if self.peer.deadline().is_some_and(|due| due.at <= self.now) {
            self.input(PeerInput::Tick);
        }
        if let Some((op, at)) = self.expected.pop_front() {
            self.input(PeerInput::ChunkArrived { op, at, result: Ok(self.value) });
        }
    }
}

fn steps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("peer_step");
    group.throughput(Throughput::Elements(1)).sample_size(20);
    for links in LINKS {
        for pieces in PIECES {
            let id = BenchmarkId::new("chunk", format!("links={links}/pieces={pieces}"));
            let mut swarm = Swarm::new(pieces, links);
            group.bench_function(id, |bencher| {
                bencher.iter(|| {
                    if swarm.expected.is_empty() {
                        swarm = Swarm::new(pieces, links);
                    }
                    swarm.step();
                });
            });
        }
    }
    group.finish();
}

/// A holder of everything whose links all ask for more than leaves: each chunk that has left lets another go, and its link
/// asks for one more.
struct Holder {
    peer: Peer,
    now: Instant,
    effects: Effects<PeerEffect>,
    leaving: VecDeque<(LinkId, ChunkAddr)>,
    key: ContentKey,
}

impl Holder {
    fn new(pieces: u64, links: u64) -> Self {
        let geometry = Geometry::new(pieces * PIECE_BYTES_MAX).unwrap();
        let values = vec![ChainingValue([7; 32]); geometry.pieces() as usize];
        let key = ContentKey { id: fold_table(&geometry, &values).unwrap(), length: geometry.length() };
        let table = Some(Arc::new(PieceTable::new(key, values).unwrap()));
        let (now, effects, leaving) = (Instant::from_millis(1), Effects::new(), VecDeque::new());
        let mut holder = Self { peer: Peer::new(config()), now, effects, leaving, key };
        let (kind, name, total) = (Kind::File, "it".to_owned(), key.length);
        holder.input(PeerInput::Command(Command::Share { key, kind, name, member: false, total, table }));
        for number in 1..=links {
            let link = LinkId(number);
            holder.input(link_up(number));
            let hello = PeerMessage::Hello { name: format!("peer {number}"), listen_port: 1000 };
            let join = PeerMessage::Join { slot: Slot(1), key, holding: Holding::Nothing };
            holder.input(PeerInput::Peer { link, msg: hello });
            holder.input(PeerInput::Peer { link, msg: join });
            holder.input(PeerInput::Writable { link, bytes: 1 << 20 });
            (0..4).for_each(|_| holder.ask(link));
        }
        holder
    }

    fn ask(&mut self, link: LinkId) {
        let run = ChunkRun { piece: PieceIndex(link.0 as u32), first: 0, count: 1 };
        self.input(PeerInput::Peer { link, msg: PeerMessage::Request { slot: Slot(1), run } });
    }

    fn input(&mut self, input: PeerInput) {
        self.peer.handle(self.now, input, &mut self.effects);
        for effect in self.effects.drain() {
            if let PeerEffect::SendChunk { link, at, .. } = effect {
                self.leaving.push_back((link, at));
            }
        }
    }

    /// The oldest chunk has left.
    fn step(&mut self) {
        self.now = self.now + Duration::from_micros(200);
        if self.peer.deadline().is_some_and(|due| due.at <= self.now) {
            self.input(PeerInput::Tick);
        }
        let (link, at) = self.leaving.pop_front().unwrap();
        self.input(PeerInput::ChunkSent { link, key: self.key, at, result: SendResult::Sent });
        self.input(PeerInput::Writable { link, bytes: CHUNK_BYTES as u32 + Header::BYTES as u32 });
        self.ask(link);
    }
}

fn uploads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("peer_step");
    group.throughput(Throughput::Elements(1)).sample_size(20);
    for links in LINKS {
        for pieces in PIECES {
            let id = BenchmarkId::new("upload", format!("links={links}/pieces={pieces}"));
            let mut holder = Holder::new(pieces, links);
            group.bench_function(id, |bencher| bencher.iter(|| holder.step()));
        }
    }
    group.finish();
}

criterion_group!(benches, steps, uploads);
criterion_main!(benches);
