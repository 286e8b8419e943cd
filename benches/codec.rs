//! What it costs to write and to read control messages: a second of them, not a byte of payload, is what a link is
//! made of.
//!
//! Run: `cargo bench --bench codec`.

#[path = "../tests/support/messages.rs"]
mod messages;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use messages::{Generator, Size};
use potluck_core::ids::{ChunkAddr, ChunkRun, PieceIndex, Slot};
use potluck_core::wire::WireMessage;
use potluck_core::wire::frame::{Header, encode_message};
use potluck_core::wire::peer::PeerMessage;
use potluck_core::wire::tracker::{TrackerMessage, TrackerRequest};

fn both_ways<M: WireMessage>(criterion: &mut Criterion, name: &str, msg: &M) {
    let mut frame = Vec::new();
    encode_message(msg, &mut frame);
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Bytes(frame.len() as u64));
    group.bench_function("encode", |bencher| {
        bencher.iter(|| {
            frame.clear();
            encode_message(black_box(msg), &mut frame);
        });
    });
    group.bench_function("decode", |bencher| {
        let body = &frame[Header::BYTES..];
        bencher.iter(|| M::decode_body(msg.kind(), black_box(body)));
    });
    group.finish();
}

/// The first message of a kind that has sequences of full length.
fn full<M: WireMessage>(kind: u8, mut make: impl FnMut(&mut Generator) -> M) -> Option<M> {
    let mut generator = Generator::new(1, Size::Full);
    (0..1000).map(|_| make(&mut generator)).find(|msg| msg.kind() == kind)
}

fn messages(criterion: &mut Criterion) {
    let run = ChunkRun { piece: PieceIndex(7), first: 0, count: 1 };
    both_ways(criterion, "request", &PeerMessage::Request { slot: Slot(3), run });
    both_ways(criterion, "have", &PeerMessage::Have { slot: Slot(3), pieces: vec![PieceIndex(7)] });
    let families = (
        full(12, Generator::peer_message),
        full(65, Generator::tracker_request),
        full(102, Generator::tracker_message),
    );
    if let (Some(table), Some(announce), Some(change)) = families {
        both_ways::<PeerMessage>(criterion, "table_2048", &table);
        both_ways::<TrackerRequest>(criterion, "announce_256", &announce);
        both_ways::<TrackerMessage>(criterion, "holder_change_32", &change);
    }
    let mut generator = Generator::new(1, Size::Any);
    let mixed: Vec<PeerMessage> = (0..1000).map(|_| generator.peer_message()).collect();
    criterion.bench_function("mixed_1000/encode", |bencher| {
        let encode = |mut out| mixed.iter().for_each(|msg| encode_message(msg, &mut out));
        bencher.iter_batched(|| Vec::with_capacity(1 << 22), encode, BatchSize::LargeInput);
    });
}

fn headers(criterion: &mut Criterion) {
    let at = ChunkAddr { piece: PieceIndex(7), chunk: 3 };
    let header = Header::Chunk { slot: Slot(3), at, bytes: 262_144 };
    let bytes = header.encode();
    criterion.bench_function("chunk_header/encode", |bencher| bencher.iter(|| black_box(header).encode()));
    criterion
        .bench_function("chunk_header/decode", |bencher| bencher.iter(|| Header::decode(black_box(&bytes))));
}

criterion_group!(benches, messages, headers);
criterion_main!(benches);
