//! What others can do to a peer machine: refuse, dawdle, crowd, shout, send what is wrong. Each case was wrong once, or fails
//! if the defence that it is about is taken out.

use std::net::SocketAddr;
use std::time::Duration;

use crate::case::*;
use crate::synthetic::Synthetic;
use potluck_core::content::{Kind, PieceSet};
use potluck_core::ids::*;
use potluck_core::limits;
use potluck_core::peer::*;
use potluck_core::time::Instant;
use potluck_core::wire::peer::{Holding, PeerMessage, Refusal, RequestRef};
use potluck_core::wire::tracker::{Cursor, Matching, RefusedRequest, Row, TrackerMessage, TrackerRequest};

fn misbehaved(effects: &[PeerEffect]) -> Option<Misbehaviour> {
    effects.iter().find_map(|e| match e {
        PeerEffect::Report(PeerEvent::Misbehaved { what, .. }) => Some(*what),
        _ => None,
    })
}

#[test]
fn a_holder_that_delivered_is_dialed_again_soon_however_often_it_went_away() {
    let content = pieces(40);
    let mut case = Case::new();
    let (key, table) = (content.key, content.table.clone());
    let (kind, name, peers) = (Kind::File, "it".to_owned(), vec![addr(1)]);
    case.command(Command::Fetch { download: DOWNLOAD, key, kind, name, peers, how: FetchOptions::default() });
    case.open(Opening::Part { table, have: PieceSet::empty(40) });
    let mut effects = std::mem::take(&mut case.done);
    for round in 0..20u64 {
        let began = case.now;
        while dial_of(&effects, addr(1)).is_none() {
            effects = case.pass(Duration::from_millis(50));
            assert!(case.now.since(began) < Duration::from_secs(2), "dialed again soon in round {round}");
        }
        let (link, op) = (LinkId(round + 1), dial_of(&effects, addr(1)));
        let up = PeerInput::LinkUp { link, op, role: Role::Peer, peer: PeerId([1; 32]), addr: addr(1) };
        case.input(up);
        case.says(link, PeerMessage::Hello { name: "one".to_owned(), listen_port: 1000 });
        case.says(link, PeerMessage::Join { slot: Slot(1), key, holding: Holding::Everything });
        let (op, run) = case.expected(link)[0];
        case.arrive(&content, op, run.piece.0, true);
        effects = case.input(PeerInput::LinkDown { link, reason: CloseReason::Broken });
    }
}

#[test]
fn whoever_goes_on_sending_wrong_pieces_is_blamed_while_it_does() {
    let content = pieces(64);
    let mut case = Case::new();
    case.fetch(&content, PieceSet::empty(64));
    let one = case.meet(1);
    case.holds(1, &content, &"#".repeat(64));
    let mut sent: Vec<OpId> = Vec::new();
    let mut probe = None;
    for _ in 0..20 {
        // It answers each probe, and always after the next wrong piece.
        let next = case.expected(one).into_iter().find(|(op, _)| !sent.contains(op));
        let mut effects = Vec::new();
        if let Some((op, run)) = next {
            sent.push(op);
            effects = case.arrive(&content, op, run.piece.0, false);
        }
        let asked = effects.iter().find_map(|e| match e {
            PeerEffect::SendPeer { msg: PeerMessage::Ping { nonce }, .. } => Some(*nonce),
            _ => None,
        });
        if let Some(nonce) = std::mem::replace(&mut probe, asked) {
            case.says(one, PeerMessage::Pong { nonce });
        }
        effects = case.pass(Duration::from_millis(200));
        if misbehaved(&effects) == Some(Misbehaviour::BadPiece) {
            assert!(case.now < Instant::from_millis(2_000));
            return;
        }
    }
    panic!("it is never blamed");
}

