//! Exact sequences between machines: join, leave, search, a download, and the retry of a failed chunk from a remaining holder.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks for one event among many")]

#[path = "support/pair.rs"]
mod pair;

use std::collections::BTreeMap;
use std::time::Duration;

use pair::{Pair, addr, bytes, hash, tracker_addr};
use potluck_core::content::{Kind, Node, Selection};
use potluck_core::ids::{ContentKey, DownloadId, OpId};
use potluck_core::peer::{
    Answer, Command, FetchOptions, PeerEvent, PeerInput, Place, Question, StorageFault, WaitReason,
};
use potluck_core::wire::peer::PeerMessage;
use potluck_core::wire::tracker::Matching;

/// Fifteen pieces of one chunk each, and a short last one.
const FIFTEEN: usize = 15 * 256 * 1024 + 77;

fn contents(matching: Matching) -> Question {
    Question::Contents { matching, members: false, limit: 100 }
}

fn answer(pair: &Pair, i: usize, op: OpId) -> Answer {
    let found = pair.nodes[i].events.iter().find_map(|e| match e {
        PeerEvent::Answer { op: o, answer } if *o == op => Some(answer.clone()),
        _ => None,
    });
    found.expect("an answer")
}

#[test]
fn join() {
    let mut pair = Pair::new(2);
    pair.join(0);
    let joined = pair.nodes[0].events.iter().find_map(|e| match e {
        PeerEvent::Joined { tracker, name, contents, .. } => Some((*tracker, name.clone(), *contents)),
        _ => None,
    });
    assert_eq!(joined, Some((tracker_addr(), "peer0".to_owned(), 0)));
    pair.join(1);
    pair.command(1, Command::Ask { op: OpId(1), question: Question::Peers });
    let Answer::Peers(rows) = answer(&pair, 1, OpId(1)) else { panic!("peers") };
    let mut names: Vec<_> = rows.iter().map(|(row, at)| (row.name.as_str(), *at)).collect();
    names.sort_unstable();
    assert_eq!(names, [("peer0", addr(0)), ("peer1", addr(1))]);
}

#[test]
fn leave() {
    let mut pair = Pair::new(2);
    pair.join(0);
    pair.join(1);
    pair.share(0, "gone.bin", bytes(1000, 1));
    pair.command(0, Command::Leave);
    assert!(pair.nodes[0].events.contains(&PeerEvent::Left));
    pair.command(1, Command::Ask { op: OpId(1), question: contents(Matching::All) });
    assert_eq!(answer(&pair, 1, OpId(1)), Answer::Contents(vec![]));
    pair.command(1, Command::Ask { op: OpId(2), question: Question::Peers });
    let Answer::Peers(rows) = answer(&pair, 1, OpId(2)) else { panic!("peers") };
    assert_eq!(rows.len(), 1);
}

#[test]
fn search() {
    let mut pair = Pair::new(2);
    pair.join(0);
    pair.join(1);
    let key = pair.share(0, "Alice in Wonderland.txt", bytes(1000, 1));
    pair.share(0, "bob.txt", bytes(1000, 2));
    pair.command(1, Command::Ask { op: OpId(1), question: contents(Matching::Substring("wonder".into())) });
    let Answer::Contents(rows) = answer(&pair, 1, OpId(1)) else { panic!("rows") };
    assert_eq!(rows.iter().map(|r| (r.key, r.complete, r.partial)).collect::<Vec<_>>(), [(key, 1, 0)]);
}

#[test]
fn a_download_from_one_holder_and_its_registration() {
    for len in [0, 1, 1024, 256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1, FIFTEEN, 513 << 20] {
        if len > 100 << 20 && cfg!(debug_assertions) && std::env::var_os("POTLUCK_LONG").is_none() {
            continue;
        }
        let mut pair = Pair::new(2);
        pair.join(0);
        pair.join(1);
        let content = bytes(len, 3);
        let key = pair.share(0, "a.bin", content.clone());
        let download = pair.fetch(1, key, vec![]);
        pair.pass(Duration::from_secs(1));
        assert!(pair.nodes[1].completed(download), "{len} bytes: {:?}", pair.nodes[1].events);
        assert!(pair.nodes[1].files.values().any(|f| *f == content), "{len} bytes");
        pair.command(1, Command::Ask { op: OpId(9), question: Question::Holders { key } });
        let Answer::Holders(rows) = answer(&pair, 1, OpId(9)) else { panic!("holders") };
        assert_eq!(rows.len(), 2, "{len} bytes");
    }
}

