//! When a watcher is pushed to: at once after a quiet spell, else once per [`PUSH_INTERVAL`], whatever happened meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::LinkId;
use crate::limits::PUSH_INTERVAL;
use crate::time::Instant;

#[derive(Debug, Default)]
pub(super) struct Pacer {
    links: BTreeMap<LinkId, Pace>,
    /// The same instants, in order.
    due: BTreeSet<(Instant, LinkId)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    last: Option<Instant>,
    due: Option<Instant>,
}

impl Pacer {
    /// There is something to push to this link.
    pub(super) fn wake(&mut self, link: LinkId, now: Instant) {
        let pace = self.links.entry(link).or_default();
        if pace.due.is_none() {
            let at = pace.last.map_or(now, |last| now.max(last + PUSH_INTERVAL));
            pace.due = Some(at);
            self.due.insert((at, link));
        }
    }

    /// The next link whose time has come; it is awake no longer.
    pub(super) fn next_due(&mut self, now: Instant) -> Option<LinkId> {
        let (at, link) = *self.due.first().filter(|(at, _)| *at <= now)?;
        self.due.remove(&(at, link));
        if let Some(pace) = self.links.get_mut(&link) {
            pace.due = None;
        }
        Some(link)
    }

    /// Something was pushed.
    pub(super) fn pushed(&mut self, link: LinkId, now: Instant) {
        self.links.entry(link).or_default().last = Some(now);
    }

    pub(super) fn remove(&mut self, link: LinkId) {
        if let Some(Pace { due: Some(at), .. }) = self.links.remove(&link) {
            self.due.remove(&(at, link));
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    pub(super) fn is_awake(&self, link: LinkId) -> bool {
        self.links.get(&link).is_some_and(|pace| pace.due.is_some())
    }

    /// Panics unless both indexes agree, and only these links are known.
    pub(super) fn check_invariants(&self, is_link: impl Fn(LinkId) -> bool) {
        assert_eq!(self.due.len(), self.links.values().filter(|pace| pace.due.is_some()).count());
        for (&link, pace) in &self.links {
            assert!(is_link(link));
            assert!(pace.due.is_none_or(|at| self.due.contains(&(at, link))));
        }
    }
}
