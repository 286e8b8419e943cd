//! Disk: where downloads go, and what is served.
//!
//! A [`Store`] performs the effects of the peer machine that concern the disk, one method per effect, and keeps the index of
//! what may be read by peers. All its functions block and are to be called on [`Workers`](crate::workers::Workers); any
//! number may run at the same time.
//!
//! - `disk`: the operations that everything here is made of. `os`: the real disk.
//! - `part`: one part file, from its creation to its final name. `sidecar`: what lies beside it.
//! - `staging`: a folder on its way. `standing`: one that is there already.
//! - `walk`: ways through folders that cannot be led elsewhere.
//! - `check`: hashing what is there against what it should be.
//! - `source`: the index, and the cache of descriptors. `leftovers`: what interrupted downloads left.
//! - `opening`: what stands at the place of a download already.
//!
//! Nothing here deletes, replaces or writes to anything of the user's.

pub(crate) mod check;
pub(crate) mod disk;
mod leftovers;
mod opening;
pub(crate) mod os;
mod part;
mod sidecar;
mod source;
mod staging;
mod standing;
mod target;
pub(crate) mod walk;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard};

use potluck_core::content::{Kind, Listing, ListingFault, Node, PieceTable, SafeName};
use potluck_core::ids::{ChunkAddr, ContentKey, DownloadId};
use potluck_core::peer::{Opening, Place, StorageFault};

use crate::hash_cache::CacheFile;
use crate::hashing::{HashCache as _, Hashed};
use crate::limits::HASH_CACHED_BYTES_MIN;
use check::Checking;
use os::OsFolder;
use source::{Indexed, Sources};
use standing::WholeFolder;

pub use leftovers::{PartInfo, discard, find_parts, find_untold_parts};
pub use os::raise_open_files;
#[doc(hidden)]
pub use sidecar::{sidecar_again, sidecar_sealed};
pub use source::{FileIdentity, Source, SourceHandle};
pub use target::Target;
pub(crate) use target::is_part_name;

type Part = part::Part<OsFolder>;
type Staging = staging::Staging<OsFolder>;

/// How a store works.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Threads that check what is on the disk; 1 for a single-threaded runtime.
    pub hash_threads: usize,
    /// Files of shared contents that are kept open.
    pub open_files: usize,
    /// Where the hashes of downloaded files are remembered: who shares them by their path reads nothing again.
    pub hash_cache: Option<PathBuf>,
}

impl Default for StoreOptions {
    /// All cores, 256 files.
    fn default() -> Self {
        Self { hash_threads: check::all_cores(), open_files: 256, hash_cache: None }
    }
}

/// Told of bytes checked, and of bytes to check in all. Called from several threads.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// Downloads on their places, and the index of what is served. Cheap to clone; all methods may be called from any thread.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: StoreOptions,
    sources: Sources,
    downloads: Mutex<HashMap<DownloadId, Arc<Download>>>,
    places: RwLock<Places>,
    /// Set to stop an opening that is under way.
    opening: Mutex<HashMap<Place, Arc<AtomicBool>>>,
}

/// A download that was given a target.
#[derive(Debug)]
struct Download {
    target: Target,
    kind: Kind,
    name: SafeName,
    /// Of a folder: what its members lie in, while it is open.
    folder: Mutex<Option<Arc<FolderPlace>>>,
}

#[derive(Debug)]
enum FolderPlace {
    Staged(Staging),
    /// It was there already.
    Standing(WholeFolder<OsFolder>),
}

#[derive(Debug, Default)]
struct Places {
    open: HashMap<Place, OpenPlace>,
    /// Where a content is being downloaded, to serve what there is of it.
    parts: HashMap<ContentKey, Place>,
}

#[derive(Clone, Debug)]
enum OpenPlace {
    Part(Arc<Part>),
    /// It is complete, and in the index of sources.
    Done,
}

impl Places {
    fn set(&mut self, place: Place, open: OpenPlace) {
        self.remove(place);
        if let OpenPlace::Part(part) = &open {
            self.parts.insert(part.key(), place);
        }
        self.open.insert(place, open);
    }

