//! A folder as a content: its bytes are the canonical listing of what lies in it, so that two peers who share equal
//! folders share one content.
//!
//! Integers are little-endian. Entries stand in the order of their paths ([`SafePath`]'s: name by name, each by its
//! bytes).
//!
//! ```text
//! magic      16 bytes  "potluck listing1"
//! count      u32       number of entries
//! then each entry:
//!   tag      u8        0: file, 1: executable file, 2: empty folder
//!   mtime    i64       nanoseconds since 1970-01-01 00:00 UTC
//!   path     u16, then so many bytes of UTF-8
//!   length   u64       bytes of the file        (not of a folder)
//!   id       32 bytes  the file's content id    (not of a folder)
//! then, or nothing:
//!   mtimes   i64 each  of the folder itself, and of every folder that entries lie in, in the order of their paths
//! ```
//!
//! Only leaves are listed: files, and folders with nothing in them. No entry lies below another, no path stands
//! twice; anything else is refused whole.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use super::{Escaped, NameFault, NameWarning, SafePath, portability};
use crate::ids::{ContentId, ContentKey};
use crate::limits::{LISTING_BYTES_MAX, LISTING_ENTRIES_MAX, PATH_BYTES_MAX};

/// The first bytes of every listing.
const MAGIC: [u8; 16] = *b"potluck listing1";
/// Bytes of the shortest entry: an empty folder with a name of one byte.
const ENTRY_BYTES_MIN: usize = 1 + 8 + 2 + 1;

const TAG_FILE: u8 = 0;
const TAG_EXECUTABLE: u8 = 1;
const TAG_FOLDER: u8 = 2;

/// What lies in a folder, checked and in canonical order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked", into = "Unchecked")]
pub struct Listing {
    /// Sorted by path; no entry lies below another.
    entries: Vec<ListingEntry>,
    /// Bytes of all files.
    total_bytes: u64,
    /// Last change of each of [`folder_paths`](Self::folder_paths); or nothing, where that is not told.
    folder_times: Vec<i64>,
}

/// A listing that was not looked at yet.
#[derive(Serialize, Deserialize)]
struct Unchecked {
    entries: Vec<ListingEntry>,
    folder_times: Vec<i64>,
}

/// One leaf of a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingEntry {
    /// Where it lies, relative to the folder.
    pub path: SafePath,
    /// What it is.
    pub node: Node,
}

impl ListingEntry {
    /// Bytes of the file; none of a folder.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        match self.node {
            Node::File { key, .. } => key.length,
            Node::Folder { .. } => 0,
        }
    }
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Node {
    /// A regular file.
    File {
        /// Its bytes.
        key: ContentKey,
        /// Whether its owner may execute it.
        executable: bool,
        /// Last change, in nanoseconds since 1970-01-01 00:00 UTC.
        mtime_ns: i64,
    },
    /// A folder with nothing in it.
    Folder {
        /// Last change, in nanoseconds since 1970-01-01 00:00 UTC.
        mtime_ns: i64,
    },
}

/// Why bytes or entries are not a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ListingFault {
    /// The magic is missing.
    #[error("these bytes are no folder listing")]
    NotAListing,
    /// More entries, or more bytes, than a listing may have.
    #[error(
        "the folder has too many entries (at most {LISTING_ENTRIES_MAX}, in {LISTING_BYTES_MAX} bytes of listing)"
    )]
    TooMany,
    /// The bytes end within an entry.
    #[error("the folder listing is cut short")]
    CutShort,
    /// Bytes follow the last entry.
    #[error("the folder listing is followed by {0} bytes")]
    Trailing(usize),
    /// An entry is neither file nor folder.
    #[error("entry {entry} of the folder listing is of unknown kind {tag}")]
    UnknownTag {
        /// Index of the entry.
        entry: u32,
        /// Its tag.
        tag: u8,
    },
    /// A path is refused.
    #[error("the folder contains a refused path, `{path}`: {fault}", path = Escaped(path))]
    BadPath {
        /// The path as it stands in the listing, invalid UTF-8 replaced; at most [`PATH_BYTES_MAX`] bytes of it.
        path: String,
        /// What is wrong with it.
        fault: PathFault,
    },
    /// A path stands out of order.
    #[error("the folder listing is not sorted at `{0}`")]
    Unsorted(SafePath),
    /// A path stands twice.
    #[error("the folder lists `{0}` twice")]
    Twice(SafePath),
    /// Something lies below a file, or below a folder that is listed as empty.
    #[error("the folder lists `{inner}`, which lies below its entry `{outer}`")]
    Below {
        /// The entry that is a leaf.
        outer: SafePath,
        /// The entry below it.
        inner: SafePath,
    },
    /// A file's length is none that a content can have, or all lengths together are no number.
    #[error("`{0}` has a length that no file can have")]
    BadLength(SafePath),
}

