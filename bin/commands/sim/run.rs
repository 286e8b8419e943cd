//! `potluck sim run`: one scenario, and its figures.

use anyhow::Context as _;
use comfy_table::Cell;
use potluck_sim::{Observer, Outcome, Plan, Real, Report, SHIPPED, Scenario};

use super::super::Context;
use super::trace::{self, JsonTrace};
use super::watch::Watch;
use super::{RunArgs, plot, violated};
use crate::exit::{Code, Failure};
use crate::ui::{Event, Table, number};

pub(super) fn list(ctx: &Context) -> anyhow::Result<()> {
    let mut table = Table::new(["SCENARIO", "ABOUT"]);
    for (name, _) in SHIPPED {
        let about = Scenario::shipped(name).map(|scenario| scenario.about).unwrap_or_default();
        table.row([Cell::new(name), Cell::new(&about)]);
        ctx.out.event(&Event::Scenario { name, about: &about })?;
    }
    ctx.out.line(table)?;
    Ok(())
}

pub(super) fn run(args: RunArgs, ctx: &Context) -> anyhow::Result<()> {
    let scenario = scenario(&args)?;
    let plan = scenario.plan().map_err(usage)?;
    if let Some(path) = &args.plot {
        // What cannot be drawn is known before the run; a picture that is there stays until there is another.
        let opened = std::fs::File::options().append(true).create(true).open(path);
        opened.with_context(|| format!("cannot draw {}", path.display()))?;
    }
    let trace = args.trace.as_deref().map(JsonTrace::create).transpose()?;
    let told = simulate(&args, &plan, trace.clone(), ctx);
    trace::finish(trace.as_ref(), told, &ctx.out)
}

/// Runs it, and says what came of it.
fn simulate(args: &RunArgs, plan: &Plan, trace: Option<JsonTrace>, ctx: &Context) -> anyhow::Result<()> {
    let trace = trace.map(|trace| Box::new(trace) as Box<dyn Observer>);
    let watch = Watch::new(plan, ctx.out.clone(), trace);
    let outcome = potluck_sim::run(plan.clone(), &Real, Some(Box::new(watch))).map_err(usage)?;
    let report = Report::new(plan, &outcome);
    if let Some(path) = &args.plot {
        plot::draw(path, &report, &outcome).with_context(|| format!("cannot draw {}", path.display()))?;
    }
    ctx.out.event(&Event::Report { report: &report, faults: &outcome.tally.faults })?;
    ctx.out.line(table(&report, &outcome))?;
    if let Some(violation) = &outcome.violation {
        return Err(violated(ctx, plan, violation, &command_line(std::env::args().skip(1))?));
    }
    let unfired = outcome.unfired();
    if !unfired.is_empty() {
        let kinds: Vec<_> = unfired.iter().map(ToString::to_string).collect();
        let text = format!("these faults never had an effect: {}", kinds.join(", "));
        return Err(Failure::new(Code::Failed, text).into());
    }
    Ok(())
}

fn scenario(args: &RunArgs) -> anyhow::Result<Scenario> {
    let mut scenario = match args.scenario.as_deref() {
        None => Scenario::default(),
        Some(name) => match Scenario::shipped(name) {
            Some(scenario) => scenario,
            None => {
                let text = std::fs::read_to_string(name).map_err(|error| {
                    Failure::new(Code::Usage, format!("no scenario {name}: {error}"))
                        .hint("`potluck sim scenarios` lists those that come with potluck")
                })?;
                Scenario::parse(&text).map_err(usage)?
            }
        },
    };
    let set = |to: &mut u64, from: Option<u64>| *to = from.unwrap_or(*to);
    set(&mut scenario.seed, args.seed);
    set(&mut scenario.peers, args.peers);
    set(&mut scenario.holders, args.holders);
    scenario.size = args.size.unwrap_or(scenario.size);
    scenario.contents = args.contents.unwrap_or(scenario.contents);
    scenario.up = args.up.unwrap_or(scenario.up);
    scenario.down = args.down.unwrap_or(scenario.down);
    scenario.holder_up = args.holder_up.or(scenario.holder_up);
    scenario.rtt = args.rtt.unwrap_or(scenario.rtt);
    scenario.jitter = args.jitter.unwrap_or(scenario.jitter);
    scenario.arrive_over = args.arrive_over.unwrap_or(scenario.arrive_over);
    scenario.buffer = args.buffer.unwrap_or(scenario.buffer);
    scenario.real |= args.real;
    Ok(scenario)
}

/// The command that ran, for a shell: whoever reads the violation sees it again.
fn command_line(args: impl Iterator<Item = String>) -> anyhow::Result<String> {
    let words: Vec<String> = std::iter::once("potluck".to_owned()).chain(args).collect();
    Ok(shlex::try_join(words.iter().map(String::as_str))?)
}

fn usage(error: impl std::fmt::Display) -> Failure {
    Failure::new(Code::Usage, error.to_string())
}

fn table(report: &Report, outcome: &Outcome) -> String {
    let faults: Vec<_> = outcome.tally.faults.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    let mut table = Table::new(["", ""]);
    let mut row = |name: &str, value: String| table.row([Cell::new(name), number(value)]);
    row("completed", format!("{} of {}", report.completed, report.downloads));
    row("completion p50", format!("{:.2} s", report.p50));
    row("completion p90", format!("{:.2} s", report.p90));
    row("completion p99", format!("{:.2} s", report.p99));
    row("completion max", format!("{:.2} s", report.max));
    let known = |value: Option<f64>, spell: fn(f64) -> String| value.map_or_else(|| "-".to_owned(), spell);
    row("fluid bound T*", known(report.bound, |bound| format!("{bound:.2} s")));
    row("efficiency T*/T", known(report.efficiency, |efficiency| format!("{efficiency:.3}")));
    row("first holder sent", format!("{:.2} copies", report.holder_copies));
    row("duplicate bytes", format!("{:.2} %", report.duplicate_percent));
    row("control bytes", format!("{:.2} %", report.control_percent));
    row("faults", if faults.is_empty() { "none".to_owned() } else { faults.join(", ") });
    row("inputs", report.inputs.to_string());
    row("simulated time", format!("{:.1} s", report.ended_at));
    row("fingerprint", report.fingerprint.clone());
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::command_line;

    #[test]
    fn the_command_is_one_that_a_shell_takes() {
        let args = ["sim", "run", "my swarm.toml", "--up", "400 Gbit/s", "--seed=9"].map(str::to_owned);
        let command = command_line(args.into_iter()).expect("no word has a NUL");
        assert_eq!(command, "potluck sim run 'my swarm.toml' --up '400 Gbit/s' '--seed=9'");
    }
}