    fn remove(&mut self, place: Place) -> Option<Arc<Part>> {
        let OpenPlace::Part(part) = self.open.remove(&place)? else { return None };
        if self.parts.get(&part.key()) == Some(&place) {
            self.parts.remove(&part.key());
        }
        Some(part)
    }
}

impl Store {
    /// An empty store.
    #[must_use]
    pub fn new(options: StoreOptions) -> Self {
        let sources = Sources::new(options.open_files);
        Self(Arc::new(Inner {
            options,
            sources,
            downloads: Mutex::default(),
            places: RwLock::default(),
            opening: Mutex::default(),
        }))
    }

    /// Serves a content from here on. Replaces an earlier source of the same content.
    pub fn add_source(&self, key: ContentKey, source: Source) {
        self.0.sources.add(key, Indexed::Given(source));
    }

    /// Serves a content no longer. A part that is being downloaded goes on being served.
    pub fn remove_source(&self, key: ContentKey) {
        self.0.sources.remove(key);
    }

    /// Opens a content for reading: what was added, what was downloaded, and what is being downloaded. `None`: it is not in
    /// the index, or its file is gone or changed.
    #[must_use]
    pub fn source(&self, key: ContentKey) -> Option<SourceHandle> {
        self.0.sources.open(key).or_else(|| {
            let places = self.0.places.read().unwrap_or_else(PoisonError::into_inner);
            match places.open.get(places.parts.get(&key)?)? {
                OpenPlace::Part(part) => Some(SourceHandle::part(Arc::clone(part.file()))),
                OpenPlace::Done => None,
            }
        })
    }

    /// Says where a download goes. Before any other call for the download.
    pub fn set_target(&self, download: DownloadId, target: Target, kind: Kind, name: SafeName) {
        let download_state = Download { target, kind, name, folder: Mutex::default() };
        lock(&self.0.downloads).insert(download, Arc::new(download_state));
    }

    /// Forgets a download whose places were released. What is on the disk stays.
    pub fn forget(&self, download: DownloadId) {
        lock(&self.0.downloads).remove(&download);
    }

    /// Where the download stands, or will stand.
    #[must_use]
    pub fn final_path(&self, download: DownloadId) -> Option<PathBuf> {
        Some(lock(&self.0.downloads).get(&download)?.target.path())
    }

    /// Performs [`PeerEffect::Open`](potluck_core::peer::PeerEffect::Open).
    ///
    /// # Errors
    /// What is wrong with the place. [`StorageFault::Io`] also when it was released meanwhile.
    pub fn open(
        &self,
        place: Place,
        key: ContentKey,
        table: Option<Arc<PieceTable>>,
        progress: Progress<'_>,
    ) -> Result<Opening, StorageFault> {
        let table = table.filter(|table| table.key() == key);
        self.checking(place, progress, |how| {
            let download = self.download(place)?;
            if let Ok(OpenPlace::Part(part)) = self.place(place)
                && part.key() == key
            {
                return opening::again(&part, table, how);
            }
            match (place, download.kind) {
                (Place::Root(_), Kind::File) => self.open_file(place, &download, key, table, how),
                (Place::Root(_), Kind::Folder) => self.open_folder(place, &download, key, table, how),
                (Place::Member { entry, .. }, _) => self.open_member(place, entry, key, table, how),
            }
        })
    }

    /// Writes one chunk at its position in an opened place.
    ///
    /// # Errors
    /// What is wrong with the disk, or the place is not open.
    pub fn write_chunk(&self, place: Place, at: ChunkAddr, bytes: &[u8]) -> Result<(), StorageFault> {
        match self.place(place)? {
            OpenPlace::Part(part) => part.write(at, bytes),
            // A late copy of a chunk that is there.
            OpenPlace::Done => Ok(()),
        }
    }

    /// Performs [`PeerEffect::Reserve`](potluck_core::peer::PeerEffect::Reserve), step by step: takes some of the space,
    /// from an offset on, and returns where to go on. `None`: all of it is taken.
    ///
    /// # Errors
    /// Too little space, or the place is not open.
    pub fn reserve(&self, place: Place, start: u64) -> Result<Option<u64>, StorageFault> {
        match self.place(place)? {
            OpenPlace::Part(part) => part.reserve(start),
            OpenPlace::Done => Ok(None),
        }
    }

