//! The tracker machine with a million contents of ten thousand peers: announcing, looking up, searching.
//!
//! Run: `cargo bench --bench registry`. Memory per registration: `cargo test --release --test tracker_memory -- --nocapture`.

#![expect(clippy::print_stderr, reason = "criterion has no percentiles")]

#[path = "../tests/support/crowd.rs"]
mod crowd;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use crowd::{Crowd, ad, batches, key};
use potluck_core::limits;
use potluck_core::wire::tracker::{Matching, TrackerMessage, TrackerRequest};

const PEERS: u64 = 10_000;
const CONTENTS_EACH: u64 = 100;
const CONTENTS: u64 = PEERS * CONTENTS_EACH;

fn announce(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("registry/announce");
    // The whole million, from an empty tracker.
    group
        .throughput(Throughput::Elements(CONTENTS))
        .sample_size(10)
        .measurement_time(Duration::from_secs(20));
    group.bench_function("n=1000000", |bencher| {
        bencher.iter_batched(
            || (0..PEERS).flat_map(|peer| batches(peer * CONTENTS_EACH, CONTENTS_EACH)).collect::<Vec<_>>(),
            |all| {
                let mut crowd = Crowd::new();
                for (peer, ads) in (0..).zip(all) {
                    crowd.join(peer);
                    crowd.ask(peer, TrackerRequest::Announce { seq: 0, ads });
                }
                crowd
            },
            BatchSize::PerIteration,
        );
    });
    // A full batch more, registered and withdrawn again, beside the million.
    let mut crowd = Crowd::of(PEERS, CONTENTS_EACH);
    let ads = batches(CONTENTS, limits::ADS_PER_MESSAGE as u64).remove(0);
    let keys: Vec<_> = ads.iter().map(|ad| ad.key).collect();
    group.throughput(Throughput::Elements(ads.len() as u64));
    group.bench_function("and withdraw, batch=256", |bencher| {
        bencher.iter(|| {
            crowd.ask(0, TrackerRequest::Announce { seq: 0, ads: ads.clone() });
            crowd.ask(0, TrackerRequest::Withdraw { seq: 0, keys: keys.clone() })
        });
    });
    group.finish();
}

fn ask(criterion: &mut Criterion) {
    let mut crowd = Crowd::of(PEERS, CONTENTS_EACH);
    let mut number = 0;
    criterion.bench_function("registry/holders n=1000000", |bencher| {
        bencher.iter(|| {
            number = (number + 7919) % CONTENTS;
            crowd.ask(
                number % PEERS,
                TrackerRequest::Holders { seq: 0, key: key(number), after: None, limit: 256 },
            )
        });
    });
    let text = |text: &str| text.to_owned();
    let searches = [
        ("everything, first page", Matching::All),
        ("name", Matching::Name(ad(77).name)),
        ("prefix", Matching::Prefix(text("Lecture notes 2019 0"))),
        ("substring, rare", Matching::Substring(text("0123456.m"))),
        ("substring, none", Matching::Substring(text("no such thing"))),
        ("substring, common", Matching::Substring(text("holiday"))),
        ("substring, unicode", Matching::Substring(text("ÜBUNG ÜBUNG 2003 09"))),
        ("substring, one letter and none", Matching::Substring(text("#"))),
        ("glob", Matching::Glob(text("*12345?.flac"))),
        ("id prefix", Matching::IdPrefix(key(77).id.to_string()[..12].to_owned())),
    ];
    for (name, matching) in searches {
        criterion.bench_function(&format!("registry/search {name} n=1000000"), |bencher| {
            bencher.iter(|| search(&mut crowd, black_box(matching.clone())));
        });
    }
    let mut times: Vec<Duration> = (0..1000)
        .map(|round: u64| {
            let rare = ad(round * 997).name;
            let matching = Matching::Substring(rare[rare.len() - 11..].to_owned());
            let start = Instant::now();
            search(&mut crowd, matching);
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    eprintln!("1,000 rare substrings in 1,000,000 names: p50 {:?}, p99 {:?}", times[500], times[990]);
}

/// One page; enough time passes before it that no bound on searches per second is met.
fn search(crowd: &mut Crowd, matching: Matching) -> Option<TrackerMessage> {
    crowd.now = crowd.now + Duration::from_millis(50);
    crowd.ask(1, TrackerRequest::Search { seq: 0, matching, members: false, after: None, limit: 256 })
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
    targets = announce, ask
}
criterion_main!(benches);
