//! Runs of small scenarios that the world itself once got wrong.

use crate::scenario::Scenario;
use crate::{Outcome, Plan, Real, Report, run};

fn plan(scenario: &str) -> Plan {
    Scenario::parse(scenario).and_then(|scenario| scenario.plan()).expect("the scenario makes sense")
}

fn outcome(plan: &Plan) -> Outcome {
    run(plan.clone(), &Real, None).expect("the plan is sound")
}

fn passes(plan: &Plan) -> Outcome {
    let outcome = outcome(plan);
    assert_eq!(outcome.violation, None);
    outcome
}

fn completed(plan: &Plan) -> u64 {
    Report::new(plan, &passes(plan)).completed
}

#[test]
fn what_begins_after_so_many_bytes_is_waited_for() {
    let swarm = "peers = 4\nsize = '16 MiB'\n[[faults]]\nwho = 'first-holder'\nafter-copies = 0.5\n";
    for fault in ["kind = 'isolate'\nlasts = '3 min'", "kind = 'kill'\nlasts = '10 min'"] {
        for seed in [1, 9] {
            assert_eq!(
                completed(&plan(&format!("seed = {seed}\n{swarm}{fault}"))),
                4,
                "{fault}, seed {seed}"
            );
        }
    }
}

#[test]
fn without_a_tracker_in_reach_is_who_can_be_found() {
    let swarm = "peers = 8\ntracker = false\n";
    let gone = "[[faults]]\nkind = 'kill'\nwho = 'first-holder'\nat = '5 s'\n";
    let edited = "[[faults]]\nkind = 'edit'\nwho = 'first-holder'\nat = '2500 ms'\n";
    let again = "[[faults]]\nkind = 'disk-lost'\nwho = 'fetcher'\nat = '6 s'\nlasts = '5 s'\n";
    let late = "size = '4 MiB'\narrive-over = '10 s'\n";
    for seed in [1, 3] {
        let swarm = format!("seed = {seed}\n{swarm}");
        passes(&plan(&format!("{swarm}{late}{gone}")));
        passes(&plan(&format!("{swarm}size = '16 MiB'\n{gone}{again}")));
        passes(&plan(&format!("{swarm}size = '16 MiB'\n{edited}{again}")));
    }
    assert_eq!(completed(&plan(&format!("{swarm}size = '4 MiB'"))), 8);
}

#[test]
fn more_contents_than_a_peer_answers_questions_at_once() {
    assert_eq!(completed(&plan("size = '1 KiB'\ncontents = 257\npeers = 2")), 514);
}

#[test]
fn equal_bytes_are_one_content() {
    // 40 contents of one byte have at most 256 values, and some of them are equal for nearly every seed.
    for seed in 1..=4 {
        let swarm = format!("seed = {seed}\nreal = true\nsize = '1'\ncontents = 40\npeers = 2");
        assert_eq!(completed(&plan(&swarm)), 80, "seed {seed}");
    }
}

#[test]
fn links_without_latency_and_links_of_any_rate_carry_a_swarm() {
    let swarm = "peers = 4\nsize = '4 MiB'\n";
    let took = |more: &str| {
        let plan = plan(&format!("{swarm}{more}"));
        let report = Report::new(&plan, &passes(&plan));
        assert_eq!(report.completed, 4, "{more}");
        report.max
    };
    let (none, little) = (took("rtt = '0 s'"), took("rtt = '1 us'"));
    assert!(none < little * 1.1, "{none} s without latency, {little} s with a microsecond");
    took("rtt = '0 s'\njitter = '300 ms'");
    took("up = '400 Gbit/s'\ndown = '400 Gbit/s'");
}

#[test]
fn of_two_faults_at_one_host_the_longer_one_goes_on() {
    let twice = |fault: &str, lasts: [&str; 2]| {
        let fault = |lasts: &str| format!("[[faults]]\nat = '500 ms'\n{fault}\nlasts = '{lasts}'\n");
        let [one, other] = lasts.map(fault);
        let plan = plan(&format!("peers = 6\nsize = '16 MiB'\nup = '10 Mbit/s'\n{one}{other}"));
        Report::new(&plan, &passes(&plan)).max
    };
    let faults = [
        "kind = 'slow'\nspeed = 1\nwho = 'first-holder'",
        "kind = 'disk-full'\npercent = 100\nwho = 'fetcher'",
        "kind = 'pause'\nwho = 'first-holder'",
        "kind = 'stop'\npercent = 100\nwho = 'fetcher'",
        "kind = 'isolate'\nwho = 'first-holder'",
    ];
    for fault in faults {
        for lasts in [["1 s", "100 s"], ["100 s", "1 s"]] {
            let max = twice(fault, lasts);
            assert!(max > 100.0, "{fault}, {lasts:?}: done after {max} s");
        }
    }
}

