//! Serving what others ask for: bounded queues, a bounded number of links at a time, an explicit "busy", and chunk by chunk
//! in turn among those whose connection has room.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Bound;
use std::time::Duration;

use crate::content::Kind;
use crate::ids::{ChunkAddr, ChunkRun, ContentKey, LinkId, PieceIndex, Slot};
use crate::limits;
use crate::origin::origin;
use crate::wire::frame::Header;
use crate::wire::peer::{PeerMessage, Refusal, RequestRef};

use super::link::Want;
use super::swarm::SwarmId;
use super::timers::Timer;
use super::{Misbehaviour, Peer, PeerEffect, PeerEvent, SendResult};

/// A link that asks for nothing keeps its upload slot for this long.
const SLOT_IDLE: Duration = Duration::from_secs(2);
/// A link that takes no chunk of what it asked for loses its slot after this: 9 kB/s keep it.
const SLOT_STUCK: Duration = Duration::from_secs(30);
/// When a link without an upload slot is told to ask again.
const BUSY_RETRY_MS: u32 = 500;

/// When a link that wants second copies is told to ask again, while first copies are left or on their way, or others have some.
const CHOICE_RETRY_MS: u32 = 100;
/// What could not be read is offered again after this.
const UNREAD_AGAIN: Duration = Duration::from_secs(2);

impl Peer {
    pub(super) fn request_said(&mut self, link: LinkId, slot: Slot, run: ChunkRun) {
        let which = RequestRef::Piece(run.piece);
        let Some(id) = self.their_swarm(link, slot) else { return };
        let Some(swarm) = self.swarms.get(&id) else { return };
        if !swarm.geometry.contains_run(run) {
            let key = Some(swarm.key);
            return self.misbehaved(link, Misbehaviour::OutOfRange, key);
        }
        if !swarm.held.contains(run.piece) {
            return self.refuse(link, slot, which, Refusal::Lacks);
        }
        if !self.may_queue(link, run.count as usize) {
            return self.refuse(link, slot, which, Refusal::Busy { retry_ms: BUSY_RETRY_MS });
        }
        let (piece, next, end) = (run.piece, run.first, run.first + run.count);
        self.queue(link, Want::Run { swarm: id, slot, piece, next, end, choice: None });
    }

    pub(super) fn request_any_said(
        &mut self,
        link: LinkId,
        slot: Slot,
        choice: u32,
        pieces: Vec<PieceIndex>,
    ) {
        let Some(id) = self.their_swarm(link, slot) else { return };
        let Some(swarm) = self.swarms.get(&id) else { return };
        let key = Some(swarm.key);
        if pieces.is_empty() || pieces.len() > limits::CHOICE_PIECES_MAX {
            return self.misbehaved(link, Misbehaviour::TooMuch, key);
        }
        if pieces.iter().any(|p| p.0 >= swarm.pieces()) {
            return self.misbehaved(link, Misbehaviour::OutOfRange, key);
        }
        let which = RequestRef::Choice(choice);
        if !pieces.iter().any(|p| swarm.held.contains(*p)) {
            return self.refuse(link, slot, which, Refusal::Lacks);
        }
        let chunks = pieces.iter().filter_map(|p| swarm.geometry.chunks(*p)).max().unwrap_or(1);
        let open = self
            .links
            .get(&link)
            .map_or(0, |l| l.wants.iter().filter(|w| matches!(w, Want::Any { .. })).count());
        if open >= limits::CHOICES_PER_LINK || !self.may_queue(link, chunks.into()) {
            return self.refuse(link, slot, which, Refusal::Busy { retry_ms: BUSY_RETRY_MS });
        }
        self.queue(link, Want::Any { swarm: id, slot, choice, pieces, chunks });
    }

