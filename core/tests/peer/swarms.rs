//! Joining and leaving a network and a swarm, and what is registered meanwhile.

use std::time::Duration;

use crate::case::*;
use crate::synthetic::Synthetic;
use potluck_core::content::{Kind, PieceSet};
use potluck_core::ids::{ChunkRun, DownloadId, LinkId, OpId, PeerId, PieceIndex, Slot};
use potluck_core::limits;
use potluck_core::peer::*;
use potluck_core::wire::peer::{Holding, KnownPeer, PeerMessage};
use potluck_core::wire::tracker::{
    HolderRow, Matching, Reach, RefusedRequest, TrackerMessage, TrackerRequest,
};

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
        assert_eq!(
            says(&effects, &PeerMessage::Absent { slot: Slot(slot % 1000), peers: Vec::new() }),
            full,
            "{slot}"
        );
    }
}

/// In a crowd, who comes too late is told of those who came before: it finds a part with them. Who makes no use of its part gives
/// it up.
#[test]
fn who_finds_no_part_in_a_swarm_is_told_of_others() {
    let content = pieces(3);
    let mut case = Case::new();
    case.fetch(&content, set(&content, "#.."));
    let join = |case: &mut Case, i: u8| {
        let link = case.meet(i);
        case.says(link, PeerMessage::Join { slot: Slot(1), key: content.key, holding: Holding::Nothing })
    };
    let absent = |effects: &[PeerEffect]| {
        effects.iter().find_map(|e| match e {
            PeerEffect::SendPeer { msg: PeerMessage::Absent { peers, .. }, .. } => Some(peers.clone()),
            _ => None,
        })
    };
    let most = limits::PARTNERS_WHILE_FETCHING as u8;
    for i in 1..=most {
        assert_eq!(absent(&join(&mut case, i)), None);
    }
    let others = absent(&join(&mut case, most + 1)).expect("there is no room");
    assert_eq!(others.len(), limits::HOLDER_SAMPLE);
    assert!(others.iter().all(|other| other.peer.0[0] <= most));
    // Not without end: whoever asks in a loop is answered, and told nothing.
    let (link, key) = (LinkId((most + 1).into()), content.key);
    let again = || PeerMessage::Join { slot: Slot(1), key, holding: Holding::Nothing };
    let told = (0..1000).filter(|_| absent(&case.says(link, again())).is_some_and(|peers| !peers.is_empty()));
    assert!(told.count() as u64 <= limits::INTRODUCTIONS_BURST / limits::HOLDER_SAMPLE as u64);
    let seed = case.meet(most + 3);
    let (slot, key) = (Slot(1), content.key);
    let effects = case.says(seed, PeerMessage::Join { slot, key, holding: Holding::Everything });
    assert_eq!(absent(&effects), None, "who has all is always welcome");
    // The first asks for something.
    let run = ChunkRun { piece: PieceIndex(0), first: 0, count: 1 };
    case.says(LinkId(1), PeerMessage::Request { slot: Slot(1), run });
    for i in 1..=most {
        case.pass(Duration::from_millis(200));
        case.says(LinkId(i.into()), PeerMessage::Ping { nonce: 0 });
    }
    let effects = join(&mut case, most + 2);
    assert_eq!(absent(&effects), None);
    let left = |e: &PeerEffect| match e {
        PeerEffect::SendPeer { link, msg: PeerMessage::Leave { .. } } => Some(*link),
        _ => None,
    };
    assert_eq!(effects.iter().filter_map(left).collect::<Vec<_>>(), [LinkId(2)]);
}

