//! Links that do not join: they ask, and are closed when they stop asking or are too many.

use std::net::IpAddr;
use std::time::Duration;

use potluck_core::Machine;
use potluck_core::limits;
use potluck_core::peer::CloseReason;
use potluck_core::wire::tracker::{Matching, TrackerRequest};

use crate::harness::*;

#[test]
fn a_visitor_asks_without_joining() {
    let mut hub = Hub::new();
    let ann = hub.join(1, "ann");
    hub.announce(ann, vec![ad(1, "a")]);
    let visitor = hub.link(2);
    assert_eq!(hub.names(visitor, Matching::All), ["a"]);
    assert_eq!(hub.holder_names(visitor, four_pieces(1)), ["ann"]);
    assert_eq!(hub.peers(visitor).len(), 1);
}

#[test]
fn a_link_that_neither_joins_nor_asks_is_closed() {
    let mut hub = Hub::new();
    let mute = hub.link(1);
    let asking = hub.link(2);
    hub.pass(limits::VISITOR_IDLE / 2);
    hub.search(asking, Matching::All);
    // Being alive is not asking.
    hub.ask(mute, TrackerRequest::Ping { nonce: 1 });
    hub.pass(limits::VISITOR_IDLE / 2);
    assert_eq!(hub.closed, [(mute, CloseReason::Silent)]);
    hub.pass(limits::VISITOR_IDLE / 2);
    assert_eq!(hub.closed.len(), 2);
    assert_eq!(hub.tracker.link_count(), 0);
    assert_eq!(hub.tracker.deadline(), None);
}

#[test]
fn a_visitor_that_watches_stays_while_it_answers() {
    let mut hub = Hub::new();
    let watcher = hub.link(1);
    hub.tell(watcher, TrackerRequest::WatchPeers { on: true });
    hub.pass(Duration::from_secs(600));
    assert!(hub.closed.is_empty());
    hub.fall_silent();
    hub.pass(LEASE + limits::PING_AFTER);
    assert_eq!(hub.closed, [(watcher, CloseReason::Silent)]);
}

#[test]
fn too_many_visitors_push_out_the_one_that_is_idle_longest() {
    let mut hub = Hub::new();
    hub.checking = false;
    let ann = hub.join(1, "ann");
    let first = hub.link(2);
    for peer in 3..3 + limits::VISITORS_MAX as u64 - 1 {
        hub.link(peer);
    }
    assert!(hub.closed.is_empty());
    hub.now = hub.now + Duration::from_millis(1);
    hub.search(first, Matching::All);
    let newest = hub.link(1_000_000);
    assert_eq!(hub.closed.len(), 1);
    assert_eq!(hub.closed[0].1, CloseReason::Full);
    assert_ne!(hub.closed[0].0, first);
    assert!(hub.names(newest, Matching::All).is_empty());
    hub.checking = true;
    assert_eq!(hub.peers(ann).len(), 1);
}

#[test]
fn watching_visitors_keep_nobody_out() {
    let mut hub = Hub::new();
    hub.checking = false;
    let ann = hub.join(1, "ann");
    let stays = hub.link(2);
    hub.tell(stays, TrackerRequest::Watch { key: four_pieces(1) });
    let crowded = IpAddr::from([10, 9, 9, 9]);
    hub.now = hub.now + Duration::from_millis(1);
    let mut theirs = Vec::new();
    for peer in 0..limits::VISITORS_MAX as u64 - 1 {
        let link = hub.link_from(1_000 + peer, crowded);
        hub.tell(link, TrackerRequest::Watch { key: four_pieces(1) });
        theirs.push((link, CloseReason::Full));
    }
    assert!(hub.closed.is_empty());
    // The crowded address makes room, also where others have asked nothing for longer, and also for one of its own.
    for peer in 0..100 {
        let new = hub.link(10_000 + peer);
        assert!(hub.names(new, Matching::All).is_empty());
    }
    hub.link_from(20_000, crowded);
    assert_eq!(hub.closed, theirs[..101]);
    // One of it that joins is no visitor.
    let bob = theirs[101].0;
    hub.rejoin(bob, "bob", None);
    hub.link(20_001);
    assert_eq!(hub.closed.len(), 101);
    hub.link(20_002);
    assert_eq!(hub.closed[101..], theirs[102..103]);
    hub.checking = true;
    assert_eq!(hub.peers(ann).len(), 2);
    hub.announce(ann, vec![ad(1, "a")]);
    hub.settle();
    assert!(!hub.take(stays).is_empty());
}

#[test]
fn what_comes_over_no_link_is_ignored() {
    let mut hub = Hub::new();
    let gone = hub.link(1);
    hub.drop_link(gone);
    hub.drop_link(gone);
    hub.tell(
        gone,
        TrackerRequest::Search { seq: 1, matching: Matching::All, members: false, after: None, limit: 1 },
    );
    hub.tell(gone, TrackerRequest::Leave {});
    assert!(hub.take(gone).is_empty() && hub.closed.is_empty());
}
