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

/// In memory a short text takes three words, on the wire one and its letters.
#[test]
fn lists_of_short_texts_are_within_the_limit() {
    for (count, letters) in [(1, 0), (43, 1), (200, 0), (1000, 3), (16_000, 0)] {
        let texts = vec!["a".repeat(letters); count];
        let mut body = Vec::new();
        encode(&texts, &mut body);
        assert_eq!(decode::<Vec<String>>(&body), Ok(texts), "{count} texts of {letters}");
    }
}
