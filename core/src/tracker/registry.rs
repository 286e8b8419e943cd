//! Who holds what: contents, their holders, and the rows under which they are listed.
//!
//! A registration belongs to an *owner* (a session, not a name), so that a rename touches nothing here. Holders of a
//! content stand in the order of their peer ids, in one vector: a page is a slice of it, a sample a few random places.
//! An owner that left counts as gone at once; what it registered is taken apart in slices ([`Registry::drain`]), so that
//! a peer with a million registrations does not stop everybody else.

use std::collections::{BTreeMap, BTreeSet};

use slab::Slab;

use super::catalog::{Catalog, Found, Page, RowId, Scanned};
use super::matcher::Matcher;
use crate::content::{Geometry, Kind};
use crate::ids::{ContentId, ContentKey, PeerId};
use crate::limits::{
    HOLDERS_PER_ID_SEARCH, OTHER_NAMES_PER_PEER, OTHER_NAMES_PER_TRACKER, REGISTERED_NAMES_PER_PEER,
    REGISTERED_NAMES_PER_TRACKER, REGISTRATIONS_PER_PEER, REGISTRATIONS_PER_TRACKER,
};
use crate::wire::tracker::{Ad, Cursor};

/// A session's number among those that may register; reused once everything that it registered is gone.
pub(super) type OwnerId = u32;
/// A content's number, while somebody holds or watches it.
pub(super) type ContentIndex = u32;

#[derive(Debug)]
pub(super) struct Registry {
    bounds: Bounds,
    owners: Slab<Owner>,
    contents: Slab<Content>,
    by_key: BTreeMap<ContentKey, ContentIndex>,
    catalog: Catalog,
    /// Rows of registrations that have other names besides, and of what kind they are.
    also: BTreeMap<(OwnerId, ContentIndex), (Kind, Vec<RowId>)>,
    /// Number of those rows.
    also_rows: usize,
    /// Owners that left and still have registrations here.
    retired: BTreeSet<OwnerId>,
    /// Registrations of all owners.
    registrations: usize,
    /// Bytes of their names.
    name_bytes: usize,
}

/// How much is registered at most.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    per_owner: usize,
    in_all: usize,
    names_per_owner: usize,
    names_in_all: usize,
    others_per_owner: usize,
    others_in_all: usize,
}

#[derive(Debug)]
struct Owner {
    peer: PeerId,
    live: bool,
    contents: BTreeSet<ContentIndex>,
    /// Bytes of the names under which they are registered.
    name_bytes: usize,
    /// Other names that they have besides.
    others: usize,
}

#[derive(Debug)]
struct Content {
    key: ContentKey,
    /// By peer id, then owner.
    holders: Vec<Holder>,
    /// Holders that have every piece.
    complete: u32,
    /// Watches that keep the content here though nobody may hold it.
    pins: u32,
}

/// One registration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holder {
    pub(super) owner: OwnerId,
    pub(super) pieces: u32,
    row: RowId,
    member: bool,
    kind: Kind,
}

/// What an ad changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The owner became a holder.
    Came(ContentIndex),
    /// It has all now, or not all any more.
    Turned(ContentIndex),
    /// It holds nothing any more.
    Left(ContentIndex),
    /// Nothing that others need to know at once.
    Same,
}

impl Default for Registry {
    fn default() -> Self {
        Self::new(Bounds {
            per_owner: REGISTRATIONS_PER_PEER,
            in_all: REGISTRATIONS_PER_TRACKER,
            names_per_owner: REGISTERED_NAMES_PER_PEER,
            names_in_all: REGISTERED_NAMES_PER_TRACKER,
            others_per_owner: OTHER_NAMES_PER_PEER,
            others_in_all: OTHER_NAMES_PER_TRACKER,
        })
    }
}

