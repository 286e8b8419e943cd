//! What every transport promises, as one suite. A transport's test calls [`conformance`] with two hosts that reach each
//! other; the tests of other crates include this file by its path.
#![expect(clippy::unwrap_used, reason = "a helper of tests")]

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use potluck_core::ids::ContentKey;
use potluck_core::limits::CHUNK_BYTES;
use potluck_transport_tcp::hashing::{Hashing, hash_file};
use potluck_transport_tcp::pool::BufferPool;
use potluck_transport_tcp::store::{Source, Store, StoreOptions};
use potluck_transport_tcp::transport::{Connection, Copying, Listener, RangeWriter, Transport};
use potluck_transport_tcp::workers::Workers;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

const CHUNK: usize = CHUNK_BYTES as usize;
/// More than any pipe or socket holds.
const MUCH: usize = 32 * 1024 * 1024;

/// Two hosts of a network, and where the first may listen (port 0).
pub(crate) struct Hosts<T> {
    pub(crate) server: T,
    pub(crate) client: T,
    pub(crate) listen: SocketAddr,
    /// Time until a writer counts as waiting.
    pub(crate) patience: Duration,
}

type Ends<T> = (
    Connection<<T as Transport>::Reader, <T as Transport>::Writer>,
    Connection<<T as Transport>::Reader, <T as Transport>::Writer>,
);

/// Checks all promises, one after the other.
pub(crate) async fn conformance<T: Transport>(hosts: Hosts<T>) {
    refuses_where_nobody_listens(&hosts).await;
    a_taken_address_is_an_error(&hosts).await;
    bytes_arrive_in_order_both_ways(&hosts).await;
    shutdown_is_the_end_of_file_after_everything(&hosts).await;
    a_full_far_end_makes_the_writer_wait(&hosts).await;
    a_dropped_connection_ends_the_far_end(&hosts).await;
    ranges_arrive_whole(&hosts).await;
}

async fn ends<T: Transport>(hosts: &Hosts<T>) -> Ends<T> {
    let mut listener = hosts.server.listen(hosts.listen).await.unwrap();
    let addr = listener.local_addr();
    assert_ne!(addr.port(), 0, "the chosen port is told");
    let (near, far) = tokio::join!(hosts.client.connect(addr), listener.accept());
    let (near, far) = (near.unwrap(), far.unwrap());
    assert_eq!(near.remote, addr);
    assert_ne!(far.remote.port(), 0);
    (near, far)
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at % 251) as u8).collect()
}

async fn refuses_where_nobody_listens<T: Transport>(hosts: &Hosts<T>) {
    let listener = hosts.server.listen(hosts.listen).await.unwrap();
    let addr = listener.local_addr();
    drop(listener);
    let refused = hosts.client.connect(addr).await.map(|_| ()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

async fn a_taken_address_is_an_error<T: Transport>(hosts: &Hosts<T>) {
    let listener = hosts.server.listen(hosts.listen).await.unwrap();
    let again = hosts.server.listen(listener.local_addr()).await.map(|_| ()).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AddrInUse);
}

async fn bytes_arrive_in_order_both_ways<T: Transport>(hosts: &Hosts<T>) {
    let (mut near, mut far) = ends(hosts).await;
    let bytes = pattern(1_000_003);
    let (there, back) = (bytes.clone(), bytes.clone());
    let forth = async {
        near.writer.write_all(&there).await.unwrap();
        near.writer.flush().await.unwrap();
        let mut received = vec![0; back.len()];
        near.reader.read_exact(&mut received).await.unwrap();
        received
    };
    let back_again = async {
        let mut received = vec![0; there.len()];
        far.reader.read_exact(&mut received).await.unwrap();
        far.writer.write_all(&received).await.unwrap();
        far.writer.flush().await.unwrap();
    };
    assert!(tokio::join!(forth, back_again).0 == bytes);
}

async fn shutdown_is_the_end_of_file_after_everything<T: Transport>(hosts: &Hosts<T>) {
    let (mut near, mut far) = ends(hosts).await;
    let bytes = pattern(300_000);
    let send = async {
        near.writer.write_all(&bytes).await.unwrap();
        near.writer.shutdown().await.unwrap();
        // The other direction is still open.
        let mut answer = [0; 3];
        near.reader.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"yes");
    };
    let mut received = Vec::new();
    let receive = async {
        far.reader.read_to_end(&mut received).await.unwrap();
        far.writer.write_all(b"yes").await.unwrap();
        far.writer.flush().await.unwrap();
    };
    tokio::join!(send, receive);
    assert!(received == bytes);
}

