//! The peer machine by hand, input by input: cases that were wrong once.
#![allow(clippy::wildcard_enum_match_arm, reason = "a case looks for some effects among many")]

#[path = "support/case.rs"]
mod case;
#[path = "support/synthetic.rs"]
mod synthetic;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use case::*;
use potluck_core::content::{Kind, Listing, ListingEntry, Node, PieceSet, SafePath};
use potluck_core::ids::{
    ChunkAddr, ChunkRun, ContentKey, DownloadId, LinkId, OpId, PeerId, PieceIndex, Slot,
};
use potluck_core::limits;
use potluck_core::peer::*;
use potluck_core::wire::peer::{Holding, PeerMessage, Refusal, RequestRef};
use potluck_core::wire::tracker::{HolderRow, Reach, RefusedRequest, TrackerMessage, TrackerRequest};
use synthetic::Synthetic;

#[test]
fn a_late_wrong_chunk_takes_back_the_choice_that_it_is_in() {
    let content = pieces(6);
    let mut case = Case::new();
    case.fetch(&content, set(&content, "###..."));
    let (one, two) = (case.meet(1), case.meet(2));
    case.holds(1, &content, "...###");
    let (op, run) = case.expected(one)[0];
    // It takes back what it announced while a chunk of it is being read; then another is to choose.
    case.says(one, PeerMessage::Retract { slot: Slot(1), pieces: Vec::new() });
    case.holds(2, &content, "...###");
    assert!(!case.expected(two).is_empty());
    case.arrive(&content, op, run.piece.0, false);
    case.arrive_all(&content, two);
    assert!(case.peer.held(content.key).expect("a swarm").is_full());
}

#[test]
fn pieces_that_a_failed_sync_lost_are_refused_and_not_sent() {
    let content = pieces(3);
    let mut case = Case::new();
    case.fetch(&content, set(&content, "..."));
    let (one, two) = (case.meet(1), case.meet(2));
    case.holds(1, &content, "##.");
    case.holds(2, &content, "...");
    case.arrive_all(&content, one);
    let run = ChunkRun { piece: PieceIndex(0), first: 0, count: 1 };
    case.says(two, PeerMessage::Request { slot: Slot(2), run });
    let sync = case.pass(Duration::from_secs(3)).iter().find_map(sync_op).expect("a sync in the background");
    let effects = case.input(PeerInput::Synced { op: sync, result: Err(StorageFault::Io) });
    let which = RequestRef::Piece(PieceIndex(0));
    assert!(says(&effects, &PeerMessage::Refuse { slot: Slot(2), which, why: Refusal::Lacks }));
    let effects = case.input(PeerInput::Writable { link: two, bytes: 1 << 20 });
    assert!(!effects.iter().any(|e| matches!(e, PeerEffect::SendChunk { .. })), "{effects:?}");
}

