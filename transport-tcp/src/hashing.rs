//! From files to contents, with all cores.
//!
//! Pieces of one large file are hashed at the same time, and so are many small files. A file must be the same before and
//! after it was read; one that was changed meanwhile is hashed again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use potluck_core::content::{ContentHasher, Geometry, Listing, ListingEntry, ListingFault, Node, PieceTable};
use potluck_core::ids::ContentKey;
use potluck_core::limits::CONTENT_BYTES_MAX;

use crate::scan::{FolderPlan, Skipped, WhySkipped};
use crate::store::check::{self, Checking};
use crate::store::disk::{DiskFile, Folder};
use crate::store::os::{self, OsFolder};
use crate::store::{FileIdentity, walk};

/// How often a file is hashed that changes while it is.
const ATTEMPTS: usize = 3;
/// A longer file is worth all threads at once; shorter ones are hashed one per thread.
const LARGE_BYTES: u64 = 8 * 1024 * 1024;
/// A file changed within this time before it was read might be changed again without its times showing it.
const CLOCK_STEP: Duration = Duration::from_millis(20);
/// The same, where times are kept in whole seconds (or two).
const COARSE_CLOCK_STEP: Duration = Duration::from_secs(2);

/// How to hash.
#[derive(Clone, Copy)]
pub struct Hashing<'a> {
    /// Threads to spread over; 1 works on the caller's.
    pub threads: usize,
    /// Told of bytes hashed since it was last told. Called from several threads.
    pub progress: &'a (dyn Fn(u64) + Sync),
    /// Set from outside to stop.
    pub cancelled: &'a AtomicBool,
    /// Where results are remembered.
    pub cache: Option<&'a dyn HashCache>,
}

/// A hashed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hashed {
    /// What it is.
    pub key: ContentKey,
    /// Its piece table; `None` for a content of one chunk or none.
    pub table: Option<Arc<PieceTable>>,
    /// The file that was hashed.
    pub identity: FileIdentity,
}

/// A hashed folder.
#[derive(Clone, Debug)]
pub struct HashedFolder {
    /// What it is: the listing's key.
    pub key: ContentKey,
    /// The listing's piece table; `None` for a content of one chunk or none.
    pub table: Option<Arc<PieceTable>>,
    /// The listing.
    pub listing: Arc<Listing>,
    /// The listing's bytes: the content itself.
    pub bytes: Arc<[u8]>,
    /// Files that could not be hashed and are left out.
    pub skipped: Vec<Skipped>,
}

/// Why something was not hashed.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// It cannot be read.
    #[error("{}: {error}", .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It was changed while it was read, several times over.
    #[error("{}: changes all the time", .path.display())]
    Changing {
        /// Where.
        path: PathBuf,
    },
    /// Longer than a content can be.
    #[error("{}: longer than {CONTENT_BYTES_MAX} bytes", .path.display())]
    TooLong {
        /// Where.
        path: PathBuf,
    },
    /// The folder cannot be listed.
    #[error(transparent)]
    Listing(#[from] ListingFault),
    /// It was stopped.
    #[error("stopped")]
    Cancelled,
}

/// Remembers the hashes of files that did not change.
pub trait HashCache: Sync {
    /// The hash of the file with this identity.
    fn get(&self, identity: &FileIdentity) -> Option<Hashed>;
    /// Remembers one.
    fn put(&self, hashed: &Hashed);
}

/// Hashes one file.
///
/// # Errors
/// It cannot be read, does not stand still, or hashing was cancelled.
pub fn hash_file(path: &Path, how: Hashing<'_>) -> Result<Hashed, HashError> {
    let failed = |why| match why {
        Failure::Io(error) => HashError::Io { path: path.to_owned(), error },
        Failure::Changing => HashError::Changing { path: path.to_owned() },
        Failure::TooLong => HashError::TooLong { path: path.to_owned() },
        Failure::Cancelled => HashError::Cancelled,
    };
    hash_standing_still(|| os::open_file(path), how).map(|member| member.hashed).map_err(failed)
}

/// Hashes the files of a folder below `root` and makes its listing. `each` is told of every file (its index in the plan)
/// when it is hashed, from several threads, so that it can be served before the rest is.
///
/// # Errors
/// Hashing was cancelled, the folder cannot be opened, or there are too many files. Files that cannot be read are left
/// out, and told.
pub fn hash_folder(
    root: &Path,
    plan: &FolderPlan,
    how: Hashing<'_>,
    each: &(dyn Fn(usize, &Hashed) + Sync),
) -> Result<HashedFolder, HashError> {
    let folder = OsFolder::at(root).map_err(|error| HashError::Io { path: root.to_owned(), error })?;
    let members = hash_members(&folder, plan, how, each)?;
    let mut entries = Vec::with_capacity(members.len() + plan.empty_folders.len());
    let mut skipped = Vec::new();
    for (file, member) in plan.files.iter().zip(members) {
        match member {
            Ok(member) => entries.push(ListingEntry { path: file.path.clone(), node: member.node() }),
            Err(why) => skipped.push(Skipped { path: root.join(file.path.as_str()), why }),
        }
    }
    let listing = plan.listing(entries)?;
    let bytes: Arc<[u8]> = listing.encode().into();
    let (key, table) = hash_bytes(&bytes);
    Ok(HashedFolder { key, table, listing: Arc::new(listing), bytes, skipped })
}

