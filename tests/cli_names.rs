//! Names from elsewhere, several hundred of them, by every way they come in and through everything that prints them: refused
//! where they would become file names, escaped where they are shown, never repaired.
#![allow(clippy::unwrap_used, reason = "what is not as it should be fails the test")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a tracker answers what it knows")]

mod support;

use std::fs;
use std::net::{SocketAddr, TcpListener};

use potluck_core::Machine as _;
use potluck_core::content::{Kind, Listing, ListingFault, SafeName, SafePath, Ticket};
use potluck_core::effects::Effects;
use potluck_core::ids::{ContentId, ContentKey, LinkId, PeerId, SessionToken};
use potluck_core::seed::Seed;
use potluck_core::time::Instant;
use potluck_core::tracker::{Tracker, TrackerConfig, TrackerEffect, TrackerInput};
use potluck_core::wire::tracker::*;
use support::hostile::Speaker;
use support::processes::{Net, leftovers};

/// Every character that no name may have, alone, in front, in the middle and at the end; and names that are paths.
fn refused() -> Vec<String> {
    let controls = (0..0x20).chain(0x7f..0xa0).filter_map(char::from_u32);
    let bidi = ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}');
    let bad: Vec<char> = controls.chain(bidi).chain(['/', '\\']).collect();
    let mut names: Vec<String> = bad
        .iter()
        .flat_map(|c| [format!("{c}"), format!("{c}a"), format!("a{c}b"), format!("b{c}")])
        .collect();
    let long = "x".repeat(256);
    let wide = "資".repeat(86);
    let more = [
        "",
        ".",
        "..",
        "/etc/passwd",
        "../up",
        "a/../b",
        "a//b",
        "a/",
        "./a",
        "C:\\windows",
        "\\\\server\\share",
        "\u{1b}[31mred\u{1b}[0m",
        "\u{1b}]0;title\u{7}",
        "exe\u{202e}gpj.\u{202c}",
        "a\r\nb",
        &long,
        &wide,
    ];
    names.extend(more.map(str::to_owned));
    names
}

/// Names that this file system holds, whatever others do.
const FINE: &[&str] = &[
    "foo... bar",
    "10:30.log",
    "aux.c",
    "日本語.txt",
    "trailing.",
    "trailing ",
    "a\u{301}",
    "*?\"<>|",
    "-rf",
    "~",
];

fn key(n: usize) -> ContentKey {
    let mut id = [7; 32];
    id[..8].copy_from_slice(&n.to_le_bytes());
    ContentKey { id: ContentId(id), length: 1000 }
}

/// A listing's bytes with one file of this path, as `docs/protocol.md` lays it out.
fn listing_of(path: &[u8]) -> Vec<u8> {
    let of = |name: &str| {
        let path = SafePath::parse(name).unwrap();
        let node = potluck_core::content::Node::File { key: key(1), executable: false, mtime_ns: 0 };
        Listing::new(vec![potluck_core::content::ListingEntry { path, node }]).unwrap().encode()
    };
    let (short, name) = (of("placeholder"), b"placeholder");
    let at = short.windows(name.len()).position(|window| window == name).unwrap();
    let mut bytes = short[..at].to_vec();
    let length = bytes.len();
    // The path's length stands before it.
    assert_eq!(bytes[length - 2..], (name.len() as u16).to_le_bytes());
    bytes[length - 2..].copy_from_slice(&(path.len() as u16).to_le_bytes());
    bytes.extend(path);
    bytes.extend(&short[at + name.len()..]);
    bytes
}