    /// Performs [`PeerEffect::Sync`](potluck_core::peer::PeerEffect::Sync). That of a folder's root covers all its members.
    ///
    /// # Errors
    /// It could not be made durable, or the place is not open.
    pub fn sync(&self, place: Place) -> Result<(), StorageFault> {
        let open = self.place(place)?;
        if let (Place::Root(_), Some(FolderPlace::Staged(staging))) = (place, self.folder(place)?.as_deref())
        {
            return staging.sync();
        }
        match open {
            OpenPlace::Part(part) => part.sync(),
            OpenPlace::Done => Ok(()),
        }
    }

    /// Performs [`PeerEffect::Finish`](potluck_core::peer::PeerEffect::Finish). The content is served from its final path
    /// from then on. May be called again after it failed.
    ///
    /// # Errors
    /// It could not be made durable or be put in place; the part stays.
    pub fn finish(&self, place: Place) -> Result<(), StorageFault> {
        let OpenPlace::Part(part) = self.place(place)? else { return Ok(()) };
        let download = self.download(place)?;
        let folder = self.folder(place)?;
        let key = part.key();
        let target = &download.target;
        self.checking(place, &|_, _| (), |how| {
            match (place, folder.as_deref()) {
                (Place::Root(_), None) => {
                    // The sidecar goes with the part.
                    let table = part.sidecar_table().unwrap_or_default();
                    let identity = part.finish(target.name(), how)?;
                    self.remember(Hashed { key, table, identity });
                    self.add_source(key, Source::File { path: target.path(), identity });
                }
                (Place::Root(_), Some(FolderPlace::Staged(staging))) => {
                    if let Some(other) = staging.finish(target.name(), how)? {
                        self.add_members(&other);
                    }
                    if staging.selection().is_all()
                        && let Ok((_, bytes)) = staging.listing()?
                    {
                        self.add_source(key, Source::Memory(bytes));
                    }
                    // What is served from it keeps open what it needs.
                    *lock(&download.folder) = None;
                    self.places_mut()
                        .open
                        .retain(|other, _| *other == place || other.download() != place.download());
                }
                (Place::Member { entry, .. }, Some(FolderPlace::Staged(staging))) => {
                    let (path, identity) = staging.finish_member(entry, &part)?;
                    let root = staging.content().clone();
                    self.0.sources.add(key, Indexed::Below { root, path, identity });
                }
                (_, Some(FolderPlace::Standing(_))) | (Place::Member { .. }, None) => {
                    return Err(StorageFault::BadPath);
                }
            }
            Ok(())
        })?;
        self.set_place(place, OpenPlace::Done);
        Ok(())
    }

    fn remember(&self, hashed: Hashed) {
        let worth = hashed.table.is_some() && hashed.key.length >= HASH_CACHED_BYTES_MIN;
        if let Some(path) = self.0.options.hash_cache.clone().filter(|_| worth) {
            CacheFile::look_up(path, &[]).put(&hashed);
        }
    }

    /// Performs [`PeerEffect::CopyLocal`](potluck_core::peer::PeerEffect::CopyLocal).
    ///
    /// # Errors
    /// The source is gone or changed ([`StorageFault::Io`]), or the place cannot be written.
    pub fn copy_local(
        &self,
        key: ContentKey,
        place: Place,
        progress: Progress<'_>,
    ) -> Result<(), StorageFault> {
        let source = self.source(key).ok_or(StorageFault::Io)?;
        let download = self.download(place)?;
        let copied = self.checking(place, progress, |how| {
            (how.expect)(key.length);
            let part = match (place, download.kind) {
                (Place::Root(_), Kind::File) => self.file_for_copy(place, &download, key, how)?,
                (Place::Root(_), Kind::Folder) => {
                    self.listing_for_copy(place, &download, key, &source, how)?
                }
                (Place::Member { entry, .. }, _) => self.member_for_copy(place, entry, key)?,
            };
            match part {
                Some(part) => part.copy_from(|offset, buffer| source.read_at(offset, buffer), how),
                // It stands there already.
                None => Ok(()),
            }
        });
        if copied.is_err() {
            self.release(place);
        }
        copied
    }

