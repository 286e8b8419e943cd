//! `potluck info`: what a content is made of.

use potluck_core::content::{Geometry, Kind};

use super::Context;
use crate::args::WhatArgs;
use crate::exit::{Code, Failure};
use crate::ui::{self, ContentRow};
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
    let found = what::find(tracker, what).await?;
    let Some(geometry) = Geometry::new(found.key.length) else {
        return Err(Failure::new(Code::Failed, "its stated length is not one that a content can have").into());
    };
    let (piece_bytes, pieces) = (geometry.piece_length(), geometry.pieces());
    let row = ContentRow::from(&found);
    ctx.out.line(format_args!(
        "name     {}\nid       {}\nkind     {}\nbytes    {} ({})\npieces   {pieces} of {}{}\nholders  {} complete, {} partial",
        ui::name(&row.name),
        row.id,
        row.kind,
        row.bytes,
        ui::bytes(row.bytes),
        ui::bytes(piece_bytes),
        if row.kind == Kind::Folder { " (its listing)" } else { "" },
        row.complete,
        row.partial,
    ))?;
    ctx.out.event(&ui::Event::Info { row, piece_bytes, pieces })?;
    Ok(())
}
