//! The peer machine by hand, input by input: cases that were wrong once.
#![allow(clippy::wildcard_enum_match_arm, reason = "a case looks for some effects among many")]

#[path = "support/synthetic.rs"]
mod synthetic;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use potluck_core::Machine;
use potluck_core::content::{Kind, Listing, ListingEntry, Node, PieceSet, SafePath};
use potluck_core::effects::Effects;
use potluck_core::ids::{
    ChainingValue, ChunkAddr, ChunkRun, ContentKey, DownloadId, LinkId, OpId, PeerId, PieceIndex,
    SessionToken, Slot,
};
use potluck_core::limits;
use potluck_core::peer::*;
use potluck_core::seed::Seed;
use potluck_core::time::Instant;
use potluck_core::wire::peer::{Holding, PeerMessage, Refusal, RequestRef};
use potluck_core::wire::tracker::{RefusedRequest, TrackerMessage, TrackerRequest};
use synthetic::Synthetic;

const DOWNLOAD: DownloadId = DownloadId(1);
const TRACKER: LinkId = LinkId(1000);

fn addr(i: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, i], 1000))
}

/// A peer, and all that it wanted done so far.
struct Case {
    peer: Peer,
    now: Instant,
    done: Vec<PeerEffect>,
}

impl Case {
    fn new() -> Self {
        let config = PeerConfig {
            peer: PeerId([100; 32]),
            name: "me".to_owned(),
            any_name: false,
            listen_port: 1000,
            seed: Seed::from_number(1),
            inflight_bytes_max: 16 << 20,
            upload_links_max: 8,
            up_rate_max: 0,
            down_rate_max: 0,
        };
        Self { peer: Peer::new(config), now: Instant::ZERO, done: Vec::new() }
    }

    /// Gives an input; what the peer wants done for it.
    fn input(&mut self, input: PeerInput) -> Vec<PeerEffect> {
        let mut out = Effects::new();
        self.peer.handle(self.now, input, &mut out);
        self.peer.check_invariants();
        let effects: Vec<PeerEffect> = out.drain().collect();
        self.done.extend(effects.iter().cloned());
        effects
    }

    fn command(&mut self, command: Command) -> Vec<PeerEffect> {
        self.input(PeerInput::Command(command))
    }

    fn says(&mut self, link: LinkId, msg: PeerMessage) -> Vec<PeerEffect> {
        self.input(PeerInput::Peer { link, msg })
    }

    fn pass(&mut self, time: Duration) -> Vec<PeerEffect> {
        let (end, mut effects) = (self.now + time, Vec::new());
        while let Some(due) = self.peer.deadline().filter(|d| d.at <= end) {
            self.now = self.now.max(due.at);
            effects.extend(self.input(PeerInput::Tick));
        }
        self.now = end;
        effects
    }

    fn share(&mut self, content: &Synthetic, name: &str) {
        let (key, table) = (content.key, content.table.clone());
        let (name, total) = (name.to_owned(), key.length);
        self.command(Command::Share { key, kind: Kind::File, name, member: false, total, table });
    }

    /// A download whose place is open, with some pieces in it.
    fn fetch(&mut self, content: &Synthetic, have: PieceSet) {
        self.fetch_kind(content, Kind::File);
        let table = content.table.clone();
        self.open(Opening::Part { table, have });
    }

    fn fetch_kind(&mut self, content: &Synthetic, kind: Kind) {
        let (key, name) = (content.key, "it".to_owned());
        let (peers, only_from) = (Vec::new(), Vec::new());
        self.command(Command::Fetch { download: DOWNLOAD, key, kind, name, peers, only_from });
    }

    fn open(&mut self, opening: Opening) -> Vec<PeerEffect> {
        let op = self.last(|e| match e {
            PeerEffect::Open { op, .. } => Some(*op),
            _ => None,
        });
        self.input(PeerInput::Opened { op, result: Ok(opening) })
    }

    /// A peer links up; its links and slots are its number.
    fn meet(&mut self, i: u8) -> LinkId {
        let link = LinkId(i.into());
        let (peer, addr) = (PeerId([i; 32]), addr(i));
        self.input(PeerInput::LinkUp { link, op: None, role: Role::Peer, peer, addr });
        self.says(link, PeerMessage::Hello { name: format!("peer{i}"), listen_port: 1000 });
        link
    }

    /// It holds the pieces of a content that are marked.
    fn holds(&mut self, i: u8, content: &Synthetic, marks: &str) -> Vec<PeerEffect> {
        let (link, slot, key) = (LinkId(i.into()), Slot(i.into()), content.key);
        let mut effects = self.says(link, PeerMessage::Join { slot, key, holding: Holding::Some });
        let set = set(content, marks);
        effects.extend(
            self.says(link, PeerMessage::Bitfield { slot, first: 0, bits: set.to_slice(0, 1 << 10) }),
        );
        effects
    }

