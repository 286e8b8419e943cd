//! `potluck peers`: who is here; with `--watch`, who comes and goes.

use std::collections::BTreeMap;

use comfy_table::Cell;
use potluck_core::ids::PeerId;
use potluck_core::limits::ROWS_PER_REPLY;
use potluck_transport_tcp::PeersChange;

use super::Context;
use crate::args::PeersArgs;
use crate::ui::{self, Event, Table};
use crate::what::TrackerAt;

pub(crate) async fn run(args: PeersArgs, ctx: &Context) -> anyhow::Result<()> {
    TrackerAt::visit(&args.network, &[], async |tracker| {
        if !args.watch {
            return ctx.until_interrupted(tell_present(tracker, ctx)).await;
        }
        let mut watch = Watch { ctx, listed: false, names: BTreeMap::new() };
        tokio::select! {
            ended = tracker.watch_peers(|change| watch.tell(change)) => ended.map(|never| match never {}),
            _ = ctx.interrupts.wait() => Ok(()),
        }
    })
    .await
}

/// Lists who is here.
pub(crate) async fn tell_present(tracker: &TrackerAt, ctx: &Context) -> anyhow::Result<()> {
    let mut table = Table::new(["PEER", "ADDRESS"]);
    for (row, addr) in tracker.peers().await? {
        ctx.out.event(&Event::Peer { peer: &row.name, addr })?;
        table.row([Cell::new(ui::name(&row.name)), Cell::new(addr)]);
    }
    if table.is_empty() {
        ctx.out.note("Nobody is here at present.");
        return Ok(());
    }
    Ok(ctx.out.line(table)?)
}

/// What a watcher was told.
struct Watch<'a> {
    ctx: &'a Context,
    /// Who was here at the beginning is told.
    listed: bool,
    names: BTreeMap<PeerId, String>,
}

impl Watch<'_> {
    fn tell(&mut self, (joined, left): PeersChange) -> anyhow::Result<()> {
        let out = &self.ctx.out;
        for (peer, name) in left {
            self.names.remove(&peer);
            out.event(&Event::Left { peer: &name })?;
            out.line(format_args!("{} left", ui::name(&name)))?;
        }
        let last_page = joined.len() < ROWS_PER_REPLY;
        for (row, addr) in joined {
            let name = ui::name(&row.name);
            match self.names.get(&row.peer) {
                Some(old) if *old == row.name => continue,
                Some(old) => out.line(format_args!("{} is {name} now", ui::name(old)))?,
                None if self.listed => out.line(format_args!("{name} joined from {addr}"))?,
                None => out.line(format_args!("{name} is here, at {addr}"))?,
            }
            out.event(&Event::Peer { peer: &row.name, addr })?;
            self.names.insert(row.peer, row.name);
        }
        if last_page && !self.listed {
            self.listed = true;
            if self.names.is_empty() {
                out.note("Nobody is here at present.");
            }
        }
        Ok(())
    }
}
