//! The same seed gives the same run, in two processes; a recording gives the same machine, however often it is replayed.
#![expect(clippy::unwrap_used, reason = "what does not work fails the test")]

use std::process::Command;

fn potluck(args: &[&str]) -> (String, bool) {
    let output = Command::new(env!("CARGO_BIN_EXE_potluck")).args(args).output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.success())
}

fn fingerprint(args: &[&str]) -> String {
    let (text, _) = potluck(args);
    let report = text.lines().find(|line| line.contains("fingerprint")).unwrap().to_owned();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    report["fingerprint"].to_string()
}

#[test]
fn a_seed_gives_the_same_run_in_two_processes() {
    for seed in ["5", "9", "29"] {
        let once = fingerprint(&["sim", "replay", seed, "--json"]);
        assert_eq!(once, fingerprint(&["sim", "replay", seed, "--json"]), "seed {seed}");
    }
    assert_ne!(
        fingerprint(&["sim", "replay", "5", "--json"]),
        fingerprint(&["sim", "replay", "9", "--json"])
    );
}

#[test]
fn a_trace_is_the_same_line_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let trace = |name: &str| {
        let path = folder.path().join(name);
        let (_, fine) =
            potluck(&["sim", "run", "--peers", "3", "--size", "2MiB", "--trace", path.to_str().unwrap()]);
        assert!(fine);
        std::fs::read_to_string(path).unwrap()
    };
    let first = trace("one");
    assert!(first.lines().count() > 100);
    assert_eq!(first, trace("two"));
}
