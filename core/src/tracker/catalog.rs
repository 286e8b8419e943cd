//! The list of contents: one row per (name, key), always in that order, packed so that a search is a scan of plain text.
//!
//! Rows lie in blocks of some dozens, block after block in order. A block holds its names twice, end to end: as they are
//! (for order, exact names, prefixes and globs) and with letters folded, a newline after each (for substrings: one
//! search of the block's text finds the next row that contains it; globs look for their longest literal part first).
//! So the first page of everything, a page in the middle and a prefix each cost a seek and the rows they return; a
//! substring that is rare costs one pass over all text.
//!
//! A row counts the registrations under it. It is listed while one of them is not a member of a folder, and a folder
//! while most of them say so: neither depends on the order in which they came.

use slab::Slab;

use super::matcher::{Matcher, Verdict, fold_into};
use crate::content::Kind;
use crate::ids::{ContentId, ContentKey};
use crate::wire::tracker::{Ad, Cursor};

/// Rows of a block before it is split: some kilobytes of text, cheap to move and long enough to scan at full speed.
const BLOCK_ROWS_MAX: usize = 128;

/// No key sorts before it.
const FIRST_KEY: ContentKey = ContentKey { id: ContentId([0; 32]), length: 0 };

/// A row's stable number, while it exists.
pub(super) type RowId = u32;

#[derive(Debug, Default)]
pub(super) struct Catalog {
    rows: Slab<Row>,
    blocks: Slab<Block>,
    /// Blocks in the order of their rows; none is empty.
    order: Vec<Place>,
}

/// A block's place in the order.
#[derive(Clone, Copy, Debug)]
struct Place {
    block: u32,
    /// How its first name begins. Looking a name up in the order compares these, which lie side by side, and opens only
    /// the blocks where that does not decide.
    beginning: [u8; 32],
}

#[derive(Debug)]
struct Row {
    key: ContentKey,
    block: u32,
    /// Registrations under this name, at least 1.
    refs: u32,
    /// Those that are not members of a folder.
    listed: u32,
    /// Those that call it a folder.
    folders: u32,
    /// Bytes of all of it, as stated last.
    total: u64,
}

#[derive(Debug, Default)]
struct Block {
    /// The names, end to end.
    names: String,
    /// The names with letters folded, a newline after each.
    folded: String,
    entries: Vec<Entry>,
    /// Rows in this block that are listed.
    listed: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    row: RowId,
    name_end: u32,
    folded_end: u32,
}

/// Where a row stands: index into `order`, index into the block's entries.
type Position = (usize, usize);

/// What a row says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) name: String,
    pub(super) key: ContentKey,
    pub(super) kind: Kind,
    pub(super) total: u64,
}

/// What a scan is to return, and what it may cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page<'a> {
    /// Begin after this row.
    pub(super) after: Option<&'a Cursor>,
    /// Also rows that are only members of folders.
    pub(super) members: bool,
    /// Rows wanted, at least 1.
    pub(super) limit: usize,
    /// Units of work (see [`Matcher::cost`]) after which the page ends, full or not.
    pub(super) work_max: u64,
}

/// A page of rows.
#[derive(Debug)]
pub(super) struct Scanned {
    pub(super) rows: Vec<Found>,
    /// Where to go on; `None`: that was all.
    pub(super) next: Option<Cursor>,
    /// Units of work done.
    pub(super) work: u64,
}

impl Catalog {
    /// Counts a registration under the row of `name` and `key`, which is made if it does not exist.
    pub(super) fn enlist(&mut self, ad: &Ad) -> RowId {
        let (name, key) = (ad.name.as_str(), ad.key);
        let (position, exists) = self.seek(name, key);
        let id = if exists { self.entry(position).row } else { self.insert(position, name, key) };
        self.count(id, ad.kind, ad.member, 1);
        if ad.total > 0 {
            self.rows[id as usize].total = ad.total;
        }
        id
    }

