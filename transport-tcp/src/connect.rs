//! From a connection to a link: both handshakes, with a limit on time and on how many wait.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};

use potluck_core::ids::{OpId, PeerId};
use potluck_core::limits::DIAL_TIMEOUT;
use potluck_core::origin::origin;
use potluck_core::peer::{DialError, Role};
use potluck_core::wire::handshake::{Handshake, HandshakeFault, Seeks};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use crate::limits::{ACCEPT_AGAIN, ACCEPT_TOLD_EVERY, HANDSHAKES_MAX, HANDSHAKES_PER_ADDRESS};
use crate::store::disk::is_out_of_files;
use crate::transport::{Connection, Listener, Transport};

/// A connection on which both handshakes are done.
#[derive(Debug)]
pub(crate) struct Established<R, W> {
    pub(crate) reader: R,
    pub(crate) writer: W,
    /// Where the far end is.
    pub(crate) addr: SocketAddr,
    /// Who the far end says it is.
    pub(crate) peer: PeerId,
    /// What the link carries: [`Role::Tracker`] if one of its ends is a tracker.
    pub(crate) role: Role,
    /// The dial that it answers; `None`: the far end dialed.
    pub(crate) dialed: Option<OpId>,
}

/// Connects and shakes hands, within [`DIAL_TIMEOUT`]. Cancel safe: a dropped future drops the connection.
pub(crate) async fn dial<T: Transport>(
    transport: &T,
    addr: SocketAddr,
    me: PeerId,
    seeks: Seeks,
) -> Result<(Connection<T::Reader, T::Writer>, PeerId), DialError> {
    let attempt = async {
        let mut connection = transport.connect(addr).await.map_err(|error| classify(&error))?;
        send_handshake(&mut connection.writer, me, seeks).await.map_err(|_| DialError::Refused)?;
        let answer = read_handshake(&mut connection.reader).await.map_err(|_| DialError::Refused)?;
        let answer = answer.map_err(|_| DialError::NotPotluck)?;
        if answer.seeks != seeks {
            return Err(DialError::NotPotluck);
        }
        Ok((connection, answer.peer))
    };
    timeout(DIAL_TIMEOUT, attempt).await.unwrap_or(Err(DialError::TimedOut))
}

fn classify(error: &io::Error) -> DialError {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, TimedOut};
    if matches!(error.kind(), ConnectionRefused | ConnectionReset | ConnectionAborted) {
        return DialError::Refused;
    }
    if is_out_of_files(error) {
        return DialError::TooManyOpen;
    }
    if error.kind() == TimedOut { DialError::TimedOut } else { DialError::Unreachable }
}

/// Accepts connections for as long as it is polled, and hands on those whose handshake succeeded. Who only asks who is
/// here (a probe) is answered and let go. Bounded: [`HANDSHAKES_MAX`], [`HANDSHAKES_PER_ADDRESS`], [`DIAL_TIMEOUT`]. Strangers
/// that say nothing do not keep others out: when all places are taken, the oldest of the most crowded address is given up.
pub(crate) async fn accept_links<L: Listener>(
    mut listener: L,
    me: PeerId,
    role: Role,
    established: mpsc::Sender<Established<L::Reader, L::Writer>>,
) where
    L::Reader: AsyncRead + Unpin + Send + 'static,
    L::Writer: AsyncWrite + Unpin + Send + 'static,
{
    let mut handshakes = JoinSet::new();
    let mut pending = Pending::default();
    let mut told: Option<Instant> = None;
    loop {
        tokio::select! {
            biased;
            Some(ended) = handshakes.join_next() => {
                // One that was given up has left its place already.
                if let Ok((ip, number)) = ended {
                    pending.ended(ip, number);
                }
            }
            accepted = listener.accept() => {
                let connection = match accepted {
                    Ok(connection) => connection,
                    Err(error) => {
                        if told.is_none_or(|told| told.elapsed() >= ACCEPT_TOLD_EVERY) {
                            tracing::warn!(%error, "connections are not accepted");
                            told = Some(Instant::now());
                        }
                        sleep(ACCEPT_AGAIN).await;
                        continue;
                    }
                };
                let addr = connection.remote;
                let Some((ip, number)) = pending.place(addr.ip()) else {
                    tracing::debug!(%addr, "too many handshakes are pending from this address");
                    continue;
                };
                let established = established.clone();
                let handshake = handshakes.spawn(async move {
                    match timeout(DIAL_TIMEOUT, greet(connection, me, role)).await {
                        Ok(Ok(Some(link))) => drop(established.send(link).await),
                        Ok(Ok(None)) => {}
                        Ok(Err(error)) => tracing::debug!(%addr, %error, "handshake failed"),
                        Err(_) => tracing::debug!(%addr, "no handshake in time"),
                    }
                    (ip, number)
                });
                pending.began(ip, number, handshake);
            }
        }
    }
}