impl Registry {
    fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            owners: Slab::new(),
            contents: Slab::new(),
            by_key: BTreeMap::new(),
            catalog: Catalog::default(),
            also: BTreeMap::new(),
            also_rows: 0,
            retired: BTreeSet::new(),
            registrations: 0,
            name_bytes: 0,
        }
    }

    pub(super) fn add_owner(&mut self, peer: PeerId) -> OwnerId {
        let owner = Owner { peer, live: true, contents: BTreeSet::new(), name_bytes: 0, others: 0 };
        u32::try_from(self.owners.insert(owner)).unwrap_or(u32::MAX)
    }

    pub(super) fn peer(&self, owner: OwnerId) -> PeerId {
        self.owners[owner as usize].peer
    }

    pub(super) fn is_live(&self, owner: OwnerId) -> bool {
        self.owners[owner as usize].live
    }

    /// Number of contents that the owner registered.
    pub(super) fn owned(&self, owner: OwnerId) -> usize {
        self.owners[owner as usize].contents.len()
    }

    /// Number of registrations of all owners.
    pub(super) fn len(&self) -> usize {
        self.registrations
    }

    /// Number of rows in the list of contents.
    pub(super) fn rows(&self) -> usize {
        self.catalog.len()
    }

    pub(super) fn index(&self, key: ContentKey) -> Option<ContentIndex> {
        self.by_key.get(&key).copied()
    }

    pub(super) fn key(&self, content: ContentIndex) -> ContentKey {
        self.contents[content as usize].key
    }

    pub(super) fn holders(&self, content: ContentIndex) -> &[Holder] {
        &self.contents[content as usize].holders
    }

    /// Numbers of complete and of partial holders.
    pub(super) fn counts(&self, key: ContentKey) -> (u32, u32) {
        self.index(key).map_or((0, 0), |index| {
            let content = &self.contents[index as usize];
            (content.complete, content.holders.len() as u32 - content.complete)
        })
    }

    /// A name of the content, for the log; its id when nobody holds it.
    pub(super) fn label(&self, key: ContentKey) -> String {
        let holder = self.index(key).and_then(|content| self.holders(content).first());
        holder.map_or_else(|| key.id.to_string(), |holder| self.catalog.name(holder.row).to_owned())
    }

    /// The owner's registration of a content.
    pub(super) fn holder(&self, owner: OwnerId, content: ContentIndex) -> Option<&Holder> {
        let at = self.place(owner, content).ok()?;
        self.contents[content as usize].holders.get(at)
    }

    /// The live holders after `after` in the order of their peer ids.
    pub(super) fn holders_after(
        &self,
        content: ContentIndex,
        after: Option<PeerId>,
    ) -> impl Iterator<Item = &Holder> {
        let holders = self.holders(content);
        let first =
            after.map_or(0, |after| holders.partition_point(|holder| self.peer(holder.owner) <= after));
        holders.get(first..).unwrap_or_default().iter().filter(|holder| self.is_live(holder.owner))
    }

    /// Would these ads exceed a bound? Says which. Ads of one content count once each, which errs on the safe side.
    pub(super) fn exceeded(&self, owner: OwnerId, ads: &[Ad]) -> Option<&'static str> {
        let Owner { contents: owned, name_bytes, .. } = &self.owners[owner as usize];
        let fit = |new: usize, bytes: usize| match self.bounds {
            bounds if owned.len() + new > bounds.per_owner => Some("registrations per peer"),
            bounds if self.registrations + new > bounds.in_all => Some("registrations"),
            bounds if name_bytes + bytes > bounds.names_per_owner => Some("bytes of names per peer"),
            bounds if self.name_bytes + bytes > bounds.names_in_all => Some("bytes of names"),
            _ => None,
        };
        // Far from the bounds there is no need to look which of the ads are new.
        fit(ads.len(), ads.iter().map(|ad| ad.name.len()).sum())?;
        let (mut new, mut bytes) = (0, 0);
        for ad in ads {
            let old = self.index(ad.key).and_then(|content| self.holder(owner, content));
            new += usize::from(old.is_none());
            bytes += ad.name.len().saturating_sub(old.map_or(0, |old| self.catalog.name(old.row).len()));
        }
        if new == 0 && bytes == 0 { None } else { fit(new, bytes) }
    }

    /// Registers a checked ad, or updates its registration. One that holds no piece of a content that has some takes
    /// the registration back.
    pub(super) fn announce(&mut self, owner: OwnerId, ad: &Ad) -> Change {
        let all = Geometry::new(ad.key.length).map_or(0, |geometry| geometry.pieces());
        if ad.pieces == 0 && all > 0 {
            return self.withdraw(owner, ad.key).map_or(Change::Same, Change::Left);
        }
        let content = self.index_or_insert(ad.key);
        let is_complete = ad.pieces >= all;
        match self.place(owner, content) {
            Ok(at) => {
                let old = self.contents[content as usize].holders[at];
                let row = if (old.member, old.kind) == (ad.member, ad.kind)
                    && self.catalog.name(old.row) == ad.name
                {
                    old.row
                } else {
                    let row = self.catalog.enlist(ad);
                    self.named(owner, ad.name.len(), self.catalog.name(old.row).len());
                    self.catalog.delist(old.row, old.kind, old.member);
                    row
                };
                let entry = &mut self.contents[content as usize];
                entry.holders[at] =
                    Holder { owner, pieces: ad.pieces, row, member: ad.member, kind: ad.kind };
                let was_complete = old.pieces >= all;
                entry.complete = entry.complete + u32::from(is_complete) - u32::from(was_complete);
                if is_complete == was_complete { Change::Same } else { Change::Turned(content) }
            }
            Err(at) => {
                let row = self.catalog.enlist(ad);
                let entry = &mut self.contents[content as usize];
                if entry.holders.is_empty() {
                    entry.holders.reserve_exact(1); // Most contents have few holders.
                }
                entry
                    .holders
                    .insert(at, Holder { owner, pieces: ad.pieces, row, member: ad.member, kind: ad.kind });
                entry.complete += u32::from(is_complete);
                self.owners[owner as usize].contents.insert(content);
                self.registrations += 1;
                self.named(owner, ad.name.len(), 0);
                Change::Came(content)
            }
        }
    }

    /// Lists the owner's registration of a content under these names, too, and under no others. What exceeds a bound is left
    /// out. Returns the names that are new.
    pub(super) fn also_named(
        &mut self,
        owner: OwnerId,
        key: ContentKey,
        names: &BTreeSet<&str>,
    ) -> Vec<String> {
        let Some(content) = self.index(key) else { return Vec::new() };
        let Some(holder) = self.holder(owner, content).copied() else { return Vec::new() };
        let before = self.also.get(&(owner, content)).map_or(&[][..], |(_, rows)| rows);
        let before: BTreeSet<String> = before.iter().map(|row| self.catalog.name(*row).to_owned()).collect();
        self.drop_other_names(owner, content);
        let mut new = Vec::new();
        let total = self.catalog.found(holder.row).total;
        let mut rows = Vec::new();
        for name in names {
            let of = &self.owners[owner as usize];
            let is_full = of.others >= self.bounds.others_per_owner
                || self.also_rows >= self.bounds.others_in_all
                || of.name_bytes + name.len() > self.bounds.names_per_owner
                || self.name_bytes + name.len() > self.bounds.names_in_all;
            if is_full {
                break;
            }
            if !before.contains(*name) {
                new.push((*name).to_owned());
            }
            let (name, kind) = ((*name).to_owned(), holder.kind);
            self.named(owner, name.len(), 0);
            rows.push(self.catalog.enlist(&Ad {
                key,
                kind,
                name,
                member: false,
                pieces: holder.pieces,
                total,
            }));
            self.owners[owner as usize].others += 1;
            self.also_rows += 1;
        }
        if !rows.is_empty() {
            self.also.insert((owner, content), (holder.kind, rows));
        }
        new
    }

    fn drop_other_names(&mut self, owner: OwnerId, content: ContentIndex) {
        let Some((kind, rows)) = self.also.remove(&(owner, content)) else { return };
        self.owners[owner as usize].others -= rows.len();
        self.also_rows -= rows.len();
        for row in rows {
            self.named(owner, 0, self.catalog.name(row).len());
            self.catalog.delist(row, kind, false);
        }
    }

    /// A registration of the owner has a name of so many bytes instead of one of so many.
    fn named(&mut self, owner: OwnerId, new: usize, old: usize) {
        let owner = &mut self.owners[owner as usize];
        owner.name_bytes = owner.name_bytes + new - old;
        self.name_bytes = self.name_bytes + new - old;
    }

    /// Takes back the owner's registration; `None` if it has none.
    pub(super) fn withdraw(&mut self, owner: OwnerId, key: ContentKey) -> Option<ContentIndex> {
        let content = self.index(key)?;
        self.owners[owner as usize].contents.remove(&content).then(|| {
            self.drop_holder(owner, content);
            content
        })
    }

    /// The owner left: nobody is shown it any more. Its registrations go with the next [`Self::drain`]s.
    pub(super) fn retire(&mut self, owner: OwnerId) {
        self.owners[owner as usize].live = false;
        self.retired.insert(owner);
    }

    /// Takes apart up to `budget` registrations of owners that left.
    pub(super) fn drain(&mut self, mut budget: usize) {
        while budget > 0
            && let Some(&owner) = self.retired.first()
        {
            match self.owners[owner as usize].contents.pop_first() {
                Some(content) => {
                    self.drop_holder(owner, content);
                    budget -= 1;
                }
                None => {
                    self.retired.remove(&owner);
                    self.owners.remove(owner as usize);
                }
            }
        }
    }

    /// Are there owners that left and still have registrations?
    pub(super) fn is_draining(&self) -> bool {
        !self.retired.is_empty()
    }

    /// Keeps the content here, held or not, until [`Self::unpin`].
    pub(super) fn pin(&mut self, key: ContentKey) -> ContentIndex {
        let content = self.index_or_insert(key);
        self.contents[content as usize].pins += 1;
        content
    }

    pub(super) fn unpin(&mut self, content: ContentIndex) {
        self.contents[content as usize].pins -= 1;
        self.remove_if_unused(content);
    }

    /// The rows whose names match.
    pub(super) fn scan(&self, matcher: &Matcher, page: Page<'_>) -> Scanned {
        self.catalog.scan(matcher, page)
    }

    /// The rows of contents whose ids begin with these hex digits, by name and key.
    ///
    /// # Errors
    /// So many match that they are not worth looking at.
    pub(super) fn with_id_prefix(&self, digits: &str, page: Page<'_>) -> Result<Scanned, String> {
        let Some((first, last)) = id_range(digits) else {
            return Err("an id begins with 8 to 64 hex digits".to_owned());
        };
        let first = ContentKey { id: first, length: 0 };
        let last = ContentKey { id: last, length: u64::MAX };
        let mut rows = BTreeSet::new();
        let mut work = 0;
        for content in self.by_key.range(first..=last).map(|(_, &index)| index) {
            work += 1;
            for holder in self.holders(content) {
                work += 1;
                if page.members || self.catalog.is_listed(holder.row) {
                    rows.insert(holder.row);
                }
                if work > HOLDERS_PER_ID_SEARCH {
                    return Err("too many contents begin so; give more digits".to_owned());
                }
            }
        }
        let mut rows: Vec<Found> = rows.into_iter().map(|row| self.catalog.found(row)).collect();
        rows.sort_unstable_by(|a, b| (&a.name, a.key).cmp(&(&b.name, b.key)));
        rows.retain(|row| page.after.is_none_or(|after| (&row.name, row.key) > (&after.name, after.key)));
        let more = rows.len() > page.limit;
        rows.truncate(page.limit);
        let next = rows.last().filter(|_| more).map(|row| Cursor { name: row.name.clone(), key: row.key });
        Ok(Scanned { rows, next, work })
    }

    /// Every registration of live owners: peer, content, name, pieces held.
    pub(super) fn registrations(&self) -> impl Iterator<Item = (PeerId, ContentKey, &str, u32)> {
        self.by_key.iter().flat_map(move |(&key, &content)| {
            self.holders_after(content, None).map(move |holder| {
                (self.peer(holder.owner), key, self.catalog.name(holder.row), holder.pieces)
            })
        })
    }

    fn index_or_insert(&mut self, key: ContentKey) -> ContentIndex {
        let contents = &mut self.contents;
        *self.by_key.entry(key).or_insert_with(|| {
            let content = Content { key, holders: Vec::new(), complete: 0, pins: 0 };
            u32::try_from(contents.insert(content)).unwrap_or(u32::MAX)
        })
    }

    /// Where the owner's registration stands among the content's, or would stand.
    fn place(&self, owner: OwnerId, content: ContentIndex) -> Result<usize, usize> {
        let wanted = (self.peer(owner), owner);
        self.holders(content).binary_search_by_key(&wanted, |holder| (self.peer(holder.owner), holder.owner))
    }

    fn drop_holder(&mut self, owner: OwnerId, content: ContentIndex) {
        let Ok(at) = self.place(owner, content) else { return };
        self.drop_other_names(owner, content);
        let entry = &mut self.contents[content as usize];
        let holder = entry.holders.remove(at);
        let all = Geometry::new(entry.key.length).map_or(0, |geometry| geometry.pieces());
        entry.complete -= u32::from(holder.pieces >= all);
        if entry.holders.capacity() > 4 * entry.holders.len() + 4 {
            entry.holders.shrink_to_fit();
        }
        self.named(owner, 0, self.catalog.name(holder.row).len());
        self.catalog.delist(holder.row, holder.kind, holder.member);
        self.registrations -= 1;
        self.remove_if_unused(content);
    }

    fn remove_if_unused(&mut self, content: ContentIndex) {
        let entry = &self.contents[content as usize];
        if entry.holders.is_empty() && entry.pins == 0 {
            self.by_key.remove(&entry.key);
            self.contents.remove(content as usize);
        }
    }

    /// Panics unless every index agrees with every other.
    pub(super) fn check_invariants(&self) {
        self.catalog.check_invariants();
        assert_eq!(self.by_key.len(), self.contents.len());
        let mut registrations = 0;
        let mut name_bytes: BTreeMap<OwnerId, usize> = BTreeMap::new();
        let mut others: BTreeMap<OwnerId, usize> = BTreeMap::new();
        let mut refs: BTreeMap<RowId, u32> = BTreeMap::new();
        for (&key, &index) in &self.by_key {
            let content = &self.contents[index as usize];
            assert_eq!(content.key, key);
            assert!(!content.holders.is_empty() || content.pins > 0, "nobody needs this content");
            let all = Geometry::new(key.length).map_or(0, |geometry| geometry.pieces());
            let complete = content.holders.iter().filter(|holder| holder.pieces >= all).count();
            assert_eq!(content.complete as usize, complete);
            let order = |holder: &Holder| (self.peer(holder.owner), holder.owner);
            assert!(content.holders.is_sorted_by(|a, b| order(a) < order(b)));
            for holder in &content.holders {
                assert!(self.owners[holder.owner as usize].contents.contains(&index));
                assert!(holder.pieces <= all && (holder.pieces > 0 || all == 0));
                *refs.entry(holder.row).or_default() += 1;
                *name_bytes.entry(holder.owner).or_default() += self.catalog.name(holder.row).len();
                registrations += 1;
            }
        }
        for (&(owner, content), (_, rows)) in &self.also {
            assert!(!rows.is_empty() && self.holder(owner, content).is_some(), "names of a registration");
            for row in rows {
                *refs.entry(*row).or_default() += 1;
                *name_bytes.entry(owner).or_default() += self.catalog.name(*row).len();
                *others.entry(owner).or_default() += 1;
            }
        }
        assert_eq!(others.values().sum::<usize>(), self.also_rows);
        assert!(self.also_rows <= self.bounds.others_in_all);
        assert_eq!(registrations, self.registrations);
        assert_eq!(registrations, self.owners.iter().map(|(_, owner)| owner.contents.len()).sum::<usize>());
        assert_eq!(refs.len(), self.catalog.len());
        assert!(refs.iter().all(|(&row, &count)| self.catalog.refs(row) == count));
        for (id, owner) in &self.owners {
            assert!(owner.contents.len() <= self.bounds.per_owner);
            assert_eq!(owner.name_bytes, name_bytes.get(&(id as u32)).copied().unwrap_or(0));
            assert!(owner.name_bytes <= self.bounds.names_per_owner);
            assert_eq!(owner.others, others.get(&(id as u32)).copied().unwrap_or(0));
            assert!(owner.others <= self.bounds.others_per_owner);
            assert_eq!(owner.live, !self.retired.contains(&(id as u32)));
        }
        assert!(self.registrations <= self.bounds.in_all);
        assert_eq!(name_bytes.values().sum::<usize>(), self.name_bytes);
        assert!(self.name_bytes <= self.bounds.names_in_all);
    }
}