#[test]
fn a_ticket_needs_no_tracker() {
    let mut pair = Pair::new(2);
    let content = bytes(FIFTEEN, 4);
    let key = pair.share(0, "a.bin", content.clone());
    let download = pair.fetch(1, key, vec![addr(0)]);
    pair.pass(Duration::from_secs(1));
    assert!(pair.nodes[1].completed(download));
}

/// Nothing of an empty file is ever asked for: its holder knows by the joining that it was fetched. Members, too.
#[test]
fn an_empty_file_is_delivered_with_the_joining() {
    for with_tracker in [true, false] {
        let mut pair = Pair::new(2);
        if with_tracker {
            pair.join(0);
            pair.join(1);
        }
        let key = pair.share(0, "empty", bytes(0, 1));
        let download = pair.fetch(1, key, if with_tracker { vec![] } else { vec![addr(0)] });
        pair.pass(Duration::from_millis(500));
        assert!(pair.nodes[1].completed(download));
        let ended = |e: &PeerEvent| matches!(e, PeerEvent::UploadEnded { key: k, bytes: 0, complete: true, .. } if *k == key);
        assert_eq!(pair.nodes[0].events.iter().filter(|e| ended(e)).count(), 1, "{:?}", pair.nodes[0].events);
    }
}

/// Of a process that starts, what it is to fetch can reach the machine before the tracker that it is to join: the empty file
/// was in its place by then, and its holder never heard of it.
#[test]
fn an_empty_file_is_delivered_to_who_joins_after_asking() {
    let mut pair = Pair::new(2);
    pair.join(0);
    let key = pair.share(0, "empty", bytes(0, 1));
    let download = pair.fetch(1, key, vec![]);
    pair.join(1);
    pair.pass(Duration::from_millis(500));
    assert!(pair.nodes[1].completed(download));
    let told = |e: &PeerEvent| matches!(e, PeerEvent::UploadEnded { bytes: 0, complete: true, .. });
    assert!(pair.nodes[0].events.iter().any(told), "{:?}", pair.nodes[0].events);
}

/// Whoever cannot be told keeps an empty file from its place for a second at most.
#[test]
fn an_empty_file_needs_no_holder() {
    let mut pair = Pair::new(3);
    let key = pair.share(0, "empty", bytes(0, 1));
    let alone = pair.fetch(1, key, vec![]);
    let gone = pair.fetch(2, key, vec![addr(77)]);
    pair.pass(Duration::from_millis(500));
    assert!(!pair.nodes[1].completed(alone) && !pair.nodes[2].completed(gone));
    pair.pass(Duration::from_secs(1));
    assert!(pair.nodes[1].completed(alone) && pair.nodes[2].completed(gone));
}

#[test]
fn several_holders_share_the_work() {
    let mut pair = Pair::new(4);
    let content = bytes(FIFTEEN, 5);
    for i in 0..4 {
        pair.join(i);
    }
    let mut key = None;
    for i in 0..3 {
        key = Some(pair.share(i, "a.bin", content.clone()));
    }
    let download = pair.fetch(3, key.expect("shared"), vec![]);
    pair.pass(Duration::from_secs(1));
    assert!(pair.nodes[3].completed(download));
    let status = pair.nodes[3].peer.status(download).expect("a status");
    assert_eq!(status.holders.iter().map(|h| h.bytes).sum::<u64>(), FIFTEEN as u64, "each byte came once");
    assert!(status.holders.iter().filter(|h| h.bytes > 0).count() > 1, "from more than one");
}

