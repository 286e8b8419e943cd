//! Who to dial, which links stay, keep-alive, and who is banned.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rand_chacha::rand_core::Rng;

use crate::ids::{ContentKey, LinkId, OpId, PeerId};
use crate::limits;
use crate::origin::origin;
use crate::time::Instant;
use crate::wire::peer::PeerMessage;
use crate::wire::tracker::{HolderRow, PeerRow, TrackerRequest};

use super::link::Link;
use super::swarm::{Candidate, SwarmId};
use super::timers::Timer;
use super::{CloseReason, DialError, Misbehaviour, Peer, PeerEffect, PeerEvent, Role};

/// The round trip is the shortest of so many answers at first, this long apart: at the start of a crowd the first is late.
const RTT_ANSWERS: u8 = 5;
const RTT_EVERY: Duration = Duration::from_millis(500);
/// Upper half of the nonces of pings to suspects; the lower half counts them.
const SUSPECT_NONCE: u64 = 0x5u64 << 60 | 0xB1A_ED00 << 32;

/// First pause before an address is dialed again; doubles up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Links of a swarm that are dialed at once, and the pause after the first of these waves; after the second it is four times as
/// long, then nine times. While a crowd arrives everybody knows the same few peers, and would link to those alone.
const WAVE_LINKS: usize = 4;
const WAVE_PAUSE: Duration = Duration::from_millis(50);
/// From this wave on the pause (1.25 s) grows no more: whoever waits for somebody who has what is lacked goes on dialing.
const WAVES_MAX: u32 = 5;
/// Who found no room in a wave is dialed in the next if half of them are complete holders, else after this: while a crowd
/// arrives they have little to give, and everybody's links to those that came first leave the others without.
const LEFT_PAUSE: Duration = Duration::from_secs(1);
/// While as many links are dialed as there shall be, it is looked this often whether they came about.
const PENDING_EVERY: Duration = Duration::from_secs(1);

/// A dial under way.
#[derive(Debug)]
pub(super) struct Dial {
    pub(super) addr: SocketAddr,
    pub(super) role: Role,
}

/// A peer heard of, linked or not: whom to ask while there is no tracker.
#[derive(Clone, Debug)]
pub(super) struct KnownPeer {
    pub(super) name: String,
    pub(super) addr: SocketAddr,
}

impl Peer {
    /// The pause after `tries` failures, with up to a quarter of jitter so that a crowd does not come back as one.
    pub(super) fn backoff(&mut self, tries: u32) -> Duration {
        let pause = BACKOFF_MIN.saturating_mul(1 << tries.min(6)).min(BACKOFF_MAX);
        pause + pause.mul_f64(f64::from(self.rng.next_u32() % 256) / 1024.0)
    }

    pub(super) fn learn(&mut self, peer: PeerId, name: &str, addr: SocketAddr) {
        if peer == self.config.peer || addr.port() == 0 {
            return;
        }
        if !self.known.contains_key(&peer) && self.known.len() >= limits::KNOWN_PEERS_MAX {
            self.known.pop_first();
        }
        self.known.insert(peer, KnownPeer { name: name.to_owned(), addr });
    }

    /// The address in a tracker's row, as it can be dialed from here.
    pub(super) fn resolve(&self, row: crate::wire::tracker::Reach) -> Option<SocketAddr> {
        let ip = row.ip.or_else(|| self.session.tracker().map(|t| t.ip()))?;
        (row.port != 0).then(|| SocketAddr::new(ip, row.port))
    }

    /// A holder the tracker told of.
    pub(super) fn holder_found(&mut self, id: SwarmId, row: &HolderRow) {
        if row.peer == self.config.peer {
            return;
        }
        let only =
            self.swarms.get(&id).is_some_and(|s| s.only_from.is_empty() || s.only_from.contains(&row.name));
        if !only {
            return;
        }
        match self.resolve(row.reach) {
            Some(addr) => {
                self.learn(row.peer, &row.name, addr);
                self.add_candidate(id, addr, Some(row.peer), !row.reach.dialable);
                if let Some(c) = self.swarms.get_mut(&id).and_then(|s| s.candidates.get_mut(&addr)) {
                    c.holds = Some(row.pieces);
                }
            }
            None => self.invite(id, row.peer),
        }
    }

