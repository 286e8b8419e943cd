//! Recordings of real peers and trackers, replayed: the same machine, fed the same inputs at the same times, does the same.

use potluck_core::Machine;
use potluck_core::effects::Effects;
use potluck_core::limits::EFFECTS_PER_INPUT_MAX;
use potluck_core::peer::{Peer, PeerConfig, PeerEffect, PeerInput};
use potluck_core::time::Instant;
use potluck_core::tracker::{Tracker, TrackerConfig, TrackerEffect, TrackerInput};

use crate::trace::Fingerprint;
use crate::world::Observer;

/// The host that a recorded tracker is to an [`Observer`].
const TRACKER: u32 = 0;
/// The host that a recorded peer is to an [`Observer`].
const PEER: u32 = 1;

/// Inputs between two checks of the machine's invariants.
const SWEEP_EVERY: u64 = 64;

/// What a replay came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Replayed {
    /// Inputs that were fed.
    pub inputs: u64,
    /// Effects that came of them.
    pub effects: u64,
    /// Time from the first input to the last, in nanoseconds.
    pub span: u64,
    /// Equal for equal replays.
    pub fingerprint: u64,
}

/// A recorded machine that did what it must not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("input {number} at {:.6} s: {what}", *.at as f64 / 1e9)]
pub struct ReplayFault {
    /// Number of the input, from 0.
    pub number: u64,
    /// Nanoseconds since the recorded process began.
    pub at: u64,
    /// What is wrong.
    pub what: String,
}

/// Replays the recording of a peer; an observer is told of each input and its effects as those of host 1.
///
/// # Errors
/// The machine panics, breaks an invariant or a bound of the contract, or time goes back.
pub fn replay_peer(
    config: PeerConfig,
    inputs: impl IntoIterator<Item = (Instant, PeerInput)>,
    mut observer: Option<Box<dyn Observer>>,
) -> Result<Replayed, ReplayFault> {
    let mut machine = Peer::new(config);
    let step = |print: &mut Fingerprint, now: Instant, input: &PeerInput, effects: &Effects<PeerEffect>| {
        print.peer_input(input);
        effects.iter().for_each(|effect| print.peer_effect(effect));
        if let Some(observer) = &mut observer {
            observer.peer_input(now.0, PEER, input);
            effects.iter().for_each(|effect| observer.peer_effect(now.0, PEER, effect));
        }
    };
    replay(&mut machine, inputs, Peer::check_invariants, step)
}

/// Replays the recording of a tracker; an observer is told of each input and its effects as those of host 0.
///
/// # Errors
/// As of [`replay_peer`].
pub fn replay_tracker(
    config: TrackerConfig,
    inputs: impl IntoIterator<Item = (Instant, TrackerInput)>,
    mut observer: Option<Box<dyn Observer>>,
) -> Result<Replayed, ReplayFault> {
    let mut machine = Tracker::new(config);
    let step =
        |print: &mut Fingerprint, now: Instant, input: &TrackerInput, effects: &Effects<TrackerEffect>| {
            print.tracker_input(input);
            effects.iter().for_each(|effect| print.tracker_effect(effect));
            if let Some(observer) = &mut observer {
                observer.tracker_input(now.0, TRACKER, input);
                effects.iter().for_each(|effect| observer.tracker_effect(now.0, TRACKER, effect));
            }
        };
    replay(&mut machine, inputs, Tracker::check_invariants, step)
}

fn replay<M: Machine>(
    machine: &mut M,
    inputs: impl IntoIterator<Item = (Instant, M::Input)>,
    check: impl Fn(&M),
    mut step: impl FnMut(&mut Fingerprint, Instant, &M::Input, &Effects<M::Effect>),
) -> Result<Replayed, ReplayFault>
where
    M::Input: Clone,
{
    let mut replayed = Replayed { inputs: 0, effects: 0, span: 0, fingerprint: 0 };
    let mut print = Fingerprint::new(0);
    let mut effects = Effects::new();
    let mut began = None;
    let mut last = Instant::ZERO;
    for (now, input) in inputs {
        let number = replayed.inputs;
        let fault = |what: String| ReplayFault { number, at: now.0, what };
        if now < last {
            return Err(fault(format!("time goes back from {last:?}")));
        }
        last = now;
        let sweep = number.is_multiple_of(SWEEP_EVERY);
        crate::world::guarded(|| {
            machine.handle(now, input.clone(), &mut effects);
            if sweep {
                check(machine);
            }
        })
        .map_err(fault)?;
        if effects.len() > EFFECTS_PER_INPUT_MAX {
            return Err(fault(format!("{} effects of one input", effects.len())));
        }
        print.step(now, 0);
        step(&mut print, now, &input, &effects);
        replayed.inputs += 1;
        replayed.effects += effects.len() as u64;
        replayed.span = now.since(*began.get_or_insert(now)).as_nanos() as u64;
        effects.drain();
    }
    replayed.fingerprint = print.0;
    Ok(replayed)
}
