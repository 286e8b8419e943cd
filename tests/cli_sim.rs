//! `potluck sim` as it is typed: what it refuses, what it says when it is interrupted, and when a file cannot be written.

mod support;

use rustix::process::Signal;
use support::processes::{Net, number};

#[test]
fn what_cannot_be_done_is_a_usage_error_in_words() {
    let net = Net::without_tracker();
    for (words, told) in [
        (&["explore", "--minutes", "nan"][..], "expected a number of minutes above 0"),
        (&["explore", "--minutes=-1"], "expected a number of minutes above 0"),
        (&["explore", "--minutes", "0"], "expected a number of minutes above 0"),
        (&["explore", "--jobs", "0"], "0 is not in 1..=1024"),
        (&["replay", "3", "--faults=99999"], "--faults: there is no fault 99999, seed 3 has faults 0 to"),
        (&["replay", "3", "--faults=1,,2"], "expected numbers like 0,3,7"),
        (
            &["replay", "3", "--step", "--hosts", "999"],
            "--hosts: there is no host 999, seed 3 has hosts 0 to",
        ),
        (&["replay", "3", "--step", "--json"], "`--trace FILE` writes every step"),
        (&["run", "--peers", "18446744073709551615"], "must be 1 to 100000"),
        (&["run", "--rtt", "4s"], "`rtt and rtt-spread` is 4 s, and must be 0 ns to 1 s"),
    ] {
        let ran = net.typed(&[&["sim"], words].concat());
        assert_eq!(ran.code, Some(2), "{words:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(told), "{words:?}: {}", ran.stderr);
    }
}

/// What `explore` prints where no fault is needed for a failure.
#[test]
fn a_seed_is_replayed_without_any_faults() {
    let ran = Net::without_tracker().typed(&["sim", "replay", "3", "--faults="]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.starts_with("seed 3: "), "{}", ran.stdout);
}

#[test]
fn a_trace_that_is_not_whole_is_a_failure() {
    let net = Net::without_tracker();
    // The second is so short that only the flush at the end fails.
    for words in [
        &["sim", "run", "--peers", "3", "--size", "2MiB", "--trace", "/dev/full"][..],
        &["sim", "run", "--peers", "1", "--size", "0", "--trace", "/dev/full"],
        &["sim", "replay", "3", "--faults=", "--trace", "/dev/full"],
    ] {
        let ran = net.typed(words);
        assert_eq!(ran.code, Some(1), "{words:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("the trace /dev/full lacks its end"), "{words:?}: {}", ran.stderr);
    }
}

/// Before the run, which says nothing then.
#[test]
fn a_picture_that_cannot_be_drawn_is_known_first() {
    let ran = Net::without_tracker().typed(&["sim", "run", "--peers", "1", "--plot", "no/such.svg"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("cannot draw no/such.svg"), "{}", ran.stderr);
}

#[test]
fn an_exploration_that_is_interrupted_says_what_it_found() {
    let net = Net::without_tracker();
    let mut exploring = net.node("explore", &["sim", "explore", "--minutes", "60"]);
    exploring.event("exploring");
    exploring.signal(Signal::INT);
    let ran = exploring.ran();
    assert_eq!(ran.code, Some(130), "{}", ran.stderr);
    assert!(number(ran.one("explored"), "seeds") > 0, "{}", ran.stdout);
}
