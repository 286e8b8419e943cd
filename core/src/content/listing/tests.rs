use proptest::prelude::*;

use super::*;
use crate::limits::CONTENT_BYTES_MAX;

fn path(path: &str) -> SafePath {
    SafePath::parse(path).unwrap()
}

fn file(at: &str, length: u64) -> ListingEntry {
    let key = ContentKey { id: ContentId([length as u8; 32]), length };
    ListingEntry { path: path(at), node: Node::File { key, executable: false, mtime_ns: 5 } }
}

fn folder(at: &str) -> ListingEntry {
    ListingEntry { path: path(at), node: Node::Folder { mtime_ns: -1 } }
}

/// An entry as bytes, its path whatever it likes to be.
fn raw(tag: u8, path: &[u8], length: u64) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend([0; 8]);
    bytes.extend((path.len() as u16).to_le_bytes());
    bytes.extend(path);
    if tag != TAG_FOLDER {
        bytes.extend(length.to_le_bytes());
        bytes.extend([7; 32]);
    }
    bytes
}

fn raw_listing(entries: &[Vec<u8>]) -> Vec<u8> {
    [&MAGIC[..], &(entries.len() as u32).to_le_bytes(), &entries.concat()].concat()
}

#[test]
fn bytes_are_as_documented() {
    let key = ContentKey { id: ContentId([0xab; 32]), length: 258 };
    let run = ListingEntry { path: path("ü/run"), node: Node::File { key, executable: true, mtime_ns: 1 } };
    let listing = Listing::new(vec![run, folder("empty"), file("a", 3)]).unwrap();
    let expected = [
        &b"potluck listing1"[..],
        &[3, 0, 0, 0],
        &[0, 5, 0, 0, 0, 0, 0, 0, 0, 1, 0, b'a', 3, 0, 0, 0, 0, 0, 0, 0],
        &[3; 32],
        &[2, 255, 255, 255, 255, 255, 255, 255, 255, 5, 0],
        b"empty",
        &[1, 1, 0, 0, 0, 0, 0, 0, 0, 6, 0],
        "ü/run".as_bytes(),
        &[2, 1, 0, 0, 0, 0, 0, 0],
        &[0xab; 32],
    ]
    .concat();
    assert_eq!(listing.encode(), expected);
    assert_eq!(listing.total_bytes(), 261);
    assert_eq!(Listing::decode(&expected), Ok(listing));
    let nothing = Listing::new(Vec::new()).unwrap();
    assert_eq!(nothing.encode(), b"potluck listing1\0\0\0\0");
    assert_eq!(Listing::decode(&nothing.encode()), Ok(nothing));
}

#[test]
fn times_of_folders_follow_the_entries() {
    let listing =
        Listing::new(vec![file("a/b/c", 1), file("a/d", 1), folder("a/e"), file("f/g", 1), file("h", 1)])
            .unwrap();
    let bare = listing.encode();
    let times = |path: &str| Some(path.len() as i64 + 10);
    let timed = listing.clone().with_folder_times(times);
    let told: Vec<_> = timed.folder_times().collect();
    assert_eq!(told, [("", 10), ("a", 11), ("a/b", 13), ("f", 11)]);
    let tail: Vec<u8> = [10_i64, 11, 13, 11].iter().flat_map(|time| time.to_le_bytes()).collect();
    let bytes = [bare.clone(), tail].concat();
    assert_eq!(timed.encode(), bytes);
    assert_eq!(Listing::decode(&bytes), Ok(timed.clone()));
    let json = serde_json::to_string(&timed).unwrap();
    assert_eq!(serde_json::from_str::<Listing>(&json).unwrap(), timed);
    let part = timed.only(|entry| entry.path.as_str().starts_with("a/d"));
    assert_eq!(part.folder_times().collect::<Vec<_>>(), [("", 10), ("a", 11)]);
    assert_eq!(listing.clone().with_folder_times(|path| times(path).filter(|_| path != "f")), listing);
    for wrong in [8, 24, 33, 40] {
        let bytes = [bare.clone(), vec![0; wrong]].concat();
        assert_eq!(Listing::decode(&bytes), Err(ListingFault::Trailing(wrong)));
    }
}

