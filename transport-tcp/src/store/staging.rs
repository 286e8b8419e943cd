//! A folder on its way: everything in one hidden staging folder, put in place by one rename.
//!
//! ```text
//! .<name>.<8 hex>.part/   the staging folder, beside the target
//!   listing               the part file of the listing; its lock is the lock of all
//!   meta, meta.<entry>    sidecars of the listing, and of members of more than one piece
//!   content/              the members; becomes the target
//! ```
//!
//! Members lie apart from the rest, so that no name of theirs can collide with it. A member has its right length, bytes
//! and times or it is not done: nothing else says so, and a restart hashes what is there. Single members are not synced
//! when they are done, all of them are at the end.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use potluck_core::content::{
    Kind, Listing, ListingEntry, ListingFault, Node, PathFault, PieceSet, PieceTable, SafePath, Selection,
};
use potluck_core::ids::ContentKey;
use potluck_core::limits::LISTING_BYTES_MAX;
use potluck_core::peer::StorageFault;

use super::check::{self, Checking};
use super::disk::{DiskFile, Folder, Nature, failed};
use super::part::{Part, PartOpening, Spot};
use super::sidecar::Sidecar;
use super::source::FileIdentity;
use super::standing::{StandingFolder, WholeFolder, standing_folder};
use super::target::has_part_name;
use super::walk;
use crate::hashing;
use crate::scan::scan_folder;

const LISTING: &str = "listing";
const SIDECAR: &str = "meta";
const CONTENT: &str = "content";

/// An open staging folder.
#[derive(Debug)]
pub(crate) struct Staging<D: Folder> {
    parent: D,
    name: OsString,
    folder: D,
    content: D,
    listing_part: Arc<Part<D>>,
    listing: OnceLock<ReadListing>,
    /// Members that are complete, by entry.
    done: Mutex<HashMap<u32, FileIdentity>>,
    /// The folder in which the last member lies that was opened, by its path.
    last_parent: Mutex<Option<(String, D)>>,
    /// What of the folder is wanted.
    select: Box<Selection>,
    /// The content has its final name.
    renamed: AtomicBool,
    /// A sync failed: what it should have written reads right, and yet may never reach the disk.
    doubted: AtomicBool,
}

/// A listing, and its bytes.
type ReadListing = (Arc<Listing>, Arc<[u8]>);

/// What opening a staging folder came to.
pub(crate) enum StagingOpening<D: Folder> {
    Open { staging: Staging<D>, table: Option<Arc<PieceTable>>, have: PieceSet },
    NeedsTable,
}

/// What opening a member came to.
pub(crate) enum MemberOpening<D: Folder> {
    /// It is complete.
    Done {
        table: Option<Arc<PieceTable>>,
        path: SafePath,
        identity: FileIdentity,
    },
    Open {
        part: Arc<Part<D>>,
        table: Option<Arc<PieceTable>>,
        have: PieceSet,
    },
    NeedsTable,
}

/// The place of the listing's part file in its staging folder.
fn listing_spot<D: Folder>(folder: &D) -> Spot<D> {
    Spot {
        folder: folder.clone(),
        name: LISTING.into(),
        sidecar: (folder.clone(), SIDECAR.into()),
        locked: true,
        always_sidecar: true,
    }
}

/// The sidecar of a staging folder, if it has one.
pub(crate) fn sidecar<D: Folder>(folder: &D) -> io::Result<Option<Sidecar>> {
    Sidecar::read(&folder.open(OsStr::new(SIDECAR), false)?)
}

/// Does a process have this staging folder open?
pub(crate) fn is_locked<D: Folder>(folder: &D) -> bool {
    listing_spot(folder).is_locked()
}

/// Removes a staging folder with all that is in it. `Locked` if a process has it open.
pub(crate) fn discard<D: Folder>(parent: &D, name: &OsStr) -> Result<(), StorageFault> {
    let remove = failed("removing a staging folder");
    let folder = parent.open_folder(name).map_err(&remove)?;
    // The listing goes first: nobody opens the folder while it is locked, and without it nothing in it counts.
    listing_spot(&folder).discard()?;
    walk::remove_tree(parent, name).map(drop).map_err(remove)
}

