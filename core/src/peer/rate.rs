//! Measured rates, and caps on rates.

use std::time::Duration;

use crate::limits::CHUNK_BYTES;
use crate::time::Instant;

const BUCKET: Duration = Duration::from_millis(50);
const BUCKETS: usize = 20;
/// Arrivals by which a slow flow is measured.
const ARRIVALS: usize = 4;
/// A flow that has been silent for this long, and for several times what is usual, has ended.
const FADED: Duration = Duration::from_secs(1);

/// Bytes per second over the last second, in twenty buckets of 50 ms.
#[derive(Clone, Debug)]
pub(super) struct RateMeter {
    buckets: [u64; BUCKETS],
    /// Their sum.
    sum: u64,
    /// Number of the newest bucket since [`Instant::ZERO`].
    newest: u64,
    /// When counting began; the rate of a young meter is over its age.
    since: Instant,
    /// The highest rate lately seen, decaying: what the link can do while nothing is asked of it.
    peak: f64,
    /// When something came last.
    last: Instant,
    /// The newest arrivals, oldest first, and how many there are.
    arrivals: [(Instant, u64); ARRIVALS],
    arrived: usize,
}

impl RateMeter {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            buckets: [0; BUCKETS],
            sum: 0,
            newest: Self::bucket(now),
            since: now,
            peak: 0.0,
            last: now,
            arrivals: [(now, 0); ARRIVALS],
            arrived: 0,
        }
    }

    const fn bucket(now: Instant) -> u64 {
        now.0 / BUCKET.as_nanos() as u64
    }

    fn advance(&mut self, now: Instant) {
        let current = Self::bucket(now);
        let passed = current.saturating_sub(self.newest).min(BUCKETS as u64);
        for i in 0..passed {
            let old = &mut self.buckets[((current - i) % BUCKETS as u64) as usize];
            self.sum -= std::mem::take(old);
        }
        self.newest = self.newest.max(current);
    }

    /// Counts bytes that came (or went) now.
    pub(super) fn add(&mut self, now: Instant, bytes: u64) {
        self.advance(now);
        self.buckets[(self.newest % BUCKETS as u64) as usize] += bytes;
        self.sum += bytes;
        self.peak = (self.peak * 0.98).max(self.rate(now));
        self.last = now;
        if self.arrived == ARRIVALS {
            self.arrivals.rotate_left(1);
            self.arrived -= 1;
        }
        self.arrivals[self.arrived] = (now, bytes);
        self.arrived += 1;
    }

    /// Starts anew after a time without demand, so that idle time does not count as slowness. The peak stays. Whoever is asked
    /// for the next chunk as soon as one came was not idle.
    pub(super) fn restart(&mut self, now: Instant) {
        if self.sum > 0 && now.since(self.last) < BUCKET {
            return;
        }
        self.buckets = [0; BUCKETS];
        self.sum = 0;
        self.newest = Self::bucket(now);
        self.since = now;
        self.arrived = 0;
    }

    /// Bytes per second over the last second, or since it was (re)started if that is less.
    pub(super) fn rate(&self, now: Instant) -> f64 {
        let age = Self::bucket(now).saturating_sub(self.newest).min(BUCKETS as u64);
        let over =
            (1..=age).map(|i| self.buckets[((self.newest + i) % BUCKETS as u64) as usize]).sum::<u64>();
        let bytes = self.sum - over;
        let span = now.since(self.since).clamp(BUCKET, BUCKET * BUCKETS as u32);
        bytes as f64 / span.as_secs_f64()
    }

    /// The rate as people want to know it: of a flow of which little comes in a second, a chunk now and then, that over its last
    /// few arrivals.
    pub(super) fn told(&self, now: Instant) -> f64 {
        let Some((last, _)) = self.arrivals[..self.arrived].last().copied() else { return self.rate(now) };
        // What came with the first of many counts for the time before it.
        let (start, counted) = match self.arrivals {
            [(first, _), ..] if self.arrived == ARRIVALS => (first, 1..ARRIVALS),
            _ => (self.since, 0..self.arrived),
        };
        if self.arrived == ARRIVALS && now.since(start) <= BUCKET * BUCKETS as u32 {
            return self.rate(now);
        }
        let (span, silent) = (last.since(start), now.since(last));
        let usual = span / counted.len().max(1) as u32;
        if silent > FADED + usual * 4 {
            return 0.0;
        }
        let bytes: u64 = self.arrivals[counted].iter().map(|(_, bytes)| bytes).sum();
        bytes as f64 / (span + silent.saturating_sub(usual)).max(BUCKET).as_secs_f64()
    }

    /// Chunks come as fast as they ever did: one came within the time that one and a half take at the peak.
    pub(super) fn is_full(&self, now: Instant) -> bool {
        now.since(self.last).as_secs_f64() * self.peak < 1.5 * CHUNK_BYTES as f64
    }

    /// The decayed peak: an estimate of what the link can do.
    pub(super) const fn peak(&self) -> f64 {
        self.peak
    }
}

