//! Everything that is printed. Results go to stdout, one line each (or, with `--json`, one object per event); notes,
//! progress and logs go to stderr. Text that came from elsewhere is escaped on its way out.

mod caret;
mod json;
mod progress;
mod table;
mod text;
mod writing;

use std::fmt::Display;
use std::io::{self, Write as _};
use std::sync::{Arc, OnceLock};

use anstyle::{AnsiColor, Style};
use indicatif::{MultiProgress, ProgressDrawTarget};
use potluck_core::content::escape_json;

pub(crate) use caret::HiddenCaret;
pub(crate) use json::{ContentRow, Event, Explained, Source, size};
pub(crate) use progress::{DownloadBar, HashingBar, PeerBar, ReadingBar};
pub(crate) use table::{CONTENT_HEADING, ContentTable, Table, number};
pub(crate) use text::{
    bytes, columns, cut, excerpt, lines, missing, name, name_and_bar, pad, peer_name, percent, percents,
    pieces, rate, refusal, seconds, short_id, terminal_columns,
};
pub(crate) use writing::stuck;

use crate::args::{Color, GlobalArgs};
use crate::exit::{Failure, OutputFault};

/// How the word `error` is shown.
const ERROR: Style = AnsiColor::Red.on_default().bold();

/// Where output goes, and in which form. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Out {
    json: bool,
    quiet: bool,
    color: Color,
    bars: MultiProgress,
    /// Who prints instead, once there is somebody: the editor of a shell.
    printer: Arc<OnceLock<Printer>>,
}

type Print = dyn Fn(&str) + Send + Sync;

/// Prints whole lines to the terminal.
struct Printer(Box<Print>);

impl Printer {
    fn print(&self, text: &str) {
        writing::counted(|| (self.0)(text));
    }
}

impl std::fmt::Debug for Printer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Printer")
    }
}

impl Out {
    pub(crate) fn new(args: GlobalArgs) -> Self {
        let bars = MultiProgress::new();
        // Indicatif hides bars by itself where stderr is not a terminal.
        if args.json || args.quiet {
            bars.set_draw_target(ProgressDrawTarget::hidden());
        }
        Self { json: args.json, quiet: args.quiet, color: args.color, bars, printer: Arc::default() }
    }

    /// Output for programs, before any flag was understood.
    pub(crate) fn json() -> Self {
        Self::new(GlobalArgs {
            json: true,
            verbose: 0,
            quiet: false,
            color: Color::Never,
            while_stdin: false,
        })
    }

    /// Output for people, before any flag was understood.
    pub(crate) fn plain() -> Self {
        Self { json: false, color: Color::Auto, ..Self::json() }
    }

    /// From here on everything goes through `print`, and no bars are drawn. For the one editor of a process.
    pub(crate) fn print_through(&self, print: impl Fn(&str) + Send + Sync + 'static) {
        self.bars.set_draw_target(ProgressDrawTarget::hidden());
        // There is one already: it goes on printing.
        let _ = self.printer.set(Printer(Box::new(print)));
    }

    /// Lines of the log.
    pub(crate) fn log(&self, bytes: &[u8]) -> io::Result<()> {
        if let Some(printer) = self.printer.get() {
            printer.print(&String::from_utf8_lossy(bytes));
            return Ok(());
        }
        writing::counted(|| self.bars.suspend(|| io::stderr().write_all(bytes)))
    }

    /// The bars on stderr: whoever else writes there does it while they stand aside.
    pub(crate) fn bars(&self) -> &MultiProgress {
        &self.bars
    }

    /// Are colours welcome on stderr?
    pub(crate) fn colors_on_stderr(&self) -> bool {
        self.colors(&io::stderr())
    }

    fn colors(&self, stream: &impl io::IsTerminal) -> bool {
        match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                stream.is_terminal() && !unwanted
            }
        }
    }

    /// Is standard output for programs?
    pub(crate) const fn is_json(&self) -> bool {
        self.json
    }

    /// Are colours welcome on stdout?
    pub(crate) fn colors_on_stdout(&self) -> bool {
        self.colors(&io::stdout())
    }

    /// One object for programs; nothing without `--json`.
    pub(crate) fn event(&self, event: &Event<'_>) -> Result<(), OutputFault> {
        if !self.json {
            return Ok(());
        }
        let json = serde_json::to_string(event).map_err(io::Error::from)?;
        self.write(format!("{}\n", escape_json(&json)).as_bytes())
    }

    /// A result for people; nothing with `--json`.
    pub(crate) fn line(&self, text: impl Display) -> Result<(), OutputFault> {
        if self.json { Ok(()) } else { self.write(format!("{text}\n").as_bytes()) }
    }

    /// What else a person may want to know, on stderr; nothing with `--quiet` or `--json`.
    pub(crate) fn note(&self, text: impl Display) {
        if !self.quiet && !self.json {
            self.complain(lines(text));
        }
    }

    /// A failure: the object on stdout with `--json`, and always the words on stderr.
    pub(crate) fn failure(&self, failure: &Failure) {
        // The exit code tells it, too, should stdout be gone.
        let _ = self.event(&Event::error(failure));
        self.complain_of(failure);
        if let Some(hint) = &failure.hint {
            self.complain(lines(hint));
        }
    }

    /// What went wrong, on stderr.
    pub(crate) fn complain_of(&self, what: impl Display) {
        let style = if self.colors_on_stderr() { ERROR } else { Style::new() };
        self.complain(format_args!("{style}error:{style:#} {}", lines(what)));
    }

    fn complain(&self, text: impl Display) {
        if let Some(printer) = self.printer.get() {
            return printer.print(&format!("{text}\n"));
        }
        // Nobody is left to be told when stderr is gone.
        let _ = writing::counted(|| self.bars.suspend(|| writeln!(io::stderr(), "{text}")));
    }

    fn write(&self, bytes: &[u8]) -> Result<(), OutputFault> {
        if let Some(printer) = self.printer.get() {
            printer.print(&String::from_utf8_lossy(bytes));
            return Ok(());
        }
        writing::counted(|| {
            self.bars.suspend(|| {
                let mut stdout = io::stdout().lock();
                stdout.write_all(bytes)?;
                stdout.flush()
            })
        })?;
        Ok(())
    }
}