#[test]
fn pieces_that_a_failed_sync_lost_are_not_announced_late() {
    let content = pieces(4);
    let mut case = Case::new();
    case.fetch(&content, set(&content, "...."));
    let (one, two) = (case.meet(1), case.meet(2));
    case.holds(1, &content, "#...");
    case.holds(2, &content, "....");
    case.arrive_all(&content, one);
    let sync = case.pass(Duration::from_secs(3)).iter().find_map(sync_op).expect("a sync in the background");
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
    let sync = case.pass(Duration::from_secs(3)).iter().find_map(sync_op).expect("a sync in the background");
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
    let sync = case.pass(Duration::from_secs(3)).iter().find_map(sync_op).expect("a sync in the background");
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

#[test]
fn who_lacked_a_piece_is_asked_again_once_it_has_it() {
    let content = pieces(1 + 1);
    let mut case = Case::new();
    case.fetch(&content, set(&content, "#."));
    let one = case.meet(1);
    case.holds(1, &content, ".#");
    let which = RequestRef::Piece(PieceIndex(1));
    case.says(one, PeerMessage::Refuse { slot: Slot(0), which, why: Refusal::Lacks });
    assert_eq!(case.expected(one), []);
    case.says(one, PeerMessage::Have { slot: Slot(1), pieces: vec![PieceIndex(1)] });
    case.arrive_all(&content, one);
    assert!(case.peer.held(content.key).expect("a swarm").is_full());
}

#[test]
fn who_leaves_without_taking_a_wrong_piece_back_is_blamed_for_it() {
    let content = pieces(2);
    let mut case = Case::new();
    case.fetch(&content, set(&content, ".."));
    let one = case.meet(1);
    case.holds(1, &content, ".#");
    let (op, run) = case.expected(one)[0];
    case.arrive(&content, op, run.piece.0, false);
    assert_eq!(case.peer.dropped(content.key).count(), 0, "it may still take it back");
    case.says(one, PeerMessage::Leave { slot: Slot(1) });
    assert_eq!(case.peer.dropped(content.key).collect::<Vec<_>>(), [PeerId([1; 32])]);
}

#[test]
fn who_joins_when_all_slots_are_taken_hears_so() {
    let mut case = Case::new();
    let one = case.meet(1);
    let contents: Vec<Synthetic> =
        (0..=limits::SLOTS_PER_LINK as u64).map(|i| Synthetic::new(1000 + i, 1)).collect();
    for content in &contents {
        case.share(content, "it");
    }
    // Slots of its own are used again, those of this side are not: one joins, and leaves no slot free.
    for (content, slot) in contents.iter().zip(0..) {
        let (key, holding) = (content.key, Holding::Nothing);
        let effects = case.says(one, PeerMessage::Join { slot: Slot(slot % 1000), key, holding });
        let full = slot as usize == limits::SLOTS_PER_LINK;
        assert_eq!(says(&effects, &PeerMessage::Absent { slot: Slot(slot % 1000) }), full, "{slot}");
    }
}

#[test]
fn names_stay_within_their_messages() {
    let mut case = Case::new();
    case.join(&"ü".repeat(100));
    let one = case.meet(1);
    let hello = case.last(|e| match e {
        PeerEffect::SendPeer { link, msg: PeerMessage::Hello { name, .. } } if *link == one => {
            Some(name.clone())
        }
        _ => None,
    });
    assert_eq!(hello, "ü".repeat(limits::PEER_NAME_BYTES_MAX / 2));
    let question = Question::Rename { name: "n".repeat(limits::PEER_NAME_BYTES_MAX + 1) };
    let effects = case.command(Command::Ask { op: OpId(1), question });
    let refused = PeerEvent::Answer { op: OpId(1), answer: Answer::Refused(RefusedRequest::BadName) };
    assert_eq!(effects, [PeerEffect::Report(refused)]);
    // A tracker would refuse such names, and with them all that is announced beside them.
    let long = format!("{}/end", vec!["folder"; 60].join("/"));
    for (name, salt) in [(long.as_str(), 1), ("../up", 2), ("fine", 3)] {
        case.share(&Synthetic::new(1000, salt), name);
    }
    let announced: Vec<String> = case.done.iter().flat_map(announced).collect();
    let id = Synthetic::new(1000, 2).key.id.to_string();
    assert_eq!(announced, ["end".to_owned(), id, "fine".to_owned()]);
}

fn announced(effect: &PeerEffect) -> Vec<String> {
    match effect {
        PeerEffect::SendTracker { msg: TrackerRequest::Announce { ads, .. }, .. } => {
            ads.iter().map(|ad| ad.name.clone()).collect()
        }
        _ => Vec::new(),
    }
}

#[test]
fn a_large_download_goes_on_though_nobody_has_its_last_piece() {
    let content = pieces(600);
    let mut case = Case::new();
    let mut have = PieceSet::full(600);
    for piece in [3, 4, 599] {
        have.remove(PieceIndex(piece));
    }
    case.fetch(&content, have);
    let one = case.meet(1);
    case.holds(1, &content, "...##");
    case.arrive_all(&content, one);
    let waiting = case.pass(Duration::from_secs(30));
    let last = vec![(PieceIndex(599), PieceIndex(599))];
    let said = |e: &PeerEffect| matches!(e, PeerEffect::Report(PeerEvent::Waiting { missing, .. }) if *missing == last);
    assert!(waiting.iter().any(said), "the missing piece is named");
    assert_eq!(case.peer.held(content.key).expect("a swarm").missing_ranges(), last);
}

#[test]
fn who_asks_and_does_not_read_loses_its_upload_slot() {
    let content = pieces(3);
    let mut case = Case::new();
    case.share(&content, "it");
    let one = case.meet(1);
    case.holds(1, &content, "...");
    let request = |piece| PeerMessage::Request {
        slot: Slot(1),
        run: ChunkRun { piece: PieceIndex(piece), first: 0, count: 1 },
    };
    case.input(PeerInput::Writable { link: one, bytes: 300_000 });
    case.says(one, request(0));
    case.says(one, request(1));
    let mut refused = false;
    for _ in 0..8 {
        refused |= case.pass(Duration::from_secs(5)).iter().any(|e| match e {
            PeerEffect::SendPeer {
                msg: PeerMessage::Refuse { which, why: Refusal::Busy { .. }, .. },
                ..
            } => *which == RequestRef::Piece(PieceIndex(1)),
            _ => false,
        });
        case.says(one, PeerMessage::Ping { nonce: 0 });
    }
    assert!(refused, "others may have the slot");
    case.says(one, request(1));
    let effects = case.input(PeerInput::Writable { link: one, bytes: 300_000 });
    assert!(effects.iter().any(|e| matches!(e, PeerEffect::SendChunk { .. })), "it may ask again");
}

#[test]
fn members_of_a_folder_that_was_stopped_are_opened_again_and_not_copied_onto_themselves() {
    let (folder, member): (Synthetic, ContentKey) = (Synthetic::new(500, 1), Synthetic::new(1000, 2).key);
    let node = Node::File { key: member, executable: false, mtime_ns: 0 };
    let other = Node::File { key: Synthetic::new(1000, 3).key, executable: false, mtime_ns: 0 };
    let entry = |path: &str, node| ListingEntry { path: SafePath::parse(path).expect("a path"), node };
    let listing = Arc::new(Listing::new(vec![entry("a", node), entry("b", other)]).expect("a listing"));
    let mut case = Case::new();
    for round in 0..2 {
        let begun = case.done.len();
        if round == 0 {
            case.fetch_kind(&folder, Kind::Folder);
        } else {
            case.command(Command::Stop { download: DOWNLOAD });
            case.command(Command::Resume { download: DOWNLOAD });
        }
        case.open(Opening::Part { table: None, have: PieceSet::full(1) });
        let op = case.last(|e| match e {
            PeerEffect::ReadListing { op, .. } => Some(*op),
            _ => None,
        });
        case.input(PeerInput::ListingRead { op, result: Ok(Some(Arc::clone(&listing))) });
        let opened = case.done[begun..].iter().find_map(|e| match e {
            PeerEffect::Open { op, key, .. } if *key == member => Some(*op),
            _ => None,
        });
        let op = opened.expect("the member's place is opened");
        case.input(PeerInput::Opened { op, result: Ok(Opening::Finished { table: None }) });
    }
    assert!(!case.done.iter().any(|e| matches!(e, PeerEffect::CopyLocal { .. })));
}

/// A folder whose listing is here, and its only member.
fn fetch_folder(case: &mut Case) -> Synthetic {
    let (folder, member) = (Synthetic::new(500, 1), pieces(2));
    let node = Node::File { key: member.key, executable: false, mtime_ns: 0 };
    let entry = ListingEntry { path: SafePath::parse("a").expect("a path"), node };
    let listing = Arc::new(Listing::new(vec![entry]).expect("a listing"));
    case.command(Command::Fetch {
        download: DownloadId(2),
        key: folder.key,
        kind: Kind::Folder,
        name: "folder".to_owned(),
        peers: Vec::new(),
        how: FetchOptions::default(),
    });
    case.open(Opening::Part { table: None, have: PieceSet::full(1) });
    let op = case.last(|e| match e {
        PeerEffect::ReadListing { op, .. } => Some(*op),
        _ => None,
    });
    case.input(PeerInput::ListingRead { op, result: Ok(Some(listing)) });
    member
}

#[test]
fn a_member_that_no_holder_of_the_folder_has_is_looked_for_elsewhere() {
    let mut case = Case::new();
    case.join("me");
    let member = fetch_folder(&mut case);
    case.open(Opening::NeedsTable);
    let key = member.key;
    let watches = |e: &PeerEffect| match e {
        PeerEffect::SendTracker { msg: TrackerRequest::Watch { key: k }, .. } => *k == key,
        _ => false,
    };
    assert!(!case.done.iter().any(watches), "the holders of the folder come first");
    case.pass(Duration::from_secs(3));
    assert_eq!(case.done.iter().filter(|e| watches(e)).count(), 1);
}

#[test]
fn what_is_here_of_a_member_is_announced_before_the_folder_is_whole() {
    let mut case = Case::new();
    case.join("me");
    let member = fetch_folder(&mut case);
    case.open(Opening::Part { table: member.table.clone(), have: set(&member, "#.") });
    let told: Vec<u32> = case
        .pass(Duration::from_secs(2))
        .iter()
        .filter_map(|e| match e {
            PeerEffect::SendTracker { msg: TrackerRequest::Announce { ads, .. }, .. } => Some(ads.clone()),
            _ => None,
        })
        .flatten()
        .filter(|ad| ad.key == member.key && ad.member)
        .map(|ad| ad.pieces)
        .collect();
    assert_eq!(told, [1]);
}

#[test]
fn a_folder_that_somebody_else_altered_is_opened_anew() {
    let mut case = Case::new();
    fetch_folder(&mut case);
    case.open(Opening::Finished { table: pieces(2).table });
    let op = case.last(|e| match e {
        PeerEffect::Finish { op, place: Place::Root(_) } => Some(*op),
        _ => None,
    });
    case.input(PeerInput::Finished { op, result: Err(StorageFault::Altered) });
    let reopens = |e: &PeerEffect| matches!(e, PeerEffect::Open { place: Place::Root(_), .. });
    assert_eq!(case.done.iter().filter(|e| reopens(e)).count(), 1, "not before a pause");
    case.pass(Duration::from_secs(3));
    assert_eq!(case.done.iter().filter(|e| reopens(e)).count(), 2);
    case.open(Opening::Part { table: None, have: PieceSet::full(1) });
    assert!(matches!(case.done.last(), Some(PeerEffect::ReadListing { .. })), "and so are its members");
    assert!(!case.done.iter().any(|e| matches!(e, PeerEffect::CopyLocal { .. })));
}

#[test]
fn a_folder_that_the_disk_does_not_put_in_place_is_put_there_later() {
    let mut case = Case::new();
    fetch_folder(&mut case);
    case.open(Opening::Finished { table: pieces(2).table });
    for result in [Err(StorageFault::Io), Ok(())] {
        let op = case.last(|e| match e {
            PeerEffect::Finish { op, place: Place::Root(_) } => Some(*op),
            _ => None,
        });
        case.input(PeerInput::Finished { op, result });
        case.pass(Duration::from_secs(3));
    }
    let said = |what: fn(&PeerEvent) -> bool| {
        case.done.iter().filter(|e| matches!(e, PeerEffect::Report(event) if what(event))).count()
    };
    assert_eq!(
        said(|e| matches!(e, PeerEvent::Waiting { reason: WaitReason::Storage(StorageFault::Io), .. })),
        1
    );
    assert_eq!(said(|e| matches!(e, PeerEvent::Completed { .. })), 1);
}

#[test]
fn a_folder_says_that_it_waits_for_the_bytes_of_another_download() {
    let mut case = Case::new();
    case.fetch(&pieces(2), set(&pieces(2), "#."));
    fetch_folder(&mut case);
    let waits = |e: &PeerEffect| match e {
        PeerEffect::Report(PeerEvent::Waiting { download, .. }) => *download == DownloadId(2),
        _ => false,
    };
    let resumed = |e: &PeerEffect| matches!(e, PeerEffect::Report(PeerEvent::Resumed { download }) if *download == DownloadId(2));
    assert!(case.pass(Duration::from_secs(3)).iter().any(waits));
    let one = case.meet(1);
    case.holds(1, &pieces(2), ".#");
    assert!(!case.done.iter().any(resumed));
    case.arrive_all(&pieces(2), one);
    assert!(case.done.iter().any(resumed));
}

#[test]
fn what_is_shared_while_it_is_downloaded_stays_so_when_that_is_stopped() {
    let content = pieces(4);
    let mut case = Case::new();
    case.fetch(&content, set(&content, "#..."));
    case.share(&content, "mine");
    assert!(!case.peer.is_complete(content.key));
    case.command(Command::Stop { download: DOWNLOAD });
    assert!(case.peer.is_complete(content.key), "it can be read all the same");
    let done = case.command(Command::Resume { download: DOWNLOAD });
    let copies = |e: &PeerEffect| matches!(e, PeerEffect::CopyLocal { key, .. } if *key == content.key);
    assert!(done.iter().any(copies), "what is here is not fetched");
}

#[test]
fn what_was_unshared_again_is_not_offered_when_its_download_is_stopped() {
    let content = pieces(4);
    let mut case = Case::new();
    case.fetch(&content, set(&content, "#..."));
    case.share(&content, "mine");
    case.command(Command::Unshare { key: content.key });
    case.command(Command::Stop { download: DOWNLOAD });
    assert!(!case.peer.is_complete(content.key));
}

#[test]
fn who_left_has_no_link_and_goes_on_when_it_joins_again() {
    let content = pieces(4);
    let mut case = Case::new();
    let waits = |done: &[PeerEffect]| {
        let stopped = WaitReason::Stopped;
        let is = |e: &&PeerEffect| matches!(e, PeerEffect::Report(PeerEvent::Waiting { reason, .. }) if *reason == stopped);
        done.iter().filter(is).count()
    };
    case.fetch(&content, set(&content, "#..."));
    for round in 0..3 {
        let link = case.meet(1);
        let done = case.command(Command::LeaveTracker);
        let closed = |e: &PeerEffect| matches!(e, PeerEffect::Close { link: l, .. } if *l == link);
        assert!(done.iter().any(closed) && waits(&done) == 1, "round {round}: {done:?}");
        let late = LinkId(2000 + round);
        let refused = case.input(PeerInput::LinkUp {
            link: late,
            op: None,
            role: Role::Peer,
            peer: PeerId([2; 32]),
            addr: addr(2),
        });
        assert_eq!(refused, [PeerEffect::Close { link: late, reason: CloseReason::Leaving }]);
        let op = OpId(round + 1);
        let asked = case.command(Command::Ask { op, question: Question::Peers });
        let unreachable = PeerEvent::Answer { op, answer: Answer::Unreachable };
        assert_eq!(asked, [PeerEffect::Report(unreachable)]);
        let joined = case.command(Command::JoinTracker { addr: addr(200) });
        let opens = joined.iter().any(|e| matches!(e, PeerEffect::Open { .. }));
        assert!(opens, "round {round}: {joined:?}");
        case.open(Opening::Part { table: content.table.clone(), have: set(&content, "#...") });
    }
    case.command(Command::LeaveTracker);
    case.command(Command::Stop { download: DOWNLOAD });
    let joined = case.command(Command::JoinTracker { addr: addr(200) });
    let opens = joined.iter().any(|e| matches!(e, PeerEffect::Open { .. }));
    assert!(!opens, "what the person stopped stays so");
}

#[test]
fn holders_are_asked_for_together_with_the_join() {
    let content = pieces(3);
    let key = content.key;
    let mut case = Case::new();
    case.fetch(&content, set(&content, "..."));
    let told = |effects: &[PeerEffect]| -> Vec<TrackerRequest> {
        let requests = effects.iter().filter_map(|e| match e {
            PeerEffect::SendTracker { msg, .. } => Some(msg.clone()),
            _ => None,
        });
        requests.filter(|msg| !matches!(msg, TrackerRequest::Join { .. })).collect()
    };
    assert_eq!(told(&case.ask_to_join()), [TrackerRequest::Watch { key }], "a round trip earlier");
    let stopped = case.command(Command::Stop { download: DOWNLOAD });
    assert_eq!(told(&stopped), [TrackerRequest::Unwatch { key }]);
    case.command(Command::Resume { download: DOWNLOAD });
    assert_eq!(told(&case.joined("me")), [], "it is watched already");
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

#[test]
fn an_idle_uplink_is_offered_to_whoever_has_least() {
    let content = pieces(4);
    let mut case = Case::new();
    case.fetch(&content, set(&content, "#..."));
    let (holder, some, none) = (case.meet(1), case.meet(2), case.meet(3));
    case.holds(2, &content, "#...");
    case.holds(3, &content, "....");
    case.holds(1, &content, "####");
    let spare = |effect: &PeerEffect| match effect {
        PeerEffect::SendPeer { link, msg: PeerMessage::Spare { .. } } => Some(*link),
        _ => None,
    };
    let (op, run) = case.expected(holder)[0];
    case.done.clear();
    case.arrive(&content, op, run.piece.0, true);
    let told: Vec<LinkId> = case.done.iter().filter_map(spare).collect();
    assert_eq!(told, [none, some], "the holder lacks nothing");
    case.arrive_all(&content, holder);
    assert_eq!(case.done.iter().filter_map(spare).count(), 2, "both were told a moment ago");
}

/// A peer with eight pieces fewer than each of so many partners: that is no lag yet.
fn among_holders(partners: u8) -> (Synthetic, Case, Vec<LinkId>) {
    let content = pieces(80);
    let mut case = Case::new();
    let have = format!("{}{}.", ".".repeat(39), "#".repeat(40));
    case.fetch(&content, set(&content, &format!("{}{}", "#".repeat(32), ".".repeat(48))));
    let links = (1..=partners).map(|n| case.meet(n)).collect();
    for n in 1..=partners {
        case.holds(n, &content, &have);
    }
    (content, case, links)
}

#[test]
fn whoever_has_uplink_to_spare_is_asked_beyond_the_measure() {
    let (_, mut case, links) = among_holders(9);
    assert_eq!(case.expected(links[8]), [], "enough is under way");
    case.says(links[8], PeerMessage::Spare { ahead: 0 });
    assert_eq!(case.expected(links[8]).len(), 1);
    case.says(links[3], PeerMessage::Spare { ahead: 0 });
    assert_eq!(case.expected(links[3]).len(), 2, "it owes something as it is");
    case.says(links[8], PeerMessage::Spare { ahead: 0 });
    assert_eq!(case.expected(links[8]).len(), 1, "it owes something now");
}

#[test]
fn of_few_partners_one_that_has_uplink_to_spare_is_asked_ahead() {
    let (_, mut case, links) = among_holders(5);
    for owes in [1, 2, 2] {
        case.says(links[4], PeerMessage::Spare { ahead: 0 });
        assert_eq!(case.expected(links[4]).len(), owes);
    }
}

#[test]
fn an_offer_of_spare_uplink_is_remembered_until_there_is_room() {
    let (content, mut case, links) = among_holders(20);
    for link in &links[4..] {
        case.says(*link, PeerMessage::Spare { ahead: 0 });
    }
    let asked = |case: &Case| links.iter().filter(|link| !case.expected(**link).is_empty()).count();
    let before = asked(&case);
    assert!(before < links.len(), "more offer than may be asked");
    let (op, run) = case.expected(links[1])[0];
    case.arrive(&content, op, run.piece.0, true);
    assert_eq!(asked(&case), before + 1);
}

#[test]
fn an_idle_uplink_sends_nobody_away() {
    let content = pieces(3);
    let mut case = Case::new();
    case.share(&content, "it");
    let asks = |case: &mut Case, n: u8| {
        let link = case.meet(n);
        case.holds(n, &content, "...");
        case.input(PeerInput::Writable { link, bytes: 300_000 });
        let run = ChunkRun { piece: PieceIndex(0), first: 0, count: 1 };
        case.says(link, PeerMessage::Request { slot: Slot(n.into()), run })
    };
    let sends = |effects: &[PeerEffect]| effects.iter().any(|e| matches!(e, PeerEffect::SendChunk { .. }));
    let sent = |case: &mut Case, n: u8| {
        let at = ChunkAddr { piece: PieceIndex(0), chunk: 0 };
        let (link, key) = (LinkId(n.into()), content.key);
        case.input(PeerInput::ChunkSent { link, key, at, result: SendResult::Sent });
    };
    assert!(sends(&asks(&mut case, 1)));
    // So slow that four links are all it could serve in time.
    case.pass(Duration::from_secs(3));
    sent(&mut case, 1);
    for n in 2..=6 {
        assert!(sends(&asks(&mut case, n)), "link {n}");
        sent(&mut case, n);
    }
}

#[test]
fn no_more_choices_are_open_than_a_holder_takes() {
    let content = pieces(2000);
    let mut case = Case::with_inflight(64 << 20);
    case.fetch(&content, PieceSet::empty(2000));
    let one = case.meet(1);
    case.holds(1, &content, &"#".repeat(2000));
    // The candidates of each open choice, oldest first. The holder is as fast as can be: all comes at the same moment.
    let (mut open, mut candidates, mut most) = (VecDeque::new(), Vec::new(), 0);
    let mut effects = std::mem::take(&mut case.done);
    for _ in 0..400 {
        for effect in effects {
            match effect {
                PeerEffect::Expect { op, run, .. } => candidates.push((op, run.piece)),
                PeerEffect::SendPeer { msg: PeerMessage::RequestAny { .. }, link } if link == one => {
                    open.push_back(std::mem::take(&mut candidates));
                }
                _ => {}
            }
        }
        most = most.max(open.len());
        let Some((op, piece)) = open.pop_front().and_then(|choice| choice.first().copied()) else { break };
        effects = case.arrive(&content, op, piece.0, true);
        case.done.clear();
    }
    assert_eq!(most, limits::CHOICES_PER_LINK);
}

#[test]
fn a_holder_whose_link_was_there_before_is_dialed_when_that_ends() {
    let content = pieces(2);
    let mut case = Case::new();
    case.join("me");
    case.fetch(&content, set(&content, ".."));
    let reach = |port| Reach { ip: Some(addr(1).ip()), port, dialable: port != 0 };
    let row =
        |port| HolderRow { peer: PeerId([1; 32]), name: "peer1".to_owned(), reach: reach(port), pieces: 2 };
    for port in [addr(1).port(), 0] {
        // It had dialed us, and is told of only now.
        let one = case.meet(1);
        let now = vec![row(port)];
        let msg = TrackerMessage::HolderChange { key: content.key, now, gone: Vec::new() };
        case.input(PeerInput::Tracker { link: TRACKER, msg });
        case.holds(1, &content, "##");
        case.done.clear();
        case.input(PeerInput::LinkDown { link: one, reason: CloseReason::Silent });
        let effects = case.pass(Duration::from_secs(5));
        let dials = |e: &PeerEffect| matches!(e, PeerEffect::Dial { addr: at, .. } if *at == addr(1));
        let ask = TrackerRequest::AskToDial { peer: PeerId([1; 32]) };
        let asks = |e: &PeerEffect| matches!(e, PeerEffect::SendTracker { msg, .. } if *msg == ask);
        assert!(effects.iter().any(|e| if port == 0 { asks(e) } else { dials(e) }), "{effects:?}");
        case = Case::new();
        case.join("me");
        case.fetch(&content, set(&content, ".."));
    }
}
