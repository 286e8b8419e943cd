//! `potluck list` and `potluck search`: what the network has.

use potluck_core::ids::ContentKey;
use potluck_core::wire::tracker::Matching;

use super::Context;
use crate::args::{ListArgs, RowArgs, SearchArgs};
use crate::ui::{self, ContentRow, ContentTable};
use crate::what::TrackerAt;

/// Said where nothing is shared.
pub(crate) const NOTHING: &str = "Nothing is shared at present.";

pub(crate) async fn list(args: ListArgs, ctx: &Context) -> anyhow::Result<()> {
    TrackerAt::visit(&args.network, &[], async |tracker| {
        show(tracker, Matching::All, args.rows, ctx, NOTHING).await
    })
    .await
}

pub(crate) async fn search(args: SearchArgs, ctx: &Context) -> anyhow::Result<()> {
    let (nothing, matching) = (nothing_like(&args.query), pattern(args.query));
    TrackerAt::visit(&args.network, &[], async |tracker| {
        show(tracker, matching, args.rows, ctx, &nothing).await
    })
    .await
}

/// Said where nothing matches.
pub(crate) fn nothing_like(query: &str) -> String {
    format!("Nothing is called like `{}`.", ui::name(query))
}

/// What a query asks for: a pattern if it looks like one, else a part of a name.
pub(crate) fn pattern(query: String) -> Matching {
    if query.contains(['*', '?', '[', '{']) { Matching::Glob(query) } else { Matching::Substring(query) }
}

/// Lists what matches.
pub(crate) async fn show(
    tracker: &TrackerAt,
    matching: Matching,
    args: RowArgs,
    ctx: &Context,
    nothing: &str,
) -> anyhow::Result<()> {
    let mut table = ContentTable::new(&ctx.out, if args.holders { "HOLDERS" } else { "" });
    tracker
        .contents_by_page(matching, args.files, async |rows| {
            for row in &rows {
                let holders = if args.holders { Some(holder_names(tracker, row.key).await?) } else { None };
                let names = holders.as_ref().map(|names| shown(names)).unwrap_or_default();
                table.row(row, ui::short_id(row.key.id), names);
                ctx.out.event(&ui::Event::Content { row: ContentRow::from(row), holders })?;
            }
            Ok(table.flush()?)
        })
        .await?;
    if !table.has_rows() {
        ctx.out.note(nothing);
    }
    Ok(())
}

fn shown(names: &[String]) -> String {
    names.iter().map(|name| ui::name(name)).collect::<Vec<_>>().join(", ")
}

async fn holder_names(tracker: &TrackerAt, key: ContentKey) -> anyhow::Result<Vec<String>> {
    Ok(tracker.holders(key).await?.into_iter().map(|(row, _)| row.name).collect())
}
