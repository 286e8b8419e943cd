//! Tables: aligned columns without frames, one row a line, so that they read well and pipe well.

use comfy_table::{Cell, CellAlignment, ContentArrangement, presets};
use potluck_core::wire::tracker::Row;

use super::text;

/// Rows under a heading.
pub(crate) struct Table(comfy_table::Table);

impl Table {
    pub(crate) fn new<const N: usize>(heading: [&str; N]) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING);
        // Never wrapped: a row is a line.
        table.set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(heading.map(Cell::new));
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        Self(table)
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.0.add_row(cells);
    }

    /// A content: id, kind, size, numbers of holders, name.
    pub(crate) fn content(&mut self, row: &Row, whole_id: bool) {
        let id = if whole_id { row.key.id.to_string() } else { text::short_id(row.key.id) };
        self.row([
            Cell::new(id),
            Cell::new(row.kind),
            number(text::bytes(row.key.length)),
            number(row.complete),
            number(row.partial),
            Cell::new(text::name(&row.name)),
        ]);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.trim_fmt())
    }
}

/// A cell that is aligned to the right, as numbers and sizes are.
pub(crate) fn number(text: impl ToString) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}
