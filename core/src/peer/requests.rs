//! What to ask of whom.
//!
//! A link that may be asked for more (`pace`) is given the rarest open piece that its far end has ("rarest first"). Where the
//! far end is the only one to hold the rarest pieces, it is left the choice among several of them, since it knows what it
//! gave to others ("first copies first"). A link that finds no open piece overtakes (`overtake`).

use std::net::SocketAddr;
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;

use crate::ids::{ChunkRun, LinkId, OpId, PeerId, PieceIndex};
use crate::limits::{self, CHUNK_BYTES};
use crate::time::Instant;
use crate::wire::peer::{PeerMessage, Refusal, RequestRef};

use super::link::Link;
use super::overtake::{STALL_EVERY, STALL_EVERY_AT_THE_END};
use super::picker::Picker;
use super::swarm::{Ask, SwarmId};
use super::timers::Timer;
use super::{Peer, PeerEffect};

/// Candidates in a choice: an eighth of the open pieces, so that several choices can be open, within these bounds.
const CHOICE_PIECES: usize = 16;
const CHOICE_PIECES_MIN: usize = 2;
const CHOICE_SHARE: usize = 8;
const _: () = assert!(CHOICE_PIECES <= limits::CHOICE_PIECES_MAX);
/// The only complete holder is not asked for what others have while this much is under way from them.
const SPARED_BYTES: u64 = 4 * CHUNK_BYTES;
/// So often in a row a partner may lack what it claimed: a failed sync takes many pieces away.
const LACKS_FORGIVEN: u32 = 64;
/// Bytes asked for before the last piece has proven the length, while somebody may send it.
const UNPROVEN_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// A run that was asked for. Kept after it was taken back, or its link is gone, until its piece is verified: a chunk that
/// was being written then is reported later, and nobody else's is written in its place.
#[derive(Clone, Debug)]
pub(super) struct AskedRun {
    pub(super) link: LinkId,
    /// Who is asked, and where: the link may be gone when a chunk is reported.
    pub(super) peer: PeerId,
    pub(super) addr: SocketAddr,
    pub(super) swarm: SwarmId,
    pub(super) run: ChunkRun,
    /// Chunks of the piece that have not arrived, one bit each.
    pub(super) outstanding: u64,
    /// The choice that it is a candidate of.
    pub(super) choice: Option<u32>,
    pub(super) taken_back: bool,
    /// What is reported of it later does not count: its sender took it back, or a sync failed after it was written.
    pub(super) void: bool,
    pub(super) at: Instant,
}

/// The chunks of a run, one bit each.
const fn run_bits(run: ChunkRun) -> u64 {
    let ones = if run.count >= 64 { u64::MAX } else { (1 << run.count) - 1 };
    if run.first >= 64 { 0 } else { ones << run.first }
}
const _: () = assert!(limits::CHUNKS_PER_PIECE_MAX <= 64);

impl Peer {
    /// Asks for one more run, or leaves one more choice. False: there is nothing for this link to do.
    pub(super) fn ask_next(&mut self, link: LinkId, room: u64) -> bool {
        while let Some((id, piece)) = self.links.get(&link).and_then(|l| l.unfinished.front().copied()) {
            if self.ask_more(link, id, piece, room) {
                return true;
            }
            if let Some(l) = self.links.get_mut(&link) {
                l.unfinished.pop_front();
            }
        }
        let Some(mut at) = self.links.get(&link).map(|l| l.turn) else { return false };
        for _ in 0..self.open.len() {
            let Some(id) = self.next_open(at) else { break };
            at = id;
            if self.is_open(id) && self.may_ask(link, id) && self.begin_piece(link, id, room) {
                if let Some(l) = self.links.get_mut(&link) {
                    l.turn = id;
                }
                self.takes_place(link, id);
                return true;
            }
        }
        let Some(l) = self.links.get(&link) else { return false };
        if self.owing == usize::from(l.inflight > 0) {
            return false;
        }
        // From here on it counts how long others are silent.
        self.timers.set_by(Timer::Stall, self.now + STALL_EVERY_AT_THE_END);
        let swarms = l.swarms();
        let overtaken =
            swarms.into_iter().find(|id| self.may_ask(link, *id) && self.overtake(link, *id, room));
        if let Some(id) = overtaken {
            self.takes_place(link, id);
        }
        overtaken.is_some()
    }

