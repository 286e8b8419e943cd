//! The members of a folder: started a bounded number at a time, fetched from the holders of the folder without asking the
//! tracker for each.

use std::sync::Arc;

use crate::content::{Geometry, Kind, Listing, ListingEntry, ListingFault, Node, Selection};
use crate::ids::{ContentKey, DownloadId, LinkId, OpId};
use crate::limits;

use super::downloads::StorageOp;
use super::swarm::SwarmId;
use super::timers::Timer;
use super::waiting::WAITING_EVERY;
use super::{FailReason, Peer, PeerEffect, PeerEvent, Place, StorageFault};

/// The progress of a folder's members.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) listing: Arc<Listing>,
    /// Index of the next entry to be started.
    next: u32,
    /// Started and not done.
    active: u32,
    /// Pieces of those.
    pieces: u64,
    /// Bytes of all members.
    pub(super) total: u64,
    /// Which entries are wanted; `None`: all.
    chosen: Option<Vec<bool>>,
}

impl Folder {
    fn new(listing: Arc<Listing>, select: &Selection) -> Self {
        let chosen = (!select.is_all()).then(|| select.chosen(&listing));
        let mut folder = Self { listing, next: 0, active: 0, pieces: 0, total: 0, chosen };
        folder.total = folder.files().map(|(entry, _)| entry.bytes()).sum();
        folder
    }

    fn is_chosen(&self, entry: u32) -> bool {
        self.chosen.as_ref().is_none_or(|chosen| chosen.get(entry as usize).copied().unwrap_or(false))
    }

    /// The files that are wanted.
    fn files(&self) -> impl Iterator<Item = (&ListingEntry, ContentKey)> + '_ {
        let chosen = (0..).zip(self.listing.entries()).filter(|(entry, _)| self.is_chosen(*entry));
        chosen.filter_map(|(_, entry)| match &entry.node {
            Node::File { key, .. } => Some((entry, *key)),
            Node::Folder { .. } => None,
        })
    }

    /// Some of its files were to be chosen, and none is.
    fn is_of_nothing(&self) -> bool {
        self.chosen.is_some() && self.files().next().is_none()
    }

    /// May another member be started, where those of all folders have so many pieces? Each costs by itself, and by its
    /// pieces. One may be, whatever other folders wait for.
    const fn has_room(&self, pieces: u64) -> bool {
        let few = (self.active as usize) < limits::FOLDER_MEMBERS_ACTIVE;
        self.active == 0 || few && pieces < limits::FOLDER_PIECES_ACTIVE
    }

    /// Pieces of an entry.
    fn pieces_of(&self, entry: u32) -> u64 {
        let geometry = self.content(entry).and_then(|(key, ..)| Geometry::new(key.length));
        geometry.map_or(0, |geometry| u64::from(geometry.pieces()))
    }

    /// The content of an entry; `None` for a folder within the folder.
    pub(super) fn content(&self, entry: u32) -> Option<(ContentKey, Kind, String)> {
        let entry = self.listing.entries().get(entry as usize)?;
        match &entry.node {
            Node::File { key, .. } => Some((*key, Kind::File, entry.path.as_str().to_owned())),
            Node::Folder { .. } => None,
        }
    }
}

impl Peer {
    pub(super) fn read_listing(&mut self, download: DownloadId) {
        let op = self.new_op();
        self.storage.insert(op, StorageOp::Listing(download));
        self.effect(PeerEffect::ReadListing { op, download });
    }

    pub(super) fn listing_read(
        &mut self,
        op: OpId,
        result: Result<Result<Arc<Listing>, ListingFault>, StorageFault>,
    ) {
        let Some(StorageOp::Listing(id)) = self.storage.remove(&op) else { return };
        let Some(d) = self.downloads.get_mut(&id) else { return };
        match result {
            Ok(Ok(listing)) => {
                let total = listing.total_bytes();
                d.bytes = 0;
                d.folder = Some(Folder::new(Arc::clone(&listing), &d.how.select));
                if let Some(swarm) = self.by_key.get(&d.key).and_then(|swarm| self.swarms.get_mut(swarm)) {
                    swarm.total = total;
                }
                let nothing = d.folder.as_ref().is_some_and(Folder::is_of_nothing);
                self.report(PeerEvent::Listed { download: id, listing });
                if nothing {
                    return self.fail_download(id, FailReason::NothingChosen);
                }
                self.start_members(id);
            }
            Ok(Err(fault)) => self.fail_download(id, FailReason::BadListing(fault)),
            Err(fault) => {
                let root = self.by_key.get(&d.key).copied();
                let fetched = root.filter(|root| self.fetched.contains(root));
                match fetched.filter(|_| fault == StorageFault::Altered) {
                    Some(root) => self.look_anew(root),
                    None => self.place_refused(id, Place::Root(id), fault),
                }
            }
        }
    }

    /// Pieces of the members that are being fetched, of all folders.
    fn member_pieces(&self) -> u64 {
        let running = self.downloads.values().filter(|d| !d.done && !d.stopped);
        running.filter_map(|d| d.folder.as_ref()).map(|folder| folder.pieces).sum()
    }

    /// Other folders may have left room for members that were not started yet.
    pub(super) fn start_more_members(&mut self, id: DownloadId) {
        let folder = self.downloads.get(&id).and_then(|d| d.folder.as_ref());
        if folder.is_some_and(|folder| (folder.next as usize) < folder.listing.entries().len()) {
            self.start_members(id);
        }
    }

