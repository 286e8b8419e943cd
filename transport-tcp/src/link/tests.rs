//! Two links back to back over the in-memory transport, with real stores behind them and the test as the actor.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use potluck_core::content::{Geometry, Kind, SafeName, chunk_value};
use potluck_core::ids::{ChunkAddr, ChunkRun, ContentKey, DownloadId, OpId, PieceIndex, Slot};
use potluck_core::limits::CHUNK_BYTES;
use potluck_core::peer::{ChunkFault, Misbehaviour, Opening, PeerInput, Place, SendResult, StorageFault};
use potluck_core::wire::frame::Header;
use potluck_core::wire::peer::PeerMessage;
use tokio::io::AsyncWriteExt;

mod small;

use super::*;
use crate::hashing::{Hashing, hash_file};
use crate::lanes::Lanes;
use crate::limits::{BODY_BYTES_PER_ADDRESS, UNASKED_CHUNKS_MAX};
use crate::memory::tests::pair;
use crate::memory::{MemoryReader, MemoryWriter};
use crate::pool::BufferPool;
use crate::store::{Source, Store, StoreOptions, Target};
use crate::transport::{Connection, Copying};
use crate::workers::Workers;

const LINK: LinkId = LinkId(1);
const SLOT: Slot = Slot(5);
const PLACE: Place = Place::Root(DownloadId(1));

type Memory = Connection<MemoryReader, MemoryWriter>;

/// One end: what the actor would hold and hear.
struct End {
    handle: LinkHandle,
    landings: Landings,
    store: Store,
    pool: BufferPool,
    completions: mpsc::UnboundedReceiver<PeerInput>,
    inbound: mpsc::Receiver<(LinkId, FromLink<PeerInput>)>,
    task: tokio::task::JoinHandle<()>,
}

impl End {
    fn start(connection: Memory) -> Self {
        Self::with_workers(connection, Workers::inline())
    }

    fn with_workers(connection: Memory, hashers: Workers) -> Self {
        let (completed, completions) = mpsc::unbounded_channel();
        let (sender, inbound) = mpsc::channel(4);
        let store = Store::new(StoreOptions { hash_threads: 1, ..StoreOptions::default() });
        let pool = BufferPool::new(2 * CHUNK_BYTES);
        let copying = Copying { workers: Workers::inline(), pool: BufferPool::new(0) };
        let gear = ChunkGear {
            receiving: Receiving {
                throttle: Throttle::default(),
                pool: pool.clone(),
                hashers,
                writing: Lanes::new(Workers::inline()),
                store: store.clone(),
                completions: completed.clone(),
            },
            sending: Sending {
                store: store.clone(),
                throttle: Throttle::default(),
                copying,
                completions: completed,
            },
        };
        let handle = LinkHandle::default();
        let wrap = |link, msg: PeerMessage| PeerInput::Peer { link, msg };
        let halves = (connection.reader, connection.writer);
        let task = tokio::spawn(run_link(LINK, halves, handle.clone(), wrap, sender, Some(gear)));
        Self { handle, landings: Landings::default(), store, pool, completions, inbound, task }
    }

    async fn message(&mut self) -> PeerMessage {
        match self.inbound.recv().await {
            Some((LINK, FromLink::Message(PeerInput::Peer { link: LINK, msg }))) => msg,
            other => panic!("no message but {other:?}"),
        }
    }

    async fn down(&mut self) -> CloseReason {
        match self.inbound.recv().await {
            Some((LINK, FromLink::Down(reason))) => reason,
            other => panic!("not down but {other:?}"),
        }
    }

    fn expect(&mut self, op: u64, key: ContentKey, run: ChunkRun) {
        self.expect_at(op, SLOT, key, PLACE, run);
    }

    fn expect_at(&mut self, op: u64, slot: Slot, key: ContentKey, place: Place, run: ChunkRun) {
        let landing = self.landings.want(place, run);
        self.handle.expectations.add(OpId(op), slot, key, place, run, landing);
    }

    fn send(&self, key: ContentKey, at: ChunkAddr) {
        self.handle.outbox.push_chunk(OutgoingChunk { slot: SLOT, key, at });
    }

    fn ping(&self, nonce: u64) {
        self.handle.outbox.push(&PeerMessage::Ping { nonce }).unwrap();
    }

    async fn sent(&mut self) -> (ChunkAddr, SendResult) {
        let Some(PeerInput::ChunkSent { link: LINK, at, result, .. }) = self.completions.recv().await else {
            panic!("not sent");
        };
        let Some(PeerInput::Writable { link: LINK, bytes }) = self.completions.recv().await else {
            panic!("no credit");
        };
        assert!(bytes > Header::BYTES as u32);
        (at, result)
    }

