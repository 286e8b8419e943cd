//! What is shared stays the user's, who edits, cuts, replaces and deletes it while others fetch it: seen at once, taken back,
//! and offered as what it is then. And what has not changed is not hashed again.
#![allow(clippy::unwrap_used, reason = "what is not as it should be fails the test")]

mod support;

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use support::processes::{Net, b3sum, text, until};

const MIB: u64 = 1 << 20;

type Deed = fn(&Path);

fn edited(path: &Path) {
    fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(b"edited", 12 * MIB).unwrap();
}

fn cut(path: &Path) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(3 * MIB + 5).unwrap();
}

fn replaced(path: &Path) {
    let other = path.with_extension("other");
    fs::write(&other, vec![7; 5 * MIB as usize]).unwrap();
    fs::rename(other, path).unwrap();
}

#[test]
fn what_changes_under_a_download_is_retracted_and_offered_as_what_it_is() {
    let deeds: [(&str, Deed); 3] = [("edited", edited), ("cut", cut), ("replaced", replaced)];
    for (name, deed) in deeds {
        let net = Net::new();
        let path = net.file("src/f", 16 * MIB, 1);
        let (mut sharer, id) = net.share("sharer", &path, &["--limit-up", "4M"]);
        let mut getter = net.get("g", &id, &["--wait", "1"]);
        getter.until_percent(20);
        deed(&path);
        assert_eq!(text(&sharer.event("withdrawn"), "id"), id, "{name}");
        let again = sharer.event("sharing");
        assert_eq!(text(&again, "id"), b3sum(&path), "{name}");
        let ran = getter.ran();
        assert_eq!(ran.code, Some(4), "{name}: {}", ran.stderr);
        assert_eq!(
            ran.all("misbehaved").count(),
            0,
            "{name}: an honest sharer is not blamed\n{}",
            ran.stdout
        );
        assert!(!net.got("g", "f").exists(), "{name}: no wrong file");
        net.until_holders(&text(&again, "id"), &["sharer"]);
        // Of what it was nobody has all any more: only the getter kept a part, and it is gone.
        assert_eq!(net.ask(&["holders", &id]).code, Some(3), "{name}");
        let ran = net.get("g2", &text(&again, "id"), &[]).ran();
        assert_eq!(ran.code, Some(0), "{name}: {}", ran.stderr);
        assert_eq!(b3sum(&net.got("g2", "f")), b3sum(&path), "{name}");
    }
}

#[test]
fn what_is_deleted_under_a_download_is_retracted_and_listed_no_longer() {
    let net = Net::new();
    let (path, kept) = (net.file("src/f", 16 * MIB, 1), net.file("src/kept", MIB, 2));
    let words = ["share", path.to_str().unwrap(), kept.to_str().unwrap(), "--limit-up", "4M"];
    let mut sharer = net.serving("sharer", &words);
    let id = text(&sharer.event("sharing"), "id");
    let kept = text(&sharer.event("sharing"), "id");
    let mut getter = net.get("g", &id, &["--wait", "1"]);
    getter.until_percent(20);
    fs::remove_file(&path).unwrap();
    assert_eq!(text(&sharer.event("withdrawn"), "id"), id);
    let ran = getter.ran();
    assert_eq!((ran.code, ran.all("misbehaved").count()), (Some(4), 0), "{}", ran.stderr);
    until("it is listed no longer", || net.ask(&["list"]).all("content").count() == 1);
    assert_eq!(net.holders(&kept), ["sharer"], "it goes on with what is left");
    assert_eq!(sharer.terminate(), Some(0), "{}", sharer.told());
}

