//! Chunks into verified pieces, and who is to blame for wrong ones.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::content;
use crate::ids::{ChainingValue, ChunkAddr, DownloadId, LinkId, OpId, PeerId, PieceIndex};
use crate::limits;

use super::requests::AskedRun;
use super::swarm::{Arrived, Held, SwarmId};
use super::timers::Timer;
use super::{ChunkFault, Misbehaviour, Peer, PeerEvent, Place};

/// Data is synced in the background this long after the first unsynced piece, or after [`SYNC_BYTES`].
pub(super) const SYNC_EVERY: Duration = Duration::from_secs(2);
const SYNC_BYTES: u64 = 256 << 20;
/// A suspect that has not answered yet is looked at again after this.
const BLAME_AGAIN: Duration = Duration::from_millis(250);

impl Peer {
    pub(super) fn chunk_arrived(
        &mut self,
        op: OpId,
        at: ChunkAddr,
        result: Result<ChainingValue, ChunkFault>,
    ) {
        let now = self.now;
        let Some(asked) = self.asked.get(&op).cloned() else { return };
        let (link, id) = (asked.link, asked.swarm);
        self.heard(link);
        if let Some(choice) = asked.choice {
            self.choice_made(link, id, choice, op);
        }
        let bytes = self.swarms.get(&id).and_then(|s| s.geometry.chunk_bytes(at)).unwrap_or(0);
        let Some(asked) = self.asked.get_mut(&op) else { return };
        let bit = 1u64.checked_shl(u32::from(at.chunk)).unwrap_or(0);
        if at.piece != asked.run.piece || asked.outstanding & bit == 0 {
            return;
        }
        asked.outstanding &= !bit;
        let (counted, done) = (!asked.taken_back, asked.outstanding == 0);
        let since = now.since(asked.at);
        if counted {
            self.settle(link, u64::from(bytes));
        }
        if let Some(l) = self.links.get_mut(&link) {
            l.progress = now;
            if done {
                l.queue.retain(|other| *other != op);
            }
            if result.is_ok() {
                l.delivered = true;
                l.down.add(now, u64::from(bytes));
                self.down.add(now, u64::from(bytes));
                l.delay = Some(l.delay.map_or(since, |d| d.min(since)));
            }
        }
        match result {
            Ok(value) => {
                if let Some(partner) = self.swarms.get_mut(&id).and_then(|s| s.partners.get_mut(&link)) {
                    partner.gave();
                }
                self.chunk_here(op, at, value, u64::from(bytes));
            }
            Err(ChunkFault::WrongLength) => {
                let key = self.swarms.get(&id).map(|s| s.key);
                self.misbehaved(link, Misbehaviour::OutOfRange, key);
            }
            Err(ChunkFault::Storage(fault)) => self.storage_fault(id, fault),
        }
    }

    fn chunk_here(&mut self, op: OpId, at: ChunkAddr, value: ChainingValue, bytes: u64) {
        let Some(AskedRun { link, peer, addr, swarm: id, void, .. }) = self.asked.get(&op).cloned() else {
            return;
        };
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        let chunks = swarm.geometry.chunks(at.piece).unwrap_or(0);
        if swarm.held.contains(at.piece) {
            return;
        }
        let Some(fetching) = &mut swarm.fetching else { return };
        let arrived = fetching.arrived.entry(at.piece).or_insert_with(|| Arrived {
            values: vec![None; chunks as usize],
            count: 0,
            from: BTreeMap::new(),
        });
        let Some(place) = arrived.values.get_mut(at.chunk as usize) else { return };
        if place.replace(value).is_none() {
            arrived.count += 1;
        }
        arrived.from.entry((peer, link)).or_insert((addr, 0)).1 += bytes;
        if void {
            return self.discard_arrived(link, id, &[at.piece]);
        }
        if arrived.count == chunks {
            self.piece_here(peer, id, at.piece);
        }
    }

