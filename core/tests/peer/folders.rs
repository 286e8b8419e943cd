//! Folders and their members.

use std::sync::Arc;
use std::time::Duration;

use crate::case::*;
use crate::synthetic::Synthetic;
use potluck_core::content::{
    Kind, Listing, ListingEntry, ListingFault, NameFault, Node, PathFault, PieceSet, SafePath,
};
use potluck_core::ids::{ChunkRun, ContentId, ContentKey, DownloadId, OpId, PieceIndex, Slot};
use potluck_core::limits;
use potluck_core::peer::*;
use potluck_core::wire::peer::{Holding, PeerMessage};
use potluck_core::wire::tracker::TrackerRequest;

fn reads_listing(effect: &PeerEffect) -> Option<OpId> {
    match effect {
        PeerEffect::ReadListing { op, .. } => Some(*op),
        _ => None,
    }
}

/// A folder whose listing is here and is being read.
fn reading_a_listing() -> (Case, OpId) {
    let mut case = Case::new();
    case.fetch_kind(&Synthetic::new(500, 1), Kind::Folder);
    case.open(Opening::Part { table: None, have: PieceSet::full(1) });
    let op = case.last(reads_listing);
    (case, op)
}

/// The place is fit; it is the stated size that is not.
#[test]
fn a_folder_of_a_size_that_no_listing_has_is_refused_as_one() {
    let mut case = Case::new();
    let key = ContentKey { id: ContentId([1; 32]), length: limits::LISTING_BYTES_MAX as u64 + 1 };
    let (kind, name, peers) = (Kind::Folder, "huge".to_owned(), vec![addr(1)]);
    case.command(Command::Fetch { download: DOWNLOAD, key, kind, name, peers, how: FetchOptions::default() });
    let reason = FailReason::BadListing(ListingFault::TooMany);
    let failed = PeerEvent::Failed { download: DOWNLOAD, reason };
    let told = |e: &PeerEffect| matches!(e, PeerEffect::Report(event) if *event == failed);
    assert!(case.done.iter().any(told), "{:?}", case.done);
    assert!(!case.done.iter().any(|e| matches!(e, PeerEffect::Open { .. })));
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
        let op = case.last(reads_listing);
        case.input(PeerInput::ListingRead { op, result: Ok(Ok(Arc::clone(&listing))) });
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
    let op = case.last(reads_listing);
    case.input(PeerInput::ListingRead { op, result: Ok(Ok(listing)) });
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

/// To put a large folder in place takes a while, in which nothing is asked for.
#[test]
fn a_folder_is_delivered_when_all_of_it_is_in_place_and_not_with_its_listing() {
    let mut case = Case::new();
    let listing = Synthetic::new(500, 1);
    let (key, name) = (listing.key, "folder".to_owned());
    let folder = Command::Share { key, kind: Kind::Folder, name, member: false, total: 1 << 20, table: None };
    case.command(folder);
    let link = case.meet(1);
    let slot = Slot(1);
    let ended = |effects: &[PeerEffect]| -> Vec<bool> {
        let ended = effects.iter().filter_map(|e| match e {
            PeerEffect::Report(PeerEvent::UploadEnded { complete, .. }) => Some(*complete),
            _ => None,
        });
        ended.collect()
    };
    case.says(link, PeerMessage::Join { slot, key, holding: Holding::Nothing });
    case.input(PeerInput::Writable { link, bytes: 1 << 20 });
    case.says(
        link,
        PeerMessage::Request { slot, run: ChunkRun { piece: PieceIndex(0), first: 0, count: 1 } },
    );
    case.says(link, PeerMessage::Have { slot, pieces: vec![PieceIndex(0)] });
    assert_eq!(ended(&case.pass(Duration::from_secs(5))), [false]);
    let told = case.says(link, PeerMessage::Join { slot, key, holding: Holding::Everything });
    assert_eq!(ended(&told), [true]);
}

#[test]
fn a_folder_whose_listing_is_refused_fails_with_what_is_wrong() {
    let (mut case, op) = reading_a_listing();
    let fault = ListingFault::BadPath { path: "../x".to_owned(), fault: PathFault::Name(NameFault::Dots) };
    case.input(PeerInput::ListingRead { op, result: Ok(Err(fault.clone())) });
    let told = case.last(|e| match e {
        PeerEffect::Report(PeerEvent::Failed { reason, .. }) => Some(reason.clone()),
        _ => None,
    });
    assert_eq!(told, FailReason::BadListing(fault));
    let is_member = |e: &PeerEffect| matches!(e, PeerEffect::Open { place: Place::Member { .. }, .. });
    assert!(!case.done.iter().any(is_member), "nothing of it is fetched");
}

/// A listing of so many files of this length. What is in them is told by `seed`.
fn listing_of(count: u32, length: u64, seed: u8) -> Arc<Listing> {
    let entries = (0..count).map(|n| {
        let id = ContentId(std::array::from_fn(|at| [seed, (n / 256) as u8, n as u8][at.min(2)]));
        let path = SafePath::parse(&format!("{n:03}")).expect("a path");
        let key = ContentKey { id, length };
        ListingEntry { path, node: Node::File { key, executable: false, mtime_ns: 0 } }
    });
    Arc::new(Listing::new(entries.collect()).expect("a listing"))
}

/// The members of a download whose places were opened.
fn opened(case: &Case, of: DownloadId) -> Vec<OpId> {
    let ops = case.done.iter().filter_map(|e| match e {
        PeerEffect::Open { op, place: Place::Member { download, .. }, .. } if *download == of => Some(*op),
        _ => None,
    });
    ops.collect()
}

/// A listing claims what it likes: what is held in memory and on the disk for members of which nothing is proven is bounded.
#[test]
fn members_are_started_while_their_piece_tables_are_small_and_one_at_least() {
    let (huge, large, small) = (1 << 44, 1 << 30, 1000);
    for (count, length, together) in [(4, huge, 1), (300, large, 128), (300, small, 256)] {
        let (mut case, op) = reading_a_listing();
        case.input(PeerInput::ListingRead { op, result: Ok(Ok(listing_of(count, length, 1))) });
        let started = opened(&case, DOWNLOAD);
        assert_eq!(started.len(), together);
        // What stands there already is done at once, and the next one is started.
        let finished = Opening::Finished { table: None };
        if length == small {
            case.input(PeerInput::Opened { op: started[0], result: Ok(finished) });
            assert_eq!(opened(&case, DOWNLOAD).len(), together + 1);
        }
    }
}

/// However many folders are fetched: the bound is one for all of them, and none waits for another one without end.
#[test]
fn the_piece_tables_of_all_folders_together_are_bounded() {
    let (mut case, op) = reading_a_listing();
    case.input(PeerInput::ListingRead { op, result: Ok(Ok(listing_of(300, 1 << 30, 1))) });
    assert_eq!(opened(&case, DOWNLOAD).len(), 128);
    let (second, folder) = (DownloadId(2), Synthetic::new(500, 2));
    let (key, name, how) = (folder.key, "folder".to_owned(), FetchOptions::default());
    case.command(Command::Fetch { download: second, key, kind: Kind::Folder, name, peers: Vec::new(), how });
    case.open(Opening::Part { table: None, have: PieceSet::full(1) });
    let op = case.last(reads_listing);
    case.input(PeerInput::ListingRead { op, result: Ok(Ok(listing_of(300, 1 << 30, 2))) });
    case.pass(Duration::from_secs(5));
    assert_eq!(opened(&case, second).len(), 1);
    case.command(Command::Stop { download: DOWNLOAD });
    case.pass(Duration::from_secs(1));
    assert_eq!(opened(&case, second).len(), 128, "there is room now");
}

#[test]
fn a_folder_whose_listing_the_disk_does_not_give_or_has_no_room_for_waits_and_is_looked_at_again() {
    for fault in [StorageFault::Full, StorageFault::Io, StorageFault::TooManyOpen] {
        let (mut case, op) = reading_a_listing();
        case.input(PeerInput::ListingRead { op, result: Err(fault) });
        let why = WaitReason::Storage(fault);
        let told = |e: &PeerEffect| matches!(e, PeerEffect::Report(PeerEvent::Waiting { reason, .. }) if *reason == why);
        assert_eq!(case.done.iter().filter(|e| told(e)).count(), 1);
        case.pass(Duration::from_secs(3));
        assert_ne!(case.last(reads_listing), op, "it is looked at again");
        let listing = Arc::new(Listing::new(Vec::new()).expect("a listing"));
        case.input(PeerInput::ListingRead { op: case.last(reads_listing), result: Ok(Ok(listing)) });
        assert!(matches!(case.done.last(), Some(PeerEffect::Finish { place: Place::Root(_), .. })));
    }
}

#[test]
fn a_listing_that_somebody_changed_is_looked_at_anew() {
    let (mut case, op) = reading_a_listing();
    case.input(PeerInput::ListingRead { op, result: Err(StorageFault::Altered) });
    case.open(Opening::Part { table: None, have: PieceSet::empty(1) });
    assert_eq!(case.last(reads_listing), op, "it is fetched again");
    assert!(!case.done.iter().any(|e| matches!(e, PeerEffect::Report(PeerEvent::Failed { .. }))));
}
