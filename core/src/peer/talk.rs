//! What peers say to each other about contents: joining a swarm, haves, piece tables, other holders.

use std::net::SocketAddr;
use std::time::Duration;

use crate::content::{Kind, PieceSet};
use crate::ids::{ContentKey, LinkId, PieceIndex, Slot};
use crate::limits;
use crate::wire::peer::{Holding, KnownPeer as WirePeer, PeerMessage, Refusal, RequestRef};

use super::link::Link;
use super::swarm::{Collecting, Fetching, Held, Partner, Phase, Swarm, SwarmId};
use super::timers::Timer;
use super::{Misbehaviour, Peer, PeerEvent};

/// Verified pieces are announced at once after a quiet spell, else batched for a time between these.
const HAVES_EVERY_MIN: Duration = Duration::from_millis(10);
const HAVES_EVERY_MAX: Duration = Duration::from_millis(200);
/// A piece that one partner in so many has, or fewer, is announced at once: nearly all lack it, and each copy makes others.
const RARE_SHARE: usize = 8;
/// A peer that took no part in a swarm is asked again after this.
const ABSENT_AGAIN: Duration = Duration::from_secs(20);
/// Bad pieces that a partner took back and may send again. Whoever goes on like that is not asked for them.
const FORGIVEN: u32 = 64;

impl Peer {
    pub(super) fn peer_says(&mut self, link: LinkId, msg: PeerMessage) {
        if !self.links.contains_key(&link) {
            return;
        }
        self.heard(link);
        if self.links.get(&link).is_some_and(|l| !l.hello) && !matches!(msg, PeerMessage::Hello { .. }) {
            self.misbehaved(link, Misbehaviour::OutOfPlace, None);
            return;
        }
        match msg {
            PeerMessage::Hello { name, listen_port } => self.hello(link, name, listen_port),
            PeerMessage::Join { slot, key, holding } => self.join_said(link, slot, key, holding),
            PeerMessage::Bitfield { slot, first, bits } => self.bitfield_said(link, slot, first, &bits),
            PeerMessage::Have { slot, pieces } => self.have_said(link, slot, &pieces),
            PeerMessage::Leave { slot } => self.leave_said(link, slot),
            PeerMessage::Retract { slot, pieces } => self.retract_said(link, slot, &pieces),
            PeerMessage::Request { slot, run } => self.request_said(link, slot, run),
            PeerMessage::RequestAny { slot, choice, pieces } => {
                self.request_any_said(link, slot, choice, pieces)
            }
            PeerMessage::Cancel { slot, which } => self.cancel_said(link, slot, which),
            PeerMessage::Refuse { slot, which, why } => self.refuse_said(link, slot, which, why),
            PeerMessage::RequestTable { slot, first, count } => {
                self.request_table_said(link, slot, first, count)
            }
            PeerMessage::Table { slot, first, values } => self.table_said(link, slot, first, values),
            PeerMessage::Holders { slot, peers } => self.holders_said(link, slot, peers),
            PeerMessage::Find { seq, what } => self.find_said(link, seq, &what),
            PeerMessage::Found { seq, offers } => self.found_said(link, seq, offers),
            PeerMessage::Absent { slot, peers } => self.absent_said(link, slot, peers),
            PeerMessage::Ping { nonce } => self.say(link, PeerMessage::Pong { nonce }),
            PeerMessage::Pong { nonce } => self.pong(link, nonce),
            PeerMessage::Spare { ahead } => self.spare_said(link, ahead),
        }
    }

    fn hello(&mut self, link: LinkId, name: String, listen_port: u16) {
        let Some(l) = self.links.get_mut(&link) else { return };
        if l.hello {
            return self.misbehaved(link, Misbehaviour::OutOfPlace, None);
        }
        l.hello = true;
        l.name = cut(name, limits::PEER_NAME_BYTES_MAX);
        if l.listens_at.is_none() && listen_port != 0 {
            l.listens_at = Some(SocketAddr::new(l.addr.ip(), listen_port));
        }
        let (peer, name, at) = (l.peer, l.name.clone(), l.listens_at);
        for id in self.links.get(&link).map(Link::swarms).unwrap_or_default() {
            self.set_allowed(link, id);
        }
        self.hungry.insert(link);
        let Some(at) = at else { return };
        self.learn(peer, &name, at);
        let wants = |s: &Swarm| s.candidates.contains_key(&at) && !s.partners.contains_key(&link);
        for id in self.fetched().filter(|(_, s)| wants(s)).map(|(id, _)| id).collect::<Vec<_>>() {
            self.join_swarm(link, id);
        }
    }

