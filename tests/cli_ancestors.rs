//! The demonstrations of the five systems that potluck grew out of, each in potluck: what is typed, and what is seen.

mod support;

use std::fs;
use std::time::{Duration, Instant};

use support::processes::{Net, b3sum, leftovers, until};

const MIB: u64 = 1 << 20;
/// Uploads are slow enough here for something to happen in the midst of a download.
const SLOW: &[&str] = &["--limit-up", "4M"];

/// A. A manager and its peers: chunks in parallel, corrected from the remaining holders.
#[test]
fn a_manager_and_peers() {
    let mut net = Net::new();
    for holder in ["pavan1", "pavan2", "pavan3"] {
        net.file(&format!("{holder}/alice.bin"), 20 * MIB, 1);
    }
    let mut first = net.shell("pavan1", SLOW);
    let mut second = net.shell("pavan2", SLOW);
    let _third = net.shell("pavan3", SLOW);
    net.until_holders("alice.bin", &["pavan1", "pavan2", "pavan3"]);

    assert!(!net.dir.path().join("pavan").exists());
    let mut pavan = net.shell("pavan", &[]);
    assert!(net.dir.path().join("pavan").is_dir(), "its folder appeared");
    first.says(&["pavan joined"]);
    net.tracker().until_logged(&["join", "pavan accepted"]);
    let row = pavan.types("list").says(&["alice.bin"]);
    let columns: Vec<_> = row.split_whitespace().collect();
    assert_eq!(columns[1..], ["20.00", "MiB", "3", "0", "alice.bin"], "size, complete and partial holders");
    pavan.types("get alice.bin").says(&["3 holders"]);
    pavan.until_percent("alice.bin", 40);
    second.kill();
    pavan.adds("wait alice.bin").says(&["alice.bin", "20.00 MiB in"]);
    assert_eq!(b3sum(&net.of("pavan", "alice.bin")), b3sum(&net.of("pavan1", "alice.bin")));

    let mut other = net.shell_at("pavan", &net.addr, &[]);
    other.says(&["the name pavan is taken by another peer"]);
    other.says(&["--as pavan", "is free"]);
    assert_eq!(other.code(), Some(1));

    assert_eq!(pavan.quits(), Some(0));
    assert!(net.of("pavan", "alice.bin").is_file(), "its folder is the person's");
    first.says(&["pavan left"]);
}

/// B. An index server and content servers: files are registered one by one.
#[test]
fn b_index_server_and_content_servers() {
    let mut net = Net::new();
    let names = ["Leonardo", "Michelangelo", "Raffaello", "Donatello"];
    for name in names {
        for file in 1..=4 {
            let seed = if file == 1 { 1 } else { file };
            net.file(&format!("{name}/file{file}.txt"), 3000, seed);
        }
    }
    let mut shells: Vec<_> = names.iter().map(|name| net.shell(name, &["--no-share"])).collect();
    let local = shells[0].answers("local");
    assert_eq!(local.matches("not shared").count(), 4, "{local}");
    shells[0].types("list").says(&["Nothing is shared"]);
    for (shell, file) in shells.iter_mut().zip(1..) {
        let name = format!("file{file}.txt");
        shell.types(&format!("share {name}")).says(&[&name, "is shared", "registered"]);
    }
    let rows = shells[0].answers("list --holders");
    for (name, file) in names.iter().zip(1..) {
        let row = rows.lines().find(|row| row.contains(&format!("file{file}.txt"))).expect(&rows);
        assert!(row.ends_with(name), "{row}");
    }
    shells[0].types("share file1.txt").says(&["file1.txt is already shared"]);
    assert_eq!(shells[0].answers("list").matches("file1.txt").count(), 1, "one row");
    shells[1].types("share file1.txt").says(&["is shared"]);

    let mut second = net.shell_at("Leonardo", &net.addr, &["--no-share"]);
    second.says(&["the name Leonardo is taken"]);
    assert_eq!(second.code(), Some(1));
    net.tracker().until_logged(&["Leonardo", "refused"]);
    let mut dante = net.shell("Dante", &[]);
    dante.types("get file1.txt").says(&["2 holders"]);
    dante.adds("wait").says(&["file1.txt", "from"]);
    net.until_holders("file1.txt", &["Dante", "Leonardo", "Michelangelo"]);

    shells[0].types("rename Leo2").says(&["You are Leo2"]);
    shells[0].types("unshare file1.txt").says(&["file1.txt is shared no longer", "taken it off"]);
    net.until_holders("file1.txt", &["Dante", "Michelangelo"]);
    let asked = Instant::now();
    fs::remove_file(net.of("Leonardo", "file4.txt")).unwrap();
    shells[0].answers("refresh");
    shells[0].types("unshare file4.txt").says(&["file4.txt is not yours"]);
    assert!(asked.elapsed() < Duration::from_secs(5), "refused at once, and the shell lives on");

    assert_eq!(dante.quits(), Some(0));
    for (number, shell) in shells.iter_mut().enumerate() {
        // The first was refused something, and its lines come from a pipe.
        assert_eq!(shell.quits(), Some(i32::from(number == 0)));
    }
    assert_eq!(net.ask(&["list"]).all("content").count(), 0);
}

