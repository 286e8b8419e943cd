//! What waits to be sent on one link.
//!
//! Two queues with a bound each. Control messages are encoded where they are queued and leave in one write, however many
//! there are. Chunks wait behind them: at every chunk boundary the control messages go first, each kind in its own order.
//! Chunks are bounded by the credit that the machine was granted, control messages by [`CONTROL_BYTES_MAX`]: a link that
//! lets them pile up is closed. There may be a great many links whose far ends read nothing; so what waits on all of them has
//! a bound as well ([`CONTROL_BYTES_IN_ALL`]), beyond which a link may let little pile up.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use potluck_core::content::Geometry;
use potluck_core::ids::{ChunkAddr, ContentKey, Slot};
use potluck_core::wire::WireMessage;
use potluck_core::wire::frame::encode_message;
use tokio::sync::Notify;

use crate::limits::{CONTROL_BYTES_IN_ALL, CONTROL_BYTES_MAX, CONTROL_BYTES_SCARCE};

/// Capacity that an emptied queue keeps, so that ten thousand quiet links do not hold what they once needed.
const CAPACITY_KEPT: usize = 16 * 1024;

/// A chunk that the machine wants sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutgoingChunk {
    pub(crate) slot: Slot,
    pub(crate) key: ContentKey,
    pub(crate) at: ChunkAddr,
}

impl OutgoingChunk {
    /// Its length; `None`: the content has no such chunk.
    pub(crate) fn bytes(&self) -> Option<u32> {
        Geometry::new(self.key.length)?.chunk_bytes(self.at)
    }
}

/// What the writer is to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Write the control bytes that were put into its buffer.
    Control,
    /// Send this chunk.
    Chunk(OutgoingChunk),
    /// Everything was sent and nothing more will come.
    Closed,
}

/// The queue between the actor, which fills it, and the link's writer, which empties it.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: Mutex<Waiting>,
    filled: Notify,
    /// Control bytes that wait on all links.
    in_all: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct Waiting {
    control: Vec<u8>,
    /// Control bytes that the writer has taken and not written yet.
    taken: usize,
    chunks: VecDeque<OutgoingChunk>,
    closed: bool,
}

/// The link does not take what is sent to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

impl Outbox {
    /// One of several that count together what waits.
    pub(crate) fn beside(in_all: Arc<AtomicUsize>) -> Self {
        Self { waiting: Mutex::default(), filled: Notify::new(), in_all }
    }

    /// Queues a control message.
    pub(crate) fn push<M: WireMessage>(&self, msg: &M) -> Result<(), Overflow> {
        let mut waiting = self.lock();
        let before = waiting.control.len();
        encode_message(msg, &mut waiting.control);
        let more = waiting.control.len() - before;
        let in_all = self.in_all.fetch_add(more, Ordering::Relaxed) + more;
        let scarce = in_all > CONTROL_BYTES_IN_ALL && before + waiting.taken > CONTROL_BYTES_SCARCE;
        if waiting.control.len() > CONTROL_BYTES_MAX || scarce {
            return Err(Overflow);
        }
        drop(waiting);
        self.filled.notify_one();
        Ok(())
    }

    /// Queues a chunk.
    pub(crate) fn push_chunk(&self, chunk: OutgoingChunk) {
        self.lock().chunks.push_back(chunk);
        self.filled.notify_one();
    }