    /// Nothing is asked of who sent wrong pieces of a content, nor of whom the person did not name.
    fn set_allowed(&mut self, link: LinkId, id: SwarmId) {
        let (Some(l), Some(swarm)) = (self.links.get(&link), self.swarms.get_mut(&id)) else { return };
        let named = swarm.only_from.is_empty() || swarm.only_from.contains(&l.name);
        let offended =
            self.offences.get(&(l.peer, l.addr.ip())).is_some_and(|keys| keys.contains(&swarm.key));
        if let Some(partner) = swarm.partners.get_mut(&link) {
            partner.dropped = offended || !named;
        }
    }

    /// Takes part in a swarm over a link: says what is held, and who else is known.
    pub(super) fn join_swarm(&mut self, link: LinkId, id: SwarmId) {
        self.join_assuming(link, id, false);
    }

    /// As [`join_swarm`](Self::join_swarm); with `complete` the far end is taken for a complete holder before it says so
    /// (it holds the whole folder that this is a member of), which saves a round trip per file.
    pub(super) fn join_assuming(&mut self, link: LinkId, id: SwarmId, complete: bool) {
        let (Some(l), Some(swarm)) = (self.links.get_mut(&link), self.swarms.get_mut(&id)) else { return };
        let absent = l.absent.get(&id).is_some_and(|until| self.now < *until);
        if absent || swarm.partners.contains_key(&link) || l.mine.len() >= limits::SLOTS_PER_LINK {
            return;
        }
        let slot = Slot(l.next_slot);
        l.next_slot = l.next_slot.wrapping_add(1);
        l.mine.insert(slot, id);
        if swarm.kind == Kind::Folder {
            l.folders.insert(id);
        }
        let have = if complete { Held::All } else { Held::Some(PieceSet::empty(swarm.pieces())) };
        swarm.partners.insert(link, Partner::new(self.now, slot, have));
        self.set_allowed(link, id);
        self.say_holding(link, id);
        self.introduce(link, id);
        if complete {
            self.hungry.insert(link);
        }
    }

    /// Says (again) what is held of a content.
    pub(super) fn say_holding(&mut self, link: LinkId, id: SwarmId) {
        let Some(swarm) = self.swarms.get(&id) else { return };
        let Some(partner) = swarm.partners.get(&link) else { return };
        let (slot, key, pieces) = (partner.mine, swarm.key, swarm.pieces());
        let bits = match &swarm.held {
            // An empty file, too, while it is fetched: its holder could not tell that from who always had it.
            held if held.is_none() || (pieces == 0 && !swarm.complete) => {
                let holding = if swarm.table.is_some() { Holding::Table } else { Holding::Nothing };
                return self.say(link, PeerMessage::Join { slot, key, holding });
            }
            Held::All if swarm.kind == Kind::File || swarm.complete => None,
            Held::All => Some(PieceSet::full(pieces)),
            Held::Some(set) => Some(set.clone()),
        };
        let Some(bits) = bits else {
            self.say(link, PeerMessage::Join { slot, key, holding: Holding::Everything });
            return;
        };
        self.say(link, PeerMessage::Join { slot, key, holding: Holding::Some });
        let step = limits::BITFIELD_SLICE_BYTES as u32 * 8;
        for first in (0..pieces).step_by(step as usize) {
            let bits = bits.to_slice(first, limits::BITFIELD_SLICE_BYTES);
            self.say(link, PeerMessage::Bitfield { slot, first, bits });
        }
    }

    /// The far end's slot, if it names a content in which both take part.
    pub(super) fn their_swarm(&self, link: LinkId, slot: Slot) -> Option<SwarmId> {
        self.links.get(&link)?.theirs.get(&slot).copied()
    }

