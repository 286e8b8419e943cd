//! The invariants of the peer machine, checked by tests and the simulator after each input.

use std::collections::BTreeMap;

use crate::ids::{LinkId, OpId, PieceIndex};
use crate::limits;

use super::swarm::{Held, Phase, Swarm, SwarmId, name_hash};
use super::timers::Timer;
use super::{Peer, Place};

impl Peer {
    /// Panics, naming what does not hold. O(everything): for tests and simulations.
    ///
    /// # Panics
    /// If an invariant of the machine is violated, which is a bug of the machine whatever its inputs were.
    pub fn check_invariants(&self) {
        let mut owed: BTreeMap<LinkId, u64> = BTreeMap::new();
        for run in self.asked.values().filter(|r| !r.taken_back && r.choice.is_none()) {
            *owed.entry(run.link).or_default() += self.outstanding_bytes(run);
        }
        for (id, swarm) in &self.swarms {
            self.check_swarm(*id, swarm, &mut owed);
        }
        let mut inflight = 0;
        let mut untold = self.swarms.iter().filter(|(_, s)| !s.news.is_empty());
        assert!(
            untold.all(|(id, _)| self.timers.is_set(Timer::Haves(*id))),
            "what is to be announced will be"
        );
        for (link, l) in &self.links {
            assert_eq!(l.inflight, owed.get(link).copied().unwrap_or(0), "bytes under way on {link:?}");
            inflight += l.inflight;
            for (slot, id) in &l.mine {
                let partner = self.swarms.get(id).and_then(|s| s.partners.get(link));
                assert!(partner.is_some_and(|p| p.mine == *slot), "own {slot:?} of {link:?} names a partner");
            }
            for id in l.theirs.values() {
                assert!(
                    self.swarms.get(id).is_some_and(|s| s.partners.contains_key(link)),
                    "their slot of {link:?}"
                );
            }
            assert!(
                l.mine.len() <= limits::SLOTS_PER_LINK && l.theirs.len() <= limits::SLOTS_PER_LINK,
                "slots"
            );
            assert!(l.wanted_chunks() <= limits::REQUESTED_CHUNKS_PER_LINK, "queue of {link:?}");
            let live = |op: &OpId| self.asked.get(op).is_some_and(|r| !r.taken_back && r.outstanding != 0);
            assert!(l.queue.iter().all(live), "queue of {link:?}");
            assert_eq!(self.by_peer.get(&l.peer), Some(link), "the only link to its peer");
        }
        assert_eq!(self.inflight, inflight, "bytes under way in all");
        assert_eq!(self.owing, self.links.values().filter(|l| l.inflight > 0).count(), "links that owe");
        assert_eq!(self.by_peer.len(), self.links.len(), "one link per peer");
        assert!(self.links.len() <= limits::LINKS_MAX, "links");
        assert_eq!(self.by_key.len(), self.swarms.len(), "one swarm per content");
        let named = |(id, s): (&SwarmId, &Swarm)| self.by_name.contains(&(name_hash(&s.name), *id));
        assert!(self.by_name.len() == self.swarms.len() && self.swarms.iter().all(named), "index by name");
        let fetched = self.swarms.iter().filter(|(_, s)| s.fetching.is_some()).map(|(id, _)| *id);
        assert!(self.fetched.iter().copied().eq(fetched), "swarms that are being fetched");
        let has_open = |(_, s): &(SwarmId, &Swarm)| {
            s.fetching.as_ref().is_some_and(|f| f.opened && f.picker.open_count() > 0)
        };
        assert!(
            self.fetched().filter(has_open).all(|(id, _)| self.open.contains(&id)),
            "swarms with open pieces are looked at"
        );
        assert!(self.open.is_subset(&self.fetched), "what has open pieces is being fetched");
        assert!(
            self.outgoing.links().all(|l| self.links.contains_key(&l)),
            "chunks leave over links that are there"
        );
        assert!(
            self.asked.values().all(|r| self.fetched.contains(&r.swarm)),
            "what is asked for is being fetched"
        );
        for timer in self.timers.iter() {
            self.check_timer(timer);
        }
        self.check_bounds();
    }

    /// What others can make grow is bounded.
    fn check_bounds(&self) {
        let live = self.asked.values().filter(|r| !r.taken_back).count();
        assert!(self.asked.len() <= limits::ASKED_RUNS_MAX.max(live + 1), "runs asked for");
        assert!(self.questions.len() <= limits::QUESTIONS_MAX, "questions");
        assert!(self.known.len() <= limits::KNOWN_PEERS_MAX, "known peers");
        assert!(self.went.len() <= limits::WENT_PEERS_MAX, "peers that went");
        assert!(self.offences.len() <= limits::OFFENDERS_MAX, "offenders");
        assert!(self.had_turn.len() <= limits::LINKS_MAX, "addresses that had their turn");
        assert!(self.session.waiting() <= limits::QUESTIONS_MAX * 2, "requests to the tracker");
        for (_, swarm) in self.fetched() {
            assert!(swarm.candidates.len() <= limits::CANDIDATES_PER_SWARM, "candidates");
            let runs: usize = swarm.fetching.iter().flat_map(|f| f.runs.values()).map(Vec::len).sum();
            assert!(runs <= limits::ASKED_RUNS_MAX * 2, "runs of {:?}", swarm.key);
        }
    }