/// Handshakes that are not through: by address, oldest first.
#[derive(Debug, Default)]
struct Pending {
    from: HashMap<IpAddr, VecDeque<(u64, AbortHandle)>>,
    count: usize,
    last: u64,
}

impl Pending {
    /// A place for one more from this address, and its number; `None`: it has enough of them.
    fn place(&mut self, ip: IpAddr) -> Option<(IpAddr, u64)> {
        let ip = origin(ip);
        if self.from.get(&ip).is_some_and(|from| from.len() >= HANDSHAKES_PER_ADDRESS) {
            return None;
        }
        if self.count >= HANDSHAKES_MAX {
            self.give_up();
        }
        self.last += 1;
        Some((ip, self.last))
    }

    fn began(&mut self, ip: IpAddr, number: u64, handshake: AbortHandle) {
        self.from.entry(ip).or_default().push_back((number, handshake));
        self.count += 1;
    }

    fn ended(&mut self, ip: IpAddr, number: u64) {
        let Some(from) = self.from.get_mut(&ip) else { return };
        let before = from.len();
        from.retain(|(other, _)| *other != number);
        self.count -= before - from.len();
        if from.is_empty() {
            self.from.remove(&ip);
        }
    }

    /// Ends the oldest handshake of the address that has most of them.
    fn give_up(&mut self) {
        let oldest = |from: &VecDeque<(u64, AbortHandle)>| from.front().map(|(number, _)| *number);
        let crowd = self.from.iter().max_by_key(|(_, from)| (from.len(), Reverse(oldest(from))));
        let Some((ip, (number, handshake))) = crowd.and_then(|(ip, from)| Some((*ip, from.front()?.clone())))
        else {
            return;
        };
        handshake.abort();
        self.ended(ip, number);
    }
}

/// Answers the far end's handshake; `None`: it was a probe, and is answered.
async fn greet<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    connection: Connection<R, W>,
    me: PeerId,
    role: Role,
) -> io::Result<Option<Established<R, W>>> {
    let Connection { mut reader, mut writer, remote: addr } = connection;
    let theirs = read_handshake(&mut reader).await?.map_err(io::Error::other)?;
    match (theirs.seeks, role) {
        (Seeks::Peer, Role::Peer) | (Seeks::Tracker, Role::Tracker) => {
            send_handshake(&mut writer, me, theirs.seeks).await?;
            Ok(Some(Established { reader, writer, addr, peer: theirs.peer, role, dialed: None }))
        }
        (Seeks::Probe, _) => {
            send_handshake(&mut writer, me, theirs.seeks).await?;
            writer.shutdown().await?;
            Ok(None)
        }
        (Seeks::Peer, Role::Tracker) | (Seeks::Tracker, Role::Peer) => {
            Err(io::Error::other("it looks for something that is not here"))
        }
    }
}

async fn send_handshake<W: AsyncWrite + Unpin>(writer: &mut W, me: PeerId, seeks: Seeks) -> io::Result<()> {
    writer.write_all(&Handshake::new(me, seeks).encode()).await?;
    writer.flush().await
}

async fn read_handshake<R: AsyncRead + Unpin>(
    reader: &mut R,
) -> io::Result<Result<Handshake, HandshakeFault>> {
    let mut bytes = [0; Handshake::BYTES];
    reader.read_exact(&mut bytes).await?;
    Ok(Handshake::decode(&bytes))
}

#[cfg(test)]
mod tests;
