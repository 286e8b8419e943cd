//! A download, from `Fetch` to its final name: opening its place, the piece table, finishing, stopping.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::content::{Geometry, Kind, ListingFault, PieceSet, PieceTable};
use crate::ids::{ContentKey, DownloadId, LinkId, OpId, PeerId, PieceIndex};
use crate::limits;

use super::folders::Folder;
use super::pace::Standing;
use super::picker::Picker;
use super::swarm::{Arrived, Collecting, Fetching, Held, Phase, Swarm, SwarmId};
use super::timers::Timer;
use super::waiting::WAITING_EVERY;
use super::{
    FailReason, FetchOptions, Opening, Peer, PeerEffect, PeerEvent, Place, StorageFault, WaitReason,
};

/// So long an empty file is kept back until a holder is linked.
const UNTOLD_MAX: Duration = Duration::from_secs(1);

/// What was asked for by one `Fetch`.
#[derive(Debug)]
pub(super) struct Download {
    pub(super) key: ContentKey,
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) peers: Vec<SocketAddr>,
    pub(super) how: FetchOptions,
    /// Links in use, where their number is bounded.
    pub(super) sources: BTreeSet<LinkId>,
    pub(super) stopped: bool,
    /// It was stopped since the person left the network: joining goes on with it.
    pub(super) left: bool,
    pub(super) done: bool,
    /// Verified bytes; of a folder: of its members.
    pub(super) bytes: u64,
    /// Verified bytes by sender.
    pub(super) delivered: BTreeMap<PeerId, u64>,
    /// What was last said of its waiting.
    pub(super) waiting: Option<(WaitReason, Vec<(PieceIndex, PieceIndex)>)>,
    pub(super) folder: Option<Folder>,
    /// Places whose copies the disk refused, to be tried again.
    pub(super) again: Vec<Place>,
}

/// What a storage effect was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StorageOp {
    /// Opening the place of a swarm.
    Open(SwarmId),
    /// Taking its space.
    Reserve(SwarmId),
    /// Syncing it.
    Sync(SwarmId),
    /// Putting it in place.
    Finish(SwarmId),
    /// Copying a content that is here to another place.
    Copy(DownloadId, ContentKey, Place),
    /// Putting such a copy in place.
    FinishCopy(DownloadId, Place),
    /// Reading a folder's listing.
    Listing(DownloadId),
    /// Putting a folder in place.
    FinishFolder(DownloadId),
}

impl Place {
    /// The download that it belongs to.
    #[must_use]
    pub const fn download(self) -> DownloadId {
        match self {
            Self::Root(download) | Self::Member { download, .. } => download,
        }
    }
}

impl Peer {
    pub(super) fn fetch(
        &mut self,
        id: DownloadId,
        key: ContentKey,
        kind: Kind,
        name: String,
        peers: Vec<SocketAddr>,
        how: FetchOptions,
    ) {
        if self.downloads.contains_key(&id) {
            return;
        }
        self.sources_bounded |= how.holders_max != 0;
        let download = Download {
            key,
            kind,
            name,
            peers,
            how,
            sources: BTreeSet::new(),
            stopped: self.session.has_left(),
            left: self.session.has_left(),
            done: false,
            bytes: 0,
            delivered: BTreeMap::new(),
            waiting: None,
            folder: None,
            again: Vec::new(),
        };
        self.downloads.insert(id, download);
        if self.downloads.len() > limits::CONTENTS_PER_PEER {
            return self.fail_download(id, FailReason::TooMany);
        }
        self.start_download(id);
    }

    fn start_download(&mut self, id: DownloadId) {
        let Some(download) = self.downloads.get(&id) else { return };
        if download.stopped {
            return self.say_waiting(id, WaitReason::Stopped, Vec::new());
        }
        let (key, kind, name) = (download.key, download.kind, download.name.clone());
        self.timers.set(Timer::Waiting(id), self.now + WAITING_EVERY * 2);
        self.start_content(Place::Root(id), key, kind, name);
    }