    async fn arrived(&mut self) -> PeerInput {
        self.completions.recv().await.unwrap()
    }
}

/// A content of three and a bit pieces: in a file at the holder, and a part file opened for it at the downloader.
struct Content {
    key: ContentKey,
    bytes: Vec<u8>,
    path: PathBuf,
    part: PathBuf,
    _folder: tempfile::TempDir,
}

fn content(holder: &Store, downloader: &Store) -> Content {
    let bytes = (0..3 * CHUNK_BYTES + 1000).map(|at| (at % 253) as u8).collect();
    content_of(holder, downloader, DownloadId(1), bytes)
}

fn content_of(holder: &Store, downloader: &Store, download: DownloadId, bytes: Vec<u8>) -> Content {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, &bytes).unwrap();
    let cancelled = AtomicBool::new(false);
    let hashing = Hashing { threads: 1, progress: &|_| {}, cancelled: &cancelled, cache: None };
    let hashed = hash_file(&path, hashing).unwrap();
    holder.add_source(hashed.key, Source::File { path: path.clone(), identity: hashed.identity });
    let name = SafeName::parse("copy").unwrap();
    let out = folder.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let target = Target::new(&out, &name).unwrap();
    downloader.set_target(download, target, Kind::File, name);
    let opening = downloader.open(Place::Root(download), hashed.key, hashed.table, &|_, _| {}).unwrap();
    assert!(matches!(opening, Opening::Part { .. }));
    let part = std::fs::read_dir(&out)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|ending| ending == "part"))
        .unwrap();
    Content { key: hashed.key, bytes, path, part, _folder: folder }
}

fn at(piece: u32) -> ChunkAddr {
    ChunkAddr { piece: PieceIndex(piece), chunk: 0 }
}

fn whole(piece: u32) -> ChunkRun {
    ChunkRun { piece: PieceIndex(piece), first: 0, count: 1 }
}

impl Content {
    fn chunk(&self, piece: u32) -> &[u8] {
        let start = piece as usize * CHUNK_BYTES as usize;
        &self.bytes[start..self.bytes.len().min(start + CHUNK_BYTES as usize)]
    }

    fn arrival(&self, op: u64, piece: u32) -> PeerInput {
        let geometry = Geometry::new(self.key.length).unwrap();
        let value = chunk_value(&geometry, at(piece), self.chunk(piece)).unwrap();
        PeerInput::ChunkArrived { op: OpId(op), at: at(piece), result: Ok(value) }
    }

    fn written(&self, piece: u32) -> bool {
        let part = std::fs::read(&self.part).unwrap();
        let start = piece as usize * CHUNK_BYTES as usize;
        part.get(start..start + self.chunk(piece).len()) == Some(self.chunk(piece))
    }
}

async fn ends() -> (End, End, Content) {
    let (near, far) = pair(3).await;
    let (near, far) = (End::start(near), End::start(far));
    let content = content(&near.store, &far.store);
    (near, far, content)
}

#[tokio::test]
async fn expected_chunks_are_hashed_written_and_reported() {
    let (mut holder, mut downloader, content) = ends().await;
    for piece in [3, 0, 2] {
        downloader.expect(u64::from(piece) + 10, content.key, whole(piece));
        holder.send(content.key, at(piece));
    }
    for piece in [3, 0, 2] {
        assert_eq!(holder.sent().await, (at(piece), SendResult::Sent));
        assert_eq!(downloader.arrived().await, content.arrival(u64::from(piece) + 10, piece));
        assert!(content.written(piece));
    }
    assert!(!content.written(1));
    assert_eq!(downloader.pool.available(), 2);
}

/// Nobody expects a chunk, or not any more; another link was first; the length is wrong. The link stays in frame.
#[tokio::test]
async fn other_chunks_are_passed_over() {
    let (holder, mut downloader, content) = ends().await;
    holder.send(content.key, at(0));
    downloader.expect(1, content.key, whole(1));
    downloader.handle.expectations.remove(OpId(1));
    holder.send(content.key, at(1));
    let taken = Expectations::default();
    downloader.expect(2, content.key, whole(2));
    let landing = downloader.landings.want(PLACE, whole(2));
    taken.add(OpId(3), SLOT, content.key, PLACE, whole(2), landing);
    taken.claim(SLOT, at(2), OpId(3));
    holder.send(content.key, at(2));
    let shorter = ContentKey { length: content.key.length - 1, ..content.key };
    downloader.expect(4, shorter, whole(3));
    holder.send(content.key, at(3));
    let wrong = PeerInput::ChunkArrived { op: OpId(4), at: at(3), result: Err(ChunkFault::WrongLength) };
    assert_eq!(downloader.arrived().await, wrong);
    holder.ping(9);
    assert_eq!(downloader.message().await, PeerMessage::Ping { nonce: 9 });
    assert!((0..4).all(|piece| !content.written(piece)));
    assert!(downloader.completions.try_recv().is_err());
}