    /// Takes back one registration from its row; the last one takes the row along.
    pub(super) fn delist(&mut self, id: RowId, kind: Kind, member: bool) {
        self.count(id, kind, member, -1);
        if self.rows[id as usize].refs == 0 {
            self.remove(id);
        }
    }

    /// The row's name.
    pub(super) fn name(&self, id: RowId) -> &str {
        let block = &self.blocks[self.rows[id as usize].block as usize];
        block.entries.iter().position(|entry| entry.row == id).map_or("", |at| block.name(at))
    }

    /// All that the row says.
    pub(super) fn found(&self, id: RowId) -> Found {
        Found {
            name: self.name(id).to_owned(),
            key: self.rows[id as usize].key,
            kind: self.rows[id as usize].kind(),
            total: self.rows[id as usize].total,
        }
    }

    /// Is one of its registrations not a member of a folder?
    pub(super) fn is_listed(&self, id: RowId) -> bool {
        self.rows[id as usize].listed > 0
    }

    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The rows that match, in order, as far as the page goes.
    pub(super) fn scan(&self, matcher: &Matcher, page: Page<'_>) -> Scanned {
        let mut scanned = Scanned { rows: Vec::new(), next: None, work: 0 };
        let (mut block_at, mut first) = self.start(matcher, page.after);
        while let Some(place) = self.order.get(block_at) {
            let block = &self.blocks[place.block as usize];
            if page.members || block.listed > 0 {
                if self.scan_block(block, first, matcher, page, &mut scanned) {
                    return scanned;
                }
            } else {
                scanned.work += 1;
            }
            (block_at, first) = (block_at + 1, 0);
        }
        scanned
    }

    /// Scans one block from entry `first`; true if the page ends here.
    fn scan_block(
        &self,
        block: &Block,
        first: usize,
        matcher: &Matcher,
        page: Page<'_>,
        into: &mut Scanned,
    ) -> bool {
        let mut at = first;
        while let Some(found) = block.next_candidate(matcher, at, &mut into.work) {
            at = found + 1;
            let name = block.name(found);
            into.work += matcher.cost(name);
            match matcher.judge(name) {
                Verdict::Past => return true,
                Verdict::No => {}
                Verdict::Yes => {
                    let row = &self.rows[block.entries[found].row as usize];
                    if page.members || row.listed > 0 {
                        if into.rows.len() == page.limit {
                            into.next =
                                into.rows.last().map(|row| Cursor { name: row.name.clone(), key: row.key });
                            return true;
                        }
                        into.rows.push(Found {
                            name: name.to_owned(),
                            key: row.key,
                            kind: row.kind(),
                            total: row.total,
                        });
                    }
                }
            }
            if into.work >= page.work_max {
                into.next = Some(self.cursor(block, found));
                return true;
            }
        }
        if into.work >= page.work_max && !block.entries.is_empty() {
            into.next = Some(self.cursor(block, block.entries.len() - 1));
            return true;
        }
        false
    }

    /// The first row that can match: after the cursor, and where the matcher's fixed beginning begins.
    fn start(&self, matcher: &Matcher, after: Option<&Cursor>) -> Position {
        let prefix = self.seek(matcher.prefix(), FIRST_KEY).0;
        let after = after.map_or((0, 0), |cursor| {
            let ((block, entry), exists) = self.seek(&cursor.name, cursor.key);
            (block, entry + usize::from(exists))
        });
        prefix.max(after)
    }

    fn cursor(&self, block: &Block, at: usize) -> Cursor {
        let key = self.rows[block.entries[at].row as usize].key;
        Cursor { name: block.name(at).to_owned(), key }
    }

    fn entry(&self, (block, entry): Position) -> Entry {
        self.blocks[self.order[block].block as usize].entries[entry]
    }

