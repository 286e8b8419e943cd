//! Links that have not joined, watching or not: bounded, and shared out fairly among addresses.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::ids::LinkId;
use crate::limits::VISITORS_MAX;
use crate::origin::origin;
use crate::time::Instant;

/// The visitors of each address, by when they last asked. An address that has none is not in it.
#[derive(Debug, Default)]
pub(super) struct Visitors {
    by_origin: BTreeMap<IpAddr, BTreeSet<(Instant, LinkId)>>,
    count: usize,
}

impl Visitors {
    pub(super) fn is_full(&self) -> bool {
        self.count >= VISITORS_MAX
    }

    pub(super) fn insert(&mut self, ip: IpAddr, asked: Instant, id: LinkId) {
        self.count += usize::from(self.by_origin.entry(origin(ip)).or_default().insert((asked, id)));
    }

    pub(super) fn remove(&mut self, ip: IpAddr, asked: Instant, id: LinkId) {
        let Some(own) = self.by_origin.get_mut(&origin(ip)) else { return };
        self.count -= usize::from(own.remove(&(asked, id)));
        if own.is_empty() {
            self.by_origin.remove(&origin(ip));
        }
    }

    /// Who is to make room: of the address with most visitors, the one that has asked nothing for longest. Of addresses
    /// with as many it is the one whose visitor that is.
    pub(super) fn idlest(&self) -> Option<LinkId> {
        let crowd = self.by_origin.values().max_by_key(|own| (own.len(), Reverse(own.first())));
        crowd?.first().map(|&(_, id)| id)
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn contains(&self, ip: IpAddr, asked: Instant, id: LinkId) -> bool {
        self.by_origin.get(&origin(ip)).is_some_and(|own| own.contains(&(asked, id)))
    }

    /// Panics if a count is wrong or a bound is exceeded.
    pub(super) fn check_invariants(&self) {
        assert!(self.count <= VISITORS_MAX);
        assert_eq!(self.by_origin.values().map(BTreeSet::len).sum::<usize>(), self.count);
        assert!(self.by_origin.values().all(|own| !own.is_empty()));
    }
}
