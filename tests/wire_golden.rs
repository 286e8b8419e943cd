//! Golden vectors: the bytes of every message, of the handshake and of the headers, as `docs/protocol.md` shows them.
//!
//! They are frozen with the first release that speaks them: a changed vector is a changed protocol. Blanks in the hex
//! separate fields and mean nothing.
#![expect(clippy::unwrap_used, reason = "a vector that cannot be made fails its test")]

#[path = "support/messages.rs"]
mod messages;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::net::SocketAddr;

use messages::{Generator, Size};
use potluck_core::content::{
    ContentHasher, Geometry, Kind, Listing, ListingEntry, Node, SafeName, SafePath, Ticket,
};
use potluck_core::ids::{
    ChainingValue, ChunkAddr, ChunkRun, ContentId, ContentKey, PeerId, PieceIndex, SessionToken, Slot,
};
use potluck_core::wire::WireMessage;
use potluck_core::wire::frame::{Header, encode_message};
use potluck_core::wire::handshake::{Handshake, Seeks};
use potluck_core::wire::peer::{Holding, KnownPeer, Offer, PeerMessage, Refusal, RequestRef};
use potluck_core::wire::tracker::{
    Accepting, Ad, Cursor, HolderRow, Matching, PeerRow, Reach, RefusedRequest, Row, TrackerMessage,
    TrackerRequest,
};

const PROTOCOL: &str = include_str!("../docs/protocol.md");

fn counting<const N: usize>(first: u8) -> [u8; N] {
    std::array::from_fn(|at| first + at as u8)
}

fn key() -> ContentKey {
    ContentKey { id: ContentId(counting(0xa0)), length: 0x12_3456 }
}

fn peer() -> PeerId {
    PeerId(counting(0x40))
}

fn other() -> PeerId {
    PeerId(counting(0x60))
}

fn token() -> SessionToken {
    SessionToken(counting(0x10))
}

fn pieces(pieces: &[u32]) -> Vec<PieceIndex> {
    pieces.iter().copied().map(PieceIndex).collect()
}

fn addr(addr: &str) -> SocketAddr {
    addr.parse().unwrap()
}

fn known_peers() -> Vec<KnownPeer> {
    let known = [(peer(), "192.0.2.7:4001"), (other(), "[2001:db8::1]:4001")];
    known.map(|(peer, at)| KnownPeer { peer, addr: addr(at) }).to_vec()
}

fn cursor() -> Cursor {
    Cursor { name: "a.txt".into(), key: key() }
}

fn row() -> Row {
    Row { key: key(), kind: Kind::File, name: "a.txt".into(), complete: 2, partial: 1, total: 0x12_3456 }
}

fn reach() -> Reach {
    Reach { ip: Some([192, 0, 2, 7].into()), port: 4001, dialable: true }
}

fn holder() -> HolderRow {
    HolderRow { peer: peer(), name: "ann".into(), reach: reach(), pieces: 5 }
}

fn other_holder() -> HolderRow {
    let reach = Reach { ip: None, port: 4002, dialable: false };
    HolderRow { peer: other(), name: "bob".into(), reach, pieces: 1 }
}

fn offer() -> Offer {
    Offer { key: key(), kind: Kind::File, name: "a.txt".into() }
}

fn peer_row() -> PeerRow {
    PeerRow { peer: peer(), name: "ann".into(), reach: reach() }
}

