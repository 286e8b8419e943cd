//! The network: one model, stated here in full.
//!
//! 1. Every host has an uplink and a downlink of fixed rates (bytes per second). A connection is two streams, one each way.
//! 2. A stream's frames leave in order. The uplink serves its streams fairly by bytes (`pipe`): a turn is one chunk, or what
//!    comes before the next chunk (on a link so slow that a chunk takes long, a part of one), so chunks leave round-robin, and
//!    smaller parts of them take together one chunk's place. Streams whose next frame is small go first.
//!    So a control message waits behind what its own socket has accepted before it, and behind one chunk of the others: its
//!    packets need not wait until a whole chunk of each other connection has left. (With 6 or 16 busy connections on a link of
//!    100 Mbit/s, behind a queue of 192 KB as `tbf` keeps it, a message and its answer on another took 12 ms, measured
//!    between network namespaces; the kernel's default queue, `fq_codel`, RFC 8290, lets sparse flows pass at once. A chunk
//!    takes 21 ms there, and one of each of six connections would be 126 ms.)
//! 3. A stream may have a *window* of bytes sent and not acknowledged: ten segments at first and after an idle spell, doubled
//!    per round trip (a byte acknowledged is a byte more), up to twice the bandwidth-delay product and some. A chunk larger
//!    than the window leaves in parts. (In the same set-up a chunk over a connection that was idle took 65 ms beside 8 busy
//!    ones, 110 ms beside 16. Were each part to wait for a chunk of all others it would be a second.)
//! 4. What left arrives after the pair's latency and a random jitter, never before what left earlier on that stream.
//! 5. The downlink serves its streams in the same turns, likewise fairly. It may begin with the first byte of a turn and
//!    cannot end before the last has come, so that two equal links in a row cost the time of one.
//! 6. Nothing is lost: what meets a partition, or a paused process, comes later; acknowledgements likewise. A connection ends
//!    by a `Close` behind its frames, by a reset, or by silence.
//!
//! Not modelled: loss and congestion windows that shrink, header overhead below the frames, path limits other than the
//! hosts' own links. Units: bytes and nanoseconds.

mod dial;
mod path;
mod pipe;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use potluck_core::ids::{ChunkAddr, OpId, Slot};
use potluck_core::peer::{CloseReason, DialError};
use potluck_core::time::Instant;
use potluck_core::wire::peer::PeerMessage;
use potluck_core::wire::tracker::{TrackerMessage, TrackerRequest};

use crate::dice::Dice;
use crate::events::Events;
use dial::Dial;
pub(crate) use dial::Seeks;
pub(crate) use path::Barrier;
use path::Barriers;
use pipe::Pipe;
use stream::Stream;

/// How long what was accepted may take to leave after a close, before the connection is reset.
const LINGER: Duration = Duration::from_secs(10);

/// Index of a host in its world.
pub(crate) type HostId = u32;

/// One end of a connection. The stream that this end sends has the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EndId(pub(crate) u32);

impl EndId {
    const fn of(conn: usize, side: usize) -> Self {
        Self((conn * 2 + side) as u32)
    }
    /// The connection.
    pub(crate) const fn conn(self) -> usize {
        self.0 as usize / 2
    }
    /// 0: the dialer's. 1: the accepter's.
    pub(crate) const fn side(self) -> usize {
        self.0 as usize % 2
    }
    /// The other end.
    pub(crate) const fn far(self) -> Self {
        Self(self.0 ^ 1)
    }
    /// Its place in a table of all ends.
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A chunk under way: its address, and which world-wide content it belongs to; its bytes are a function of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkFrame {
    /// The asker's number for the content.
    pub(crate) slot: Slot,
    /// Index into the world's contents.
    pub(crate) content: u32,
    /// Which chunk its header says it is.
    pub(crate) at: ChunkAddr,
    /// 0: the right bytes; else some other bytes, distinct per number.
    pub(crate) taint: u32,
}

/// What a frame carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// Payload.
    Chunk(ChunkFrame),
    /// Between peers.
    Peer(PeerMessage),
    /// To a tracker.
    Request(Box<TrackerRequest>),
    /// From a tracker.
    Reply(Box<TrackerMessage>),
    /// Bytes that are no frame.
    Garbage,
    /// The end of the stream.
    Fin,
}

/// A frame with its length on the wire.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// Bytes, header included.
    pub(crate) bytes: u32,
    /// What it carries.
    pub(crate) body: Body,
}

