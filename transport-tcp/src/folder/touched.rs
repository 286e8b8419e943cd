//! What was touched in a watched folder, and when it has stood still for long enough to be looked at.
//!
//! Where the system tells that a writer is done, half a second of quiet is enough (many programs write in several goes);
//! where it does not, a second. While a writer is known to have a file open the file is not looked at, unless it has been
//! left alone for half a minute: a log that is never closed is shared, too.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Quiet that is waited for after a writer closed what it wrote.
const AFTER_CLOSE: Duration = Duration::from_millis(500);
/// Quiet that is waited for where nobody was seen writing.
const AFTER_TOUCH: Duration = Duration::from_secs(1);
/// Quiet after which an open writer is not waited for any more.
const AFTER_WRITE: Duration = Duration::from_secs(30);
/// Open writers remembered for one name: beyond that they are not waited for.
const WRITERS_MAX: usize = 1024;

/// What happened to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Happening {
    /// Bytes were written: somebody has it open.
    Written,
    /// A writer closed it.
    Closed,
    /// It came, went, or got another name or other rights.
    Touched,
}

/// What was touched, by the name in the watched folder. Bounded by the names in it.
#[derive(Debug, Default)]
pub(super) struct Touched(BTreeMap<OsString, Touch>);

#[derive(Debug)]
struct Touch {
    last: Instant,
    closed: bool,
    /// Paths at or below the name that somebody writes to.
    writers: BTreeSet<PathBuf>,
}

impl Touch {
    fn due(&self) -> Instant {
        let quiet = match (self.writers.is_empty(), self.closed) {
            (false, _) => AFTER_WRITE,
            (true, true) => AFTER_CLOSE,
            (true, false) => AFTER_TOUCH,
        };
        self.last + quiet
    }
}

impl Touched {
    /// Takes in that something happened to `path`, which is or lies below `name`.
    pub(super) fn take_in(&mut self, now: Instant, name: OsString, path: PathBuf, what: Happening) {
        let touch = self.0.entry(name).or_insert_with(|| Touch {
            last: now,
            closed: false,
            writers: BTreeSet::new(),
        });
        touch.last = now;
        touch.closed = what == Happening::Closed;
        match what {
            Happening::Written if touch.writers.len() < WRITERS_MAX => drop(touch.writers.insert(path)),
            Happening::Written => {}
            Happening::Closed | Happening::Touched => drop(touch.writers.remove(&path)),
        }
    }

    /// Is somebody known to be writing to it?
    pub(super) fn is_being_written(&self, name: &OsString) -> bool {
        self.0.get(name).is_some_and(|touch| !touch.writers.is_empty())
    }

    /// When the next name is to be looked at.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.0.values().map(Touch::due).min()
    }

    /// Takes out what is to be looked at now.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<OsString> {
        let due: Vec<_> =
            self.0.iter().filter(|(_, t)| t.due() <= now).map(|(name, _)| name.clone()).collect();
        for name in &due {
            self.0.remove(name);
        }
        due
    }

    /// It is being looked at anyhow.
    pub(super) fn forget(&mut self, name: &OsString) {
        self.0.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    /// What is due at these times, in milliseconds, after these happenings to one file.
    fn due_after(happenings: &[(u64, Happening)], looks: &[u64]) -> Vec<bool> {
        let start = Instant::now();
        let mut touched = Touched::default();
        for (ms, what) in happenings {
            touched.take_in(at(start, *ms), "f".into(), "/d/f".into(), *what);
        }
        looks.iter().map(|ms| !touched.take_due(at(start, *ms)).is_empty()).collect()
    }

    #[test]
    fn a_file_that_was_closed_is_due_soon() {
        use Happening::{Closed, Touched, Written};
        assert_eq!(due_after(&[(0, Touched), (1, Written), (100, Closed)], &[599, 600]), [false, true]);
    }

    #[test]
    fn a_file_that_came_by_another_name_is_due_after_a_second() {
        assert_eq!(due_after(&[(0, Happening::Touched)], &[999, 1000, 1001]), [false, true, false]);
    }

    #[test]
    fn an_open_writer_is_waited_for_but_not_for_ever() {
        let written = [(0, Happening::Written), (5000, Happening::Written)];
        assert_eq!(due_after(&written, &[34_999, 35_000]), [false, true]);
    }

    #[test]
    fn one_of_two_writers_below_a_folder_is_not_enough() {
        let start = Instant::now();
        let mut touched = Touched::default();
        for path in ["/d/tree/a", "/d/tree/b"] {
            touched.take_in(start, "tree".into(), path.into(), Happening::Written);
        }
        touched.take_in(start, "tree".into(), "/d/tree/a".into(), Happening::Closed);
        assert!(touched.is_being_written(&"tree".into()));
        assert!(touched.take_due(at(start, 2000)).is_empty());
        touched.take_in(start, "tree".into(), "/d/tree/b".into(), Happening::Closed);
        assert_eq!(touched.take_due(at(start, 2000)), ["tree"]);
        assert_eq!(touched.next_due(), None);
    }
}
