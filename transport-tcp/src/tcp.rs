//! The transport over TCP.
//!
//! - `TCP_NODELAY`: frames are written whole, waiting for more would only delay control messages.
//! - Bytes that a socket has accepted and not yet sent are bounded (64 KiB), so that a cancel is not stuck behind
//!   megabytes. Bytes under way are not bounded, and neither are receive buffers: the kernel tunes them by itself.
//! - A file's range goes out by `sendfile` where its pages are in memory. Where they are not, a worker reads them first, so
//!   that no thread of the runtime waits for a disk. Elsewhere than on Linux the provided copying way is used.
//! - IPv4 and IPv6; a listener at `[::]` takes both, and addresses are always shown in their own family.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_trait::async_trait;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::AsyncWrite;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::limits::{BACKLOG, UNSENT_BYTES};
use crate::store::SourceHandle;
use crate::transport::{Connection, Copying, Listener, RangeWriter, Transport};

/// TCP by the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpTransport {
    source: Option<IpAddr>,
}

impl TcpTransport {
    /// For a process that listens at `listen`: if that is a specific address, outgoing connections come from it as well, so
    /// that others see one address for one peer.
    #[must_use]
    pub fn from_listen_addr(listen: SocketAddr) -> Self {
        Self { source: Some(listen.ip()).filter(|ip| !ip.is_unspecified()) }
    }
}

#[async_trait]
impl Transport for TcpTransport {
    type Reader = OwnedReadHalf;
    type Writer = TcpWriter;
    type Listener = TcpAcceptor;

    async fn connect(&self, addr: SocketAddr) -> io::Result<Connection<OwnedReadHalf, TcpWriter>> {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(source) = self.source.filter(|source| source.is_ipv4() == addr.is_ipv4()) {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        halves(socket.connect(addr).await?, addr)
    }

    async fn listen(&self, addr: SocketAddr) -> io::Result<TcpAcceptor> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        // A restarted process gets its port back at once, in spite of old connections that linger.
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        if addr.is_ipv6() {
            socket.set_only_v6(!addr.ip().is_unspecified())?;
        }
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from_std(socket.into())?;
        let local = listener.local_addr()?;
        Ok(TcpAcceptor { listener, local })
    }
}

/// Accepts TCP connections.
#[derive(Debug)]
pub struct TcpAcceptor {
    listener: TcpListener,
    local: SocketAddr,
}

#[async_trait]
impl Listener for TcpAcceptor {
    type Reader = OwnedReadHalf;
    type Writer = TcpWriter;

    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    async fn accept(&mut self) -> io::Result<Connection<OwnedReadHalf, TcpWriter>> {
        let (stream, remote) = self.listener.accept().await?;
        halves(stream, SocketAddr::new(remote.ip().to_canonical(), remote.port()))
    }
}

fn halves(stream: TcpStream, remote: SocketAddr) -> io::Result<Connection<OwnedReadHalf, TcpWriter>> {
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_BYTES)?;
    // Where there is no such option, a fixed send buffer is the bound.
    #[cfg(not(target_os = "linux"))]
    SockRef::from(&stream).set_send_buffer_size(UNSENT_BYTES as usize)?;
    let (reader, writer) = stream.into_split();
    Ok(Connection { reader, writer: TcpWriter(writer), remote })
}

/// The sending half of a TCP connection.
#[derive(Debug)]
pub struct TcpWriter(OwnedWriteHalf);

impl AsyncWrite for TcpWriter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl RangeWriter for TcpWriter {
    #[cfg(target_os = "linux")]
    async fn send_range(
        &mut self,
        head: &[u8],
        source: &SourceHandle,
        range: Range<u64>,
        copying: &Copying,
    ) -> io::Result<u64> {
        let Some(file) = source.file() else {
            tokio::io::AsyncWriteExt::write_all(self, head).await?;
            return crate::transport::send_by_copy(self, source, range, copying).await;
        };
        if !linux::in_memory(file, &range) {
            linux::load(source, range.clone(), copying).await;
        }
        linux::send_head(self.0.as_ref(), head).await?;
        linux::send_file(self.0.as_ref(), file, range).await
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::File;
    use std::io::{self, IoSliceMut};
    use std::ops::Range;

    use rustix::fs::{Advice, fadvise, sendfile};
    use rustix::io::{Errno, ReadWriteFlags, preadv2};
    use rustix::net::{SendFlags, send};
    use tokio::io::Interest;
    use tokio::net::TcpStream;

    use crate::store::SourceHandle;
    use crate::transport::Copying;

    /// Bytes that the kernel is asked to read ahead when a cold range is met.
    const AHEAD_BYTES: u64 = 4 * 1024 * 1024;

    /// Are the ends of this range in the page cache? One that the file system cannot answer for (tmpfs) counts as there.
    pub(super) fn in_memory(file: &File, range: &Range<u64>) -> bool {
        [range.start, range.end.saturating_sub(1)].into_iter().all(|offset| {
            let mut byte = [0];
            preadv2(file, &mut [IoSliceMut::new(&mut byte)], offset, ReadWriteFlags::NOWAIT)
                != Err(Errno::AGAIN)
        })
    }

    /// Brings a range into the page cache, on a worker. What goes wrong will be seen by whoever sends it.
    pub(super) async fn load(source: &SourceHandle, range: Range<u64>, copying: &Copying) {
        let mut buffer = copying.pool.take().await;
        let source = source.clone();
        let job = move || {
            let Some(file) = source.file() else { return };
            let _ = fadvise(file, range.start, std::num::NonZeroU64::new(AHEAD_BYTES), Advice::WillNeed);
            let wanted = usize::try_from(range.end - range.start).unwrap_or(usize::MAX).min(buffer.len());
            let _ = source.read_at(range.start, &mut buffer[..wanted]);
        };
        copying.workers.call(job).await;
    }

    /// Sends a frame's header, and tells the kernel that more follows.
    pub(super) async fn send_head(stream: &TcpStream, mut head: &[u8]) -> io::Result<()> {
        while !head.is_empty() {
            stream.writable().await?;
            match stream
                .try_io(Interest::WRITABLE, || Ok(send(stream, head, SendFlags::MORE | SendFlags::NOSIGNAL)?))
            {
                Ok(sent) => head = &head[sent..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Hands a file's pages to the socket. Returns how many bytes went out; fewer than asked for if the file is shorter or
    /// cannot be read.
    pub(super) async fn send_file(stream: &TcpStream, file: &File, range: Range<u64>) -> io::Result<u64> {
        let mut offset = range.start;
        while offset < range.end {
            stream.writable().await?;
            let left = usize::try_from(range.end - offset).unwrap_or(usize::MAX);
            match stream.try_io(Interest::WRITABLE, || Ok(sendfile(stream, file, Some(&mut offset), left)?)) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if is_of_the_file(&error) => {
                    tracing::warn!(%error, "a shared file cannot be read");
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        tokio::task::coop::consume_budget().await;
        Ok(offset - range.start)
    }

    /// `sendfile` reports faults of both ends; these can only be the file's.
    fn is_of_the_file(error: &io::Error) -> bool {
        let errno = error.raw_os_error().map(Errno::from_raw_os_error);
        matches!(errno, Some(Errno::IO | Errno::OVERFLOW | Errno::INVAL | Errno::STALE | Errno::ISDIR))
    }
}
