//! What other peers offer, by way of the tracker: told to the person, who may fetch it.
//!
//! Only offers of peers whose names are accepted, of contents that are not here, and of a bounded number of them at a time:
//! those that are being fetched count.

use crate::limits;
use crate::wire::peer::Offer;
use crate::wire::tracker::{Accepting, PeerRow, TrackerRequest};

use super::{Peer, PeerEvent};

impl Peer {
    pub(super) fn accept_offers(&mut self, from: Accepting) {
        self.accepting = from;
        self.say_accepting();
    }

    /// Tells the tracker, in every session anew.
    pub(super) fn say_accepting(&mut self) {
        let from = self.accepting.clone();
        self.request_unanswered(|seq| TrackerRequest::AcceptOffers { seq, from });
    }

    /// A content is offered.
    pub(super) fn offer_said(&mut self, from: PeerRow, offer: Offer, total: u64) {
        let downloads = &self.downloads;
        self.offered.retain(|key| downloads.values().any(|d| d.key == *key && !d.done));
        let here = self.by_key.get(&offer.key).and_then(|id| self.swarms.get(id));
        let known = here.is_some_and(|swarm| swarm.complete || swarm.fetching.is_some());
        if !self.accepting.accepts(&from.name)
            || known
            || !offer.key.is_plausible()
            || self.offered.len() >= limits::OFFERED_MAX
        {
            return;
        }
        self.offered.insert(offer.key);
        let addr = self.resolve(from.reach);
        if let Some(addr) = addr {
            self.learn(from.peer, &from.name, addr);
        }
        self.report(PeerEvent::Offered { peer: from.peer, name: from.name, addr, offer, total });
    }
}