/// Hashes bytes in memory.
#[must_use]
pub fn hash_bytes(bytes: &[u8]) -> (ContentKey, Option<Arc<PieceTable>>) {
    let hashed = Geometry::new(bytes.len() as u64).and_then(|geometry| {
        let mut hasher = ContentHasher::new(geometry);
        hasher.update(bytes);
        hasher.finish()
    });
    match hashed {
        Some((key, table)) => (key, table.map(Arc::new)),
        None => unreachable!("memory holds no more than a content, and all of it was hashed"),
    }
}

impl FolderPlan {
    /// The listing of these files and the plan's folders.
    pub(crate) fn listing(&self, mut entries: Vec<ListingEntry>) -> Result<Listing, ListingFault> {
        let folders = self.empty_folders.iter();
        entries.extend(folders.map(|(path, mtime_ns)| ListingEntry {
            path: path.clone(),
            node: Node::Folder { mtime_ns: *mtime_ns },
        }));
        Ok(Listing::new(entries)?.with_folder_times(|path| self.folder_times.get(path).copied()))
    }
}

/// A hashed file as a member of a folder.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) hashed: Hashed,
    executable: bool,
}

impl Member {
    pub(crate) const fn node(&self) -> Node {
        let Hashed { key, identity, .. } = self.hashed;
        Node::File { key, executable: self.executable, mtime_ns: identity.mtime_ns }
    }
}

/// Hashes the files of a plan; the results are in the plan's order.
pub(crate) fn hash_members<D: Folder>(
    root: &D,
    plan: &FolderPlan,
    how: Hashing<'_>,
    each: &(dyn Fn(usize, &Hashed) + Sync),
) -> Result<Vec<Result<Member, WhySkipped>>, HashError> {
    let results = Mutex::new(vec![Err(WhySkipped::Changing); plan.files.len()]);
    let hash = |index: usize, threads: usize| {
        let path = &plan.files[index].path;
        let result = match hash_standing_still(|| walk::open_below(root, path), Hashing { threads, ..how }) {
            Ok(member) => {
                each(index, &member.hashed);
                Ok(member)
            }
            Err(Failure::Io(error)) => Err(WhySkipped::Unreadable(error.kind())),
            Err(Failure::Changing) => Err(WhySkipped::Changing),
            Err(Failure::TooLong) => Err(WhySkipped::TooLong),
            Err(Failure::Cancelled) => return Err(io::ErrorKind::Interrupted.into()),
        };
        results.lock().unwrap_or_else(PoisonError::into_inner)[index] = result;
        Ok(())
    };
    let (large, small): (Vec<usize>, Vec<usize>) =
        (0..plan.files.len()).partition(|index| plan.files[*index].identity.size > LARGE_BYTES);
    let next = AtomicUsize::new(0);
    let hash_small = || {
        while let Some(index) = small.get(next.fetch_add(1, Ordering::Relaxed)) {
            hash(*index, 1)?;
        }
        Ok(())
    };
    // The only error is to have been interrupted.
    check::spread(how.threads.min(small.len()), hash_small).map_err(|_| HashError::Cancelled)?;
    for index in large {
        hash(index, how.threads).map_err(|_: io::Error| HashError::Cancelled)?;
    }
    Ok(results.into_inner().unwrap_or_else(PoisonError::into_inner))
}

enum Failure {
    Io(io::Error),
    Changing,
    TooLong,
    Cancelled,
}

/// Hashes what `open` opens, until it is the same file before and after.
fn hash_standing_still<F: DiskFile>(
    open: impl Fn() -> io::Result<F>,
    how: Hashing<'_>,
) -> Result<Member, Failure> {
    let checking =
        Checking { threads: how.threads, expect: &|_| (), progress: how.progress, cancelled: how.cancelled };
    for _ in 0..ATTEMPTS {
        if how.cancelled.load(Ordering::Relaxed) {
            return Err(Failure::Cancelled);
        }
        let file = open().map_err(Failure::Io)?;
        let before = file.stat().map_err(Failure::Io)?;
        let identity = before.identity;
        if identity.size > CONTENT_BYTES_MAX {
            return Err(Failure::TooLong);
        }
        let executable = before.executable;
        if let Some(hashed) = how.cache.and_then(|cache| cache.get(&identity)) {
            (how.progress)(identity.size);
            return Ok(Member { hashed, executable });
        }
        let begun = SystemTime::now();
        let found = check::identify(&file, identity.size, checking).map_err(|error| {
            if error.kind() == io::ErrorKind::Interrupted { Failure::Cancelled } else { Failure::Io(error) }
        })?;
        let Some((key, table)) = found else { continue };
        if file.stat().map_err(Failure::Io)? == before {
            let hashed = Hashed { key, table: table.map(Arc::new), identity };
            if let Some(cache) = how.cache
                && is_settled(&identity, begun)
            {
                cache.put(&hashed);
            }
            return Ok(Member { hashed, executable });
        }
    }
    Err(Failure::Changing)
}

/// Would a change after this moment show in the file's times?
fn is_settled(identity: &FileIdentity, moment: SystemTime) -> bool {
    let coarse = identity.ctime_ns % 1_000_000_000 == 0;
    let step = if coarse { COARSE_CLOCK_STEP } else { CLOCK_STEP };
    let Ok(moment) = moment.duration_since(SystemTime::UNIX_EPOCH) else { return false };
    let changed = Duration::from_nanos(u64::try_from(identity.ctime_ns).unwrap_or(0));
    moment.checked_sub(changed).is_some_and(|age| age >= step)
}

#[cfg(test)]
mod tests;
