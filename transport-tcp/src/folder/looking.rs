//! A look at what is in a folder, cheap enough to tell whether it is another than before.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::is_hidden;
use crate::scan::{Found, scan};

/// What something looked like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) nature: Nature,
    /// Of a file its length, of a folder those of its files.
    pub(super) bytes: u64,
    /// Of a file, when its bytes were last changed.
    modified: Option<SystemTime>,
    /// Identities (device, inode, lengths and times) of it and all that is in it, hashed.
    identity: blake3::Hash,
}

impl Look {
    /// Was the file changed less than so long ago?
    pub(super) fn is_newer_than(&self, age: Duration) -> bool {
        self.modified.is_some_and(|at| at.elapsed().is_ok_and(|passed| passed < age))
    }
}

/// What something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nature {
    File,
    Folder,
    Symlink,
}

/// Looks at one path; a device, a pipe or a socket is as good as absent.
pub(super) fn look_at(path: &Path) -> io::Result<Look> {
    let meta = std::fs::symlink_metadata(path)?;
    let mut hasher = blake3::Hasher::new();
    let numbers = [meta.dev(), meta.ino(), meta.size(), meta.mtime() as u64, meta.mtime_nsec() as u64];
    for number in numbers.into_iter().chain([meta.ctime() as u64, meta.ctime_nsec() as u64]) {
        hasher.update(&number.to_le_bytes());
    }
    let kind = meta.file_type();
    let (nature, bytes) = if kind.is_file() {
        (Nature::File, meta.size())
    } else if kind.is_symlink() {
        (Nature::Symlink, 0)
    } else if kind.is_dir() {
        // A folder that cannot be shared looks the same until it changes itself.
        (Nature::Folder, scan(path).map_or(0, |plan| look_in(&plan.found, &mut hasher)))
    } else {
        return Err(io::ErrorKind::NotFound.into());
    };
    let modified = meta.modified().ok().filter(|_| nature == Nature::File);
    Ok(Look { nature, bytes, modified, identity: hasher.finalize() })
}

/// Hashes what is in a folder; returns the bytes of its files.
fn look_in(found: &Found, hasher: &mut blake3::Hasher) -> u64 {
    let Found::Folder(folder) = found else { return 0 };
    hasher.update(folder.look().as_bytes());
    folder.bytes()
}

/// What is visible in a folder, at a glance: name, whether it is a folder (`None`: a link), and the bytes of a file.
pub(super) fn names_in(dir: &Path) -> io::Result<Vec<(OsString, Option<bool>, u64)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)?.flatten().filter(|entry| !is_hidden(&entry.file_name())) {
        let Ok(kind) = entry.file_type() else { continue };
        let is_folder = (!kind.is_symlink()).then(|| kind.is_dir());
        let bytes = entry.metadata().map_or(0, |meta| if kind.is_file() { meta.len() } else { 0 });
        if kind.is_file() || kind.is_dir() || kind.is_symlink() {
            found.push((entry.file_name(), is_folder, bytes));
        }
    }
    Ok(found)
}

/// Looks at everything visible in a folder.
pub(super) fn look_into(dir: &Path) -> io::Result<BTreeMap<OsString, Look>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        if !is_hidden(&name)
            && let Ok(look) = look_at(&dir.join(&name))
        {
            found.insert(name, look);
        }
    }
    Ok(found)
}