#[test]
fn what_the_tracker_refuses_is_not_called_registered_and_is_announced_again() {
    let content = pieces(1);
    let mut case = Case::new();
    case.share(&content, "it");
    case.join("me");
    let seq = case.last(|e| match e {
        PeerEffect::SendTracker { msg: TrackerRequest::Announce { seq, .. }, .. } => Some(*seq),
        _ => None,
    });
    let why = RefusedRequest::Limit("registrations".to_owned());
    let refused = TrackerMessage::Refused { seq, why: why.clone() };
    let effects = case.input(PeerInput::Tracker { link: TRACKER, msg: refused });
    let told = PeerEffect::Report(PeerEvent::AnnounceRefused { why: why.clone(), contents: 1 });
    assert!(effects.contains(&told), "{effects:?}");
    let joined = |e: &PeerEffect| matches!(e, PeerEffect::Report(PeerEvent::Joined { contents: 0, .. }));
    assert!(effects.iter().any(joined), "{effects:?}");
    let effects = case.command(Command::Ask { op: OpId(1), question: Question::Synced });
    let answer = PeerEvent::Answer { op: OpId(1), answer: Answer::Refused(why) };
    assert_eq!(effects, [PeerEffect::Report(answer)]);
    let mut again = None;
    for _ in 0..60 {
        let effects = case.pass(Duration::from_secs(1));
        case.input(PeerInput::Tracker { link: TRACKER, msg: TrackerMessage::Ping { nonce: 1 } });
        again = again.or_else(|| {
            effects.iter().find_map(|e| match e {
                PeerEffect::SendTracker { msg: TrackerRequest::Announce { seq, .. }, .. } => Some(*seq),
                _ => None,
            })
        });
    }
    let done = TrackerMessage::Done { seq: again.expect("it is announced again") };
    let effects = case.input(PeerInput::Tracker { link: TRACKER, msg: done });
    let registered = |e: &PeerEffect| matches!(e, PeerEffect::Report(PeerEvent::Registered { contents: 1 }));
    assert!(effects.iter().any(registered), "{effects:?}");
}

#[test]
fn why_a_tracker_does_not_let_us_join_is_told_once() {
    for (why, again) in [(RefusedRequest::Limit("peers".to_owned()), true), (RefusedRequest::BadName, false)]
    {
        let mut case = Case::new();
        case.command(Command::JoinTracker { addr: addr(200) });
        let (mut dialed, mut told) = (0, 0);
        let mut effects = std::mem::take(&mut case.done);
        for round in 0..200u64 {
            if let Some(op) = dial_of(&effects, addr(200)) {
                dialed += 1;
                let (link, op, role) = (LinkId(2000 + round), Some(op), Role::Tracker);
                case.input(PeerInput::LinkUp { link, op, role, peer: PeerId([200; 32]), addr: addr(200) });
                let seq = case.last(|e| match e {
                    PeerEffect::SendTracker { msg: TrackerRequest::Join { seq, .. }, .. } => Some(*seq),
                    _ => None,
                });
                let msg = TrackerMessage::Refused { seq, why: why.clone() };
                let effects = case.input(PeerInput::Tracker { link, msg });
                let refused =
                    |e: &&PeerEffect| matches!(e, PeerEffect::Report(PeerEvent::JoinRefused { .. }));
                told += effects.iter().filter(refused).count();
                let lost = |e: &PeerEffect| matches!(e, PeerEffect::Report(PeerEvent::TrackerLost { .. }));
                assert!(!effects.iter().any(lost), "it did answer");
            }
            effects = case.pass(Duration::from_secs(1));
        }
        assert_eq!((dialed > 1, told), (again, 1), "{why:?}: {dialed} dials");
        assert!(dialed < 12, "a tracker that refuses is not asked all the time: {dialed}");
    }
}

