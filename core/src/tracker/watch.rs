//! Watches of contents: who is told of which holders.
//!
//! A watcher is told a sample of at most [`HOLDER_SAMPLE`] holders, drawn at random, and from then on only what becomes
//! of these: one that left is replaced while there are others. A holder that comes is news only to watchers whose sample
//! has room (they are *hungry*), so a crowd of any size costs each of its members a bounded number of rows.
//!
//! What is to be told waits in the watch itself and is composed when the watcher's pace allows ([`super::pace`]), from
//! what is true then: of what came and went meanwhile nothing is left. What waits is bounded by the sample.

use std::collections::{BTreeMap, BTreeSet};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng as _;
use slab::Slab;

use super::pace::Pacer;
use super::registry::{ContentIndex, OwnerId, Registry};
use crate::ids::{LinkId, PeerId};
use crate::limits::{HOLDER_SAMPLE, WATCHES_PER_PEER, WATCHES_PER_TRACKER};
use crate::time::Instant;

type WatchId = u32;

#[derive(Debug, Default)]
pub(super) struct Watches {
    watches: Slab<Watch>,
    by_target: BTreeMap<(LinkId, ContentIndex), WatchId>,
    /// Whom a change of a holder concerns.
    sampled: BTreeSet<(OwnerId, ContentIndex, WatchId)>,
    /// Whom a new holder concerns: watches with room in their sample that are not waiting anyway.
    hungry: BTreeSet<(ContentIndex, WatchId)>,
    /// Watches with something to tell, per link in the order in which they began to wait.
    waiting: BTreeMap<(LinkId, u64), WatchId>,
    turns: u64,
}

#[derive(Debug)]
struct Watch {
    link: LinkId,
    /// The watcher itself, which is never in its sample.
    peer: PeerId,
    content: ContentIndex,
    /// By owner; at most [`HOLDER_SAMPLE`].
    sample: Vec<Sampled>,
    /// Told of before, and gone. With those of the sample that were told at most [`HOLDER_SAMPLE`].
    gone: Vec<PeerId>,
    /// Its place in `waiting`.
    turn: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Sampled {
    owner: OwnerId,
    /// The watcher was told of it, ever.
    known: bool,
    /// There is something new to tell about it.
    news: bool,
}

/// What a watcher is to be told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Push {
    pub(super) content: ContentIndex,
    pub(super) now: Vec<OwnerId>,
    pub(super) gone: Vec<PeerId>,
}

impl Watches {
    /// Begins a watch, which takes over the caller's pin on the content. False if a bound is reached.
    pub(super) fn add(&mut self, link: LinkId, peer: PeerId, content: ContentIndex) -> bool {
        let of_link = self.by_target.range((link, 0)..=(link, ContentIndex::MAX)).count();
        if of_link >= WATCHES_PER_PEER || self.watches.len() >= WATCHES_PER_TRACKER {
            return false;
        }
        let watch = Watch { link, peer, content, sample: Vec::new(), gone: Vec::new(), turn: None };
        let id = u32::try_from(self.watches.insert(watch)).unwrap_or(u32::MAX);
        self.by_target.insert((link, content), id);
        self.hungry.insert((content, id));
        true
    }

    /// Ends a watch; true if there was one. The pin on the content is the caller's again.
    pub(super) fn remove(&mut self, link: LinkId, content: ContentIndex) -> bool {
        let Some(id) = self.by_target.remove(&(link, content)) else { return false };
        self.hungry.remove(&(content, id));
        let watch = self.watches.remove(id as usize);
        for sampled in watch.sample {
            self.sampled.remove(&(sampled.owner, content, id));
        }
        if let Some(turn) = watch.turn {
            self.waiting.remove(&(link, turn));
        }
        true
    }

    /// A content that the link watches.
    pub(super) fn first_of(&self, link: LinkId) -> Option<ContentIndex> {
        let mut targets = self.by_target.range((link, 0)..=(link, ContentIndex::MAX));
        targets.next().map(|((_, content), _)| *content)
    }

