//! One question to a tracker, by a visitor that does not join it.

use std::convert::Infallible;
use std::net::SocketAddr;

use potluck_core::ids::PeerId;
use potluck_core::limits::{
    EMPTY_PAGES_MAX, PEERS_PER_TRACKER, REQUEST_TIMEOUT, ROWS_PER_REPLY, SILENT_LINK,
};
use potluck_core::peer::{Answer, CloseReason, DialError, Question};
use potluck_core::wire::frame::{Header, encode_message};
use potluck_core::wire::handshake::Seeks;
use potluck_core::wire::tracker::{
    HolderRow, PeerRow, Reach, RefusedRequest, TrackerMessage, TrackerRequest,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

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

/// Asks a tracker one question over TCP, without joining it, and closes. An answer begins to come within five seconds, or
/// there is none.
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
    let me = visitor()?;
    ask_tracker_over(&TcpTransport::default(), me, tracker, question).await
}

/// As [`ask_tracker`], but hands over the answer page by page as it comes: each page is an answer of its own, with at most
/// [`ROWS_PER_REPLY`] rows.
///
/// # Errors
/// As [`ask_tracker`]; pages that came before have been handed over.
pub async fn ask_tracker_by_page(
    tracker: SocketAddr,
    question: Question,
    each: impl FnMut(Answer),
) -> Result<(), AskError> {
    let me = visitor()?;
    visit(&TcpTransport::default(), me, tracker).await?.ask(question, each).await
}

/// Peers that came (or took another name) and where they can be dialed from here, and peers that left, with the name they
/// had.
pub type PeersChange = (Vec<(PeerRow, SocketAddr)>, Vec<(PeerId, String)>);

/// Asks a tracker to tell who is here, and from then on who comes and goes, without joining it. The first changes bring who
/// is here: at most [`ROWS_PER_REPLY`] in each, fewer (perhaps none) in the last. Goes on until it fails, or is dropped.
///
/// # Errors
/// The tracker is not reached, ends the watch, is silent for too long, or does not keep to the protocol.
pub async fn watch_tracker_peers(
    tracker: SocketAddr,
    each: impl FnMut(PeersChange),
) -> Result<Infallible, AskError> {
    let visit = visit(&TcpTransport::default(), visitor()?, tracker).await?;
    visit.watch_peers(each).await
}

/// Nobody knows a visitor: an id for one question.
fn visitor() -> Result<PeerId, AskError> {
    Ok(PeerId(random_seed().map_err(|_| AskError::Entropy)?.0))
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
    let mut whole = None;
    let merge = |page| match (&mut whole, page) {
        (Some(Answer::Contents(rows)), Answer::Contents(more)) => rows.extend(more),
        (Some(Answer::Holders(rows)), Answer::Holders(more)) => rows.extend(more),
        (Some(Answer::Peers(rows)), Answer::Peers(more)) => rows.extend(more),
        (whole, page) => *whole = Some(page),
    };
    visit(transport, me, tracker).await?.ask(question, merge).await?;
    whole.ok_or(AskError::NotATracker { tracker })
}

/// Connects. The first answer is to come within [`REQUEST_TIMEOUT`] from here on.
async fn visit<T: Transport>(
    transport: &T,
    me: PeerId,
    tracker: SocketAddr,
) -> Result<Visit<T::Reader, T::Writer>, AskError> {
    let unreachable = |why| AskError::Unreachable { tracker, why };
    let until = Instant::now() + REQUEST_TIMEOUT;
    let (connection, _) =
        dial(transport, tracker, me, Seeks::Tracker).await.map_err(|error| match error {
            DialError::Refused => unreachable("refused"),
            DialError::TimedOut => unreachable("no answer in time"),
            DialError::Unreachable => unreachable("no way there"),
            DialError::TooManyOpen => unreachable("as many files are open as may be"),
            DialError::NotPotluck => AskError::NotATracker { tracker },
        })?;
    let frames = FrameReader::new(connection.reader);
    Ok(Visit { frames, writer: connection.writer, tracker, seq: 0, until })
}

struct Visit<R, W> {
    frames: FrameReader<R>,
    writer: W,
    tracker: SocketAddr,
    seq: u32,
    /// When the next reply must have come.
    until: Instant,
}

