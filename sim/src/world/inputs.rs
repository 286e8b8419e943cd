//! What happened becomes an input.

use std::time::Duration;

use potluck_core::content::ListingFault;
use potluck_core::ids::{ChunkAddr, OpId};
use potluck_core::limits::EFFECTS_PER_INPUT_MAX;
use potluck_core::peer::{
    ChunkFault, CloseReason, Misbehaviour, Opening, PeerInput, Role, SendResult, StorageFault,
};
use potluck_core::time::Instant;
use potluck_core::tracker::TrackerInput;
use potluck_core::wire::frame::Header;

use super::end::End;
use super::host::{DiskOp, DiskWork, Input, Landing, Node};
use super::{Event, TICKS_AT_ONCE_MAX, World};
use crate::net::{Body, ChunkFrame, EndId, Happened, HostId};

/// A chunk whose file had changed when it was sent.
pub(super) const TAINT_CHANGED: u32 = 1;
/// A chunk that had rotted on its sender's disk.
pub(super) const TAINT_ROTTEN: u32 = 2;
/// A chunk that its sender made up.
pub(super) const TAINT_LIE: u32 = 3;

/// How often a driver reports that bytes of an unfinished chunk come in.
const RECEIVING_EVERY: Duration = Duration::from_millis(250);

impl World<'_> {
    pub(super) fn on_happened(&mut self, happened: Happened) {
        match happened {
            Happened::Frame { at, body, bytes } => self.on_frame(at, body, bytes),
            Happened::Part { at, bytes } => self.on_part(at, bytes),
            Happened::Payload { host, bytes } => {
                self.tally.hosts[host as usize].payload_sent += u64::from(bytes);
                self.check_sent(host);
            }
            Happened::ChunkSent { by, chunk, bytes } => self.on_chunk_sent(by, chunk, bytes),
            Happened::Accepted { at } => self.on_link(at, None),
            Happened::Connected { at, op } => self.on_link(at, Some(op)),
            Happened::DialFailed { host, op, error } => {
                self.host(host).dials.remove(&op);
                self.feed_peer(host, PeerInput::DialFailed { op, error });
            }
            Happened::Probed { host, op, answered_by } => {
                let answered_by = answered_by.map(|host| self.hosts[host as usize].peer);
                self.feed_tracker(host, TrackerInput::Probed { op, answered_by });
            }
            Happened::Down { at, reason } => self.on_down(at, reason),
        }
    }

    fn on_link(&mut self, at: EndId, op: Option<OpId>) {
        let (Some(host), Some(far)) = (self.net.host_of(at), self.net.host_of(at.far())) else { return };
        let (peer, dialed) = (self.hosts[far as usize].peer, self.hosts[far as usize].addr);
        let role = if self.hosts[far as usize].access.tracker { Role::Tracker } else { Role::Peer };
        let record = self.host(host);
        let link = record.new_link(at);
        if let Some(op) = op {
            record.dials.remove(&op);
        }
        if self.ends.len() <= at.index() {
            self.ends.resize_with(at.index() + 1, || None);
        }
        let end = End::new(host, link, far, peer);
        let credit = end.credit;
        self.ends[at.index()] = Some(end);
        self.tally.hosts[host as usize].links += 1;
        // An accepted connection comes from a port of its own.
        let addr =
            if op.is_some() { dialed } else { (dialed.ip(), 40_000 + (at.conn() % 20_000) as u16).into() };
        if self.hosts[host as usize].access.tracker {
            self.feed_tracker(host, TrackerInput::LinkUp { link, peer, addr });
        } else {
            self.feed_peer(host, PeerInput::LinkUp { link, op, role, peer, addr });
            if role == Role::Peer && self.end(at).is_some() {
                self.feed_peer(host, PeerInput::Writable { link, bytes: credit });
            }
        }
    }

    fn on_down(&mut self, at: EndId, reason: CloseReason) {
        let Some(end) = self.drop_end(at) else { return };
        let (host, link) = (end.host, end.link);
        if self.hosts[host as usize].access.tracker {
            self.feed_tracker(host, TrackerInput::LinkDown { link, reason });
        } else {
            self.feed_peer(host, PeerInput::LinkDown { link, reason });
        }
    }

    /// Forgets an end with all that is expected there.
    pub(super) fn drop_end(&mut self, at: EndId) -> Option<Box<End>> {
        let end = self.ends.get_mut(at.index())?.take()?;
        let host = &mut self.hosts[end.host as usize];
        host.links[end.link.0 as usize] = None;
        for expected in &end.expected {
            if let Some(wanted) = host.wanted.get_mut(&expected.place) {
                let content = self.catalog.get(expected.content);
                for chunk in expected.missing().filter_map(|at| content.index(at)) {
                    wanted.asked[chunk] = wanted.asked[chunk].saturating_sub(1);
                }
            }
        }
        Some(end)
    }

    fn on_frame(&mut self, at: EndId, body: Body, bytes: u32) {
        let Some(end) = self.end(at) else { return };
        if end.writing.is_some() || !end.inbox.is_empty() {
            end.inbox.push_back((body, bytes));
        } else {
            self.take_frame(at, body, bytes);
        }
    }

    fn take_frame(&mut self, at: EndId, body: Body, bytes: u32) {
        let Some(end) = self.end(at) else { return };
        let (host, link) = (end.host, end.link);
        match body {
            Body::Chunk(chunk) => self.take_chunk(at, chunk, bytes),
            Body::Peer(msg) => self.feed_peer(host, PeerInput::Peer { link, msg }),
            Body::Reply(msg) => self.feed_peer(host, PeerInput::Tracker { link, msg: *msg }),
            Body::Request(msg) => self.feed_tracker(host, TrackerInput::Request { link, msg: *msg }),
            Body::Garbage => {
                self.net.abort(self.now, at, &mut self.queue);
                self.on_down(at, CloseReason::Misbehaved(Misbehaviour::Garbage));
            }
            Body::Fin => {}
        }
    }

    /// A chunk frame is whole. What is expected is hashed and written; all else is skipped.
    fn take_chunk(&mut self, reader: EndId, chunk: ChunkFrame, bytes: u32) {
        let now = self.now;
        let Some(end) = self.ends.get_mut(reader.index()).and_then(Option::as_deref_mut) else { return };
        let tally = &mut self.tally.hosts[end.host as usize];
        let found = end.expected.iter_mut().position(|expected| expected.take(chunk.slot, chunk.at));
        let Some(index) = found else {
            tally.payload_wasted += u64::from(bytes);
            return;
        };
        let expected = end.expected[index];
        if expected.left == 0 {
            end.expected.remove(index);
        }
        end.unreported = 0;
        end.reported_at = now;
        let host = &mut self.hosts[end.host as usize];
        let content = self.catalog.get(expected.content);
        let Some(position) = content.index(chunk.at) else { return };
        let wanted = host.wanted(expected.place, content);
        wanted.asked[position] = wanted.asked[position].saturating_sub(1);
        if !wanted.marks.put_and_take(position) {
            tally.payload_wasted += u64::from(bytes);
            return;
        }
        wanted.writing.push(position);
        let payload = u64::from(bytes.saturating_sub(Header::BYTES as u32));
        let fault = if content.geometry.chunk_bytes(chunk.at).map(u64::from) != Some(payload) {
            Some(ChunkFault::WrongLength)
        } else if host.disk.faults.full {
            Some(ChunkFault::Storage(StorageFault::Full))
        } else if host.disk.faults.write {
            Some(ChunkFault::Storage(StorageFault::Io))
        } else {
            None
        };
        if chunk.taint == 0 && fault.is_none() {
            tally.payload_used += u64::from(bytes);
        } else {
            tally.payload_wasted += u64::from(bytes);
        }
        // Bytes of another content than the one expected under this slot are as wrong as any.
        let taint = if chunk.content == expected.content { chunk.taint } else { TAINT_LIE };
        let (at, content, place) = (chunk.at, expected.content, expected.place);
        let done = host.disk.write_time(now, payload);
        let host = end.host;
        let landing = Landing { reader, at, content, place, taint, fault };
        let write = self.disk_work(host, expected.op, done, DiskWork::Land(landing));
        if let Some(end) = self.end(reader) {
            end.writing = Some(write);
        }
    }

    /// A reader has written a chunk, and goes on with what came behind it.
    fn on_landed(&mut self, host: HostId, op: OpId, number: usize, landing: &Landing) {
        let (reader, at) = (landing.reader, landing.at);
        let result = self.write_chunk(host, landing);
        if let Some(end) = self.end(reader).filter(|end| end.writing == Some(number)) {
            end.writing = None;
        }
        self.feed_peer(host, PeerInput::ChunkArrived { op, at, result });
        while let Some(end) = self.end(reader)
            && end.writing.is_none()
            && let Some((body, bytes)) = end.inbox.pop_front()
        {
            self.take_frame(reader, body, bytes);
        }
    }

    fn write_chunk(
        &mut self,
        host: HostId,
        landing: &Landing,
    ) -> Result<potluck_core::ids::ChainingValue, ChunkFault> {
        let content = self.catalog.get(landing.content);
        let closed = Err(ChunkFault::Storage(StorageFault::Io));
        let Some(wanted) = self.hosts[host as usize].wanted.get_mut(&landing.place) else { return closed };
        // A place that was closed meanwhile takes no more; opened again, it knows nothing of this write.
        let Some(write) = wanted.writing.iter().position(|&w| Some(w) == content.index(landing.at)) else {
            return closed;
        };
        wanted.writing.swap_remove(write);
        if let Some(fault) = landing.fault {
            return Err(fault);
        }
        let (Some(chunk), Some(value)) =
            (content.index(landing.at), content.value(landing.at, landing.taint))
        else {
            return Err(ChunkFault::WrongLength);
        };
        let part = self.hosts[host as usize].disk.part(landing.place, landing.content, content);
        part.write(chunk, landing.taint == 0);
        if let (Some(bytes), Some(first)) =
            (content.read(landing.at, landing.taint), content.geometry.chunk_offset(landing.at))
            && let Some(target) = part.bytes.get_mut(first as usize..first as usize + bytes.len())
        {
            target.copy_from_slice(&bytes);
        }
        Ok(value)
    }

    fn on_part(&mut self, at: EndId, bytes: u32) {
        let now = self.now;
        let Some(end) = self.end(at) else { return };
        if end.expected.is_empty() {
            return;
        }
        end.unreported += bytes;
        if now.since(end.reported_at) >= RECEIVING_EVERY {
            let (host, link) = (end.host, end.link);
            let bytes = std::mem::take(&mut end.unreported);
            end.reported_at = now;
            self.feed_peer(host, PeerInput::Receiving { link, bytes });
        }
    }

    fn on_chunk_sent(&mut self, by: EndId, chunk: ChunkFrame, bytes: u32) {
        let Some(end) = self.end(by) else { return };
        if end.unbooked > 0 {
            end.unbooked -= 1;
            return;
        }
        end.credit += bytes;
        let (host, link) = (end.host, end.link);
        let key = self.catalog.get(chunk.content).key;
        let ChunkFrame { at, taint, .. } = chunk;
        let result = if taint == TAINT_CHANGED { SendResult::SourceChanged } else { SendResult::Sent };
        self.feed_peer(host, PeerInput::ChunkSent { link, key, at, result });
        if self.end(by).is_some() {
            self.feed_peer(host, PeerInput::Writable { link, bytes });
        }
    }

    /// A disk operation is done.
    pub(super) fn on_disk(&mut self, number: usize) {
        let Some(DiskOp { host, incarnation, op, what }) = self.disk_ops.try_remove(number) else { return };
        if self.hosts[host as usize].incarnation != incarnation || self.hosts[host as usize].node.is_none() {
            return;
        }
        let faults = self.hosts[host as usize].disk.faults;
        let space = if faults.full { Err(StorageFault::Full) } else { Ok(()) };
        let input = match what {
            DiskWork::Land(landing) => return self.on_landed(host, op, number, &landing),
            DiskWork::Open { place, content, with_table } => {
                let result = self.open(host, place, content, with_table);
                PeerInput::Opened { op, result }
            }
            DiskWork::Reserve => PeerInput::Reserved { op, result: space },
            DiskWork::ReadListing { place } => {
                let part = self.hosts[host as usize].disk.parts.get(&place);
                let listing = part.filter(|part| part.is_right()).map(|part| {
                    self.catalog.get(part.content).listing.clone().ok_or(ListingFault::NotAListing)
                });
                PeerInput::ListingRead { op, result: listing.ok_or(StorageFault::Io) }
            }
            DiskWork::Sync { place, written } => {
                let part = self.host(host).disk.parts.get_mut(&place);
                let result = match part {
                    Some(part) if faults.sync => {
                        part.let_unsynced_go();
                        Err(StorageFault::Io)
                    }
                    Some(part) => {
                        part.durable.union_with(&written);
                        part.durable.difference_with(&part.let_go);
                        Ok(())
                    }
                    None => Ok(()),
                };
                PeerInput::Synced { op, result }
            }
            DiskWork::Finish { place } => PeerInput::Finished { op, result: self.finish(host, place) },
            DiskWork::Copy { place, content } => {
                let result = space.and_then(|()| self.copy(host, place, content));
                PeerInput::Copied { op, result }
            }
        };
        self.feed_peer(host, input);
    }

    fn open(
        &mut self,
        host: HostId,
        place: potluck_core::peer::Place,
        number: u32,
        with_table: bool,
    ) -> Result<Opening, StorageFault> {
        let content = self.catalog.get(number);
        let disk = &mut self.hosts[host as usize].disk;
        let known = disk.parts.get(&place).filter(|part| part.content == number);
        if disk.faults.full && known.is_none() {
            return Err(StorageFault::Full);
        }
        let has_table = with_table || content.table.is_none() || known.is_some_and(|part| part.sidecar);
        if known.is_some_and(|part| part.finished && part.is_right()) {
            return Ok(Opening::Finished { table: content.table.clone() });
        }
        if !has_table {
            return Ok(Opening::NeedsTable);
        }
        let failing = disk.faults.sync;
        let part = disk.part(place, number, content);
        // What an earlier process wrote is synced before it is counted on.
        if failing {
            part.let_unsynced_go();
        } else {
            let written = part.unsynced();
            part.durable.union_with(&written);
        }
        // What a failed sync let go is not to be believed, whatever the page cache still shows.
        let lost: Vec<usize> = part.let_go.ones().collect();
        for chunk in lost {
            part.right.remove(chunk);
            part.wrong.remove(chunk);
        }
        part.let_go.clear();
        part.doubted.clear();
        part.sidecar = true;
        let have = part.pieces(content);
        // From here on it is open.
        self.hosts[host as usize].wanted(place, content);
        Ok(Opening::Part { table: content.table.clone(), have })
    }

    fn finish(&mut self, host: HostId, place: potluck_core::peer::Place) -> Result<(), StorageFault> {
        let record = &mut self.hosts[host as usize];
        let Some(part) = record.disk.parts.get_mut(&place) else { return Ok(()) };
        if record.disk.faults.sync {
            part.let_unsynced_go();
            return Err(StorageFault::Io);
        }
        let content = self.catalog.get(part.content);
        let (right, kept) = (part.is_right(), part.let_go.is_clear());
        let bytes_right = content.bytes.as_ref().is_none_or(|bytes| *bytes == part.bytes);
        part.finished = right;
        part.durable.insert_range(..);
        if !right || !bytes_right {
            let missing = part.right.count_zeroes(..);
            self.fail(host, || {
                format!("gives {place:?} its final name with {missing} chunks that are not right")
            });
        } else if !kept {
            self.fail(host, || {
                format!("finishes {place:?} though a failed sync's data was not written again")
            });
        }
        Ok(())
    }

    fn copy(
        &mut self,
        host: HostId,
        place: potluck_core::peer::Place,
        number: u32,
    ) -> Result<(), StorageFault> {
        let content = self.catalog.get(number);
        let disk = &mut self.hosts[host as usize].disk;
        if !disk.holds_all(number) {
            return Err(StorageFault::Io);
        }
        let part = disk.part(place, number, content);
        part.right.insert_range(..);
        part.wrong.clear();
        // All of it is written anew, whatever an earlier sync let go.
        part.durable.clear();
        part.let_go.clear();
        part.doubted.clear();
        if let Some(bytes) = &content.bytes {
            part.bytes.clone_from(bytes);
        }
        Ok(())
    }

    /// A machine's deadline may have come.
    pub(super) fn on_tick(&mut self, number: HostId) {
        let now = self.now;
        let host = self.host(number);
        if host.tick_at != Some(now) {
            return;
        }
        host.tick_at = None;
        if host.paused {
            return;
        }
        let local = host.local(now);
        let Some(before) = host.deadline() else { return };
        if before.at > local {
            return self.reschedule(number);
        }
        host.ticks_at_once = if host.last_tick == now { host.ticks_at_once + 1 } else { 0 };
        host.last_tick = now;
        let stuck = host.ticks_at_once > TICKS_AT_ONCE_MAX;
        let effects = self.tally.effects;
        match self.hosts[number as usize].node {
            Some(Node::Peer(_)) => self.feed_peer(number, PeerInput::Tick),
            Some(Node::Tracker(_)) => self.feed_tracker(number, TrackerInput::Tick),
            None => {}
        }
        self.host(number).idle_ticks += u64::from(self.tally.effects == effects);
        // One input handles a bounded number of timers: of more that are due at once, the rest is due still.
        if stuck {
            self.fail(number, || format!("a tick left the deadline where it was: {before:?}"));
        }
    }

    /// Has the host ticked when its machine wants it.
    pub(super) fn reschedule(&mut self, number: HostId) {
        let now = self.now;
        let host = self.host(number);
        if host.paused {
            return;
        }
        let Some(deadline) = host.deadline() else { return };
        let at = Instant(host.booted_at.0.saturating_add(deadline.at.0)).max(now);
        if host.tick_at.is_none_or(|scheduled| at < scheduled) {
            host.tick_at = Some(at);
            self.queue.push(at, Event::Tick(number));
        }
    }

    pub(super) fn feed_peer(&mut self, number: HostId, input: PeerInput) {
        let (now, sweep_every) = (self.now, self.sweep_every());
        let host = &mut self.hosts[number as usize];
        if host.paused {
            host.deferred.push_back(Input::Peer(input));
            return;
        }
        // Not before: what came while the process was stopped is not known to it until it gets there.
        if let PeerInput::Peer { link, msg } = &input
            && let Some(at) = self.end_of(number, *link)
        {
            self.hear(at, msg);
        }
        let host = &mut self.hosts[number as usize];
        let local = host.local(now);
        let Some(Node::Peer(peer)) = &mut host.node else { return };
        host.inputs += 1;
        let sweep = host.inputs.is_multiple_of(sweep_every);
        self.tally.inputs += 1;
        self.print.step(now, number);
        self.print.peer_input(&input);
        if let Some(observer) = &mut self.observer {
            observer.peer_input(now.0, number, &input);
        }
        let mut effects = std::mem::take(&mut self.peer_effects);
        let handled = guarded(|| {
            peer.handle(local, input, &mut effects);
            if sweep {
                peer.check();
            }
        });
        if let Err(what) = handled {
            return self.fail(number, || what);
        }
        let count = effects.len();
        if count > EFFECTS_PER_INPUT_MAX {
            self.fail(number, || format!("{count} effects of one input"));
        }
        self.tally.effects += count as u64;
        for effect in effects.drain() {
            self.perform_peer(number, effect);
        }
        self.peer_effects = effects;
        self.reschedule(number);
    }

    pub(super) fn feed_tracker(&mut self, number: HostId, input: TrackerInput) {
        let (now, sweep_every) = (self.now, self.sweep_every());
        let host = &mut self.hosts[number as usize];
        if host.paused {
            host.deferred.push_back(Input::Tracker(input));
            return;
        }
        let local = host.local(now);
        let before = self.before_request(number, &input);
        let host = &mut self.hosts[number as usize];
        let Some(Node::Tracker(tracker)) = &mut host.node else { return };
        host.inputs += 1;
        let sweep = host.inputs.is_multiple_of(sweep_every);
        self.tally.inputs += 1;
        self.print.step(now, number);
        self.print.tracker_input(&input);
        if let Some(observer) = &mut self.observer {
            observer.tracker_input(now.0, number, &input);
        }
        let mut effects = std::mem::take(&mut self.tracker_effects);
        let handled = guarded(|| {
            tracker.handle(local, input, &mut effects);
            if sweep {
                tracker.check();
            }
        });
        if let Err(what) = handled {
            return self.fail(number, || what);
        }
        if let Some(before) = before {
            self.check_owners(number, before);
        }
        let count = effects.len();
        if count > EFFECTS_PER_INPUT_MAX {
            self.fail(number, || format!("{count} effects of one input"));
        }
        self.tally.effects += count as u64;
        for effect in effects.drain() {
            self.perform_tracker(number, effect);
        }
        self.tracker_effects = effects;
        self.reschedule(number);
    }

    /// What waited while the process was stopped.
    pub(super) fn feed_deferred(&mut self, number: HostId) {
        while let Some(input) = self.host(number).deferred.pop_front() {
            match input {
                Input::Peer(input) => self.feed_peer(number, input),
                Input::Tracker(input) => self.feed_tracker(number, input),
            }
            self.settle();
        }
        self.reschedule(number);
    }
}

/// Runs a machine; its panic, which is a bug of the machine, becomes words.
pub(crate) fn guarded(run: impl FnOnce()) -> Result<(), String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        format!("the machine panics: {}", text.unwrap_or_default())
    })
}

impl super::host::Host {
    pub(super) fn deadline(&self) -> Option<potluck_core::time::Deadline> {
        match &self.node {
            Some(Node::Peer(peer)) => peer.deadline(),
            Some(Node::Tracker(tracker)) => tracker.deadline(),
            None => None,
        }
    }
}

/// Taking a mark away tells whether it was there.
trait TakeMark {
    fn put_and_take(&mut self, position: usize) -> bool;
}

impl TakeMark for fixedbitset::FixedBitSet {
    fn put_and_take(&mut self, position: usize) -> bool {
        let there = self.contains(position);
        self.set(position, false);
        there
    }
}

/// The chunk's number in error texts.
pub(super) fn spell(at: ChunkAddr) -> String {
    format!("chunk {} of piece {}", at.chunk, at.piece)
}
