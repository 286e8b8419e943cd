use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn set_of(len: u32, pieces: &BTreeSet<u32>) -> PieceSet {
    let mut set = PieceSet::empty(len);
    for piece in pieces {
        assert!(set.insert(PieceIndex(*piece)));
    }
    set
}

/// A number of pieces, and some of them.
fn pieces() -> impl Strategy<Value = (u32, BTreeSet<u32>)> {
    (1_u32..300)
        .prop_flat_map(|len| (Just(len), proptest::collection::btree_set(0..len, 0..len as usize + 1)))
}

#[test]
fn of_no_pieces() {
    let set = PieceSet::empty(0);
    assert!(set.is_full() && set.is_empty());
    assert_eq!(set, PieceSet::full(0));
    assert!(set.to_slice(0, 100).is_empty() && set.missing_ranges().is_empty());
    assert!(PieceSet::empty(0).merge_slice(0, &[0]).is_err());
}

#[test]
fn a_piece_that_does_not_exist_changes_nothing() {
    let mut set = PieceSet::empty(9);
    for piece in [9, 63, 64, u32::MAX] {
        assert!(
            !set.insert(PieceIndex(piece))
                && !set.contains(PieceIndex(piece))
                && !set.remove(PieceIndex(piece))
        );
    }
    assert!(set.is_empty());
}

#[test]
fn slices_that_do_not_fit_are_refused_and_change_nothing() {
    let mut set = PieceSet::empty(20);
    assert_eq!(set.merge_slice(4, &[1]), Err(SliceFault::Misaligned { first: 4 }));
    assert_eq!(set.merge_slice(0, &[]), Err(SliceFault::OutOfRange { first: 0, bytes: 0, pieces: 20 }));
    assert_eq!(set.merge_slice(0, &[0; 4]), Err(SliceFault::OutOfRange { first: 0, bytes: 4, pieces: 20 }));
    assert!(set.merge_slice(24, &[0]).is_err() && set.merge_slice(u32::MAX - 7, &[1]).is_err());
    assert_eq!(set.merge_slice(8, &[0xff, 0b0001_0000]), Err(SliceFault::Overhang));
    assert!(set.is_empty());
    assert_eq!(set.merge_slice(8, &[0, 0b0000_1000]), Ok(()));
    assert_eq!(set.iter().collect::<Vec<_>>(), [PieceIndex(19)]);
}

proptest! {
    /// A set behaves as a `BTreeSet` of the pieces that exist.
    #[test]
    fn behaves_as_a_set(
        (len, pieces) in pieces(),
        changes in proptest::collection::vec((0_u32..320, any::<bool>()), 0..50),
    ) {
        let mut model = pieces;
        let mut set = set_of(len, &model);
        for (piece, insert) in changes {
            if insert {
                prop_assert_eq!(set.insert(PieceIndex(piece)), piece < len && model.insert(piece));
            } else {
                prop_assert_eq!(set.remove(PieceIndex(piece)), model.remove(&piece));
            }
        }
        prop_assert_eq!(set.len(), len);
        prop_assert_eq!(set.count() as usize, model.len());
        prop_assert_eq!(set.is_full(), model.len() == len as usize);
        prop_assert_eq!(set.is_empty(), model.is_empty());
        prop_assert!(set.iter().map(|piece| piece.0).eq(model.iter().copied()));
        let other: BTreeSet<u32> = model.iter().copied().filter(|piece| piece % 3 == 0).chain([0]).collect();
        let difference = set.difference(&set_of(len, &other)).map(|piece| piece.0).collect::<BTreeSet<_>>();
        prop_assert_eq!(difference, &model - &other);
        prop_assert!(set.iter_missing().map(|piece| piece.0).eq((0..len).filter(|piece| !model.contains(piece))));
        prop_assert!((0..len + 70).all(|piece| set.contains(PieceIndex(piece)) == model.contains(&piece)));
        let from_words: u32 = set.words().iter().map(|word| word.count_ones()).sum();
        prop_assert_eq!(from_words, set.count(), "no bit past the end");
    }

    /// Missing ranges are ascending, apart, and together exactly what is missing.
    #[test]
    fn missing_ranges_are_exact((len, pieces) in pieces()) {
        let ranges = set_of(len, &pieces).missing_ranges();
        prop_assert!(ranges.iter().zip(ranges.iter().skip(1)).all(|(a, b)| a.1.0 + 1 < b.0.0));
        let missing = ranges.iter().flat_map(|(first, last)| first.0..=last.0);
        prop_assert!(missing.eq((0..len).filter(|piece| !pieces.contains(piece))));
    }

    /// Cut into slices of any size and merged again, a set is what it was; merging is a union, and twice is once.
    #[test]
    fn slices_carry_a_set((len, pieces) in pieces(), (_, others) in pieces(), bytes_max in 1_usize..40) {
        let set = set_of(len, &pieces);
        let others: BTreeSet<u32> = others.into_iter().filter(|piece| *piece < len).collect();
        let mut merged = set_of(len, &others);
        for _ in 0..2 {
            for first in (0..len).step_by(bytes_max * 8) {
                let slice = set.to_slice(first, bytes_max);
                prop_assert!(!slice.is_empty() && slice.len() <= bytes_max);
                prop_assert_eq!(merged.merge_slice(first, &slice), Ok(()));
            }
            prop_assert_eq!(&merged, &set_of(len, &pieces.union(&others).copied().collect()));
        }
        prop_assert!(set.to_slice(len.next_multiple_of(8), 10).is_empty());
    }

    /// Any slice is taken whole or refused whole.
    #[test]
    fn any_slice_is_safe(len in 0_u32..300, first: u32, small in 0_u32..320, bits: Vec<u8>) {
        for first in [first, small] {
            let mut set = PieceSet::empty(len);
            let ones: u32 = bits.iter().map(|byte| byte.count_ones()).sum();
            let merged = set.merge_slice(first, &bits).is_ok();
            prop_assert_eq!(set.count(), if merged { ones } else { 0 });
        }
    }

    #[test]
    fn recordings_keep_a_set((len, pieces) in pieces()) {
        let set = set_of(len, &pieces);
        let json = serde_json::to_string(&set).unwrap();
        prop_assert_eq!(serde_json::from_str::<PieceSet>(&json).unwrap(), set);
    }
}

#[test]
fn a_recording_that_lies_is_refused() {
    for json in [r#"{"len":9,"bits":"ff"}"#, r#"{"len":9,"bits":"ffff"}"#, r#"{"len":4000000000,"bits":""}"#]
    {
        assert!(serde_json::from_str::<PieceSet>(json).is_err());
    }
}
