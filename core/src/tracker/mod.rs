//! The tracker machine: who is here, and who holds what. It never touches the bytes of a file.
//!
//! In come links, requests and the passing of time; out go answers, pushes, probes, closes and reports ([`io`](self)).
//!
//! - A *link* is a connection. One that has not joined is a visitor: it may ask, and is closed when it stops asking.
//! - A *session* is a joined peer: a name that no other live peer has, a secret token, a lease. Registrations belong to
//!   the session, never to the name. It ends when its link closes, when it leaves, or when its lease runs out; a peer
//!   that reconnects before that was noticed takes it over with the token.
//! - The *registry* holds the registrations and lists contents by name; searches scan it.
//! - *Watches* push to whoever asked for it what became of the holders of a content, or of the list of peers.
//! - *Probes* check that a peer answers where it claims to listen. That only sets `dialable`.
//!
//! # Invariants
//!
//! Names and peer ids are unique among live sessions. Every registration belongs to one owner, and only it can take it
//! back. A watcher is never in its own sample. Whatever waits is bounded ([`limits`](crate::limits)): what does not fit
//! is refused, or closes a link. All of it is checked by [`Tracker::check_invariants`].
//!
//! # Cost
//!
//! Everything is ordered: nothing depends on a hasher. A request costs O(log n) and what it returns; a search for a rare
//! substring costs one pass over the names. The next deadline is known at once.

mod catalog;
mod inspect;
mod io;
mod links;
mod matcher;
mod names;
mod offers;
mod pace;
mod peer_log;
mod probes;
mod pushes;
mod queries;
mod registry;
mod searchers;
mod sessions;
mod shares;
mod visitors;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;

pub use inspect::SessionView;
pub use io::*;

use self::links::Link;
use self::pace::Pacer;
use self::peer_log::PeerLog;
use self::probes::Probes;
use self::registry::{OwnerId, Registry};
use self::searchers::Searchers;
use self::sessions::Session;
use self::visitors::Visitors;
use self::watch::Watches;
use crate::Machine;
use crate::effects::Effects;
use crate::ids::{LinkId, PeerId};
use crate::limits::{EFFECTS_PER_INPUT_MAX, LEASE_MIN, REMOVALS_PER_INPUT, VISITOR_IDLE};
use crate::peer::CloseReason;
use crate::time::{Deadline, Instant, TimerKind};
use crate::wire::tracker::{RefusedRequest, TrackerMessage, TrackerRequest};

/// The tracker.
#[derive(Debug)]
pub struct Tracker {
    lease: Duration,
    rng: ChaCha8Rng,
    /// When the last input came.
    now: Instant,
    links: BTreeMap<LinkId, Link>,
    /// Links that have not joined.
    visitors: Visitors,
    /// Those of them that do not watch, by when they last asked.
    idle: BTreeSet<(Instant, LinkId)>,
    /// The other links, by when their silence is to be looked at.
    checks: BTreeSet<(Instant, LinkId)>,
    sessions: BTreeMap<OwnerId, Session>,
    by_peer: BTreeMap<PeerId, OwnerId>,
    by_name: BTreeMap<String, OwnerId>,
    /// Sessions of each address, where there are any.
    by_origin: BTreeMap<IpAddr, usize>,
    registry: Registry,
    watches: Watches,
    peer_log: PeerLog,
    pacer: Pacer,
    probes: Probes,
    searchers: Searchers,
}

impl Tracker {
    /// A tracker that knows nobody.
    #[must_use]
    pub fn new(config: TrackerConfig) -> Self {
        Self {
            lease: Duration::from_millis(config.lease_ms.into()).max(LEASE_MIN),
            rng: config.seed.fork("tracker").rng(),
            now: Instant::ZERO,
            links: BTreeMap::new(),
            visitors: Visitors::default(),
            idle: BTreeSet::new(),
            checks: BTreeSet::new(),
            sessions: BTreeMap::new(),
            by_peer: BTreeMap::new(),
            by_name: BTreeMap::new(),
            by_origin: BTreeMap::new(),
            registry: Registry::default(),
            watches: Watches::default(),
            peer_log: PeerLog::default(),
            pacer: Pacer::default(),
            probes: Probes::default(),
            searchers: Searchers::default(),
        }
    }

