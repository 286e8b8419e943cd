//! What it costs to verify: hashing chunks as they arrive, folding them into pieces, folding a table into an id, and
//! keeping count of what is held.
//!
//! Run: `cargo bench --bench reassembly`.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use potluck_core::content::{
    ContentHasher, Geometry, PieceSet, PieceTable, chunk_value, fold_piece, fold_table,
};
use potluck_core::ids::{ChainingValue, ChunkAddr, ContentKey, PieceIndex};

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;

fn geometry(length: u64) -> Option<Geometry> {
    Geometry::new(length)
}

fn values(count: u32) -> Vec<ChainingValue> {
    (0..count).map(|at| ChainingValue(*blake3::hash(&at.to_le_bytes()).as_bytes())).collect()
}

fn hashing(criterion: &mut Criterion) {
    let Some(geometry) = geometry(64 * MIB) else { return };
    let bytes = vec![0x5a; 16 * MIB as usize];
    let mut group = criterion.benchmark_group("hash");
    let chunk = &bytes[..256 * 1024];
    group.throughput(Throughput::Bytes(chunk.len() as u64));
    let at = ChunkAddr { piece: PieceIndex(7), chunk: 0 };
    group.bench_function("chunk", |bencher| bencher.iter(|| chunk_value(&geometry, at, black_box(chunk))));
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.sample_size(20);
    group.bench_function("content_in_order_16_mib", |bencher| {
        let Some(geometry) = Geometry::new(bytes.len() as u64) else { return };
        bencher.iter(|| {
            let mut hasher = ContentHasher::new(geometry);
            hasher.update(black_box(&bytes));
            hasher.finish()
        });
    });
    group.finish();
}

fn folding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fold");
    if let Some(geometry) = geometry(1 << 40) {
        let chunks = values(64);
        group.bench_function("piece_64_chunks", |bencher| {
            bencher.iter(|| fold_piece(&geometry, PieceIndex(7), black_box(&chunks)));
        });
    }
    for length in [32 * GIB, 1024 * GIB, 16 * 1024 * GIB] {
        let Some(geometry) = geometry(length) else { return };
        let table = values(geometry.pieces());
        let id = BenchmarkId::new("table", geometry.pieces());
        group.bench_with_input(id, &table, |bencher, table| bencher.iter(|| fold_table(&geometry, table)));
        let Some(content) = fold_table(&geometry, &table) else { return };
        let key = ContentKey { id: content, length };
        let id = BenchmarkId::new("checked_table", geometry.pieces());
        group.bench_with_input(id, &table, |bencher, table| {
            bencher.iter(|| PieceTable::new(key, table.clone()));
        });
    }
    group.finish();
}

fn piece_sets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("piece_set");
    for pieces in [2048, 1 << 20] {
        let mut set = PieceSet::empty(pieces);
        (0..pieces).step_by(3).for_each(|piece| {
            set.insert(PieceIndex(piece));
        });
        group.bench_function(BenchmarkId::new("missing_ranges", pieces), |bencher| {
            bencher.iter(|| black_box(&set).missing_ranges());
        });
        group.bench_function(BenchmarkId::new("slices", pieces), |bencher| {
            bencher.iter(|| {
                let mut merged = PieceSet::empty(pieces);
                for first in (0..pieces).step_by(8 * 32 * 1024) {
                    let slice = black_box(&set).to_slice(first, 32 * 1024);
                    let _ = merged.merge_slice(first, &slice);
                }
                merged
            });
        });
    }
    group.finish();
}

criterion_group!(benches, hashing, folding, piece_sets);
criterion_main!(benches);
