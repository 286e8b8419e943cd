//! What must hold after every step, checked where the step touches it.
//!
//! The checks know the truth (what stands on whose disk) and look at what machines say and ask for, not at their state: so a
//! machine that lies to its driver is caught like one that is wrong about itself.

use potluck_core::content::PieceSet;
use potluck_core::ids::{ChunkRun, LinkId, PieceIndex, Slot};
use potluck_core::limits;
use potluck_core::peer::{CloseReason, Misbehaviour, PeerEvent, PeerInput, Place, WaitReason};
use potluck_core::wire::peer::{Holding, PeerMessage, Refusal, RequestRef};

use super::World;
use super::end::Expected;
use super::host::{Host, Input};
use crate::disk::Part;
use crate::net::{EndId, HostId};

/// `Expect`s on one link.
const EXPECTS_PER_LINK_MAX: usize = 4096;

impl World<'_> {
    /// A peer wants something of a link that is gone. A process that was stopped need not have heard yet that it is.
    pub(super) fn check_gone(&mut self, host: HostId, link: LinkId, what: &str) {
        let down =
            |input: &Input| matches!(input, Input::Peer(PeerInput::LinkDown { link: l, .. }) if *l == link);
        if !self.hosts[host as usize].deferred.iter().any(down) {
            self.fail(host, || format!("{what} on link {}, which is gone", link.0));
        }
    }

    /// Whoever asks has said to its driver what may come, or it would come in vain.
    fn check_request(&mut self, host: HostId, end: EndId, msg: &PeerMessage) {
        let Some(record) = self.ends.get(end.index()).and_then(Option::as_deref) else { return };
        let expects = |slot: Slot, piece: PieceIndex, chunk: u16| {
            let covers = |e: &Expected| e.run.first <= chunk && chunk - e.run.first < e.run.count;
            record.expected.iter().any(|e| e.slot == slot && e.run.piece == piece && covers(e))
        };
        let lacking = if let PeerMessage::Request { slot, run } = msg {
            let mut chunks = run.first..run.first.saturating_add(run.count);
            chunks.find(|&chunk| !expects(*slot, run.piece, chunk)).map(|_| run.piece)
        } else if let PeerMessage::RequestAny { slot, pieces, .. } = msg {
            pieces.iter().copied().find(|&piece| !expects(*slot, piece, 0))
        } else {
            None
        };
        if let Some(piece) = lacking {
            self.fail(host, || format!("asks for piece {piece}, which it has not told its driver to expect"));
        }
    }

    /// A chunk is expected from one more link, now from `most` in all.
    pub(super) fn check_expect(
        &mut self,
        host: HostId,
        end: EndId,
        content: u32,
        place: Place,
        run: ChunkRun,
        most: u8,
    ) {
        if !self.hosts[host as usize].is_honest() {
            return;
        }
        if most > 2 {
            return self.fail(host, || format!("expects piece {} from {most} links at once", run.piece));
        }
        let Some(record) = self.ends.get(end.index()).and_then(Option::as_deref) else { return };
        let expects = record.expected.len();
        let (far_host, far_peer) = (record.far_host, record.far_peer);
        let said = record.far_slots.values().find(|(number, _)| *number == content).map(|(_, pieces)| pieces);
        if expects > EXPECTS_PER_LINK_MAX {
            return self.fail(host, || format!("{expects} expectations on one link"));
        }
        let durable = |part: &Part| {
            let here = |chunk| {
                let void = part.let_go.contains(chunk) || part.doubted.contains(chunk);
                part.right.contains(chunk) && part.durable.contains(chunk) && !void
            };
            part.content == content && self.catalog.get(content).range(run.piece).all(here)
        };
        if self.hosts[host as usize].disk.parts.get(&place).is_some_and(durable) {
            return self.fail(host, || {
                format!("asks again for piece {}, which stands durably on its disk", run.piece)
            });
        }
        if self.hosts[host as usize].banned.contains(&far_peer) {
            return self.fail(host, || format!("asks the banned peer {far_peer:?}"));
        }
        let said_so = said.is_some_and(|pieces| pieces.contains(run.piece));
        // Whoever has all of a folder has said so of its members.
        let has_folder = |(number, pieces): &(u32, PieceSet)| {
            pieces.is_full() && self.catalog.get(*number).members.contains(&Some(content))
        };
        if !said_so && !record.far_slots.values().any(has_folder) {
            return self.fail(host, || {
                format!("asks host {far_host} for piece {}, which it has not said to hold", run.piece)
            });
        }
        if most == 2
            && !record.far_vague
            && let Some(other) = said.and_then(|said| self.unasked(host, content, place, said))
        {
            self.fail(host, || {
                let piece = run.piece;
                format!("asks host {far_host} for piece {piece} a second time, while piece {other} has not been asked for")
            });
        }
    }

    /// A piece of these that is missing, and has not been asked for.
    fn unasked(&self, host: HostId, content: u32, place: Place, said: &PieceSet) -> Option<PieceIndex> {
        let host = &self.hosts[host as usize];
        let wanted = host.wanted.get(&place)?;
        let part = host.disk.parts.get(&place).filter(|part| part.content == content);
        let content = self.catalog.get(content);
        let idle = |chunk: usize| {
            let here = part.is_some_and(|part| part.right.contains(chunk) || part.wrong.contains(chunk));
            wanted.asked[chunk] == 0 && !here && !wanted.writing.contains(&chunk)
        };
        said.iter().find(|&piece| content.range(piece).all(idle))
    }

    /// A peer is told something: what its far end says that it holds.
    pub(super) fn hear(&mut self, at: EndId, msg: &PeerMessage) {
        let Some(end) = self.ends.get_mut(at.index()).and_then(Option::as_deref_mut) else { return };
        match msg {
            PeerMessage::Join { slot, key, holding } => {
                let Some(number) = self.catalog.find(*key) else { return };
                let count = self.catalog.get(number).geometry.pieces();
                let all = *holding == Holding::Everything;
                let pieces = if all { PieceSet::full(count) } else { PieceSet::empty(count) };
                // Whoever joins again has a new number; the old one is void.
                end.far_slots.retain(|_, (other, _)| *other != number);
                end.far_slots.insert(*slot, (number, pieces));
            }
            PeerMessage::Bitfield { slot, first, bits } => {
                let Some((_, pieces)) = end.far_slots.get_mut(slot) else { return };
                // What does not fit is the machine's to complain about.
                let _ = pieces.merge_slice(*first, bits);
            }
            PeerMessage::Have { slot, pieces: more } => {
                let Some((_, pieces)) = end.far_slots.get_mut(slot) else { return };
                more.iter().for_each(|&piece| {
                    pieces.insert(piece);
                });
            }
            PeerMessage::Leave { slot } => {
                end.far_slots.remove(slot);
            }
            PeerMessage::Retract { slot, pieces: taken } => {
                let Some((_, pieces)) = end.far_slots.get_mut(slot) else { return };
                if taken.is_empty() {
                    *pieces = PieceSet::empty(pieces.len());
                }
                taken.iter().for_each(|&piece| {
                    pieces.remove(piece);
                });
            }
            PeerMessage::Refuse { slot, which, why: Refusal::Lacks } => {
                let Some(number) = end.slots.get(slot) else { return };
                let said = end.far_slots.values_mut().find(|(content, _)| content == number);
                match (which, said) {
                    (RequestRef::Piece(piece), Some((_, pieces))) => {
                        pieces.remove(*piece);
                    }
                    (RequestRef::Choice(_), _) => end.far_vague = true,
                    (RequestRef::Piece(_), None) => {}
                }
            }
            PeerMessage::Refuse { why: Refusal::Busy { .. }, .. }
            | PeerMessage::Hello { .. }
            | PeerMessage::Request { .. }
            | PeerMessage::RequestAny { .. }
            | PeerMessage::Cancel { .. }
            | PeerMessage::RequestTable { .. }
            | PeerMessage::Table { .. }
            | PeerMessage::Holders { .. }
            | PeerMessage::Find { .. }
            | PeerMessage::Found { .. }
            | PeerMessage::Ping { .. }
            | PeerMessage::Pong { .. }
            | PeerMessage::Spare { .. }
            | PeerMessage::Absent { .. } => {}
        }
    }

    /// A peer says something about what it holds: its disk must agree.
    pub(super) fn check_message(&mut self, host: HostId, end: EndId, msg: &PeerMessage) {
        match msg {
            PeerMessage::Join { slot, key, holding } => {
                let Some(content) = self.content_of(host, *key) else { return };
                if let Some(record) = self.end(end) {
                    record.slots.insert(*slot, content);
                    let open = record.slots.len();
                    if open > limits::SLOTS_PER_LINK {
                        return self.fail(host, || format!("{open} contents open on one link"));
                    }
                }
                let record = &self.hosts[host as usize];
                if *holding == Holding::Everything
                    && record.is_honest()
                    && !self.may_be_outdated(host, content)
                {
                    let number = content;
                    let content = self.catalog.get(content);
                    let empty = content.geometry.pieces() == 0;
                    if !empty && !record.disk.holds_all(number) && !record.disk.shared.contains_key(&number) {
                        let name = content.name.clone();
                        self.fail(host, || format!("claims to hold all of {name}"));
                    }
                }
            }
            PeerMessage::Leave { slot } => {
                if let Some(record) = self.end(end) {
                    record.slots.remove(slot);
                }
            }
            PeerMessage::Bitfield { slot, first, bits } => {
                let pieces: Vec<_> = set_bits(bits).map(|bit| PieceIndex(first + bit as u32)).collect();
                self.check_claims(host, end, *slot, &pieces);
            }
            PeerMessage::Have { slot, pieces } => self.check_claims(host, end, *slot, pieces),
            PeerMessage::Request { .. } | PeerMessage::RequestAny { .. } => {
                self.check_request(host, end, msg)
            }
            PeerMessage::Hello { .. }
            | PeerMessage::Retract { .. }
            | PeerMessage::Cancel { .. }
            | PeerMessage::Refuse { .. }
            | PeerMessage::RequestTable { .. }
            | PeerMessage::Table { .. }
            | PeerMessage::Holders { .. }
            | PeerMessage::Find { .. }
            | PeerMessage::Found { .. }
            | PeerMessage::Ping { .. }
            | PeerMessage::Pong { .. }
            | PeerMessage::Spare { .. }
            | PeerMessage::Absent { .. } => {}
        }
    }

    fn check_claims(&mut self, host: HostId, end: EndId, slot: Slot, pieces: &[PieceIndex]) {
        // What a hostile peer sends in place of its messages has not passed here.
        if !self.hosts[host as usize].is_honest() {
            return;
        }
        let Some(&number) =
            self.ends.get(end.index()).and_then(Option::as_deref).and_then(|e| e.slots.get(&slot))
        else {
            return self.fail(host, || format!("tells of pieces under slot {slot}, which it has not opened"));
        };
        if self.may_be_outdated(host, number) {
            return;
        }
        let content = self.catalog.get(number);
        let disk = &self.hosts[host as usize].disk;
        let lacking = pieces.iter().find(|&&piece| !disk.seems_held(number, content, piece));
        if let Some(piece) = lacking {
            self.fail(host, || format!("claims piece {piece}, which is not right on its disk"));
        }
    }

    /// The file behind it changed, and the peer need not have noticed yet.
    fn may_be_outdated(&self, host: HostId, content: u32) -> bool {
        self.hosts[host as usize].disk.shared.get(&content).is_some_and(|shared| shared.changed)
    }

    pub(super) fn check_close(&mut self, host: HostId, end: EndId, reason: CloseReason) {
        let Some(record) = self.ends.get(end.index()).and_then(Option::as_deref) else { return };
        let far_host = record.far_host;
        let far = &self.hosts[far_host as usize];
        let framed =
            if matches!(reason, CloseReason::Misbehaved(Misbehaviour::BadPiece) | CloseReason::Banned) {
                far.rotted.len() < 2
            } else {
                matches!(reason, CloseReason::Misbehaved(_))
            };
        if framed && self.hosts[host as usize].is_honest() && far.is_honest() {
            self.fail(host, || format!("closes the link of the honest host {far_host}: {reason:?}"));
        }
    }

    /// A peer reports something.
    pub(super) fn on_report(&mut self, host: HostId, event: PeerEvent) {
        let now = self.now.0;
        match event {
            PeerEvent::PieceVerified { key, piece, .. } => {
                let Some(number) = self.content_of(host, key) else { return };
                let content = self.catalog.get(number);
                let bytes = content.geometry.piece_bytes(piece).unwrap_or(0);
                if !self.hosts[host as usize].disk.holds(number, content, piece) {
                    return self.fail(host, || {
                        format!("counts piece {piece} as held, which is not right on its disk")
                    });
                }
                let chunks = content.range(piece);
                let parts = self.hosts[host as usize].disk.parts.values_mut();
                for part in parts.filter(|part| part.content == number) {
                    part.doubted.remove_range(chunks.clone());
                }
                self.tally.verified(now, bytes);
                self.progress_at = self.now;
            }
            PeerEvent::Completed { download } => {
                let Some(record) = self.host(host).downloads.get_mut(&download) else { return };
                // Who starts again says once more of what it finished before that it is complete.
                let anew = !std::mem::replace(&mut record.completed, true);
                record.waiting = false;
                let (content, index) = (record.content, record.record);
                if anew {
                    self.tally.downloads[index].completed = Some(now);
                }
                self.check_completed(host, Place::Root(download), content);
                self.check_all_done();
            }
            PeerEvent::Waiting { download, reason, missing } => {
                let Some(record) = self.host(host).downloads.get_mut(&download) else { return };
                record.waiting = true;
                let content = record.content;
                self.check_missing(host, download, content, reason, &missing);
            }
            PeerEvent::Resumed { download } => {
                if let Some(record) = self.host(host).downloads.get_mut(&download) {
                    record.waiting = false;
                }
            }
            PeerEvent::Failed { download, reason } => {
                if let Some(record) = self.host(host).downloads.get_mut(&download) {
                    record.failed = Some(format!("{reason:?}"));
                }
                if self.hosts[host as usize].is_honest() {
                    self.fail(host, || format!("gives up download {download}: {reason:?}"));
                }
            }
            PeerEvent::Misbehaved { peer, what, key, banned, .. } => {
                if banned {
                    self.host(host).banned.insert(peer);
                }
                let guilty = self.hosts.iter().position(|far| far.peer == peer);
                // Whoever could not read what it shared may have lost its link before it could retract; once may happen.
                // Nor does a peer know of rot: it loses the content's trust, and with a second content all.
                let rotten = key.and_then(|key| self.catalog.find(key));
                let excused = |far: &Host| {
                    let rot =
                        what == Misbehaviour::BadPiece && rotten.is_some_and(|c| far.rotted.contains(&c));
                    if banned { rot && (far.rotted.len() > 1 || far.stumbled) } else { rot || far.stumbled }
                };
                let framed = guilty
                    .map(|far| (far, &self.hosts[far]))
                    .filter(|(_, far)| far.is_honest() && !excused(far));
                if let Some((far, _)) = framed
                    && self.hosts[host as usize].is_honest()
                {
                    let verdict = if banned { "bans" } else { "blames" };
                    self.fail(host, || format!("{verdict} the honest host {far}: {what:?}"));
                }
            }
            PeerEvent::Answer { op, answer } => {
                self.host(host).answers.insert(op, answer);
            }
            PeerEvent::Joined { .. } => self.host(host).joined = true,
            PeerEvent::TrackerLost { .. } => self.host(host).joined = false,
            PeerEvent::Left => self.leaving.push(host),
            PeerEvent::NameTaken { .. }
            | PeerEvent::JoinRefused { .. }
            | PeerEvent::AnnounceRefused { .. }
            | PeerEvent::Registered { .. }
            | PeerEvent::PeersChanged { .. }
            | PeerEvent::Retracted { .. }
            | PeerEvent::Withdrawn { .. }
            | PeerEvent::Listed { .. }
            | PeerEvent::Offered { .. }
            | PeerEvent::UploadBegan { .. }
            | PeerEvent::UploadEnded { .. } => {}
        }
    }

    fn check_completed(&mut self, host: HostId, place: Place, number: u32) {
        let whole = |place: Place| {
            let part = self.hosts[host as usize].disk.parts.get(&place);
            part.is_some_and(|part| part.finished && part.is_right())
        };
        let content = self.catalog.get(number);
        let Place::Root(download) = place else { return };
        let mut places = vec![place];
        for (entry, member) in (0..).zip(&content.members) {
            if member.is_some_and(|member| self.catalog.get(member).key.length > 0) {
                places.push(Place::Member { download, entry });
            }
        }
        let lacking = places.into_iter().find(|&place| !whole(place));
        if let Some(place) = lacking {
            self.fail(host, || format!("calls download {download} complete, and {place:?} is not"));
        }
    }

    /// A waiting download must name exactly the pieces that it lacks.
    fn check_missing(
        &mut self,
        host: HostId,
        download: potluck_core::ids::DownloadId,
        number: u32,
        reason: WaitReason,
        missing: &[(PieceIndex, PieceIndex)],
    ) {
        let content = self.catalog.get(number);
        if matches!(reason, WaitReason::Storage(_) | WaitReason::Stopped) || content.listing.is_some() {
            return;
        }
        let record = &self.hosts[host as usize];
        let place = Place::Root(download);
        // What lies in a place that is not open is looked at when it is opened: after a fault another download of the same
        // content goes on with it, elsewhere.
        let Some(part) = record.disk.parts.get(&place).filter(|_| record.wanted.contains_key(&place)) else {
            return;
        };
        let mut named = PieceSet::empty(content.geometry.pieces());
        for &(first, last) in missing {
            (first.0..=last.0).map(PieceIndex).for_each(|piece| {
                named.insert(piece);
            });
        }
        let held = part.pieces(content);
        // What a failed sync let go may still look right, and is to be fetched again.
        let let_go = |piece: PieceIndex| content.range(piece).any(|chunk| part.let_go.contains(chunk));
        // A process that was stopped has not heard yet of what was written last.
        let unheard = |piece: PieceIndex| {
            let arrived = |input: &Input| matches!(input, Input::Peer(PeerInput::ChunkArrived { at, .. }) if at.piece == piece);
            record.deferred.iter().any(arrived)
        };
        let wrong = (0..content.geometry.pieces())
            .map(PieceIndex)
            .find(|&p| held.contains(p) == named.contains(p) && !let_go(p) && !unheard(p));
        if let Some(piece) = wrong {
            let there = held.contains(piece);
            self.fail(host, || {
                format!("says what is missing, and is wrong about piece {piece} (held: {there})")
            });
        }
    }
}

fn set_bits(bits: &[u8]) -> impl Iterator<Item = usize> + '_ {
    (0..bits.len() * 8).filter(|&index| bits[index / 8] >> (index % 8) & 1 == 1)
}