/// A token bucket: at most `rate` bytes per second, with a burst of a tenth of a second or one large frame.
#[derive(Clone, Debug)]
pub(super) struct RateCap {
    /// Bytes per second; 0: no cap.
    rate: u64,
    /// Bytes that may go now; negative after a large frame went.
    tokens: f64,
    at: Instant,
}

impl RateCap {
    pub(super) const fn new(rate: u64) -> Self {
        Self { rate, tokens: 0.0, at: Instant::ZERO }
    }

    /// Bytes per second; 0: no cap.
    pub(super) const fn rate(&self) -> u64 {
        self.rate
    }

    pub(super) fn set_rate(&mut self, rate: u64) {
        self.rate = rate;
        self.tokens = self.tokens.min(0.0);
    }

    /// Bytes that may be asked for at once: what comes in a tenth of a second, but a chunk at least.
    pub(super) fn portion(&self) -> u64 {
        if self.rate == 0 { u64::MAX } else { (self.rate / 10).max(CHUNK_BYTES) }
    }

    /// May something go now? Else when.
    pub(super) fn poll(&mut self, now: Instant) -> Result<(), Instant> {
        if self.rate == 0 {
            return Ok(());
        }
        let rate = self.rate as f64;
        self.tokens = (self.tokens + now.since(self.at).as_secs_f64() * rate).min(rate * 0.1);
        self.at = now;
        if self.tokens >= 0.0 {
            return Ok(());
        }
        Err(now + Duration::from_secs_f64((-self.tokens / rate).max(1e-6)))
    }

    /// Is there a cap, and does it keep back what would go now?
    pub(super) fn is_reached(&self, now: Instant) -> bool {
        self.rate != 0 && self.tokens + now.since(self.at).as_secs_f64() * (self.rate as f64) < 0.0
    }

    /// `bytes` that were spent did not go after all, or are spent anew.
    pub(super) fn give_back(&mut self, bytes: u64) {
        if self.rate != 0 {
            self.tokens += bytes as f64;
        }
    }

    /// `bytes` went.
    pub(super) fn spend(&mut self, bytes: u64) {
        if self.rate != 0 {
            self.tokens -= bytes as f64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_flow_is_measured_right_and_fades_within_a_second() {
        let mut meter = RateMeter::new(Instant::ZERO);
        for ms in 0..2000 {
            meter.add(Instant::from_millis(ms), 1000);
        }
        let rate = meter.rate(Instant::from_millis(2000));
        assert!((0.9e6..1.1e6).contains(&rate), "{rate}");
        assert_eq!(meter.rate(Instant::from_millis(3100)), 0.0);
        assert!(meter.peak() > 0.9e6);
    }

    #[test]
    fn a_slow_flow_is_told_evenly_and_ends_some_time_after_its_last_chunk() {
        let mut meter = RateMeter::new(Instant::ZERO);
        let at = |tenths: u64| Instant::from_millis(tenths * 100);
        for tenths in 1..=300 {
            // A chunk in two and a half seconds.
            if tenths % 25 == 0 {
                meter.add(at(tenths), CHUNK_BYTES);
            }
            if tenths >= 25 {
                let told = meter.told(at(tenths)) / CHUNK_BYTES as f64;
                assert!((0.39..0.41).contains(&told), "{tenths}: {told}");
            }
        }
        assert!(meter.told(at(350)) < 0.35 * CHUNK_BYTES as f64, "it comes no more");
        assert_eq!(meter.told(at(450)), 0.0);
        let mut fast = RateMeter::new(Instant::ZERO);
        (0..200).for_each(|ms| fast.add(Instant::from_millis(ms * 10), CHUNK_BYTES));
        assert_eq!(fast.told(at(20)), fast.rate(at(20)));
        assert_eq!(fast.told(at(32)), 0.0, "a fast one is over at once");
    }

    #[test]
    fn a_restart_forgets_idle_time_and_only_that() {
        let mut meter = RateMeter::new(Instant::ZERO);
        for ms in [500, 1000] {
            meter.add(Instant::from_millis(ms), 50_000);
            meter.restart(Instant::from_millis(ms));
        }
        assert_eq!(meter.rate(Instant::from_millis(1000)), 100_000.0);
        meter.restart(Instant::from_millis(1500));
        meter.add(Instant::from_millis(1600), 50_000);
        assert_eq!(meter.rate(Instant::from_millis(1600)), 500_000.0);
    }

    #[test]
    fn a_cap_holds_over_time_whatever_the_size_of_the_frames() {
        let mut cap = RateCap::new(1_000_000);
        let (mut now, mut sent) = (Instant::ZERO, 0u64);
        assert!(!cap.is_reached(now));
        while now < Instant::from_millis(10_000) {
            match cap.poll(now) {
                Ok(()) => {
                    cap.spend(262_160);
                    sent += 262_160;
                }
                Err(at) => now = at,
            }
        }
        assert!((9_500_000..=10_600_000).contains(&sent), "{sent}");
        cap.spend(1_000_000);
        assert!(cap.is_reached(now) && !cap.is_reached(Instant::from_millis(12_000)));
    }
}