impl ListingFault {
    /// The path that is at fault, as it stands in the listing: it is foreign text.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::BadPath { path, .. } => Some(path),
            Self::Unsorted(path) | Self::Twice(path) | Self::BadLength(path) => Some(path.as_str()),
            Self::Below { inner, .. } => Some(inner.as_str()),
            Self::NotAListing
            | Self::TooMany
            | Self::CutShort
            | Self::Trailing(_)
            | Self::UnknownTag { .. } => None,
        }
    }
}

/// Why a path in a listing is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum PathFault {
    /// It breaks a rule for names.
    #[error(transparent)]
    Name(#[from] NameFault),
    /// It is not UTF-8.
    #[error("it is not UTF-8")]
    NotUtf8,
    /// The store keeps a name in it for what is not complete.
    #[error("a name is one that unfinished downloads have")]
    Unfinished,
}

/// Two paths of a listing (or folders on the way to them) that a file system takes for one if it ignores case or
/// normalises Unicode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collision {
    /// The one that is listed first.
    pub first: String,
    /// The other.
    pub second: String,
}

impl Listing {
    /// A listing of these entries, in any order.
    ///
    /// # Errors
    /// Too many, a path twice, an entry below another, or an impossible length.
    pub fn new(mut entries: Vec<ListingEntry>) -> Result<Self, ListingFault> {
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Self::sorted(entries)
    }

