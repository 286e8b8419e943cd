//! Watches: the sample, what follows it, and how often.

use std::collections::BTreeSet;
use std::time::Duration;

use potluck_core::ids::{LinkId, PeerId};
use potluck_core::limits;
use potluck_core::peer::{CloseReason, Misbehaviour};
use potluck_core::tracker::{TrackerEvent, TrackerInput};
use potluck_core::wire::tracker::TrackerRequest;

use crate::harness::*;

fn watch(hub: &mut Hub, link: LinkId) -> Vec<PeerId> {
    hub.take(link);
    hub.tell(link, TrackerRequest::Watch { key: four_pieces(1) });
    let pushes = hub.pushes(link);
    let [(_, now, gone)] = &pushes[..] else { panic!("{pushes:?}") };
    assert!(gone.is_empty());
    now.iter().map(|row| row.peer).collect()
}

fn holder(hub: &mut Hub, peer: u64) -> LinkId {
    let link = hub.join(peer, &format!("p{peer}"));
    hub.announce(link, vec![ad(1, "x")]);
    link
}

#[test]
fn the_first_push_says_who_holds_it_even_nobody() {
    let mut hub = Hub::new();
    let ann = hub.join(1, "ann");
    assert!(watch(&mut hub, ann).is_empty());
    holder(&mut hub, 2);
    let bob = hub.join(3, "bob");
    assert_eq!(watch(&mut hub, bob), [peer_id(2)]);
}

#[test]
fn a_holder_that_comes_is_pushed_at_once_and_never_to_itself() {
    let mut hub = Hub::new();
    let ann = hub.join(1, "ann");
    watch(&mut hub, ann);
    holder(&mut hub, 2);
    let pushes = hub.pushes(ann);
    assert_eq!(pushes.len(), 1);
    assert_eq!(pushes[0].1[0].name, "p2");
    hub.announce(ann, vec![partial(1, "x", 1)]);
    hub.pass(Duration::from_secs(1));
    assert!(hub.pushes(ann).is_empty());
}

#[test]
fn changes_are_coalesced_to_a_few_pushes_a_second() {
    let mut hub = Hub::new();
    let ann = hub.join(1, "ann");
    watch(&mut hub, ann);
    let mut links = vec![];
    for peer in 2..12 {
        links.push(holder(&mut hub, peer));
        hub.pass(Duration::from_millis(10));
    }
    assert_eq!(hub.pushes(ann).len(), 1, "the first at once");
    // One of those that nobody was told of goes before it could be.
    hub.drop_link(links[9]);
    hub.drop_link(links[0]);
    hub.pass(limits::PUSH_INTERVAL);
    let pushes = hub.pushes(ann);
    let [(_, now, gone)] = &pushes[..] else { panic!("{pushes:?}") };
    assert_eq!((now.len(), &gone[..]), (8, &[peer_id(2)][..]));
    hub.pass(Duration::from_secs(5));
    assert!(hub.pushes(ann).is_empty());
    // After a quiet spell at once again.
    holder(&mut hub, 20);
    assert_eq!(hub.pushes(ann).len(), 1);
}

#[test]
fn what_changes_about_a_holder_is_pushed_but_not_each_piece() {
    let mut hub = Hub::new();
    let bob = hub.join(2, "bob");
    hub.announce(bob, vec![partial(1, "x", 1)]);
    let ann = hub.join(1, "ann");
    watch(&mut hub, ann);
    let mut change = |act: &mut dyn FnMut(&mut Hub)| {
        hub.pass(Duration::from_secs(1));
        act(&mut hub);
        let pushes = hub.pushes(ann);
        pushes.first().map(|(_, now, _)| (now[0].name.clone(), now[0].pieces, now[0].reach.dialable))
    };
    assert_eq!(change(&mut |hub| _ = hub.announce(bob, vec![partial(1, "x", 2)])), None);
    assert_eq!(
        change(&mut |hub| _ = hub.announce(bob, vec![partial(1, "x", 4)])),
        Some(("bob".into(), 4, false))
    );
    assert_eq!(change(&mut |hub| _ = hub.rename(bob, "rob")), Some(("rob".into(), 4, false)));
    let probe = |hub: &mut Hub| {
        let (op, _) = hub.probes[0];
        hub.input(TrackerInput::Probed { op, answered_by: Some(peer_id(2)) });
    };
    assert_eq!(change(&mut { probe }), Some(("rob".into(), 4, true)));
}