    /// Fetches a content to a place: from the network, or from this very peer if it is here already.
    pub(super) fn start_content(&mut self, place: Place, key: ContentKey, kind: Kind, name: String) {
        let download = place.download();
        let empty = key.length == 0 && key.id.0 != *blake3::hash(b"").as_bytes();
        let Some(geometry) = Geometry::new(key.length).filter(|_| !empty) else {
            return self.fail_download(download, FailReason::NotAContent);
        };
        if kind == Kind::Folder && key.length > limits::LISTING_BYTES_MAX as u64 {
            return self.fail_download(download, FailReason::BadListing(ListingFault::TooMany));
        }
        if let Some(swarm) = self.by_key.get(&key).and_then(|id| self.swarms.get_mut(id)) {
            if swarm.complete {
                self.copy_local(download, key, place);
            } else if let Some(fetching) = &mut swarm.fetching {
                fetching.followers.push(place);
            }
            return;
        }
        let op = self.new_op();
        let nothing = PieceSet::empty(geometry.pieces());
        let mut swarm = Swarm::new(key, kind, name, geometry, Held::Some(nothing.clone()));
        swarm.member = matches!(place, Place::Member { .. });
        if let Some(download) = self.downloads.get(&download) {
            swarm.only_from.clone_from(&download.how.only_from);
        }
        swarm.fetching = Some(Box::new(Fetching {
            download,
            place,
            phase: Phase::Opening { op },
            picker: Picker::new(&nothing, self.config.seed.fork("picker").rng(), false),
            asked: BTreeMap::new(),
            arrived: BTreeMap::new(),
            runs: BTreeMap::new(),
            undivided: BTreeSet::new(),
            proven: false,
            reserving: None,
            unsynced: Vec::new(),
            syncing: None,
            followers: Vec::new(),
            opened: false,
            standing: Standing::default(),
            sampled: self.now,
        }));
        let id = self.add_swarm(swarm);
        self.fetched.insert(id);
        self.storage.insert(op, StorageOp::Open(id));
        self.effect(PeerEffect::Open { op, key, place, table: None });
        // Holders are looked for while the disk is.
        let peers = self.downloads.get(&download).map(|d| d.peers.clone()).unwrap_or_default();
        if matches!(place, Place::Root(_)) {
            for addr in peers {
                self.add_candidate(id, addr, None, false);
            }
            self.watch(key);
            if self.session.is_away() {
                // Nobody else can say who holds it: every peer in reach is asked, and again should its link end.
                let links: Vec<_> =
                    self.links.iter().map(|(link, l)| (*link, l.peer, l.listens_at)).collect();
                for (link, peer, listens_at) in links {
                    match listens_at {
                        Some(addr) => self.add_candidate(id, addr, Some(peer), false),
                        None => self.join_swarm(link, id),
                    }
                }
            }
        }
    }

    fn copy_local(&mut self, download: DownloadId, key: ContentKey, place: Place) {
        let op = self.new_op();
        self.storage.insert(op, StorageOp::Copy(download, key, place));
        self.effect(PeerEffect::CopyLocal { op, key, place });
    }

    pub(super) fn copied(&mut self, op: OpId, result: Result<(), StorageFault>) {
        let Some(StorageOp::Copy(download, _, place)) = self.storage.remove(&op) else { return };
        let Some(d) = self.downloads.get_mut(&download) else { return };
        if let Err(fault) = result {
            return self.place_refused(download, place, fault);
        }
        if place == Place::Root(download) && d.kind == Kind::Folder {
            return self.read_listing(download);
        }
        let op = self.new_op();
        self.storage.insert(op, StorageOp::FinishCopy(download, place));
        self.effect(PeerEffect::Finish { op, place });
    }

    pub(super) fn opened(&mut self, op: OpId, result: Result<Opening, StorageFault>) {
        let Some(StorageOp::Open(id)) = self.storage.remove(&op) else { return };
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        let (key, pieces) = (swarm.key, swarm.pieces());
        let fits = |table: &Option<Arc<PieceTable>>| match table {
            Some(table) => table.key() == key,
            None => pieces <= 1,
        };
        match result {
            Ok(Opening::Finished { table }) if fits(&table) => {
                swarm.table = table;
                swarm.held = Held::All;
                let download = swarm.fetching.as_ref().map(|f| f.download);
                if let Some(d) = download.and_then(|d| self.downloads.get_mut(&d)) {
                    d.bytes += key.length;
                }
                if self.swarms.get(&id).is_some_and(|s| s.kind == Kind::Folder) {
                    self.swarm_filled(id);
                } else {
                    self.swarm_done(id);
                }
            }
            Ok(Opening::Part { table, have }) if fits(&table) && have.len() == pieces => {
                swarm.table = table;
                self.begin_running(id, have);
            }
            Ok(Opening::NeedsTable) if pieces > 1 && swarm.table.is_none() => {
                if let Some(fetching) = &mut swarm.fetching {
                    fetching.phase = Phase::Table(Collecting::default());
                }
                self.timers.set_by(Timer::Dial(id), self.now);
                self.ask_table(id);
            }
            Ok(_) => self.storage_fault(id, StorageFault::Io),
            Err(fault) => self.storage_fault(id, fault),
        }
    }

