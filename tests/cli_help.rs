//! The help of every verb and the common errors, word for word: a change of them shows as a diff of `snapshots/help.txt` and
//! `snapshots/errors.txt`. `UPDATE_SNAPSHOTS=1 cargo test --test cli_help` writes them anew.

mod support;

use std::fmt::Write as _;

use support::processes::{Net, Ran, text};

const VERBS: &[&[&str]] = &[
    &[],
    &["tracker"],
    &["share"],
    &["get"],
    &["peer"],
    &["push"],
    &["list"],
    &["search"],
    &["peers"],
    &["holders"],
    &["info"],
    &["hash"],
    &["demo"],
    &["sim"],
    &["sim", "run"],
    &["sim", "explore"],
    &["sim", "replay"],
    &["sim", "scenarios"],
    &["doctor"],
    &["completions"],
    &["man"],
];

fn held(name: &str, shown: &str) {
    let path = format!("{}/tests/snapshots/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        return std::fs::write(path, shown).expect("the snapshot");
    }
    let known = std::fs::read_to_string(path).unwrap_or_default();
    let differs = shown.lines().zip(known.lines()).find(|(shown, known)| shown != known);
    assert!(shown == known, "{name}.txt differs: {differs:?}; see the head of this file");
}

/// A verb as it is typed, what it says, and how it ends.
fn told(shown: &mut String, net: &Net, words: &[&str]) -> Ran {
    let ran = net.typed(words);
    writeln!(shown, "$ potluck {}", words.join(" ")).expect("memory");
    for line in ran.stdout.lines().chain(ran.stderr.lines()) {
        writeln!(shown, "{}", line.trim_end()).expect("memory");
    }
    writeln!(shown, "=> {}\n", ran.code.unwrap_or(-1)).expect("memory");
    ran
}

#[test]
fn every_verb_has_the_help_of_the_snapshot() {
    let net = Net::without_tracker();
    let mut shown = String::new();
    for verb in VERBS {
        told(&mut shown, &net, &[verb, &["--help"][..]].concat());
    }
    held("help", &shown);
}

/// Every verb of the command itself is in the list above.
#[test]
fn no_verb_is_forgotten() {
    let net = Net::without_tracker();
    let help = net.typed(&["--help"]).stdout;
    let (_, verbs) = help.split_once("Commands:\n").expect("commands");
    let verbs = verbs.lines().take_while(|line| line.starts_with("  "));
    // What goes on in the next line is indented further.
    for line in verbs.filter(|line| !line.starts_with("   ")) {
        let verb = line.split_whitespace().next().unwrap_or_default();
        assert!(verb == "help" || VERBS.contains(&&[verb][..]), "{verb}");
    }
}

#[test]
fn what_was_pasted_is_printed_escaped_by_usage_errors_too() {
    let net = Net::without_tracker();
    for pasted in ["--no\u{202e}such", "--limit-up=\u{1b}[31mfast\u{202e}"] {
        for color in ["--color=never", "--color=always"] {
            let ran = net.typed(&[color, "get", "x", pasted]);
            assert_eq!(ran.code, Some(2));
            assert!(ran.stderr.contains("\\u{202e}"), "{}", ran.stderr);
            assert!(!ran.stderr.contains(['\u{202e}', '\u{1b}']), "{}", ran.stderr);
        }
    }
    // And by every other failure, also where it is a library that words it.
    for words in [
        &["sim", "replay", "no/\u{1b}]0;such\u{202e}"][..],
        &["sim", "run", "no\u{1b}[2Jsuch\u{202e}"],
        &["get", "x", "--include", "\u{1b}[2J\u{202e}[a"],
    ] {
        let ran = net.typed(words);
        assert!(ran.stderr.contains("\\u{1b}") && ran.stderr.contains("\\u{202e}"), "{}", ran.stderr);
        assert!(!ran.stderr.contains(['\u{202e}', '\u{1b}']), "{}", ran.stderr);
    }
}

#[test]
fn common_errors_say_what_happened_and_what_to_do() {
    let net = Net::new();
    let (one, two) = (net.file("one/report.pdf", 300_000, 1), net.file("two/report.pdf", 300_000, 2));
    let (_a, _) = net.share("a", &one, &[]);
    let (_b, _) = net.share("b", &two, &[]);
    net.file("other/f", 10, 1);
    let third = net.file("three/f", 400_000, 3);
    let (_c, id) = net.share("c", &third, &[]);
    let tracker = net.addr.clone();
    let at = ["--tracker", tracker.as_str()];
    let mut shown = String::new();
    for words in [
        &["lst"][..],
        &["get"],
        &["get", "x", "--wait", "soon"],
        &["get", "potluck:zz"],
        &["get", "a", "b", "--out", "nowhere"],
        &["get", "x", "--include", "[a"],
        &["get", "a", "--out", "-", "--json"],
        &["share", "x", "--limit-up", "fast"],
        &["share", "x", "--listen", "here"],
        &["share", "nosuch"],
        &["share", "/dev/null"],
        &["peer", "--dir", "other/f"],
        &["list", "--tracker", "a b"],
        &["list", "--tracker", "127.0.0.1:9"],
        &["man", "gett"],
        &["hash", "nosuch"],
    ] {
        told(&mut shown, &net, words);
    }
    for words in [
        &["get", "reprot.pdf"][..],
        &["get", "report.pdf"],
        &["info", "deadbeef"],
        &["search", "[a"],
        &["get", &id, "--out", "other"],
        &["get", &id, "--out", "no/such/place"],
        &["get", &id, "--out", "/proc/nowhere"],
        &["get", &id, "--from", "nobody", "--wait", "0"],
        &["get", &id, "--discard"],
        &["get", &id, "--as", "a"],
        &["push", "three/f", "--to", "aa"],
    ] {
        told(&mut shown, &net, &[words, &at].concat());
    }
    assert!(text(net.ask(&["get", "nosuch"]).one("error"), "message").contains("nosuch"));
    // What differs from run to run.
    let dir = net.dir.path().display().to_string();
    let shown = shown.replace(&tracker, "TRACKER").replace(&dir, "DIR");
    held("errors", &shown);
}
