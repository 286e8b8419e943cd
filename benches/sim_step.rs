//! How fast the simulator is: whole swarms, by events of the world per second of real time.
//!
//! Run: `cargo bench --bench sim_step`.
#![expect(clippy::unwrap_used, reason = "what cannot be set up ends the benchmark")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use potluck_sim::units::Size;
use potluck_sim::{Real, Scenario, run};

fn swarms(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sim_step");
    group.sample_size(10);
    for peers in [8, 64] {
        let scenario = Scenario { peers, size: Size(64 << 20), ..Scenario::default() };
        let plan = scenario.plan().unwrap();
        let events = run(plan.clone(), &Real, None).unwrap().tally.events;
        group.throughput(Throughput::Elements(events));
        group.bench_function(BenchmarkId::new("peers", peers), |bencher| {
            bencher.iter(|| run(plan.clone(), &Real, None).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, swarms);
criterion_main!(benches);