/// The holder that owes chunks dies; what it owed is asked of the one that remains, at once and only that.
#[test]
fn retry_of_a_failed_chunk_from_a_remaining_holder() {
    let mut pair = Pair::new(3);
    let content = bytes(FIFTEEN, 6);
    pair.join(2);
    let key = pair.share(0, "a.bin", content.clone());
    pair.share(1, "a.bin", content.clone());
    let download = DownloadId(1);
    let fetch = Command::Fetch {
        download,
        key,
        kind: Kind::File,
        name: "a.bin".into(),
        peers: vec![addr(0), addr(1)],
        how: FetchOptions::default(),
    };
    pair.nodes[0].mute = true;
    pair.input(2, PeerInput::Command(fetch));
    let asked =
        |pair: &Pair| pair.nodes[2].said.iter().filter(|m| matches!(m, PeerMessage::Request { .. })).count();
    while asked(&pair) < 4 {
        assert!(!pair.run_steps(1), "two chunks are asked of each");
    }
    pair.kill(0);
    assert!(pair.nodes[2].completed(download), "what it owed came from the other, without any waiting");
    assert!(asked(&pair) <= 16 + 4, "only what was owed is asked again: {}", asked(&pair));
    let status = pair.nodes[2].peer.status(download).expect("a status");
    assert_eq!(status.holders.iter().map(|h| h.bytes).sum::<u64>(), FIFTEEN as u64, "each byte counts once");
}

/// A holder that stays silent without closing is overtaken.
#[test]
fn a_silent_holder_is_overtaken() {
    let mut pair = Pair::new(3);
    let content = bytes(FIFTEEN, 7);
    let key = pair.share(0, "a.bin", content.clone());
    pair.share(1, "a.bin", content.clone());
    pair.nodes[0].mute = true;
    let download = pair.fetch(2, key, vec![addr(0), addr(1)]);
    pair.pass(Duration::from_secs(2));
    assert!(pair.nodes[2].completed(download), "{:?}", pair.nodes[2].peer.status(download));
}

/// Wrong bytes: fetched from the other, the culprit is named after it had its time to retract.
#[test]
fn a_corrupt_holder_is_dropped_and_named() {
    let mut pair = Pair::new(3);
    let content = bytes(FIFTEEN, 8);
    let key = pair.share(0, "a.bin", content.clone());
    pair.share(1, "a.bin", content.clone());
    pair.nodes[0].corrupt = true;
    let download = pair.fetch(2, key, vec![addr(0), addr(1)]);
    pair.pass(Duration::from_secs(3));
    assert!(pair.nodes[2].completed(download));
    assert!(pair.nodes[2].files.values().any(|f| *f == content));
    let culprit = pair.nodes[0].peer.id();
    let blamed: Vec<_> = pair.nodes[2]
        .events
        .iter()
        .filter_map(|e| match e {
            PeerEvent::Misbehaved { peer, banned, .. } => Some((*peer, *banned)),
            _ => None,
        })
        .collect();
    assert!(blamed.is_empty() || blamed == [(culprit, false)], "{blamed:?}");
}

#[test]
fn a_holder_whose_file_changed_retracts_and_is_not_blamed() {
    let mut pair = Pair::new(3);
    let content = bytes(FIFTEEN, 9);
    let key = pair.share(0, "a.bin", content.clone());
    pair.nodes[0].corrupt = true;
    let download = pair.fetch(2, key, vec![addr(0)]);
    pair.input(0, PeerInput::SourceChanged { key });
    pair.run();
    pair.pass(Duration::from_secs(3));
    assert!(!pair.nodes[2].completed(download));
    let events = &pair.nodes[2].events;
    assert!(!events.iter().any(|e| matches!(e, PeerEvent::Misbehaved { .. })), "{events:?}");
    assert!(pair.nodes[0].events.contains(&PeerEvent::Withdrawn { key }));
}

