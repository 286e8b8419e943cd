//! A link that finds no open piece takes one over from a link that would need much longer, and in the very end asks a second
//! time for what a slow link is just sending. A link that is silent for too long gives back what it owes.

use std::time::Duration;

use crate::ids::{LinkId, OpId};

use super::Peer;
use super::swarm::SwarmId;
use super::timers::Timer;

/// A piece is taken over only if that promises to be this much faster, and [`OVERTAKE_SLACK`] besides.
const OVERTAKE_FACTOR: f64 = 2.0;
const OVERTAKE_SLACK: Duration = Duration::from_millis(50);
/// In the end game a link is silent for this long before one whose far end may be busy takes over.
const SILENT_AT_THE_END: Duration = Duration::from_millis(500);
/// A silent link is given up even without an alternative after this, so that the download can say that it waits.
const GIVE_UP: Duration = Duration::from_secs(10);

/// How often it is looked whether links deliver what they owe; and while one is stuck, or nothing else is left to ask for.
pub(super) const STALL_EVERY: Duration = Duration::from_millis(250);
pub(super) const STALL_EVERY_AT_THE_END: Duration = Duration::from_millis(50);

impl Peer {
    /// Finds something of a slower link to do. True: something was asked for.
    pub(super) fn overtake(&mut self, link: LinkId, id: SwarmId, room: u64) -> bool {
        let now = self.now;
        let Some(l) = self.links.get(&link) else { return false };
        let Some(swarm) = self.swarms.get(&id).filter(|s| s.is_running()) else { return false };
        let Some(partner) = swarm.partners.get(&link).filter(|p| p.is_askable(now)) else { return false };
        let Some(fetching) = &swarm.fetching else { return false };
        // Who was given up for silence is asked again, but no second time for what others may be sending.
        if !l.delivered && partner.strikes > 0 {
            return false;
        }
        let own = l.eta(now, l.inflight + swarm.geometry.piece_length()) + l.delay.unwrap_or_default();
        let worth = own.mul_f64(OVERTAKE_FACTOR) + OVERTAKE_SLACK;
        // While chunks come as fast as our downlink takes them, what is owed is on its way through it, or will be served
        // before the downlink is free, however silent one of many links is meanwhile: a second copy comes behind the first,
        // and in front of what is not here yet.
        let end_game = fetching.picker.open_count() == 0 && !self.down.is_full(now);
        let idle = l.spare.is_idle(now);
        let mut best: Option<(Duration, LinkId, OpId, bool, bool)> = None;
        for slow in swarm.partners.keys().filter(|s| **s != link) {
            let Some(s) = self.links.get(slow) else { continue };
            // While others still find something to do, slowness is no reason: what is taken from one busy link only makes
            // another busier. Silence is. In the end game, too, what a busy far end sends a second time others get so much later.
            if s.inflight == 0
                || !(end_game && (idle || now.since(s.progress) >= SILENT_AT_THE_END) || s.is_stuck(now))
            {
                continue;
            }
            // Two that never gave anything may have it between them, and be silent on purpose: one of them loses it.
            let mute = end_game && l.delivered && !s.delivered && now.since(s.progress) >= SILENT_AT_THE_END;
            // Bytes ahead of and in each run, oldest first; the run asked for last waits longest.
            let mut ahead = 0;
            let mut head = true;
            for op in &s.queue {
                let Some(run) = self.asked.get(op).filter(|r| !r.taken_back && r.outstanding != 0) else {
                    continue;
                };
                let is_head = std::mem::replace(&mut head, false);
                if run.choice.is_none() {
                    ahead += self.outstanding_bytes(run);
                }
                let piece = run.run.piece;
                let twice = fetching.asked.get(&piece).is_some_and(|asks| asks.len() > 1);
                let full = twice && (!mute || partner.asked.contains(&piece));
                if run.swarm != id || full || !partner.offers(piece) {
                    continue;
                }
                let eta = s.eta(now, if run.choice.is_some() { s.inflight } else { ahead });
                if eta > worth && best.is_none_or(|(b, ..)| eta > b) {
                    best = Some((eta, *slow, *op, is_head, twice));
                }
            }
        }
        let Some((_, slow, op, is_head, twice)) = best else { return false };
        let Some(run) = self.asked.get(&op).cloned() else { return false };
        let piece = run.run.piece;
        if let Some(choice) = run.choice {
            self.take_back_choice(slow, id, choice, true);
            return self.begin_asking(link, id, piece, room);
        }
        let dead = self.links.get(&slow).is_some_and(|s| now.since(s.progress) >= s.patience());
        let undivided = self
            .swarms
            .get(&id)
            .and_then(|s| s.fetching.as_ref())
            .is_some_and(|f| f.undivided.contains(&piece));
        if !is_head || dead || undivided || twice {
            self.take_back(slow, id, piece, true);
        } else if !end_game {
            return false;
        }
        self.begin_asking(link, id, piece, room)
    }

    /// Looks whether links deliver what they owe; wakes those that could overtake one that does not, or has the last that is
    /// missing.
    pub(super) fn check_stalls(&mut self) {
        let now = self.now;
        let mut next = STALL_EVERY;
        let owing = self.links.iter().filter(|(_, l)| l.inflight > 0).map(|(link, _)| *link);
        for link in owing.collect::<Vec<_>>() {
            let Some(l) = self.links.get(&link) else { continue };
            let (silent, stuck, patience) = (now.since(l.progress), l.is_stuck(now), l.patience());
            let swarms = l.swarms();
            for id in &swarms {
                let Some(swarm) = self.swarms.get(id).filter(|s| s.is_running()) else { continue };
                let open = swarm.fetching.as_ref().map_or(0, |f| f.picker.open_count());
                if stuck || open == 0 {
                    next = STALL_EVERY_AT_THE_END;
                    self.hungry.extend(swarm.partners.keys().copied().filter(|p| *p != link));
                }
            }
            if silent >= patience {
                for id in swarms {
                    self.stalled(link, id, silent >= GIVE_UP);
                }
            }
        }
        if self.owing > 0 {
            self.timers.set(Timer::Stall, now + next);
        }
    }

    /// A silent link gives back what it owes of one content, if there is somebody else to ask or `anyway`.
    fn stalled(&mut self, link: LinkId, id: SwarmId, anyway: bool) {
        let now = self.now;
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        let other = swarm.partners.iter().any(|(l, p)| *l != link && p.is_askable(now) && !p.have.is_none());
        let Some(partner) = swarm.partners.get_mut(&link) else { return };
        if (partner.asked.is_empty() && partner.choices.is_empty()) || !(other || anyway) {
            return;
        }
        let pause = Duration::from_secs(1 << partner.strikes.min(5));
        partner.strikes = partner.strikes.saturating_add(1);
        partner.not_before = Some(now + pause);
        self.timers.set(Timer::Retry(link, id), now + pause);
        self.take_back_all(link, id, true);
        self.gives_up_places(link);
    }
}
