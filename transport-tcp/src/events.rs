//! Events on their way to a reader that may be slow, within a bound and without losing what matters.
//!
//! While few events wait, all are kept in order. When many do, each is treated by its [`Fate`]: news of passing interest is
//! dropped and counted, what supersedes an earlier event replaces it, what must be known is kept. What must be known is
//! bounded by what the reader itself began (downloads, shares).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::limits::EVENTS_WAITING;

/// What becomes of an event when the reader is slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate<K> {
    /// It is kept.
    Kept,
    /// It takes the place of a waiting event of the same key, see [`Queued::absorb`].
    Replaces(K),
    /// It is dropped and counted.
    Dropped,
}

/// An event that can be queued.
pub(crate) trait Queued: Sized {
    /// What tells which events supersede each other.
    type Key: PartialEq;
    /// What becomes of it when the reader is slow.
    fn fate(&self) -> Fate<Self::Key>;
    /// Takes up what an earlier event of the same key told and the reader has not read.
    fn absorb(&mut self, earlier: Self);
    /// The event that tells of dropped ones.
    fn missed(count: u64) -> Self;
}

/// Makes a queue. The reader sees the end when every sender is gone.
pub(crate) fn queue<E: Queued>() -> (EventSender<E>, EventReceiver<E>) {
    let queue = Arc::new(Queue { state: Mutex::new(State::default()), changed: Notify::new() });
    (EventSender(Arc::new(Sending(Arc::clone(&queue)))), EventReceiver(queue))
}

struct Queue<E> {
    state: Mutex<State<E>>,
    changed: Notify,
}

struct State<E> {
    events: VecDeque<E>,
    missed: u64,
    /// No sender, or no reader, is left.
    closed: bool,
}

impl<E> Default for State<E> {
    fn default() -> Self {
        Self { events: VecDeque::new(), missed: 0, closed: false }
    }
}

impl<E> Queue<E> {
    fn lock(&self) -> MutexGuard<'_, State<E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Queues events; never waits. Cheap to clone.
pub(crate) struct EventSender<E>(Arc<Sending<E>>);

struct Sending<E>(Arc<Queue<E>>);

impl<E> Clone for EventSender<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<E> Drop for Sending<E> {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.changed.notify_one();
    }
}

impl<E: Queued> EventSender<E> {
    /// Queues one event. After the reader is gone it goes nowhere.
    pub(crate) fn send(&self, mut event: E) {
        let queue = &self.0.0;
        let mut state = queue.lock();
        if state.closed {
            return;
        }
        if state.events.len() >= EVENTS_WAITING {
            match event.fate() {
                Fate::Kept => {}
                Fate::Dropped => {
                    state.missed += 1;
                    return;
                }
                fate @ Fate::Replaces(_) => {
                    let same = state.events.iter().position(|earlier| earlier.fate() == fate);
                    if let Some(at) = same
                        && let Some(earlier) = state.events.remove(at)
                    {
                        event.absorb(earlier);
                    }
                }
            }
        }
        state.events.push_back(event);
        drop(state);
        queue.changed.notify_one();
    }
}

impl<E> std::fmt::Debug for EventSender<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let waiting = self.0.0.lock().events.len();
        f.debug_struct("EventSender").field("waiting", &waiting).finish_non_exhaustive()
    }
}

/// Reads events.
pub(crate) struct EventReceiver<E>(Arc<Queue<E>>);

impl<E: Queued> EventReceiver<E> {
    /// The next event; `None` when there will be no more. Cancel safe. For one caller.
    pub(crate) async fn next(&self) -> Option<E> {
        loop {
            {
                let mut state = self.0.lock();
                if let Some(event) = state.events.pop_front() {
                    return Some(event);
                }
                if state.missed > 0 {
                    return Some(E::missed(std::mem::take(&mut state.missed)));
                }
                if state.closed {
                    return None;
                }
            }
            self.0.changed.notified().await;
        }
    }
}

impl<E> Drop for EventReceiver<E> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.closed = true;
        state.events.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq)]
    enum Told {
        Done(u32),
        Sum { of: u32, bytes: u64 },
        Passing,
        Missed(u64),
    }

    impl Queued for Told {
        type Key = u32;
        fn fate(&self) -> Fate<u32> {
            match self {
                Self::Done(_) | Self::Missed(_) => Fate::Kept,
                Self::Sum { of, .. } => Fate::Replaces(*of),
                Self::Passing => Fate::Dropped,
            }
        }
        fn absorb(&mut self, earlier: Self) {
            if let (Self::Sum { bytes, .. }, Self::Sum { bytes: before, .. }) = (self, earlier) {
                *bytes += before;
            }
        }
        fn missed(count: u64) -> Self {
            Self::Missed(count)
        }
    }

    /// A reader that reads nothing for long, then everything.
    #[tokio::test]
    async fn a_slow_reader_loses_only_what_passed() {
        let (sender, receiver) = queue();
        for _ in 0..EVENTS_WAITING {
            sender.send(Told::Passing);
        }
        for number in 0..1000 {
            sender.send(Told::Passing);
            sender.send(Told::Sum { of: number % 2, bytes: 1 });
            sender.send(Told::Done(number));
        }
        assert_eq!(receiver.0.lock().events.len(), EVENTS_WAITING + 1000 + 2);
        drop(sender);
        let mut rest = Vec::new();
        while let Some(event) = receiver.next().await {
            if event != Told::Passing {
                rest.push(event);
            }
        }
        let done: Vec<_> = rest.iter().filter(|event| matches!(event, Told::Done(_))).cloned().collect();
        assert_eq!(done, (0..1000).map(Told::Done).collect::<Vec<_>>());
        for of in [0, 1] {
            assert!(rest.contains(&Told::Sum { of, bytes: 500 }));
        }
        assert_eq!(rest.last(), Some(&Told::Missed(1000)));
    }

    #[tokio::test]
    async fn a_reader_that_is_gone_costs_nothing() {
        let (sender, receiver) = queue();
        drop(receiver);
        sender.send(Told::Done(1));
        assert!(sender.0.0.lock().events.is_empty());
    }

    #[tokio::test]
    async fn a_waiting_reader_wakes() {
        let (sender, receiver) = queue();
        let reading = tokio::spawn(async move { (receiver.next().await, receiver.next().await) });
        tokio::task::yield_now().await;
        sender.send(Told::Done(1));
        tokio::task::yield_now().await;
        drop(sender);
        assert_eq!(reading.await.unwrap(), (Some(Told::Done(1)), None));
    }
}
