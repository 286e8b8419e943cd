//! `potluck peers`: who is here; with `--watch`, who comes and goes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use comfy_table::Cell;
use potluck_core::ids::PeerId;

use super::Context;
use crate::args::PeersArgs;
use crate::ui::{self, Event, Table};
use crate::what::TrackerAt;

/// How often a watcher looks. It is a visitor, and trackers push to peers that joined only.
const LOOK_EVERY: Duration = Duration::from_millis(500);

type Present = BTreeMap<PeerId, (String, SocketAddr)>;

pub(crate) async fn run(args: PeersArgs, ctx: &Context) -> anyhow::Result<()> {
    TrackerAt::visit(&args.network, &[], async |tracker| {
        let present = ctx.until_interrupted(tell_present(tracker, ctx)).await?;
        if !args.watch {
            return Ok(());
        }
        tokio::select! {
            ended = watch(tracker, present, ctx) => ended,
            _ = ctx.interrupts.wait() => Ok(()),
        }
    })
    .await
}

async fn tell_present(tracker: &TrackerAt, ctx: &Context) -> anyhow::Result<Present> {
    let present = look(tracker).await?;
    let mut table = Table::new(["PEER", "ADDRESS"]);
    for (name, addr) in present.values() {
        ctx.out.event(&Event::Peer { peer: name, addr: *addr })?;
        table.row([Cell::new(ui::name(name)), Cell::new(addr)]);
    }
    if table.is_empty() {
        ctx.out.note("Nobody is here at present.");
    } else {
        ctx.out.line(table)?;
    }
    Ok(present)
}

async fn watch(tracker: &TrackerAt, mut present: Present, ctx: &Context) -> anyhow::Result<()> {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = look(tracker).await?;
        tell_changes(&present, &now, ctx)?;
        present = now;
    }
}

async fn look(tracker: &TrackerAt) -> anyhow::Result<Present> {
    Ok(tracker.peers().await?.into_iter().map(|(row, addr)| (row.peer, (row.name, addr))).collect())
}

fn tell_changes(before: &Present, now: &Present, ctx: &Context) -> anyhow::Result<()> {
    for (_, (name, _)) in before.iter().filter(|(peer, _)| !now.contains_key(*peer)) {
        ctx.out.event(&Event::Left { peer: name })?;
        ctx.out.line(format_args!("{} left", ui::name(name)))?;
    }
    for (peer, (name, addr)) in now {
        match before.get(peer) {
            Some((old, _)) if old == name => continue,
            Some((old, _)) => ctx.out.line(format_args!("{} is {} now", ui::name(old), ui::name(name)))?,
            None => ctx.out.line(format_args!("{} joined from {addr}", ui::name(name)))?,
        }
        ctx.out.event(&Event::Peer { peer: name, addr: *addr })?;
    }
    Ok(())
}
