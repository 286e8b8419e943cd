//! The receiving half of a link.

use std::sync::Arc;

use potluck_core::content::chunk_value;
use potluck_core::ids::{ChunkAddr, LinkId, Slot};
use potluck_core::peer::{ChunkFault, CloseReason, Misbehaviour, PeerInput};
use potluck_core::wire::WireMessage;
use potluck_core::wire::frame::Header;
use tokio::io::AsyncRead;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use super::FromLink;
use super::expect::{Claim, Expectations, Expected};
use super::throttle::Throttle;
use crate::framing::FrameReader;
use crate::lanes::Lanes;
use crate::limits::{BUSY_CHUNK, RECEIVING_EVERY, UNASKED_CHUNKS_MAX};
use crate::pool::{Buffer, BufferPool};
use crate::store::Store;
use crate::workers::Workers;

/// Where the messages of a link go.
pub(super) struct Messages<M, I> {
    pub(super) link: LinkId,
    pub(super) wrap: fn(LinkId, M) -> I,
    pub(super) inbound: mpsc::Sender<(LinkId, FromLink<I>)>,
}

/// What a link needs to receive chunks.
#[derive(Clone, Debug)]
pub(crate) struct Receiving {
    /// What it reads into; while there is no buffer, it does not read.
    pub(crate) pool: BufferPool,
    /// Who hashes and writes.
    pub(crate) hashers: Workers,
    /// Whose turn it is to write, file by file: a system lets one write a file at a time, and the others spin.
    pub(crate) writing: Lanes,
    /// Where to.
    pub(crate) store: Store,
    /// How fast chunks may come.
    pub(crate) throttle: Throttle,
    /// Where arrivals are reported.
    pub(crate) completions: mpsc::UnboundedSender<PeerInput>,
}

/// A link's arriving chunks.
pub(super) struct Arrivals {
    pub(super) link: LinkId,
    pub(super) gear: Receiving,
    pub(super) expectations: Arc<Expectations>,
    /// Chunks that are being hashed and written.
    pub(super) landing: TaskTracker,
    unasked: usize,
}

/// Reads a link until it ends, and says why it did. Without `arrivals` a chunk is out of place.
pub(super) async fn read_link<R: AsyncRead + Unpin, M: WireMessage, I>(
    frames: &mut FrameReader<R>,
    messages: &Messages<M, I>,
    mut arrivals: Option<Arrivals>,
) -> CloseReason {
    loop {
        let read = match frames.header().await {
            Err(reason) => return reason,
            Ok(Header::Control { kind, bytes }) => frames.message::<M>(kind, bytes).await,
            Ok(Header::Chunk { slot, at, bytes }) => match &mut arrivals {
                Some(arrivals) => arrivals.receive(frames, slot, at, bytes).await.map(|()| None),
                None => Err(CloseReason::Misbehaved(Misbehaviour::OutOfPlace)),
            },
        };
        match read {
            Err(reason) => return reason,
            Ok(None) => {}
            Ok(Some(message)) => {
                tracing::debug!(link = %messages.link, message = message.name(), "received");
                let input = (messages.wrap)(messages.link, message);
                if messages.inbound.send((messages.link, FromLink::Message(input))).await.is_err() {
                    return CloseReason::Leaving;
                }
            }
        }
    }
}

impl Arrivals {
    pub(super) fn new(
        link: LinkId,
        gear: Receiving,
        expectations: Arc<Expectations>,
        landing: TaskTracker,
    ) -> Self {
        Self { link, gear, expectations, landing, unasked: 0 }
    }

    /// Takes the chunk that follows its header: reads it and lets it be written if it is expected, else passes over it.
    async fn receive<R: AsyncRead + Unpin>(
        &mut self,
        frames: &mut FrameReader<R>,
        slot: Slot,
        at: ChunkAddr,
        bytes: u32,
    ) -> Result<(), CloseReason> {
        let Some(expected) = self.expectations.find(slot, at) else {
            self.count_unexpected()?;
            return frames.skip(bytes).await;
        };
        if expected.geometry.chunk_bytes(at) != Some(bytes) {
            self.expectations.give_up(slot, at, expected.op);
            self.report(PeerInput::ChunkArrived {
                op: expected.op,
                at,
                result: Err(ChunkFault::WrongLength),
            });
            return frames.skip(bytes).await;
        }
        let mut buffer = self.gear.pool.take().await;
        let mut pace = Pace { told: Instant::now(), bytes: 0 };
        let body = &mut buffer[..bytes as usize];
        let mut told = |read| {
            if let Some(bytes) = pace.add(read) {
                self.report(PeerInput::Receiving { link: self.link, bytes });
            }
        };
        match self.gear.throttle.portion(bytes.into()) {
            None => frames.read_exact(body, told).await?,
            Some(portion) => {
                let (began, mut read) = (Instant::now(), 0);
                for part in body.chunks_mut(portion as usize) {
                    frames.read_exact(part, &mut told).await?;
                    read += part.len() as u64;
                    self.gear.throttle.wait(began, read).await;
                }
            }
        }
        loop {
            match self.expectations.claim(slot, at, expected.op) {
                Claim::Granted => break self.land(expected, at, buffer, bytes as usize),
                Claim::Gone => break,
                Claim::Busy => sleep(BUSY_CHUNK).await,
            }
        }
        Ok(())
    }

    /// Hashes a chunk while it is in the cache, writes it once at its position, and reports it. While one worker writes to
    /// a file, others leave to it what they hashed for the same file, and hash on.
    fn land(&self, expected: Expected, at: ChunkAddr, buffer: Buffer, bytes: usize) {
        let (store, completions) = (self.gear.store.clone(), self.gear.completions.clone());
        let (writing, token) = (self.gear.writing.clone(), self.landing.token());
        self.gear.hashers.run(move || {
            let Expected { op, place, geometry, landing } = expected;
            let value = chunk_value(&geometry, at, &buffer[..bytes]).ok_or(ChunkFault::WrongLength);
            writing.run(place, move || {
                let result = value.and_then(|value| {
                    let written = store.write_chunk(place, at, &buffer[..bytes]);
                    written.map(|()| value).map_err(ChunkFault::Storage)
                });
                landing.written(at.chunk);
                drop(buffer);
                // The actor is gone: so is everybody who would care.
                let _ = completions.send(PeerInput::ChunkArrived { op, at, result });
                drop(token);
            });
        });
    }

    fn count_unexpected(&mut self) -> Result<(), CloseReason> {
        if !self.expectations.tolerate() {
            self.unasked += 1;
        }
        if self.unasked > UNASKED_CHUNKS_MAX {
            return Err(CloseReason::Misbehaved(Misbehaviour::TooMuch));
        }
        Ok(())
    }

    fn report(&self, input: PeerInput) {
        let _ = self.gear.completions.send(input);
    }
}

/// Counts the bytes of a chunk that takes its time.
struct Pace {
    told: Instant,
    bytes: u32,
}

impl Pace {
    /// Adds bytes; returns those to be told of, when it is time.
    fn add(&mut self, bytes: usize) -> Option<u32> {
        self.bytes += bytes as u32;
        let now = Instant::now();
        if now.duration_since(self.told) < RECEIVING_EVERY {
            return None;
        }
        self.told = now;
        Some(std::mem::take(&mut self.bytes))
    }
}
