//! A search made ready: which names match, where they begin, and what trying one costs.

use globset::{GlobBuilder, GlobMatcher};
use memchr::memmem;

use crate::limits::{GLOB_WILDCARDS_MAX, QUERY_BYTES_MAX};
use crate::wire::tracker::Matching;

/// Which names a search wants.
#[derive(Debug)]
pub(super) enum Matcher {
    All,
    Name(String),
    Prefix(String),
    /// The needle, letters folded.
    Substring(Box<memmem::Finder<'static>>),
    Glob {
        glob: Box<GlobMatcher>,
        /// What every match begins with.
        prefix: String,
        /// What every match contains, letters folded.
        needle: Box<memmem::Finder<'static>>,
        /// Characters that are not literal.
        wildcards: u64,
    },
}

/// What a name is to a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Yes,
    No,
    /// Neither this name nor any after it matches.
    Past,
}

impl Matcher {
    /// Makes a search over names ready; `IdPrefix` is none.
    ///
    /// # Errors
    /// Says what is wrong with the query.
    pub(super) fn new(matching: &Matching) -> Result<Self, String> {
        let (Matching::Name(text)
        | Matching::Substring(text)
        | Matching::Glob(text)
        | Matching::Prefix(text)
        | Matching::IdPrefix(text)) = matching
        else {
            return Ok(Self::All);
        };
        if text.len() > QUERY_BYTES_MAX {
            return Err(format!("longer than {QUERY_BYTES_MAX} bytes"));
        }
        match matching {
            Matching::All => Ok(Self::All),
            Matching::Name(name) => Ok(Self::Name(name.clone())),
            Matching::Prefix(prefix) => Ok(Self::Prefix(prefix.clone())),
            Matching::Substring(text) => {
                if text.contains('\n') {
                    // It would match across two names of a block; no name holds a line break, so none is equal to it.
                    return Ok(Self::Name(text.clone()));
                }
                Ok(Self::Substring(Box::new(finder(text))))
            }
            Matching::Glob(pattern) => Self::glob(pattern),
            Matching::IdPrefix(_) => Err("ids are not searched by name".to_owned()),
        }
    }

    fn glob(pattern: &str) -> Result<Self, String> {
        let wildcards = pattern.chars().filter(|&c| is_special(c)).count();
        if wildcards > GLOB_WILDCARDS_MAX {
            return Err(format!("more than {GLOB_WILDCARDS_MAX} wildcards"));
        }
        let glob = GlobBuilder::new(pattern)
            .literal_separator(false)
            .backslash_escape(true)
            .build()
            .map_err(|fault| fault.kind().to_string())?;
        Ok(Self::Glob {
            glob: Box::new(glob.compile_matcher()),
            prefix: pattern.chars().take_while(|&c| !is_special(c)).collect(),
            needle: Box::new(finder(longest_literal(pattern))),
            wildcards: wildcards as u64,
        })
    }

    /// What every match begins with.
    pub(super) fn prefix(&self) -> &str {
        match self {
            Self::All | Self::Substring(_) => "",
            Self::Name(text) | Self::Prefix(text) | Self::Glob { prefix: text, .. } => text,
        }
    }

    /// What every match contains, where whole blocks of folded names can be searched for it at once.
    pub(super) fn finder(&self) -> Option<&memmem::Finder<'static>> {
        match self {
            Self::Substring(needle) | Self::Glob { needle, .. } => Some(needle),
            Self::All | Self::Name(_) | Self::Prefix(_) => None,
        }
    }

    /// Does it match? Names are shown in order, from the first that begins with the prefix.
    pub(super) fn judge(&self, name: &str) -> Verdict {
        let (matches, past) = match self {
            Self::All | Self::Substring(_) => (true, false),
            Self::Name(wanted) => (name == wanted, name != wanted),
            Self::Prefix(prefix) => (true, !name.starts_with(prefix.as_str())),
            Self::Glob { glob, prefix, .. } => (glob.is_match(name), !name.starts_with(prefix.as_str())),
        };
        match (matches, past) {
            (_, true) => Verdict::Past,
            (true, false) => Verdict::Yes,
            (false, false) => Verdict::No,
        }
    }

    /// Units of work of trying one name; 1 is some nanoseconds, what passing over a name in a search for text costs.
    pub(super) fn cost(&self, name: &str) -> u64 {
        match self {
            Self::Glob { wildcards, .. } => 16 + wildcards * name.len() as u64 / 2,
            Self::All | Self::Name(_) | Self::Prefix(_) | Self::Substring(_) => 1,
        }
    }
}

