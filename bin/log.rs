//! Logs: one line each, on stderr, above the progress bars.

use std::io::{self, Write};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::args::{Potluck, Verb};
use crate::ui::Out;

/// Starts logging. `POTLUCK_LOG` (like `potluck=debug,potluck_core=trace`) says more precisely what `-v` says roughly.
pub(crate) fn start(args: &Potluck, out: &Out) {
    let usual = if matches!(args.verb, Verb::Tracker(_)) { 1 } else { 0 };
    let level = match (args.global.quiet, usual + args.global.verbose) {
        (true, _) => LevelFilter::ERROR,
        (_, 0) => LevelFilter::WARN,
        (_, 1) => LevelFilter::INFO,
        (_, 2) => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let ours = Targets::new().with_default(LevelFilter::WARN).with_targets(
        ["potluck", "potluck_core", "potluck_transport_tcp", "potluck_sim"].map(|t| (t, level)),
    );
    let chosen = std::env::var("POTLUCK_LOG").ok().and_then(|text| text.parse::<Targets>().ok());
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(ThroughOut(out.clone()))
        .with_ansi(out.colors_on_stderr())
        .with_target(false);
    // Only a second start can fail, and there is none.
    let _ = tracing_subscriber::registry().with(chosen.unwrap_or(ours)).with(lines).try_init();
}

/// Writes where notes go.
struct ThroughOut(Out);

impl<'a> MakeWriter<'a> for ThroughOut {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        Self(self.0.clone())
    }
}

impl Write for ThroughOut {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.log(bytes)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