async fn a_full_far_end_makes_the_writer_wait<T: Transport>(hosts: &Hosts<T>) {
    let (mut near, mut far) = ends(hosts).await;
    let bytes = pattern(MUCH);
    let mut sending = std::pin::pin!(async {
        near.writer.write_all(&bytes).await.unwrap();
        near.writer.shutdown().await.unwrap();
    });
    assert!(timeout(hosts.patience, &mut sending).await.is_err(), "it takes {MUCH} bytes that nobody reads");
    let mut received = Vec::new();
    let (_, read) = tokio::join!(sending, far.reader.read_to_end(&mut received));
    assert_eq!(read.unwrap(), MUCH);
    assert!(received == bytes);
}

/// The reader hears of it. (The writer need not: turmoil's waits for ever.)
async fn a_dropped_connection_ends_the_far_end<T: Transport>(hosts: &Hosts<T>) {
    let (near, mut far) = ends(hosts).await;
    drop(near);
    assert!(matches!(far.reader.read(&mut [0; 1]).await, Ok(0) | Err(_)));
}

/// Sends ranges of a file and of memory; a source that ends early is no fault of the connection.
async fn ranges_arrive_whole<T: Transport>(hosts: &Hosts<T>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let bytes = pattern(3 * CHUNK + 1000);
    std::fs::write(&path, &bytes).unwrap();
    let (progress, cancelled) = (|_| {}, AtomicBool::new(false));
    let hashing = Hashing { threads: 1, progress: &progress, cancelled: &cancelled, cache: None };
    let hashed = hash_file(&path, hashing).unwrap();
    let memory = ContentKey { length: 5, ..hashed.key };
    let store = Store::new(StoreOptions::default());
    store.add_source(hashed.key, Source::File { path, identity: hashed.identity });
    store.add_source(memory, Source::Memory(Arc::from(*b"bytes")));
    let (file, memory) = (store.source(hashed.key).unwrap(), store.source(memory).unwrap());
    let copying = Copying { workers: Workers::inline(), pool: BufferPool::new(0) };

    let (mut near, mut far) = ends(hosts).await;
    let send = async {
        let mut sent = Vec::new();
        for range in
            [CHUNK..2 * CHUNK, 7..8, 0..CHUNK, 3 * CHUNK..3 * CHUNK + 1000, 3 * CHUNK..3 * CHUNK + 2000]
        {
            let range = range.start as u64..range.end as u64;
            sent.push(near.writer.send_range(b"head", &file, range, &copying).await.unwrap());
        }
        sent.push(near.writer.send_range(b"head", &memory, 1..5, &copying).await.unwrap());
        sent.push(near.writer.send_range(b"", &memory, 4..9, &copying).await.unwrap());
        near.writer.shutdown().await.unwrap();
        sent
    };
    let mut received = Vec::new();
    let (sent, read) = tokio::join!(send, far.reader.read_to_end(&mut received));
    read.unwrap();
    assert_eq!(sent, [CHUNK as u64, 1, CHUNK as u64, 1000, 1000, 4, 1]);
    let head = b"head".as_slice();
    let expected = [
        [head, &bytes[CHUNK..2 * CHUNK]],
        [head, &bytes[7..8]],
        [head, &bytes[..CHUNK]],
        [head, &bytes[3 * CHUNK..]],
        [head, &bytes[3 * CHUNK..]],
        [head, b"ytes"],
        [b"", b"s"],
    ];
    assert!(received == expected.as_flattened().concat());
}
