//! Join, leave, names, tokens, leases, probes, addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use potluck_core::ids::{LinkId, SessionToken};
use potluck_core::limits;
use potluck_core::peer::{CloseReason, Misbehaviour};
use potluck_core::tracker::{TrackerEvent, TrackerInput};
use potluck_core::wire::tracker::{Matching, RefusedRequest, TrackerMessage, TrackerRequest};

use crate::harness::*;

#[test]
fn join_share_search_leave() {
    let mut hub = Hub::new();
    let ann = hub.join(1, "ann");
    let bob = hub.join(2, "bob");
    assert_eq!(hub.announce(ann, vec![ad(1, "a.txt"), ad(2, "b.txt")]), done(2));
    assert_eq!(hub.names(bob, Matching::All), ["a.txt", "b.txt"]);
    assert_eq!(hub.holder_names(bob, four_pieces(1)), ["ann"]);

    hub.tell(ann, TrackerRequest::Leave {});
    assert_eq!(hub.is_closed(ann), Some(CloseReason::Done));
    assert!(hub.search(bob, Matching::All).is_empty());
    assert!(hub.holders(bob, four_pieces(1)).is_empty());
    assert_eq!(hub.peers(bob).len(), 1);
    let left = TrackerEvent::Left { name: "ann".into(), in_order: true, peers: 1 };
    assert!(hub.events.contains(&left));
    assert!(hub.tracker.registrations().next().is_none());
}

#[test]
fn a_taken_name_is_refused_with_a_free_one() {
    let mut hub = Hub::new();
    hub.join(1, "pavan");
    let second = hub.link(2);
    let offer = "pavan-2".to_owned();
    assert_eq!(
        hub.try_join(second, "pavan", false, None),
        refused(1, RefusedRequest::NameTaken { offer: offer.clone() })
    );
    assert!(matches!(hub.events.last(), Some(TrackerEvent::NameRefused { name, .. }) if name == "pavan"));
    assert!(matches!(hub.try_join(second, &offer, false, None), TrackerMessage::Joined { .. }));
    assert_eq!(hub.peers(second).len(), 2);
}

#[test]
fn any_name_is_given_a_free_one() {
    let mut hub = Hub::new();
    hub.join(1, "user@host");
    for (peer, wanted) in [(2, "user@host-2"), (3, "user@host-3")] {
        let link = hub.link(peer);
        let joined = hub.try_join(link, "user@host", true, None);
        assert!(matches!(joined, TrackerMessage::Joined { name, .. } if name == wanted));
    }
}

#[test]
fn a_name_that_does_not_print_is_refused() {
    let mut hub = Hub::new();
    let link = hub.link(1);
    for name in ["", "a\u{1b}[2J", " a", "\u{202e}a"] {
        assert_eq!(hub.try_join(link, name, true, None), refused(1, RefusedRequest::BadName));
    }
    hub.rejoin(link, "fine", None);
    assert_eq!(hub.rename(link, "no\nway"), refused(4, RefusedRequest::BadName));
}

#[test]
fn rename_then_withdraw() {
    let mut hub = Hub::new();
    let dante = hub.join(1, "Dante");
    let leo = hub.join(2, "Leonardo");
    hub.announce(dante, vec![ad(1, "file1.txt")]);
    assert_eq!(
        hub.rename(dante, "Leonardo"),
        refused(4, RefusedRequest::NameTaken { offer: "Leonardo-2".into() })
    );
    assert_eq!(hub.rename(dante, "Leo2"), done(4));
    assert_eq!(hub.rename(dante, "Leo2"), done(4));
    assert_eq!(hub.holder_names(leo, four_pieces(1)), ["Leo2"]);
    let third = hub.join(3, "Dante");
    assert_eq!(hub.withdraw(third, vec![four_pieces(1)]), refused(3, RefusedRequest::NotYours));
    assert_eq!(hub.withdraw(dante, vec![four_pieces(1)]), done(3));
    assert!(hub.search(leo, Matching::All).is_empty());
}

