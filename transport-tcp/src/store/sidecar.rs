//! The sidecar: what must be known of a content to check its part file, written once beside it.
//!
//! All integers little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | magic `potluck` and the format's version, 1 |
//! | 32 | id |
//! | 8 | length |
//! | 1 | kind: 0 file, 1 folder |
//! | 1 + n | label: its length in bytes, then UTF-8 |
//! | 4 + 32 n | piece table: number of values (0 where there is none), then the values |
//! | 32 | BLAKE3 of all of the above |
//!
//! A sidecar that was torn, tampered with, or belongs to another content is as good as none: the table then comes from a
//! holder again.

use std::io;
use std::sync::Arc;

use potluck_core::content::{Geometry, Kind, PieceTable, SafeName};
use potluck_core::ids::{ChainingValue, ContentId, ContentKey};
use potluck_core::limits::{NAME_BYTES_MAX, PIECES_MAX};

use super::disk::DiskFile;

const MAGIC: &[u8; 8] = b"potluck\x01";
const CHECKSUM_BYTES: usize = 32;
/// Bytes of the largest sidecar: nothing longer is read.
const SIDECAR_BYTES_MAX: u64 =
    8 + 32 + 8 + 1 + 1 + NAME_BYTES_MAX as u64 + 4 + 32 * PIECES_MAX + CHECKSUM_BYTES as u64;

/// What a sidecar says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sidecar {
    pub(crate) key: ContentKey,
    pub(crate) kind: Kind,
    pub(crate) name: SafeName,
    /// `None` for a content of one chunk or none.
    pub(crate) table: Option<Arc<PieceTable>>,
}

impl Sidecar {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let values = self.table.as_ref().map_or(&[][..], |table| table.values());
        let name = self.name.as_str().as_bytes();
        let mut out = Vec::with_capacity(MAGIC.len() + 46 + name.len() + 32 * values.len() + CHECKSUM_BYTES);
        out.extend(MAGIC);
        out.extend(self.key.id.0);
        out.extend(self.key.length.to_le_bytes());
        out.push(match self.kind {
            Kind::File => 0,
            Kind::Folder => 1,
        });
        // A name has at most 255 bytes, a table at most `PIECES_MAX` values.
        out.push(name.len() as u8);
        out.extend(name);
        out.extend((values.len() as u32).to_le_bytes());
        out.extend(values.iter().flat_map(|value| value.0));
        let checksum = blake3::hash(&out);
        out.extend(checksum.as_bytes());
        out
    }

    /// `None` if the bytes are not exactly a sidecar. The table is folded and fits the key.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, checksum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM_BYTES)?)?;
        if blake3::hash(body).as_bytes() != checksum {
            return None;
        }
        let mut rest = Reader(body);
        if rest.array()? != *MAGIC {
            return None;
        }
        let id = ContentId(rest.array()?);
        let length = u64::from_le_bytes(rest.array()?);
        let kind = match rest.array()? {
            [0] => Kind::File,
            [1] => Kind::Folder,
            _ => return None,
        };
        let [name_bytes] = rest.array()?;
        let name = SafeName::parse(std::str::from_utf8(rest.take(usize::from(name_bytes))?).ok()?).ok()?;
        let count = u32::from_le_bytes(rest.array()?);
        let (values, after) = rest.0.as_chunks::<32>();
        if !after.is_empty() || values.len() != count as usize {
            return None;
        }
        let key = ContentKey { id, length };
        let geometry = Geometry::new(length)?;
        let table = match values {
            [] if geometry.is_single_chunk() => None,
            values => {
                let values = values.iter().map(|value| ChainingValue(*value)).collect();
                Some(Arc::new(PieceTable::new(key, values).ok()?))
            }
        };
        Some(Self { key, kind, name, table })
    }

    /// Reads one; `Ok(None)` if the file is none.
    pub(crate) fn read(file: &impl DiskFile) -> io::Result<Option<Self>> {
        let size = file.stat()?.identity.size;
        if size > SIDECAR_BYTES_MAX {
            return Ok(None);
        }
        let mut bytes = vec![0; size as usize];
        let read = file.read_full(0, &mut bytes)?;
        bytes.truncate(read);
        Ok(Self::decode(&bytes))
    }
}

/// For fuzzing: what a sidecar's bytes say, written anew; `None`: they are none.
#[doc(hidden)]
#[must_use]
pub fn sidecar_again(bytes: &[u8]) -> Option<Vec<u8>> {
    Sidecar::decode(bytes).map(|sidecar| sidecar.encode())
}

/// For fuzzing: a sidecar's bytes with the checksum that is right for them, without which nothing else of them is read.
#[doc(hidden)]
#[must_use]
pub fn sidecar_sealed(bytes: &[u8]) -> Vec<u8> {
    let body = bytes.get(..bytes.len().saturating_sub(CHECKSUM_BYTES)).unwrap_or(bytes);
    [body, blake3::hash(body).as_bytes()].concat()
}

/// Bytes not yet taken.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }
}

#[cfg(test)]
mod tests;
