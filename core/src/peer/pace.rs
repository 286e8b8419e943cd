//! How much is asked for at a time.
//!
//! What waits in one holder's queue is asked of nobody else meanwhile, so little is under way over all links together, and
//! more only where this peer lags behind others, where an uplink is idle (`spare`), or of what nobody else holds. Each link
//! by itself is bounded by its measured rate and delay. What a link is given then is for `requests` to say.

use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;

use crate::ids::LinkId;
use crate::limits::CHUNK_BYTES;
use crate::time::Instant;

use super::Peer;
use super::link::Link;
use super::swarm::Swarm;
use super::timers::Timer;

/// Over all links together, what comes in this time and a round trip is under way at most, or this many bytes: what
/// waits in one queue is asked of nobody else, so a long queue at one holder leaves another idle.
const ENOUGH: Duration = Duration::from_millis(100);
const ENOUGH_BYTES: u64 = 5 * CHUNK_BYTES;
/// The same where there are few links: there is little choice, and each has to be kept busy.
const ENOUGH_OF_FEW: Duration = Duration::from_millis(150);
const ENOUGH_BYTES_OF_FEW: u64 = 8 * CHUNK_BYTES;
const FEW_LINKS: usize = 10;
/// Where most of those that owe something hold all, so many times what comes in while a chunk takes its way, if that is more.
/// Were it once, slow holders would stay as few as were asked by chance (Little's law: what is under way is rate times
/// delay). The shortest delay of any link counts: longer ones are those of the own downlink, when that is full. In a crowd
/// more under way would be asked of nobody else. (BBR, Cardwell et al., ACM Queue 2016, has twice as much under way as a
/// path holds for the like reason.)
const ENOUGH_DELAYS: f64 = 1.5;
/// All links are looked at anew after so long.
const SURVEY_EVERY: Duration = Duration::from_millis(10);
/// Who has more than so many pieces fewer than others, on average, asks more than they: for each time this many as much
/// again, up to [`LAG_FACTOR`] times as much. What it asks of them comes over connections that are seldom used, and slow.
const LAG_PIECES: u64 = 2;
const LAG_FACTOR: u64 = 4;
/// So much more is asked of those who have uplink to spare, and what comes in during so many round trips besides.
const SPARE_BYTES: u64 = 5 * CHUNK_BYTES;
const SPARE_TRIPS: f64 = 2.0;
/// With so few partners each has to be kept busy: one that owes a chunk yet is asked for the next, lest its connection stand
/// still for a round trip after every chunk. With more of them others fill the gap, and what is asked early waits in a queue.
const FEW_PARTNERS: usize = 8;
/// So is one this far away: its connection would stand still for as long as a chunk takes, and begin slowly again.
const FAR: Duration = Duration::from_millis(50);
/// Asks per input; the rest follows at once, in the next.
const ASKS_PER_INPUT: u32 = 256;

/// How this peer stands among the partners of a swarm is counted anew after so long: it changes with every announcement, and
/// only roughly matters.
const STANDING_EVERY: Duration = Duration::from_millis(10);

/// What is looked at over all links now and then.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Survey {
    /// When it is looked at anew.
    next: Instant,
    /// How long a chunk takes its way when nothing holds it up; zero where partial holders owe as much as complete ones.
    chunk_delay: Duration,
    /// Bytes owed by links that never gave anything and are silent.
    mute: u64,
}

/// How this peer stands among the partners of a swarm.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standing {
    /// When it is counted anew.
    next: Instant,
    /// How many pieces the partial holders have more of it, on average, than are here.
    lag: u64,
    complete_partners: usize,
}

impl Swarm {
    /// `None`: it is not being fetched.
    fn standing(&mut self, now: Instant) -> Option<Standing> {
        let known = self.fetching.as_ref()?.standing;
        if known.next > now {
            return Some(known);
        }
        let theirs = self.partners.values().filter_map(|p| p.have.set()).map(|set| u64::from(set.count()));
        let (sum, partial) = theirs.filter(|n| *n > 0).fold((0, 0), |(sum, n), has| (sum + has, n + 1));
        let held = u64::from(self.held.count(self.pieces()));
        let lag = sum.checked_div(partial).unwrap_or(0).saturating_sub(held);
        let complete_partners = self.complete_partners();
        let counted = Standing { next: now + STANDING_EVERY, lag, complete_partners };
        self.fetching.as_mut()?.standing = counted;
        Some(counted)
    }
}