impl<D: Folder> Staging<D> {
    /// Opens or creates the staging folder `name` in `parent`. `wanted` is the sidecar of the listing, its table if it is
    /// known.
    pub(crate) fn open(
        parent: &D,
        name: OsString,
        wanted: Sidecar,
        how: Checking<'_>,
    ) -> Result<StagingOpening<D>, StorageFault> {
        if wanted.key.length > LISTING_BYTES_MAX as u64 {
            return Err(StorageFault::BadPath);
        }
        let open = failed("opening a staging folder");
        let single =
            potluck_core::content::Geometry::new(wanted.key.length).is_some_and(|it| it.is_single_chunk());
        let folder = match parent.stat(&name) {
            Ok(stat) if stat.nature == Nature::Folder => parent.open_folder(&name).map_err(&open)?,
            Ok(_) => return Err(StorageFault::Occupied),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(open(error)),
            Err(_) if wanted.table.is_none() && !single => return Ok(StagingOpening::NeedsTable),
            Err(_) => walk::make_folder(parent, &name).map_err(&open)?,
        };
        match Part::open(listing_spot(&folder), wanted, how)? {
            PartOpening::NeedsTable => Ok(StagingOpening::NeedsTable),
            PartOpening::Open { part, table, have } => {
                let content = walk::make_folder(&folder, OsStr::new(CONTENT)).map_err(&open)?;
                let staging = Self {
                    parent: parent.clone(),
                    name,
                    folder,
                    content,
                    listing_part: part,
                    listing: OnceLock::new(),
                    done: Mutex::default(),
                    last_parent: Mutex::default(),
                    select: Box::default(),
                    renamed: AtomicBool::new(false),
                    doubted: AtomicBool::new(false),
                };
                Ok(StagingOpening::Open { staging, table, have })
            }
        }
    }

    /// Only this of the folder is to stand in the end.
    pub(crate) fn selecting(self, select: &Selection) -> Self {
        Self { select: Box::new(select.clone()), ..self }
    }

    pub(crate) const fn selection(&self) -> &Selection {
        &self.select
    }

    pub(crate) const fn listing_part(&self) -> &Arc<Part<D>> {
        &self.listing_part
    }

    /// The folder that becomes the target. It stays the same folder when it is renamed.
    pub(crate) const fn content(&self) -> &D {
        &self.content
    }

    fn last_parent(&self) -> MutexGuard<'_, Option<(String, D)>> {
        self.last_parent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn done(&self) -> MutexGuard<'_, HashMap<u32, FileIdentity>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The finished listing and its bytes, or why they are no listing.
    pub(crate) fn listing(&self) -> Result<Result<ReadListing, ListingFault>, StorageFault> {
        if let Some(read) = self.listing.get() {
            return Ok(Ok(read.clone()));
        }
        let key = self.listing_part.key();
        // At most `LISTING_BYTES_MAX`, or it would not have been opened.
        let mut bytes = vec![0; key.length as usize];
        let read = self.listing_part.file().read_full(0, &mut bytes).map_err(failed("reading a listing"))?;
        if read < bytes.len() || hashing::hash_bytes(&bytes).0 != key {
            return Err(StorageFault::Altered);
        }
        let listing = Listing::decode(&bytes).and_then(|listing| {
            // The finished folder is looked through as a shared one is: what is passed over there cannot be in it.
            let mut paths = listing.entries().iter().map(|entry| &entry.path);
            match paths.find(|path| has_part_name(path)) {
                Some(path) => {
                    let path = path.as_str().to_owned();
                    Err(ListingFault::BadPath { path, fault: PathFault::Unfinished })
                }
                None => Ok(listing),
            }
        });
        Ok(listing.map(|listing| self.listing.get_or_init(|| (Arc::new(listing), bytes.into())).clone()))
    }

