//! Disk: where downloads go, and what is served.
//!
//! All functions block and are to be called on [`Workers`](crate::workers::Workers).

mod source;
mod target;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use potluck_core::content::{Kind, Listing, PieceTable, SafeName};
use potluck_core::ids::{ChunkAddr, ContentKey, DownloadId};
use potluck_core::peer::{Opening, Place, StorageFault};

pub use source::{FileIdentity, Source, SourceHandle};
pub use target::Target;

/// How a store works.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Threads that check what is on the disk; 1 for a single-threaded runtime.
    pub hash_threads: usize,
    /// Files of shared contents that are kept open.
    pub open_files: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { hash_threads: std::thread::available_parallelism().map_or(1, usize::from), open_files: 256 }
    }
}

/// Downloads on their places, and the index of what is served. Cheap to clone; all methods may be called from any thread.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: StoreOptions,
}

/// Told of bytes checked, and of bytes to check in all. Called from several threads.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Sync);

impl Store {
    /// An empty store.
    #[must_use]
    pub fn new(options: StoreOptions) -> Self {
        Self(Arc::new(Inner { options }))
    }

    /// Serves a content from here on.
    pub fn add_source(&self, key: ContentKey, source: Source) {
        let _ = (key, source);
    }

    /// Serves a content no longer. A part that is being downloaded goes on being served.
    pub fn remove_source(&self, key: ContentKey) {
        let _ = key;
    }

    /// Opens a content for reading: what was added, and what is being downloaded. `None`: it is not in the index, or its
    /// file is gone or changed.
    #[must_use]
    pub fn source(&self, key: ContentKey) -> Option<SourceHandle> {
        let _ = key;
        None
    }

    /// Says where a download goes. Before any other call for the download.
    pub fn set_target(&self, download: DownloadId, target: Target, kind: Kind, name: SafeName) {
        let _ = (download, target, kind, name, &self.0.options);
    }

    /// Where the download stands, or will stand.
    #[must_use]
    pub fn final_path(&self, download: DownloadId) -> Option<PathBuf> {
        let _ = download;
        None
    }

    /// Performs [`PeerEffect::Open`](potluck_core::peer::PeerEffect::Open).
    ///
    /// # Errors
    /// What is wrong with the place.
    pub fn open(
        &self,
        place: Place,
        key: ContentKey,
        table: Option<Arc<PieceTable>>,
        progress: Progress<'_>,
    ) -> Result<Opening, StorageFault> {
        let _ = (place, key, table, progress);
        Err(StorageFault::Io)
    }

    /// Writes one chunk at its position in an opened place.
    ///
    /// # Errors
    /// What is wrong with the disk, or the place is not open.
    pub fn write_chunk(&self, place: Place, at: ChunkAddr, bytes: &[u8]) -> Result<(), StorageFault> {
        let _ = (place, at, bytes);
        Err(StorageFault::Io)
    }

    /// Performs [`PeerEffect::Reserve`](potluck_core::peer::PeerEffect::Reserve).
    ///
    /// # Errors
    /// Too little space, or the place is not open.
    pub fn reserve(&self, place: Place) -> Result<(), StorageFault> {
        let _ = place;
        Err(StorageFault::Io)
    }

    /// Performs [`PeerEffect::Sync`](potluck_core::peer::PeerEffect::Sync).
    ///
    /// # Errors
    /// It could not be made durable, or the place is not open.
    pub fn sync(&self, place: Place) -> Result<(), StorageFault> {
        let _ = place;
        Err(StorageFault::Io)
    }

    /// Performs [`PeerEffect::Finish`](potluck_core::peer::PeerEffect::Finish). The content is served from its final
    /// path from then on.
    ///
    /// # Errors
    /// It could not be made durable or be put in place; the part stays.
    pub fn finish(&self, place: Place) -> Result<(), StorageFault> {
        let _ = place;
        Err(StorageFault::Io)
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
        let _ = (key, place, progress);
        Err(StorageFault::Io)
    }

    /// Performs [`PeerEffect::ReadListing`](potluck_core::peer::PeerEffect::ReadListing).
    ///
    /// # Errors
    /// The disk fails, or the place is not open.
    pub fn read_listing(&self, download: DownloadId) -> Result<Option<Arc<Listing>>, StorageFault> {
        let _ = download;
        Err(StorageFault::Io)
    }

    /// Performs [`PeerEffect::Release`](potluck_core::peer::PeerEffect::Release). What is finished stays in the index.
    pub fn release(&self, place: Place) {
        let _ = place;
    }
}

/// An interrupted download, as its sidecar tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartInfo {
    /// What it is.
    pub key: ContentKey,
    /// File or folder.
    pub kind: Kind,
    /// Its label.
    pub name: SafeName,
    /// The part file, or the staging folder.
    pub path: PathBuf,
}

/// The interrupted downloads in a folder, by path.
#[must_use]
pub fn find_parts(folder: &Path) -> Vec<PartInfo> {
    let _ = folder;
    Vec::new()
}

/// Removes what an interrupted download left: only potluck's own part file or staging folder, and its sidecar. Returns
/// whether there was any.
///
/// # Errors
/// [`StorageFault::Locked`]: a process is downloading it; or the disk fails.
pub fn discard(target: &Target, key: ContentKey) -> Result<bool, StorageFault> {
    let _ = (target, key);
    Ok(false)
}