/// The holders in reach lack pieces: the download says which, and goes on by itself when a holder appears.
#[test]
fn missing_pieces_are_named_and_fetched_when_a_holder_appears() {
    let content = bytes(FIFTEEN, 10);
    let mut pair = Pair::new(3);
    for i in 0..3 {
        pair.join(i);
    }
    let key = pair.share(0, "a.bin", content.clone());
    pair.input(
        1,
        PeerInput::Command(Command::Fetch {
            download: DownloadId(7),
            key,
            kind: Kind::File,
            name: "a.bin".into(),
            peers: vec![],
            how: FetchOptions::default(),
        }),
    );
    while pair.nodes[1].peer.held(key).is_none_or(|h| h.count() < 5) {
        assert!(!pair.run_steps(1), "five pieces arrive");
    }
    pair.kill(0);
    pair.pass(Duration::from_secs(3));
    let held = pair.nodes[1].peer.held(key).expect("in the swarm");
    assert!(held.count() >= 5 && !held.is_full());
    let download = pair.fetch(2, key, vec![]);
    pair.pass(Duration::from_secs(5));
    let waiting = pair.nodes[2].events.iter().rev().find_map(|e| match e {
        PeerEvent::Waiting { reason, missing, .. } => Some((*reason, missing.clone())),
        _ => None,
    });
    assert_eq!(waiting, Some((WaitReason::MissingPieces, held.missing_ranges())));
    assert_eq!(
        pair.nodes[2].peer.held(key).map(|h| h.count()),
        Some(held.count()),
        "what there is was fetched"
    );
    // A holder comes back: both go on by themselves.
    pair.restart(0);
    pair.join(0);
    pair.share(0, "a.bin", content.clone());
    pair.pass(Duration::from_secs(10));
    assert!(pair.nodes[2].completed(download));
}

#[test]
fn the_tracker_comes_back_and_everybody_registers_again() {
    let mut pair = Pair::new(2);
    pair.join(0);
    let key = pair.share(0, "a.bin", bytes(1000, 11));
    let fresh = Pair::new(0).tracker;
    pair.kill_tracker();
    pair.pass(Duration::from_secs(30));
    assert!(pair.nodes[0].events.contains(&PeerEvent::TrackerLost { tracker: tracker_addr() }));
    pair.tracker = fresh;
    pair.pass(Duration::from_secs(10));
    pair.join(1);
    pair.command(1, Command::Ask { op: OpId(1), question: Question::Holders { key } });
    let Answer::Holders(rows) = answer(&pair, 1, OpId(1)) else { panic!("holders") };
    assert_eq!(rows.len(), 1);
}

#[test]
fn without_a_tracker_the_peers_that_are_known_are_asked() {
    let mut pair = Pair::new(2);
    for i in 0..2 {
        pair.join(i);
    }
    let content = bytes(FIFTEEN, 12);
    let key = pair.share(0, "a.bin", content.clone());
    pair.command(1, Command::WatchPeers { on: true });
    pair.pass(Duration::from_secs(1));
    pair.kill_tracker();
    pair.pass(Duration::from_secs(1));
    pair.command(1, Command::Ask { op: OpId(1), question: contents(Matching::Name("a.bin".into())) });
    pair.pass(Duration::from_secs(6));
    let Answer::Offers { offers, answered } = answer(&pair, 1, OpId(1)) else { panic!("offers") };
    assert_eq!(offers.iter().map(|(_, o)| o.key).collect::<Vec<_>>(), [key]);
    assert_eq!(answered, offers.iter().map(|(peer, _)| *peer).collect::<Vec<_>>());
    let download = pair.fetch(1, key, vec![]);
    pair.pass(Duration::from_secs(3));
    assert!(pair.nodes[1].completed(download));
}

/// Uploads that began, and those that ended, with what was sent and whether all of it is there.
fn uploads(pair: &Pair, i: usize) -> Vec<(ContentKey, Option<(u64, bool)>)> {
    let told = pair.nodes[i].events.iter().filter_map(|e| match e {
        PeerEvent::UploadBegan { key, .. } => Some((*key, None)),
        PeerEvent::UploadEnded { key, bytes, complete, .. } => Some((*key, Some((*bytes, *complete)))),
        _ => None,
    });
    told.collect()
}

