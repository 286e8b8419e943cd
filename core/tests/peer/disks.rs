//! Syncs that fail, disks that are full: what is lost is neither sent nor announced, and comes again.

use std::time::Duration;

use crate::case::*;
use crate::synthetic::Synthetic;
use potluck_core::content::{Kind, PieceSet};
use potluck_core::ids::{ChunkAddr, ChunkRun, DownloadId, LinkId, OpId, PieceIndex, Slot};
use potluck_core::peer::*;
use potluck_core::wire::peer::{Holding, PeerMessage, Refusal, RequestRef};
use potluck_core::wire::tracker::TrackerRequest;

/// A peer that has fetched these pieces from the first of two partners; the second has none.
fn fetched_from_one(held: &str) -> (Synthetic, Case, [LinkId; 2]) {
    let content = pieces(held.len() as u64);
    let mut case = Case::new();
    let nothing = ".".repeat(held.len());
    case.fetch(&content, set(&content, &nothing));
    let links = [case.meet(1), case.meet(2)];
    case.holds(1, &content, held);
    case.holds(2, &content, &nothing);
    case.arrive_all(&content, links[0]);
    (content, case, links)
}

fn begun_sync(case: &mut Case) -> OpId {
    case.pass(Duration::from_secs(3)).iter().find_map(sync_op).expect("a sync in the background")
}

#[test]
fn pieces_that_a_failed_sync_lost_are_refused_and_not_sent() {
    let (_, mut case, [_, two]) = fetched_from_one("##.");
    let run = ChunkRun { piece: PieceIndex(0), first: 0, count: 1 };
    case.says(two, PeerMessage::Request { slot: Slot(2), run });
    let sync = begun_sync(&mut case);
    let effects = case.input(PeerInput::Synced { op: sync, result: Err(StorageFault::Io) });
    let which = RequestRef::Piece(PieceIndex(0));
    assert!(says(&effects, &PeerMessage::Refuse { slot: Slot(2), which, why: Refusal::Lacks }));
    let effects = case.input(PeerInput::Writable { link: two, bytes: 1 << 20 });
    assert!(!effects.iter().any(|e| matches!(e, PeerEffect::SendChunk { .. })), "{effects:?}");
}

/// It was written before the sync, and let go of by the system; only the report comes later.
#[test]
fn what_was_written_before_a_sync_that_failed_does_not_count_when_it_is_reported_after() {
    let (content, mut case, [one, _]) = fetched_from_one("##.");
    case.says(one, PeerMessage::Have { slot: Slot(1), pieces: vec![PieceIndex(2)] });
    let last = |case: &Case| case.expected(one).into_iter().rev().find(|(_, run)| run.piece.0 == 2);
    let (op, _) = last(&case).expect("the last piece is asked for");
    let sync = begun_sync(&mut case);
    case.input(PeerInput::Synced { op: sync, result: Err(StorageFault::Io) });
    case.arrive(&content, op, 2, true);
    assert!(case.peer.held(content.key).expect("a swarm").is_empty());
    case.pass(Duration::from_secs(3));
    let (again, _) = last(&case).expect("it is asked for again");
    assert_ne!(again, op);
    case.arrive(&content, again, 2, true);
    assert!(case.peer.held(content.key).expect("a swarm").contains(PieceIndex(2)));
}

#[test]
fn pieces_that_a_failed_sync_lost_are_not_announced_late() {
    let (content, mut case, [one, two]) = fetched_from_one("#...");
    let sync = begun_sync(&mut case);
    case.done.clear();
    case.says(one, PeerMessage::Have { slot: Slot(1), pieces: vec![PieceIndex(1), PieceIndex(2)] });
    case.arrive_all(&content, one);
    let told = |case: &Case| -> Vec<PieceIndex> {
        let said = case.done.iter().filter_map(|effect| match effect {
            PeerEffect::SendPeer { link, msg: PeerMessage::Have { pieces, .. } } if *link == two => {
                Some(pieces)
            }
            _ => None,
        });
        said.flatten().copied().collect()
    };
    assert_eq!(told(&case).len(), 1, "the second waits for more of its kind");
    case.input(PeerInput::Synced { op: sync, result: Err(StorageFault::Io) });
    case.done.clear();
    case.pass(Duration::from_secs(1));
    assert_eq!(told(&case), [], "nothing is held any more");
}

#[test]
fn the_tracker_hears_of_pieces_that_a_failed_sync_lost() {
    let content = pieces(3);
    let mut case = Case::new();
    case.join("ann");
    case.fetch(&content, set(&content, "..."));
    let one = case.meet(1);
    case.holds(1, &content, "##.");
    case.arrive_all(&content, one);
    let sync = begun_sync(&mut case);
    case.done.clear();
    case.input(PeerInput::Synced { op: sync, result: Err(StorageFault::Io) });
    case.pass(Duration::from_secs(1));
    let withdrawn = case.done.iter().any(|effect| match effect {
        PeerEffect::SendTracker { msg: TrackerRequest::Withdraw { keys, .. }, .. } => {
            keys.contains(&content.key)
        }
        _ => false,
    });
    assert!(withdrawn, "{:?}", case.done);
}

