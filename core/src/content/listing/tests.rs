use super::*;

fn file(path: &str) -> ListingEntry {
    let key = ContentKey { id: ContentId([1; 32]), length: 10 };
    ListingEntry {
        path: SafePath::parse(path).unwrap(),
        node: Node::File { key, executable: false, mtime_ns: 5 },
    }
}

#[test]
fn bytes_are_canonical() {
    let listing = Listing::new(vec![file("a.b"), file("a/c"), file("B")]).unwrap();
    let paths: Vec<&str> = listing.entries().iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(paths, ["B", "a/c", "a.b"]);
    assert_eq!(Listing::decode(&listing.encode()), Ok(listing));
    assert!(matches!(
        Listing::new(vec![file("a"), file("a/c"), file("a.b")]),
        Err(ListingFault::Below { .. })
    ));
}
