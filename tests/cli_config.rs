//! Defaults from the environment and the configuration file, and what is made from the definition of the command line.

mod support;

use std::fs;

use support::processes::{Net, number, text};

fn configure(net: &Net, text: &str) {
    fs::write(net.path("config/potluck/config.toml"), text).expect("a configuration");
}

#[test]
fn flags_win_over_the_environment_and_the_environment_over_the_file() {
    let net = Net::new();
    let path = net.file("src/f", 10, 1);
    let (_holder, id) = net.share("h", &path, &[]);
    configure(&net, &format!("tracker = \"{}\"", net.addr));
    assert_eq!(net.run(&["list"]).all("content").count(), 1, "from the file");
    let mut list = net.bare(&["list", "--json"]);
    let output = list.env("POTLUCK_TRACKER", "127.0.0.1:9").output().unwrap();
    assert_eq!(output.status.code(), Some(6), "the environment wins over the file");
    let mut list = net.bare(&["list", "--json", "--tracker", &net.addr]);
    let output = list.env("POTLUCK_TRACKER", "127.0.0.1:9").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "a flag wins over the environment");
    let mut list = net.bare(&["list", "--json"]);
    let output = list.env("POTLUCK_CONFIG", "").output().unwrap();
    // At the usual address there is mostly nobody; there may be another tracker, which does not know it.
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!told.contains(&id), "without the file: {told}");
}

#[test]
fn the_file_names_the_peer_and_the_folder() {
    let net = Net::new();
    let path = net.file("src/f", 10, 1);
    let (_holder, id) = net.share("h", &path, &[]);
    let out = net.dir.path().join("downloads/");
    configure(
        &net,
        &format!("tracker = \"{}\"\nas = \"me\"\nlisten = \"127.0.0.1:0\"\nout = {out:?}", net.addr),
    );
    let ran = net.run(&["get", &id]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(text(ran.one("joined"), "as"), "me");
    assert!(out.join("f").exists());
}

/// A peer that runs under the configured name has it.
#[test]
fn beside_a_peer_of_ones_own_others_take_a_name_like_it() {
    let net = Net::new();
    let path = net.file("src/f", 10, 1);
    let _me = net.shell("me", &[]);
    let (_holder, id) = net.share("h", &path, &[]);
    configure(&net, &format!("tracker = \"{}\"\nas = \"me\"\nlisten = \"127.0.0.1:0\"", net.addr));
    let ran = net.run(&["get", &id, "--out", "one/"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let taken = text(ran.one("joined"), "as");
    assert!(taken.starts_with("me") && taken != "me", "{taken}");
    let mut get = net.bare(&["get", &id, "--out", "two/", "--json"]);
    assert_eq!(get.env("POTLUCK_AS", "h").output().unwrap().status.code(), Some(0), "from the environment");
    assert_eq!(
        net.run(&["get", &id, "--out", "three/", "--as", "me"]).code,
        Some(1),
        "who types it, means it"
    );
    assert_eq!(net.run(&["peer", "--dir", "four"]).code, Some(1), "a peer is found by its name");
}

#[test]
fn a_wrong_variable_is_blamed_and_an_empty_one_is_none() {
    let net = Net::new();
    configure(&net, &format!("tracker = \"{}\"", net.addr));
    let stderr = |words: &[&str], name: &str, value: &str| {
        let output = net.bare(words).env(name, value).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, told) = stderr(&["get", "x"], "POTLUCK_LISTEN", "bad");
    assert!(code == Some(2) && told.contains("'POTLUCK_LISTEN'") && !told.contains("--listen"), "{told}");
    let (code, told) = stderr(&["get", "x", "--listen=worse"], "POTLUCK_LISTEN", "bad");
    assert!(code == Some(2) && told.contains("'worse' for '--listen <ADDR>'"), "{told}");
    let (code, told) = stderr(&["list", "--no-such"], "POTLUCK_TRACKER", &net.addr);
    assert!(code == Some(2) && told.contains("Usage: potluck list [OPTIONS]\n"), "{told}");
    for name in ["POTLUCK_TRACKER", "POTLUCK_COLOR"] {
        let (code, told) = stderr(&["list"], name, "");
        assert!(code == Some(0) && told.starts_with("Nothing is shared"), "{name}: {told}");
    }
}

#[test]
fn a_wrong_file_is_a_usage_error_that_says_what_is_wrong() {
    let net = Net::without_tracker();
    for (config, words) in [
        ("trakcer = \"x\"", &["config.toml", "trakcer", "`tracker`"][..]),
        ("limit_up = \"fast\"", &["limit_up", "bytes per second"]),
        ("tracker = ", &["config.toml", "line 1"]),
        ("color = \"blue\"", &["config.toml", "`color`: `blue` is none of auto, always, never"]),
        ("[network]\ntracker = \"x\"", &["network"]),
    ] {
        configure(&net, config);
        let ran = net.run(&["hash", "x"]);
        assert_eq!((ran.code, number(ran.one("error"), "code")), (Some(2), 2), "{config}");
        assert!(words.iter().all(|word| ran.stderr.contains(word)), "{config}: {}", ran.stderr);
        assert_eq!(net.typed(&["--help"]).code, Some(0), "help is there all the same");
    }
    let mut hash = net.bare(&["hash", "x"]);
    let output = hash.env("POTLUCK_CONFIG", "/no/such/file.toml").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/no/such/file.toml"));
}

#[test]
fn shells_and_man_get_their_pages() {
    let net = Net::without_tracker();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = net.typed(&["completions", shell]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert!(ran.stdout.contains("max-holders"), "{shell}");
    }
    assert_eq!(net.typed(&["completions", "nosuch"]).code, Some(2));
    let page = net.typed(&["man"]).stdout;
    assert!(page.starts_with(".ie") && page.contains("potluck"), "{page}");
    assert!(net.typed(&["man", "get"]).stdout.contains("include"));
    assert!(net.typed(&["man", "sim", "run"]).stdout.contains("holder"));
    assert_eq!(net.typed(&["man", "sim", "nosuch"]).code, Some(2));
    assert_eq!(net.typed(&["man", "nosuch"]).code, Some(2));
    assert_eq!(net.typed(&["man", "--out", "pages"]).code, Some(0));
    for page in ["potluck.1", "potluck-get.1", "potluck-share.1", "potluck-sim-run.1"] {
        assert!(net.dir.path().join("pages").join(page).is_file(), "{page}");
    }
}

#[test]
fn colours_follow_the_flag() {
    let net = Net::without_tracker();
    let shown = |words: &[&str]| net.typed(words).stderr;
    assert!(!shown(&["hash", "nosuch"]).contains('\u{1b}'), "no terminal");
    assert!(shown(&["hash", "nosuch", "--color", "always"]).contains('\u{1b}'));
    assert!(shown(&["nosuch", "--color=always"]).contains('\u{1b}'));
    assert!(!shown(&["hash", "nosuch", "--color", "never"]).contains('\u{1b}'));
}
