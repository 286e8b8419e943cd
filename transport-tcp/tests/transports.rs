//! The conformance suite on every transport of this crate.

mod conformance;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use conformance::{Hosts, conformance};
use potluck_core::seed::Seed;
use potluck_transport_tcp::memory::MemoryNetwork;
use potluck_transport_tcp::tcp::TcpTransport;
use potluck_transport_tcp::transport::{Listener, Transport};

const PATIENCE: Duration = Duration::from_millis(500);

async fn over_tcp(listen: SocketAddr) {
    let (server, client) = (TcpTransport::from_listen_addr(listen), TcpTransport::default());
    conformance(Hosts { server, client, listen, patience: PATIENCE }).await;
}

#[tokio::test]
async fn tcp_over_ipv4() {
    over_tcp("127.0.0.1:0".parse().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_over_ipv6() {
    over_tcp("[::1]:0".parse().unwrap()).await;
}

#[tokio::test]
async fn memory() {
    for seed in 0..2 {
        let network = MemoryNetwork::new(Seed::from_number(seed));
        let host = |host| IpAddr::from([10, 0, 0, host]);
        let listen = SocketAddr::new(host(1), 0);
        let (server, client) = (network.host(host(1)), network.host(host(2)));
        conformance(Hosts { server, client, listen, patience: PATIENCE }).await;
    }
}

/// A listener at `[::]` takes both families, and shows each address in its own.
#[tokio::test]
async fn tcp_takes_both_families() {
    let any = "[::]:0".parse().unwrap();
    let mut listener = TcpTransport::from_listen_addr(any).listen(any).await.unwrap();
    let port = listener.local_addr().port();
    for ip in ["127.0.0.1", "::1"] {
        let addr = SocketAddr::new(ip.parse().unwrap(), port);
        let client = TcpTransport::default();
        let (near, far) = tokio::join!(client.connect(addr), listener.accept());
        assert_eq!(far.unwrap().remote.ip(), addr.ip());
        drop(near);
    }
}

/// Others see a peer that listens at a specific address at that address, also when it dials.
#[tokio::test]
async fn tcp_dials_from_a_specific_listen_address() {
    let listen = "127.0.0.2:0".parse().unwrap();
    let mut listener = TcpTransport::default().listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let addr = listener.local_addr();
    let client = TcpTransport::from_listen_addr(listen);
    let (near, far) = tokio::join!(client.connect(addr), listener.accept());
    assert_eq!(far.unwrap().remote.ip(), listen.ip());
    drop(near);
}
