//! Slow and greedy strangers before a real process: they open connections and say nothing, or a byte a second, or speak and do
//! not listen. Honest peers are served all the while, and the process stays small.

#![allow(clippy::unwrap_used, reason = "what is not as it should be fails the test")]
#![allow(clippy::print_stdout, reason = "the figures are worth reading")]

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use potluck_core::ids::PeerId;
use potluck_core::wire::frame::encode_message;
use potluck_core::wire::handshake::{Handshake, Seeks};
use potluck_core::wire::peer::PeerMessage;
use support::processes::{Net, Node, b3sum, text, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

const MIB: u64 = 1 << 20;
const HALF_OPEN: usize = 5000;
const TRICKLING: usize = 200;
/// What the sharer is let send: slow enough to measure, on a machine that is busy with other tests.
const RATE: &str = "16M";
const BYTES: u64 = 48 * MIB;
/// Memory of the sharer, its buffers included; a debug build takes some more.
const MEMORY_MAX: u64 = 160 * MIB;

/// A connection from another address of this machine than honest peers have.
async fn connect(n: usize, to: SocketAddr) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().ok()?;
    let from = Ipv4Addr::new(127, 0, 1 + (n / 50) as u8, 2 + (n % 50) as u8);
    socket.bind((from, 0).into()).ok()?;
    socket.connect(to).await.ok()
}

/// Opens connections and says nothing, for ever.
async fn half_open(n: usize, to: SocketAddr, connected: Arc<AtomicUsize>) {
    loop {
        if let Some(mut stream) = connect(n, to).await {
            connected.fetch_add(1, Ordering::Relaxed);
            let _ = stream.read(&mut [0; 64]).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Shakes hands, then sends a byte of a frame a second, for ever.
async fn trickle(n: usize, to: SocketAddr) {
    let mut id = [0xee; 32];
    id[..8].copy_from_slice(&n.to_le_bytes());
    let mut frames = Vec::new();
    encode_message(&PeerMessage::Hello { name: format!("slow{n}"), listen_port: 0 }, &mut frames);
    loop {
        if let Some(mut stream) = connect(n, to).await {
            let _ = stream.write_all(&Handshake::new(PeerId(id), Seeks::Peer).encode()).await;
            for byte in frames.iter().chain(std::iter::repeat(&1)) {
                if stream.write_all(&[*byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// How long an honest download takes.
fn download(net: &Net, name: &str, ticket: &str, id: &str) -> Duration {
    let began = Instant::now();
    let ran = net.get(name, ticket, &[]).ran();
    assert_eq!(ran.code, Some(0), "{}\n{}", ran.stdout, ran.stderr);
    assert_eq!(b3sum(&net.got(name, "f")), id);
    began.elapsed()
}

fn addr_of(node: &mut Node) -> SocketAddr {
    text(&node.event("listening"), "addr").parse().unwrap()
}

#[test]
fn strangers_do_not_keep_honest_peers_out() {
    potluck_transport_tcp::store::raise_open_files();
    let net = Net::without_tracker();
    let path = net.file("src/f", BYTES, 1);
    let mut sharer = net.serving("sharer", &["share", path.to_str().unwrap(), "--limit-up", RATE]);
    let addr = addr_of(&mut sharer);
    let sharing = sharer.event("sharing");
    let (id, ticket) = (text(&sharing, "id"), text(&sharing, "ticket"));
    let alone = download(&net, "alone", &ticket, &id);

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let connected = Arc::new(AtomicUsize::new(0));
    for n in 0..HALF_OPEN {
        runtime.spawn(half_open(n, addr, connected.clone()));
    }
    for n in 0..TRICKLING {
        runtime.spawn(trickle(HALF_OPEN + n, addr));
    }
    until("all strangers are there", || connected.load(Ordering::Relaxed) >= HALF_OPEN);
    let crowded = download(&net, "crowded", &ticket, &id);
    let memory = sharer.memory_peak();
    runtime.shutdown_background();
    println!("alone {alone:?}, in the crowd {crowded:?}, {} MiB of memory", memory / MIB);
    // Its rate is capped, so that 80 % of the speed is a matter of being served and not of this machine's cores.
    assert!(crowded < alone.mul_f64(1.0 / 0.8) + Duration::from_secs(1), "{crowded:?} instead of {alone:?}");
    assert!(memory < MEMORY_MAX, "{} MiB", memory / MIB);
    assert_eq!(sharer.terminate(), Some(0), "{}", sharer.told());
}

/// A reader that never reads is not written to: what waits for it is bounded, and then it is closed.
#[test]
fn who_asks_and_never_reads_costs_little() {
    let net = Net::without_tracker();
    let path = net.file("src/f", 64 * MIB, 1);
    let mut sharer = net.serving("sharer", &["share", path.to_str().unwrap()]);
    let addr = addr_of(&mut sharer);
    sharer.event("sharing");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let taken = runtime.block_on(async {
        let mut stream = connect(0, addr).await.unwrap();
        stream.write_all(&Handshake::new(PeerId([0xee; 32]), Seeks::Peer).encode()).await.unwrap();
        let mut frames = Vec::new();
        encode_message(&PeerMessage::Hello { name: "deaf".to_owned(), listen_port: 0 }, &mut frames);
        stream.write_all(&frames).await.unwrap();
        // Each is answered by as much, and no answer is read: in the end it is closed, long before all is sent.
        let mut pings = Vec::new();
        for nonce in 0..10_000 {
            encode_message(&PeerMessage::Ping { nonce }, &mut pings);
        }
        let (mut taken, began) = (0, Instant::now());
        while began.elapsed() < Duration::from_secs(20) {
            match tokio::time::timeout(Duration::from_secs(20), stream.write(&pings)).await {
                Ok(Ok(written)) => taken += written as u64,
                Ok(Err(_)) => return Some(taken),
                Err(_) => return None,
            }
        }
        None
    });
    let memory = sharer.memory_peak();
    println!("closed after {taken:?} bytes, {} MiB of memory", memory / MIB);
    assert!(taken.is_some(), "it is closed");
    assert!(memory < MEMORY_MAX, "{} MiB", memory / MIB);
    assert_eq!(sharer.terminate(), Some(0), "{}", sharer.told());
}
