//! What `get` can be told: which files of a folder, from how many holders, and only to list.

mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::Stdio;

use support::processes::{Net, leftovers, number, sources, text, tree, until};

const MIB: u64 = 1 << 20;

/// A folder called `tree`, with an empty folder in it.
fn folder(net: &Net) -> PathBuf {
    for (path, bytes) in
        [("a.txt", 10), ("docs/b.md", 20), ("docs/deep/c.bin", 700_000), ("src/d.rs", 30), ("src/e.txt", 40)]
    {
        net.file(&format!("src/tree/{path}"), bytes, bytes);
    }
    let root = net.dir.path().join("src/tree");
    fs::create_dir_all(root.join("nothing")).expect("an empty folder");
    root
}

#[test]
fn a_dry_run_lists_and_fetches_nothing() {
    let net = Net::new();
    let root = folder(&net);
    let file = net.file("src/f", 5000, 1);
    let (_holder, id) = net.share("h", &root, &[]);
    let (_other, file_id) = net.share("i", &file, &[]);
    let paths = |ran: &support::processes::Ran| -> Vec<(String, u64)> {
        ran.all("would_fetch").map(|event| (text(event, "path"), number(event, "bytes"))).collect()
    };
    let ran = net.get("g", "tree", &["--dry-run"]).ran();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(paths(&ran).len(), 6, "{}", ran.stdout);
    let planned = ran.one("planned");
    assert_eq!((number(planned, "files"), number(planned, "bytes")), (5, 700_100));
    assert_eq!(
        (text(planned, "id"), text(planned, "path")),
        (id, net.got("g", "tree").display().to_string())
    );
    let ran = net.get("g", "tree", &["--dry-run", "--include", "*.txt", "--exclude", "src"]).ran();
    assert_eq!(paths(&ran), [("tree/a.txt".to_owned(), 10)]);
    let ran = net.get("g", "f", &["--dry-run"]).ran();
    assert_eq!(paths(&ran), [("f".to_owned(), 5000)]);
    assert_eq!(text(ran.one("planned"), "id"), file_id);
    assert!(!net.got("g", "").exists(), "nothing is begun");
    assert_eq!(net.holders("tree"), ["h"]);
}

#[test]
fn chosen_files_of_a_folder_arrive_and_nothing_else() {
    let net = Net::new();
    let root = folder(&net);
    let (_holder, _) = net.share("h", &root, &[]);
    let mut getter =
        net.get("g", "tree", &["--include", "docs", "--include", "*.rs", "--exclude", "*.bin", "--stay"]);
    let done = getter.done();
    assert_eq!(number(&done, "bytes"), 50);
    let got: Vec<_> =
        tree(&net.got("g", "tree")).into_iter().filter(|(_, what)| !what.starts_with("folder")).collect();
    let mut wanted = tree(&root);
    wanted.retain(|path, _| ["docs/b.md", "src/d.rs"].contains(&path.as_str()));
    assert_eq!(got, wanted.into_iter().collect::<Vec<_>>());
    assert!(leftovers(&net.got("g", "")).is_empty());
    net.until_holders("b.md", &["g", "h"]);
    net.until_holders("tree", &["h"]);
    assert_eq!(net.holders("tree"), ["h"], "who has some of its files does not hold the folder");
    assert_eq!(getter.terminate(), Some(0));
    // The same again is there already; another choice, or all of it, is something else.
    let choice = ["--include", "docs", "--include", "*.rs", "--exclude", "*.bin"];
    let again = net.get("g", "tree", &choice).ran();
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert!(sources(again.one("done")).is_empty(), "nothing was fetched");
    assert_eq!(net.get("g", "tree", &["--include", "*.txt"]).ran().code, Some(1));
    assert_eq!(net.get("g", "tree", &[]).ran().code, Some(1));
    assert!(leftovers(&net.got("g", "")).len() <= 1, "what was begun of the choice that has no place");
}

#[test]
fn a_choice_that_leaves_nothing_is_not_found() {
    let net = Net::new();
    let root = folder(&net);
    let (_holder, id) = net.share("h", &root, &[]);
    for _ in 0..5 {
        let ran = net.get("g", &id, &["--include", "*.nope"]).ran();
        assert_eq!(ran.code, Some(3), "{}", ran.stderr);
        assert!(leftovers(&net.got("g", "")).is_empty());
        assert!(!net.got("g", "tree").exists(), "no empty folder is in the way of a later get");
    }
    assert_eq!(net.get("g", &id, &[]).ran().code, Some(0));
    let file = net.file("src/f", 10, 1);
    let (_other, file_id) = net.share("i", &file, &[]);
    assert_eq!(net.get("g", &file_id, &["--include", "*"]).ran().code, Some(2), "a file has no files");
    assert_eq!(net.get("g", &id, &["--include", "[x"]).ran().code, Some(2));
}

