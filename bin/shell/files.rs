//! Commands about the shared folder: what is in it, sharing, and unsharing.

use std::path::{Path, PathBuf};

use comfy_table::Cell;
use potluck_core::content::Kind;
use potluck_transport_tcp::Shared;
use potluck_transport_tcp::folder::{FolderError, Standing};
use potluck_transport_tcp::store::find_parts;

use super::desk::{Desk, Phase};
use super::downloads::in_words;
use super::network::{acknowledged, everything};
use crate::exit::{Code, Failure};
use crate::near;
use crate::ui::{self, Event, Table, number};
use crate::what::{self, What};

/// One row of `local`.
struct Local {
    name: String,
    kind: Kind,
    bytes: u64,
    /// For programs.
    state: &'static str,
    /// For people.
    words: String,
    id: Option<potluck_core::ids::ContentId>,
}

/// Lists the files of the shared folder.
pub(super) async fn local(desk: &Desk) -> anyhow::Result<()> {
    let mut rows = entries(desk).await;
    rows.extend(partial(desk).await);
    rows.extend(outside(desk));
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    let mut table = Table::new(["NAME", "SIZE", "STATE"]);
    for row in &rows {
        let Local { name, kind, bytes, state, words, id } = row;
        desk.out().event(&Event::Local { name, kind: *kind, bytes: *bytes, state, id: *id })?;
        let slash = if *kind == Kind::Folder { "/" } else { "" };
        let unknown = *kind == Kind::Folder && *bytes == 0 && *state != "shared";
        let shown = if unknown { "?".to_owned() } else { ui::bytes(*bytes) };
        table.row([Cell::new(format!("{}{slash}", ui::name(name))), number(shown), Cell::new(words)]);
    }
    if table.is_empty() {
        desk.out().line(format_args!("{} is empty.", ui::name(&desk.folder.dir().to_string_lossy())))?;
        return Ok(());
    }
    desk.out().line(table)?;
    Ok(())
}

async fn entries(desk: &Desk) -> Vec<Local> {
    let hashing = desk.state().hashing.clone();
    let of = |entry: potluck_transport_tcp::folder::Entry| {
        let path = desk.folder.dir().join(&entry.name);
        let (state, words, id) = match entry.standing {
            Standing::NotShared => ("not_shared", "not shared".to_owned(), None),
            Standing::Waiting => ("waiting", "is shared in a moment".to_owned(), None),
            Standing::Hashing => {
                let done = hashing.as_ref().filter(|(of, ..)| *of == path);
                let percent = done.map(|(_, bytes, total)| format!(", {}", ui::percent(*bytes, *total)));
                ("hashing", format!("being hashed{}", percent.unwrap_or_default()), None)
            }
            Standing::Shared(shared) => {
                let id = shared.key.id;
                ("shared", format!("shared, id {}", ui::short_id(id)), Some(id))
            }
            Standing::Refused(why) => ("refused", format!("cannot be shared: {}", ui::name(&why)), None),
        };
        let kind = if entry.is_folder { Kind::Folder } else { Kind::File };
        Local { name: entry.name, kind, bytes: entry.bytes, state, words, id }
    };
    desk.folder.look().await.into_iter().map(of).collect()
}

/// What is there of downloads that are not complete, of this run and of earlier ones.
async fn partial(desk: &Desk) -> Vec<Local> {
    let running: Vec<_> = {
        let state = desk.state();
        let open = |phase| matches!(phase, Phase::Running | Phase::Stopped | Phase::Left);
        let of = |d: &super::desk::Download| (d.id, d.key, d.kind, d.name.clone(), d.phase);
        state.downloads.iter().filter(|d| open(d.phase)).map(of).collect()
    };
    let mut rows = Vec::new();
    for (download, key, kind, name, phase) in &running {
        let Some(status) = desk.peer.status(*download).await else { continue };
        let percent = ui::percent(status.bytes, status.total);
        let how = if *phase == Phase::Running { "on its way" } else { in_words(*phase) };
        let words = format!("partial, {percent}, {how}");
        let (kind, bytes, id) = (*kind, status.total, Some(key.id));
        rows.push(Local { name: name.clone(), kind, bytes, state: "partial", words, id });
    }
    for part in find_parts(desk.folder.dir()) {
        if running.iter().all(|(_, key, ..)| *key != part.key) {
            let name = part.name.as_str().to_owned();
            let words = "partial, left by an earlier run; `get` goes on with it".to_owned();
            // What is in a folder is not known before its listing is read.
            let bytes = if part.kind == Kind::File { part.key.length } else { 0 };
            let (kind, id) = (part.kind, Some(part.key.id));
            rows.push(Local { name, kind, bytes, state: "partial", words, id });
        }
    }
    rows
}

fn outside(desk: &Desk) -> Vec<Local> {
    let state = desk.state();
    let of = |(path, shared): (&PathBuf, &Shared)| Local {
        name: path.to_string_lossy().into_owned(),
        kind: shared.kind,
        bytes: shared.bytes,
        state: "shared",
        words: format!("shared, id {}", ui::short_id(shared.key.id)),
        id: Some(shared.key.id),
    };
    state.outside.iter().map(of).collect()
}

