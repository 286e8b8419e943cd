//! A transport within one process, for tests: hosts with addresses, pipes with bounded buffers, no operating system.
//!
//! Every read and write is cut at a place drawn from the network's seed, so that nothing can rely on how bytes are
//! portioned. The same seed and the same order of calls cut at the same places.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use async_trait::async_trait;
use potluck_core::seed::Seed;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, ReadHalf, WriteHalf, duplex, split};
use tokio::sync::mpsc;

use crate::transport::{Connection, Listener, RangeWriter, Transport};

/// Bytes that a pipe holds in each direction before its writer waits.
const PIPE_BYTES: usize = 64 * 1024;
/// Connections that wait to be accepted; more are refused.
const BACKLOG: usize = 64;
/// First port that is given out when port 0 is asked for.
const FIRST_FREE_PORT: u16 = 49152;

type Waiting = Connection<MemoryReader, MemoryWriter>;

/// Hosts that can reach each other. Cheap to clone.
#[derive(Clone, Debug)]
pub struct MemoryNetwork(Arc<Mutex<Net>>);

#[derive(Debug)]
struct Net {
    listeners: BTreeMap<SocketAddr, mpsc::Sender<Waiting>>,
    seed: Seed,
    connections: u64,
}

impl MemoryNetwork {
    /// A network without hosts.
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        Self(Arc::new(Mutex::new(Net { listeners: BTreeMap::new(), seed, connections: 0 })))
    }

    /// The transport of the host with this address.
    #[must_use]
    pub fn host(&self, ip: IpAddr) -> MemoryTransport {
        MemoryTransport { network: self.clone(), ip }
    }

    fn lock(&self) -> MutexGuard<'_, Net> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Net {
    /// A port of `ip` at which nobody listens.
    fn free_port(&self, ip: IpAddr) -> Option<u16> {
        (FIRST_FREE_PORT..=u16::MAX).find(|port| !self.listeners.contains_key(&SocketAddr::new(ip, *port)))
    }

    /// A generator for one half of a connection.
    fn rng(&self, half: &str) -> ChaCha8Rng {
        self.seed.fork(&format!("{half} of connection {}", self.connections)).rng()
    }
}

/// One host of a [`MemoryNetwork`].
#[derive(Clone, Debug)]
pub struct MemoryTransport {
    network: MemoryNetwork,
    ip: IpAddr,
}

#[async_trait]
impl Transport for MemoryTransport {
    type Reader = MemoryReader;
    type Writer = MemoryWriter;
    type Listener = MemoryListener;

    async fn connect(&self, addr: SocketAddr) -> io::Result<Waiting> {
        let (waiting, mine) = {
            let mut net = self.network.lock();
            let Some(listener) = net.listeners.get(&addr).cloned() else {
                return Err(io::ErrorKind::ConnectionRefused.into());
            };
            net.connections += 1;
            // Like an ephemeral port: it tells connections apart, and nobody listens there.
            let port = u16::try_from(net.connections % u64::from(FIRST_FREE_PORT - 1)).unwrap_or(0) + 1;
            let (near, far) = duplex(PIPE_BYTES);
            let mine = halves(near, addr, net.rng("reader, near"), net.rng("writer, near"));
            let from = SocketAddr::new(self.ip, port);
            let theirs = halves(far, from, net.rng("reader, far"), net.rng("writer, far"));
            (listener.try_send(theirs), mine)
        };
        waiting.map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
        Ok(mine)
    }

    async fn listen(&self, addr: SocketAddr) -> io::Result<MemoryListener> {
        let mut net = self.network.lock();
        let ip = if addr.ip().is_unspecified() { self.ip } else { addr.ip() };
        if ip != self.ip {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let port = match addr.port() {
            0 => net.free_port(ip).ok_or(io::ErrorKind::AddrInUse)?,
            port => port,
        };
        let local = SocketAddr::new(ip, port);
        if net.listeners.contains_key(&local) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let (sender, waiting) = mpsc::channel(BACKLOG);
        net.listeners.insert(local, sender);
        Ok(MemoryListener { network: self.network.clone(), local, waiting })
    }
}

fn halves(stream: DuplexStream, remote: SocketAddr, reads: ChaCha8Rng, writes: ChaCha8Rng) -> Waiting {
    let (reader, writer) = split(stream);
    let reader = MemoryReader { half: reader, cuts: reads };
    Connection { reader, writer: MemoryWriter { half: writer, cuts: writes }, remote }
}

/// Accepts connections at one address of a host; frees it when dropped.
#[derive(Debug)]
pub struct MemoryListener {
    network: MemoryNetwork,
    local: SocketAddr,
    waiting: mpsc::Receiver<Waiting>,
}

#[async_trait]
impl Listener for MemoryListener {
    type Reader = MemoryReader;
    type Writer = MemoryWriter;

    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    async fn accept(&mut self) -> io::Result<Waiting> {
        self.waiting.recv().await.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for MemoryListener {
    fn drop(&mut self) {
        self.network.lock().listeners.remove(&self.local);
    }
}

/// Where a read or write of `wanted` bytes is cut: often short, sometimes within a header, sometimes not at all.
fn cut(rng: &mut ChaCha8Rng, wanted: usize) -> usize {
    let max = [7, 24, 1000, 5000, usize::MAX][(rng.next_u32() % 5) as usize];
    wanted.min(1 + rng.next_u32() as usize % max)
}

/// The receiving half of a pipe.
#[derive(Debug)]
pub struct MemoryReader {
    half: ReadHalf<DuplexStream>,
    cuts: ChaCha8Rng,
}

impl AsyncRead for MemoryReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let wanted = buffer.remaining();
        let mut portion = ReadBuf::new(buffer.initialize_unfilled_to(cut(&mut this.cuts, wanted)));
        let result = Pin::new(&mut this.half).poll_read(cx, &mut portion);
        let read = portion.filled().len();
        buffer.advance(read);
        result
    }
}

/// The sending half of a pipe.
#[derive(Debug)]
pub struct MemoryWriter {
    half: WriteHalf<DuplexStream>,
    cuts: ChaCha8Rng,
}

impl AsyncWrite for MemoryWriter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let portion = cut(&mut this.cuts, bytes.len());
        Pin::new(&mut this.half).poll_write(cx, &bytes[..portion])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.half).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.half).poll_shutdown(cx)
    }
}

impl RangeWriter for MemoryWriter {}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    pub(crate) fn ip(host: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, host).into()
    }

    /// Both ends of one connection in a network of this seed.
    pub(crate) async fn pair(seed: u64) -> (Waiting, Waiting) {
        let network = MemoryNetwork::new(Seed::from_number(seed));
        let mut listener = network.host(ip(1)).listen(SocketAddr::new(ip(1), 0)).await.unwrap();
        let near = network.host(ip(2)).connect(listener.local_addr()).await.unwrap();
        let far = listener.accept().await.unwrap();
        assert_eq!(far.remote.ip(), ip(2));
        (near, far)
    }
}
