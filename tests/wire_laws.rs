//! Laws of the codec, over every message with arbitrary values and over arbitrary bytes.
#![expect(clippy::unwrap_used, reason = "what is missing fails the test")]

#[path = "support/messages.rs"]
mod messages;

use std::fmt::Debug;

use messages::{Generator, Size};
use potluck_core::content::Kind;
use potluck_core::ids::{ContentId, ContentKey, PeerId, Slot};
use potluck_core::limits::{HOLDER_SAMPLE, ROWS_PER_REPLY};
use potluck_core::wire::WireMessage;
use potluck_core::wire::codec::DecodeError;
use potluck_core::wire::frame::{Handling, Header, encode_message, handling};
use potluck_core::wire::peer::{KnownPeer, Offer, PeerMessage};
use potluck_core::wire::tracker::{Ad, HolderRow, PeerRow, Reach, Row, TrackerMessage, TrackerRequest};
use proptest::prelude::*;

fn body<M: WireMessage>(msg: &M) -> Vec<u8> {
    let mut body = Vec::new();
    msg.encode_body(&mut body);
    body
}

/// What is sent is what is read, within its cap; with a byte more or less it is nothing.
fn check_round_trip<M: WireMessage + PartialEq + Debug>(msg: &M) {
    let mut frame = Vec::new();
    encode_message(msg, &mut frame);
    let (header, body) = frame.split_first_chunk::<{ Header::BYTES }>().unwrap();
    let kind = msg.kind();
    let bytes = body.len() as u32;
    assert_eq!(Header::decode(header), Ok(Header::Control { kind, bytes }));
    assert_eq!(handling::<M>(kind, bytes), Ok(Handling::Decode), "{} is within its cap", msg.name());
    assert_eq!(M::decode_body(kind, body).as_ref(), Ok(msg));
    let steps = (body.len() / 50).max(1);
    for cut in (0..body.len()).step_by(steps) {
        assert_eq!(M::decode_body(kind, &body[..cut]), Err(DecodeError::Malformed), "cut at {cut}");
    }
    let longer = [body, &[0]].concat();
    let max = M::body_bytes_max(kind).unwrap();
    let fault = if longer.len() > max as usize {
        DecodeError::TooLong { kind, bytes: longer.len(), max }
    } else {
        DecodeError::Trailing { left: 1 }
    };
    assert_eq!(M::decode_body(kind, &longer), Err(fault));
}

/// Whatever decodes is canonical: this side would write the very same bytes.
fn check_any_bytes<M: WireMessage>(kind: u8, bytes: &[u8]) {
    match M::decode_body(kind, bytes) {
        Ok(msg) => assert_eq!((msg.kind(), body(&msg).as_slice()), (kind, bytes)),
        Err(DecodeError::UnknownKind { .. }) => assert_eq!(M::body_bytes_max(kind), None),
        Err(_) => assert!(M::body_bytes_max(kind).is_some()),
    }
}

fn check_damaged<M: WireMessage>(msg: &M, damage: &[(prop::sample::Index, u8)]) {
    let mut bytes = body(msg);
    for (at, byte) in damage {
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
    }
    check_any_bytes::<M>(msg.kind(), &bytes);
}

proptest! {
    #[test]
    fn every_message_survives_the_wire(seed: u64) {
        let mut generator = Generator::new(seed, Size::Any);
        for _ in 0..8 {
            check_round_trip(&generator.peer_message());
            check_round_trip(&generator.tracker_request());
            check_round_trip(&generator.tracker_message());
        }
    }

    #[test]
    fn any_bytes_are_safe(bytes in proptest::collection::vec(prop_oneof![Just(0), Just(1), any::<u8>()], 0..400)) {
        for kind in 0..=u8::MAX {
            check_any_bytes::<PeerMessage>(kind, &bytes);
            check_any_bytes::<TrackerRequest>(kind, &bytes);
            check_any_bytes::<TrackerMessage>(kind, &bytes);
        }
    }

    #[test]
    fn damaged_messages_are_safe(
        seed: u64,
        damage in proptest::collection::vec(any::<(prop::sample::Index, u8)>(), 1..4),
    ) {
        let mut generator = Generator::new(seed, Size::Any);
        for _ in 0..8 {
            check_damaged(&generator.peer_message(), &damage);
            check_damaged(&generator.tracker_request(), &damage);
            check_damaged(&generator.tracker_message(), &damage);
        }
    }
}

/// Every message that keeps the bounds on its texts and sequences fits its frame's cap, even where the bounds are
/// reached.
#[test]
fn full_messages_fit_their_caps() {
    let mut generator = Generator::new(1, Size::Full);
    for _ in 0..100 {
        check_round_trip(&generator.peer_message());
        check_round_trip(&generator.tracker_request());
        check_round_trip(&generator.tracker_message());
    }
}

/// Sequences of the smallest elements have the least bytes for their size in memory: the decoder's limit leaves room.
#[test]
fn sequences_of_small_elements_decode() {
    let (name, reach) = (String::new(), Reach { ip: None, port: 0, dialable: false });
    let peer = PeerId([0; 32]);
    let key = ContentKey { id: ContentId([0; 32]), length: 0 };
    let kind = Kind::File;
    for count in [1, 2, 3, 5, 10, 50, ROWS_PER_REPLY] {
        let row = Row { key, kind, name: name.clone(), complete: 0, partial: 0, total: 0 };
        check_round_trip(&TrackerMessage::Rows { seq: 0, rows: vec![row; count], next: None });
        let row = HolderRow { peer, name: name.clone(), reach, pieces: 0 };
        check_round_trip(&TrackerMessage::HolderRows { seq: 0, rows: vec![row; count], next: None });
        let row = PeerRow { peer, name: name.clone(), reach };
        check_round_trip(&TrackerMessage::PeerRows { seq: 0, rows: vec![row.clone(); count], next: None });
        let left = vec![(peer, name.clone()); count];
        check_round_trip(&TrackerMessage::PeerChange { joined: vec![row; count], left });
        let ad = Ad { key, kind, name: name.clone(), member: false, pieces: 0, total: 0 };
        check_round_trip(&TrackerRequest::Announce { seq: 0, ads: vec![ad; count] });
        let offer = Offer { key, kind, name: name.clone() };
        check_round_trip(&PeerMessage::Found { seq: 0, offers: vec![offer; count] });
        let known = KnownPeer { peer, addr: ([0; 4], 0).into() };
        check_round_trip(&PeerMessage::Holders {
            slot: Slot(0),
            peers: vec![known; count.min(HOLDER_SAMPLE)],
        });
    }
}
