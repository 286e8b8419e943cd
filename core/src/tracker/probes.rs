//! Probes: does a peer answer at the address it claims? A few run at a time, the rest wait their turn.

use std::collections::BTreeMap;

use super::registry::OwnerId;
use crate::ids::OpId;
use crate::limits::{PROBE_TIMEOUT, PROBES_MAX};
use crate::time::Instant;

#[derive(Debug, Default)]
pub(super) struct Probes {
    /// Probes in the order in which they began; `None`: the session is gone.
    running: BTreeMap<OpId, Running>,
    waiting: BTreeMap<u64, OwnerId>,
    turns: u64,
    last_op: u64,
}

#[derive(Clone, Copy, Debug)]
struct Running {
    owner: Option<OwnerId>,
    until: Instant,
}

/// Where a session's probe is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Probing {
    /// Nowhere: none is wanted, or it is done.
    #[default]
    No,
    /// It waits.
    Waiting(u64),
    /// It runs.
    Running(OpId),
}

impl Probes {
    pub(super) fn wait(&mut self, owner: OwnerId) -> Probing {
        self.turns += 1;
        self.waiting.insert(self.turns, owner);
        Probing::Waiting(self.turns)
    }

    /// The session is gone, or wants another probe: whatever this one says is of no interest.
    pub(super) fn forget(&mut self, probing: Probing) {
        match probing {
            Probing::No => {}
            Probing::Waiting(turn) => {
                self.waiting.remove(&turn);
            }
            Probing::Running(op) => {
                if let Some(running) = self.running.get_mut(&op) {
                    running.owner = None;
                }
            }
        }
    }

    /// Begins the next probe, if one waits and there is room.
    pub(super) fn begin(&mut self, now: Instant) -> Option<(OpId, OwnerId)> {
        if self.running.len() >= PROBES_MAX {
            return None;
        }
        let (_, owner) = self.waiting.pop_first()?;
        self.last_op += 1;
        let op = OpId(self.last_op);
        self.running.insert(op, Running { owner: Some(owner), until: now + PROBE_TIMEOUT });
        Some((op, owner))
    }

    /// A probe ended; whose it was.
    pub(super) fn end(&mut self, op: OpId) -> Option<OwnerId> {
        self.running.remove(&op)?.owner
    }

    /// A probe that was never answered.
    pub(super) fn overdue(&self, now: Instant) -> Option<OpId> {
        self.running.first_key_value().filter(|(_, running)| running.until <= now).map(|(op, _)| *op)
    }

    /// When the oldest probe counts as failed.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.running.first_key_value().map(|(_, running)| running.until)
    }

    /// Panics unless exactly these sessions are being probed.
    pub(super) fn check_invariants(&self, probing: &BTreeMap<OwnerId, Probing>) {
        assert!(self.running.len() <= PROBES_MAX);
        assert!(self.waiting.is_empty() || self.running.len() == PROBES_MAX, "a probe waits for nothing");
        for (&turn, owner) in &self.waiting {
            assert_eq!(probing.get(owner), Some(&Probing::Waiting(turn)));
        }
        for (&op, running) in &self.running {
            assert!(running.owner.is_none_or(|owner| probing.get(&owner) == Some(&Probing::Running(op))));
        }
        let known =
            self.waiting.len() + self.running.values().filter(|running| running.owner.is_some()).count();
        assert_eq!(known, probing.values().filter(|probing| **probing != Probing::No).count());
    }
}
