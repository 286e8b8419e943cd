//! Opening the place of a download: what stands there already, and what of it is right.

use std::fs;
use std::sync::Arc;

use potluck_core::content::PieceTable;
use potluck_core::ids::ContentKey;
use potluck_core::limits::LISTING_BYTES_MAX;
use potluck_core::peer::{Opening, Place, StorageFault};

use super::check::Checking;
use super::disk::failed;
use super::os::OsFolder;
use super::part::{PartOpening, Standing, standing_beside};
use super::sidecar::Sidecar;
use super::source::{Indexed, Source, SourceHandle};
use super::staging::{MemberOpening, StagingOpening};
use super::standing::{self, StandingFolder, WholeFolder};
use super::target::Target;
use super::{Download, FolderPlace, OpenPlace, Part, Staging, Store, leftovers, lock};
use crate::hashing;

/// A place that is open already.
pub(super) fn again(
    part: &Part,
    table: Option<Arc<PieceTable>>,
    how: Checking<'_>,
) -> Result<Opening, StorageFault> {
    let table = match table {
        None => part.sidecar_table()?,
        given => given,
    };
    Ok(match part.recheck(table.as_deref(), how)? {
        Some(have) => Opening::Part { table, have },
        None => Opening::NeedsTable,
    })
}

fn target_folder(target: &Target) -> Result<OsFolder, StorageFault> {
    if target.creates_folder() {
        fs::create_dir_all(target.folder()).map_err(failed("making the target's folder"))?;
    }
    OsFolder::at(target.folder()).map_err(failed("opening the target's folder"))
}

impl Download {
    fn sidecar(&self, key: ContentKey, table: Option<Arc<PieceTable>>) -> Sidecar {
        Sidecar { key, kind: self.kind, name: self.name.clone(), table }
    }
}

impl Store {
    pub(super) fn open_file(
        &self,
        place: Place,
        download: &Download,
        key: ContentKey,
        table: Option<Arc<PieceTable>>,
        how: Checking<'_>,
    ) -> Result<Opening, StorageFault> {
        let target = &download.target;
        let folder = target_folder(target)?;
        if let Some(finished) = self.file_stands(place, target, &folder, key, how)? {
            return Ok(finished);
        }
        leftovers::check_alone(&folder, target, key)?;
        let spot = leftovers::file_spot(&folder, target, key);
        Ok(match Part::open(spot, download.sidecar(key, table), how)? {
            PartOpening::NeedsTable => Opening::NeedsTable,
            PartOpening::Open { part, table, have } => {
                self.set_place(place, OpenPlace::Part(part));
                Opening::Part { table, have }
            }
        })
    }

    /// Serves the file from its final path if it stands there.
    fn file_stands(
        &self,
        place: Place,
        target: &Target,
        folder: &OsFolder,
        key: ContentKey,
        how: Checking<'_>,
    ) -> Result<Option<Opening>, StorageFault> {
        match standing_beside(&leftovers::file_spot(folder, target, key), target.name(), key, how)? {
            Standing::Nothing => Ok(None),
            Standing::Other => Err(StorageFault::Occupied),
            Standing::Same { table, identity } => {
                self.add_source(key, Source::File { path: target.path(), identity });
                self.set_place(place, OpenPlace::Done);
                Ok(Some(Opening::Finished { table }))
            }
        }
    }

    pub(super) fn open_folder(
        &self,
        place: Place,
        download: &Download,
        key: ContentKey,
        table: Option<Arc<PieceTable>>,
        how: Checking<'_>,
    ) -> Result<Opening, StorageFault> {
        let target = &download.target;
        let parent = target_folder(target)?;
        let name = target.part_name(key.id);
        match standing::standing_beside(&parent, &name, target.name(), key, how)? {
            StandingFolder::Nothing => {}
            // What stands there may be the part that is wanted. That shows once the listing is here.
            StandingFolder::Other if !target.selection().is_all() => {}
            StandingFolder::Other => return Err(StorageFault::Occupied),
            StandingFolder::Same(whole) => return Ok(self.folder_stands(place, download, key, whole)),
        }
        if target.selection().is_all() {
            leftovers::check_alone(&parent, target, key)?;
        }
        Ok(match Staging::open(&parent, name, download.sidecar(key, table), how)? {
            StagingOpening::NeedsTable => Opening::NeedsTable,
            StagingOpening::Open { staging, table, have } => {
                self.set_place(place, OpenPlace::Part(Arc::clone(staging.listing_part())));
                let staging = staging.selecting(target.selection());
                *lock(&download.folder) = Some(Arc::new(FolderPlace::Staged(staging)));
                Opening::Part { table, have }
            }
        })
    }

