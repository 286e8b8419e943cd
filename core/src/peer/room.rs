//! Who gets a link, and a part in a swarm, where more want one than there are.
//!
//! Both are shared out fairly among the addresses that they come from, so that nobody takes them all: when none is left, an
//! address that has the most gives one up for an address that has fewer, and whoever makes no use of one gives it up for
//! anybody. Whoever gets no part in a swarm is told of others that take part, and of those of others: so a crowd that knows
//! one address finds itself.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::ids::{LinkId, Slot};
use crate::limits;
use crate::origin::origin;
use crate::wire::peer::PeerMessage;

use super::link::Link;
use super::swarm::SwarmId;
use super::{CloseReason, Peer};

/// Whoever has linked may take this long to say what for. Else a crowd that dials would chase away its own.
const SETTLES: Duration = Duration::from_secs(1);
/// A partner may ask for nothing, and be asked for nothing, for this long.
const USELESS: Duration = Duration::from_secs(10);

impl Peer {
    /// Gives up one link for another from this address. For one that this peer dialed there is room in any case: else whoever
    /// takes all links cuts it off.
    pub(super) fn make_room(&mut self, ip: IpAddr, dialed: bool) -> bool {
        let idle = |link: &LinkId| {
            let link = self.links.get(link);
            link.is_some_and(|l| l.is_idle() && self.now.since(l.since) >= SETTLES)
        };
        let Some(least) = self.least_of(self.links.keys(), ip, dialed, idle) else { return false };
        self.close(least, CloseReason::Full);
        true
    }

    /// May this link take part in a swarm that it joins? Not if the swarm has its number of partners and none gives way.
    pub(super) fn make_room_in(&mut self, link: LinkId, id: SwarmId) -> bool {
        let Some(swarm) = self.swarms.get(&id) else { return false };
        let most = if swarm.complete { limits::PARTNERS_MAX } else { limits::PARTNERS_WHILE_FETCHING };
        if swarm.member || swarm.partners.len() < most || swarm.partners.contains_key(&link) {
            return true;
        }
        let Some(ip) = self.links.get(&link).map(|l| l.addr.ip()) else { return false };
        let useless = |link: &LinkId| {
            let joined = swarm.partners.get(link).map(|p| p.joined);
            joined.is_some_and(|at| self.now.since(at) >= USELESS) && !self.is_in_use(*link)
        };
        let Some(least) = self.least_of(swarm.partners.keys(), ip, false, useless) else { return false };
        self.leave_swarm(least, id);
        true
    }

    /// Says that there is no part for it in a swarm, and who else takes part.
    pub(super) fn refer(&mut self, link: LinkId, slot: Slot, id: SwarmId) {
        let peers = if self.may_introduce(link, id) { self.acquaintances(link, id) } else { Vec::new() };
        self.say(link, PeerMessage::Absent { slot, peers });
    }

    /// Something is on its way over it, or is to be.
    fn is_in_use(&self, link: LinkId) -> bool {
        self.served.contains(&link) || self.links.get(&link).is_some_and(|l| l.inflight > 0)
    }

    /// Which of these links, not dialed from here, gives way to one from an address: of those of an address that has more of
    /// them, or that are of no use, first whoever takes part in nothing, then whoever gave and got nothing.
    fn least_of<'a>(
        &self,
        links: impl Iterator<Item = &'a LinkId>,
        ip: IpAddr,
        by_force: bool,
        useless: impl Fn(&LinkId) -> bool,
    ) -> Option<LinkId> {
        let mut of: BTreeMap<IpAddr, Vec<LinkId>> = BTreeMap::new();
        for link in links {
            if let Some(l) = self.links.get(link).filter(|l| !l.dialed) {
                of.entry(origin(l.addr.ip())).or_default().push(*link);
            }
        }
        let own = of.get(&origin(ip)).map_or(0, Vec::len);
        let crowd = of.values().max_by_key(|links| links.len())?;
        let among: Vec<LinkId> = if by_force || crowd.len() > own + 1 {
            crowd.clone()
        } else {
            of.into_values().flatten().filter(|link| useless(link)).collect()
        };
        let use_of = |link: &LinkId| {
            let l = self.links.get(link);
            let idle = l.is_some_and(Link::is_idle);
            (!idle, self.served.contains(link) || l.is_some_and(|l| l.delivered), *link)
        };
        among.into_iter().min_by_key(use_of)
    }
}