/// A folder: its listing is fetched, then its members from the same holders; equal members come once.
#[test]
fn a_folder_with_its_members() {
    let mut pair = Pair::new(2);
    pair.join(0);
    pair.join(1);
    let files: Vec<(String, Vec<u8>)> = (0..600u32)
        .map(|i| (format!("d{}/f{i}", i % 7), bytes((i as usize * 37) % 5000, (i % 11) as u8)))
        .chain([("twin".to_owned(), bytes(37, 1)), ("big".to_owned(), bytes(FIFTEEN, 13))])
        .collect();
    let key = pair.share_folder(0, "tree", &files);
    pair.command(1, Command::Ask { op: OpId(1), question: contents(Matching::All) });
    let Answer::Contents(rows) = answer(&pair, 1, OpId(1)) else { panic!("rows") };
    assert_eq!(
        rows.iter().map(|r| (r.key, r.kind)).collect::<Vec<_>>(),
        [(key, Kind::Folder)],
        "a folder is one row"
    );
    let download = pair.fetch_kind(1, key, Kind::Folder, vec![]);
    pair.pass(Duration::from_secs(2));
    assert!(pair.nodes[1].completed(download), "{:?}", pair.nodes[1].peer.status(download));
    let listing = pair.nodes[0].listing(key);
    for (entry, e) in listing.entries().iter().enumerate() {
        let want = files.iter().find(|(path, _)| path == e.path.as_str()).map(|(_, bytes)| bytes);
        let place = Place::Member { download, entry: entry as u32 };
        assert_eq!(pair.nodes[1].files.get(&place), want, "{}", e.path.as_str());
    }
    let status = pair.nodes[1].peer.status(download).expect("a status");
    let total: usize = files.iter().map(|(_, b)| b.len()).sum();
    assert_eq!((status.bytes, status.total), (total as u64, total as u64));
    // Of a folder one upload is told, not hundreds. (Twins came once.)
    let sizes: BTreeMap<_, _> = files.iter().map(|(_, bytes)| (hash(bytes).0, bytes.len() as u64)).collect();
    let sent = sizes.values().sum::<u64>() + key.length;
    assert_eq!(uploads(&pair, 0), [(key, None), (key, Some((sent, true)))]);
    // It is a holder of the whole folder now: a third peer could fetch from it alone.
    pair.command(1, Command::Ask { op: OpId(2), question: Question::Holders { key } });
    let Answer::Holders(rows) = answer(&pair, 1, OpId(2)) else { panic!("holders") };
    assert_eq!(rows.len(), 2);
}