#[test]
fn the_sample_is_bounded_and_replaced() {
    let mut hub = Hub::new();
    hub.checking = false;
    let mut links: Vec<_> = (2..102).map(|peer| (peer_id(peer), holder(&mut hub, peer))).collect();
    hub.checking = true;
    let ann = hub.join(1, "ann");
    let mut known: BTreeSet<PeerId> = watch(&mut hub, ann).into_iter().collect();
    assert_eq!(known.len(), limits::HOLDER_SAMPLE);
    let bob = hub.join(500, "bob");
    let other: BTreeSet<PeerId> = watch(&mut hub, bob).into_iter().collect();
    assert_ne!(known, other, "each watcher has a sample of its own");
    // Nobody is told of more than it has room for.
    holder(&mut hub, 200);
    assert!(hub.pushes(ann).is_empty());
    // Who goes is replaced while there are others.
    while let Some((peer, link)) = links.pop() {
        hub.drop_link(link);
        hub.pass(limits::PUSH_INTERVAL);
        for (_, now, gone) in hub.pushes(ann) {
            assert_eq!(gone, [peer]);
            assert!(known.remove(&peer) && now.len() <= 1);
            known.extend(now.iter().map(|row| row.peer));
        }
        assert!(!known.contains(&peer));
        assert_eq!(known.len(), limits::HOLDER_SAMPLE.min(links.len() + 1));
    }
    assert_eq!(known, BTreeSet::from([peer_id(200)]));
}

#[test]
fn a_crowd_is_not_broadcast_to() {
    let mut hub = Hub::new();
    hub.checking = false;
    let links: Vec<_> = (0..300)
        .map(|peer| {
            let link = holder(&mut hub, peer);
            hub.tell(link, TrackerRequest::Watch { key: four_pieces(1) });
            link
        })
        .collect();
    hub.pass(Duration::from_secs(2));
    for link in &links {
        hub.take(*link);
    }
    hub.checking = true;
    holder(&mut hub, 1000);
    hub.drop_link(links[150]);
    hub.pass(Duration::from_secs(2));
    let told = links.iter().filter(|link| !hub.pushes(**link).is_empty()).count();
    assert!(told < 60, "{told} watchers were told of one departure");
}

#[test]
fn a_withdrawal_is_pushed_and_the_watch_outlives_the_content() {
    let mut hub = Hub::new();
    let ann = hub.join(1, "ann");
    let bob = holder(&mut hub, 2);
    watch(&mut hub, ann);
    hub.withdraw(bob, vec![four_pieces(1)]);
    let pushes = hub.pushes(ann);
    assert_eq!((pushes[0].1.len(), &pushes[0].2[..]), (0, &[peer_id(2)][..]));
    hub.pass(Duration::from_secs(1));
    hub.announce(bob, vec![ad(1, "again")]);
    assert_eq!(hub.pushes(ann)[0].1[0].peer, peer_id(2));
    hub.tell(ann, TrackerRequest::Unwatch { key: four_pieces(1) });
    hub.tell(ann, TrackerRequest::Unwatch { key: four_pieces(1) });
    hub.pass(Duration::from_secs(1));
    hub.drop_link(bob);
    hub.pass(Duration::from_secs(1));
    assert!(hub.pushes(ann).is_empty());
}