/// Who cannot dial for want of open files does not say that nobody is in reach.
#[test]
fn why_nobody_can_be_dialed_is_told_where_it_is_a_limit_of_ones_own() {
    let content = pieces(3);
    let mut case = Case::new();
    let (key, name, how) = (content.key, "it".to_owned(), FetchOptions::default());
    let (download, peers, kind) = (DOWNLOAD, vec![addr(1)], Kind::File);
    case.command(Command::Fetch { download, key, kind, name, peers, how });
    case.open(Opening::Part { table: content.table.clone(), have: set(&content, "...") });
    let dial = |e: &PeerEffect| match e {
        PeerEffect::Dial { op, .. } => Some(*op),
        _ => None,
    };
    for (error, why) in [
        (DialError::TooManyOpen, WaitReason::Storage(StorageFault::TooManyOpen)),
        (DialError::Refused, WaitReason::NoHolder),
    ] {
        let op = case.last(dial);
        case.input(PeerInput::DialFailed { op, error });
        case.pass(Duration::from_secs(8));
        let said = case.last(|e| match e {
            PeerEffect::Report(PeerEvent::Waiting { reason, .. }) => Some(*reason),
            _ => None,
        });
        assert_eq!(said, why);
    }
}

/// It dials in waves that come less and less often, however long nobody has anything: a crowd that waits would link everybody
/// to everybody.
#[test]
fn who_waits_does_not_dial_everybody_at_once() {
    let content = pieces(3);
    let mut case = Case::new();
    case.fetch(&content, set(&content, "#.."));
    let one = case.meet(1);
    case.holds(1, &content, "...");
    let peers: Vec<_> = (10..42).map(|i| KnownPeer { peer: PeerId([i; 32]), addr: addr(i) }).collect();
    let mut dialed = 0;
    let mut dials = |case: &mut Case, effects: Vec<PeerEffect>| {
        for effect in effects {
            let PeerEffect::Dial { op, addr: at, role } = effect else { continue };
            dialed += 1;
            let i = (10..42).find(|i| addr(*i) == at).expect("somebody it was told of");
            let (link, peer) = (LinkId(i.into()), PeerId([i; 32]));
            case.input(PeerInput::LinkUp { link, op: Some(op), role, peer, addr: at });
            case.says(link, PeerMessage::Hello { name: String::new(), listen_port: 1000 });
            case.holds(i, &content, "...");
        }
        dialed
    };
    let effects = case.says(one, PeerMessage::Holders { slot: Slot(1), peers });
    dials(&mut case, effects);
    let mut after = [0; 40];
    for count in &mut after {
        let effects = case.pass(Duration::from_millis(500));
        *count = dials(&mut case, effects);
    }
    assert!(after[3] <= limits::LINKS_PER_SWARM + 4, "at once: {after:?}");
    assert!(after[39] >= 32, "in the end it asks everybody: {after:?}");
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

/// However fast the tracker answers: a thousand downloads would keep it busy with their progress alone.
#[test]
fn a_tracker_hears_of_progress_once_a_second() {
    let content = pieces(64);
    let mut case = Case::new();
    case.join("me");
    case.fetch(&content, set(&content, &".".repeat(64)));
    let holder = case.meet(1);
    case.holds(1, &content, &"#".repeat(64));
    let (mut arrived, mut told, mut unanswered) = (Vec::new(), Vec::new(), None);
    for _ in 0..40 {
        let mut effects = case.pass(Duration::from_millis(100));
        if let Some((op, run)) = case.expected(holder).into_iter().find(|(op, _)| !arrived.contains(op)) {
            arrived.push(op);
            effects.extend(case.arrive(&content, op, run.piece.0, true));
        }
        // The answer comes when there is more to tell already.
        if let Some(seq) = unanswered.take() {
            effects
                .extend(case.input(PeerInput::Tracker { link: TRACKER, msg: TrackerMessage::Done { seq } }));
        }
        for effect in effects {
            let PeerEffect::SendTracker { msg: TrackerRequest::Announce { seq, ads }, .. } = effect else {
                continue;
            };
            told.push(ads.iter().map(|ad| ad.pieces).sum::<u32>());
            unanswered = Some(seq);
        }
    }
    assert!((4..=5).contains(&told.len()), "the first piece at once, then once a second: {told:?}");
    assert!(told.last() >= Some(&25), "{told:?}");
}

#[test]
fn other_names_of_a_content_are_told_with_each_announcement() {
    let content = pieces(2);
    let key = content.key;
    let name = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Command::AlsoNamed { key, names }
    };
    let told = |effects: &[PeerEffect]| -> Vec<Vec<String>> {
        let named = effects.iter().filter_map(|e| match e {
            PeerEffect::SendTracker { msg: TrackerRequest::AlsoNamed { key: of, names }, .. } => {
                assert_eq!(*of, key);
                Some(names.clone())
            }
            _ => None,
        });
        named.collect()
    };
    let mut case = Case::new();
    case.share(&content, "it");
    case.command(name(&["copy", "../up"]));
    case.ask_to_join();
    assert_eq!(told(&case.joined("me")), [["copy"]], "behind the announcement");
    assert_eq!(told(&case.command(name(&["another"]))), [["another"]]);
    // Without a tracker it is found by each of its names.
    let one = case.meet(1);
    for (what, found) in [("it", "it"), ("another", "another"), ("copy", "")] {
        case.pass(Duration::from_secs(1));
        let effects = case.says(one, PeerMessage::Find { seq: 1, what: what.to_owned() });
        let offered = effects.iter().find_map(|e| match e {
            PeerEffect::SendPeer { msg: PeerMessage::Found { offers, .. }, .. } => Some(offers.clone()),
            _ => None,
        });
        let names: Vec<String> = offered.unwrap_or_default().into_iter().map(|offer| offer.name).collect();
        assert_eq!(names.join(" "), found, "{what}");
    }
    assert_eq!(told(&case.command(name(&[]))), [[""; 0]], "it has none any more");
    assert!(told(&case.command(name(&[]))).is_empty());
    case.command(name(&["last"]));
    case.command(Command::Unshare { key });
    case.share(&content, "it");
    assert!(!told(&case.done).is_empty() && told(&case.pass(Duration::from_secs(1))).is_empty());
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
        let refused = case.link_up(late, PeerId([2; 32]), addr(2));
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

/// Of a hundred holders a tracker names thirty; they may all be of no use.
#[test]
fn who_waits_asks_the_tracker_for_others() {
    let content = pieces(2);
    let mut case = Case::new();
    case.join("me");
    case.fetch(&content, set(&content, ".."));
    case.done.clear();
    case.pass(Duration::from_secs(12));
    let watch = TrackerRequest::Watch { key: content.key };
    let asked = |e: &&PeerEffect| matches!(e, PeerEffect::SendTracker { msg, .. } if *msg == watch);
    let times = case.done.iter().filter(asked).count();
    assert!((1..=2).contains(&times), "{times}");
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
        let ask = TrackerRequest::AskToDial { peer: PeerId([1; 32]) };
        let asks = |e: &PeerEffect| matches!(e, PeerEffect::SendTracker { msg, .. } if *msg == ask);
        let sought = if port == 0 { effects.iter().any(asks) } else { dial_of(&effects, addr(1)).is_some() };
        assert!(sought, "{effects:?}");
        case = Case::new();
        case.join("me");
        case.fetch(&content, set(&content, ".."));
    }
}

