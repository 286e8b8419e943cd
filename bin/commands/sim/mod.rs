//! `potluck sim`: simulated swarms. Runs one scenario, explores many seeds, replays a seed or a recording.

mod explore;
mod plot;
mod replay;
mod run;
mod trace;
mod watch;

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand};
use potluck_sim::units::{Rate, Size, Time};
use potluck_sim::{Plan, Violation};

use super::Context;
use crate::exit::{Code, Failure};
use crate::ui::Event;

#[derive(Debug, Args)]
pub(crate) struct SimArgs {
    #[command(subcommand)]
    verb: SimVerb,
}

#[derive(Debug, Subcommand)]
enum SimVerb {
    /// Run one scenario and tell how close the swarm came to what its links allow
    Run(Box<RunArgs>),
    /// Run a random swarm per seed, with faults, and check every step
    Explore(ExploreArgs),
    /// Run a seed of `explore` again, or what a tracker or peer recorded with --record
    Replay(ReplayArgs),
    /// List the scenarios that come with potluck
    Scenarios,
}

/// What stands in a scenario can be said here, too, and wins.
#[derive(Debug, Args)]
struct RunArgs {
    /// Name of a scenario (`potluck sim scenarios` lists them), or a TOML file; none: eight peers, one holder
    scenario: Option<String>,
    /// All chance follows from it
    #[arg(long)]
    seed: Option<u64>,
    /// Peers that fetch
    #[arg(long)]
    peers: Option<u64>,
    /// Peers that hold everything from the start
    #[arg(long)]
    holders: Option<u64>,
    /// Bytes of each content, like 256MiB
    #[arg(long)]
    size: Option<Size>,
    /// Number of contents
    #[arg(long)]
    contents: Option<u32>,
    /// Uplink of every peer, like 100Mbit/s
    #[arg(long, value_name = "RATE")]
    up: Option<Rate>,
    /// Downlink of every peer
    #[arg(long, value_name = "RATE")]
    down: Option<Rate>,
    /// Uplink of the holders
    #[arg(long, value_name = "RATE")]
    holder_up: Option<Rate>,
    /// Round trip between two peers, like 20ms
    #[arg(long, value_name = "TIME")]
    rtt: Option<Time>,
    /// Random extra delay
    #[arg(long, value_name = "TIME")]
    jitter: Option<Time>,
    /// Peers start one after the other over this time
    #[arg(long, value_name = "TIME")]
    arrive_over: Option<Time>,
    /// Every peer's buffer budget
    #[arg(long, value_name = "SIZE")]
    buffer: Option<Size>,
    /// Contents have real bytes, and messages are really encoded and decoded
    #[arg(long)]
    real: bool,
    /// Draw completion and throughput over time against the bound
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Write every event, one JSON object a line
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ExploreArgs {
    /// Seeds, from A up to but not including B
    #[arg(long, value_name = "A..B", value_parser = seeds, default_value = "0..2000")]
    seeds: Range<u64>,
    /// Go on for so many minutes instead, from the first of the seeds on
    #[arg(long, value_name = "M", value_parser = minutes, allow_negative_numbers = true)]
    minutes: Option<Duration>,
    /// Worlds side by side [default: as many as there are cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Go on after a failure, and list all seeds that fail
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Args)]
struct ReplayArgs {
    /// A seed, or a recording
    what: String,
    /// Only these faults of the seed's plan; `--faults=`: none
    #[arg(long, value_name = "N,N,…")]
    faults: Option<FaultNumbers>,
    /// Print every step
    #[arg(long)]
    step: bool,
    /// Print steps of these hosts only (the tracker is 0)
    #[arg(long, value_name = "N,N,…", value_delimiter = ',', requires = "step")]
    hosts: Vec<u32>,
    /// Print the plan first
    #[arg(long)]
    plan: bool,
    /// Write every event, one JSON object a line
    #[arg(long, value_name = "FILE", conflicts_with = "step")]
    trace: Option<PathBuf>,
}

/// Faults of a plan, by number.
#[derive(Clone, Debug)]
struct FaultNumbers(Vec<usize>);

impl FromStr for FaultNumbers {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers = text.split(',').filter(|_| !text.is_empty()).map(str::parse).collect::<Result<_, _>>();
        numbers.map(Self).map_err(|_| "expected numbers like 0,3,7, or nothing for no faults")
    }
}

impl fmt::Display for FaultNumbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&numbers.join(","))
    }
}

fn minutes(text: &str) -> Result<Duration, &'static str> {
    let minutes: Option<f64> = text.parse().ok();
    let duration = minutes.and_then(|minutes| Duration::try_from_secs_f64(minutes * 60.0).ok());
    duration.filter(|duration| !duration.is_zero()).ok_or("expected a number of minutes above 0, like 1.5")
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let parsed = text.split_once("..").and_then(|(a, b)| Some(a.parse().ok()?..b.parse().ok()?));
    parsed.filter(|range| !range.is_empty()).ok_or_else(|| "expected a range like 0..2000".to_owned())
}

pub(crate) async fn run(args: SimArgs, ctx: &Context) -> anyhow::Result<()> {
    // A machine's panic is a finding, and is told as one.
    std::panic::set_hook(Box::new(|_| {}));
    match args.verb {
        SimVerb::Explore(args) => explore::run(args, ctx).await,
        SimVerb::Run(args) => apart(ctx, |ctx| run::run(*args, ctx)).await,
        SimVerb::Replay(args) => apart(ctx, |ctx| replay::run(args, ctx)).await,
        SimVerb::Scenarios => run::list(ctx),
    }
}

/// Does work on a thread of its own, until a signal comes: nothing of it is of use then.
async fn apart<T: Send + 'static>(
    ctx: &Context,
    work: impl FnOnce(&Context) -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let worker = ctx.clone();
    ctx.until_interrupted(async { tokio::task::spawn_blocking(move || work(&worker)).await? }).await
}

/// Tells that a check failed.
fn violated(ctx: &Context, plan: &Plan, violation: &Violation, command: &str) -> anyhow::Error {
    let seed = plan.seed;
    let _ = ctx.out.event(&Event::Violation {
        seed,
        at: violation.at,
        host: violation.host,
        check: &violation.what,
        replay: command,
    });
    let message = format!("seed {seed}: {violation}");
    Failure::new(Code::Failed, message).hint(format!("to see it again: {command}")).into()
}
