//! `potluck sim replay`: a seed of `explore`, or a recording, once more.

use std::path::Path;

use potluck_core::peer::{PeerConfig, PeerInput};
use potluck_core::tracker::{TrackerConfig, TrackerInput};
use potluck_sim::{Observer, Plan, Real, Replayed, Report, replay_peer, replay_tracker};
use potluck_transport_tcp::record::{read_recording, recorded_machine};

use super::super::Context;
use super::trace::{self, JsonTrace, Steps};
use super::{ReplayArgs, violated};
use crate::exit::{Code, Failure};
use crate::ui::Event;

pub(super) fn run(args: ReplayArgs, ctx: &Context) -> anyhow::Result<()> {
    if args.step && ctx.out.is_json() {
        let failure = Failure::new(Code::Usage, "--step prints text for people, which --json does not print");
        return Err(failure.hint("`--trace FILE` writes every step as a JSON object a line").into());
    }
    match args.what.parse() {
        Ok(seed) => seed_again(seed, &args, ctx),
        Err(_) => recording(&args, ctx),
    }
}

fn seed_again(seed: u64, args: &ReplayArgs, ctx: &Context) -> anyhow::Result<()> {
    let mut plan = Plan::random(seed);
    let mut command = format!("potluck sim replay {seed}");
    known("--hosts", args.hosts.iter().map(|&host| host as usize), seed, "host", plan.hosts.len())?;
    if let Some(kept) = &args.faults {
        known("--faults", kept.0.iter().copied(), seed, "fault", plan.faults.len())?;
        plan = plan.with_faults(&kept.0);
        command += &format!(" --faults={kept}");
    }
    if args.plan {
        ctx.out.event(&Event::Plan { plan: &plan })?;
        ctx.out.line(serde_json::to_string_pretty(&plan)?)?;
    }
    let trace = args.trace.as_deref().map(JsonTrace::create).transpose()?;
    let told = (|| {
        let outcome = potluck_sim::run(plan.clone(), &Real, observer(args, trace.as_ref(), ctx))?;
        let report = Report::new(&plan, &outcome);
        ctx.out.event(&Event::Report { report: &report, faults: &outcome.tally.faults })?;
        ctx.out.line(format!(
            "seed {seed}: {} of {} downloads completed, {} inputs in {:.1} simulated seconds, fingerprint {}",
            report.completed, report.downloads, report.inputs, report.ended_at, report.fingerprint
        ))?;
        match &outcome.violation {
            Some(violation) => Err(violated(ctx, &plan, violation, &format!("{command} --step"))),
            None => Ok(()),
        }
    })();
    trace::finish(trace.as_ref(), told, &ctx.out)
}

/// Refuses numbers that a seed's plan does not have.
fn known(
    flag: &str,
    mut numbers: impl Iterator<Item = usize>,
    seed: u64,
    what: &str,
    count: usize,
) -> anyhow::Result<()> {
    let Some(number) = numbers.find(|number| *number >= count) else { return Ok(()) };
    let has = match count.checked_sub(1) {
        Some(last) => format!("has {what}s 0 to {last}"),
        None => format!("has no {what}s"),
    };
    Err(Failure::new(Code::Usage, format!("{flag}: there is no {what} {number}, seed {seed} {has}")).into())
}

fn recording(args: &ReplayArgs, ctx: &Context) -> anyhow::Result<()> {
    for (given, flag) in
        [(args.faults.is_some(), "--faults"), (args.plan, "--plan"), (!args.hosts.is_empty(), "--hosts")]
    {
        if given {
            return Err(Failure::new(
                Code::Usage,
                format!("{flag} is for seeds: {} is a recording", args.what),
            )
            .into());
        }
    }
    let path = Path::new(&args.what);
    let machine = if recorded_machine(path)? == "tracker" { "tracker" } else { "peer" };
    let trace = args.trace.as_deref().map(JsonTrace::create).transpose()?;
    let observer = observer(args, trace.as_ref(), ctx);
    let told = (|| {
        let replayed = if machine == "tracker" {
            let recording = read_recording::<TrackerConfig, TrackerInput>(path, machine)?;
            replay_tracker(recording.config, recording.inputs, observer)
        } else {
            let recording = read_recording::<PeerConfig, PeerInput>(path, machine)?;
            replay_peer(recording.config, recording.inputs, observer)
        };
        let replayed =
            replayed.map_err(|fault| Failure::new(Code::Failed, format!("{}: {fault}", args.what)))?;
        ctx.out.event(&Event::Replayed { machine, replayed: &replayed })?;
        let Replayed { inputs, effects, span, fingerprint } = replayed;
        let seconds = span as f64 / 1e9;
        ctx.out.line(format!(
            "{machine}: {inputs} inputs over {seconds:.3} s, {effects} effects, fingerprint {fingerprint:016x}"
        ))?;
        Ok(())
    })();
    trace::finish(trace.as_ref(), told, &ctx.out)
}

/// Who is told of every step, if anybody.
fn observer(args: &ReplayArgs, trace: Option<&JsonTrace>, ctx: &Context) -> Option<Box<dyn Observer>> {
    match trace {
        Some(trace) => Some(Box::new(trace.clone())),
        None if args.step => Some(Box::new(Steps::new(ctx.out.clone(), args.hosts.clone()))),
        None => None,
    }
}