#[test]
fn joining_and_leaving_in_a_loop_does_not_make_us_shout() {
    let content = pieces(2);
    let mut case = Case::new();
    case.share(&content, "it");
    for i in 2..40 {
        case.meet(i);
        case.holds(i, &content, "..");
    }
    let one = case.meet(1);
    let mut told = 0;
    for _ in 0..3_000 {
        let join = PeerMessage::Join { slot: Slot(1), key: content.key, holding: Holding::Nothing };
        let effects = case.says(one, join);
        told += effects
            .iter()
            .filter(|e| matches!(e, PeerEffect::SendPeer { msg: PeerMessage::Holders { .. }, .. }))
            .count();
        case.says(one, PeerMessage::Leave { slot: Slot(1) });
        case.pass(Duration::from_millis(1));
    }
    let bound = limits::INTRODUCTIONS_BURST + 4 * limits::INTRODUCTIONS_PER_SECOND;
    assert!(told as u64 <= bound + 64, "{told} messages to others");
}

#[test]
fn links_are_shared_out_among_the_addresses_that_want_them() {
    let content = pieces(2);
    let mut case = Case::new();
    case.share(&content, "it");
    let link_up = |case: &mut Case, n: u64, from: SocketAddr| {
        let mut id = [7; 32];
        id[..8].copy_from_slice(&n.to_le_bytes());
        let (link, peer) = (LinkId(n), PeerId(id));
        let mut effects = case.link_up(link, peer, from);
        effects.extend(case.says(link, PeerMessage::Hello { name: String::new(), listen_port: 0 }));
        effects.retain(|e| matches!(e, PeerEffect::Close { .. }));
        effects
    };
    let takes_part = |case: &mut Case, n: u64| {
        let join = PeerMessage::Join { slot: Slot(1), key: content.key, holding: Holding::Nothing };
        case.says(LinkId(n), join);
    };
    // This peer has dialed somebody, who takes a while.
    let other = pieces(3);
    let (key, name, how) = (other.key, "other".to_owned(), FetchOptions::default());
    let (download, peers, kind) = (DOWNLOAD, vec![addr(9)], Kind::File);
    case.command(Command::Fetch { download, key, kind, name, peers, how });
    case.open(Opening::Part { table: other.table.clone(), have: set(&other, "...") });
    let op = case.last(|e| match e {
        PeerEffect::Dial { op, role: Role::Peer, .. } => Some(*op),
        _ => None,
    });
    // A stranger takes all links there are, and takes part, so that none of them is idle.
    for n in 0..limits::LINKS_MAX as u64 {
        assert_eq!(link_up(&mut case, n, addr(1)), []);
        takes_part(&mut case, n);
    }
    // More of it are refused; others get theirs, up to as many as it keeps.
    let full = |n| PeerEffect::Close { link: LinkId(n), reason: CloseReason::Full };
    assert_eq!(link_up(&mut case, 1000, addr(1)), [full(1000)]);
    for n in 1001..1001 + limits::LINKS_MAX as u64 / 2 {
        let closed = link_up(&mut case, n, addr(2));
        assert!(closed.len() == 1 && closed != [full(n)], "{closed:?}");
        takes_part(&mut case, n);
    }
    assert_eq!(link_up(&mut case, 2000, addr(2)), [full(2000)]);
    assert_eq!(link_up(&mut case, 2001, addr(3)).len(), 1);
    // One that has not had the time to take part is not chased away by the crowd.
    assert_eq!(link_up(&mut case, 2002, addr(2)), [full(2002)]);
    // But within an address that goes first: one of the second made room for the third.
    assert_eq!(link_up(&mut case, 2003, addr(3)).len(), 1);
    assert_eq!(link_up(&mut case, 2004, addr(3)).len(), 1);
    // Nobody can cut it off from whom it dialed: for those somebody always goes.
    let (link, peer) = (LinkId(3000), PeerId([9; 32]));
    let effects = case.input(PeerInput::LinkUp { link, op: Some(op), role: Role::Peer, peer, addr: addr(9) });
    let closed: Vec<_> = effects.iter().filter(|e| matches!(e, PeerEffect::Close { .. })).collect();
    assert!(closed.len() == 1 && *closed[0] != full(3000), "{closed:?}");
}

