//! Disks that refuse, under real processes: a full one (a small tmpfs, where mounting one is permitted), a target that another
//! process has, a part file that was damaged meanwhile.
#![allow(clippy::unwrap_used, reason = "what is not as it should be fails the test")]

mod support;

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use support::processes::{Net, b3sum, leftovers, number, sources, text};

const MIB: u64 = 1 << 20;

/// A mounted tmpfs; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    #[expect(clippy::print_stderr, reason = "so that nobody takes it for tested")]
    fn new(at: PathBuf, bytes: u64) -> Option<Self> {
        fs::create_dir_all(&at).unwrap();
        let size = format!("size={bytes}");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&at).output();
        if mount.is_ok_and(|mount| mount.status.success()) {
            return Some(Self(at));
        }
        eprintln!("skipped: mounting a tmpfs is not permitted here");
        None
    }

    fn resize(&self, bytes: u64) {
        let size = format!("remount,size={bytes}");
        assert!(Command::new("mount").args(["-o", &size]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_pauses_a_download_which_says_so_and_goes_on_when_there_is_space() {
    let net = Net::new();
    let Some(disk) = SmallDisk::new(net.path("g"), 6 * MIB) else { return };
    let path = net.file("src/f", 12 * MIB, 1);
    let (_sharer, id) = net.share("sharer", &path, &["--limit-up", "8M"]);
    let mut getter = net.get("g", &id, &["--wait", "60"]);
    // While it is full it is tried again every few seconds; that is not told each time.
    let full = |event: &serde_json::Value| text(event, "reason") == "the disk is full";
    let waiting = getter.event_where("waiting", full);
    assert!(!waiting["missing"].as_array().unwrap().is_empty(), "{waiting}");
    let had =
        getter.seen.iter().filter(|event| event["event"] == "progress").map(|e| number(e, "bytes")).max();
    disk.resize(20 * MIB);
    let ran = getter.ran();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(b3sum(&net.got("g", "f")), id);
    assert_eq!(leftovers(&net.got("g", "")).len(), 0);
    assert!(had.is_some());
    assert!(
        ran.all("waiting").filter(|event| full(event)).count() < 5,
        "it says so once in a while: {}",
        ran.stdout
    );
    assert!(!ran.stderr.contains("No space left"), "and once: {}", ran.stderr);
}

#[test]
fn a_limit_on_the_size_of_files_pauses_a_download_and_kills_nobody() {
    let net = Net::new();
    let path = net.file("src/f", 12 * MIB, 1);
    let (_sharer, id) = net.share("sharer", &path, &["--limit-up", "8M"]);
    let mut getter = net.get("g", &id, &["--wait", "60"]);
    getter.limit_file_size(Some(4 * MIB));
    getter.event_where("waiting", |event| text(event, "reason") == "no file may grow so large there");
    getter.limit_file_size(None);
    let ran = getter.ran();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(b3sum(&net.got("g", "f")), id);
}

#[test]
fn a_limit_on_open_files_is_named_by_a_download_that_it_stops() {
    let net = Net::new();
    let files = net.path("src/many/f").parent().unwrap().to_owned();
    (0..100).for_each(|n| fs::write(files.join(format!("f{n}")), [n]).unwrap());
    let (_sharer, id) = net.share("sharer", &files, &[]);
    let mut getter = net.get("g", &id, &["--wait", "60"]);
    getter.limit_open_files(24);
    getter.event_where("waiting", |event| text(event, "reason") == "as many files are open as may be");
}

#[test]
fn what_somebody_does_to_a_part_file_under_a_download_yields_no_wrong_file() {
    type Deed = fn(&Path);
    let deeds: [(&str, Deed); 2] = [
        ("cut", |part| fs::OpenOptions::new().write(true).open(part).unwrap().set_len(MIB).unwrap()),
        ("removed", |part| fs::remove_file(part).unwrap()),
    ];
    for (name, deed) in deeds {
        let net = Net::new();
        let path = net.file("src/f", 12 * MIB, 1);
        let (_sharer, id) = net.share("sharer", &path, &["--limit-up", "8M"]);
        let mut getter = net.get("g", &id, &[]);
        getter.until_percent(40);
        let folder = net.got("g", "");
        let part = leftovers(&folder).into_iter().find(|name| name.ends_with(".part")).unwrap();
        deed(&folder.join(part));
        let ran = getter.ran();
        assert_eq!(ran.code, Some(0), "{name}: {}", ran.stderr);
        assert_eq!(b3sum(&net.got("g", "f")), id, "{name}");
        assert_eq!(leftovers(&folder).len(), 0, "{name}");
    }
}

/// An interrupted download: some of it is there. Returns its part file and what had been verified.
fn interrupted(net: &Net, id: &str) -> (PathBuf, u64) {
    let mut getter = net.get("g", id, &[]);
    getter.until_percent(40);
    getter.signal(Signal::INT);
    let ran = getter.ran();
    let had = ran.all("progress").map(|event| number(event, "bytes")).max().unwrap();
    let folder = net.got("g", "");
    let name = leftovers(&folder).into_iter().find(|name| name.ends_with(".part")).unwrap();
    (folder.join(name), had)
}

fn fetched(net: &Net, id: &str) -> u64 {
    let ran = net.get("g", id, &[]).ran();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(b3sum(&net.got("g", "f")), id);
    sources(ran.one("done")).iter().map(|(_, bytes)| bytes).sum()
}

#[test]
fn a_second_process_on_one_target_is_told_so_and_the_first_goes_on() {
    let net = Net::new();
    let path = net.file("src/f", 8 * MIB, 1);
    let (_sharer, id) = net.share("sharer", &path, &["--limit-up", "4M"]);
    let mut first = net.get("g", &id, &[]);
    first.event("progress");
    let out = format!("{}/", net.got("g", "").display());
    let second = net.serving("second", &["get", &id, "--out", &out]).ran();
    assert_eq!(second.code, Some(1), "{}", second.stderr);
    assert!(text(second.one("error"), "message").contains("another potluck"), "{}", second.stdout);
    let ran = first.ran();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(b3sum(&net.got("g", "f")), id);
}

#[test]
fn what_was_damaged_while_nobody_looked_is_fetched_again_and_nothing_else() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage, u64); 4] = [
        (
            "zeroed",
            |part| {
                fs::OpenOptions::new().write(true).open(part).unwrap().write_all_at(&[0; 4096], 0).unwrap()
            },
            1,
        ),
        (
            "sidecar torn",
            |part| {
                let meta = part.with_extension("meta");
                let whole = fs::read(&meta).unwrap();
                fs::write(meta, &whole[..whole.len() / 2]).unwrap();
            },
            0,
        ),
        ("sidecar gone", |part| fs::remove_file(part.with_extension("meta")).unwrap(), 0),
        ("sidecar foreign", |part| fs::write(part.with_extension("meta"), vec![7; 5000]).unwrap(), 0),
    ];
    for (name, damage, pieces) in damages {
        let net = Net::new();
        let path = net.file("src/f", 8 * MIB, 1);
        let (_sharer, id) = net.share("sharer", &path, &["--limit-up", "8M"]);
        let (part, had) = interrupted(&net, &id);
        damage(&part);
        // A piece may have been verified after the last progress was told; and one is at most damaged.
        let fetched = fetched(&net, &id);
        assert!(
            fetched <= 8 * MIB - had + pieces * 256 * 1024,
            "{name}: {fetched} fetched, {had} had been there"
        );
    }
}