fn pings(effects: &[PeerEffect]) -> Vec<u64> {
    let nonce = |e: &PeerEffect| match e {
        PeerEffect::SendPeer { msg: PeerMessage::Ping { nonce }, .. } => Some(*nonce),
        _ => None,
    };
    effects.iter().filter_map(nonce).collect()
}

/// How much is asked for ahead depends on the round trip, and the first answer comes late when everybody starts at once.
#[test]
fn a_new_link_is_pinged_until_its_round_trip_is_known() {
    let content = pieces(3);
    let mut case = Case::new();
    case.fetch(&content, set(&content, "..."));
    let one = case.meet(1);
    case.holds(1, &content, "#..");
    let mut open = pings(&case.done);
    let mut pinged = open.len();
    for _ in 0..100 {
        for nonce in std::mem::take(&mut open) {
            case.says(one, PeerMessage::Pong { nonce });
        }
        // It is not silent meanwhile.
        case.says(one, PeerMessage::Spare { ahead: 9 });
        open = pings(&case.pass(Duration::from_millis(100)));
        pinged += open.len();
    }
    assert_eq!(pinged, 5);
}

/// On a slow uplink a chunk takes longer than a silent link lives: its sender must hear that it is waited for.
#[test]
fn a_peer_that_receives_one_chunk_for_long_says_that_it_is_there() {
    let content = pieces(3);
    let mut case = Case::new();
    case.fetch(&content, set(&content, "..."));
    let one = case.meet(1);
    case.holds(1, &content, "#..");
    let mut pinged = Vec::new();
    for second in 0..60 {
        if !pings(&case.pass(Duration::from_secs(1))).is_empty() {
            pinged.push(second);
        }
        case.input(PeerInput::Receiving { link: one, bytes: 4000 });
    }
    let longest = pinged.windows(2).map(|two| two[1] - two[0]).max().unwrap_or(60);
    assert!(longest < 15 && pinged.last().is_some_and(|last| *last > 45), "{pinged:?}");
}

