//! Searching: what matches, in which order, page by page.

use std::net::Ipv4Addr;
use std::time::Duration;

use potluck_core::content::Kind;
use potluck_core::ids::LinkId;
use potluck_core::limits;
use potluck_core::wire::tracker::{Ad, Matching, RefusedRequest, TrackerMessage, TrackerRequest};

use crate::harness::*;

fn hub_with(names: &[&str]) -> (Hub, LinkId) {
    let mut hub = Hub::new();
    let link = hub.join(1, "ann");
    let ads = names.iter().enumerate().map(|(n, name)| ad(n as u64, name)).collect();
    assert_eq!(hub.announce(link, ads), done(2));
    (hub, link)
}

#[test]
fn nothing_matches_nothing() {
    let mut hub = Hub::new();
    let visitor = hub.link(1);
    for matching in [Matching::All, Matching::Substring("x".into()), Matching::IdPrefix("00000000".into())] {
        assert_eq!(hub.page(visitor, matching, true, None, 10), (vec![], None));
    }
}

#[test]
fn each_way_to_match() {
    let (mut hub, link) =
        hub_with(&["Zebra.txt", "alpha.TXT", "alpha.txt", "beta", "Straße.mp3", "ΟΔΥΣΣΕΥΣ", "日本語.txt"]);
    let mut names = |matching| hub.names(link, matching);
    let text = str::to_owned;
    assert_eq!(names(Matching::Substring(text("ALPHA"))), ["alpha.TXT", "alpha.txt"]);
    assert_eq!(names(Matching::Substring(text("strasse"))), ["Straße.mp3"]);
    assert_eq!(names(Matching::Substring(text("οδυσσευς"))), ["ΟΔΥΣΣΕΥΣ"]);
    assert_eq!(names(Matching::Substring(text("本"))), ["日本語.txt"]);
    assert_eq!(names(Matching::Substring(text(""))).len(), 7);
    // Names lie end to end; nothing may match across two of them.
    assert!(names(Matching::Substring(text("txt\nalpha"))).is_empty());
    assert!(names(Matching::Substring(text("txtalpha"))).is_empty());
    assert_eq!(names(Matching::Name(text("alpha.txt"))), ["alpha.txt"]);
    assert!(names(Matching::Name(text("alpha"))).is_empty());
    assert_eq!(names(Matching::Prefix(text("alpha"))), ["alpha.TXT", "alpha.txt"]);
    assert_eq!(names(Matching::Glob(text("*.txt"))), ["Zebra.txt", "alpha.txt", "日本語.txt"]);
    assert_eq!(names(Matching::Glob(text("alpha.{txt,TXT}"))), ["alpha.TXT", "alpha.txt"]);
    assert_eq!(names(Matching::Glob(text("[a-b]???"))), ["beta"]);
    assert_eq!(names(Matching::All).len(), 7);
}

#[test]
fn a_query_that_cannot_be_understood_is_refused() {
    let (mut hub, link) = hub_with(&["a"]);
    for matching in [
        Matching::Glob("[".into()),
        Matching::Glob("*".repeat(limits::GLOB_WILDCARDS_MAX + 1)),
        Matching::IdPrefix("1234567".into()),
        Matching::IdPrefix("1234567x".into()),
        Matching::IdPrefix("0".repeat(65)),
        Matching::Substring("x".repeat(limits::QUERY_BYTES_MAX + 1)),
    ] {
        let answer =
            hub.ask(link, TrackerRequest::Search { seq: 5, matching, members: true, after: None, limit: 1 });
        assert!(matches!(answer, TrackerMessage::Refused { seq: 5, why: RefusedRequest::BadQuery(_) }));
    }
}

#[test]
fn ids_are_found_by_their_beginning() {
    let (mut hub, link) = hub_with(&["zero", "one", "two"]);
    let bob = hub.join(2, "bob");
    hub.announce(bob, vec![ad(1, "uno")]);
    assert_eq!(hub.names(link, Matching::IdPrefix("00000001".into())), ["one", "uno"]);
    let whole = four_pieces(2).id.to_string().to_uppercase();
    assert_eq!(hub.names(link, Matching::IdPrefix(whole)), ["two"]);
    let (rows, next) = hub.page(link, Matching::IdPrefix("00000001".into()), false, None, 1);
    assert_eq!(rows[0].name, "one");
    let (rows, next) = hub.page(link, Matching::IdPrefix("00000001".into()), false, next, 1);
    assert_eq!((rows[0].name.as_str(), next), ("uno", None));
}

