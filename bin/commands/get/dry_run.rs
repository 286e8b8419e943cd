//! `potluck get WHAT --dry-run`: what would be fetched, and where it would go. Of a folder only the listing is fetched, into a
//! temporary folder.

use potluck_core::content::{Kind, Listing, Node, Selection};
use potluck_core::peer::FetchOptions;
use potluck_transport_tcp::store::Target;

use super::Getting;
use super::job::{self, Job};
use super::plan::{Plan, Wanted};
use crate::args::GetArgs;
use crate::commands::Context;
use crate::session::Session;
use crate::ui::{self, Event};

pub(super) async fn run(plan: Plan, args: &GetArgs, ctx: &Context) -> anyhow::Result<()> {
    let Plan { tracker, wanted, select } = plan;
    let (folders, files): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|it| it.kind == Kind::Folder);
    for file in files {
        tell_file(&file, ctx)?;
    }
    if folders.is_empty() {
        return Ok(());
    }
    let session = Session::start(&args.serve, tracker, &ctx.out).await?.taciturn();
    let mut getting = Getting::new(session, ctx, args);
    let result = fetch_listings(&mut getting, folders, &select, args).await;
    getting.session.leave().await;
    result
}

async fn fetch_listings(
    getting: &mut Getting<'_>,
    folders: Vec<Wanted>,
    select: &Selection,
    args: &GetArgs,
) -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let how = FetchOptions {
        only_from: args.from.clone(),
        holders_max: args.max_holders,
        select: Selection::nothing(),
        ..FetchOptions::default()
    };
    for (number, folder) in folders.iter().enumerate() {
        let target = Target::new(&scratch.path().join(number.to_string()), &folder.name)?;
        let download = getting.session.peer.fetch(folder.fetch(&how, target)).await;
        getting.jobs.push(Job::new(download, folder, &how, &getting.ctx.out).for_listing());
    }
    getting.until_all_ended().await?;
    if let Some(failure) = getting.jobs.iter_mut().find_map(Job::take_failure) {
        return Err(failure.into());
    }
    for (job, folder) in getting.jobs.iter().zip(&folders) {
        let Some(listing) = job.listing() else {
            anyhow::bail!("the listing of {} was not told", ui::name(folder.name.as_str()));
        };
        tell_folder(folder, listing, select, getting.ctx)?;
    }
    Ok(())
}

fn tell_file(file: &Wanted, ctx: &Context) -> anyhow::Result<()> {
    let path = file.target.path();
    let (shown, bytes) = (path.to_string_lossy(), file.key.length);
    let name = file.name.as_str();
    ctx.out.event(&Event::WouldFetch { path: name, kind: Kind::File, id: Some(file.key.id), bytes })?;
    ctx.out.line(format_args!("{:>10}  {}", ui::bytes(bytes), ui::name(name)))?;
    tell_sum(&shown, file, 1, bytes, ctx)
}

fn tell_folder(folder: &Wanted, listing: &Listing, select: &Selection, ctx: &Context) -> anyhow::Result<()> {
    let chosen = select.of(listing);
    let files = job::files(&chosen);
    if files == 0 && !select.is_all() {
        return Err(job::nothing_chosen(&ui::name(folder.name.as_str())).into());
    }
    for entry in chosen.entries() {
        let (kind, id, slash) = match entry.node {
            Node::File { key, .. } => (Kind::File, Some(key.id), ""),
            Node::Folder { .. } => (Kind::Folder, None, "/"),
        };
        let path = format!("{}/{}", folder.name.as_str(), entry.path.as_str());
        ctx.out.event(&Event::WouldFetch { path: &path, kind, id, bytes: entry.bytes() })?;
        let bytes = if kind == Kind::File { ui::bytes(entry.bytes()) } else { "-".to_owned() };
        ctx.out.line(format_args!("{bytes:>10}  {}{slash}", ui::name(&path)))?;
    }
    let path = folder.target.path();
    tell_sum(&path.to_string_lossy(), folder, files as u64, chosen.total_bytes(), ctx)
}

fn tell_sum(path: &str, wanted: &Wanted, files: u64, bytes: u64, ctx: &Context) -> anyhow::Result<()> {
    ctx.out.event(&Event::Planned { path, id: wanted.key.id, kind: wanted.kind, files, bytes })?;
    let noun = if files == 1 { "file" } else { "files" };
    ctx.out.note(format_args!("{files} {noun}, {}, would go to {}", ui::bytes(bytes), ui::name(path)));
    Ok(())
}
