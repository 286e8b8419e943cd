//! The `potluck` command: reads what was typed, runs it over the libraries, and says what came of it.
//!
//! Nothing that decides anything about the protocol lives here. [`mod@args`] is the command line, [`config`] the file of
//! defaults, [`environment`] what variables add to it, [`commands`] has a file per verb, [`ui`] is everything that is printed,
//! [`exit`] the exit codes, [`what`] how names, ids and tickets become a content, [`session`] a running peer with the events
//! that all serving verbs share, [`shell`] what a person types to one.

#![forbid(unsafe_code)]
// A driver must see every effect; a verb tells what concerns it.
#![allow(clippy::wildcard_enum_match_arm)]

mod addresses;
mod args;
mod commands;
mod config;
mod environment;
mod exit;
mod log;
mod near;
mod session;
mod shell;
mod signals;
mod ui;
mod what;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{ColorChoice, Command, CommandFactory as _, FromArgMatches as _};
use potluck_core::content::escape;

use crate::args::Potluck;
use crate::commands::Context;
use crate::config::Config;
use crate::exit::{Code, Failure, OutputFault};
use crate::ui::{Event, Out};

fn main() -> ExitCode {
    let args = match args() {
        Ok(args) => args,
        Err(Unusable::Words(error)) => return usage(&error),
        Err(Unusable::Config(failure)) => return unusable(&failure),
    };
    let out = Out::new(args.global);
    log::start(&args, &out);
    // Links, shared files and the members of folders all need descriptors.
    tracing::debug!(limit = potluck_transport_tcp::store::raise_open_files(), "open files");
    let _caret = ui::HiddenCaret::take();
    match run(args, &out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(error, &out),
    }
}

fn run(args: Potluck, out: &Out) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(async {
        let interrupts =
            signals::Interrupts::listen(args.global.while_stdin).context("cannot listen for signals")?;
        commands::run(
            args.verb,
            &Context { out: out.clone(), interrupts, while_stdin: args.global.while_stdin },
        )
        .await
    });
    // What still runs on worker threads (a hash, say) is of no use to anybody any more.
    runtime.shutdown_background();
    result
}

/// Why potluck does not know what to do.
enum Unusable {
    /// The words on the command line; or they ask for help.
    Words(clap::Error),
    /// The file of defaults.
    Config(Failure),
}

/// What was typed, upon what the environment and the configuration say.
fn args() -> Result<Potluck, Unusable> {
    let command = Potluck::command().color(color_of_help());
    // Nobody needs a configuration to read how one is written.
    let asks_for_help = |arg: std::ffi::OsString| arg == "--help" || arg == "-h" || arg == "help";
    let config = match Config::load(&command) {
        Err(_) if std::env::args_os().skip(1).any(asks_for_help) => Config::default(),
        config => config.map_err(Unusable::Config)?,
    };
    let mut command = config.apply(environment::without_empty(command));
    let matches = command.try_get_matches_from_mut(std::env::args_os()).map_err(|mut error| {
        near::suggest(&mut error, &command);
        let mut verb = verb(&mut command);
        environment::blame(&mut error, &verb);
        // The usage that comes with it has every flag that is set, as if it were required.
        if error.get(ContextKind::Usage).is_some() {
            error.insert(ContextKind::Usage, ContextValue::StyledStr(verb.render_usage()));
        }
        Unusable::Words(error)
    })?;
    let mut args =
        Potluck::from_arg_matches(&matches).map_err(|error| Unusable::Words(error.format(&mut command)))?;
    let verb = matches.subcommand().map(|(_, verb)| verb);
    let names = verb.filter(|verb| verb.try_contains_id("name").is_ok());
    let name_typed = names.and_then(|verb| verb.value_source("name")) == Some(ValueSource::CommandLine);
    args.verb.insist_on_name(name_typed);
    // Who asks for more is not to be answered by what the configuration says.
    args.global.quiet &= args.global.verbose == 0;
    Ok(args)
}

/// The verb that was typed, as far as it is one.
fn verb(command: &mut Command) -> Command {
    command.build();
    let words = std::env::args_os().skip(1);
    words.fold(&*command, |verb, word| verb.find_subcommand(word).unwrap_or(verb)).clone()
}

/// Help and usage errors are printed while the flags are still being read.
fn color_of_help() -> ColorChoice {
    let args: Vec<_> = std::env::args_os().collect();
    let is = |value: &str| {
        let pair = args.windows(2).any(|pair| pair[0] == "--color" && pair[1] == value);
        pair || args.iter().any(|arg| arg.to_str() == Some(&format!("--color={value}")))
    };
    match (is("always"), is("never")) {
        (true, _) => ColorChoice::Always,
        (_, true) => ColorChoice::Never,
        _ => ColorChoice::Auto,
    }
}

/// Says what is wrong with the configuration.
fn unusable(failure: &Failure) -> ExitCode {
    let json = std::env::args_os().any(|arg| arg == "--json");
    let out = if json { Out::json() } else { Out::plain() };
    out.failure(failure);
    ExitCode::from(failure.code as u8)
}

/// Prints help, the version, or what is wrong with the command line.
fn usage(error: &clap::Error) -> ExitCode {
    let rendered = error.render().to_string();
    let printable = ui::lines(&rendered);
    // An escape sequence that was pasted does not show in what is rendered, only on a terminal.
    let mut typed = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned());
    if error.exit_code() == 0 || (printable == rendered && typed.all(|arg| escape(&arg) == arg)) {
        let _ = error.print();
    } else {
        // It quotes what was pasted: so it goes without colours.
        let _ = std::io::stderr().write_all(printable.as_bytes());
    }
    if error.exit_code() == 0 {
        return ExitCode::SUCCESS;
    }
    if std::env::args_os().any(|arg| arg == "--json") {
        let line = printable.lines().next().unwrap_or_default();
        let message = line.strip_prefix("error: ").unwrap_or(line);
        let _ = Out::json().event(&Event::error(&Failure::new(Code::Usage, message)));
    }
    ExitCode::from(Code::Usage as u8)
}

/// Says what went wrong, to people on stderr and to programs on stdout.
fn report(error: anyhow::Error, out: &Out) -> ExitCode {
    if error.downcast_ref::<OutputFault>().is_some_and(OutputFault::is_closed_pipe) {
        return ExitCode::SUCCESS;
    }
    let failure = Failure::of(error);
    out.failure(&failure);
    ExitCode::from(failure.code as u8)
}
