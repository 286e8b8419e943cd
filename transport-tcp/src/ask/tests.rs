//! A visitor and a scripted tracker over the in-memory transport.

use potluck_core::content::Kind;
use potluck_core::ids::{ContentId, ContentKey};
use potluck_core::peer::Role;
use potluck_core::seed::Seed;
use potluck_core::wire::tracker::{Cursor, Matching, Row};
use tokio::sync::mpsc;

use super::*;
use crate::connect::accept_links;
use crate::memory::tests::ip;
use crate::memory::{MemoryNetwork, MemoryTransport};

fn row(number: u32) -> Row {
    let key = ContentKey { id: ContentId([7; 32]), length: u64::from(number) };
    Row { key, kind: Kind::File, name: format!("{number:05}"), complete: 1, partial: 0, total: key.length }
}

/// A number of rows with which the tracker has no rows, and its cursor stays where it is.
const CIRCLES: u32 = u32::MAX;
/// The same, and its cursor moves on and on.
const ENDLESS: u32 = u32::MAX - 1;

/// A tracker that lists `rows` rows by pages of at most 100 and after that many replies says nothing more; or refuses.
async fn tracker(rows: u32, replies: usize, refuse: bool) -> (MemoryTransport, SocketAddr) {
    let network = MemoryNetwork::new(Seed::from_number(1));
    let listener = network.host(ip(1)).listen(SocketAddr::new(ip(1), 0)).await.unwrap();
    let addr = crate::transport::Listener::local_addr(&listener);
    let (sender, mut established) = mpsc::channel(1);
    tokio::spawn(accept_links(listener, PeerId([2; 32]), Role::Tracker, sender));
    tokio::spawn(async move {
        let mut link = established.recv().await.unwrap();
        let mut frames = FrameReader::new(link.reader);
        for reply in 0.. {
            let Ok(Header::Control { kind, bytes }) = frames.header().await else { return };
            let request = frames.message::<TrackerRequest>(kind, bytes).await.unwrap().unwrap();
            let TrackerRequest::Search { seq, after, limit, .. } = request else { panic!("{request:?}") };
            let first = after.map_or(0, |after: Cursor| after.name.parse::<u32>().unwrap() + 1);
            let end = rows.min(first + limit.min(100));
            let mut page: Vec<Row> = (first..end).map(row).collect();
            let next = page.last().filter(|_| end < rows);
            let mut next = next.map(|row| Cursor { name: row.name.clone(), key: row.key });
            if rows >= ENDLESS {
                page.clear();
                let at = if rows == CIRCLES { 1 } else { first };
                next = Some(Cursor { name: row(at).name, key: row(at).key });
            }
            let answer = match refuse {
                true => TrackerMessage::Refused { seq, why: RefusedRequest::BadQuery("?".into()) },
                false => TrackerMessage::Rows { seq, rows: page, next },
            };
            if reply == replies {
                std::future::pending::<()>().await;
            }
            let mut out = Vec::new();
            encode_message(&answer, &mut out);
            link.writer.write_all(&out).await.unwrap();
        }
    });
    (network.host(ip(2)), addr)
}

async fn ask(rows: u32, limit: u32, replies: usize, refuse: bool) -> Result<Answer, AskError> {
    let (transport, addr) = tracker(rows, replies, refuse).await;
    let question = Question::Contents { matching: Matching::All, members: false, limit };
    ask_tracker_over(&transport, PeerId([1; 32]), addr, question).await
}

#[tokio::test(start_paused = true)]
async fn all_pages_up_to_the_limit() {
    for (rows, limit, expected) in
        [(0, 10, 0), (1, 10, 1), (1000, 10_000, 1000), (1000, 357, 357), (100, 0, 0)]
    {
        let listed = (0..expected).map(row).collect();
        assert_eq!(ask(rows, limit, 100, false).await, Ok(Answer::Contents(listed)));
    }
}

#[tokio::test(start_paused = true)]
async fn what_fails_says_how() {
    let refused = Answer::Refused(RefusedRequest::BadQuery("?".into()));
    assert_eq!(ask(10, 10, 100, true).await, Ok(refused));
    for replies in [0, 3] {
        let began = Instant::now();
        let silent = ask(1000, 10_000, replies, false).await;
        assert!(matches!(silent, Err(AskError::Unreachable { why: "no answer in time", .. })));
        assert_eq!(began.elapsed(), REQUEST_TIMEOUT);
    }
    let nobody = MemoryNetwork::new(Seed::from_number(1)).host(ip(1));
    let question = Question::Synced;
    let addr = SocketAddr::new(ip(1), 1);
    let refused = ask_tracker_over(&nobody, PeerId([1; 32]), addr, question).await;
    assert!(matches!(refused, Err(AskError::Unreachable { why: "refused", .. })));
}

#[tokio::test(start_paused = true)]
async fn a_cursor_that_does_not_advance_is_no_trackers() {
    assert!(matches!(ask(CIRCLES, 1000, 100, false).await, Err(AskError::NotATracker { .. })));
}

#[tokio::test(start_paused = true)]
async fn pages_without_rows_and_without_end_are_no_trackers() {
    let endless = ask(ENDLESS, 1000, EMPTY_PAGES_MAX as usize, false).await;
    assert!(matches!(endless, Err(AskError::NotATracker { .. })));
}