/// What the network wants to be woken for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NetEvent {
    /// An uplink is free again.
    Up(HostId),
    /// A downlink is free again.
    Down(HostId),
    /// The next turn of a stream reaches the far host.
    Arrive(EndId),
    /// What a stream held back may go on.
    Release(EndId),
    /// A stream's oldest acknowledgement is due.
    Ack(EndId),
    /// The next step of a dial.
    Dial(u32),
    /// This end learns that its connection was reset.
    Reset(EndId),
    /// A closed end has waited long enough for its last frames to leave.
    Linger(EndId),
}

/// What the world is told.
#[derive(Clone, Debug)]
pub(crate) enum Happened {
    /// A frame arrived whole at this end.
    Frame {
        /// Where.
        at: EndId,
        /// What.
        body: Body,
        /// Bytes on the wire.
        bytes: u32,
    },
    /// Bytes of a frame that is not whole yet arrived at this end.
    Part {
        /// Where.
        at: EndId,
        /// How many.
        bytes: u32,
    },
    /// Bytes of a chunk leave a host.
    Payload {
        /// Which host.
        host: HostId,
        /// How many.
        bytes: u32,
    },
    /// The last byte of a chunk left this end's host.
    ChunkSent {
        /// From where.
        by: EndId,
        /// Which.
        chunk: ChunkFrame,
        /// Bytes on the wire.
        bytes: u32,
    },
    /// A connection was accepted; this is the accepter's end.
    Accepted {
        /// Its end.
        at: EndId,
    },
    /// A dial came through; this is the dialer's end.
    Connected {
        /// Its end.
        at: EndId,
        /// The dial.
        op: OpId,
    },
    /// A dial did not come through.
    DialFailed {
        /// Who dialed.
        host: HostId,
        /// The dial.
        op: OpId,
        /// Why.
        error: DialError,
    },
    /// A probe came to an end.
    Probed {
        /// Who probed.
        host: HostId,
        /// The probe.
        op: OpId,
        /// Who answered.
        answered_by: Option<HostId>,
    },
    /// The connection of this end is gone.
    Down {
        /// Whose.
        at: EndId,
        /// Why.
        reason: CloseReason,
    },
}

/// Whether anything answers at a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// The process runs.
    Up,
    /// The machine is on, the process is not there: dials are refused.
    NoProcess,
    /// Nothing answers.
    Off,
}

/// Links and latency of a host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    /// Bytes per second up.
    pub(crate) up: u64,
    /// Bytes per second down.
    pub(crate) down: u64,
    /// Nanoseconds one way between the host and the middle of the network.
    pub(crate) delay: u64,
    /// Nothing can dial it; it can dial.
    pub(crate) nat: bool,
    /// It answers as a tracker.
    pub(crate) tracker: bool,
}

#[derive(Debug)]
struct Host {
    up: Pipe,
    down: Pipe,
    /// A wake-up for the uplink is in the queue.
    up_wake: bool,
    /// The stream whose turn it is, and the chunk whose last byte leaves in it.
    sending: Option<(EndId, Option<(ChunkFrame, u32)>)>,
    /// The stream whose turn the downlink is taking in.
    serving: Option<EndId>,
    access: Access,
    presence: Presence,
    paused: bool,
    /// Dials to it fail at once, or never end.
    refuses: bool,
    hangs: bool,
    /// Counted up whenever the process ends.
    incarnation: u32,
    ends: BTreeSet<EndId>,
}

#[derive(Debug)]
struct Conn {
    hosts: [HostId; 2],
    streams: [Stream; 2],
    open: [bool; 2],
    /// Nanoseconds one way.
    latency: u64,
    /// Nothing gets through any more, and nobody is told.
    black_hole: bool,
}

/// All hosts' links and all connections. See the module's text for the model.
#[derive(Debug)]
pub(crate) struct Net {
    hosts: Vec<Host>,
    conns: Vec<Option<Box<Conn>>>,
    open_conns: usize,
    dials: Vec<Option<Dial>>,
    barriers: Barriers,
    dice: Dice,
    /// Nanoseconds by which the latency of a pair may exceed the sum of both delays.
    pair_spread: u64,
    /// Nanoseconds of random extra delay per turn.
    jitter: u64,
    /// What happened, for the world to take.
    pub(crate) happened: VecDeque<Happened>,
}

/// Something that can hold network events besides its own.
pub(crate) type Queue<E> = Events<E>;

impl Net {
    pub(crate) fn new(dice: Dice, pair_spread: u64, jitter: u64) -> Self {
        Self {
            hosts: Vec::new(),
            conns: Vec::new(),
            open_conns: 0,
            dials: Vec::new(),
            barriers: Barriers::default(),
            dice,
            pair_spread,
            jitter,
            happened: VecDeque::new(),
        }
    }

