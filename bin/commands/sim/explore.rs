//! `potluck sim explore`: a random swarm per seed.

use std::ops::ControlFlow;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use potluck_sim::{Exploration, Findings, Plan, Real, shrink};

use super::super::Context;
use super::{ExploreArgs, FaultNumbers, apart, violated};
use crate::exit::{Code, Failure};
use crate::signals::interrupted;
use crate::ui::Event;

/// Between two words on how far it is, where no bar can be drawn.
const NOTE_EVERY: Duration = Duration::from_secs(10);

pub(super) async fn run(args: ExploreArgs, ctx: &Context) -> anyhow::Result<()> {
    let worker = ctx.clone();
    let began = Instant::now();
    let findings = tokio::task::spawn_blocking(move || explore(&args, &worker)).await?;
    let seconds = began.elapsed().as_secs_f64();
    ctx.out.event(&Event::Explored { seconds, findings: &findings })?;
    ctx.out.line(summary(&findings, seconds))?;
    for (seed, violation) in &findings.failures {
        ctx.out.line(format!("seed {seed}: {violation}"))?;
    }
    if let Some(code) = ctx.interrupts.came() {
        return Err(interrupted(code).into());
    }
    if let Some((&seed, violation)) = findings.failures.first_key_value() {
        ctx.out.note("Leaving out faults …");
        let violation = violation.to_string();
        return apart(ctx, move |ctx| shrunk(seed, &violation, ctx)).await;
    }
    let unfired = findings.unfired();
    if !unfired.is_empty() {
        let kinds: Vec<_> = unfired.iter().map(ToString::to_string).collect();
        let text = format!("these faults never had an effect: {}", kinds.join(", "));
        return Err(Failure::new(Code::Failed, text).into());
    }
    Ok(())
}

/// Runs the seeds, until a signal comes.
fn explore(args: &ExploreArgs, ctx: &Context) -> Findings {
    let end = if args.minutes.is_some() { u64::MAX } else { args.seeds.end };
    let exploration = Exploration {
        seeds: args.seeds.start..end,
        jobs: args
            .jobs
            .map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from),
        limit: args.minutes,
        first_only: !args.all,
    };
    let bar = match args.minutes {
        Some(_) => ProgressBar::new_spinner(),
        None => ProgressBar::new(args.seeds.end - args.seeds.start),
    };
    bar.set_style(
        ProgressStyle::with_template("{pos} seeds {wide_bar} {per_sec}, {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let bar = ctx.out.bars().add(bar);
    let every = if ctx.out.is_json() { Duration::from_secs(1) } else { NOTE_EVERY };
    let began = Instant::now();
    let told = Mutex::new(began);
    let findings = potluck_sim::explore(&exploration, &Real, &|findings| {
        bar.set_position(findings.seeds);
        let (seeds, failures) = (findings.seeds, findings.failures.len());
        let faults: u64 = findings.faults.values().sum();
        let message = format!("{faults} faults, {failures} failures");
        if let Ok(mut told) = told.lock()
            && told.elapsed() >= every
        {
            *told = Instant::now();
            let rate = seeds as f64 / began.elapsed().as_secs_f64();
            let _ = ctx.out.event(&Event::Exploring { seeds, rate, faults, failures });
            if bar.is_hidden() {
                ctx.out.note(format!("{seeds} seeds, {rate:.1} a second, {message}"));
            }
        }
        bar.set_message(message);
        if ctx.interrupts.came().is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.finish_and_clear();
    findings
}

/// Tells of a failure with as few faults as show it.
fn shrunk(seed: u64, violation: &str, ctx: &Context) -> anyhow::Result<()> {
    let plan = Plan::random(seed);
    let Some(shrunk) = shrink(&plan, &Real) else {
        let what = format!("seed {seed} fails only sometimes: {violation}");
        return Err(Failure::new(Code::Failed, what).into());
    };
    for &fault in &shrunk.faults {
        ctx.out.line(format!("fault {fault}: {:?}", plan.faults[fault]))?;
    }
    let command = format!("potluck sim replay {seed} --faults={}", FaultNumbers(shrunk.faults));
    Err(violated(ctx, &plan, &shrunk.violation, &command))
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
