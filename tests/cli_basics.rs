//! The command by itself: help, usage, ids, exit codes and messages where nothing is transferred.

mod support;

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use support::processes::{Net, b3sum, number, text};

#[test]
fn hash_prints_what_b3sum_prints() {
    let net = Net::without_tracker();
    for (name, bytes) in [("empty", 0), ("one", 1), ("k", 1024), ("odd", 262_145), ("big", 3_000_000)] {
        let path = net.file(name, bytes, bytes);
        let ran = net.typed(&["hash", name]);
        assert_eq!((ran.code, ran.stdout), (Some(0), format!("{}  {name}\n", b3sum(&path))));
        let event = net.run(&["hash", name]).one("hash").clone();
        assert_eq!((text(&event, "id"), number(&event, "bytes")), (b3sum(&path), bytes));
        let file = std::fs::File::open(&path).unwrap();
        let read = net.bare(&["hash", "-"]).stdin(file).output().unwrap();
        assert_eq!(String::from_utf8(read.stdout).unwrap(), format!("{}  -\n", b3sum(&path)));
    }
}

#[test]
fn hash_goes_on_after_a_missing_path_and_fails() {
    let net = Net::without_tracker();
    net.file("there", 10, 1);
    let ran = net.typed(&["hash", "nosuch", "there"]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.stdout.ends_with("  there\n") && ran.stderr.contains("nosuch"),
        "{}{}",
        ran.stdout,
        ran.stderr
    );
}

#[test]
fn usage_errors_exit_with_2_and_say_so_in_json() {
    let net = Net::without_tracker();
    for words in [
        &["nosuchverb"][..],
        &["get"],
        &["share"],
        &["get", "x", "--wait", "soon"],
        &["list", "--tracker", "a b"],
        &["share", "x", "--listen", "nowhere"],
        &["share", "x", "--as", ""],
        &["get", "potluck:zz"],
        &["get", "a", "b", "--out", "nosuchfolder"],
    ] {
        let ran = net.run(words);
        assert_eq!(ran.code, Some(2), "{words:?}: {}", ran.stderr);
        let error = ran.one("error");
        assert_eq!(number(error, "code"), 2);
        assert!(!text(error, "message").is_empty());
    }
    assert_eq!(net.typed(&["--help"]).code, Some(0));
    assert_eq!(net.typed(&["--version"]).stdout, format!("potluck {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn an_unreachable_tracker_exits_with_6_in_time() {
    let net = Net::without_tracker();
    for words in
        [&["list"][..], &["search", "x"], &["peers"], &["holders", "x"], &["info", "x"], &["get", "x"]]
    {
        let begun = Instant::now();
        let ran = net.ask(words);
        assert_eq!((ran.code, number(ran.one("error"), "code")), (Some(6), 6), "{words:?}: {}", ran.stderr);
        assert!(begun.elapsed() < Duration::from_secs(6));
        assert!(ran.stderr.contains("potluck tracker"), "what to do next: {}", ran.stderr);
    }
}

#[test]
fn a_tracker_that_does_not_answer_counts_as_unreachable() {
    // It accepts, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = silent.local_addr().unwrap().to_string();
    let net = Net::without_tracker();
    let begun = Instant::now();
    let ran = net.run(&["list", "--tracker", &addr]);
    assert_eq!(ran.code, Some(6), "{}", ran.stderr);
    assert!(begun.elapsed() < Duration::from_millis(5_900), "{:?}", begun.elapsed());
}

#[test]
fn an_empty_network_lists_nothing_and_succeeds() {
    let net = Net::new();
    for words in [&["list"][..], &["search", "x"], &["peers"]] {
        let ran = net.ask(words);
        assert_eq!((ran.code, ran.events.len()), (Some(0), 0), "{}", ran.stderr);
    }
    let ran = net.typed(&["list", "--tracker", &net.addr]);
    assert!(ran.stdout.is_empty() && ran.stderr.contains("Nothing is shared"), "{}", ran.stderr);
    for words in
        [&["get", "nosuch"][..], &["holders", "nosuch"], &["info", "nosuch"], &["get", &"ab".repeat(32)]]
    {
        let begun = Instant::now();
        let ran = net.ask(words);
        assert_eq!((ran.code, number(ran.one("error"), "code")), (Some(3), 3), "{words:?}: {}", ran.stderr);
        assert!(begun.elapsed() < Duration::from_secs(5), "at once");
    }
}

#[test]
fn sharing_a_missing_path_fails_at_once() {
    let net = Net::new();
    let ran = net.serving("a", &["share", "nosuch"]).ran();
    assert_eq!(ran.code, Some(1));
    assert!(text(ran.one("error"), "message").contains("nosuch"));
}

#[test]
fn a_busy_port_is_a_clear_error() {
    let net = Net::new();
    let busy = net.addr.clone();
    let path = net.file("f", 10, 1);
    for words in [&["tracker", "--listen", &busy][..], &["share", path.to_str().unwrap(), "--listen", &busy]]
    {
        let ran = net.run(words);
        assert_eq!(ran.code, Some(1), "{}", ran.stderr);
        assert!(text(ran.one("error"), "message").contains(&busy));
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let net = Net::without_tracker();
    for number in 0..400 {
        net.file(&format!("files/{number}"), 0, 0);
    }
    let names: Vec<String> = (0..400).map(|number| format!("files/{number}")).collect();
    let words: Vec<&str> = ["hash"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let mut child = net.bare(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_tracker_prints_an_address_to_type() {
    let net = Net::without_tracker();
    let mut tracker = net.node("tracker", &["tracker", "--listen", "0.0.0.0:0"]);
    let addr = text(&tracker.event("listening"), "addr");
    assert!(!addr.starts_with("0.0.0.0") && !addr.ends_with(":0"), "{addr}");
    let ran = net.run(&["list", "--tracker", &addr]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(tracker.terminate(), Some(0));
}

#[test]
fn a_peer_creates_its_folder_and_deletes_nothing() {
    let net = Net::new();
    let dir = net.path("new/folder/");
    fs::remove_dir_all(&dir).unwrap_or_default();
    let mut peer = net.serving("p", &["peer", "--dir", dir.to_str().unwrap()]);
    peer.event("joined");
    assert!(dir.is_dir());
    assert_eq!(peer.terminate(), Some(0));
    assert!(dir.is_dir());
}

#[test]
fn who_can_fetch_is_said_at_the_start() {
    let net = Net::without_tracker();
    net.file("f", 10, 1);
    // Nobody holds their input open: they leave at once, and have said it by then.
    for (words, whom) in [
        (
            &["share", "f", "--listen", "127.0.0.1:0", "--while-stdin"][..],
            "Whoever reaches this machine can fetch",
        ),
        (&["tracker", "--listen", "127.0.0.1:0", "--while-stdin"], "Whoever reaches it can join"),
    ] {
        let ran = net.typed(words);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert!(ran.stderr.contains(whom) && ran.stderr.contains("nothing is encrypted"), "{}", ran.stderr);
    }
}
