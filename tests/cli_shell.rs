//! The shell of a peer from a pipe, and its folder: what is typed, what is said, and what others see.

mod support;

use std::fs::{self, File};
use std::io::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use support::processes::{Net, b3sum, content, leftovers, text, until};

const MIB: u64 = 1 << 20;

#[test]
fn without_terminal_or_pipe_it_runs_until_it_is_told_to_leave() {
    let net = Net::new();
    net.file("s/f", 10, 1);
    for signal in [Signal::TERM, Signal::INT] {
        let serve = ["peer", "--dir", "s", "--as", "s", "--listen", "127.0.0.1:0", "--tracker", &net.addr];
        let mut child = net.bare(&serve).stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        net.until_holders("f", &["s"]);
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert_eq!(net.ask(&["list"]).all("content").count(), 0, "it left in order");
    }
}

#[test]
fn at_the_end_of_a_script_downloads_are_waited_for() {
    let net = Net::new();
    let source = net.file("a/f", 8 * MIB, 1);
    let _a = net.shell("a", &["--limit-up", "4M"]);
    net.until_holders("f", &["a"]);
    let mut b = net.shell("b", &[]);
    b.types("get f");
    b.end_of_input();
    assert_eq!(b.code(), Some(0));
    assert_eq!(b3sum(&net.of("b", "f")), b3sum(&source));
    assert!(leftovers(&net.dir.path().join("b")).is_empty());
}

#[test]
fn programs_are_told_by_events() {
    let net = Net::new();
    net.file("a/f", MIB, 1);
    let _a = net.shell("a", &[]);
    net.until_holders("f", &["a"]);
    let serve = ["--as", "b", "--listen", "127.0.0.1:0", "--tracker", &net.addr];
    let mut command = net.bare(&[&["--json", "peer", "--dir", "b"], &serve[..]].concat());
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"list\nget f\nwait f\nlocal\nget none\nbad\nlimit down 1M\nquit\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3), "that of the first failure");
    let lines = String::from_utf8(output.stdout).unwrap();
    let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let all = |kind: &str| events.iter().filter(|event| event["event"] == kind).collect::<Vec<_>>();
    assert_eq!(events[0]["event"], "listening", "{lines}");
    assert_eq!(text(all("joined")[0], "as"), "b");
    assert_eq!(text(all("content")[0], "name"), "f");
    assert_eq!(
        (text(all("fetching")[0], "name"), all("fetching")[0]["holders"].as_u64()),
        ("f".into(), Some(1))
    );
    assert_eq!(all("done").len(), 1);
    assert_eq!(all("limits")[0]["down"], MIB);
    let answered: Vec<_> = all("answered").into_iter().map(|event| text(event, "command")).collect();
    assert_eq!(answered, ["list", "get f", "wait f", "local", "limit down 1M"]);
    let errors: Vec<_> =
        all("error").into_iter().map(|e| (e["code"].as_u64().unwrap(), e["command"].as_str())).collect();
    assert_eq!(errors, [(3, Some("get none")), (2, Some("bad")), (3, None)]);
}

#[test]
fn what_failed_of_a_script_makes_its_exit_code() {
    let net = Net::new();
    net.file("a/f", 1000, 1);
    net.file("a/big", 8 * MIB, 2);
    let _a = net.shell("a", &["--limit-up", "1M"]);
    net.until_holders("f", &["a"]);
    net.until_holders("big", &["a"]);
    for (number, (script, code)) in [
        ("get f\n", 0),
        ("get nosuch\n", 3),
        ("get nosuch\nget f\nwait\nquit\n", 3),
        ("gte f\nlist\n", 2),
        ("get big\nstop big\n", 4),
        ("get big\nleave\n", 4),
        ("get big\nquit\n", 4),
    ]
    .into_iter()
    .enumerate()
    {
        let mut shell = net.shell(&format!("s{number}"), &["--no-share"]);
        shell.types(script.trim_end()).end_of_input();
        assert_eq!(shell.code(), Some(code), "{script}{}", shell.told());
    }
    // Something else stands there: however soon that shows.
    for (name, pause) in [("t0", 0), ("t1", 400)] {
        net.file(&format!("{name}/f"), 10, 9);
        let mut shell = net.shell(name, &["--no-share"]);
        shell.types("get f").says(&["Fetching"]);
        std::thread::sleep(Duration::from_millis(pause));
        shell.end_of_input();
        assert_eq!(shell.code(), Some(1), "{}", shell.told());
    }
}