    /// A tracker session is up.
    fn join(&mut self, name: &str) {
        self.command(Command::JoinTracker { addr: addr(200) });
        let op = self.last(|e| match e {
            PeerEffect::Dial { op, role: Role::Tracker, .. } => Some(*op),
            _ => None,
        });
        let peer = PeerId([200; 32]);
        self.input(PeerInput::LinkUp {
            link: TRACKER,
            op: Some(op),
            role: Role::Tracker,
            peer,
            addr: addr(200),
        });
        let msg = TrackerMessage::Joined {
            seq: 1,
            name: name.to_owned(),
            token: SessionToken([0; 16]),
            observed: addr(100),
            lease_ms: 15_000,
        };
        self.input(PeerInput::Tracker { link: TRACKER, msg });
    }

    fn last<T>(&self, find: impl Fn(&PeerEffect) -> Option<T>) -> T {
        self.done.iter().rev().find_map(find).expect("the peer wanted this done")
    }

    /// What was expected of a link and not taken back: operation and run.
    fn expected(&self, link: LinkId) -> Vec<(OpId, ChunkRun)> {
        let gone: Vec<OpId> = self.done.iter().filter_map(unexpected).collect();
        let all = self.done.iter().filter_map(|e| match e {
            PeerEffect::Expect { link: l, op, run, .. } if *l == link => Some((*op, *run)),
            _ => None,
        });
        all.filter(|(op, _)| !gone.contains(op)).collect()
    }

    fn arrive(&mut self, content: &Synthetic, op: OpId, piece: u32, right: bool) -> Vec<PeerEffect> {
        let at = ChunkAddr { piece: PieceIndex(piece), chunk: 0 };
        let value = if right { content.value(at) } else { ChainingValue([0; 32]) };
        self.input(PeerInput::ChunkArrived { op, at, result: Ok(value) })
    }

    /// The next that was asked of a link arrives, and all after it, until nothing is asked any more.
    fn arrive_all(&mut self, content: &Synthetic, link: LinkId) {
        let mut arrived: Vec<OpId> = Vec::new();
        while let Some((op, run)) = self.expected(link).into_iter().find(|(op, _)| !arrived.contains(op)) {
            arrived.push(op);
            self.arrive(content, op, run.piece.0, true);
        }
    }
}

fn unexpected(effect: &PeerEffect) -> Option<OpId> {
    match effect {
        PeerEffect::Unexpect { op, .. } => Some(*op),
        _ => None,
    }
}

/// `#` marks a piece.
fn set(content: &Synthetic, marks: &str) -> PieceSet {
    let mut set = PieceSet::empty(content.geometry.pieces());
    for (piece, _) in (0..).zip(marks.bytes()).filter(|(_, mark)| *mark == b'#') {
        set.insert(PieceIndex(piece));
    }
    set
}

/// So many pieces of one chunk.
fn pieces(count: u64) -> Synthetic {
    Synthetic::new(count * limits::CHUNK_BYTES, 1)
}

fn sync_op(effect: &PeerEffect) -> Option<OpId> {
    match effect {
        PeerEffect::Sync { op, .. } => Some(*op),
        _ => None,
    }
}

fn finish_op(effect: &PeerEffect) -> Option<OpId> {
    match effect {
        PeerEffect::Finish { op, .. } => Some(*op),
        _ => None,
    }
}

fn says(effects: &[PeerEffect], wanted: &PeerMessage) -> bool {
    effects.iter().any(|e| matches!(e, PeerEffect::SendPeer { msg, .. } if msg == wanted))
}

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

fn dial_of(effects: &[PeerEffect], to: SocketAddr) -> Option<OpId> {
    effects.iter().find_map(|e| match e {
        PeerEffect::Dial { op, addr, .. } if *addr == to => Some(*op),
        _ => None,
    })
}

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
    case.command(Command::Fetch { download: DOWNLOAD, key, kind, name, peers, only_from: Vec::new() });
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
        let mut effects =
            case.input(PeerInput::LinkUp { link, op: None, role: Role::Peer, peer, addr: from });
        effects.extend(case.says(link, PeerMessage::Hello { name: String::new(), listen_port: 0 }));
        effects.retain(|e| matches!(e, PeerEffect::Close { .. }));
        effects
    };
    let takes_part = |case: &mut Case, n: u64| {
        let join = PeerMessage::Join { slot: Slot(1), key: content.key, holding: Holding::Nothing };
        case.says(LinkId(n), join);
    };
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
    let mut find = |what: &str| {
        case.pass(Duration::from_millis(60));
        let effects = case.says(one, PeerMessage::Find { seq: 1, what: what.to_owned() });
        effects
            .into_iter()
            .find_map(|e| match e {
                PeerEffect::SendPeer { msg: PeerMessage::Found { offers, .. }, .. } => Some(offers),
                _ => None,
            })
            .expect("an answer")
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
