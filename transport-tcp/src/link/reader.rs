//! The receiving half of a link.

use std::ops::Range;
use std::sync::Arc;

use potluck_core::content::chunk_value;
use potluck_core::ids::{ChunkAddr, LinkId, Slot};
use potluck_core::peer::{ChunkFault, CloseReason, Misbehaviour, PeerInput};
use potluck_core::wire::WireMessage;
use potluck_core::wire::frame::{self, Handling, Header};
use tokio::io::AsyncRead;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use super::FromLink;
use super::bodies::{Room, Share};
use super::expect::{Claim, Expectations, Expected};
use super::throttle::Throttle;
use crate::framing::{BUFFER_BYTES, FrameReader};
use crate::lanes::Lanes;
use crate::limits::{BUSY_CHUNK, RECEIVING_EVERY, SMALL_CHUNK_BYTES, UNASKED_CHUNKS_MAX};
use crate::pool::{Buffer, BufferPool};
use crate::store::Store;
use crate::together::Together;
use crate::workers::Workers;

/// Where the messages of a link go.
pub(super) struct Messages<M, I> {
    pub(super) link: LinkId,
    pub(super) wrap: fn(LinkId, M) -> I,
    pub(super) inbound: mpsc::Sender<(LinkId, FromLink<I>)>,
    /// Where the bodies of large ones find room.
    pub(super) bodies: Option<Arc<Share>>,
}

impl<M: WireMessage, I> Messages<M, I> {
    /// Room for a body that does not fit into the link's own buffer; does something first if it has to wait for that.
    async fn room(&self, kind: u8, bytes: u32, before_waiting: impl FnOnce()) -> Option<Room> {
        let is_large = bytes as usize > BUFFER_BYTES;
        let bodies = self.bodies.as_ref().filter(|_| is_large)?;
        // Others are refused, or passed over.
        if frame::handling::<M>(kind, bytes) != Ok(Handling::Decode) {
            return None;
        }
        if let Some(room) = bodies.try_take(bytes) {
            return Some(room);
        }
        before_waiting();
        Some(bodies.take(bytes).await)
    }

    /// Hands a message over; does something first if it has to wait for that. False: nobody is there any more.
    async fn tell(&self, input: I, before_waiting: impl FnOnce()) -> bool {
        match self.inbound.try_send((self.link, FromLink::Message(input))) {
            Ok(()) => true,
            Err(TrySendError::Closed(_)) => false,
            Err(TrySendError::Full(message)) => {
                before_waiting();
                self.inbound.send(message).await.is_ok()
            }
        }
    }
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
    /// Small chunks that came one right after the other.
    small: Option<SmallOnes>,
}

/// Small chunks in one buffer, each with the right to be written.
struct SmallOnes {
    buffer: Buffer,
    filled: usize,
    chunks: Vec<(Expected, ChunkAddr, Range<usize>)>,
}

/// Reads a link until it ends, and says why it did. Without `arrivals` a chunk is out of place.
pub(super) async fn read_link<R: AsyncRead + Unpin, M: WireMessage, I>(
    frames: &mut FrameReader<R>,
    messages: &Messages<M, I>,
    mut arrivals: Option<Arrivals>,
) -> CloseReason {
    loop {
        land_unless(frames.holds(Header::BYTES), &mut arrivals);
        let header = match frames.header().await {
            Err(reason) => return reason,
            Ok(header) => header,
        };
        let (Header::Control { bytes, .. } | Header::Chunk { bytes, .. }) = header;
        land_unless(frames.holds(bytes as usize), &mut arrivals);
        // Kept until the actor has the message.
        let mut room = None;
        let read = match header {
            Header::Control { kind, bytes } => {
                room = messages.room(kind, bytes, || land_unless(false, &mut arrivals)).await;
                frames.message::<M>(kind, bytes).await
            }
            Header::Chunk { slot, at, bytes } => match &mut arrivals {
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
                if !messages.tell(input, || land_unless(false, &mut arrivals)).await {
                    return CloseReason::Leaving;
                }
                drop(room);
            }
        }
    }
}

