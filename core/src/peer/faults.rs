//! The disk's faults: a download pauses and loses nothing verified; and syncing, by which that is known.

use std::time::Duration;

use crate::content::PieceSet;
use crate::ids::{DownloadId, LinkId, OpId};

use super::arrivals::SYNC_EVERY;
use super::downloads::StorageOp;
use super::swarm::{Held, Phase, SwarmId};
use super::timers::Timer;
use super::{FailReason, Peer, PeerEffect, Place, StorageFault, WaitReason};

/// A paused disk is tried again after this.
const STORAGE_AGAIN: Duration = Duration::from_secs(2);
/// The same for want of descriptors: others of ours are given back soon, as files of a folder are done.
const FILES_AGAIN: Duration = Duration::from_millis(200);

impl Peer {
    /// The disk refused. What cannot get better by itself ends the download; else it pauses, and tries again.
    pub(super) fn storage_fault(&mut self, id: SwarmId, fault: StorageFault) {
        let Some(fetching) = self.swarms.get_mut(&id).and_then(|s| s.fetching.as_mut()) else { return };
        let download = fetching.download;
        match fault {
            StorageFault::Full | StorageFault::Io | StorageFault::TooManyOpen | StorageFault::TooLarge => {}
            StorageFault::Altered => return self.look_anew(id),
            StorageFault::Denied | StorageFault::Locked | StorageFault::Occupied | StorageFault::BadPath => {
                return self.fail_download(download, FailReason::Storage(fault));
            }
        }
        let followers = fetching.followers.clone();
        if let Some(to) = followers.into_iter().find(|p| p.download() != download && !self.is_held_up(*p)) {
            return self.hand_over(id, to, fault);
        }
        let Some(fetching) = self.swarms.get_mut(&id).and_then(|s| s.fetching.as_mut()) else { return };
        fetching.phase = Phase::Paused(fault);
        let links: Vec<LinkId> =
            self.swarms.get(&id).map(|s| s.partners.keys().copied().collect()).unwrap_or_default();
        for link in links {
            self.take_back_all(link, id, true);
        }
        self.timers.set(Timer::Storage(id), self.now + again_after(fault));
        let missing = self.missing_ranges(download);
        self.say_waiting(download, WaitReason::Storage(fault), missing);
    }

    /// The disk under another download of the same content refuses, too.
    fn is_held_up(&self, place: Place) -> bool {
        let waiting = self.downloads.get(&place.download()).and_then(|d| d.waiting.as_ref());
        matches!(waiting, Some((WaitReason::Storage(_), _)))
    }

    /// The disk of one download refuses; another one of the same content waits for its bytes, at another place. That one
    /// fetches now, and the first gets a copy.
    fn hand_over(&mut self, id: SwarmId, to: Place, fault: StorageFault) {
        let Some(download) = self.swarms.get(&id).and_then(|s| s.fetching.as_ref()).map(|f| f.download)
        else {
            return;
        };
        self.begin_again(id, Some(to));
        let missing = self.missing_ranges(download);
        self.say_waiting(download, WaitReason::Storage(fault), missing);
    }

    /// Nothing of what is on the disk is believed any more: the place is opened anew, and all that is there is hashed.
    pub(super) fn look_anew(&mut self, id: SwarmId) {
        self.begin_again(id, None);
    }

    /// Releases the place of a content and opens the places of all who want it anew, `first` before the others.
    fn begin_again(&mut self, id: SwarmId, first: Option<Place>) {
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        let Some(fetching) = &swarm.fetching else { return };
        let (key, from, download) = (swarm.key, fetching.place, fetching.download);
        let held = match &swarm.held {
            Held::All => key.length,
            Held::Some(set) => set.iter().map(|piece| swarm.piece_bytes(piece)).sum(),
        };
        let candidates = std::mem::take(&mut swarm.candidates);
        let waiting = self.remove_swarm(id);
        if let Place::Root(_) = from {
            self.effect(PeerEffect::Release { place: from });
        }
        if let Some(d) = self.downloads.get_mut(&download) {
            d.bytes = d.bytes.saturating_sub(held);
        }
        let others = waiting.into_iter().filter(|place| Some(*place) != first);
        for place in first.into_iter().chain([from]).chain(others) {
            self.restart_follower(place);
        }
        if let Some(swarm) = self.by_key.get(&key).and_then(|id| self.swarms.get_mut(id)) {
            swarm.candidates.extend(candidates);
        }
    }