#[test]
fn a_choice_that_a_script_does_not_make_is_a_failure() {
    let net = Net::new();
    net.file("a/f", 1000, 1);
    net.file("a/same", 1000, 2);
    net.file("b/same", 1000, 3);
    let (_a, _b) = (net.shell("a", &[]), net.shell("b", &[]));
    net.until_holders("f", &["a"]);
    until("both are listed", || net.ask(&["list"]).all("content").count() == 3);
    for (number, (script, code)) in [
        ("get same", 5),
        ("get same\n9\n9\n9", 5),
        ("get same\ncancel", 0),
        ("get f --choose", 1),
        ("get f --choose\ncancel", 0),
    ]
    .into_iter()
    .enumerate()
    {
        let mut shell = net.shell(&format!("s{number}"), &["--no-share"]);
        shell.types(script).end_of_input();
        assert_eq!(shell.code(), Some(code), "{script}\n{}", shell.told());
        assert!(shell.has_said("Nothing is fetched."), "{script}\n{}", shell.told());
    }
}

#[test]
fn of_those_to_fetch_from_somebody_must_be_here_and_have_it() {
    let net = Net::new();
    net.file("anna/f", 1000, 1);
    let _anna = net.shell("anna", &[]);
    let _idle = net.shell("idle", &[]);
    net.until_holders("f", &["anna"]);
    for (number, (script, code, says)) in [
        ("get f --from ana", 3, &["no other peer is called `ana`", "  anna"][..]),
        ("get f --from s1 x", 3, &["no other peer is called `s1` or `x`"]),
        ("get f --from ana,nna", 3, &["no other peer is called `ana` or `nna`", "  anna"]),
        ("get f --from ana,anna", 0, &["No peer is called `ana` at present. Did you mean anna?"]),
        ("get f --from idle", 4, &["f is not complete: no holder is in reach", "Only idle was asked"]),
        ("get f --from idle\nwait", 4, &["f is not complete: no holder is in reach"]),
        ("get f --from idle\nwait\nstop", 4, &["f is not complete: no holder is in reach", "f is stopped"]),
    ]
    .into_iter()
    .enumerate()
    {
        let mut shell = net.shell(&format!("s{number}"), &["--no-share", "--wait", "1"]);
        shell.types(script).end_of_input();
        assert_eq!(shell.code(), Some(code), "{script}\n{}", shell.told());
        for words in says {
            let told = shell.since().iter().filter(|line| line.contains(words)).count();
            assert_eq!(told, 1, "{words}\n{}", shell.told());
        }
    }
}

#[test]
fn a_folder_on_its_way_is_listed_as_one_and_nothing_is_done_at_once() {
    let net = Net::new();
    net.file("a/tree/one", 4 * MIB, 1);
    net.file("a/tree/two", 4 * MIB, 2);
    net.file("a/empty", 0, 0);
    let _a = net.shell("a", &["--limit-up", "1M"]);
    net.until_holders("tree", &["a"]);
    net.until_holders("empty", &["a"]);
    let mut b = net.shell("b", &[]);
    b.types("get empty tree").says(&["Fetching tree"]);
    b.until_percent("tree", 10);
    let row = |list: &str, name: &str| {
        list.lines().find(|line| line.starts_with(name)).map(str::to_owned).unwrap_or_default()
    };
    let downloads = b.answers("downloads");
    assert!(row(&downloads, "empty").contains("100%"), "{downloads}");
    for (line, how) in [("local", "on its way"), ("stop tree", ""), ("local", "stopped")] {
        let said = b.answers(line);
        let row = row(&said, "tree/");
        assert!(how.is_empty() || (row.contains("8.00 MiB") && row.contains(how)), "{said}");
    }
    b.quits();
    // Its listing is not read before it goes on.
    let local = net.shell("b", &[]).answers("local");
    assert!(row(&local, "tree/").contains('?'), "{local}");
}

#[test]
fn what_is_shared_by_name_is_told_once() {
    let net = Net::new();
    net.file("a/f", 1000, 1);
    let mut a = net.shell("a", &[]);
    net.until_holders("f", &["a"]);
    a.answers("unshare f");
    a.answers("share f");
    // What comes later than a shell's news has a say after them.
    net.file("a/g", 1000, 2);
    a.says(&["Sharing g"]);
    assert!(!a.told().contains("Sharing f "), "{}", a.told());
}