/// A part of a folder: only the chosen members come, and who has them does not hold the folder.
#[test]
fn a_part_of_a_folder() {
    let mut pair = Pair::new(2);
    pair.join(0);
    pair.join(1);
    let files: Vec<(String, Vec<u8>)> =
        (0..20u32).map(|i| (format!("d{}/f{i}", i % 4), bytes(1000 + i as usize, i as u8))).collect();
    let key = pair.share_folder(0, "tree", &files);
    let select = Selection::new(vec!["d1".into()], vec!["f5".into()]).expect("patterns");
    let (download, name) = (DownloadId(77), "part".to_owned());
    let how = FetchOptions { select, ..FetchOptions::default() };
    let fetch = Command::Fetch { download, key, kind: Kind::Folder, name, peers: vec![], how };
    pair.command(1, fetch);
    pair.pass(Duration::from_secs(2));
    let node = &pair.nodes[1];
    assert!(node.completed(download), "{:?}", node.peer.status(download));
    let listed = node.events.iter().find_map(|e| match e {
        PeerEvent::Listed { listing, .. } => Some(listing.entries().len()),
        _ => None,
    });
    assert_eq!(listed, Some(20), "all of it is told");
    let wanted = |path: &str| path.starts_with("d1/") && path != "d1/f5";
    let listing = pair.nodes[0].listing(key);
    for (entry, e) in listing.entries().iter().enumerate() {
        let place = Place::Member { download, entry: entry as u32 };
        assert_eq!(pair.nodes[1].files.contains_key(&place), wanted(e.path.as_str()), "{}", e.path.as_str());
    }
    let total: usize = files.iter().filter(|(path, _)| wanted(path)).map(|(_, b)| b.len()).sum();
    let sent = total as u64 + key.length;
    assert_eq!(uploads(&pair, 0), [(key, None), (key, Some((sent, false)))], "it has not all of it");
    let status = pair.nodes[1].peer.status(download).expect("a status");
    assert_eq!((status.bytes, status.total), (total as u64, total as u64));
    pair.command(1, Command::Ask { op: OpId(1), question: Question::Holders { key } });
    let Answer::Holders(rows) = answer(&pair, 1, OpId(1)) else { panic!("holders") };
    assert_eq!(rows.len(), 1, "only who has all of it");
    let member = listing.entries().iter().find_map(|e| match e.node {
        Node::File { key, .. } if wanted(e.path.as_str()) => Some(key),
        _ => None,
    });
    let question = Question::Holders { key: member.expect("a member") };
    pair.command(1, Command::Ask { op: OpId(2), question });
    let Answer::Holders(rows) = answer(&pair, 1, OpId(2)) else { panic!("holders") };
    assert_eq!(rows.len(), 2, "its files can be fetched from both");
}

/// A bounded number of holders: the others have nothing to do until one of these is gone.
#[test]
fn no_more_holders_than_wanted_are_asked() {
    let mut pair = Pair::new(4);
    let content = bytes(FIFTEEN, 21);
    let key = (0..3).map(|i| pair.share(i, "f", content.clone())).last().expect("a key");
    let (download, name, kind) = (DownloadId(77), "got".to_owned(), Kind::File);
    let how = FetchOptions { holders_max: 1, in_order: true, ..FetchOptions::default() };
    let peers = vec![addr(0), addr(1), addr(2)];
    pair.command(3, Command::Fetch { download, key, kind, name, peers, how });
    pair.pass(Duration::from_secs(3));
    assert!(pair.nodes[3].completed(download));
    let status = pair.nodes[3].peer.status(download).expect("a status");
    assert_eq!(status.holders.iter().filter(|holder| holder.bytes > 0).count(), 1);
    let pieces: Vec<u32> = pair.nodes[3]
        .events
        .iter()
        .filter_map(|e| match e {
            PeerEvent::PieceVerified { piece, .. } => Some(piece.0),
            _ => None,
        })
        .collect();
    // The last piece comes first: it proves the length.
    assert_eq!(
        pieces.iter().filter(|piece| **piece != 15).copied().collect::<Vec<_>>(),
        (0..15).collect::<Vec<_>>()
    );
}

/// Wrong pieces of two contents: banned altogether, every link closed.
#[test]
fn the_second_offence_bans() {
    let mut pair = Pair::new(2);
    let one = pair.share(0, "one", bytes(FIFTEEN, 14));
    let two = pair.share(0, "two", bytes(FIFTEEN, 15));
    pair.nodes[0].corrupt = true;
    pair.fetch(1, one, vec![addr(0)]);
    pair.pass(Duration::from_secs(3));
    assert_eq!(pair.nodes[1].peer.banned().count(), 0);
    assert_eq!(pair.nodes[1].peer.dropped(one).count(), 1);
    pair.fetch(1, two, vec![addr(0)]);
    pair.pass(Duration::from_secs(3));
    assert_eq!(pair.nodes[1].peer.banned().collect::<Vec<_>>(), [pair.nodes[0].peer.id()]);
    assert_eq!(pair.nodes[1].peer.links(), 0);
    pair.pass(Duration::from_secs(30));
    assert_eq!(pair.nodes[1].peer.links(), 0, "it does not come back");
}

