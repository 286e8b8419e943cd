//! Spreads a chunk over the time that it takes at a capped rate.
//!
//! The machine decides when a chunk is asked for or sent, so that the rates hold in the long run. At low rates a chunk is
//! seconds worth of bytes: here it is read or written in portions, each in its time, so that the far end sees a slow link
//! instead of a silent one, and the rate holds for short transfers, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Portions per second; chunks that take less than one portion's time are not divided.
const PORTIONS_PER_SECOND: u64 = 20;
/// Bytes of the smallest portion.
const PORTION_BYTES_MIN: u64 = 1024;

/// A rate that all links of a peer are held to in one direction. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Throttle(Arc<AtomicU64>);

impl Throttle {
    /// A throttle at this rate, in bytes per second; 0: none.
    pub(crate) fn new(rate: u64) -> Self {
        Self(Arc::new(AtomicU64::new(rate)))
    }

    /// Sets the rate, for chunks from now on.
    pub(crate) fn set(&self, rate: u64) {
        self.0.store(rate, Ordering::Relaxed);
    }

    /// Bytes of one portion of a chunk; `None`: it goes in one.
    pub(crate) fn portion(&self, chunk: u64) -> Option<u64> {
        let rate = self.0.load(Ordering::Relaxed);
        let portion = (rate / PORTIONS_PER_SECOND).max(PORTION_BYTES_MIN);
        (rate != 0 && portion < chunk).then_some(portion)
    }

    /// Waits until so many bytes of a chunk that was begun then are due.
    pub(crate) async fn wait(&self, began: Instant, bytes: u64) {
        let rate = self.0.load(Ordering::Relaxed);
        if rate != 0 {
            sleep_until(began + Duration::from_secs_f64(bytes as f64 / rate as f64)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_takes_long_is_divided() {
        let throttle = Throttle::new(0);
        assert_eq!(throttle.portion(1 << 18), None);
        throttle.set(100 << 20);
        assert_eq!(throttle.portion(1 << 18), None);
        throttle.set(100_000);
        assert_eq!(throttle.portion(1 << 18), Some(5000));
        throttle.set(1);
        assert_eq!(throttle.portion(1 << 18), Some(PORTION_BYTES_MIN));
        assert_eq!(throttle.portion(10), None);
    }

    #[tokio::test(start_paused = true)]
    async fn portions_come_in_their_time() {
        let throttle = Throttle::new(1000);
        let began = Instant::now();
        for bytes in [500, 1000, 2000] {
            throttle.wait(began, bytes).await;
        }
        assert_eq!(began.elapsed().as_secs(), 2);
    }
}