fn peer_vectors() -> Vec<(PeerMessage, &'static str)> {
    vec![
        (
            PeerMessage::Hello { name: "ann".into(), listen_port: 4001 },
            "0d000000 01 00 0000 00000000 00000000
             0300000000000000 616e6e a10f",
        ),
        (
            PeerMessage::Join { slot: Slot(3), key: key(), holding: Holding::Some },
            "30000000 02 00 0000 00000000 00000000
             03000000 a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf 5634120000000000 02000000",
        ),
        (
            PeerMessage::Bitfield { slot: Slot(3), first: 8, bits: vec![0xff, 0x01] },
            "12000000 03 00 0000 00000000 00000000
             03000000 08000000 0200000000000000 ff01",
        ),
        (
            PeerMessage::Have { slot: Slot(3), pieces: pieces(&[1, 258]) },
            "14000000 04 00 0000 00000000 00000000
             03000000 0200000000000000 01000000 02010000",
        ),
        (
            PeerMessage::Leave { slot: Slot(3) },
            "04000000 05 00 0000 00000000 00000000
             03000000",
        ),
        (
            PeerMessage::Retract { slot: Slot(3), pieces: pieces(&[]) },
            "0c000000 06 00 0000 00000000 00000000
             03000000 0000000000000000",
        ),
        (
            PeerMessage::Request { slot: Slot(3), run: ChunkRun { piece: PieceIndex(258), first: 1, count: 2 } },
            "0c000000 07 00 0000 00000000 00000000
             03000000 02010000 0100 0200",
        ),
        (
            PeerMessage::RequestAny { slot: Slot(3), choice: 9, pieces: pieces(&[4, 5]) },
            "18000000 08 00 0000 00000000 00000000
             03000000 09000000 0200000000000000 04000000 05000000",
        ),
        (
            PeerMessage::Cancel { slot: Slot(3), which: RequestRef::Piece(PieceIndex(258)) },
            "0c000000 09 00 0000 00000000 00000000
             03000000 00000000 02010000",
        ),
        (
            PeerMessage::Cancel { slot: Slot(3), which: RequestRef::Choice(9) },
            "0c000000 09 00 0000 00000000 00000000
             03000000 01000000 09000000",
        ),
        (
            PeerMessage::Refuse { slot: Slot(3), which: RequestRef::Choice(9), why: Refusal::Busy { retry_ms: 500 } },
            "14000000 0a 00 0000 00000000 00000000
             03000000 01000000 09000000 00000000 f4010000",
        ),
        (
            PeerMessage::Refuse { slot: Slot(3), which: RequestRef::Piece(PieceIndex(258)), why: Refusal::Lacks },
            "10000000 0a 00 0000 00000000 00000000
             03000000 00000000 02010000 01000000",
        ),
        (
            PeerMessage::RequestTable { slot: Slot(3), first: 2048, count: 2 },
            "0c000000 0b 00 0000 00000000 00000000
             03000000 00080000 02000000",
        ),
        (
            PeerMessage::Table { slot: Slot(3), first: 2048, values: vec![ChainingValue(counting(0x80))] },
            "30000000 0c 00 0000 00000000 00000000
             03000000 00080000 0100000000000000 808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
        ),
        (
            PeerMessage::Holders { slot: Slot(3), peers: known_peers() },
            "6c000000 0d 00 0000 00000000 00000000
             03000000 0200000000000000 404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f
             00000000 c0000207 a10f 606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f
             01000000 20010db8000000000000000000000001 a10f",
        ),
        (
            PeerMessage::Find { seq: 7, what: "über".into() },
            "11000000 0e 00 0000 00000000 00000000
             07000000 0500000000000000 c3bc626572",
        ),
        (
            PeerMessage::Found { seq: 7, offers: vec![Offer { key: key(), kind: Kind::Folder, name: "über".into() }] },
            "45000000 0f 00 0000 00000000 00000000
             07000000 0100000000000000 a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf
             5634120000000000 01000000 0500000000000000 c3bc626572",
        ),
        (
            PeerMessage::Ping { nonce: 0x0807_0605_0403_0201 },
            "08000000 10 00 0000 00000000 00000000
             0102030405060708",
        ),
        (
            PeerMessage::Pong { nonce: 0x0807_0605_0403_0201 },
            "08000000 11 00 0000 00000000 00000000
             0102030405060708",
        ),
        (
            PeerMessage::Absent { slot: Slot(3), peers: Vec::new() },
            "0c000000 12 00 0000 00000000 00000000
             03000000 0000000000000000",
        ),
        (PeerMessage::Spare { ahead: 3 }, "02000000 a0 00 0000 00000000 00000000 0300"),
    ]
}

