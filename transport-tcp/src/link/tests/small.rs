//! Small chunks, which are read, written and sent together: none of them is lost, written twice, or kept waiting by another.

use potluck_core::wire::frame::encode_message;
use tokio::io::duplex;
use tokio::time::timeout;

use super::super::expect::Claim;
use super::super::reader::{Arrivals, Messages, read_link};
use super::*;
use crate::framing::FrameReader;

const BYTES: usize = 1000;

/// Small contents, each of one chunk, and their numbers.
fn small_ones(holder: &Store, downloader: &Store, count: u8) -> Vec<(u64, Content)> {
    let small = |number: u8| {
        let bytes = vec![number; BYTES];
        (u64::from(number), content_of(holder, downloader, DownloadId(number.into()), bytes))
    };
    (1..=count).map(small).collect()
}

const fn slot(number: u64) -> Slot {
    Slot(number as u32)
}

const fn place(number: u64) -> Place {
    Place::Root(DownloadId(number))
}

/// The frame of a small content.
fn frame((number, content): &(u64, Content)) -> Vec<u8> {
    let header = Header::Chunk { slot: slot(*number), at: at(0), bytes: BYTES as u32 };
    [&header.encode()[..], &content.bytes].concat()
}

impl End {
    fn expect_small(&mut self, op: u64, (number, content): &(u64, Content)) {
        self.expect_at(op, slot(*number), content.key, place(*number), whole(0));
    }

    fn send_small(&self, (number, content): &(u64, Content)) {
        let chunk = OutgoingChunk { slot: slot(*number), key: content.key, at: at(0) };
        self.handle.outbox.push_chunk(chunk);
    }

    /// What was reported so far.
    fn reported(&mut self) -> Vec<PeerInput> {
        std::iter::from_fn(|| self.completions.try_recv().ok()).collect()
    }

    /// Its receiving half, for a reader that the test drives.
    fn arrivals(&mut self) -> (Arrivals, TaskTracker) {
        let (completed, completions) = mpsc::unbounded_channel();
        self.completions = completions;
        let landing = TaskTracker::new();
        let gear = Receiving {
            throttle: Throttle::default(),
            pool: self.pool.clone(),
            hashers: Workers::inline(),
            writing: Lanes::new(Workers::inline()),
            store: self.store.clone(),
            completions: completed,
        };
        (Arrivals::new(LINK, gear, Arc::clone(&self.handle.expectations), landing.clone()), landing)
    }
}

/// One after the other, in one write; the second one twice, and once more at the end.
#[tokio::test]
async fn what_comes_twice_is_written_once() {
    let (mut near, far) = pair(1).await;
    let mut far = End::start(far);
    let small = small_ones(&far.store, &far.store, 3);
    for one in &small {
        far.expect_small(one.0, one);
    }
    // It was asked for over this link a second time, before it came.
    far.expect_small(12, &small[1]);
    let all = [&small[0], &small[1], &small[1], &small[2], &small[1]].map(frame).concat();
    near.writer.write_all(&all).await.unwrap();
    let mut ping = Vec::new();
    encode_message(&PeerMessage::Ping { nonce: 7 }, &mut ping);
    near.writer.write_all(&ping).await.unwrap();
    for (number, content) in &small {
        assert_eq!(far.arrived().await, content.arrival(*number, 0));
        assert!(content.written(0));
    }
    assert_eq!(far.message().await, PeerMessage::Ping { nonce: 7 });
    assert_eq!(far.reported(), []);
    assert_eq!(far.pool.available(), 2);
}

/// It is asked for again while the first copy waits with others to be written: the second does not wait for itself.
#[tokio::test]
async fn asked_for_again_it_does_not_wait_for_its_own_bundle() {
    let (_near, far) = pair(1).await;
    let mut far = End::start(far);
    let small = small_ones(&far.store, &far.store, 2);
    let (mut arrivals, landing) = far.arrivals();
    let bytes = [&small[0], &small[1], &small[0]].map(frame).concat();
    let mut frames = FrameReader::new(&bytes[..]);
    for one in &small {
        far.expect_small(one.0, one);
        let Ok(Header::Chunk { slot, at, bytes }) = frames.header().await else { panic!("no chunk") };
        arrivals.receive(&mut frames, slot, at, bytes).await.unwrap();
    }
    assert_eq!(far.reported(), [], "they wait for each other");
    far.expect_small(11, &small[0]);
    assert_eq!(far.handle.expectations.claim(slot(1), at(0), OpId(11)), Claim::Busy);
    let Ok(Header::Chunk { slot, at, bytes }) = frames.header().await else { panic!("no chunk") };
    timeout(Duration::from_secs(60), arrivals.receive(&mut frames, slot, at, bytes)).await.unwrap().unwrap();
    let expected = [small[0].1.arrival(1, 0), small[1].1.arrival(2, 0), small[0].1.arrival(11, 0)];
    assert_eq!(far.reported(), expected);
    drop(arrivals);
    landing.close();
    landing.wait().await;
    assert_eq!(far.pool.available(), 2);
}

