//! Watches of the list of peers: one log of who came, changed names and left, and a place in it per reader.
//!
//! A reader is first shown who is there, page by page, then what the log has since. An event costs one entry however
//! many read; a reader that falls behind the log's bounded length has lost its place, and its link is closed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;

use super::pace::Pacer;
use crate::ids::{LinkId, PeerId};
use crate::limits::{PEER_LOG_ENTRIES, PEER_WATCHERS_MAX, ROWS_PER_REPLY};
use crate::time::Instant;

#[derive(Debug, Default)]
pub(super) struct PeerLog {
    entries: VecDeque<(PeerId, Happened)>,
    /// Number of the first entry that is still here.
    first: u64,
    readers: BTreeMap<LinkId, Reader>,
    /// Readers that have seen everything: whom an event wakes.
    caught_up: BTreeSet<LinkId>,
}

/// What became of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Happened {
    Joined,
    Renamed,
    /// With the name it had.
    Left(String),
}

#[derive(Clone, Copy, Debug)]
struct Reader {
    /// Who was there is shown up to this peer; `None`: all of it.
    listing: Option<Bound<PeerId>>,
    /// Number of the next entry to show.
    next: u64,
}

/// What a reader is to be shown next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// These are there; of these it knew, they are gone.
    Page { joined: Vec<PeerId>, left: Vec<(PeerId, String)> },
    /// Nothing.
    UpToDate,
    /// What it missed is not here any more.
    Lost,
}

impl PeerLog {
    /// Begins to show this link who is there. False if a bound is reached.
    pub(super) fn add(&mut self, link: LinkId, now: Instant, pacer: &mut Pacer) -> bool {
        if self.readers.len() >= PEER_WATCHERS_MAX && !self.readers.contains_key(&link) {
            return false;
        }
        self.caught_up.remove(&link);
        self.readers.insert(link, Reader { listing: Some(Bound::Unbounded), next: self.end() });
        pacer.wake(link, now);
        true
    }

    pub(super) fn remove(&mut self, link: LinkId) {
        self.readers.remove(&link);
        self.caught_up.remove(&link);
        if self.readers.is_empty() {
            self.first = self.end();
            self.entries.clear();
        }
    }

    /// Enters what happened, if anybody reads.
    pub(super) fn append(&mut self, peer: PeerId, happened: Happened, now: Instant, pacer: &mut Pacer) {
        if self.readers.is_empty() {
            return;
        }
        if self.entries.len() == PEER_LOG_ENTRIES {
            self.entries.pop_front();
            self.first += 1;
        }
        self.entries.push_back((peer, happened));
        while let Some(link) = self.caught_up.pop_first() {
            pacer.wake(link, now);
        }
    }

    /// The next page for this reader, which counts as shown. `None` if it does not read.
    pub(super) fn read<T>(&mut self, link: LinkId, live: &BTreeMap<PeerId, T>) -> Option<Read> {
        let end = self.end();
        let reader = self.readers.get_mut(&link)?;
        if let Some(after) = reader.listing {
            if after == Bound::Unbounded {
                reader.next = end; // What happened before is in the list.
            }
            let there = live.range((after, Bound::Unbounded)).map(|(peer, _)| *peer);
            let joined: Vec<PeerId> = there.take(ROWS_PER_REPLY).collect();
            let full = joined.len() == ROWS_PER_REPLY;
            reader.listing = joined.last().filter(|_| full).map(|last| Bound::Excluded(*last));
            if !joined.is_empty() || after == Bound::Unbounded {
                return Some(Read::Page { joined, left: Vec::new() });
            }
        }
        let Some(skip) = reader.next.checked_sub(self.first) else { return Some(Read::Lost) };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let mut seen: BTreeMap<PeerId, (bool, &Happened)> = BTreeMap::new();
        for (peer, happened) in self.entries.iter().skip(skip).take(ROWS_PER_REPLY) {
            reader.next += 1;
            seen.entry(*peer).or_insert((*happened == Happened::Joined, happened)).1 = happened;
        }
        if seen.is_empty() {
            self.caught_up.insert(link);
            return Some(Read::UpToDate);
        }
        let (mut joined, mut left) = (Vec::new(), Vec::new());
        for (peer, (was_new, last)) in seen {
            match last {
                Happened::Joined | Happened::Renamed if live.contains_key(&peer) => joined.push(peer),
                Happened::Joined | Happened::Renamed => {} // The log goes on to say that it left.
                Happened::Left(_) if was_new => {}
                Happened::Left(name) => left.push((peer, name.clone())),
            }
        }
        Some(Read::Page { joined, left })
    }

    fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Is there something that this link has not been shown?
    pub(super) fn is_behind(&self, link: LinkId) -> bool {
        self.readers.contains_key(&link) && !self.caught_up.contains(&link)
    }

    /// Panics unless whoever has something to read is awake.
    pub(super) fn check_invariants(&self, pacer: &Pacer, is_link: impl Fn(LinkId) -> bool) {
        assert!(self.entries.len() <= PEER_LOG_ENTRIES && self.readers.len() <= PEER_WATCHERS_MAX);
        assert!(!self.readers.is_empty() || self.entries.is_empty());
        assert!(self.caught_up.iter().all(|link| self.readers.contains_key(link)));
        for (&link, reader) in &self.readers {
            assert!(is_link(link));
            let caught_up = self.caught_up.contains(&link);
            assert!(caught_up || pacer.is_awake(link));
            assert!(!caught_up || (reader.listing.is_none() && reader.next == self.end()));
        }
    }
}
