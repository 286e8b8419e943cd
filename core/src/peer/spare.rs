//! Idle uplinks: who has one says so, and who lacks something asks there.
//!
//! What is asked of a busy holder waits in its queue and is asked of nobody else meanwhile. So little is asked at a time, and
//! whoever has nothing left to send tells the neediest of its partners that what they ask now leaves at once. The requests
//! come to the idle uplinks; nobody has to guess which those are. (The idea is that of "join the idle queue", Lu et al.,
//! Performance 2011: servers without work tell dispatchers, instead of being polled.)

use std::time::Duration;

use crate::ids::LinkId;
use crate::time::Instant;
use crate::wire::peer::PeerMessage;

use super::Peer;
use super::link::Link;
use super::swarm::Held;
use super::timers::Timer;

/// A word about a spare uplink is believed for this long, and two round trips besides.
const VALID: Duration = Duration::from_millis(100);
/// Pause before a link is told again; doubles while it asks for nothing. (Up to 0.4 s, slow peers that many complete ones told
/// had more under way than came in within a second: 0.956 instead of 0.970 of the bound where a quarter of 16 was slow.)
const AGAIN_MIN: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_millis(3200);
/// An uplink that has fewer chunks than this to send could send more: with fewer connections under way at a time, some of
/// them held up by the far end, it would stand still now and then.
const FEW: usize = 12;

/// Who has no more chunks on their way than this sends what it is asked for next.
const AS_GOOD_AS_NOTHING: u16 = 1;

/// What is known, and was told, of spare uplinks on one link.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spare {
    /// The far end has uplink to spare until then, as far as is known.
    until: Instant,
    /// How many chunks were leaving there when it said so.
    ahead: u16,
    /// It is told of ours at most from here on, and then not for this long.
    next: Instant,
    pause: Duration,
}

impl Spare {
    /// Does the far end have uplink to spare?
    pub(super) fn is_offered(&self, now: Instant) -> bool {
        now < self.until
    }

    /// How many chunks were leaving there, if it has uplink to spare.
    pub(super) fn offered(&self, now: Instant) -> Option<u16> {
        self.is_offered(now).then_some(self.ahead)
    }

    /// Was as good as nothing leaving there?
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        self.offered(now).is_some_and(|ahead| ahead <= AS_GOOD_AS_NOTHING)
    }

    /// The far end was asked for something: what it had to spare is taken.
    pub(super) const fn taken(&mut self) {
        self.until = Instant::ZERO;
    }

    /// The far end asks: telling it is of use.
    pub(super) const fn asks(&mut self) {
        self.next = Instant::ZERO;
        self.pause = Duration::ZERO;
    }
}

impl Peer {
    /// The far end says that what it is asked for leaves at once.
    pub(super) fn spare_said(&mut self, link: LinkId, ahead: u16) {
        let now = self.now;
        let Some(l) = self.links.get_mut(&link) else { return };
        l.spare.ahead = ahead;
        l.spare.until = now + VALID + l.rtt.unwrap_or_default() * 2;
        self.hungry.insert(link);
    }

    /// Everything that was asked for is on its way: tells the neediest partners, one for each chunk that could leave. With
    /// something `new` to give they are told again, though they made no use of it a moment ago.
    pub(super) fn offer_spare(&mut self, new: bool) {
        let now = self.now;
        let leaving = self.outgoing.count();
        if !self.ready.is_empty() || leaving >= FEW {
            return;
        }
        let idle =
            self.links.iter().filter(|(_, l)| l.hello && l.wants.is_empty() && (new || l.spare.next <= now));
        let mut needy: Vec<(u32, LinkId)> =
            idle.filter_map(|(id, l)| Some((self.has_of_ours(*id, l)?, *id))).collect();
        needy.sort_unstable();
        let ahead = u16::try_from(leaving).unwrap_or(u16::MAX);
        let mut again: Option<Instant> = None;
        for (_, link) in needy.into_iter().take(FEW - leaving) {
            let Some(l) = self.links.get_mut(&link) else { return };
            l.spare.pause = if new { AGAIN_MIN } else { (l.spare.pause * 2).clamp(AGAIN_MIN, AGAIN_MAX) };
            l.spare.next = now + l.spare.pause;
            again = Some(again.map_or(l.spare.next, |at| at.min(l.spare.next)));
            self.say(link, PeerMessage::Spare { ahead });
        }
        // Who has nothing to send is not reminded by anything sent.
        if let Some(at) = again {
            self.timers.set_by(Timer::Spare, at);
        }
    }

    /// How many pieces the far end has of a content of which it lacks something that is here.
    fn has_of_ours(&self, link: LinkId, l: &Link) -> Option<u32> {
        let needs = l.theirs.values().take(8).filter_map(|id| {
            let swarm = self.swarms.get(id)?;
            let theirs = &swarm.partners.get(&link)?.have;
            let lacks = match (&swarm.held, theirs) {
                (_, Held::All) => false,
                (Held::All, Held::Some(theirs)) => !theirs.is_full(),
                (Held::Some(ours), Held::Some(theirs)) => {
                    ours.count() > theirs.count() || ours.difference(theirs).next().is_some()
                }
            };
            lacks.then(|| theirs.count(swarm.pieces()))
        });
        needs.min()
    }
}