    /// Is there an upload slot for this link, and room in its queue? While more could leave nobody is sent away but for the
    /// configured maximum: an uplink that once seemed slow would never be seen at work again.
    fn may_queue(&mut self, link: LinkId, chunks: usize) -> bool {
        let most = self.config.upload_links_max as usize;
        let idle = self.ready.is_empty() && self.outgoing.room(self.now).is_ok();
        let slots = if idle { most } else { self.outgoing.slots(most) };
        let room = self
            .links
            .get(&link)
            .is_some_and(|l| l.wanted_chunks() + chunks <= limits::REQUESTED_CHUNKS_PER_LINK);
        room && (self.served.contains(&link) || self.served.len() < slots || self.make_slot(link))
    }

    /// All slots are taken: an address that has two more of them than this link's gives one up, the newest. So no address keeps
    /// others from being served, however many links it has.
    fn make_slot(&mut self, link: LinkId) -> bool {
        let mut of: BTreeMap<Option<IpAddr>, Vec<LinkId>> = BTreeMap::new();
        for served in &self.served {
            of.entry(self.origin_of(*served)).or_default().push(*served);
        }
        let own = of.get(&self.origin_of(link)).map_or(0, Vec::len);
        let Some(most) = of.into_values().max_by_key(Vec::len).filter(|most| most.len() >= own + 2) else {
            return false;
        };
        if let Some(newest) = most.last() {
            self.upload_idle(*newest);
        }
        true
    }

    fn refuse(&mut self, link: LinkId, slot: Slot, which: RequestRef, why: Refusal) {
        self.say(link, PeerMessage::Refuse { slot, which, why });
    }

    fn queue(&mut self, link: LinkId, want: Want) {
        let id = want.swarm();
        let Some(l) = self.links.get_mut(&link) else { return };
        if l.wants.is_empty() {
            self.timers.clear(Timer::UploadIdle(link));
        }
        l.wants.push_back(want);
        l.spare.asks();
        self.served.insert(link);
        self.begin_upload(link, id);
        self.ready.insert(link);
        self.serve();
    }

    /// As what an upload is told. Of a folder that is one, not thousands: whoever takes part in a folder gets its members
    /// with it. (With several folders at a time, their members count for the one joined first.)
    fn told_as(&self, link: LinkId, id: SwarmId) -> SwarmId {
        let member = self.swarms.get(&id).is_some_and(|s| s.member);
        let folder = self.links.get(&link).filter(|_| member).and_then(|l| l.folders.first());
        folder.copied().unwrap_or(id)
    }

    /// The upload of a content to a link begins, unless it has.
    pub(super) fn begin_upload(&mut self, link: LinkId, id: SwarmId) {
        let id = self.told_as(link, id);
        let Some(peer) = self.links.get(&link).map(|l| l.peer) else { return };
        if let Some(swarm) = self.swarms.get_mut(&id)
            && let Some(partner) = swarm.partners.get_mut(&link)
            && !std::mem::replace(&mut partner.uploading, true)
        {
            let key = swarm.key;
            self.report(PeerEvent::UploadBegan { peer, key });
        }
    }

    pub(super) fn writable(&mut self, link: LinkId, bytes: u32) {
        let Some(l) = self.links.get_mut(&link) else { return };
        l.credit = l.credit.saturating_add(i64::from(bytes));
        if !l.wants.is_empty() {
            self.ready.insert(link);
            self.serve();
        }
    }

    /// Sends chunk by chunk, one link after the other, until nobody has both a request and room, or enough is leaving.
    pub(super) fn serve(&mut self) {
        while !self.ready.is_empty() {
            if let Err(at) = self.outgoing.room(self.now) {
                self.timers.set_by(Timer::UpRate, at);
                return;
            }
            if let Err(at) = self.up_cap.poll(self.now) {
                self.timers.set_by(Timer::UpRate, at);
                return;
            }
            let Some(link) = self.next_served() else { break };
            if !self.serve_one(link) {
                self.ready.remove(&link);
            }
        }
        self.offer_spare(false);
    }

