//! Piece tables: who is asked, who gives, and how many.

use std::time::Duration;

use potluck_core::content::Kind;
use potluck_core::ids::{LinkId, PeerId, Slot};
use potluck_core::limits;
use potluck_core::peer::*;
use potluck_core::wire::peer::{Holding, PeerMessage};
use potluck_core::wire::tracker::{HolderRow, Reach, TrackerMessage};

use crate::case::*;
use crate::synthetic::Synthetic;

fn needing_table(content: &Synthetic) -> Case {
    let mut case = Case::new();
    case.join("me");
    case.fetch_kind(content, Kind::File);
    case.open(Opening::NeedsTable);
    case
}

/// Who is asked for the beginning of the table.
fn asked(effects: &[PeerEffect]) -> Vec<LinkId> {
    let asked = effects.iter().filter_map(|e| match e {
        PeerEffect::SendPeer { link, msg: PeerMessage::RequestTable { first: 0, .. } } => Some(*link),
        _ => None,
    });
    asked.collect()
}

fn joins(case: &mut Case, i: u8, content: &Synthetic, holding: Holding) -> Vec<PeerEffect> {
    let (link, slot, key) = (LinkId(i.into()), Slot(i.into()), content.key);
    case.says(link, PeerMessage::Join { slot, key, holding })
}

/// Is a peer given what it asks for, from this piece on?
fn is_given(case: &mut Case, i: u8, first: u32) -> bool {
    let msg = PeerMessage::RequestTable { slot: Slot(i.into()), first, count: limits::TABLE_SLICE_PIECES };
    case.says(LinkId(i.into()), msg).iter().any(|e| match e {
        PeerEffect::SendPeer { msg: PeerMessage::Table { values, .. }, .. } => !values.is_empty(),
        _ => false,
    })
}

#[test]
fn a_holder_that_the_tracker_knows_is_asked_in_the_first_breath() {
    let content = pieces(8);
    let mut case = needing_table(&content);
    let reach = Reach { ip: Some(addr(1).ip()), port: addr(1).port(), dialable: true };
    let now = vec![HolderRow { peer: PeerId([1; 32]), name: "peer1".to_owned(), reach, pieces: 8 }];
    let msg = TrackerMessage::HolderChange { key: content.key, now, gone: Vec::new() };
    case.input(PeerInput::Tracker { link: TRACKER, msg });
    let op = case.last(|e| match e {
        PeerEffect::Dial { op, role: Role::Peer, .. } => Some(*op),
        _ => None,
    });
    let (link, peer) = (LinkId(1), PeerId([1; 32]));
    let up = PeerInput::LinkUp { link, op: Some(op), role: Role::Peer, peer, addr: addr(1) };
    assert_eq!(asked(&case.input(up)), [link], "before it has said a word");
    assert_eq!(asked(&joins(&mut case, 1, &content, Holding::Everything)), [], "it is asked already");
    case.says(link, PeerMessage::Absent { slot: Slot(0), peers: Vec::new() });
    assert_eq!(asked(&case.pass(Duration::from_secs(10))), [], "it takes no part after all");
}

#[test]
fn a_table_is_taken_from_whoever_has_it_and_passed_on() {
    let content = pieces(8);
    let values = content.table.clone().expect("a table").values().to_vec();
    let mut case = needing_table(&content);
    let [one, two, three] = [1, 2, 3].map(|i| case.meet(i));
    assert_eq!(asked(&joins(&mut case, 1, &content, Holding::Everything)), [one]);
    let refused = PeerMessage::Table { slot: Slot(0), first: 0, values: Vec::new() };
    assert_eq!(asked(&case.says(one, refused)), [], "it was asked by too many");
    assert_eq!(asked(&joins(&mut case, 2, &content, Holding::Nothing)), [], "it has none");
    assert_eq!(asked(&joins(&mut case, 3, &content, Holding::Table)), [three], "not a piece, but the table");
    let slot = case.last(|e| match e {
        PeerEffect::SendPeer { msg: PeerMessage::RequestTable { slot, .. }, .. } => Some(*slot),
        _ => None,
    });
    case.done.clear();
    case.says(three, PeerMessage::Table { slot, first: 0, values: values.clone() });
    let told = case.done.iter().filter_map(|e| match e {
        PeerEffect::SendPeer { link, msg: PeerMessage::Join { holding: Holding::Table, .. } } => Some(*link),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), [two], "the only one without it");
    let effects = case.says(two, PeerMessage::RequestTable { slot: Slot(2), first: 0, count: 8 });
    assert!(says(&effects, &PeerMessage::Table { slot: Slot(2), first: 0, values }));
}

#[test]
fn where_all_refuse_they_are_asked_again_soon() {
    let content = pieces(8);
    let mut case = needing_table(&content);
    let one = case.meet(1);
    joins(&mut case, 1, &content, Holding::Everything);
    for _ in 0..5 {
        case.says(one, PeerMessage::Table { slot: Slot(0), first: 0, values: Vec::new() });
        assert_eq!(asked(&case.pass(Duration::from_millis(150))), [one]);
    }
}

#[test]
fn a_crowd_gets_some_tables_at_once_and_who_has_begun_gets_all_of_it() {
    let slice = limits::TABLE_SLICE_PIECES;
    let content = Synthetic::new(2 * u64::from(slice) * limits::PIECE_BYTES_MAX, 1);
    let mut case = Case::new();
    case.share(&content, "it");
    let crowd = 1..=40;
    for i in crowd.clone() {
        case.meet(i);
        joins(&mut case, i, &content, Holding::Nothing);
    }
    let begun: Vec<u8> = crowd.clone().filter(|i| is_given(&mut case, *i, 0)).collect();
    let bytes = begun.len() as u64 * u64::from(content.geometry.pieces()) * 32;
    assert!((1 << 20..2 << 20).contains(&bytes), "{bytes} bytes");
    assert!(begun.iter().all(|i| is_given(&mut case, *i, slice)), "the second half, too");
    assert!(!crowd.clone().any(|i| is_given(&mut case, i, slice)), "once, and nobody who has not begun");
    case.pass(Duration::from_secs(1));
    let later = crowd.filter(|i| is_given(&mut case, *i, 0)).count();
    assert!(later > 0, "the others a little later");
}

#[test]
fn who_asks_for_the_table_again_and_again_leaves_some_for_others() {
    let content = Synthetic::new(u64::from(limits::TABLE_SLICE_PIECES) * limits::PIECE_BYTES_MAX, 1);
    let mut case = Case::new();
    case.share(&content, "it");
    for i in [1, 2] {
        case.meet(i);
        joins(&mut case, i, &content, Holding::Nothing);
    }
    for _ in 0..20 {
        for _ in 0..100 {
            is_given(&mut case, 1, 0);
        }
        case.pass(Duration::from_millis(100));
    }
    assert!(is_given(&mut case, 2, 0), "the second link has not had one");
}

#[test]
fn a_table_over_a_far_link_is_waited_for() {
    let content = pieces(8);
    let mut case = needing_table(&content);
    let one = case.meet(1);
    let ping = case.last(|e| match e {
        PeerEffect::SendPeer { msg: PeerMessage::Ping { nonce }, .. } => Some(*nonce),
        _ => None,
    });
    let rtt = Duration::from_millis(2010);
    let mut open = asked(&joins(&mut case, 1, &content, Holding::Everything)).len();
    open += asked(&case.pass(rtt)).len();
    case.says(one, PeerMessage::Pong { nonce: ping });
    open += asked(&case.pass(rtt)).len();
    assert_eq!(open, 2, "asked again when the round trip was not known, and then waited for");
}