#[test]
fn a_download_is_put_in_place_only_after_the_sync_that_runs() {
    let content = pieces(2);
    let mut case = Case::new();
    case.fetch(&content, set(&content, ".."));
    let one = case.meet(1);
    case.holds(1, &content, ".#");
    case.arrive_all(&content, one);
    let sync = begun_sync(&mut case);
    case.says(one, PeerMessage::Have { slot: Slot(1), pieces: vec![PieceIndex(0)] });
    case.arrive_all(&content, one);
    assert!(case.done.iter().find_map(finish_op).is_none(), "the sync may fail");
    let effects = case.input(PeerInput::Synced { op: sync, result: Err(StorageFault::Io) });
    assert!(effects.iter().find_map(finish_op).is_none());
    assert!(case.peer.held(content.key).expect("a swarm").is_empty(), "all is fetched and written again");
    case.pass(Duration::from_secs(3));
    case.arrive_all(&content, one);
    let finish = case.done.iter().find_map(finish_op).expect("nothing is in the way any more");
    case.input(PeerInput::Finished { op: finish, result: Ok(()) });
    assert!(case.peer.is_complete(content.key));
}

#[test]
fn a_finish_that_failed_is_tried_again_though_nothing_was_lost() {
    let content = pieces(2);
    let mut case = Case::new();
    case.fetch(&content, set(&content, "##"));
    let finish = case.last(finish_op);
    case.input(PeerInput::Finished { op: finish, result: Err(StorageFault::Io) });
    let again = case.pass(Duration::from_secs(3)).iter().find_map(finish_op).expect("another try");
    case.input(PeerInput::Finished { op: again, result: Ok(()) });
    assert!(case.peer.is_complete(content.key));
}

/// Descriptors are given back sooner than a disk gets room.
#[test]
fn for_want_of_descriptors_a_download_waits_a_moment() {
    let opened = |e: &PeerEffect| matches!(e, PeerEffect::Open { .. });
    for (fault, soon) in [(StorageFault::TooManyOpen, true), (StorageFault::Full, false)] {
        let mut case = Case::new();
        case.fetch_kind(&pieces(2), Kind::File);
        let op = case.last(|e| match e {
            PeerEffect::Open { op, .. } => Some(*op),
            _ => None,
        });
        case.input(PeerInput::Opened { op, result: Err(fault) });
        let again = case.pass(Duration::from_millis(300)).iter().any(opened);
        assert_eq!(again, soon, "{fault:?}");
        assert!(again || case.pass(Duration::from_secs(2)).iter().any(opened), "{fault:?}");
    }
}

#[test]
fn a_full_disk_under_one_download_does_not_hold_up_another_of_the_same_content() {
    let content = pieces(3);
    let other = DownloadId(2);
    let mut case = Case::new();
    case.fetch(&content, set(&content, "..."));
    let (key, name) = (content.key, "it".to_owned());
    let (peers, how) = (Vec::new(), FetchOptions::default());
    case.command(Command::Fetch { download: other, key, kind: Kind::File, name, peers, how });
    let one = case.meet(1);
    case.holds(1, &content, "###");
    let (op, run) = case.expected(one)[0];
    let at = ChunkAddr { piece: run.piece, chunk: 0 };
    let result = Err(ChunkFault::Storage(StorageFault::Full));
    let full = |download| {
        move |e: &PeerEffect| match e {
            PeerEffect::Report(PeerEvent::Waiting { download: d, reason, .. }) => {
                *d == download && *reason == WaitReason::Storage(StorageFault::Full)
            }
            _ => false,
        }
    };
    let effects = case.input(PeerInput::ChunkArrived { op, at, result });
    assert!(effects.iter().any(full(DOWNLOAD)), "{effects:?}");
    assert!(effects.contains(&PeerEffect::Release { place: Place::Root(DOWNLOAD) }));
    let place = Place::Root(other);
    assert!(effects.iter().any(|e| matches!(e, PeerEffect::Open { place: p, .. } if *p == place)));
    let table = content.table.clone();
    case.open(Opening::Part { table, have: PieceSet::empty(3) });
    case.says(one, PeerMessage::Join { slot: Slot(9), key, holding: Holding::Everything });
    case.arrive_all(&content, one);
    let finish = case.last(finish_op);
    case.input(PeerInput::Finished { op: finish, result: Ok(()) });
    let copy = |e: &PeerEffect| match e {
        PeerEffect::CopyLocal { op, place: Place::Root(DOWNLOAD), .. } => Some(*op),
        _ => None,
    };
    // The first one's disk is still full; later it is not.
    let op = case.last(copy);
    let effects = case.input(PeerInput::Copied { op, result: Err(StorageFault::Full) });
    assert!(!effects.iter().any(|e| matches!(e, PeerEffect::Report(PeerEvent::Failed { .. }))));
    let op = case.pass(Duration::from_secs(3)).iter().find_map(copy).expect("another try");
    case.input(PeerInput::Copied { op, result: Ok(()) });
    let finish = case.last(finish_op);
    let effects = case.input(PeerInput::Finished { op: finish, result: Ok(()) });
    assert!(effects.contains(&PeerEffect::Report(PeerEvent::Completed { download: DOWNLOAD })));
}