/// The first and last id that begin with these hex digits; `None` unless there are 8 to 64.
fn id_range(digits: &str) -> Option<(ContentId, ContentId)> {
    if !(8..=64).contains(&digits.len()) || !digits.is_ascii() {
        return None;
    }
    Some((format!("{digits:0<64}").parse().ok()?, format!("{digits:f<64}").parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Bounds = Bounds {
        per_owner: 99,
        in_all: 99,
        names_per_owner: 99,
        names_in_all: 99,
        others_per_owner: 3,
        others_in_all: 4,
    };

    fn ads(numbers: std::ops::Range<u8>) -> Vec<Ad> {
        let ad = |number| Ad {
            key: ContentKey { id: ContentId([number; 32]), length: 1 },
            kind: Kind::File,
            name: "x".to_owned(),
            member: false,
            pieces: 1,
            total: 1,
        };
        numbers.map(ad).collect()
    }

    fn announce(registry: &mut Registry, owner: OwnerId, ads: &[Ad]) -> Option<&'static str> {
        let exceeded = registry.exceeded(owner, ads);
        if exceeded.is_none() {
            ads.iter().for_each(|ad| _ = registry.announce(owner, ad));
        }
        registry.check_invariants();
        exceeded
    }

    #[test]
    fn registrations_are_bounded_per_owner_and_in_all() {
        let bounds = Bounds { per_owner: 10, in_all: 15, names_per_owner: 99, names_in_all: 99, ..SMALL };
        let mut registry = Registry::new(bounds);
        let owners = [1, 2].map(|peer| registry.add_owner(PeerId([peer; 32])));
        let mut announce = |owner, ads: &[Ad]| announce(&mut registry, owner, ads);
        assert_eq!(announce(owners[0], &ads(0..8)), None);
        assert_eq!(announce(owners[0], &ads(6..11)), Some("registrations per peer"));
        assert_eq!(announce(owners[0], &ads(6..10)), None);
        assert_eq!(announce(owners[0], &ads(0..10)), None, "what is registered may be updated at the bound");
        assert_eq!(announce(owners[1], &ads(0..6)), Some("registrations"));
        assert_eq!(announce(owners[1], &ads(0..5)), None);
        registry.withdraw(owners[0], ads(0..1)[0].key);
        assert_eq!(registry.exceeded(owners[1], &ads(5..6)), None);
    }

    /// The names of all rows.
    fn listed(registry: &Registry) -> Vec<String> {
        let page = Page { after: None, members: false, limit: 99, work_max: u64::MAX };
        registry.scan(&Matcher::All, page).rows.into_iter().map(|row| row.name).collect()
    }

    #[test]
    fn a_registration_goes_by_all_its_names_until_it_ends() {
        let mut registry = Registry::new(SMALL);
        let owner = registry.add_owner(PeerId([1; 32]));
        let key = ads(0..1)[0].key;
        let also = |registry: &mut Registry, names: &[&str]| {
            let _ = registry.also_named(owner, key, &names.iter().copied().collect());
            registry.check_invariants();
            listed(registry)
        };
        assert!(also(&mut registry, &["a"]).is_empty(), "what is not registered has no names");
        assert_eq!(announce(&mut registry, owner, &ads(0..1)), None);
        assert_eq!(also(&mut registry, &["z", "a"]), ["a", "x", "z"]);
        assert_eq!(also(&mut registry, &["b"]), ["b", "x"], "those that were said before are none any more");
        // Under the name that it has anyhow, and another number of pieces, it stays.
        assert_eq!(also(&mut registry, &["x", "y"]), ["x", "y"]);
        assert_eq!(announce(&mut registry, owner, &ads(0..1)), None);
        assert_eq!(listed(&registry), ["x", "y"]);
        assert_eq!(also(&mut registry, &[]), ["x"]);
        also(&mut registry, &["y"]);
        assert!(registry.withdraw(owner, key).is_some());
        registry.check_invariants();
        assert!(listed(&registry).is_empty());
    }

    #[test]
    fn other_names_are_bounded_and_go_with_their_owner() {
        let mut registry = Registry::new(SMALL);
        let owners = [1, 2].map(|number| registry.add_owner(PeerId([number; 32])));
        for owner in owners {
            assert_eq!(announce(&mut registry, owner, &ads(0..2)), None);
        }
        let also = |registry: &mut Registry, owner, number: usize, names: &[&str]| {
            let _ = registry.also_named(owner, ads(0..2)[number].key, &names.iter().copied().collect());
            registry.check_invariants();
            listed(registry).len()
        };
        assert_eq!(also(&mut registry, owners[0], 0, &["a", "b"]), 4);
        assert_eq!(also(&mut registry, owners[0], 1, &["c", "d"]), 5, "three of one owner");
        assert_eq!(also(&mut registry, owners[1], 1, &["e", "f"]), 6, "four in all");
        registry.retire(owners[0]);
        registry.drain(9);
        registry.check_invariants();
        assert_eq!(listed(&registry), ["e", "x", "x"]);
    }

    #[test]
    fn names_are_bounded_in_bytes_per_owner_and_in_all() {
        let bounds = Bounds { per_owner: 99, in_all: 99, names_per_owner: 10, names_in_all: 15, ..SMALL };
        let mut registry = Registry::new(bounds);
        let owners = [1, 2].map(|peer| registry.add_owner(PeerId([peer; 32])));
        let named = |numbers, name: &str| -> Vec<Ad> {
            ads(numbers).into_iter().map(|ad| Ad { name: name.to_owned(), ..ad }).collect()
        };
        let mut announce = |owner, ads: &[Ad]| announce(&mut registry, owner, ads);
        assert_eq!(announce(owners[0], &named(0..4, "xx")), None);
        assert_eq!(announce(owners[0], &named(4..5, "xxx")), Some("bytes of names per peer"));
        assert_eq!(announce(owners[0], &named(0..1, "longer")), Some("bytes of names per peer"));
        assert_eq!(announce(owners[0], &named(0..1, "four")), None, "a name may grow up to the bound");
        assert_eq!(announce(owners[0], &named(1..4, "xx")), None, "and be said again at it");
        assert_eq!(announce(owners[1], &named(0..3, "xx")), Some("bytes of names"));
        assert_eq!(announce(owners[1], &named(0..2, "xx")), None);
        registry.withdraw(owners[0], ads(0..1)[0].key);
        assert_eq!(registry.exceeded(owners[1], &named(2..4, "xx")), None);
        registry.retire(owners[0]);
        registry.drain(99);
        registry.check_invariants();
    }

    #[test]
    fn an_id_is_found_by_any_beginning_of_8_to_64_digits() {
        let range = |digits: &str| id_range(digits).map(|(first, last)| (first.0[4], last.0[4]));
        assert_eq!(range("0123456"), None);
        assert_eq!(range("01234567"), Some((0x00, 0xff)));
        assert_eq!(range("01234567a"), Some((0xa0, 0xaf)));
        assert_eq!(range("01234567AB"), Some((0xab, 0xab)));
        assert_eq!(range("0123456g"), None);
        assert_eq!(range("ü1234567"), None);
        assert!(id_range(&"f".repeat(64)).is_some() && id_range(&"f".repeat(65)).is_none());
    }
}
