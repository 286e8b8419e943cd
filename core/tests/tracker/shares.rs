//! Announcing, updating and withdrawing.

use std::time::Duration;

use potluck_core::Machine;
use potluck_core::content::Kind;
use potluck_core::limits;
use potluck_core::time::TimerKind;
use potluck_core::tracker::{TrackerEvent, TrackerInput};
use potluck_core::wire::tracker::{Ad, Matching, RefusedRequest, Row, TrackerRequest};

use crate::harness::*;

#[test]
fn announcing_again_updates() {
    let mut hub = Hub::new();
    let ann = hub.join(1, "ann");
    let row = |hub: &mut Hub| {
        let rows = hub.search(ann, Matching::All);
        let [Row { complete, partial, name, .. }] = &rows[..] else { panic!("{rows:?}") };
        (name.clone(), *complete, *partial)
    };
    hub.announce(ann, vec![partial(1, "a", 1)]);
    assert_eq!(row(&mut hub), ("a".into(), 0, 1));
    hub.announce(ann, vec![partial(1, "a", 3)]);
    assert_eq!(hub.holders(ann, four_pieces(1))[0].pieces, 3);
    hub.announce(ann, vec![partial(1, "a", 4)]);
    assert_eq!(row(&mut hub), ("a".into(), 1, 0));
    hub.announce(ann, vec![partial(1, "renamed", 4)]);
    assert_eq!(row(&mut hub), ("renamed".into(), 1, 0));
    // It lost everything: it is no holder.
    hub.announce(ann, vec![partial(1, "renamed", 0)]);
    assert!(hub.search(ann, Matching::All).is_empty());
    assert_eq!(hub.announce(ann, vec![partial(1, "renamed", 0)]), done(2));
    let announced = |event: &&TrackerEvent| matches!(event, TrackerEvent::Announced { .. });
    assert_eq!(hub.events.iter().filter(announced).count(), 1, "an update is no news");
}

#[test]
fn an_empty_content_is_held_whole() {
    let mut hub = Hub::new();
    let ann = hub.join(1, "ann");
    let empty =
        Ad { key: key(1, 0), kind: Kind::File, name: "empty".into(), member: false, pieces: 0, total: 0 };
    assert_eq!(hub.announce(ann, vec![empty]), done(2));
    let rows = hub.search(ann, Matching::All);
    assert_eq!((rows[0].complete, rows[0].partial), (1, 0));
}

#[test]
fn same_bytes_under_two_names_are_two_rows_of_one_content() {
    let mut hub = Hub::new();
    let ann = hub.join(1, "ann");
    let bob = hub.join(2, "bob");
    hub.announce(ann, vec![ad(1, "one")]);
    hub.announce(bob, vec![partial(1, "two", 2)]);
    let rows = hub.search(ann, Matching::All);
    assert_eq!(rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["one", "two"]);
    assert!(rows.iter().all(|row| (row.key, row.complete, row.partial) == (four_pieces(1), 1, 1)));
    assert_eq!(hub.holders(ann, four_pieces(1)).len(), 2);
    hub.drop_link(ann);
    assert_eq!(hub.names(bob, Matching::All), ["two"]);
}

