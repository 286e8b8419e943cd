//! What is served: contents in an index, by key and range, never by path.
//!
//! A shared file stays the user's, who may change it at any time. So each source carries the file's identity at the time it
//! was hashed, and whoever sends a chunk asks before and after it whether the file is still that one. Descriptors are kept
//! in a bounded cache, so that any number of files can be shared.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use potluck_core::content::SafePath;
use potluck_core::ids::ContentKey;

use super::disk::{DiskFile, is_out_of_files};
use super::os::{self, OsFolder};
use super::walk;

/// What tells that a file is still the one that was hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileIdentity {
    /// The file system it lies on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// When its bytes were last changed, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// When its bytes, its names or its rights were last changed, in nanoseconds since 1970. Nobody can set it.
    pub ctime_ns: i64,
}

impl FileIdentity {
    /// Of an open file.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn of(file: &File) -> io::Result<Self> {
        Ok(file.stat()?.identity)
    }

    /// Of whatever stands at a path, without opening it. A symbolic link at its end is not followed.
    ///
    /// # Errors
    /// There is nothing, or the system does not tell.
    pub fn at(path: &Path) -> io::Result<Self> {
        os::identity_at(path)
    }
}

/// Where a content's bytes can be read from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file of the user's.
    File {
        /// Where it is.
        path: PathBuf,
        /// What it was when it was hashed.
        identity: FileIdentity,
    },
    /// Bytes in memory: a folder's listing.
    Memory(Arc<[u8]>),
}

/// A source as the index has it.
#[derive(Clone, Debug)]
pub(crate) enum Indexed {
    Given(Source),
    /// A member of a downloaded folder, which may have got its final name meanwhile.
    Below {
        root: OsFolder,
        path: SafePath,
        identity: FileIdentity,
    },
}

impl Indexed {
    const fn identity(&self) -> Option<FileIdentity> {
        match self {
            Self::Given(Source::File { identity, .. }) | Self::Below { identity, .. } => Some(*identity),
            Self::Given(Source::Memory(_)) => None,
        }
    }
}

/// An opened source, to read chunks from. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SourceHandle(Opened);

#[derive(Clone, Debug)]
enum Opened {
    /// A file that others may change.
    Shared(Arc<File>, FileIdentity),
    /// A part file: only this process writes to it.
    Part(Arc<File>),
    Memory(Arc<[u8]>),
}

impl SourceHandle {
    pub(crate) const fn part(file: Arc<File>) -> Self {
        Self(Opened::Part(file))
    }

    /// The file, for `sendfile`. `None`: the bytes are in memory, use [`read_at`](Self::read_at).
    #[must_use]
    pub fn file(&self) -> Option<&File> {
        match &self.0 {
            Opened::Shared(file, _) | Opened::Part(file) => Some(file),
            Opened::Memory(_) => None,
        }
    }

    /// Is the file still what was hashed? Asked before a chunk is sent and again after it.
    ///
    /// That it was moved, removed or replaced shows, too: all of these change its ctime.
    #[must_use]
    pub fn unchanged(&self) -> bool {
        match &self.0 {
            Opened::Shared(file, identity) => FileIdentity::of(file).is_ok_and(|now| now == *identity),
            Opened::Part(_) | Opened::Memory(_) => true,
        }
    }

    /// Reads from `offset` on as many bytes as fit into `buffer`; fewer only at the end.
    ///
    /// # Errors
    /// The disk fails.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.0 {
            Opened::Shared(file, _) | Opened::Part(file) => file.read_full(offset, buffer),
            Opened::Memory(bytes) => {
                let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or(&[]);
                let count = rest.len().min(buffer.len());
                buffer[..count].copy_from_slice(&rest[..count]);
                Ok(count)
            }
        }
    }
}

/// The index of complete contents, with a cache of open descriptors.
#[derive(Debug)]
pub(crate) struct Sources(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    index: HashMap<ContentKey, Indexed>,
    open: LruCache<ContentKey, SourceHandle>,
}

impl Sources {
    /// Keeps at most `open_files` (at least one) descriptors.
    pub(crate) fn new(open_files: usize) -> Self {
        let capacity = NonZero::new(open_files).unwrap_or(NonZero::<usize>::MIN);
        Self(Mutex::new(Inner { index: HashMap::new(), open: LruCache::new(capacity) }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, key: ContentKey, source: Indexed) {
        let mut inner = self.lock();
        inner.open.pop(&key);
        inner.index.insert(key, source);
    }

    pub(crate) fn remove(&self, key: ContentKey) {
        let mut inner = self.lock();
        inner.open.pop(&key);
        inner.index.remove(&key);
    }

    /// `None`: not in the index, or its file is gone or changed.
    pub(crate) fn open(&self, key: ContentKey) -> Option<SourceHandle> {
        let source = {
            let mut inner = self.lock();
            if let Some(handle) = inner.open.get(&key) {
                return Some(handle.clone());
            }
            inner.index.get(&key)?.clone()
        };
        let opened = open(&source).or_else(|error| {
            if !is_out_of_files(&error) {
                return Err(error);
            }
            // Those in the cache are the ones to spare.
            self.lock().open.clear();
            open(&source)
        });
        let handle = match opened {
            Ok(handle) => SourceHandle(handle),
            Err(error) => {
                tracing::info!(%error, ?source, "a shared file cannot be opened");
                return None;
            }
        };
        if !handle.unchanged() {
            return None;
        }
        if handle.file().is_some() {
            let mut inner = self.lock();
            // It may have been removed, or replaced, while it was opened.
            if inner.index.get(&key).and_then(Indexed::identity) == source.identity() {
                inner.open.put(key, handle.clone());
            }
        }
        Some(handle)
    }
}

fn open(source: &Indexed) -> io::Result<Opened> {
    Ok(match source {
        Indexed::Given(Source::File { path, identity }) => {
            Opened::Shared(Arc::new(os::open_file(path)?), *identity)
        }
        Indexed::Given(Source::Memory(bytes)) => Opened::Memory(Arc::clone(bytes)),
        Indexed::Below { root, path, identity } => {
            Opened::Shared(Arc::new(walk::open_below(root, path)?), *identity)
        }
    })
}
