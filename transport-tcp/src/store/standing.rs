//! A folder that stands under its final name already: the content itself, or something else.
//!
//! Nothing says so but what is there: it is scanned and, if its listing is as long as the wanted one, hashed.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;

use potluck_core::content::{Listing, ListingEntry, Node, PieceTable, empty_id};
use potluck_core::ids::ContentKey;
use potluck_core::peer::StorageFault;

use super::check::Checking;
use super::disk::{Folder, Nature, failed};
use super::staging::discard;
use crate::hashing::{self, Hashing, Member};
use crate::scan::{FolderPlan, scan_folder};

/// What stands under a folder's final name already.
pub(crate) enum StandingFolder<D> {
    Nothing,
    /// The content itself.
    Same(WholeFolder<D>),
    /// Something else.
    Other,
}

/// A complete folder.
#[derive(Debug)]
pub(crate) struct WholeFolder<D> {
    pub(crate) content: D,
    pub(crate) listing: Arc<Listing>,
    pub(crate) bytes: Arc<[u8]>,
    pub(crate) table: Option<Arc<PieceTable>>,
    /// Its files, by entry of the listing.
    pub(crate) members: HashMap<u32, hashing::Hashed>,
}

/// Looks whether the folder stands under its final name already. If it does, and a crash left a staging folder, that is
/// removed.
pub(crate) fn standing_beside<D: Folder>(
    parent: &D,
    name: &OsStr,
    final_name: &OsStr,
    key: ContentKey,
    how: Checking<'_>,
) -> Result<StandingFolder<D>, StorageFault> {
    let standing = standing_folder(parent, final_name, key, how)?;
    if matches!(standing, StandingFolder::Same(_))
        && parent.stat(name).is_ok_and(|stat| stat.nature == Nature::Folder)
        && let Err(fault) = discard(parent, name)
    {
        tracing::info!(?fault, "what was left of a finished download stays");
    }
    Ok(standing)
}

/// Looks whether the folder stands under this name.
pub(super) fn standing_folder<D: Folder>(
    parent: &D,
    name: &OsStr,
    key: ContentKey,
    how: Checking<'_>,
) -> Result<StandingFolder<D>, StorageFault> {
    let content = match parent.stat(name) {
        Ok(stat) if stat.nature == Nature::Folder => {
            parent.open_folder(name).map_err(failed("opening the target"))?
        }
        Ok(_) => return Ok(StandingFolder::Other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(StandingFolder::Nothing),
        Err(error) => return Err(failed("looking at the target")(error)),
    };
    let Ok(mut plan) = scan_folder(&content, Path::new(name)) else { return Ok(StandingFolder::Other) };
    // A listing's length does not depend on the ids: most other folders are told without reading their files.
    let unread = plan.files.iter().map(|file| {
        let key = ContentKey { id: empty_id(), length: file.identity.size };
        let node = Node::File { key, executable: file.executable, mtime_ns: file.identity.mtime_ns };
        ListingEntry { path: file.path.clone(), node }
    });
    let Ok(listing) = plan.listing(unread.collect()) else { return Ok(StandingFolder::Other) };
    let is_as_long = |listing: &Listing| listing.encode().len() as u64 == key.length;
    if !is_as_long(&listing) {
        // Whoever shared it may not have told the times of folders.
        plan.folder_times.clear();
        if !is_as_long(&listing.with_folder_times(|_| None)) {
            return Ok(StandingFolder::Other);
        }
    }
    whole_folder(content, &plan, key, how)
}

fn whole_folder<D: Folder>(
    content: D,
    plan: &FolderPlan,
    key: ContentKey,
    how: Checking<'_>,
) -> Result<StandingFolder<D>, StorageFault> {
    (how.expect)(plan.bytes());
    let hashing =
        Hashing { threads: how.threads, progress: how.progress, cancelled: how.cancelled, cache: None };
    let hashed = hashing::hash_members(&content, plan, hashing, &|_, _| ()).map_err(|_| StorageFault::Io)?;
    let Ok(hashed) = hashed.into_iter().collect::<Result<Vec<Member>, _>>() else {
        return Ok(StandingFolder::Other);
    };
    let files = plan.files.iter().zip(&hashed);
    let entries = files.map(|(file, member)| ListingEntry { path: file.path.clone(), node: member.node() });
    let Ok(listing) = plan.listing(entries.collect()) else { return Ok(StandingFolder::Other) };
    let bytes: Arc<[u8]> = listing.encode().into();
    let (found, table) = hashing::hash_bytes(&bytes);
    if found != key {
        return Ok(StandingFolder::Other);
    }
    // Files stand in the listing in the order in which they stand in the plan.
    let file_entries =
        (0..).zip(listing.entries()).filter(|(_, entry)| matches!(entry.node, Node::File { .. }));
    let members =
        file_entries.map(|(entry, _)| entry).zip(hashed.into_iter().map(|member| member.hashed)).collect();
    Ok(StandingFolder::Same(WholeFolder { content, listing: Arc::new(listing), bytes, table, members }))
}