    fn check_timer(&self, timer: Timer) {
        let alive = match timer {
            Timer::KeepAlive(link) | Timer::UploadIdle(link) => self.links.contains_key(&link),
            Timer::Haves(id)
            | Timer::HavesAgain(id)
            | Timer::Table(id)
            | Timer::Dial(id)
            | Timer::Untold(id)
            | Timer::Sync(id)
            | Timer::Storage(id) => self.swarms.contains_key(&id),
            Timer::Retry(link, id) | Timer::Blame(link, id) => {
                self.swarms.get(&id).is_some_and(|s| s.partners.contains_key(&link))
            }
            Timer::Waiting(download) | Timer::Again(download) => self.downloads.contains_key(&download),
            Timer::Question(op) => self.questions.contains_key(&op),
            Timer::Continue
            | Timer::Stall
            | Timer::Session
            | Timer::Announce
            | Timer::AnnounceAgain
            | Timer::UpRate
            | Timer::Spare
            | Timer::DownRate => true,
        };
        assert!(alive, "{timer:?} belongs to something alive");
    }

    fn check_swarm(&self, id: SwarmId, swarm: &Swarm, owed: &mut BTreeMap<LinkId, u64>) {
        assert_eq!(self.by_key.get(&swarm.key), Some(&id), "index by key");
        let mut asked_of: BTreeMap<PieceIndex, Vec<LinkId>> = BTreeMap::new();
        let mut chosen_from: BTreeMap<PieceIndex, u32> = BTreeMap::new();
        for (link, partner) in &swarm.partners {
            let l = &self.links[link];
            assert_eq!(l.mine.get(&partner.mine), Some(&id), "slot of a partner");
            for piece in &partner.asked {
                asked_of.entry(*piece).or_default().push(*link);
                assert!(partner.have.contains(*piece), "asked of a holder that has it");
                assert!(!partner.dropped, "asked of a holder that is not dropped");
            }
            for candidates in partner.choices.values() {
                *owed.entry(*link).or_default() += self.choice_bytes(id);
                for (piece, _) in candidates {
                    *chosen_from.entry(*piece).or_default() += 1;
                    assert!(partner.have.contains(*piece), "chosen from what the holder has");
                }
            }
        }
        let Some(fetching) = &swarm.fetching else {
            assert!(
                asked_of.is_empty() && chosen_from.is_empty(),
                "nothing is asked for what is not fetched"
            );
            return;
        };
        assert!(self.downloads.contains_key(&fetching.download), "fetched for a download");
        if let Place::Member { .. } = fetching.place {
            assert!(swarm.member, "members are listed as such");
        }
        fetching.picker.check();
        let Held::Some(held) = &swarm.held else {
            assert!(asked_of.is_empty() && chosen_from.is_empty(), "nothing is asked of what is held");
            return;
        };
        for (piece, links) in &asked_of {
            let asks: Vec<LinkId> = fetching.asked.get(piece).into_iter().flatten().map(|a| a.link).collect();
            assert!(links.len() <= 2 && asks.len() == links.len(), "{piece:?} is asked of at most two");
            assert!(links.iter().all(|l| asks.contains(l)), "both sides know who was asked for {piece:?}");
        }
        assert_eq!(fetching.asked.len(), asked_of.len(), "asked pieces");
        let running = matches!(fetching.phase, Phase::Running);
        if !running {
            assert!(
                asked_of.is_empty() && chosen_from.is_empty(),
                "nothing is asked while {:?}",
                fetching.phase
            );
            return;
        }
        for partner in swarm.partners.values() {
            let missed = |p: PieceIndex| partner.offers(p);
            assert!(!partner.exhausted || !fetching.picker.rarest().any(missed), "it has something to give");
        }
        for piece in (0..swarm.pieces()).map(PieceIndex) {
            let states = [
                held.contains(piece),
                fetching.picker.is_open(piece),
                asked_of.contains_key(&piece),
                chosen_from.contains_key(&piece),
            ];
            let count = states.iter().filter(|s| **s).count();
            assert_eq!(count, 1, "{piece:?} is held, open, asked or to be chosen: {states:?}");
            assert!(chosen_from.get(&piece).is_none_or(|n| *n == 1), "choices are disjoint");
        }
    }
}
