use proptest::prelude::*;

use super::*;
use crate::hashing::hash_bytes;

fn sidecar(length: usize, kind: Kind, name: &str) -> Sidecar {
    let (key, table) = hash_bytes(&vec![7; length]);
    Sidecar { key, kind, name: SafeName::parse(name).unwrap(), table }
}

#[test]
fn what_was_written_is_read() {
    for (length, name) in [(0, "n"), (5, "日本語"), (300_000, &"x".repeat(255)), (3 << 20, "foo... bar")] {
        for kind in [Kind::File, Kind::Folder] {
            let sidecar = sidecar(length, kind, name);
            assert_eq!(Sidecar::decode(&sidecar.encode()), Some(sidecar));
        }
    }
}

/// The format is what is on people's disks.
#[test]
fn the_bytes_are_as_documented() {
    let bytes = sidecar(3, Kind::Folder, "ab").encode();
    let (body, checksum) = bytes.split_at(bytes.len() - 32);
    let id = blake3::hash(&[7; 3]);
    let expected =
        [&b"potluck\x01"[..], id.as_bytes(), &[3, 0, 0, 0, 0, 0, 0, 0], &[1], &[2], b"ab", &[0, 0, 0, 0]]
            .concat();
    assert_eq!(body, expected);
    assert_eq!(checksum, blake3::hash(body).as_bytes());
}

/// With a right checksum, so that what comes after it is reached.
fn sealed(body: &[u8]) -> Vec<u8> {
    [body, blake3::hash(body).as_bytes()].concat()
}

#[test]
fn sealed_nonsense_is_refused() {
    let right = sidecar(300_000, Kind::File, "name").encode();
    let body = &right[..right.len() - 32];
    assert!(Sidecar::decode(&sealed(body)).is_some());
    let changed = |at: usize, byte: u8| {
        let mut body = body.to_vec();
        body[at] = byte;
        Sidecar::decode(&sealed(&body))
    };
    assert_eq!(changed(7, 2), None, "another version");
    assert_eq!(changed(8, !body[8]), None, "a table that does not fold to the id");
    assert_eq!(changed(47, 255), None, "a length that no content has");
    assert_eq!(changed(48, 2), None, "a kind that is none");
    assert_eq!(changed(49, 0), None, "no name");
    assert_eq!(changed(50, b'/'), None, "a refused name");
    assert_eq!(changed(54, 1), None, "a wrong count");
    assert_eq!(Sidecar::decode(&sealed(&body[..body.len() - 32])), None, "too few values");
    assert_eq!(Sidecar::decode(&sealed(&[body, &[0]].concat())), None, "something behind it");
}

proptest! {
    #[test]
    fn a_torn_or_changed_sidecar_is_none(cut in 0..200_usize, at in 0..200_usize, flip in 1..=255_u8) {
        let mut bytes = sidecar(600_000, Kind::File, "name").encode();
        let (cut, at) = (cut % bytes.len(), at % bytes.len());
        prop_assert_eq!(Sidecar::decode(&bytes[..cut]), None);
        bytes[at] ^= flip;
        prop_assert_eq!(Sidecar::decode(&bytes), None);
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Sidecar::decode(&sealed(&bytes));
        let _ = Sidecar::decode(&bytes);
    }
}