impl Peer {
    /// Gives links with room something to do.
    pub(super) fn fill_hungry(&mut self) {
        let mut budget = ASKS_PER_INPUT;
        self.survey_links();
        loop {
            while let Some(link) = self.pop_hungry() {
                if budget == 0 {
                    self.hungry.insert(link);
                    self.timers.set(Timer::Continue, self.now);
                    return;
                }
                self.fill(link, &mut budget);
            }
            // Who delivered found nothing to ask: so it is the turn of those that were put off, or, where enough is under
            // way, of one that has uplink to spare.
            if self.put_off.is_empty() {
                return;
            }
            if self.inflight < self.enough(Duration::ZERO) {
                self.hungry.append(&mut self.put_off);
                continue;
            }
            // They were put off since too much was under way: it is looked again once less is.
            if !self.less_under_way {
                return;
            }
            let Some(link) = self.put_off_with_spare() else {
                self.less_under_way = false;
                return;
            };
            self.put_off.remove(&link);
            self.hungry.insert(link);
        }
    }

    /// The next of the hungry links. Where the person's cap lets little be asked they take turns: else one of them, which had the
    /// luck of the first link, would give nearly all.
    fn pop_hungry(&mut self) -> Option<LinkId> {
        let after = self.hungry.range((Excluded(self.last_asked), Unbounded)).next().copied();
        match after.filter(|_| self.down_cap.rate() != 0) {
            Some(link) => self.hungry.take(&link),
            None => self.hungry.pop_first(),
        }
    }

    /// Of the links that were put off, owe nothing and have uplink to spare, that with the least on its way. One that `fill`
    /// asks: else it would be put off again for ever.
    fn put_off_with_spare(&self) -> Option<LinkId> {
        let enough = self.enough(Duration::ZERO);
        let may = |l: &Link| l.inflight == 0 && self.may_use_spare(l, enough);
        let offer = |l: &Link| if may(l) { l.spare.offered(self.now) } else { None };
        let offers = self.put_off.iter().filter_map(|link| Some((offer(self.links.get(link)?)?, *link)));
        offers.filter(|(_, link)| !self.was_mute(*link)).min().map(|(_, link)| link)
    }

    /// Of the links that were put off, one that was never asked for anything, if there is room for it: what it can give is not
    /// known yet, so it comes before a second chunk from one that owes the first.
    fn put_off_untried(&self) -> Option<LinkId> {
        if self.inflight >= self.enough(Duration::ZERO) {
            return None;
        }
        self.put_off.iter().find(|link| self.is_untried(**link)).copied()
    }

    fn is_untried(&self, link: LinkId) -> bool {
        self.links.get(&link).is_some_and(|l| !l.delivered && l.inflight == 0) && !self.was_mute(link)
    }

    /// It never gave anything, and was given up for that before.
    fn was_mute(&self, link: LinkId) -> bool {
        let Some(l) = self.links.get(&link).filter(|l| !l.delivered) else { return false };
        let mut partners = l.mine.values().filter_map(|id| self.swarms.get(id)?.partners.get(&link));
        partners.any(|p| p.strikes > 0)
    }

    fn survey_links(&mut self) {
        if self.hungry.is_empty() || self.survey.next > self.now {
            return;
        }
        let (mut owing, mut complete, mut mute) = (0, 0, 0);
        for (link, l) in self.links.iter().filter(|(_, l)| l.inflight > 0) {
            let mut partners = l.mine.values().filter_map(|id| self.swarms.get(id)?.partners.get(link));
            owing += 1;
            mute += if !l.delivered && l.is_stuck(self.now) { l.inflight } else { 0 };
            complete += usize::from(partners.any(|p| p.have.is_all()));
        }
        let shortest = self.links.values().filter_map(|l| l.delay).min();
        let chunk_delay = shortest.filter(|_| complete * 2 > owing).unwrap_or_default();
        self.survey = Survey { next: self.now + SURVEY_EVERY, chunk_delay, mute };
    }