#[test]
fn what_happens_in_the_folder_reaches_the_tracker_by_itself() {
    let net = Net::new();
    let mut a = net.shell("a", &[]);
    let ids = || -> Vec<String> { net.ask(&["list"]).all("content").map(|row| text(row, "id")).collect() };
    let path = net.file("a/f", 1000, 1);
    let wrote = Instant::now();
    until("f is listed", || ids() == [b3sum(&path)]);
    // Two seconds are promised; a busy machine may take a little longer to run the one who looks.
    assert!(wrote.elapsed() < Duration::from_secs(4), "{:?}", wrote.elapsed());
    a.says(&["Sharing f"]);
    fs::write(&path, content(2000, 2)).unwrap();
    until("the new f is listed", || ids() == [b3sum(&path)]);

    let mut slow = File::create(net.of("a", "slow")).unwrap();
    let (halves, half) = (content(2000, 3), 1000);
    slow.write_all(&halves[..half]).unwrap();
    let other = net.file("a/other", 1000, 4);
    until("other is listed", || ids().contains(&b3sum(&other)));
    a.answers("refresh");
    assert_eq!(ids().len(), 2, "half of a file is nobody's");
    slow.write_all(&halves[half..]).unwrap();
    drop(slow);
    until("slow is listed whole", || ids().contains(&b3sum(&net.of("a", "slow"))));

    fs::remove_file(&path).unwrap();
    a.says(&["f is gone"]);
    until("f is not listed", || ids().len() == 2);
    fs::rename(net.of("a", "slow"), net.of("a", "quick")).unwrap();
    until("it goes by its new name", || {
        let ran = net.ask(&["list"]);
        let mut names: Vec<_> = ran.all("content").map(|row| text(row, "name")).collect();
        names.sort();
        names == ["other", "quick"]
    });
    assert!(a.answers("local").contains("quick"));
}

#[test]
fn what_is_shared_from_elsewhere_is_looked_after_too() {
    let net = Net::new();
    let far = net.file("elsewhere/far", 30, 1);
    net.file("elsewhere/tree/leaf", 40, 2);
    let mut a = net.shell("a", &[]);
    let listed = || -> Vec<(String, String)> {
        net.ask(&["list"]).all("content").map(|row| (text(row, "name"), text(row, "id"))).collect()
    };
    a.types("share elsewhere/far").says(&["far is shared"]);
    a.types("share elsewhere/tree").says(&["tree is shared"]);
    fs::write(&far, content(50, 3)).unwrap();
    a.says(&["Sharing far (50 B"]);
    until("far is listed as what it is", || listed().contains(&("far".to_owned(), b3sum(&far))));
    let local = a.answers("local");
    assert!(local.lines().any(|row| row.contains("/far ") && row.contains(&b3sum(&far)[..12])), "{local}");
    fs::write(net.path("elsewhere/tree/leaf"), content(60, 4)).unwrap();
    a.says(&["Sharing tree (60 B"]);
    net.file("elsewhere/tree/twig", 5, 5);
    a.says(&["Sharing tree (65 B"]);
    fs::remove_file(&far).unwrap();
    a.says(&["far is gone, and shared no longer."]);
    until("far is not listed", || listed().iter().all(|(name, _)| name == "tree"));
    let local = a.answers("local");
    assert!(local.contains("tree") && !local.contains("/far "), "{local}");
    assert_eq!(a.answers("unshare far").matches("there is no far here").count(), 1, "{}", a.told());
}

#[test]
fn what_was_downloaded_is_shared_from_wherever_it_stands_and_can_be_unshared() {
    let net = Net::new();
    net.file("a/near", 1000, 1);
    net.file("a/far", 1000, 2);
    net.file("a/tree/leaf", 1000, 3);
    let _a = net.shell("a", &[]);
    net.until_holders("tree", &["a"]);
    let mut b = net.shell("b", &["--no-share"]);
    let out = net.path("elsewhere/far");
    b.types("get near tree").says(&["Fetching tree"]);
    b.types(&format!("get far --out {}", out.display())).says(&["Fetching far"]);
    b.types("wait").is_done();
    for name in ["near", "tree", "far"] {
        net.until_holders(name, &["a", "b"]);
        until(&format!("{name} is said to be shared\n{}", b.told()), || {
            let local = b.answers("local");
            local.lines().any(|row| row.contains(name) && row.contains("shared, id"))
        });
        b.types(&format!("unshare {name}")).says(&["is shared no longer", "off its list"]);
        net.until_holders(name, &["a"]);
    }
    let local = b.answers("local");
    assert_eq!(local.matches("not shared").count(), 2, "{local}");
}

