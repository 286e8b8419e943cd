//! One direction of a connection, and the links that carry it.

use std::collections::VecDeque;
use std::time::Duration;

use potluck_core::peer::CloseReason;
use potluck_core::time::Instant;

use super::{Body, EndId, Frame, Happened, HostId, Net, NetEvent, Pipe, Presence, Queue};

/// Ten segments of 1,460 bytes: the window of a connection that was idle.
const WINDOW_FIRST: u32 = 14_600;
/// Bytes by which a window may exceed twice the bandwidth-delay product.
const WINDOW_SLACK: u64 = 512 * 1024;
/// Bytes of the largest window, as systems allow it by default.
const WINDOW_MAX: u64 = 6 * 1024 * 1024;
/// Bytes of frames other than chunks that leave in one turn.
const TURN_BYTES: u32 = 64 * 1024;
/// Bytes of a small frame: a few packets, which find their way between those of other connections.
const SMALL_BYTES: u32 = 4 * 1024;
/// Bytes of a turn on the slowest link, and how many turns a second should fit.
const TURN_BYTES_MIN: u32 = 16 * 1024;
const TURNS_PER_SECOND: u64 = 8;
/// A stream that sent nothing, and waited for nothing, for this long, and at least two round trips, begins anew.
const IDLE: Duration = Duration::from_millis(200);

/// What leaves in one turn.
#[derive(Debug)]
struct Turn {
    bytes: u32,
    /// Frames that end in it.
    frames: u32,
    /// Of small frames only.
    small: bool,
    /// When its first byte reaches the far host.
    first: Instant,
}

#[derive(Debug)]
pub(super) struct Stream {
    /// Accepted, not wholly sent.
    queue: VecDeque<Frame>,
    /// Bytes of the first of them that were sent.
    front_sent: u32,
    /// Bytes accepted and not sent.
    unsent: u64,
    /// Wholly sent, not delivered.
    on_wire: VecDeque<Frame>,
    turns: VecDeque<Turn>,
    /// Turns, from the first, that reached the far host and may be served.
    arrived: u32,
    /// Turns that reached a partition, or a paused host.
    held: u32,
    window: u32,
    window_max: u32,
    unacked: u32,
    /// When so many bytes will be known to have arrived.
    acks: VecDeque<(Instant, u32)>,
    /// An acknowledgement meets a partition.
    acks_held: u32,
    ack_wake: bool,
    in_up_ring: bool,
    in_down_ring: bool,
    /// Where its turns on the uplink and on the downlink have come to.
    up_served: u64,
    down_served: u64,
    /// When it last sent, or was told that something arrived.
    busy_at: Instant,
    arrives_at: Instant,
}

impl Stream {
    pub(super) fn new(rate: u64, latency: u64) -> Self {
        let product = u128::from(rate) * u128::from(latency) * 2 / 1_000_000_000;
        let window_max = (product as u64).saturating_mul(2).saturating_add(WINDOW_SLACK).min(WINDOW_MAX);
        Self {
            queue: VecDeque::new(),
            front_sent: 0,
            unsent: 0,
            on_wire: VecDeque::new(),
            turns: VecDeque::new(),
            arrived: 0,
            held: 0,
            window: WINDOW_FIRST,
            window_max: window_max as u32,
            unacked: 0,
            acks: VecDeque::new(),
            acks_held: 0,
            ack_wake: false,
            in_up_ring: false,
            in_down_ring: false,
            up_served: 0,
            down_served: 0,
            busy_at: Instant::ZERO,
            arrives_at: Instant::ZERO,
        }
    }

    /// Nothing of this stream may arrive before `at`.
    pub(super) const fn not_before(&mut self, at: Instant) {
        self.arrives_at = at;
    }

    pub(super) const fn unsent(&self) -> u64 {
        self.unsent
    }

    pub(super) const fn is_held(&self) -> bool {
        self.held > 0 || self.acks_held > 0
    }

    /// Is a small frame next?
    fn is_small_next(&self) -> bool {
        self.queue.front().is_some_and(|frame| frame.bytes <= SMALL_BYTES)
    }

