//! `potluck list` and `potluck search`: what the network has.

use comfy_table::Cell;
use potluck_core::ids::ContentKey;
use potluck_core::wire::tracker::{Matching, Row};

use super::Context;
use crate::args::{ListArgs, RowArgs, SearchArgs};
use crate::ui::{self, ContentRow, Table, number};
use crate::what::TrackerAt;

pub(crate) async fn list(args: ListArgs, ctx: &Context) -> anyhow::Result<()> {
    let nothing = "Nothing is shared at present.";
    TrackerAt::visit(&args.network, &[], async |tracker| {
        show(tracker, Matching::All, args.rows, ctx, nothing).await
    })
    .await
}

pub(crate) async fn search(args: SearchArgs, ctx: &Context) -> anyhow::Result<()> {
    let nothing = format!("Nothing is called like `{}`.", ui::name(&args.query));
    let matching = if args.query.contains(['*', '?', '[', '{']) {
        Matching::Glob(args.query)
    } else {
        Matching::Substring(args.query)
    };
    TrackerAt::visit(&args.network, &[], async |tracker| {
        show(tracker, matching, args.rows, ctx, &nothing).await
    })
    .await
}

async fn show(
    tracker: &TrackerAt,
    matching: Matching,
    args: RowArgs,
    ctx: &Context,
    nothing: &str,
) -> anyhow::Result<()> {
    let rows = tracker.contents(matching, args.files, u32::MAX).await?;
    let mut table =
        Table::new(["NAME", "SIZE", "COMPLETE", "PARTIAL", "ID", if args.holders { "HOLDERS" } else { "" }]);
    for row in &rows {
        let holders = if args.holders { Some(holder_names(tracker, row.key).await?) } else { None };
        table.row([
            Cell::new(shown_name(row)),
            number(ui::bytes(row.key.length)),
            number(row.complete),
            number(row.partial),
            Cell::new(ui::short_id(row.key.id)),
            Cell::new(holders.as_ref().map(|names| shown_names(names)).unwrap_or_default()),
        ]);
        ctx.out.event(&ui::Event::Content { row: ContentRow::from(row), holders })?;
    }
    if table.is_empty() {
        ctx.out.note(nothing);
        return Ok(());
    }
    ctx.out.line(table)?;
    Ok(())
}

/// A folder ends in a slash, as `ls -p` shows it.
fn shown_name(row: &Row) -> String {
    match row.kind {
        potluck_core::content::Kind::File => ui::name(&row.name),
        potluck_core::content::Kind::Folder => format!("{}/", ui::name(&row.name)),
    }
}

fn shown_names(names: &[String]) -> String {
    names.iter().map(|name| ui::name(name)).collect::<Vec<_>>().join(", ")
}

async fn holder_names(tracker: &TrackerAt, key: ContentKey) -> anyhow::Result<Vec<String>> {
    Ok(tracker.holders(key).await?.into_iter().map(|(row, _)| row.name).collect())
}
