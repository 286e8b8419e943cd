//! What goes wrong between real processes: holders killed, stopped, partial, wrong; interruptions; resuming.

mod support;

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;
use support::processes::{Net, b3sum, leftovers, number, sources, text};

const MIB: u64 = 1 << 20;

#[test]
fn two_of_four_holders_killed_cost_nothing_that_was_verified() {
    let net = Net::new();
    let path = net.file("src/f", 32 * MIB, 1);
    let mut holders: Vec<_> =
        (0..4).map(|n| net.share(&format!("h{n}"), &path, &["--limit-up", "4M"])).collect();
    let id = holders[0].1.clone();
    let mut getter = net.get("g", &id, &[]);
    getter.until_percent(30);
    for (holder, _) in &mut holders[..2] {
        holder.kill();
    }
    let ran = getter.ran();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(b3sum(&net.got("g", "f")), id);
    // Every verified byte counts once, whoever sent it: nothing verified was fetched again.
    assert_eq!(sources(ran.one("done")).iter().map(|(_, bytes)| bytes).sum::<u64>(), 32 * MIB);
    let progress: Vec<_> = ran.all("progress").map(|event| number(event, "bytes")).collect();
    assert!(progress.is_sorted(), "{progress:?}");
}

#[test]
fn two_of_four_holders_stopped_cost_a_second_or_two() {
    let net = Net::new();
    let path = net.file("src/f", 32 * MIB, 1);
    let holders: Vec<_> = (0..4).map(|n| net.share(&format!("h{n}"), &path, &["--limit-up", "4M"])).collect();
    let id = holders[0].1.clone();
    let mut getter = net.get("g", &id, &[]);
    getter.until_percent(30);
    for (holder, _) in &holders[..2] {
        holder.signal(Signal::STOP);
    }
    let stopped = Instant::now();
    let ran = getter.ran();
    let took = stopped.elapsed();
    for (holder, _) in &holders[..2] {
        holder.signal(Signal::CONT);
    }
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(b3sum(&net.got("g", "f")), id);
    // Two holders alone need 0.7 * 32 MiB / 8 MiB/s = 2.8 s.
    assert!(took < Duration::from_millis(2800 + 2500), "{took:?}");
}

#[test]
fn partial_holders_whose_union_covers_the_file_are_enough() {
    let net = Net::new();
    let path = net.file("src/f", 16 * MIB, 1);
    let (mut holder, id) = net.share("h", &path, &["--limit-up", "16M"]);
    let bytes = fs::read(&path).unwrap();
    // Two interrupted downloads. The part file is the truth: every other piece is right in one, the rest in the other.
    for (getter, parity) in [("p0", 0), ("p1", 1)] {
        let mut part = net.get(getter, &id, &[]);
        part.event("progress");
        part.signal(Signal::INT);
        assert_eq!(part.wait().code(), Some(130));
        let folder = net.got(getter, "");
        let name = leftovers(&folder).into_iter().find(|name| name.ends_with(".part")).unwrap();
        let mut half = vec![0; bytes.len()];
        let pieces = half.chunks_mut(256 * 1024).zip(bytes.chunks(256 * 1024)).enumerate();
        for (_, (half, right)) in pieces.filter(|(piece, _)| piece % 2 == parity) {
            half.copy_from_slice(right);
        }
        fs::write(folder.join(name), half).unwrap();
    }
    holder.kill();
    let mut parts: Vec<_> = ["p0", "p1"].iter().map(|name| net.get(name, &id, &["--stay"])).collect();
    for part in &mut parts {
        let done = part.done();
        assert_eq!(
            sources(&done).iter().map(|(_, bytes)| bytes).sum::<u64>(),
            8 * MIB,
            "only what was missing"
        );
    }
    let ran = net.get("g", &id, &[]).ran();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    for getter in ["p0", "p1", "g"] {
        assert_eq!(b3sum(&net.got(getter, "f")), id);
    }
}

#[test]
fn what_nobody_has_is_named_kept_and_fetched_later() {
    let net = Net::new();
    let path = net.file("src/f", 16 * MIB, 1);
    let (mut holder, id) = net.share("h", &path, &["--limit-up", "4M"]);
    let mut getter = net.get("g", "f", &["--wait", "1"]);
    getter.until_percent(40);
    holder.kill();
    let ran = getter.ran();
    assert_eq!(ran.code, Some(4), "{}", ran.stderr);
    let missing = ran.one("error")["missing"].as_array().unwrap().clone();
    assert!(!missing.is_empty(), "the missing pieces are named");
    assert!(ran.all("waiting").count() >= 1);
    let had = ran.all("progress").map(|event| number(event, "bytes")).max().unwrap();
    assert!(!leftovers(&net.got("g", "")).is_empty(), "progress is kept");

    // Nobody knows it any more, but the part file is there: waits, and says 4 again.
    let ran = net.get("g", "f", &["--wait", "0"]).ran();
    assert_eq!(ran.code, Some(4), "{}", ran.stderr);

    // A holder is back: the same command fetches the rest only.
    let (_holder, _) = net.share("h", &path, &[]);
    let ran = net.get("g", "f", &["--wait", "1"]).ran();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(b3sum(&net.got("g", "f")), id);
    let fetched: u64 = sources(ran.one("done")).iter().map(|(_, bytes)| bytes).sum();
    assert!(fetched <= 16 * MIB - had, "{fetched} fetched, {had} had been there");
    assert!(leftovers(&net.got("g", "")).is_empty());
}

