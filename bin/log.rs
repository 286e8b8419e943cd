//! Logs: one line each, on stderr, above the progress bars. Strangers cause many of them, and a log is kept somewhere: how many
//! are written has a bound.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::args::{Potluck, Verb};
use crate::ui::Out;

/// Lines that are written at once: more than a person scrolls back, or all that ten thousand peers cause who join.
const LINES_BURST: f64 = 10_000.0;
/// Lines per second in the long run: 400 MB in a day.
const LINES_PER_SECOND: f64 = 50.0;
/// How many were left out is told this often.
const TOLD_EVERY: Duration = Duration::from_secs(60);

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
        .with_writer(ThroughOut { out: out.clone(), lines: Arc::default() })
        .with_ansi(out.colors_on_stderr())
        .with_target(false);
    // Only a second start can fail, and there is none.
    let _ = tracing_subscriber::registry().with(chosen.unwrap_or(ours)).with(lines).try_init();
}

/// How many lines may still be written.
struct Lines {
    left: f64,
    at: Instant,
    left_out: u64,
    /// When the first of those was left out.
    since: Instant,
}

impl Default for Lines {
    fn default() -> Self {
        let now = Instant::now();
        Self { left: LINES_BURST, at: now, left_out: 0, since: now }
    }
}

impl Lines {
    /// May one more be written?
    fn take(&mut self, now: Instant) -> bool {
        let back = now.duration_since(self.at).as_secs_f64() * LINES_PER_SECOND;
        (self.left, self.at) = ((self.left + back).min(LINES_BURST), now);
        if self.left >= 1.0 {
            self.left -= 1.0;
            return true;
        }
        if self.left_out == 0 {
            self.since = now;
        }
        self.left_out += 1;
        false
    }

    /// How many were left out, if that is to be told now.
    fn left_out(&mut self, now: Instant) -> Option<u64> {
        let due = self.left_out > 0 && now.duration_since(self.since) >= TOLD_EVERY;
        due.then(|| std::mem::take(&mut self.left_out))
    }
}

/// Writes where notes go.
struct ThroughOut {
    out: Out,
    lines: Arc<Mutex<Lines>>,
}

/// Where one line goes; `None`: it is left out.
struct Line(Option<Out>);

impl<'a> MakeWriter<'a> for ThroughOut {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(Some(self.out.clone()))
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Line {
        // Who asks for more than `-v` gets all of it.
        if *meta.level() > Level::INFO {
            return self.make_writer();
        }
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let may = lines.take(now);
        if let Some(count) = lines.left_out(now) {
            let _ = self.out.log(format!("{count} lines like the last ones were left out\n").as_bytes());
        }
        Line(may.then(|| self.out.clone()))
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(out) = &self.0 {
            out.log(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_lines_a_stranger_causes_a_bounded_number_is_written() {
        let start = Instant::now();
        let mut lines = Lines { at: start, ..Lines::default() };
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!((0..100_000).filter(|_| lines.take(start)).count() as f64, LINES_BURST);
        assert_eq!((0..1000).filter(|_| lines.take(at(1))).count() as f64, LINES_PER_SECOND);
        assert_eq!((lines.left_out(at(59)), lines.left_out(at(60))), (None, Some(90_950)));
        assert_eq!(lines.left_out(at(200)), None, "no more were");
    }
}
