//! How many chunks leave at the same time, and how many links are served.
//!
//! Connections share an uplink. A chunk can be passed on only when it is whole, so a few chunks at a time that get through
//! quickly are worth more than many that all take long. The window is found by delay, as in LEDBAT (RFC 6817): once per window,
//! by the quickest of its chunks. It grows if that one left within the target (doubles until one has not, as in TCP's slow start)
//! and shrinks if it took twice as long, to its half if it took four times as long. The others may have waited for their far
//! ends; where all are slow, it is the uplink.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::ids::LinkId;
use crate::limits::CHUNK_BYTES;
use crate::time::Instant;

use super::rate::RateMeter;

/// A chunk should leave in this time, and so many round trips of its link besides: those of a connection that starts slowly.
const TARGET: Duration = Duration::from_millis(100);
const START_TRIPS: u32 = 5;
/// Bounds of the window, in chunks.
const WINDOW_MIN: f64 = 2.0;
const WINDOW_MAX: f64 = 64.0;
/// It starts with what leaves in that time at this rate, in chunks per second: 105 Mbit/s.
const START_RATE: f64 = 50.0;
/// A served link should get a chunk this often.
const TURN: Duration = Duration::from_secs(4);
/// Bounds on the number of served links; the configured maximum comes on top.
const SLOTS_MIN: usize = 2;
const SLOTS_START: usize = 32;
/// A chunk that takes this many times as long as is usual no longer counts: its far end is stuck, not the uplink.
const STUCK_FACTOR: u32 = 4;
const STUCK_MIN: Duration = Duration::from_secs(1);
/// Before any has left: an uplink of 1 Mbit/s takes two seconds for a chunk, and more at once would only take longer.
const STUCK_FIRST: Duration = Duration::from_secs(10);

/// Chunks that the driver has and has not reported, and what they tell of the uplink.
#[derive(Debug)]
pub(super) struct Outgoing {
    window: f64,
    /// A round took longer than the target: from here on the window grows slowly.
    found: bool,
    /// When each was handed over, oldest first.
    sending: BTreeMap<LinkId, VecDeque<Instant>>,
    count: usize,
    round: Round,
    /// When the window shrank last: chunks handed over before waited in the queue that made it shrink, and do not count again.
    shrank: Instant,
    /// Usual time of a chunk; none has left: nothing.
    usual: Option<Duration>,
    meter: RateMeter,
    /// Since when something is being sent without a break.
    busy: Option<Instant>,
    /// Bytes per second while busy.
    rate: Option<f64>,
}

/// As many chunks as the window has, one after the other, and what they tell of it.
#[derive(Debug)]
struct Round {
    sent: u32,
    /// The shortest time in which one of them left, without the round trips that are its due.
    quickest: Duration,
    /// The window was full at some time.
    full: bool,
}

impl Round {
    const EMPTY: Self = Self { sent: 0, quickest: Duration::MAX, full: false };
}

impl Outgoing {
    pub(super) fn new() -> Self {
        Self {
            window: start(Duration::ZERO),
            found: false,
            sending: BTreeMap::new(),
            count: 0,
            round: Round::EMPTY,
            shrank: Instant::ZERO,
            usual: None,
            meter: RateMeter::new(Instant::ZERO),
            busy: None,
            rate: None,
        }
    }

    /// May another chunk leave now? Else when to look again, should none be reported before.
    pub(super) fn room(&self, now: Instant) -> Result<(), Instant> {
        if (self.count as f64) < self.window {
            return Ok(());
        }
        let patience = self.usual.map_or(STUCK_FIRST, |usual| (usual * STUCK_FACTOR).max(STUCK_MIN));
        let old = self.sending.values().flatten().filter(|at| now.since(**at) >= patience).count();
        if ((self.count - old) as f64) < self.window {
            return Ok(());
        }
        let next = self.sending.values().flatten().filter(|at| now.since(**at) < patience).min();
        Err(next.map_or(now, |at| *at) + patience)
    }

    /// Chunks that were handed to the driver and have not left.
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// A chunk was handed to the driver, for a link with this round trip.
    pub(super) fn began(&mut self, link: LinkId, now: Instant, rtt: Duration) {
        if self.count == 0 && self.usual.is_none() {
            self.window = start(rtt);
        }
        if self.count == 0 {
            self.busy = Some(now);
            self.meter.restart(now);
        }
        self.sending.entry(link).or_default().push_back(now);
        self.count += 1;
    }

    /// A chunk has left.
    pub(super) fn ended(&mut self, link: LinkId, now: Instant, rtt: Duration) {
        let Some(began) = self.sending.get_mut(&link).and_then(VecDeque::pop_front) else { return };
        self.round.full |= self.count as f64 + 1.0 >= self.window;
        self.count -= 1;
        self.meter.add(now, CHUNK_BYTES);
        let took = now.since(began);
        self.usual = Some(self.usual.map_or(took, |usual| (usual * 7 + took) / 8));
        if began >= self.shrank {
            self.round.sent += 1;
            self.round.quickest = self.round.quickest.min(took.saturating_sub(rtt * START_TRIPS));
        }
        if f64::from(self.round.sent) >= self.window {
            self.end_round(now);
        }
        if self.busy.is_some_and(|since| now.since(since) >= Duration::from_millis(500)) {
            self.rate = Some(self.meter.rate(now));
        }
        if self.count == 0 {
            self.busy = None;
        }
    }

    fn end_round(&mut self, now: Instant) {
        let round = std::mem::replace(&mut self.round, Round::EMPTY);
        self.found |= round.quickest >= TARGET;
        if round.quickest > TARGET * 2 {
            self.window = if round.quickest > TARGET * 4 { self.window / 2.0 } else { self.window - 1.0 };
            self.shrank = now;
        } else if round.quickest < TARGET && round.full {
            self.window += if self.found { 1.0 } else { self.window };
        }
        self.window = self.window.clamp(WINDOW_MIN, WINDOW_MAX);
    }