    fn join_said(&mut self, link: LinkId, slot: Slot, key: ContentKey, holding: Holding) {
        if !key.is_plausible() {
            return self.misbehaved(link, Misbehaviour::OutOfRange, None);
        }
        let Some(id) = self.by_key.get(&key).copied() else {
            return self.say(link, PeerMessage::Absent { slot, peers: Vec::new() });
        };
        let both_all =
            |s: &Swarm| s.complete && holding == Holding::Everything && !s.partners.contains_key(&link);
        if self.swarms.get(&id).is_some_and(both_all) {
            // Two complete holders: perhaps its answer to a Join whose swarm was left since.
            return self.say(link, PeerMessage::Absent { slot, peers: Vec::new() });
        }
        // Whoever has all is always welcome.
        if holding != Holding::Everything && !self.make_room_in(link, id) {
            return self.refer(link, slot, id);
        }
        let Some(l) = self.links.get_mut(&link) else { return };
        if l.theirs.len() >= limits::SLOTS_PER_LINK && !l.theirs.contains_key(&slot) {
            return self.misbehaved(link, Misbehaviour::TooMuch, Some(key));
        }
        l.theirs.insert(slot, id);
        l.absent.remove(&id);
        if !self.swarms.get(&id).is_some_and(|s| s.partners.contains_key(&link)) {
            self.join_swarm(link, id);
        }
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        let pieces = swarm.pieces();
        let Some(partner) = swarm.partners.get_mut(&link) else {
            // All own slots are taken: no part can be taken in one more swarm.
            if let Some(l) = self.links.get_mut(&link) {
                l.theirs.remove(&slot);
            }
            return self.say(link, PeerMessage::Absent { slot, peers: Vec::new() });
        };
        if let Some(before) = partner.theirs.replace(slot).filter(|before| *before != slot)
            && let Some(l) = self.links.get_mut(&link)
        {
            l.forget_slot(before, id);
        }
        partner.everything = holding == Holding::Everything;
        partner.has_table = holding != Holding::Nothing;
        partner.told = holding != Holding::Some;
        let fetches = holding != Holding::Everything;
        let has_all = !fetches || pieces == 0;
        if has_all && fetches && swarm.complete {
            // Of an empty file nothing will be asked for: joining is all there is to the delivery.
            self.begin_upload(link, id);
        }
        self.set_held(link, id, if has_all { Held::All } else { Held::Some(PieceSet::empty(pieces)) });
        self.partner_news(link, id);
        self.offer_spare(false);
    }

    /// Replaces what a partner is known to hold, with the picker's counts.
    fn set_held(&mut self, link: LinkId, id: SwarmId, have: Held) {
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        let Some(partner) = swarm.partners.get_mut(&link) else { return };
        if let Some(fetching) = &mut swarm.fetching {
            // Only what differs: whoever says a little often must not cost much.
            let picker = &mut fetching.picker;
            match (&partner.have, &have) {
                (Held::Some(before), Held::Some(after)) => {
                    before.difference(after).for_each(|piece| picker.lost(piece));
                    after.difference(before).for_each(|piece| picker.gained(piece));
                }
                (Held::Some(before), Held::All) => before.iter().for_each(|piece| picker.lost(piece)),
                (Held::All, Held::Some(after)) => after.iter().for_each(|piece| picker.gained(piece)),
                (Held::All, Held::All) => {}
            }
        }
        let lost: Vec<PieceIndex> = partner.asked.iter().copied().filter(|p| !have.contains(*p)).collect();
        let choices = !partner.choices.is_empty() && !have.is_all();
        partner.have = have;
        partner.exhausted = false;
        for piece in lost {
            self.take_back(link, id, piece, true);
        }
        if choices {
            self.take_back_choices(link, id);
        }
    }

    fn bitfield_said(&mut self, link: LinkId, slot: Slot, first: u32, bits: &[u8]) {
        let Some(id) = self.their_swarm(link, slot) else { return };
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        let Some(partner) = swarm.partners.get_mut(&link) else { return };
        let mut have = match &partner.have {
            Held::All => return,
            Held::Some(set) => set.clone(),
        };
        if have.merge_slice(first, bits).is_err() {
            return self.misbehaved(link, Misbehaviour::OutOfRange, None);
        }
        partner.told = true;
        self.set_held(link, id, Held::Some(have));
        self.partner_filled(link, id);
        self.partner_news(link, id);
    }

    fn have_said(&mut self, link: LinkId, slot: Slot, pieces: &[PieceIndex]) {
        let Some(id) = self.their_swarm(link, slot) else { return };
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        let count = swarm.pieces();
        let Some(partner) = swarm.partners.get_mut(&link) else { return };
        if pieces.iter().any(|p| p.0 >= count) || pieces.len() > limits::HAVES_PER_MESSAGE {
            return self.misbehaved(link, Misbehaviour::OutOfRange, None);
        }
        let mut useful = false;
        for piece in pieces {
            partner.given.remove(piece);
            if let Held::Some(set) = &mut partner.have
                && set.insert(*piece)
                && let Some(fetching) = &mut swarm.fetching
            {
                fetching.picker.gained(*piece);
                partner.exhausted = false;
                useful |= fetching.picker.is_open(*piece);
            }
        }
        self.partner_filled(link, id);
        if useful || self.swarms.get(&id).is_some_and(|s| s.is_running()) {
            self.hungry.insert(link);
        }
        self.partner_news(link, id);
    }

