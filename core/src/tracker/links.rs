//! Links: visitors, keep-alive, and how a link ends.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::registry::OwnerId;
use super::sessions::Ending;
use super::{Tracker, TrackerEvent, Turn};
use crate::bucket::Bucket;
use crate::ids::{LinkId, PeerId};
use crate::limits::{PING_AFTER, VISITOR_IDLE};
use crate::peer::{CloseReason, Misbehaviour};
use crate::time::Instant;
use crate::wire::tracker::{TrackerMessage, TrackerRequest};

/// A connection to the tracker.
#[derive(Debug)]
pub(super) struct Link {
    /// Who it says it is.
    pub(super) peer: PeerId,
    /// Where it comes from; an IPv4 address is one, however the socket calls it.
    pub(super) addr: SocketAddr,
    /// What it joined as.
    pub(super) session: Option<OwnerId>,
    /// When it last said anything.
    heard: Instant,
    /// When it last asked something: what came that was no ping.
    asked: Instant,
    presence: Presence,
    /// Peers that it asked to dial it.
    pub(super) dial_asks: Bucket,
}

/// Why a link stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    /// It asked something: it stays while it asks.
    Asks,
    /// It joined, or watches: it stays while it answers. Its silence is looked at next at `check`.
    Kept { check: Instant, pinged: bool },
}

impl Link {
    pub(super) const fn ip(&self) -> IpAddr {
        self.addr.ip()
    }

    pub(super) const fn is_pinged(&self) -> bool {
        matches!(self.presence, Presence::Kept { pinged: true, .. })
    }
}

impl Tracker {
    pub(super) fn link_up(&mut self, id: LinkId, peer: PeerId, addr: SocketAddr, turn: &mut Turn<'_>) {
        if self.links.contains_key(&id) {
            return;
        }
        // A new one always gets in: one that came to join or to ask needs but a moment.
        if self.visitors.is_full()
            && let Some(idlest) = self.visitors.idlest()
        {
            self.drop_link(idlest);
            turn.close(idlest, CloseReason::Full);
        }
        let link = Link {
            peer,
            addr: SocketAddr::new(addr.ip().to_canonical(), addr.port()),
            session: None,
            heard: turn.now,
            asked: turn.now,
            presence: Presence::Asks,
            dial_asks: Bucket::default(),
        };
        self.visitors.insert(link.ip(), turn.now, id);
        self.idle.insert((turn.now, id));
        self.links.insert(id, link);
    }

    pub(super) fn link_down(&mut self, id: LinkId, turn: &mut Turn<'_>) {
        if let Some(owner) = self.drop_link(id).and_then(|link| link.session) {
            self.end_session(owner, Ending::Broken, turn);
        }
    }

    /// Notes that a link lives; false if there is no such link.
    pub(super) fn heard(&mut self, id: LinkId, msg: &TrackerRequest) -> bool {
        let now = self.now;
        let ping_after = self.ping_after();
        let Some(link) = self.links.get_mut(&id) else { return false };
        link.heard = now;
        if !matches!(msg, TrackerRequest::Ping { .. } | TrackerRequest::Pong { .. }) {
            let (ip, before) = (link.ip(), std::mem::replace(&mut link.asked, now));
            if link.session.is_none() {
                self.visitors.remove(ip, before, id);
                self.visitors.insert(ip, now, id);
            }
            if self.idle.remove(&(before, id)) {
                self.idle.insert((now, id));
            }
        }
        if let Presence::Kept { check, pinged } = &mut link.presence
            && std::mem::take(pinged)
        {
            self.checks.remove(&(*check, id));
            *check = now + ping_after;
            self.checks.insert((*check, id));
        }
        true
    }