#[test]
fn what_is_unshared_stays_so_and_what_is_shared_is_said_to_be() {
    let net = Net::new();
    net.file("a/keep", 10, 1);
    net.file("a/hide", 20, 2);
    net.file("elsewhere/far", 30, 3);
    let mut a = net.shell("a", &[]);
    net.until_holders("hide", &["a"]);
    a.types("unshare hide").says(&["hide is shared no longer"]);
    a.types("unshare hide").says(&["was not shared"]);
    a.types("share nothing").says(&["cannot share nothing"]);
    a.types("unshare hde").says(&["there is no hde here"]);
    assert!(a.has_said("  hide"), "a near name is suggested\n{}", a.told());
    a.types("share elsewhere/far").says(&["far is shared"]);
    a.types("share elsewhere/far").says(&["already shared"]);
    net.until_holders("far", &["a"]);
    a.types("unshare far").says(&["far is shared no longer"]);
    assert!(a.answers("refresh").contains("keep"));
    assert!(!a.has_said("hide"), "a rescan changes nothing");
    a.quits();
    let mut a = net.shell("a", &[]);
    let local = a.answers("local");
    assert!(local.lines().any(|row| row.starts_with("hide") && row.contains("not shared")), "{local}");
    assert_eq!(net.ask(&["list"]).all("content").count(), 1);
    a.types("share hide").says(&["hide is shared", "registered"]);
    net.until_holders("hide", &["a"]);
}

#[test]
fn a_third_fetches_from_the_second_when_the_first_is_gone() {
    let net = Net::new();
    let source = net.file("a/f", 3 * MIB, 1);
    let mut a = net.shell("a", &[]);
    net.until_holders("f", &["a"]);
    let mut b = net.shell("b", &[]);
    b.types("get f").adds("wait").says(&["f is registered"]);
    a.kill();
    let mut c = net.shell("c", &[]);
    c.types("get f").says(&["1 holder"]);
    c.adds("wait").says(&["f", "from b"]);
    assert_eq!(b3sum(&net.of("c", "f")), b3sum(&source));
    b.says(&["c is done with f", "all of it"]);
}

/// `list` and `local` show folders with one.
#[test]
fn a_slash_behind_its_name_means_the_folder() {
    let net = Net::new();
    for file in ["a/tree/x", "a/nest/y", "outside/far/z"] {
        net.file(file, 1000, 1);
    }
    let mut a = net.shell("a", &[]);
    net.until_holders("tree", &["a"]);
    net.until_holders("nest", &["a"]);
    a.types("share nest/").says(&["nest is already shared"]);
    a.types("unshare nest/").says(&["is shared no longer"]);
    a.types("share nest/").says(&["nest is shared"]);
    let local = a.answers("local");
    assert_eq!(local.lines().filter(|line| line.starts_with("nest")).count(), 1, "{local}");
    let far = net.path("outside/far/");
    a.types(&format!("share {}/", far.to_str().unwrap().trim_end_matches('/'))).says(&["far is shared"]);
    a.types("unshare far/").says(&["far/ is shared no longer"]);
    for verb in ["info", "holders"] {
        assert_eq!(net.ask(&[verb, "tree/"]).code, Some(0), "{verb}");
    }
    assert_eq!(net.get("g", "tree/", &[]).ran().code, Some(0));
    let mut b = net.shell("b", &[]);
    b.types("info tree/").says(&["kind", "folder"]);
    b.types("get tree/").says(&["Fetching tree"]);
    b.adds("wait tree/").is_done();
    assert_eq!(b3sum(&net.of("b", "tree/x")), b3sum(&net.of("a", "tree/x")));
    assert_eq!(b.quits(), Some(0));
}

