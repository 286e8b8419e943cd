//! What carries links: connect, listen, and two halves of bytes.
//!
//! Everything above this trait (framing, links, the driver, the handles) works over any implementation: [`crate::tcp`],
//! [`crate::memory`], turmoil's simulated sockets in the tests, TLS one day. So nothing above may assume plaintext, a
//! socket, or that a write of `n` bytes becomes a read of `n` bytes.
//!
//! An implementation promises what `tests/conformance` checks: bytes arrive in order and unchanged, a shutdown of the
//! writer is the reader's end of file after all that was written, a full far end makes the writer wait, the
//! reader hears that the far end dropped the connection, and an address that nobody listens on refuses.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::pool::BufferPool;
use crate::store::SourceHandle;
use crate::workers::Workers;

/// A way to reach other processes.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Receives a connection's bytes.
    type Reader: AsyncRead + Unpin + Send + 'static;
    /// Sends a connection's bytes.
    type Writer: RangeWriter;
    /// Accepts connections.
    type Listener: Listener<Reader = Self::Reader, Writer = Self::Writer>;

    /// Connects to `addr`. Waits as long as the network does: the caller sets the limit.
    ///
    /// # Errors
    /// Nobody listens there, or there is no way there.
    async fn connect(&self, addr: SocketAddr) -> io::Result<Connection<Self::Reader, Self::Writer>>;

    /// Accepts connections at `addr`; port 0 lets the transport choose.
    ///
    /// # Errors
    /// The address is taken or is none of this host's.
    async fn listen(&self, addr: SocketAddr) -> io::Result<Self::Listener>;
}

/// Accepts connections at one address.
#[async_trait]
pub trait Listener: Send + 'static {
    /// Receives a connection's bytes.
    type Reader;
    /// Sends a connection's bytes.
    type Writer;

    /// Where it listens, with the port that was chosen.
    fn local_addr(&self) -> SocketAddr;

    /// The next connection. Cancel safe: a dropped future loses no connection.
    ///
    /// # Errors
    /// Of one connection, or of a resource that ran out; the listener itself goes on.
    async fn accept(&mut self) -> io::Result<Connection<Self::Reader, Self::Writer>>;
}

/// An established connection in its two halves. Dropping both closes it.
#[derive(Debug)]
pub struct Connection<R, W> {
    /// Receives.
    pub reader: R,
    /// Sends.
    pub writer: W,
    /// The far end's address.
    pub remote: SocketAddr,
}

/// What a writer needs to send bytes that it cannot hand over without touching them.
#[derive(Clone, Debug)]
pub struct Copying {
    /// Where reading blocks.
    pub workers: Workers,
    /// What it reads into. Not the pool that arriving chunks use: a receiver that takes nothing must not stop a download.
    pub pool: BufferPool,
}

/// The sending half of a connection.
pub trait RangeWriter: AsyncWrite + Unpin + Send + 'static {
    /// Sends `head`, then the bytes of `source` in `range` (at most one chunk), and says how many of these were sent: fewer
    /// than asked for if the source ends early or cannot be read. Not cancel safe: the connection is out of frame then.
    ///
    /// The provided way reads at a position into a pooled buffer; a transport that can hand a file's pages over by itself
    /// overrides it.
    ///
    /// # Errors
    /// The connection broke. A fault of the source is none.
    fn send_range(
        &mut self,
        head: &[u8],
        source: &SourceHandle,
        range: Range<u64>,
        copying: &Copying,
    ) -> impl Future<Output = io::Result<u64>> + Send {
        async move {
            self.write_all(head).await?;
            send_by_copy(self, source, range, copying).await
        }
    }
}

/// Sends a range by reading it at its position into a pooled buffer.
pub(crate) async fn send_by_copy<W: AsyncWrite + Unpin + ?Sized>(
    writer: &mut W,
    source: &SourceHandle,
    range: Range<u64>,
    copying: &Copying,
) -> io::Result<u64> {
    let mut buffer = copying.pool.take().await;
    let wanted =
        usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX).min(buffer.len());
    let source = source.clone();
    let (buffer, read) = copying
        .workers
        .call(move || {
            let read = source.read_at(range.start, &mut buffer[..wanted]);
            (buffer, read)
        })
        .await;
    let read = read.unwrap_or_else(|error| {
        tracing::warn!(%error, "a shared file cannot be read");
        0
    });
    writer.write_all(&buffer[..read]).await?;
    Ok(read as u64)
}