    /// Bytes of the next frame that are still to be sent.
    fn front_rest(&self) -> u32 {
        self.queue.front().map_or(0, |frame| frame.bytes - self.front_sent)
    }

    /// Waits for its next turn on the far host's link.
    fn queue_down(&mut self, end: EndId, down: &mut Pipe) {
        match self.turns.front() {
            Some(turn) if !turn.small => down.queue(end, turn.bytes, &mut self.down_served),
            _ => down.queue_small(end),
        }
    }

    /// Takes due acknowledgements in; each byte of them widens the window by one.
    fn take_acks(&mut self, now: Instant) {
        while let Some(&(at, bytes)) = self.acks.front()
            && at <= now
        {
            self.acks.pop_front();
            self.unacked -= bytes;
            self.busy_at = self.busy_at.max(at);
            self.window = self.window.saturating_add(bytes).min(self.window_max);
        }
    }

    /// Bytes that may leave at once; 0 while waiting for acknowledgements pays.
    fn room(&mut self, now: Instant, latency: u64) -> u32 {
        if self.queue.is_empty() {
            return 0;
        }
        self.take_acks(now);
        let idle = now.since(self.busy_at);
        if self.unacked == 0 && idle > IDLE && idle > Duration::from_nanos(latency * 4) {
            self.window = self.window.min(WINDOW_FIRST);
        }
        let room = self.window.saturating_sub(self.unacked);
        if room >= self.front_rest().min(self.window / 4) { room } else { 0 }
    }
}

impl Net {
    /// Hands a frame to the socket of this end.
    pub(crate) fn send<E: From<NetEvent>>(
        &mut self,
        now: Instant,
        end: EndId,
        frame: Frame,
        queue: &mut Queue<E>,
    ) {
        let Some(conn) = self.conn(end) else { return };
        let host = conn.hosts[end.side()];
        let stream = &mut conn.streams[end.side()];
        stream.unsent += u64::from(frame.bytes);
        stream.queue.push_back(frame);
        self.offer(now, end, queue);
        self.run_uplink(now, host, queue);
    }

    /// Puts a stream that has something to send, and may, into its uplink's round.
    fn offer<E: From<NetEvent>>(&mut self, now: Instant, end: EndId, queue: &mut Queue<E>) {
        let Some(conn) = self.conns.get_mut(end.conn()).and_then(Option::as_deref_mut) else { return };
        let stream = &mut conn.streams[end.side()];
        if stream.in_up_ring || stream.queue.is_empty() {
            return;
        }
        let room = stream.room(now, conn.latency);
        if room > 0 {
            stream.in_up_ring = true;
            let up = &mut self.hosts[conn.hosts[end.side()] as usize].up;
            if stream.is_small_next() {
                up.queue_small(end);
            } else {
                up.queue(end, room.min(stream.front_rest()), &mut stream.up_served);
            }
        } else if !stream.ack_wake
            && let Some(&(at, _)) = stream.acks.front()
        {
            stream.ack_wake = true;
            queue.push(at, NetEvent::Ack(end).into());
        }
    }

    pub(super) fn on_ack<E: From<NetEvent>>(&mut self, now: Instant, end: EndId, queue: &mut Queue<E>) {
        let Some(conn) = self.conn(end) else { return };
        conn.streams[end.side()].ack_wake = false;
        let host = conn.hosts[end.side()];
        self.offer(now, end, queue);
        self.run_uplink(now, host, queue);
    }

    pub(super) fn run_uplink<E: From<NetEvent>>(&mut self, now: Instant, host: HostId, queue: &mut Queue<E>) {
        loop {
            let record = self.host(host);
            if record.presence == Presence::Off {
                record.up.clear();
                record.sending = None;
                return;
            }
            if record.up.free_at > now {
                if !record.up_wake && (!record.up.is_empty() || record.sending.is_some()) {
                    record.up_wake = true;
                    queue.push(record.up.free_at, NetEvent::Up(host).into());
                }
                return;
            }
            if let Some((by, chunk)) = record.sending.take() {
                if let Some((chunk, bytes)) = chunk {
                    self.happened.push_back(Happened::ChunkSent { by, chunk, bytes });
                }
                if let Some(conn) = self.conn(by) {
                    conn.streams[by.side()].in_up_ring = false;
                }
                self.offer(now, by, queue);
            }
            let Some(end) = self.host(host).up.next() else { return };
            self.start_turn(now, end, queue);
        }
    }

