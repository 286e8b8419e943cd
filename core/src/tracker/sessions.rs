//! Sessions: join, take over, rename, leave; where a peer is, and whether it can be dialed there.

use std::net::{IpAddr, SocketAddr};

use rand_chacha::rand_core::Rng as _;

use super::names::{free_name, is_name};
use super::peer_log::Happened;
use super::probes::Probing;
use super::registry::OwnerId;
use super::{Tracker, TrackerEffect, TrackerEvent, Turn};
use crate::bucket::{Bucket, Rate};
use crate::ids::{LinkId, OpId, PeerId, SessionToken};
use crate::limits::{
    DIAL_ASKS_BURST, DIAL_ASKS_PER_SECOND, PEERS_PER_ADDRESS, PEERS_PER_TRACKER, RENAMES_BURST,
    RENAMES_PER_SECOND,
};
use crate::origin::origin;
use crate::peer::{CloseReason, Misbehaviour};
use crate::wire::tracker::{Accepting, HolderRow, PeerRow, Reach, RefusedRequest, TrackerMessage};

const DIAL_ASKS: Rate = Rate { burst: DIAL_ASKS_BURST, per_second: DIAL_ASKS_PER_SECOND };
const RENAMES: Rate = Rate { burst: RENAMES_BURST, per_second: RENAMES_PER_SECOND };

/// A joined peer.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) peer: PeerId,
    pub(super) name: String,
    pub(super) link: LinkId,
    /// The observed address and the claimed port; port 0 accepts no links.
    pub(super) addr: SocketAddr,
    pub(super) dialable: bool,
    pub(super) probing: Probing,
    token: SessionToken,
    renames: Bucket,
    /// Peers that asked this one to dial them.
    dial_pleas: Bucket,
    /// Whose offers it accepts.
    pub(super) accepting: Accepting,
    /// Offers that were passed on to it.
    pub(super) offers: Bucket,
}

/// What a joining peer wants.
pub(super) struct Wish {
    pub(super) name: String,
    pub(super) any_name: bool,
    pub(super) listen_port: u16,
    pub(super) token: Option<SessionToken>,
}

/// How a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Left,
    Broken,
    Expired,
}

impl Session {
    /// Where somebody at `asker` can dial this peer. A peer on the tracker's own machine is, for everybody elsewhere, at
    /// the address by which they reach the tracker; whoever is on that machine too is told the loopback address as it is.
    fn reach(&self, asker: IpAddr) -> Reach {
        let ip = self.addr.ip();
        let hidden = ip.is_loopback() && !asker.is_loopback();
        Reach { ip: (!hidden).then_some(ip), port: self.addr.port(), dialable: self.dialable }
    }

    pub(super) fn peer_row(&self, asker: IpAddr) -> PeerRow {
        PeerRow { peer: self.peer, name: self.name.clone(), reach: self.reach(asker) }
    }

    pub(super) fn holder_row(&self, asker: IpAddr, pieces: u32) -> HolderRow {
        HolderRow { peer: self.peer, name: self.name.clone(), reach: self.reach(asker), pieces }
    }
}

impl Tracker {
    pub(super) fn join(&mut self, id: LinkId, seq: u32, wish: Wish, turn: &mut Turn<'_>) {
        let Some(link) = self.links.get(&id) else { return };
        if link.session.is_some() {
            return self.misbehaved(id, Misbehaviour::OutOfPlace, turn);
        }
        let (peer, addr) = (link.peer, SocketAddr::new(link.ip(), wish.listen_port));
        if !is_name(&wish.name) {
            return turn.refuse(id, seq, RefusedRequest::BadName);
        }
        let here = self.by_peer.get(&peer).and_then(|owner| self.sessions.get(owner));
        let comes = here.is_none_or(|session| origin(session.addr.ip()) != origin(addr.ip()));
        if comes && self.by_origin.get(&origin(addr.ip())).is_some_and(|peers| *peers >= PEERS_PER_ADDRESS) {
            return turn.refuse(id, seq, RefusedRequest::Limit("peers at one address".to_owned()));
        }
        let owner = if let Some(&owner) = self.by_peer.get(&peer) {
            if !self.take_over(owner, id, addr, &wish, turn) {
                return turn.refuse(id, seq, RefusedRequest::NotYours);
            }
            owner
        } else {
            if self.sessions.len() >= PEERS_PER_TRACKER {
                return turn.refuse(id, seq, RefusedRequest::Limit("peers".to_owned()));
            }
            let Some(name) = self.available_name(wish.name, wish.any_name, id, seq, turn) else { return };
            self.begin_session(id, peer, name, addr, turn)
        };
        self.settle(id, owner);
        let Some(session) = self.sessions.get_mut(&owner) else { return };
        let joined = TrackerMessage::Joined {
            seq,
            name: session.name.clone(),
            token: session.token,
            observed: addr,
            lease_ms: u32::try_from(self.lease.as_millis()).unwrap_or(u32::MAX),
        };
        turn.send(id, joined);
        self.probes.forget(std::mem::take(&mut session.probing));
        if addr.port() != 0 {
            session.probing = self.probes.wait(owner);
        }
        let name = session.name.clone();
        turn.report(TrackerEvent::Joined { name, addr, peers: self.present() });
    }

