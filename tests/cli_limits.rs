//! Caps on rates hold, also where a second is less than a chunk, and nobody takes a slow link for a dead one.

mod support;

use std::time::Instant;

use support::processes::{Net, number};

const KIB: u64 = 1024;

/// Fetches `bytes` with these flags; the bytes per second over all of it.
fn rate(bytes: u64, share: &[&str], get: &[&str]) -> f64 {
    let net = Net::new();
    let path = net.file("src/f", bytes, 1);
    let (_holder, id) = net.share("h", &path, share);
    let begun = Instant::now();
    let ran = net.get("g", &id, get).ran();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(ran.all("waiting").count(), 0, "slow is not gone: {}", ran.stdout);
    assert!(number(ran.one("done"), "bytes") == bytes);
    bytes as f64 / begun.elapsed().as_secs_f64()
}

#[test]
fn less_than_a_chunk_per_second_holds_in_both_directions() {
    for (share, get) in [(&["--limit-up", "100K"][..], &[][..]), (&[], &["--limit-down", "100K"])] {
        let measured = rate(300 * KIB, share, get);
        assert!(measured <= 110.0 * 1024.0, "{measured} with {share:?} {get:?}");
    }
}

#[test]
fn many_chunks_per_second_hold_in_both_directions() {
    for (share, get) in [(&["--limit-up", "4M"][..], &[][..]), (&[], &["--limit-down", "32Mbit"])] {
        let measured = rate(6 * KIB * KIB, share, get);
        assert!(measured <= 4.4 * 1024.0 * 1024.0, "{measured} with {share:?} {get:?}");
    }
}
