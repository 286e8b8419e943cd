//! Foreign text becomes a file name only through the two types here. They reject and never repair: a name that was
//! changed on the way in is another name.
//!
//! What is refused always could leave its folder, cannot exist on any system that matters, or deceives the eye. What
//! only some file systems cannot hold is left to the one that receives it, and [`portability`] names it for a
//! warning.
//!
//! | refused always | warned of, refused only by a file system that cannot hold it |
//! |---|---|
//! | empty, `.`, `..` | `:` and `< > " \| ? *` |
//! | `/` and `\` in a name; a path that begins with `/` | device names, with any extension: `aux.c`, `NUL`, `com1` |
//! | NUL and other control characters (C0, DEL, C1) | a dot or a space at the end |
//! | bidi embeddings, overrides and isolates | names that differ only by case or Unicode form (`Listing::collisions`) |
//! | over 255 bytes; a path over 4096 bytes | |
//!
//! Everything else is a name: any script, spaces, leading dots and dashes, `foo... bar`, joiners and other invisible
//! letters (whoever prints them uses [`escape`](super::escape())).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::escape::is_bidi_override;
use crate::limits::{NAME_BYTES_MAX, PATH_BYTES_MAX};

/// The name of a file or folder: one component of a path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SafeName(String);

/// A relative path: [`SafeName`]s with `/` between them. Ordered name by name, each by its bytes, so that what lies
/// in a folder follows it at once.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SafePath(String);

/// The rule that a name or path breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum NameFault {
    /// A name without a letter; in a path also `//` and a `/` at its end.
    #[error("a name is empty")]
    Empty,
    /// `.` or `..`.
    #[error("`.` and `..` are no names")]
    Dots,
    /// It begins with `/`.
    #[error("the path is absolute")]
    Absolute,
    /// `/` or `\` within a name.
    #[error("a name contains a path separator")]
    Separator,
    /// It contains NUL.
    #[error("a name contains NUL")]
    Nul,
    /// It contains a control character.
    #[error("a name contains a control character")]
    Control,
    /// It contains a character that reorders the text around it.
    #[error("a name contains a bidirectional override")]
    BidiOverride,
    /// A name over 255 bytes.
    #[error("a name is longer than {NAME_BYTES_MAX} bytes")]
    NameTooLong,
    /// A path over 4096 bytes.
    #[error("the path is longer than {PATH_BYTES_MAX} bytes")]
    PathTooLong,
}

/// Why some file system cannot hold a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum NameWarning {
    /// It contains a character that Windows uses otherwise.
    #[error("Windows cannot hold `{0}` in a name")]
    Character(char),
    /// It is the name of a device on Windows.
    #[error("the name is that of a device on Windows")]
    Device,
    /// It ends in a dot.
    #[error("Windows cannot hold a dot at a name's end")]
    TrailingDot,
    /// It ends in a space.
    #[error("Windows cannot hold a space at a name's end")]
    TrailingSpace,
}

impl SafeName {
    /// Checks a name.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn parse(name: &str) -> Result<Self, NameFault> {
        check_name(name)?;
        Ok(Self(name.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SafePath {
    /// Checks a path.
    ///
    /// # Errors
    /// The first rule that it, or a name in it, breaks.
    pub fn parse(path: &str) -> Result<Self, NameFault> {
        if path.len() > PATH_BYTES_MAX {
            return Err(NameFault::PathTooLong);
        }
        if path.starts_with('/') {
            return Err(NameFault::Absolute);
        }
        path.split('/').try_for_each(check_name)?;
        Ok(Self(path.to_owned()))
    }

    /// The path, its names separated by `/`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its names, outermost first; at least one.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// Its last name.
    #[must_use]
    pub fn file_name(&self) -> SafeName {
        SafeName(self.0.rsplit('/').next().unwrap_or_default().to_owned())
    }

    /// Does `inner` lie below this path?
    #[must_use]
    pub fn contains(&self, inner: &Self) -> bool {
        inner.0.strip_prefix(self.as_str()).is_some_and(|rest| rest.starts_with('/'))
    }
}

fn check_name(name: &str) -> Result<(), NameFault> {
    match name {
        "" => return Err(NameFault::Empty),
        "." | ".." => return Err(NameFault::Dots),
        _ => {}
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(NameFault::NameTooLong);
    }
    name.chars().try_for_each(|c| match c {
        '/' | '\\' => Err(NameFault::Separator),
        '\0' => Err(NameFault::Nul),
        c if c.is_control() => Err(NameFault::Control),
        c if is_bidi_override(c) => Err(NameFault::BidiOverride),
        _ => Ok(()),
    })
}

/// What keeps a name (or a path's names) from being held by every file system; empty for most.
#[must_use]
pub fn portability(path: &str) -> Vec<NameWarning> {
    let mut warnings: Vec<NameWarning> = path.split('/').flat_map(name_warnings).collect();
    warnings.sort_unstable();
    warnings.dedup();
    warnings
}

fn name_warnings(name: &str) -> Vec<NameWarning> {
    let mut warnings: Vec<NameWarning> = name
        .chars()
        .filter(|c| matches!(c, ':' | '<' | '>' | '"' | '|' | '?' | '*'))
        .map(NameWarning::Character)
        .collect();
    if is_device(name) {
        warnings.push(NameWarning::Device);
    }
    if name.ends_with('.') {
        warnings.push(NameWarning::TrailingDot);
    }
    if name.ends_with(' ') {
        warnings.push(NameWarning::TrailingSpace);
    }
    warnings
}

/// Windows takes what stands before the first dot, without spaces at its end, for the device, whatever follows.
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end_matches(' ').to_uppercase();
    let numbered = |port: &str| {
        stem.strip_prefix(port).is_some_and(|digit| {
            matches!(digit, "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "¹" | "²" | "³")
        })
    };
    matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$")
        || numbered("COM")
        || numbered("LPT")
}

impl Ord for SafePath {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // Name by name: as if the separator came before everything that stands in names.
        let rank = |byte| if byte == b'/' { 0 } else { byte };
        self.0.bytes().map(rank).cmp(other.0.bytes().map(rank))
    }
}

impl PartialOrd for SafePath {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

macro_rules! text {
    ($name:ident) => {
        impl fmt::Display for $name {
            /// Made safe to print; [`as_str`](Self::as_str) has the bytes.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&super::escape(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = NameFault;
            fn from_str(text: &str) -> Result<Self, NameFault> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameFault;
            fn try_from(text: String) -> Result<Self, NameFault> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}
text!(SafeName);
text!(SafePath);

impl From<SafeName> for SafePath {
    fn from(name: SafeName) -> Self {
        Self(name.0)
    }
}

#[cfg(test)]
mod tests;
