//! Every object that `--json` prints is one of `docs/json.md`: the tables there are read, so that neither can drift. And whoever
//! does not read what is printed keeps nobody up.

#![allow(clippy::print_stdout, reason = "the figures are worth reading")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;
use support::processes::{Net, Node, number, text};

const MIB: u64 = 1 << 20;

/// Fields by event: name, type, and whether it may be absent.
type Schema = BTreeMap<String, BTreeMap<String, (String, bool)>>;

/// Reads the rows `| event | field | type | meaning |` of the page.
fn schema() -> Schema {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/json.md")).expect("the page");
    let (mut schema, mut event) = (Schema::new(), String::new());
    let name = |cell: &str| cell.trim().trim_matches('`').to_owned();
    for row in page.lines().filter(|line| line.starts_with('|') && !line.starts_with("|---")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let [first, field, kind, ..] = cells.as_slice() else { panic!("a row with too few cells: {row}") };
        if first.trim() == "event" {
            continue;
        }
        if !first.trim().is_empty() {
            event = name(first);
            assert!(schema.insert(event.clone(), BTreeMap::new()).is_none(), "{event} stands twice");
        }
        if !field.trim().is_empty() {
            let kind = kind.trim();
            let maybe = kind.contains('?');
            let fields = schema.get_mut(&event).expect("an event before its fields");
            fields.insert(name(field), (kind.replace('?', ""), maybe));
        }
    }
    schema
}

fn fits(value: &Value, kind: &str) -> bool {
    let all =
        |values: &Value, fits: &dyn Fn(&Value) -> bool| values.as_array().is_some_and(|v| v.iter().all(fits));
    match kind {
        "text" => value.is_string(),
        "number" => value.is_number(),
        "bool" => value.is_boolean(),
        "id" => value.as_str().is_some_and(|id| id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit())),
        "addr" => value.as_str().is_some_and(|addr| addr.parse::<std::net::SocketAddr>().is_ok()),
        "kind" => value == "file" || value == "folder",
        "list" => value.is_array(),
        "object" => value.is_object(),
        "list of text" => all(value, &Value::is_string),
        "sources" => all(value, &|source| source["peer"].is_string() && source["bytes"].is_u64()),
        "ranges" => {
            all(value, &|range| all(range, &Value::is_u64) && range.as_array().is_some_and(|r| r.len() == 2))
        }
        other => panic!("docs/json.md has a type that is not explained: {other}"),
    }
}

/// Holds an object against the page; which event it is.
fn check(schema: &Schema, object: &Value) -> String {
    let event = object["event"].as_str().unwrap_or_else(|| panic!("no event: {object}"));
    let fields = schema.get(event).unwrap_or_else(|| panic!("`{event}` is not in docs/json.md: {object}"));
    for (name, value) in object.as_object().expect("an object").iter().filter(|(name, _)| *name != "event") {
        let (kind, maybe) = fields
            .get(name)
            .unwrap_or_else(|| panic!("`{name}` of `{event}` is not in docs/json.md: {object}"));
        assert!(
            fits(value, kind) || (*maybe && value.is_null()),
            "`{name}` of `{event}` is no {kind}: {object}"
        );
    }
    for (name, (_, maybe)) in fields {
        assert!(*maybe || object.get(name).is_some(), "`{event}` lacks `{name}`: {object}");
    }
    event.to_owned()
}