    fn start_turn<E: From<NetEvent>>(&mut self, now: Instant, end: EndId, queue: &mut Queue<E>) {
        let Some(conn) = self.conns.get_mut(end.conn()).and_then(Option::as_deref_mut) else { return };
        let [near, far] = [conn.hosts[end.side()], conn.hosts[end.far().side()]];
        let far_rate = self.hosts[far as usize].down.rate;
        let host = &mut self.hosts[near as usize];
        let stream = &mut conn.streams[end.side()];
        stream.in_up_ring = false;
        // On a slow link a turn is shorter than a chunk, so that the far end sees that bytes come.
        let slowest = host.up.rate.min(far_rate) / TURNS_PER_SECOND;
        let room = stream.room(now, conn.latency).min((slowest.min(1 << 30) as u32).max(TURN_BYTES_MIN));
        let small = stream.is_small_next();
        let (mut bytes, mut payload, mut frames, mut whole) = (0, 0, 0, None);
        while bytes < room.min(TURN_BYTES)
            && let Some(frame) = stream.queue.front()
            && (bytes == 0 || !matches!(frame.body, Body::Chunk(_)))
            && (!small || stream.is_small_next())
        {
            let rest = frame.bytes - stream.front_sent;
            let part = rest.min(room - bytes);
            bytes += part;
            payload += if matches!(frame.body, Body::Chunk(_)) { part } else { 0 };
            if part < rest {
                stream.front_sent += part;
                break;
            }
            stream.front_sent = 0;
            frames += 1;
            let Some(frame) = stream.queue.pop_front() else { break };
            if let Body::Chunk(chunk) = frame.body {
                whole = Some((chunk, frame.bytes));
            }
            stream.on_wire.push_back(frame);
            if whole.is_some() {
                break;
            }
        }
        if bytes > 0 {
            host.up.free_at = now + host.up.time_for(bytes);
            let jitter = if self.jitter == 0 { 0 } else { self.dice.below(self.jitter) };
            let flight = Duration::from_nanos(conn.latency + self.barriers.delay(near, far) + jitter);
            let first = (now + flight).max(stream.arrives_at);
            stream.arrives_at = (host.up.free_at + flight).max(first);
            stream.unsent -= u64::from(bytes);
            stream.unacked += bytes;
            stream.busy_at = host.up.free_at;
            stream.turns.push_back(Turn { bytes, frames, small, first });
            queue.push(stream.arrives_at, NetEvent::Arrive(end).into());
        }
        if payload > 0 {
            self.happened.push_back(Happened::Payload { host: near, bytes: payload });
        }
        if whole.is_some() || !stream.queue.is_empty() {
            // Its next turn is asked for when this one is over: others that come meanwhile are served first.
            host.sending = Some((end, whole));
            stream.in_up_ring = true;
        }
    }

    pub(super) fn on_arrive<E: From<NetEvent>>(&mut self, now: Instant, end: EndId, queue: &mut Queue<E>) {
        let Some(conn) = self.conns.get_mut(end.conn()).and_then(Option::as_deref_mut) else { return };
        if conn.black_hole {
            return;
        }
        let [near, far] = [conn.hosts[end.side()], conn.hosts[end.far().side()]];
        let stream = &mut conn.streams[end.side()];
        if stream.held > 0 || self.hosts[far as usize].paused || self.barriers.blocks(near, far) {
            stream.held += 1;
            return;
        }
        stream.arrived += 1;
        self.take_in(now, end, far, queue);
    }

