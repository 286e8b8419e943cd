//! Frames through the in-memory transport, which cuts reads and writes at every place.

use potluck_core::ids::{ChunkAddr, PieceIndex, Slot};
use potluck_core::wire::frame::encode_message;
use potluck_core::wire::peer::PeerMessage;
use tokio::io::AsyncWriteExt;

use super::*;
use crate::memory::tests::pair;

fn chunk(bytes: u32) -> Header {
    Header::Chunk { slot: Slot(1), at: ChunkAddr { piece: PieceIndex(2), chunk: 3 }, bytes }
}

fn payload(bytes: u32) -> Vec<u8> {
    (0..bytes).map(|at| (at % 251) as u8).collect()
}

/// Writes messages, chunks and frames of a later release in one go, for many ways to cut them, and reads them one by one.
#[tokio::test]
async fn frames_arrive_whole_however_they_are_cut() {
    let long = PeerMessage::Bitfield { slot: Slot(9), first: 0, bits: payload(20_000) };
    for seed in 0..50 {
        let (near, far) = pair(seed).await;
        let mut bytes = Vec::new();
        encode_message(&PeerMessage::Ping { nonce: 7 }, &mut bytes);
        bytes.extend(chunk(70_001).encode());
        bytes.extend(payload(70_001));
        bytes.extend(Header::Control { kind: 200, bytes: 9000 }.encode());
        bytes.extend(payload(9000));
        encode_message(&long, &mut bytes);
        bytes.extend(chunk(5).encode());
        bytes.extend(payload(5));
        let mut writer = near.writer;
        let writing = tokio::spawn(async move {
            writer.write_all(&bytes).await.unwrap();
            writer.shutdown().await.unwrap();
        });
        let mut frames = FrameReader::new(far.reader);
        let Header::Control { kind, bytes } = frames.header().await.unwrap() else { panic!("no message") };
        assert_eq!(frames.message(kind, bytes).await, Ok(Some(PeerMessage::Ping { nonce: 7 })));
        assert_eq!(frames.header().await, Ok(chunk(70_001)));
        let (mut body, mut told) = (vec![0; 70_001], 0);
        frames.read_exact(&mut body, |bytes| told += bytes).await.unwrap();
        assert_eq!(body, payload(70_001));
        assert!((70_001 - BUFFER_BYTES..=70_001).contains(&told));
        let Header::Control { kind, bytes } = frames.header().await.unwrap() else { panic!("no message") };
        assert_eq!(frames.message::<PeerMessage>(kind, bytes).await, Ok(None));
        let Header::Control { kind, bytes } = frames.header().await.unwrap() else { panic!("no message") };
        assert_eq!(frames.message(kind, bytes).await.as_ref(), Ok(&Some(long.clone())));
        assert_eq!(frames.header().await, Ok(chunk(5)));
        frames.skip(5).await.unwrap();
        assert_eq!(frames.header().await, Err(CloseReason::Done));
        writing.await.unwrap();
    }
}

async fn refused(bytes: &[u8]) -> CloseReason {
    let (mut near, far) = pair(1).await;
    near.writer.write_all(bytes).await.unwrap();
    near.writer.shutdown().await.unwrap();
    let mut frames = FrameReader::new(far.reader);
    loop {
        let read = match frames.header().await {
            Err(reason) => return reason,
            Ok(Header::Chunk { bytes, .. }) => frames.skip(bytes).await,
            Ok(Header::Control { kind, bytes }) => frames.message::<PeerMessage>(kind, bytes).await.map(drop),
        };
        if let Err(reason) = read {
            return reason;
        }
    }
}

#[tokio::test]
async fn what_is_no_frame_is_garbage_and_half_a_frame_is_broken() {
    let header = |kind, bytes| Header::Control { kind, bytes }.encode();
    assert_eq!(refused(&header(60, 0)).await, GARBAGE, "an unknown kind");
    assert_eq!(refused(&header(16, 17)).await, GARBAGE, "longer than its kind's cap");
    assert_eq!(refused(&[header(16, 3).as_slice(), &[1, 2, 3]].concat()).await, GARBAGE, "no message");
    assert_eq!(refused(&[0xff; 16]).await, GARBAGE, "longer than any frame");
    assert_eq!(refused(&header(16, 8)[..9]).await, CloseReason::Broken, "half a header");
    assert_eq!(refused(&[header(16, 8).as_slice(), &[1]].concat()).await, CloseReason::Broken, "half a body");
    assert_eq!(refused(&chunk(100).encode()).await, CloseReason::Broken, "no payload");
    assert_eq!(refused(&[]).await, CloseReason::Done);
}

/// A frame may pause, but not for longer than [`SILENT_LINK`] per [`PROGRESS_BYTES`]; between frames there is no limit.
#[tokio::test(start_paused = true)]
async fn a_frame_that_stands_still_ends_the_link() {
    let (mut near, far) = pair(1).await;
    let mut frames = FrameReader::new(far.reader);
    let reading = tokio::spawn(async move {
        let header = frames.header().await.unwrap();
        let mut body = vec![0; header.body_bytes() as usize];
        let read = frames.read_exact(&mut body, |_| {}).await;
        (read, frames)
    });
    tokio::time::sleep(SILENT_LINK * 10).await;
    near.writer.write_all(&chunk(PROGRESS_BYTES as u32 * 4).encode()).await.unwrap();
    for _ in 0..3 {
        near.writer.write_all(&payload(PROGRESS_BYTES as u32)).await.unwrap();
        tokio::time::sleep(SILENT_LINK.mul_f32(0.8)).await;
    }
    for byte in 0..4 {
        near.writer.write_all(&[byte]).await.unwrap();
        tokio::time::sleep(SILENT_LINK.mul_f32(0.4)).await;
    }
    assert_eq!(reading.await.unwrap().0, Err(CloseReason::Silent));
}
