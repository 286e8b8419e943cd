//! One part file: from its creation, over any number of interruptions, to its final name.
//!
//! There is no journal: the part file is the truth. Every opening hashes what is in it against the piece table and keeps
//! what is right, so any subset of the writes may have survived. The order of operations that the final name relies on:
//! bytes synced, then the rename (which never replaces), then the folder synced, then the sidecar removed.

use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use potluck_core::content::{ContentHasher, Geometry, PieceSet, PieceTable};
use potluck_core::ids::{ChunkAddr, ContentKey};
use potluck_core::limits::CHUNK_BYTES;
use potluck_core::peer::StorageFault;

use super::check::{self, Checking, Expected};
use super::disk::{DiskFile, Folder, Nature, failed, is_out_of_files};
use super::sidecar::Sidecar;
use super::source::FileIdentity;

/// Space is taken in steps, since a file system holds up writes while it takes some.
const RESERVE_BYTES: u64 = 8 * 1024 * 1024;
/// How often another process may finish the part between our opening and our locking it.
const RACES_MAX: usize = 4;

/// Where a part file lies.
#[derive(Clone, Debug)]
pub(crate) struct Spot<D> {
    pub(crate) folder: D,
    pub(crate) name: OsString,
    /// Name of its sidecar, and the folder that lies in.
    pub(crate) sidecar: (D, OsString),
    /// Other processes are kept out. (Not needed in a folder that is locked as a whole.)
    pub(crate) locked: bool,
    /// Contents of one chunk or none get a sidecar, too, so that they can be found.
    pub(crate) always_sidecar: bool,
}

/// An open part file.
#[derive(Debug)]
pub(crate) struct Part<D: Folder> {
    spot: Spot<D>,
    key: ContentKey,
    geometry: Geometry,
    file: Arc<D::File>,
    stage: Mutex<Stage>,
}

/// How far a part has come. One thread at a time changes it, and holds the lock while it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its name and its sidecar may not be durable.
    Fresh,
    /// They are.
    Named,
    /// The content has its final name.
    Renamed {
        /// And this name is durable.
        durable: bool,
        /// Another file of the same bytes had the name before.
        other: Option<FileIdentity>,
    },
}

/// What opening a part came to.
pub(crate) enum PartOpening<D: Folder> {
    Open { part: Arc<Part<D>>, table: Option<Arc<PieceTable>>, have: PieceSet },
    NeedsTable,
}

impl<D: Folder> Part<D> {
    /// Opens or creates a part, and checks what is in it. `wanted.table` is the table if it is known.
    pub(crate) fn open(
        spot: Spot<D>,
        wanted: Sidecar,
        how: Checking<'_>,
    ) -> Result<PartOpening<D>, StorageFault> {
        let key = wanted.key;
        let geometry = Geometry::new(key.length).ok_or(StorageFault::BadPath)?;
        // Of one piece the id says everything: nothing is looked for beside it. Folders have thousands of such files.
        let alone = geometry.pieces() <= 1 && !spot.always_sidecar;
        let existing = if alone { None } else { spot.existing()? };
        let found = if alone { None } else { spot.read_sidecar()?.filter(|sidecar| sidecar.key == key) };
        let table = wanted.table.or_else(|| found.as_ref().and_then(|sidecar| sidecar.table.clone()));
        let Some(expected) = Expected::new(&geometry, key, table.as_deref()) else {
            return Ok(PartOpening::NeedsTable);
        };
        let (file, have) = match existing.map_or_else(|| spot.create_or_open(), |file| Ok((file, false)))? {
            (file, true) => (file, PieceSet::empty(geometry.pieces())),
            (file, false) => {
                cut(&file, key.length)?;
                let have = check::right_pieces(&file, &geometry, &expected, how)
                    .map_err(failed("checking a part file"))?;
                (file, have)
            }
        };
        if found.is_none() && (table.is_some() || spot.always_sidecar) {
            spot.write_sidecar(&Sidecar { table: table.clone(), ..wanted })?;
        }
        let part = Self { spot, key, geometry, file: Arc::new(file), stage: Mutex::new(Stage::Fresh) };
        Ok(PartOpening::Open { part: Arc::new(part), table, have })
    }

    /// Opens or creates a part that is about to be written as a whole by [`copy_from`](Self::copy_from).
    pub(crate) fn open_for_copy(spot: Spot<D>, key: ContentKey) -> Result<Arc<Self>, StorageFault> {
        let geometry = Geometry::new(key.length).ok_or(StorageFault::BadPath)?;
        let file = match spot.existing()? {
            None => spot.create()?,
            Some(file) => {
                cut(&file, key.length)?;
                file
            }
        };
        Ok(Arc::new(Self { spot, key, geometry, file: Arc::new(file), stage: Mutex::new(Stage::Fresh) }))
    }

