//! The sending half of a link.

use std::io;
use std::time::Duration;

use potluck_core::content::Geometry;
use potluck_core::ids::{ContentKey, LinkId};
use potluck_core::peer::{PeerInput, SendResult};
use potluck_core::wire::frame::Header;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::outbox::{Next, Outbox, OutgoingChunk};
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
    /// Where sent chunks are reported.
    pub(crate) completions: mpsc::UnboundedSender<PeerInput>,
}

/// A link's leaving chunks.
pub(super) struct Departures {
    link: LinkId,
    gear: Sending,
    /// What was sent from last, and when it was opened: most chunks come from the same content.
    source: Option<(ContentKey, Instant, SourceHandle)>,
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
                if let Some(departures) = &mut departures {
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
        Self { link, gear, source: None }
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
        let mut result = SendResult::SourceChanged;
        if let Some(source) = self.source(key).await.filter(SourceHandle::unchanged) {
            let header = Header::Chunk { slot, at, bytes }.encode();
            let range = offset..offset + u64::from(bytes);
            let sent = writer.send_range(&header, &source, range, &self.gear.copying).await?;
            pad(writer, u64::from(bytes).saturating_sub(sent)).await?;
            if sent == u64::from(bytes) && source.unchanged() {
                result = SendResult::Sent;
            }
        }
        if result == SendResult::SourceChanged {
            self.source = None;
        }
        let _ = self.gear.completions.send(PeerInput::ChunkSent { link: self.link, key, at, result });
        let bytes = Header::BYTES as u32 + bytes;
        let _ = self.gear.completions.send(PeerInput::Writable { link: self.link, bytes });
        Ok(())
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

async fn pad<W: AsyncWrite + Unpin>(writer: &mut W, mut bytes: u64) -> io::Result<()> {
    while bytes > 0 {
        let portion = PADDING.len().min(usize::try_from(bytes).unwrap_or(usize::MAX));
        writer.write_all(&PADDING[..portion]).await?;
        bytes -= portion as u64;
    }
    Ok(())
}