    /// A partner whose bits are all set is a complete holder.
    fn partner_filled(&mut self, link: LinkId, id: SwarmId) {
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        let full =
            swarm.partners.get(&link).is_some_and(|p| matches!(&p.have, Held::Some(set) if set.is_full()));
        if full {
            self.set_held(link, id, Held::All);
        }
    }

    /// What a partner holds has changed.
    fn partner_news(&mut self, link: LinkId, id: SwarmId) {
        let Some(swarm) = self.swarms.get(&id) else { return };
        let Some(partner) = swarm.partners.get(&link) else { return };
        let is_holder = partner.everything;
        let theirs_all = partner.have.is_all() && (partner.everything || swarm.kind == Kind::File);
        if theirs_all && swarm.complete && partner.theirs.is_some() {
            // Both have all: nothing is left to say.
            self.end_upload(link, id, true);
            self.leave_swarm(link, id);
            return;
        }
        match swarm.fetching.as_ref().map(|f| &f.phase) {
            Some(Phase::Table(Collecting { from: None, .. })) => self.ask_table(id),
            Some(Phase::Running) => {
                self.hungry.insert(link);
                if is_holder {
                    self.told_holder(id);
                }
            }
            _ => {}
        }
        if partner_useful(self, link, id) {
            self.member_partner(link, id);
        }
    }

    fn leave_said(&mut self, link: LinkId, slot: Slot) {
        let Some(id) = self.their_swarm(link, slot) else { return };
        // Whoever retracts does so before it leaves.
        self.blame(link, id);
        if self.links.contains_key(&link) {
            self.drop_partner(link, id);
        }
    }

    /// The far end takes no part in a swarm that we joined: it is no holder, for now. Perhaps it knows others.
    fn absent_said(&mut self, link: LinkId, slot: Slot, peers: Vec<WirePeer>) {
        let Some(l) = self.links.get(&link) else { return };
        let Some(id) = l.mine.get(&slot).copied() else { return };
        let (at, next) = (l.listens_at, self.now + ABSENT_AGAIN);
        self.drop_partner(link, id);
        if let Some(l) = self.links.get_mut(&link) {
            // Others who have not heard it yet go on naming it.
            l.absent.retain(|_, until| self.now < *until);
            l.absent.insert(id, next);
        }
        if let Some(c) = at.and_then(|at| self.swarms.get_mut(&id)?.candidates.get_mut(&at)) {
            c.next = next;
        }
        self.told_of(link, id, peers);
    }

    /// Takes no part in this swarm over this link any more, and says so.
    pub(super) fn leave_swarm(&mut self, link: LinkId, id: SwarmId) {
        let slot = self.swarms.get(&id).and_then(|s| s.partners.get(&link)).map(|p| p.mine);
        if let Some(slot) = slot {
            self.drop_partner(link, id);
            self.say(link, PeerMessage::Leave { slot });
        }
    }

    /// Forgets a partner; what was asked of it goes to the others at once.
    pub(super) fn drop_partner(&mut self, link: LinkId, id: SwarmId) {
        self.end_upload(link, id, false);
        self.take_back_all(link, id, false);
        self.drop_wants(link, id);
        self.set_held_none(link, id);
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        let Some(partner) = swarm.partners.remove(&link) else { return };
        swarm.given_below = 0;
        self.timers.clear(Timer::Retry(link, id));
        if self.timers.is_set(Timer::Blame(link, id)) {
            self.timers.clear(Timer::Blame(link, id));
        }
        if let Some(l) = self.links.get_mut(&link) {
            l.mine.remove(&partner.mine);
            l.folders.remove(&id);
            if let Some(slot) = partner.theirs {
                l.forget_slot(slot, id);
            }
        }
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        if let Some(fetching) = &mut swarm.fetching
            && let Phase::Table(table) = &mut fetching.phase
            && table.from == Some(link)
        {
            table.from = None;
            self.ask_table(id);
        }
        if self.swarms.get(&id).is_some_and(|s| s.wants_partners()) {
            self.timers.set_by(Timer::Dial(id), self.now);
        }
    }

    /// A partner has pieces no more. It may announce them again.
    pub(super) fn lacks(&mut self, link: LinkId, id: SwarmId, pieces: &[PieceIndex]) {
        let Some(swarm) = self.swarms.get(&id) else { return };
        let Some(partner) = swarm.partners.get(&link) else { return };
        if !pieces.iter().any(|piece| partner.have.contains(*piece)) {
            return;
        }
        let mut have = match &partner.have {
            Held::All => PieceSet::full(swarm.pieces()),
            Held::Some(set) => set.clone(),
        };
        for piece in pieces {
            have.remove(*piece);
        }
        self.set_held(link, id, Held::Some(have));
    }