/// First copies first: with two downloaders, the only holder gives what it has not given yet.
#[test]
fn the_only_holder_gives_first_copies_first() {
    let mut pair = Pair::new(3);
    for i in 0..3 {
        pair.join(i);
    }
    let key = pair.share(0, "a.bin", bytes(63 * 256 * 1024, 16));
    let (a, b) = (pair.begin(1, key), pair.begin(2, key));
    pair.pass(Duration::from_secs(2));
    assert!(pair.nodes[1].completed(a) && pair.nodes[2].completed(b));
    let sent = &pair.nodes[0].sent;
    let mut first: Vec<_> = sent.iter().map(|at| at.piece).collect();
    first.dedup();
    let repeat = (0..first.len()).find(|i| first[..*i].contains(&first[*i])).unwrap_or(first.len());
    // No transfer takes time here, so all that only it has is soon reserved; the simulator measures the real thing.
    assert!(repeat >= 40, "the first piece sent twice comes after {repeat} of 63");
}

/// `--from`: nothing is asked of anybody else.
#[test]
fn only_the_named_peers_are_asked() {
    let mut pair = Pair::new(3);
    for i in 0..3 {
        pair.join(i);
    }
    let content = bytes(FIFTEEN, 17);
    let key = pair.share(0, "a.bin", content.clone());
    pair.share(1, "a.bin", content);
    let download = DownloadId(1);
    let fetch = Command::Fetch {
        download,
        key,
        kind: Kind::File,
        name: "a.bin".into(),
        peers: vec![],
        how: FetchOptions { only_from: vec!["peer1".into()], ..FetchOptions::default() },
    };
    pair.command(2, fetch);
    pair.pass(Duration::from_secs(1));
    assert!(pair.nodes[2].completed(download));
    assert_eq!(pair.nodes[0].sent.len(), 0);
}

#[test]
fn stop_keeps_what_is_there_and_resume_fetches_the_rest() {
    let mut pair = Pair::new(2);
    let content = bytes(FIFTEEN, 18);
    let key = pair.share(0, "a.bin", content.clone());
    let download = pair.begin_from(1, key, vec![addr(0)]);
    while pair.nodes[1].peer.held(key).is_none_or(|h| h.count() < 6) {
        assert!(!pair.run_steps(1), "six pieces arrive");
    }
    pair.command(1, Command::Stop { download });
    pair.pass(Duration::from_secs(1));
    assert!(!pair.nodes[1].completed(download));
    let sent = pair.nodes[0].sent.len();
    pair.command(1, Command::Resume { download });
    pair.pass(Duration::from_secs(2));
    assert!(pair.nodes[1].completed(download), "{:?}", pair.nodes[1].events);
    assert!(pair.nodes[0].sent.len() - sent <= 16 - 6, "only the rest is sent");
}

#[test]
fn a_full_disk_pauses_and_goes_on() {
    let mut pair = Pair::new(2);
    let content = bytes(FIFTEEN, 19);
    let key = pair.share(0, "a.bin", content.clone());
    pair.nodes[1].full_after = Some(5);
    let download = pair.fetch(1, key, vec![addr(0)]);
    pair.pass(Duration::from_secs(5));
    assert!(!pair.nodes[1].completed(download));
    let full = WaitReason::Storage(StorageFault::Full);
    assert!(
        pair.nodes[1]
            .events
            .iter()
            .any(|e| matches!(e, PeerEvent::Waiting { reason, .. } if *reason == full))
    );
    let held = pair.nodes[1].peer.held(key).expect("in the swarm").count();
    assert!(held >= 4, "verified pieces survive: {held}");
    pair.nodes[1].full_after = None;
    pair.pass(Duration::from_secs(5));
    assert!(pair.nodes[1].completed(download));
    assert!(pair.nodes[1].files.values().any(|f| *f == content));
}

