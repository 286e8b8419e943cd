//! The real disk.
//!
//! Linux has what this needs in one system call each. Where another system (or a file system) lacks one, a slower way
//! stands behind it: a hard link for the rename that never replaces, a check of the free space for preallocation.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions, TryLockError};
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::disk::{DiskFile, Folder, Nature, Stat};
use super::source::FileIdentity;

/// An open folder of the real disk.
#[derive(Clone, Debug)]
pub(crate) struct OsFolder(Arc<OwnedFd>);

impl OsFolder {
    /// Opens a folder by its path. The path is the user's: symbolic links in it are followed.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(Arc::new(fs::open(path, flags, Mode::empty())?)))
    }
}

/// Opens a regular file by its path, for reading. The path is the user's; its last component is not followed if it is a
/// symbolic link, and a pipe in its place is not waited for.
pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    regular(File::from(fs::open(path, flags, Mode::empty())?))
}

/// What stands at a path. Its last component is not followed if it is a symbolic link.
pub(crate) fn identity_at(path: &Path) -> io::Result<FileIdentity> {
    Ok(stat(&fs::lstat(path)?).identity)
}

fn regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

impl Folder for OsFolder {
    type File = File;

    fn open_folder(&self, name: &OsStr) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self(Arc::new(fs::openat(&self.0, name, flags, Mode::empty())?)))
    }

    fn make_folder(&self, name: &OsStr) -> io::Result<()> {
        Ok(fs::mkdirat(&self.0, name, Mode::from_raw_mode(0o777))?)
    }

    fn create(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(fs::openat(&self.0, name, flags, Mode::from_raw_mode(0o666))?))
    }

    fn open(&self, name: &OsStr, write: bool) -> io::Result<File> {
        let access = if write { OFlags::RDWR } else { OFlags::RDONLY };
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        regular(File::from(fs::openat(&self.0, name, flags, Mode::empty())?))
    }

    fn stat(&self, name: &OsStr) -> io::Result<Stat> {
        Ok(stat(&fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)?))
    }

    fn mtime_ns(&self) -> io::Result<i64> {
        Ok(stat(&fs::fstat(&self.0)?).identity.mtime_ns)
    }

    fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in fs::Dir::read_from(&self.0)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name.to_vec()));
            }
        }
        Ok(names)
    }

    fn rename(&self, from: &OsStr, into: &Self, to: &OsStr) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        match fs::renameat_with(&self.0, from, &into.0, to, fs::RenameFlags::NOREPLACE) {
            // The file system does not know the flag.
            Err(Errno::INVAL | Errno::NOSYS) => {}
            done => return Ok(done?),
        }
        if self.stat(from)?.nature == Nature::Folder {
            // Folders have no hard links; but a rename replaces only an empty folder, never a file, and it is told.
            if into.stat(to).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            return Ok(fs::renameat(&self.0, from, &into.0, to)?);
        }
        fs::linkat(&self.0, from, &into.0, to, AtFlags::empty())?;
        self.remove(from)
    }

    fn remove(&self, name: &OsStr) -> io::Result<()> {
        Ok(fs::unlinkat(&self.0, name, AtFlags::empty())?)
    }

    fn remove_folder(&self, name: &OsStr) -> io::Result<()> {
        Ok(fs::unlinkat(&self.0, name, AtFlags::REMOVEDIR)?)
    }

    fn sync(&self) -> io::Result<()> {
        match fs::fsync(&self.0) {
            // A file system that cannot sync folders keeps their names by itself, or not at all.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(()),
            done => Ok(done?),
        }
    }

    #[cfg(target_os = "linux")]
    fn sync_tree(&self) -> io::Result<()> {
        Ok(fs::syncfs(&self.0)?)
    }

    #[cfg(not(target_os = "linux"))]
    fn sync_tree(&self) -> io::Result<()> {
        for name in self.names()? {
            match self.stat(&name)?.nature {
                Nature::Folder => self.open_folder(&name)?.sync_tree()?,
                Nature::File => self.open(&name, false)?.sync()?,
                Nature::Symlink | Nature::Special => {}
            }
        }
        self.sync()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        free_bytes(&self.0)
    }

    fn set_mtime(&self, mtime_ns: i64) -> io::Result<()> {
        let changed = fs::Timespec {
            tv_sec: mtime_ns.div_euclid(1_000_000_000),
            tv_nsec: mtime_ns.rem_euclid(1_000_000_000) as _,
        };
        let untouched = fs::Timespec { tv_sec: 0, tv_nsec: fs::UTIME_OMIT };
        let times = fs::Timestamps { last_access: untouched, last_modification: changed };
        Ok(fs::futimens(&self.0, &times)?)
    }
}