    fn set_held_none(&mut self, link: LinkId, id: SwarmId) {
        if let Some(swarm) = self.swarms.get(&id) {
            let none = Held::Some(PieceSet::empty(swarm.pieces()));
            self.set_held(link, id, none);
        }
    }

    fn retract_said(&mut self, link: LinkId, slot: Slot, pieces: &[PieceIndex]) {
        let Some(id) = self.their_swarm(link, slot) else { return };
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        let count = swarm.pieces();
        let key = swarm.key;
        if pieces.iter().any(|p| p.0 >= count) {
            return self.misbehaved(link, Misbehaviour::OutOfRange, None);
        }
        let Some(partner) = swarm.partners.get_mut(&link) else { return };
        // What nobody offered is taken back by strangers that have nothing better to say.
        let offered = pieces.iter().any(|piece| partner.have.contains(*piece))
            || (pieces.is_empty() && !partner.have.is_none());
        if pieces.is_empty() {
            partner.suspected.clear();
        }
        for piece in pieces {
            partner.suspected.remove(piece);
            // It could not read the piece, and may offer it again when it can.
            if partner.forgiven < FORGIVEN && partner.bad.remove(piece) {
                partner.forgiven += 1;
            }
        }
        // What it sent of pieces that are not whole yet is not to be trusted either, written or being written.
        self.retract_runs(link, id, pieces);
        self.discard_arrived(link, id, pieces);
        if pieces.is_empty() {
            self.set_held_none(link, id);
        } else {
            self.lacks(link, id, pieces);
        }
        if let Some(peer) = self.links.get(&link).map(|l| l.peer).filter(|_| offered) {
            self.report(PeerEvent::Retracted { peer, key });
        }
    }

    /// Announces a verified piece to every partner: at once after a quiet spell, or if others wait for it, else with those that
    /// follow shortly.
    pub(super) fn announce_have(&mut self, id: SwarmId, piece: PieceIndex) {
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        swarm.news.push(piece);
        let few = |f: &Fetching| usize::from(f.picker.count(piece)) < swarm.partners.len() / RARE_SHARE;
        let rare = swarm.fetching.as_deref().is_some_and(few);
        if rare || !self.timers.is_set(Timer::Haves(id)) {
            self.flush_haves(id);
        }
        self.offer_spare(rare);
    }

    /// Tells all partners of the pieces verified since they were told last.
    pub(super) fn flush_haves(&mut self, id: SwarmId) {
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        if swarm.news.is_empty() {
            return;
        }
        // What a failed sync took away meanwhile is not announced.
        let mut news = std::mem::take(&mut swarm.news);
        news.retain(|piece| swarm.held.contains(*piece));
        let more = !swarm.held.is_all();
        let partners: Vec<(LinkId, Slot)> = swarm.partners.iter().map(|(link, p)| (*link, p.mine)).collect();
        for (link, slot) in &partners {
            for pieces in news.chunks(limits::HAVES_PER_MESSAGE) {
                self.say(*link, PeerMessage::Have { slot: *slot, pieces: pieces.to_vec() });
            }
        }
        if more {
            self.timers.set(Timer::Haves(id), self.now + haves_every(partners.len()));
        }
    }

    fn refuse_said(&mut self, link: LinkId, slot: Slot, which: RequestRef, why: Refusal) {
        let Some(id) = self.links.get(&link).and_then(|l| l.mine.get(&slot).copied()) else { return };
        self.refused(link, id, which, why);
    }
}

/// How long pieces are batched that are announced to so many. Among many the same piece comes from many, and each learns of
/// it from all of them: so each of them may be late.
fn haves_every(partners: usize) -> Duration {
    let half = partners.min(64) as u64 / 2;
    Duration::from_millis(half * half).clamp(HAVES_EVERY_MIN, HAVES_EVERY_MAX)
}

/// The beginning of a text, of at most `bytes_max` bytes.
pub(super) fn cut(mut text: String, bytes_max: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}

/// Does a partner hold something of a folder's listing, so that its members may be asked of it?
fn partner_useful(peer: &Peer, link: LinkId, id: SwarmId) -> bool {
    peer.swarms
        .get(&id)
        .is_some_and(|s| s.kind == Kind::Folder && s.partners.get(&link).is_some_and(|p| p.everything))
}
