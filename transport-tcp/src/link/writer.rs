//! The sending half of a link.

use std::io;
use std::iter;
use std::ops::Range;
use std::time::Duration;

use potluck_core::content::Geometry;
use potluck_core::ids::{ContentKey, LinkId};
use potluck_core::peer::{PeerInput, SendResult};
use potluck_core::wire::frame::Header;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::outbox::{Next, Outbox, OutgoingChunk};
use super::throttle::Throttle;
use crate::limits::{CREDIT_BYTES, CREDIT_BYTES_MAX, FAST_CHUNK, SENT_TOGETHER_BYTES, SMALL_CHUNK_BYTES};
use crate::store::{SourceHandle, Store};
use crate::transport::{Copying, RangeWriter};

/// A link asks anew for the file it sends from after this long, and closes it when it had nothing to send for as long: a
/// part that was sent from may have become a finished file, which others can change.
const SOURCE_KEPT: Duration = Duration::from_secs(1);
/// Bytes of padding that are written at once.
const PADDING: [u8; 4096] = [0; 4096];

/// What a link needs to send chunks.
#[derive(Clone, Debug)]
pub(crate) struct Sending {
    /// Where chunks come from.
    pub(crate) store: Store,
    /// For what cannot be sent without being read.
    pub(crate) copying: Copying,
    /// How fast chunks may go.
    pub(crate) throttle: Throttle,
    /// Where sent chunks are reported.
    pub(crate) completions: mpsc::UnboundedSender<PeerInput>,
}

/// A link's leaving chunks.
pub(super) struct Departures {
    link: LinkId,
    gear: Sending,
    /// What was sent from last, and when it was opened: most chunks come from the same content.
    source: Option<(ContentKey, Instant, SourceHandle)>,
    window: Window,
}

/// How many bytes of chunk frames a link takes ahead of its socket. From [`CREDIT_BYTES`] it grows while the socket takes
/// chunks at once, up to [`CREDIT_BYTES_MAX`], and shrinks while it does not.
struct Window(u32);

impl Window {
    /// A frame of so many bytes is out: returns what the link takes more.
    fn sent(&mut self, bytes: u32, took: Duration) -> u32 {
        let before = self.0;
        if took <= FAST_CHUNK {
            self.0 = (before + CREDIT_BYTES).min(CREDIT_BYTES_MAX);
        } else {
            self.0 = before.saturating_sub(bytes).max(CREDIT_BYTES);
        }
        bytes + self.0 - before
    }
}

/// Writes what is queued until the queue is closed and empty, then shuts the connection down.
pub(super) async fn write_link<W: RangeWriter>(
    mut writer: W,
    outbox: &Outbox,
    mut departures: Option<Departures>,
) -> io::Result<()> {
    let mut control = Vec::new();
    loop {
        let next = match timeout(SOURCE_KEPT, outbox.next(&mut control)).await {
            Ok(next) => next,
            Err(_) => {
                if let Some(departures) = &mut departures {
                    departures.source = None;
                }
                outbox.next(&mut control).await
            }
        };
        match next {
            Next::Control => {
                writer.write_all(&control).await?;
                control.clear();
            }
            Next::Chunk(chunk) => {
                let Some(departures) = &mut departures else { continue };
                if departures.is_small(&chunk) {
                    let chunks = departures.small_ones(chunk, outbox);
                    departures.send_together(&mut writer, chunks).await?;
                } else {
                    departures.send(&mut writer, chunk).await?;
                }
            }
            Next::Closed => return writer.shutdown().await,
        }
        if outbox.is_empty() {
            writer.flush().await?;
        }
    }
}

impl Departures {
    pub(super) fn new(link: LinkId, gear: Sending) -> Self {
        Self { link, gear, source: None, window: Window(CREDIT_BYTES) }
    }

    /// Sends a chunk and reports it. The file is looked at before and after: if it is not what was shared, the frame is
    /// filled up so that the link stays in frame, and the report says so.
    async fn send<W: RangeWriter>(&mut self, writer: &mut W, chunk: OutgoingChunk) -> io::Result<()> {
        let OutgoingChunk { slot, key, at } = chunk;
        let geometry = Geometry::new(key.length);
        let Some((bytes, offset)) =
            geometry.and_then(|geometry| geometry.chunk_bytes(at).zip(geometry.chunk_offset(at)))
        else {
            debug_assert!(false, "the machine sends a chunk that does not exist: {key:?} {at:?}");
            return Ok(());
        };
        let began = Instant::now();
        let mut result = SendResult::SourceChanged;
        if let Some(source) = self.source(key).await.filter(SourceHandle::unchanged) {
            let header = Header::Chunk { slot, at, bytes }.encode();
            let range = offset..offset + u64::from(bytes);
            let sent = self.send_all(writer, &header, &source, range, began).await?;
            pad(writer, u64::from(bytes).saturating_sub(sent)).await?;
            if sent == u64::from(bytes) && source.unchanged() {
                result = SendResult::Sent;
            }
        }
        if result == SendResult::SourceChanged {
            self.source = None;
        }
        let _ = self.gear.completions.send(PeerInput::ChunkSent { link: self.link, key, at, result });
        self.grant(Header::BYTES as u32 + bytes, began.elapsed());
        Ok(())
    }

    /// May it be sent with others?
    fn is_small(&self, chunk: &OutgoingChunk) -> bool {
        chunk.bytes().is_some_and(|bytes| bytes <= SMALL_CHUNK_BYTES)
            && self.gear.throttle.portion(SENT_TOGETHER_BYTES.into()).is_none()
    }

