//! The few operations on files and folders that downloads are made of.
//!
//! Everything goes through an open folder, one name at a time, and no name is ever followed through a symbolic link: so
//! nothing that happens to the folders around it can lead a write elsewhere. `os` does it on the real disk; a
//! test does it in memory and cuts the power.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::ops::Range;

use potluck_core::peer::StorageFault;

use super::source::FileIdentity;

/// What stands under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nature {
    File,
    Folder,
    Symlink,
    Special,
}

/// What the file system says of a file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) nature: Nature,
    pub(crate) identity: FileIdentity,
    /// The owner may execute it.
    pub(crate) executable: bool,
    /// Number of names that it has.
    pub(crate) links: u64,
}

/// An open folder. Cheap to clone.
pub(crate) trait Folder: Clone + fmt::Debug + Send + Sync + Sized + 'static {
    type File: DiskFile;

    /// Opens a folder in this one.
    fn open_folder(&self, name: &OsStr) -> io::Result<Self>;
    /// Makes a folder in this one.
    fn make_folder(&self, name: &OsStr) -> io::Result<()>;
    /// Makes a file to read and write. Fails if anything has the name.
    fn create(&self, name: &OsStr) -> io::Result<Self::File>;
    /// Opens a regular file; `InvalidInput` if it is something else.
    fn open(&self, name: &OsStr, write: bool) -> io::Result<Self::File>;
    /// What stands under a name.
    fn stat(&self, name: &OsStr) -> io::Result<Stat>;
    /// When the folder changed last, in nanoseconds since 1970.
    fn mtime_ns(&self) -> io::Result<i64>;
    /// All names, in no order.
    fn names(&self) -> io::Result<Vec<OsString>>;
    /// Gives a file or folder another name in another folder. Fails with `AlreadyExists` if anything has that name.
    fn rename(&self, from: &OsStr, into: &Self, to: &OsStr) -> io::Result<()>;
    /// Removes a name of a file.
    fn remove(&self, name: &OsStr) -> io::Result<()>;
    /// Removes an empty folder.
    fn remove_folder(&self, name: &OsStr) -> io::Result<()>;
    /// Makes the names in this folder durable.
    fn sync(&self) -> io::Result<()>;
    /// Makes everything below this folder durable: names and bytes.
    fn sync_tree(&self) -> io::Result<()>;
    /// Bytes that can still be written in it.
    fn free_bytes(&self) -> io::Result<u64>;
    /// Sets the time of the last change, in nanoseconds since 1970.
    fn set_mtime(&self, mtime_ns: i64) -> io::Result<()>;
}

/// An open regular file.
pub(crate) trait DiskFile: fmt::Debug + Send + Sync + 'static {
    /// What the file system says of it.
    fn stat(&self) -> io::Result<Stat>;
    /// Fills the buffer, or as much of it as there is before the file's end.
    fn read_full(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes all bytes.
    fn write_full(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Cuts or extends it.
    fn set_length(&self, length: u64) -> io::Result<()>;
    /// Takes space for a span, extending the file if it ends before.
    fn allocate(&self, span: Range<u64>) -> io::Result<()>;
    /// The first span at or after `offset` that may hold something else than zeros; `None` if there is none.
    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>>;
    /// Makes its bytes and its length durable.
    fn sync(&self) -> io::Result<()>;
    /// Locks it against other processes; false if one has it.
    fn try_lock(&self) -> io::Result<bool>;
    /// Lets others lock it.
    fn unlock(&self) -> io::Result<()>;
    /// Sets what a listing says of a file. Whoever may read it may execute it, if it is executable.
    fn set_attributes(&self, executable: bool, mtime_ns: i64) -> io::Result<()>;
}

/// What an error means to whoever asked for the download.
#[expect(clippy::wildcard_enum_match_arm, reason = "the system's own list, and it grows")]
pub(crate) fn fault(error: &io::Error) -> StorageFault {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::StorageFull | Kind::QuotaExceeded => StorageFault::Full,
        Kind::FileTooLarge => StorageFault::TooLarge,
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem => StorageFault::Denied,
        Kind::AlreadyExists => StorageFault::Occupied,
        Kind::NotFound
        | Kind::NotADirectory
        | Kind::IsADirectory
        | Kind::InvalidFilename
        | Kind::InvalidInput
        | Kind::CrossesDevices => StorageFault::BadPath,
        _ if is_name_refused(error) => StorageFault::BadPath,
        _ if is_out_of_files(error) => StorageFault::TooManyOpen,
        _ => StorageFault::Io,
    }
}

/// A symbolic link stood where none is followed, or the file system cannot encode the name.
fn is_name_refused(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::LOOP | Errno::ILSEQ))
}

/// This process, or the whole system, has as many files open as it may.
pub(crate) fn is_out_of_files(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// For `map_err`: tells the log what the system said, and the machine what it means.
pub(crate) fn failed(what: &'static str) -> impl Fn(io::Error) -> StorageFault {
    move |error| {
        let fault = fault(&error);
        // Whoever asked is told what it means; of these only the system knows what it was.
        if fault == StorageFault::Io {
            tracing::warn!(%error, "{what}");
        } else {
            tracing::info!(%error, ?fault, "{what}");
        }
        fault
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn every_error_has_a_meaning() {
        let meanings = [
            (Errno::NOSPC, StorageFault::Full),
            (Errno::DQUOT, StorageFault::Full),
            (Errno::FBIG, StorageFault::TooLarge),
            (Errno::ACCESS, StorageFault::Denied),
            (Errno::PERM, StorageFault::Denied),
            (Errno::ROFS, StorageFault::Denied),
            (Errno::EXIST, StorageFault::Occupied),
            (Errno::NAMETOOLONG, StorageFault::BadPath),
            (Errno::INVAL, StorageFault::BadPath),
            (Errno::NOENT, StorageFault::BadPath),
            (Errno::NOTDIR, StorageFault::BadPath),
            (Errno::ISDIR, StorageFault::BadPath),
            (Errno::LOOP, StorageFault::BadPath),
            (Errno::XDEV, StorageFault::BadPath),
            (Errno::ILSEQ, StorageFault::BadPath),
            (Errno::IO, StorageFault::Io),
            (Errno::MFILE, StorageFault::TooManyOpen),
            (Errno::STALE, StorageFault::Io),
        ];
        for (errno, meaning) in meanings {
            assert_eq!(fault(&errno.into()), meaning, "{errno:?}");
        }
    }
}