    /// The link has joined: it is no visitor any more.
    pub(super) fn settle(&mut self, id: LinkId, owner: OwnerId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.session = Some(owner);
            self.visitors.remove(link.addr.ip(), link.asked, id);
        }
        self.keep(id);
    }

    /// From now on the link stays while it answers.
    pub(super) fn keep(&mut self, id: LinkId) {
        let check = self.now + self.ping_after();
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.presence == Presence::Asks {
            self.idle.remove(&(link.asked, id));
            self.checks.insert((check, id));
            link.presence = Presence::Kept { check, pinged: false };
        }
    }

    /// A lease has room for a question and its answer.
    fn ping_after(&self) -> Duration {
        PING_AFTER.min(self.lease / 3)
    }

    /// Closes a visitor that stopped asking; false if there is none.
    pub(super) fn close_idle(&mut self, turn: &mut Turn<'_>) -> bool {
        let Some(&(asked, id)) = self.idle.first() else { return false };
        let due = asked + VISITOR_IDLE <= turn.now;
        if due {
            self.drop_link(id);
            turn.close(id, CloseReason::Silent);
        }
        due
    }

    /// Pings or ends a link that has been silent; false if none is to be looked at.
    pub(super) fn check_silence(&mut self, turn: &mut Turn<'_>) -> bool {
        let Some(&(at, id)) = self.checks.first().filter(|(at, _)| *at <= turn.now) else { return false };
        self.checks.remove(&(at, id));
        let (lease, ping_after) = (self.lease, self.ping_after());
        let Some(link) = self.links.get_mut(&id) else { return true };
        let silent = turn.now.since(link.heard);
        if silent >= lease {
            let session = self.drop_link(id).and_then(|link| link.session);
            if let Some(owner) = session {
                self.end_session(owner, Ending::Expired, turn);
            }
            turn.close(id, CloseReason::Silent);
            return true;
        }
        let pinged = silent >= ping_after;
        let check = link.heard + if pinged { lease } else { ping_after };
        link.presence = Presence::Kept { check, pinged };
        self.checks.insert((check, id));
        if pinged {
            turn.send(id, TrackerMessage::Ping { nonce: turn.now.0 });
        }
        true
    }

    /// Ends a link that does what the protocol does not allow, and says so.
    pub(super) fn misbehaved(&mut self, id: LinkId, what: Misbehaviour, turn: &mut Turn<'_>) {
        turn.report(TrackerEvent::Misbehaved { who: self.who(id), what });
        self.link_down(id, turn);
        turn.close(id, CloseReason::Misbehaved(what));
    }

    /// The name, or else the address, of whoever is at the link's other end.
    pub(super) fn who(&self, id: LinkId) -> String {
        let Some(link) = self.links.get(&id) else { return String::new() };
        let session = link.session.and_then(|owner| self.sessions.get(&owner));
        session.map_or_else(|| link.addr.to_string(), |session| session.name.clone())
    }

    /// Forgets a link and what it watches. Its session is left for the caller.
    pub(super) fn drop_link(&mut self, id: LinkId) -> Option<Link> {
        let link = self.links.remove(&id)?;
        if link.session.is_none() {
            self.visitors.remove(link.ip(), link.asked, id);
        }
        match link.presence {
            Presence::Asks => self.idle.remove(&(link.asked, id)),
            Presence::Kept { check, .. } => self.checks.remove(&(check, id)),
        };
        while let Some(content) = self.watches.first_of(id) {
            self.watches.remove(id, content);
            self.registry.unpin(content);
        }
        self.peer_log.remove(id);
        self.pacer.remove(id);
        Some(link)
    }

    /// Panics unless every link is in the order that its presence says.
    pub(super) fn check_links(&self) {
        assert_eq!(self.idle.len() + self.checks.len(), self.links.len());
        self.visitors.check_invariants();
        assert_eq!(self.visitors.len(), self.links.len() - self.sessions.len());
        for (&id, link) in &self.links {
            assert_eq!(self.visitors.contains(link.ip(), link.asked, id), link.session.is_none());
            match link.presence {
                Presence::Asks => assert!(self.idle.contains(&(link.asked, id)) && link.session.is_none()),
                Presence::Kept { check, .. } => {
                    assert!(self.checks.contains(&(check, id)));
                    assert!(check <= link.heard + self.lease, "the lease would run out unnoticed");
                }
            }
            assert!(link.session.is_none_or(|owner| self.sessions.get(&owner).is_some_and(|s| s.link == id)));
        }
    }
}
