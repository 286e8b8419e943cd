//! A verb or command that was mistyped: which one was meant.

use clap::error::{ContextKind, ContextValue};

/// Adds to the error of an unknown verb the one that differs by a slip of the fingers (`gte`), where clap has none to suggest: it
/// looks at letters in their places only.
pub(crate) fn suggest(error: &mut clap::Error, known: &clap::Command) {
    let Some(ContextValue::String(typed)) = error.get(ContextKind::InvalidSubcommand) else { return };
    if error.get(ContextKind::SuggestedSubcommand).is_some() {
        return;
    }
    let names = known.get_subcommands().map(clap::Command::get_name);
    let near = names
        .map(|name| (strsim::osa_distance(typed, name), name))
        .filter(|(slips, name)| *slips <= name.len().div_ceil(3))
        .min();
    if let Some((_, name)) = near {
        let value = ContextValue::Strings(vec![name.to_owned()]);
        error.insert(ContextKind::SuggestedSubcommand, value);
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn slips_of_the_fingers_are_recognised() {
        let suggested = |typed: &str| {
            let mut command = crate::args::Potluck::command();
            let mut error = command.try_get_matches_from_mut(["potluck", typed]).unwrap_err();
            suggest(&mut error, &command);
            error.to_string()
        };
        for (typed, meant) in [("gte", "'get'"), ("gt", "'get'"), ("hsah", "'hash'"), ("lsit", "'list'")] {
            assert!(suggested(typed).contains(meant), "{typed}: {}", suggested(typed));
        }
        assert!(!suggested("xyz").contains("tip"), "{}", suggested("xyz"));
    }
}