    pub(super) fn table_ready(&mut self, id: SwarmId, table: Arc<PieceTable>) {
        if let Some(swarm) = self.swarms.get_mut(&id) {
            swarm.table = Some(table);
            self.announce_table(id);
            self.open(id);
        }
    }

    pub(super) fn open(&mut self, id: SwarmId) {
        let op = self.new_op();
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        let (key, table) = (swarm.key, swarm.table.clone());
        let Some(fetching) = &mut swarm.fetching else { return };
        fetching.phase = Phase::Opening { op };
        let place = fetching.place;
        self.storage.insert(op, StorageOp::Open(id));
        self.effect(PeerEffect::Open { op, key, place, table });
    }

    /// The place is open and `have` of it is right: the rest is fetched.
    fn begin_running(&mut self, id: SwarmId, have: PieceSet) {
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        let mut wanted = PieceSet::full(swarm.geometry.pieces());
        let mut bytes = 0;
        for piece in have.iter() {
            wanted.remove(piece);
            bytes += swarm.geometry.piece_bytes(piece).unwrap_or(0);
        }
        let proven = swarm.geometry.last_piece().is_none_or(|p| have.contains(p));
        let Some(fetching) = &mut swarm.fetching else { return };
        let in_order = self.downloads.get(&fetching.download).is_some_and(|d| d.how.in_order);
        let salt = self.config.seed.fork("picker").fork(&swarm.key.id.to_string());
        fetching.picker = Picker::new(&wanted, salt.rng(), in_order);
        for partner in swarm.partners.values_mut() {
            partner.exhausted = false;
            for piece in partner.have.set().into_iter().flat_map(PieceSet::iter) {
                fetching.picker.gained(piece);
            }
        }
        fetching.phase = Phase::Running;
        fetching.opened = true;
        fetching.proven = proven;
        self.open.insert(id);
        let (download, place, any) = (fetching.download, fetching.place, !have.is_empty());
        let full = have.is_full();
        swarm.held = if full { Held::All } else { Held::Some(have) };
        if let Some(d) = self.downloads.get_mut(&download)
            && (matches!(place, Place::Member { .. }) || d.kind == Kind::File)
        {
            d.bytes += bytes;
        }
        if full {
            return self.filled_at_once(id);
        }
        let links: Vec<LinkId> =
            self.swarms.get(&id).map(|s| s.partners.keys().copied().collect()).unwrap_or_default();
        for link in links {
            if any {
                self.say_holding(link, id);
            }
            self.hungry.insert(link);
        }
        if any {
            self.announce_progress(id);
        }
        if matches!(place, Place::Root(_)) {
            self.timers.set_by(Timer::Dial(id), self.now);
        }
    }

    /// All of it was there when it was opened. Of an empty file that is nothing: a holder is told first that it was fetched,
    /// since nothing is asked of it by which it would know. (Even where nobody can be found yet: that the tracker is to be
    /// joined may come after what is to be fetched.)
    fn filled_at_once(&mut self, id: SwarmId) {
        let Some(swarm) = self.swarms.get(&id) else { return };
        let root = swarm.fetching.as_ref().is_some_and(|f| matches!(f.place, Place::Root(_)));
        if swarm.pieces() > 0 || !root || swarm.partners.values().any(|p| p.everything) {
            return self.swarm_filled(id);
        }
        self.timers.set(Timer::Untold(id), self.now + UNTOLD_MAX);
        self.timers.set_by(Timer::Dial(id), self.now);
    }

