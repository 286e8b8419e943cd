//! What there is to share below a path.
//!
//! A folder is taken by regular files and empty folders. Symbolic links are not followed, special files and potluck's own
//! part files are left out, and all of that is told. A name that no peer could receive refuses the folder whole: shared
//! without it, it would be another folder.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use potluck_core::content::{NameFault, SafeName, SafePath};

use crate::store::disk::{Folder, Nature};
use crate::store::os::{self, OsFolder};
use crate::store::{FileIdentity, is_part_name};

/// What was found at a path.
#[derive(Clone, Debug)]
pub struct ScanPlan {
    /// The path, made absolute, without symbolic links.
    pub root: PathBuf,
    /// The last component of the path as it was given: the label it is shared under.
    pub name: SafeName,
    /// What it is.
    pub found: Found,
}

impl ScanPlan {
    /// What every file in it was when it was seen; to be looked up in a cache of hashes.
    #[must_use]
    pub fn identities(&self) -> Vec<FileIdentity> {
        match &self.found {
            Found::File(identity) => vec![*identity],
            Found::Folder(plan) => plan.files.iter().map(|file| file.identity).collect(),
        }
    }

    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match &self.found {
            Found::File(identity) => identity.size,
            Found::Folder(plan) => plan.bytes(),
        }
    }
}

/// A file or a folder.
#[derive(Clone, Debug)]
pub enum Found {
    /// A regular file.
    File(FileIdentity),
    /// A folder with what is in it.
    Folder(FolderPlan),
}

/// The contents of a folder that is to be shared.
#[derive(Clone, Debug, Default)]
pub struct FolderPlan {
    /// Every regular file below it, ordered by path.
    pub files: Vec<PlannedFile>,
    /// Every folder below it of which nothing is listed, with its mtime in nanoseconds since 1970.
    pub empty_folders: Vec<(SafePath, i64)>,
    /// The mtime of every other folder below it, and of the folder itself (the empty path).
    pub folder_times: HashMap<String, i64>,
    /// What was left out.
    pub skipped: Vec<Skipped>,
}

impl FolderPlan {
    /// Bytes of all files. Three sparse ones can be more than a number holds.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.identity.size))
    }

    /// Names and identities of all that is in it, hashed: another hash, if any of it is another.
    pub(crate) fn look(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        for file in &self.files {
            let id = &file.identity;
            hasher.update(file.path.as_str().as_bytes());
            for number in [id.device, id.inode, id.size, id.mtime_ns as u64, id.ctime_ns as u64] {
                hasher.update(&number.to_le_bytes());
            }
        }
        for (path, mtime_ns) in &self.empty_folders {
            hasher.update(path.as_str().as_bytes()).update(&mtime_ns.to_le_bytes());
        }
        hasher.finalize()
    }
}

/// A regular file below a folder.
#[derive(Clone, Debug)]
pub struct PlannedFile {
    /// Relative to the folder.
    pub path: SafePath,
    /// What it was when it was seen.
    pub identity: FileIdentity,
    /// Its owner may execute it.
    pub executable: bool,
}

/// Something that is not shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Where it is.
    pub path: PathBuf,
    /// Why.
    pub why: WhySkipped,
}

/// Why something is not shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WhySkipped {
    /// Symbolic links are not followed.
    #[error("a symbolic link")]
    Symlink,
    /// A device, pipe or socket.
    #[error("not a regular file")]
    Special,
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(std::io::ErrorKind),
    /// It did not stand still while it was hashed.
    #[error("changes all the time")]
    Changing,
    /// Longer than a content can be.
    #[error("too long")]
    TooLong,
    /// potluck's own: what is there of a download that has not finished.
    #[error("an unfinished download")]
    Part,
}

/// Why a path cannot be shared.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The path cannot be read.
    #[error("{}: {error}", .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// Neither a regular file nor a folder.
    #[error("{}: neither a file nor a folder", .path.display())]
    Special {
        /// Where.
        path: PathBuf,
    },
    /// It led elsewhere when it was first shared.
    #[error("{}: a symbolic link leads it elsewhere by now", .path.display())]
    Led {
        /// Where.
        path: PathBuf,
    },
    /// A name that nobody could receive. The folder is refused whole.
    #[error("{}: {fault}", .path.display())]
    Name {
        /// Where.
        path: PathBuf,
        /// What is wrong with the name.
        fault: NameFault,
    },
    /// A name that is not UTF-8. The folder is refused whole.
    #[error("{}: the name is not UTF-8", .path.display())]
    NotUtf8 {
        /// Where.
        path: PathBuf,
    },
}