/// Has the character a meaning in a glob?
const fn is_special(c: char) -> bool {
    matches!(c, '*' | '?' | '[' | ']' | '{' | '}' | ',' | '!' | '\\')
}

/// The longest text that every match of the glob contains. Looked for before the first bracket and after the last one,
/// where nothing is an alternative. `/` is none of it: `**/` matches nothing as well.
fn longest_literal(pattern: &str) -> &str {
    let head = pattern.split(['[', '{', '\\']).next().unwrap_or_default();
    let tail = pattern.rsplit([']', '}']).next().unwrap_or_default();
    let tail = if pattern.contains('\\') { "" } else { tail };
    let runs = head.split(['*', '?', '/']).chain(tail.split(['*', '?', '/']));
    // Of equals the first: a name ends like many others.
    runs.rev().max_by_key(|run| run.len()).unwrap_or_default()
}

fn finder(text: &str) -> memmem::Finder<'static> {
    let mut folded = String::new();
    fold_into(text, &mut folded);
    memmem::Finder::new(&folded).into_owned()
}

/// Appends the text with the differences between letters of either case taken out: down, up and down again, letter by
/// letter, so that letters with two small forms (sigma), or whose capital is two letters (sharp s), meet their kind too.
pub(super) fn fold_into(text: &str, out: &mut String) {
    if text.is_ascii() {
        let start = out.len();
        out.push_str(text);
        out[start..].make_ascii_lowercase();
    } else {
        let lower = text.chars().flat_map(char::to_lowercase);
        out.extend(lower.flat_map(char::to_uppercase).flat_map(char::to_lowercase));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn folded(text: &str) -> String {
        let mut out = String::new();
        fold_into(text, &mut out);
        out
    }

    #[test]
    fn letters_of_either_case_meet() {
        for (a, b) in [
            ("README.md", "readme.MD"),
            ("Straße", "STRASSE"),
            ("STRAẞE", "strasse"),
            ("ΟΔΥΣΣΕΥΣ", "οδυσσευς"),
            ("ÅÄÖ", "åäö"),
            ("Имя", "ИМЯ"),
        ] {
            assert_eq!(folded(a), folded(b));
        }
    }

    #[test]
    fn a_glob_is_matched_whole_from_its_fixed_beginning() {
        let matcher = Matcher::new(&Matching::Glob("img_[0-9]*.{jpg,png}".to_owned())).unwrap();
        assert_eq!(matcher.prefix(), "img_");
        assert_eq!(matcher.judge("img_12.png"), Verdict::Yes);
        assert_eq!(matcher.judge("img_12.png.bak"), Verdict::No);
        assert_eq!(matcher.judge("img_x.png"), Verdict::No);
        assert_eq!(matcher.judge("jpg"), Verdict::Past);
        let star = Matcher::new(&Matching::Glob("*.txt".to_owned())).unwrap();
        assert_eq!(star.judge("folder/file.txt"), Verdict::Yes);
    }

    proptest! {
        /// Where a search looks, and what for, never hides a match.
        #[test]
        fn every_match_has_the_glob_s_beginning_and_literal(
            pattern in r"[aB/.]{0,3}[*?]{0,2}[aB/.]{0,3}(\[[aB]\]|\{a,B/\}|\*\*/|\\\*)?[aB/.]{0,2}",
            name in "[aB/.*]{0,6}",
        ) {
            if let Ok(matcher) = Matcher::new(&Matching::Glob(pattern))
                && let Matcher::Glob { glob, .. } = &matcher
                && glob.is_match(&name)
            {
                prop_assert!(name.starts_with(matcher.prefix()));
                let needle = matcher.finder().unwrap();
                prop_assert!(needle.find(folded(&name).as_bytes()).is_some());
            }
        }
    }

    #[test]
    fn a_query_that_cannot_be_understood_says_why() {
        for (pattern, why) in [("[a", "unclosed"), ("{a", "unclosed"), (&"*".repeat(33), "wildcards")] {
            let fault = Matcher::new(&Matching::Glob(pattern.to_owned())).unwrap_err();
            assert!(fault.contains(why), "{fault}");
        }
        assert!(Matcher::new(&Matching::Substring("x".repeat(513))).is_err());
    }

    #[test]
    fn no_pattern_of_the_bounded_size_takes_long_to_compile() {
        let nested = "{a,{b,{c,{d,*}}}}".repeat(3);
        let _ = Matcher::new(&Matching::Glob(nested));
        let _ = Matcher::new(&Matching::Glob("[\u{0}-\u{10ffff}]".repeat(8)));
    }
}
