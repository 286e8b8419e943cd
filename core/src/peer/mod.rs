//! The peer machine (see `io` for its inputs and effects).

mod io;

pub use io::*;
