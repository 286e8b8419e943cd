//! One question to a tracker, by a visitor that does not join it.

use std::net::SocketAddr;
use std::time::Duration;

use potluck_core::ids::PeerId;
use potluck_core::limits::{PEERS_PER_TRACKER, REQUEST_TIMEOUT, ROWS_PER_REPLY};
use potluck_core::peer::{Answer, CloseReason, DialError, Question};
use potluck_core::wire::frame::{Header, encode_message};
use potluck_core::wire::handshake::Seeks;
use potluck_core::wire::tracker::{
    HolderRow, PeerRow, Reach, RefusedRequest, TrackerMessage, TrackerRequest,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::connect::dial;
use crate::framing::FrameReader;
use crate::peer::random_seed;
use crate::tcp::TcpTransport;
use crate::transport::Transport;

/// Why a question was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// No tracker was reached at the address.
    #[error("no tracker answers at {tracker} ({why})")]
    Unreachable {
        /// Where.
        tracker: SocketAddr,
        /// Why, in a word.
        why: &'static str,
    },
    /// What answers there is no tracker, or one that does not keep to the protocol.
    #[error("what answers at {tracker} is no tracker")]
    NotATracker {
        /// Where.
        tracker: SocketAddr,
    },
    /// Only a peer that has joined may ask this.
    #[error("only a peer that has joined the tracker may ask this")]
    NotForVisitors,
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    Entropy,
}

/// Asks a tracker one question over TCP, without joining it, and closes. Takes at most five seconds.
///
/// # Errors
/// The tracker is not reached in time, does not keep to the protocol, or the question is not one for visitors. That a
/// tracker refuses is an [`Answer::Refused`].
///
/// ```no_run
/// use potluck_core::peer::{Answer, Question};
/// use potluck_core::wire::tracker::Matching;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let question = Question::Contents { matching: Matching::Substring("iso".into()), members: false, limit: 100 };
/// let answer = potluck_transport_tcp::ask_tracker("127.0.0.1:7070".parse()?, question).await?;
/// if let Answer::Contents(rows) = answer {
///     println!("{} contents", rows.len());
/// }
/// # Ok(())
/// # }
/// ```
pub async fn ask_tracker(tracker: SocketAddr, question: Question) -> Result<Answer, AskError> {
    let me = PeerId(random_seed().map_err(|_| AskError::Entropy)?.0);
    ask_tracker_over(&TcpTransport::default(), me, tracker, question).await
}

/// [`ask_tracker`] over any transport, as a visitor of this id.
///
/// # Errors
/// As [`ask_tracker`].
pub async fn ask_tracker_over<T: Transport>(
    transport: &T,
    me: PeerId,
    tracker: SocketAddr,
    question: Question,
) -> Result<Answer, AskError> {
    let unreachable = |why| AskError::Unreachable { tracker, why };
    let visit = async {
        let (connection, _) =
            dial(transport, tracker, me, Seeks::Tracker).await.map_err(|error| match error {
                DialError::Refused => unreachable("refused"),
                DialError::TimedOut => unreachable("no answer in time"),
                DialError::Unreachable => unreachable("no way there"),
                DialError::NotPotluck => AskError::NotATracker { tracker },
            })?;
        let frames = FrameReader::new(connection.reader);
        Visit { frames, writer: connection.writer, tracker, seq: 0 }.ask(question).await
    };
    timeout(VISIT, visit).await.unwrap_or_else(|_| Err(unreachable("no answer in time")))
}

/// A visit takes at most this long, all pages included.
const VISIT: Duration = REQUEST_TIMEOUT;

struct Visit<R, W> {
    frames: FrameReader<R>,
    writer: W,
    tracker: SocketAddr,
    seq: u32,
}