#[test]
fn entries_are_sorted_and_checked() {
    let listing = Listing::new(vec![file("a.b", 1), file("a/c", 1), file("B", 1), folder("a/b")]).unwrap();
    let paths: Vec<&str> = listing.entries().iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(paths, ["B", "a/b", "a/c", "a.b"]);
    let fault = |entries| Listing::new(entries).unwrap_err();
    assert_eq!(fault(vec![file("a", 1), folder("b"), file("a", 2)]), ListingFault::Twice(path("a")));
    for outer in [file("a", 1), folder("a")] {
        let entries = vec![outer, file("a.b", 1), file("a-b", 1), file("a/b/c", 1)];
        assert_eq!(fault(entries), ListingFault::Below { outer: path("a"), inner: path("a/b/c") });
    }
    assert_eq!(fault(vec![file("a", CONTENT_BYTES_MAX + 1)]), ListingFault::BadLength(path("a")));
}

#[test]
fn bytes_that_are_not_canonical_are_refused() {
    let (a, b, inner) = (raw(0, b"a", 1), raw(1, b"b", 2), raw(2, b"a/x", 0));
    let good = raw_listing(&[a.clone(), b.clone()]);
    assert!(Listing::decode(&good).is_ok());
    let fault = |bytes: &[u8]| Listing::decode(bytes).unwrap_err();
    for cut in 0..good.len() {
        assert!(
            matches!(fault(&good[..cut]), ListingFault::NotAListing | ListingFault::CutShort),
            "cut at {cut}"
        );
    }
    assert_eq!(fault(&[&good[..], &[0, 0]].concat()), ListingFault::Trailing(2));
    assert_eq!(fault(&raw_listing(&[b.clone(), a.clone()])), ListingFault::Unsorted(path("a")));
    assert_eq!(fault(&raw_listing(&[a.clone(), a.clone()])), ListingFault::Twice(path("a")));
    let below = ListingFault::Below { outer: path("a"), inner: path("a/x") };
    assert_eq!(fault(&raw_listing(&[a, inner])), below);
    assert_eq!(fault(&raw_listing(&[raw(3, b"a", 1)])), ListingFault::UnknownTag { entry: 0, tag: 3 });
    assert_eq!(fault(&raw_listing(&[raw(0, b"a", u64::MAX)])), ListingFault::BadLength(path("a")));
    assert_eq!(fault(b"potluck listing2\0\0\0\0"), ListingFault::NotAListing);
}

/// A folder with a refused path is refused whole, with the path named, safe to print.
#[test]
fn a_refused_path_is_named() {
    for (bytes, fault, shown) in [
        (&b"../x"[..], PathFault::Name(NameFault::Dots), "`../x`: `.` and `..` are no names"),
        (b"/etc/x", PathFault::Name(NameFault::Absolute), "`/etc/x`: the path is absolute"),
        (
            b"a\x1b[2J",
            PathFault::Name(NameFault::Control),
            "`a\\u{1b}[2J`: a name contains a control character",
        ),
        (b"", PathFault::Name(NameFault::Empty), "``: a name is empty"),
        (b"a\xff", PathFault::NotUtf8, "`a\u{fffd}`: it is not UTF-8"),
    ] {
        let found = Listing::decode(&raw_listing(&[raw(0, bytes, 1)])).unwrap_err();
        assert!(matches!(&found, ListingFault::BadPath { fault: found, .. } if *found == fault), "{found:?}");
        assert_eq!(found.to_string(), format!("the folder contains a refused path, {shown}"));
    }
}

/// A count that the bytes cannot hold, or that is over the bound, allocates nothing.
#[test]
fn counts_are_checked_before_anything_is_allocated() {
    let claim =
        |count: u32| Listing::decode(&[&MAGIC[..], &count.to_le_bytes(), &[0; 100]].concat()).unwrap_err();
    assert_eq!(claim(u32::MAX), ListingFault::TooMany);
    assert_eq!(claim(LISTING_ENTRIES_MAX as u32 + 1), ListingFault::TooMany);
    assert_eq!(claim(LISTING_ENTRIES_MAX as u32), ListingFault::CutShort);
    assert_eq!(claim(9), ListingFault::CutShort);
}

#[test]
fn names_that_not_all_file_systems_hold_are_found_once() {
    let paths = ["10:30.log", "aux.d/a", "aux.d/b", "fine/foo... bar", "fine/x.", "資料"];
    let listing = Listing::new(paths.iter().map(|at| file(at, 1)).collect()).unwrap();
    let found = |max| listing.unportable(max);
    let all = [
        ("10:30.log", NameWarning::Character(':')),
        ("aux.d", NameWarning::Device),
        ("fine/x.", NameWarning::TrailingDot),
    ];
    assert_eq!(found(9), all.map(|(path, why)| (path.to_owned(), why)));
    assert_eq!(found(2).len(), 2);
}

