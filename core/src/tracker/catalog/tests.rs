use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::wire::tracker::Matching;

fn key(number: u8) -> ContentKey {
    ContentKey { id: ContentId([number; 32]), length: 1 }
}

/// All rows that match, in pages of `limit`, each of at most `work_max`.
fn scan(catalog: &Catalog, matching: &Matching, members: bool, limit: usize, work_max: u64) -> Vec<Found> {
    let matcher = Matcher::new(matching).unwrap();
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let page = Page { after: after.as_ref(), members, limit, work_max };
        let scanned = catalog.scan(&matcher, page);
        assert!(scanned.rows.len() <= limit);
        assert!(scanned.next > after || scanned.next.is_none(), "a page that does not advance");
        rows.extend(scanned.rows);
        after = scanned.next;
        if after.is_none() {
            return rows;
        }
    }
}

/// Few enough names that rows collide, enough that blocks split and empty.
fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-d]{1,4}", "same long beginning of thirty-two and more bytes [0-9]{1,2}", "[ÄäßẞσςΣ]{1,3}"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Whatever is enlisted and delisted, in whatever order, the list is what a sorted map says.
    #[test]
    fn the_catalog_is_a_sorted_map(
        adds in prop::collection::vec((name(), 0_u8..3, any::<bool>(), any::<bool>()), 1..900),
        removals in prop::collection::vec(any::<prop::sample::Index>(), 0..900),
        limit in 1_usize..300,
        work_max in 1_u64..400,
    ) {
        let mut catalog = Catalog::default();
        let mut model: BTreeMap<(String, ContentKey), (Registered, RowId)> = BTreeMap::new();
        let mut registered = Vec::new();
        let mut removals = removals.into_iter();
        for (step, (name, number, folder, member)) in adds.into_iter().enumerate() {
            let kind = if folder { Kind::Folder } else { Kind::File };
            let ad = Ad { key: key(number), kind, name: name.clone(), member, pieces: 1, total: 1 };
            let row = catalog.enlist(&ad);
            prop_assert_eq!(catalog.name(row), &name);
            let entry = model.entry((name.clone(), key(number))).or_insert_with(|| (Vec::new(), row));
            prop_assert_eq!(entry.1, row, "a row's number changed");
            entry.0.push((kind, member));
            registered.push((name, number, kind, member));
            // First it grows, then it shrinks about as fast.
            if step > 400 && let Some(index) = removals.next() {
                let (name, number, kind, member) = registered.swap_remove(index.index(registered.len()));
                let entry = model.get_mut(&(name.clone(), key(number))).unwrap();
                catalog.delist(entry.1, kind, member);
                let at = entry.0.iter().position(|held| *held == (kind, member)).unwrap();
                entry.0.swap_remove(at);
                if entry.0.is_empty() {
                    model.remove(&(name, key(number)));
                }
            }
            if step % 64 == 0 {
                catalog.check_invariants();
            }
        }
        catalog.check_invariants();
        prop_assert_eq!(catalog.len(), model.len());
        for members in [false, true] {
            for (matching, fits) in searches() {
                let expected: Vec<Found> = model
                    .iter()
                    .filter(|((name, _), (held, _))| fits(name) && (members || held.iter().any(|(_, member)| !member)))
                    .map(|((name, key), (held, _))| {
                        let folders = held.iter().filter(|(kind, _)| *kind == Kind::Folder).count();
                        let kind = if 2 * folders > held.len() { Kind::Folder } else { Kind::File };
                        Found { name: name.clone(), key: *key, kind, total: 1 }
                    })
                    .collect();
                prop_assert_eq!(scan(&catalog, &matching, members, limit, work_max), expected);
            }
        }
        for (name, number, kind, member) in registered {
            catalog.delist(model[&(name, key(number))].1, kind, member);
        }
        catalog.check_invariants();
        prop_assert_eq!(catalog.len(), 0);
        prop_assert!(catalog.order.is_empty());
    }
}

/// Kind and member flag of each registration under a row.
type Registered = Vec<(Kind, bool)>;
type Search = (Matching, fn(&str) -> bool);

fn searches() -> [Search; 7] {
    [
        (Matching::All, |_| true),
        (Matching::Name("ab".into()), |name| name == "ab"),
        (Matching::Prefix("b".into()), |name| name.starts_with('b')),
        (Matching::Prefix("same".into()), |name| name.starts_with("same")),
        (Matching::Substring("CD".into()), |name| name.contains("cd")),
        (Matching::Substring("Ss".into()), |name| name.contains(['ß', 'ẞ'])),
        (Matching::Glob("a*d".into()), |name| name.starts_with('a') && name.ends_with('d') && name.len() > 1),
    ]
}
