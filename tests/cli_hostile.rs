//! Peers that speak the protocol and mean no good, before real processes: none of what they do crashes, stalls or pollutes
//! anything, and each is named.

#![allow(clippy::unwrap_used, reason = "what is not as it should be fails the test")]
#![allow(clippy::wildcard_enum_match_arm, reason = "one answer is waited for among many")]

mod support;

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use potluck_core::content::Kind;
use potluck_core::ids::{ChunkAddr, ChunkRun, ContentId, ContentKey, PeerId, PieceIndex, Slot};
use potluck_core::wire::frame::{Header, KIND_CHUNK};
use potluck_core::wire::handshake::{Handshake, Seeks};
use potluck_core::wire::peer::{Holding, PeerMessage};
use potluck_core::wire::tracker::{Ad, RefusedRequest, TrackerMessage, TrackerRequest};
use rustix::process::Signal;
use support::hostile::{self, Lie, Speaker};
use support::processes::{Net, Node, b3sum, sources, text, until};

const MIB: u64 = 1 << 20;

fn key_of(sharing: &serde_json::Value, bytes: u64) -> ContentKey {
    ContentKey { id: text(sharing, "id").parse().unwrap(), length: bytes }
}

fn addr_of(node: &mut Node) -> SocketAddr {
    text(&node.event("listening"), "addr").parse().unwrap()
}

#[test]
fn wrong_late_and_unasked_bytes_are_blamed_on_their_sender() {
    let net = Net::without_tracker();
    let path = net.file("src/f", 16 * MIB, 1);
    // Slow enough for a suspect to be blamed meanwhile: it has a second to take back what it sent.
    let mut good = net.serving("good", &["share", path.to_str().unwrap(), "--limit-up", "4M"]);
    let sharing = good.event("sharing");
    let (id, ticket) = (text(&sharing, "id"), text(&sharing, "ticket"));
    let evil = hostile::start(key_of(&sharing, 16 * MIB), Lie::Bytes);
    let ran = net.get("g", &format!("{ticket}&peer={evil}"), &[]).ran();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(b3sum(&net.got("g", "f")), id);
    let blamed = ran.one("misbehaved");
    assert_eq!((text(blamed, "peer"), text(blamed, "what")), ("evil".to_owned(), "BadPiece".to_owned()));
    assert_eq!(blamed["banned"], false, "the first offence drops it for this content");
    assert_eq!(sources(ran.one("done")), [("good".to_owned(), 16 * MIB)]);
}

#[test]
fn a_piece_table_of_something_else_is_blamed_on_its_sender() {
    let net = Net::without_tracker();
    let path = net.file("src/f", 4 * MIB, 1);
    let mut good = net.serving("good", &["share", path.to_str().unwrap()]);
    let sharing = good.event("sharing");
    let (id, ticket) = (text(&sharing, "id"), text(&sharing, "ticket"));
    let evil = hostile::start(key_of(&sharing, 4 * MIB), Lie::Table);
    good.signal(Signal::STOP);
    let mut getter = net.get("g", &format!("{ticket}&peer={evil}"), &[]);
    let blamed = getter.event("misbehaved");
    assert_eq!((text(&blamed, "peer"), text(&blamed, "what")), ("evil".to_owned(), "BadTable".to_owned()));
    good.signal(Signal::CONT);
    let ran = getter.ran();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(b3sum(&net.got("g", "f")), id);
    assert_eq!(sources(ran.one("done")), [("good".to_owned(), 4 * MIB)]);
}

#[test]
fn whoever_breaks_the_protocol_is_named_and_closed_and_others_are_served() {
    let net = Net::without_tracker();
    let path = net.file("src/f", 4 * MIB, 1);
    let mut sharer = net.serving("sharer", &["share", path.to_str().unwrap()]);
    let addr = addr_of(&mut sharer);
    let sharing = sharer.event("sharing");
    let (key, ticket) = (key_of(&sharing, 4 * MIB), text(&sharing, "ticket"));
    let control = |kind, bytes: u32| {
        let mut header = Header::Control { kind, bytes: 0 }.encode();
        header[..4].copy_from_slice(&bytes.to_le_bytes());
        header
    };
    let run = |piece, first, count| ChunkRun { piece: PieceIndex(piece), first, count };
    let request = |run| PeerMessage::Request { slot: Slot(1), run };
    let far = PeerMessage::RequestAny { slot: Slot(1), choice: 1, pieces: vec![PieceIndex(u32::MAX)] };
    let bits = PeerMessage::Bitfield { slot: Slot(1), first: 8, bits: vec![0xff; 100] };
    let at = ChunkAddr { piece: PieceIndex(0), chunk: 0 };
    type Deed<'a> = Box<dyn Fn(&mut Speaker) + 'a>;
    let deeds: Vec<(&str, &str, Deed<'_>)> = vec![
        ("beyond", "OutOfRange", Box::new(|s| s.say(&request(run(16, 0, 1))).unwrap())),
        ("chunks", "OutOfRange", Box::new(|s| s.say(&request(run(0, 0, 2))).unwrap())),
        ("wraps", "OutOfRange", Box::new(|s| s.say(&request(run(0, u16::MAX, u16::MAX))).unwrap())),
        ("choice", "OutOfRange", Box::new(|s| s.say(&far).unwrap())),
        ("bits", "OutOfRange", Box::new(|s| s.say(&bits).unwrap())),
        (
            "have",
            "OutOfRange",
            Box::new(|s| {
                s.say(&PeerMessage::Have { slot: Slot(1), pieces: vec![PieceIndex(1 << 31)] }).unwrap();
            }),
        ),
        (
            "hello",
            "OutOfPlace",
            Box::new(|s| {
                s.say(&PeerMessage::Hello { name: "again".to_owned(), listen_port: 0 }).unwrap();
            }),
        ),
        ("4gib", "Garbage", Box::new(|s| s.raw(&control(4, u32::MAX)).unwrap())),
        ("chunk4gib", "Garbage", Box::new(|s| s.raw(&control(KIND_CHUNK, u32::MAX)).unwrap())),
        ("later4gib", "Garbage", Box::new(|s| s.raw(&control(200, u32::MAX)).unwrap())),
        ("unknown", "Garbage", Box::new(|s| s.raw(&control(127, 0)).unwrap())),
        ("noise", "Garbage", Box::new(|s| s.raw(&[0xa5; 4096]).unwrap())),
        ("unasked", "TooMuch", Box::new(|s| (0..1100).for_each(|_| drop(s.chunk(Slot(0), at, 64))))),
    ];
    for (name, what, deed) in deeds {
        let mut speaker = Speaker::peer(addr, name);
        speaker.say(&PeerMessage::Join { slot: Slot(1), key, holding: Holding::Nothing }).unwrap();
        speaker.hear_until(|msg| matches!(msg, PeerMessage::Join { .. }).then_some(()));
        deed(&mut speaker);
        speaker.until_closed();
        let named = sharer.event_where("misbehaved", |event| text(event, "peer") == name);
        assert_eq!(text(&named, "what"), what, "{name}");
    }
    let ran = net.get("g", &ticket, &[]).ran();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(sharer.terminate(), Some(0), "{}", sharer.told());
}