fn request_vectors() -> Vec<(TrackerRequest, &'static str)> {
    vec![
        (
            TrackerRequest::Join {
                seq: 7,
                name: "ann".into(),
                any_name: true,
                listen_port: 4001,
                token: None,
            },
            "13000000 40 00 0000 00000000 00000000
             07000000 0300000000000000 616e6e 01 a10f 00",
        ),
        (
            TrackerRequest::Join {
                seq: 7,
                name: "ann".into(),
                any_name: false,
                listen_port: 0,
                token: Some(token()),
            },
            "23000000 40 00 0000 00000000 00000000
             07000000 0300000000000000 616e6e 00 0000 01 101112131415161718191a1b1c1d1e1f",
        ),
        (
            TrackerRequest::Announce {
                seq: 7,
                ads: vec![Ad {
                    key: key(),
                    kind: Kind::File,
                    name: "a.txt".into(),
                    member: false,
                    pieces: 5,
                    total: 0x12_3456,
                }],
            },
            "52000000 41 00 0000 00000000 00000000
             07000000 0100000000000000 a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf
             5634120000000000 00000000 0500000000000000 612e747874 00 05000000 5634120000000000",
        ),
        (
            TrackerRequest::Withdraw { seq: 7, keys: vec![key()] },
            "34000000 42 00 0000 00000000 00000000
             07000000 0100000000000000 a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf
             5634120000000000",
        ),
        (
            TrackerRequest::Search {
                seq: 7,
                matching: Matching::All,
                members: false,
                after: None,
                limit: 256,
            },
            "0e000000 43 00 0000 00000000 00000000
             07000000 00000000 00 00 00010000",
        ),
        (
            TrackerRequest::Search {
                seq: 7,
                matching: Matching::Glob("*.txt".into()),
                members: true,
                after: Some(cursor()),
                limit: 1,
            },
            "50000000 43 00 0000 00000000 00000000
             07000000 03000000 0500000000000000 2a2e747874 01 01 0500000000000000 612e747874
             a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf 5634120000000000 01000000",
        ),
        (
            TrackerRequest::Holders { seq: 7, key: key(), after: Some(peer()), limit: 256 },
            "51000000 44 00 0000 00000000 00000000
             07000000 a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf 5634120000000000
             01 404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f 00010000",
        ),
        (
            TrackerRequest::Peers { seq: 7, after: None, limit: 256 },
            "09000000 45 00 0000 00000000 00000000
             07000000 00 00010000",
        ),
        (
            TrackerRequest::Watch { key: key() },
            "28000000 46 00 0000 00000000 00000000
             a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf 5634120000000000",
        ),
        (
            TrackerRequest::Unwatch { key: key() },
            "28000000 47 00 0000 00000000 00000000
             a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf 5634120000000000",
        ),
        (
            TrackerRequest::WatchPeers { on: true },
            "01000000 48 00 0000 00000000 00000000
             01",
        ),
        (
            TrackerRequest::Rename { seq: 7, name: "bob".into() },
            "0f000000 49 00 0000 00000000 00000000
             07000000 0300000000000000 626f62",
        ),
        (
            TrackerRequest::AskToDial { peer: peer() },
            "20000000 4a 00 0000 00000000 00000000
             404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f",
        ),
        (TrackerRequest::Leave {}, "00000000 4b 00 0000 00000000 00000000"),
        (
            TrackerRequest::Ping { nonce: 0x0807_0605_0403_0201 },
            "08000000 4c 00 0000 00000000 00000000
             0102030405060708",
        ),
        (
            TrackerRequest::Pong { nonce: 0x0807_0605_0403_0201 },
            "08000000 4d 00 0000 00000000 00000000
             0102030405060708",
        ),
        (
            TrackerRequest::AcceptOffers { seq: 7, from: Accepting::Names(vec!["ann".into()]) },
            "1b000000 80 00 0000 00000000 00000000
             07000000 02000000 0100000000000000 0300000000000000 616e6e",
        ),
        (
            TrackerRequest::OfferTo { seq: 7, to: peer(), offer: offer(), total: 0x12_3456 },
            "65000000 81 00 0000 00000000 00000000
             07000000 404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f
             a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf 5634120000000000
             00000000 0500000000000000 612e747874 5634120000000000",
        ),
        (
            TrackerRequest::AlsoNamed { key: key(), names: vec!["b.txt".into()] },
            "3d000000 82 00 0000 00000000 00000000
             a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf 5634120000000000
             0100000000000000 0500000000000000 622e747874",
        ),
    ]
}

