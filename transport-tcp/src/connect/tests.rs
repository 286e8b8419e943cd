//! Handshakes over the in-memory transport.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use potluck_core::seed::Seed;
use tokio::io::AsyncReadExt;

use super::*;
use crate::memory::tests::ip;
use crate::memory::{MemoryListener, MemoryNetwork, MemoryReader, MemoryWriter};

const ME: PeerId = PeerId([1; 32]);
const THEM: PeerId = PeerId([2; 32]);

async fn listen(network: &MemoryNetwork) -> (MemoryListener, SocketAddr) {
    let listener = network.host(ip(1)).listen(SocketAddr::new(ip(1), 0)).await.unwrap();
    let addr = listener.local_addr();
    (listener, addr)
}

type Established = mpsc::Receiver<super::Established<MemoryReader, MemoryWriter>>;

/// A network with one peer or tracker in it.
async fn host(role: Role) -> (MemoryNetwork, SocketAddr, Established) {
    let network = MemoryNetwork::new(Seed::from_number(1));
    let (listener, addr) = listen(&network).await;
    let (sender, established) = mpsc::channel(8);
    tokio::spawn(accept_links(listener, THEM, role, sender));
    (network, addr, established)
}

#[tokio::test(start_paused = true)]
async fn who_is_sought_is_found() {
    for (role, seeks) in [(Role::Peer, Seeks::Peer), (Role::Tracker, Seeks::Tracker)] {
        let (network, addr, mut established) = host(role).await;
        let (connection, peer) = dial(&network.host(ip(2)), addr, ME, seeks).await.unwrap();
        assert_eq!((peer, connection.remote), (THEM, addr));
        let link = established.recv().await.unwrap();
        assert_eq!((link.peer, link.role, link.dialed, link.addr.ip()), (ME, role, None, ip(2)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_is_answered_and_let_go() {
    let (network, addr, mut established) = host(Role::Peer).await;
    let (mut connection, peer) = dial(&network.host(ip(2)), addr, ME, Seeks::Probe).await.unwrap();
    assert_eq!(peer, THEM);
    assert_eq!(connection.reader.read(&mut [0; 1]).await.unwrap(), 0);
    assert!(established.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn dials_that_fail_say_why() {
    let (network, addr, _established) = host(Role::Peer).await;
    let me = network.host(ip(2));
    let outcome = dial(&me, addr, ME, Seeks::Tracker).await;
    assert_eq!(outcome.unwrap_err(), DialError::Refused, "a peer is no tracker");
    let nowhere = SocketAddr::new(ip(1), 9);
    assert_eq!(dial(&me, nowhere, ME, Seeks::Peer).await.unwrap_err(), DialError::Refused);

    assert_eq!(classify(&rustix::io::Errno::MFILE.into()), DialError::TooManyOpen);

    let (mut silent, addr) = listen(&network).await;
    let listening = tokio::spawn(async move { silent.accept().await.unwrap() });
    let began = tokio::time::Instant::now();
    assert_eq!(dial(&me, addr, ME, Seeks::Peer).await.unwrap_err(), DialError::TimedOut);
    assert_eq!(began.elapsed(), DIAL_TIMEOUT);
    drop(listening);

    let (mut babbler, addr) = listen(&network).await;
    tokio::spawn(async move {
        let mut connection = babbler.accept().await.unwrap();
        connection.writer.write_all(&[b'?'; 64]).await.unwrap();
    });
    assert_eq!(dial(&me, addr, ME, Seeks::Peer).await.unwrap_err(), DialError::NotPotluck);
}

/// A listener that has run out of descriptors.
struct OutOfFiles(SocketAddr);

#[async_trait::async_trait]
impl Listener for OutOfFiles {
    type Reader = MemoryReader;
    type Writer = MemoryWriter;

    fn local_addr(&self) -> SocketAddr {
        self.0
    }

    async fn accept(&mut self) -> io::Result<Connection<MemoryReader, MemoryWriter>> {
        Err(rustix::io::Errno::MFILE.into())
    }
}

/// Counts what is logged as a warning.
struct Warnings(Arc<AtomicUsize>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::Id {
        tracing::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::Id, _: &tracing::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &tracing::Id) {}

    fn exit(&self, _: &tracing::Id) {}
}

/// Whoever opens and closes connections makes it run out again and again.
#[tokio::test(start_paused = true)]
async fn a_listener_that_runs_out_goes_on_and_says_so_once_a_minute() {
    let warnings = Arc::new(AtomicUsize::new(0));
    let _logged = tracing::subscriber::set_default(Warnings(Arc::clone(&warnings)));
    let (sender, _established) = mpsc::channel(1);
    let accepting = accept_links(OutOfFiles(SocketAddr::new(ip(1), 1)), ME, Role::Peer, sender);
    assert!(timeout(Duration::from_secs(150), accepting).await.is_err(), "it goes on");
    assert_eq!(warnings.load(Ordering::Relaxed), 3);
}

/// Strangers that connect and say nothing take their places for [`DIAL_TIMEOUT`] at most, and not those of others.
#[tokio::test(start_paused = true)]
async fn silent_strangers_are_few_and_short() {
    let (network, addr, mut established) = host(Role::Peer).await;
    let mut strangers = Vec::new();
    for _ in 0..HANDSHAKES_PER_ADDRESS + 1 {
        strangers.push(network.host(ip(3)).connect(addr).await.unwrap());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut last = strangers.pop().unwrap();
    assert_eq!(last.reader.read(&mut [0; 1]).await.unwrap(), 0, "one too many is closed at once");
    dial(&network.host(ip(2)), addr, ME, Seeks::Peer).await.unwrap();
    assert_eq!(established.recv().await.unwrap().peer, ME);
    for mut stranger in strangers {
        assert_eq!(stranger.reader.read(&mut [0; 1]).await.unwrap(), 0);
    }
    dial(&network.host(ip(3)), addr, ME, Seeks::Peer).await.unwrap();
}

/// However many strangers there are, from however many addresses: whoever has something to say gets through.
#[tokio::test(start_paused = true)]
async fn a_crowd_of_silent_strangers_keeps_nobody_out() {
    let (network, addr, mut established) = host(Role::Peer).await;
    let mut strangers = Vec::new();
    for n in 0..3 * HANDSHAKES_MAX {
        strangers.push(network.host(ip(3 + (n % 60) as u8)).connect(addr).await.unwrap());
        tokio::task::yield_now().await;
    }
    let began = tokio::time::Instant::now();
    dial(&network.host(ip(2)), addr, ME, Seeks::Peer).await.unwrap();
    assert_eq!(established.recv().await.unwrap().peer, ME);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let mut ended = 0;
    for stranger in &mut strangers {
        let mut byte = [0; 1];
        let read = stranger.reader.read(&mut byte);
        ended += usize::from(tokio::time::timeout(Duration::ZERO, read).await.is_ok());
    }
    assert!(ended >= 2 * HANDSHAKES_MAX, "the oldest made room: {ended}");
}