    /// Of the swarms that may have something open the one after this, in a circle. A folder has hundreds of members under way,
    /// but few of them have: those that are asked for already are not looked at.
    fn next_open(&self, after: SwarmId) -> Option<SwarmId> {
        let next = self.open.range((Excluded(after), Unbounded)).next();
        next.or_else(|| self.open.first()).copied()
    }

    /// Has something open? If not it is looked at no more.
    fn is_open(&mut self, id: SwarmId) -> bool {
        let fetching = self.swarms.get(&id).and_then(|s| s.fetching.as_ref());
        let open = fetching.is_some_and(|f| f.picker.open_count() > 0);
        if !open {
            self.open.remove(&id);
        }
        open
    }

    /// Takes an open piece, or several to choose from.
    fn begin_piece(&mut self, link: LinkId, id: SwarmId, room: u64) -> bool {
        let now = self.now;
        let Some(swarm) = self.swarms.get_mut(&id) else { return false };
        if !swarm.is_running() {
            return false;
        }
        let last = swarm.geometry.last_piece();
        let Some(partner) = swarm.partners.get(&link) else { return false };
        let Some(fetching) = swarm.fetching.as_ref() else { return false };
        let nothing = fetching.picker.open_count() == 0 || partner.have.is_none() || partner.exhausted;
        if nothing || !partner.is_askable(now) {
            return false;
        }
        let complete = swarm.complete_partners();
        let Some(fetching) = swarm.fetching.as_mut() else { return false };
        let is_sole = |picker: &Picker, p: PieceIndex| complete + picker.count(p) as usize <= 1;
        // The last piece comes first: its place proves the length. Where others have it, the only holder of the rest is
        // spared, while there is something else to ask of it.
        let open_last =
            last.filter(|p| !fetching.proven && fetching.picker.is_open(*p) && partner.offers(*p));
        let rest = fetching.picker.rarest().next();
        let spared = rest.is_some_and(|p| is_sole(&fetching.picker, p) && partner.offers(p));
        let proof = open_last.filter(|p| is_sole(&fetching.picker, *p) || !spared);
        let gives =
            |p: PieceIndex| swarm.partners.values().any(|other| other.offers(p) && other.is_askable(now));
        let provable = || last.is_some_and(|p| fetching.asked.contains_key(&p) || gives(p));
        if proof.is_none() && !fetching.proven && provable() {
            let begun = (swarm.held.count(swarm.geometry.pieces()) as usize + fetching.asked.len()) as u64;
            if begun * swarm.geometry.piece_length() >= UNPROVEN_BYTES_MAX {
                return open_last.is_some_and(|p| self.begin_asking(link, id, p, room));
            }
        }
        let pick = proof.or_else(|| fetching.picker.pick(partner.have.set(), |p| !partner.bad.contains(&p)));
        let Some(piece) = pick else {
            if let Some(partner) = swarm.partners.get_mut(&link) {
                partner.exhausted = true;
            }
            return false;
        };
        // What is here of a piece already would be fetched again by a choice.
        let is_begun = |p: &PieceIndex| fetching.arrived.contains_key(p);
        if is_sole(&fetching.picker, piece) && !is_begun(&piece) && !fetching.picker.is_in_order() {
            let rare = fetching.picker.rarest().take(4 * CHOICE_PIECES);
            let pieces: Vec<PieceIndex> = proof
                .into_iter()
                .chain(
                    rare.filter(|p| Some(*p) != proof && is_sole(&fetching.picker, *p) && partner.offers(*p)),
                )
                .filter(|p| !is_begun(p))
                .take(
                    (fetching.picker.open_count() as usize / CHOICE_SHARE)
                        .clamp(CHOICE_PIECES_MIN, CHOICE_PIECES),
                )
                .collect();
            if pieces.len() > 1 {
                // One more would be refused, and the link be left alone for a while.
                if self.open_choices(link) >= limits::CHOICES_PER_LINK {
                    return false;
                }
                self.leave_choice(link, id, &pieces);
                return true;
            }
        }
        if !is_sole(&fetching.picker, piece)
            && (!partner.choices.is_empty()
                || (partner.have.is_all() && complete == 1 && self.others_deliver(link)))
        {
            // What only it has is reserved or given already; the rest is for others to give, while they do.
            return false;
        }
        self.begin_asking(link, id, piece, room)
    }

