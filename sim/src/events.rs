//! The queue of what is to happen: a heap of `(instant, tie, event)`.
//!
//! Events of one instant come in an order that depends on the seed and on nothing else, so that whatever relies on an
//! accidental order breaks for some seed. What must be ordered (the frames of a connection) is ordered by its own queue:
//! such an event only says "the next one".

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use potluck_core::time::Instant;

/// Pending events, earliest first.
#[derive(Debug)]
pub(crate) struct Events<E> {
    heap: BinaryHeap<Reverse<Entry<E>>>,
    pushed: u64,
    salt: u64,
}

#[derive(Debug)]
struct Entry<E> {
    at: Instant,
    tie: u64,
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.tie) == (other.at, other.tie)
    }
}
impl<E> Eq for Entry<E> {}
impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.tie).cmp(&(other.at, other.tie))
    }
}

impl<E> Events<E> {
    /// An empty queue whose ties are broken by `salt`.
    pub(crate) const fn new(salt: u64) -> Self {
        Self { heap: BinaryHeap::new(), pushed: 0, salt }
    }

    /// Adds an event.
    pub(crate) fn push(&mut self, at: Instant, event: E) {
        self.pushed += 1;
        // Odd multiplication is a bijection, so that no two ties are equal.
        let tie = (self.pushed ^ self.salt).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.heap.push(Reverse(Entry { at, tie, event }));
    }

    /// Takes the earliest event out, if it is due by `until`.
    pub(crate) fn pop_until(&mut self, until: Instant) -> Option<(Instant, E)> {
        if self.next_at()? > until {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| (entry.at, entry.event))
    }

    /// When the earliest event is due.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }
}
