//! Sharing and fetching between real processes: sizes, names, tickets, folders, targets, many downloaders.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use support::processes::{Net, b3sum, leftovers, number, sources, text, tree, until};

const MIB: u64 = 1 << 20;
/// The smallest piece.
const PIECE: u64 = 256 * 1024;

#[test]
fn contents_of_all_sizes_arrive_from_one_holder_and_from_four() {
    let net = Net::new();
    let sizes = [0, 1, 1023, 1024, 1025, PIECE - 1, PIECE, PIECE + 1, 5 * MIB + 3];
    let paths: Vec<_> = sizes.iter().map(|size| net.file(&format!("src/f{size}"), *size, *size)).collect();
    let words: Vec<&str> = paths.iter().map(|path| path.to_str().unwrap()).collect();
    let mut holders = Vec::new();
    for wave in [1, 4] {
        while holders.len() < wave {
            let name = format!("h{}", holders.len());
            let mut holder = net.serving(&name, &[&["share"], words.as_slice()].concat());
            for (path, size) in paths.iter().zip(sizes) {
                let sharing = holder.event("sharing");
                assert_eq!((text(&sharing, "id"), number(&sharing, "bytes")), (b3sum(path), size));
            }
            holders.push(holder);
        }
        for (path, size) in paths.iter().zip(sizes) {
            let (getter, id) = (format!("g{wave}-{size}"), b3sum(path));
            let done = net.get(&getter, &id, &[]).ran();
            assert_eq!(done.code, Some(0), "{size} bytes: {}", done.stderr);
            let done = done.one("done").clone();
            let got = net.got(&getter, &format!("f{size}"));
            assert_eq!(b3sum(&got), id);
            assert_eq!(text(&done, "path"), got.to_str().unwrap());
            assert_eq!((text(&done, "id"), number(&done, "bytes")), (id, size));
            assert_eq!(sources(&done).iter().map(|(_, bytes)| bytes).sum::<u64>(), size);
            assert!(leftovers(got.parent().unwrap()).is_empty());
        }
    }
}

#[test]
fn four_holders_deliver_together() {
    let net = Net::new();
    let path = net.file("src/f", 32 * MIB, 1);
    let holders: Vec<_> = (0..4).map(|n| net.share(&format!("h{n}"), &path, &["--limit-up", "8M"])).collect();
    let ran = net.get("g", &holders[0].1, &[]).ran();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let delivered = sources(ran.one("done"));
    assert_eq!(delivered.len(), 4, "{delivered:?}");
    let progress: Vec<_> = ran.all("progress").collect();
    assert!(progress.iter().any(|event| number(event, "holders") == 4));
    assert!(progress.windows(2).all(|pair| number(pair[0], "bytes") < number(pair[1], "bytes")));
}

#[test]
fn names_ids_prefixes_and_tickets_mean_the_same() {
    let net = Net::new();
    let path = net.file("src/some file.txt", 300_000, 1);
    let mut holder = net.serving("h", &["share", path.to_str().unwrap()]);
    let joined = holder.event("joined");
    assert_eq!((text(&joined, "as").as_str(), text(&joined, "tracker")), ("h", net.addr.clone()));
    let sharing = holder.event("sharing");
    let (id, ticket) = (text(&sharing, "id"), text(&sharing, "ticket"));
    assert!(
        ticket.starts_with(&format!("potluck:{id}?kind=file&name=some%20file.txt&size=300000")),
        "{ticket}"
    );
    for (getter, what) in [("a", "some file.txt"), ("b", &id), ("c", &id[..8]), ("d", &ticket)] {
        let ran = net.get(getter, what, &[]).ran();
        assert_eq!(ran.code, Some(0), "{what}: {}", ran.stderr);
        assert_eq!(b3sum(&net.got(getter, "some file.txt")), id);
    }
    let near = net.ask(&["get", "some fil.txt", "--out", "e/"]);
    assert_eq!(near.code, Some(3));
    assert!(near.stderr.contains("some file.txt"), "suggested: {}", near.stderr);
    assert!(!net.got("e", "").exists(), "nothing is begun for what is not found");
}

