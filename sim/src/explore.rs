//! Many seeds at once, and what to make of one that failed.
//!
//! Worlds know no threads: each runs on one, and as many run side by side as there are jobs. What an exploration finds
//! does not depend on how many those are.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{ControlFlow, Range};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::machines::Machines;
use crate::plan::{FaultKind, Plan};
use crate::run::{Outcome, run};
use crate::world::Violation;

/// Runs that shrinking a failure may take.
const SHRINK_RUNS_MAX: u32 = 400;

/// What to explore.
#[derive(Clone, Debug)]
pub struct Exploration {
    /// Seeds, each of which becomes a plan by [`Plan::random`].
    pub seeds: Range<u64>,
    /// Worlds that run side by side.
    pub jobs: usize,
    /// No new seed is begun after this much real time.
    pub limit: Option<Duration>,
    /// Stop at the first failure.
    pub first_only: bool,
}

/// What an exploration came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Findings {
    /// Seeds that were run.
    pub seeds: u64,
    /// Inputs that machines took.
    pub inputs: u64,
    /// Nanoseconds that simulated peers were up.
    pub peer_time: u64,
    /// Faults that had an effect, by kind.
    pub faults: BTreeMap<FaultKind, u64>,
    /// Kinds that some plan had.
    pub enabled: BTreeSet<FaultKind>,
    /// Seeds that failed, with the check.
    pub failures: BTreeMap<u64, Violation>,
    /// Of each plan: peers, pieces of its largest content, contents, faults.
    #[serde(skip)]
    pub sizes: Vec<[u64; 4]>,
}

impl Findings {
    /// Fault kinds that some plan had and that never had an effect: they test nothing.
    #[must_use]
    pub fn unfired(&self) -> Vec<FaultKind> {
        self.enabled.iter().filter(|kind| !self.faults.contains_key(kind)).copied().collect()
    }

    /// Median and largest of peers, pieces, contents and faults.
    #[must_use]
    pub fn sizes(&self) -> ([u64; 4], [u64; 4]) {
        let (mut median, mut largest) = ([0; 4], [0; 4]);
        for column in 0..4 {
            let mut all: Vec<u64> = self.sizes.iter().map(|sizes| sizes[column]).collect();
            all.sort_unstable();
            median[column] = all.get(all.len() / 2).copied().unwrap_or(0);
            largest[column] = all.last().copied().unwrap_or(0);
        }
        (median, largest)
    }

    fn take(&mut self, sizes: [u64; 4], outcome: Outcome) {
        self.seeds += 1;
        self.inputs += outcome.tally.inputs;
        self.peer_time += outcome.tally.peer_time;
        for (kind, count) in outcome.tally.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        self.enabled.extend(outcome.enabled);
        self.sizes.push(sizes);
        if let Some(violation) = outcome.violation {
            self.failures.insert(outcome.seed, violation);
        }
    }
}

/// Runs the plan of every seed. `progress` is called after each with what was found so far, and says whether to go on.
pub fn explore(
    exploration: &Exploration,
    machines: &dyn Machines,
    progress: &(dyn Fn(&Findings) -> ControlFlow<()> + Sync),
) -> Findings {
    let began = Instant::now();
    let seeds = Mutex::new(exploration.seeds.clone());
    let seeds = || seeds.lock().unwrap_or_else(PoisonError::into_inner);
    let findings = Mutex::new(Findings::default());
    let work = || {
        loop {
            if exploration.limit.is_some_and(|limit| began.elapsed() >= limit) {
                return;
            }
            let Some(seed) = seeds().next() else { return };
            let plan = Plan::random(seed);
            let sizes = sizes(&plan);
            // A random plan refers to nothing that does not exist.
            let Ok(outcome) = run(plan, machines, None) else { continue };
            let failed = outcome.violation.is_some();
            let Ok(mut findings) = findings.lock() else { return };
            findings.take(sizes, outcome);
            if progress(&findings).is_break() || (failed && exploration.first_only) {
                *seeds() = 0..0;
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..exploration.jobs.max(1) {
            scope.spawn(work);
        }
        work();
    });
    findings.into_inner().unwrap_or_default()
}

fn sizes(plan: &Plan) -> [u64; 4] {
    let pieces =
        |bytes: u64| potluck_core::content::Geometry::new(bytes).map_or(0, |geometry| geometry.pieces());
    [
        plan.peers().count() as u64,
        plan.contents.iter().map(|content| u64::from(pieces(content.bytes))).max().unwrap_or(0),
        plan.contents.len() as u64,
        plan.faults.len() as u64,
    ]
}

/// A failure with as few faults as could be found.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// Numbers of the faults that are needed.
    pub faults: Vec<usize>,
    /// The check that fails with them.
    pub violation: Violation,
    /// Runs that it took.
    pub runs: u32,
}

/// Leaves out faults, halves first, as long as some check still fails. `None`: the plan does not fail.
#[must_use]
pub fn shrink(plan: &Plan, machines: &dyn Machines) -> Option<Shrunk> {
    let mut runs = 0;
    let mut fails = |kept: &[usize]| {
        runs += 1;
        run(plan.with_faults(kept), machines, None).ok()?.violation
    };
    let mut kept: Vec<usize> = (0..plan.faults.len()).collect();
    let mut violation = fails(&kept)?;
    let mut tries = 0;
    let mut size = kept.len();
    while size > 0 {
        let mut at = 0;
        while at < kept.len() && tries < SHRINK_RUNS_MAX {
            tries += 1;
            let mut fewer = kept.clone();
            fewer.drain(at..(at + size).min(kept.len()));
            if let Some(still) = fails(&fewer) {
                violation = still;
                kept = fewer;
            } else {
                at += size;
            }
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
    Some(Shrunk { faults: kept, violation, runs })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machines::Real;

    /// The last seeds there are come once, and none after them.
    #[test]
    fn seeds_end_where_numbers_do() {
        let exploration =
            Exploration { seeds: u64::MAX - 2..u64::MAX, jobs: 4, limit: None, first_only: false };
        assert_eq!(explore(&exploration, &Real, &|_| ControlFlow::Continue(())).seeds, 2);
    }

    #[test]
    fn who_watches_can_stop_it() {
        let exploration = Exploration { seeds: 0..u64::MAX, jobs: 1, limit: None, first_only: false };
        assert_eq!(explore(&exploration, &Real, &|_| ControlFlow::Break(())).seeds, 1);
    }
}