#[tokio::test]
async fn a_chunk_that_cannot_be_written_says_why() {
    let (holder, mut downloader, content) = ends().await;
    downloader.store.release(PLACE);
    downloader.expect(1, content.key, whole(0));
    holder.send(content.key, at(0));
    let PeerInput::ChunkArrived { op: OpId(1), result, .. } = downloader.arrived().await else {
        panic!("not arrived");
    };
    assert_eq!(result, Err(ChunkFault::Storage(StorageFault::Io)));
}

/// A file that changed before it is sent sends nothing; one that is unknown neither. Both are reported.
#[tokio::test]
async fn a_source_that_changed_is_told() {
    let (mut holder, mut downloader, content) = ends().await;
    downloader.expect(1, content.key, whole(0));
    std::fs::write(&content.path, b"something else").unwrap();
    holder.send(content.key, at(0));
    assert_eq!(holder.sent().await, (at(0), SendResult::SourceChanged));
    holder.send(ContentKey { length: 7, ..content.key }, at(0));
    assert_eq!(holder.sent().await, (at(0), SendResult::SourceChanged));
    holder.ping(1);
    assert_eq!(downloader.message().await, PeerMessage::Ping { nonce: 1 });
    assert!(downloader.completions.try_recv().is_err());
}

/// A file that is cut short while it is sent: the frame is filled up, so that the link stays in frame.
#[tokio::test]
async fn a_source_that_ends_early_is_padded() {
    let (near, far) = pair(3).await;
    let (mut holder, mut downloader) = (End::start(near), End::start(far));
    let content = content(&holder.store, &downloader.store);
    holder.store.add_source(content.key, Source::Memory(content.chunk(0)[..1000].into()));
    downloader.expect(1, content.key, whole(0));
    holder.send(content.key, at(0));
    assert_eq!(holder.sent().await, (at(0), SendResult::SourceChanged));
    let PeerInput::ChunkArrived { result: Ok(_), .. } = downloader.arrived().await else {
        panic!("not arrived");
    };
    holder.ping(1);
    assert_eq!(downloader.message().await, PeerMessage::Ping { nonce: 1 });
}

/// What was queued before a link is closed arrives; the closing side hears nothing more, the far end of the end.
#[tokio::test]
async fn closing_lets_everything_queued_arrive() {
    let (mut near, mut far, content) = ends().await;
    near.ping(1);
    near.send(content.key, at(0));
    near.ping(2);
    far.expect(1, content.key, whole(0));
    near.handle.close();
    assert_eq!(far.message().await, PeerMessage::Ping { nonce: 1 });
    assert_eq!(far.message().await, PeerMessage::Ping { nonce: 2 });
    assert_eq!(far.down().await, CloseReason::Done);
    assert_eq!(far.arrived().await, content.arrival(1, 0));
    far.task.await.unwrap();
    near.task.await.unwrap();
    assert!(near.inbound.recv().await.is_none());
}

/// A far end that takes nothing cannot keep a closed link alive.
#[tokio::test(start_paused = true)]
async fn closing_takes_no_longer_than_the_linger() {
    let (near, _far) = pair(1).await;
    let near = End::start(near);
    let bits = vec![1; 30_000];
    for _ in 0..10 {
        let slice = PeerMessage::Bitfield { slot: SLOT, first: 0, bits: bits.clone() };
        near.handle.outbox.push(&slice).unwrap();
    }
    let began = tokio::time::Instant::now();
    near.handle.close();
    near.task.await.unwrap();
    assert_eq!(began.elapsed(), LINGER + LINGER_READING);
}

/// The chunks that came over a link are reported before its end is, however long they take to write.
#[tokio::test]
async fn the_end_of_a_link_waits_for_its_chunks() {
    let (near, far) = pair(3).await;
    let workers = Workers::threads(1).unwrap();
    let (gate, gated) = std::sync::mpsc::channel::<()>();
    workers.run(move || {
        let _ = gated.recv();
    });
    let (mut holder, mut downloader) = (End::start(near), End::with_workers(far, workers));
    let content = content(&holder.store, &downloader.store);
    downloader.expect(1, content.key, whole(0));
    holder.send(content.key, at(0));
    holder.sent().await;
    holder.handle.close();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(downloader.inbound.try_recv().is_err() && downloader.completions.try_recv().is_err());
    drop(gate);
    assert_eq!(downloader.down().await, CloseReason::Done);
    assert_eq!(downloader.completions.try_recv(), Ok(content.arrival(1, 0)));
}

