//! `potluck sim replay`: a seed of `explore`, or a recording, once more.

use std::path::Path;

use potluck_core::peer::{PeerConfig, PeerInput};
use potluck_core::tracker::{TrackerConfig, TrackerInput};
use potluck_sim::{Observer, Plan, Real, Replayed, Report, replay_peer, replay_tracker};
use potluck_transport_tcp::record::{read_recording, recorded_machine};

use super::super::Context;
use super::trace::{JsonTrace, Steps};
use super::{ReplayArgs, violated};
use crate::exit::{Code, Failure};
use crate::ui::Event;

pub(super) fn run(args: ReplayArgs, ctx: &Context) -> anyhow::Result<()> {
    match args.what.parse() {
        Ok(seed) => seed_again(seed, args, ctx),
        Err(_) => recording(&args, ctx),
    }
}

fn seed_again(seed: u64, args: ReplayArgs, ctx: &Context) -> anyhow::Result<()> {
    let mut plan = Plan::random(seed);
    let mut command = format!("potluck sim replay {seed}");
    if let Some(kept) = &args.faults {
        plan = plan.with_faults(kept);
        let numbers: Vec<_> = kept.iter().map(ToString::to_string).collect();
        command += &format!(" --faults={}", numbers.join(","));
    }
    if args.plan {
        ctx.out.line(serde_json::to_string_pretty(&plan)?)?;
    }
    let outcome = potluck_sim::run(plan.clone(), &Real, observer(&args, ctx)?)?;
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
    let observer = observer(args, ctx)?;
    let replayed = if machine == "tracker" {
        let recording = read_recording::<TrackerConfig, TrackerInput>(path, machine)?;
        replay_tracker(recording.config, recording.inputs, observer)
    } else {
        let recording = read_recording::<PeerConfig, PeerInput>(path, machine)?;
        replay_peer(recording.config, recording.inputs, observer)
    };
    let replayed = replayed.map_err(|fault| Failure::new(Code::Failed, format!("{}: {fault}", args.what)))?;
    ctx.out.event(&Event::Replayed { machine, replayed: &replayed })?;
    let Replayed { inputs, effects, span, fingerprint } = replayed;
    let seconds = span as f64 / 1e9;
    ctx.out.line(format!(
        "{machine}: {inputs} inputs over {seconds:.3} s, {effects} effects, fingerprint {fingerprint:016x}"
    ))?;
    Ok(())
}

/// Who is told of every step, if anybody.
fn observer(args: &ReplayArgs, ctx: &Context) -> anyhow::Result<Option<Box<dyn Observer>>> {
    Ok(match &args.trace {
        Some(path) => Some(Box::new(JsonTrace::create(path)?)),
        None if args.step => Some(Box::new(Steps::new(ctx.out.clone(), args.hosts.clone()))),
        None => None,
    })
}