#[test]
fn renames_are_bounded() {
    let mut hub = Hub::new();
    let link = hub.join(1, "n0");
    let answers: Vec<_> = (1..=20).map(|n| hub.rename(link, &format!("n{n}"))).collect();
    let (granted, rest) = answers.split_at(limits::RENAMES_BURST as usize);
    assert!(granted.iter().all(|answer| *answer == done(4)));
    assert!(rest.iter().all(|answer| *answer == limit(4, "renames per second")));
    hub.pass(Duration::from_secs(2));
    assert_eq!(hub.rename(link, "later"), done(4));
}

#[test]
fn a_closed_link_is_a_leave_at_once() {
    let mut hub = Hub::new();
    let ann = hub.join(1, "ann");
    let bob = hub.join(2, "bob");
    hub.announce(ann, vec![ad(1, "a")]);
    hub.drop_link(ann);
    assert!(hub.holders(bob, four_pieces(1)).is_empty());
    assert!(hub.events.contains(&TrackerEvent::Left { name: "ann".into(), in_order: false, peers: 1 }));
    let again = hub.join(3, "ann");
    assert_eq!(hub.peers(again).len(), 2);
}

#[test]
fn a_token_takes_the_session_over_before_the_old_link_is_noticed_dead() {
    let mut hub = Hub::new();
    let old = hub.link(1);
    let token = hub.rejoin(old, "ann", None);
    hub.announce(old, vec![ad(1, "a")]);
    let new = hub.link_from(1, Ipv4Addr::new(10, 9, 9, 9));
    assert_eq!(hub.rejoin(new, "ann", Some(token)), token);
    assert_eq!(hub.is_closed(old), Some(CloseReason::Duplicate));
    assert_eq!(hub.peers(new).len(), 1);
    let holders = hub.holders(new, four_pieces(1));
    assert_eq!(holders[0].reach.ip, Some(IpAddr::from([10, 9, 9, 9])));
    // The dead link's end, reported late, ends nothing.
    hub.drop_link(old);
    assert_eq!(hub.holders(new, four_pieces(1)).len(), 1);
    assert_eq!(hub.withdraw(new, vec![four_pieces(1)]), done(3));
}

#[test]
fn a_peer_that_renamed_meanwhile_takes_over_under_its_new_name() {
    let mut hub = Hub::new();
    let old = hub.link(1);
    let token = hub.rejoin(old, "ann", None);
    hub.join(2, "bob");
    let new = hub.link(1);
    hub.rejoin(new, "anna", Some(token));
    let newer = hub.link(1);
    hub.rejoin(newer, "bob", Some(token));
    let names: Vec<_> = hub.tracker.sessions().map(|session| session.name.to_owned()).collect();
    assert!(names.contains(&"anna".to_owned()) && names.len() == 2);
}

#[test]
fn nobody_takes_a_session_over_without_its_token() {
    let mut hub = Hub::new();
    let ann = hub.join(1, "ann");
    for token in [None, Some(SessionToken([7; 16]))] {
        let thief = hub.link(1);
        assert_eq!(hub.try_join(thief, "thief", false, token), refused(1, RefusedRequest::NotYours));
    }
    assert_eq!(hub.is_closed(ann), None);
    // A token is worth nothing with another peer id either.
    let link = hub.link(5);
    let token = hub.rejoin(link, "eve", None);
    let other = hub.link(6);
    assert!(matches!(hub.try_join(other, "eve", false, Some(token)), TrackerMessage::Refused { .. }));
}

#[test]
fn joining_twice_is_out_of_place() {
    let mut hub = Hub::new();
    let ann = hub.join(1, "ann");
    hub.tell(
        ann,
        TrackerRequest::Join { seq: 1, name: "b".into(), any_name: true, listen_port: 1, token: None },
    );
    assert_eq!(hub.is_closed(ann), Some(CloseReason::Misbehaved(Misbehaviour::OutOfPlace)));
    assert_eq!(hub.tracker.sessions().count(), 0);
    assert!(
        matches!(&hub.events[..], [.., TrackerEvent::Misbehaved { who, .. }, TrackerEvent::Left { .. }] if who == "ann")
    );
}

#[test]
fn a_silent_peer_is_gone_when_its_lease_ends() {
    let mut hub = Hub::new();
    let ann = hub.join(1, "ann");
    hub.announce(ann, vec![ad(1, "a")]);
    hub.fall_silent();
    hub.pass(LEASE - Duration::from_millis(1));
    assert_eq!(hub.is_closed(ann), None);
    hub.pass(Duration::from_millis(1));
    assert_eq!(hub.is_closed(ann), Some(CloseReason::Silent));
    assert!(hub.events.contains(&TrackerEvent::Expired { name: "ann".into(), peers: 0 }));
    assert_eq!(hub.tracker.registrations().count(), 0);
    let pings = hub.take(ann).into_iter().filter(|msg| matches!(msg, TrackerMessage::Ping { .. }));
    assert_eq!(pings.count(), 1);
}

