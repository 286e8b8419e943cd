use proptest::prelude::*;

use super::*;

#[test]
fn bytes_are_frozen() {
    let handshake =
        Handshake { features: 0x0807_0605_0403_0201, ..Handshake::new(PeerId([0xab; 32]), Seeks::Tracker) };
    let mut bytes = handshake.encode();
    let expected =
        [&b"potluck\n"[..], &[1, 0, 1, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8], &[0xab; 32], &[0; 8]].concat();
    assert_eq!(bytes.as_slice(), expected);
    assert_eq!(Handshake::decode(&bytes), Ok(handshake));
    bytes[11..16].fill(1);
    bytes[56..].fill(1);
    assert_eq!(Handshake::decode(&bytes), Ok(handshake), "reserved bytes are not looked at");
}

#[test]
fn others_are_told_apart() {
    let good = Handshake::new(PeerId([1; 32]), Seeks::Probe).encode();
    let with = |at: usize, byte: u8| {
        let mut bytes = good;
        bytes[at] = byte;
        Handshake::decode(&bytes)
    };
    assert_eq!(with(0, b'P'), Err(HandshakeFault::NotPotluck));
    assert_eq!(with(7, 0), Err(HandshakeFault::NotPotluck));
    assert_eq!(with(8, 2), Err(HandshakeFault::Version { theirs: 2 }));
    assert_eq!(with(9, 1), Err(HandshakeFault::Version { theirs: 257 }));
    assert_eq!(with(10, 3), Err(HandshakeFault::Seeks(3)));
    assert_eq!(with(10, 0).map(|handshake| handshake.seeks), Ok(Seeks::Peer));
    let http = *b"GET / HTTP/1.1\r\nHost: localhost:7070\r\nUser-Agent: curl/8.5.0\r\nAcc";
    assert_eq!(Handshake::decode(http[..64].try_into().unwrap()), Err(HandshakeFault::NotPotluck));
}

proptest! {
    #[test]
    fn any_bytes_are_safe(mut bytes in proptest::collection::vec(any::<u8>(), 64), known: bool) {
        if known {
            bytes[..10].copy_from_slice(b"potluck\n\x01\0");
        }
        if let Ok(read) = Handshake::decode(bytes.as_slice().try_into().unwrap()) {
            prop_assert_eq!(Handshake::decode(&read.encode()), Ok(read));
        }
    }
}
