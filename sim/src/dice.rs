//! Chance, from a seed: the same numbers in every release.

use potluck_core::seed::Seed;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

/// A generator with the few draws that a simulation needs.
#[derive(Clone, Debug)]
pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    /// A generator for the part called `purpose`.
    pub(crate) fn new(seed: &Seed, purpose: &str) -> Self {
        Self(seed.fork(purpose).rng())
    }

    /// Any number.
    pub(crate) fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `end`; 0 if `end` is 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        // Multiplying into the upper half favours no number by more than 2^-32 for the small ranges drawn here.
        ((u128::from(self.number()) * u128::from(end)) >> 64) as u64
    }

    /// A number in `first..=last`.
    pub(crate) fn between(&mut self, first: u64, last: u64) -> u64 {
        first + self.below(last.saturating_sub(first).saturating_add(1))
    }

    /// Like [`between`](Self::between), but each power of two of the range is as likely as any other.
    pub(crate) fn spread(&mut self, first: u64, last: u64) -> u64 {
        let (low, high) = (first.max(1).ilog2(), last.max(1).ilog2());
        let bits = self.between(low.into(), high.into());
        let floor = 1u64 << bits;
        self.between(floor.max(first), (floor * 2 - 1).min(last))
    }

    /// True in `percent` of a hundred cases.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of these; `None` if there is none.
    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        let index = self.below(of.len() as u64) as usize;
        of.get(index)
    }

    /// A random order.
    pub(crate) fn shuffle<T>(&mut self, of: &mut [T]) {
        for i in (1..of.len()).rev() {
            let j = self.below(i as u64 + 1) as usize;
            of.swap(i, j);
        }
    }
}
