//! Which piece next, by itself: what a pick costs with many pieces and many links, and what it costs when there is nothing
//! to pick.
//!
//! Run: `cargo bench --bench picker`.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use potluck_core::content::PieceSet;
use potluck_core::ids::PieceIndex;
use potluck_core::peer::Picker;
use potluck_core::seed::Seed;
use rand_chacha::rand_core::Rng;

const PIECES: [u32; 3] = [1_000, 100_000, 1_000_000];
const LINKS: [usize; 2] = [8, 200];
/// Of the pieces one in so many is held by a link.
const SHARE: u64 = 8;

/// What each of some links has, and a picker that knows of it.
fn crowd(pieces: u32, links: usize) -> (Picker, Vec<PieceSet>) {
    let mut rng = Seed::from_number(1).rng();
    let mut picker = Picker::new(&PieceSet::full(pieces), Seed::from_number(2).rng(), false);
    let mut held = Vec::new();
    for _ in 0..links {
        let mut set = PieceSet::empty(pieces);
        for _ in 0..u64::from(pieces) / SHARE {
            let piece = PieceIndex(rng.next_u32() % pieces);
            if set.insert(piece) {
                picker.gained(piece);
            }
        }
        held.push(set);
    }
    (picker, held)
}

/// A pick for each link in turn, and what follows from it: the piece is asked for, and another is asked for no longer.
fn picks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pick");
    for links in LINKS {
        for pieces in PIECES {
            let (mut picker, held) = crowd(pieces, links);
            let id = format!("links={links}/pieces={pieces}");
            let mut turn = 0;
            group.bench_function(BenchmarkId::new("pick", &id), |bencher| {
                bencher.iter(|| {
                    turn = (turn + 1) % held.len();
                    picker.pick(black_box(Some(&held[turn])), |_| true)
                });
            });
            let mut asked = std::collections::VecDeque::new();
            group.bench_function(BenchmarkId::new("pick_close_reopen", &id), |bencher| {
                bencher.iter(|| {
                    turn = (turn + 1) % held.len();
                    if let Some(piece) = picker.pick(Some(&held[turn]), |_| true) {
                        picker.close(piece);
                        asked.push_back(piece);
                    }
                    if asked.len() > pieces as usize / 4 {
                        asked.drain(..1).for_each(|piece| picker.reopen(piece));
                    }
                });
            });
        }
    }
    group.finish();
}

/// Links of which nothing is wanted: of what they have, everything is here; and one that has a single piece.
fn poor(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pick");
    for pieces in PIECES {
        let (mut picker, held) = crowd(pieces, 8);
        held[0].iter().for_each(|piece| picker.close(piece));
        // Once, until it has more or something else is opened: the machine remembers it.
        group.bench_function(BenchmarkId::new("nothing", pieces), |bencher| {
            bencher.iter(|| picker.pick(black_box(Some(&held[0])), |_| true));
        });
        let mut one = PieceSet::empty(pieces);
        one.insert(PieceIndex(pieces - 1));
        picker.reopen(PieceIndex(pieces - 1));
        (0..20).for_each(|_| picker.gained(PieceIndex(pieces - 1)));
        group.bench_function(BenchmarkId::new("one_common_piece", pieces), |bencher| {
            bencher.iter(|| picker.pick(black_box(Some(&one)), |_| true));
        });
    }
    group.finish();
}

criterion_group!(benches, picks, poor);
criterion_main!(benches);