    /// Wants a holder as a partner that accepts no links.
    fn invite(&mut self, id: SwarmId, peer: PeerId) {
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        // Also one that is linked: the link may be dead already.
        if swarm.invited.len() < limits::CANDIDATES_PER_SWARM {
            swarm.invited.insert(peer);
        }
        match self.by_peer.get(&peer).copied() {
            Some(link) => self.join_swarm(link, id),
            None => self.ask_to_dial(peer),
        }
    }

    fn ask_to_dial(&mut self, peer: PeerId) {
        if !self.by_peer.contains_key(&peer) {
            self.tell_tracker(TrackerRequest::AskToDial { peer });
        }
    }

    /// A way to reach a possible holder; dialed as soon as the swarm wants partners.
    pub(super) fn add_candidate(
        &mut self,
        id: SwarmId,
        addr: SocketAddr,
        peer: Option<PeerId>,
        undialable: bool,
    ) {
        let now = self.now;
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        // Noted also of one that is linked: it is dialed should that link end, which may be dead already.
        if let Some(known) = swarm.candidates.get_mut(&addr) {
            known.peer = peer.or(known.peer);
            known.undialable &= undialable;
        } else if swarm.candidates.len() < limits::CANDIDATES_PER_SWARM {
            swarm.candidates.insert(addr, Candidate { peer, tries: 0, next: now, undialable, holds: None });
        }
        if let Some(link) = peer.and_then(|p| self.by_peer.get(&p).copied()) {
            return self.join_swarm(link, id);
        }
        if swarm.wants_partners() {
            self.timers.set_by(Timer::Dial(id), now);
        }
    }

