//! Offers of one peer to another: passed on to whoever has said that it accepts those of the offering peer, by its name among
//! live peers. The tracker keeps nothing of them.

use super::{Tracker, TrackerEvent, Turn};
use crate::bucket::Rate;
use crate::ids::{LinkId, PeerId};
use crate::limits::{ACCEPTED_NAMES_MAX, NAME_BYTES_MAX, OFFERS_BURST, OFFERS_PER_SECOND};
use crate::wire::peer::Offer;
use crate::wire::tracker::{Accepting, RefusedRequest, TrackerMessage};

const OFFERS: Rate = Rate { burst: OFFERS_BURST, per_second: OFFERS_PER_SECOND };

impl Tracker {
    pub(super) fn accept_offers(&mut self, id: LinkId, seq: u32, from: Accepting, turn: &mut Turn<'_>) {
        if matches!(&from, Accepting::Names(names) if names.len() > ACCEPTED_NAMES_MAX) {
            return turn.refuse(id, seq, RefusedRequest::Limit("names whose offers are accepted".to_owned()));
        }
        let owner = self.links.get(&id).and_then(|link| link.session);
        let Some(session) = owner.and_then(|owner| self.sessions.get_mut(&owner)) else {
            return turn.refuse(id, seq, RefusedRequest::NotJoined);
        };
        session.accepting = from;
        turn.send(id, TrackerMessage::Done { seq });
    }

    pub(super) fn offer_to(
        &mut self,
        id: LinkId,
        seq: u32,
        to: PeerId,
        offer: Offer,
        total: u64,
        turn: &mut Turn<'_>,
    ) {
        let asker = self.links.get(&id).and_then(|link| link.session);
        let Some((owner, name)) =
            asker.and_then(|owner| Some((owner, self.sessions.get(&owner)?.name.clone())))
        else {
            return turn.refuse(id, seq, RefusedRequest::NotJoined);
        };
        if offer.name.len() > NAME_BYTES_MAX {
            return turn.refuse(id, seq, RefusedRequest::BadName);
        }
        let target = self.by_peer.get(&to).copied().filter(|target| *target != owner);
        let Some(target) = target.and_then(|target| self.sessions.get_mut(&target)) else {
            return turn.refuse(id, seq, RefusedRequest::BadQuery("that peer is not here".to_owned()));
        };
        if !target.accepting.accepts(&name) {
            let why = format!("{} accepts no offers of {name}", target.name);
            return turn.refuse(id, seq, RefusedRequest::BadQuery(why));
        }
        if !target.offers.take(turn.now, OFFERS) {
            return turn.refuse(id, seq, RefusedRequest::Limit("offers to that peer".to_owned()));
        }
        let (link, to_name) = (target.link, target.name.clone());
        let at = self.links.get(&link).map(super::links::Link::ip);
        if let (Some(at), Some(from)) = (at, self.sessions.get(&owner)) {
            let what = offer.name.clone();
            turn.send(link, TrackerMessage::Offered { from: from.peer_row(at), offer, total });
            turn.report(TrackerEvent::Offered { from: name, to: to_name, what });
        }
        turn.send(id, TrackerMessage::Done { seq });
    }
}