#[test]
fn a_holder_that_came_back_between_two_pushes_is_there() {
    let mut hub = Hub::new();
    let ann = hub.join(1, "ann");
    let bob = holder(&mut hub, 2);
    watch(&mut hub, ann);
    holder(&mut hub, 3);
    hub.take(ann);
    hub.drop_link(bob);
    holder(&mut hub, 2);
    hub.pass(limits::PUSH_INTERVAL);
    let pushes = hub.pushes(ann);
    assert_eq!(pushes.len(), 1);
    assert!(pushes[0].2.is_empty() && pushes[0].1[0].peer == peer_id(2));
}

#[test]
fn a_takeover_ends_the_watches_of_the_old_link() {
    let mut hub = Hub::new();
    let old = hub.link(1);
    let token = hub.rejoin(old, "ann", None);
    watch(&mut hub, old);
    let new = hub.link(1);
    hub.rejoin(new, "ann", Some(token));
    holder(&mut hub, 2);
    hub.pass(Duration::from_secs(1));
    assert!(hub.pushes(old).is_empty() && hub.pushes(new).is_empty());
    assert_eq!(watch(&mut hub, new), [peer_id(2)]);
}

#[test]
fn beyond_the_bound_there_is_one_sample_and_no_more() {
    let mut hub = Hub::new();
    let ann = hub.join(1, "ann");
    holder(&mut hub, 2);
    hub.checking = false;
    for number in 1..=limits::WATCHES_PER_PEER as u64 {
        hub.tell(ann, TrackerRequest::Watch { key: four_pieces(1000 + number) });
    }
    hub.checking = true;
    assert_eq!(watch(&mut hub, ann), [peer_id(2)]);
    let too_much = TrackerEvent::Misbehaved { who: "ann".into(), what: Misbehaviour::TooMuch };
    assert!(hub.events.contains(&too_much));
    hub.pass(Duration::from_secs(1));
    holder(&mut hub, 3);
    hub.pass(Duration::from_secs(1));
    assert!(hub.pushes(ann).is_empty());
}

#[test]
fn watches_of_all_peers_are_bounded() {
    let mut hub = Hub::new();
    hub.checking = false;
    holder(&mut hub, 1);
    for peer in 0..(limits::WATCHES_PER_TRACKER / limits::WATCHES_PER_PEER) as u64 {
        let link = hub.join(10 + peer, &format!("w{peer}"));
        for number in 0..limits::WATCHES_PER_PEER as u64 {
            hub.tell(link, TrackerRequest::Watch { key: four_pieces(1000 + number % 2000) });
        }
        hub.take(link);
    }
    let late = hub.join(1_000_000, "late");
    hub.checking = true;
    assert_eq!(watch(&mut hub, late), [peer_id(1)], "a sample there is");
    hub.pass(Duration::from_secs(1));
    holder(&mut hub, 2);
    assert!(hub.pushes(late).is_empty());
}

#[test]
fn an_impossible_content_cannot_be_watched() {
    let mut hub = Hub::new();
    let ann = hub.join(1, "ann");
    hub.tell(ann, TrackerRequest::Watch { key: key(1, limits::CONTENT_BYTES_MAX + 1) });
    assert_eq!(hub.is_closed(ann), Some(CloseReason::Misbehaved(Misbehaviour::OutOfRange)));
}

#[test]
fn the_list_of_peers_is_shown_and_then_what_becomes_of_it() {
    let mut hub = Hub::new();
    let watcher = hub.link(1);
    hub.tell(watcher, TrackerRequest::WatchPeers { on: true });
    assert_eq!(hub.peer_pushes(watcher), [(vec![], vec![])]);
    hub.pass(Duration::from_secs(1));
    let ann = hub.join(2, "ann");
    assert_eq!(hub.peer_pushes(watcher), [(vec!["ann".into()], vec![])]);
    // What happens now waits for the next push; who came and went meanwhile was never there.
    let bob = hub.join(3, "bob");
    hub.drop_link(bob);
    hub.rename(ann, "anna");
    hub.join(4, "cy");
    assert!(hub.peer_pushes(watcher).is_empty());
    hub.pass(limits::PUSH_INTERVAL);
    let mut pushes = hub.peer_pushes(watcher);
    pushes[0].0.sort();
    assert_eq!(pushes, [(vec!["anna".into(), "cy".into()], vec![])]);
    hub.pass(Duration::from_secs(1));
    hub.drop_link(ann);
    assert_eq!(hub.peer_pushes(watcher), [(vec![], vec!["anna".into()])]);
    hub.tell(watcher, TrackerRequest::WatchPeers { on: false });
    hub.pass(Duration::from_secs(1));
    hub.join(5, "dee");
    assert!(hub.peer_pushes(watcher).is_empty());
}