    /// All chunks of a piece are here.
    fn piece_here(&mut self, peer: PeerId, id: SwarmId, piece: PieceIndex) {
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        let Some(fetching) = &mut swarm.fetching else { return };
        let Some(arrived) = fetching.arrived.remove(&piece) else { return };
        let values: Vec<ChainingValue> = arrived.values.iter().flatten().copied().collect();
        let folded = content::fold_piece(&swarm.geometry, piece, &values);
        let expected = match &swarm.table {
            Some(table) => table.value(piece),
            None => Some(ChainingValue(swarm.key.id.0)),
        };
        // Whoever else was asked for it is no longer.
        let links: Vec<LinkId> = fetching.asked.get(&piece).into_iter().flatten().map(|a| a.link).collect();
        if folded.is_some() && folded == expected {
            if let Held::Some(set) = &mut swarm.held {
                set.insert(piece);
            }
            fetching.picker.close(piece);
            fetching.undivided.remove(&piece);
            let ops = fetching.runs.remove(&piece).unwrap_or_default();
            self.take_back_choices_of(id, piece);
            for other in links {
                self.take_back(other, id, piece, true);
            }
            for op in ops {
                self.asked.remove(&op);
            }
            self.piece_verified(peer, id, piece, &arrived);
        } else {
            self.take_back_choices_of(id, piece);
            for other in links {
                self.take_back(other, id, piece, true);
            }
            self.piece_wrong(id, piece, &arrived);
        }
    }

    /// A late chunk decided about a piece that somebody may still choose.
    fn take_back_choices_of(&mut self, id: SwarmId, piece: PieceIndex) {
        let Some(swarm) = self.swarms.get(&id) else { return };
        let choosing: Vec<(LinkId, u32)> = swarm
            .partners
            .iter()
            .flat_map(|(link, p)| p.choices.iter().map(|(choice, candidates)| (*link, *choice, candidates)))
            .filter(|(_, _, candidates)| candidates.iter().any(|(p, _)| *p == piece))
            .map(|(link, choice, _)| (link, choice))
            .collect();
        for (link, choice) in choosing {
            self.take_back_choice(link, id, choice, true);
        }
    }

    fn piece_verified(&mut self, peer: PeerId, id: SwarmId, piece: PieceIndex, arrived: &Arrived) {
        let now = self.now;
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        let (key, bytes, last) = (swarm.key, swarm.piece_bytes(piece), swarm.geometry.last_piece());
        let full = matches!(&swarm.held, Held::Some(set) if set.is_full());
        let Some(fetching) = &mut swarm.fetching else { return };
        let download = fetching.download;
        let followers: Vec<DownloadId> = fetching.followers.iter().map(|place| place.download()).collect();
        fetching.unsynced.push(piece);
        let unsynced = fetching.unsynced.len() as u64 * bytes;
        let proves = Some(piece) == last && !fetching.proven;
        fetching.proven |= proves;
        let synced_alone = matches!(fetching.place, Place::Root(_));
        if full {
            swarm.held = Held::All;
        }
        self.report(PeerEvent::PieceVerified { download, key, piece, from: peer });
        self.download_advanced(download, bytes, arrived);
        for follower in followers {
            self.going_on(follower);
        }
        self.announce_have(id, piece);
        if proves {
            self.hungry.extend(self.swarms.get(&id).into_iter().flat_map(|s| s.partners.keys().copied()));
            self.length_proven(id);
        }
        if full {
            self.swarm_filled(id);
        } else {
            if unsynced >= SYNC_BYTES {
                self.sync(id);
            } else if synced_alone {
                self.timers.set_by(Timer::Sync(id), now + SYNC_EVERY);
            }
            self.announce_progress(id);
        }
    }