    /// Moves the session of a live peer to a new link, if that has its token: ids are merely asserted. What the old link
    /// watched ends with it, since nobody knows what of it arrived.
    fn take_over(
        &mut self,
        owner: OwnerId,
        id: LinkId,
        addr: SocketAddr,
        wish: &Wish,
        turn: &mut Turn<'_>,
    ) -> bool {
        let Some(session) = self.sessions.get_mut(&owner) else { return false };
        if wish.token != Some(session.token) {
            return false;
        }
        let old = std::mem::replace(&mut session.link, id);
        let before = std::mem::replace(&mut session.addr, addr);
        session.dialable = false;
        self.goes_from(before.ip());
        self.comes_to(addr.ip());
        self.drop_link(old);
        turn.close(old, CloseReason::Duplicate);
        if !wish.any_name && !self.by_name.contains_key(&wish.name) {
            self.give_name(owner, wish.name.clone(), turn);
        }
        self.watches.changed(owner, None, turn.now, &mut self.pacer);
        true
    }

    /// The wanted name, or another one if any will do. Refuses if neither is to be had.
    fn available_name(
        &mut self,
        name: String,
        any_name: bool,
        id: LinkId,
        seq: u32,
        turn: &mut Turn<'_>,
    ) -> Option<String> {
        if !self.by_name.contains_key(&name) {
            return Some(name);
        }
        let offer = free_name(&name, |name| self.by_name.contains_key(name), &mut self.rng);
        if any_name {
            return Some(offer);
        }
        if let Some(link) = self.links.get(&id) {
            turn.report(TrackerEvent::NameRefused { name, addr: link.addr, offer: offer.clone() });
        }
        turn.refuse(id, seq, RefusedRequest::NameTaken { offer });
        None
    }

    fn begin_session(
        &mut self,
        link: LinkId,
        peer: PeerId,
        name: String,
        addr: SocketAddr,
        turn: &Turn<'_>,
    ) -> OwnerId {
        let mut token = SessionToken([0; 16]);
        self.rng.fill_bytes(&mut token.0);
        let owner = self.registry.add_owner(peer);
        self.by_peer.insert(peer, owner);
        self.by_name.insert(name.clone(), owner);
        let session = Session {
            peer,
            name,
            link,
            addr,
            dialable: false,
            probing: Probing::No,
            token,
            renames: Bucket::default(),
            dial_pleas: Bucket::default(),
            accepting: Accepting::default(),
            offers: Bucket::default(),
        };
        self.sessions.insert(owner, session);
        self.comes_to(addr.ip());
        self.peer_log.append(peer, Happened::Joined, turn.now, &mut self.pacer);
        owner
    }

    fn comes_to(&mut self, ip: IpAddr) {
        *self.by_origin.entry(origin(ip)).or_default() += 1;
    }

    fn goes_from(&mut self, ip: IpAddr) {
        let Some(peers) = self.by_origin.get_mut(&origin(ip)) else { return };
        *peers -= 1;
        if *peers == 0 {
            self.by_origin.remove(&origin(ip));
        }
    }

    pub(super) fn rename(&mut self, id: LinkId, seq: u32, name: String, turn: &mut Turn<'_>) {
        let Some((owner, session)) = self.session_of(id) else {
            return turn.refuse(id, seq, RefusedRequest::NotJoined);
        };
        if !is_name(&name) {
            return turn.refuse(id, seq, RefusedRequest::BadName);
        }
        if session.name != name {
            if !session.renames.take(turn.now, RENAMES) {
                return turn.refuse(id, seq, RefusedRequest::Limit("renames per second".to_owned()));
            }
            let Some(name) = self.available_name(name, false, id, seq, turn) else { return };
            self.give_name(owner, name, turn);
        }
        turn.send(id, TrackerMessage::Done { seq });
    }