    /// Whose chunk leaves next. The neediest first: so nobody falls behind for good, and what is rare gets to where it spreads.
    /// (Massoulié et al., Infocom 2007: "most deprived neighbour" reaches the fluid bound.) But every other chunk by turns:
    /// who has more gets on, however many begin anew.
    fn next_served(&mut self) -> Option<LinkId> {
        self.by_turns = !self.by_turns;
        if self.by_turns {
            return self.next_by_turns();
        }
        let by_need = |link: &LinkId| (self.has_of_front(*link), *link <= self.last_served, *link);
        self.ready.iter().copied().min_by_key(by_need)
    }

    /// One link of each address after the other, and among those of one address whoever had no turn for longest.
    fn next_by_turns(&mut self) -> Option<LinkId> {
        let mut after = self.ready.range((Bound::Excluded(self.last_served), Bound::Unbounded));
        let next = after.find(|link| self.origin_of(**link).is_some_and(|ip| !self.had_turn.contains(&ip)));
        // A round ends, however many come anew.
        let next = match next {
            Some(next) if self.had_turn.len() < limits::LINKS_MAX => *next,
            _ => {
                self.had_turn.clear();
                *self.ready.first()?
            }
        };
        self.last_served = next;
        let ip = self.origin_of(next)?;
        self.had_turn.insert(ip);
        let turn = |link: &LinkId| self.links.get(link).map(|l| (l.had_turn, *link));
        let of_same = self.ready.iter().filter(|link| self.origin_of(**link) == Some(ip));
        let (_, chosen) = of_same.filter_map(turn).min()?;
        self.links.get_mut(&chosen)?.had_turn = self.now;
        Some(chosen)
    }

    fn origin_of(&self, link: LinkId) -> Option<IpAddr> {
        self.links.get(&link).map(|l| origin(l.addr.ip()))
    }

    /// How many pieces the far end has of the content that it wants next. Who never says so has what it took.
    fn has_of_front(&self, link: LinkId) -> u64 {
        let has = || {
            let swarm = self.swarms.get(&self.links.get(&link)?.wants.front()?.swarm())?;
            let partner = swarm.partners.get(&link)?;
            let said = partner.have.count(swarm.pieces());
            Some(u64::from(said).max(partner.taken_bytes / swarm.geometry.piece_length()))
        };
        has().unwrap_or(0)
    }

    /// Sends one chunk. False: nothing is wanted, or the connection has no room for it.
    fn serve_one(&mut self, link: LinkId) -> bool {
        self.choose_first(link);
        let Some(l) = self.links.get_mut(&link) else { return false };
        let Some(want) = l.wants.front_mut() else {
            self.timers.set_by(Timer::UploadIdle(link), self.now + SLOT_IDLE);
            return false;
        };
        let Want::Run { swarm: id, slot, piece, next, end, .. } = want else { return false };
        let (id, slot, piece) = (*id, *slot, *piece);
        let at = ChunkAddr { piece, chunk: *next };
        let Some(swarm) = self.swarms.get_mut(&id) else {
            l.wants.pop_front();
            return true;
        };
        let begins = at.chunk == 0 && swarm.complete;
        if begins && swarm.has_first_copies_on_their_way(self.now) && swarm.copies(piece) > 0 {
            let Some(want) = l.wants.pop_front() else { return false };
            let why = Refusal::Busy { retry_ms: CHOICE_RETRY_MS };
            self.refuse(link, want.slot(), want.which(), why);
            return true;
        }
        let bytes = swarm.geometry.chunk_bytes(at).unwrap_or(0);
        let frame = i64::from(bytes) + Header::BYTES as i64;
        if l.credit < frame {
            if !self.timers.is_set(Timer::UploadIdle(link)) {
                self.timers.set(Timer::UploadIdle(link), self.now + SLOT_STUCK);
            }
            return false;
        }
        self.timers.clear(Timer::UploadIdle(link));
        l.credit -= frame;
        *next += 1;
        if *next >= *end {
            l.wants.pop_front();
        }
        let key = swarm.key;
        if let Some(partner) = swarm.partners.get_mut(&link) {
            partner.taken_bytes += u64::from(bytes);
            if !partner.have.contains(piece) {
                partner.given.insert(piece);
            }
        }
        let told = self.told_as(link, id);
        if let Some(partner) = self.swarms.get_mut(&told).and_then(|s| s.partners.get_mut(&link)) {
            partner.sent_bytes += u64::from(bytes);
        }
        self.up_cap.spend(frame as u64);
        let rtt = self.links.get(&link).and_then(|l| l.rtt).unwrap_or_default();
        self.outgoing.began(link, self.now, rtt);
        self.effect(PeerEffect::SendChunk { link, slot, key, at });
        true
    }

