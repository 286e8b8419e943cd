//! `potluck sim explore`: a random swarm per seed.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use potluck_sim::{Exploration, Findings, Plan, Real, shrink};

use super::super::Context;
use super::{ExploreArgs, violated};
use crate::exit::{Code, Failure};
use crate::ui::Event;

pub(super) fn run(args: ExploreArgs, ctx: &Context) -> anyhow::Result<()> {
    let limit = args.minutes.map(|minutes| Duration::from_secs_f64((minutes * 60.0).clamp(0.0, 1e9)));
    let end = if limit.is_some() { u64::MAX } else { args.seeds.end };
    let exploration = Exploration {
        seeds: args.seeds.start..end,
        jobs: args.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
        limit,
        first_only: !args.all,
    };
    let bar = match limit {
        Some(_) => ProgressBar::new_spinner(),
        None => ProgressBar::new(args.seeds.end - args.seeds.start),
    };
    bar.set_style(
        ProgressStyle::with_template("{pos} seeds {wide_bar} {per_sec}, {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let bar = ctx.out.bars().add(bar);
    let began = Instant::now();
    let told = Mutex::new(began);
    let findings = potluck_sim::explore(&exploration, &Real, &|findings| {
        bar.set_position(findings.seeds);
        let faults: u64 = findings.faults.values().sum();
        bar.set_message(format!("{faults} faults, {} failures", findings.failures.len()));
        if let Ok(mut told) = told.lock()
            && told.elapsed() >= Duration::from_secs(1)
        {
            *told = Instant::now();
            let rate = findings.seeds as f64 / began.elapsed().as_secs_f64();
            let failures = findings.failures.len();
            let _ = ctx.out.event(&Event::Exploring { seeds: findings.seeds, rate, faults, failures });
        }
    });
    bar.finish_and_clear();
    let seconds = began.elapsed().as_secs_f64();
    ctx.out.event(&Event::Explored { seconds, findings: &findings })?;
    ctx.out.line(summary(&findings, seconds))?;
    for (seed, violation) in findings.failures.iter().skip(1) {
        ctx.out.line(format!("seed {seed}: {violation}"))?;
    }
    if let Some((&seed, violation)) = findings.failures.first_key_value() {
        ctx.out.note(format!("seed {seed}: {violation}\nLeaving out faults …"));
        let plan = Plan::random(seed);
        let Some(shrunk) = shrink(&plan, &Real) else {
            let what = format!("seed {seed} fails only sometimes: {violation}");
            return Err(Failure::new(Code::Failed, what).into());
        };
        for &fault in &shrunk.faults {
            ctx.out.line(format!("fault {fault}: {:?}", plan.faults[fault]))?;
        }
        let numbers: Vec<_> = shrunk.faults.iter().map(ToString::to_string).collect();
        let command = format!("potluck sim replay {seed} --faults={}", numbers.join(","));
        return Err(violated(ctx, &plan, &shrunk.violation, &command));
    }
    let unfired = findings.unfired();
    if !unfired.is_empty() {
        let kinds: Vec<_> = unfired.iter().map(ToString::to_string).collect();
        let text = format!("these faults never had an effect: {}", kinds.join(", "));
        return Err(Failure::new(Code::Failed, text).into());
    }
    Ok(())
}

fn summary(findings: &Findings, seconds: f64) -> String {
    let ([peers, pieces, contents, faults], [peers_max, pieces_max, contents_max, faults_max]) =
        findings.sizes();
    let fired: Vec<_> = findings.faults.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    format!(
        "{} seeds in {seconds:.1} s ({:.1} a second), {} failed\n\
         {} inputs, {:.1} peer-hours\n\
         median: {peers} peers, {pieces} pieces, {contents} contents, {faults} faults\n\
         largest: {peers_max} peers, {pieces_max} pieces, {contents_max} contents, {faults_max} faults\n\
         fired: {}",
        findings.seeds,
        findings.seeds as f64 / seconds.max(1e-9),
        findings.failures.len(),
        findings.inputs,
        findings.peer_time as f64 / 3.6e12,
        fired.join(", "),
    )
}