    /// Performs [`PeerEffect::ReadListing`](potluck_core::peer::PeerEffect::ReadListing).
    ///
    /// # Errors
    /// The disk fails, or has no room for the files; or the place is not open. The inner error: the bytes are no listing, or one
    /// that is refused.
    pub fn read_listing(
        &self,
        download: DownloadId,
    ) -> Result<Result<Arc<Listing>, ListingFault>, StorageFault> {
        let place = Place::Root(download);
        match self.folder(place)?.as_deref() {
            Some(FolderPlace::Staged(staging)) => {
                let listing = match staging.listing()? {
                    Ok((listing, _)) => listing,
                    Err(fault) => return Ok(Err(fault)),
                };
                if !staging.selection().is_all() {
                    self.part_stands(place, staging)?;
                }
                if matches!(self.place(place)?, OpenPlace::Part(_)) {
                    staging.check_room(&listing)?;
                }
                Ok(Ok(listing))
            }
            Some(FolderPlace::Standing(whole)) => Ok(Ok(Arc::clone(&whole.listing))),
            None => Err(StorageFault::BadPath),
        }
    }

    /// Stops what takes long at a place (checking what is there, copying), if anything is under way. It then fails with
    /// [`StorageFault::Io`]. Does not block.
    pub fn interrupt(&self, place: Place) {
        if let Some(cancelled) = lock(&self.0.opening).get(&place) {
            cancelled.store(true, Ordering::Relaxed);
        }
    }

    /// Performs [`PeerEffect::Release`](potluck_core::peer::PeerEffect::Release). What is finished stays in the index; an
    /// opening that is under way is stopped.
    pub fn release(&self, place: Place) {
        self.interrupt(place);
        if let Some(part) = self.places_mut().remove(place) {
            part.release();
        }
        if let (Place::Root(_), Ok(download)) = (place, self.download(place)) {
            *lock(&download.folder) = None;
        }
    }
}

impl Store {
    fn download(&self, place: Place) -> Result<Arc<Download>, StorageFault> {
        let known = lock(&self.0.downloads).get(&place.download()).cloned();
        known.ok_or_else(|| {
            tracing::error!(?place, "a download without a target");
            StorageFault::BadPath
        })
    }

    /// What a folder download has open; `None` for a file.
    fn folder(&self, place: Place) -> Result<Option<Arc<FolderPlace>>, StorageFault> {
        Ok(lock(&self.download(place)?.folder).clone())
    }

    fn place(&self, place: Place) -> Result<OpenPlace, StorageFault> {
        let places = self.0.places.read().unwrap_or_else(PoisonError::into_inner);
        places.open.get(&place).cloned().ok_or(StorageFault::Io)
    }

    fn places_mut(&self) -> RwLockWriteGuard<'_, Places> {
        self.0.places.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_place(&self, place: Place, open: OpenPlace) {
        self.places_mut().set(place, open);
    }

    /// Serves the members of a folder that stands.
    fn add_members(&self, whole: &WholeFolder<OsFolder>) {
        for (entry, listed) in (0..).zip(whole.listing.entries()) {
            if let (Node::File { key, .. }, Some(hashed)) = (listed.node, whole.members.get(&entry)) {
                let (root, path, identity) = (whole.content.clone(), listed.path.clone(), hashed.identity);
                self.0.sources.add(key, Indexed::Below { root, path, identity });
            }
        }
    }

    /// Runs what may take long, with a sum of its progress and a way to stop it.
    fn checking<T>(
        &self,
        place: Place,
        progress: Progress<'_>,
        work: impl FnOnce(Checking<'_>) -> Result<T, StorageFault>,
    ) -> Result<T, StorageFault> {
        let (done, total) = (AtomicU64::new(0), AtomicU64::new(0));
        let cancelled = Arc::new(AtomicBool::new(false));
        lock(&self.0.opening).insert(place, Arc::clone(&cancelled));
        let result = work(Checking {
            threads: self.0.options.hash_threads,
            expect: &|bytes| {
                total.fetch_add(bytes, Ordering::Relaxed);
            },
            progress: &|bytes| {
                let done = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
                progress(done, total.load(Ordering::Relaxed));
            },
            cancelled: &cancelled,
        });
        lock(&self.0.opening).remove(&place);
        result
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