    /// Bytes that may be under way over all links together, where a round trip takes so long.
    fn enough(&self, rtt: Duration) -> u64 {
        let few = self.links.len() <= FEW_LINKS;
        let (time, bytes) = if few { (ENOUGH_OF_FEW, ENOUGH_BYTES_OF_FEW) } else { (ENOUGH, ENOUGH_BYTES) };
        let time = (time + rtt).max(self.survey.chunk_delay.mul_f64(ENOUGH_DELAYS));
        ((self.down.rate(self.now) * time.as_secs_f64()) as u64).max(bytes)
    }

    /// Has the far end uplink to spare, and is little enough under way to use it?
    fn may_use_spare(&self, link: &Link, enough: u64) -> bool {
        // Nearly all have none: that is looked at first.
        link.spare.is_offered(self.now) && {
            let trips = link.rtt.unwrap_or_default().as_secs_f64() * SPARE_TRIPS;
            self.inflight < enough + SPARE_BYTES + (self.down.rate(self.now) * trips) as u64
        }
    }

    fn fill(&mut self, link: LinkId, budget: &mut u32) {
        let share = self.config.inflight_bytes_max / self.owing.max(1) as u64;
        loop {
            let Some(l) = self.links.get(&link) else { return };
            let target = l.inflight_target(self.now, share);
            let room = target.saturating_sub(l.inflight);
            let owes = l.inflight > 0;
            if room == 0 || self.inflight >= self.config.inflight_bytes_max {
                return;
            }
            if !self.wants_more(link) {
                self.put_off.insert(link);
                return;
            }
            // Whoever was mute is asked again when all others have something to do.
            if self.was_mute(link) && self.hungry.iter().chain(&self.put_off).any(|l| self.is_untried(*l)) {
                self.put_off.insert(link);
                return;
            }
            if owes && let Some(untried) = self.put_off_untried() {
                self.put_off.insert(link);
                self.hungry.extend(self.put_off.take(&untried));
                return;
            }
            if *budget == 0 {
                self.hungry.insert(link);
                return;
            }
            if let Err(at) = self.down_cap.poll(self.now) {
                self.timers.set_by(Timer::DownRate, at);
                return;
            }
            if !self.ask_next(link, room.min(self.down_cap.portion())) {
                if self.links.get(&link).is_some_and(|l| l.inflight == 0) {
                    self.gives_up_places(link);
                }
                return;
            }
            self.last_asked = link;
            if let Some(l) = self.links.get_mut(&link) {
                l.spare.taken();
            }
            *budget -= 1;
        }
    }

    /// Enough is under way over all links, unless this one has something particular to give: who delivers is asked next, not
    /// who has a long queue. A link that owes nothing (of few, or from afar, next to nothing) may be asked further if its far end
    /// has uplink to spare, or holds what nobody else does.
    fn wants_more(&mut self, link: LinkId) -> bool {
        let Some(l) = self.links.get(&link) else { return false };
        let mut enough = self.enough(l.rtt.unwrap_or_default());
        if self.inflight < enough {
            return true;
        }
        // Of something that this link takes part in less is here than others have; nobody else holds all of it.
        let (mut lag, mut partners, mut sole) = (0, 0, false);
        for id in l.mine.values() {
            let Some(swarm) = self.swarms.get_mut(id).filter(|s| s.is_running()) else { continue };
            let Some(standing) = swarm.standing(self.now) else { continue };
            lag = lag.max(standing.lag);
            partners = partners.max(swarm.partners.len());
            let holds_all = || swarm.partners.get(&link).is_some_and(|p| p.have.is_all() && !p.dropped);
            sole |= standing.complete_partners == 1 && holds_all();
        }
        let lags = lag > LAG_PIECES;
        if lags {
            enough = enough * (LAG_PIECES + lag).min(LAG_FACTOR * LAG_PIECES) / LAG_PIECES;
            if self.inflight < enough {
                return true;
            }
        }
        let spare = self.may_use_spare(l, enough) || (lags && l.spare.is_offered(self.now));
        let stands_still = partners <= FEW_PARTNERS || l.rtt.is_some_and(|rtt| rtt >= FAR);
        let most = if stands_still { CHUNK_BYTES } else { 0 };
        // What mute links owe holds nobody up who gives something.
        let held_up = l.delivered && l.inflight == 0 && self.inflight < enough + self.survey.mute;
        held_up || (l.inflight <= most && (spare || sole))
    }
}