    /// Adds a host that is off.
    pub(crate) fn add_host(&mut self, access: Access) -> HostId {
        self.hosts.push(Host {
            up: Pipe::new(access.up),
            down: Pipe::new(access.down),
            up_wake: false,
            sending: None,
            serving: None,
            access,
            presence: Presence::Off,
            paused: false,
            refuses: false,
            hangs: false,
            incarnation: 0,
            ends: BTreeSet::new(),
        });
        (self.hosts.len() - 1) as HostId
    }

    fn host(&mut self, host: HostId) -> &mut Host {
        &mut self.hosts[host as usize]
    }

    fn conn(&mut self, end: EndId) -> Option<&mut Conn> {
        self.conns.get_mut(end.conn())?.as_deref_mut()
    }

    /// The host at this end, while the connection exists.
    pub(crate) fn host_of(&self, end: EndId) -> Option<HostId> {
        self.conns.get(end.conn())?.as_ref().map(|conn| conn.hosts[end.side()])
    }

    /// Connections of which at least one end is open, or has frames to send.
    #[cfg(test)]
    pub(crate) const fn open_conns(&self) -> usize {
        self.open_conns
    }

    /// Both ends' hosts of every connection that exists, with its dialer's end.
    pub(crate) fn connections(&self) -> impl Iterator<Item = (EndId, [HostId; 2])> {
        let open = |(index, conn): (usize, &Option<Box<Conn>>)| {
            conn.as_ref().map(|c| (EndId::of(index, 0), c.hosts))
        };
        self.conns.iter().enumerate().filter_map(open)
    }

    /// Bytes accepted at this end and not yet sent.
    pub(crate) fn unsent(&self, end: EndId) -> u64 {
        match self.conns.get(end.conn()) {
            Some(Some(conn)) => conn.streams[end.side()].unsent(),
            Some(None) | None => 0,
        }
    }

    /// Slows both links of a host to `percent` of what they were built for; 100 restores them.
    pub(crate) fn set_speed(&mut self, host: HostId, percent: u64) {
        let host = self.host(host);
        host.up.rate = (host.access.up * percent / 100).max(1);
        host.down.rate = (host.access.down * percent / 100).max(1);
    }

    /// Dials to this host are refused, hang, or neither.
    pub(crate) fn set_dialing(&mut self, host: HostId, refuses: bool, hangs: bool) {
        let host = self.host(host);
        host.refuses = refuses;
        host.hangs = hangs;
    }

    /// Never none at all: what happens in one instant has no order, and an answer comes after its question.
    fn latency(&self, a: HostId, b: HostId) -> u64 {
        let spread = match self.pair_spread {
            0 => 0,
            spread => {
                let pair = (u64::from(a.min(b)) << 32 | u64::from(a.max(b))).wrapping_add(1);
                (pair.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20) % spread
            }
        };
        (self.hosts[a as usize].access.delay + self.hosts[b as usize].access.delay + spread).max(1)
    }

    /// Ends a connection at this end, after what it has accepted.
    pub(crate) fn close<E: From<NetEvent>>(&mut self, now: Instant, end: EndId, queue: &mut Queue<E>) {
        let Some(conn) = self.conn(end) else { return };
        if !std::mem::replace(&mut conn.open[end.side()], false) {
            return;
        }
        if !conn.open[end.far().side()] {
            return self.remove(end);
        }
        self.send(now, end, Frame { bytes: 40, body: Body::Fin }, queue);
        queue.push(now + LINGER, NetEvent::Linger(end).into());
    }

    /// Ends a connection at this end at once: what is under way is lost, the far end learns it by a reset.
    pub(crate) fn abort<E: From<NetEvent>>(&mut self, now: Instant, end: EndId, queue: &mut Queue<E>) {
        let Some(conn) = self.conn(end) else { return };
        conn.open[end.side()] = false;
        conn.black_hole = true;
        let after = Duration::from_nanos(conn.latency);
        if conn.open[end.far().side()] {
            queue.push(now + after, NetEvent::Reset(end.far()).into());
        } else {
            self.remove(end);
        }
    }

    /// Both ends see the connection break, in the middle of a frame if one is under way.
    pub(crate) fn reset(&mut self, end: EndId) {
        for end in [end, end.far()] {
            if self.conn(end).is_some_and(|conn| conn.open[end.side()]) {
                self.happened.push_back(Happened::Down { at: end, reason: CloseReason::Broken });
            }
        }
        self.remove(end);
    }

    /// Nothing passes over this connection any more; both ends still take it to be open.
    pub(crate) fn half_open(&mut self, end: EndId) {
        if let Some(conn) = self.conn(end) {
            conn.black_hole = true;
        }
    }