    /// A small chunk and those that wait behind it, in order.
    fn small_ones(&self, first: OutgoingChunk, outbox: &Outbox) -> Vec<OutgoingChunk> {
        let mut bytes = first.bytes().unwrap_or(0);
        let mut chunks = vec![first];
        let fits = |bytes: &mut u32, chunk: &OutgoingChunk| {
            *bytes += chunk.bytes().unwrap_or(0);
            self.is_small(chunk) && *bytes <= SENT_TOGETHER_BYTES
        };
        chunks.extend(iter::from_fn(|| outbox.next_if(|chunk| fits(&mut bytes, chunk))));
        chunks
    }

    /// Sends small chunks in one write, read by one worker. Each is reported as [`send`](Self::send) reports it.
    async fn send_together<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        chunks: Vec<OutgoingChunk>,
    ) -> io::Result<()> {
        let began = Instant::now();
        let store = self.gear.store.clone();
        let read = move || {
            let mut frames = Vec::new();
            let results = chunks.into_iter().map(|chunk| (chunk, append(&store, chunk, &mut frames)));
            (results.collect::<Vec<_>>(), frames)
        };
        let (results, frames) = self.gear.copying.workers.call(read).await;
        writer.write_all(&frames).await?;
        let mut bytes = 0;
        for (chunk, result) in results {
            let OutgoingChunk { key, at, .. } = chunk;
            let _ = self.gear.completions.send(PeerInput::ChunkSent { link: self.link, key, at, result });
            bytes += Header::BYTES as u32 + chunk.bytes().unwrap_or(0);
        }
        self.grant(bytes, began.elapsed());
        Ok(())
    }

    /// So many bytes of what was granted are sent: as many may follow, or more, or fewer.
    fn grant(&mut self, bytes: u32, took: Duration) {
        let bytes = self.window.sent(bytes, took);
        if bytes > 0 {
            let _ = self.gear.completions.send(PeerInput::Writable { link: self.link, bytes });
        }
    }

    /// Sends a frame, in portions where the rate is capped so that it takes long. Returns the bytes of the payload that there
    /// were.
    async fn send_all<W: RangeWriter>(
        &self,
        writer: &mut W,
        header: &[u8],
        source: &SourceHandle,
        range: Range<u64>,
        began: Instant,
    ) -> io::Result<u64> {
        let Some(portion) = self.gear.throttle.portion(range.end - range.start) else {
            return writer.send_range(header, source, range, &self.gear.copying).await;
        };
        let (mut at, mut head) = (range.start, header);
        while at < range.end {
            let next = range.end.min(at + portion);
            let sent = writer.send_range(head, source, at..next, &self.gear.copying).await?;
            writer.flush().await?;
            if sent < next - at {
                return Ok(at + sent - range.start);
            }
            (at, head) = (next, &[]);
            self.gear.throttle.wait(began, at - range.start).await;
        }
        Ok(range.end - range.start)
    }

    async fn source(&mut self, key: ContentKey) -> Option<SourceHandle> {
        if let Some((last, opened, source)) = &self.source
            && *last == key
            && opened.elapsed() < SOURCE_KEPT
        {
            return Some(source.clone());
        }
        let store = self.gear.store.clone();
        let source = self.gear.copying.workers.call(move || store.source(key)).await?;
        self.source = Some((key, Instant::now(), source.clone()));
        Some(source)
    }
}

/// Appends a chunk's frame, unless its source is gone. What the source lacks is filled with zeros.
fn append(store: &Store, chunk: OutgoingChunk, frames: &mut Vec<u8>) -> SendResult {
    let OutgoingChunk { slot, key, at } = chunk;
    let offset = Geometry::new(key.length).and_then(|geometry| geometry.chunk_offset(at));
    let source = store.source(key).filter(SourceHandle::unchanged);
    let (Some(bytes), Some(offset), Some(source)) = (chunk.bytes(), offset, source) else {
        return SendResult::SourceChanged;
    };
    frames.extend_from_slice(&Header::Chunk { slot, at, bytes }.encode());
    let start = frames.len();
    frames.resize(start + bytes as usize, 0);
    let read = source.read_at(offset, &mut frames[start..]).unwrap_or_else(|error| {
        tracing::warn!(%error, "a shared file cannot be read");
        0
    });
    if read == bytes as usize && source.unchanged() { SendResult::Sent } else { SendResult::SourceChanged }
}

async fn pad<W: AsyncWrite + Unpin>(writer: &mut W, mut bytes: u64) -> io::Result<()> {
    while bytes > 0 {
        let portion = PADDING.len().min(usize::try_from(bytes).unwrap_or(usize::MAX));
        writer.write_all(&PADDING[..portion]).await?;
        bytes -= portion as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_follows_the_socket_and_its_credit_adds_up() {
        let mut window = Window(CREDIT_BYTES);
        let mut credit = CREDIT_BYTES;
        let mut send = |bytes: u32, millis| {
            credit = credit - bytes + window.sent(bytes, Duration::from_millis(millis));
            assert_eq!(credit, window.0);
            credit
        };
        for chunks in [2, 3, 4, 4, 4] {
            assert_eq!(send(CREDIT_BYTES, 1), chunks * CREDIT_BYTES);
        }
        for chunks in [3, 2, 1, 1] {
            assert_eq!(send(CREDIT_BYTES, 100), chunks * CREDIT_BYTES);
        }
        assert_eq!(send(1000, 100), CREDIT_BYTES);
        assert_eq!(send(1000, 1), 2 * CREDIT_BYTES);
        assert_eq!(send(1000, 100), 2 * CREDIT_BYTES - 1000);
    }
}