#[test]
fn without_a_tracker_nothing_is_asked_of_it_and_no_more_is_promised_than_is_done() {
    let mut net = Net::new();
    net.file("a/file.txt", 1000, 1);
    let _a = net.shell("a", &[]);
    net.until_holders("file.txt", &["a"]);
    let mut b = net.shell("b", &[]);
    b.types("get file.txt").says(&["file.txt is registered"]);
    b.types("join nosuch.invalid:7400").says(&["nosuch.invalid"]);
    b.says(&["Nothing has changed"]);
    b.is_done();
    assert!(!b.has_said("tried on"), "{}", b.told());
    b.types("get nosuch").says(&["nobody shares `nosuch`"]);
    b.says(&["`list` shows what is shared."]);
    net.tracker().kill();
    b.says(&["does not answer; trying on"]);
    let typed = Instant::now();
    b.types("get nosuch").says(&["no peer that is known has `nosuch`"]);
    assert!(typed.elapsed() < Duration::from_secs(5), "{:?}", typed.elapsed());
    for line in ["list", "search f", "peers", "holders f", "info f"] {
        b.types(line).says(&["It is tried on in the background"]);
    }
}

#[test]
fn of_several_that_are_wanted_those_that_are_found_are_fetched() {
    let net = Net::new();
    let (one, two) = (net.file("a/one", 1000, 1), net.file("a/two", 1000, 2));
    let _a = net.shell("a", &[]);
    net.until_holders("one", &["a"]);
    net.until_holders("two", &["a"]);
    let mut b = net.shell("b", &[]);
    b.types("get one nosuch two neither").says(&["nobody shares `neither`"]);
    assert!(b.has_said("nobody shares `nosuch`"), "{}", b.told());
    b.is_done();
    b.adds("wait").is_done();
    assert_eq!(b3sum(&net.of("b", "one")), b3sum(&one));
    assert_eq!(b3sum(&net.of("b", "two")), b3sum(&two));
}

#[test]
fn of_several_with_one_name_the_person_chooses() {
    let net = Net::new();
    let one = net.file("a/same", 1000, 1);
    net.file("b/same", 2000, 2);
    let (_a, _b) = (net.shell("a", &[]), net.shell("b", &[]));
    until("both are listed", || net.ask(&["list"]).all("content").count() == 2);
    let mut c = net.shell("c", &[]);
    c.types("get same").says(&["`same` means several contents"]);
    for wrong in ["0", "3", "same"] {
        c.types(wrong).says(&["none of them"]);
    }
    c.says(&["Nothing is fetched"]);
    c.types("get same").says(&["several contents"]);
    c.types(&b3sum(&one)[..12]).says(&["Fetching same"]);
    c.adds("wait").says(&["from a"]);
    assert_eq!(b3sum(&net.of("c", "same")), b3sum(&one));
    c.types("info same").says(&["means several contents"]);
}

#[test]
fn a_copy_in_the_folder_is_found_by_its_own_name() {
    let net = Net::new();
    let source = net.file("a/first", 1000, 1);
    let mut a = net.shell("a", &[]);
    net.until_holders("first", &["a"]);
    for copy in ["copy", "zcopy"] {
        std::fs::copy(&source, net.of("a", copy)).unwrap();
    }
    let listed =
        || -> Vec<String> { net.ask(&["list"]).all("content").map(|row| text(row, "name")).collect() };
    until("all three are listed", || listed() == ["copy", "first", "zcopy"]);
    assert_eq!(net.holders("zcopy"), ["a"]);
    net.get("typed", "zcopy", &[]).done();
    assert_eq!(b3sum(&net.got("typed", "zcopy")), b3sum(&source));
    a.types("unshare copy").says(&["copy is shared no longer"]);
    until("it is not listed any more", || listed() == ["first", "zcopy"]);
    std::fs::remove_file(&source).unwrap();
    until("the first is gone", || listed() == ["zcopy"]);
}

#[test]
fn who_says_from_whom_says_which_of_one_name() {
    let net = Net::new();
    let (one, two) = (net.file("a/same", 1000, 1), net.file("b/same", 2000, 2));
    let (_a, _b) = (net.shell("a", &[]), net.shell("b", &[]));
    until("both are listed", || net.ask(&["list"]).all("content").count() == 2);
    net.get("typed", "same", &["--from", "b"]).done();
    assert_eq!(b3sum(&net.got("typed", "same")), b3sum(&two));
    let mut c = net.shell("c", &[]);
    c.types("get same --from a").says(&["Fetching same"]);
    c.adds("wait").is_done();
    assert_eq!(b3sum(&net.of("c", "same")), b3sum(&one));
    c.types("get same --from a,b").says(&["`same` means several contents"]);
}

