//! What there is to share below a path.

use std::path::{Path, PathBuf};

use potluck_core::content::{NameFault, SafeName, SafePath};

use crate::store::FileIdentity;

/// What was found at a path.
#[derive(Clone, Debug)]
pub struct ScanPlan {
    /// The path, made absolute.
    pub root: PathBuf,
    /// Its last component: the label it is shared under.
    pub name: SafeName,
    /// What it is.
    pub found: Found,
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
    /// Every folder below it that has nothing in it, with its mtime in nanoseconds since 1970.
    pub empty_folders: Vec<(SafePath, i64)>,
    /// What was left out.
    pub skipped: Vec<Skipped>,
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
    Err(ScanError::Special { path: path.to_owned() })
}