    /// Choices that the far end of a link has not made, over all contents.
    fn open_choices(&self, link: LinkId) -> usize {
        let swarms = self.links.get(&link).into_iter().flat_map(|l| l.mine.values());
        let partners = swarms.filter_map(|id| self.swarms.get(id)?.partners.get(&link));
        partners.map(|partner| partner.choices.len()).sum()
    }

    /// Enough is coming in over other links: what a silent one owes does not count.
    fn others_deliver(&self, link: LinkId) -> bool {
        let own = self.links.get(&link).map_or(0, |l| l.inflight);
        if self.inflight - own < SPARED_BYTES {
            return false;
        }
        let lively = |(id, l): &(&LinkId, &Link)| **id != link && l.is_lively(self.now);
        self.links.iter().filter(lively).map(|(_, l)| l.inflight).sum::<u64>() >= SPARED_BYTES
    }

    /// Asks a link for what is missing of a piece, from its first chunk on.
    pub(super) fn begin_asking(&mut self, link: LinkId, id: SwarmId, piece: PieceIndex, room: u64) -> bool {
        let Some(swarm) = self.swarms.get_mut(&id) else { return false };
        let (Some(partner), Some(fetching)) = (swarm.partners.get_mut(&link), swarm.fetching.as_mut()) else {
            return false;
        };
        if fetching.undivided.contains(&piece) {
            fetching.arrived.remove(&piece);
        }
        fetching.picker.close(piece);
        partner.asked.insert(piece);
        fetching.asked.entry(piece).or_default().push(Ask { link, next: 0, ops: Vec::new() });
        if let Some(l) = self.links.get_mut(&link) {
            l.unfinished.push_back((id, piece));
        }
        self.ask_more(link, id, piece, room)
    }

    /// Asks for the next run of a piece that this link has begun; as many chunks as there is room for, at least one.
    fn ask_more(&mut self, link: LinkId, id: SwarmId, piece: PieceIndex, room: u64) -> bool {
        let Some(swarm) = self.swarms.get_mut(&id) else { return false };
        let Some(partner) = swarm.partners.get(&link) else { return false };
        let slot = partner.mine;
        let (key, chunks) = (swarm.key, swarm.geometry.chunks(piece).unwrap_or(0));
        let Some(fetching) = swarm.fetching.as_mut() else { return false };
        let arrived = fetching.arrived.get(&piece);
        let here =
            |chunk: u16| arrived.is_some_and(|a| a.values.get(chunk as usize).is_some_and(Option::is_some));
        let Some(ask) =
            fetching.asked.get_mut(&piece).and_then(|asks| asks.iter_mut().find(|a| a.link == link))
        else {
            return false;
        };
        let Some(first) = (ask.next..chunks).find(|c| !here(*c)) else { return false };
        let most = first.saturating_add(room.div_ceil(CHUNK_BYTES).clamp(1, u64::from(u16::MAX)) as u16);
        let end = (first..chunks.min(most)).find(|c| here(*c)).unwrap_or_else(|| chunks.min(most));
        let run = ChunkRun { piece, first, count: end - first };
        let op = OpId(self.next_op);
        self.next_op += 1;
        ask.next = end;
        ask.ops.push(op);
        let place = fetching.place;
        self.note_asked(op, link, id, run, None);
        self.effect(PeerEffect::Expect { link, op, slot, key, place, run });
        self.say(link, PeerMessage::Request { slot, run });
        true
    }

    /// Bytes of some chunks of a piece, one bit each.
    pub(super) fn chunk_bits_bytes(&self, id: SwarmId, piece: PieceIndex, bits: u64) -> u64 {
        let Some(swarm) = self.swarms.get(&id) else { return 0 };
        let chunks = swarm.geometry.chunks(piece).unwrap_or(0);
        let short = u64::from(chunks) * CHUNK_BYTES - swarm.piece_bytes(piece);
        let has_last = chunks > 0 && bits >> (chunks - 1) & 1 == 1;
        u64::from(bits.count_ones()) * CHUNK_BYTES - if has_last { short } else { 0 }
    }

