//! Events on their way to a reader that may be slow or stand still, within a bound and without losing what matters.
//!
//! While few events wait, all are kept in order. When many do, each is treated by its [`Fate`]: of news of passing interest
//! the oldest are dropped and counted, what supersedes an earlier event takes its place, what must be known is kept. What
//! must be known is bounded by what the reader itself began (downloads, shares), so all of it is bounded. However much
//! waits, an event costs no search.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::limits::EVENTS_WAITING;

/// What becomes of an event when the reader is slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate<K> {
    /// It is kept.
    Kept,
    /// It takes the place of a waiting event of the same key, see [`Queued::absorb`]. Keys are bounded.
    Replaces(K),
    /// Of this sort [`EVENTS_WAITING`] are kept, the newest; what is dropped is counted. Each sort has room of its own, so that
    /// much of one does not displace another.
    Passing(K),
}

/// An event that can be queued.
pub(crate) trait Queued: Sized {
    /// What tells which events supersede each other, and which are of a sort.
    type Key: Eq + Hash;
    /// What becomes of it when the reader is slow.
    fn fate(&self) -> Fate<Self::Key>;
    /// How many pieces of news it is, if it is of passing interest.
    fn weight(&self) -> usize {
        1
    }
    /// Takes up what an earlier event of the same key told and the reader has not read. Returns how much of that the reader
    /// will never hear of.
    fn absorb(&mut self, earlier: Self) -> u64;
    /// The event that tells of dropped ones.
    fn missed(count: u64) -> Self;
}

/// Makes a queue. The reader sees the end when every sender is gone.
pub(crate) fn queue<E: Queued>() -> (EventSender<E>, EventReceiver<E>) {
    let queue = Arc::new(Queue { state: Mutex::new(State::default()), changed: Notify::new() });
    (EventSender(Arc::new(Sending(Arc::clone(&queue)))), EventReceiver(queue))
}

struct Queue<E: Queued> {
    state: Mutex<State<E>>,
    changed: Notify,
}

/// Invariant: `newest` and `sorts` name waiting events only; each waiting event of passing interest stands in its sort.
struct State<E: Queued> {
    /// What waits, in order, under numbers that count up.
    events: BTreeMap<u64, E>,
    last: u64,
    /// The number of the newest waiting event of each key.
    newest: HashMap<E::Key, u64>,
    sorts: HashMap<E::Key, Sort>,
    missed: u64,
    /// The reader is told that it missed something after it has read up to here: what waited when the first was dropped. So it
    /// is told in its place, and not with every event while it stays slow.
    told_after: u64,
    /// No sender, or no reader, is left.
    closed: bool,
}

/// The waiting events of one sort.
#[derive(Default)]
struct Sort {
    /// Their numbers and weights, the oldest first.
    waiting: VecDeque<(u64, usize)>,
    weight: usize,
}

impl<E: Queued> Default for State<E> {
    fn default() -> Self {
        Self {
            events: BTreeMap::new(),
            last: 0,
            newest: HashMap::new(),
            sorts: HashMap::new(),
            missed: 0,
            told_after: 0,
            closed: false,
        }
    }
}

impl<E: Queued> State<E> {
    fn push(&mut self, mut event: E) {
        if self.closed {
            return;
        }
        let number = self.last + 1;
        match event.fate() {
            Fate::Kept => {}
            Fate::Replaces(key) => {
                let before = self.newest.insert(key, number);
                if self.events.len() >= EVENTS_WAITING
                    && let Some(earlier) = before.and_then(|number| self.events.remove(&number))
                {
                    let missed = event.absorb(earlier);
                    self.miss(missed);
                }
            }
            Fate::Passing(key) => {
                let sort = self.sorts.entry(key).or_default();
                let weight = event.weight();
                let mut missed = 0;
                while sort.weight + weight > EVENTS_WAITING
                    && let Some((oldest, freed)) = sort.waiting.pop_front()
                {
                    self.events.remove(&oldest);
                    sort.weight -= freed;
                    missed += freed as u64;
                }
                sort.waiting.push_back((number, weight));
                sort.weight += weight;
                self.miss(missed);
            }
        }
        self.events.insert(number, event);
        self.last = number;
    }

