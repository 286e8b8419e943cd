use super::*;

const ID: &str = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";

#[test]
fn looks_as_documented() {
    let ticket = Ticket {
        id: ID.parse().unwrap(),
        kind: Kind::File,
        name: SafeName::parse("a b&c=ü.txt").unwrap(),
        size: 1234,
        trackers: vec!["tracker.example:7070".into()],
        peers: vec!["192.0.2.7:4001".into(), "[2001:db8::1]:4001".into()],
    };
    let text = format!(
        "potluck:{ID}?kind=file&name=a%20b%26c%3D%C3%BC.txt&size=1234&tracker=tracker.example:7070&peer=192.0.2.7:4001&peer=[2001:db8::1]:4001"
    );
    assert_eq!(ticket.to_string(), text);
    assert_eq!(text.parse(), Ok(ticket));
}
