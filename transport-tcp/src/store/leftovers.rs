//! What interrupted downloads left: finding it, and removing it when the person says so.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use potluck_core::content::{Kind, SafeName};
use potluck_core::ids::ContentKey;
use potluck_core::peer::StorageFault;

use super::disk::{Folder, Nature, failed};
use super::os::OsFolder;
use super::part::Spot;
use super::sidecar::Sidecar;
use super::staging;
use super::target::{Target, is_part_name};

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

/// The interrupted downloads in a folder that can be told by their sidecars, by path. What cannot be read is passed over.
#[must_use]
pub fn find_parts(folder: &Path) -> Vec<PartInfo> {
    let Ok(open) = OsFolder::at(folder) else { return Vec::new() };
    let mut parts = Vec::new();
    for name in open.names().unwrap_or_default() {
        if name.as_bytes().ends_with(b".part")
            && is_part_name(&name)
            && let Ok(Some(Sidecar { key, kind, name: label, .. })) = sidecar_of(&open, &name)
        {
            parts.push(PartInfo { key, kind, name: label, path: folder.join(name) });
        }
    }
    parts.sort_by(|a, b| a.path.cmp(&b.path));
    parts
}

/// The sidecar of the part file or staging folder of this name.
fn sidecar_of(folder: &OsFolder, name: &OsStr) -> io::Result<Option<Sidecar>> {
    match folder.stat(name)?.nature {
        Nature::Folder => staging::sidecar(&folder.open_folder(name)?),
        Nature::File => {
            let stem = name.as_bytes().strip_suffix(b".part").unwrap_or_default();
            Sidecar::read(&folder.open(OsStr::from_bytes(&[stem, b".meta"].concat()), false)?)
        }
        Nature::Symlink | Nature::Special => Ok(None),
    }
}

/// Where the part file of a file download lies.
pub(crate) fn file_spot(folder: &OsFolder, target: &Target, key: ContentKey) -> Spot<OsFolder> {
    Spot {
        folder: folder.clone(),
        name: target.part_name(key.id),
        sidecar: (folder.clone(), target.sidecar_name(key.id)),
        locked: true,
        always_sidecar: true,
    }
}

/// Removes what an interrupted download left: only potluck's own part file or staging folder, and its sidecar. Returns
/// whether there was any.
///
/// # Errors
/// [`StorageFault::Locked`]: it is being downloaded; or the disk fails.
pub fn discard(target: &Target, key: ContentKey) -> Result<bool, StorageFault> {
    let folder = match OsFolder::at(target.folder()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        folder => folder.map_err(failed("opening the target's folder"))?,
    };
    let name = target.part_name(key.id);
    match folder.stat(&name) {
        Ok(stat) if stat.nature == Nature::Folder => staging::discard(&folder, &name).map(|()| true),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("looking for a part file")(error))
        }
        _ => file_spot(&folder, target, key).discard(),
    }
}