    fn note_asked(&mut self, op: OpId, link: LinkId, swarm: SwarmId, run: ChunkRun, choice: Option<u32>) {
        let outstanding = run_bits(run);
        let Some((peer, addr)) = self.links.get(&link).map(|l| (l.peer, l.addr)) else { return };
        let at = self.now;
        self.asked.insert(
            op,
            AskedRun {
                link,
                peer,
                addr,
                swarm,
                run,
                outstanding,
                choice,
                taken_back: false,
                void: false,
                at,
            },
        );
        if self.asked.len() > limits::ASKED_RUNS_MAX
            && let Some(old) = self.asked.iter().find(|(_, r)| r.taken_back).map(|(op, _)| *op)
        {
            self.asked.remove(&old);
        }
        if let Some(fetching) = self.swarms.get_mut(&swarm).and_then(|s| s.fetching.as_mut()) {
            let runs = fetching.runs.entry(run.piece).or_default();
            runs.retain(|op| self.asked.contains_key(op));
            runs.push(op);
        }
        if choice.is_none() {
            let bytes = self.chunk_bits_bytes(swarm, run.piece, outstanding);
            self.owe(link, bytes);
        }
        if let Some(l) = self.links.get_mut(&link) {
            l.queue.push_back(op);
        }
    }

    /// A link owes this many bytes more.
    pub(super) fn owe(&mut self, link: LinkId, bytes: u64) {
        let now = self.now;
        let Some(l) = self.links.get_mut(&link) else { return };
        if l.inflight == 0 {
            self.owing += usize::from(bytes > 0);
            l.progress = now;
            l.down.restart(now);
            self.timers.set_by(Timer::Stall, now + STALL_EVERY);
        }
        l.inflight += bytes;
        self.inflight += bytes;
        self.down_cap.spend(bytes);
    }

    /// A link owes this many bytes less.
    pub(super) fn settle(&mut self, link: LinkId, bytes: u64) {
        let Some(l) = self.links.get_mut(&link) else { return };
        debug_assert!(l.inflight >= bytes, "a link delivered more than it owed");
        let owed = l.inflight > 0;
        l.inflight = l.inflight.saturating_sub(bytes);
        self.owing -= usize::from(owed && l.inflight == 0);
        self.inflight = self.inflight.saturating_sub(bytes);
        self.less_under_way = true;
        self.hungry.insert(link);
    }

    /// Lets the far end choose one of these pieces.
    fn leave_choice(&mut self, link: LinkId, id: SwarmId, pieces: &[PieceIndex]) {
        let Some(l) = self.links.get_mut(&link) else { return };
        let choice = l.next_choice;
        l.next_choice = l.next_choice.wrapping_add(1);
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        let key = swarm.key;
        let Some(partner) = swarm.partners.get_mut(&link) else { return };
        let slot = partner.mine;
        let Some(fetching) = swarm.fetching.as_mut() else { return };
        let place = fetching.place;
        let mut candidates = Vec::with_capacity(pieces.len());
        let mut runs = Vec::with_capacity(pieces.len());
        for piece in pieces {
            fetching.picker.close(*piece);
            fetching.arrived.remove(piece);
            let op = OpId(self.next_op);
            self.next_op += 1;
            candidates.push((*piece, op));
            runs.extend(swarm.geometry.whole_piece(*piece).map(|run| (op, run)));
        }
        partner.choices.insert(choice, candidates);
        let bytes = self.choice_bytes(id);
        for (op, run) in runs {
            self.note_asked(op, link, id, run, Some(choice));
            self.effect(PeerEffect::Expect { link, op, slot, key, place, run });
        }
        self.owe(link, bytes);
        self.say(link, PeerMessage::RequestAny { slot, choice, pieces: pieces.to_vec() });
    }

    /// Bytes that an open choice counts for: those of a whole piece.
    pub(super) fn choice_bytes(&self, id: SwarmId) -> u64 {
        self.swarms.get(&id).map_or(0, |s| s.geometry.piece_length().min(s.key.length))
    }