#[test]
fn what_has_not_changed_is_not_read_again() {
    let net = Net::without_tracker();
    net.file("src/folder/a", 40 * MIB, 1);
    net.file("src/folder/b/c", 8 * MIB, 2);
    // A file that changed within the last 20 ms is not remembered: its next change might not show in its times.
    thread::sleep(Duration::from_millis(100));
    let shared = |path: &str| {
        let mut sharer = net.serving("sharer", &["share", path]);
        let sharing = sharer.event("sharing");
        let read = sharer.bytes_read();
        assert_eq!(sharer.terminate(), Some(0), "{}", sharer.told());
        (text(&sharing, "id"), read)
    };
    let (id, read) = shared("src/folder");
    assert!(read >= 48 * MIB, "{read} bytes read at first");
    let (same, read) = shared("src/folder");
    assert!(same == id && read < 4 * MIB, "{read} bytes read of what was known");
    // Only what changed is hashed anew.
    let other = net.file("src/folder/b/c", 8 * MIB, 3);
    let (another, read) = shared("src/folder");
    assert!(another != id && (8 * MIB..14 * MIB).contains(&read), "{read} bytes read");
    assert_eq!(shared(other.to_str().unwrap()).0, b3sum(&other));
}

/// They arrive wherever they can be held; who shares them is the one who can give them other names.
#[test]
fn names_that_not_every_file_system_holds_are_shared_with_a_word() {
    let net = Net::new();
    for name in ["10:30.log", "aux.c", "plain", "Read.me", "read.me"] {
        net.file(&format!("src/folder/{name}"), 1000, 1);
    }
    let (sharer, id) = net.share("sharer", &net.path("src/folder"), &[]);
    for name in ["folder/10:30.log", "folder/aux.c", "folder/read.me"] {
        sharer.until_logged(&["not every file system can hold this name", name]);
    }
    assert!(!sharer.stderr().contains("plain"), "{}", sharer.stderr());
    assert_eq!(net.get("g", &id, &[]).ran().code, Some(0));
    let (sharer, _) = net.share("other", &net.path("src/folder/10:30.log"), &[]);
    sharer.until_logged(&["not every file system can hold this name", "10:30.log"]);
}

#[test]
fn links_and_special_files_are_left_out_with_a_word() {
    let net = Net::new();
    net.file("src/folder/real", 1000, 1);
    let secret = net.file("elsewhere/secret", 1000, 2);
    std::os::unix::fs::symlink(&secret, net.path("src/folder/link")).unwrap();
    std::os::unix::fs::symlink(secret.parent().unwrap(), net.path("src/folder/linked")).unwrap();
    let pipe = net.path("src/folder/pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(net.path("src/folder/socket")).unwrap();
    let (sharer, id) = net.share("sharer", &net.path("src/folder"), &[]);
    for name in ["link", "linked", "pipe", "socket"] {
        sharer.until_logged(&["not shared", name]);
    }
    let ran = net.get("g", &id, &[]).ran();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let mut names: Vec<_> =
        fs::read_dir(net.got("g", "folder")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["real"]);
    assert_eq!(net.ask(&["search", "secret"]).all("content").count(), 0);
    assert_eq!(net.run(&["share", pipe.to_str().unwrap()]).code, Some(1));
}

#[test]
fn a_damaged_cache_of_hashes_is_told_in_one_line_and_made_anew() {
    let net = Net::without_tracker();
    let path = net.file("src/f", 5 * MIB, 1);
    let cache = net.path("cache/potluck/hashes.redb");
    let share = || {
        let (node, id) = net.share("sharer", &path, &[]);
        node.signal(Signal::TERM);
        (id, node.ran().stderr)
    };
    let (id, _) = share();
    // The hash of a file that may be changing still is not remembered.
    until("the cache is written", || {
        cache.exists() || {
            share();
            cache.exists()
        }
    });
    let whole = fs::read(&cache).unwrap();
    // Some of it shows by an error, some only by a panic of the library that reads it.
    let mut flipped = whole.clone();
    flipped.iter_mut().skip(4096).step_by(4096).for_each(|byte| *byte ^= 0x55);
    for damaged in [&flipped[..], &whole[..whole.len() / 2], b"no cache"] {
        fs::write(&cache, damaged).unwrap();
        let (again, stderr) = share();
        assert_eq!(again, id);
        assert_eq!(stderr.matches("the hash cache starts anew").count(), 1, "{stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
        let (_, stderr) = share();
        assert!(!stderr.contains("the hash cache"), "it is right again: {stderr}");
    }
}