    /// Checks again what is in it.
    pub(crate) fn recheck(
        &self,
        table: Option<&PieceTable>,
        how: Checking<'_>,
    ) -> Result<Option<PieceSet>, StorageFault> {
        let Some(expected) = Expected::new(&self.geometry, self.key, table) else { return Ok(None) };
        let right = check::right_pieces(&*self.file, &self.geometry, &expected, how);
        right.map(Some).map_err(failed("checking a part file"))
    }

    pub(crate) const fn key(&self) -> ContentKey {
        self.key
    }

    pub(crate) const fn file(&self) -> &Arc<D::File> {
        &self.file
    }

    /// The table that its sidecar has, if it is known there.
    pub(crate) fn sidecar_table(&self) -> Result<Option<Arc<PieceTable>>, StorageFault> {
        Ok(self
            .spot
            .read_sidecar()?
            .filter(|sidecar| sidecar.key == self.key)
            .and_then(|sidecar| sidecar.table))
    }

    pub(crate) fn write(&self, at: ChunkAddr, bytes: &[u8]) -> Result<(), StorageFault> {
        let offset = self.geometry.chunk_offset(at);
        let (Some(offset), true) =
            (offset, self.geometry.chunk_bytes(at).map(u64::from) == Some(bytes.len() as u64))
        else {
            tracing::error!(?at, bytes = bytes.len(), "a chunk that the content does not have");
            return Err(StorageFault::Io);
        };
        self.file.write_full(offset, bytes).map_err(failed("writing a chunk"))
    }

    /// Takes some of the space for the content, from an offset on. Returns where to go on; `None`: that was all.
    pub(crate) fn reserve(&self, start: u64) -> Result<Option<u64>, StorageFault> {
        let end = start.saturating_add(RESERVE_BYTES).min(self.key.length);
        if start < end {
            self.file.allocate(start..end).map_err(failed("reserving space"))?;
        }
        Ok(Some(end).filter(|end| *end < self.key.length))
    }

    /// Makes what was written before the call durable, and findable.
    pub(crate) fn sync(&self) -> Result<(), StorageFault> {
        self.file.sync().map_err(failed("syncing a part file"))?;
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if *stage == Stage::Fresh {
            self.spot.sync_names().map_err(failed("syncing the names of a part file"))?;
            *stage = Stage::Named;
        }
        Ok(())
    }

    /// Writes all of the content, as `read` gives it, and checks it on the way. `read` fills the buffer from an offset on.
    pub(crate) fn copy_from(
        &self,
        read: impl Fn(u64, &mut [u8]) -> io::Result<usize>,
        how: Checking<'_>,
    ) -> Result<(), StorageFault> {
        let mut hasher = ContentHasher::new(self.geometry);
        let mut buffer = vec![0; CHUNK_BYTES.min(self.key.length) as usize];
        let mut offset = 0;
        while offset < self.key.length {
            if how.cancelled.load(Ordering::Relaxed) {
                return Err(StorageFault::Io);
            }
            let want = buffer.len().min(usize::try_from(self.key.length - offset).unwrap_or(usize::MAX));
            let read = read(offset, &mut buffer[..want]).map_err(failed("reading a content that is here"))?;
            if read < want {
                return Err(StorageFault::Io);
            }
            hasher.update(&buffer[..read]);
            self.file.write_full(offset, &buffer[..read]).map_err(failed("copying a content"))?;
            offset += read as u64;
            (how.progress)(read as u64);
        }
        match hasher.finish() {
            Some((key, _)) if key == self.key => Ok(()),
            _ => Err(StorageFault::Io),
        }
    }

    /// Syncs it, gives it its final name beside the part's without replacing anything, and removes the sidecar. May be
    /// called again after it failed. Returns what the file is from now on.
    ///
    /// If a file of the same bytes got there first, that is as good, and the part is removed.
    pub(crate) fn finish(&self, final_name: &OsStr, how: Checking<'_>) -> Result<FileIdentity, StorageFault> {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = &self.spot.folder;
        let (durable, other) = match *stage {
            Stage::Renamed { durable, other } => (durable, other),
            Stage::Fresh | Stage::Named => {
                let other = self.rename(final_name, how)?;
                *stage = Stage::Renamed { durable: false, other };
                (false, other)
            }
        };
        if !durable {
            folder.sync().map_err(failed("syncing a folder"))?;
            *stage = Stage::Renamed { durable: true, other };
            // What remains is tidying: the file stands.
            self.release();
            if let Err(error) = self.spot.remove_sidecar() {
                tracing::warn!(%error, "removing a sidecar");
            }
        }
        match other {
            Some(identity) => Ok(identity),
            None => self.file.stat().map(|stat| stat.identity).map_err(failed("looking at a finished file")),
        }
    }