    /// The far end has chosen: the other candidates are open again.
    pub(super) fn choice_made(&mut self, link: LinkId, id: SwarmId, choice: u32, chosen: OpId) {
        let counted = self.choice_bytes(id);
        let Some(partner) = self.swarms.get_mut(&id).and_then(|s| s.partners.get_mut(&link)) else { return };
        let Some(candidates) = partner.choices.remove(&choice) else { return };
        self.settle(link, counted);
        // What was chosen is owed anew below: it comes once, and counts once.
        self.down_cap.give_back(counted);
        if let Some(l) = self.links.get_mut(&link) {
            l.queue.retain(|op| *op == chosen || candidates.iter().all(|(_, other)| op != other));
        }
        for (piece, op) in candidates {
            if op != chosen {
                self.unexpect(link, op);
                if let Some(run) = self.asked.get_mut(&op) {
                    run.taken_back = true;
                    run.choice = None;
                }
                self.reopen(id, piece);
                continue;
            }
            let Some(swarm) = self.swarms.get_mut(&id) else { return };
            let chunks = swarm.geometry.chunks(piece).unwrap_or(0);
            if let Some(partner) = swarm.partners.get_mut(&link) {
                partner.asked.insert(piece);
            }
            if let Some(fetching) = &mut swarm.fetching {
                fetching.asked.entry(piece).or_default().push(Ask { link, next: chunks, ops: vec![op] });
            }
            if let Some(run) = self.asked.get_mut(&op) {
                run.choice = None;
                let (run, bits) = (run.run, run.outstanding);
                let bytes = self.chunk_bits_bytes(id, run.piece, bits);
                self.owe(link, bytes);
            }
        }
    }

    fn unexpect(&mut self, link: LinkId, op: OpId) {
        self.effect(PeerEffect::Unexpect { link, op });
    }

    /// The piece is asked of nobody (any more): everybody who has it may be asked.
    pub(super) fn reopen(&mut self, id: SwarmId, piece: PieceIndex) {
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        let Some(fetching) = &mut swarm.fetching else { return };
        if swarm.held.contains(piece) || fetching.asked.contains_key(&piece) {
            return;
        }
        fetching.picker.reopen(piece);
        self.open.insert(id);
        for (link, partner) in &mut swarm.partners {
            if partner.offers(piece) {
                partner.exhausted = false;
                self.hungry.insert(*link);
            }
        }
    }

    /// Takes a piece back from a link. With `cancel` the far end is told.
    pub(super) fn take_back(&mut self, link: LinkId, id: SwarmId, piece: PieceIndex, cancel: bool) {
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        let Some(partner) = swarm.partners.get_mut(&link) else { return };
        if !partner.asked.remove(&piece) {
            return;
        }
        let slot = partner.mine;
        let Some(fetching) = &mut swarm.fetching else { return };
        let mut ops = Vec::new();
        if let Some(asks) = fetching.asked.get_mut(&piece) {
            if let Some(at) = asks.iter().position(|a| a.link == link) {
                ops = asks.swap_remove(at).ops;
            }
            if asks.is_empty() {
                fetching.asked.remove(&piece);
            }
        }
        if let Some(l) = self.links.get_mut(&link) {
            l.unfinished.retain(|u| *u != (id, piece));
            l.queue.retain(|op| !ops.contains(op));
        }
        let mut owed = 0;
        for op in ops {
            let Some(run) = self.asked.get_mut(&op) else { continue };
            run.taken_back = true;
            if run.outstanding != 0 {
                let run = run.clone();
                owed += self.outstanding_bytes(&run);
                self.unexpect(link, op);
            }
        }
        self.settle(link, owed);
        if cancel && owed > 0 {
            self.say(link, PeerMessage::Cancel { slot, which: RequestRef::Piece(piece) });
        }
        self.reopen(id, piece);
    }

    /// Bytes of a run that have not arrived.
    pub(super) fn outstanding_bytes(&self, asked: &AskedRun) -> u64 {
        self.chunk_bits_bytes(asked.swarm, asked.run.piece, asked.outstanding)
    }

    /// Takes an open choice back.
    pub(super) fn take_back_choice(&mut self, link: LinkId, id: SwarmId, choice: u32, cancel: bool) {
        let bytes = self.choice_bytes(id);
        let Some(partner) = self.swarms.get_mut(&id).and_then(|s| s.partners.get_mut(&link)) else { return };
        let Some(candidates) = partner.choices.remove(&choice) else { return };
        let slot = partner.mine;
        self.settle(link, bytes);
        if let Some(l) = self.links.get_mut(&link) {
            l.queue.retain(|op| candidates.iter().all(|(_, other)| op != other));
        }
        if cancel {
            self.say(link, PeerMessage::Cancel { slot, which: RequestRef::Choice(choice) });
        }
        for (piece, op) in candidates {
            self.unexpect(link, op);
            if let Some(run) = self.asked.get_mut(&op) {
                run.taken_back = true;
                run.choice = None;
            }
            self.reopen(id, piece);
        }
    }

