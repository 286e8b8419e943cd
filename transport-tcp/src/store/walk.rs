//! Ways through folders that cannot be led elsewhere: one open folder at a time, through no symbolic link.

use std::ffi::OsStr;
use std::io;

use potluck_core::content::SafePath;

use super::disk::{Folder, Nature};
use super::part::removed;

/// The folder that a path's last name lies in, and that name. `make` makes the folders that are missing.
pub(crate) fn parent<'a, D: Folder>(root: &D, path: &'a SafePath, make: bool) -> io::Result<(D, &'a OsStr)> {
    let mut folder = root.clone();
    let mut names = path.names().map(OsStr::new);
    // A path has at least one name.
    let mut name = names.next().unwrap_or_default();
    for next in names {
        folder = match folder.open_folder(name) {
            Err(error) if make && error.kind() == io::ErrorKind::NotFound => make_folder(&folder, name)?,
            opened => opened?,
        };
        name = next;
    }
    Ok((folder, name))
}

/// Opens a regular file below a folder, for reading.
pub(crate) fn open_below<D: Folder>(root: &D, path: &SafePath) -> io::Result<D::File> {
    let (folder, name) = parent(root, path, false)?;
    folder.open(name, false)
}

/// Makes a folder, unless it is there, and opens it.
pub(crate) fn make_folder<D: Folder>(folder: &D, name: &OsStr) -> io::Result<D> {
    match folder.make_folder(name) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => folder.open_folder(name),
    }
}

/// Removes what has this name, with everything below it; returns whether there was anything.
pub(crate) fn remove_tree<D: Folder>(folder: &D, name: &OsStr) -> io::Result<bool> {
    let stat = match folder.stat(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        stat => stat?,
    };
    if stat.nature != Nature::Folder {
        return removed(folder.remove(name));
    }
    let inner = folder.open_folder(name)?;
    for name in inner.names()? {
        remove_tree(&inner, &name)?;
    }
    removed(folder.remove_folder(name))
}