    /// Starts members while there is room; with the last one done, the folder is put in place.
    pub(super) fn start_members(&mut self, id: DownloadId) {
        let mut pieces = self.member_pieces();
        loop {
            let Some(folder) = self.downloads.get_mut(&id).and_then(|d| d.folder.as_mut()) else { return };
            if !folder.has_room(pieces) {
                return;
            }
            let entry = folder.next;
            if entry as usize >= folder.listing.entries().len() {
                break;
            }
            folder.next += 1;
            if !folder.is_chosen(entry) {
                continue;
            }
            let Some((key, kind, name)) = folder.content(entry) else { continue };
            folder.active += 1;
            let more = folder.pieces_of(entry);
            folder.pieces += more;
            pieces += more;
            self.start_content(Place::Member { download: id, entry }, key, kind, name);
            if let Some(member) = self.by_key.get(&key).copied() {
                self.member_partners(id, member);
            }
        }
        let finished = self.downloads.get(&id).and_then(|d| d.folder.as_ref()).is_some_and(|f| f.active == 0);
        if finished && !self.storage.values().any(|op| *op == StorageOp::FinishFolder(id)) {
            let op = self.new_op();
            self.storage.insert(op, StorageOp::FinishFolder(id));
            self.effect(PeerEffect::Finish { op, place: Place::Root(id) });
        }
    }

    /// Joins a member's swarm over the links on which the folder is shared.
    pub(super) fn member_partners(&mut self, id: DownloadId, member: SwarmId) {
        if self.swarms.get(&member).is_none_or(|s| s.fetching.is_none()) {
            return;
        }
        let Some(root) = self.root_swarm(id) else { return };
        let links: Vec<(LinkId, bool)> = root.partners.iter().map(|(l, p)| (*l, p.everything)).collect();
        for (link, everything) in links {
            self.join_assuming(link, member, everything);
        }
    }

    /// A holder of a whole folder turned up: the members that are being fetched may be asked of it.
    pub(super) fn member_partner(&mut self, link: LinkId, root: SwarmId) {
        let Some(fetching) = self.swarms.get(&root).and_then(|s| s.fetching.as_ref()) else { return };
        let download = fetching.download;
        let members = self.swarms_of(download).into_iter().filter(|id| *id != root);
        for member in members {
            self.join_assuming(link, member, true);
        }
    }

    /// Nobody is left of whom a member could be asked. Whoever shares the folder may have begun with it since, or may have
    /// been away for a moment; others may hold the file without the folder: those the tracker knows.
    pub(super) fn seek_member(&mut self, id: DownloadId, member: SwarmId) {
        let Some(swarm) = self.swarms.get(&member) else { return };
        let key = swarm.key;
        let place = swarm.fetching.as_ref().map(|f| f.place);
        if !matches!(place, Some(Place::Member { .. })) {
            return;
        }
        let links: Vec<LinkId> = if self.session.is_away() {
            self.links.keys().copied().collect()
        } else {
            self.root_swarm(id).map(|root| root.partners.keys().copied().collect()).unwrap_or_default()
        };
        for link in links {
            self.join_swarm(link, member);
        }
        self.watch(key);
    }

    pub(super) fn member_done(&mut self, id: DownloadId, entry: u32) {
        if let Some(folder) = self.downloads.get_mut(&id).and_then(|d| d.folder.as_mut()) {
            folder.active = folder.active.saturating_sub(1);
            folder.pieces = folder.pieces.saturating_sub(folder.pieces_of(entry));
            self.start_members(id);
        }
    }

    pub(super) fn folder_finished(&mut self, id: DownloadId, result: Result<(), StorageFault>) {
        if let Err(fault) = result {
            if fault == StorageFault::Altered {
                self.forget_folder(id);
            }
            return self.place_refused(id, Place::Root(id), fault);
        }
        let Some(d) = self.downloads.get(&id) else { return };
        let key = d.key;
        let whole = d.folder.as_ref().is_none_or(|f| f.chosen.is_none());
        let members: Vec<ContentKey> = d.folder.iter().flat_map(Folder::files).map(|(_, key)| key).collect();
        let root = self.by_key.get(&key).copied();
        match root.filter(|root| self.swarms.get(root).is_some_and(|s| s.fetching.is_some())) {
            Some(root) if whole => {
                self.swarm_done(root);
                let links: Vec<LinkId> =
                    self.swarms.get(&root).map(|s| s.partners.keys().copied().collect()).unwrap_or_default();
                for link in links {
                    self.say_holding(link, root);
                }
            }
            Some(root) => {
                // Some of its files are here, not the folder: it is offered no longer.
                let followers = self.remove_swarm(root);
                self.place_done(id, Place::Root(id));
                for place in followers {
                    self.restart_follower(place);
                }
            }
            None => self.place_done(id, Place::Root(id)),
        }
        for staged in self.staged_members(id) {
            if let Some(swarm) = self.swarms.get_mut(&staged) {
                swarm.staged = None;
            }
        }
        for key in members {
            if !self.is_announced(&key) {
                self.announce_content(key);
            }
        }
    }

    /// Nothing of a folder is believed any more: when it is tried again, it is opened anew, and all that is there is hashed.
    fn forget_folder(&mut self, id: DownloadId) {
        self.release_places(id);
        self.timers.set(Timer::Waiting(id), self.now + WAITING_EVERY * 2);
        if let Some(d) = self.downloads.get_mut(&id) {
            d.bytes = 0;
            d.folder = None;
        }
    }

    /// Complete members that stand nowhere but in the folder's staging place.
    pub(super) fn staged_members(&self, id: DownloadId) -> Vec<SwarmId> {
        let folder = self.downloads.get(&id).and_then(|d| d.folder.as_ref());
        let staged = |swarm: &&SwarmId| self.swarms.get(swarm).is_some_and(|s| s.staged == Some(id));
        let files = folder.into_iter().flat_map(Folder::files);
        files.filter_map(|(_, key)| self.by_key.get(&key)).filter(staged).copied().collect()
    }
}
