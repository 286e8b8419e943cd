//! `push`, and peers that accept offers; `doctor`.

mod support;

use std::fs;

use support::processes::{Net, Node, b3sum, number, text};

const MIB: u64 = 1 << 20;

/// A peer that accepts offers of these.
fn peer(net: &Net, name: &str, accept: &[&str]) -> Node {
    let dir = net.dir.path().join(name);
    let mut peer = net.serving(name, &[&["peer", "--dir", dir.to_str().expect("a path")], accept].concat());
    peer.event("joined");
    peer
}

#[test]
fn a_pushed_file_arrives_where_it_is_accepted() {
    let net = Net::new();
    let path = net.file("src/f", 3 * MIB, 1);
    let (mut all, mut named) =
        (peer(&net, "all", &["--accept-from", "all"]), peer(&net, "named", &["--accept-from", "x,ann"]));
    let mut nobody = peer(&net, "nobody", &[]);
    let ran = net.serving("ann", &["push", path.to_str().unwrap(), "--to", "all,named"]).ran();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    for receiver in [&mut all, &mut named] {
        let offered = receiver.event("offered");
        assert_eq!((text(&offered, "peer").as_str(), number(&offered, "bytes")), ("ann", 3 * MIB));
        receiver.event("done");
        let got = net.dir.path().join(&receiver.name).join("f");
        assert_eq!(b3sum(&got), b3sum(&path));
    }
    let done: Vec<_> = ran.all("push").filter(|event| event["state"] == "done").collect();
    assert_eq!(done.len(), 2, "{}", ran.stdout);
    assert!(!net.dir.path().join("nobody/f").exists());
    assert_eq!(nobody.terminate(), Some(0));
}

#[test]
fn who_does_not_accept_is_told() {
    let net = Net::new();
    let path = net.file("src/f", MIB, 1);
    let (_nobody, _other) = (peer(&net, "nobody", &[]), peer(&net, "other", &["--accept-from", "bob"]));
    let push = |who: &str, to: &str| net.serving(who, &["push", path.to_str().unwrap(), "--to", to]).ran();
    let ran = push("ann", "nobody,other");
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert_eq!(ran.all("push").filter(|event| event["state"] == "refused").count(), 2);
    assert!(ran.stderr.contains("--accept-from"), "{}", ran.stderr);
    let ran = push("ann", "othr");
    assert_eq!(ran.code, Some(3));
    assert!(ran.stderr.contains("other"), "suggested: {}", ran.stderr);
    // Of everybody, who accepts is meant.
    let ran = push("bob", "all");
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(net.dir.path().join("other/f").exists() && !net.dir.path().join("nobody/f").exists());
}

#[test]
fn a_folder_is_pushed_whole_and_a_standing_file_is_not_replaced() {
    let net = Net::new();
    for number in 0..50 {
        net.file(&format!("src/tree/{number}"), 5000, number);
    }
    fs::create_dir(net.dir.path().join("all")).expect("a folder");
    fs::write(net.dir.path().join("all/f"), "mine").expect("a file");
    let (_all, file) = (peer(&net, "all", &["--accept-from", "all"]), net.file("src/f", MIB, 1));
    let root = net.dir.path().join("src/tree");
    let ran = net.serving("ann", &["push", "--to", "all", root.to_str().unwrap()]).ran();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(support::processes::tree(&net.dir.path().join("all/tree")), support::processes::tree(&root));
    let ran = net.serving("ann", &["push", file.to_str().unwrap(), "--to", "all", "--wait", "1"]).ran();
    assert_eq!(ran.code, Some(4), "{}", ran.stderr);
    assert_eq!(fs::read(net.dir.path().join("all/f")).expect("it"), b"mine");
}

#[test]
fn a_push_without_a_tracker_or_a_path_fails_at_once() {
    let net = Net::without_tracker();
    assert_eq!(net.serving("a", &["push", "nosuch", "--to", "x"]).ran().code, Some(1));
    let path = net.file("f", 10, 1);
    assert_eq!(net.serving("a", &["push", path.to_str().unwrap(), "--to", "x"]).ran().code, Some(6));
    assert_eq!(net.typed(&["push", "x"]).code, Some(2));
    assert_eq!(net.typed(&["push", "--to", "x"]).code, Some(2));
}

#[test]
fn the_doctor_looks_at_everything() {
    let net = Net::new();
    let ran = net.run(&["doctor", "--tracker", &net.addr, "--listen", "127.0.0.1:0"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    let names: Vec<_> = ran.all("check").map(|event| text(event, "check")).collect();
    assert_eq!(names, ["tracker", "port", "clock", "space", "disk", "files"]);
    let file = net.file("src/f", 10, 1);
    let _srv = net.share("srv", &file, &[]);
    let taken = ["doctor", "--tracker", &net.addr, "--listen", "127.0.0.1:0", "--as", "srv"];
    let ran = net.run(&taken);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    let checks: Vec<_> = ran.all("check").map(|event| (text(event, "check"), text(event, "state"))).collect();
    let looked: Vec<_> = checks.iter().map(|(check, _)| check.as_str()).collect();
    assert_eq!(looked, ["tracker", "name", "port", "clock", "space", "disk", "files"]);
    assert_eq!((checks[1].1.as_str(), checks[2].1.as_str()), ("warning", "ok"), "{}", ran.stdout);
    assert!(ran.stdout.contains("the name srv is taken"), "{}", ran.stdout);
    let alone = Net::without_tracker();
    let ran = alone.run(&["doctor", "--tracker", &alone.addr]);
    assert_eq!(ran.code, Some(1));
    let failed = ran.all("check").find(|event| event["state"] == "failed").unwrap();
    assert!(text(failed, "check") == "tracker" && text(failed, "advice").contains("potluck tracker"));
}