/// C. A manager that only knows peers: "have", "not have", and a range per holder.
#[test]
fn c_have_and_not_have() {
    let mut net = Net::new();
    for (name, bytes, seed) in [("f", 20 * MIB, 1), ("g", 20 * MIB, 2)] {
        net.file(&format!("A/{name}"), bytes, seed);
        net.file(&format!("B/{name}"), bytes, seed);
    }
    net.file("A/h", 3 * MIB, 3);
    let mut a = net.shell("A", SLOW);
    let mut b = net.shell("B", SLOW);
    net.until_holders("g", &["A", "B"]);
    net.until_holders("h", &["A"]);
    let mut d = net.shell("D", &[]);
    let help = d.answers("help");
    for command in ["join", "leave", "get", "explain", "quit"] {
        assert!(help.contains(command), "{help}");
    }
    d.types("get nosuch").says(&["nobody shares `nosuch`"]);
    d.types("get f").says(&["2 holders"]);
    d.until_percent("f", 30);
    b.kill();
    d.adds("wait f").says(&["f", "20.00 MiB in"]);
    assert_eq!(b3sum(&net.of("D", "f")), b3sum(&net.of("A", "f")));

    let mut b = net.shell("B", SLOW);
    net.until_holders("g", &["A", "B"]);
    d.types("get g").says(&["2 holders"]);
    d.until_percent("g", 30);
    a.kill();
    b.kill();
    let waits = d.says(&["g waits", "missing pieces"]);
    assert!(waits.chars().any(|c| c.is_ascii_digit()), "{waits}");
    let mut a = net.shell("A", SLOW);
    d.adds("wait g").says(&["g", "20.00 MiB in"]);
    assert_eq!(b3sum(&net.of("D", "g")), b3sum(&net.of("A", "g")));

    let mut b = net.shell("B", SLOW);
    net.until_holders("h", &["A"]);
    let addr = net.addr.clone();
    d.says(&["B joined"]);
    net.tracker().kill();
    d.says(&["does not answer"]);
    d.types("get h").says(&["A has it"]);
    d.says(&["B has it not"]);
    d.adds("wait h").says(&["h", "3.00 MiB in"]);
    assert_eq!(b3sum(&net.of("D", "h")), b3sum(&net.of("A", "h")));

    d.mark_here();
    net.start_tracker(&addr, &[]);
    d.says(&["Joined the tracker"]);
    for other in [&mut a, &mut b] {
        other.says(&["again as"]);
    }
    assert!(a.answers("peers").lines().any(|row| row.starts_with("D ")));
    d.types("leave").says(&["Left the network"]);
    assert!(!a.answers("peers").lines().any(|row| row.starts_with("D ")));
    d.types("peers").says(&["you have left the network"]);
    d.types("join").says(&["Joined the tracker"]);
    assert!(a.answers("peers").lines().any(|row| row.starts_with("D ")));
    // Leaving and coming back between two pushes of the tracker is not worth a word; some time it is.
    a.mark_here();
    until("A is told that D left and joined", || {
        d.types("leave").says(&["Left the network"]);
        d.types("join").says(&["Joined the tracker"]);
        a.has_said("D left") && a.has_said("D joined")
    });
}

