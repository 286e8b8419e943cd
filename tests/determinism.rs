//! The same seed gives the same run, in two processes; a recording gives the same machine, however often it is replayed.
#![expect(clippy::unwrap_used, reason = "what does not work fails the test")]

mod support;

use std::process::Command;

use support::processes::{Net, number};

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

#[test]
fn what_a_real_download_recorded_is_traced_step_by_step() {
    let net = Net::new();
    let (_holder, id) = net.share("holder", &net.file("src/f", 3 << 20, 1), &[]);
    let [recording, trace] = ["recording", "trace"].map(|name| net.path(name).to_str().unwrap().to_owned());
    assert_eq!(net.get("ann", &id, &["--record", &recording]).ran().code, Some(0));

    let replayed = net.run(&["sim", "replay", &recording, "--trace", &trace]);
    let replayed = replayed.one("replayed").clone();
    let lines = std::fs::read_to_string(&trace).unwrap();
    let steps =
        |kind| lines.lines().filter(|line| line.contains(&format!(r#""host":1,"{kind}":"#))).count() as u64;
    assert_eq!(
        (steps("input"), steps("effect")),
        (number(&replayed, "inputs"), number(&replayed, "effects"))
    );
    // What a recording does not have is refused.
    for flag in ["--plan", "--faults=1"] {
        assert_eq!(net.typed(&["sim", "replay", &recording, flag]).code, Some(2), "{flag}");
    }
}