#[test]
fn what_leaves_a_host_is_counted_though_it_is_no_whole_chunk() {
    let plan = plan("peers = 30\nsize = '4 MiB'\nholder-up = '1 Mbit/s'\nrtt = '20 ms'");
    // On so slow a link nobody waits for what it asked for: whether the swarm gets anywhere is not the question here.
    let report = Report::new(&plan, &outcome(&plan));
    assert!(report.holder_copies > 0.5, "the only holder sent {} copies", report.holder_copies);
}

#[test]
fn a_download_done_again_ends_when_it_is_done_again() {
    let lost = "[[faults]]\nkind = 'disk-lost'\nwho = 'fetcher'\nat = '20 s'\ntimes = 6\n";
    let times = |lasts: &str| {
        let plan = plan(&format!("peers = 6\nsize = '16 MiB'\n{lost}{lasts}"));
        let report = Report::new(&plan, &passes(&plan));
        (report.completed, report.p50 > 25.0)
    };
    assert_eq!(times("lasts = '5 s'"), (6, true));
    assert_eq!(times(""), (0, false), "what is lost for good is not complete");
    let kill = "peers = 6\nsize = '16 MiB'\n[[faults]]\nkind = 'kill'\nwho = 'fetcher'\nat = '20 s'\nlasts = '5 s'\n";
    let plan = plan(kill);
    assert!(Report::new(&plan, &passes(&plan)).max < 20.0, "a restart loses nothing that was finished");
}

#[test]
fn no_swarm_is_faster_than_its_links_allow() {
    let kills = "[[faults]]\nkind = 'kill'\nwho = 'fetcher'\nat = '1 s'\ntimes = 9\nevery = '100 ms'";
    let hostile = "hostile = [{kind='twice', count=2},{kind='greedy', count=2},{kind='unasked', count=2}]";
    let scenarios = [
        format!("peers = 12\nsize = '16 MiB'\nholder-up = '10 Mbit/s'\n{hostile}"),
        format!(
            "peers = 10\nsize = '32 MiB'\n[[groups]]\npercent = 10\nup = '1 Mbit/s'\ndown = '1 Mbit/s'\n{kills}"
        ),
        "peers = 20\nsize = '4 MiB'\nrtt = '20 ms'\n[[groups]]\npercent = 20\nup = '128 kbit/s'\ndown = '128 kbit/s'"
            .to_owned(),
    ];
    for scenario in scenarios {
        let plan = plan(&scenario);
        let efficiency = Report::new(&plan, &outcome(&plan)).efficiency;
        assert!(efficiency.is_some_and(|efficiency| efficiency <= 1.0), "{efficiency:?}: {scenario}");
    }
    let nothing = plan("peers = 4\nsize = '0'");
    assert_eq!(Report::new(&nothing, &passes(&nothing)).efficiency, None, "of no bytes nothing can be said");
}

#[test]
fn a_fault_that_nobody_feels_has_not_fired() {
    let lasting = |kind: &str, more: &str| format!("kind = '{kind}'\nlasts = '60 s'\n{more}");
    let late = ["partition", "isolate", "sync-error", "hang", "read-error"]
        .map(|kind| lasting(kind, "who = 'fetcher'\nat = '1 h'"));
    let untracked = [
        lasting("tracker-crash", "who = 'tracker'\nat = '100 ms'"),
        lasting("tracker-cut", "who = 'fetcher'\nat = '100 ms'"),
    ];
    let unfired = |swarm: &str, fault: &str| {
        let plan = plan(&format!("{swarm}\nsize = '4 MiB'\n[[faults]]\n{fault}"));
        passes(&plan).unfired().len()
    };
    for fault in &late {
        assert_eq!(unfired("peers = 4", fault), 1, "{fault}");
        assert_eq!(unfired("peers = 4", &fault.replace("1 h", "100 ms")), 0, "{fault}, early");
    }
    for fault in &untracked {
        assert_eq!(unfired("peers = 4", fault), 0, "{fault}");
        let mut world = plan(&format!("peers = 4\nsize = '4 MiB'\n[[faults]]\n{fault}"));
        for host in &mut world.hosts {
            if let crate::RolePlan::Peer(peer) = &mut host.role {
                (peer.tracker, peer.knows) = (None, vec![1]);
            }
        }
        assert_eq!(passes(&world).unfired().len(), 1, "{fault}, without a tracker");
    }
}
