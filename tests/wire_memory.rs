//! No frame costs more memory than a small multiple of its length, whatever it claims. Measured by a counting
//! allocator, so this file has one test, alone in its process.

#[path = "support/messages.rs"]
mod messages;

use messages::{Generator, Size};
use peak_alloc::PeakAlloc;
use potluck_core::content::Listing;
use potluck_core::seed::Seed;
use potluck_core::wire::WireMessage;
use potluck_core::wire::peer::PeerMessage;
use potluck_core::wire::tracker::{TrackerMessage, TrackerRequest};
use rand_chacha::rand_core::Rng;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Bytes of memory per byte of body, and some that every body may cost.
const FACTOR: usize = 8;
const BASE: usize = 1024;

/// Runs `decode` and returns the most memory that it had at once.
fn peak<T>(decode: impl FnOnce() -> T) -> usize {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let decoded = decode();
    let peak = ALLOCATOR.peak_usage();
    drop(decoded);
    peak.saturating_sub(before)
}

fn check<M: WireMessage>(kind: u8, body: &[u8]) {
    let peak = peak(|| M::decode_body(kind, body));
    assert!(peak <= FACTOR * body.len() + BASE, "kind {kind}: {} bytes cost {peak}", body.len());
}

fn check_all(body: &[u8]) {
    for kind in 0..128 {
        check::<PeerMessage>(kind, body);
        check::<TrackerRequest>(kind, body);
        check::<TrackerMessage>(kind, body);
    }
}

/// A body whose eight bytes at `at` claim `count` elements.
fn claiming(mut body: Vec<u8>, at: usize, count: u64) -> Vec<u8> {
    if let Some(span) = body.get_mut(at..at + 8) {
        span.copy_from_slice(&count.to_le_bytes());
    }
    body
}

#[test]
fn memory_follows_the_length_of_a_frame() {
    // Any claim, at every place where a count can stand near the start, in bodies of every class of length.
    let lengths = [0, 8, 16, 100, 450, 1000, 2000, 8000, 33_000, 65_000, 131_072];
    for length in lengths {
        for at in 0..60 {
            let per_element = [1, 4, 32, 40, 44, 48, 56, 64, 72, 80, 88, 96];
            let fitting = per_element.map(|bytes| (8 * length as u64 + 512) / bytes);
            for count in fitting.into_iter().chain([1, u64::from(u32::MAX), u64::MAX / 8, u64::MAX]) {
                check_all(&claiming(vec![0; length], at, count));
            }
        }
    }
    // Honest messages, as they are and damaged.
    let mut rng = Seed::from_number(7).rng();
    for size in [Size::Any, Size::Full] {
        let mut generator = Generator::new(7, size);
        for _ in 0..300 {
            let mut body = Vec::new();
            generator.peer_message().encode_body(&mut body);
            check_all(&body);
            body.clear();
            generator.tracker_request().encode_body(&mut body);
            check_all(&body);
            body.clear();
            generator.tracker_message().encode_body(&mut body);
            let at = rng.next_u64() as usize % (body.len() + 1);
            check_all(&claiming(body, at, rng.next_u64() % 5000));
        }
    }
    // A listing's count is checked against its bytes, too.
    let listing = |count: u32, length: usize| {
        [&b"potluck listing1"[..], &count.to_le_bytes(), &vec![0; length]].concat()
    };
    for length in [0, 100, 10_000] {
        for count in [1, length as u32 / 12, 1_000_000, u32::MAX] {
            let bytes = listing(count, length);
            let peak = peak(|| Listing::decode(&bytes));
            assert!(peak <= FACTOR * bytes.len() + BASE, "{} bytes of listing cost {peak}", bytes.len());
        }
    }
}
