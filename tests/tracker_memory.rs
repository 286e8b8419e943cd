//! What the tracker's registry costs in memory, and that churn leaves nothing behind. Measured by a counting allocator,
//! so this file has one test, alone in its process.
//!
//! The million of the stated figure: `cargo test --release --test tracker_memory -- --nocapture`.

#![expect(clippy::print_stdout, reason = "the figures are what it is run for")]

#[path = "support/crowd.rs"]
mod crowd;

use crowd::{Crowd, batches, key};
use peak_alloc::PeakAlloc;
use potluck_core::ids::LinkId;
use potluck_core::peer::CloseReason;
use potluck_core::tracker::TrackerInput;
use potluck_core::wire::tracker::TrackerRequest;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Bytes of a registration: of a content that nobody else holds, with its name, in every index.
const REGISTRATION_BYTES_MAX: usize = 600;

#[test]
fn memory_follows_what_is_registered() {
    let (peers, each) = if cfg!(debug_assertions) { (1_000, 100) } else { (10_000, 100) };
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let mut crowd = Crowd::of(peers, each);
    let now = ALLOCATOR.current_usage() - before;
    let peak = ALLOCATOR.peak_usage() - before;
    let count = usize::try_from(peers * each).unwrap_or(usize::MAX);
    assert_eq!(crowd.tracker.registration_count(), count);
    println!(
        "{count} contents of {peers} peers: {} MiB, at most {} MiB, {} bytes a registration",
        now >> 20,
        peak >> 20,
        now / count
    );
    assert!(peak / count <= REGISTRATION_BYTES_MAX);

    // Everybody leaves and comes back with other contents, a part at a time, again and again.
    let mut first = peers * each;
    let mut turn_over = |crowd: &mut Crowd| {
        for peer in 0..peers {
            crowd.input(TrackerInput::LinkDown { link: LinkId(peer), reason: CloseReason::Broken });
            crowd.join(peer);
            crowd.ask(peer, TrackerRequest::Watch { key: key(first + each) });
            for ads in batches(first, each) {
                crowd.ask(peer, TrackerRequest::Announce { seq: 0, ads });
            }
            first += each;
        }
    };
    turn_over(&mut crowd);
    let settled = ALLOCATOR.current_usage() - before;
    for _ in 0..4 {
        turn_over(&mut crowd);
    }
    let after = ALLOCATOR.current_usage() - before;
    println!("after a turn-over {} MiB, after five {} MiB", settled >> 20, after >> 20);
    assert!(after < settled + settled / 10);

    for peer in 0..peers {
        crowd.input(TrackerInput::LinkDown { link: LinkId(peer), reason: CloseReason::Broken });
    }
    assert_eq!((crowd.tracker.registration_count(), crowd.tracker.link_count()), (0, 0));
    crowd.tracker.check_invariants();
}