    pub(super) fn on_release<E: From<NetEvent>>(&mut self, now: Instant, end: EndId, queue: &mut Queue<E>) {
        let Some(conn) = self.conns.get_mut(end.conn()).and_then(Option::as_deref_mut) else { return };
        let [near, far] = [conn.hosts[end.side()], conn.hosts[end.far().side()]];
        if conn.black_hole {
            return;
        }
        let latency = Duration::from_nanos(conn.latency);
        let stream = &mut conn.streams[end.side()];
        if stream.acks_held > 0 && !self.barriers.blocks(far, near) {
            stream.acks.push_back((now + latency, std::mem::take(&mut stream.acks_held)));
        }
        if stream.held > 0 && !self.hosts[far as usize].paused && !self.barriers.blocks(near, far) {
            stream.arrived += std::mem::take(&mut stream.held);
        }
        self.offer(now, end, queue);
        self.run_uplink(now, near, queue);
        self.take_in(now, end, far, queue);
    }

    /// Puts a stream with turns to serve into the far host's round.
    fn take_in<E: From<NetEvent>>(&mut self, now: Instant, end: EndId, far: HostId, queue: &mut Queue<E>) {
        let Some(conn) = self.conns.get_mut(end.conn()).and_then(Option::as_deref_mut) else { return };
        let stream = &mut conn.streams[end.side()];
        if stream.arrived > 0 && !stream.in_down_ring {
            stream.in_down_ring = true;
            stream.queue_down(end, &mut self.hosts[far as usize].down);
        }
        self.run_downlink(now, far, queue);
    }

    pub(super) fn run_downlink<E: From<NetEvent>>(
        &mut self,
        now: Instant,
        host: HostId,
        queue: &mut Queue<E>,
    ) {
        loop {
            let record = self.host(host);
            if record.serving.is_some() && record.down.free_at > now {
                return;
            }
            if let Some(end) = record.serving.take() {
                self.deliver(now, end, queue);
            }
            let Some(end) = self.host(host).down.next() else { return };
            let Some(conn) = self.conns.get(end.conn()).and_then(Option::as_deref) else { continue };
            let Some(turn) = conn.streams[end.side()].turns.front() else { continue };
            let down = &mut self.hosts[host as usize].down;
            down.free_at = down.free_at.max(turn.first) + down.time_for(turn.bytes);
            self.hosts[host as usize].serving = Some(end);
            if self.hosts[host as usize].down.free_at > now {
                queue.push(self.hosts[host as usize].down.free_at, NetEvent::Down(host).into());
                return;
            }
        }
    }

    /// The far host has taken in the first turn of this stream.
    fn deliver<E: From<NetEvent>>(&mut self, now: Instant, end: EndId, queue: &mut Queue<E>) {
        let Some(conn) = self.conns.get_mut(end.conn()).and_then(Option::as_deref_mut) else { return };
        let [near, far] = [conn.hosts[end.side()], conn.hosts[end.far().side()]];
        let stream = &mut conn.streams[end.side()];
        let Some(turn) = stream.turns.pop_front() else { return };
        stream.arrived -= 1;
        stream.in_down_ring = stream.arrived > 0;
        if stream.in_down_ring {
            stream.queue_down(end, &mut self.hosts[far as usize].down);
        }
        if stream.acks_held > 0 || self.barriers.blocks(far, near) {
            stream.acks_held += turn.bytes;
        } else {
            stream.acks.push_back((now + Duration::from_nanos(conn.latency), turn.bytes));
        }
        let heard = conn.open[end.far().side()];
        if heard && turn.frames == 0 {
            self.happened.push_back(Happened::Part { at: end.far(), bytes: turn.bytes });
        }
        let mut ended = false;
        for _ in 0..turn.frames {
            let Some(Frame { bytes, body }) = stream.on_wire.pop_front() else { break };
            if body == Body::Fin {
                ended = true;
            } else if heard {
                self.happened.push_back(Happened::Frame { at: end.far(), body, bytes });
            }
        }
        if ended {
            if heard {
                self.happened.push_back(Happened::Down { at: end.far(), reason: CloseReason::Done });
            }
            self.remove(end);
        } else {
            self.offer(now, end, queue);
        }
    }
}
