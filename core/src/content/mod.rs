//! What is shared: how a content is cut, hashed, listed, named and pointed at. Pure arithmetic and parsing, no I/O.
//!
//! - [`Geometry`]: where pieces and chunks lie in a content of a given length.
//! - [`PieceSet`]: which pieces somebody holds.
//! - [`PieceTable`], [`chunk_value`], [`fold_piece`], [`fold_table`], [`ContentHasher`]: from bytes up to the id.
//! - [`Listing`]: a folder as a content. [`Selection`]: a choice among its files.
//! - [`SafeName`], [`SafePath`]: the only way in which foreign text becomes a file name.
//! - [`Ticket`]: a content as one line of text. [`escape()`]: foreign text made safe to print.

mod escape;
mod geometry;
mod hash;
mod listing;
mod piece_set;
mod safe_name;
mod selection;
mod table;
mod ticket;

use std::fmt;
use std::str::FromStr;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

pub use escape::{Escaped, escape, escape_json};
pub use geometry::Geometry;
pub use hash::{ContentHasher, PieceHasher, chunk_value, empty_id, fold_piece, fold_table};
pub use listing::{Collision, Listing, ListingEntry, ListingFault, Node, PathFault};
pub use piece_set::{PieceSet, SliceFault};
pub use safe_name::{NameFault, NameWarning, SafeName, SafePath, portability};
pub use selection::{Selection, SelectionFault};
pub use table::{PieceTable, TableFault};
pub use ticket::{Ticket, TicketFault};

/// What a content is meant as.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Bytes that become a file.
    File,
    /// A [`Listing`], which with its members becomes a folder.
    Folder,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "file",
            Self::Folder => "folder",
        })
    }
}

/// The text is neither `file` nor `folder`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected `file` or `folder`")]
pub struct NotAKind;

impl FromStr for Kind {
    type Err = NotAKind;
    fn from_str(s: &str) -> Result<Self, NotAKind> {
        match s {
            "file" => Ok(Self::File),
            "folder" => Ok(Self::Folder),
            _ => Err(NotAKind),
        }
    }
}