    /// Gives a session a free name.
    fn give_name(&mut self, owner: OwnerId, name: String, turn: &mut Turn<'_>) {
        let Some(session) = self.sessions.get_mut(&owner) else { return };
        let from = std::mem::replace(&mut session.name, name.clone());
        self.by_name.remove(&from);
        self.by_name.insert(name.clone(), owner);
        self.peer_log.append(session.peer, Happened::Renamed, turn.now, &mut self.pacer);
        self.watches.changed(owner, None, turn.now, &mut self.pacer);
        turn.report(TrackerEvent::Renamed { from, to: name });
    }

    pub(super) fn leave(&mut self, id: LinkId, turn: &mut Turn<'_>) {
        if let Some(owner) = self.drop_link(id).and_then(|link| link.session) {
            self.end_session(owner, Ending::Left, turn);
        }
        turn.close(id, CloseReason::Done);
    }

    /// Forgets a session whose link is gone; its registrations count as gone from here on.
    pub(super) fn end_session(&mut self, owner: OwnerId, how: Ending, turn: &mut Turn<'_>) {
        let Some(Session { peer, name, addr, probing, .. }) = self.sessions.remove(&owner) else { return };
        self.goes_from(addr.ip());
        self.by_peer.remove(&peer);
        self.by_name.remove(&name);
        self.probes.forget(probing);
        self.watches.left(owner, peer, None, turn.now, &mut self.pacer);
        self.registry.retire(owner);
        self.peer_log.append(peer, Happened::Left(name.clone()), turn.now, &mut self.pacer);
        let peers = self.present();
        turn.report(match how {
            Ending::Left => TrackerEvent::Left { name, in_order: true, peers },
            Ending::Broken => TrackerEvent::Left { name, in_order: false, peers },
            Ending::Expired => TrackerEvent::Expired { name, peers },
        });
    }

    /// Passes a peer's wish to be dialed on to the one that is to dial. What exceeds the rate is dropped: the asker asks
    /// again when it still needs it.
    pub(super) fn ask_to_dial(&mut self, id: LinkId, peer: PeerId, turn: &mut Turn<'_>) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let Some(asker) = link.session else { return };
        if !link.dial_asks.take(turn.now, DIAL_ASKS) {
            return;
        }
        let Some(&target) = self.by_peer.get(&peer).filter(|target| **target != asker) else { return };
        let Some(session) = self.sessions.get_mut(&target) else { return };
        if !session.dial_pleas.take(turn.now, DIAL_ASKS) {
            return;
        }
        let to = session.link;
        let (Some(asker), Some(at)) = (self.sessions.get(&asker), self.links.get(&to)) else { return };
        if asker.addr.port() != 0 {
            turn.send(to, TrackerMessage::PleaseDial { row: asker.peer_row(at.ip()) });
        }
    }

    /// Begins the next probe; false if none can.
    pub(super) fn begin_probe(&mut self, turn: &mut Turn<'_>) -> bool {
        let Some((op, owner)) = self.probes.begin(turn.now) else { return false };
        if let Some(session) = self.sessions.get_mut(&owner) {
            session.probing = Probing::Running(op);
            turn.out.push(TrackerEffect::Probe { op, addr: session.addr });
        }
        true
    }

    /// Gives up on a probe that its driver has not answered; false if there is none.
    pub(super) fn end_overdue_probe(&mut self, turn: &mut Turn<'_>) -> bool {
        let Some(op) = self.probes.overdue(turn.now) else { return false };
        self.probed(op, None, turn);
        true
    }

    pub(super) fn probed(&mut self, op: OpId, answered_by: Option<PeerId>, turn: &mut Turn<'_>) {
        let Some(owner) = self.probes.end(op) else { return };
        let Some(session) = self.sessions.get_mut(&owner) else { return };
        session.probing = Probing::No;
        session.dialable = answered_by == Some(session.peer);
        let (name, addr, dialable) = (session.name.clone(), session.addr, session.dialable);
        if dialable {
            self.watches.changed(owner, None, turn.now, &mut self.pacer);
        }
        turn.report(TrackerEvent::Probed { name, addr, dialable });
    }

    /// The session that joined over this link.
    pub(super) fn session_of(&mut self, id: LinkId) -> Option<(OwnerId, &mut Session)> {
        let owner = self.links.get(&id)?.session?;
        self.sessions.get_mut(&owner).map(|session| (owner, session))
    }

    /// Number of peers present.
    fn present(&self) -> u32 {
        u32::try_from(self.sessions.len()).unwrap_or(u32::MAX)
    }
}