/// What the file system still takes.
fn free_bytes(at: impl std::os::fd::AsFd) -> io::Result<u64> {
    let disk = fs::fstatvfs(at)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

impl DiskFile for File {
    fn stat(&self) -> io::Result<Stat> {
        Ok(stat(&fs::fstat(self)?))
    }

    fn read_full(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_full(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn allocate(&self, span: Range<u64>) -> io::Result<()> {
        let length = span.end - span.start;
        #[cfg(target_os = "linux")]
        loop {
            match fs::fallocate(self, fs::FallocateFlags::empty(), span.start, length) {
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => break,
                done => return Ok(done?),
            }
        }
        // What is there already may be counted twice; better too little is said early than too late.
        if free_bytes(self)? < length {
            return Err(Errno::NOSPC.into());
        }
        if self.metadata()?.len() < span.end { self.set_len(span.end) } else { Ok(()) }
    }

    #[cfg(target_os = "linux")]
    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let start = match fs::seek(self, fs::SeekFrom::Data(offset)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(None),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return everything_from(self, offset),
            Err(error) => return Err(error.into()),
        };
        Ok(Some(start..fs::seek(self, fs::SeekFrom::Hole(start))?))
    }

    #[cfg(not(target_os = "linux"))]
    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        everything_from(self, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn try_lock(&self) -> io::Result<bool> {
        match Self::try_lock(self) {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => match Errno::from_io_error(&error) {
                // A file system without locks; then nobody has it locked.
                Some(Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOLCK) => Ok(true),
                _ => Err(error),
            },
        }
    }

    fn unlock(&self) -> io::Result<()> {
        Self::unlock(self)
    }

    fn set_attributes(&self, executable: bool, mtime_ns: i64) -> io::Result<()> {
        if executable {
            let mode = self.metadata()?.permissions().mode();
            self.set_permissions(Permissions::from_mode(mode | (mode & 0o444) >> 2))?;
        }
        self.set_modified(time(mtime_ns)?)
    }
}

/// One span to the file's end: where holes cannot be seen, all of it may be data.
fn everything_from(file: &File, offset: u64) -> io::Result<Option<Range<u64>>> {
    let length = file.metadata()?.len();
    Ok((offset < length).then_some(offset..length))
}

fn time(nanoseconds: i64) -> io::Result<SystemTime> {
    let distance = Duration::from_nanos(nanoseconds.unsigned_abs());
    let time = match nanoseconds < 0 {
        true => SystemTime::UNIX_EPOCH.checked_sub(distance),
        false => SystemTime::UNIX_EPOCH.checked_add(distance),
    };
    time.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

fn stat(stat: &fs::Stat) -> Stat {
    let kind = fs::FileType::from_raw_mode(stat.st_mode);
    let nature = if kind.is_file() {
        Nature::File
    } else if kind.is_dir() {
        Nature::Folder
    } else if kind.is_symlink() {
        Nature::Symlink
    } else {
        Nature::Special
    };
    Stat {
        nature,
        // The types of these fields differ among systems.
        #[allow(clippy::unnecessary_cast, clippy::cast_lossless)]
        identity: FileIdentity {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            size: stat.st_size as u64,
            mtime_ns: nanoseconds(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            ctime_ns: nanoseconds(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        },
        executable: stat.st_mode & 0o100 != 0,
        #[allow(clippy::unnecessary_cast, clippy::cast_lossless)]
        links: stat.st_nlink as u64,
    }
}

/// Saturates: a date beyond the year 2262 is as good as another.
const fn nanoseconds(seconds: i64, nanoseconds: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

/// Lets this process open as many files as the system allows it, and returns how many that is. Links, the descriptor cache
/// and the members of a folder share them.
pub fn raise_open_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Without a limit, or where raising it is refused, what there is has to do.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