    /// Do the files that are wanted fit on the disk? `Full` before the first of them is written, else.
    pub(crate) fn check_room(&self, listing: &Listing) -> Result<(), StorageFault> {
        let look = failed("looking for room for a folder");
        let free = self.content.free_bytes().map_err(&look)?;
        if listing.total_bytes() <= free {
            return Ok(());
        }
        let chosen = listing.entries().iter().zip(self.select.chosen(listing)).filter(|(_, chosen)| *chosen);
        let lacking = chosen.map(|(entry, _)| match entry.node {
            Node::File { key, .. } => key.length.saturating_sub(self.bytes_there(&entry.path)),
            Node::Folder { .. } => 0,
        });
        match lacking.fold(0, u64::saturating_add) <= free {
            true => Ok(()),
            false => Err(look(io::ErrorKind::StorageFull.into())),
        }
    }

    /// What is there of a file counts as here, holes included: the disk tells when it is full after all.
    fn bytes_there(&self, path: &SafePath) -> u64 {
        let there = walk::parent(&self.content, path, false).and_then(|(folder, name)| folder.stat(name));
        there.map_or(0, |stat| stat.identity.size)
    }

    /// A file among the listing's entries.
    fn entry(&self, entry: u32) -> Result<Entry, StorageFault> {
        let (listing, _) = self.listing()?.or(Err(StorageFault::BadPath))?;
        match listing.entries().get(entry as usize) {
            Some(ListingEntry { path, node: Node::File { key, executable, mtime_ns } }) => {
                Ok(Entry { path: path.clone(), key: *key, executable: *executable, mtime_ns: *mtime_ns })
            }
            _ => Err(StorageFault::BadPath),
        }
    }

