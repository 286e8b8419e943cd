//! Completions that are handed over together.
//!
//! Ten thousand small files are thirty thousand short pieces of work. Were each reported by itself, the actor would be woken for
//! each; so what is done within a millisecond is reported at once.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

/// Completions wait for others at most so long, and for so many.
const WAIT_MAX: Duration = Duration::from_millis(1);
const WAITING_MAX: usize = 64;

/// Where the workers of one bundle report. What waits is reported when the last of them lets go of it.
#[derive(Debug)]
pub(crate) struct Together<I> {
    completions: UnboundedSender<I>,
    waiting: Mutex<(Instant, Vec<I>)>,
}

impl<I> Together<I> {
    pub(crate) fn new(completions: UnboundedSender<I>) -> Self {
        Self { completions, waiting: Mutex::new((Instant::now(), Vec::new())) }
    }

    /// Reports, soon.
    pub(crate) fn send(&self, input: I) {
        let mut waiting = self.lock();
        waiting.1.push(input);
        if waiting.1.len() >= WAITING_MAX || waiting.0.elapsed() >= WAIT_MAX {
            self.hand_over(&mut waiting);
        }
    }

    /// What follows takes longer: nothing is to wait for it.
    pub(crate) fn flush(&self) {
        self.hand_over(&mut self.lock());
    }

    fn hand_over(&self, waiting: &mut (Instant, Vec<I>)) {
        for input in waiting.1.drain(..) {
            // The actor is gone: so is everybody who would care.
            let _ = self.completions.send(input);
        }
        waiting.0 = Instant::now();
    }

    fn lock(&self) -> MutexGuard<'_, (Instant, Vec<I>)> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<I> Drop for Together<I> {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    #[test]
    fn nothing_waits_for_what_takes_long_and_the_rest_is_reported_in_the_end() {
        let (tell, mut told) = mpsc::unbounded_channel();
        let together = Together::new(tell);
        (0..3).for_each(|n| together.send(n));
        together.flush();
        let early = std::iter::from_fn(|| told.try_recv().ok()).collect::<Vec<_>>();
        assert_eq!(early, [0, 1, 2]);
        (3..300).for_each(|n| together.send(n));
        drop(together);
        let rest = std::iter::from_fn(|| told.try_recv().ok()).collect::<Vec<_>>();
        assert_eq!(rest, (3..300).collect::<Vec<_>>());
    }
}