    /// Dials candidates until the swarm has its number of links.
    pub(super) fn dial_candidates(&mut self, id: SwarmId) {
        let now = self.now;
        let Some(swarm) = self.swarms.get(&id) else { return };
        if !swarm.wants_partners() || self.leaving {
            return;
        }
        let dialing: BTreeSet<SocketAddr> = self.dials.values().map(|d| d.addr).collect();
        let pending = dialing.iter().filter(|addr| swarm.candidates.contains_key(addr)).count();
        // Partners of no use are not in the way of others while the download waits.
        let download = swarm.fetching.as_ref().and_then(|f| self.downloads.get(&f.download));
        let waits = download.is_some_and(|d| d.waiting.is_some());
        let dialed = |link: &LinkId| self.links.get(link).is_some_and(|l| l.dialed);
        let partners = swarm.partners.iter().filter(|(l, p)| dialed(l) && p.counts(now)).count();
        let mut room = limits::LINKS_PER_SWARM
            .saturating_sub(pending + if waits { 0 } else { partners })
            .min(limits::LINKS_MAX.saturating_sub(self.links.len() + self.dials.len()));
        let mut next: Option<Instant> = None;
        if !waits && room == 0 {
            // Of what is under way something may come to nothing. A partner that leaves makes itself felt.
            if pending > 0 {
                self.timers.set_by(Timer::Dial(id), now + PENDING_EVERY);
            }
            return;
        }
        if now < swarm.next_wave {
            let at = swarm.next_wave;
            self.timers.set_by(Timer::Dial(id), at);
            return;
        }
        room = room.min(WAVE_LINKS);
        let mut chosen = Vec::new();
        let mut ask = Vec::new();
        // Whoever listens at addresses of links already is a partner, or will be.
        let linked: BTreeMap<SocketAddr, LinkId> =
            self.links.iter().filter_map(|(id, l)| Some((l.listens_at?, *id))).collect();
        let link_to = |addr: &SocketAddr, c: &Candidate| {
            let by_peer = c.peer.and_then(|p| self.by_peer.get(&p));
            by_peer.or_else(|| linked.get(addr)).copied()
        };
        let mut join = Vec::new();
        let (mut left, mut left_complete) = (0, 0);
        let mut due: Vec<_> = swarm
            .candidates
            .iter()
            .filter(|(a, _)| !dialing.contains(a))
            .filter(|(a, c)| link_to(a, c).is_none_or(|l| !swarm.partners.contains_key(&l)))
            .collect();
        // Those of one machine come after those of machines with fewer links: many there are one to whom else they could be.
        let mut of: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for l in self.links.values().filter(|l| l.dialed) {
            *of.entry(origin(l.addr.ip())).or_default() += 1;
        }
        let links = |addr: &SocketAddr| of.get(&origin(addr.ip())).copied().unwrap_or(0);
        // A random order among equals, from the peer's own seed: so that a crowd spreads over the holders.
        due.sort_by_cached_key(|(addr, c)| (c.next.max(now), links(addr), mix(self.config.peer, addr)));
        for (addr, candidate) in due {
            if candidate.next > now {
                next = Some(next.map_or(candidate.next, |n| n.min(candidate.next)));
                continue;
            }
            if room == 0 {
                left += 1;
                left_complete += usize::from(candidate.holds.is_some_and(|pieces| pieces >= swarm.pieces()));
                continue;
            }
            room -= 1;
            if let Some(link) = link_to(addr, candidate) {
                join.push(link);
                continue;
            }
            chosen.push(*addr);
            if candidate.undialable {
                ask.extend(candidate.peer);
            }
        }
        if let Some(swarm) = self.swarms.get_mut(&id) {
            if !chosen.is_empty() {
                let links = partners + pending + chosen.len();
                let waves = (links.div_ceil(WAVE_LINKS) as u32).min(WAVES_MAX);
                swarm.next_wave = now + WAVE_PAUSE * (waves * waves);
            }
            if left > 0 {
                let soon = left_complete * 2 >= left && swarm.next_wave > now;
                let at = if soon { swarm.next_wave } else { now + LEFT_PAUSE };
                next = Some(next.map_or(at, |n| n.min(at)));
            }
        }
        for addr in chosen {
            let tries = self.swarms.get(&id).and_then(|s| s.candidates.get(&addr)).map_or(0, |c| c.tries);
            let again = now + limits::DIAL_TIMEOUT + self.backoff(tries);
            if let Some(c) = self.swarms.get_mut(&id).and_then(|s| s.candidates.get_mut(&addr)) {
                c.tries = tries.saturating_add(1);
                c.next = again;
            }
            self.dial(addr, Role::Peer);
        }
        for link in join {
            self.join_swarm(link, id);
        }
        // While the download waits, whoever was asked to dial and did not come is asked again.
        if let Some(swarm) = self.swarms.get(&id).filter(|_| waits) {
            ask.extend(swarm.invited.iter().filter(|peer| !self.by_peer.contains_key(peer)));
        }
        for peer in ask {
            self.ask_to_dial(peer);
        }
        if let Some(at) = next.filter(|at| *at > now) {
            self.timers.set_by(Timer::Dial(id), at);
        }
    }

    /// Dials unless a dial to this address is under way.
    pub(super) fn dial(&mut self, addr: SocketAddr, role: Role) {
        if self.dials.values().any(|d| d.addr == addr && d.role == role) {
            return;
        }
        let op = self.new_op();
        self.dials.insert(op, Dial { addr, role });
        self.effect(PeerEffect::Dial { op, addr, role });
    }

    pub(super) fn dial_failed(&mut self, op: OpId, error: DialError) {
        let Some(dial) = self.dials.remove(&op) else { return };
        self.too_many_open = error == DialError::TooManyOpen;
        match dial.role {
            Role::Tracker => self.tracker_lost(),
            Role::Peer => self.candidate_failed(dial.addr, false),
        }
    }

