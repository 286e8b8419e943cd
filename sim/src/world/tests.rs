//! Runs of small scenarios that the world itself once got wrong.

use crate::scenario::Scenario;
use crate::{Outcome, Plan, Real, Report, run};

fn plan(scenario: &str) -> Plan {
    Scenario::parse(scenario).and_then(|scenario| scenario.plan()).expect("the scenario makes sense")
}

fn passes(plan: &Plan) -> Outcome {
    let outcome = run(plan.clone(), &Real, None).expect("the plan is sound");
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
