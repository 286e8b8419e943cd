//! The driver's clock: tokio's time, counted from the driver's start, as the machines want it.
//!
//! It goes through [`tokio::time`], so that paused time in tests and turmoil's simulated time just work.

use std::time::Duration;

use potluck_core::time::Instant;

/// Maps between tokio's instants and the machine's. Monotone, since tokio's are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: tokio::time::Instant,
}

impl Clock {
    /// A clock that stands at zero.
    pub(crate) fn start() -> Self {
        Self { start: tokio::time::Instant::now() }
    }

    /// The time now.
    pub(crate) fn now(&self) -> Instant {
        Instant::ZERO + self.start.elapsed()
    }

    /// When tokio's clock will show `at`.
    pub(crate) fn tokio_instant(&self, at: Instant) -> tokio::time::Instant {
        // An instant too far away to be represented is as good as one in a year.
        self.start
            .checked_add(Duration::from_nanos(at.0))
            .unwrap_or(self.start + Duration::from_secs(31_536_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn follows_tokio_time() {
        let clock = Clock::start();
        assert_eq!(clock.now(), Instant::ZERO);
        tokio::time::sleep_until(clock.tokio_instant(Instant::from_millis(250))).await;
        assert_eq!(clock.now(), Instant::from_millis(250));
        assert!(clock.tokio_instant(Instant(u64::MAX)) > tokio::time::Instant::now());
    }
}
