use proptest::prelude::*;

use super::*;
use crate::wire::peer::PeerMessage;
use crate::wire::tracker::{TrackerMessage, TrackerRequest};

#[test]
fn a_message_has_its_header() {
    let mut out = vec![0xee];
    encode_message(&PeerMessage::Ping { nonce: 5 }, &mut out);
    assert_eq!(out, [0xee, 8, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
    let header: [u8; 16] = out[1..17].try_into().unwrap();
    assert_eq!(Header::decode(&header), Ok(Header::Control { kind: 16, bytes: 8 }));
}

#[test]
fn a_chunk_carries_its_address() {
    let at = ChunkAddr { piece: PieceIndex(0x0102_0304), chunk: 0x0506 };
    let header = Header::Chunk { slot: Slot(0x0708_090a), at, bytes: 0x0003_0201 };
    let bytes = header.encode();
    assert_eq!(
        bytes,
        [0x01, 0x02, 0x03, 0, 0, 0, 0x06, 0x05, 0x0a, 0x09, 0x08, 0x07, 0x04, 0x03, 0x02, 0x01]
    );
    assert_eq!(Header::decode(&bytes), Ok(header));
    assert_eq!(header.body_bytes(), 0x0003_0201);
}

#[test]
fn headers_that_are_not_allowed_are_refused() {
    let header = |bytes: u32, kind: u8, at: usize| {
        let mut header = Header::Control { kind, bytes }.encode();
        if at > 0 {
            header[at] = 1;
        }
        Header::decode(&header)
    };
    let chunk_max = CHUNK_BYTES as u32;
    assert!(header(chunk_max, KIND_CHUNK, 0).is_ok());
    let too_long = FrameFault::TooLong { kind: 0, bytes: chunk_max + 1, max: chunk_max };
    assert_eq!(header(chunk_max + 1, KIND_CHUNK, 0), Err(too_long));
    assert_eq!(header(0, KIND_CHUNK, 0), Err(FrameFault::EmptyChunk));
    assert_eq!(header(1, KIND_CHUNK, 5), Err(FrameFault::Reserved { kind: 0 }));
    for kind in [1, 64, 127, 128, 255] {
        assert!(header(CONTROL_FRAME_BYTES_MAX, kind, 0).is_ok());
        assert!(matches!(header(CONTROL_FRAME_BYTES_MAX + 1, kind, 0), Err(FrameFault::TooLong { .. })));
        for at in 5..16 {
            let fault = if kind < 128 {
                Err(FrameFault::Reserved { kind })
            } else {
                Ok(Header::Control { kind, bytes: 4 })
            };
            assert_eq!(header(4, kind, at), fault);
        }
    }
}

/// The families share no kind, stay in their ranges, and keep caps below that of all control frames.
#[test]
fn kinds_and_caps_are_in_order() {
    for kind in 0..=u8::MAX {
        let caps = [
            PeerMessage::body_bytes_max(kind),
            TrackerRequest::body_bytes_max(kind),
            TrackerMessage::body_bytes_max(kind),
        ];
        let family = match kind {
            1..=63 | 160..=175 => Some(0),
            64..=95 | 128..=143 => Some(1),
            96..=127 | 144..=159 => Some(2),
            _ => None,
        };
        for (index, cap) in caps.into_iter().enumerate() {
            assert!(cap.is_none() || family == Some(index), "kind {kind}");
            assert!(cap.is_none_or(|max| max <= CONTROL_FRAME_BYTES_MAX), "kind {kind}");
        }
    }
}

#[test]
fn what_is_done_with_a_body_is_decided_by_its_header() {
    assert_eq!(handling::<PeerMessage>(16, 16), Ok(Handling::Decode));
    assert_eq!(handling::<PeerMessage>(16, 17), Err(FrameFault::TooLong { kind: 16, bytes: 17, max: 16 }));
    assert_eq!(handling::<PeerMessage>(63, 0), Err(FrameFault::UnknownKind { kind: 63 }));
    assert_eq!(handling::<PeerMessage>(64, 8), Err(FrameFault::UnknownKind { kind: 64 }), "another family's");
    assert_eq!(handling::<TrackerRequest>(127, 0), Err(FrameFault::UnknownKind { kind: 127 }));
    assert_eq!(handling::<TrackerMessage>(128, 200_000), Ok(Handling::Skip));
    assert_eq!(handling::<TrackerMessage>(255, 0), Ok(Handling::Skip));
}

proptest! {
    /// Whatever is a header is the header that this side would write, but for what kinds of later releases carry.
    #[test]
    fn any_header_is_safe(mut header: [u8; 16], small: u16, kind in prop_oneof![Just(0), 0_u8..140], zero: bool) {
        header[4] = kind;
        header[2..4].copy_from_slice(&[(small & 3) as u8, 0]);
        if zero {
            header[5] = 0;
            if kind != 0 {
                header[6..].fill(0);
            }
        }
        if let Ok(read) = Header::decode(&header) {
            prop_assert!(read.body_bytes() <= CONTROL_FRAME_BYTES_MAX.max(CHUNK_BYTES as u32));
            if kind < 128 {
                prop_assert_eq!(read.encode(), header);
            }
        }
    }
}