    fn folder_stands(
        &self,
        place: Place,
        download: &Download,
        key: ContentKey,
        whole: WholeFolder<OsFolder>,
    ) -> Opening {
        let table = whole.table.clone();
        self.add_source(key, Source::Memory(Arc::clone(&whole.bytes)));
        self.set_place(place, OpenPlace::Done);
        *lock(&download.folder) = Some(Arc::new(FolderPlace::Standing(whole)));
        Opening::Finished { table }
    }

    /// Serves the chosen part of a folder from its final path if it stands there.
    pub(super) fn part_stands(&self, place: Place, staging: &Staging) -> Result<(), StorageFault> {
        let download = self.download(place)?;
        let standing =
            self.checking(place, &|_, _| (), |how| staging.standing(download.target.name(), how))?;
        if let Some(part) = standing {
            self.set_place(place, OpenPlace::Done);
            *lock(&download.folder) = Some(Arc::new(FolderPlace::Standing(part)));
        }
        Ok(())
    }

    pub(super) fn open_member(
        &self,
        place: Place,
        entry: u32,
        key: ContentKey,
        table: Option<Arc<PieceTable>>,
        how: Checking<'_>,
    ) -> Result<Opening, StorageFault> {
        let folder = self.folder(place)?.ok_or(StorageFault::BadPath)?;
        let staging = match &*folder {
            FolderPlace::Staged(staging) => staging,
            FolderPlace::Standing(whole) => return self.member_stands(place, whole, entry, key),
        };
        Ok(match staging.open_member(entry, key, table, how)? {
            MemberOpening::NeedsTable => Opening::NeedsTable,
            MemberOpening::Open { part, table, have } => {
                self.set_place(place, OpenPlace::Part(part));
                Opening::Part { table, have }
            }
            MemberOpening::Done { table, path, identity } => {
                let root = staging.content().clone();
                self.0.sources.add(key, Indexed::Below { root, path, identity });
                self.set_place(place, OpenPlace::Done);
                Opening::Finished { table }
            }
        })
    }

    /// Serves a member of a folder that stands.
    fn member_stands(
        &self,
        place: Place,
        whole: &WholeFolder<OsFolder>,
        entry: u32,
        key: ContentKey,
    ) -> Result<Opening, StorageFault> {
        let member = whole.members.get(&entry).filter(|member| member.key == key);
        let listed = whole.listing.entries().get(entry as usize);
        let (member, listed) = member.zip(listed).ok_or(StorageFault::BadPath)?;
        let (root, path, identity) = (whole.content.clone(), listed.path.clone(), member.identity);
        self.0.sources.add(key, Indexed::Below { root, path, identity });
        self.set_place(place, OpenPlace::Done);
        Ok(Opening::Finished { table: member.table.clone() })
    }

    /// `None`: it stands there already.
    pub(super) fn file_for_copy(
        &self,
        place: Place,
        download: &Download,
        key: ContentKey,
        how: Checking<'_>,
    ) -> Result<Option<Arc<Part>>, StorageFault> {
        let folder = target_folder(&download.target)?;
        if self.file_stands(place, &download.target, &folder, key, how)?.is_some() {
            return Ok(None);
        }
        let part = Part::open_for_copy(leftovers::file_spot(&folder, &download.target, key), key)?;
        Ok(Some(self.set_part(place, part)))
    }

    /// `None`: the folder stands there already.
    pub(super) fn listing_for_copy(
        &self,
        place: Place,
        download: &Download,
        key: ContentKey,
        source: &SourceHandle,
        how: Checking<'_>,
    ) -> Result<Option<Arc<Part>>, StorageFault> {
        if key.length > LISTING_BYTES_MAX as u64 {
            return Err(StorageFault::BadPath);
        }
        let mut bytes = vec![0; key.length as usize];
        let read = source.read_at(0, &mut bytes).map_err(failed("reading a listing that is here"))?;
        let (found, table) = hashing::hash_bytes(&bytes[..read]);
        if found != key {
            return Err(StorageFault::Io);
        }
        let opening = self.open_folder(place, download, key, table, how)?;
        match (opening, self.place(place)?) {
            (Opening::Part { .. }, OpenPlace::Part(part)) => Ok(Some(part)),
            _ => Ok(None),
        }
    }

    /// `None`: the member stands there already.
    pub(super) fn member_for_copy(
        &self,
        place: Place,
        entry: u32,
        key: ContentKey,
    ) -> Result<Option<Arc<Part>>, StorageFault> {
        match &*self.folder(place)?.ok_or(StorageFault::BadPath)? {
            FolderPlace::Staged(staging) => {
                Ok(Some(self.set_part(place, staging.open_member_for_copy(entry, key)?)))
            }
            FolderPlace::Standing(whole) => self.member_stands(place, whole, entry, key).map(|_| None),
        }
    }

    fn set_part(&self, place: Place, part: Arc<Part>) -> Arc<Part> {
        self.set_place(place, OpenPlace::Part(Arc::clone(&part)));
        part
    }
}