#[test]
fn refused_names_are_refused_by_every_way_in() {
    let names = refused();
    assert!(names.len() >= 200, "{}", names.len());
    let mut tracker = Tracker::new(TrackerConfig { seed: Seed::from_number(1), lease_ms: 15_000 });
    let mut input = |input| {
        let mut out = Effects::new();
        tracker.handle(Instant::ZERO, input, &mut out);
        out.drain().collect::<Vec<TrackerEffect>>()
    };
    let (link, peer, addr) = (LinkId(1), PeerId([1; 32]), ([127, 0, 0, 1], 5).into());
    input(TrackerInput::LinkUp { link, peer, addr });
    let name = "honest".to_owned();
    let msg = TrackerRequest::Join { seq: 0, name, any_name: false, listen_port: 0, token: None };
    input(TrackerInput::Request { link, msg });
    for (n, name) in names.iter().enumerate() {
        assert!(SafeName::parse(name).is_err(), "{name:?}");
        let percent: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let ticket = format!("potluck:{}?kind=file&name={percent}&size=1000", key(n).id);
        assert!(ticket.parse::<Ticket>().is_err(), "{name:?} in a ticket");
        // A path has several names, so that some of these are one.
        if SafePath::parse(name).is_err() {
            let fault = Listing::decode(&listing_of(name.as_bytes())).expect_err("refused");
            let shown = fault.to_string();
            assert!(matches!(fault, ListingFault::BadPath { .. }), "{name:?}: {fault}");
            assert!(!shown.chars().any(is_bad), "{shown:?}");
        }
        // A peer's name is refused, and so is a content's that would be a file outside of where it belongs.
        let refusal = |seq| TrackerMessage::Refused { seq, why: RefusedRequest::BadName };
        let msg = TrackerRequest::Rename { seq: 1, name: name.clone() };
        if name.is_empty() || name.chars().any(is_bad) {
            let done = input(TrackerInput::Request { link, msg });
            assert!(done.contains(&TrackerEffect::Send { link, msg: refusal(1) }), "{name:?}: {done:?}");
        }
        if SafePath::parse(name).is_err() {
            let (kind, name) = (Kind::File, name.clone());
            let ad = Ad { key: key(n), kind, name, member: false, pieces: 1, total: 1000 };
            let msg = TrackerRequest::Announce { seq: 2, ads: vec![ad] };
            let done = input(TrackerInput::Request { link, msg });
            assert!(done.contains(&TrackerEffect::Send { link, msg: refusal(2) }), "{done:?}");
        }
    }
    for bytes in [&b"\xff\xfe"[..], b"a\x80b", b"\xc0\xae\xc0\xae/", b"\xed\xa0\x80"] {
        let fault = Listing::decode(&listing_of(bytes)).expect_err("refused");
        assert!(matches!(fault, ListingFault::BadPath { .. }), "{bytes:?}: {fault}");
    }
    for name in FINE {
        assert!(
            SafeName::parse(name).is_ok() && Listing::decode(&listing_of(name.as_bytes())).is_ok(),
            "{name:?}"
        );
    }
}

/// What moves a cursor, changes colours, or turns text round.
fn is_bad(c: char) -> bool {
    (c.is_control() && c != '\n') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A tracker that lists all of them: contents, holders and peers alike. Returns where it listens.
fn lying_tracker() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut to = Speaker::accept(stream, PeerId([8; 32]));
                while let Ok(msg) = to.hear::<TrackerRequest>() {
                    answer(&mut to, msg);
                }
            });
        }
    });
    addr
}

fn answer(to: &mut Speaker, msg: TrackerRequest) {
    let names: Vec<(usize, String)> = refused().into_iter().enumerate().collect();
    let reach = Reach { ip: None, port: 9, dialable: true };
    let peer = |n: usize| PeerId(key(n).id.0);
    let _ = match msg {
        TrackerRequest::Join { seq, .. } => to.say(&TrackerMessage::Joined {
            seq,
            name: "\u{1b}[31mred".to_owned(),
            token: SessionToken([1; 16]),
            observed: ([127, 0, 0, 1], 9).into(),
            lease_ms: 15_000,
        }),
        TrackerRequest::Search { seq, matching, .. } => {
            let wanted = |(n, name): &&(usize, String)| match &matching {
                Matching::IdPrefix(id) => key(*n).id.to_string().starts_with(id),
                Matching::Name(wanted) => name == wanted,
                Matching::Substring(part) => name.contains(part),
                _ => true,
            };
            let rows = names.iter().filter(wanted).map(|(n, name)| Row {
                key: key(*n),
                kind: Kind::File,
                name: name.clone(),
                complete: 1,
                partial: 0,
                total: 1000,
            });
            // As many as one page may have.
            to.say(&TrackerMessage::Rows { seq, rows: rows.take(200).collect(), next: None })
        }
        TrackerRequest::Holders { seq, .. } => {
            let row = |(n, name): &(usize, String)| HolderRow {
                peer: peer(*n),
                name: name.clone(),
                reach,
                pieces: 1,
            };
            to.say(&TrackerMessage::HolderRows {
                seq,
                rows: names.iter().take(200).map(row).collect(),
                next: None,
            })
        }
        TrackerRequest::Peers { seq, .. } => {
            let row = |(n, name): &(usize, String)| PeerRow { peer: peer(*n), name: name.clone(), reach };
            to.say(&TrackerMessage::PeerRows {
                seq,
                rows: names.iter().take(200).map(row).collect(),
                next: None,
            })
        }
        TrackerRequest::Announce { seq, .. }
        | TrackerRequest::Withdraw { seq, .. }
        | TrackerRequest::Rename { seq, .. } => to.say(&TrackerMessage::Refused {
            seq,
            why: RefusedRequest::Limit("\u{1b}[2J\u{202e}bounds".to_owned()),
        }),
        TrackerRequest::Ping { nonce } => to.say(&TrackerMessage::Pong { nonce }),
        _ => Ok(()),
    };
}

