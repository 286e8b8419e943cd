//! `potluck holders`: who has (a part of) a content, and where.

use comfy_table::Cell;
use potluck_core::content::Geometry;

use super::Context;
use crate::args::WhatArgs;
use crate::ui::{self, Table, number};
use crate::what::{self, TrackerAt, What};

pub(crate) async fn run(args: WhatArgs, ctx: &Context) -> anyhow::Result<()> {
    let what = &args.what;
    TrackerAt::visit(&args.network, std::slice::from_ref(what), async |tracker| {
        tell(tracker, what, ctx).await
    })
    .await
}

/// Tells it of one content.
pub(crate) async fn tell(tracker: &TrackerAt, what: &What, ctx: &Context) -> anyhow::Result<()> {
    let known = what::find(tracker, what).await?;
    let of = Geometry::new(known.key.length).map_or(0, |geometry| geometry.pieces());
    let mut table = Table::new(["PEER", "ADDRESS", "PIECES", "OF", ""]);
    for (row, addr) in tracker.holders(known.key).await? {
        let complete = row.pieces >= of;
        ctx.out.event(&ui::Event::Holder { peer: &row.name, addr, complete, pieces: row.pieces, of })?;
        table.row([
            Cell::new(ui::name(&row.name)),
            Cell::new(addr),
            number(row.pieces),
            number(of),
            Cell::new(if complete { "complete" } else { "partial" }),
        ]);
    }
    if table.is_empty() {
        ctx.out.note(format_args!("Nobody holds `{what}` at present."));
        return Ok(());
    }
    ctx.out.line(table)?;
    Ok(())
}