#[test]
fn a_long_list_of_peers_comes_in_pages() {
    let mut hub = Hub::new();
    hub.checking = false;
    let count = (limits::PEER_PUSHES + 2) * limits::ROWS_PER_REPLY;
    for peer in 0..count as u64 {
        hub.join(peer + 10, &format!("p{peer}"));
    }
    hub.checking = true;
    let watcher = hub.link(1);
    hub.tell(watcher, TrackerRequest::WatchPeers { on: true });
    let first = hub.peer_pushes(watcher);
    assert_eq!(first.len(), limits::PEER_PUSHES);
    hub.pass(limits::PUSH_INTERVAL);
    let rest = hub.peer_pushes(watcher);
    let all: BTreeSet<_> = first.into_iter().chain(rest).flat_map(|(joined, _)| joined).collect();
    assert_eq!(all.len(), count);
}

#[test]
fn a_reader_that_lost_its_place_is_closed() {
    let mut hub = Hub::new();
    let watcher = hub.link(1);
    hub.tell(watcher, TrackerRequest::WatchPeers { on: true });
    hub.checking = false;
    hub.join(5, "awake");
    for round in 0..limits::PEER_LOG_ENTRIES as u64 / 2 + 1 {
        let link = hub.join(10 + round % 2, "x");
        hub.drop_link(link);
    }
    hub.checking = true;
    hub.pass(limits::PUSH_INTERVAL);
    assert_eq!(hub.is_closed(watcher), Some(CloseReason::Overflow));
}

#[test]
fn watchers_of_the_list_are_bounded() {
    let mut hub = Hub::new();
    hub.checking = false;
    for peer in 0..limits::PEER_WATCHERS_MAX as u64 {
        let link = hub.link(peer);
        hub.tell(link, TrackerRequest::WatchPeers { on: true });
    }
    hub.checking = true;
    let one_more = hub.link(1_000_000);
    hub.tell(one_more, TrackerRequest::WatchPeers { on: true });
    assert!(hub.peer_pushes(one_more).is_empty());
    assert!(matches!(hub.events.last(), Some(TrackerEvent::Misbehaved { what: Misbehaviour::TooMuch, .. })));
}

/// Very many watchers of one content: what one input sets off is spread over as many as it takes.
#[test]
fn pushes_to_a_crowd_are_spread_over_inputs() {
    let mut hub = Hub::new();
    hub.checking = false;
    let watchers: Vec<_> = (0..5000)
        .map(|peer| {
            let link = hub.join(peer, &format!("w{peer}"));
            hub.tell(link, TrackerRequest::Watch { key: four_pieces(1) });
            hub.take(link);
            link
        })
        .collect();
    hub.pass(Duration::from_secs(1));
    let told = |hub: &mut Hub| watchers.iter().filter(|link| !hub.pushes(**link).is_empty()).count();
    let seed = hub.link(9999);
    hub.rejoin(seed, "seed", None);
    hub.tell(seed, TrackerRequest::Announce { seq: 1, ads: vec![ad(1, "x")] });
    let at_once = told(&mut hub);
    assert!(at_once > 1000 && at_once < 5000);
    hub.checking = true;
    hub.settle();
    assert_eq!(at_once + told(&mut hub), 5000);
}