    /// An address cannot be reached (any more) and is dialed again after a pause: one that grows with every failure, unless
    /// what was reached there `worked`.
    fn candidate_failed(&mut self, addr: SocketAddr, worked: bool) {
        let ids: Vec<SwarmId> =
            self.fetched().filter(|(_, s)| s.candidates.contains_key(&addr)).map(|(id, _)| id).collect();
        for id in ids {
            let tries = self.swarms.get(&id).and_then(|s| s.candidates.get(&addr)).map_or(0, |c| c.tries);
            let tries = if worked { 0 } else { tries };
            let next = self.now + self.backoff(tries.saturating_sub(1));
            if let Some(c) = self.swarms.get_mut(&id).and_then(|s| s.candidates.get_mut(&addr)) {
                c.tries = tries;
                c.next = next;
                self.timers.set_by(Timer::Dial(id), next);
            }
        }
    }

    pub(super) fn link_up(
        &mut self,
        link: LinkId,
        op: Option<OpId>,
        role: Role,
        peer: PeerId,
        addr: SocketAddr,
    ) {
        let dial = op.and_then(|op| self.dials.remove(&op));
        if role == Role::Tracker {
            self.tracker_linked(link, dial.map(|d| d.addr));
            return;
        }
        let dialed = dial.is_some();
        self.too_many_open &= !dialed;
        if let Some(reason) = self.refuses(peer, addr, dialed) {
            if reason == CloseReason::Myself {
                for id in &self.fetched {
                    if let Some(swarm) = self.swarms.get_mut(id) {
                        swarm.candidates.remove(&addr);
                    }
                }
            }
            self.effect(PeerEffect::Close { link, reason });
            return;
        }
        let mut wanted = Vec::new();
        if let Some(old) = self.by_peer.get(&peer).copied() {
            // Of two links between one pair, the one dialed by the smaller id stays; of two dialed by the same, the newer.
            let old_dialed = self.links.get(&old).is_some_and(|l| l.dialed);
            if old_dialed != dialed && old_dialed == (self.config.peer < peer) {
                self.effect(PeerEffect::Close { link, reason: CloseReason::Duplicate });
                return;
            }
            // What the old link was for, the new one is.
            wanted = self.links.get(&old).map_or_else(Vec::new, Link::swarms);
            wanted.retain(|id| self.fetched.contains(id));
            self.close(old, CloseReason::Duplicate);
        }
        self.links.insert(link, Link::new(self.now, peer, addr, dialed));
        self.by_peer.insert(peer, link);
        self.timers.set(Timer::KeepAlive(link), self.now + RTT_EVERY);
        let name = self.session.name().unwrap_or(&self.config.name).to_owned();
        self.say(link, PeerMessage::Hello { name, listen_port: self.config.listen_port });
        self.ask_link(link);
        self.ping(link);
        wanted.extend(self.swarms_that_want(peer, addr));
        for id in wanted {
            self.join_swarm(link, id);
            if self.swarms.get(&id).and_then(|s| s.candidates.get(&addr)).is_some_and(|c| c.holds.is_some()) {
                self.may_have_table(link, id);
            }
        }
    }

    fn refuses(&mut self, peer: PeerId, addr: SocketAddr, dialed: bool) -> Option<CloseReason> {
        if peer == self.config.peer {
            return Some(CloseReason::Myself);
        }
        if self.session.has_left() {
            return Some(CloseReason::Leaving);
        }
        if self.is_banned(peer, addr.ip()) {
            return Some(CloseReason::Banned);
        }
        let full = self.links.len() >= limits::LINKS_MAX && !self.by_peer.contains_key(&peer);
        (full && !self.make_room(addr.ip(), dialed)).then_some(CloseReason::Full)
    }

    /// Swarms for which this peer was dialed, or could have been.
    fn swarms_that_want(&self, peer: PeerId, addr: SocketAddr) -> Vec<SwarmId> {
        self.fetched()
            .filter(|(_, s)| {
                s.candidates.contains_key(&addr)
                    || s.candidates.values().any(|c| c.peer == Some(peer))
                    || s.invited.contains(&peer)
            })
            .map(|(id, _)| id)
            .collect()
    }

