//! One end of a link, as the driver that serves it sees it.

use std::collections::{BTreeMap, VecDeque};

use potluck_core::content::PieceSet;
use potluck_core::ids::{ChunkAddr, ChunkRun, LinkId, OpId, PeerId, Slot};
use potluck_core::limits::CHUNK_BYTES;
use potluck_core::peer::Place;
use potluck_core::time::Instant;
use potluck_core::wire::frame::Header;

use crate::net::{Body, HostId};

/// Bytes of chunk frames that a link's socket takes before it has sent some.
pub(super) const CREDIT: u32 = 2 * CHUNK_FRAME;
/// Bytes of the longest chunk frame.
pub(super) const CHUNK_FRAME: u32 = CHUNK_BYTES as u32 + Header::BYTES as u32;

/// An `Expect` that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    pub(super) op: OpId,
    pub(super) slot: Slot,
    pub(super) content: u32,
    pub(super) place: Place,
    pub(super) run: ChunkRun,
    /// Chunks of the run that have not come, lowest bit first.
    pub(super) left: u64,
    pub(super) since: Instant,
}

impl Expected {
    /// Takes the chunk out, if it is waited for.
    pub(super) fn take(&mut self, slot: Slot, at: ChunkAddr) -> bool {
        let run = self.run;
        if self.slot != slot || run.piece != at.piece || at.chunk < run.first {
            return false;
        }
        let offset = at.chunk - run.first;
        let bit = 1u64.checked_shl(u32::from(offset)).unwrap_or(0);
        let there = offset < run.count && self.left & bit != 0;
        self.left &= !bit;
        there
    }

    /// The chunks that have not come.
    pub(super) fn missing(&self) -> impl Iterator<Item = ChunkAddr> + use<> {
        let Self { run, left, .. } = *self;
        let waits = move |offset: &u16| left >> offset & 1 == 1;
        (0..run.count)
            .filter(waits)
            .map(move |offset| ChunkAddr { piece: run.piece, chunk: run.first + offset })
    }
}

/// One end of a link.
#[derive(Debug)]
pub(crate) struct End {
    pub(super) host: HostId,
    pub(super) link: LinkId,
    pub(super) far_host: HostId,
    pub(super) far_peer: PeerId,
    pub(super) expected: Vec<Expected>,
    /// Frames that wait until the reader is done with a chunk.
    pub(super) inbox: VecDeque<(Body, u32)>,
    /// The write of that chunk, by number.
    pub(super) writing: Option<usize>,
    /// Bytes of chunk frames that the machine may still send.
    pub(super) credit: u32,
    /// Contents by the number that this side gave them.
    pub(super) slots: BTreeMap<Slot, u32>,
    /// What the far end has said that it holds, by its numbers, with the content's number.
    pub(super) far_slots: BTreeMap<Slot, (u32, PieceSet)>,
    /// The far end has refused a choice: which of its pieces it lacks is not known.
    pub(super) far_vague: bool,
    /// Bytes of a chunk under way, not reported yet, and when some were reported last.
    pub(super) unreported: u32,
    pub(super) reported_at: Instant,
    /// Chunk frames asked for by `Unasked` and the like, to be left out of the books.
    pub(super) unbooked: u32,
}

impl End {
    pub(super) fn new(host: HostId, link: LinkId, far_host: HostId, far_peer: PeerId) -> Box<Self> {
        Box::new(Self {
            host,
            link,
            far_host,
            far_peer,
            expected: Vec::new(),
            inbox: VecDeque::new(),
            writing: None,
            credit: CREDIT,
            slots: BTreeMap::new(),
            far_slots: BTreeMap::new(),
            far_vague: false,
            unreported: 0,
            reported_at: Instant::ZERO,
            unbooked: 0,
        })
    }
}