    /// A holder of an empty file is linked, and knows by the `Join` that it was fetched.
    pub(super) fn told_holder(&mut self, id: SwarmId) {
        if self.timers.is_set(Timer::Untold(id)) {
            self.timers.clear(Timer::Untold(id));
            self.swarm_filled(id);
        }
    }

    pub(super) fn tell_no_holder(&mut self, id: SwarmId) {
        if self.swarms.get(&id).is_some_and(Swarm::is_running) {
            self.swarm_filled(id);
        }
    }

    /// The last piece is verified where it should be: the length is true, and its space may be taken.
    pub(super) fn length_proven(&mut self, id: SwarmId) {
        let op = self.new_op();
        let Some(fetching) = self.swarms.get_mut(&id).and_then(|s| s.fetching.as_mut()) else { return };
        let place = fetching.place;
        if matches!(place, Place::Member { .. }) {
            return;
        }
        fetching.reserving = Some(op);
        self.storage.insert(op, StorageOp::Reserve(id));
        self.effect(PeerEffect::Reserve { op, place });
    }

    pub(super) fn reserved(&mut self, op: OpId, result: Result<(), StorageFault>) {
        let Some(StorageOp::Reserve(id)) = self.storage.remove(&op) else { return };
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        let full = swarm.held.is_all();
        if let Some(fetching) = &mut swarm.fetching {
            fetching.reserving = None;
        }
        if let Err(fault) = result
            && !full
        {
            self.storage_fault(id, fault);
        }
    }

    /// A piece was verified.
    pub(super) fn download_advanced(&mut self, id: DownloadId, bytes: u64, arrived: &Arrived) {
        let Some(d) = self.downloads.get_mut(&id) else { return };
        let listing = d.kind == Kind::Folder && d.folder.is_none();
        if !listing {
            d.bytes += bytes;
            for ((peer, _), (_, bytes)) in &arrived.from {
                *d.delivered.entry(*peer).or_default() += bytes;
            }
        }
        self.going_on(id);
    }

    pub(super) fn going_on(&mut self, id: DownloadId) {
        let Some(d) = self.downloads.get_mut(&id) else { return };
        if d.waiting.take().is_some() {
            self.report(PeerEvent::Resumed { download: id });
        }
    }

    /// All pieces of a content are verified.
    pub(super) fn swarm_filled(&mut self, id: SwarmId) {
        let links: Vec<LinkId> =
            self.swarms.get(&id).map(|s| s.partners.keys().copied().collect()).unwrap_or_default();
        for link in links {
            self.take_back_all(link, id, true);
        }
        self.timers.clear(Timer::Sync(id));
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        let kind = swarm.kind;
        let Some(fetching) = &mut swarm.fetching else { return };
        let (download, place) = (fetching.download, fetching.place);
        if fetching.syncing.is_some() {
            // Should that fail, pieces are lost that a later sync would not miss.
            fetching.phase = Phase::Running;
            return;
        }
        if kind == Kind::Folder {
            fetching.phase = Phase::Filled;
            self.timers.set_by(Timer::Dial(id), self.now);
            return self.read_listing(download);
        }
        let op = self.new_op();
        if let Some(fetching) = self.swarms.get_mut(&id).and_then(|s| s.fetching.as_mut()) {
            fetching.phase = Phase::Finishing { op };
        }
        self.storage.insert(op, StorageOp::Finish(id));
        self.effect(PeerEffect::Finish { op, place });
    }

    pub(super) fn finished(&mut self, op: OpId, result: Result<(), StorageFault>) {
        match self.storage.remove(&op) {
            Some(StorageOp::Finish(id)) => match result {
                Ok(()) => self.swarm_done(id),
                Err(fault) => {
                    // A file system may notice only in the sync that it is full.
                    if matches!(fault, StorageFault::Io | StorageFault::Full | StorageFault::TooLarge) {
                        self.lose_unsynced(id);
                    }
                    self.storage_fault(id, fault);
                }
            },
            Some(StorageOp::FinishCopy(download, place)) => match result {
                Ok(()) => {
                    if let Some(d) = self.downloads.get_mut(&download) {
                        d.bytes += place_bytes(d, place);
                    }
                    self.place_done(download, place);
                }
                Err(fault) => {
                    self.effect(PeerEffect::Release { place });
                    self.place_refused(download, place, fault);
                }
            },
            Some(StorageOp::FinishFolder(download)) => self.folder_finished(download, result),
            _ => {}
        }
    }