fn tracker_vectors() -> Vec<(TrackerMessage, &'static str)> {
    vec![
        (
            TrackerMessage::Joined {
                seq: 7,
                name: "ann".into(),
                token: token(),
                observed: addr("192.0.2.7:4001"),
                lease_ms: 15_000,
            },
            "2d000000 60 00 0000 00000000 00000000
             07000000 0300000000000000 616e6e 101112131415161718191a1b1c1d1e1f 00000000 c0000207 a10f 983a0000",
        ),
        (
            TrackerMessage::Done { seq: 7 },
            "04000000 61 00 0000 00000000 00000000
             07000000",
        ),
        (
            TrackerMessage::Refused { seq: 7, why: RefusedRequest::NameTaken { offer: "ann-2".into() } },
            "15000000 62 00 0000 00000000 00000000
             07000000 00000000 0500000000000000 616e6e2d32",
        ),
        (
            TrackerMessage::Refused { seq: 7, why: RefusedRequest::BadName },
            "08000000 62 00 0000 00000000 00000000
             07000000 01000000",
        ),
        (
            TrackerMessage::Refused { seq: 7, why: RefusedRequest::NotJoined },
            "08000000 62 00 0000 00000000 00000000
             07000000 02000000",
        ),
        (
            TrackerMessage::Refused { seq: 7, why: RefusedRequest::NotYours },
            "08000000 62 00 0000 00000000 00000000
             07000000 03000000",
        ),
        (
            TrackerMessage::Refused { seq: 7, why: RefusedRequest::Limit("x".into()) },
            "11000000 62 00 0000 00000000 00000000
             07000000 04000000 0100000000000000 78",
        ),
        (
            TrackerMessage::Refused { seq: 7, why: RefusedRequest::BadQuery("x".into()) },
            "11000000 62 00 0000 00000000 00000000
             07000000 05000000 0100000000000000 78",
        ),
        (
            TrackerMessage::Rows { seq: 7, rows: vec![row()], next: Some(cursor()) },
            "8b000000 63 00 0000 00000000 00000000
             07000000 0100000000000000 a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf
             5634120000000000 00000000 0500000000000000 612e747874 02000000 01000000 5634120000000000
             01 0500000000000000 612e747874 a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf
             5634120000000000",
        ),
        (
            TrackerMessage::HolderRows { seq: 7, rows: vec![holder(), other_holder()], next: None },
            "7b000000 64 00 0000 00000000 00000000
             07000000 0200000000000000 404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f
             0300000000000000 616e6e 01 00000000 c0000207 a10f 01 05000000
             606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f 0300000000000000 626f62 00 a20f 00
             01000000 00",
        ),
        (
            TrackerMessage::PeerRows { seq: 7, rows: vec![peer_row()], next: Some(peer()) },
            "64000000 65 00 0000 00000000 00000000
             07000000 0100000000000000 404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f
             0300000000000000 616e6e 01 00000000 c0000207 a10f 01
             01 404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f",
        ),
        (
            TrackerMessage::HolderChange { key: key(), now: vec![holder()], gone: vec![other()] },
            "93000000 66 00 0000 00000000 00000000
             a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf 5634120000000000 0100000000000000
             404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f 0300000000000000 616e6e
             01 00000000 c0000207 a10f 01 05000000 0100000000000000
             606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f",
        ),
        (
            TrackerMessage::PeerChange { joined: vec![peer_row()], left: vec![(other(), "bob".into())] },
            "72000000 67 00 0000 00000000 00000000
             0100000000000000 404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f
             0300000000000000 616e6e 01 00000000 c0000207 a10f 01 0100000000000000
             606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f 0300000000000000 626f62",
        ),
        (
            TrackerMessage::PleaseDial { row: peer_row() },
            "37000000 68 00 0000 00000000 00000000
             404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f 0300000000000000 616e6e
             01 00000000 c0000207 a10f 01",
        ),
        (
            TrackerMessage::Ping { nonce: 0x0807_0605_0403_0201 },
            "08000000 69 00 0000 00000000 00000000
             0102030405060708",
        ),
        (
            TrackerMessage::Pong { nonce: 0x0807_0605_0403_0201 },
            "08000000 6a 00 0000 00000000 00000000
             0102030405060708",
        ),
        (
            TrackerMessage::Offered { from: peer_row(), offer: offer(), total: 0x12_3456 },
            "78000000 90 00 0000 00000000 00000000
             404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f 0300000000000000 616e6e
             01 00000000 c0000207 a10f 01
             a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf 5634120000000000
             00000000 0500000000000000 612e747874 5634120000000000",
        ),
    ]
}

/// Hex of a vector, without its blanks.
fn squeezed(hex: &str) -> String {
    hex.split_whitespace().collect()
}

/// The hex blocks of the protocol page, without blanks and comments.
fn documented() -> BTreeSet<String> {
    let blocks = PROTOCOL.split("```hex\n").skip(1);
    let lines = |block: &str| -> String {
        let rows = block.lines().take_while(|line| *line != "```");
        rows.map(|row| squeezed(row.split(';').next().unwrap_or_default())).collect()
    };
    blocks.map(lines).collect()
}