    /// Checks entries that should be in order.
    fn sorted(entries: Vec<ListingEntry>) -> Result<Self, ListingFault> {
        if entries.len() > LISTING_ENTRIES_MAX || encoded_bytes(&entries) > LISTING_BYTES_MAX {
            return Err(ListingFault::TooMany);
        }
        for (before, entry) in entries.iter().zip(entries.iter().skip(1)) {
            match before.path.cmp(&entry.path) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => return Err(ListingFault::Twice(entry.path.clone())),
                std::cmp::Ordering::Greater => return Err(ListingFault::Unsorted(entry.path.clone())),
            }
            // What lies below an entry would follow it at once, in this order.
            if before.path.contains(&entry.path) {
                return Err(ListingFault::Below { outer: before.path.clone(), inner: entry.path.clone() });
            }
        }
        let total_bytes = entries.iter().try_fold(0_u64, |total, entry| match entry.node {
            Node::Folder { .. } => Ok(total),
            Node::File { key, .. } => total
                .checked_add(key.length)
                .filter(|_| key.is_plausible())
                .ok_or_else(|| ListingFault::BadLength(entry.path.clone())),
        })?;
        Ok(Self { entries, total_bytes, folder_times: Vec::new() })
    }

    /// The same with the times of the folders that entries lie in: `time` tells that of the folder itself for the empty
    /// path. If it does not know one of them, or there is no room for them, none is told.
    #[must_use]
    pub fn with_folder_times(self, time: impl Fn(&str) -> Option<i64>) -> Self {
        let times: Option<Vec<i64>> = self.folder_paths().into_iter().map(time).collect();
        let fits = |times: &Vec<i64>| encoded_bytes(&self.entries) + 8 * times.len() <= LISTING_BYTES_MAX;
        let folder_times = times.filter(fits).unwrap_or_default();
        Self { folder_times, ..self }
    }

    /// The folders that entries lie in, the folder itself first (as the empty path), in the order of their paths.
    fn folder_paths(&self) -> Vec<&str> {
        let mut paths = vec![""];
        let mut before = "";
        for entry in &self.entries {
            let path = entry.path.as_str();
            let shared = shared_names_bytes(before, path);
            before = path;
            let ends = path.match_indices('/').map(|(at, _)| at);
            paths.extend(ends.filter(|end| *end > shared).map(|end| &path[..end]));
        }
        paths
    }

    /// Last change of the folder itself (the empty path) and of each folder that entries lie in, in nanoseconds since
    /// 1970-01-01 00:00 UTC; nothing, where that is not told.
    pub fn folder_times(&self) -> impl Iterator<Item = (&str, i64)> + '_ {
        let paths = if self.folder_times.is_empty() { Vec::new() } else { self.folder_paths() };
        paths.into_iter().zip(self.folder_times.iter().copied())
    }

    /// The listing of those entries for which `wanted` holds.
    #[must_use]
    pub fn only(&self, wanted: impl FnMut(&ListingEntry) -> bool) -> Self {
        let mut wanted = wanted;
        let entries: Vec<_> = self.entries.iter().filter(|entry| wanted(entry)).cloned().collect();
        // A part of a sum that is a number is one.
        let total_bytes = entries.iter().map(ListingEntry::bytes).sum();
        let times: BTreeMap<&str, i64> = self.folder_times().collect();
        let only = Self { entries, total_bytes, folder_times: Vec::new() };
        if times.is_empty() { only } else { only.with_folder_times(|path| times.get(path).copied()) }
    }

    /// The entries, sorted by path.
    #[must_use]
    pub fn entries(&self) -> &[ListingEntry] {
        &self.entries
    }

    /// Bytes of all files together.
    #[must_use]
    pub const fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// The canonical bytes: the content.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(encoded_bytes(&self.entries) + 8 * self.folder_times.len());
        out.extend_from_slice(&MAGIC);
        // At most LISTING_ENTRIES_MAX; a path at most PATH_BYTES_MAX.
        out.extend_from_slice(&(self.entries.len() as u32).to_le_bytes());
        for entry in &self.entries {
            let (tag, mtime_ns) = match entry.node {
                Node::File { executable: false, mtime_ns, .. } => (TAG_FILE, mtime_ns),
                Node::File { executable: true, mtime_ns, .. } => (TAG_EXECUTABLE, mtime_ns),
                Node::Folder { mtime_ns } => (TAG_FOLDER, mtime_ns),
            };
            out.push(tag);
            out.extend_from_slice(&mtime_ns.to_le_bytes());
            let path = entry.path.as_str();
            out.extend_from_slice(&(path.len() as u16).to_le_bytes());
            out.extend_from_slice(path.as_bytes());
            if let Node::File { key, .. } = entry.node {
                out.extend_from_slice(&key.length.to_le_bytes());
                out.extend_from_slice(&key.id.0);
            }
        }
        out.extend(self.folder_times.iter().flat_map(|time| time.to_le_bytes()));
        out
    }

    /// Reads canonical bytes.
    ///
    /// # Errors
    /// Bytes that are not exactly a listing's canonical form, or a path that is refused (it is named).
    pub fn decode(bytes: &[u8]) -> Result<Self, ListingFault> {
        if bytes.len() > LISTING_BYTES_MAX {
            return Err(ListingFault::TooMany);
        }
        let mut reader = Reader(bytes);
        if reader.array().ok() != Some(MAGIC) {
            return Err(ListingFault::NotAListing);
        }
        let count = u32::from_le_bytes(reader.array()?);
        if count as usize > LISTING_ENTRIES_MAX {
            return Err(ListingFault::TooMany);
        }
        // Nothing is allocated for entries that the bytes cannot hold.
        if count as usize > reader.0.len() / ENTRY_BYTES_MIN {
            return Err(ListingFault::CutShort);
        }
        let mut entries = Vec::with_capacity(count as usize);
        for entry in 0..count {
            entries.push(reader.entry(entry)?);
        }
        let (times, rest) = reader.0.as_chunks();
        let folder_times = times.iter().map(|time| i64::from_le_bytes(*time)).collect();
        let trailing = ListingFault::Trailing(reader.0.len());
        if !rest.is_empty() {
            return Err(trailing);
        }
        Unchecked { entries, folder_times }.checked().ok_or(trailing)?
    }

    /// Every path on the way to an entry, and its own; each once.
    fn paths(&self) -> impl Iterator<Item = &str> {
        let mut before = "";
        self.entries.iter().flat_map(move |entry| {
            let path = entry.path.as_str();
            // The folders that the entry before had as well came with it.
            let shared = shared_names_bytes(before, path);
            before = path;
            let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
            ends.filter(move |end| *end > shared).map(move |end| &path[..end])
        })
    }

    /// Paths that would be one on a file system that ignores case or normalises Unicode (NFC): at most `max` pairs.
    #[must_use]
    pub fn collisions(&self, max: usize) -> Vec<Collision> {
        let mut seen: BTreeMap<String, &str> = BTreeMap::new();
        let collision = |path| {
            let first = *seen.entry(folded(path)).or_insert(path);
            (first != path).then(|| Collision { first: first.to_owned(), second: path.to_owned() })
        };
        self.paths().filter_map(collision).take(max).collect()
    }

    /// Paths whose last name not every file system can hold, with what keeps it: at most `max` of them.
    #[must_use]
    pub fn unportable(&self, max: usize) -> Vec<(String, NameWarning)> {
        let warning = |path: &str| {
            let name = path.rsplit('/').next().unwrap_or_default();
            portability(name).first().map(|warning| (path.to_owned(), *warning))
        };
        self.paths().filter_map(warning).take(max).collect()
    }
}