#[test]
fn a_link_that_takes_part_in_nothing_is_closed_though_it_chats() {
    let mut case = Case::new();
    let one = case.meet(1);
    for _ in 0..8 {
        case.says(one, PeerMessage::Ping { nonce: 1 });
        let closed = case.pass(Duration::from_secs(2));
        if closed.contains(&PeerEffect::Close { link: one, reason: CloseReason::Done }) {
            return;
        }
    }
    panic!("it is still there after {:?}", case.now);
}

#[test]
fn what_is_held_is_found_by_name_and_by_the_beginning_of_its_id() {
    let mut case = Case::new();
    let contents: Vec<Synthetic> = (0..50).map(|salt| Synthetic::new(1000, salt)).collect();
    for (content, n) in contents.iter().zip(0..) {
        case.share(content, &format!("name {}", n % 25));
    }
    case.share(&contents[3], "another name");
    let one = case.meet(1);
    let ask = |case: &mut Case, what: &str| {
        let effects = case.says(one, PeerMessage::Find { seq: 1, what: what.to_owned() });
        effects
            .into_iter()
            .find_map(|e| match e {
                PeerEffect::SendPeer { msg: PeerMessage::Found { offers, .. }, .. } => Some(offers),
                _ => None,
            })
            .expect("an answer")
    };
    let mut find = |what: &str| {
        case.pass(Duration::from_millis(60));
        ask(&mut case, what)
    };
    let keys = |offers: Vec<potluck_core::wire::peer::Offer>| {
        offers.into_iter().map(|offer| offer.key).collect::<Vec<_>>()
    };
    assert_eq!(keys(find("name 7")), [contents[7].key, contents[32].key]);
    assert_eq!(keys(find("name 3")), [contents[28].key], "the other has another name");
    assert_eq!(keys(find("another name")), [contents[3].key]);
    let id = contents[9].key.id.to_string();
    for digits in [8, 9, 33, 64] {
        assert_eq!(keys(find(&id[..digits])), [contents[9].key]);
        assert_eq!(keys(find(&id[..digits].to_uppercase())), [contents[9].key]);
    }
    assert_eq!((find(&id[..7]), find("name"), find("")), (vec![], vec![], vec![]));
    assert_eq!(find("name 7").len(), 2);
    assert_eq!(ask(&mut case, "name 7"), [], "at most twenty a second are answered");
}

#[test]
fn a_holder_that_dawdles_over_the_piece_table_is_left_for_another() {
    let content = Synthetic::new(16_384 * limits::PIECE_BYTES_MAX, 1);
    let table = content.table.clone().expect("a table");
    let mut case = Case::new();
    case.fetch_kind(&content, Kind::File);
    case.open(Opening::NeedsTable);
    for i in [1, 2] {
        let link = case.meet(i);
        case.says(link, PeerMessage::Join { slot: Slot(1), key: content.key, holding: Holding::Everything });
    }
    let asked = |effects: &[PeerEffect]| -> Vec<(LinkId, Slot, u32)> {
        let asked = effects.iter().filter_map(|e| match e {
            PeerEffect::SendPeer { link, msg: PeerMessage::RequestTable { slot, first, .. } } => {
                Some((*link, *slot, *first))
            }
            _ => None,
        });
        asked.collect()
    };
    let mut queue = asked(&case.done);
    let first = queue[0].0;
    while queue.iter().all(|(link, ..)| *link == first) {
        case.pass(Duration::from_millis(1900));
        assert!(case.now < Instant::from_millis(8_000), "the other is not asked");
        let (link, slot, first) = queue.remove(0);
        let values = table.values()[first as usize..][..limits::TABLE_SLICE_PIECES as usize].to_vec();
        queue.extend(asked(&case.says(link, PeerMessage::Table { slot, first, values })));
    }
    queue.retain(|(link, ..)| *link != first);
    while !queue.is_empty() {
        let (link, slot, first) = queue.remove(0);
        let values = table.values()[first as usize..][..limits::TABLE_SLICE_PIECES as usize].to_vec();
        queue.extend(asked(&case.says(link, PeerMessage::Table { slot, first, values })));
    }
    let opened = |e: &PeerEffect| matches!(e, PeerEffect::Open { table: Some(_), .. });
    assert!(case.done.iter().any(opened), "the table is whole");
}

