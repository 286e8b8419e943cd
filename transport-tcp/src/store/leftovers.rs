//! What interrupted downloads left: finding it, and removing it when the person says so.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use potluck_core::content::{Kind, SafeName};
use potluck_core::ids::ContentKey;
use potluck_core::peer::StorageFault;

use super::disk::{Folder, Nature, failed};
use super::os::OsFolder;
use super::part::Spot;
use super::sidecar::Sidecar;
use super::staging;
use super::target::{Target, is_part_name, part_of};

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

/// The parts in a folder whose sidecars are lost, so that all that can be told of them is in their names: what they have of
/// the final name, and the first eight hex digits of the id.
#[must_use]
pub fn find_untold_parts(folder: &Path) -> Vec<(OsString, String)> {
    let Ok(open) = OsFolder::at(folder) else { return Vec::new() };
    let mut parts = Vec::new();
    for name in open.names().unwrap_or_default() {
        if let Some((kept, digits)) = part_of(&name)
            && name.as_bytes().ends_with(b".part")
            && !matches!(sidecar_of(&open, &name), Ok(Some(_)))
        {
            parts.push((kept.to_owned(), digits.to_owned()));
        }
    }
    parts
}

/// The sidecar of the part file or staging folder of this name.
fn sidecar_of(folder: &OsFolder, name: &OsStr) -> io::Result<Option<Sidecar>> {
    match folder.stat(name)?.nature {
        Nature::Folder => staging::sidecar(&folder.open_folder(name)?),
        Nature::File => Sidecar::read(&folder.open(&sidecar_name(name), false)?),
        Nature::Symlink | Nature::Special => Ok(None),
    }
}

/// Where the part file of a file download lies.
pub(crate) fn file_spot(folder: &OsFolder, target: &Target, key: ContentKey) -> Spot<OsFolder> {
    spot(folder, target.part_name(key.id))
}

/// Fails with [`StorageFault::Locked`] if another content is being downloaded under the same final name: the later of the two
/// would come to know only when all of it is here.
pub(crate) fn check_alone(folder: &OsFolder, target: &Target, key: ContentKey) -> Result<(), StorageFault> {
    let own = target.part_name(key.id);
    for name in folder.names().unwrap_or_default() {
        if name == own || !target.is_part_of_it(&name) {
            continue;
        }
        // What cannot be opened is nobody's download.
        let locked = match folder.stat(&name) {
            Ok(stat) if stat.nature == Nature::Folder => {
                folder.open_folder(&name).is_ok_and(|folder| staging::is_locked(&folder))
            }
            _ => spot(folder, name).is_locked(),
        };
        if locked {
            return Err(StorageFault::Locked);
        }
    }
    Ok(())
}

/// A part file and its sidecar, by the part file's name.
fn spot(folder: &OsFolder, name: OsString) -> Spot<OsFolder> {
    let sidecar = (folder.clone(), sidecar_name(&name));
    Spot { folder: folder.clone(), name, sidecar, locked: true, always_sidecar: true }
}

fn sidecar_name(part: &OsStr) -> OsString {
    let stem = part.as_bytes().strip_suffix(b".part").unwrap_or_default();
    OsString::from_vec([stem, b".meta"].concat())
}

/// Removes what an interrupted download left: only potluck's own part file or staging folder, and its sidecar. Returns
/// whether there was any.
///
/// # Errors
/// [`StorageFault::Locked`]: it is being downloaded; or the disk fails.
pub fn discard(target: &Target, key: ContentKey) -> Result<bool, StorageFault> {
    discard_in(target.folder(), target.part_name(key.id))
}

impl PartInfo {
    /// Removes it: only potluck's own part file or staging folder, and its sidecar. Returns whether it was still there.
    ///
    /// # Errors
    /// [`StorageFault::Locked`]: it is being downloaded; or the disk fails.
    pub fn discard(&self) -> Result<bool, StorageFault> {
        match (self.path.parent(), self.path.file_name()) {
            (Some(folder), Some(name)) => discard_in(folder, name.to_owned()),
            _ => Ok(false),
        }
    }
}

fn discard_in(folder: &Path, name: OsString) -> Result<bool, StorageFault> {
    let folder = match OsFolder::at(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        folder => folder.map_err(failed("opening the target's folder"))?,
    };
    match folder.stat(&name) {
        Ok(stat) if stat.nature == Nature::Folder => staging::discard(&folder, &name).map(|()| true),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("looking for a part file")(error))
        }
        _ => spot(&folder, name).discard(),
    }
}
