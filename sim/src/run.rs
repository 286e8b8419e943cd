//! A run: a plan carried out to its end, with everything checked.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::machines::Machines;
use crate::plan::{FaultKind, Plan, RolePlan, SECOND};
use crate::world::{Observer, PlanFault, Tally, Violation, World};

/// How finely the end of a run is looked for.
const SLICE: u64 = SECOND;
/// How long a run goes on, for faults that wait for bytes to be sent.
const SETTLE: u64 = 5 * SECOND;

/// What came of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The plan's seed.
    pub seed: u64,
    /// The check that failed, if one did.
    pub violation: Option<Violation>,
    /// Nanoseconds of virtual time.
    pub ended_at: u64,
    /// Equal for equal runs.
    pub fingerprint: u64,
    /// What was counted.
    pub tally: Tally,
    /// Fault kinds that the plan has.
    pub enabled: BTreeSet<FaultKind>,
}

impl Outcome {
    /// Fault kinds that the plan has and that never had an effect.
    #[must_use]
    pub fn unfired(&self) -> Vec<FaultKind> {
        self.enabled.iter().filter(|kind| !self.tally.faults.contains_key(kind)).copied().collect()
    }
}

/// How often the peers are asked what the network has, for want of a quiet moment.
const ASKS: u32 = 8;

/// Carries out a plan.
///
/// # Errors
/// The plan refers to what does not exist.
pub fn run<'a>(
    plan: Plan,
    machines: &'a dyn Machines,
    observer: Option<Box<dyn Observer + 'a>>,
) -> Result<Outcome, PlanFault> {
    let mut world = World::new(plan, machines)?;
    if let Some(observer) = observer {
        world.observe(observer);
    }
    live(&mut world);
    Ok(world.outcome())
}

fn live(world: &mut World<'_>) {
    let mut calm = world.faults_end();
    while !comes_to_its_end(world, calm) {
        calm = world.faults_end();
    }
    world.sweep();
    world.check_liveness(world.now().saturating_sub(calm));
    if world.violation().is_some() {
        return;
    }
    // What was said last is heard, and what was silent is forgotten, within a lease; links of no use are closed, and every
    // timer comes to rest.
    let lease = |host: &crate::plan::HostPlan| match host.role {
        RolePlan::Tracker { lease_ms } => Some(u64::from(lease_ms) * crate::plan::MILLI),
        RolePlan::Peer(_) => None,
    };
    let lease = world.plan().hosts.iter().filter_map(lease).max();
    world.count_idle_ticks();
    world.run_until(world.now() + lease.unwrap_or(0) + 10 * SETTLE);
    world.check_what_is_missing();
    world.check_leftovers();
    if lease.is_some() && world.violation().is_none() {
        world.check_tracker();
        // Where pieces still trickle in, an answer is old when it comes: then once more, after a pause.
        for _ in 0..ASKS {
            let asked_at = world.now();
            let Some(asker) = world.ask() else { break };
            if world.idle() >= world.now() - asked_at + 2 * SECOND {
                world.check_answers(asker);
                break;
            }
            world.run_until(world.now() + SETTLE);
        }
    }
    world.sweep();
}

/// Lets time pass until everything has come to its end, or should have, all faults being over at `calm`; false if another one
/// began, which is over later.
fn comes_to_its_end(world: &mut World<'_>, calm: u64) -> bool {
    world.run_until(calm);
    let (all, nothing) = world.bounds();
    while world.violation().is_none() && world.faults_end() == calm && !world.is_done() {
        let waited = world.now().saturating_sub(calm);
        if waited > all || waited.min(world.idle()) > nothing {
            break;
        }
        let next = world.now() + SLICE;
        world.run_until(next);
    }
    world.faults_end() == calm
}

impl World<'_> {
    /// Has everything come to its end?
    pub(crate) fn is_done(&self) -> bool {
        use crate::world::Prospect;
        self.is_calm()
            && self.prospects().iter().all(|&(host, id, prospect)| match prospect {
                Prospect::Complete => true,
                Prospect::Certain | Prospect::Unsure => false,
                Prospect::Hopeless => self.says_so(host, id),
            })
    }

    /// Takes the results out.
    pub(crate) fn outcome(mut self) -> Outcome {
        self.count_time();
        Outcome {
            seed: self.plan().seed,
            violation: self.violation().cloned(),
            ended_at: self.now(),
            fingerprint: self.fingerprint(),
            enabled: self.plan().enabled(),
            tally: self.into_tally(),
        }
    }
}