/// Without a buffer a link is not read on; what was cut off in the middle of a chunk is lost.
#[tokio::test(start_paused = true)]
async fn buffers_are_the_backpressure() {
    let (mut holder, mut downloader, content) = ends().await;
    let all = [downloader.pool.take().await, downloader.pool.take().await];
    downloader.expect(1, content.key, whole(0));
    holder.send(content.key, at(0));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(downloader.completions.try_recv().is_err() && holder.completions.try_recv().is_err());
    drop(all);
    assert_eq!(downloader.arrived().await, content.arrival(1, 0));
    holder.sent().await;
    downloader.expect(2, content.key, whole(1));
    let all = [downloader.pool.take().await, downloader.pool.take().await];
    holder.send(content.key, at(1));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    holder.task.abort();
    drop(all);
    assert_eq!(downloader.down().await, CloseReason::Broken);
    assert!(downloader.completions.try_recv().is_err());
    assert_eq!(downloader.pool.available(), 2);
}

/// A slow chunk tells that it is alive, at most every 250 ms.
#[tokio::test(start_paused = true)]
async fn a_slow_chunk_tells_that_it_comes() {
    let (mut near, far) = pair(1).await;
    let mut far = End::start(far);
    let content = content(&far.store, &far.store);
    far.expect(1, content.key, whole(0));
    let header = Header::Chunk { slot: SLOT, at: at(0), bytes: CHUNK_BYTES as u32 };
    near.writer.write_all(&header.encode()).await.unwrap();
    for portion in content.chunk(0).chunks(CHUNK_BYTES as usize / 16) {
        near.writer.write_all(portion).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut told = 0;
    let mut times = 0;
    let arrived = loop {
        let input = far.arrived().await;
        let PeerInput::Receiving { link: LINK, bytes } = input else { break input };
        told += u64::from(bytes);
        times += 1;
    };
    assert_eq!(arrived, content.arrival(1, 0));
    assert!((4..=6).contains(&times), "{times} times in 1.5 s");
    assert!(told < CHUNK_BYTES && told > CHUNK_BYTES / 2);
}

#[tokio::test]
async fn who_floods_with_what_nobody_asked_for_is_let_go() {
    let (mut near, far) = pair(1).await;
    let mut far = End::start(far);
    let frame = [&Header::Chunk { slot: SLOT, at: at(0), bytes: 1 }.encode()[..], &[0]].concat();
    for _ in 0..=UNASKED_CHUNKS_MAX {
        near.writer.write_all(&frame).await.unwrap();
    }
    assert_eq!(far.down().await, CloseReason::Misbehaved(Misbehaviour::TooMuch));
}

/// Links to a tracker carry no chunks.
#[tokio::test]
async fn a_chunk_is_out_of_place_on_a_link_to_a_tracker() {
    let (mut near, far) = pair(1).await;
    let (sender, mut inbound) = mpsc::channel(4);
    let wrap = |link, msg: PeerMessage| PeerInput::Peer { link, msg };
    let halves = (far.reader, far.writer);
    tokio::spawn(run_link(LINK, halves, LinkHandle::default(), wrap, sender, None));
    let header = Header::Chunk { slot: SLOT, at: at(0), bytes: 1 };
    near.writer.write_all(&header.encode()).await.unwrap();
    let Some((LINK, FromLink::Down(reason))) = inbound.recv().await else { panic!("still up") };
    assert_eq!(reason, CloseReason::Misbehaved(Misbehaviour::OutOfPlace));
}

/// Others from the same address take all the room that it has.
#[tokio::test(start_paused = true)]
async fn a_large_message_waits_for_room_and_a_small_one_does_not() {
    let bodies = Arc::<Bodies>::default();
    let share = || bodies.share(Ipv4Addr::LOCALHOST.into());
    let others = share();
    let taken = others.take(BODY_BYTES_PER_ADDRESS as u32).await;
    let (near, far) = pair(1 << 20).await;
    let near = End::start(near);
    let (sender, mut inbound) = mpsc::channel(4);
    let wrap = |_, msg: PeerMessage| msg;
    let handle = LinkHandle::beside(Arc::default(), share());
    tokio::spawn(run_link(LINK, (far.reader, far.writer), handle, wrap, sender, None));
    let large = PeerMessage::Bitfield { slot: SLOT, first: 0, bits: vec![0; 32 * 1024] };
    near.ping(1);
    near.handle.outbox.push(&large).unwrap();
    let small = inbound.recv().await;
    assert!(matches!(small, Some((LINK, FromLink::Message(PeerMessage::Ping { nonce: 1 })))), "{small:?}");
    assert!(timeout(Duration::from_secs(1), inbound.recv()).await.is_err());
    drop(taken);
    let came = inbound.recv().await;
    assert!(matches!(came, Some((LINK, FromLink::Message(PeerMessage::Bitfield { .. })))), "{came:?}");
}