    /// Lets the writer end after what is queued.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
    }

    /// Is nothing queued?
    pub(crate) fn is_empty(&self) -> bool {
        let waiting = self.lock();
        waiting.control.is_empty() && waiting.chunks.is_empty()
    }

    /// What to do next; `control`, an empty buffer, takes the waiting control bytes. Cancel safe. For one caller.
    pub(crate) async fn next(&self, control: &mut Vec<u8>) -> Next {
        loop {
            {
                let mut waiting = self.lock();
                // What was taken before is written.
                self.in_all.fetch_sub(std::mem::take(&mut waiting.taken), Ordering::Relaxed);
                if !waiting.control.is_empty() {
                    control.shrink_to(CAPACITY_KEPT);
                    std::mem::swap(&mut waiting.control, control);
                    waiting.taken = control.len();
                    return Next::Control;
                }
                if let Some(chunk) = waiting.chunks.pop_front() {
                    return Next::Chunk(chunk);
                }
                if waiting.closed {
                    return Next::Closed;
                }
            }
            self.filled.notified().await;
        }
    }

    /// The next chunk, if it is queued already and wanted.
    pub(crate) fn next_if(&self, wanted: impl FnOnce(&OutgoingChunk) -> bool) -> Option<OutgoingChunk> {
        let mut waiting = self.lock();
        waiting.chunks.front().is_some_and(wanted).then(|| waiting.chunks.pop_front())?
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let waiting = self.lock();
        self.in_all.fetch_sub(waiting.control.len() + waiting.taken, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use potluck_core::ids::{ContentId, PieceIndex};
    use potluck_core::wire::peer::PeerMessage;

    use super::*;

    fn chunk(piece: u32) -> OutgoingChunk {
        let key = ContentKey { id: ContentId([1; 32]), length: 1 };
        OutgoingChunk { slot: Slot(1), key, at: ChunkAddr { piece: PieceIndex(piece), chunk: 0 } }
    }

    #[tokio::test]
    async fn control_goes_first_and_together_then_chunks_in_order_then_the_end() {
        let outbox = Outbox::default();
        outbox.push_chunk(chunk(1));
        outbox.push_chunk(chunk(2));
        let mut expected = Vec::new();
        for nonce in [1, 2] {
            outbox.push(&PeerMessage::Ping { nonce }).unwrap();
            encode_message(&PeerMessage::Ping { nonce }, &mut expected);
        }
        outbox.close();
        let mut control = Vec::new();
        assert_eq!(outbox.next(&mut control).await, Next::Control);
        assert_eq!(control, expected);
        control.clear();
        assert_eq!(outbox.next(&mut control).await, Next::Chunk(chunk(1)));
        assert_eq!(outbox.next(&mut control).await, Next::Chunk(chunk(2)));
        assert_eq!(outbox.next(&mut control).await, Next::Closed);
        assert!(outbox.is_empty());
    }

    #[tokio::test]
    async fn a_far_end_that_takes_nothing_overflows() {
        let outbox = Outbox::default();
        let slice = PeerMessage::Bitfield { slot: Slot(1), first: 0, bits: vec![0; 32 * 1024] };
        let pushed = (0..10_000).take_while(|_| outbox.push(&slice).is_ok()).count();
        assert_eq!(pushed, 63, "the headers take the room of the 64th");
    }

    #[tokio::test]
    async fn however_many_far_ends_take_nothing_what_waits_for_all_of_them_is_bounded() {
        let in_all = Arc::new(AtomicUsize::new(0));
        let counted = || in_all.load(Ordering::Relaxed);
        let slice = PeerMessage::Bitfield { slot: Slot(1), first: 0, bits: vec![0; 32 * 1024] };
        let outboxes: Vec<Outbox> = (0..1000).map(|_| Outbox::beside(Arc::clone(&in_all))).collect();
        let overflows = |outbox: &&Outbox| (0..50).any(|_| outbox.push(&slice).is_err());
        let full = outboxes.iter().filter(overflows).count();
        assert!(full > 900, "{full}");
        assert!(counted() < CONTROL_BYTES_IN_ALL + 1000 * 80 * 1024, "{}", counted());
        let fresh = Outbox::beside(Arc::clone(&in_all));
        fresh.push(&slice).unwrap();
        let mut control = Vec::new();
        assert_eq!(fresh.next(&mut control).await, Next::Control);
        assert_eq!(fresh.push(&slice), Err(Overflow), "what is being written counts");
        drop(outboxes);
        fresh.push(&slice).unwrap();
        drop(fresh);
        assert_eq!(counted(), 0);
    }
}
