//! Whole transfers and a tracker's work over TCP on loopback, in one process: sockets, framing, hashing, disk and machines
//! together. (Against other programs, as processes of their own: `docs/benchmarks.md`.)
//!
//! Run: `cargo bench --bench loopback`.
#![expect(clippy::unwrap_used, reason = "what cannot be set up ends the benchmark")]

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use potluck_core::content::{Kind, SafeName};
use potluck_core::ids::{ContentId, ContentKey, PeerId};
use potluck_core::limits::ADS_PER_MESSAGE;
use potluck_core::peer::{FetchOptions, PeerEvent};
use potluck_core::wire::WireMessage;
use potluck_core::wire::frame::{Header, encode_message};
use potluck_core::wire::handshake::{Handshake, Seeks};
use potluck_core::wire::tracker::{Ad, TrackerMessage, TrackerRequest};
use potluck_transport_tcp::store::Target;
use potluck_transport_tcp::{Event, Fetch, Peer, PeerOptions, Shared, Tracker, TrackerOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

const LENGTH: usize = 256 * 1024 * 1024;
/// Announcements under way on one link; lookups.
const ANNOUNCES: u32 = 8;
const LOOKUPS: u32 = 64;

fn options() -> PeerOptions {
    PeerOptions { listen: ([127, 0, 0, 1], 0).into(), ..PeerOptions::default() }
}

/// Fetches the content with a fresh peer and returns the time from its start to the verified file.
async fn fetch(shared: &Shared, peers: Vec<SocketAddr>, folder: &Path) -> Duration {
    let out = tempfile::tempdir_in(folder).unwrap();
    let name = SafeName::parse(&shared.name).unwrap();
    let target = Target::new(out.path(), &name).unwrap();
    let began = Instant::now();
    let (peer, mut events) = Peer::start(options()).await.unwrap();
    let fetch =
        Fetch { key: shared.key, kind: Kind::File, name, peers, how: FetchOptions::default(), target };
    let download = peer.fetch(fetch).await;
    while events.next().await.unwrap() != Event::Peer(PeerEvent::Completed { download }) {}
    let took = began.elapsed();
    peer.leave().await;
    took
}

fn transfers(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("content");
    let bytes: Vec<u8> =
        (0..LENGTH as u64 / 8).flat_map(|word| word.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect();
    std::fs::write(&path, bytes).unwrap();
    let mut group = criterion.benchmark_group("transfer_256_mib");
    group.throughput(Throughput::Bytes(LENGTH as u64)).sample_size(10);
    for count in [1, 4] {
        let holders = runtime.block_on(async {
            let mut holders = Vec::new();
            for _ in 0..count {
                let (peer, events) = Peer::start(options()).await.unwrap();
                let shared = peer.share(&path).await.unwrap();
                holders.push((peer, events, shared));
            }
            holders
        });
        let addrs: Vec<_> = holders.iter().map(|(peer, ..)| peer.listen_addr()).collect();
        group.bench_function(BenchmarkId::new("holders", count), |bencher| {
            bencher.iter_custom(|times| {
                let fetches = async {
                    let mut took = Duration::ZERO;
                    for _ in 0..times {
                        took += fetch(&holders[0].2, addrs.clone(), folder.path()).await;
                    }
                    took
                };
                runtime.block_on(fetches)
            });
        });
    }
    group.finish();
}

/// A link to a tracker, spoken by hand.
struct Link {
    stream: TcpStream,
    out: Vec<u8>,
}

impl Link {
    async fn join(tracker: SocketAddr, number: u8) -> Self {
        let mut stream = TcpStream::connect(tracker).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(&Handshake::new(PeerId([number; 32]), Seeks::Tracker).encode()).await.unwrap();
        stream.read_exact(&mut [0; Handshake::BYTES]).await.unwrap();
        let mut link = Self { stream, out: Vec::new() };
        let name = format!("bench-{number}");
        link.send(&[TrackerRequest::Join { seq: 0, name, any_name: false, listen_port: 0, token: None }])
            .await;
        assert!(matches!(link.reply().await, TrackerMessage::Joined { .. }));
        link
    }

    async fn send(&mut self, requests: &[TrackerRequest]) {
        self.out.clear();
        for request in requests {
            encode_message(request, &mut self.out);
        }
        self.stream.write_all(&self.out).await.unwrap();
    }

    async fn reply(&mut self) -> TrackerMessage {
        let mut header = [0; Header::BYTES];
        self.stream.read_exact(&mut header).await.unwrap();
        let Header::Control { kind, bytes } = Header::decode(&header).unwrap() else { panic!("a chunk") };
        let mut body = vec![0; bytes as usize];
        self.stream.read_exact(&mut body).await.unwrap();
        TrackerMessage::decode_body(kind, &body).unwrap()
    }

    /// Announces what is new in each round, with several batches under way.
    async fn announce(&mut self, number: u8, round: u64) {
        let batch = |seq: u32| {
            let ad = |index: usize| Ad {
                key: key(number, round, seq, index),
                kind: Kind::File,
                name: format!("file {seq}-{index}.bin"),
                member: false,
                pieces: 1,
                total: 1,
            };
            TrackerRequest::Announce { seq, ads: (0..ADS_PER_MESSAGE).map(ad).collect() }
        };
        let requests: Vec<_> = (0..ANNOUNCES).map(batch).collect();
        self.send(&requests).await;
        for _ in 0..ANNOUNCES {
            assert!(matches!(self.reply().await, TrackerMessage::Done { .. }));
        }
    }

    /// Looks up holders of what was announced in a round, with several requests under way.
    async fn look_up(&mut self, number: u8, round: u64) {
        let lookup = |seq: u32| {
            let key = key(number, round, seq % ANNOUNCES, (seq / ANNOUNCES) as usize);
            TrackerRequest::Holders { seq, key, after: None, limit: 32 }
        };
        let requests: Vec<_> = (0..LOOKUPS).map(lookup).collect();
        self.send(&requests).await;
        for _ in 0..LOOKUPS {
            let reply = self.reply().await;
            assert!(matches!(reply, TrackerMessage::HolderRows { rows, .. } if rows.len() == 1));
        }
    }
}

/// A content that is announced in a round, by its place in it.
fn key(number: u8, round: u64, seq: u32, index: usize) -> ContentKey {
    let mut id = [number; 32];
    id[..8].copy_from_slice(&round.to_le_bytes());
    id[8..16].copy_from_slice(&(u64::from(seq) << 32 | index as u64).to_le_bytes());
    ContentKey { id: ContentId(*blake3::hash(&id).as_bytes()), length: 1 }
}

/// The client is part of it, so pinned to one core (`taskset -c 0`) this says less than a tracker with a core to itself does.
fn tracker(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let mut group = criterion.benchmark_group("tracker");
    let contents = u64::from(ANNOUNCES) * ADS_PER_MESSAGE as u64;
    // A peer announces a million contents at most.
    group.throughput(Throughput::Elements(contents)).sample_size(10);
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(1));
    let (tracker, mut link) = runtime.block_on(async {
        let options = TrackerOptions { listen: ([127, 0, 0, 1], 0).into(), ..TrackerOptions::default() };
        let (tracker, mut events) = Tracker::start(options).await.unwrap();
        tokio::spawn(async move { while events.next().await.is_some() {} });
        let link = Link::join(tracker.listen_addr(), 1).await;
        (tracker, link)
    });
    let mut round = 0;
    group.bench_function("announce_2048_contents", |bencher| {
        bencher.iter(|| {
            round += 1;
            runtime.block_on(link.announce(1, round));
        });
    });
    group.throughput(Throughput::Elements(LOOKUPS.into()));
    let mut at = 0;
    group.bench_function("look_up_64", |bencher| {
        bencher.iter(|| {
            at = at % round + 1;
            runtime.block_on(link.look_up(1, at));
        });
    });
    group.finish();
    runtime.block_on(tracker.stop());
}

criterion_group!(benches, transfers, tracker);
criterion_main!(benches);
