//! Who is asked for what, and who is served: choices, spare uplinks, upload slots.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use crate::case::*;
use crate::synthetic::Synthetic;
use potluck_core::content::PieceSet;
use potluck_core::ids::{ChunkAddr, ChunkRun, LinkId, OpId, PeerId, PieceIndex, Slot};
use potluck_core::limits;
use potluck_core::peer::*;
use potluck_core::time::Instant;
use potluck_core::wire::peer::{PeerMessage, Refusal, RequestRef};

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

/// Padding came for what could not be read. Once it can be read it is asked for as before; of who goes on like that it is not.
#[test]
fn a_bad_piece_that_was_taken_back_is_asked_for_again_when_it_is_offered() {
    let content = pieces(1 + 1);
    let mut case = Case::new();
    case.fetch(&content, set(&content, "#."));
    let one = case.meet(1);
    case.holds(1, &content, ".#");
    let pieces = vec![PieceIndex(1)];
    for round in 0.. {
        let last = |case: &Case| case.expected(one).last().map(|(op, _)| *op);
        let op = last(&case).expect("it is asked for");
        assert!(round < 1000, "for ever");
        case.arrive(&content, op, 1, false);
        case.says(one, PeerMessage::Retract { slot: Slot(1), pieces: pieces.clone() });
        assert_eq!(last(&case), Some(op), "it has not got it");
        case.says(one, PeerMessage::Have { slot: Slot(1), pieces: pieces.clone() });
        if last(&case) == Some(op) {
            assert!(round > 0, "the first time it is believed");
            break;
        }
    }
}

#[test]
fn what_could_not_be_read_is_taken_back_and_offered_again() {
    let content = pieces(2);
    let mut case = Case::new();
    case.fetch(&content, set(&content, "#."));
    let one = case.meet(1);
    case.holds(1, &content, "..");
    let run = ChunkRun { piece: PieceIndex(0), first: 0, count: 1 };
    case.input(PeerInput::Writable { link: one, bytes: 1 << 20 });
    case.says(one, PeerMessage::Request { slot: Slot(1), run });
    let (key, at) = (content.key, ChunkAddr { piece: PieceIndex(0), chunk: 0 });
    let effects = case.input(PeerInput::ChunkSent { link: one, key, at, result: SendResult::SourceChanged });
    let pieces = vec![PieceIndex(0)];
    assert!(says(&effects, &PeerMessage::Retract { slot: Slot(0), pieces: pieces.clone() }), "{effects:?}");
    let effects = case.pass(Duration::from_secs(3));
    assert!(says(&effects, &PeerMessage::Have { slot: Slot(0), pieces }), "{effects:?}");
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
    // They were told when they joined.
    case.now = case.now + Duration::from_millis(150);
    case.done.clear();
    case.arrive(&content, op, run.piece.0, true);
    let told: Vec<LinkId> = case.done.iter().filter_map(spare).collect();
    assert_eq!(told, [none, some], "the holder lacks nothing");
    case.arrive_all(&content, holder);
    assert_eq!(case.done.iter().filter_map(spare).count(), 2, "both were told a moment ago");
}

/// Nothing that it sends reminds it of a partner that asks others.
#[test]
fn who_is_never_asked_goes_on_offering_its_uplink() {
    let content = pieces(4);
    let mut case = Case::new();
    case.share(&content, "it");
    let one = case.meet(1);
    let offers = |effects: &[PeerEffect]| {
        let to_one = |e: &&PeerEffect| matches!(e, PeerEffect::SendPeer { link, msg: PeerMessage::Spare { .. } } if *link == one);
        effects.iter().filter(to_one).count()
    };
    case.done.clear();
    case.holds(1, &content, "....");
    let at_once = offers(&case.done);
    assert_eq!(at_once, 1, "as it joins");
    let later: usize = (0..40).map(|_| offers(&case.pass(Duration::from_millis(50)))).sum();
    assert!((4..=9).contains(&later), "{later} times in two seconds");
    case.holds(1, &content, "####");
    let later: usize = (0..40).map(|_| offers(&case.pass(Duration::from_millis(50)))).sum();
    assert_eq!(later, 0, "it lacks nothing now");
}

