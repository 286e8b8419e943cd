//! What is served: contents by key and range, never by path.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::Arc;

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
    /// From what the file system says of a file.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            mtime_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Saturates: a date beyond the year 2262 is as good as another.
pub(crate) const fn nanoseconds(seconds: i64, nanoseconds: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
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

/// An opened source, to read chunks from. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SourceHandle(pub(crate) Opened);

#[derive(Clone, Debug)]
pub(crate) enum Opened {
    /// A file that others may change.
    Shared(Arc<File>, FileIdentity),
    /// A part file: only this process writes to it.
    Part(Arc<File>),
    Memory(Arc<[u8]>),
}

impl SourceHandle {
    /// The file, for `sendfile`. `None`: the bytes are in memory, use [`read_at`](Self::read_at).
    #[must_use]
    pub fn file(&self) -> Option<&File> {
        match &self.0 {
            Opened::Shared(file, _) | Opened::Part(file) => Some(file),
            Opened::Memory(_) => None,
        }
    }

    /// Is the file still what was hashed? Asked before a chunk is sent and again after it.
    #[must_use]
    pub fn unchanged(&self) -> bool {
        match &self.0 {
            Opened::Shared(file, identity) => {
                file.metadata().is_ok_and(|now| FileIdentity::of(&now) == *identity)
            }
            Opened::Part(_) | Opened::Memory(_) => true,
        }
    }

    /// Reads from `offset` on as many bytes as fit into `buffer`; fewer only at the end.
    ///
    /// # Errors
    /// The disk fails.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.0 {
            Opened::Shared(file, _) | Opened::Part(file) => {
                let mut filled = 0;
                while filled < buffer.len() {
                    match file.read_at(&mut buffer[filled..], offset + filled as u64) {
                        Ok(0) => break,
                        Ok(read) => filled += read,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(filled)
            }
            Opened::Memory(bytes) => {
                let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or(&[]);
                let count = rest.len().min(buffer.len());
                buffer[..count].copy_from_slice(&rest[..count]);
                Ok(count)
            }
        }
    }
}