/// Both ways, and every kind that the family has; returns what the page has to show.
fn check<M: WireMessage + PartialEq + Debug>(vectors: &[(M, &'static str)]) -> BTreeSet<String> {
    let mut shown = BTreeSet::new();
    for (msg, vector) in vectors {
        let hex = squeezed(vector);
        let mut frame = Vec::new();
        encode_message(msg, &mut frame);
        assert_eq!(hex::encode(&frame), hex, "{msg:?}");
        assert_eq!(
            M::decode_body(msg.kind(), &hex::decode(&hex).unwrap()[Header::BYTES..]).as_ref(),
            Ok(msg)
        );
        shown.insert(hex);
    }
    let covered: BTreeSet<u8> = vectors.iter().map(|(msg, _)| msg.kind()).collect();
    let known: BTreeSet<u8> = (0..=u8::MAX).filter(|kind| M::body_bytes_max(*kind).is_some()).collect();
    assert_eq!(covered, known, "every kind has a vector");
    shown
}

#[test]
fn every_frame_is_as_documented() {
    let handshake = Handshake { features: 1, ..Handshake::new(peer(), Seeks::Tracker) };
    let hello = "706f746c75636b0a 0100 01 0000000000 0100000000000000
                 404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f 0000000000000000";
    assert_eq!(hex::encode(handshake.encode()), squeezed(hello));
    assert_eq!(Handshake::decode(&handshake.encode()), Ok(handshake));

    let at = ChunkAddr { piece: PieceIndex(258), chunk: 1 };
    let chunk = Header::Chunk { slot: Slot(3), at, bytes: 262_144 };
    let chunk_header = "00000400 00 00 0100 03000000 02010000";
    assert_eq!(hex::encode(chunk.encode()), squeezed(chunk_header));
    assert_eq!(Header::decode(&chunk.encode()), Ok(chunk));

    let mut shown = BTreeSet::from([squeezed(hello), squeezed(chunk_header), listing_hex()]);
    shown.extend(check(&peer_vectors()));
    shown.extend(check(&request_vectors()));
    shown.extend(check(&tracker_vectors()));
    let documented = documented();
    assert_eq!(shown.difference(&documented).collect::<Vec<_>>(), [""; 0], "docs/protocol.md lacks vectors");
    assert_eq!(
        documented.difference(&shown).collect::<Vec<_>>(),
        [""; 0],
        "docs/protocol.md has other vectors"
    );
}

/// One hash over messages of every kind with all sorts of values: whatever changes in the encoding changes it.
#[test]
fn the_whole_encoding_is_pinned() {
    let mut hasher = blake3::Hasher::new();
    for (size, rounds) in [(Size::Any, 3_000), (Size::Full, 100)] {
        let mut generator = Generator::new(2026, size);
        for _ in 0..rounds {
            let mut frames = Vec::new();
            encode_message(&generator.peer_message(), &mut frames);
            encode_message(&generator.tracker_request(), &mut frames);
            encode_message(&generator.tracker_message(), &mut frames);
            hasher.update(&frames);
        }
    }
    let pinned = "f5d1eb7abcd88cb4f59ff982b91c83ec02f8493624b9a569c1166230aefc52cd";
    assert_eq!(hasher.finalize().to_hex().as_str(), pinned);
}

fn listing_hex() -> String {
    let file = Node::File { key: key(), executable: true, mtime_ns: 1_000_000_000 };
    let entries = [("sub/ü", file), ("empty", Node::Folder { mtime_ns: -1 })];
    let entries = entries.map(|(path, node)| ListingEntry { path: SafePath::parse(path).unwrap(), node });
    hex::encode(Listing::new(entries.to_vec()).unwrap().encode())
}

#[test]
fn contents_are_as_documented() {
    let bytes: Vec<u8> = (0..600_000_u32).map(|at| (at % 251) as u8).collect();
    for length in [0, 1, 1024, 262_144, 262_145, 600_000] {
        let bytes = &bytes[..length];
        let mut hasher = ContentHasher::new(Geometry::new(length as u64).unwrap());
        hasher.update(bytes);
        let (key, table) = hasher.finish().unwrap();
        assert_eq!(key.id.0, *blake3::hash(bytes).as_bytes());
        let values = table.iter().flat_map(|table| table.values());
        let lines: Vec<String> =
            values.enumerate().map(|(piece, value)| format!("  piece {piece} {value}\n")).collect();
        let shown = format!("{length:>6} bytes {}\n{}", key.id, lines.concat());
        assert!(PROTOCOL.contains(&shown), "docs/protocol.md lacks\n{shown}");
    }
}

#[test]
fn the_ticket_is_as_documented() {
    let ticket = Ticket {
        id: key().id,
        kind: Kind::File,
        name: SafeName::parse("a b&ü.txt").unwrap(),
        size: key().length,
        trackers: vec!["192.0.2.1:7070".into()],
        peers: vec!["[2001:db8::1]:4001".into()],
    };
    let shown = format!("\n{ticket}\n");
    assert!(PROTOCOL.contains(&shown), "docs/protocol.md lacks\n{shown}");
    assert_eq!(ticket.to_string().parse(), Ok(ticket));
}
