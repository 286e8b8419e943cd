//! Frames out of a stream of bytes, however the stream is cut.
//!
//! Headers and short control messages come through a small buffer; the payload of a chunk goes from the transport straight
//! to where its reader wants it, apart from what the small buffer had already caught. So a chunk costs one short read and
//! as few long ones as the transport allows, and is copied once, by the kernel. Small chunks, those of a folder's many
//! small files, come through the buffer, too, which is larger then: one read has dozens of them.
//!
//! Between frames the reader waits for as long as it takes: the machine's keep-alive watches over silence. Within a frame
//! every [`PROGRESS_BYTES`] must come within [`SILENT_LINK`], so that half a frame cannot hold a buffer for long.

use potluck_core::limits::SILENT_LINK;
use potluck_core::peer::{CloseReason, Misbehaviour};
use potluck_core::wire::WireMessage;
use potluck_core::wire::frame::{self, Handling, Header};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};

use crate::limits::{PROGRESS_BYTES, SMALL_CHUNK_BYTES};

/// Bytes of the small buffer: most control messages, and a page.
pub(crate) const BUFFER_BYTES: usize = 4096;
/// Size of the buffer of a link on which small chunks come.
const AHEAD_BYTES: usize = 64 * 1024;
const _: () = assert!(SMALL_CHUNK_BYTES as usize <= AHEAD_BYTES);

/// A frame was not what it must be.
pub(crate) const GARBAGE: CloseReason = CloseReason::Misbehaved(Misbehaviour::Garbage);

/// Reads frames. After an error, or when one of its futures was dropped, it is out of frame and good for nothing.
#[derive(Debug)]
pub(crate) struct FrameReader<R> {
    reader: R,
    buffer: Vec<u8>,
    /// Bytes of the buffer that are filled ahead of what is asked for.
    ahead: usize,
    /// `start <= end <= BUFFER_BYTES`; between them lies what was read and not used.
    start: usize,
    end: usize,
}

/// How far a frame has come, and until when it must go on.
#[derive(Debug)]
struct Progress {
    until: Instant,
    bytes: usize,
}

impl Progress {
    fn begin() -> Self {
        Self { until: Instant::now() + SILENT_LINK, bytes: 0 }
    }

    fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.bytes >= PROGRESS_BYTES {
            *self = Self::begin();
        }
    }
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, buffer: vec![0; BUFFER_BYTES], ahead: BUFFER_BYTES, start: 0, end: 0 }
    }

    /// The next frame's header; waits for its first byte without limit.
    ///
    /// # Errors
    /// `Done` if the far end closed between two frames; otherwise what went wrong.
    pub(crate) async fn header(&mut self) -> Result<Header, CloseReason> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            match self.reader.read(&mut self.buffer[..self.ahead]).await {
                Ok(0) => return Err(CloseReason::Done),
                Ok(read) => self.end = read,
                Err(_) => return Err(CloseReason::Broken),
            }
        }
        self.gather(Header::BYTES).await?;
        let mut header = [0; Header::BYTES];
        header.copy_from_slice(&self.buffer[self.start..self.start + Header::BYTES]);
        self.start += Header::BYTES;
        Header::decode(&header).map_err(|fault| {
            tracing::debug!(%fault, "not a frame");
            GARBAGE
        })
    }

    /// The message that follows a control header; `None` for a kind of a later release, whose body is skipped.
    ///
    /// # Errors
    /// Garbage, or the link broke.
    pub(crate) async fn message<M: WireMessage>(
        &mut self,
        kind: u8,
        bytes: u32,
    ) -> Result<Option<M>, CloseReason> {
        let handling = frame::handling::<M>(kind, bytes).map_err(|fault| {
            tracing::debug!(%fault, "frame refused");
            GARBAGE
        })?;
        if handling == Handling::Skip {
            self.skip(bytes).await?;
            return Ok(None);
        }
        let bytes = bytes as usize;
        let decoded = if bytes <= BUFFER_BYTES {
            self.gather(bytes).await?;
            let body = self.start..self.start + bytes;
            self.start += bytes;
            M::decode_body(kind, &self.buffer[body])
        } else {
            // `handling` has checked the length against the kind's cap.
            let mut body = vec![0; bytes];
            self.read_exact(&mut body, |_| {}).await?;
            M::decode_body(kind, &body)
        };
        decoded.map(Some).map_err(|fault| {
            tracing::debug!(%fault, "message refused");
            GARBAGE
        })
    }

    /// Fills `into` with the next bytes of a frame, and tells `arrived` of each portion.
    pub(crate) async fn read_exact(
        &mut self,
        into: &mut [u8],
        mut arrived: impl FnMut(usize),
    ) -> Result<(), CloseReason> {
        let caught = into.len().min(self.end - self.start);
        into[..caught].copy_from_slice(&self.buffer[self.start..self.start + caught]);
        self.start += caught;
        let mut filled = caught;
        let mut progress = Progress::begin();
        while filled < into.len() {
            let read = read_some(&mut self.reader, &mut into[filled..], &mut progress).await?;
            filled += read;
            arrived(read);
        }
        Ok(())
    }

    /// Passes over the next `bytes` bytes of a frame.
    pub(crate) async fn skip(&mut self, bytes: u32) -> Result<(), CloseReason> {
        let mut left = bytes as usize;
        let mut progress = Progress::begin();
        loop {
            let caught = left.min(self.end - self.start);
            self.start += caught;
            left -= caught;
            if left == 0 {
                return Ok(());
            }
            let wanted = left.min(BUFFER_BYTES);
            self.end = read_some(&mut self.reader, &mut self.buffer[..wanted], &mut progress).await?;
            self.start = 0;
        }
    }

    /// Reads and drops everything until the far end closes, or fails.
    pub(crate) async fn drain(&mut self) {
        while matches!(self.reader.read(&mut self.buffer[..]).await, Ok(1..)) {}
    }

    /// Are so many bytes here already? Then nothing of them has to be waited for.
    pub(crate) const fn holds(&self, bytes: usize) -> bool {
        self.end - self.start >= bytes
    }

    /// Small chunks follow, or they do not: many of them are had by one read, while large ones go where they belong.
    pub(crate) fn read_ahead(&mut self, on: bool) {
        self.ahead = if on { AHEAD_BYTES } else { BUFFER_BYTES };
        if self.buffer.len() < self.ahead {
            self.buffer.resize(self.ahead, 0);
        }
    }

    /// Fills `into`, of at most [`SMALL_CHUNK_BYTES`], and the buffer with what follows. After [`read_ahead`](Self::read_ahead).
    pub(crate) async fn read_small(&mut self, into: &mut [u8]) -> Result<(), CloseReason> {
        self.gather(into.len()).await?;
        into.copy_from_slice(&self.buffer[self.start..self.start + into.len()]);
        self.start += into.len();
        Ok(())
    }

    /// Makes `bytes` (at most [`BUFFER_BYTES`]) contiguous in the small buffer.
    async fn gather(&mut self, bytes: usize) -> Result<(), CloseReason> {
        if self.end - self.start >= bytes {
            return Ok(());
        }
        if self.start + bytes > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let reach = self.ahead.max(self.start + bytes);
        let mut progress = Progress::begin();
        while self.end - self.start < bytes {
            self.end += read_some(&mut self.reader, &mut self.buffer[self.end..reach], &mut progress).await?;
        }
        Ok(())
    }
}

/// One read within a frame.
async fn read_some<R: AsyncRead + Unpin>(
    reader: &mut R,
    into: &mut [u8],
    progress: &mut Progress,
) -> Result<usize, CloseReason> {
    match timeout_at(progress.until, reader.read(into)).await {
        Ok(Ok(0) | Err(_)) => Err(CloseReason::Broken),
        Ok(Ok(read)) => {
            progress.add(read);
            Ok(read)
        }
        Err(_) => Err(CloseReason::Silent),
    }
}

#[cfg(test)]
mod tests;
