//! Offers: passed on to whoever accepts those of the offering peer, and to nobody else.

use potluck_core::content::Kind;
use potluck_core::ids::LinkId;
use potluck_core::limits;
use potluck_core::wire::peer::Offer;
use potluck_core::wire::tracker::{Accepting, RefusedRequest, TrackerMessage, TrackerRequest};

use crate::harness::*;

fn offer_to(to: u64) -> TrackerRequest {
    let offer = Offer { key: four_pieces(1), kind: Kind::File, name: "a".to_owned() };
    TrackerRequest::OfferTo { seq: 5, to: peer_id(to), offer, total: 7 }
}

fn accept(hub: &mut Hub, link: LinkId, from: Accepting) -> Vec<TrackerMessage> {
    hub.tell(link, TrackerRequest::AcceptOffers { seq: 4, from });
    hub.take(link)
}

fn refused(answer: &[TrackerMessage]) -> bool {
    matches!(answer, [TrackerMessage::Refused { seq: 5, .. }])
}

#[test]
fn an_offer_reaches_who_accepts_it() {
    let mut hub = Hub::new();
    let (ann, bob) = (hub.join(1, "ann"), hub.join(2, "bob"));
    hub.tell(ann, offer_to(2));
    assert!(refused(&hub.take(ann)) && hub.take(bob).is_empty(), "nobody's at first");
    for (from, reaches) in [
        (Accepting::Names(vec!["eve".to_owned()]), false),
        (Accepting::Names(vec!["eve".to_owned(), "ann".to_owned()]), true),
        (Accepting::Everybody, true),
        (Accepting::Nobody, false),
    ] {
        assert_eq!(accept(&mut hub, bob, from.clone()), [TrackerMessage::Done { seq: 4 }]);
        hub.tell(ann, offer_to(2));
        let told = hub.take(bob);
        if reaches {
            assert_eq!(hub.take(ann), [TrackerMessage::Done { seq: 5 }]);
            let [TrackerMessage::Offered { from, offer, total: 7 }] = &told[..] else { panic!("{told:?}") };
            assert_eq!((from.name.as_str(), from.peer, offer.name.as_str()), ("ann", peer_id(1), "a"));
        } else {
            assert!(refused(&hub.take(ann)) && told.is_empty(), "{from:?}");
        }
    }
}

#[test]
fn the_name_that_counts_is_the_one_among_live_peers() {
    let mut hub = Hub::new();
    let (ann, bob) = (hub.join(1, "ann"), hub.join(2, "bob"));
    accept(&mut hub, bob, Accepting::Names(vec!["ann".to_owned()]));
    hub.tell(ann, TrackerRequest::Rename { seq: 1, name: "zoe".to_owned() });
    hub.take(ann);
    hub.tell(ann, offer_to(2));
    assert!(refused(&hub.take(ann)) && hub.take(bob).is_empty());
}

#[test]
fn offers_to_nobody_and_by_visitors_are_refused() {
    let mut hub = Hub::new();
    let ann = hub.join(1, "ann");
    let visitor = hub.link(2);
    for to in [1, 2, 99] {
        hub.tell(ann, offer_to(to));
        assert!(refused(&hub.take(ann)), "{to}");
    }
    hub.tell(visitor, offer_to(1));
    assert_eq!(hub.take(visitor), [TrackerMessage::Refused { seq: 5, why: RefusedRequest::NotJoined }]);
    let answer = accept(&mut hub, visitor, Accepting::Everybody);
    assert_eq!(answer, [TrackerMessage::Refused { seq: 4, why: RefusedRequest::NotJoined }]);
}

#[test]
fn offers_and_names_are_bounded() {
    let mut hub = Hub::new();
    let (ann, bob) = (hub.join(1, "ann"), hub.join(2, "bob"));
    let names = vec!["x".to_owned(); limits::ACCEPTED_NAMES_MAX + 1];
    assert!(matches!(accept(&mut hub, bob, Accepting::Names(names))[..], [TrackerMessage::Refused { .. }]));
    accept(&mut hub, bob, Accepting::Everybody);
    for _ in 0..2 * limits::OFFERS_BURST {
        hub.tell(ann, offer_to(2));
    }
    assert_eq!(hub.take(bob).len() as u64, limits::OFFERS_BURST);
    let refusals = hub.take(ann).iter().filter(|m| matches!(m, TrackerMessage::Refused { .. })).count();
    assert_eq!(refusals as u64, limits::OFFERS_BURST);
}