    /// A copy of what is here could not be written, or a folder not be put in place. What can get better by itself is tried
    /// again.
    pub(super) fn place_refused(&mut self, download: DownloadId, place: Place, fault: StorageFault) {
        match fault {
            StorageFault::Full
            | StorageFault::Io
            | StorageFault::TooManyOpen
            | StorageFault::TooLarge
            | StorageFault::Altered => {}
            StorageFault::Denied | StorageFault::Locked | StorageFault::Occupied | StorageFault::BadPath => {
                return self.fail_download(download, FailReason::Storage(fault));
            }
        }
        let Some(d) = self.downloads.get_mut(&download) else { return };
        d.again.push(place);
        self.timers.set_by(Timer::Again(download), self.now + again_after(fault));
        let missing = self.missing_ranges(download);
        self.say_waiting(download, WaitReason::Storage(fault), missing);
    }

    pub(super) fn places_again(&mut self, download: DownloadId) {
        let filled = self.root_swarm(download).and_then(|s| s.fetching.as_ref());
        let filled = filled.is_some_and(|f| f.phase == Phase::Filled && f.download == download);
        let Some(d) = self.downloads.get_mut(&download) else { return };
        let is_listed = d.folder.is_some();
        for place in std::mem::take(&mut d.again) {
            match place {
                Place::Root(_) if is_listed => self.start_members(download),
                Place::Root(_) if filled => self.read_listing(download),
                Place::Root(_) | Place::Member { .. } => self.restart_follower(place),
            }
        }
    }

    pub(super) fn retry_storage(&mut self, id: SwarmId) {
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        let full = swarm.held.is_all();
        let Some(fetching) = &mut swarm.fetching else { return };
        if !matches!(fetching.phase, Phase::Paused(_)) {
            return;
        }
        if !fetching.opened {
            return self.open(id);
        }
        fetching.phase = Phase::Running;
        let unreserved = fetching.proven && fetching.reserving.is_none();
        if full {
            return self.swarm_filled(id);
        }
        if unreserved {
            self.length_proven(id);
        }
        self.hungry.extend(self.swarms.get(&id).into_iter().flat_map(|s| s.partners.keys().copied()));
    }

    pub(super) fn sync(&mut self, id: SwarmId) {
        let op = self.new_op();
        let Some(fetching) = self.swarms.get_mut(&id).and_then(|s| s.fetching.as_mut()) else { return };
        if fetching.syncing.is_some() || fetching.unsynced.is_empty() || fetching.phase != Phase::Running {
            return;
        }
        fetching.syncing = Some((op, std::mem::take(&mut fetching.unsynced)));
        let place = fetching.place;
        self.storage.insert(op, StorageOp::Sync(id));
        self.effect(PeerEffect::Sync { op, place });
    }

    pub(super) fn synced(&mut self, op: OpId, result: Result<(), StorageFault>) {
        let Some(StorageOp::Sync(id)) = self.storage.remove(&op) else { return };
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        let full = swarm.held.is_all();
        let Some(fetching) = &mut swarm.fetching else { return };
        match result {
            Ok(()) => {
                fetching.syncing = None;
                if full && fetching.phase == Phase::Running {
                    self.swarm_filled(id);
                } else if !fetching.unsynced.is_empty() && matches!(fetching.place, Place::Root(_)) {
                    self.timers.set_by(Timer::Sync(id), self.now + SYNC_EVERY);
                }
            }
            Err(fault) => {
                self.lose_unsynced(id);
                self.storage_fault(id, fault);
            }
        }
    }

    /// After a failed sync nothing written since the last good one can be believed: it is fetched and written again.
    pub(super) fn lose_unsynced(&mut self, id: SwarmId) {
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        let pieces = swarm.geometry.pieces();
        let Some(fetching) = &mut swarm.fetching else { return };
        let mut lost = std::mem::take(&mut fetching.unsynced);
        lost.extend(fetching.syncing.take().into_iter().flat_map(|(_, pieces)| pieces));
        fetching.arrived.clear();
        // Nor what is being written and is reported from here on: the system may have let go of it already.
        for op in fetching.runs.values().flatten() {
            if let Some(asked) = self.asked.get_mut(op) {
                asked.void = true;
            }
        }
        if lost.is_empty() {
            return;
        }
        let mut held = match &swarm.held {
            Held::All => PieceSet::full(pieces),
            Held::Some(set) => set.clone(),
        };
        let mut bytes = 0;
        for piece in &lost {
            held.remove(*piece);
            bytes += swarm.geometry.piece_bytes(*piece).unwrap_or(0);
        }
        swarm.held = Held::Some(held);
        let download = fetching.download;
        if let Some(d) = self.downloads.get_mut(&download) {
            d.bytes = d.bytes.saturating_sub(bytes);
        }
        for piece in lost {
            self.reopen(id, piece);
        }
        let links: Vec<LinkId> =
            self.swarms.get(&id).map(|s| s.partners.keys().copied().collect()).unwrap_or_default();
        for link in links {
            self.refuse_lost(link, id);
            self.say_holding(link, id);
        }
        self.announce_loss(id);
    }
}

fn again_after(fault: StorageFault) -> Duration {
    if fault == StorageFault::TooManyOpen { FILES_AGAIN } else { STORAGE_AGAIN }
}