    /// Returns the identity of the file that had the final name before, if its bytes are the same.
    fn rename(&self, final_name: &OsStr, how: Checking<'_>) -> Result<Option<FileIdentity>, StorageFault> {
        self.file.sync().map_err(failed("syncing a part file"))?;
        if !self.is_ours().map_err(failed("finishing a part file"))? {
            tracing::warn!(
                "somebody else cut, moved or removed a part file; what is there is looked at anew"
            );
            return Err(StorageFault::Altered);
        }
        let folder = &self.spot.folder;
        match folder.rename(&self.spot.name, folder, final_name) {
            Ok(()) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let Standing::Same { identity, .. } = standing(folder, final_name, self.key, how)? else {
                    return Err(StorageFault::Occupied);
                };
                self.spot.remove_part().map_err(failed("removing a part file"))?;
                Ok(Some(identity))
            }
            Err(error) => Err(failed("renaming a part file")(error)),
        }
    }

    /// Is the part, now that it should be complete, as long as it should be, and still under its name?
    fn is_ours(&self) -> io::Result<bool> {
        let open = self.file.stat()?.identity;
        let named = match self.spot.folder.stat(&self.spot.name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            named => named?.identity,
        };
        Ok(open.size == self.key.length && (open.device, open.inode) == (named.device, named.inode))
    }

    /// Lets other processes have it.
    pub(crate) fn release(&self) {
        if self.spot.locked
            && let Err(error) = self.file.unlock()
        {
            tracing::warn!(%error, "unlocking a part file");
        }
    }
}

