//! From chunks to a file: in any order, from several holders, twice, late, wrong, lost, taken back, and across broken links and
//! failed syncs. Either the file comes out right to the byte, or the machine says exactly which pieces are missing; at no
//! time does it hold what is not right; and what it fetches in vain is bounded by what went wrong.
#![allow(clippy::wildcard_enum_match_arm, reason = "a scripted holder looks for some messages among many")]

#[path = "support/holders.rs"]
mod holders;
#[path = "../core/tests/support/synthetic.rs"]
mod synthetic;

use std::sync::LazyLock;
use std::time::Duration;

use holders::{Subject, World};
use potluck_core::content::{PieceSet, chunk_value};
use potluck_core::ids::PieceIndex;
use potluck_core::wire::peer::Refusal;
use proptest::prelude::*;
use synthetic::Synthetic;

/// The bytes of a content of a few pieces, the last of which is short, and what it is by hash.
static SMALL: LazyLock<(Synthetic, Vec<u8>)> = LazyLock::new(|| with_bytes(5 * (256 << 10) + 1000));
/// One chunk.
static TINY: LazyLock<(Synthetic, Vec<u8>)> = LazyLock::new(|| with_bytes(1000));
/// 1025 pieces of two chunks, the last piece of one short chunk.
static LARGE: LazyLock<Synthetic> = LazyLock::new(|| Synthetic::new((1 << 29) + 77, 1));
/// 1025 pieces of sixteen chunks, the last piece of three.
static HUGE: LazyLock<Synthetic> = LazyLock::new(|| Synthetic::new((1 << 32) + 2 * (256 << 10) + 5, 2));

fn with_bytes(length: usize) -> (Synthetic, Vec<u8>) {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(b"reassembly").finalize_xof().fill(&mut bytes);
    let of = Synthetic::of_values(length as u64, |geometry, at| {
        let from = geometry.chunk_offset(at).expect("a chunk of the content") as usize;
        let len = geometry.chunk_bytes(at).expect("a chunk of the content") as usize;
        chunk_value(geometry, at, &bytes[from..from + len]).expect("a chunk of the right length")
    });
    (of, bytes)
}

/// A download of one of the contents: all of a small one, the first few and the last two pieces of a large one.
fn subject(which: usize) -> Subject {
    let (of, bytes) = match which {
        0 => (TINY.0.clone(), Some(TINY.1.clone())),
        1 => (SMALL.0.clone(), Some(SMALL.1.clone())),
        2 => (LARGE.clone(), None),
        _ => (HUGE.clone(), None),
    };
    let pieces = of.geometry.pieces();
    let mut have = PieceSet::empty(pieces);
    if pieces > 100 {
        have = PieceSet::full(pieces);
        for piece in (0..4).chain(pieces - 2..pieces) {
            have.remove(PieceIndex(piece));
        }
    }
    Subject { of, bytes, have }
}

/// The pieces of a pattern, one bit each, repeated.
fn pattern(subject: &Subject, bits: u8) -> PieceSet {
    let mut set = PieceSet::empty(subject.have.len());
    for piece in (0..set.len()).filter(|p| bits >> (p % 8) & 1 == 1) {
        set.insert(PieceIndex(piece));
    }
    set
}

fn world(which: usize, holders: &[u8]) -> World {
    let subject = subject(which);
    let sets: Vec<PieceSet> = holders.iter().map(|bits| pattern(&subject, *bits)).collect();
    World::new(subject, &sets)
}

/// Where a script leads: what of it is a fault is left out of a gentle one.
fn play(world: &mut World, script: &[(u8, u8, u8)], gentle: bool) {
    for (what, who, how) in script {
        let (i, n) = (usize::from(*who) % world.holders.len(), usize::from(*how));
        match what % 40 {
            0..10 => drop(world.serve(i, n, true)),
            10..20 => drop(world.read(i)),
            20..27 => drop(world.report()),
            27 | 28 => world.pass(Duration::from_millis(u64::from(*how % 32))),
            29 => world.link_up(i, None),
            _ if gentle => {}
            30 | 31 => drop(world.serve(i, n, false)),
            32 => world.intrude(i, u32::from(*how), u16::from(*what), how % 2 == 0, *what > 200),
            33 => world.refuse(i, n, None),
            34 if how % 2 == 0 => world.refuse(i, n, Some(Refusal::Lacks)),
            34 => world.refuse(i, n, Some(Refusal::Busy { retry_ms: u32::from(*how) * 10 })),
            35 if how % 8 == 0 => world.retract(i, Vec::new()),
            35 => world.retract(i, vec![PieceIndex(u32::from(*how % 6))]),
            36 => world.link_down(i),
            37 => world.have(i, PieceIndex(u32::from(*how % 6))),
            38 => world.pass(Duration::from_millis(u64::from(*how) * 20)),
            _ => world.fail_next_sync(),
        }
    }
}

/// What must be true once the faults are over.
fn judge(world: &World) {
    let held = world.held();
    if world.completed() {
        assert!(held.is_full() && world.is_right(), "what is complete is right");
    } else {
        assert_eq!(world.said_missing(), Some(held.missing_ranges()), "the missing pieces are named");
    }
    let dropped: Vec<_> = world.dropped();
    for piece in held.iter_missing() {
        for (i, holder) in world.holders.iter().enumerate() {
            let gone = dropped.contains(&i) || holder.tampered.contains(&piece);
            assert!(gone || !holder.has.contains(piece), "holder {i} could have sent {piece:?}");
        }
    }
    let (tally, needed) = (&world.tally, world.needed());
    assert!(tally.written <= needed + tally.excused, "{tally:?} of {needed} written");
    assert!(tally.received <= 2 * needed + 2 * tally.excused, "{tally:?} of {needed} received");
}

fn scripts() -> impl Strategy<Value = Vec<(u8, u8, u8)>> {
    prop::collection::vec(any::<(u8, u8, u8)>(), 0..600)
}

/// Patterns of what the holders have: mostly all of it together.
fn swarms() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![Just(0xff), Just(0x55), Just(0xaa), any::<u8>()], 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 5000, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn any_order_gives_the_file_and_fetches_nothing_in_vain(which in 0usize..4, script in scripts()) {
        let mut world = world(which, &[0xff, 0x55, 0xaa, 0xff]);
        play(&mut world, &script, true);
        world.settle();
        prop_assert!(world.completed());
        judge(&world);
        prop_assert_eq!(world.tally.written, world.needed());
    }

    #[test]
    fn whatever_happens_the_file_is_right_or_what_is_missing_is_named(
        which in 0usize..4, holders in swarms(), script in scripts(),
    ) {
        let mut world = world(which, &holders);
        play(&mut world, &script, false);
        world.settle();
        judge(&world);
    }
}