#[test]
fn a_peer_that_answers_stays() {
    let mut hub = Hub::new();
    let ann = hub.join(1, "ann");
    hub.pass(Duration::from_secs(3600));
    assert_eq!(hub.is_closed(ann), None);
    assert_eq!(hub.ask(ann, TrackerRequest::Ping { nonce: 5 }), TrackerMessage::Pong { nonce: 5 });
}

#[test]
fn a_probe_sets_dialable_and_nothing_else() {
    let mut hub = Hub::new();
    let ann = hub.join(1, "ann");
    let bob = hub.join(2, "bob");
    let nat = hub.link(3);
    hub.ask(
        nat,
        TrackerRequest::Join { seq: 1, name: "nat".into(), any_name: false, listen_port: 0, token: None },
    );
    let probes = std::mem::take(&mut hub.probes);
    assert_eq!(probes.len(), 2, "who accepts no links is not probed");
    assert_eq!(probes[0].1, "10.0.0.1:7000".parse().unwrap());
    assert!(hub.peers(ann).iter().all(|row| !row.reach.dialable));
    hub.input(TrackerInput::Probed { op: probes[0].0, answered_by: Some(peer_id(1)) });
    // Somebody else answers at the port that bob claims.
    hub.input(TrackerInput::Probed { op: probes[1].0, answered_by: Some(peer_id(1)) });
    hub.input(TrackerInput::Probed { op: probes[1].0, answered_by: Some(peer_id(2)) });
    let mut dialable: Vec<_> = hub.peers(bob).into_iter().map(|row| (row.name, row.reach.dialable)).collect();
    dialable.sort();
    assert_eq!(dialable, [("ann".into(), true), ("bob".into(), false), ("nat".into(), false)]);
    assert_eq!(hub.events.iter().filter(|event| matches!(event, TrackerEvent::Probed { .. })).count(), 2);
}

#[test]
fn probes_are_bounded_and_an_unanswered_one_gives_up() {
    let mut hub = Hub::new();
    let links: Vec<_> = (0..100).map(|peer| hub.join(peer, &format!("p{peer}"))).collect();
    assert_eq!(hub.probes.len(), limits::PROBES_MAX);
    hub.drop_link(links[0]);
    hub.drop_link(links[99]);
    assert_eq!(hub.probes.len(), limits::PROBES_MAX, "a running probe keeps its place until it ends");
    hub.pass(limits::PROBE_TIMEOUT);
    assert_eq!(hub.probes.len(), 99);
    hub.pass(limits::PROBE_TIMEOUT);
    let failed = |event: &&TrackerEvent| matches!(event, TrackerEvent::Probed { dialable: false, .. });
    assert_eq!(hub.events.iter().filter(failed).count(), 98);
}

#[test]
fn a_peer_on_the_trackers_machine_is_where_the_asker_reached_the_tracker() {
    let mut hub = Hub::new();
    let local = hub.link_from(1, Ipv4Addr::LOCALHOST);
    hub.rejoin(local, "local", None);
    let other = hub.link_from(2, Ipv4Addr::new(127, 0, 0, 5));
    hub.rejoin(other, "other", None);
    let mapped = hub.link_from(3, "::ffff:192.0.2.7".parse::<Ipv6Addr>().unwrap());
    let observed = match hub.try_join(mapped, "remote", false, None) {
        TrackerMessage::Joined { observed, .. } => observed,
        answer => panic!("{answer:?}"),
    };
    assert_eq!(observed, "192.0.2.7:7000".parse().unwrap());
    let ips = |hub: &mut Hub, asker| {
        let mut rows: Vec<_> = hub.peers(asker).into_iter().map(|row| (row.name, row.reach.ip)).collect();
        rows.sort();
        rows.into_iter().map(|(_, ip)| ip).collect::<Vec<_>>()
    };
    let remote = Some(IpAddr::from([192, 0, 2, 7]));
    assert_eq!(ips(&mut hub, mapped), [None, None, remote]);
    let loopback = [Some(IpAddr::from([127, 0, 0, 1])), Some(IpAddr::from([127, 0, 0, 5])), remote];
    assert_eq!(ips(&mut hub, local), loopback);
    // Asked from this machine, by a visitor.
    let visitor = hub.link_from(9, Ipv6Addr::LOCALHOST);
    assert_eq!(ips(&mut hub, visitor), loopback);
}