    /// A content stands under its final name (or complete within its folder's staging place).
    pub(super) fn swarm_done(&mut self, id: SwarmId) {
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        let Some(fetching) = swarm.fetching.take() else { return };
        self.fetched.remove(&id);
        self.open.remove(&id);
        let (download, place, key) = (fetching.download, fetching.place, swarm.key);
        swarm.complete = true;
        swarm.staged = matches!(place, Place::Member { .. }).then_some(download);
        swarm.held = Held::All;
        swarm.candidates.clear();
        if let Some(offered) = swarm.offered.take() {
            self.relabel(id, *offered);
        }
        self.drop_fetching_timers(id);
        self.forget_runs(&fetching);
        self.unwatch(key);
        self.part_with_complete(id);
        for place in fetching.followers {
            self.copy_local(place.download(), key, place);
        }
        if matches!(place, Place::Root(_)) {
            self.announce_content(key);
        } else {
            self.announce_progress(id);
        }
        self.place_done(download, place);
    }

    /// What is still reported of a content is of no use.
    fn forget_runs(&mut self, fetching: &Fetching) {
        for op in fetching.runs.values().flatten() {
            self.asked.remove(op);
        }
    }

    /// Two complete holders have nothing to say to each other.
    pub(super) fn part_with_complete(&mut self, id: SwarmId) {
        let Some(swarm) = self.swarms.get(&id) else { return };
        let file = swarm.kind == Kind::File;
        let done: Vec<LinkId> = swarm
            .partners
            .iter()
            .filter(|(_, p)| p.have.is_all() && (file || p.everything))
            .map(|(link, _)| *link)
            .collect();
        self.flush_haves(id);
        for link in done {
            if !file {
                // It knows of the listing only, and not that the files are in place.
                self.say_holding(link, id);
            }
            self.leave_swarm(link, id);
        }
    }

    pub(super) fn place_done(&mut self, download: DownloadId, place: Place) {
        if let Place::Member { entry, .. } = place {
            return self.member_done(download, entry);
        }
        if let Some(d) = self.downloads.get_mut(&download) {
            d.done = true;
        }
        self.going_on(download);
        self.timers.clear(Timer::Waiting(download));
        self.report(PeerEvent::Completed { download });
    }

    pub(super) fn drop_fetching_timers(&mut self, id: SwarmId) {
        let timers =
            [Timer::Dial(id), Timer::Untold(id), Timer::Table(id), Timer::Sync(id), Timer::Storage(id)];
        for timer in timers {
            self.timers.clear(timer);
        }
    }

    /// Pauses a download; false if there was nothing to pause.
    pub(super) fn stop_download(&mut self, id: DownloadId) -> bool {
        let Some(d) = self.downloads.get_mut(&id).filter(|d| !d.done) else { return false };
        // Joining again does not go on with what the person stopped.
        d.left = false;
        if std::mem::replace(&mut d.stopped, true) {
            return false;
        }
        let missing = self.missing_ranges(id);
        self.release_places(id);
        self.say_waiting(id, WaitReason::Stopped, missing);
        true
    }

    pub(super) fn resume_download(&mut self, id: DownloadId) {
        let left = self.session.has_left();
        let Some(d) = self.downloads.get_mut(&id).filter(|d| d.stopped) else { return };
        d.left = left;
        if left {
            return;
        }
        d.stopped = false;
        d.bytes = 0;
        d.folder = None;
        self.going_on(id);
        self.start_download(id);
    }

    pub(super) fn fail_download(&mut self, id: DownloadId, reason: FailReason) {
        if !self.downloads.contains_key(&id) {
            return;
        }
        self.release_places(id);
        self.downloads.remove(&id);
        self.report(PeerEvent::Failed { download: id, reason });
    }