    /// Where the row of `name` and `key` stands or would stand, and whether it does.
    fn seek(&self, name: &str, key: ContentKey) -> (Position, bool) {
        let wanted = beginning(name);
        let after_it = self.order.partition_point(|place| {
            let order = place.beginning.cmp(&wanted);
            order.then_with(|| self.compare(&self.blocks[place.block as usize], 0, name, key)).is_le()
        });
        let Some(block_at) = after_it.checked_sub(1) else { return ((0, 0), false) };
        let block = &self.blocks[self.order[block_at].block as usize];
        let (mut low, mut high) = (0, block.entries.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.compare(block, middle, name, key) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return ((block_at, middle), true),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        ((block_at, low), false)
    }

    /// The order of an existing row against a name and key.
    fn compare(&self, block: &Block, at: usize, name: &str, key: ContentKey) -> std::cmp::Ordering {
        block.name(at).cmp(name).then_with(|| self.rows[block.entries[at].row as usize].key.cmp(&key))
    }

    fn insert(&mut self, (block_at, at): Position, name: &str, key: ContentKey) -> RowId {
        if self.order.is_empty() {
            let block = number(self.blocks.insert(Block::default()));
            self.order.push(Place { block, beginning: [0; 32] });
        }
        let block = self.order[block_at].block;
        let id = number(self.rows.insert(Row { key, block, refs: 0, listed: 0, folders: 0, total: 0 }));
        self.blocks[block as usize].insert(at, name, id);
        if at == 0 {
            self.order[block_at].beginning = beginning(name);
        }
        if self.blocks[block as usize].entries.len() > BLOCK_ROWS_MAX {
            self.split(block_at);
        }
        id
    }

    fn split(&mut self, block_at: usize) {
        let low = self.order[block_at].block as usize;
        let mut upper = self.blocks[low].split_off(BLOCK_ROWS_MAX / 2);
        upper.listed =
            number(upper.entries.iter().filter(|entry| self.rows[entry.row as usize].listed > 0).count());
        self.blocks[low].listed -= upper.listed;
        let moved: Vec<RowId> = upper.entries.iter().map(|entry| entry.row).collect();
        let high = number(self.blocks.insert(upper));
        for row in moved {
            self.rows[row as usize].block = high;
        }
        let beginning = beginning(self.blocks[high as usize].name(0));
        self.order.insert(block_at + 1, Place { block: high, beginning });
    }

    fn remove(&mut self, id: RowId) {
        let block = self.rows[id as usize].block;
        let Some(at) = self.blocks[block as usize].entries.iter().position(|entry| entry.row == id) else {
            return;
        };
        if at == 0 {
            let entries = &self.blocks[block as usize];
            let ((block_at, _), _) = self.seek(entries.name(0), self.rows[id as usize].key);
            if entries.entries.len() == 1 {
                self.order.remove(block_at);
            } else {
                self.order[block_at].beginning = beginning(entries.name(1));
            }
        }
        if self.blocks[block as usize].entries.len() == 1 {
            self.blocks.remove(block as usize);
        } else {
            self.blocks[block as usize].remove(at);
        }
        self.rows.remove(id as usize);
    }

    fn count(&mut self, id: RowId, kind: Kind, member: bool, by: i32) {
        let row = &mut self.rows[id as usize];
        let was_listed = row.listed > 0;
        row.refs = row.refs.saturating_add_signed(by);
        row.listed = row.listed.saturating_add_signed(if member { 0 } else { by });
        row.folders = row.folders.saturating_add_signed(if kind == Kind::Folder { by } else { 0 });
        let turned = i32::from(row.listed > 0) - i32::from(was_listed);
        let block = &mut self.blocks[row.block as usize];
        block.listed = block.listed.saturating_add_signed(turned);
    }

    /// Panics unless order, counts and packing agree.
    pub(super) fn check_invariants(&self) {
        let mut last: Option<(&str, ContentKey)> = None;
        let mut rows = 0;
        assert_eq!(self.order.len(), self.blocks.len());
        for &Place { block: id, beginning: first } in &self.order {
            let block = &self.blocks[id as usize];
            assert_eq!(first, beginning(block.name(0)));
            assert!(!block.entries.is_empty() && block.entries.len() <= BLOCK_ROWS_MAX);
            let mut folded = String::new();
            for at in 0..block.entries.len() {
                let row = &self.rows[block.entries[at].row as usize];
                assert_eq!(row.block, id);
                assert!(row.refs > 0 && row.listed <= row.refs && row.folders <= row.refs);
                let this = (block.name(at), row.key);
                assert!(last.is_none_or(|last| last < this), "rows out of order: {last:?} {this:?}");
                last = Some(this);
                rows += 1;
                fold_into(block.name(at), &mut folded);
                folded.push('\n');
                assert_eq!(block.entries[at].folded_end as usize, folded.len());
            }
            assert_eq!(folded, block.folded);
            let listed =
                block.entries.iter().filter(|entry| self.rows[entry.row as usize].listed > 0).count();
            assert_eq!(block.listed as usize, listed);
        }
        assert_eq!(rows, self.rows.len());
    }

    /// Registrations counted under the row.
    pub(super) fn refs(&self, id: RowId) -> u32 {
        self.rows[id as usize].refs
    }
}

impl Row {
    const fn kind(&self) -> Kind {
        if self.folders > self.refs / 2 { Kind::Folder } else { Kind::File }
    }
}

impl Block {
    fn name(&self, at: usize) -> &str {
        &self.names[self.start(at).0..self.entries[at].name_end as usize]
    }

