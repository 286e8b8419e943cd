//! The tracker beside running peers: names, its log, and its death in mid-download.

mod support;

use std::time::{Duration, Instant};

use support::processes::{Net, b3sum, number, text};

const MIB: u64 = 1 << 20;

#[test]
fn a_taken_name_is_refused_and_a_free_one_offered() {
    let mut net = Net::new();
    let path = net.file("src/f", 10, 1);
    let (_first, _) = net.share("anna", &path, &[]);
    let ran = net.serving("anna", &["share", path.to_str().unwrap()]).ran();
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let offer = text(ran.one("error"), "offer");
    assert!(offer != "anna" && ran.stderr.contains(&offer), "{}", ran.stderr);
    net.tracker().until_logged(&["anna", "refused", &offer]);
    let (_second, _) = net.share(&offer, &path, &[]);
    // Who did not choose a name gets a free one.
    let words = ["share", path.to_str().unwrap(), "--listen", "127.0.0.1:0", "--tracker", &net.addr];
    let (mut a, mut b) = (net.node("a", &words), net.node("b", &words));
    assert_ne!(text(&a.event("joined"), "as"), text(&b.event("joined"), "as"));
}

#[test]
fn the_log_has_a_line_for_everything() {
    let mut net = Net::new();
    let path = net.file("src/f.bin", MIB, 1);
    let (mut holder, id) = net.share("anna", &path, &[]);
    net.ask(&["search", "bin"]);
    net.ask(&["holders", &id]);
    let (mut getter, tracker) = (net.get("ben", &id, &["--stay"]), net.addr.clone());
    assert_eq!(text(&getter.event("joined"), "tracker"), tracker);
    getter.done();
    assert_eq!(holder.terminate(), Some(0));
    let tracker = net.tracker();
    for words in [
        &["join", "anna", "accepted", "127.0.0.1"][..],
        &["announce", "anna", "f.bin"],
        &["search", "bin"],
        &["lookup", "anna"],
        &["push", "ben"],
        &["leave", "anna", "in order"],
    ] {
        tracker.until_logged(words);
    }
}

#[test]
fn a_download_outlives_its_tracker_and_everybody_registers_again() {
    let mut net = Net::new();
    let path = net.file("src/f", 24 * MIB, 1);
    let (mut holder, id) = net.share("h", &path, &["--limit-up", "6M"]);
    let mut getter = net.get("g", &id, &["--stay"]);
    getter.until_percent(20);
    net.tracker().kill();
    getter.done();
    assert_eq!(b3sum(&net.got("g", "f")), id);
    // A new one at the same port knows nobody, until everybody is back by itself.
    let addr = net.addr.clone();
    net.start_tracker(&addr, &[]);
    let begun = Instant::now();
    net.until_holders(&id, &["g", "h"]);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(number(&holder.event("joined"), "contents") == 1);
}

#[test]
fn sharing_without_a_tracker_says_so_and_registers_once_there_is_one() {
    let mut net = Net::new();
    let addr = net.addr.clone();
    net.tracker().kill();
    let path = net.file("src/f", 10, 1);
    let mut holder = net.serving("h", &["share", path.to_str().unwrap()]);
    holder.event("tracker_lost");
    let id = text(&holder.event("sharing"), "id");
    net.start_tracker(&addr, &[]);
    holder.event("joined");
    net.until_holders(&id, &["h"]);
}