    fn request(&mut self, link: LinkId, msg: TrackerRequest, turn: &mut Turn<'_>) {
        match msg {
            TrackerRequest::Join { seq, name, any_name, listen_port, token } => {
                self.join(link, seq, sessions::Wish { name, any_name, listen_port, token }, turn);
            }
            TrackerRequest::Rename { seq, name } => self.rename(link, seq, name, turn),
            TrackerRequest::Leave {} => self.leave(link, turn),
            TrackerRequest::Announce { seq, ads } => self.announce(link, seq, &ads, turn),
            TrackerRequest::Withdraw { seq, keys } => self.withdraw(link, seq, &keys, turn),
            TrackerRequest::Search { seq, matching, members, after, limit } => {
                let after = after.as_ref();
                self.search(link, seq, &matching, queries::Wanted { members, after, limit }, turn);
            }
            TrackerRequest::Holders { seq, key, after, limit } => {
                self.look_up(link, seq, key, after, limit, turn);
            }
            TrackerRequest::Peers { seq, after, limit } => self.list_peers(link, seq, after, limit, turn),
            TrackerRequest::Watch { key } => self.watch(link, key, turn),
            TrackerRequest::Unwatch { key } => self.unwatch(link, key),
            TrackerRequest::WatchPeers { on } => self.watch_peers(link, on, turn),
            TrackerRequest::AskToDial { peer } => self.ask_to_dial(link, peer, turn),
            TrackerRequest::AcceptOffers { seq, from } => self.accept_offers(link, seq, from, turn),
            TrackerRequest::OfferTo { seq, to, offer, total } => {
                self.offer_to(link, seq, to, offer, total, turn);
            }
            TrackerRequest::AlsoNamed { key, names } => self.also_named(link, key, &names, turn),
            TrackerRequest::Ping { nonce } => turn.send(link, TrackerMessage::Pong { nonce }),
            TrackerRequest::Pong { .. } => {}
        }
    }

    /// Does what is due, as far as the bound on effects allows.
    fn do_what_is_due(&mut self, turn: &mut Turn<'_>) {
        self.registry.drain(REMOVALS_PER_INPUT);
        while turn.has_room() && (self.close_idle(turn) || self.check_silence(turn)) {}
        while turn.has_room() && (self.end_overdue_probe(turn) || self.begin_probe(turn)) {}
        while turn.has_room()
            && let Some(link) = self.pacer.next_due(turn.now)
        {
            self.push(link, turn);
        }
    }
}

impl Machine for Tracker {
    type Input = TrackerInput;
    type Effect = TrackerEffect;

    fn handle(&mut self, now: Instant, input: TrackerInput, out: &mut Effects<TrackerEffect>) {
        self.now = self.now.max(now);
        let turn = &mut Turn { now: self.now, start: out.len(), out };
        match input {
            TrackerInput::LinkUp { link, peer, addr } => self.link_up(link, peer, addr, turn),
            TrackerInput::LinkDown { link, reason: _ } => self.link_down(link, turn),
            TrackerInput::Request { link, msg } => {
                if self.heard(link, &msg) {
                    self.request(link, msg, turn);
                }
            }
            TrackerInput::Probed { op, answered_by } => self.probed(op, answered_by, turn),
            TrackerInput::Tick => {}
        }
        self.do_what_is_due(turn);
    }

    fn deadline(&self) -> Option<Deadline> {
        if self.registry.is_draining() {
            return Some(Deadline { at: self.now, why: TimerKind::Continue });
        }
        let silence = self.checks.first().map(|(at, link)| {
            let pinged = self.links.get(link).is_some_and(Link::is_pinged);
            (*at, if pinged { TimerKind::Lease } else { TimerKind::KeepAlive })
        });
        let deadlines = [
            self.idle.first().map(|(asked, _)| (*asked + VISITOR_IDLE, TimerKind::KeepAlive)),
            silence,
            self.pacer.deadline().map(|at| (at, TimerKind::Flush)),
            self.probes.deadline().map(|at| (at, TimerKind::Probe)),
        ];
        let (at, why) = deadlines.into_iter().flatten().min()?;
        if at <= self.now {
            return Some(Deadline { at: self.now, why: TimerKind::Continue });
        }
        Some(Deadline { at, why })
    }
}

/// Effects kept free for one step of [`Tracker::do_what_is_due`], more than any step needs.
const STEP_EFFECTS: usize = 256;

/// One input being handled: its time, and where its effects go.
struct Turn<'a> {
    now: Instant,
    /// Effects that were in the buffer before.
    start: usize,
    out: &'a mut Effects<TrackerEffect>,
}

impl Turn<'_> {
    fn send(&mut self, link: LinkId, msg: TrackerMessage) {
        self.out.push(TrackerEffect::Send { link, msg });
    }

    fn refuse(&mut self, link: LinkId, seq: u32, why: RefusedRequest) {
        self.send(link, TrackerMessage::Refused { seq, why });
    }

    fn close(&mut self, link: LinkId, reason: CloseReason) {
        self.out.push(TrackerEffect::Close { link, reason });
    }

    fn report(&mut self, event: TrackerEvent) {
        self.out.push(TrackerEffect::Report(event));
    }

    /// May another step add its effects?
    fn has_room(&self) -> bool {
        self.out.len() - self.start + STEP_EFFECTS <= EFFECTS_PER_INPUT_MAX
    }
}
