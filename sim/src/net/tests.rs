//! The model's statements, each with exact arithmetic: two or three hosts of 10 MB/s, 10 ms from the middle.

use potluck_core::ids::PieceIndex;
use potluck_core::seed::Seed;

use super::*;

const RATE: u64 = 10_000_000;
const HOP: u64 = 20_000_000;
const CHUNK: u32 = 262_160;

struct Lab {
    net: Net,
    queue: Queue<NetEvent>,
    now: Instant,
    log: Vec<(u64, Happened)>,
}

impl Lab {
    fn new(hosts: usize) -> Self {
        Self::with(hosts, RATE, HOP)
    }

    fn with(hosts: usize, rate: u64, hop: u64) -> Self {
        let mut lab = Self {
            net: Net::new(Dice::new(&Seed::from_number(1), "net"), 0, 0),
            queue: Queue::new(7),
            now: Instant::ZERO,
            log: Vec::new(),
        };
        for _ in 0..hosts {
            let access = Access { up: rate, down: rate, delay: hop / 2, nat: false, tracker: false };
            let host = lab.net.add_host(access);
            lab.net.start(lab.now, host, &mut lab.queue);
        }
        lab
    }

    /// Dials and waits; the dialer's end.
    fn connect(&mut self, from: HostId, to: HostId) -> EndId {
        self.net.dial(self.now, from, Some(to), OpId(1), Seeks::Peer, &mut self.queue);
        self.run();
        let connected = |happened: &Happened| {
            if let Happened::Connected { at, .. } = happened { Some(*at) } else { None }
        };
        self.log.iter().rev().find_map(|(_, h)| connected(h)).expect("the dial comes through")
    }

    fn chunk(&mut self, end: EndId, piece: u32) {
        let at = ChunkAddr { piece: PieceIndex(piece), chunk: 0 };
        let body = Body::Chunk(ChunkFrame { slot: Slot(0), content: 0, at, taint: 0 });
        self.net.send(self.now, end, Frame { bytes: CHUNK, body }, &mut self.queue);
    }

    fn ping(&mut self, end: EndId) {
        let body = Body::Peer(PeerMessage::Ping { nonce: 0 });
        self.net.send(self.now, end, Frame { bytes: 24, body }, &mut self.queue);
    }

    fn run_until(&mut self, until: u64) {
        loop {
            while let Some(happened) = self.net.happened.pop_front() {
                self.log.push((self.now.0, happened));
            }
            let Some((at, event)) = self.queue.pop_until(Instant(until)) else { break };
            assert!(at >= self.now, "time does not go back");
            self.now = at;
            self.net.on_event(at, event, &mut self.queue);
        }
    }

    fn run(&mut self) {
        self.run_until(u64::MAX);
    }

    /// When each frame arrived at this end.
    fn arrivals(&self, end: EndId) -> Vec<u64> {
        let here = |(at, h): &(u64, Happened)| {
            let Happened::Frame { at: frame_at, .. } = h else { return None };
            (*frame_at == end).then_some(*at)
        };
        self.log.iter().filter_map(here).collect()
    }

    /// Sends enough that the window is wide, and forgets the log.
    fn warm(&mut self, ends: &[EndId]) {
        for &end in ends {
            (0..40).for_each(|piece| self.chunk(end, piece));
        }
        self.run();
        self.log.clear();
    }
}

const fn wire(bytes: u64) -> u64 {
    bytes * 1_000_000_000 / RATE
}

#[test]
fn a_connection_takes_two_round_trips() {
    let mut lab = Lab::new(2);
    lab.connect(0, 1);
    let times: Vec<u64> = lab.log.iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [3 * HOP, 4 * HOP], "accepted after one and a half, connected after two");
}

#[test]
fn an_idle_connection_starts_at_ten_segments_and_doubles() {
    let mut lab = Lab::new(2);
    let end = lab.connect(0, 1);
    let began = lab.now.0;
    lab.chunk(end, 0);
    lab.run();
    // 14,600 · (1 + 2 + 4 + 8) = 219,000 bytes in four rounds, the rest in the fifth: each round waits for the first
    // acknowledgement of the round before, which left one round trip and its own sending time earlier.
    let sent = [14_600, 29_200, 58_400, 116_800];
    let rounds: u64 = sent.into_iter().map(|bytes| wire(bytes) + 2 * HOP).sum();
    let rest = u64::from(CHUNK) - 219_000;
    assert_eq!(lab.arrivals(end.far()), [began + rounds + wire(rest) + HOP]);
}