    /// The folder that a member lies in, and its name there. The last one is kept open: the next member mostly lies beside.
    fn parent_of<'a>(&self, path: &'a SafePath) -> io::Result<(D, &'a OsStr)> {
        let (above, name) = path.as_str().rsplit_once('/').unwrap_or(("", path.as_str()));
        let mut last = self.last_parent();
        if let Some((_, folder)) = last.as_ref().filter(|(at, _)| at == above) {
            return Ok((folder.clone(), OsStr::new(name)));
        }
        let (folder, name) = walk::parent(&self.content, path, true)?;
        *last = Some((above.to_owned(), folder.clone()));
        Ok((folder, name))
    }

    fn member_spot(&self, entry: u32, path: &SafePath) -> Result<Spot<D>, StorageFault> {
        let (folder, name) = self.parent_of(path).map_err(failed("making the folders of a member"))?;
        Ok(Spot {
            folder,
            name: name.to_owned(),
            sidecar: (self.folder.clone(), format!("{SIDECAR}.{entry}").into()),
            locked: false,
            always_sidecar: false,
        })
    }

    /// Opens something at a member's place; anew, if somebody may have removed the folder that was kept open.
    fn open_at<R>(
        &self,
        entry: u32,
        path: &SafePath,
        open: impl Fn(Spot<D>) -> Result<R, StorageFault>,
    ) -> Result<R, StorageFault> {
        match open(self.member_spot(entry, path)?) {
            Err(_) if self.last_parent().take().is_some() => open(self.member_spot(entry, path)?),
            opened => opened,
        }
    }

    /// Opens a member, and completes it if all of it is there.
    pub(crate) fn open_member(
        &self,
        entry: u32,
        key: ContentKey,
        table: Option<Arc<PieceTable>>,
        how: Checking<'_>,
    ) -> Result<MemberOpening<D>, StorageFault> {
        let member = self.entry(entry)?;
        if member.key != key {
            return Err(StorageFault::BadPath);
        }
        let wanted = Sidecar { key, kind: Kind::File, name: member.path.file_name(), table };
        let open = |spot: Spot<D>| Ok((Part::open(spot.clone(), wanted.clone(), how)?, spot));
        let (opened, spot) = self.open_at(entry, &member.path, open)?;
        Ok(match opened {
            PartOpening::Open { part, table, have } if have.is_full() => {
                let (path, identity) = self.finish_member(entry, &part)?;
                MemberOpening::Done { table, path, identity }
            }
            PartOpening::Open { part, table, have } => MemberOpening::Open { part, table, have },
            PartOpening::NeedsTable => match whole(&spot, key, how)? {
                None => MemberOpening::NeedsTable,
                Some((file, table)) => {
                    let identity = self.complete(entry, &member, &file)?;
                    MemberOpening::Done { table, path: member.path, identity }
                }
            },
        })
    }

    /// Opens a member that is about to be copied from a content that is here.
    pub(crate) fn open_member_for_copy(
        &self,
        entry: u32,
        key: ContentKey,
    ) -> Result<Arc<Part<D>>, StorageFault> {
        let member = self.entry(entry)?;
        if member.key != key {
            return Err(StorageFault::BadPath);
        }
        self.open_at(entry, &member.path, |spot| Part::open_for_copy(spot, key))
    }

    /// A member has all its bytes. Returns where it lies in [`content`](Self::content), and what it is from now on.
    pub(crate) fn finish_member(
        &self,
        entry: u32,
        part: &Part<D>,
    ) -> Result<(SafePath, FileIdentity), StorageFault> {
        let member = self.entry(entry)?;
        let identity = self.complete(entry, &member, part.file())?;
        Ok((member.path, identity))
    }

    fn complete(&self, entry: u32, member: &Entry, file: &D::File) -> Result<FileIdentity, StorageFault> {
        let finish = || {
            where_possible(file.set_attributes(member.executable, member.mtime_ns))?;
            Ok(file.stat()?.identity)
        };
        let identity = finish().map_err(failed("finishing a member"))?;
        if identity.size != member.key.length {
            tracing::warn!(
                "somebody else cut a member that should be complete; what is there is looked at anew"
            );
            return Err(StorageFault::Altered);
        }
        self.done().insert(entry, identity);
        Ok(identity)
    }

    /// Makes all that was written so far durable: the listing and every member.
    pub(crate) fn sync(&self) -> Result<(), StorageFault> {
        let sync = || {
            self.folder.sync_tree()?;
            self.parent.sync()
        };
        let synced = sync().map_err(failed("syncing a staging folder"));
        if synced.is_err() {
            self.doubted.store(true, Ordering::Relaxed);
        }
        synced
    }

    /// Writes again what a failed sync let go: every member, as it reads.
    fn write_again(&self, entries: &[(u32, &ListingEntry)], how: Checking<'_>) -> Result<(), StorageFault> {
        for &(entry, listed) in entries {
            let Node::File { key, .. } = listed.node else { continue };
            let part = self.open_member_for_copy(entry, key)?;
            let written = part.copy_from(|offset, buffer| part.file().read_full(offset, buffer), how);
            if written.is_err() {
                // It may be that nothing else can be read any more: it is to be fetched.
                self.done().remove(&entry);
            }
            written?;
            self.finish_member(entry, &part)?;
        }
        Ok(())
    }

    /// All members are done: makes everything durable and renames the folder, without replacing anything. May be called
    /// again after it failed.
    ///
    /// If an equal folder got there first, that is as good: the staged one is removed, and the other one returned.
    pub(crate) fn finish(
        &self,
        final_name: &OsStr,
        how: Checking<'_>,
    ) -> Result<Option<WholeFolder<D>>, StorageFault> {
        let (listing, _) = self.listing()?.or(Err(StorageFault::BadPath))?;
        let mut other = None;
        match self.folder.stat(OsStr::new(CONTENT)) {
            Ok(_) => {
                let chosen = self.select.chosen(&listing);
                let entries = (0..).zip(listing.entries()).zip(chosen).filter(|(_, chosen)| *chosen);
                let entries: Vec<(u32, &ListingEntry)> = entries.map(|(entry, _)| entry).collect();
                self.make_empty_folders(&entries).map_err(failed("making an empty folder"))?;
                if self.doubted.load(Ordering::Relaxed) {
                    self.check_members(&entries, how)?;
                    self.write_again(&entries, how)?;
                    self.doubted.store(false, Ordering::Relaxed);
                }
                self.set_folder_times(&listing).map_err(failed("setting the time of a folder"))?;
                self.sync()?;
                // That took its time: what is renamed is looked at now. What was touched may have been so after the sync.
                if self.check_members(&entries, how)? == Touched::Some {
                    self.sync()?;
                    self.check_members(&entries, how)?;
                }
                other = self.rename(final_name, &listing, how)?;
                self.renamed.store(true, Ordering::Relaxed);
            }
            // An earlier call renamed it, and could not sync that.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.renamed.load(Ordering::Relaxed) => {
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tracing::warn!("somebody else removed what was downloaded of a folder");
                return Err(StorageFault::Altered);
            }
            Err(error) => return Err(failed("finishing a folder")(error)),
        }
        self.parent.sync().map_err(failed("syncing a folder"))?;
        // What remains is tidying: the folder stands.
        if let Err(error) = walk::remove_tree(&self.parent, &self.name) {
            tracing::warn!(%error, "removing a staging folder");
        }
        self.release();
        Ok(other)
    }

    fn rename(
        &self,
        final_name: &OsStr,
        listing: &Listing,
        how: Checking<'_>,
    ) -> Result<Option<WholeFolder<D>>, StorageFault> {
        match self.folder.rename(OsStr::new(CONTENT), &self.parent, final_name) {
            Ok(()) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let standing = standing_folder(&self.parent, final_name, self.wanted_key(listing), how)?;
                let StandingFolder::Same(other) = standing else { return Err(StorageFault::Occupied) };
                walk::remove_tree(&self.folder, OsStr::new(CONTENT))
                    .map_err(failed("removing a staging folder"))?;
                Ok(Some(other))
            }
            Err(error) => Err(failed("renaming a folder")(error)),
        }
    }

    /// What the finished folder would be shared as.
    fn wanted_key(&self, listing: &Listing) -> ContentKey {
        if self.select.is_all() {
            return self.listing_part.key();
        }
        hashing::hash_bytes(&self.select.of(listing).encode()).0
    }

    /// The chosen part of the folder, if it stands under its final name already. `Occupied` if something else does.
    pub(crate) fn standing(
        &self,
        final_name: &OsStr,
        how: Checking<'_>,
    ) -> Result<Option<WholeFolder<D>>, StorageFault> {
        let (listing, bytes) = self.listing()?.or(Err(StorageFault::BadPath))?;
        let part = match standing_folder(&self.parent, final_name, self.wanted_key(&listing), how)? {
            StandingFolder::Nothing => return Ok(None),
            StandingFolder::Other => return Err(StorageFault::Occupied),
            StandingFolder::Same(part) => part,
        };
        // Its members go by their entries in the whole listing.
        let chosen = (0..).zip(self.select.chosen(&listing)).filter(|(_, chosen)| *chosen);
        let chosen: Vec<u32> = chosen.map(|(entry, _)| entry).collect();
        let whole = |(entry, member)| Some((*chosen.get(entry as usize)?, member));
        let members = part.members.into_iter().filter_map(whole).collect();
        self.release();
        if let Err(error) = walk::remove_tree(&self.parent, &self.name) {
            tracing::warn!(%error, "removing a staging folder");
        }
        Ok(Some(WholeFolder { listing, bytes, members, table: None, ..part }))
    }

    fn make_empty_folders(&self, entries: &[(u32, &ListingEntry)]) -> io::Result<()> {
        for (_, entry) in entries {
            if let Node::Folder { mtime_ns } = entry.node {
                let (folder, name) = walk::parent(&self.content, &entry.path, true)?;
                where_possible(walk::make_folder(&folder, name)?.set_mtime(mtime_ns))?;
            }
        }
        Ok(())
    }

    /// Nothing more is made in the folders: they get the times that the listing tells.
    fn set_folder_times(&self, listing: &Listing) -> io::Result<()> {
        for (path, mtime_ns) in self.select.of(listing).folder_times() {
            let mut names = path.split('/').filter(|name| !name.is_empty());
            let open = |folder: D, name| folder.open_folder(OsStr::new(name));
            // A folder that is not there, or is none, is missed when the members are looked at.
            let Ok(folder) = names.try_fold(self.content.clone(), open) else { continue };
            where_possible(folder.set_mtime(mtime_ns))?;
        }
        Ok(())
    }

    /// What is about to be renamed is what was verified: every entry of the listing, and nothing else. Somebody may have
    /// moved things about in the staging folder. So it is looked at by the name that it has until it is renamed.
    fn check_members(
        &self,
        entries: &[(u32, &ListingEntry)],
        how: Checking<'_>,
    ) -> Result<Touched, StorageFault> {
        let content = self.folder.open_folder(OsStr::new(CONTENT)).map_err(|error| {
            tracing::warn!(%error, "somebody else moved what was downloaded of a folder");
            StorageFault::Altered
        })?;
        let plan = scan_folder(&content, Path::new("")).map_err(|error| {
            tracing::warn!(%error, "looking through a staging folder");
            StorageFault::Occupied
        })?;
        if let Some(strange) = plan.skipped.first() {
            tracing::warn!(path = ?strange.path, "something else lies in a staging folder");
            return Err(StorageFault::Occupied);
        }
        let found = plan.files.len() + plan.empty_folders.len();
        if found > entries.len() {
            tracing::warn!("something else lies in a staging folder");
            return Err(StorageFault::Occupied);
        }
        let mut files = plan.files.iter().peekable();
        let mut done = self.done();
        let mut touched = Touched::None;
        for &(entry, listed) in entries {
            let Node::File { key, .. } = listed.node else { continue };
            let found = files.next_if(|file| file.path == listed.path);
            let right = match (found, done.get(&entry)) {
                (Some(file), Some(identity)) if file.identity == *identity => true,
                // It was touched. That is no harm if its bytes are right.
                (Some(_), Some(_)) => {
                    touched = Touched::Some;
                    recheck(&content, &listed.path, key, how)?
                }
                _ => false,
            };
            if !right {
                tracing::warn!(path = ?listed.path.as_str(), "a member is not what was downloaded");
                done.remove(&entry);
                return Err(StorageFault::Altered);
            }
        }
        // What is wanted is there; so there are empty folders too few, or in place of others.
        if found < entries.len() {
            tracing::warn!("somebody else removed a folder of what was downloaded");
            return Err(StorageFault::Altered);
        }
        Ok(touched)
    }

    /// Lets other processes have it.
    pub(crate) fn release(&self) {
        self.listing_part.release();
    }
}