#[test]
fn a_line_that_is_too_long_is_told_and_the_next_is_done() {
    let net = Net::new();
    let mut a = net.shell("a", &[]);
    a.types(&format!("get {}", "x".repeat(200_000))).says(&["a line has up to 65536 bytes"]);
    a.types("limit up 5K").says(&["up: 5.00 KiB/s"]);
    let told = a.told();
    assert_eq!(told.matches("error:").count(), 1, "{told}");
}

#[test]
fn downloads_are_stopped_paused_explained_and_go_on() {
    let net = Net::new();
    let source = net.file("a/f.bin", 12 * MIB, 1);
    let _a = net.shell("a", &["--limit-up", "2M"]);
    let _slow = {
        net.file("b/f.bin", 12 * MIB, 1);
        net.shell("b", &["--limit-up", "500K"])
    };
    net.until_holders("f.bin", &["a", "b"]);
    let mut c = net.shell("c", &[]);
    c.types("explain").says(&["nothing is being downloaded"]);
    c.types("get f.bin").says(&["2 holders"]);
    c.until_percent("f.bin", 10);
    let why = c.answers("explain f.bin");
    for words in ["HOLDER", "a ", "b ", "sends", "Bound by", "Missing: ", "pieces"] {
        assert!(why.contains(words), "{words}\n{why}");
    }
    c.types("get f.bin").says(&["being fetched already"]);
    c.types("stop").says(&["f.bin is stopped"]);
    c.types("wait f.bin").says(&["is stopped; progress is kept"]);
    c.types("downloads").says(&["f.bin", "stopped"]);
    assert!(c.answers("local").lines().any(|row| row.starts_with("f.bin") && row.contains("partial")));
    c.types("resume").says(&["f.bin goes on"]);
    c.until_percent("f.bin", 30);
    c.types("leave").says(&["One download is paused"]);
    c.types("downloads").says(&["f.bin", "paused until you join again"]);
    c.types("wait").says(&["f.bin is paused since you left the network"]);
    assert!(c.has_said("`join` goes on with it"), "{}", c.told());
    net.file("c/own", 10, 9);
    c.types("share own").says(&["own is shared", "the tracker hears of it once you `join`"]);
    c.types("list").says(&["you have left the network"]);
    c.types("join").says(&["Joined the tracker"]);
    c.adds("wait").says(&["f.bin", "12.00 MiB in"]);
    assert_eq!(b3sum(&net.of("c", "f.bin")), b3sum(&source));
    c.types("stop nosuch").says(&["`nosuch` is not being downloaded"]);
}

#[test]
fn names_rates_and_searches() {
    let net = Net::new();
    net.file("a/photo 1.jpg", 10, 1);
    net.file("a/photo 2.jpg", 20, 2);
    net.file("a/tree/inner.txt", 30, 3);
    let mut a = net.shell("a", &["--limit-up", "1M"]);
    net.until_holders("photo 1.jpg", &["a"]);
    let mut b = net.shell("b", &[]);
    assert_eq!(b.answers("search photo").matches(".jpg").count(), 2);
    assert_eq!(b.answers("search 'photo [2-9]*'").matches(".jpg").count(), 1);
    b.types("search nothing").says(&["Nothing is called like"]);
    assert!(b.answers("list").contains("tree/") && !b.has_said("inner.txt"));
    assert!(b.answers("list --files").contains("inner.txt"));
    b.types("get 'photo 1.jpg' tree").adds("wait").is_done();
    assert!(net.of("b", "tree/inner.txt").is_file() && net.of("b", "photo 1.jpg").is_file());
    a.types("limit").says(&["up: 1.00 MiB/s, down: no cap"]);
    a.types("limit up off").says(&["up: no cap"]);
    a.types("rename b").says(&["taken"]);
    a.types("rename ada").says(&["You are ada"]);
    net.until_holders("photo 2.jpg", &["ada"]);
    b.says(&["a is ada now"]);
    for (line, said) in [
        ("lisst", "'list'"),
        ("ref", "'refresh'"),
        ("dwnlds", "'downloads'"),
        ("help explain", "as fast or slow"),
        ("get 'x", "quote"),
    ] {
        b.types(line).says(&[said]);
    }
}
