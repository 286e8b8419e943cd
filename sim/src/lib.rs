//! potluck in a deterministic world: whole swarms in virtual time, with everything that goes wrong in real ones, replayable
//! by seed.
//!
//! The machines are those of `potluck-core`, unchanged; the network, the disks and the people around them are modelled. A
//! [`Plan`] says everything that a run depends on; [`run()`] carries it out and checks every step. `docs/simulation.md`
//! says what is modelled and what is not, and how to add a fault, a check or a scenario.

mod content;
mod dice;
mod disk;
mod events;
mod explore;
mod knobs;
mod machines;
mod net;
mod plan;
mod random;
mod replay;
mod report;
mod run;
mod scenario;
mod trace;
pub mod units;
mod world;

pub use disk::DiskSpeed;
pub use explore::{Exploration, Findings, Shrunk, explore, shrink};
pub use machines::{Machines, PeerMachine, Real, TrackerMachine};
pub use plan::{ContentPlan, Fault, FaultKind, HostPlan, Hostility, PeerPlan, Plan, RolePlan, When};
pub use replay::{ReplayFault, Replayed, replay_peer, replay_tracker};
pub use report::{Report, fluid_bound};
pub use run::{Outcome, run};
pub use scenario::{FaultRule, Group, HostileRule, SHIPPED, Scenario, ScenarioFault, Who};
pub use world::{DownloadRecord, HostTally, Observer, PlanFault, TIMELINE_STEP, Tally, Violation, World};