    /// Somebody became a holder of the content.
    pub(super) fn came(&mut self, content: ContentIndex, now: Instant, pacer: &mut Pacer) {
        while let Some(&(_, id)) = self.hungry.range((content, 0)..=(content, WatchId::MAX)).next() {
            self.wait(id, now, pacer);
        }
    }

    /// A holder is to be shown anew: of one content, or of all that it holds.
    pub(super) fn changed(
        &mut self,
        owner: OwnerId,
        content: Option<ContentIndex>,
        now: Instant,
        pacer: &mut Pacer,
    ) {
        for (content, id) in self.concerned(owner, content) {
            debug_assert_eq!(self.watches[id as usize].content, content);
            let sample = &mut self.watches[id as usize].sample;
            if let Ok(at) = sample.binary_search_by_key(&owner, |sampled| sampled.owner) {
                sample[at].news = true;
            }
            self.wait(id, now, pacer);
        }
    }

    /// A holder is none any more: of one content, or of all.
    pub(super) fn left(
        &mut self,
        owner: OwnerId,
        peer: PeerId,
        content: Option<ContentIndex>,
        now: Instant,
        pacer: &mut Pacer,
    ) {
        for (content, id) in self.concerned(owner, content) {
            self.sampled.remove(&(owner, content, id));
            let watch = &mut self.watches[id as usize];
            if let Ok(at) = watch.sample.binary_search_by_key(&owner, |sampled| sampled.owner) {
                let sampled = watch.sample.remove(at);
                if sampled.known {
                    watch.gone.push(peer);
                }
            }
            self.wait(id, now, pacer);
        }
    }

    /// The watch of this link that has waited longest, if one waits.
    pub(super) fn next_waiting(&mut self, link: LinkId) -> Option<ContentIndex> {
        let (&key, &id) = self.waiting.range((link, 0)..=(link, u64::MAX)).next()?;
        self.waiting.remove(&key);
        let watch = &mut self.watches[id as usize];
        watch.turn = None;
        Some(watch.content)
    }

    /// What there is to tell about a watched content, which counts as told.
    pub(super) fn compose(
        &mut self,
        link: LinkId,
        content: ContentIndex,
        registry: &Registry,
        rng: &mut ChaCha8Rng,
    ) -> Option<Push> {
        let id = *self.by_target.get(&(link, content))?;
        let watch = self.watches.get_mut(id as usize)?;
        for owner in watch.fill(registry, rng) {
            self.sampled.insert((owner, content, id));
        }
        if watch.sample.len() < HOLDER_SAMPLE && watch.turn.is_none() {
            self.hungry.insert((content, id));
        } else {
            self.hungry.remove(&(content, id));
        }
        let mut push = Push { content, now: Vec::new(), gone: std::mem::take(&mut watch.gone) };
        for sampled in watch.sample.iter_mut().filter(|sampled| sampled.news) {
            (sampled.known, sampled.news) = (true, false);
            push.now.push(sampled.owner);
        }
        // A peer that came back as another session is there, not gone.
        push.gone.retain(|gone| push.now.iter().all(|&owner| registry.peer(owner) != *gone));
        Some(push)
    }

    /// Some holders for somebody who is told of them once.
    pub(super) fn sample_once(
        &self,
        peer: PeerId,
        content: ContentIndex,
        registry: &Registry,
        rng: &mut ChaCha8Rng,
    ) -> Vec<OwnerId> {
        let link = LinkId::default();
        Watch { link, peer, content, sample: Vec::new(), gone: Vec::new(), turn: None }.fill(registry, rng)
    }

    /// Is there something to tell this link?
    pub(super) fn is_waiting(&self, link: LinkId) -> bool {
        self.waiting.range((link, 0)..=(link, u64::MAX)).next().is_some()
    }

