//! What tests and the simulator see of the tracker: who is here, what is registered, and that all of it agrees.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::Tracker;
use crate::ids::{ContentKey, LinkId, PeerId};
use crate::limits::{PEERS_PER_ADDRESS, PEERS_PER_TRACKER};

/// A live session, as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionView<'a> {
    /// Who.
    pub peer: PeerId,
    /// Its name among live peers.
    pub name: &'a str,
    /// The link it joined over.
    pub link: LinkId,
    /// The address it was seen at, with the port that it claims.
    pub addr: SocketAddr,
    /// It answered there as itself.
    pub dialable: bool,
    /// Number of contents that it registered.
    pub registrations: usize,
}

impl Tracker {
    /// The live sessions, by peer id.
    pub fn sessions(&self) -> impl Iterator<Item = SessionView<'_>> {
        self.by_peer.values().filter_map(|owner| {
            let session = self.sessions.get(owner)?;
            Some(SessionView {
                peer: session.peer,
                name: &session.name,
                link: session.link,
                addr: session.addr,
                dialable: session.dialable,
                registrations: self.registry.owned(*owner),
            })
        })
    }

    /// Every registration of a live session, by content, then peer: who, what, under which name, pieces held.
    pub fn registrations(&self) -> impl Iterator<Item = (PeerId, ContentKey, &str, u32)> {
        self.registry.registrations()
    }

    /// The peers with a live session that registered a content.
    pub fn holders(&self, key: ContentKey) -> impl Iterator<Item = PeerId> {
        let holders = self.registry.index(key).map(|content| self.registry.holders_after(content, None));
        holders.into_iter().flatten().map(|holder| self.registry.peer(holder.owner))
    }

    /// Number of registrations, those of sessions that just ended included until they are taken apart.
    #[must_use]
    pub fn registration_count(&self) -> usize {
        self.registry.len()
    }

    /// Number of rows in the list of contents: one per name and content.
    #[must_use]
    pub fn row_count(&self) -> usize {
        self.registry.rows()
    }

    /// Number of links, visitors included.
    #[must_use]
    pub fn link_count(&self) -> usize {
        self.links.len()
    }

    /// For tests and the simulator, after any input. Costs a pass over everything.
    ///
    /// # Panics
    /// If two indexes disagree, a count is wrong or a bound is exceeded.
    pub fn check_invariants(&self) {
        self.registry.check_invariants();
        self.watches.check_invariants(&self.registry, &self.pacer);
        let is_link = |link| self.links.contains_key(&link);
        self.pacer.check_invariants(is_link);
        self.peer_log.check_invariants(&self.pacer, is_link);
        let probing: BTreeMap<_, _> = self.sessions.iter().map(|(&owner, s)| (owner, s.probing)).collect();
        self.probes.check_invariants(&probing);
        self.check_links();
        self.searchers.check_invariants();
        assert!(self.sessions.len() <= PEERS_PER_TRACKER);
        assert_eq!(self.by_peer.len(), self.sessions.len());
        assert_eq!(self.by_name.len(), self.sessions.len());
        assert_eq!(self.by_origin.values().sum::<usize>(), self.sessions.len());
        assert!(self.by_origin.values().all(|peers| (1..=PEERS_PER_ADDRESS).contains(peers)));
        for (owner, session) in &self.sessions {
            assert_eq!(self.by_peer.get(&session.peer), Some(owner));
            assert_eq!(self.by_name.get(&session.name), Some(owner));
            assert_eq!(self.links.get(&session.link).and_then(|link| link.session), Some(*owner));
            assert!(self.registry.is_live(*owner));
        }
    }
}