    fn miss(&mut self, count: u64) {
        if self.missed == 0 {
            self.told_after = self.last;
        }
        self.missed += count;
    }

    fn pop(&mut self) -> Option<E> {
        let next = self.events.first_key_value().map(|(number, _)| *number);
        if self.missed > 0 && next.is_none_or(|next| next > self.told_after) {
            return Some(E::missed(std::mem::take(&mut self.missed)));
        }
        let (number, event) = self.events.pop_first()?;
        match event.fate() {
            Fate::Kept => {}
            Fate::Replaces(key) => {
                if self.newest.get(&key) == Some(&number) {
                    self.newest.remove(&key);
                }
            }
            Fate::Passing(key) => {
                if let Some(sort) = self.sorts.get_mut(&key)
                    && let Some((_, freed)) = sort.waiting.pop_front()
                {
                    sort.weight -= freed;
                }
            }
        }
        Some(event)
    }
}

impl<E: Queued> Queue<E> {
    fn lock(&self) -> MutexGuard<'_, State<E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Queues events; never waits. Cheap to clone.
pub(crate) struct EventSender<E: Queued>(Arc<Sending<E>>);

struct Sending<E: Queued>(Arc<Queue<E>>);

impl<E: Queued> Clone for EventSender<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<E: Queued> Drop for Sending<E> {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.changed.notify_one();
    }
}

impl<E: Queued> EventSender<E> {
    /// Queues one event. After the reader is gone it goes nowhere.
    pub(crate) fn send(&self, event: E) {
        self.queue(event);
        self.wake();
    }

    /// As [`send`](Self::send), for who [wakes](Self::wake) the reader after the last of many.
    pub(crate) fn queue(&self, event: E) {
        self.0.0.lock().push(event);
    }

    /// Wakes the reader.
    pub(crate) fn wake(&self) {
        self.0.0.changed.notify_one();
    }
}

impl<E: Queued> std::fmt::Debug for EventSender<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let waiting = self.0.0.lock().events.len();
        f.debug_struct("EventSender").field("waiting", &waiting).finish_non_exhaustive()
    }
}

/// Reads events.
pub(crate) struct EventReceiver<E: Queued>(Arc<Queue<E>>);

impl<E: Queued> EventReceiver<E> {
    /// The next event; `None` when there will be no more. Cancel safe. For one caller.
    pub(crate) async fn next(&self) -> Option<E> {
        loop {
            {
                let mut state = self.0.lock();
                if let Some(event) = state.pop() {
                    return Some(event);
                }
                if state.closed {
                    return None;
                }
            }
            self.0.changed.notified().await;
        }
    }
}

