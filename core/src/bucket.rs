//! A bound on how often something may be done, with room for bursts.

use std::time::Duration;

use crate::time::Instant;

/// How much may be done at once, and how fast that comes back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// Units that may be spent at once.
    pub(crate) burst: u64,
    /// Units that come back per second, at least 1.
    pub(crate) per_second: u64,
}

/// What of a [`Rate`] is spent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bucket {
    /// When all of the burst is there again.
    full_at: Instant,
}

impl Bucket {
    /// Spends `units`, whatever they are, unless nothing is left: a debt is paid off before the next one.
    pub(crate) fn spend(&mut self, now: Instant, rate: Rate, units: u64) {
        let full_at = self.full_at.max(now);
        self.full_at = full_at + Duration::from_nanos(units.saturating_mul(1_000_000_000 / rate.per_second));
    }

    /// Is there a whole unit left?
    pub(crate) fn has_some(&self, now: Instant, rate: Rate) -> bool {
        let missing = self.full_at.since(now).as_nanos() * u128::from(rate.per_second);
        missing.div_ceil(1_000_000_000) < u128::from(rate.burst)
    }

    /// Is nothing spent?
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }

    /// Spends one unit if there is one.
    pub(crate) fn take(&mut self, now: Instant, rate: Rate) -> bool {
        let ok = self.has_some(now, rate);
        if ok {
            self.spend(now, rate, 1);
        }
        ok
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let rate = Rate { burst: 3, per_second: 2 };
        let mut bucket = Bucket::default();
        let start = Instant::from_millis(5_000);
        assert_eq!((0..5).filter(|_| bucket.take(start, rate)).count(), 3);
        assert!(!bucket.take(start + Duration::from_millis(400), rate));
        assert!(bucket.take(start + Duration::from_millis(600), rate));
        assert_eq!((0..9).filter(|_| bucket.take(start + Duration::from_secs(60), rate)).count(), 3);
    }
}