    /// Ends everything that runs for a download; what is on the disk stays.
    pub(super) fn release_places(&mut self, id: DownloadId) {
        self.timers.clear(Timer::Waiting(id));
        self.timers.clear(Timer::Again(id));
        if let Some(d) = self.downloads.get_mut(&id) {
            d.again.clear();
        }
        for swarm in self.swarms_of(id) {
            let followers = self.remove_swarm(swarm);
            for place in followers.into_iter().filter(|p| p.download() != id) {
                // Another download waited for this one's bytes: it fetches them itself now.
                self.restart_follower(place);
            }
        }
        for swarm in &self.fetched {
            if let Some(fetching) = self.swarms.get_mut(swarm).and_then(|s| s.fetching.as_mut()) {
                fetching.followers.retain(|p| p.download() != id);
            }
        }
        self.storage.retain(|_, op| match op {
            StorageOp::Copy(d, ..)
            | StorageOp::FinishCopy(d, _)
            | StorageOp::Listing(d)
            | StorageOp::FinishFolder(d) => *d != id,
            StorageOp::Open(_) | StorageOp::Reserve(_) | StorageOp::Sync(_) | StorageOp::Finish(_) => true,
        });
        if self.downloads.get(&id).is_some_and(|d| !d.done) {
            for staged in self.staged_members(id) {
                self.remove_swarm(staged);
            }
            self.effect(PeerEffect::Release { place: Place::Root(id) });
        }
    }

    pub(super) fn restart_follower(&mut self, place: Place) {
        let content = self.downloads.get(&place.download()).and_then(|d| match place {
            Place::Root(_) => Some((d.key, d.kind, d.name.clone())),
            Place::Member { entry, .. } => d.folder.as_ref()?.content(entry),
        });
        if let Some((key, kind, name)) = content {
            self.start_content(place, key, kind, name);
            if let (Place::Member { download, .. }, Some(member)) = (place, self.by_key.get(&key).copied()) {
                self.member_partners(download, member);
            }
        }
    }

    /// Forgets a content and leaves its swarm; returns who waited for its bytes.
    pub(super) fn remove_swarm(&mut self, id: SwarmId) -> Vec<Place> {
        let links: Vec<LinkId> =
            self.swarms.get(&id).map(|s| s.partners.keys().copied().collect()).unwrap_or_default();
        for link in links {
            self.leave_swarm(link, id);
        }
        self.drop_fetching_timers(id);
        self.timers.clear(Timer::Haves(id));
        self.timers.clear(Timer::HavesAgain(id));
        self.storage.retain(|_, op| match op {
            StorageOp::Open(s) | StorageOp::Reserve(s) | StorageOp::Sync(s) | StorageOp::Finish(s) => {
                *s != id
            }
            StorageOp::Copy(..)
            | StorageOp::FinishCopy(..)
            | StorageOp::Listing(_)
            | StorageOp::FinishFolder(_) => true,
        });
        self.fetched.remove(&id);
        self.open.remove(&id);
        let Some(swarm) = self.take_swarm(id) else { return Vec::new() };
        self.withdraw_content(swarm.key);
        if let Some(offered) = swarm.offered {
            self.offer(*offered);
        }
        let Some(fetching) = swarm.fetching else { return Vec::new() };
        self.forget_runs(&fetching);
        self.unwatch(swarm.key);
        if let Place::Member { .. } = fetching.place {
            self.effect(PeerEffect::Release { place: fetching.place });
        }
        fetching.followers
    }

    /// Swarms that are being fetched.
    pub(super) fn fetched(&self) -> impl Iterator<Item = (SwarmId, &Swarm)> + '_ {
        self.fetched.iter().filter_map(|id| Some((*id, self.swarms.get(id)?)))
    }

    /// Swarms that are being fetched for one download.
    pub(super) fn swarms_of(&self, download: DownloadId) -> Vec<SwarmId> {
        self.fetched()
            .filter(|(_, s)| s.fetching.as_ref().is_some_and(|f| f.download == download))
            .map(|(id, _)| id)
            .collect()
    }

    pub(super) fn root_swarm(&self, id: DownloadId) -> Option<&Swarm> {
        let key = self.downloads.get(&id)?.key;
        self.swarms.get(self.by_key.get(&key)?)
    }
}

/// Bytes that a finished copy adds to its download.
fn place_bytes(d: &Download, place: Place) -> u64 {
    match place {
        Place::Root(_) => d.key.length,
        Place::Member { entry, .. } => {
            d.folder.as_ref().and_then(|f| f.content(entry)).map_or(0, |(key, ..)| key.length)
        }
    }
}
