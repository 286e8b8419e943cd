use super::*;
use crate::wire::peer::PeerMessage;

#[test]
fn a_message_has_its_header() {
    let mut out = vec![0xee];
    encode_message(&PeerMessage::Ping { nonce: 5 }, &mut out);
    assert_eq!(out, [0xee, 8, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
    let header: [u8; 16] = out[1..17].try_into().unwrap();
    assert_eq!(Header::decode(&header), Ok(Header::Control { kind: 16, bytes: 8 }));
}