    /// Nothing more leaves over this link.
    pub(super) fn link_gone(&mut self, link: LinkId) {
        self.count -= self.sending.remove(&link).map_or(0, |sending| sending.len());
    }

    /// How many links to serve, so that each gets a chunk in time.
    pub(super) fn slots(&self, max: usize) -> usize {
        let slots = match self.rate {
            Some(rate) => (rate * TURN.as_secs_f64() / CHUNK_BYTES as f64) as usize,
            None => SLOTS_START,
        };
        slots.max(SLOTS_MIN).min(max)
    }

    /// Chunks under way over links that are gone would never be reported.
    pub(super) fn links(&self) -> impl Iterator<Item = LinkId> + '_ {
        self.sending.keys().copied()
    }
}

/// The window before anything is known of the uplink.
fn start(rtt: Duration) -> f64 {
    ((TARGET + rtt * START_TRIPS).as_secs_f64() * START_RATE).clamp(WINDOW_MIN, WINDOW_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends as fast as the window lets it over an uplink of `rate` bytes per second; returns how long chunks took in the end.
    fn settle(rate: f64, rtt: Duration, seconds: u64) -> (f64, Duration) {
        let mut out = Outgoing::new();
        let mut now = Instant::ZERO;
        let mut free = Instant::ZERO;
        let mut leaving: VecDeque<Instant> = VecDeque::new();
        let mut took = Duration::ZERO;
        while now < Instant::from_millis(seconds * 1000) {
            while out.room(now).is_ok() {
                out.began(LinkId(1), now, rtt);
                free = free.max(now) + Duration::from_secs_f64(CHUNK_BYTES as f64 / rate);
                leaving.push_back(free);
            }
            let Some(at) = leaving.pop_front() else { break };
            took = at.since(now);
            now = at;
            out.ended(LinkId(1), now, rtt);
        }
        (out.window, took)
    }

    #[test]
    fn the_window_follows_the_uplink() {
        let ms = Duration::from_millis;
        let (slow, _) = settle(50e3, ms(20), 600);
        assert!(slow < 2.5, "50 kB/s: {slow}");
        let (home, _) = settle(12.5e6, ms(1), 60);
        assert!((4.0..12.0).contains(&home), "100 Mbit/s: {home}");
        let (lan, _) = settle(1.25e9, ms(1), 5);
        assert!(lan > 30.0, "10 Gbit/s: {lan}");
    }

    #[test]
    fn the_window_is_found_in_a_few_rounds() {
        let mut now = Instant::ZERO;
        let mut round = |out: &mut Outgoing, took| {
            while out.room(now).is_ok() {
                out.began(LinkId(1), now, Duration::ZERO);
            }
            now = now + took;
            (0..out.count()).for_each(|_| out.ended(LinkId(1), now, Duration::ZERO));
            out.window
        };
        let mut out = Outgoing::new();
        let first = start(Duration::ZERO);
        assert_eq!(round(&mut out, Duration::from_millis(10)), first * 2.0);
        assert_eq!(round(&mut out, Duration::from_secs(1)), first);
        assert_eq!(round(&mut out, Duration::from_millis(10)), first + 1.0, "found: it creeps");
    }

    #[test]
    fn an_uplink_that_nothing_has_left_yet_is_not_given_more_and_more() {
        let mut out = Outgoing::new();
        for second in 0..9 {
            let now = Instant::from_millis(second * 1000);
            while out.room(now).is_ok() {
                out.began(LinkId(1), now, Duration::ZERO);
            }
        }
        assert_eq!(out.count(), start(Duration::ZERO) as usize);
    }

    #[test]
    fn what_waited_in_one_queue_shrinks_the_window_once() {
        let mut out = Outgoing::new();
        let mut now = Instant::from_millis(1);
        out.began(LinkId(1), now, Duration::ZERO);
        out.window = 32.0;
        while out.room(now).is_ok() {
            out.began(LinkId(1), now, Duration::ZERO);
        }
        // One after the other, each with 31 before it.
        now = now + Duration::from_millis(500);
        for _ in 0..32 + 31 {
            out.ended(LinkId(1), now, Duration::ZERO);
            now = now + Duration::from_millis(20);
            if out.room(now).is_ok() {
                out.began(LinkId(1), now, Duration::ZERO);
            }
        }
        assert_eq!(out.window, 16.0);
    }

    #[test]
    fn far_ends_that_are_slow_do_not_shrink_the_window() {
        let mut out = Outgoing::new();
        let (slow, quick) = (LinkId(1), LinkId(2));
        for round in 0..100 {
            let now = Instant::from_millis(round * 1000);
            for link in [slow, slow, slow, quick] {
                out.began(link, now, Duration::ZERO);
            }
            out.ended(quick, now + Duration::from_millis(20), Duration::ZERO);
            for _ in 0..3 {
                out.ended(slow, now + Duration::from_millis(500), Duration::ZERO);
            }
        }
        assert!(out.window >= start(Duration::ZERO), "{}", out.window);
    }

    #[test]
    fn a_stuck_link_does_not_hold_the_window() {
        let mut out = Outgoing::new();
        let now = Instant::from_millis(1);
        while out.room(now).is_ok() {
            out.began(LinkId(1), now, Duration::ZERO);
        }
        let again = out.room(now).expect_err("full");
        assert_eq!(out.room(again), Ok(()));
        out.link_gone(LinkId(1));
        assert_eq!(out.room(now), Ok(()));
    }
}
