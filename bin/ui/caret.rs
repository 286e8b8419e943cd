//! Keeps a terminal from showing `^C` where bars are drawn. A bar reaches to the last column, so that what others print begins
//! below it; the `^C` of a person who has enough would do so, too, and what is drawn could not be cleared any more.

use std::io;

use rustix::process::getpgrp;
use rustix::termios::{LocalModes, OptionalActions, isatty, tcgetattr, tcgetpgrp, tcsetattr};

/// Until it is dropped, the terminal does not show it.
pub(crate) struct HiddenCaret(bool);

impl HiddenCaret {
    /// Does nothing unless keys are typed, and bars drawn, on a terminal.
    pub(crate) fn take() -> Self {
        Self(isatty(io::stderr()) && show(false))
    }
}

impl Drop for HiddenCaret {
    fn drop(&mut self) {
        if self.0 {
            show(true);
        }
    }
}

/// Sets whether it is shown; true if that was another way before.
fn show(shown: bool) -> bool {
    let stdin = io::stdin();
    // Whoever changes a terminal from the background is stopped by it.
    if tcgetpgrp(&stdin).is_ok_and(|front| front != getpgrp()) {
        return false;
    }
    let Ok(mut modes) = tcgetattr(&stdin) else { return false };
    let before = modes.local_modes.contains(LocalModes::ECHOCTL);
    modes.local_modes.set(LocalModes::ECHOCTL, shown);
    before != shown && tcsetattr(&stdin, OptionalActions::Now, &modes).is_ok()
}