    pub(super) fn take_back_choices(&mut self, link: LinkId, id: SwarmId) {
        let choices: Vec<u32> = self
            .swarms
            .get(&id)
            .and_then(|s| s.partners.get(&link))
            .map(|p| p.choices.keys().copied().collect())
            .unwrap_or_default();
        for choice in choices {
            self.take_back_choice(link, id, choice, true);
        }
    }

    /// Takes everything back that was asked of a link for one content.
    pub(super) fn take_back_all(&mut self, link: LinkId, id: SwarmId, cancel: bool) {
        let Some(partner) = self.swarms.get(&id).and_then(|s| s.partners.get(&link)) else { return };
        let pieces: Vec<PieceIndex> = partner.asked.iter().copied().collect();
        let choices: Vec<u32> = partner.choices.keys().copied().collect();
        for piece in pieces {
            self.take_back(link, id, piece, cancel);
        }
        for choice in choices {
            self.take_back_choice(link, id, choice, cancel);
        }
    }

    /// The far end does not serve a request.
    pub(super) fn refused(&mut self, link: LinkId, id: SwarmId, which: RequestRef, why: Refusal) {
        let now = self.now;
        let Some(partner) = self.swarms.get_mut(&id).and_then(|s| s.partners.get_mut(&link)) else { return };
        let pieces: Vec<PieceIndex> = match which {
            RequestRef::Piece(piece) => partner.asked.get(&piece).copied().into_iter().collect(),
            RequestRef::Choice(choice) => {
                partner.choices.get(&choice).into_iter().flatten().map(|(p, _)| *p).collect()
            }
        };
        match why {
            Refusal::Busy { retry_ms } if !pieces.is_empty() => {
                let pause = Duration::from_millis(u64::from(retry_ms.clamp(100, 30_000)));
                partner.not_before = Some(now + pause);
                self.timers.set(Timer::Retry(link, id), now + pause);
                self.asked_in_vain(link, id);
            }
            Refusal::Lacks => {
                // Whoever claims again and again what it lacks is not asked in a loop, and is no holder to wait for.
                partner.lacked = partner.lacked.saturating_add(1);
                if partner.lacked > LACKS_FORGIVEN {
                    let pause = Duration::from_secs(1 << partner.strikes.min(5));
                    partner.strikes = partner.strikes.saturating_add(1);
                    partner.not_before = Some(now + pause);
                    self.timers.set(Timer::Retry(link, id), now + pause);
                }
            }
            Refusal::Busy { .. } => {}
        }
        match which {
            RequestRef::Piece(piece) => self.take_back(link, id, piece, false),
            RequestRef::Choice(choice) => self.take_back_choice(link, id, choice, false),
        }
        match (why, which) {
            (Refusal::Busy { .. }, _) => {}
            // Also of a request that was taken back meanwhile: else it would be asked for again and again.
            (Refusal::Lacks, RequestRef::Piece(piece)) => self.lacks(link, id, &[piece]),
            (Refusal::Lacks, RequestRef::Choice(_)) => self.lacks(link, id, &pieces),
        }
    }

    /// A partner was asked in vain, for pieces or for the table. Who puts off for long counts no more: there is room for another.
    pub(super) fn asked_in_vain(&mut self, link: LinkId, id: SwarmId) {
        let now = self.now;
        let Some(partner) = self.swarms.get_mut(&id).and_then(|s| s.partners.get_mut(&link)) else { return };
        partner.puts_off.get_or_insert(now);
        if !partner.counts(now) {
            self.timers.set_by(Timer::Dial(id), now);
        }
    }

    pub(super) fn retry(&mut self, link: LinkId, id: SwarmId) {
        if let Some(partner) = self.swarms.get_mut(&id).and_then(|s| s.partners.get_mut(&link)) {
            partner.not_before = None;
            self.hungry.insert(link);
        }
    }
}