/// Shares something in the folder, or any path for as long as the shell runs.
pub(super) async fn share(desk: &Desk, path: &Path) -> anyhow::Result<()> {
    let (shared, already) = match desk.name_in_folder(path) {
        Some(name) => {
            // What is told here is no news.
            let untold = desk.state().initial.insert(name.clone());
            let result = desk.folder.share(&name).await;
            if untold && !matches!(result, Ok((_, false))) {
                desk.state().initial.remove(&name);
            }
            result.map_err(|error| refused(desk, path, &error))?
        }
        None => outside_path(desk, path).await?,
    };
    let name = ui::name(&shared.name);
    if already {
        desk.out().line(format_args!("{name} is already shared, id {}.", ui::short_id(shared.key.id)))?;
        return Ok(());
    }
    let told = match acknowledged(desk).await {
        true => "the tracker has it registered".to_owned(),
        false => format!("the tracker hears of it {}", later(desk)),
    };
    let (bytes, id) = (ui::bytes(shared.bytes), ui::short_id(shared.key.id));
    desk.out().line(format_args!("{name} is shared ({bytes}, id {id}); {told}."))?;
    Ok(())
}

async fn outside_path(desk: &Desk, path: &Path) -> anyhow::Result<(Shared, bool)> {
    let shown = ui::name(&path.to_string_lossy());
    let cannot =
        |why: String| Failure::new(Code::Failed, format!("cannot share {shown}: {}", ui::name(&why)));
    let absolute = path.canonicalize().map_err(|error| {
        let near = near::names(&path.to_string_lossy(), local_names(desk).iter().map(String::as_str));
        cannot(error.to_string())
            .hint(what::did_you_mean(&near, "`local` lists what is in the shared folder."))
    })?;
    if let Some(shared) = desk.state().outside.get(&absolute) {
        return Ok((shared.clone(), true));
    }
    let shared = desk.peer.share(&absolute).await.map_err(|error| cannot(error.to_string()))?;
    desk.state().outside.insert(absolute, shared.clone());
    Ok((shared, false))
}

/// What was downloaded is served from where it stands: it is looked after there, and can be unshared, like what was shared.
pub(super) async fn keep(desk: &Desk, path: &Path) {
    if let Some(name) = desk.name_in_folder(path) {
        desk.folder.offer(&name).await;
    } else if let Err(error) = outside_path(desk, path).await {
        tracing::debug!("{error}");
    }
}

/// Shares something no longer.
pub(super) async fn unshare(desk: &Desk, path: &Path) -> anyhow::Result<()> {
    let shown = ui::name(&path.to_string_lossy());
    if let Some(name) = desk.name_in_folder(path) {
        let was = desk.folder.unshare(&name).await.map_err(|error| refused(desk, path, &error))?;
        if !was {
            desk.out().line(format_args!("{shown} was not shared."))?;
            return Ok(());
        }
    } else if let Some(outside) = outside_of(desk, path) {
        desk.peer.unshare_path(&outside).await;
        desk.state().outside.remove(&outside);
    } else {
        return Err(not_ours(desk, path).await.into());
    }
    desk.out().event(&Event::Unshared { path: &path.to_string_lossy() })?;
    let told = if acknowledged(desk).await {
        "the tracker has taken it off its list"
    } else {
        "no tracker knew of it"
    };
    desk.out().line(format_args!("{shown} is shared no longer; {told}."))?;
    Ok(())
}

/// What was shared from outside of the folder, by its path or its name.
fn outside_of(desk: &Desk, path: &Path) -> Option<PathBuf> {
    let absolute = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let state = desk.state();
    let by_name = |shared: &Shared| path.components().as_path().to_str() == Some(shared.name.as_str());
    state.outside.iter().find(|(at, shared)| **at == absolute || by_name(shared)).map(|(at, _)| at.clone())
}

/// It is not here; perhaps somebody else shares it.
async fn not_ours(desk: &Desk, path: &Path) -> Failure {
    let text = path.to_string_lossy();
    let shown = ui::name(&text);
    let near = near::names(&text, local_names(desk).iter().map(String::as_str));
    let hint = what::did_you_mean(&near, "`local` lists what is yours.");
    if let (Ok(tracker), Ok(what)) = (desk.tracker(), text.parse::<What>())
        && let Ok(rows) = what::rows(&tracker, &what).await
        && !rows.is_empty()
    {
        let message = format!("{shown} is not yours: others share it, and only they can withdraw it");
        return Failure::new(Code::Failed, message).hint(hint);
    }
    Failure::new(Code::NotFound, format!("there is no {shown} here")).hint(hint)
}

fn refused(desk: &Desk, path: &Path, error: &FolderError) -> Failure {
    let shown = ui::name(&path.to_string_lossy());
    match error {
        FolderError::Missing(_) => {
            Failure::new(Code::NotFound, format!("there is no {shown} in the shared folder"))
                .hint("`local` lists what there is.")
        }
        FolderError::Refused(why) => {
            Failure::new(Code::Failed, format!("cannot share {shown}: {}", ui::name(why)))
        }
        FolderError::Memory { .. } => {
            let dir = ui::name(&desk.folder.dir().to_string_lossy());
            Failure::new(Code::Failed, error.to_string()).hint(format!(
                "That {shown} is not to be shared is remembered in {dir}: it must be writable."
            ))
        }
    }
}

/// Names in the folder.
pub(super) fn local_names(desk: &Desk) -> Vec<String> {
    desk.folder.entries().into_iter().map(|entry| entry.name).collect()
}

/// Looks through the folder, waits until the tracker knows all of it, and lists what is shared.
pub(super) async fn refresh(desk: &Desk) -> anyhow::Result<()> {
    desk.folder.refresh().await;
    if !acknowledged(desk).await {
        let later = later(desk);
        desk.out().note(format_args!("The folder was looked through; the tracker hears of it {later}."));
    }
    everything(desk).await
}

/// When a tracker hears of what it does not acknowledge now.
fn later(desk: &Desk) -> &'static str {
    if desk.has_left() { "once you `join`" } else { "once it answers" }
}
