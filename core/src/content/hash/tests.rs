use proptest::prelude::*;

use super::*;
use crate::content::TableFault;
use crate::limits::{CHUNK_BYTES, PIECE_BYTES_MIN};

/// Bytes that follow from their position, so that a chunk at the wrong place is seen.
fn bytes(length: usize) -> Vec<u8> {
    (0..length as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// All the ways from bytes to the id lead to what `b3sum` prints.
fn check_all_ways(content: &[u8]) {
    let geometry = Geometry::new(content.len() as u64).unwrap();
    let id = ContentId(*blake3::hash(content).as_bytes());
    let span = |offset: u64, bytes: u64| &content[offset as usize..(offset + bytes) as usize];
    let mut by_chunks = ContentHasher::new(geometry);
    let mut by_pieces = ContentHasher::new(geometry);
    // Last piece first: the order of values does not matter.
    for piece in (0..geometry.pieces()).rev().map(PieceIndex) {
        let chunks: Vec<ChainingValue> = (0..geometry.chunks(piece).unwrap())
            .map(|chunk| {
                let at = ChunkAddr { piece, chunk };
                let bytes = u64::from(geometry.chunk_bytes(at).unwrap());
                chunk_value(&geometry, at, span(geometry.chunk_offset(at).unwrap(), bytes)).unwrap()
            })
            .collect();
        assert!(by_chunks.set(piece, fold_piece(&geometry, piece, &chunks).unwrap()));
        let mut hasher = PieceHasher::new(&geometry, piece).unwrap();
        hasher.update(span(geometry.piece_offset(piece).unwrap(), geometry.piece_bytes(piece).unwrap()));
        assert!(by_pieces.set(piece, hasher.finish().unwrap()));
    }
    let mut in_order = ContentHasher::new(geometry);
    for part in content.chunks(100_003) {
        assert_eq!(in_order.update(part), part.len());
    }
    assert_eq!(in_order.update(b"more"), 0, "nothing is taken past the end");
    let (key, table) = in_order.finish().unwrap();
    assert_eq!(key, ContentKey { id, length: content.len() as u64 });
    assert_eq!(table.is_some(), content.len() as u64 > CHUNK_BYTES);
    assert_eq!(by_chunks.finish().unwrap(), (key, table.clone()));
    assert_eq!(by_pieces.finish().unwrap(), (key, table.clone()));
    if let Some(table) = table {
        assert_eq!(PieceTable::new(key, table.values().to_vec()), Ok(table.clone()));
        assert_eq!(table.value(geometry.last_piece().unwrap()), table.values().last().copied());
        assert_eq!(table.value(PieceIndex(geometry.pieces())), None);
    }
}

#[test]
fn every_way_leads_to_the_id() {
    let piece = PIECE_BYTES_MIN as usize;
    for length in [
        0,
        1,
        1023,
        1024,
        1025,
        2049,
        65_536,
        piece - 1,
        piece,
        piece + 1,
        2 * piece - 1,
        2 * piece,
        2 * piece + 1,
        3 * piece,
        5 * piece + 1025,
        8 * piece,
        9 * piece - 1,
    ] {
        check_all_ways(&bytes(length));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_way_leads_to_the_id_for_any_length(length in 0_usize..3_000_000) {
        check_all_ways(&bytes(length));
    }
}

/// Above 512 MiB pieces have several chunks. The bytes are all zero, so that equal chunks can share their work.
#[test]
fn pieces_of_several_chunks_fold() {
    let length = (513 << 20) + 12_345_u64;
    let geometry = Geometry::new(length).unwrap();
    assert_eq!(geometry.piece_length(), 2 * CHUNK_BYTES);
    let zeros = vec![0; CHUNK_BYTES as usize];
    let mut direct = blake3::Hasher::new();
    let mut hasher = ContentHasher::new(geometry);
    let mut last = None;
    for piece in (0..geometry.pieces()).map(PieceIndex) {
        let values: Vec<ChainingValue> = (0..geometry.chunks(piece).unwrap())
            .map(|chunk| {
                let at = ChunkAddr { piece, chunk };
                let span = &zeros[..geometry.chunk_bytes(at).unwrap() as usize];
                direct.update(span);
                chunk_value(&geometry, at, span).unwrap()
            })
            .collect();
        last = Some(values.len());
        assert!(hasher.set(piece, fold_piece(&geometry, piece, &values).unwrap()));
        assert_eq!(fold_piece(&geometry, piece, &values[1..]), None, "a piece with a chunk too few");
    }
    assert_eq!(last, Some(1), "the last piece is short");
    let (key, table) = hasher.finish().unwrap();
    assert_eq!(key.id.0, *direct.finalize().as_bytes());
    assert_eq!(table.unwrap().values().len(), 1027);
}

/// What DESIGN's tree does not allow is refused before anything is folded.
#[test]
fn folding_refuses_what_is_no_tree() {
    let three = Geometry::new(3 * PIECE_BYTES_MIN).unwrap();
    let value = ChainingValue([7; 32]);
    assert_eq!(fold_table(&three, &[]), None, "empty input");
    assert_eq!(fold_table(&three, &[value; 2]), None, "too few");
    assert_eq!(fold_table(&three, &[value; 4]), None, "too many");
    assert_eq!(fold_table(&Geometry::new(0).unwrap(), &[]), None, "an empty content has nothing to fold");
    assert_eq!(fold_piece(&three, PieceIndex(0), &[]), None);
    assert_eq!(fold_piece(&three, PieceIndex(0), &[value; 2]), None);
    assert_eq!(fold_piece(&three, PieceIndex(3), &[value]), None, "no such piece");

    let at = |piece| ChunkAddr { piece: PieceIndex(piece), chunk: 0 };
    let chunk = bytes(CHUNK_BYTES as usize);
    assert!(chunk_value(&three, at(1), &chunk).is_some());
    assert_eq!(chunk_value(&three, at(1), &chunk[1..]), None, "a short piece in the middle");
    assert_eq!(chunk_value(&three, at(1), &[]), None, "no bytes");
    assert_eq!(chunk_value(&three, at(3), &chunk), None, "no such piece");
    let mut hasher = PieceHasher::new(&three, PieceIndex(1)).unwrap();
    hasher.update(&chunk[1..]);
    assert_eq!((hasher.finish(), hasher.left()), (None, 1), "a short piece in the middle");
    assert_eq!(hasher.update(b"ab"), 1, "a long piece");
    assert!(hasher.finish().is_some());
    assert!(ContentHasher::new(three).finish().is_none(), "a content without values");
}

/// The value of a chunk depends on its place: equal bytes elsewhere are another chunk.
#[test]
fn a_value_belongs_to_its_place() {
    let geometry = Geometry::new(2 * CHUNK_BYTES).unwrap();
    let chunk = bytes(CHUNK_BYTES as usize);
    let value =
        |piece| chunk_value(&geometry, ChunkAddr { piece: PieceIndex(piece), chunk: 0 }, &chunk).unwrap();
    assert_ne!(value(0), value(1));
}

#[test]
fn a_table_is_checked_before_it_is_one() {
    let content = bytes(3 * PIECE_BYTES_MIN as usize);
    let mut hasher = ContentHasher::new(Geometry::new(content.len() as u64).unwrap());
    hasher.update(&content);
    let (key, table) = hasher.finish().unwrap();
    let values = table.unwrap().values().to_vec();
    let new = |length, values: &[ChainingValue]| {
        PieceTable::new(ContentKey { id: key.id, length }, values.to_vec()).map(|_| ())
    };
    assert_eq!(new(key.length, &values), Ok(()));
    assert_eq!(new(key.length, &values[..2]), Err(TableFault::WrongCount { values: 2, pieces: 3 }));
    let swapped = [values[1], values[0], values[2]];
    assert_eq!(new(key.length, &swapped), Err(TableFault::WrongId));
    assert_eq!(new(CHUNK_BYTES, &values[..1]), Err(TableFault::NoTable { length: CHUNK_BYTES }));
    assert_eq!(new(0, &[]), Err(TableFault::NoTable { length: 0 }));
    assert_eq!(new(u64::MAX, &values), Err(TableFault::TooLong { length: u64::MAX }));
    // Folding does not prove the length: the last piece may be stated shorter. Only its bytes tell.
    assert_eq!(new(key.length - 1, &values), Ok(()));
}