#[test]
fn without_latency_nothing_waits_for_acknowledgements() {
    let mut lab = Lab::with(2, RATE, 0);
    let end = lab.connect(0, 1);
    let began = lab.now.0;
    lab.chunk(end, 0);
    lab.run();
    // The first window is there when the second may leave: this and no more is what starting costs.
    let all = wire(u64::from(CHUNK));
    let took = lab.arrivals(end.far())[0] - began;
    assert!((all..all + wire(14_600) + 100).contains(&took), "{took} for {all}");
}

#[test]
fn what_is_sent_over_a_new_connection_comes_after_it() {
    for rate in [RATE, 50_000_000_000, u64::MAX] {
        for far in 1..20 {
            let mut lab = Lab::with(20, rate, HOP);
            lab.net.dial(lab.now, 0, Some(far), OpId(1), Seeks::Peer, &mut lab.queue);
            lab.run_until(3 * HOP);
            let accepted = |(_, h): &(u64, Happened)| {
                if let Happened::Accepted { at } = h { Some(*at) } else { None }
            };
            let end = lab.log.iter().find_map(accepted).expect("the dial is accepted");
            lab.ping(end);
            lab.run();
            let order: Vec<_> = lab.log.iter().map(|(_, h)| matches!(h, Happened::Frame { .. })).collect();
            assert_eq!(order, [false, false, true], "accepted, connected, the frame: {:?}", lab.log);
        }
    }
}

#[test]
fn two_equal_links_in_a_row_cost_the_time_of_one() {
    let mut lab = Lab::new(2);
    let end = lab.connect(0, 1);
    lab.warm(&[end]);
    let began = lab.now.0;
    lab.chunk(end, 0);
    lab.chunk(end, 1);
    lab.run();
    let one = wire(u64::from(CHUNK));
    assert_eq!(lab.arrivals(end.far()), [began + one + HOP, began + 2 * one + HOP]);
}

#[test]
fn an_uplink_is_shared_by_chunk() {
    let mut lab = Lab::new(3);
    let (b, c) = (lab.connect(0, 1), lab.connect(0, 2));
    lab.warm(&[b, c]);
    let began = lab.now.0;
    (0..4).for_each(|piece| lab.chunk(b, piece));
    (0..4).for_each(|piece| lab.chunk(c, piece));
    lab.run();
    let one = wire(u64::from(CHUNK));
    let at = |turn: u64| began + turn * one + HOP;
    assert_eq!(lab.arrivals(b.far()), [1, 3, 5, 7].map(at));
    assert_eq!(lab.arrivals(c.far()), [2, 4, 6, 8].map(at));
}

#[test]
fn a_downlink_is_shared_by_chunk() {
    let mut lab = Lab::new(3);
    let (a, b) = (lab.connect(0, 2), lab.connect(1, 2));
    lab.warm(&[a, b]);
    let began = lab.now.0;
    (0..4).for_each(|piece| lab.chunk(a, piece));
    (0..4).for_each(|piece| lab.chunk(b, piece));
    lab.run();
    let all: u64 = 8 * wire(u64::from(CHUNK));
    let last = lab.arrivals(a.far()).into_iter().chain(lab.arrivals(b.far())).max();
    assert_eq!(last, Some(began + all + HOP), "the link is never idle");
}

#[test]
fn control_waits_behind_what_its_own_socket_accepted_and_the_chunk_that_is_leaving() {
    let mut lab = Lab::new(5);
    let [b, c, d, e] = [1, 2, 3, 4].map(|far| lab.connect(0, far));
    lab.warm(&[b, c, d, e]);
    let began = lab.now.0;
    (0..2).for_each(|piece| lab.chunk(b, piece));
    lab.chunk(c, 0);
    lab.chunk(d, 0);
    lab.ping(b);
    lab.ping(e);
    lab.run();
    let one = wire(u64::from(CHUNK));
    let ping = wire(24);
    assert_eq!(lab.arrivals(e.far()), [began + one + ping + HOP], "behind the chunk that is leaving");
    assert_eq!(lab.arrivals(c.far()), [began + 2 * one + ping + HOP], "chunks go on taking turns");
    assert_eq!(lab.arrivals(b.far())[2], began + 4 * one + 2 * ping + HOP, "behind its own two chunks");
}

