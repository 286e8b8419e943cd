//! Which files of a folder are wanted: globs over their paths within it.
//!
//! A pattern without a slash is matched against each name of a path, one with a slash against the path from its
//! beginning; `*` and `?` do not match a slash, `**` does. A pattern that matches a folder takes everything below it.
//! Without patterns to include, everything is included; what is excluded is so in any case.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde::{Deserialize, Serialize};

use super::{Listing, SafePath};
use crate::limits::{QUERY_BYTES_MAX, SELECTION_GLOBS_MAX};

/// A choice among the files of a folder. The default chooses all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Patterns")]
pub struct Selection {
    include: Vec<String>,
    exclude: Vec<String>,
}

/// A selection whose patterns were not looked at yet.
#[derive(Deserialize)]
struct Patterns {
    include: Vec<String>,
    exclude: Vec<String>,
}

impl TryFrom<Patterns> for Selection {
    type Error = SelectionFault;

    fn try_from(patterns: Patterns) -> Result<Self, SelectionFault> {
        Self::new(patterns.include, patterns.exclude)
    }
}

/// Why patterns select nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectionFault {
    /// There are too many of them.
    #[error("there are more than {SELECTION_GLOBS_MAX} patterns")]
    TooMany,
    /// One is too long.
    #[error("a pattern is longer than {QUERY_BYTES_MAX} bytes")]
    TooLong,
    /// One is no glob.
    #[error("`{pattern}` is no pattern: {why}")]
    NoGlob {
        /// Which.
        pattern: String,
        /// Why.
        why: String,
    },
}

impl Selection {
    /// Chooses what any of `include` matches (everything, if it is empty) and none of `exclude`.
    ///
    /// # Errors
    /// A pattern is no glob, or there are too many.
    pub fn new(include: Vec<String>, exclude: Vec<String>) -> Result<Self, SelectionFault> {
        if include.len() + exclude.len() > SELECTION_GLOBS_MAX {
            return Err(SelectionFault::TooMany);
        }
        if include.iter().chain(&exclude).any(|pattern| pattern.len() > QUERY_BYTES_MAX) {
            return Err(SelectionFault::TooLong);
        }
        Globs::new(&include)?;
        Globs::new(&exclude)?;
        Ok(Self { include, exclude })
    }

    /// Chooses nothing: of a folder, only its listing is fetched.
    #[must_use]
    pub fn nothing() -> Self {
        Self { include: Vec::new(), exclude: vec!["**".to_owned()] }
    }

    /// Does it choose everything?
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// For each entry of a listing: is it chosen?
    #[must_use]
    pub fn chosen(&self, listing: &Listing) -> Vec<bool> {
        // The patterns were tried when the selection was made.
        let (Ok(include), Ok(exclude)) = (Globs::new(&self.include), Globs::new(&self.exclude)) else {
            return vec![false; listing.entries().len()];
        };
        let included = |path| self.include.is_empty() || include.match_path(path);
        let chosen = |path| included(path) && !exclude.match_path(path);
        listing.entries().iter().map(|entry| chosen(&entry.path)).collect()
    }

    /// The listing of the chosen entries alone.
    #[must_use]
    pub fn of(&self, listing: &Listing) -> Listing {
        let mut chosen = self.chosen(listing).into_iter();
        listing.only(|_| chosen.next().unwrap_or(false))
    }
}

/// Patterns made ready.
struct Globs {
    /// Those without a slash.
    names: GlobSet,
    paths: GlobSet,
}

impl Globs {
    fn new(patterns: &[String]) -> Result<Self, SelectionFault> {
        let (mut names, mut paths) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        for pattern in patterns {
            let no_glob = |error: globset::Error| SelectionFault::NoGlob {
                pattern: pattern.clone(),
                why: error.kind().to_string(),
            };
            // `docs/` is the folder `docs`; `/docs` the one at the top.
            let text = pattern.strip_suffix('/').unwrap_or(pattern);
            let set = if text.contains('/') { &mut paths } else { &mut names };
            let text = text.strip_prefix('/').unwrap_or(text);
            set.add(GlobBuilder::new(text).literal_separator(true).build().map_err(no_glob)?);
        }
        let built = |set: GlobSetBuilder| {
            let no_glob = |error: globset::Error| SelectionFault::NoGlob {
                pattern: patterns.join(" "),
                why: error.kind().to_string(),
            };
            set.build().map_err(no_glob)
        };
        Ok(Self { names: built(names)?, paths: built(paths)? })
    }

    /// Does a pattern match the path, or a folder on the way to it?
    fn match_path(&self, path: &SafePath) -> bool {
        let text = path.as_str();
        let ends = text.match_indices('/').map(|(at, _)| at).chain([text.len()]);
        path.names().any(|name| self.names.is_match(name))
            || (!self.paths.is_empty() && ends.into_iter().any(|end| self.paths.is_match(&text[..end])))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ListingEntry, Node};
    use super::*;

    fn chosen(include: &[&str], exclude: &[&str]) -> Vec<String> {
        let paths =
            ["a.txt", "docs/a.txt", "docs/deep/b.md", "docs/nothing", "src/docs/c.txt", "src/main.rs"];
        let entry = |path: &&str| ListingEntry {
            path: SafePath::parse(path).unwrap(),
            node: Node::Folder { mtime_ns: 0 },
        };
        let listing = Listing::new(paths.iter().map(entry).collect()).unwrap();
        let owned = |patterns: &[&str]| patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        let selection = Selection::new(owned(include), owned(exclude)).unwrap();
        let of = selection.of(&listing);
        of.entries().iter().map(|entry| entry.path.as_str().to_owned()).collect()
    }

    #[test]
    fn patterns_mean_what_people_expect() {
        assert_eq!(chosen(&[], &[]).len(), 6);
        assert_eq!(chosen(&["*.txt"], &[]), ["a.txt", "docs/a.txt", "src/docs/c.txt"]);
        assert_eq!(chosen(&["/*.txt"], &[]), ["a.txt"]);
        assert_eq!(
            chosen(&["docs"], &[]),
            ["docs/a.txt", "docs/deep/b.md", "docs/nothing", "src/docs/c.txt"]
        );
        assert_eq!(chosen(&["/docs/"], &["deep"]), ["docs/a.txt", "docs/nothing"]);
        assert_eq!(chosen(&["docs/*.txt"], &[]), ["docs/a.txt"]);
        assert_eq!(chosen(&["src/**/*.txt"], &[]), ["src/docs/c.txt"]);
        assert_eq!(chosen(&["*.{md,rs}"], &[]), ["docs/deep/b.md", "src/main.rs"]);
        assert_eq!(chosen(&[], &["docs"]), ["a.txt", "src/main.rs"]);
        assert_eq!(chosen(&["*.txt"], &["*.txt"]), [] as [&str; 0]);
    }

    #[test]
    fn nothing_is_nothing() {
        let entry =
            ListingEntry { path: SafePath::parse("a/b").unwrap(), node: Node::Folder { mtime_ns: 0 } };
        let listing = Listing::new(vec![entry]).unwrap();
        assert_eq!(Selection::nothing().chosen(&listing), [false]);
    }

    #[test]
    fn what_is_no_pattern_is_named() {
        let fault = Selection::new(vec!["[a".to_owned()], Vec::new()).unwrap_err();
        assert!(fault.to_string().contains("[a"), "{fault}");
        assert!(Selection::new(vec!["x".to_owned(); SELECTION_GLOBS_MAX + 1], Vec::new()).is_err());
    }
}
