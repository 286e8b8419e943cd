//! How a connection comes to be: one round trip to connect, one to shake hands.

use std::time::Duration;

use potluck_core::ids::OpId;
use potluck_core::limits::DIAL_TIMEOUT;
use potluck_core::peer::DialError;
use potluck_core::time::Instant;

use super::stream::Stream;
use super::{Conn, EndId, Happened, HostId, Net, NetEvent, Presence, Queue};

/// What a dialer looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seeks {
    /// A peer.
    Peer,
    /// A tracker.
    Tracker,
    /// To know who answers.
    Probe,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Dial {
    from: HostId,
    to: HostId,
    op: OpId,
    seeks: Seeks,
    began: Instant,
    incarnation: u32,
    stage: Stage,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// The first packet reaches the far host.
    Syn,
    /// The dialer's handshake reaches it.
    Handshake,
    /// The far host's handshake reaches the dialer.
    Answered(EndId),
    /// A probe's answer reaches the dialer.
    Seen,
    /// The dialer learns that it failed.
    Failed(DialError),
}

impl Net {
    /// Begins a dial; one of `Connected`, `DialFailed`, `Probed` comes of it. `to`: who has the address, if anybody.
    pub(crate) fn dial<E: From<NetEvent>>(
        &mut self,
        now: Instant,
        from: HostId,
        to: Option<HostId>,
        op: OpId,
        seeks: Seeks,
        queue: &mut Queue<E>,
    ) {
        let incarnation = self.host(from).incarnation;
        let stage = if to.is_some() { Stage::Syn } else { Stage::Failed(DialError::Unreachable) };
        let to = to.unwrap_or(from);
        let after = Duration::from_nanos(self.latency(from, to));
        let number = self.dials.len() as u32;
        self.dials.push(Some(Dial { from, to, op, seeks, began: now, incarnation, stage }));
        queue.push(now + after, NetEvent::Dial(number).into());
    }

    pub(super) fn on_dial<E: From<NetEvent>>(&mut self, now: Instant, number: u32, queue: &mut Queue<E>) {
        let Some(mut dial) = self.dials.get_mut(number as usize).and_then(Option::take) else { return };
        let (from, to) = (&self.hosts[dial.from as usize], &self.hosts[dial.to as usize]);
        let alive = from.presence == Presence::Up && from.incarnation == dial.incarnation;
        let deadline = dial.began + DIAL_TIMEOUT;
        let hop = self.latency(dial.from, dial.to) + self.barriers.delay(dial.from, dial.to);
        let cut = self.barriers.blocks(dial.from, dial.to) || self.barriers.blocks(dial.to, dial.from);
        let silent = cut || to.presence == Presence::Off;
        // Who is where only matters on the way there; once answered, the answer comes.
        let (stage, hops, pause) = match dial.stage {
            Stage::Syn | Stage::Handshake if now >= deadline => (Stage::Failed(DialError::TimedOut), 0, 0),
            Stage::Syn if silent || to.hangs => (Stage::Syn, 0, 1000),
            Stage::Handshake if silent || to.paused => (Stage::Handshake, 0, 250),
            Stage::Syn if to.presence == Presence::NoProcess || to.refuses || to.access.nat => {
                (Stage::Failed(DialError::Refused), 1, 0)
            }
            Stage::Syn => (Stage::Handshake, 2, 0),
            Stage::Handshake if to.presence == Presence::NoProcess => {
                (Stage::Failed(DialError::Refused), 1, 0)
            }
            Stage::Handshake if dial.seeks == Seeks::Probe => (Stage::Seen, 1, 0),
            Stage::Handshake if (dial.seeks == Seeks::Tracker) != to.access.tracker => {
                (Stage::Failed(DialError::NotPotluck), 1, 0)
            }
            Stage::Handshake => (Stage::Answered(self.connect(now, &dial, hop)), 1, 0),
            Stage::Answered(end) => {
                if self.conn(end).is_none() {
                    self.end_dial(&dial, alive, Some(DialError::Refused));
                } else if alive {
                    self.happened.push_back(Happened::Connected { at: end, op: dial.op });
                } else {
                    self.abort(now, end, queue);
                }
                return;
            }
            Stage::Seen => return self.end_dial(&dial, alive, None),
            Stage::Failed(error) => return self.end_dial(&dial, alive, Some(error)),
        };
        dial.stage = stage;
        self.dials[number as usize] = Some(dial);
        let mut at = now + Duration::from_nanos(hop * hops) + Duration::from_millis(pause);
        if matches!(dial.stage, Stage::Syn | Stage::Handshake) {
            at = at.min(deadline);
        }
        queue.push(at, NetEvent::Dial(number).into());
    }

    fn end_dial(&mut self, dial: &Dial, alive: bool, error: Option<DialError>) {
        let &Dial { from: host, op, .. } = dial;
        match (alive, dial.seeks, error) {
            (false, ..) => {}
            (true, Seeks::Probe, error) => {
                let answered_by = error.is_none().then_some(dial.to);
                self.happened.push_back(Happened::Probed { host, op, answered_by });
            }
            (true, _, Some(error)) => self.happened.push_back(Happened::DialFailed { host, op, error }),
            (true, _, None) => {}
        }
    }

    /// The accepter's side of a connection is there at once; the dialer's end is returned.
    fn connect(&mut self, now: Instant, dial: &Dial, hop: u64) -> EndId {
        let rate = |from: HostId, to: HostId| {
            let (from, to) = (&self.hosts[from as usize], &self.hosts[to as usize]);
            from.up.rate.min(to.down.rate)
        };
        let latency = self.latency(dial.from, dial.to);
        let mut streams =
            [Stream::new(rate(dial.from, dial.to), latency), Stream::new(rate(dial.to, dial.from), latency)];
        streams[1].not_before(now + Duration::from_nanos(hop));
        let hosts = [dial.from, dial.to];
        let index = self.conns.len();
        self.conns.push(Some(Box::new(Conn { hosts, streams, open: [true; 2], latency, black_hole: false })));
        self.open_conns += 1;
        for (side, host) in hosts.into_iter().enumerate() {
            self.host(host).ends.insert(EndId::of(index, side));
        }
        self.happened.push_back(Happened::Accepted { at: EndId::of(index, 1) });
        EndId::of(index, 0)
    }
}
