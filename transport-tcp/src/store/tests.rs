//! Downloads as the peer machine drives them, on a real disk.

mod crash;
mod files;
mod folders;
mod full_disk;
mod sources;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use potluck_core::content::{Geometry, PieceSet};
use potluck_core::ids::{ContentId, PieceIndex};
use potluck_core::limits::CHUNK_BYTES;
use tempfile::TempDir;

use super::*;
use crate::hashing::hash_bytes;

const QUIET: Progress<'static> = &|_, _| ();
const DOWNLOAD: DownloadId = DownloadId(1);
const ROOT: Place = Place::Root(DOWNLOAD);

/// Bytes with what is known of them.
#[derive(Clone)]
struct Content {
    bytes: Vec<u8>,
    key: ContentKey,
    table: Option<Arc<PieceTable>>,
}

impl Content {
    /// `length` bytes that differ everywhere, and from those of another seed.
    fn new(length: usize, seed: u8) -> Self {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
        Self::of(bytes)
    }

    fn of(bytes: Vec<u8>) -> Self {
        let (key, table) = hash_bytes(&bytes);
        Self { bytes, key, table }
    }

    fn geometry(&self) -> Geometry {
        Geometry::new(self.key.length).unwrap()
    }

    fn chunks(&self) -> Vec<(ChunkAddr, &[u8])> {
        let chunks = self.bytes.chunks(CHUNK_BYTES as usize).enumerate();
        chunks.map(|(n, chunk)| (self.geometry().locate(n as u64 * CHUNK_BYTES).unwrap(), chunk)).collect()
    }

    /// Writes the pieces of these numbers.
    fn write(&self, store: &Store, place: Place, pieces: &[u32]) {
        for (at, bytes) in self.chunks() {
            if pieces.contains(&at.piece.0) {
                store.write_chunk(place, at, bytes).unwrap();
            }
        }
    }

    fn write_all(&self, store: &Store, place: Place) {
        // Last first, as the machine does it.
        for (at, bytes) in self.chunks().into_iter().rev() {
            store.write_chunk(place, at, bytes).unwrap();
        }
    }

    fn part(&self, pieces: &[u32]) -> Opening {
        let mut have = PieceSet::empty(self.geometry().pieces());
        for piece in pieces {
            have.insert(PieceIndex(*piece));
        }
        Opening::Part { table: self.table.clone(), have }
    }

    fn finished(&self) -> Opening {
        Opening::Finished { table: self.table.clone() }
    }
}

/// A store over a folder of its own, with a download called `name` in it.
struct World {
    folder: TempDir,
    store: Store,
    name: &'static str,
    kind: Kind,
}

impl World {
    fn new(name: &'static str, kind: Kind) -> Self {
        let world =
            Self { folder: TempDir::new().unwrap(), store: Store::new(StoreOptions::default()), name, kind };
        world.set_target();
        world
    }

    fn file() -> Self {
        Self::new("file.bin", Kind::File)
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    fn target(&self) -> Target {
        Target::new(self.folder.path(), &SafeName::parse(self.name).unwrap()).unwrap()
    }

    fn set_target(&self) {
        self.store.set_target(DOWNLOAD, self.target(), self.kind, SafeName::parse(self.name).unwrap());
    }

    /// As after a restart of the process: the old store, and its locks, are gone.
    fn restart(&mut self) {
        self.store = Store::new(StoreOptions::default());
        self.set_target();
    }

    fn open(&self, content: &Content) -> Result<Opening, StorageFault> {
        self.store.open(ROOT, content.key, content.table.clone(), QUIET)
    }

    fn open_without_table(&self, content: &Content) -> Result<Opening, StorageFault> {
        self.store.open(ROOT, content.key, None, QUIET)
    }

    fn part_path(&self, id: ContentId) -> PathBuf {
        self.path(self.target().part_name(id))
    }

    fn sidecar_path(&self, id: ContentId) -> PathBuf {
        self.part_path(id).with_extension("meta")
    }

    fn names(&self) -> Vec<OsString> {
        let mut names: Vec<_> =
            fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    fn served(&self, key: ContentKey) -> Option<Vec<u8>> {
        let handle = self.store.source(key)?;
        let mut bytes = vec![0; key.length as usize + 1];
        let read = handle.read_at(0, &mut bytes).unwrap();
        bytes.truncate(read);
        handle.unchanged().then_some(bytes)
    }
}