/// Pieces of two chunks, of which all are there but these.
fn lacking(missing: &[u32]) -> (Synthetic, PieceSet) {
    let content = Synthetic::new(2 * limits::PIECES_WANTED * limits::CHUNK_BYTES, 1);
    let mut have = PieceSet::full(content.geometry.pieces());
    for piece in missing {
        have.remove(PieceIndex(*piece));
    }
    (content, have)
}

impl Case {
    /// Chunk `chunk` of a piece arrives over a link, if that is asked for it.
    fn chunk(
        &mut self,
        content: &Synthetic,
        link: LinkId,
        piece: u32,
        chunk: u16,
        right: bool,
    ) -> Vec<PeerEffect> {
        let covers =
            |run: &ChunkRun| run.piece.0 == piece && (run.first..run.first + run.count).contains(&chunk);
        let op = self.expected(link).into_iter().rev().find(|(_, run)| covers(run)).map(|(op, _)| op);
        let at = ChunkAddr { piece: PieceIndex(piece), chunk };
        let value = if right { content.value(at) } else { ChainingValue([0; 32]) };
        let op = op.unwrap_or_else(|| panic!("{link:?} is asked for {at:?}: {:?}", self.expected(link)));
        self.input(PeerInput::ChunkArrived { op, at, result: Ok(value) })
    }

    /// Chunks of a piece that a link was asked for last.
    fn asked(&self, link: LinkId, piece: u32) -> Vec<u16> {
        let last = self.expected(link).into_iter().rev().find(|(_, run)| run.piece.0 == piece);
        last.map_or_else(Vec::new, |(_, run)| (run.first..run.first + run.count).collect())
    }
}

#[test]
fn what_was_retracted_is_not_used() {
    let (content, have) = lacking(&[0]);
    let mut case = Case::new();
    case.fetch(&content, have);
    let (one, two) = (case.meet(1), case.meet(2));
    case.holds(1, &content, "#");
    // Its file changed under the first chunk: it says so.
    case.chunk(&content, one, 0, 0, false);
    case.says(one, PeerMessage::Retract { slot: Slot(1), pieces: Vec::new() });
    case.holds(2, &content, "#");
    assert_eq!(case.asked(two, 0), [0, 1], "both chunks are fetched from the other");
    case.chunk(&content, two, 0, 0, true);
    case.chunk(&content, two, 0, 1, true);
    assert!(case.peer.held(content.key).expect("a swarm").is_full());
    assert_eq!(case.peer.dropped(content.key).count(), 0, "whoever retracts is honest");
}

#[test]
fn only_what_was_offered_is_told_as_retracted() {
    let content = pieces(2);
    let mut case = Case::new();
    case.fetch(&content, PieceSet::empty(2));
    let one = case.meet(1);
    case.holds(1, &content, "#.");
    let retracted = PeerEvent::Retracted { peer: PeerId([1; 32]), key: content.key };
    let mut told = |pieces: &[u32]| {
        let pieces = pieces.iter().copied().map(PieceIndex).collect();
        let effects = case.says(one, PeerMessage::Retract { slot: Slot(1), pieces });
        effects.iter().any(|e| matches!(e, PeerEffect::Report(event) if *event == retracted))
    };
    assert_eq!([told(&[1]), told(&[0]), told(&[0]), told(&[])], [false, true, false, false]);
}

