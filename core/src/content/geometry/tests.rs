use proptest::prelude::*;

use super::*;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

fn at(piece: u32, chunk: u16) -> ChunkAddr {
    ChunkAddr { piece: PieceIndex(piece), chunk }
}

#[test]
fn piece_length_follows_the_rule() {
    for (length, piece_length, pieces) in [
        (0, 256 * KIB, 0),
        (1, 256 * KIB, 1),
        (256 * KIB, 256 * KIB, 1),
        (256 * KIB + 1, 256 * KIB, 2),
        (512 * MIB, 256 * KIB, 2048),
        (512 * MIB + 1, 512 * KIB, 1025),
        (GIB, 512 * KIB, 2048),
        (32 * GIB, 16 * MIB, 2048),
        (32 * GIB + 1, 16 * MIB, 2049),
        (CONTENT_BYTES_MAX, 16 * MIB, 1 << 20),
    ] {
        let geometry = Geometry::new(length).unwrap();
        assert_eq!((geometry.piece_length(), geometry.pieces()), (piece_length, pieces), "length {length}");
    }
    assert_eq!(Geometry::new(CONTENT_BYTES_MAX + 1), None);
    assert_eq!(Geometry::new(u64::MAX), None);
}

#[test]
fn what_does_not_exist_is_none() {
    let geometry = Geometry::new(512 * MIB + 1).unwrap();
    assert_eq!(geometry.piece_bytes(PieceIndex(1024)), Some(1));
    assert_eq!(geometry.piece_bytes(PieceIndex(1025)), None);
    assert_eq!(geometry.chunk_bytes(at(0, 1)), Some(256 * 1024));
    assert_eq!(geometry.chunk_bytes(at(0, 2)), None);
    assert_eq!(geometry.chunk_bytes(at(1024, 0)), Some(1));
    assert_eq!(geometry.chunk_bytes(at(1024, 1)), None);
    assert_eq!(geometry.chunk_bytes(at(u32::MAX, u16::MAX)), None);
    let run =
        |piece, first, count| geometry.contains_run(ChunkRun { piece: PieceIndex(piece), first, count });
    assert!(run(0, 0, 2) && run(0, 1, 1) && run(1024, 0, 1));
    assert!(
        !run(0, 0, 0) && !run(0, 1, 2) && !run(1024, 0, 2) && !run(1025, 0, 1) && !run(0, u16::MAX, u16::MAX)
    );
}

#[test]
fn an_empty_content_has_nothing() {
    let geometry = Geometry::new(0).unwrap();
    assert!(geometry.is_single_chunk());
    assert_eq!(geometry.last_piece(), None);
    assert_eq!(geometry.piece_bytes(PieceIndex(0)), None);
    assert_eq!(geometry.locate(0), None);
}

proptest! {
    /// The chunks, in order, cover the content without gap or overlap, and `locate` finds each of them at both ends.
    #[test]
    fn chunks_cover_a_content_exactly(length in lengths(3 * GIB)) {
        let geometry = Geometry::new(length).unwrap();
        let mut end = 0;
        for piece in (0..geometry.pieces()).map(PieceIndex) {
            prop_assert_eq!(geometry.piece_offset(piece), Some(end));
            let run = geometry.whole_piece(piece).unwrap();
            prop_assert!(geometry.contains_run(run));
            for chunk in 0..run.count {
                let at = ChunkAddr { piece, chunk };
                let bytes = u64::from(geometry.chunk_bytes(at).unwrap());
                prop_assert_eq!(geometry.chunk_offset(at), Some(end));
                prop_assert!(bytes > 0 && bytes <= CHUNK_BYTES);
                prop_assert_eq!(geometry.locate(end), Some(at));
                prop_assert_eq!(geometry.locate(end + bytes - 1), Some(at));
                end += bytes;
            }
            prop_assert_eq!(geometry.piece_offset(piece).unwrap() + geometry.piece_bytes(piece).unwrap(), end);
        }
        prop_assert_eq!(end, length);
        prop_assert_eq!(geometry.locate(length), None);
    }

    /// Whatever the length: few enough pieces, each a power of two, the last one not empty, nothing past it.
    #[test]
    fn sizes_are_bounded(length in lengths(CONTENT_BYTES_MAX)) {
        let geometry = Geometry::new(length).unwrap();
        prop_assert!(geometry.piece_length().is_power_of_two());
        prop_assert!((PIECE_BYTES_MIN..=PIECE_BYTES_MAX).contains(&geometry.piece_length()));
        prop_assert!(geometry.piece_length() == PIECE_BYTES_MAX || u64::from(geometry.pieces()) <= PIECES_WANTED);
        prop_assert_eq!(geometry.pieces() <= 1, geometry.is_single_chunk());
        prop_assert_eq!(geometry.piece_offset(PieceIndex(geometry.pieces())), None);
        if let Some(last) = geometry.last_piece() {
            let end = geometry.piece_offset(last).unwrap() + geometry.piece_bytes(last).unwrap();
            prop_assert_eq!(end, length);
        }
    }

    /// No address, however wild, makes the arithmetic panic or yields bytes outside the content.
    #[test]
    fn any_address_is_safe(
        length in lengths(CONTENT_BYTES_MAX),
        (piece, chunk, first, count) in any::<(u32, u16, u16, u16)>(),
        offset: u64,
    ) {
        let geometry = Geometry::new(length).unwrap();
        let at_chunk = at(piece, chunk);
        if let (Some(start), Some(bytes)) = (geometry.chunk_offset(at_chunk), geometry.chunk_bytes(at_chunk)) {
            prop_assert!(start + u64::from(bytes) <= length);
        }
        if geometry.contains_run(ChunkRun { piece: PieceIndex(piece), first, count }) {
            prop_assert!(geometry.chunk_bytes(at(piece, first + count - 1)).is_some());
        }
        prop_assert_eq!(geometry.locate(offset).is_some(), offset < length);
    }
}

/// Lengths of every size, and those beside a boundary.
fn lengths(max: u64) -> impl Strategy<Value = u64> {
    let beside = (8_u32..45, 0_u64..3).prop_map(|(log, step)| ((1_u64 << log) + step).saturating_sub(1));
    let sized = (0_u32..45, any::<u64>()).prop_map(|(log, bits)| bits & ((1 << log) - 1));
    prop_oneof![beside, sized].prop_map(move |length| length.min(max))
}