    fn on_reset<E: From<NetEvent>>(&mut self, now: Instant, end: EndId, queue: &mut Queue<E>) {
        let Some(conn) = self.conn(end) else { return };
        let [near, far] = [conn.hosts[end.side()], conn.hosts[end.far().side()]];
        let open = conn.open[end.side()];
        if open && (self.barriers.blocks(far, near) || self.hosts[near as usize].paused) {
            return queue.push(now + Duration::from_secs(1), NetEvent::Reset(end).into());
        }
        if open {
            self.happened.push_back(Happened::Down { at: end, reason: CloseReason::Broken });
        }
        self.remove(end);
    }

    fn remove(&mut self, end: EndId) {
        let Some(conn) = self.conns.get_mut(end.conn()).and_then(Option::take) else { return };
        self.open_conns -= 1;
        for (side, host) in conn.hosts.into_iter().enumerate() {
            self.host(host).ends.remove(&EndId::of(end.conn(), side));
        }
    }

    /// The process of a host starts.
    pub(crate) fn start<E: From<NetEvent>>(&mut self, now: Instant, host: HostId, queue: &mut Queue<E>) {
        self.host(host).presence = Presence::Up;
        self.host(host).paused = false;
        // Connections of its earlier life are unknown to it: the first packet that comes is answered by a reset.
        let ends: Vec<EndId> = self.host(host).ends.iter().copied().collect();
        for end in ends {
            let after = Duration::from_nanos(self.dice.below(1_000_000_000));
            queue.push(now + after, NetEvent::Reset(end.far()).into());
        }
    }

    /// The process of a host ends. `Off`: so does the whole machine, and nobody is told.
    pub(crate) fn stop<E: From<NetEvent>>(
        &mut self,
        now: Instant,
        host: HostId,
        to: Presence,
        queue: &mut Queue<E>,
    ) {
        let record = self.host(host);
        record.presence = to;
        record.paused = false;
        record.incarnation += 1;
        let ends: Vec<EndId> = record.ends.iter().copied().collect();
        for end in ends {
            if to == Presence::Off {
                let Some(conn) = self.conn(end) else { continue };
                conn.open[end.side()] = false;
                conn.black_hole = true;
                if !conn.open[end.far().side()] {
                    self.remove(end);
                }
            } else if self.conn(end).is_some_and(|conn| conn.open[end.side()]) {
                // What was closed before goes on sending what it had accepted.
                self.abort(now, end, queue);
            }
        }
    }

    /// Freezes or thaws the process of a host: while frozen it takes nothing in.
    pub(crate) fn set_paused<E: From<NetEvent>>(
        &mut self,
        now: Instant,
        host: HostId,
        paused: bool,
        queue: &mut Queue<E>,
    ) {
        self.host(host).paused = paused;
        if !paused {
            let ends: Vec<EndId> = self.host(host).ends.iter().copied().collect();
            for end in ends {
                queue.push(now, NetEvent::Release(end.far()).into());
            }
        }
    }

    /// Puts a barrier up between hosts.
    pub(crate) fn raise(&mut self, now: Instant, barrier: Barrier) {
        self.barriers.raise(now, barrier);
    }

    /// Takes the barrier of this number down; what it held back comes after a while, as retransmission has it.
    pub(crate) fn lower<E: From<NetEvent>>(&mut self, now: Instant, number: u32, queue: &mut Queue<E>) {
        let Some(outage) = self.barriers.lower(now, number) else { return };
        let spread = outage.min(Duration::from_secs(5)).as_nanos() as u64;
        for index in 0..self.conns.len() {
            for side in 0..2 {
                let end = EndId::of(index, side);
                let Some(conn) = self.conn(end) else { break };
                let stream = &mut conn.streams[side];
                if stream.is_held() {
                    let after = Duration::from_nanos(self.dice.below(spread + 1));
                    queue.push(now + after, NetEvent::Release(end).into());
                }
            }
        }
    }

    /// One of the network's own events is due.
    pub(crate) fn on_event<E: From<NetEvent>>(
        &mut self,
        now: Instant,
        event: NetEvent,
        queue: &mut Queue<E>,
    ) {
        match event {
            NetEvent::Up(host) => {
                self.host(host).up_wake = false;
                self.run_uplink(now, host, queue);
            }
            NetEvent::Down(host) => self.run_downlink(now, host, queue),
            NetEvent::Arrive(end) => self.on_arrive(now, end, queue),
            NetEvent::Release(end) => self.on_release(now, end, queue),
            NetEvent::Ack(end) => self.on_ack(now, end, queue),
            NetEvent::Dial(dial) => self.on_dial(now, dial, queue),
            NetEvent::Reset(end) => self.on_reset(now, end, queue),
            NetEvent::Linger(end) => {
                if self.conn(end).is_some() {
                    self.on_reset(now, end.far(), queue);
                }
            }
        }
    }
}