/// Looks at a path: a file, or a folder with every regular file below it. Follows no symbolic link below the path.
///
/// # Errors
/// The path cannot be shared.
pub fn scan(path: &Path) -> Result<ScanPlan, ScanError> {
    let io = |error| ScanError::Io { path: path.to_owned(), error };
    let root = path.canonicalize().map_err(io)?;
    // A symbolic link that the person names goes by its own name; `.` and `..` by that of what they mean.
    let name =
        safe_name(path.file_name().or_else(|| root.file_name()).unwrap_or_default(), || path.to_owned())?;
    let metadata = root.metadata().map_err(io)?;
    let found = if metadata.is_dir() {
        Found::Folder(scan_folder(&OsFolder::at(&root).map_err(io)?, &root)?)
    } else if metadata.is_file() {
        Found::File(os::open_file(&root).and_then(|file| FileIdentity::of(&file)).map_err(io)?)
    } else {
        return Err(ScanError::Special { path: path.to_owned() });
    };
    Ok(ScanPlan { root, name, found })
}

fn safe_name(name: &OsStr, path: impl Fn() -> PathBuf) -> Result<SafeName, ScanError> {
    let name = name.to_str().ok_or_else(|| ScanError::NotUtf8 { path: path() })?;
    SafeName::parse(name).map_err(|fault| ScanError::Name { path: path(), fault })
}

/// Looks at what lies below an open folder. `shown` is its path, for messages.
pub(crate) fn scan_folder<D: Folder>(root: &D, shown: &Path) -> Result<FolderPlan, ScanError> {
    let mut scan = Scan { shown, plan: FolderPlan::default(), waiting: Vec::new() };
    let listed = match scan.look_into(root, None)? {
        Ok(_) => root.mtime_ns(),
        Err(error) => Err(error),
    };
    let mtime_ns = listed.map_err(|error| ScanError::Io { path: shown.to_owned(), error })?;
    scan.plan.folder_times.insert(String::new(), mtime_ns);
    while let Some(Waiting { parent, name, path, mtime_ns }) = scan.waiting.pop() {
        let listed = match parent.open_folder(&name) {
            Ok(folder) => scan.look_into(&folder, Some(&path))?,
            Err(error) => Err(error),
        };
        match listed {
            Ok(0) => scan.plan.empty_folders.push((path, mtime_ns)),
            Ok(_) => drop(scan.plan.folder_times.insert(path.as_str().to_owned(), mtime_ns)),
            Err(error) => scan.skip(shown.join(path.as_str()), WhySkipped::Unreadable(error.kind())),
        }
    }
    let mut plan = scan.plan;
    plan.files.sort_by(|a, b| a.path.cmp(&b.path));
    plan.empty_folders.sort_by(|a, b| a.0.cmp(&b.0));
    plan.skipped.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(plan)
}

struct Scan<'a, D> {
    shown: &'a Path,
    plan: FolderPlan,
    waiting: Vec<Waiting<D>>,
}

/// A folder to be looked into, as a name in an open one: so few are open at a time.
struct Waiting<D> {
    parent: D,
    name: OsString,
    path: SafePath,
    mtime_ns: i64,
}

impl<D: Folder> Scan<'_, D> {
    /// Takes in what lies in one folder, and returns how much of it is to be listed. Fails on a refused name; a folder that
    /// cannot be read is the inner error.
    fn look_into(
        &mut self,
        folder: &D,
        path: Option<&SafePath>,
    ) -> Result<std::io::Result<usize>, ScanError> {
        let names = match folder.names() {
            Ok(names) => names,
            Err(error) => return Ok(Err(error)),
        };
        let mut listed = 0;
        for name in names {
            let shown = || self.shown.join(path.map_or("", SafePath::as_str)).join(&name);
            if is_part_name(&name) {
                self.skip(shown(), WhySkipped::Part);
                continue;
            }
            let stat = match folder.stat(&name) {
                Ok(stat) => stat,
                // It was removed meanwhile.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => {
                    self.skip(shown(), WhySkipped::Unreadable(error.kind()));
                    continue;
                }
            };
            let why = match stat.nature {
                Nature::File | Nature::Folder => None,
                Nature::Symlink => Some(WhySkipped::Symlink),
                Nature::Special => Some(WhySkipped::Special),
            };
            if let Some(why) = why {
                self.skip(shown(), why);
                continue;
            }
            let safe = safe_name(&name, shown)?;
            let inner = path.map_or_else(
                || safe.as_str().to_owned(),
                |path| format!("{}/{}", path.as_str(), safe.as_str()),
            );
            let inner = SafePath::parse(&inner).map_err(|fault| ScanError::Name { path: shown(), fault })?;
            listed += 1;
            if stat.nature == Nature::File {
                let executable = stat.executable;
                self.plan.files.push(PlannedFile { path: inner, identity: stat.identity, executable });
            } else {
                let (parent, mtime_ns) = (folder.clone(), stat.identity.mtime_ns);
                self.waiting.push(Waiting { parent, name, path: inner, mtime_ns });
            }
        }
        Ok(Ok(listed))
    }

    fn skip(&mut self, path: PathBuf, why: WhySkipped) {
        self.plan.skipped.push(Skipped { path, why });
    }
}

#[cfg(test)]
mod tests;
