//! How far a run is: a bar on a terminal, an object at first and then once a second in JSON. Every step passes through to the
//! trace, if there is one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use potluck_core::content::{Geometry, PieceSet};
use potluck_core::ids::ContentKey;
use potluck_core::peer::{PeerEffect, PeerEvent, PeerInput};
use potluck_core::tracker::{TrackerEffect, TrackerInput};
use potluck_sim::{Observer, Plan};

use crate::ui::{Event, Out};

/// Inputs between two looks at the clock.
const LOOK_EVERY: u64 = 4096;

pub(super) struct Watch<'a> {
    trace: Option<Box<dyn Observer + 'a>>,
    out: Out,
    bar: ProgressBar,
    /// What every host has verified: a piece that it lost and verified again is one still.
    verified: BTreeMap<(u32, ContentKey), PieceSet>,
    /// Pieces in these, of those that all downloads have.
    pieces: u64,
    of: u64,
    inputs: u64,
    told: Option<Instant>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(plan: &Plan, out: Out, trace: Option<Box<dyn Observer + 'a>>) -> Self {
        let pieces = |bytes: u64| Geometry::new(bytes).map_or(0, |geometry| u64::from(geometry.pieces()));
        let each: Vec<u64> = plan.contents.iter().map(|content| pieces(content.bytes)).collect();
        let fetches = plan.peers().flat_map(|(_, peer)| &peer.fetches);
        let of = fetches.filter_map(|(content, _)| each.get(*content as usize)).sum();
        let bar = ProgressBar::new(of).with_style(
            ProgressStyle::with_template("{percent:>3}% {wide_bar} {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        let bar = out.bars().add(bar);
        Self { trace, out, bar, verified: BTreeMap::new(), pieces: 0, of, inputs: 0, told: None }
    }

    fn took_input(&mut self, at: u64) {
        self.inputs += 1;
        if !self.inputs.is_multiple_of(LOOK_EVERY) {
            return;
        }
        let seconds = at as f64 / 1e9;
        self.bar.set_position(self.pieces);
        self.bar.set_message(format!("{seconds:.1} s simulated, {} inputs", self.inputs));
        if self.told.is_none_or(|told| told.elapsed() >= Duration::from_secs(1)) {
            self.told = Some(Instant::now());
            let (pieces, of, inputs) = (self.pieces, self.of, self.inputs);
            // A reader that has gone away does not stop the run.
            let _ = self.out.event(&Event::Simulating { at, pieces, of, inputs });
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Observer for Watch<'_> {
    fn peer_input(&mut self, at: u64, host: u32, input: &PeerInput) {
        self.took_input(at);
        if let Some(trace) = &mut self.trace {
            trace.peer_input(at, host, input);
        }
    }
    fn peer_effect(&mut self, at: u64, host: u32, effect: &PeerEffect) {
        if let PeerEffect::Report(PeerEvent::PieceVerified { key, piece, .. }) = effect {
            let count = || Geometry::new(key.length).map_or(0, |geometry| geometry.pieces());
            let verified = self.verified.entry((host, *key)).or_insert_with(|| PieceSet::empty(count()));
            self.pieces += u64::from(verified.insert(*piece));
        }
        if let Some(trace) = &mut self.trace {
            trace.peer_effect(at, host, effect);
        }
    }
    fn tracker_input(&mut self, at: u64, host: u32, input: &TrackerInput) {
        self.took_input(at);
        if let Some(trace) = &mut self.trace {
            trace.tracker_input(at, host, input);
        }
    }
    fn tracker_effect(&mut self, at: u64, host: u32, effect: &TrackerEffect) {
        if let Some(trace) = &mut self.trace {
            trace.tracker_effect(at, host, effect);
        }
    }
    fn fault(&mut self, at: u64, what: &str) {
        if let Some(trace) = &mut self.trace {
            trace.fault(at, what);
        }
    }
}
