use proptest::prelude::*;

use super::*;

const ID: &str = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";

fn fields(fields: &str) -> Result<Ticket, TicketFault> {
    format!("potluck:{ID}?{fields}").parse()
}

#[test]
fn looks_as_documented() {
    let ticket = Ticket {
        id: ID.parse().unwrap(),
        kind: Kind::File,
        name: SafeName::parse("a b&c=ü+%.txt").unwrap(),
        size: 1234,
        trackers: vec!["tracker.example:7070".into()],
        peers: vec!["192.0.2.7:4001".into(), "[2001:db8::1]:4001".into()],
    };
    let text = [
        &format!("potluck:{ID}?kind=file&name=a%20b%26c%3D%C3%BC%2B%25.txt&size=1234"),
        "&tracker=tracker.example:7070&peer=192.0.2.7:4001&peer=[2001:db8::1]:4001",
    ]
    .concat();
    assert_eq!(ticket.to_string(), text);
    assert_eq!(text.parse(), Ok(ticket.clone()));
    assert_eq!(ticket.key(), ContentKey { id: ticket.id, length: 1234 });
}

#[test]
fn readers_are_lenient_where_it_is_safe() {
    let ticket = fields("kind=folder&name=x&size=0").unwrap();
    assert_eq!((ticket.kind, ticket.size), (Kind::Folder, 0));
    assert_eq!(
        fields("size=0&colour=red&&name=%78&kind=folder&flag=").unwrap(),
        ticket,
        "order, unknown, empty"
    );
    let shouted = format!("POTLUCK:{}?kind=folder&name=x&size=0", ID.to_uppercase());
    assert_eq!(shouted.parse(), Ok(ticket));
    assert_eq!(fields("kind=file&name=a+b&size=1").unwrap().name.as_str(), "a+b", "a plus is a plus");
    assert_eq!(fields("kind=file&name=資料&size=1").unwrap().name.as_str(), "資料", "as pasted by a browser");
}

#[test]
fn what_is_no_ticket_is_refused_with_the_reason() {
    use TicketFault::{
        BadAddr, BadField, BadId, BadKind, BadName, BadSize, Missing, NotATicket, TooLong, TooMany, Twice,
    };
    for (text, fault) in [
        ("", NotATicket),
        ("potluck", NotATicket),
        ("magnet:?xt=urn:btih:00", NotATicket),
        ("potlück:", NotATicket),
        ("potluck:", BadId),
        ("potluck:?kind=file", BadId),
        ("potluck:abcd?kind=file&name=x&size=1", BadId),
        (&format!("potluck:{ID}0?kind=file&name=x&size=1"), BadId),
        (&format!("potluck:{ID}"), Missing("kind")),
        (&format!("potluck:{ID}?"), Missing("kind")),
        (&format!("potluck:{}", "x".repeat(TICKET_BYTES_MAX)), TooLong),
    ] {
        assert_eq!(text.parse::<Ticket>(), Err(fault), "{text}");
    }
    let rest = "kind=file&name=x&size=1";
    for (text, fault) in [
        ("name=x&size=1", Missing("kind")),
        ("kind=file&size=1", Missing("name")),
        ("kind=file&name=x", Missing("size")),
        ("kind=pipe&name=x&size=1", BadKind(NotAKind)),
        ("kind=file&name=&size=1", BadName(NameFault::Empty)),
        ("kind=file&name=..&size=1", BadName(NameFault::Dots)),
        ("kind=file&name=a%2Fb&size=1", BadName(NameFault::Separator)),
        ("kind=file&name=a%00&size=1", BadName(NameFault::Nul)),
        ("kind=file&name=x&size=", BadSize),
        ("kind=file&name=x&size=+1", BadSize),
        ("kind=file&name=x&size=-1", BadSize),
        ("kind=file&name=x&size=1e3", BadSize),
        ("kind=file&name=x&size=17592186044417", BadSize),
        ("kind=file&name=x&size=99999999999999999999999", BadSize),
        ("kind=file&name=%ff&size=1", BadField("name".into())),
        ("kind=file&name=%4&size=1", BadField("name".into())),
        ("kind=file&name=%zz&size=1", BadField("name".into())),
        ("kind=file&name=%&size=1", BadField("name".into())),
        ("kind=file&name", BadField("name".into())),
        (&format!("{rest}&size=1"), Twice("size")),
        (&format!("{rest}&kind=file"), Twice("kind")),
        (&format!("{rest}&name=x"), Twice("name")),
        (&format!("{rest}&tracker="), BadAddr("tracker")),
        (&format!("{rest}&tracker=host"), BadAddr("tracker")),
        (&format!("{rest}&tracker=host:"), BadAddr("tracker")),
        (&format!("{rest}&tracker=:70"), BadAddr("tracker")),
        (&format!("{rest}&tracker=host:0"), BadAddr("tracker")),
        (&format!("{rest}&tracker=host:+70"), BadAddr("tracker")),
        (&format!("{rest}&tracker=host:65536"), BadAddr("tracker")),
        (&format!("{rest}&peer=::1:70"), BadAddr("peer")),
        (&format!("{rest}&peer=[::1:70"), BadAddr("peer")),
        (&format!("{rest}&peer=[1.2.3.4]:70"), BadAddr("peer")),
        (&format!("{rest}&peer=a%20b:70"), BadAddr("peer")),
        (&format!("{rest}&peer=a%1Bb:70"), BadAddr("peer")),
        (&format!("{rest}{}", "&peer=a:1".repeat(TICKET_ADDRS_MAX + 1)), TooMany),
    ] {
        assert_eq!(fields(text), Err(fault), "{text}");
    }
}

