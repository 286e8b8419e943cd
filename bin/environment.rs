//! Defaults from the environment: an empty variable counts as unset, and a wrong one is blamed by its own name.

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, Command};

/// Leaves out variables that are empty.
pub(crate) fn without_empty(command: Command) -> Command {
    let is_empty =
        |arg: &Arg| arg.get_env().is_some_and(|name| std::env::var_os(name).is_some_and(|v| v.is_empty()));
    let unset = move |arg: Arg| if is_empty(&arg) { arg.env(None::<&'static str>) } else { arg };
    command.mut_args(unset).mut_subcommands(without_empty)
}

/// Where the value at fault was not typed but stands in a variable, has the error name that.
pub(crate) fn blame(error: &mut clap::Error, verb: &Command) {
    let Some(ContextValue::String(shown)) = error.get(ContextKind::InvalidArg) else { return };
    let Some(arg) = verb.get_arguments().find(|arg| arg.to_string() == *shown) else { return };
    let (Some(long), Some(name)) = (arg.get_long(), arg.get_env()) else { return };
    let is_typed = |word: std::ffi::OsString| {
        let word = word.to_string_lossy();
        word.strip_prefix("--").is_some_and(|word| word.split('=').next() == Some(long))
    };
    if std::env::var_os(name).is_some() && !std::env::args_os().any(is_typed) {
        let name = name.to_string_lossy().into_owned();
        error.insert(ContextKind::InvalidArg, ContextValue::String(name));
    }
}
