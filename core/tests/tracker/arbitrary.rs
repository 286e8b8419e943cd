//! Anything, in any order: requests over links that exist or do not, answers to probes that run or do not, long silences.
//! Nothing is compared here; the harness checks after every input that all indexes agree, every bound is kept and every
//! due tick moves its deadline.

use std::time::Duration;

use potluck_core::content::Kind;
use potluck_core::ids::{ContentId, ContentKey, LinkId, OpId, PeerId, SessionToken};
use potluck_core::limits;
use potluck_core::peer::CloseReason;
use potluck_core::tracker::TrackerInput;
use potluck_core::wire::WireMessage as _;
use potluck_core::wire::peer::Offer;
use potluck_core::wire::tracker::{Accepting, Ad, Cursor, Matching, TrackerRequest};
use proptest::prelude::*;

use crate::harness::*;

fn content() -> impl Strategy<Value = ContentKey> {
    let lengths = [
        0,
        1,
        4 * limits::PIECE_BYTES_MIN,
        limits::CONTENT_BYTES_MAX,
        limits::CONTENT_BYTES_MAX + 1,
        u64::MAX,
    ];
    (0_u8..4, prop::sample::select(lengths.to_vec()))
        .prop_map(|(id, length)| ContentKey { id: ContentId([id; 32]), length })
}

fn peer() -> impl Strategy<Value = PeerId> {
    (0_u64..4).prop_map(peer_id)
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-c]{0,3}", "\\PC{0,20}", any::<String>(), Just("x".repeat(300))]
}

fn ad() -> impl Strategy<Value = Ad> {
    (content(), any::<bool>(), text(), any::<bool>(), 0_u32..6).prop_map(
        |(key, folder, name, member, pieces)| Ad {
            key,
            kind: if folder { Kind::Folder } else { Kind::File },
            name,
            member,
            pieces,
            total: key.length,
        },
    )
}

fn matching() -> impl Strategy<Value = Matching> {
    prop_oneof![
        Just(Matching::All),
        text().prop_map(Matching::Name),
        text().prop_map(Matching::Substring),
        text().prop_map(Matching::Prefix),
        prop_oneof![text(), "[a*?\\[\\]{},!\\\\-]{0,12}"].prop_map(Matching::Glob),
        prop_oneof![text(), "0[0-9a-f]{7,12}"].prop_map(Matching::IdPrefix),
    ]
}

fn request() -> impl Strategy<Value = TrackerRequest> {
    let seq = 1_u32;
    let token = prop::option::of(any::<[u8; 16]>().prop_map(SessionToken));
    let cursor = prop::option::of((text(), content()).prop_map(|(name, key)| Cursor { name, key }));
    let limit = prop_oneof![Just(0), Just(u32::MAX), 1_u32..300];
    prop_oneof![
        5 => (text(), any::<bool>(), any::<u16>(), token).prop_map(move |(name, any_name, listen_port, token)| {
            TrackerRequest::Join { seq, name, any_name, listen_port, token }
        }),
        5 => prop::collection::vec(ad(), 0..4).prop_map(move |ads| TrackerRequest::Announce { seq, ads }),
        2 => prop::collection::vec(content(), 0..4).prop_map(move |keys| TrackerRequest::Withdraw { seq, keys }),
        2 => (matching(), any::<bool>(), cursor, limit.clone()).prop_map(move |(matching, members, after, limit)| {
            TrackerRequest::Search { seq, matching, members, after, limit }
        }),
        1 => (content(), prop::option::of(peer()), limit.clone())
            .prop_map(move |(key, after, limit)| TrackerRequest::Holders { seq, key, after, limit }),
        1 => (prop::option::of(peer()), limit).prop_map(move |(after, limit)| TrackerRequest::Peers { seq, after, limit }),
        3 => content().prop_map(|key| TrackerRequest::Watch { key }),
        1 => content().prop_map(|key| TrackerRequest::Unwatch { key }),
        1 => any::<bool>().prop_map(|on| TrackerRequest::WatchPeers { on }),
        2 => text().prop_map(move |name| TrackerRequest::Rename { seq, name }),
        1 => peer().prop_map(|peer| TrackerRequest::AskToDial { peer }),
        2 => prop_oneof![
            Just(Accepting::Nobody),
            Just(Accepting::Everybody),
            prop::collection::vec(text(), 0..3).prop_map(Accepting::Names),
        ]
        .prop_map(move |from| TrackerRequest::AcceptOffers { seq, from }),
        2 => (peer(), content(), text()).prop_map(move |(to, key, name)| {
            TrackerRequest::OfferTo { seq, to, offer: Offer { key, kind: Kind::File, name }, total: 1 }
        }),
        2 => (content(), prop::collection::vec(text(), 0..4))
            .prop_map(|(key, names)| TrackerRequest::AlsoNamed { key, names }),
        1 => Just(TrackerRequest::Leave {}),
        1 => any::<u64>().prop_map(|nonce| TrackerRequest::Ping { nonce }),
        1 => any::<u64>().prop_map(|nonce| TrackerRequest::Pong { nonce }),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Input(TrackerInput),
    Pass(Duration),
    Mute(LinkId),
}

fn step() -> impl Strategy<Value = Step> {
    let link = || (1_u64..12).prop_map(LinkId);
    let addr = prop::sample::select(
        &["127.0.0.1:1", "[::1]:1", "[::ffff:10.0.0.1]:1", "10.0.0.1:1", "0.0.0.0:0"][..],
    );
    let input = prop_oneof![
        3 => (link(), peer(), addr)
            .prop_map(|(link, peer, addr)| TrackerInput::LinkUp { link, peer, addr: addr.parse().unwrap() }),
        1 => link().prop_map(|link| TrackerInput::LinkDown { link, reason: CloseReason::Broken }),
        16 => (link(), request()).prop_map(|(link, msg)| TrackerInput::Request { link, msg }),
        1 => (0_u64..12, prop::option::of(peer()))
            .prop_map(|(op, answered_by)| TrackerInput::Probed { op: OpId(op), answered_by }),
        1 => Just(TrackerInput::Tick),
    ];
    prop_oneof![
        12 => input.prop_map(Step::Input),
        2 => (0_u64..20_000).prop_map(|millis| Step::Pass(Duration::from_millis(millis))),
        1 => link().prop_map(Step::Mute),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_the_indexes_agree_and_the_bounds_hold(steps in prop::collection::vec(step(), 1..150)) {
        let mut hub = Hub::new();
        for step in steps {
            match step {
                Step::Input(input) => hub.input(input),
                Step::Pass(time) => hub.pass(time),
                Step::Mute(link) => _ = hub.mute.insert(link),
            }
        }
        // Every answer fits its frame.
        for msg in hub.take_all() {
            let mut body = Vec::new();
            msg.encode_body(&mut body);
            prop_assert!(Some(body.len() as u32) <= potluck_core::wire::tracker::TrackerMessage::body_bytes_max(msg.kind()));
        }
        // In the end, when nobody speaks any more, nothing is left.
        hub.mute.extend((0..20).map(LinkId));
        hub.pass(2 * LEASE + limits::VISITOR_IDLE);
        prop_assert_eq!(hub.tracker.link_count(), 0);
        prop_assert_eq!(hub.tracker.registration_count(), 0);
        prop_assert_eq!(hub.tracker.row_count(), 0);
        prop_assert_eq!(potluck_core::Machine::deadline(&hub.tracker), None);
    }
}
