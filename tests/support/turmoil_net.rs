//! The transport over turmoil's simulated sockets. What it lacks is bandwidth: segments take their latency, whatever their
//! size. So writes are cut to [`SEGMENT_BYTES`], which with turmoil's limit on segments bounds what is under way.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_trait::async_trait;
use potluck_transport_tcp::transport::{Connection, Listener, RangeWriter, Transport};
use tokio::io::AsyncWrite;
use turmoil::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use turmoil::net::{TcpListener, TcpStream};

/// Bytes of a segment.
const SEGMENT_BYTES: usize = 16 * 1024;

/// The sockets of the simulated host that uses it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TurmoilTransport;

#[async_trait]
impl Transport for TurmoilTransport {
    type Reader = OwnedReadHalf;
    type Writer = TurmoilWriter;
    type Listener = TurmoilListener;

    async fn connect(&self, addr: SocketAddr) -> io::Result<Connection<OwnedReadHalf, TurmoilWriter>> {
        Ok(halves(TcpStream::connect(addr).await?, addr))
    }

    async fn listen(&self, addr: SocketAddr) -> io::Result<TurmoilListener> {
        let listener = TcpListener::bind(addr).await?;
        let local = listener.local_addr()?;
        Ok(TurmoilListener { listener, local })
    }
}

/// A simulated listener.
pub(crate) struct TurmoilListener {
    listener: TcpListener,
    local: SocketAddr,
}

#[async_trait]
impl Listener for TurmoilListener {
    type Reader = OwnedReadHalf;
    type Writer = TurmoilWriter;

    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    async fn accept(&mut self) -> io::Result<Connection<OwnedReadHalf, TurmoilWriter>> {
        let (stream, remote) = self.listener.accept().await?;
        Ok(halves(stream, remote))
    }
}

fn halves(stream: TcpStream, remote: SocketAddr) -> Connection<OwnedReadHalf, TurmoilWriter> {
    let (reader, writer) = stream.into_split();
    Connection { reader, writer: TurmoilWriter(writer), remote }
}

/// The sending half of a simulated connection.
#[derive(Debug)]
pub(crate) struct TurmoilWriter(OwnedWriteHalf);

impl AsyncWrite for TurmoilWriter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let segment = &bytes[..bytes.len().min(SEGMENT_BYTES)];
        Pin::new(&mut self.0).poll_write(cx, segment)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl RangeWriter for TurmoilWriter {}