/// A peer with two pieces fewer than each of so many partners: that is no lag yet.
fn among_holders(partners: u8) -> (Synthetic, Case, Vec<LinkId>) {
    let content = pieces(80);
    let mut case = Case::new();
    let have = format!("{}{}.", ".".repeat(39), "#".repeat(40));
    case.fetch(&content, set(&content, &format!("{}{}", "#".repeat(38), ".".repeat(42))));
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
    case.says(links[1], PeerMessage::Spare { ahead: 0 });
    assert_eq!(case.expected(links[1]).len(), 2, "it owes something as it is");
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
fn from_afar_one_that_has_uplink_to_spare_is_asked_ahead_among_many() {
    for (rtt, owes) in [(10, 1), (80, 2)] {
        let mut case = Case::new();
        let content = pieces(80);
        case.fetch(&content, set(&content, &format!("{}{}", "#".repeat(38), ".".repeat(42))));
        let links: Vec<LinkId> = (1..=9).map(|n| case.meet(n)).collect();
        let pings = case.done.iter().filter_map(|e| match e {
            PeerEffect::SendPeer { link, msg: PeerMessage::Ping { nonce } } => Some((*link, *nonce)),
            _ => None,
        });
        let pings: Vec<_> = pings.collect();
        case.now = case.now + Duration::from_millis(rtt);
        for (link, nonce) in pings {
            case.says(link, PeerMessage::Pong { nonce });
        }
        for n in 1..=9 {
            case.holds(n, &content, &format!("{}{}.", ".".repeat(39), "#".repeat(40)));
        }
        for _ in 0..3 {
            case.says(links[8], PeerMessage::Spare { ahead: 0 });
        }
        assert_eq!(case.expected(links[8]).len(), owes, "{rtt} ms");
    }
}

/// Behind a full downlink each of many links is silent for long before its turn comes: what is owed comes, and a copy would
/// come before what is missing.
#[test]
fn a_silent_link_is_overtaken_once_nothing_else_comes() {
    let content = pieces(40);
    let mut case = Case::new();
    case.fetch(&content, set(&content, &format!("{}{}", "#".repeat(20), ".".repeat(20))));
    let [lively, silent] = [1, 2].map(|i| case.meet(i));
    for i in [1, 2] {
        case.holds(i, &content, &"#".repeat(40));
    }
    let (op, run) = case.expected(silent)[0];
    case.arrive(&content, op, run.piece.0, true);
    let owed = case.expected(silent)[1..].to_vec();
    assert!(!owed.is_empty());
    let mut came = 0;
    while let Some(&(op, run)) = case.expected(lively).get(came) {
        assert_eq!(case.expected(silent)[1..], owed, "after {came} chunks from the other link");
        case.pass(Duration::from_millis(40));
        case.arrive(&content, op, run.piece.0, true);
        came += 1;
    }
    assert_eq!(came + 1 + owed.len(), 20, "each was asked for once");
    case.pass(Duration::from_millis(500));
    assert!(case.expected(lively).len() > came, "what the other owes");
}

/// They answer pings and take requests; a piece may be asked of two of them.
#[test]
fn holders_that_never_give_anything_do_not_keep_a_download_from_its_end() {
    let content = pieces(32);
    // One that gave nothing yet waits until others that gave nothing either were given up.
    for (first, within) in [(true, 3), (false, 20)] {
        let mut case = Case::new();
        case.fetch(&content, PieceSet::empty(32));
        let honest = case.meet(13);
        if first {
            case.holds(13, &content, &"#".repeat(32));
        }
        for mute in 1..13 {
            case.meet(mute);
            case.holds(mute, &content, &"#".repeat(32));
        }
        if !first {
            case.holds(13, &content, &"#".repeat(32));
        }
        let (mut came, mut heard): (Vec<OpId>, usize) = (Vec::new(), 0);
        while !case.peer.held(content.key).expect("a swarm").is_full() {
            let late = case.now >= Instant::ZERO + Duration::from_secs(within);
            assert!(!late, "{} came within {within} s", came.len());
            let pings = case.done[heard..].iter().filter_map(|e| match e {
                PeerEffect::SendPeer { link, msg: PeerMessage::Ping { nonce } } => Some((*link, *nonce)),
                _ => None,
            });
            let pings: Vec<(LinkId, u64)> = pings.collect();
            heard = case.done.len();
            for (link, nonce) in pings {
                case.says(link, PeerMessage::Pong { nonce });
            }
            if let Some((op, run)) = case.expected(honest).into_iter().find(|(op, _)| !came.contains(op)) {
                came.push(op);
                case.arrive(&content, op, run.piece.0, true);
            }
            case.pass(Duration::from_millis(20));
        }
    }
}

/// A crowd around a slow holder has patience. But who says so for ever keeps nobody from hearing that the download waits.
#[test]
fn that_all_holders_are_too_busy_is_told_in_the_end() {
    let content = pieces(2);
    let mut case = Case::new();
    case.fetch(&content, set(&content, ".."));
    let one = case.meet(1);
    case.holds(1, &content, "##");
    let why = Refusal::Busy { retry_ms: 500 };
    let (mut told, mut answered) = (Vec::new(), 0);
    while case.now < Instant::ZERO + Duration::from_secs(130) {
        let said = case.done[answered..].iter().filter_map(|e| match e {
            PeerEffect::SendPeer { msg: PeerMessage::Request { slot, run }, .. } => {
                Some((*slot, RequestRef::Piece(run.piece)))
            }
            PeerEffect::SendPeer { msg: PeerMessage::RequestAny { slot, choice, .. }, .. } => {
                Some((*slot, RequestRef::Choice(*choice)))
            }
            PeerEffect::Report(PeerEvent::Waiting { reason, missing, .. }) => {
                told.push((case.now, *reason, missing.clone()));
                None
            }
            _ => None,
        });
        let asked: Vec<(Slot, RequestRef)> = said.collect();
        answered = case.done.len();
        for (slot, which) in asked {
            case.says(one, PeerMessage::Refuse { slot, which, why });
        }
        case.pass(Duration::from_millis(100));
    }
    let [(at, reason, missing)] = &told[..] else { panic!("{told:?}") };
    assert!(at.since(Instant::ZERO) > Duration::from_secs(110), "{at:?}");
    assert_eq!((*reason, missing.len()), (WaitReason::Busy, 1));
}

/// Who is served first is who has least. That is nobody's way to keep others waiting: neither who takes all and never says that
/// it has any, nor who begins anew again and again.
#[test]
fn the_neediest_keep_nobody_waiting() {
    let content = pieces(64);
    for anew in [false, true] {
        let mut case = Case::new();
        case.command(Command::LimitRates { up: 10 * limits::CHUNK_BYTES, down: 0 });
        case.share(&content, "it");
        let [greedy, honest] = [1, 2].map(|i| case.meet(i));
        case.holds(1, &content, &".".repeat(64));
        case.holds(2, &content, &format!("{}{}", "#".repeat(60), ".".repeat(4)));
        for link in [greedy, honest] {
            case.input(PeerInput::Writable { link, bytes: 1 << 30 });
        }
        let mut got = [0, 0];
        for turn in 0..200 {
            if anew {
                case.says(greedy, PeerMessage::Leave { slot: Slot(1) });
                case.holds(1, &content, &".".repeat(64));
            }
            let mut effects = Vec::new();
            for (link, piece) in [(greedy, turn % 60), (honest, 60 + turn % 4), (greedy, turn % 60)] {
                let run = ChunkRun { piece: PieceIndex(piece), first: 0, count: 1 };
                effects.extend(case.says(link, PeerMessage::Request { slot: Slot(link.0 as u32), run }));
            }
            effects.extend(case.pass(Duration::from_millis(50)));
            for link in case.chunks_leave(&effects) {
                got[usize::from(link == honest)] += 1;
            }
        }
        assert!(got[1] >= 20, "of some hundred chunks: {got:?}");
    }
}

/// Who has many links gets no more of an upload, and no more of its slots, than others have with one.
#[test]
fn many_links_of_one_address_leave_others_their_share() {
    let content = pieces(64);
    let mut case = Case::new();
    case.command(Command::LimitRates { up: 10 * limits::CHUNK_BYTES, down: 0 });
    case.share(&content, "it");
    for i in 1..=20 {
        let (link, at) = (LinkId(i.into()), SocketAddr::from(([10, 0, 0, 1], 1000 + u16::from(i))));
        case.link_up(link, PeerId([i; 32]), at);
        case.says(link, PeerMessage::Hello { name: format!("greedy{i}"), listen_port: 0 });
        case.holds(i, &content, &".".repeat(64));
        case.input(PeerInput::Writable { link, bytes: 1 << 30 });
    }
    let honest = case.meet(50);
    case.input(PeerInput::Writable { link: honest, bytes: 1 << 30 });
    case.holds(50, &content, &format!("{}{}", "#".repeat(60), ".".repeat(4)));
    let mut got = [0, 0];
    for turn in 0..200 {
        let mut effects = Vec::new();
        let asks = (1..=20).map(|i| (LinkId(i), turn % 60)).chain([(honest, 60 + turn % 4)]);
        for (link, piece) in asks {
            let run = ChunkRun { piece: PieceIndex(piece), first: 0, count: 1 };
            effects.extend(case.says(link, PeerMessage::Request { slot: Slot(link.0 as u32), run }));
        }
        effects.extend(case.pass(Duration::from_millis(50)));
        for link in case.chunks_leave(&effects) {
            got[usize::from(link == honest)] += 1;
        }
    }
    assert!(got[1] >= 20, "of some hundred chunks: {got:?}");
}

/// A holder that dies when it has given everything once takes along what is still on its way.
#[test]
fn second_copies_wait_until_the_first_ones_have_come() {
    let content = pieces(64);
    let mut case = Case::new();
    case.share(&content, "it");
    let [one, two] = [1, 2].map(|i| case.meet(i));
    for i in [1, 2] {
        case.holds(i, &content, &".".repeat(64));
        case.input(PeerInput::Writable { link: LinkId(i.into()), bytes: 1 << 30 });
    }
    let asks = |case: &mut Case, link: LinkId, piece: u32| {
        let run = ChunkRun { piece: PieceIndex(piece), first: 0, count: 1 };
        let effects = case.says(link, PeerMessage::Request { slot: Slot(link.0 as u32), run });
        !case.chunks_leave(&effects).is_empty()
    };
    assert!((0..64).all(|piece| asks(&mut case, one, piece)), "first copies");
    assert!(!asks(&mut case, two, 7), "nobody has said yet that one has come");
    case.says(one, PeerMessage::Have { slot: Slot(1), pieces: (0..63).map(PieceIndex).collect() });
    assert!(!asks(&mut case, two, 7), "the last is on its way");
    case.says(one, PeerMessage::Have { slot: Slot(1), pieces: vec![PieceIndex(63)] });
    assert!(asks(&mut case, two, 7));
}

/// A fast holder among many peers would send much that they have from each other as well.
#[test]
fn a_holder_sends_those_who_live_on_others_elsewhere_unless_they_wait_in_vain() {
    let content = pieces(64);
    let mut case = Case::new();
    case.share(&content, "it");
    // Two others have most of it, and there is a crowd that has nothing yet.
    for (i, has) in [(1, 62), (2, 62), (3, 16)].into_iter().chain((4..=32).map(|i| (i, 0))) {
        let link = case.meet(i);
        case.holds(i, &content, &format!("{}{}", "#".repeat(has), ".".repeat(64 - has)));
        case.input(PeerInput::Writable { link, bytes: 1 << 30 });
    }
    let asker = LinkId(3);
    let served = |case: &mut Case, choice: u32, candidates: [u32; 2]| {
        let pieces = candidates.map(PieceIndex).to_vec();
        let effects = case.says(asker, PeerMessage::RequestAny { slot: Slot(3), choice, pieces });
        !case.chunks_leave(&effects).is_empty()
    };
    assert!(served(&mut case, 1, [62, 63]) && served(&mut case, 2, [62, 63]), "nobody else has these");
    let got = |case: &mut Case, pieces: std::ops::Range<u32>| {
        case.says(asker, PeerMessage::Have { slot: Slot(3), pieces: pieces.map(PieceIndex).collect() });
    };
    got(&mut case, 62..64);
    assert!(!served(&mut case, 3, [20, 21]), "two others have both");
    assert!(served(&mut case, 4, [20, 21]), "it got nothing since");
    got(&mut case, 16..20);
    assert!(served(&mut case, 5, [30, 31]), "more than an eighth of what it has is from here");
    got(&mut case, 16..30);
    assert!(!served(&mut case, 6, [40, 41]), "it grew");
    assert!(served(&mut case, 7, [40, 41]), "and does no more");
}

#[test]
fn what_nearly_all_lack_is_announced_and_offered_at_once() {
    let content = pieces(40);
    let mut case = Case::new();
    case.fetch(&content, set(&content, &".".repeat(40)));
    let holder = case.meet(1);
    case.holds(1, &content, &"#".repeat(40));
    let others: Vec<LinkId> = (2..=20).map(|n| case.meet(n)).collect();
    for n in 2..=20 {
        // All of them have the second half of the content.
        case.holds(n, &content, &format!("{}{}", ".".repeat(20), "#".repeat(20)));
    }
    let mut arrived = Vec::new();
    let mut arrives = |case: &mut Case, link: LinkId, rare: bool| {
        let is = |(op, run): &(OpId, ChunkRun)| (run.piece.0 < 20) == rare && !arrived.contains(op);
        let (op, run) = case.expected(link).into_iter().find(is).expect("asked for");
        arrived.push(op);
        let effects = case.arrive(&content, op, run.piece.0, true);
        let told = |e: &&PeerEffect| matches!(e, PeerEffect::SendPeer { msg: PeerMessage::Have { .. }, .. });
        let offered =
            |e: &&PeerEffect| matches!(e, PeerEffect::SendPeer { msg: PeerMessage::Spare { .. }, .. });
        (effects.iter().filter(told).count(), effects.iter().filter(offered).count())
    };
    let (told, offered) = arrives(&mut case, holder, true);
    assert!(told == 20 && offered > 0, "the first, after a quiet spell: {told}, {offered}");
    let common = others.iter().copied().find(|l| !case.expected(*l).is_empty()).expect("one was asked");
    assert_eq!(arrives(&mut case, common, false).0, 0, "everybody has that");
    let (told, offered) = arrives(&mut case, holder, true);
    assert!(told == 20 && offered > 0, "a second copy in the world: {told}, {offered}");
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