    /// Where the entry's name and folded name begin.
    fn start(&self, at: usize) -> (usize, usize) {
        at.checked_sub(1).map_or((0, 0), |before| {
            let entry = self.entries[before];
            (entry.name_end as usize, entry.folded_end as usize)
        })
    }

    /// The first entry from `from` on that may match, and what looking for it cost.
    fn next_candidate(&self, matcher: &Matcher, from: usize, work: &mut u64) -> Option<usize> {
        if from >= self.entries.len() {
            return None;
        }
        let Some(finder) = matcher.finder() else { return Some(from) };
        let start = self.start(from).1;
        let found = finder
            .find(&self.folded.as_bytes()[start..])
            .map(|offset| self.entries.partition_point(|entry| entry.folded_end as usize <= start + offset));
        *work += (found.unwrap_or(self.entries.len()) - from) as u64;
        found
    }

    fn insert(&mut self, at: usize, name: &str, row: RowId) {
        let (name_start, folded_start) = self.start(at);
        let mut folded = String::with_capacity(name.len() + 1);
        fold_into(name, &mut folded);
        folded.push('\n');
        self.names.insert_str(name_start, name);
        self.folded.insert_str(folded_start, &folded);
        for entry in &mut self.entries[at..] {
            entry.name_end += number(name.len());
            entry.folded_end += number(folded.len());
        }
        let entry = Entry {
            row,
            name_end: number(name_start + name.len()),
            folded_end: number(folded_start + folded.len()),
        };
        self.entries.insert(at, entry);
    }

    fn remove(&mut self, at: usize) {
        let (name_start, folded_start) = self.start(at);
        let Entry { name_end, folded_end, .. } = self.entries.remove(at);
        self.names.replace_range(name_start..name_end as usize, "");
        self.folded.replace_range(folded_start..folded_end as usize, "");
        for entry in &mut self.entries[at..] {
            entry.name_end -= name_end - number(name_start);
            entry.folded_end -= folded_end - number(folded_start);
        }
    }

    /// Cuts the entries from `at` on into a block of their own.
    fn split_off(&mut self, at: usize) -> Self {
        let (name_start, folded_start) = self.start(at);
        let mut upper = Self {
            names: self.names.split_off(name_start),
            folded: self.folded.split_off(folded_start),
            entries: self.entries.split_off(at),
            listed: 0,
        };
        for entry in &mut upper.entries {
            entry.name_end -= number(name_start);
            entry.folded_end -= number(folded_start);
        }
        upper
    }
}

/// The first bytes of a name: of two names with different beginnings, they stand in the same order.
fn beginning(name: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    let length = name.len().min(bytes.len());
    bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
    bytes
}

/// Row and block numbers, and lengths within a block, fit 32 bits: the number of registrations is bounded.
fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
