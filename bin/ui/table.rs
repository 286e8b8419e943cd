//! Tables: aligned columns without frames, one row a line, so that they read well and pipe well.

use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Width, presets};
use potluck_core::content::Kind;
use potluck_core::wire::tracker::Row;

use super::{Out, size, text};
use crate::exit::OutputFault;

/// What a row of a content has; the last column is for the names of holders. Names come late: they may be long.
pub(crate) const CONTENT_HEADING: [&str; 6] = ["ID", "SIZE", "COMPLETE", "PARTIAL", "NAME", ""];

/// Columns of a page before the name, with the space after them: a short id, a size, two numbers under their headings.
const PAGE_WIDTHS: [u16; 4] = [14, 13, 10, 9];

/// Rows under a heading.
pub(crate) struct Table(comfy_table::Table);

impl Table {
    pub(crate) fn new<const N: usize>(heading: [&str; N]) -> Self {
        let mut table = bare();
        table.set_header(heading.map(Cell::new));
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        Self(table)
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.0.add_row(cells);
    }

    /// A content under [`CONTENT_HEADING`]; a folder's name ends in a slash, as `ls -p` shows it.
    pub(crate) fn content(&mut self, row: &Row, id: String, holders: String) {
        let slash = if row.kind == Kind::Folder { "/" } else { "" };
        let size = match size(row) {
            // Who holds all of a folder knows its size, and says so; that may be nothing.
            0 if row.kind == Kind::Folder && row.complete == 0 => "?".to_owned(),
            bytes => text::bytes(bytes),
        };
        self.row([
            Cell::new(id),
            number(size),
            number(row.complete),
            number(row.partial),
            Cell::new(format!("{}{slash}", text::name(&row.name))),
            Cell::new(holders),
        ]);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Contents under [`CONTENT_HEADING`], told page by page in columns of one width.
pub(crate) struct ContentTable {
    out: Out,
    page: Table,
    told: bool,
}

impl ContentTable {
    /// `last` is the heading of the last column; empty if nothing stands there.
    pub(crate) fn new(out: &Out, last: &'static str) -> Self {
        let [id, size, complete, partial, name, _] = CONTENT_HEADING;
        let page = Table::new([id, size, complete, partial, name, last]);
        Self { out: out.clone(), page, told: false }
    }

    /// Another row of the page.
    pub(crate) fn row(&mut self, row: &Row, id: String, holders: String) {
        self.page.content(row, id, holders);
    }

    /// Tells the page.
    pub(crate) fn flush(&mut self) -> Result<(), OutputFault> {
        if self.page.is_empty() {
            return Ok(());
        }
        let mut page = std::mem::replace(&mut self.page, Table(bare()));
        for (column, width) in page.0.column_iter_mut().zip(PAGE_WIDTHS) {
            column.set_padding((0, 2));
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(width)));
        }
        self.told = true;
        self.out.line(page)
    }

    /// Was there anything to tell?
    pub(crate) const fn has_rows(&self) -> bool {
        self.told
    }
}

/// A table without frames, never wrapped: a row is a line.
fn bare() -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table
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

#[cfg(test)]
mod tests {
    use potluck_core::ids::{ContentId, ContentKey};

    use super::*;

    #[test]
    fn an_empty_folder_is_not_of_unknown_size() {
        let size_of = |complete| {
            let key = ContentKey { id: ContentId([1; 32]), length: 28 };
            let row = Row { key, kind: Kind::Folder, name: "f".to_owned(), complete, partial: 1, total: 0 };
            let mut table = Table::new(CONTENT_HEADING);
            table.content(&row, "id".to_owned(), String::new());
            table.to_string()
        };
        assert!(size_of(1).contains("0 B"), "{}", size_of(1));
        assert!(size_of(0).contains('?'), "{}", size_of(0));
    }
}
