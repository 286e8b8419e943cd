//! All timers of the peer in one ordered table: setting, clearing and finding the earliest are O(log n).

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{DownloadId, LinkId, OpId};
use crate::time::{Deadline, Instant, TimerKind};

use super::swarm::SwarmId;

/// What a timer is for. Each variant is at most one timer per argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Timer {
    /// Effects wait in the outbox.
    Continue,
    /// Ping the link, or give it up.
    KeepAlive(LinkId),
    /// Look whether links deliver what they owe.
    Stall,
    /// Announce pieces that were verified meanwhile.
    Haves(SwarmId),
    /// Announce again pieces that could not be read.
    HavesAgain(SwarmId),
    /// A table slice was asked for and should have come.
    Table(SwarmId),
    /// A holder that was busy, or stalled, may be asked again.
    Retry(LinkId, SwarmId),
    /// Dial candidates whose back-off is over.
    Dial(SwarmId),
    /// No holder was found that could be told of an empty file: it is put in place.
    Untold(SwarmId),
    /// Open the tracker session, or give up waiting for its answer.
    Session,
    /// Tell the tracker what changed.
    Announce,
    /// Tell the tracker again what it refused to register.
    AnnounceAgain,
    /// Give up a question.
    Question(OpId),
    /// Sync what was written.
    Sync(SwarmId),
    /// Try a paused disk again.
    Storage(SwarmId),
    /// Try copies again that the disk refused.
    Again(DownloadId),
    /// Blame the sender of a bad piece unless it retracted.
    Blame(LinkId, SwarmId),
    /// See whether the download still has a way to go on.
    Waiting(DownloadId),
    /// An upload went quiet: end it and free its slot.
    UploadIdle(LinkId),
    /// The rate cap lets the next bytes go.
    UpRate,
    /// Tell again of an uplink to spare.
    Spare,
    /// The rate cap lets the next bytes be asked for.
    DownRate,
}

impl Timer {
    const fn kind(self) -> TimerKind {
        match self {
            Self::Continue => TimerKind::Continue,
            Self::KeepAlive(_) | Self::UploadIdle(_) => TimerKind::KeepAlive,
            Self::Stall | Self::Table(_) => TimerKind::Stall,
            Self::Haves(_) | Self::Announce => TimerKind::Flush,
            Self::AnnounceAgain | Self::Retry(..) | Self::HavesAgain(_) => TimerKind::Retry,
            Self::Dial(_) => TimerKind::Dial,
            Self::Session | Self::Question(_) => TimerKind::Tracker,
            Self::Sync(_) | Self::Storage(_) | Self::Again(_) => TimerKind::Storage,
            Self::Blame(..) => TimerKind::Blame,
            Self::Waiting(_) | Self::Untold(_) => TimerKind::Waiting,
            Self::UpRate | Self::DownRate | Self::Spare => TimerKind::Rate,
        }
    }
}

/// The table. Invariant: `due` and `by_timer` hold the same timers.
#[derive(Debug, Default)]
pub(super) struct Timers {
    due: BTreeSet<(Instant, Timer)>,
    by_timer: BTreeMap<Timer, Instant>,
}

impl Timers {
    /// (Re)sets a timer.
    pub(super) fn set(&mut self, timer: Timer, at: Instant) {
        if let Some(before) = self.by_timer.insert(timer, at) {
            if before == at {
                return;
            }
            self.due.remove(&(before, timer));
        }
        self.due.insert((at, timer));
    }

    /// Sets a timer unless it is already set for an earlier time.
    pub(super) fn set_by(&mut self, timer: Timer, at: Instant) {
        if self.by_timer.get(&timer).is_none_or(|before| *before > at) {
            self.set(timer, at);
        }
    }

    pub(super) fn clear(&mut self, timer: Timer) {
        if let Some(at) = self.by_timer.remove(&timer) {
            self.due.remove(&(at, timer));
        }
    }

    pub(super) fn is_set(&self, timer: Timer) -> bool {
        self.by_timer.contains_key(&timer)
    }

    /// Takes the earliest timer that is due at `now`.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        let &(at, timer) = self.due.first()?;
        if at > now {
            return None;
        }
        self.due.pop_first();
        self.by_timer.remove(&timer);
        Some(timer)
    }

    pub(super) fn deadline(&self) -> Option<Deadline> {
        self.due.first().map(|&(at, timer)| Deadline { at, why: timer.kind() })
    }

    /// All timers that are set, in no useful order; for checks.
    pub(super) fn iter(&self) -> impl Iterator<Item = Timer> + '_ {
        self.by_timer.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_comes_first_and_resetting_moves() {
        let mut timers = Timers::default();
        timers.set(Timer::Session, Instant::from_millis(5));
        timers.set(Timer::Announce, Instant::from_millis(3));
        timers.set(Timer::Session, Instant::from_millis(1));
        assert_eq!(timers.deadline().map(|d| d.at), Some(Instant::from_millis(1)));
        assert_eq!(timers.pop_due(Instant::from_millis(2)), Some(Timer::Session));
        assert_eq!(timers.pop_due(Instant::from_millis(2)), None);
        timers.set_by(Timer::Announce, Instant::from_millis(9));
        assert_eq!(timers.pop_due(Instant::from_millis(3)), Some(Timer::Announce));
        assert_eq!(timers.deadline(), None);
    }
}