/// A fault quotes foreign text; printed, it cannot drive a terminal.
#[test]
fn faults_are_safe_to_print() {
    assert_eq!(
        fields("\u{1b}[2J%=x&kind").unwrap_err().to_string(),
        "the ticket's `kind` cannot be read",
        "an unknown field is skipped, whatever it is called"
    );
    assert_eq!(fields("\u{1b}[2J").unwrap_err().to_string(), "the ticket's `\\u{1b}[2J` cannot be read");
}

fn tickets() -> impl Strategy<Value = Ticket> {
    let name = "\\PC{1,20}".prop_filter_map("a name", |text| SafeName::parse(&text).ok());
    let host = prop_oneof![
        "[a-z0-9._-]{1,20}".prop_map(String::from),
        any::<[u8; 4]>().prop_map(|ip| std::net::Ipv4Addr::from(ip).to_string()),
        any::<[u8; 16]>().prop_map(|ip| format!("[{}]", std::net::Ipv6Addr::from(ip))),
    ];
    let addrs = proptest::collection::vec(
        (host, 1..=u16::MAX).prop_map(|(host, port)| format!("{host}:{port}")),
        0..4,
    );
    let kind = any::<bool>().prop_map(|file| if file { Kind::File } else { Kind::Folder });
    (any::<[u8; 32]>(), kind, name, 0..=CONTENT_BYTES_MAX, addrs.clone(), addrs).prop_map(
        |(id, kind, name, size, trackers, peers)| Ticket {
            id: ContentId(id),
            kind,
            name,
            size,
            trackers,
            peers,
        },
    )
}

proptest! {
    #[test]
    fn text_carries_a_ticket(ticket in tickets()) {
        let text = ticket.to_string();
        prop_assert!(text.is_ascii() && !text.contains(char::is_whitespace));
        prop_assert_eq!(text.parse(), Ok(ticket));
    }

    #[test]
    fn any_text_is_safe(text in "\\PC{0,60}", tail in "[a-z=&%0-9:\\[\\]\u{e9}]{0,60}") {
        let _ = text.parse::<Ticket>();
        let _ = fields(&tail);
        let _ = format!("potluck:{text}").parse::<Ticket>();
    }
}