#[test]
fn a_ticket_needs_no_tracker() {
    let net = Net::without_tracker();
    let path = net.file("src/f", 3 * MIB, 1);
    let mut holder = net.serving("h", &["share", path.to_str().unwrap()]);
    let ticket = text(&holder.event("sharing"), "ticket");
    let ran = net.run(&["get", &ticket, "--out", "g/", "--listen", "127.0.0.1:0"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(b3sum(&net.got("g", "f")), b3sum(&path));
}

#[test]
fn tickets_carry_no_loopback_address_where_there_is_another() {
    let net = Net::new();
    let path = net.file("src/f", 10, 1);
    let words = ["share", path.to_str().unwrap(), "--as", "h", "--tracker", &net.addr];
    let mut holder = net.node("h", &words);
    let ticket = text(&holder.event("sharing"), "ticket");
    let elsewhere = if_addrs::get_if_addrs().unwrap().iter().any(|interface| match interface.ip() {
        std::net::IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        std::net::IpAddr::V6(_) => false,
    });
    assert!(ticket.contains("&peer="), "{ticket}");
    assert!(!elsewhere || !ticket.contains("127.0.0.1"), "{ticket}");
}

#[test]
fn one_name_of_two_contents_is_never_guessed() {
    let net = Net::new();
    let (one, two) = (net.file("one/f", 300_000, 1), net.file("two/f", 300_000, 2));
    let (_a, id_one) = net.share("a", &one, &[]);
    let (_b, id_two) = net.share("b", &two, &[]);
    assert_eq!(net.ask(&["list"]).all("content").count(), 2);
    let ran = net.get("g", "f", &[]).ran();
    assert_eq!(ran.code, Some(5));
    let error = ran.one("error");
    assert_eq!(error["candidates"].as_array().unwrap().len(), 2);
    assert!(ran.stderr.contains(&id_one) && ran.stderr.contains(&id_two), "{}", ran.stderr);
    for (getter, id) in [("g1", &id_one), ("g2", &id_two)] {
        assert_eq!(net.get(getter, id, &[]).ran().code, Some(0));
        assert_eq!(&b3sum(&net.got(getter, "f")), id);
    }
}

#[test]
fn out_is_a_folder_or_the_targets_own_path() {
    let net = Net::new();
    let path = net.file("src/f", 300_000, 1);
    let (_holder, id) = net.share("h", &path, &[]);
    let get = |out: &str| {
        let ran = net.ask(&["get", &id, "--out", out, "--listen", "127.0.0.1:0"]);
        assert_eq!(ran.code, Some(0), "{out}: {}", ran.stderr);
    };
    fs::create_dir(net.dir.path().join("there")).unwrap();
    for (out, lands) in
        [("there", "there/f"), ("made/here/", "made/here/f"), ("own.name", "own.name"), (".", "f")]
    {
        get(out);
        assert_eq!(b3sum(&net.dir.path().join(lands)), id, "{out}");
    }
    let ran = net.ask(&["get", &id, "--out", "no/such", "--listen", "127.0.0.1:0"]);
    assert_eq!(ran.code, Some(1));
}

#[test]
fn what_stands_there_is_done_or_refused_but_never_replaced() {
    let net = Net::new();
    let path = net.file("src/f", MIB, 1);
    let (_holder, id) = net.share("h", &path, &[]);
    let same = net.file("same/f", MIB, 1);
    let other = net.file("other/f", MIB, 2);
    let ran = net.get("same", &id, &[]).ran();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(sources(ran.one("done")).is_empty(), "nothing was fetched");
    let before = b3sum(&other);
    let ran = net.get("other", &id, &[]).ran();
    assert_eq!((ran.code, b3sum(&other)), (Some(1), before), "{}", ran.stderr);
    assert_eq!((b3sum(&same), leftovers(other.parent().unwrap()).len()), (id, 0));
}

#[test]
fn a_folder_arrives_as_it_was() {
    let net = Net::new();
    for (path, bytes) in
        [("a.txt", 10), ("deep/er/b.bin", 700_000), ("deep/empty", 0), ("deep/twin", 10), ("run.sh", 20)]
    {
        net.file(&format!("src/tree/{path}"), bytes, bytes);
    }
    let root = net.dir.path().join("src/tree");
    fs::create_dir_all(root.join("nothing/in here")).unwrap();
    fs::set_permissions(root.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    let (_holder, id) = net.share("h", &root, &[]);
    let rows = net.ask(&["list"]);
    let row = rows.one("content");
    assert_eq!((text(row, "kind").as_str(), text(row, "name").as_str()), ("folder", "tree"));
    assert_eq!(number(row, "bytes"), 700_040, "a folder's size is that of its files");
    assert!(net.ask(&["list", "--files"]).all("content").count() > 4, "every file is a row");
    let ran = net.get("g", "tree", &[]).ran();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(text(ran.one("done"), "id"), id);
    assert_eq!(tree(&net.got("g", "tree")), tree(&root));
    assert!(leftovers(&net.got("g", "")).is_empty());
}

#[test]
fn thousands_of_small_files_are_one_download() {
    let net = Net::new();
    for number in 0..3000 {
        net.file(&format!("src/many/{}/{number}", number % 17), 4096, number);
    }
    let root = net.dir.path().join("src/many");
    let (_holder, _) = net.share("h", &root, &[]);
    let ran = net.get("g", "many", &[]).ran();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(tree(&net.got("g", "many")), tree(&root));
}

#[test]
fn downloaders_serve_each_other_while_they_download() {
    let net = Net::new();
    let path = net.file("src/f", 24 * MIB, 1);
    let (mut holder, id) = net.share("h", &path, &["--limit-up", "12M"]);
    let mut getters: Vec<_> = (0..6).map(|n| net.get(&format!("g{n}"), &id, &["--stay"])).collect();
    let mut by_holder = 0;
    for getter in &mut getters {
        let done = getter.done();
        by_holder += sources(&done).iter().find(|(name, _)| name == "h").map_or(0, |(_, bytes)| *bytes);
    }
    let total = 6 * 24 * MIB;
    assert!(by_holder <= total / 2, "the holder delivered {by_holder} of {total}");
    holder.kill();
    let ran = net.get("late", &id, &[]).ran();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(b3sum(&net.got("late", "f")), id);
}

#[test]
fn stay_goes_on_serving_until_interrupted() {
    let net = Net::new();
    let path = net.file("src/f", MIB, 1);
    let (mut holder, id) = net.share("h", &path, &[]);
    let mut first = net.get("first", &id, &["--stay"]);
    first.done();
    net.until_holders(&id, &["first", "h"]);
    assert_eq!(holder.terminate(), Some(0));
    net.until_holders(&id, &["first"]);
    let second = net.get("second", &id, &[]).ran();
    assert_eq!(second.code, Some(0), "{}", second.stderr);
    assert_eq!(sources(second.one("done")), [("first".to_owned(), MIB)]);
    assert_eq!(first.terminate(), Some(0));
}

#[test]
fn once_ends_after_one_complete_delivery() {
    let net = Net::new();
    for (name, bytes) in [("f", MIB), ("empty", 0)] {
        let path = net.file(&format!("src/{name}"), bytes, 1);
        let (mut holder, id) = net.share("h", &path, &["--once"]);
        assert_eq!(net.get("g", &id, &[]).ran().code, Some(0));
        assert_eq!(holder.wait().code(), Some(0), "{name}: {}", holder.told());
    }
}

#[test]
fn lists_tell_what_is_there() {
    let net = Net::new();
    let path = net.file("src/Report 2026.pdf", 2 * MIB, 1);
    let (_holder, id) = net.share("h", &path, &[]);
    for words in
        [&["list", "--holders"][..], &["search", "port", "--holders"], &["search", "*2026*", "--holders"]]
    {
        let ran = net.ask(words);
        let row = ran.one("content");
        assert_eq!((text(row, "id"), text(row, "name")), (id.clone(), "Report 2026.pdf".to_owned()));
        assert_eq!((number(row, "bytes"), number(row, "complete"), number(row, "partial")), (2 * MIB, 1, 0));
        assert_eq!(row["holders"][0], "h");
    }
    assert_eq!(net.ask(&["search", "nothing like it"]).events.len(), 0);
    let ran = net.ask(&["info", &id[..10]]);
    let info = ran.one("info");
    assert_eq!((number(info, "pieces"), number(info, "piece_bytes")), (8, PIECE));
    let ran = net.ask(&["holders", &id]);
    let holder = ran.one("holder");
    assert_eq!(
        (holder["complete"].as_bool(), number(holder, "pieces"), number(holder, "of")),
        (Some(true), 8, 8)
    );
    assert!(text(holder, "addr").parse::<std::net::SocketAddr>().is_ok());
    assert_eq!(text(net.ask(&["peers"]).one("peer"), "peer"), "h");
    let shown = net.typed(&["list", "--tracker", &net.addr]).stdout;
    assert!(
        shown.contains("Report 2026.pdf") && shown.contains("2.00 MiB") && shown.contains(&id[..12]),
        "{shown}"
    );
}

#[test]
fn peers_watch_tells_who_comes_and_goes() {
    let net = Net::new();
    let mut watch = net.node("watch", &["peers", "--watch", "--tracker", &net.addr]);
    let path = net.file("src/f", 10, 1);
    let (mut holder, _) = net.share("h", &path, &[]);
    assert_eq!(text(&watch.event("peer"), "peer"), "h");
    assert_eq!(holder.terminate(), Some(0));
    assert_eq!(text(&watch.event("left"), "peer"), "h");
    assert_eq!(watch.terminate(), Some(0));
}

#[test]
fn people_read_words_and_pipes_read_results() {
    let net = Net::new();
    let path = net.file("src/f", MIB, 1);
    let (_holder, id) = net.share("h", &path, &[]);
    let ran = net.typed(&["get", &id, "--tracker", &net.addr, "--listen", "127.0.0.1:0"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.contains("1.00 MiB") && ran.stdout.contains("from h 100%"), "{}", ran.stdout);
    assert!(
        !ran.stdout.contains('\u{1b}') && !ran.stderr.contains('\u{1b}'),
        "no bars where there is no terminal"
    );
    let mut child =
        net.bare(&["share", path.to_str().unwrap(), "--listen", "127.0.0.1:0", "--tracker", &net.addr]);
    let mut child =
        child.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line)
        .unwrap();
    assert!(line.starts_with(&format!("potluck:{id}?")), "the first line of a pipe is the ticket: {line}");
    child.kill().unwrap();
    child.wait().unwrap();
    until("the second holder is gone", || net.holders(&id) == ["h"]);
}