/// Are a member's bytes right?
fn recheck<D: Folder>(
    content: &D,
    path: &SafePath,
    key: ContentKey,
    how: Checking<'_>,
) -> Result<bool, StorageFault> {
    let identify = || check::identify(&walk::open_below(content, path)?, key.length, how);
    let found = identify().map_err(failed("checking a member"))?;
    Ok(found.is_some_and(|(found, _)| found == key))
}

/// Times and rights are set where the file system has them; where it has not, the bytes are right all the same.
fn where_possible(set: io::Result<()>) -> io::Result<()> {
    use io::ErrorKind as Kind;
    match set {
        Err(error)
            if matches!(error.kind(), Kind::PermissionDenied | Kind::Unsupported | Kind::InvalidInput) =>
        {
            tracing::debug!(%error, "times or rights cannot be set here");
            Ok(())
        }
        set => set,
    }
}

/// Are there members that somebody else touched, though their bytes are right?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Touched {
    None,
    Some,
}

/// A file of a listing.
struct Entry {
    path: SafePath,
    key: ContentKey,
    executable: bool,
    mtime_ns: i64,
}

/// A file that has all its bytes, and its table.
type WholeFile<D> = (<D as Folder>::File, Option<Arc<PieceTable>>);

/// The file of a member whose table is not known, if all of it is there.
fn whole<D: Folder>(
    spot: &Spot<D>,
    key: ContentKey,
    how: Checking<'_>,
) -> Result<Option<WholeFile<D>>, StorageFault> {
    let check = || {
        let file = match spot.folder.open(&spot.name, true) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        // What has a hole is not complete.
        let data = file.next_data(0)?;
        if file.stat()?.identity.size != key.length || data != Some(0..key.length) {
            return Ok(None);
        }
        Ok(match check::identify(&file, key.length, how)? {
            Some((found, table)) if found == key => Some((file, table.map(Arc::new))),
            _ => None,
        })
    };
    check().map_err(failed("checking a member"))
}