#[test]
fn an_interrupted_choice_can_be_discarded() {
    let net = Net::new();
    let root = net.file("src/tree/big", 8 * MIB, 1);
    net.file("src/tree/small", 10, 1);
    let (_holder, _) = net.share("h", root.parent().unwrap(), &["--limit-up", "2M"]);
    let mut getter = net.get("g", "tree", &["--include", "big"]);
    getter.until_percent(10);
    assert_eq!(getter.terminate(), Some(143));
    assert_eq!(leftovers(&net.got("g", "")).len(), 1);
    let ran = net.ask(&["get", "tree", "--discard", "--out", net.got("g", "").to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(leftovers(&net.got("g", "")).is_empty());
}

#[test]
fn no_more_holders_than_wanted_deliver() {
    let net = Net::new();
    let path = net.file("src/f", 8 * MIB, 1);
    let holders: Vec<_> = (0..4).map(|n| net.share(&format!("h{n}"), &path, &["--limit-up", "8M"])).collect();
    let ran = net.get("g", &holders[0].1, &["--max-holders", "1"]).ran();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(sources(ran.one("done")).len(), 1);
    let ran = net.get("k", &holders[0].1, &["--max-holders", "2"]).ran();
    assert_eq!(sources(ran.one("done")).len(), 2, "{}", ran.stdout);
}

#[test]
fn another_holder_takes_the_place_of_one_that_is_gone() {
    let net = Net::new();
    let path = net.file("src/f", 8 * MIB, 1);
    let mut holders: Vec<_> =
        (0..2).map(|n| net.share(&format!("h{n}"), &path, &["--limit-up", "3M"])).collect();
    let id = holders[0].1.clone();
    let mut getter = net.get("g", &id, &["--max-holders", "1"]);
    let progress = getter.event_where("progress", |event| number(event, "bytes") > 0);
    let first = text(&progress["sources"][0], "peer");
    let victim = holders.iter_mut().find(|(node, _)| node.name == first).unwrap();
    victim.0.kill();
    let ran = getter.ran();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(sources(ran.one("done")).len(), 2);
}

#[test]
fn standard_input_is_shared_under_the_name_it_is_given() {
    let net = Net::new();
    let words =
        ["share", "-", "--name", "notes.txt", "--as", "h", "--listen", "127.0.0.1:0", "--tracker", &net.addr];
    let mut share =
        net.bare(&words).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    share.stdin.take().unwrap().write_all(b"from a pipe").unwrap();
    until("it is shared", || net.ask(&["list"]).all("content").count() == 1);
    let ran = net.get("g", "notes.txt", &[]).ran();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(fs::read(net.got("g", "notes.txt")).unwrap(), b"from a pipe");
    share.kill().unwrap();
    share.wait().unwrap();
    assert_eq!(net.typed(&["share", "-", "-"]).code, Some(2));
    assert_eq!(net.typed(&["share", "x", "--name", "y"]).code, Some(2));
    assert_eq!(net.typed(&["share", "-", "--name", "../y"]).code, Some(2));
}

#[test]
fn a_content_goes_to_standard_output_while_it_is_downloaded() {
    let net = Net::new();
    let path = net.file("src/f", 6 * MIB + 5, 1);
    let (_holder, id) = net.share("h", &path, &["--limit-up", "3M"]);
    let words = ["get", &id, "--out", "-", "--listen", "127.0.0.1:0", "--tracker", &net.addr];
    let mut get = net.bare(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = get.stdout.take().unwrap();
    let mut first = vec![0; 64 * 1024];
    stdout.read_exact(&mut first).unwrap();
    assert!(get.try_wait().unwrap().is_none(), "the beginning comes before the end is there");
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).unwrap();
    let whole = [first, rest].concat();
    assert!(whole == fs::read(&path).unwrap(), "{} bytes", whole.len());
    let output = get.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stderr).contains("from h 100%"));
    for words in [&["--json"][..], &["--dry-run"], &["other"]] {
        let words = [&["get", &id, "--out", "-", "--tracker", &net.addr], words].concat();
        assert_eq!(net.typed(&words).code, Some(2), "{words:?}");
    }
    let root = folder(&net);
    let (_other, folder_id) = net.share("i", &root, &[]);
    let ran = net.typed(&["get", &folder_id, "--out", "-", "--tracker", &net.addr]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{}", ran.stderr);
}

#[test]
fn who_reads_only_the_beginning_ends_the_download() {
    let net = Net::new();
    let path = net.file("src/f", 6 * MIB, 1);
    let (_holder, id) = net.share("h", &path, &["--limit-up", "3M"]);
    let words = ["get", &id, "--out", "-", "--listen", "127.0.0.1:0", "--tracker", &net.addr];
    let mut get = net.bare(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 10];
    let mut stdout = get.stdout.take().unwrap();
    stdout.read_exact(&mut first).unwrap();
    drop(stdout);
    let output = get.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && !told.contains("error"), "{told}");
}

/// What is known of it then has to come from a holder again: that one may come later.
#[test]
fn a_part_without_its_sidecar_waits_for_a_holder() {
    let net = Net::new();
    let file = net.file("src/f.bin", 8 * MIB, 1);
    let (mut holder, id) = net.share("h", &file, &["--limit-up", "4MB"]);
    let mut getter = net.get("g", &id, &[]);
    getter.until_percent(40);
    getter.kill();
    holder.kill();
    net.until_holders(&id, &[]);
    let sidecar = leftovers(&net.got("g", "")).into_iter().find(|name| name.ends_with(".meta")).expect("one");
    fs::remove_file(net.got("g", &sidecar)).expect("removing a sidecar");
    for what in [&id, &id[..8], "f.bin"] {
        let ran = net.get("g", what, &["--wait", "0"]).ran();
        assert_eq!(ran.code, Some(4), "{what}: {}", ran.stderr);
    }
    assert_eq!(net.get("g", "other", &[]).ran().code, Some(3));
    let getter = net.get("g", "f.bin", &[]);
    let (_holder, _) = net.share("h", &file, &[]);
    let ran = getter.ran();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let fetched: u64 = sources(ran.one("done")).iter().map(|(_, bytes)| bytes).sum();
    assert!(fetched < 6 * MIB, "what was there is kept: {fetched}");
}