#[test]
fn an_answer_to_an_older_ping_is_no_round_trip() {
    let content = pieces(3);
    let mut case = Case::new();
    case.fetch(&content, set(&content, "..."));
    let one = case.meet(1);
    case.holds(1, &content, "#..");
    let first = pings(&case.done)[0];
    let again = pings(&case.pass(Duration::from_secs(5)));
    assert_eq!(again.len(), 1);
    for (nonce, measured) in [(first, false), (again[0], true)] {
        case.says(one, PeerMessage::Pong { nonce });
        let told = case.peer.explain(DOWNLOAD).unwrap();
        assert_eq!(told.holders[0].round_trip.is_some(), measured);
    }
}

#[test]
fn what_is_not_said_yet_explains_nothing() {
    let content = pieces(3);
    let mut case = Case::new();
    case.fetch(&content, set(&content, "..."));
    let one = case.meet(1);
    let explained = |case: &Case| {
        let told = case.peer.explain(DOWNLOAD).unwrap();
        (told.undecided, told.holders.len())
    };
    let (slot, key) = (Slot(1), content.key);
    case.says(one, PeerMessage::Join { slot, key, holding: Holding::Some });
    assert_eq!(explained(&case), (1, 0), "what it has follows");
    case.holds(1, &content, "#..");
    assert_eq!(explained(&case), (0, 1));
    let two = case.meet(2);
    case.says(two, PeerMessage::Join { slot: Slot(2), key, holding: Holding::Nothing });
    assert_eq!(explained(&case), (0, 2), "that it has nothing is known, too");
}

/// One link serves two downloads: what comes over it is told once.
#[test]
fn the_rate_of_a_link_is_shared_out_among_its_downloads() {
    let (small, big) = (Synthetic::new(limits::CHUNK_BYTES, 2), pieces(3));
    let mut case = Case::new();
    case.fetch(&big, set(&big, "..."));
    let one = case.meet(1);
    case.holds(1, &big, "###");
    let alone = case.peer.status(DOWNLOAD).unwrap().holders.remove(0);
    assert_eq!(alone.inflight, case.peer.inflight(), "all of it is for the only download");
    let (other, peers, how) = (DownloadId(2), Vec::new(), FetchOptions::default());
    let (key, kind, name) = (small.key, Kind::File, "small".to_owned());
    case.command(Command::Fetch { download: other, key, kind, name, peers, how });
    case.open(Opening::Part { table: None, have: PieceSet::empty(1) });
    case.says(one, PeerMessage::Join { slot: Slot(7), key, holding: Holding::Everything });
    case.pass(Duration::from_millis(100));
    let (op, run) = case.expected(one)[0];
    case.arrive(&big, op, run.piece.0, true);
    let part = |case: &Case, id| case.peer.status(id).unwrap().holders.remove(0);
    let (first, second) = (part(&case, DOWNLOAD), part(&case, other));
    assert!(first.inflight > 0 && second.inflight == limits::CHUNK_BYTES, "{first:?} {second:?}");
    assert_eq!(first.inflight + second.inflight, case.peer.inflight());
    assert!(first.rate > 0 && second.rate > 0, "{first:?} {second:?}");
    let told = case.peer.explain(other).unwrap().holders.remove(0);
    assert_eq!((told.rate, told.inflight), (second.rate, second.inflight));
    case.command(Command::Stop { download: other });
    let whole = part(&case, DOWNLOAD).rate;
    assert!(whole.abs_diff(first.rate + second.rate) <= 1, "{whole}: {first:?} {second:?}");
}

