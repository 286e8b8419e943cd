//! Who is told of whom: the members of a swarm find each other through each other, with and without a tracker.

use rand_chacha::rand_core::Rng;

use crate::bucket::Rate;
use crate::ids::{LinkId, Slot};
use crate::limits;
use crate::wire::peer::{KnownPeer as WirePeer, PeerMessage};

use super::swarm::SwarmId;
use super::{Misbehaviour, Peer};

/// A bound on what joining makes this peer tell others.
const INTRODUCTIONS: Rate =
    Rate { burst: limits::INTRODUCTIONS_BURST, per_second: limits::INTRODUCTIONS_PER_SECOND };
/// Partners that are told of a newcomer, who is told of more of them: it dials whom it can, they need to only if it cannot.
const TOLD: usize = 4;

impl Peer {
    /// Tells a partner of others, and others of it: so often that whoever joins and leaves in a loop does not make this peer
    /// shout at everybody.
    pub(super) fn introduce(&mut self, link: LinkId, id: SwarmId) {
        if !self.may_introduce(link, id) {
            return;
        }
        let slot = self.swarms.get(&id).and_then(|s| s.partners.get(&link)).map(|p| p.mine);
        let Some(slot) = slot else { return };
        let peers = self.acquaintances(link, id);
        if !peers.is_empty() {
            self.say(link, PeerMessage::Holders { slot, peers });
        }
        let Some(newcomer) = self.known_at(link) else { return };
        for other in self.some_partners(link, id).into_iter().take(TOLD) {
            let slot = self.swarms.get(&id).and_then(|s| s.partners.get(&other)).map(|p| p.mine);
            if let Some(slot) = slot {
                self.say(other, PeerMessage::Holders { slot, peers: vec![newcomer.clone()] });
            }
        }
    }

    /// Are there others, and has this link not had its share of them yet?
    pub(super) fn may_introduce(&mut self, link: LinkId, id: SwarmId) -> bool {
        let now = self.now;
        let (Some(swarm), Some(l)) = (self.swarms.get(&id), self.links.get_mut(&link)) else { return false };
        if swarm.member || swarm.partners.len() < 2 || !l.introductions.has_some(now, INTRODUCTIONS) {
            return false;
        }
        l.introductions.spend(now, INTRODUCTIONS, swarm.partners.len().min(limits::HOLDER_SAMPLE) as u64);
        true
    }

    /// Partners of a swarm that this link may dial.
    pub(super) fn acquaintances(&mut self, link: LinkId, id: SwarmId) -> Vec<WirePeer> {
        let others = self.some_partners(link, id);
        others.into_iter().filter_map(|l| self.known_at(l)).take(limits::HOLDER_SAMPLE).collect()
    }

    /// The partners of a swarm but for this link, from a random one on: in a crowd everybody is told of others.
    fn some_partners(&mut self, link: LinkId, id: SwarmId) -> Vec<LinkId> {
        let Some(swarm) = self.swarms.get(&id) else { return Vec::new() };
        let mut others: Vec<LinkId> = swarm.partners.keys().copied().filter(|l| *l != link).collect();
        if !others.is_empty() {
            let first = self.rng.next_u32() as usize % others.len();
            others.rotate_left(first);
        }
        others
    }

    /// Who is at the far end of a link, and where it accepts links.
    fn known_at(&self, link: LinkId) -> Option<WirePeer> {
        let l = self.links.get(&link)?;
        Some(WirePeer { peer: l.peer, addr: l.listens_at? })
    }

    /// Somebody told of others that take part in a swarm.
    pub(super) fn told_of(&mut self, link: LinkId, id: SwarmId, peers: Vec<WirePeer>) {
        if peers.len() > limits::HOLDER_SAMPLE {
            return self.misbehaved(link, Misbehaviour::TooMuch, None);
        }
        let private = self.links.get(&link).is_some_and(|l| l.addr.ip().is_loopback());
        let wants = self.swarms.get(&id).is_some_and(|s| s.fetching.is_some() && s.only_from.is_empty());
        for WirePeer { peer, addr } in peers {
            // Nobody far away may aim us at services of our own machine.
            let aimed = addr.ip().is_loopback() && !private;
            if peer == self.config.peer || aimed || addr.port() == 0 || addr.ip().is_unspecified() {
                continue;
            }
            if !self.known.contains_key(&peer) {
                self.learn(peer, "", addr);
            }
            if wants {
                self.add_candidate(id, addr, Some(peer), false);
            }
        }
    }

    pub(super) fn holders_said(&mut self, link: LinkId, slot: Slot, peers: Vec<WirePeer>) {
        if let Some(id) = self.their_swarm(link, slot) {
            self.told_of(link, id, peers);
        }
    }
}