#[test]
fn what_is_printed_is_what_the_page_says() {
    let schema = schema();
    let mut seen = BTreeSet::new();
    let mut look = |events: &[Value]| {
        for event in events {
            seen.insert(check(&schema, event));
        }
    };
    let mut net = Net::new();
    let file = net.file("src/f", 9 * MIB, 1);
    let twin = net.file("twin/f", 10, 2);
    net.file("src/tree/a", 10, 3);
    let root = net.dir.path().join("src/tree");
    let path = file.to_str().expect("a path");
    let mut holder = net.serving("h", &["share", path, root.to_str().expect("a path"), "--limit-up", "8M"]);
    for _ in 0..2 {
        holder.event("sharing");
    }
    let id = support::processes::b3sum(&file);
    let mut interrupted = net.get("g", &id, &[]);
    interrupted.until_percent(20);
    assert_eq!(interrupted.terminate(), Some(143));
    look(&interrupted.seen);
    look(&net.get("g", &id, &[]).ran().events);
    holder.event_where("upload_ended", |event| event["complete"] == true);
    look(&net.get("k", "tree", &["--dry-run"]).ran().events);
    let (mut other, _) = net.share("i", &twin, &[]);
    for words in [
        &["get", "f"][..],
        &["get", "nosuch"],
        &["get", "fff"],
        &["list", "--files", "--holders"],
        &["search", "*"],
        &["peers"],
        &["holders", &id],
        &["info", &id],
        &["get", "x", "--wait", "soon"],
        &["doctor", "--listen", "127.0.0.1:0"],
    ] {
        look(&net.ask(words).events);
    }
    look(&net.run(&["hash", path]).events);
    look(&net.run(&["man", "get"]).events);
    look(&net.run(&["completions", "bash"]).events);
    look(&net.run(&["sim", "scenarios"]).events);
    look(&net.run(&["sim", "run", "--peers", "3", "--size", "1MiB"]).events);
    look(&net.run(&["sim", "explore", "--seeds", "0..2"]).events);
    look(&net.run(&["sim", "replay", "5", "--faults=", "--plan"]).events);
    look(&net.run(&["hash", "nosuch"]).events);
    let taken = net.serving("h", &["get", &id, "--out", "q/"]).ran();
    assert!(taken.one("error")["offer"].is_string(), "{}", taken.stdout);
    look(&taken.events);
    // Somebody who watches, and a peer to which something is pushed.
    let mut watch = net.node("watch", &["peers", "--watch", "--tracker", &net.addr]);
    let dir = net.dir.path().join("p");
    let mut peer =
        net.serving("p", &["peer", "--dir", dir.to_str().expect("a path"), "--accept-from", "all"]);
    watch.event_where("peer", |event| event["peer"] == "p");
    look(&net.serving("pusher", &["push", twin.to_str().expect("a path"), "--to", "p"]).ran().events);
    peer.event("done");
    assert_eq!(peer.terminate(), Some(0));
    watch.event_where("left", |event| event["peer"] == "p");
    assert_eq!(watch.terminate(), Some(0));
    look(&peer.seen);
    look(&watch.seen);
    // What changes is withdrawn, what has no holder waits, what waits too long is incomplete, and its part can go.
    fs::write(&twin, "other bytes").expect("the file");
    assert_eq!(net.get("m", "f", &["--wait", "1"]).ran().code, Some(5));
    let part = net.get("m", &id, &["--limit-down", "3M", "--wait", "1"]);
    let mut part = part;
    part.until_percent(10);
    holder.kill();
    assert_eq!(part.wait().code(), Some(4));
    look(&part.seen);
    look(&holder.seen);
    let out = net.got("m", "");
    look(&net.ask(&["get", &id, "--discard", "--out", out.to_str().expect("a path")]).events);
    net.tracker().kill();
    other.event("tracker_lost");
    look(&other.seen);
    let lost = net.ask(&["list"]);
    assert_eq!(number(lost.one("error"), "code"), 6);
    look(&lost.events);
    let never: Vec<&String> = schema.keys().filter(|event| !seen.contains(*event)).collect();
    // Faults of others, and what only the shell prints, are held against the page by their own tests.
    assert!(never.iter().all(|event| ELSEWHERE.contains(&event.as_str())), "not printed: {never:?}");
}

/// Events that may not come here: faults of others, what takes long, and what only commands of the shell print.
const ELSEWHERE: &[&str] = &[
    "answered",
    "checking",
    "choose",
    "demo",
    "download",
    "explain",
    "exploring",
    "hashing",
    "heard",
    "join_refused",
    "lagged",
    "left_network",
    "limits",
    "local",
    "misbehaved",
    "refused",
    "registered",
    "renamed",
    "replayed",
    "retracted",
    "simulating",
    "stopped",
    "unshared",
    "violation",
    "withdrawn",
];

