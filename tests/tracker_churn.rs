//! An hour of simulated churn by ten thousand peers leaves a tracker's memory where it was. Measured by a counting allocator,
//! so this file has one test, alone in its process.

#![allow(dead_code, reason = "a part of the crowd is of use here")]
#![expect(clippy::print_stdout, reason = "the figures are what it is run for")]

#[path = "support/crowd.rs"]
mod crowd;

use std::collections::VecDeque;
use std::time::Duration;

use crowd::{Crowd, batches, key};
use peak_alloc::PeakAlloc;
use potluck_core::Machine as _;
use potluck_core::ids::LinkId;
use potluck_core::peer::CloseReason;
use potluck_core::tracker::TrackerInput;
use potluck_core::wire::tracker::{Matching, TrackerRequest};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const PEERS: u64 = 10_000;
/// Contents that each registers.
const EACH: u64 = 2;
/// Peers that go, and others that come, in a step of ten seconds: a stay is twenty minutes.
const PER_STEP: u64 = PEERS / 120;
const STEP: Duration = Duration::from_secs(10);
const STEPS: u64 = 360;

/// Peer number `peer` comes, and does what peers do. Some contents are everybody's, most are its own.
fn come(crowd: &mut Crowd, peer: u64) {
    crowd.join(peer);
    for ads in batches(peer * EACH, EACH).into_iter().chain(batches(peer % 100, 2)) {
        crowd.ask(peer, TrackerRequest::Announce { seq: 0, ads });
    }
    crowd.ask(peer, TrackerRequest::Watch { key: key(peer * EACH + 1) });
    if peer.is_multiple_of(50) {
        crowd.ask(peer, TrackerRequest::Watch { key: key(peer % 100) });
    }
    if peer.is_multiple_of(2000) {
        crowd.ask(peer, TrackerRequest::WatchPeers { on: true });
    }
    if peer.is_multiple_of(16) {
        let matching = Matching::Prefix("Lecture".to_owned());
        crowd.ask(peer, TrackerRequest::Search { seq: 0, matching, members: false, after: None, limit: 20 });
        crowd.ask(peer, TrackerRequest::Rename { seq: 0, name: format!("renamed-{peer}") });
    }
}

/// It goes: in order, or not; and some come back at once as somebody else.
fn go(crowd: &mut Crowd, peer: u64) {
    if peer.is_multiple_of(2) {
        crowd.ask(peer, TrackerRequest::Leave {});
    } else {
        crowd.input(TrackerInput::LinkDown { link: LinkId(peer), reason: CloseReason::Broken });
    }
}

#[test]
fn an_hour_of_churn_leaves_nothing_behind() {
    let before = ALLOCATOR.current_usage();
    let mut crowd = Crowd::new();
    let mut here: VecDeque<u64> = VecDeque::new();
    for peer in 0..PEERS {
        come(&mut crowd, peer);
        here.push_back(peer);
    }
    let (mut next, mut settled) = (PEERS, 0);
    for step in 0..STEPS {
        crowd.now = crowd.now + STEP;
        for _ in 0..PER_STEP {
            if let Some(peer) = here.pop_front() {
                go(&mut crowd, peer);
            }
            come(&mut crowd, next);
            here.push_back(next);
            next += 1;
        }
        for _ in 0..64 {
            if crowd.tracker.deadline().is_none_or(|due| due.at > crowd.now) {
                break;
            }
            crowd.input(TrackerInput::Tick);
        }
        if step == STEPS / 3 {
            settled = ALLOCATOR.current_usage() - before;
        }
    }
    let after = ALLOCATOR.current_usage() - before;
    println!(
        "{next} peers came: {} KiB after twenty minutes, {} KiB after an hour",
        settled >> 10,
        after >> 10
    );
    // The log of who came and went, for those who watch, is still growing to its bound; nothing else is.
    assert!(after < settled + settled / 8, "{after} bytes instead of {settled}");
    crowd.tracker.check_invariants();
    for peer in here {
        go(&mut crowd, peer);
    }
    for _ in 0..10_000 {
        crowd.now = crowd.now + Duration::from_millis(250);
        if crowd.tracker.deadline().is_some_and(|due| due.at <= crowd.now) {
            crowd.input(TrackerInput::Tick);
        }
    }
    assert_eq!((crowd.tracker.registration_count(), crowd.tracker.link_count()), (0, 0));
    let left = ALLOCATOR.current_usage() - before;
    println!("{} KiB once all are gone", left >> 10);
    crowd.tracker.check_invariants();
}