#[test]
fn what_a_tracker_says_is_printed_harmless_and_makes_no_file() {
    let net = Net::without_tracker();
    let tracker = lying_tracker().to_string();
    let id = key(3).id.to_string();
    let shown = |words: &[&str]| {
        let ran = net.typed(&[words, &["--tracker", &tracker]].concat());
        let text = format!("{}{}", ran.stdout, ran.stderr);
        assert!(
            !text.chars().any(is_bad),
            "{words:?}: {:?}",
            text.chars().filter(|c| is_bad(*c)).collect::<String>()
        );
        (ran.code, text)
    };
    for words in [
        &["list"][..],
        &["list", "--holders"],
        &["search", "a"],
        &["peers"],
        &["holders", &id],
        &["info", &id],
    ] {
        let (code, text) = shown(words);
        assert_eq!(code, Some(0), "{words:?}: {text}");
        assert!(text.contains("\\u{"), "{words:?} shows what it escaped: {text}");
        assert_eq!(shown(&[words, &["--json", "-vv"]].concat()).0, Some(0), "{words:?} for programs");
    }
    // Whatever is wanted of it: nothing is written, neither here nor above.
    let above = |net: &Net| {
        let mut names: Vec<_> =
            fs::read_dir(net.dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    fs::create_dir(net.dir.path().join("out")).unwrap();
    let before = above(&net);
    for n in [0, 7, 100, 180] {
        let id = key(n).id.to_string();
        let (code, text) = shown(&["get", &id, "--out", "out/", "--wait", "0"]);
        assert_ne!(code, Some(0), "{text}");
        assert!(leftovers(&net.dir.path().join("out")).is_empty());
    }
    let (_, text) = shown(&["get", "a", "--out", "out/", "--wait", "0"]);
    assert!(!text.is_empty());
    assert_eq!(above(&net).len(), before.len(), "{:?}", above(&net));
    // A sharer whose announcement it refuses says why.
    net.file("src/f", 1000, 1);
    let share = net.bare(&[
        "share",
        "src/f",
        "--once",
        "--listen",
        "127.0.0.1:0",
        "--tracker",
        &tracker,
        "--while-stdin",
        "--json",
        "-v",
    ]);
    let mut share = support::processes::Node::start("share", share);
    let why = support::processes::text(&share.event("refused"), "why");
    assert!(why.contains("bounds") && !why.chars().any(is_bad), "{why:?}");
    share.terminate();
    let text = share.stderr();
    assert!(!text.chars().any(is_bad), "{text:?}");
}

#[test]
fn a_folder_with_a_refused_path_is_refused_with_the_path_named() {
    let net = Net::new();
    fs::create_dir(net.dir.path().join("out")).unwrap();
    for (n, (path, why)) in [
        ("../up", "`.` and `..` are no names"),
        ("exe\u{202e}gpj", "bidirectional override"),
        ("in/.a.12345678.part/x", "unfinished downloads"),
    ]
    .into_iter()
    .enumerate()
    {
        // Nobody checks what a file is: its bytes are offered as a folder.
        let bytes = listing_of(path.as_bytes());
        let file = net.path(&format!("src/{n}"));
        fs::write(&file, &bytes).unwrap();
        let (_share, id) = net.share(&format!("s{n}"), &file, &[]);
        let ticket = format!("potluck:{id}?kind=folder&name=folder&size={}", bytes.len());
        let ran = net.get("out", &ticket, &["-q"]).ran();
        assert_eq!(ran.code, Some(1), "{}", ran.stderr);
        let error = ran.one("error");
        assert_eq!(support::processes::text(error, "path"), path);
        let message = support::processes::text(error, "message");
        let shown = potluck_core::content::escape(path);
        for text in [&message, &ran.stderr] {
            assert!(text.contains(&shown) && text.contains(why), "{text}");
            assert!(!text.chars().any(is_bad), "{text:?}");
        }
        assert!(!net.got("out", "folder").exists());
        assert!(
            ran.all("progress").all(|event| event["bytes"].as_u64() < Some(1000)),
            "no member is fetched"
        );
    }
}
