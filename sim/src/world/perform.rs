//! Every effect becomes something that happens. The matches have no wildcard, so that a new effect breaks the build here.

use std::net::SocketAddr;

use fixedbitset::FixedBitSet;
use potluck_core::ids::{ChunkAddr, ChunkRun, ContentKey, LinkId, OpId, Slot};
use potluck_core::peer::{CloseReason, PeerEffect, PeerInput, Place, Role};
use potluck_core::time::Instant;
use potluck_core::tracker::TrackerEffect;
use potluck_core::wire::WireMessage;
use potluck_core::wire::frame::{Header, encode_message};
use potluck_core::wire::peer::PeerMessage;

use super::end::Expected;
use super::host::{DiskOp, DiskWork, Input};
use super::inputs::{TAINT_CHANGED, TAINT_LIE, TAINT_ROTTEN, spell};
use super::{Event, World};
use crate::net::{Body, ChunkFrame, EndId, Frame, HostId, Seeks};

/// Control bytes that a socket's queue takes; a link that has more waiting is closed.
const CONTROL_QUEUE_BYTES: u64 = 2 * 1024 * 1024;

impl World<'_> {
    pub(super) fn perform_peer(&mut self, host: HostId, effect: PeerEffect) {
        let now = self.now;
        self.print.peer_effect(&effect);
        if let Some(observer) = &mut self.observer {
            observer.peer_effect(now.0, host, &effect);
        }
        match effect {
            PeerEffect::Dial { op, addr, role } => {
                let seeks = match role {
                    Role::Peer => Seeks::Peer,
                    Role::Tracker => Seeks::Tracker,
                };
                self.host(host).dials.insert(op);
                self.dial(host, op, addr, seeks);
            }
            PeerEffect::Close { link, reason } => self.close(host, link, reason),
            PeerEffect::SendPeer { link, msg } => self.send_peer(host, link, msg),
            PeerEffect::SendTracker { link, msg } => {
                let Some(end) = self.end_of(host, link) else { return };
                self.send_message(end, &msg);
                self.send_control(end, Body::Request(Box::new(msg)));
            }
            PeerEffect::SendChunk { link, slot, key, at } => self.send_chunk(host, link, slot, key, at),
            PeerEffect::Expect { link, op, slot, key, place, run } => {
                self.expect(host, link, Asked { op, slot, key, place, run });
            }
            PeerEffect::Unexpect { link, op } => self.unexpect(host, link, op),
            PeerEffect::Open { op, key, place, table } => {
                let Some(content) = self.content_of(host, key) else { return };
                let disk = &mut self.hosts[host as usize].disk;
                let written = disk
                    .parts
                    .get(&place)
                    .map_or(0, |part| part.right.count_ones(..) + part.wrong.count_ones(..));
                let done = disk.hash_time(now, written as u64 * potluck_core::limits::CHUNK_BYTES);
                self.disk_work(
                    host,
                    op,
                    done,
                    DiskWork::Open { place, content, with_table: table.is_some() },
                );
            }
            PeerEffect::Reserve { op, place: _ } => {
                let done = self.host(host).disk.sync_time(now);
                self.disk_work(host, op, done, DiskWork::Reserve);
            }
            PeerEffect::ReadListing { op, download } => {
                let done = self.host(host).disk.hash_time(now, 0);
                self.disk_work(host, op, done, DiskWork::ReadListing { place: Place::Root(download) });
            }
            PeerEffect::Sync { op, place } => {
                let written = self.known_unsynced(host, place);
                let done = self.host(host).disk.sync_time(now);
                self.disk_work(host, op, done, DiskWork::Sync { place, written });
            }
            PeerEffect::Finish { op, place } => {
                let done = self.host(host).disk.sync_time(now);
                self.disk_work(host, op, done, DiskWork::Finish { place });
            }
            PeerEffect::CopyLocal { op, key, place } => {
                let Some(content) = self.content_of(host, key) else { return };
                let done = self.host(host).disk.write_time(now, key.length);
                self.disk_work(host, op, done, DiskWork::Copy { place, content });
            }
            PeerEffect::Release { place } => {
                self.host(host).wanted.remove(&place);
            }
            PeerEffect::Report(event) => self.on_report(host, event),
        }
    }

    pub(super) fn perform_tracker(&mut self, host: HostId, effect: TrackerEffect) {
        let now = self.now;
        self.print.tracker_effect(&effect);
        if let Some(observer) = &mut self.observer {
            observer.tracker_effect(now.0, host, &effect);
        }
        match effect {
            TrackerEffect::Send { link, msg } => {
                self.check_listed(host, &msg);
                let Some(end) = self.end_of(host, link) else { return };
                self.send_message(end, &msg);
                self.send_control(end, Body::Reply(Box::new(msg)));
            }
            TrackerEffect::Probe { op, addr } => self.dial(host, op, addr, Seeks::Probe),
            TrackerEffect::Close { link, reason } => self.close(host, link, reason),
            TrackerEffect::Report(_) => {}
        }
    }

    fn dial(&mut self, host: HostId, op: OpId, addr: SocketAddr, seeks: Seeks) {
        let to = self.by_addr.get(&addr).copied();
        self.net.dial(self.now, host, to, op, seeks, &mut self.queue);
    }

    pub(super) fn disk_work(&mut self, host: HostId, op: OpId, done: Instant, what: DiskWork) -> usize {
        let incarnation = self.hosts[host as usize].incarnation;
        let number = self.disk_ops.insert(DiskOp { host, incarnation, op, what });
        self.queue.push(done, Event::Disk(number));
        number
    }

    fn close(&mut self, host: HostId, link: LinkId, reason: CloseReason) {
        let Some(end) = self.end_of(host, link) else { return };
        self.check_close(host, end, reason);
        self.drop_end(end);
        self.net.close(self.now, end, &mut self.queue);
    }

    /// Encodes a message: for its length, the fingerprint, and in a real world to decode it again.
    fn send_message<M: WireMessage + PartialEq>(&mut self, end: EndId, msg: &M) {
        self.scratch.clear();
        encode_message(msg, &mut self.scratch);
        self.print.bytes(&self.scratch);
        let body = self.scratch.get(Header::BYTES..).unwrap_or_default();
        let cap = M::body_bytes_max(msg.kind()).unwrap_or(0) as usize;
        let host = self.net.host_of(end).unwrap_or(0);
        if body.len() > cap {
            let bytes = body.len();
            return self.fail(host, || format!("{} of {bytes} bytes, its cap is {cap}", msg.name()));
        }
        if self.plan.real && M::decode_body(msg.kind(), body).as_ref() != Ok(msg) {
            self.fail(host, || format!("{} does not decode to what was encoded", msg.name()));
        }
    }

    /// Sends what `send_message` has encoded.
    pub(super) fn send_control(&mut self, end: EndId, body: Body) {
        let bytes = self.scratch.len() as u32;
        let Some(host) = self.net.host_of(end) else { return };
        self.tally.hosts[host as usize].control_sent += u64::from(bytes);
        self.net.send(self.now, end, Frame { bytes, body }, &mut self.queue);
        if self.net.unsent(end) > CONTROL_QUEUE_BYTES + 2 * u64::from(super::end::CREDIT) {
            if self.hosts[host as usize].is_honest() {
                let unsent = self.net.unsent(end);
                return self
                    .fail(host, || format!("has {unsent} bytes waiting on one link, and overflows it"));
            }
            self.net.reset(end);
        }
    }

    fn send_peer(&mut self, host: HostId, link: LinkId, msg: PeerMessage) {
        let Some(end) = self.end_of(host, link) else { return self.check_gone(host, link, msg.name()) };
        let Some(msg) = self.bend_message(host, end, msg) else { return };
        self.check_message(host, end, &msg);
        self.check_down_cap(host, end, &msg);
        self.send_plain(end, msg);
    }

    /// Sends a message as it is.
    pub(super) fn send_plain(&mut self, end: EndId, msg: PeerMessage) {
        self.send_message(end, &msg);
        self.send_control(end, Body::Peer(msg));
    }

    fn send_chunk(&mut self, host: HostId, link: LinkId, slot: Slot, key: ContentKey, at: ChunkAddr) {
        let Some(end) = self.end_of(host, link) else { return };
        let Some(number) = self.content_of(host, key) else { return };
        let content = self.catalog.get(number);
        let (Some(position), Some(bytes)) = (content.index(at), content.geometry.chunk_bytes(at)) else {
            return self.fail(host, || format!("sends {} which does not exist", spell(at)));
        };
        let bytes = bytes + Header::BYTES as u32;
        let record = &mut self.hosts[host as usize];
        let taint = match record.disk.chunk(number, position) {
            Some(_) if record.disk.faults.read => TAINT_CHANGED,
            Some(true) => 0,
            Some(false) if record.disk.shared.get(&number).is_some_and(|shared| shared.changed) => {
                TAINT_CHANGED
            }
            Some(false) if record.disk.shared.contains_key(&number) => TAINT_ROTTEN,
            _ if record.hostile.is_some() => TAINT_LIE,
            Some(false) => {
                return self
                    .fail(host, || format!("serves {}, whose bytes are wrong on its disk", spell(at)));
            }
            None => return self.fail(host, || format!("serves {}, which it does not have", spell(at))),
        };
        let Some(record) = self.end(end) else { return };
        let Some(credit) = record.credit.checked_sub(bytes) else {
            let credit = record.credit;
            return self.fail(host, || format!("sends {bytes} bytes of a chunk with a credit of {credit}"));
        };
        record.credit = credit;
        self.check_up_cap(host, bytes);
        let frame = ChunkFrame { slot, content: number, at, taint };
        if let Some(frame) = self.bend_chunk(host, end, frame, bytes) {
            self.net.send(self.now, end, Frame { bytes, body: Body::Chunk(frame) }, &mut self.queue);
        }
    }

    fn expect(&mut self, host: HostId, link: LinkId, asked: Asked) {
        let Asked { op, slot, key, place, run } = asked;
        let Some(end) = self.end_of(host, link) else { return self.check_gone(host, link, "expects chunks") };
        let Some(number) = self.content_of(host, key) else { return };
        let content = self.catalog.get(number);
        if run.count == 0 || run.count > 64 || !content.geometry.contains_run(run) {
            return self.fail(host, || format!("expects {run:?}, which does not exist"));
        }
        let now = self.now;
        let wanted = self.hosts[host as usize].wanted(place, content);
        let first = content.range(run.piece).start + usize::from(run.first);
        let mut most = 0;
        for chunk in first..first + usize::from(run.count) {
            // What is just being written is answered for by that write.
            wanted.marks.set(chunk, !wanted.writing.contains(&chunk));
            wanted.asked[chunk] += 1;
            most = most.max(wanted.asked[chunk]);
        }
        let left = u64::MAX >> (64 - u32::from(run.count));
        if let Some(record) = self.end(end) {
            record.expected.push(Expected { op, slot, content: number, place, run, left, since: now });
        }
        self.check_expect(host, end, number, place, run, most);
    }

    /// What a sync is to make durable. A process that was stopped does not count on what it has not heard to be written.
    fn known_unsynced(&self, host: HostId, place: Place) -> FixedBitSet {
        let record = &self.hosts[host as usize];
        let Some(part) = record.disk.parts.get(&place) else { return FixedBitSet::new() };
        let mut written = part.unsynced();
        for input in &record.deferred {
            if let Input::Peer(PeerInput::ChunkArrived { at, .. }) = input
                && let Some(chunk) = self.catalog.get(part.content).index(*at)
            {
                written.remove(chunk);
            }
        }
        written
    }

    fn unexpect(&mut self, host: HostId, link: LinkId, op: OpId) {
        let Some(end) = self.end_of(host, link) else { return };
        let Some(record) = self.ends.get_mut(end.index()).and_then(Option::as_deref_mut) else { return };
        let host = &mut self.hosts[host as usize];
        let catalog = &self.catalog;
        record.expected.retain(|expected| {
            if expected.op != op {
                return true;
            }
            if let Some(wanted) = host.wanted.get_mut(&expected.place) {
                let content = catalog.get(expected.content);
                for chunk in expected.missing().filter_map(|at| content.index(at)) {
                    wanted.asked[chunk] = wanted.asked[chunk].saturating_sub(1);
                }
            }
            false
        });
    }
}

/// The fields of an `Expect`.
struct Asked {
    op: OpId,
    slot: Slot,
    key: ContentKey,
    place: Place,
    run: ChunkRun,
}
