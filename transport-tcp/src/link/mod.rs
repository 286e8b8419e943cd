//! A link: one connection, a task that reads it and a task that writes it.
//!
//! ```text
//!             inbound (bounded: a full one stops the reader)
//!   reader ────────────────────────────────────────────────▶ actor
//!     │ expected chunks      completions                      │
//!     └─▶ pool ─▶ workers ───────────────────────────────────▶│
//!                                                             ▼
//!   writer ◀──────────────────── outbox (bounded by credit and bytes)
//! ```
//!
//! The reading task owns the writing one: when it ends, or is aborted, nothing of the link is left. It reports the end of a
//! link once, after everything that came over it; a link that the actor closed reports nothing.

mod bodies;
mod expect;
mod outbox;
mod reader;
mod throttle;
mod writer;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use potluck_core::ids::LinkId;
use potluck_core::peer::CloseReason;
use potluck_core::wire::WireMessage;
use tokio::io::AsyncRead;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

pub(crate) use bodies::{Bodies, Share};
pub(crate) use expect::{Expectations, Landings};
pub(crate) use outbox::{Outbox, OutgoingChunk};
pub(crate) use reader::Receiving;
pub(crate) use throttle::Throttle;
pub(crate) use writer::Sending;

use crate::framing::FrameReader;
use crate::limits::{LINGER, LINGER_READING};
use crate::transport::RangeWriter;
use reader::{Arrivals, Messages, read_link};
use writer::{Departures, write_link};

/// What a link tells the actor.
#[derive(Debug)]
pub(crate) enum FromLink<I> {
    /// A message came.
    Message(I),
    /// It ended; nothing more comes from it.
    Down(CloseReason),
}

/// The actor's end of a link.
#[derive(Clone, Debug, Default)]
pub(crate) struct LinkHandle {
    /// What is to be sent.
    pub(crate) outbox: Arc<Outbox>,
    /// What may be received.
    pub(crate) expectations: Arc<Expectations>,
    closing: CancellationToken,
    /// Where the bodies of large messages find room.
    bodies: Option<Arc<Share>>,
}

impl LinkHandle {
    /// One of several links that count together what waits to be sent, and what comes.
    pub(crate) fn beside(waiting_in_all: Arc<AtomicUsize>, bodies: Share) -> Self {
        let outbox = Arc::new(Outbox::beside(waiting_in_all));
        Self { outbox, bodies: Some(Arc::new(bodies)), ..Self::default() }
    }

    /// Ends the link after what is queued. It reports nothing any more.
    pub(crate) fn close(&self) {
        self.outbox.close();
        self.closing.cancel();
    }
}

/// What a link carries chunks with; links to a tracker have none of it.
#[derive(Clone, Debug)]
pub(crate) struct ChunkGear {
    pub(crate) receiving: Receiving,
    pub(crate) sending: Sending,
}

/// Runs a link to its end.
pub(crate) async fn run_link<R, W, M, I>(
    link: LinkId,
    (reader, writer): (R, W),
    handle: LinkHandle,
    wrap: fn(LinkId, M) -> I,
    inbound: mpsc::Sender<(LinkId, FromLink<I>)>,
    chunks: Option<ChunkGear>,
) where
    R: AsyncRead + Unpin,
    W: RangeWriter,
    M: WireMessage,
{
    let LinkHandle { outbox, expectations, closing, bodies } = handle;
    let landing = TaskTracker::new();
    let (receiving, sending) = chunks.map(|gear| (gear.receiving, gear.sending)).unzip();
    let arrivals = receiving.map(|gear| Arrivals::new(link, gear, expectations, landing.clone()));
    let departures = sending.map(|gear| Departures::new(link, gear));
    let mut writing =
        AbortOnDropHandle::new(tokio::spawn(async move { write_link(writer, &outbox, departures).await }));
    let mut frames = FrameReader::new(reader);
    let messages = Messages { link, wrap, inbound, bodies };
    let ended = {
        let mut reading = std::pin::pin!(read_link(&mut frames, &messages, arrivals));
        tokio::select! {
            biased;
            () = closing.cancelled() => None,
            reason = &mut reading => Some(reason),
            // What the far end had sent before the connection broke may still be there to be read.
            _ = &mut writing => Some(timeout(LINGER, reading).await.unwrap_or(CloseReason::Broken)),
        }
    };
    match ended {
        Some(reason) => {
            drop(writing);
            landing.close();
            landing.wait().await;
            let _ = messages.inbound.send((link, FromLink::Down(reason))).await;
        }
        None => {
            let _ = timeout(LINGER, writing).await;
            // A connection that is dropped with bytes unread may be reset, and what was sent last be lost.
            let _ = timeout(LINGER_READING, frames.drain()).await;
        }
    }
}

#[cfg(test)]
mod tests;
