//! Whole swarms in the simulator: every scenario that comes with potluck, the first random seeds, a world of real bytes, and a
//! table of figures that shows what a change of heuristics does.
#![expect(clippy::unwrap_used, reason = "what does not work fails the test")]

use std::fmt::Write as _;
use std::ops::ControlFlow;

use potluck_sim::units::{Rate, Size, Time};
use potluck_sim::{
    Exploration, FaultKind, FaultRule, Group, Plan, Real, Report, SHIPPED, Scenario, ScenarioFault, Who,
    explore, run,
};

const MIB: u64 = 1 << 20;
const MILLI: u64 = 1_000_000;

fn simulate(scenario: &Scenario) -> Report {
    let plan = scenario.plan().unwrap();
    let outcome = run(plan.clone(), &Real, None).unwrap();
    assert_eq!(outcome.violation, None, "{}", scenario.about);
    assert_eq!(outcome.unfired(), [], "{}", scenario.about);
    Report::new(&plan, &outcome)
}

/// Smaller than they are shipped, so that they run without optimisation.
#[test]
fn every_shipped_scenario_passes_its_checks() {
    for (name, _) in SHIPPED {
        let mut scenario = Scenario::shipped(name).unwrap();
        let dies = *name == "holder-leaves";
        scenario.peers = match scenario.hostile.len() {
            0 if dies => 8,
            0 => 16,
            // Two of each kind are there, and each must be asked for something.
            _ => 48,
        };
        if !dies {
            scenario.size = Size(16 * MIB);
        }
        scenario.faults.iter_mut().for_each(|fault| {
            // The smaller the sooner: a fault must still find a swarm at work.
            fault.at = fault.at.map(|at| Time(at.0 / 8));
        });
        let report = simulate(&scenario);
        let enough = if dies { report.downloads } else { 1 };
        assert!(report.completed >= enough, "{name}: {} of {}", report.completed, report.downloads);
    }
}

/// Each needs longer for a chunk than is otherwise under way at a time, and all are told of at once: only as many as were asked
/// first gave anything once.
#[test]
fn many_slow_holders_all_give() {
    let scenario = Scenario {
        peers: 1,
        holders: 12,
        holder_up: Some(Rate(1_250_000)),
        size: Size(32 * MIB),
        rtt: Time(20 * MILLI),
        ..Scenario::default()
    };
    let efficiency = simulate(&scenario).efficiency.unwrap();
    assert!(efficiency > 0.7, "{efficiency}");
}

/// Every byte of every download is compared, every message goes through the codec.
#[test]
fn a_world_of_real_bytes_is_right_to_the_byte() {
    let scenario =
        Scenario { peers: 5, size: Size(3 * MIB + 17), contents: 2, real: true, ..Scenario::default() };
    let report = simulate(&scenario);
    assert_eq!(report.completed, 10);
}

/// Seeds on which something was wrong once.
#[test]
fn seeds_that_failed_once_pass() {
    for line in include_str!("seeds/fixed.txt").lines() {
        let seed = line.split_whitespace().next().and_then(|word| word.parse().ok());
        let Some(seed) = seed else { continue };
        let outcome = run(Plan::random(seed), &Real, None).unwrap();
        assert_eq!(outcome.violation, None, "seed {seed} of tests/seeds/fixed.txt: {line}");
    }
}

/// The first of those that CI explores.
#[test]
fn the_first_random_seeds_pass() {
    let exploration = Exploration { seeds: 0..40, jobs: 2, limit: None, first_only: false };
    let findings = explore(&exploration, &Real, &|_| ControlFlow::Continue(()));
    assert!(findings.failures.is_empty(), "{:#?}", findings.failures);
    assert_eq!(findings.seeds, 40);
}

#[test]
fn what_the_model_does_not_honour_is_refused() {
    let refused =
        |text: &str| Scenario::parse(text).and_then(|scenario| scenario.plan().map(|_| ())).unwrap_err();
    assert!(matches!(refused("loss = 0.01"), ScenarioFault::NotModelled(name, _) if name == "loss"));
    assert!(matches!(refused("peeers = 3"), ScenarioFault::Syntax(_)));
    assert!(matches!(refused("size = \"huge\""), ScenarioFault::Syntax(_)));
    for nonsense in [
        "holders = 0",
        "up = \"1 B/s\"",
        "real = true\nsize = \"1 GiB\"",
        "[[faults]]\nkind = \"kill\"\nwho = \"fetcher\"",
        "[[faults]]\nkind = \"slow\"\nwho = \"fetcher\"\nat = \"1 s\"\nlasts = \"1 s\"\nspeed = 101",
        "[[faults]]\nkind = \"pause\"\nwho = \"fetcher\"\nat = \"1 s\"",
        "[[faults]]\nkind = \"tracker-crash\"\nwho = \"fetcher\"\nat = \"1 s\"",
        "[[faults]]\nkind = \"reset\"\nwho = \"fetcher\"\nat = \"1 s\"\nlasts = \"1 s\"",
    ] {
        assert!(matches!(refused(nonsense), ScenarioFault::Nonsense(_)), "{nonsense}");
    }
}

/// Swarm size x links x churn -> how it went. A change of heuristics shows as a diff of `snapshots/swarms.txt`;
/// `UPDATE_SNAPSHOTS=1 cargo test --test swarm_sim` writes it anew.
#[test]
fn figures_are_as_in_the_snapshot() {
    let slow = Group { percent: 25, up: Rate(2_500_000), down: Rate(2_500_000), nat: false };
    let churn = FaultRule {
        kind: FaultKind::Kill,
        who: Who::Fetcher,
        at: Some(Time(1_000 * MILLI)),
        after_copies: None,
        times: 2,
        every: Time(1_000 * MILLI),
        lasts: None,
        percent: None,
        speed: None,
        delay: None,
    };
    let mut table = String::from("peers links churn | done  p50 s  max s  T*/T  dup %  copies\n");
    for peers in [4, 8, 16] {
        for (links, groups) in [("equal", Vec::new()), ("mixed", vec![slow.clone()])] {
            for (name, faults) in [("no", Vec::new()), ("yes", vec![churn.clone()])] {
                let (groups, size) = (groups.clone(), Size(32 * MIB));
                let r = simulate(&Scenario {
                    peers,
                    size,
                    groups,
                    faults,
                    rtt: Time(10 * MILLI),
                    ..Scenario::default()
                });
                let Report { completed, p50, max, efficiency, duplicate_percent, holder_copies, .. } = r;
                let efficiency = efficiency.unwrap();
                writeln!(
                    table,
                    "{peers:5} {links:5} {name:5} | {completed:4} {p50:6.2} {max:6.2} {efficiency:5.2} \
                     {duplicate_percent:6.2} {holder_copies:7.2}"
                )
                .unwrap();
            }
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/snapshots/swarms.txt");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        return std::fs::write(path, table).unwrap();
    }
    let known = std::fs::read_to_string(path).unwrap();
    assert_eq!(table, known, "figures changed; see the comment above");
}