/// A file is cut, another replaced, a third unshared, while they wait to be sent with others: those come as they are, and the
/// link stays in frame.
#[tokio::test]
async fn a_source_that_changes_among_others_is_told_and_they_come() {
    let (near, far) = pair(3).await;
    let (mut holder, mut downloader) = (End::start(near), End::start(far));
    let small = small_ones(&holder.store, &downloader.store, 6);
    for one in &small {
        downloader.expect_small(one.0, one);
    }
    // Seen only when it is read: it is shorter than it was said to be.
    holder.store.add_source(small[1].1.key, Source::Memory(small[1].1.bytes[..10].into()));
    std::fs::write(&small[2].1.path, vec![9; BYTES + 1]).unwrap();
    holder.store.remove_source(small[4].1.key);
    for one in &small {
        holder.send_small(one);
    }
    holder.ping(7);
    assert_eq!(downloader.message().await, PeerMessage::Ping { nonce: 7 });
    let mut sent = Vec::new();
    for input in holder.reported() {
        if let PeerInput::ChunkSent { key, result, .. } = input {
            sent.push((key, result));
        }
    }
    let changed = [2, 3, 5];
    let expected = small.iter().map(|(number, content)| {
        let is_changed = changed.contains(number);
        (content.key, if is_changed { SendResult::SourceChanged } else { SendResult::Sent })
    });
    assert_eq!(sent, expected.collect::<Vec<_>>());
    let arrived = downloader.reported();
    // What was cut is filled up, and its hash wrong; of the other two nothing comes.
    let padded = [&small[1].1.bytes[..10], &[0; BYTES - 10]].concat();
    let geometry = Geometry::new(small[1].1.key.length).unwrap();
    let value = chunk_value(&geometry, at(0), &padded).unwrap();
    let wrong = PeerInput::ChunkArrived { op: OpId(2), at: at(0), result: Ok(value) };
    let right = [1, 4, 6].map(|number| small[number as usize - 1].1.arrival(number, 0));
    let [first, fourth, sixth] = right;
    assert_eq!(arrived, [first, wrong, fourth, sixth]);
}

/// A link ends, in order or in the middle of a chunk, or is closed from here, before what came over it could be written: all
/// that was whole is written and reported, before the end is.
#[tokio::test]
async fn the_end_of_a_link_waits_for_small_chunks() {
    for (cut, closed_here) in [(false, false), (true, false), (false, true)] {
        let (mut near, far) = pair(5).await;
        let workers = Workers::threads(1).unwrap();
        let (gate, gated) = std::sync::mpsc::channel::<()>();
        workers.run(move || {
            let _ = gated.recv();
        });
        let mut far = End::with_workers(far, workers);
        // As many as there are buffers, should each come alone.
        let small = small_ones(&far.store, &far.store, 2);
        for one in &small {
            far.expect_small(one.0, one);
        }
        let mut bytes = small.iter().flat_map(frame).collect::<Vec<_>>();
        if cut {
            bytes.truncate(bytes.len() - 1);
        }
        near.writer.write_all(&bytes).await.unwrap();
        if !closed_here {
            near.writer.shutdown().await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        if closed_here {
            far.handle.close();
        }
        assert!(far.inbound.try_recv().is_err() && far.completions.try_recv().is_err());
        drop(gate);
        if !closed_here {
            let reason = if cut { CloseReason::Broken } else { CloseReason::Done };
            assert_eq!(far.down().await, reason);
        }
        let whole = if cut { &small[..1] } else { &small[..] };
        let expected: Vec<_> = whole.iter().map(|(number, content)| content.arrival(*number, 0)).collect();
        if closed_here {
            for expected in &expected {
                assert_eq!(far.arrived().await, *expected);
            }
        } else {
            assert_eq!(far.reported(), expected, "cut: {cut}");
        }
        assert!(whole.iter().all(|(_, content)| content.written(0)));
        near.writer.shutdown().await.unwrap();
        far.task.await.unwrap();
        // A slow write is reported before the buffer goes back.
        let back = async {
            while far.pool.available() < 2 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(10), back).await.unwrap();
    }
}

/// Small chunks do not wait for what follows them and does not come, nor for an actor that has no time: meanwhile another
/// link may wait for them.
#[tokio::test]
async fn small_chunks_wait_for_nothing() {
    let ping = |nonce| {
        let mut frame = Vec::new();
        encode_message(&PeerMessage::Ping { nonce }, &mut frame);
        frame
    };
    let half = ping(1)[..Header::BYTES + 1].to_vec();
    let unasked = Header::Chunk { slot: Slot(99), at: at(0), bytes: BYTES as u32 }.encode().to_vec();
    for behind in [half, unasked, [ping(1), ping(2)].concat()] {
        let (_near, far) = pair(1).await;
        let mut far = End::start(far);
        let small = small_ones(&far.store, &far.store, 2);
        for one in &small {
            far.expect_small(one.0, one);
        }
        let (arrivals, _landing) = far.arrivals();
        let (mut from, to) = duplex(1 << 16);
        // Room for one message.
        let (inbound, _unread) = mpsc::channel(1);
        let wrap = |link, msg: PeerMessage| PeerInput::Peer { link, msg };
        let messages = Messages { link: LINK, wrap, inbound, bodies: None };
        let mut frames = FrameReader::new(to);
        let bytes = [frame(&small[0]), frame(&small[1]), behind].concat();
        from.write_all(&bytes).await.unwrap();
        let mut reading = std::pin::pin!(read_link(&mut frames, &messages, Some(arrivals)));
        assert!(timeout(Duration::from_millis(50), &mut reading).await.is_err(), "it waits");
        let expected: Vec<_> = small.iter().map(|(number, content)| content.arrival(*number, 0)).collect();
        assert_eq!(far.reported(), expected);
    }
}