#[test]
fn a_download_that_waits_goes_on_by_itself() {
    let net = Net::new();
    let path = net.file("src/f", 16 * MIB, 1);
    let (mut holder, id) = net.share("h", &path, &["--limit-up", "4M"]);
    let mut getter = net.get("g", &id, &["--wait", "80"]);
    getter.until_percent(30);
    holder.kill();
    getter.event("waiting");
    let (_holder, _) = net.share("h2", &path, &[]);
    let ran = getter.ran();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(b3sum(&net.got("g", "f")), id);
}

#[test]
fn an_interrupted_download_keeps_its_progress() {
    let net = Net::new();
    let path = net.file("src/f", 16 * MIB, 1);
    let (_holder, id) = net.share("h", &path, &["--limit-up", "8M"]);
    let mut had = 0;
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut getter = net.get("g", &id, &[]);
        getter.event_where("progress", |event| number(event, "bytes") >= had + 2 * MIB);
        getter.signal(signal);
        let ran = getter.ran();
        assert_eq!((ran.code, number(ran.one("error"), "code")), (Some(code), code as u64), "{}", ran.stderr);
        let now = ran.all("progress").map(|event| number(event, "bytes")).max().unwrap();
        assert!(now > had, "goes on where it was");
        had = now;
    }
    net.until_holders(&id, &["h"]);
    let ran = net.get("g", &id, &[]).ran();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let fetched: u64 = sources(ran.one("done")).iter().map(|(_, bytes)| bytes).sum();
    assert!(fetched <= 16 * MIB - had, "{fetched} fetched, {had} had been there");
}

#[test]
fn discard_removes_part_files_and_nothing_else() {
    let net = Net::new();
    let path = net.file("src/f", 16 * MIB, 1);
    let bystander = net.file("g/.other.part", 5, 1);
    let (_holder, id) = net.share("h", &path, &["--limit-up", "8M"]);
    let mut getter = net.get("g", &id, &[]);
    getter.until_percent(10);
    getter.signal(Signal::INT);
    getter.wait();
    assert!(leftovers(&net.got("g", "")).len() > 1);
    let ran = net.run(&["get", "f", "--discard", "--out", net.got("g", "").to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(leftovers(&net.got("g", "")), [".other.part"]);
    assert!(bystander.exists() && path.exists());
    let ran = net.run(&["get", "f", "--discard", "--out", net.got("g", "").to_str().unwrap()]);
    assert_eq!(ran.code, Some(3));
}

#[test]
fn a_holder_whose_bytes_are_wrong_is_named_and_left() {
    let net = Net::new();
    let (good, bad) = (net.file("good/f", 16 * MIB, 1), net.file("bad/f", 16 * MIB, 1));
    let (_good, id) = net.share("good", &good, &["--limit-up", "6M"]);
    let (_bad, _) = net.share("bad", &bad, &["--limit-up", "6M"]);
    // Altered underneath, with its times restored.
    let time = fs::metadata(&bad).unwrap().modified().unwrap();
    let file = fs::OpenOptions::new().write(true).open(&bad).unwrap();
    for piece in 0..64 {
        file.write_all_at(b"wrong", piece * 256 * 1024 + 77).unwrap();
    }
    file.set_modified(time).unwrap();
    drop(file);
    let ran = net.get("g", &id, &[]).ran();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(b3sum(&net.got("g", "f")), id);
    assert!(sources(ran.one("done")).iter().all(|(name, _)| name == "good"));
    // The kernel tells a change by the ctime, which nobody can set: then it retracts. Else it is caught by its hash.
    let named = ran.all("misbehaved").chain(ran.all("retracted")).any(|event| text(event, "peer") == "bad");
    assert!(named, "{}\n{}", ran.stdout, ran.stderr);
}

#[test]
fn a_file_that_changes_is_retracted_and_its_sharer_told() {
    let net = Net::new();
    let path = net.file("src/f", 16 * MIB, 1);
    let (mut holder, id) = net.share("h", &path, &["--limit-up", "4M"]);
    let mut getter = net.get("g", &id, &["--wait", "1"]);
    getter.until_percent(20);
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"changed", 12 * MIB).unwrap();
    file.set_modified(SystemTime::now()).unwrap();
    let withdrawn = holder.event("withdrawn");
    assert_eq!(text(&withdrawn, "id"), id);
    let again = holder.event("sharing");
    assert_eq!(text(&again, "id"), b3sum(&path), "it is hashed anew and shared as what it is now");
    let ran = getter.ran();
    assert_eq!(ran.code, Some(4), "{}", ran.stderr);
    assert_eq!(ran.all("misbehaved").count(), 0, "an honest sharer is not blamed");
}

#[test]
fn a_killed_peer_is_gone_at_once_and_a_stopped_one_within_the_lease() {
    let mut net = Net::without_tracker();
    net.start_tracker("127.0.0.1:0", &["--lease", "3"]);
    let path = net.file("src/f", MIB, 1);
    let (mut killed, id) = net.share("killed", &path, &[]);
    let (stopped, _) = net.share("stopped", &path, &[]);
    let (mut ended, _) = net.share("ended", &path, &[]);
    assert_eq!(net.holders(&id), ["ended", "killed", "stopped"]);
    killed.kill();
    let at = Instant::now();
    net.until_holders(&id, &["ended", "stopped"]);
    assert!(at.elapsed() < Duration::from_secs(1), "{:?}", at.elapsed());
    stopped.signal(Signal::STOP);
    let at = Instant::now();
    net.until_holders(&id, &["ended"]);
    assert!(at.elapsed() < Duration::from_millis(4500), "{:?}", at.elapsed());
    net.tracker().until_logged(&["expiry", "stopped"]);
    ended.signal(Signal::INT);
    assert_eq!(ended.wait().code(), Some(0), "{}", ended.told());
    net.tracker().until_logged(&["leave", "ended", "in order"]);
    assert_eq!(net.ask(&["list"]).events.len(), 0);
    stopped.signal(Signal::CONT);
}