/// A run of many inputs says how far it is.
#[test]
fn a_simulated_run_says_how_far_it_is() {
    let net = Net::new();
    let ran = net.run(&["sim", "run", "--peers", "40", "--size", "64MiB"]);
    let schema = schema();
    let told: Vec<&Value> = ran.all("simulating").collect();
    let pieces: Vec<u64> = told.iter().map(|event| number(event, "pieces")).collect();
    assert!(!pieces.is_empty() && pieces.is_sorted(), "{pieces:?}");
    for event in told {
        check(&schema, event);
        assert_eq!(number(event, "of"), 40 * 256);
    }
}

/// A sharer of many files, each a content of its own, of whose uploads much is told; and their ids.
fn sharer_of_many(net: &Net, files: u64) -> (Node, Vec<String>) {
    let paths = (0..files).map(|file| net.file(&format!("src/many/{file}"), 1000, file));
    let paths = paths.map(|path| path.display().to_string()).collect::<Vec<_>>();
    let more = paths[1..].iter().map(String::as_str).collect::<Vec<_>>();
    let (mut sharer, first) = net.share("sharer", paths[0].as_ref(), &more);
    let rest = (1..files).map(|_| text(&sharer.event("sharing"), "id")).collect::<Vec<_>>();
    (sharer, [vec![first], rest].concat())
}

/// Gets of many small files from a sharer of whose output nothing is read: they go on as before, it stays small, and whoever
/// reads on learns how much is missing, and that each file was delivered.
#[test]
fn a_reader_that_stands_still_slows_nothing_down() {
    const FILES: u64 = 400;
    const GETS: u32 = 8;
    let net = Net::new();
    let (mut sharer, ids) = sharer_of_many(&net, FILES);
    let (id, others) = (ids[0].as_str(), ids[1..].iter().map(String::as_str).collect::<Vec<_>>());
    let get = |name: &str| {
        let began = Instant::now();
        let ran = net.get(name, id, &others).ran();
        assert_eq!(ran.code, Some(0), "{}\n{}", ran.stdout, ran.stderr);
        began.elapsed()
    };
    get("warm");
    let read = (0..2).map(|n| get(&format!("read{n}"))).max().expect("two gets");
    let unread = sharer.unread.clone();
    let held = unread.lock().expect("whether it is read");
    get("first");
    let small = sharer.memory_peak();
    let times: Vec<_> = (0..GETS).map(|n| get(&format!("unread{n}"))).collect();
    let grown = sharer.memory_peak() - small;
    println!("read {read:?}, not read {times:?}, {grown} bytes more");
    let fastest = times[times.len() / 2..].iter().min().expect("some gets");
    assert!(*fastest <= read * 3, "a get took {read:?} while the output was read, then {times:?}");
    assert!(grown < 24 * MIB, "it grew by {grown} bytes");
    drop(held);
    let lagged = sharer.event("lagged");
    check(&schema(), &lagged);
    let missed = number(&lagged, "missed");
    let before = sharer.seen.len();
    let last = format!("unread{}", GETS - 1);
    sharer.event_where("upload_ended", |event| {
        event["id"] == id && event["peer"] == last.as_str() && event["complete"] == true
    });
    get("after");
    sharer.event_where("upload_ended", |event| event["id"] == id && event["peer"] == "after");
    assert!(missed > FILES, "{lagged}");
    println!("{missed} events missed, {} lines after", sharer.seen.len() - before);
}

/// One signal ends it, though it waits for somebody to read what it printed.
#[test]
fn a_reader_that_stands_still_does_not_keep_it_from_ending() {
    let net = Net::new();
    let (mut sharer, ids) = sharer_of_many(&net, 500);
    let unread = sharer.unread.clone();
    let held = unread.lock().expect("whether it is read");
    let others = ids[1..].iter().map(String::as_str).collect::<Vec<_>>();
    let ran = net.get("g", &ids[0], &others).ran();
    assert_eq!(ran.code, Some(0), "{}\n{}", ran.stdout, ran.stderr);
    sharer.signal(Signal::TERM);
    assert_eq!(sharer.end().code(), Some(143));
    drop(held);
}