#[test]
fn one_peer_may_have_several_names_for_the_same_bytes() {
    let mut hub = Hub::new();
    let (ann, bob) = (hub.join(1, "ann"), hub.join(2, "bob"));
    let key = four_pieces(1);
    let say = |hub: &mut Hub, link, names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        hub.tell(link, TrackerRequest::AlsoNamed { key, names });
        hub.names(bob, Matching::All)
    };
    assert!(say(&mut hub, ann, &["early"]).is_empty(), "it is not registered yet");
    hub.announce(ann, vec![ad(1, "one")]);
    assert_eq!(say(&mut hub, ann, &["two", "../three", "two"]), ["one", "two"]);
    assert_eq!(say(&mut hub, ann, &["two"]), ["one", "two"]);
    let told = hub.events.iter().filter(|event| match event {
        TrackerEvent::Announced { contents, .. } => contents == &["two"],
        _ => false,
    });
    assert_eq!(told.count(), 1, "a name that is said again is no news");
    assert_eq!(say(&mut hub, bob, &["mine"]), ["one", "two"], "only its owner may name it");
    assert_eq!(hub.names(bob, Matching::Name("two".into())), ["two"]);
    assert_eq!(hub.holders(bob, key).len(), 1);
    let many: Vec<String> = (0..300).map(|number| format!("{number:03}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(say(&mut hub, ann, &many).len(), 1 + limits::OTHER_NAMES_PER_CONTENT);
    assert_eq!(say(&mut hub, ann, &["three"]), ["one", "three"]);
    hub.announce(ann, vec![partial(1, "renamed", 2)]);
    assert_eq!(hub.names(bob, Matching::All), ["renamed", "three"]);
    hub.drop_link(ann);
    assert!(hub.names(bob, Matching::All).is_empty());
}

#[test]
fn one_name_for_different_bytes_is_two_rows() {
    let mut hub = Hub::new();
    let ann = hub.join(1, "ann");
    let bob = hub.join(2, "bob");
    hub.announce(ann, vec![ad(2, "same")]);
    hub.announce(bob, vec![ad(1, "same")]);
    let rows = hub.search(ann, Matching::Name("same".into()));
    assert_eq!(rows.iter().map(|row| row.key).collect::<Vec<_>>(), [four_pieces(1), four_pieces(2)]);
    assert_eq!(hub.holder_names(ann, four_pieces(1)), ["bob"]);
    // The same id with another stated length is another content too.
    let liar = Ad { key: key(1, 5), pieces: 1, ..ad(1, "same") };
    hub.announce(ann, vec![liar]);
    assert_eq!(hub.search(ann, Matching::All).len(), 3);
}

#[test]
fn a_row_is_a_folder_when_most_say_so() {
    let mut hub = Hub::new();
    let links: Vec<_> = (1..=3).map(|peer| hub.join(peer, &format!("p{peer}"))).collect();
    for (link, kind) in links.iter().zip([Kind::File, Kind::Folder, Kind::Folder]) {
        hub.announce(*link, vec![Ad { kind, ..ad(1, "it") }]);
    }
    assert_eq!(hub.search(links[0], Matching::All)[0].kind, Kind::Folder);
    hub.drop_link(links[2]);
    assert_eq!(hub.search(links[0], Matching::All)[0].kind, Kind::File);
}

#[test]
fn withdrawal_of_anothers_registration_is_refused() {
    let mut hub = Hub::new();
    let ann = hub.join(1, "ann");
    let eve = hub.join(2, "eve");
    hub.announce(ann, vec![ad(1, "a")]);
    hub.announce(eve, vec![ad(2, "b")]);
    assert_eq!(hub.withdraw(eve, vec![four_pieces(1)]), refused(3, RefusedRequest::NotYours));
    assert_eq!(hub.withdraw(eve, vec![four_pieces(9)]), refused(3, RefusedRequest::NotYours));
    assert_eq!(hub.holder_names(eve, four_pieces(1)), ["ann"]);
    // What is its own goes even so.
    assert_eq!(hub.withdraw(eve, vec![four_pieces(1), four_pieces(2)]), refused(3, RefusedRequest::NotYours));
    assert_eq!(hub.names(ann, Matching::All), ["a"]);
}

#[test]
fn who_has_not_joined_registers_nothing() {
    let mut hub = Hub::new();
    let visitor = hub.link(1);
    assert_eq!(hub.announce(visitor, vec![ad(1, "a")]), refused(2, RefusedRequest::NotJoined));
    assert_eq!(hub.withdraw(visitor, vec![four_pieces(1)]), refused(3, RefusedRequest::NotJoined));
    assert_eq!(hub.rename(visitor, "x"), refused(4, RefusedRequest::NotJoined));
}

#[test]
fn a_batch_with_a_fault_registers_nothing() {
    let mut hub = Hub::new();
    let ann = hub.join(1, "ann");
    let bad = |bad: Ad| vec![ad(1, "good"), bad];
    for name in ["", "..", "a/../b", "/etc/passwd", "a\nb", "a\0", "x\u{202e}", &"x".repeat(256)] {
        assert_eq!(hub.announce(ann, bad(ad(2, name))), refused(2, RefusedRequest::BadName), "{name:?}");
    }
    let too_long = Ad { key: key(2, limits::CONTENT_BYTES_MAX + 1), ..ad(2, "b") };
    for fault in [too_long, partial(2, "b", 5)] {
        let answer = hub.announce(ann, bad(fault));
        assert!(format!("{answer:?}").contains("BadQuery"), "{answer:?}");
    }
    let many = (0..=limits::ADS_PER_MESSAGE as u64).map(|n| ad(n, "x")).collect();
    assert_eq!(hub.announce(ann, many), limit(2, "256 contents per message"));
    assert_eq!(hub.tracker.registration_count(), 0);
    let long = "ü".repeat(127);
    assert_eq!(hub.announce(ann, vec![ad(1, &long), ad(2, "folder/file.txt")]), done(2));
    assert_eq!(hub.names(ann, Matching::All), ["folder/file.txt".to_owned(), long]);
}

/// What a peer with very many registrations leaves behind is taken apart in slices; it is gone from every answer at once.
#[test]
fn a_great_leave_is_done_in_slices() {
    let mut hub = Hub::new();
    let ann = hub.join(1, "ann");
    let bob = hub.join(2, "bob");
    hub.announce(bob, vec![ad(0, "f0")]);
    hub.checking = false;
    let count = 3 * limits::REMOVALS_PER_INPUT as u64;
    for first in (0..count).step_by(256) {
        hub.announce(ann, (first..first + 256).map(|n| ad(n, &format!("f{n}"))).collect());
    }
    hub.checking = true;
    hub.tell(bob, TrackerRequest::Watch { key: four_pieces(0) });
    hub.drop_link(ann);
    assert_eq!(hub.tracker.deadline().map(|due| due.why), Some(TimerKind::Continue));
    let (_, now, gone) = hub.pushes(bob).pop().unwrap();
    assert!(now.is_empty() && gone == [peer_id(1)]);
    assert_eq!(hub.holder_names(bob, four_pieces(count - 1)), [""; 0]);
    // The name is free, and the peer may come back, while the rest is taken apart.
    let again = hub.join(1, "ann");
    hub.announce(again, vec![ad(count - 1, "back")]);
    assert_eq!(hub.holder_names(bob, four_pieces(count - 1)), ["ann"]);
    while hub.tracker.deadline().is_some_and(|due| due.why == TimerKind::Continue) {
        hub.input(TrackerInput::Tick);
    }
    assert_eq!(hub.names(bob, Matching::All), ["back", "f0"]);
    hub.pass(Duration::from_secs(1));
}
