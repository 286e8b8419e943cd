//! potluck in a deterministic world: whole swarms in virtual time, with everything that goes wrong in real ones, replayable
//! by seed.
//!
//! The machines are those of `potluck-core`, unchanged; the network, the disks and the people around them are modelled. A
//! [`Plan`] says everything that a run depends on; [`run`] carries it out and checks every step. `docs/simulation.md`
//! says what is modelled and what is not, and how to add a fault, a check or a scenario.

mod content;
mod dice;
mod disk;
mod events;
mod machines;
mod net;
mod plan;
mod random;
mod run;
mod trace;
mod world;

pub use dice::Dice;
pub use disk::DiskSpeed;
pub use machines::{Machines, PeerMachine, Real, TrackerMachine};
pub use plan::{ContentPlan, Fault, FaultKind, HostPlan, Hostility, PeerPlan, Plan, RolePlan, When};
pub use run::{Outcome, run};
pub use world::{DownloadRecord, HostTally, Observer, PlanFault, TIMELINE_STEP, Tally, Violation, World};