/// Lets small chunks land before something is waited for: it may not come, and another link may wait for them meanwhile.
fn land_unless(is_here: bool, arrivals: &mut Option<Arrivals>) {
    if !is_here && let Some(arrivals) = arrivals {
        arrivals.land_small_ones();
    }
}

impl Arrivals {
    pub(super) fn new(
        link: LinkId,
        gear: Receiving,
        expectations: Arc<Expectations>,
        landing: TaskTracker,
    ) -> Self {
        Self { link, gear, expectations, landing, unasked: 0, small: None }
    }

    /// Takes the chunk that follows its header: reads it and lets it be written if it is expected, else passes over it.
    pub(super) async fn receive<R: AsyncRead + Unpin>(
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
        let is_small = bytes <= SMALL_CHUNK_BYTES && self.gear.throttle.portion(bytes.into()).is_none();
        frames.read_ahead(is_small);
        if is_small {
            return self.receive_small(frames, expected, slot, at, bytes as usize).await;
        }
        self.land_small_ones();
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
        self.claim(expected, slot, at, buffer, bytes as usize).await;
        Ok(())
    }

    /// Takes a small chunk. It lands with those that came with it: before anything is waited for.
    async fn receive_small<R: AsyncRead + Unpin>(
        &mut self,
        frames: &mut FrameReader<R>,
        expected: Expected,
        slot: Slot,
        at: ChunkAddr,
        bytes: usize,
    ) -> Result<(), CloseReason> {
        if self.small.as_ref().is_some_and(|small| small.filled + bytes > small.buffer.len()) {
            self.land_small_ones();
        }
        if self.small.is_none() {
            let buffer = self.gear.pool.take().await;
            self.small = Some(SmallOnes { buffer, filled: 0, chunks: Vec::new() });
        }
        let Some(small) = &mut self.small else { return Ok(()) };
        let range = small.filled..small.filled + bytes;
        frames.read_small(&mut small.buffer[range.clone()]).await?;
        match self.expectations.claim(slot, at, expected.op) {
            Claim::Granted => {
                small.filled = range.end;
                small.chunks.push((expected, at, range));
            }
            Claim::Gone => {}
            Claim::Busy => {
                // By one of these, perhaps.
                let copy = small.buffer[range].to_vec();
                self.land_small_ones();
                let mut buffer = self.gear.pool.take().await;
                buffer[..bytes].copy_from_slice(&copy);
                self.claim(expected, slot, at, buffer, bytes).await;
            }
        }
        Ok(())
    }

    /// Lets a whole chunk be written if it is still wanted.
    async fn claim(&self, expected: Expected, slot: Slot, at: ChunkAddr, buffer: Buffer, bytes: usize) {
        loop {
            match self.expectations.claim(slot, at, expected.op) {
                Claim::Granted => return self.land(expected, at, buffer, bytes),
                Claim::Gone => return,
                Claim::Busy => sleep(BUSY_CHUNK).await,
            }
        }
    }

    /// Hashes and writes the small chunks that came so far, and reports them.
    fn land_small_ones(&mut self) {
        let Some(SmallOnes { buffer, chunks, .. }) = self.small.take() else { return };
        let (store, token) = (self.gear.store.clone(), self.landing.token());
        let told = Together::new(self.gear.completions.clone());
        self.gear.hashers.run(move || {
            for (Expected { op, place, geometry, landing }, at, range) in chunks {
                let bytes = &buffer[range];
                let written = |value| {
                    let written = store.write_chunk(place, at, bytes);
                    written.map(|()| value).map_err(ChunkFault::Storage)
                };
                let value = chunk_value(&geometry, at, bytes).ok_or(ChunkFault::WrongLength);
                let result = value.and_then(written);
                landing.written(at.chunk);
                told.send(PeerInput::ChunkArrived { op, at, result });
            }
            drop(buffer);
            drop(told);
            drop(token);
        });
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

impl Drop for Arrivals {
    /// The link ends: what came over it lands all the same.
    fn drop(&mut self) {
        self.land_small_ones();
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