impl<D: Folder> Spot<D> {
    /// The part file, if there is one, locked.
    fn existing(&self) -> Result<Option<D::File>, StorageFault> {
        for _ in 0..RACES_MAX {
            match self.folder.stat(&self.name) {
                Ok(stat) if stat.nature == Nature::File => {}
                Ok(_) => return Err(StorageFault::Occupied),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(failed("looking for a part file")(error)),
            }
            let file = match self.folder.open(&self.name, true) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed("opening a part file")(error)),
            };
            self.lock(&file)?;
            let open = file.stat().map_err(failed("looking at a part file"))?;
            match self.folder.stat(&self.name) {
                Ok(named) if named.identity.inode == open.identity.inode => {}
                // The process that had it finished it meanwhile.
                _ => continue,
            }
            // A part has one name. Another one belongs to a file that is not ours to write to.
            return if open.links == 1 { Ok(Some(file)) } else { Err(StorageFault::Occupied) };
        }
        Err(StorageFault::Locked)
    }

    /// The part file, and whether it is new.
    fn create_or_open(&self) -> Result<(D::File, bool), StorageFault> {
        match self.folder.create(&self.name) {
            Ok(file) => {
                self.lock(&file)?;
                return Ok((file, true));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed("creating a part file")(error)),
        }
        Ok(match self.existing()? {
            Some(file) => (file, false),
            None => (self.create()?, true),
        })
    }

    fn create(&self) -> Result<D::File, StorageFault> {
        let file = self.folder.create(&self.name).map_err(failed("creating a part file"))?;
        self.lock(&file)?;
        Ok(file)
    }

    fn lock(&self, file: &D::File) -> Result<(), StorageFault> {
        match !self.locked || file.try_lock().map_err(failed("locking a part file"))? {
            true => Ok(()),
            false => Err(StorageFault::Locked),
        }
    }

    fn read_sidecar(&self) -> Result<Option<Sidecar>, StorageFault> {
        let (folder, name) = &self.sidecar;
        match folder.open(name, false).and_then(|file| Sidecar::read(&file)) {
            Ok(sidecar) => Ok(sidecar),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            // It may be right, and its table not to be had elsewhere.
            Err(error) if is_out_of_files(&error) => Err(failed("reading a sidecar")(error)),
            Err(error) => {
                // Whatever it is, it is no sidecar. If it is in the way, writing one will tell.
                tracing::warn!(%error, "reading a sidecar");
                Ok(None)
            }
        }
    }

    /// A sidecar that is torn is as good as none, so it is written in place. What is no sidecar of ours is left alone: the
    /// download goes on without one.
    fn write_sidecar(&self, sidecar: &Sidecar) -> Result<(), StorageFault> {
        let (folder, name) = &self.sidecar;
        let bytes = sidecar.encode();
        let write = || {
            let file = match folder.create(name) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let Some(file) = self.own_sidecar(true)? else {
                        tracing::warn!("something else stands where the sidecar would, and is not touched");
                        return Ok(());
                    };
                    file.set_length(0)?;
                    file
                }
                created => created?,
            };
            file.write_full(0, &bytes)
        };
        write().map_err(failed("writing a sidecar"))
    }

    /// What stands under the sidecar's name, if that may be ours: a plain file without a second name.
    fn own_sidecar(&self, write: bool) -> io::Result<Option<D::File>> {
        let (folder, name) = &self.sidecar;
        match folder.stat(name) {
            Ok(stat) if stat.nature == Nature::File && stat.links == 1 => folder.open(name, write).map(Some),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes the sidecar, and the names of sidecar and part, durable.
    fn sync_names(&self) -> io::Result<()> {
        if let Some(sidecar) = self.own_sidecar(false)? {
            sidecar.sync()?;
        }
        if self.locked { self.folder.sync() } else { self.sidecar.0.sync_tree() }
    }

    fn remove_part(&self) -> io::Result<()> {
        removed(self.folder.remove(&self.name)).map(drop)
    }

    /// Returns whether there was one.
    fn remove_sidecar(&self) -> io::Result<bool> {
        let (folder, name) = &self.sidecar;
        match self.own_sidecar(false)? {
            Some(_) => removed(folder.remove(name)),
            None => Ok(false),
        }
    }

    /// Does a process have the part open?
    pub(crate) fn is_locked(&self) -> bool {
        matches!(self.existing(), Err(StorageFault::Locked))
    }

    /// Removes part and sidecar; returns whether there was any. `Locked` if a process has it open.
    pub(crate) fn discard(&self) -> Result<bool, StorageFault> {
        // Kept open, and so locked, until it has no name.
        let part = self.existing()?;
        let gone = match part {
            Some(_) => removed(self.folder.remove(&self.name)).map_err(failed("removing a part file"))?,
            None => false,
        };
        Ok(self.remove_sidecar().map_err(failed("removing a sidecar"))? || gone)
    }
}

/// Was there something to remove?
pub(crate) fn removed(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Cuts off what lies behind the content's end.
fn cut(file: &impl DiskFile, length: u64) -> Result<(), StorageFault> {
    let cut = || match file.stat()?.identity.size > length {
        true => file.set_length(length),
        false => Ok(()),
    };
    cut().map_err(failed("cutting a part file"))
}

/// Looks whether the content stands under its final name already, beside the part. If it does, and a crash left a part or a
/// sidecar, those are removed.
pub(crate) fn standing_beside<D: Folder>(
    spot: &Spot<D>,
    final_name: &OsStr,
    key: ContentKey,
    how: Checking<'_>,
) -> Result<Standing, StorageFault> {
    let standing = standing(&spot.folder, final_name, key, how)?;
    if matches!(standing, Standing::Same { .. })
        && let Err(fault) = spot.discard()
    {
        tracing::info!(?fault, "what was left of a finished download stays");
    }
    Ok(standing)
}

/// What stands under a final name already.
pub(crate) enum Standing {
    Nothing,
    /// The content itself.
    Same {
        table: Option<Arc<PieceTable>>,
        identity: FileIdentity,
    },
    /// Something else.
    Other,
}

/// Looks whether the content stands under this name already.
pub(crate) fn standing<D: Folder>(
    folder: &D,
    name: &OsStr,
    key: ContentKey,
    how: Checking<'_>,
) -> Result<Standing, StorageFault> {
    let stat = match folder.stat(name) {
        Ok(stat) => stat,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Standing::Nothing),
        Err(error) => return Err(failed("looking at the target")(error)),
    };
    if stat.nature != Nature::File || stat.identity.size != key.length {
        return Ok(Standing::Other);
    }
    let identify = || {
        let file = folder.open(name, false)?;
        let before = file.stat()?.identity;
        let found = check::identify(&file, key.length, how)?;
        Ok((found, before, file.stat()?.identity))
    };
    let (found, before, after) = identify().map_err(failed("checking the target"))?;
    Ok(match found {
        Some((found, table)) if found == key && before == after => {
            Standing::Same { table: table.map(Arc::new), identity: after }
        }
        _ => Standing::Other,
    })
}