/// It has all of the second, and nobody else was asked for that.
#[test]
fn a_holder_that_serves_another_download_is_said_to() {
    let (first, second) = (pieces(3), Synthetic::new(limits::CHUNK_BYTES, 2));
    let mut case = Case::new();
    case.fetch(&first, set(&first, "..."));
    let one = case.meet(1);
    case.holds(1, &first, "###");
    let (other, peers, how) = (DownloadId(2), Vec::new(), FetchOptions::default());
    let (key, kind, name) = (second.key, Kind::File, "second".to_owned());
    case.command(Command::Fetch { download: other, key, kind, name, peers, how });
    case.open(Opening::Part { table: None, have: PieceSet::empty(1) });
    case.says(one, PeerMessage::Join { slot: Slot(7), key, holding: Holding::Everything });
    let told = case.peer.explain(other).unwrap().holders.remove(0);
    assert_eq!((told.inflight, told.state), (0, HolderState::Elsewhere), "{told:?}");
}

fn joins(effects: &[PeerEffect], link: LinkId) -> bool {
    effects
        .iter()
        .any(|e| matches!(e, PeerEffect::SendPeer { link: l, msg: PeerMessage::Join { .. } } if *l == link))
}

/// A download that every peer in reach was asked for has no other way to its holder than that link.
#[test]
fn without_a_tracker_a_holder_is_not_lost_with_its_link() {
    let content = pieces(3);
    for listen_port in [0, 1000] {
        let mut case = Case::new();
        let (one, other, peer) = (LinkId(1), LinkId(21), PeerId([1; 32]));
        case.link_up(one, peer, addr(1));
        case.says(one, PeerMessage::Hello { name: "peer1".to_owned(), listen_port });
        case.fetch(&content, set(&content, "..."));
        assert!(joins(&case.done, one));
        case.holds(1, &content, "###");
        // A second link takes the place of the first.
        assert!(joins(&case.link_up(other, peer, addr(1)), other), "listening at {listen_port}");
        // That ends, too.
        case.input(PeerInput::LinkDown { link: other, reason: CloseReason::Broken });
        assert_eq!(dial_of(&case.pass(Duration::from_secs(5)), addr(1)).is_some(), listen_port != 0);
    }
}

/// A peer that started again is known by two identities, and is at one address.
#[test]
fn who_is_linked_is_not_dialed_to_be_asked() {
    for linked in [false, true] {
        let mut case = Case::new();
        let one = case.meet(1);
        case.input(PeerInput::LinkDown { link: one, reason: CloseReason::Broken });
        if linked {
            let link = LinkId(21);
            case.link_up(link, PeerId([21; 32]), addr(1));
            case.says(link, PeerMessage::Hello { name: "again".to_owned(), listen_port: 1000 });
        }
        let question =
            Question::Contents { matching: Matching::Name("it".to_owned()), members: false, limit: 1 };
        let effects = case.command(Command::Ask { op: OpId(77), question });
        assert_eq!(dial_of(&effects, addr(1)).is_some(), !linked);
    }
}