    /// Turns the choice whose turn has come into a request for the piece that has the fewest copies: as late as possible,
    /// when most is known.
    fn choose_first(&mut self, link: LinkId) {
        loop {
            let Some(Want::Any { .. }) = self.links.get(&link).and_then(|l| l.wants.front()) else { return };
            let Some(Want::Any { swarm: id, slot, choice, pieces, .. }) =
                self.links.get_mut(&link).and_then(|l| l.wants.pop_front())
            else {
                return;
            };
            let chosen = self.swarms.get_mut(&id).and_then(|swarm| {
                let held = pieces.iter().copied().filter(|p| swarm.held.contains(*p));
                let piece = held.min_by_key(|p| swarm.copies(*p))?;
                // All of these were given away, and others were not, or can be had of others: the asker will know better
                // in a moment.
                let copies = swarm.copies(piece);
                let later = copies > 0 && (swarm.has_ungiven() || swarm.sends_elsewhere(link, copies));
                Some((piece, swarm.geometry.chunks(piece)?, later))
            });
            if let Some((_, _, true)) = chosen {
                let busy = Refusal::Busy { retry_ms: CHOICE_RETRY_MS };
                self.refuse(link, slot, RequestRef::Choice(choice), busy);
                continue;
            }
            if let Some((piece, end, _)) = chosen
                && let Some(l) = self.links.get_mut(&link)
            {
                l.wants.push_front(Want::Run { swarm: id, slot, piece, next: 0, end, choice: Some(choice) });
                return;
            }
            self.refuse(link, slot, RequestRef::Choice(choice), Refusal::Lacks);
        }
    }

    pub(super) fn cancel_said(&mut self, link: LinkId, slot: Slot, which: RequestRef) {
        let Some(l) = self.links.get_mut(&link) else { return };
        l.wants.retain(|want| match (want, which) {
            (Want::Run { slot: s, piece, .. }, RequestRef::Piece(p)) => !(*s == slot && *piece == p),
            (Want::Any { slot: s, choice, .. }, RequestRef::Choice(c)) => !(*s == slot && *choice == c),
            (Want::Run { slot: s, choice: Some(choice), .. }, RequestRef::Choice(c)) => {
                !(*s == slot && *choice == c)
            }
            _ => true,
        });
        self.check_idle(link);
    }

    /// Refuses what a link wants of pieces that are not held any more.
    pub(super) fn refuse_lost(&mut self, link: LinkId, id: SwarmId) {
        let (Some(l), Some(swarm)) = (self.links.get_mut(&link), self.swarms.get(&id)) else { return };
        let is_lost = |want: &Want| matches!(want, Want::Run { swarm: s, piece, .. } if *s == id && !swarm.held.contains(*piece));
        let (lost, left): (Vec<Want>, Vec<Want>) = l.wants.drain(..).partition(is_lost);
        l.wants.extend(left);
        for want in lost {
            self.refuse(link, want.slot(), want.which(), Refusal::Lacks);
        }
        self.check_idle(link);
    }