#[test]
fn members_of_folders_are_listed_on_request() {
    let mut hub = Hub::new();
    let ann = hub.join(1, "ann");
    let folder = Ad { kind: Kind::Folder, ..ad(0, "folder") };
    let member = Ad { member: true, ..ad(1, "inner.txt") };
    hub.announce(ann, vec![folder, member.clone()]);
    assert_eq!(hub.names(ann, Matching::All), ["folder"]);
    assert!(hub.search(ann, Matching::Substring("inner".into())).is_empty());
    let (rows, _) = hub.page(ann, Matching::All, true, None, 10);
    assert_eq!(rows.len(), 2);
    assert!(hub.search(ann, Matching::IdPrefix(member.key.id.to_string())).is_empty());
    assert_eq!(hub.page(ann, Matching::IdPrefix(member.key.id.to_string()), true, None, 9).0.len(), 1);
    // Somebody shares it by itself: listed, until that one leaves.
    let bob = hub.join(2, "bob");
    hub.announce(bob, vec![ad(1, "inner.txt")]);
    assert_eq!(hub.names(ann, Matching::All), ["folder", "inner.txt"]);
    hub.drop_link(bob);
    assert_eq!(hub.names(ann, Matching::All), ["folder"]);
}

#[test]
fn pages_go_on_where_the_last_one_ended_whatever_happens_between() {
    let mut hub = Hub::new();
    let ann = hub.join(1, "ann");
    hub.checking = false;
    for first in (0..1024_u64).step_by(256) {
        hub.announce(ann, (first..first + 256).map(|n| ad(n, &format!("{:05}", n * 7919 % 1024))).collect());
    }
    hub.checking = true;
    for matching in [Matching::All, Matching::Substring("0".into()), Matching::Glob("0*".into())] {
        let (first, next) = hub.page(ann, matching.clone(), false, None, 100);
        assert_eq!(first.len(), 100);
        assert!(first.is_sorted_by(|a, b| (&a.name, a.key) < (&b.name, b.key)));
        // The row that the cursor names is withdrawn, and one before it appears.
        let last = first.last().unwrap();
        hub.withdraw(ann, vec![last.key]);
        let (second, _) = hub.page(ann, matching, false, next, 100);
        assert!(second[0].name > last.name);
        assert_eq!(second[0].name, "00100");
        hub.announce(ann, vec![Ad { key: last.key, ..ad(0, &last.name) }]);
    }
    let (rows, next) = hub.page(ann, Matching::All, false, None, u32::MAX);
    assert_eq!((rows.len(), next.is_some()), (limits::ROWS_PER_REPLY, true));
    assert_eq!(hub.page(ann, Matching::All, false, None, 0).0.len(), 1);
    assert_eq!(hub.search(ann, Matching::All).len(), 1024);
    // A page that ends with the last row has no next one.
    assert_eq!(hub.page(ann, Matching::Prefix("0000".into()), false, None, 10).1, None);
}

const NAMES: u64 = 64 * 256;

/// A tracker with [`NAMES`] names, and whoever announced them.
fn large_hub() -> (Hub, LinkId) {
    let mut hub = Hub::new();
    let link = hub.join(1, "ann");
    hub.checking = false;
    for first in (0..NAMES).step_by(256) {
        hub.announce(link, (first..first + 256).map(|n| ad(n, &format!("{n}"))).collect());
    }
    (hub, link)
}

/// A search through all names; was it done?
fn searched(hub: &mut Hub, link: LinkId) -> bool {
    let matching = Matching::Substring("x".into());
    let asked = TrackerRequest::Search { seq: 5, matching, members: true, after: None, limit: 1 };
    match hub.ask(link, asked) {
        TrackerMessage::Rows { .. } => true,
        refused => {
            assert_eq!(refused, limit(5, "searches per second"));
            false
        }
    }
}

/// Searches until that is refused; returns the work done.
fn search_all_out(hub: &mut Hub, link: LinkId) -> u64 {
    let mut work = 0;
    while searched(hub, link) {
        work += NAMES;
        assert!(work < 2 * limits::SEARCH_WORK_BURST);
    }
    work
}

#[test]
fn work_per_address_is_bounded() {
    let (mut hub, link) = large_hub();
    assert!(search_all_out(&mut hub, link) > limits::SEARCH_WORK_BURST / 2);
    // More links from there, or from its network, are no more strangers.
    let again = hub.link_from(2, Ipv4Addr::new(10, 0, 0, 1));
    assert!(!searched(&mut hub, again));
    let other = hub.link(2);
    assert!(searched(&mut hub, other));
    hub.pass(Duration::from_secs(1));
    assert!(searched(&mut hub, link) && searched(&mut hub, again));
}

#[test]
fn work_in_all_is_bounded_and_who_searches_little_is_served() {
    let (mut hub, _) = large_hub();
    let greedy: Vec<LinkId> = (2..22).map(|peer| hub.link(peer)).collect();
    let round = |hub: &mut Hub| greedy.iter().map(|link| search_all_out(hub, *link)).sum::<u64>();
    // Each has done what an address may do when others do the rest, and no more.
    let little = |seconds: u64| 20 * (seconds + 2) * limits::SEARCH_WORK_PER_REPLY;
    let first = round(&mut hub);
    assert!(first <= limits::SEARCH_WORK_BURST + little(0) + 21 * NAMES, "{first}");
    let modest = hub.link(99);
    for second in 0..5 {
        hub.pass(Duration::from_secs(1));
        let work = round(&mut hub);
        assert!(work <= limits::SEARCH_WORK_IN_ALL_PER_SECOND + little(1), "{work} in second {second}");
        assert!((0..100).all(|_| searched(&mut hub, modest)), "whoever searches little is served");
    }
}
