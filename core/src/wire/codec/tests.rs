use super::*;

#[test]
fn the_whole_body_is_used() {
    let mut body = Vec::new();
    encode(&(1_u32, String::from("ab")), &mut body);
    assert_eq!(body, [1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, b'a', b'b']);
    assert_eq!(decode::<(u32, String)>(&body), Ok((1, "ab".into())));
    assert_eq!(decode::<(u32, String)>(&body[..13]), Err(DecodeError::Malformed));
    body.push(0);
    assert_eq!(decode::<(u32, String)>(&body), Err(DecodeError::Trailing { left: 1 }));
}