    /// The driver says that a link is gone.
    pub(super) fn link_down(&mut self, link: LinkId, reason: CloseReason) {
        if self.session.is_link(link) {
            self.tracker_lost();
            return;
        }
        if let CloseReason::Misbehaved(what) = reason
            && let Some(l) = self.links.get(&link)
        {
            let event = PeerEvent::Misbehaved { peer: l.peer, addr: l.addr, what, key: None, banned: false };
            self.report(event);
        }
        self.forget_link(link);
    }

    /// Closes a link from this side.
    pub(super) fn close(&mut self, link: LinkId, reason: CloseReason) {
        if self.links.contains_key(&link) {
            self.effect(PeerEffect::Close { link, reason });
            self.forget_link(link);
        }
    }

    /// The remote said what the protocol does not allow: the link ends.
    pub(super) fn misbehaved(&mut self, link: LinkId, what: Misbehaviour, key: Option<ContentKey>) {
        if let Some(l) = self.links.get(&link) {
            let event = PeerEvent::Misbehaved { peer: l.peer, addr: l.addr, what, key, banned: false };
            self.report(event);
        }
        self.close(link, CloseReason::Misbehaved(what));
    }

    /// Takes back all that a link was part of. What it owed goes to the others at once.
    fn forget_link(&mut self, link: LinkId) {
        let Some(l) = self.links.get(&link) else { return };
        let (peer, listens_at) = (l.peer, l.listens_at);
        let worked = l.delivered || self.now.since(l.since) >= BACKOFF_MAX;
        for id in l.swarms() {
            self.drop_partner(link, id);
        }
        self.gives_up_places(link);
        let name = self.links.remove(&link).map(|l| l.name).filter(|name| !name.is_empty());
        if let Some(name) = name.filter(|_| !self.known.contains_key(&peer)) {
            if self.went.len() >= limits::WENT_PEERS_MAX {
                self.went.pop_front();
            }
            self.went.push_back((peer, name));
        }
        if self.by_peer.get(&peer) == Some(&link) {
            self.by_peer.remove(&peer);
        }
        self.hungry.remove(&link);
        self.put_off.remove(&link);
        self.ready.remove(&link);
        self.served.remove(&link);
        self.outgoing.link_gone(link);
        for timer in [Timer::KeepAlive(link), Timer::UploadIdle(link)] {
            self.timers.clear(timer);
        }
        self.link_left_questions(link);
        if let Some(addr) = listens_at {
            self.candidate_failed(addr, worked);
        }
    }

    /// A message came, or a chunk is whole.
    pub(super) fn heard(&mut self, link: LinkId) {
        if let Some(l) = self.links.get_mut(&link) {
            l.heard = self.now;
            l.heard_whole = self.now;
        }
    }

    /// A part of a chunk came.
    pub(super) fn receiving(&mut self, link: LinkId, bytes: u32) {
        if let Some(l) = self.links.get_mut(&link) {
            l.heard = self.now;
            if bytes > 0 {
                l.progress = self.now;
            }
        }
    }

    pub(super) fn keep_alive(&mut self, link: LinkId) {
        let now = self.now;
        let Some(l) = self.links.get_mut(&link) else { return };
        let silent = now.since(l.heard);
        if silent >= limits::SILENT_LINK {
            self.close(link, CloseReason::Silent);
            return;
        }
        // However much it chats: whoever takes part in nothing is in the way of those who would.
        let idle = l.is_idle();
        l.idle = if idle { l.idle.or(Some(now)) } else { None };
        if l.idle.is_some_and(|since| now.since(since) >= limits::IDLE_LINK) {
            self.close(link, CloseReason::Done);
            return;
        }
        // Who is sending a chunk for longer than this hears nothing while we wait for it, and takes us for gone. Our ping tells
        // it that we are there, though its answer waits behind the chunk.
        let measures = l.rtt_answers < RTT_ANSWERS;
        let due = measures || now.since(l.heard_whole) >= limits::PING_AFTER;
        if due && !idle && l.pinged.is_none_or(|(_, at)| now.since(at) >= limits::PING_AFTER) {
            self.ping(link);
        }
        self.timers
            .set(Timer::KeepAlive(link), now + if measures { RTT_EVERY } else { limits::PING_AFTER / 2 });
    }