/// Joins a tracker by hand.
fn joined(net: &Net, name: &str, listen_port: u16) -> Speaker {
    let mut id = [0xbd; 32];
    id[..name.len()].copy_from_slice(name.as_bytes());
    let mut speaker = Speaker::connect(net.addr.parse().unwrap(), PeerId(id), Seeks::Tracker);
    let (seq, name, any_name, token) = (1, name.to_owned(), false, None);
    speaker.say(&TrackerRequest::Join { seq, name, any_name, listen_port, token }).unwrap();
    speaker.hear_until(|msg| matches!(msg, TrackerMessage::Joined { .. }).then_some(()));
    speaker
}

#[test]
fn nobody_withdraws_what_another_registered() {
    let net = Net::new();
    let path = net.file("src/f", MIB, 1);
    let (_sharer, id) = net.share("sharer", &path, &[]);
    let mut evil = joined(&net, "evil", 0);
    let keys = vec![ContentKey { id: id.parse().unwrap(), length: MIB }];
    evil.say(&TrackerRequest::Withdraw { seq: 2, keys }).unwrap();
    let why = evil.hear_until(|msg| match msg {
        TrackerMessage::Refused { seq: 2, why } => Some(why),
        _ => None,
    });
    assert_eq!(why, RefusedRequest::NotYours);
    // Nor by taking its name, or its identity.
    let mut thief = Speaker::connect(net.addr.parse().unwrap(), PeerId([7; 32]), Seeks::Tracker);
    let (seq, name, any_name, token) = (1, "sharer".to_owned(), false, None);
    thief.say(&TrackerRequest::Join { seq, name, any_name, listen_port: 0, token }).unwrap();
    let why = thief.hear_until(|msg| match msg {
        TrackerMessage::Refused { why, .. } => Some(why),
        _ => None,
    });
    assert!(matches!(why, RefusedRequest::NameTaken { .. }), "{why:?}");
    assert_eq!(net.holders(&id), ["sharer"]);
}

#[test]
fn a_claimed_port_aims_nobody_at_a_third() {
    let mut net = Net::new();
    let path = net.file("src/f", 4 * MIB, 1);
    let (_sharer, id) = net.share("sharer", &path, &["--limit-up", "2M"]);
    // A service that has nothing to do with it, at the address that the hostile peer comes from.
    let third = TcpListener::bind("127.0.0.1:0").unwrap();
    let (at, bytes) = (third.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let (seen, count) = (bytes.clone(), Arc::new(AtomicUsize::new(0)));
    let counted = count.clone();
    std::thread::spawn(move || {
        for mut stream in third.incoming().flatten() {
            counted.fetch_add(1, Ordering::Relaxed);
            let (seen, mut block) = (seen.clone(), [0; 4096]);
            std::thread::spawn(move || {
                stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
                while let Ok(read @ 1..) = stream.read(&mut block) {
                    seen.fetch_add(read, Ordering::Relaxed);
                }
            });
        }
    });
    let mut evil = joined(&net, "evil", at.port());
    let key = ContentKey { id: id.parse::<ContentId>().unwrap(), length: 4 * MIB };
    let ad = Ad { key, kind: Kind::File, name: "f".to_owned(), member: false, pieces: 16, total: 4 * MIB };
    evil.say(&TrackerRequest::Announce { seq: 2, ads: vec![ad] }).unwrap();
    evil.hear_until(|msg| matches!(msg, TrackerMessage::Done { seq: 2 }).then_some(()));
    net.tracker().until_logged(&["evil", "cannot be dialed"]);
    let ran = net.get("g", &id, &[]).ran();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(sources(ran.one("done")), [("sharer".to_owned(), 4 * MIB)]);
    // The tracker's probe, and the getter's few attempts: each a handshake, and no more.
    until("the third was asked", || count.load(Ordering::Relaxed) >= 1);
    let (count, bytes) = (count.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed));
    assert!(count <= 4 && bytes <= count * Handshake::BYTES, "{count} connections, {bytes} bytes");
}