#[test]
fn who_cannot_dial_a_holder_asks_it_to_dial() {
    let mut hub = Hub::new();
    let ann = hub.join(1, "ann");
    let bob = hub.join(2, "bob");
    hub.tell(ann, TrackerRequest::AskToDial { peer: peer_id(2) });
    let pleas = hub.take(bob);
    let [TrackerMessage::PleaseDial { row }] = &pleas[..] else { panic!("{pleas:?}") };
    assert_eq!((row.name.as_str(), row.peer, row.reach.port), ("ann", peer_id(1), 7000));
    assert_eq!(row.reach.ip, Some(IpAddr::from([10, 0, 0, 1])));
    // Nobody, oneself, and without having joined: nothing happens.
    let visitor = hub.link(3);
    hub.tell(ann, TrackerRequest::AskToDial { peer: peer_id(99) });
    hub.tell(ann, TrackerRequest::AskToDial { peer: peer_id(1) });
    hub.tell(visitor, TrackerRequest::AskToDial { peer: peer_id(2) });
    assert!(hub.take(bob).is_empty() && hub.take(ann).is_empty());
    // One asker cannot flood a holder, nor can many.
    for peer in 10..14 {
        let link = hub.join(peer, &format!("p{peer}"));
        for _ in 0..100 {
            hub.tell(link, TrackerRequest::AskToDial { peer: peer_id(2) });
        }
    }
    assert_eq!(hub.take(bob).len() as u64, limits::DIAL_ASKS_BURST - 1);
}

#[test]
fn peers_are_bounded() {
    let mut hub = Hub::new();
    hub.checking = false;
    for peer in 0..limits::PEERS_PER_TRACKER as u64 {
        hub.join(peer, &format!("p{peer}"));
    }
    let one_more = hub.link(1_000_000);
    assert_eq!(hub.try_join(one_more, "late", false, None), limit(1, "peers"));
    hub.drop_link(LinkId(1));
    hub.checking = true;
    hub.rejoin(one_more, "late", None);
}

/// Many behind one address are not hindered; yet who has one address cannot take the places of all.
#[test]
fn peers_at_one_address_are_bounded_wherever_they_came_from() {
    let mut hub = Hub::new();
    hub.checking = false;
    let (crowded, elsewhere) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
    let mut first = None;
    for peer in 0..limits::PEERS_PER_ADDRESS as u64 {
        let link = hub.link_from(peer, crowded);
        let token = hub.rejoin(link, &format!("p{peer}"), None);
        first.get_or_insert((link, token));
    }
    hub.checking = true;
    let full = limit(1, "peers at one address");
    let one_more = hub.link_from(1_000_000, crowded);
    assert_eq!(hub.try_join(one_more, "late", false, None), full);
    let other = hub.link_from(1_000_000, elsewhere);
    let late = hub.rejoin(other, "late", None);
    let moved = hub.link_from(1_000_000, crowded);
    assert_eq!(hub.try_join(moved, "late", false, Some(late)), full, "nor does one move there");
    let (gone, token) = first.unwrap();
    let again = hub.link_from(0, crowded);
    hub.rejoin(again, "p0", Some(token));
    assert!(hub.closed.iter().any(|(link, _)| *link == gone), "who is there takes its session over");
    hub.drop_link(again);
    hub.rejoin(moved, "late", Some(late));
}

#[test]
fn equal_seeds_and_inputs_give_equal_effects() {
    let run = |seed| {
        let mut hub = Hub::seeded(seed);
        for peer in 0..40 {
            let link = hub.link(peer);
            hub.try_join(link, "same", true, None);
            hub.announce(link, vec![ad(1, "x")]);
            hub.tell(link, TrackerRequest::Watch { key: four_pieces(1) });
        }
        hub.pass(Duration::from_secs(1));
        hub.events
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