#[test]
fn collisions_are_found_on_the_way_to_a_file_too() {
    let collisions = |paths: &[&str], max| {
        let listing = Listing::new(paths.iter().map(|at| file(at, 1)).collect()).unwrap();
        let pairs = listing.collisions(max).into_iter().map(|pair| (pair.first, pair.second));
        pairs.collect::<Vec<_>>()
    };
    let pair = |first: &str, second: &str| (first.to_owned(), second.to_owned());
    assert_eq!(collisions(&["a", "b", "c/a", "c/b", "d/a", "a.b"], 9), []);
    assert_eq!(collisions(&["Read.me", "read.me"], 9), [pair("Read.me", "read.me")]);
    assert_eq!(collisions(&["x/Sub/a", "x/Sub/b", "x/sub/c"], 9), [pair("x/Sub", "x/sub")]);
    assert_eq!(collisions(&["caf\u{e9}", "cafe\u{301}"], 9), [pair("cafe\u{301}", "caf\u{e9}")]);
    assert_eq!(collisions(&["STRASSE", "straße"], 9), [pair("STRASSE", "straße")]);
    assert_eq!(collisions(&["A", "A.x", "a"], 9), [pair("A", "a")]);
    assert_eq!(collisions(&["A/1", "AA", "a"], 9), [pair("A", "a")]);
    assert_eq!(collisions(&["A", "B", "a", "b"], 1).len(), 1);
    // A folder is left and come back to: it collides with nothing but others.
    assert_eq!(collisions(&["a/b/c", "a/b/d/e", "a/c", "a/c.d/e"], 9), []);
}

fn entries() -> impl Strategy<Value = Vec<ListingEntry>> {
    let at = "[ab.\u{e9}]{1,2}(/[ab.\u{e9}]{1,2}){0,3}"
        .prop_filter_map("a path", |text| SafePath::parse(&text).ok());
    let node = (any::<[u8; 32]>(), 0..=CONTENT_BYTES_MAX, any::<Option<bool>>(), any::<i64>());
    let entry = (at, node).prop_map(|(path, (id, length, executable, mtime_ns))| {
        let key = ContentKey { id: ContentId(id), length };
        let node = match executable {
            Some(executable) => Node::File { key, executable, mtime_ns },
            None => Node::Folder { mtime_ns },
        };
        ListingEntry { path, node }
    });
    proptest::collection::vec(entry, 0..12)
}

proptest! {
    /// A listing is what its bytes say, whatever the order it was made from; `new` and `decode` allow the same.
    #[test]
    fn bytes_carry_a_listing(mut entries in entries()) {
        let made = Listing::new(entries.clone());
        entries.reverse();
        match made {
            Ok(listing) => {
                prop_assert_eq!(Listing::new(entries), Ok(listing.clone()));
                prop_assert_eq!(listing.encode().len(), encoded_bytes(listing.entries()));
                prop_assert_eq!(Listing::decode(&listing.encode()), Ok(listing.clone()));
                let json = serde_json::to_string(&listing).unwrap();
                prop_assert_eq!(serde_json::from_str::<Listing>(&json).unwrap(), listing);
            }
            Err(_) => {
                entries.sort_by(|a, b| a.path.cmp(&b.path));
                let paths: Vec<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
                let clash = |a: &&str, b: &&str| a == b || b.starts_with(&format!("{a}/"));
                let pairs = paths.iter().enumerate().flat_map(|(at, a)| paths[at + 1..].iter().map(move |b| (a, b)));
                prop_assert!(pairs.clone().any(|(a, b)| clash(a, b)), "refused for a reason");
            }
        }
    }

    /// Whatever decodes is canonical: it encodes to the very same bytes. Nothing panics.
    #[test]
    fn any_bytes_are_safe(entries in entries(), at: usize, byte: u8, garbage: Vec<u8>) {
        let _ = Listing::decode(&garbage);
        let _ = Listing::decode(&[&MAGIC[..], &garbage].concat());
        if let Ok(listing) = Listing::new(entries) {
            let mut bytes = listing.encode();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(read) = Listing::decode(&bytes) {
                prop_assert_eq!(read.encode(), bytes);
            }
        }
    }
}