    /// The chunks of a piece do not fold to what the table says.
    fn piece_wrong(&mut self, id: SwarmId, piece: PieceIndex, arrived: &Arrived) {
        let now = self.now;
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        let Some(fetching) = &mut swarm.fetching else { return };
        if arrived.from.len() > 1 {
            fetching.undivided.insert(piece);
        }
        let key = swarm.key;
        if let (1, Some(((peer, link), (addr, _)))) = (arrived.from.len(), arrived.from.first_key_value()) {
            match swarm.partners.get_mut(link) {
                Some(partner) => {
                    // It may still say that its file changed; only then is it honest.
                    partner.bad.insert(piece);
                    let probe = self.links.get(link).map_or(0, |l| l.probes) + 1;
                    partner.suspected.insert(piece, (now, probe));
                    self.timers.set_by(Timer::Blame(*link, id), now + limits::BLAME_AFTER);
                    self.probe_suspect(*link);
                }
                // It left the swarm, in order, while this was being written: what it sent is void.
                None if self.links.contains_key(link) => {}
                None => self.offence(*peer, *addr, key, Misbehaviour::BadPiece),
            }
        }
        self.reopen(id, piece);
        self.hungry.extend(self.swarms.get(&id).into_iter().flat_map(|s| s.partners.keys().copied()));
    }

    /// The time in which a suspect could retract is over, unless what it said last is still on its way. Each piece has its
    /// own: else whoever goes on sending wrong ones would never be done answering.
    pub(super) fn blame_due(&mut self, link: LinkId, id: SwarmId) {
        let now = self.now;
        let answered = self.links.get(&link).map_or(0, |l| l.probes_answered);
        let Some(partner) = self.swarms.get(&id).and_then(|s| s.partners.get(&link)) else { return };
        let Some(first) = partner.suspected.values().map(|(at, _)| *at).min() else { return };
        let guilty = partner.suspected.values().any(|(at, probe)| {
            let waited = now.since(*at);
            (answered >= *probe && waited >= limits::BLAME_AFTER) || waited >= limits::SILENT_LINK
        });
        if guilty {
            self.blame(link, id);
        } else {
            self.timers.set(Timer::Blame(link, id), (first + limits::BLAME_AFTER).max(now + BLAME_AGAIN));
        }
    }

    /// A suspect has not retracted.
    pub(super) fn blame(&mut self, link: LinkId, id: SwarmId) {
        let Some(partner) = self.swarms.get_mut(&id).and_then(|s| s.partners.get_mut(&link)) else { return };
        if !std::mem::take(&mut partner.suspected).is_empty() {
            self.offended(link, id, Misbehaviour::BadPiece);
        }
    }

    /// What a link was asked for of pieces, and is reported from here on, is void; no pieces: of all. It takes longer to write
    /// a chunk than to read the retraction behind it.
    pub(super) fn retract_runs(&mut self, link: LinkId, id: SwarmId, pieces: &[PieceIndex]) {
        let Some(fetching) = self.swarms.get(&id).and_then(|s| s.fetching.as_ref()) else { return };
        let ops: Vec<OpId> = if pieces.is_empty() {
            fetching.runs.values().flatten().copied().collect()
        } else {
            pieces.iter().filter_map(|piece| fetching.runs.get(piece)).flatten().copied().collect()
        };
        for op in ops {
            if let Some(asked) = self.asked.get_mut(&op).filter(|asked| asked.link == link) {
                asked.void = true;
            }
        }
    }

    /// Throws away what a link sent of pieces that are not verified; no pieces: of all.
    pub(super) fn discard_arrived(&mut self, link: LinkId, id: SwarmId, pieces: &[PieceIndex]) {
        let Some(fetching) = self.swarms.get_mut(&id).and_then(|s| s.fetching.as_mut()) else { return };
        let touched: Vec<PieceIndex> = fetching
            .arrived
            .iter()
            .filter(|(p, a)| {
                (pieces.is_empty() || pieces.contains(p)) && a.from.keys().any(|(_, l)| *l == link)
            })
            .map(|(p, _)| *p)
            .collect();
        for piece in touched {
            let asks: Vec<LinkId> = {
                let Some(fetching) = self.swarms.get_mut(&id).and_then(|s| s.fetching.as_mut()) else {
                    return;
                };
                fetching.arrived.remove(&piece);
                fetching.asked.get(&piece).into_iter().flatten().map(|a| a.link).collect()
            };
            for other in asks {
                self.take_back(other, id, piece, true);
            }
            self.take_back_choices_of(id, piece);
            self.reopen(id, piece);
        }
    }
}