    /// Forgets what a link wants of one content.
    pub(super) fn drop_wants(&mut self, link: LinkId, id: SwarmId) {
        if let Some(l) = self.links.get_mut(&link) {
            l.wants.retain(|want| want.swarm() != id);
            self.check_idle(link);
        }
    }

    /// A link that wants nothing any more gives its upload slot back after a while.
    fn check_idle(&mut self, link: LinkId) {
        if self.served.contains(&link) && self.links.get(&link).is_some_and(|l| l.wants.is_empty()) {
            self.timers.set_by(Timer::UploadIdle(link), self.now + SLOT_IDLE);
        }
    }

    pub(super) fn upload_idle(&mut self, link: LinkId) {
        let Some(l) = self.links.get_mut(&link) else { return };
        // Whoever asks and does not read has no right to the slot of others.
        let unread = std::mem::take(&mut l.wants);
        let swarms = l.swarms();
        self.served.remove(&link);
        self.ready.remove(&link);
        for want in unread {
            self.refuse(link, want.slot(), want.which(), Refusal::Busy { retry_ms: BUSY_RETRY_MS });
        }
        for id in swarms {
            self.end_upload(link, id, false);
        }
    }

    /// The upload of a content to a link is over, if there was one: `complete` if the far end says that all of it is in place,
    /// even if that took it so long that the upload seemed over.
    pub(super) fn end_upload(&mut self, link: LinkId, id: SwarmId, complete: bool) {
        let Some(peer) = self.links.get(&link).map(|l| l.peer) else { return };
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        let Some(partner) = swarm.partners.get_mut(&link) else { return };
        if std::mem::take(&mut partner.uploading) || (complete && partner.sent_bytes > 0) {
            let (key, bytes) = (swarm.key, partner.sent_bytes);
            // Of a folder these are the pieces of its listing.
            let complete = complete || (swarm.kind == Kind::File && partner.have.is_all());
            self.report(PeerEvent::UploadEnded { peer, key, bytes, complete });
        }
    }

    pub(super) fn chunk_sent(&mut self, link: LinkId, key: ContentKey, at: ChunkAddr, result: SendResult) {
        let rtt = self.links.get(&link).and_then(|l| l.rtt).unwrap_or_default();
        self.outgoing.ended(link, self.now, rtt);
        self.serve();
        match result {
            SendResult::Sent => {}
            SendResult::SourceChanged => {
                self.source_changed(key);
                self.take_back_sent(link, key, at);
            }
        }
    }

    /// A chunk of a running download could not be read, and padding was sent: the far end is told. The piece is offered again
    /// after a while, since nobody asks for it before.
    fn take_back_sent(&mut self, link: LinkId, key: ContentKey, at: ChunkAddr) {
        let Some(id) = self.by_key.get(&key).copied() else { return };
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        let Some(slot) = swarm.partners.get(&link).map(|partner| partner.mine) else { return };
        swarm.unreadable.insert(at.piece);
        self.timers.set_by(Timer::HavesAgain(id), self.now + UNREAD_AGAIN);
        self.say(link, PeerMessage::Retract { slot, pieces: vec![at.piece] });
    }

    pub(super) fn announce_unreadable(&mut self, id: SwarmId) {
        if let Some(swarm) = self.swarms.get_mut(&id) {
            swarm.news.extend(std::mem::take(&mut swarm.unreadable));
            self.flush_haves(id);
        }
    }

    /// The file behind a content is not what it was: what was sent is taken back, the content is withdrawn.
    pub(super) fn source_changed(&mut self, key: ContentKey) {
        let Some(id) = self.by_key.get(&key).copied() else { return };
        let Some(swarm) = self.swarms.get(&id) else { return };
        if !swarm.complete {
            return;
        }
        self.unshare(key);
        self.report(PeerEvent::Withdrawn { key });
    }
}