    fn concerned(&self, owner: OwnerId, content: Option<ContentIndex>) -> Vec<(ContentIndex, WatchId)> {
        let (first, last) = content.map_or((0, ContentIndex::MAX), |content| (content, content));
        let range = (owner, first, 0)..=(owner, last, WatchId::MAX);
        self.sampled.range(range).map(|&(_, content, id)| (content, id)).collect()
    }

    fn wait(&mut self, id: WatchId, now: Instant, pacer: &mut Pacer) {
        let watch = &mut self.watches[id as usize];
        self.hungry.remove(&(watch.content, id));
        if watch.turn.is_none() {
            watch.turn = Some(self.turns);
            self.waiting.insert((watch.link, self.turns), id);
            self.turns += 1;
        }
        pacer.wake(watch.link, now);
    }

    /// Panics unless every index agrees with every other, and with the registry.
    pub(super) fn check_invariants(&self, registry: &Registry, pacer: &Pacer) {
        assert!(self.watches.len() <= WATCHES_PER_TRACKER);
        assert_eq!(self.by_target.len(), self.watches.len());
        assert_eq!(
            self.sampled.len(),
            self.watches.iter().map(|(_, watch)| watch.sample.len()).sum::<usize>()
        );
        assert_eq!(self.waiting.len(), self.watches.iter().filter(|(_, watch)| watch.turn.is_some()).count());
        for (&(link, content), &id) in &self.by_target {
            let watch = &self.watches[id as usize];
            assert_eq!((watch.link, watch.content), (link, content));
            assert!(watch.sample.is_sorted_by(|a, b| a.owner < b.owner));
            let known = watch.sample.iter().filter(|sampled| sampled.known).count();
            assert!(watch.sample.len() <= HOLDER_SAMPLE && known + watch.gone.len() <= HOLDER_SAMPLE);
            for sampled in &watch.sample {
                assert!(self.sampled.contains(&(sampled.owner, content, id)));
                assert!(registry.is_live(sampled.owner) && registry.peer(sampled.owner) != watch.peer);
                assert!(registry.holder(sampled.owner, content).is_some());
                assert!(!sampled.news || watch.turn.is_some(), "news that nobody will tell");
            }
            let hungry = watch.sample.len() < HOLDER_SAMPLE && watch.turn.is_none();
            assert_eq!(self.hungry.contains(&(content, id)), hungry);
            if let Some(turn) = watch.turn {
                assert_eq!(self.waiting.get(&(link, turn)), Some(&id));
                assert!(pacer.is_awake(link), "a watch waits and its link sleeps");
            } else {
                let others = registry.holders_after(content, None);
                let others = others.filter(|holder| registry.peer(holder.owner) != watch.peer).count();
                assert!(watch.sample.len() >= others.min(HOLDER_SAMPLE), "a holder was not told of");
            }
        }
    }
}

impl Watch {
    /// Fills the sample up with holders that are not in it, each found by walking from a random place. Returns the new.
    fn fill(&mut self, registry: &Registry, rng: &mut ChaCha8Rng) -> Vec<OwnerId> {
        let holders = registry.holders(self.content);
        let mut new = Vec::new();
        while self.sample.len() < HOLDER_SAMPLE.min(holders.len()) {
            let start = below(holders.len(), rng);
            let (before, after) = holders.split_at(start);
            let fits = after.iter().chain(before).map(|holder| holder.owner).find_map(|owner| {
                let fits = registry.is_live(owner) && registry.peer(owner) != self.peer;
                let place = self.sample.binary_search_by_key(&owner, |sampled| sampled.owner);
                place.err().filter(|_| fits).map(|at| (at, owner))
            });
            let Some((at, owner)) = fits else { break };
            self.sample.insert(at, Sampled { owner, known: false, news: true });
            new.push(owner);
        }
        new
    }
}

/// A random number below `end`, which is at least 1.
fn below(end: usize, rng: &mut ChaCha8Rng) -> usize {
    ((u64::from(rng.next_u32()) * end as u64) >> 32) as usize
}
