//! Where a download goes, and how its part file is called.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf, absolute};

use potluck_core::content::{SafeName, SafePath, Selection};
use potluck_core::ids::ContentId;

/// Bytes of the target's name that go into the part file's: what potluck adds to them fits into the 255 of a name.
const NAME_BYTES_KEPT: usize = 200;

/// The folder and the final name of a download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    folder: PathBuf,
    name: OsString,
    /// The person asked for a folder by a trailing `/`: it is created with the download.
    create_folder: bool,
    /// Of a folder, what of it goes there.
    select: Selection,
}

impl Target {
    /// Where `--out OUT` puts a content called `name`: an existing folder, or a path that ends in `/` (created when the
    /// download is opened), takes it under its own name; anything else is the target's own path.
    ///
    /// # Errors
    /// The path names no file (`..` at its end), or there is no current folder to start from.
    pub fn new(out: &Path, name: &SafeName) -> io::Result<Self> {
        let ends_in_slash = out.as_os_str().as_bytes().ends_with(b"/");
        let out = if out.as_os_str().is_empty() { Path::new(".") } else { out };
        if ends_in_slash || out.is_dir() {
            return Ok(Self {
                folder: absolute(out)?,
                name: name.as_str().into(),
                create_folder: ends_in_slash,
                select: Selection::default(),
            });
        }
        let path = absolute(out)?;
        match (path.parent(), path.file_name()) {
            (Some(folder), Some(name)) => {
                let (folder, name) = (folder.to_owned(), name.to_owned());
                Ok(Self { folder, name, create_folder: false, select: Selection::default() })
            }
            _ => Err(io::ErrorKind::InvalidFilename.into()),
        }
    }

    /// The final path.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    /// The folder that the final name, and until then the part file, lie in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The final name.
    #[must_use]
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// Where the part file, or the staging folder, of this content lies until it is complete.
    #[must_use]
    pub fn part_path(&self, id: ContentId) -> PathBuf {
        self.folder.join(self.part_name(id))
    }

    /// The same place, for a part of a folder. What was downloaded of the whole folder stays beside it.
    #[must_use]
    pub fn selecting(self, select: &Selection) -> Self {
        Self { select: select.clone(), ..self }
    }

    pub(crate) const fn selection(&self) -> &Selection {
        &self.select
    }

    pub(crate) const fn creates_folder(&self) -> bool {
        self.create_folder
    }

    /// `.<name cut>.<8 hex of the id>.part`: the part file, or the staging folder.
    pub(crate) fn part_name(&self, id: ContentId) -> OsString {
        let [a, b, c, d, ..] = if self.select.is_all() {
            id.0
        } else {
            // Another choice among the same files has a staging folder of its own.
            let mut hasher = blake3::Hasher::new();
            hasher.update(&id.0);
            hasher.update(format!("{:?}", self.select).as_bytes());
            *hasher.finalize().as_bytes()
        };
        let tail = format!(".{a:02x}{b:02x}{c:02x}{d:02x}.part");
        let name = self.name.as_bytes();
        let kept = match self.name.to_str() {
            Some(text) => text.floor_char_boundary(NAME_BYTES_KEPT),
            None => name.len().min(NAME_BYTES_KEPT),
        };
        OsString::from_vec([b".", &name[..kept], tail.as_bytes()].concat())
    }

    /// Is this a part file, or a staging folder, of whatever content, that is to get this final name? Of a long name, which is
    /// cut, that cannot be told.
    pub(crate) fn is_part_of_it(&self, part: &OsStr) -> bool {
        let (part, name) = (part.as_bytes(), self.name.as_bytes());
        name.len() <= NAME_BYTES_KEPT && part.ends_with(b".part") && kept_name(part) == Some(name)
    }
}

/// Is this how a part file, a staging folder or a sidecar is called?
pub(crate) fn is_part_name(name: &OsStr) -> bool {
    kept_name(name.as_bytes()).is_some()
}

/// Is one of a path's names a [part's](is_part_name)? What lies there counts as a leftover: it is neither shared nor part of a
/// folder that is complete.
pub(crate) fn has_part_name(path: &SafePath) -> bool {
    path.as_str().split('/').any(|name| is_part_name(OsStr::new(name)))
}

/// What the name of a part file, a staging folder or a sidecar has of the final name.
fn kept_name(name: &[u8]) -> Option<&[u8]> {
    part_of(OsStr::from_bytes(name)).map(|(kept, _)| kept.as_bytes())
}

/// What the name of a part file, a staging folder or a sidecar has of the final name, and of the id.
pub(crate) fn part_of(name: &OsStr) -> Option<(&OsStr, &str)> {
    let name = name.as_bytes();
    let stem = name.strip_suffix(b".part").or_else(|| name.strip_suffix(b".meta"))?;
    let (kept, [b'.', digits @ ..]) = stem.split_last_chunk::<9>()? else { return None };
    let is_hex = digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    let kept = kept.strip_prefix(b".").filter(|_| is_hex)?;
    Some((OsStr::from_bytes(kept), std::str::from_utf8(digits).ok()?))
}
