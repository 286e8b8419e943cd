//! Something that was mistyped: what was meant.

use clap::error::{ContextKind, ContextValue};

/// Names that are suggested.
const SUGGESTIONS: usize = 5;
/// Verbs that are suggested.
const VERBS: usize = 3;

/// How a name is like what was typed, the most alike first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Likeness {
    /// It begins with it.
    Prefix,
    /// It has it somewhere.
    Part,
    /// It has all of its letters, in their order, and not many more.
    Subsequence,
    /// A few slips of the fingers make one of the other.
    Slips,
}

/// Compares them, without regard to case; of equal likeness, fewer slips are nearer.
fn likeness(typed: &str, name: &str) -> Option<(Likeness, usize)> {
    let (typed, name) = (typed.to_lowercase(), name.to_lowercase());
    let (of_typed, of_name) = (typed.chars().count(), name.chars().count());
    let slips = strsim::osa_distance(&typed, &name);
    let is_subsequence = || {
        let mut rest = name.chars();
        typed.chars().all(|letter| rest.any(|other| other == letter))
    };
    let likeness = if name.starts_with(&typed) {
        Likeness::Prefix
    } else if name.contains(&typed) {
        Likeness::Part
    } else if typed.chars().next() == name.chars().next() && 2 * of_typed >= of_name && is_subsequence() {
        Likeness::Subsequence
    } else if slips <= of_name.div_ceil(3) && slips < of_typed.max(of_name) {
        Likeness::Slips
    } else {
        return None;
    };
    Some((likeness, slips))
}

/// Of some names those like what was typed, the most alike first.
fn ranked<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Vec<((Likeness, usize), &'a str)> {
    let mut near: Vec<_> = names.filter_map(|name| Some((likeness(typed, name)?, name))).collect();
    near.sort();
    near.dedup();
    near
}

/// Of some names those like `wanted`, the most alike first.
pub(crate) fn names<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    ranked(wanted, names).into_iter().take(SUGGESTIONS).map(|(_, name)| name.to_owned()).collect()
}

/// Has the error of an unknown verb suggest those that are most alike. What clap suggests looks at letters in their places
/// only; it stands where nothing better is found.
pub(crate) fn suggest(error: &mut clap::Error, known: &clap::Command) {
    let Some(ContextValue::String(typed)) = error.get(ContextKind::InvalidSubcommand) else { return };
    let near = ranked(typed, known.get_subcommands().map(clap::Command::get_name));
    let Some(((best, _), _)) = near.first().copied() else { return };
    let most_alike = near.into_iter().filter(|((likeness, _), _)| *likeness == best).take(VERBS);
    let verbs: Vec<String> = most_alike.map(|(_, name)| name.to_owned()).collect();
    error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(verbs));
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn what_begins_so_comes_before_what_has_the_letters_and_that_before_slips() {
        let of = |typed: &str, known: &[&str]| names(typed, known.iter().copied());
        assert_eq!(
            of("rep", &["a rep", "repo", "rap", "Report", "r.e.p", "other"]),
            ["repo", "Report", "a rep", "r.e.p", "rap"]
        );
        assert_eq!(of("bne", &["ben", "ann"]), ["ben"]);
        assert_eq!(of("reprot.pdf", &["report.pdf", "portrait.jpg"]), ["report.pdf"]);
        assert_eq!(of("x", &["a", "y"]), [""; 0], "nothing in common");
    }

    #[test]
    fn verbs_are_guessed() {
        let suggested = |typed: &str| {
            let mut command = crate::args::Potluck::command();
            let mut error = command.try_get_matches_from_mut(["potluck", typed]).unwrap_err();
            suggest(&mut error, &command);
            error.to_string()
        };
        for (typed, meant) in [
            ("gte", "exists: 'get'"),
            ("gt", "exists: 'get'"),
            ("hsah", "exists: 'hash'"),
            ("lsit", "exists: 'list'"),
            ("tra", "exists: 'tracker'"),
            ("pe", "exist: 'peer', 'peers'"),
            ("hldrs", "exists: 'holders'"),
        ] {
            assert!(suggested(typed).contains(meant), "{typed}: {}", suggested(typed));
        }
        assert!(!suggested("xyz").contains("tip"), "{}", suggested("xyz"));
    }
}