    fn ping(&mut self, link: LinkId) {
        if let Some(l) = self.links.get_mut(&link) {
            let nonce = self.rng.next_u64();
            l.pinged = Some((nonce, self.now));
            self.say(link, PeerMessage::Ping { nonce });
        }
    }

    /// Asks a suspect to answer; its retraction, if there is one, comes before.
    pub(super) fn probe_suspect(&mut self, link: LinkId) {
        let Some(l) = self.links.get_mut(&link) else { return };
        l.probes += 1;
        let nonce = SUSPECT_NONCE | u64::from(l.probes);
        self.say(link, PeerMessage::Ping { nonce });
    }

    pub(super) fn pong(&mut self, link: LinkId, nonce: u64) {
        let now = self.now;
        let Some(l) = self.links.get_mut(&link) else { return };
        if nonce & !u64::from(u32::MAX) == SUSPECT_NONCE {
            l.probes_answered = l.probes_answered.max((nonce as u32).min(l.probes));
        } else if let Some((_, at)) = l.pinged.take_if(|(asked, _)| *asked == nonce) {
            let rtt = now.since(at);
            l.rtt_answers = l.rtt_answers.saturating_add(1);
            l.rtt = Some(l.rtt.map_or(rtt, |before| before.min(rtt)));
        }
    }

    pub(super) fn is_banned(&self, peer: PeerId, ip: IpAddr) -> bool {
        self.offences.get(&(peer, ip)).is_some_and(|keys| keys.len() >= 2)
    }

    /// A partner was at fault: nothing of this content is asked of it any more.
    pub(super) fn offended(&mut self, link: LinkId, id: SwarmId, what: Misbehaviour) {
        let (Some(l), Some(swarm)) = (self.links.get(&link), self.swarms.get_mut(&id)) else { return };
        let (peer, addr, key) = (l.peer, l.addr, swarm.key);
        if let Some(partner) = swarm.partners.get_mut(&link) {
            partner.dropped = true;
        }
        self.take_back_all(link, id, true);
        self.gives_up_places(link);
        self.offence(peer, addr, key, what);
    }

    /// One bad piece drops a holder for its content, a second content bans it.
    pub(super) fn offence(&mut self, peer: PeerId, addr: SocketAddr, key: ContentKey, what: Misbehaviour) {
        if self.offences.len() >= limits::OFFENDERS_MAX {
            self.offences.pop_first();
        }
        let keys = self.offences.entry((peer, addr.ip())).or_default();
        keys.insert(key);
        let banned = keys.len() >= 2;
        self.report(PeerEvent::Misbehaved { peer, addr, what, key: Some(key), banned });
        if banned && let Some(link) = self.by_peer.get(&peer).copied() {
            self.close(link, CloseReason::Banned);
        }
    }

    /// The tracker asks us to dial somebody who wants something and cannot reach us.
    pub(super) fn please_dial(&mut self, row: &PeerRow) {
        let Some(addr) = self.resolve(row.reach) else { return };
        if self.by_peer.contains_key(&row.peer) || self.links.len() + self.dials.len() >= limits::LINKS_MAX {
            return;
        }
        self.learn(row.peer, &row.name, addr);
        self.dial(addr, Role::Peer);
    }
}

/// A number that orders addresses differently for every peer.
fn mix(peer: PeerId, addr: &SocketAddr) -> u64 {
    let ip = match addr.ip() {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    };
    let own = u64::from_le_bytes([
        peer.0[0], peer.0[1], peer.0[2], peer.0[3], peer.0[4], peer.0[5], peer.0[6], peer.0[7],
    ]);
    let x = (ip as u64 ^ (ip >> 64) as u64 ^ (u64::from(addr.port()) << 48) ^ own)
        .wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (x ^ (x >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9)
}