/// Rows of one reply, the number it quotes, and where the next page begins.
type Page<Row, C> = (u32, Vec<Row>, Option<C>);

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Visit<R, W> {
    async fn ask(mut self, question: Question) -> Result<Answer, AskError> {
        let tracker = self.tracker;
        let answer = match question {
            Question::Contents { matching, members, limit } => {
                let request = |seq, after, limit| {
                    let matching = matching.clone();
                    TrackerRequest::Search { seq, matching, members, after, limit }
                };
                let page = |message| {
                    let TrackerMessage::Rows { seq, rows, next } = message else { return None };
                    Some((seq, rows, next))
                };
                self.pages(limit as usize, request, page).await?.map(Answer::Contents)
            }
            Question::Holders { key } => {
                let request = |seq, after, limit| TrackerRequest::Holders { seq, key, after, limit };
                let page = |message| {
                    let TrackerMessage::HolderRows { seq, rows, next } = message else { return None };
                    Some((seq, rows, next))
                };
                let rows = self.pages(PEERS_PER_TRACKER, request, page).await?;
                let reached = |row: HolderRow| (row.reach, row);
                rows.map(|rows| Answer::Holders(resolve(rows, tracker, reached)))
            }
            Question::Peers => {
                let request = |seq, after, limit| TrackerRequest::Peers { seq, after, limit };
                let page = |message| {
                    let TrackerMessage::PeerRows { seq, rows, next } = message else { return None };
                    Some((seq, rows, next))
                };
                let rows = self.pages(PEERS_PER_TRACKER, request, page).await?;
                let reached = |row: PeerRow| (row.reach, row);
                rows.map(|rows| Answer::Peers(resolve(rows, tracker, reached)))
            }
            Question::Rename { .. } | Question::Synced => return Err(AskError::NotForVisitors),
        };
        Ok(answer.unwrap_or_else(Answer::Refused))
    }

    /// Asks page after page, for at most `limit` rows.
    async fn pages<Row, C>(
        &mut self,
        limit: usize,
        request: impl Fn(u32, Option<C>, u32) -> TrackerRequest,
        page: impl Fn(TrackerMessage) -> Option<Page<Row, C>>,
    ) -> Result<Result<Vec<Row>, RefusedRequest>, AskError> {
        let not_a_tracker = AskError::NotATracker { tracker: self.tracker };
        let (mut rows, mut after) = (Vec::new(), None);
        loop {
            self.seq += 1;
            let wanted = (limit - rows.len()).min(ROWS_PER_REPLY) as u32;
            self.send(&request(self.seq, after, wanted)).await?;
            let reply = self.reply().await?;
            if let TrackerMessage::Refused { why, .. } = reply {
                return Ok(Err(why));
            }
            let (seq, more, next) = page(reply).ok_or(not_a_tracker)?;
            if seq != self.seq || more.len() > wanted as usize {
                return Err(not_a_tracker);
            }
            rows.extend(more);
            match next {
                Some(next) if rows.len() < limit => after = Some(next),
                _ => return Ok(Ok(rows)),
            }
        }
    }

    async fn send(&mut self, request: &TrackerRequest) -> Result<(), AskError> {
        let mut frame = Vec::new();
        encode_message(request, &mut frame);
        let sent = async {
            self.writer.write_all(&frame).await?;
            self.writer.flush().await
        };
        sent.await.map_err(|_| AskError::Unreachable { tracker: self.tracker, why: "the connection broke" })
    }

    /// The next message that is not a ping.
    async fn reply(&mut self) -> Result<TrackerMessage, AskError> {
        let tracker = self.tracker;
        let broken = move |reason| {
            if matches!(reason, CloseReason::Misbehaved(_)) {
                return AskError::NotATracker { tracker };
            }
            AskError::Unreachable { tracker, why: "the connection broke" }
        };
        loop {
            let Header::Control { kind, bytes } = self.frames.header().await.map_err(broken)? else {
                return Err(AskError::NotATracker { tracker });
            };
            match self.frames.message::<TrackerMessage>(kind, bytes).await.map_err(broken)? {
                Some(TrackerMessage::Ping { nonce }) => self.send(&TrackerRequest::Pong { nonce }).await?,
                Some(message) => return Ok(message),
                None => {}
            }
        }
    }
}

/// Rows with the addresses at which they are reached from here: a peer on the tracker's own machine at the tracker's.
fn resolve<Row>(
    rows: Vec<Row>,
    tracker: SocketAddr,
    reached: impl Fn(Row) -> (Reach, Row),
) -> Vec<(Row, SocketAddr)> {
    let with_addr = |row| {
        let (reach, row) = reached(row);
        (row, SocketAddr::new(reach.ip.unwrap_or_else(|| tracker.ip()), reach.port))
    };
    rows.into_iter().map(with_addr).collect()
}