/// What was sent before the retraction may be reported after it: reading a message is quicker than hashing and writing.
#[test]
fn what_was_being_written_when_it_was_retracted_is_not_blamed() {
    for leaves in [true, false] {
        for pieces in [vec![], vec![PieceIndex(0)]] {
            let (content, have) = lacking(&[0]);
            let mut case = Case::new();
            case.fetch(&content, have);
            let (one, two) = (case.meet(1), case.meet(2));
            case.holds(1, &content, "#");
            let ops = case.expected(one);
            assert!(!ops.is_empty());
            case.says(one, PeerMessage::Retract { slot: Slot(1), pieces: pieces.clone() });
            for (op, run) in ops {
                for chunk in run.first..run.first + run.count {
                    let at = ChunkAddr { piece: run.piece, chunk };
                    let value = ChainingValue([0; 32]);
                    case.input(PeerInput::ChunkArrived { op, at, result: Ok(value) });
                }
            }
            if leaves {
                case.says(one, PeerMessage::Leave { slot: Slot(1) });
            }
            case.holds(2, &content, "#");
            assert_eq!(case.asked(two, 0), [0, 1], "both chunks are fetched from the other");
            case.chunk(&content, two, 0, 0, true);
            case.chunk(&content, two, 0, 1, true);
            assert!(case.peer.held(content.key).expect("a swarm").is_full());
            case.pass(Duration::from_secs(3));
            assert_eq!(case.peer.dropped(content.key).count(), 0, "{pieces:?}, leaves: {leaves}");
            let blamed = |e: &PeerEffect| matches!(e, PeerEffect::Report(PeerEvent::Misbehaved { .. }));
            assert!(!case.done.iter().any(blamed), "{pieces:?}, leaves: {leaves}");
        }
    }
}

#[test]
fn a_piece_that_two_got_wrong_together_is_fetched_from_one() {
    let (content, have) = lacking(&[0]);
    let mut case = Case::new();
    case.fetch(&content, have);
    let (one, two) = (case.meet(1), case.meet(2));
    case.holds(1, &content, "#");
    case.chunk(&content, one, 0, 0, false);
    case.input(PeerInput::LinkDown { link: one, reason: CloseReason::Broken });
    case.holds(2, &content, "#");
    assert_eq!(case.asked(two, 0), [1], "the first is here already");
    case.chunk(&content, two, 0, 1, true);
    // Nobody can be blamed. The next try is from one alone, whoever else turns up in the middle of it.
    assert_eq!(case.asked(two, 0), [0, 1]);
    case.chunk(&content, two, 0, 0, true);
    let three = case.meet(3);
    case.holds(3, &content, "#");
    case.input(PeerInput::LinkDown { link: two, reason: CloseReason::Broken });
    assert_eq!(case.asked(three, 0), [0, 1], "what one began another does not go on with");
    case.chunk(&content, three, 0, 0, true);
    case.chunk(&content, three, 0, 1, true);
    assert!(case.peer.held(content.key).expect("a swarm").is_full());
}

#[test]
fn a_wrong_piece_is_never_asked_of_its_sender_again() {
    let (content, have) = lacking(&[0, 1]);
    let mut case = Case::new();
    case.fetch(&content, have);
    let one = case.meet(1);
    case.holds(1, &content, "##");
    // It answers no ping, so that it is not blamed yet: only the mark keeps us from asking it.
    case.chunk(&content, one, 0, 0, true);
    let before = case.done.len();
    case.chunk(&content, one, 0, 1, false);
    case.chunk(&content, one, 1, 0, true);
    case.chunk(&content, one, 1, 1, true);
    assert_eq!(
        case.peer.held(content.key).expect("a swarm").missing_ranges(),
        [(PieceIndex(0), PieceIndex(0))]
    );
    case.pass(Duration::from_secs(3));
    // Nor after it says once more that it has it.
    case.says(one, PeerMessage::Have { slot: Slot(1), pieces: vec![PieceIndex(0)] });
    case.pass(Duration::from_secs(3));
    let again = |e: &PeerEffect| matches!(e, PeerEffect::Expect { run, .. } if run.piece == PieceIndex(0));
    assert!(!case.done[before..].iter().any(again));
    // Of another it is.
    let two = case.meet(2);
    case.holds(2, &content, "#.");
    assert!(!case.asked(two, 0).is_empty());
}

