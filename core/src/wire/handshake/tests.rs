use super::*;

#[test]
fn bytes_are_frozen() {
    let handshake = Handshake::new(PeerId([0xab; 32]), Seeks::Tracker);
    let bytes = handshake.encode();
    assert_eq!(bytes[..11], *b"potluck\n\x01\0\x01");
    assert_eq!(Handshake::decode(&bytes), Ok(handshake));
}