/// Nothing of it is believed any more: it is hashed, and what is wrong is fetched again, from the same holders.
#[test]
fn what_somebody_else_cut_is_looked_at_anew() {
    for cuts in [1, 2] {
        let mut pair = Pair::new(2);
        let content = bytes(FIFTEEN, 19);
        let key = pair.share(0, "a.bin", content.clone());
        pair.nodes[1].cut_parts = cuts;
        let download = pair.fetch(1, key, vec![addr(0)]);
        pair.pass(Duration::from_secs(5));
        assert!(pair.nodes[1].completed(download), "{:?}", pair.nodes[1].events);
        assert!(pair.nodes[1].files.values().any(|f| *f == content));
        let status = pair.nodes[1].peer.status(download).expect("a status");
        assert_eq!((status.bytes, status.total), (key.length, key.length));
    }
}

/// And so of a folder, whose files are had from its holders.
#[test]
fn a_member_that_somebody_else_cut_is_looked_at_anew() {
    let mut pair = Pair::new(2);
    let files = [("small".to_owned(), bytes(100, 1)), ("big".to_owned(), bytes(FIFTEEN, 2))];
    let key = pair.share_folder(0, "tree", &files);
    pair.nodes[1].cut_parts = 1;
    let download = pair.fetch_kind(1, key, Kind::Folder, vec![addr(0)]);
    pair.pass(Duration::from_secs(5));
    assert!(pair.nodes[1].completed(download), "{:?}", pair.nodes[1].events);
    assert!(pair.nodes[1].files.values().any(|f| *f == files[1].1));
    let status = pair.nodes[1].peer.status(download).expect("a status");
    assert_eq!(status.bytes, status.total);
}

/// What is unshared while the tracker is out of reach is withdrawn when the session is taken over.
#[test]
fn what_is_withdrawn_while_the_link_is_down_stays_withdrawn() {
    let mut pair = Pair::new(2);
    pair.join(0);
    pair.join(1);
    let gone = pair.share(0, "gone.bin", bytes(1000, 1));
    let stays = pair.share(0, "stays.bin", bytes(1000, 2));
    pair.tracker_silent = true;
    pair.pass(Duration::from_millis(100));
    pair.cut_tracker_link(0);
    pair.command(0, Command::Unshare { key: gone });
    pair.tracker_silent = false;
    pair.pass(Duration::from_secs(10));
    pair.command(1, Command::Ask { op: OpId(1), question: contents(Matching::All) });
    let Answer::Contents(rows) = answer(&pair, 1, OpId(1)) else { panic!("rows") };
    assert_eq!(rows.iter().map(|r| r.key).collect::<Vec<_>>(), [stays]);
}

#[test]
fn a_cap_on_what_is_fetched_is_reached_though_the_holder_chooses_and_is_not_exceeded() {
    let mut pair = Pair::new(2);
    let key = pair.share(0, "f", bytes(FIFTEEN, 1));
    pair.command(1, Command::LimitRates { up: 0, down: 1 << 20 });
    let download = pair.fetch(1, key, vec![addr(0)]);
    pair.pass(Duration::from_secs(3));
    assert!(!pair.nodes[1].completed(download), "it takes 3.75 s at that rate");
    pair.pass(Duration::from_secs(2));
    assert!(pair.nodes[1].completed(download), "what a holder chose to send counts once");
}

#[test]
fn holders_take_turns_under_a_cap_on_what_is_fetched() {
    let mut pair = Pair::new(4);
    let content = bytes(FIFTEEN, 1);
    let holders: Vec<_> = (0..3).map(addr).collect();
    let keys: Vec<_> = (0..3).map(|i| pair.share(i, "f", content.clone())).collect();
    pair.command(3, Command::LimitRates { up: 0, down: 1 << 20 });
    let download = pair.fetch(3, keys[0], holders);
    pair.pass(Duration::from_secs(6));
    assert!(pair.nodes[3].completed(download));
    let mut from: BTreeMap<_, usize> = BTreeMap::new();
    for event in &pair.nodes[3].events {
        if let PeerEvent::PieceVerified { from: peer, .. } = event {
            *from.entry(*peer).or_default() += 1;
        }
    }
    assert!(from.len() == 3 && from.values().all(|pieces| *pieces >= 3), "{from:?}");
}
