//! Whether a download still has a way to go on, and what it lacks if it has none.

use std::time::Duration;

use crate::ids::{DownloadId, LinkId, PieceIndex};

use super::swarm::{Collecting, Fetching, Held, Partner, Phase, Swarm, SwarmId};
use super::timers::Timer;
use super::{Peer, PeerEvent, StorageFault, WaitReason};

/// How often a download that does not advance is looked at.
pub(super) const WAITING_EVERY: Duration = Duration::from_millis(500);

/// How often a download that waits asks its tracker for other holders than those it was told of.
const OTHERS_EVERY: Duration = Duration::from_secs(5);

impl Peer {
    /// Looks whether a download still has a way to go on, and says so if it has none.
    pub(super) fn check_waiting(&mut self, id: DownloadId) {
        if self.downloads.get(&id).is_none_or(|d| d.done || d.stopped) {
            return;
        }
        self.timers.set(Timer::Waiting(id), self.now + WAITING_EVERY);
        self.start_more_members(id);
        // Whatever held them up may be over: who has nothing to do looks again.
        let idle = |s: &Swarm| s.fetching.as_ref().is_some_and(|f| f.is_for(id) && f.asked.is_empty());
        let links = self.fetched().filter(|(_, s)| s.is_running() && idle(s));
        let links: Vec<LinkId> = links.flat_map(|(_, s)| s.partners.keys().copied()).collect();
        self.hungry.extend(links);
        let mut reason: Option<WaitReason> = None;
        for (_, swarm) in self.fetched() {
            let Some(fetching) = swarm.fetching.as_ref().filter(|f| f.is_for(id)) else { continue };
            let reasons = match fetching.phase {
                Phase::Opening { .. } | Phase::Finishing { .. } | Phase::Paused(_) => return,
                Phase::Filled => continue,
                Phase::Table(_) | Phase::Running => self.why_waiting(swarm, fetching),
            };
            match reasons {
                None => return,
                Some(why) => reason = Some(why),
            }
        }
        if let Some(reason) = reason {
            let missing = self.unreachable_ranges(id);
            self.say_waiting(id, reason, missing);
            let waiting: Vec<SwarmId> =
                self.fetched().filter(|(_, s)| idle(s) && s.wants_partners()).map(|(id, _)| id).collect();
            for swarm in waiting {
                self.seek_member(id, swarm);
                self.timers.set_by(Timer::Dial(swarm), self.now);
                self.look_for_others(swarm);
            }
        }
    }

    /// Nobody that the tracker named helps: it is asked for another sample.
    fn look_for_others(&mut self, id: SwarmId) {
        let now = self.now;
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        let key = swarm.key;
        let Some(fetching) = &mut swarm.fetching else { return };
        if now.since(fetching.sampled) >= OTHERS_EVERY {
            fetching.sampled = now;
            self.watch_anew(key);
        }
    }

    /// Why nothing comes of a content; `None`: something may.
    fn why_waiting(&self, swarm: &Swarm, fetching: &Fetching) -> Option<WaitReason> {
        if swarm.held.is_all()
            || !fetching.asked.is_empty()
            || swarm.partners.values().any(|p| !p.choices.is_empty())
        {
            return None;
        }
        if let Phase::Table(Collecting { from: Some(_), .. }) = fetching.phase {
            return None;
        }
        let dialing =
            self.dials.values().any(|dial| swarm.candidates.get(&dial.addr).is_some_and(|c| c.tries <= 1));
        if dialing || self.session.is_opening() {
            return None;
        }
        let able = |p: &&Partner| p.may_give(self.now);
        let table = matches!(fetching.phase, Phase::Table(_));
        let some = swarm.partners.values().filter(able).any(|p| !p.have.is_none());
        let busy = swarm.partners.values().any(|p| p.answers() && !p.may_give(self.now));
        let useful = !table
            && swarm
                .partners
                .values()
                .filter(able)
                .any(|p| fetching.picker.rarest().any(|piece| p.offers(piece)));
        if useful {
            return None;
        }
        Some(match some && !table {
            // Holders may be in reach, and only this peer cannot reach out.
            _ if self.too_many_open => WaitReason::Storage(StorageFault::TooManyOpen),
            _ if busy => WaitReason::Busy,
            true => WaitReason::MissingPieces,
            false => WaitReason::NoHolder,
        })
    }

    /// Pieces that are not held.
    pub(super) fn missing_ranges(&self, id: DownloadId) -> Vec<(PieceIndex, PieceIndex)> {
        let root = self.root_swarm(id);
        match root.map(|s| &s.held) {
            Some(Held::Some(set)) => set.missing_ranges(),
            Some(Held::All) | None => Vec::new(),
        }
    }

    /// Pieces that are not held and that nobody in reach has.
    fn unreachable_ranges(&self, id: DownloadId) -> Vec<(PieceIndex, PieceIndex)> {
        let Some(swarm) = self.root_swarm(id) else { return Vec::new() };
        let Held::Some(held) = &swarm.held else { return Vec::new() };
        let mut reachable = held.clone();
        for piece in held.iter_missing().collect::<Vec<_>>() {
            if swarm.partners.values().any(|p| p.may_give(self.now) && p.offers(piece)) {
                reachable.insert(piece);
            }
        }
        reachable.missing_ranges()
    }

    pub(super) fn say_waiting(
        &mut self,
        id: DownloadId,
        reason: WaitReason,
        missing: Vec<(PieceIndex, PieceIndex)>,
    ) {
        let Some(d) = self.downloads.get_mut(&id) else { return };
        let said = (reason, missing);
        if d.waiting.as_ref() == Some(&said) {
            return;
        }
        let (reason, missing) = said.clone();
        d.waiting = Some(said);
        self.report(PeerEvent::Waiting { download: id, reason, missing });
    }
}