/// Rows of one reply, the number it quotes, and where the next page begins.
type Page<Row, C> = (u32, Vec<Row>, Option<C>);

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Visit<R, W> {
    async fn ask(mut self, question: Question, mut each: impl FnMut(Answer)) -> Result<(), AskError> {
        let tracker = self.tracker;
        let refused = match question {
            Question::Contents { matching, members, limit } => {
                let request = |seq, after, limit| {
                    let matching = matching.clone();
                    TrackerRequest::Search { seq, matching, members, after, limit }
                };
                let page = |message| {
                    let TrackerMessage::Rows { seq, rows, next } = message else { return None };
                    Some((seq, rows, next))
                };
                self.pages(limit as usize, request, page, |rows| each(Answer::Contents(rows))).await?
            }
            Question::Holders { key } => {
                let request = |seq, after, limit| TrackerRequest::Holders { seq, key, after, limit };
                let page = |message| {
                    let TrackerMessage::HolderRows { seq, rows, next } = message else { return None };
                    Some((seq, rows, next))
                };
                let each = |rows| each(Answer::Holders(resolve(rows, tracker, |row: &HolderRow| row.reach)));
                self.pages(PEERS_PER_TRACKER, request, page, each).await?
            }
            Question::Peers => {
                let request = |seq, after, limit| TrackerRequest::Peers { seq, after, limit };
                let page = |message| {
                    let TrackerMessage::PeerRows { seq, rows, next } = message else { return None };
                    Some((seq, rows, next))
                };
                let each = |rows| each(Answer::Peers(resolve(rows, tracker, |row: &PeerRow| row.reach)));
                self.pages(PEERS_PER_TRACKER, request, page, each).await?
            }
            Question::Rename { .. } | Question::OfferTo { .. } | Question::Synced => {
                return Err(AskError::NotForVisitors);
            }
        };
        if let Some(why) = refused {
            each(Answer::Refused(why));
        }
        Ok(())
    }

    /// Asks page after page, for at most `limit` rows, until the tracker has no more or refuses. Every page begins
    /// beyond the one before, and some bring something: what leads in circles, or on and on, is no tracker.
    async fn pages<Row, C: Clone + Ord>(
        &mut self,
        limit: usize,
        request: impl Fn(u32, Option<C>, u32) -> TrackerRequest,
        page: impl Fn(TrackerMessage) -> Option<Page<Row, C>>,
        mut each: impl FnMut(Vec<Row>),
    ) -> Result<Option<RefusedRequest>, AskError> {
        let not_a_tracker = AskError::NotATracker { tracker: self.tracker };
        let (mut left, mut after, mut empty) = (limit, None::<C>, 0);
        loop {
            self.seq += 1;
            let wanted = left.min(ROWS_PER_REPLY);
            self.send(&request(self.seq, after.clone(), wanted as u32)).await?;
            let reply = match timeout_at(self.until, self.reply()).await {
                Ok(reply) => reply?,
                Err(_) => {
                    return Err(AskError::Unreachable { tracker: self.tracker, why: "no answer in time" });
                }
            };
            if let TrackerMessage::Refused { why, .. } = reply {
                return Ok(Some(why));
            }
            let (seq, rows, next) = page(reply).ok_or(not_a_tracker)?;
            let goes_on = next.as_ref().is_none_or(|next| after.as_ref().is_none_or(|after| after < next));
            empty = if rows.is_empty() { empty + 1 } else { 0 };
            let leads_on = next.is_some() && empty >= EMPTY_PAGES_MAX;
            if seq != self.seq || rows.len() > wanted || !goes_on || leads_on {
                return Err(not_a_tracker);
            }
            left -= rows.len();
            each(rows);
            match next {
                Some(next) if left > 0 => after = Some(next),
                _ => return Ok(None),
            }
            self.until = Instant::now() + REQUEST_TIMEOUT;
        }
    }

    async fn watch_peers(mut self, mut each: impl FnMut(PeersChange)) -> Result<Infallible, AskError> {
        let tracker = self.tracker;
        self.send(&TrackerRequest::WatchPeers { on: true }).await?;
        loop {
            let message = match timeout_at(self.until, self.message()).await {
                Ok(message) => message?,
                Err(_) => return Err(AskError::Unreachable { tracker, why: "it fell silent" }),
            };
            self.until = Instant::now() + SILENT_LINK;
            match message {
                Some(TrackerMessage::PeerChange { joined, left }) => {
                    each((resolve(joined, tracker, |row: &PeerRow| row.reach), left));
                }
                Some(_) => return Err(AskError::NotATracker { tracker }),
                None => {}
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
        loop {
            if let Some(message) = self.message().await? {
                return Ok(message);
            }
        }
    }

    /// The next message; `None` for a ping, which was answered, and for what nobody knows.
    async fn message(&mut self) -> Result<Option<TrackerMessage>, AskError> {
        let tracker = self.tracker;
        let broken = move |reason| {
            if matches!(reason, CloseReason::Misbehaved(_)) {
                return AskError::NotATracker { tracker };
            }
            AskError::Unreachable { tracker, why: "the connection broke" }
        };
        let Header::Control { kind, bytes } = self.frames.header().await.map_err(broken)? else {
            return Err(AskError::NotATracker { tracker });
        };
        let message = self.frames.message::<TrackerMessage>(kind, bytes).await.map_err(broken)?;
        if let Some(TrackerMessage::Ping { nonce }) = message {
            self.send(&TrackerRequest::Pong { nonce }).await?;
            return Ok(None);
        }
        Ok(message)
    }
}

/// Rows with the addresses at which they are reached from here: a peer on the tracker's own machine at the tracker's.
fn resolve<Row>(
    rows: Vec<Row>,
    tracker: SocketAddr,
    reach: impl Fn(&Row) -> Reach,
) -> Vec<(Row, SocketAddr)> {
    let with_addr = |row| {
        let Reach { ip, port, .. } = reach(&row);
        (row, SocketAddr::new(ip.unwrap_or_else(|| tracker.ip()), port))
    };
    rows.into_iter().map(with_addr).collect()
}

#[cfg(test)]
mod tests;