/// Bytes of the leading names that both paths have, without the `/` after them.
fn shared_names_bytes(a: &str, b: &str) -> usize {
    let names = a.split('/').zip(b.split('/')).take_while(|(a, b)| a == b);
    names.map(|(a, _)| a.len() + 1).sum::<usize>().saturating_sub(1)
}

/// One form for all that differs by case or Unicode form. Upper case first, since only that tells `ß` and `ς`.
fn folded(text: &str) -> String {
    text.nfd().flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfc().collect()
}

fn encoded_bytes(entries: &[ListingEntry]) -> usize {
    let entries = entries.iter().map(|entry| {
        let key = if matches!(entry.node, Node::File { .. }) { 8 + 32 } else { 0 };
        1 + 8 + 2 + entry.path.as_str().len() + key
    });
    MAGIC.len() + 4 + entries.sum::<usize>()
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take(&mut self, count: usize) -> Result<&[u8], ListingFault> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(ListingFault::CutShort)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ListingFault> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn entry(&mut self, entry: u32) -> Result<ListingEntry, ListingFault> {
        let [tag] = self.array()?;
        let mtime_ns = i64::from_le_bytes(self.array()?);
        let path_bytes = u16::from_le_bytes(self.array()?);
        let path = path(self.take(usize::from(path_bytes))?)?;
        let node = match tag {
            TAG_FILE | TAG_EXECUTABLE => {
                let length = u64::from_le_bytes(self.array()?);
                let id = ContentId(self.array()?);
                Node::File { key: ContentKey { id, length }, executable: tag == TAG_EXECUTABLE, mtime_ns }
            }
            TAG_FOLDER => Node::Folder { mtime_ns },
            _ => return Err(ListingFault::UnknownTag { entry, tag }),
        };
        Ok(ListingEntry { path, node })
    }
}

fn path(bytes: &[u8]) -> Result<SafePath, ListingFault> {
    let refused = |fault| {
        let mut path = String::from_utf8_lossy(bytes).into_owned();
        path.truncate(path.floor_char_boundary(PATH_BYTES_MAX));
        ListingFault::BadPath { path, fault }
    };
    let text = std::str::from_utf8(bytes).map_err(|_| refused(PathFault::NotUtf8))?;
    SafePath::parse(text).map_err(|fault| refused(fault.into()))
}

impl Unchecked {
    /// The listing, or what is wrong with its entries; `None`: the times are not as many as there are folders.
    fn checked(self) -> Option<Result<Listing, ListingFault>> {
        let listing = match Listing::sorted(self.entries) {
            Ok(listing) => Listing { folder_times: self.folder_times, ..listing },
            Err(fault) => return Some(Err(fault)),
        };
        let times = listing.folder_times.len();
        (times == 0 || times == listing.folder_paths().len()).then_some(Ok(listing))
    }
}

impl TryFrom<Unchecked> for Listing {
    type Error = ListingFault;
    fn try_from(unchecked: Unchecked) -> Result<Self, ListingFault> {
        let trailing = ListingFault::Trailing(unchecked.folder_times.len());
        unchecked.checked().ok_or(trailing)?
    }
}

impl From<Listing> for Unchecked {
    fn from(listing: Listing) -> Self {
        Self { entries: listing.entries, folder_times: listing.folder_times }
    }
}

#[cfg(test)]
mod tests;