#[test]
fn a_silent_link_gives_back_what_it_owes() {
    for alone in [true, false] {
        let (content, have) = lacking(&[0]);
        let mut case = Case::new();
        case.fetch(&content, have);
        let one = case.meet(1);
        case.holds(1, &content, "#");
        case.chunk(&content, one, 0, 0, true);
        let two = (!alone).then(|| case.meet(2));
        if let Some(two) = two {
            case.holds(2, &content, "#");
            assert!(case.asked(two, 0).is_empty() || !case.asked(one, 0).is_empty());
        }
        for _ in 0..60 {
            // Alive, and sends nothing.
            case.says(one, PeerMessage::Ping { nonce: 1 });
            case.pass(Duration::from_millis(500));
            two.iter().for_each(|two| drop(case.says(*two, PeerMessage::Ping { nonce: 1 })));
        }
        let taken_back = case.done.iter().filter(|e| matches!(e, PeerEffect::Unexpect { .. })).count();
        assert!(taken_back > 0, "alone: {alone}: {:?}", case.expected(one));
        if let Some(two) = two {
            assert_eq!(case.asked(two, 0), [1], "what it owed is asked of the other");
        } else {
            let named = |e: &PeerEffect| match e {
                PeerEffect::Report(PeerEvent::Waiting { missing, .. }) => !missing.is_empty(),
                _ => false,
            };
            assert!(case.done.iter().any(named), "the missing piece is named");
        }
    }
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
fn who_claims_again_and_again_what_it_lacks_is_not_asked_in_a_loop() {
    let content = pieces(8);
    let mut case = Case::new();
    case.fetch(&content, set(&content, "........"));
    let liar = case.meet(1);
    case.holds(1, &content, "########");
    let (mut seen, mut asked) = (0, 0);
    for _ in 0..1000 {
        let requests = case.done[seen..].iter().filter_map(|e| match e {
            PeerEffect::SendPeer { msg: PeerMessage::Request { slot, run }, .. } => {
                Some((*slot, RequestRef::Piece(run.piece), vec![run.piece]))
            }
            PeerEffect::SendPeer { msg: PeerMessage::RequestAny { slot, choice, pieces }, .. } => {
                Some((*slot, RequestRef::Choice(*choice), pieces.clone()))
            }
            _ => None,
        });
        let requests: Vec<_> = requests.collect();
        seen = case.done.len();
        asked += requests.len();
        for (slot, which, pieces) in requests {
            case.says(liar, PeerMessage::Refuse { slot, which, why: Refusal::Lacks });
            case.says(liar, PeerMessage::Have { slot: Slot(1), pieces });
        }
        case.pass(Duration::from_millis(1));
    }
    assert!((65..90).contains(&asked), "asked {asked} times in a second");
    let waits = |e: &PeerEffect| matches!(e, PeerEffect::Report(PeerEvent::Waiting { .. }));
    case.pass(Duration::from_secs(10));
    assert!(case.done.iter().any(waits), "the download says that nobody has it");
}

/// The tracker answers a question with page after page; the cursors, and what the question is answered with.
fn led_by(cursors: &[Option<&str>], rows: usize) -> Option<Answer> {
    let mut case = Case::new();
    case.join("me");
    let matching = Matching::Name("a".to_owned());
    let question = Question::Contents { matching, members: false, limit: 10 };
    let mut effects = case.command(Command::Ask { op: OpId(1), question });
    let key = pieces(3).key;
    let row = Row { key, kind: Kind::File, name: "a".to_owned(), complete: 1, partial: 0, total: key.length };
    for next in cursors {
        let asked = effects.iter().find_map(|e| match e {
            PeerEffect::SendTracker { msg: TrackerRequest::Search { seq, .. }, .. } => Some(*seq),
            _ => None,
        });
        let next = next.map(|name| Cursor { name: name.to_owned(), key });
        let msg = TrackerMessage::Rows { seq: asked?, rows: vec![row.clone(); rows], next };
        effects = case.input(PeerInput::Tracker { link: TRACKER, msg });
    }
    effects.into_iter().find_map(|e| match e {
        PeerEffect::Report(PeerEvent::Answer { answer, .. }) => Some(answer),
        _ => None,
    })
}

#[test]
fn a_tracker_that_leads_in_circles_is_none() {
    let names: Vec<String> = (0..limits::EMPTY_PAGES_MAX).map(|page| format!("{page:05}")).collect();
    let on_and_on: Vec<Option<&str>> = names.iter().map(|name| Some(name.as_str())).collect();
    assert_eq!(led_by(&on_and_on[1..], 0), None, "pages may be empty");
    assert_eq!(led_by(&on_and_on, 0), Some(Answer::Unreachable));
    assert_eq!(led_by(&on_and_on, 1), None);
    for rows in [0, 1] {
        assert!(matches!(led_by(&[Some("a"), Some("b"), None], rows), Some(Answer::Contents(_))));
        assert_eq!(led_by(&[Some("b"), Some("c")], rows), None, "there is more");
        for circle in ["a", "b"] {
            assert_eq!(led_by(&[Some("b"), Some(circle)], rows), Some(Answer::Unreachable));
        }
    }
}

/// When each of these holders was dialed, if all of them are always busy.
fn dialed_when_all_are_busy(holders: &[SocketAddr]) -> Vec<Option<Duration>> {
    let content = pieces(40);
    let mut case = Case::new();
    let (key, kind, name, peers) = (content.key, Kind::File, "it".to_owned(), holders.to_vec());
    case.command(Command::Fetch { download: DOWNLOAD, key, kind, name, peers, how: FetchOptions::default() });
    case.open(Opening::Part { table: content.table.clone(), have: PieceSet::empty(40) });
    let mut dialed = vec![None; holders.len()];
    while case.now.since(Instant::ZERO) < Duration::from_secs(60) {
        for effect in std::mem::take(&mut case.done) {
            match effect {
                PeerEffect::Dial { op, addr, .. } => {
                    let i = holders.iter().position(|a| *a == addr).expect("it is one of them");
                    let at = case.now.since(Instant::ZERO);
                    dialed[i].get_or_insert(at);
                    let (link, peer) = (LinkId(i as u64 + 1), PeerId([i as u8; 32]));
                    case.input(PeerInput::LinkUp { link, op: Some(op), role: Role::Peer, peer, addr });
                    case.says(link, PeerMessage::Hello { name: format!("{i}"), listen_port: addr.port() });
                    case.says(link, PeerMessage::Join { slot: Slot(1), key, holding: Holding::Everything });
                }
                PeerEffect::SendPeer { link, msg } => {
                    let (slot, which) = match msg {
                        PeerMessage::Request { slot, run } => (slot, RequestRef::Piece(run.piece)),
                        PeerMessage::RequestAny { slot, choice, .. } => (slot, RequestRef::Choice(choice)),
                        PeerMessage::Ping { nonce } => {
                            case.says(link, PeerMessage::Pong { nonce });
                            continue;
                        }
                        _ => continue,
                    };
                    let why = Refusal::Busy { retry_ms: 100 };
                    case.says(link, PeerMessage::Refuse { slot, which, why });
                }
                _ => {}
            }
        }
        case.pass(Duration::from_millis(20));
    }
    dialed
}

#[test]
fn many_busy_holders_of_one_machine_do_not_hide_another() {
    let mut holders: Vec<_> = (0..60).map(|port| SocketAddr::from(([10, 0, 0, 1], 2000 + port))).collect();
    holders.push(addr(2));
    let dialed = dialed_when_all_are_busy(&holders);
    assert!(dialed.last().is_some_and(|at| at.is_some_and(|at| at < Duration::from_secs(2))), "{dialed:?}");
}

#[test]
fn while_all_are_busy_others_are_looked_for() {
    let holders: Vec<_> = (1..=40).map(addr).collect();
    let dialed = dialed_when_all_are_busy(&holders);
    assert!(dialed.iter().all(Option::is_some), "{dialed:?}");
}