#[test]
fn the_bursts_of_a_connection_that_starts_pass_between_the_chunks_of_others() {
    let alone = {
        let mut lab = Lab::new(2);
        let end = lab.connect(0, 1);
        let began = lab.now.0;
        lab.chunk(end, 0);
        lab.run();
        lab.arrivals(end.far())[0] - began
    };
    let mut lab = Lab::new(6);
    let busy = [1, 2, 3, 4].map(|far| lab.connect(0, far));
    lab.warm(&busy);
    let cold = lab.connect(0, 5);
    let began = lab.now.0;
    (0..8).for_each(|piece| busy.iter().for_each(|end| lab.chunk(*end, piece)));
    lab.chunk(cold, 0);
    lab.run();
    let one = wire(u64::from(CHUNK));
    let took = lab.arrivals(cold.far())[0] - began;
    assert!(took <= alone + 5 * one, "each of five bursts waits for one chunk: {took}, alone {alone}");
    let last = busy.iter().flat_map(|end| lab.arrivals(end.far())).max();
    assert_eq!(last, Some(began + 33 * one + HOP), "the link is never idle");
}

#[test]
fn at_the_far_end_control_goes_before_the_chunks_of_others() {
    let mut lab = Lab::new(5);
    let [a, b, c, d] = [1, 2, 3, 4].map(|from| lab.connect(from, 0));
    lab.warm(&[a, b, c, d]);
    let began = lab.now.0;
    [a, b, c].into_iter().for_each(|end| lab.chunk(end, 0));
    lab.run_until(began + wire(u64::from(CHUNK)) + HOP / 2);
    lab.ping(d);
    lab.run();
    let one = wire(u64::from(CHUNK));
    assert!(lab.arrivals(d.far())[0] < began + 2 * one + 2 * HOP, "three chunks came at the same time");
}

#[test]
fn a_partition_holds_back_and_a_reset_loses() {
    let mut lab = Lab::new(2);
    let end = lab.connect(0, 1);
    lab.warm(&[end]);
    let side = |host: usize| {
        let mut set = fixedbitset::FixedBitSet::with_capacity(2);
        set.insert(host);
        set
    };
    let barrier = Barrier { number: 1, from: side(0), to: side(1), both_ways: false, delay: None };
    let began = lab.now;
    lab.net.raise(lab.now, barrier);
    lab.ping(end);
    lab.ping(end.far());
    lab.run_until(began.0 + 1_000_000_000);
    assert_eq!(lab.arrivals(end.far()), [0; 0], "nothing passes");
    assert_eq!(lab.arrivals(end).len(), 1, "the other way is open");
    lab.now = Instant(began.0 + 1_000_000_000);
    lab.net.lower(lab.now, 1, &mut lab.queue);
    lab.run();
    assert_eq!(lab.arrivals(end.far()).len(), 1, "it comes after the partition");
    lab.chunk(end, 0);
    lab.net.reset(end);
    lab.run();
    assert_eq!(lab.arrivals(end.far()).len(), 1);
    let downs = lab.log.iter().filter(|(_, h)| matches!(h, Happened::Down { .. })).count();
    assert_eq!((downs, lab.net.open_conns()), (2, 0));
}

#[test]
fn a_close_comes_after_what_was_sent() {
    let mut lab = Lab::new(2);
    let end = lab.connect(0, 1);
    lab.chunk(end, 0);
    lab.net.close(lab.now, end, &mut lab.queue);
    lab.run();
    let payload = |(_, h): &(u64, Happened)| {
        if let Happened::Payload { host: 0, bytes } = h { *bytes } else { 0 }
    };
    assert_eq!(lab.log.iter().map(payload).sum::<u32>(), CHUNK, "every byte that left is told");
    let last: Vec<_> = lab.log.iter().rev().take(2).map(|(_, h)| h.clone()).collect();
    assert!(matches!(last[1], Happened::Frame { body: Body::Chunk(_), .. }));
    assert!(matches!(last[0], Happened::Down { reason: CloseReason::Done, .. }));
    assert_eq!(lab.net.open_conns(), 0);
}

#[test]
fn a_dial_is_refused_or_times_out() {
    let mut lab = Lab::new(2);
    lab.net.stop(lab.now, 1, Presence::NoProcess, &mut lab.queue);
    lab.net.dial(lab.now, 0, Some(1), OpId(1), Seeks::Peer, &mut lab.queue);
    lab.run();
    assert!(
        matches!(lab.log[0], (at, Happened::DialFailed { error: DialError::Refused, .. }) if at == 2 * HOP)
    );
    lab.net.stop(lab.now, 1, Presence::Off, &mut lab.queue);
    let began = lab.now.0;
    lab.net.dial(lab.now, 0, Some(1), OpId(2), Seeks::Peer, &mut lab.queue);
    lab.run();
    let timeout = potluck_core::limits::DIAL_TIMEOUT.as_nanos() as u64;
    assert!(
        matches!(lab.log[1], (at, Happened::DialFailed { error: DialError::TimedOut, .. }) if at == began + timeout)
    );
}