/// D. An index that everybody registers with: the person picks the peer to download from.
#[test]
fn d_napster_style() {
    let mut net = Net::new();
    net.file("p1/file8_3.txt", 20 * MIB, 8);
    let long = format!("{}.txt", "n".repeat(251));
    net.file(&format!("p1/{long}"), 5, 9);
    let mut p1 = net.shell("p1", &[]);
    net.until_holders("file8_3.txt", &["p1"]);
    let mut p0 = net.shell("p0", &[]);
    p0.says(&["Joined the tracker at", "as p0", "peer", "contents registered"]);
    let addr = p0.says(&["Links are accepted at"]);
    p0.types("get file8_3").says(&["nobody shares `file8_3`"]);
    p0.says(&["file8_3.txt"]);
    net.tracker().until_logged(&["search", "p0", "file8_3", "0 found"]);
    p0.types("get file8_3.txt --choose").says(&["held by"]);
    p0.says(&["1", "p1", "127.0.0.1"]);
    p0.types("cancel").says(&["Nothing is fetched"]);
    assert!(!net.of("p0", "file8_3.txt").exists());
    p0.types("get file8_3.txt --choose").says(&["held by"]);
    p0.types("9").says(&["none of them", "2 tries left"]);
    p0.types("p1").says(&["Fetching file8_3.txt", "from p1"]);
    p0.says(&["file8_3.txt is registered"]);
    p1.says(&["p0 fetches file8_3.txt"]);
    p1.says(&["p0 is done with file8_3.txt", "20.00 MiB sent"]);
    net.until_holders("file8_3.txt", &["p0", "p1"]);
    let rows = p0.answers("holders file8_3.txt");
    assert!(rows.contains("p0") && rows.contains("p1"), "{rows}");

    p0.types(&format!("get {long}")).says(&["Fetching"]);
    p0.adds("wait").is_done();
    assert_eq!(b3sum(&net.of("p0", &long)), b3sum(&net.of("p1", &long)));

    let busy = addr.trim_end_matches('.').rsplit(' ').next().unwrap();
    let mut other = net.shell_at("p2", &net.addr, &["--listen", busy]);
    other.says(&["cannot listen at", busy]);
    assert_eq!(other.code(), Some(1));
}

/// E. A tracker with metainfo, pieces and partial holders.
#[test]
fn e_tracker_with_pieces() {
    let net = Net::new();
    net.file("12666/hello_big3.bin", 20 * MIB, 1);
    net.file("12777/hello_big3.bin", 20 * MIB, 1);
    net.file("12777/huge.bin", 30 * MIB, 2);
    let mut first = net.shell("12666", SLOW);
    let second = net.shell("12777", SLOW);
    net.until_holders("hello_big3.bin", &["12666", "12777"]);
    let mut peer = net.shell_at("12888", "127.0.0.1:9", &["-vv"]);
    peer.says(&["does not answer"]);
    peer.types(&format!("join {}", net.addr)).says(&["Joined the tracker"]);
    peer.says(&["hello_big3.bin", "20.00 MiB"]);
    peer.types("info hello_big3.bin").says(&["pieces", "80 of 256.00 KiB"]);

    net.file("12666/copied.txt", 1000, 3);
    first.types("refresh").says(&["copied.txt"]);
    peer.types("get hello_big3.bin").says(&["2 holders"]);
    peer.adds("wait").is_done();
    for holder in ["12666", "12777"] {
        peer.says(&["piece", &format!("from {holder} is right")]);
    }
    assert_eq!(b3sum(&net.of("12888", "hello_big3.bin")), b3sum(&net.of("12666", "hello_big3.bin")));

    peer.types("get huge.bin").says(&["Fetching huge.bin"]);
    peer.until_percent("huge.bin", 40);
    peer.types("stop huge.bin").says(&["huge.bin is stopped"]);
    peer.types("get huge.bin").says(&["huge.bin goes on"]);
    peer.adds("wait").is_done();
    assert_eq!(b3sum(&net.of("12888", "huge.bin")), b3sum(&net.of("12777", "huge.bin")));
    assert!(second.sent_mib("huge.bin") < 33.0, "only the rest is fetched again\n{}", second.told());
    assert_eq!(peer.quits(), Some(0));
    assert!(leftovers(&net.dir.path().join("12888")).is_empty());
}