impl<E: Queued> Drop for EventReceiver<E> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        *state = State { closed: true, ..State::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq)]
    enum Told {
        Done(u32),
        Sum { of: u32, bytes: u64 },
        Passing { sort: u32, number: usize },
        Rows(usize),
        Missed(u64),
    }

    const ROWS: u32 = 9;

    impl Queued for Told {
        type Key = u32;
        fn fate(&self) -> Fate<u32> {
            match self {
                Self::Done(_) | Self::Missed(_) => Fate::Kept,
                Self::Sum { of, .. } => Fate::Replaces(*of),
                Self::Passing { sort, .. } => Fate::Passing(*sort),
                Self::Rows(_) => Fate::Passing(ROWS),
            }
        }
        fn weight(&self) -> usize {
            if let Self::Rows(rows) = self { *rows } else { 1 }
        }
        fn absorb(&mut self, earlier: Self) -> u64 {
            if let (Self::Sum { bytes, .. }, Self::Sum { bytes: before, .. }) = (self, earlier) {
                *bytes += before;
            }
            0
        }
        fn missed(count: u64) -> Self {
            Self::Missed(count)
        }
    }

    async fn all(receiver: &EventReceiver<Told>) -> Vec<Told> {
        let mut all = Vec::new();
        while let Some(event) = receiver.next().await {
            all.push(event);
        }
        let state = receiver.0.lock();
        assert!(state.newest.is_empty(), "nothing is remembered of what was read");
        assert!(state.sorts.values().all(|sort| sort.waiting.is_empty() && sort.weight == 0));
        all
    }

    /// A reader that reads nothing for long, then everything.
    #[tokio::test]
    async fn a_slow_reader_loses_only_what_passed() {
        let (sender, receiver) = queue();
        for number in 0..EVENTS_WAITING {
            sender.send(Told::Passing { sort: 0, number });
        }
        for number in 0..1000 {
            sender.send(Told::Passing { sort: 0, number: EVENTS_WAITING + number as usize });
            sender.send(Told::Sum { of: number % 2, bytes: 1 });
            sender.send(Told::Done(number));
        }
        sender.send(Told::Passing { sort: 1, number: 0 });
        assert_eq!(receiver.0.lock().events.len(), EVENTS_WAITING + 1000 + 2 + 1);
        drop(sender);
        let rest = all(&receiver).await;
        let done: Vec<_> = rest.iter().filter(|event| matches!(event, Told::Done(_))).cloned().collect();
        assert_eq!(done, (0..1000).map(Told::Done).collect::<Vec<_>>());
        for of in [0, 1] {
            assert!(rest.contains(&Told::Sum { of, bytes: 500 }));
        }
        let passed: Vec<_> =
            rest.iter().filter(|event| matches!(event, Told::Passing { .. })).cloned().collect();
        let newest = (1000..EVENTS_WAITING + 1000).map(|number| Told::Passing { sort: 0, number });
        assert_eq!(passed, newest.chain([Told::Passing { sort: 1, number: 0 }]).collect::<Vec<_>>());
        let missed: Vec<_> = rest.iter().filter(|event| matches!(event, Told::Missed(_))).collect();
        assert_eq!(missed, [&Told::Missed(1000)]);
    }

    /// A reader that is always too slow is told what it missed all the same, now and then, and of all of it.
    #[tokio::test]
    async fn a_reader_that_stays_slow_is_told_now_and_then() {
        let (sender, receiver) = queue();
        let (mut read, mut missed, mut told) = (0, 0, 0);
        let mut take = |event| {
            if let Told::Missed(count) = event {
                (missed, told) = (missed + count, told + 1);
            } else {
                read += 1;
            }
        };
        for number in 0..10 * EVENTS_WAITING {
            sender.send(Told::Passing { sort: 0, number });
            if number % 2 == 0 {
                take(receiver.next().await.unwrap());
            }
        }
        drop(sender);
        all(&receiver).await.into_iter().for_each(&mut take);
        assert_eq!(read + missed, 10 * EVENTS_WAITING as u64);
        assert!((4..=8).contains(&told), "told {told} times");
    }

    #[tokio::test]
    async fn what_has_many_rows_is_dropped_by_rows() {
        let (sender, receiver) = queue();
        (0..3).for_each(|_| sender.send(Told::Rows(EVENTS_WAITING / 2)));
        sender.send(Told::Rows(2 * EVENTS_WAITING));
        sender.send(Told::Rows(1));
        drop(sender);
        assert_eq!(all(&receiver).await, [Told::Missed(7 * EVENTS_WAITING as u64 / 2), Told::Rows(1)]);
    }

    /// A reader that stands still while hundreds of thousands of things happen, each with a key of its own: telling of them
    /// costs as much as ever. (A search through what waits would take tens of billions of steps here.)
    #[tokio::test]
    async fn a_reader_that_stands_still_costs_no_search() {
        const MANY: u32 = 300_000;
        let (sender, receiver) = queue();
        for bytes in [1, 2] {
            (0..MANY).for_each(|of| sender.send(Told::Sum { of, bytes }));
        }
        drop(sender);
        let mut sums = HashMap::new();
        for event in all(&receiver).await {
            let Told::Sum { of, bytes } = event else { panic!("{event:?}") };
            *sums.entry(of).or_insert(0) += bytes;
        }
        assert_eq!(sums.len(), MANY as usize);
        assert!(sums.values().all(|bytes| *bytes == 3));
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
