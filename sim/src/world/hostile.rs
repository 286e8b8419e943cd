//! Hostile peers: real machines whose driver bends what they say. They join, announce and ask like everybody, so that honest
//! peers have every reason to trust them at first.

use potluck_core::ids::{ChunkAddr, ChunkRun, PieceIndex, Slot};
use potluck_core::wire::frame::Header;
use potluck_core::wire::peer::{Holding, PeerMessage, Refusal, RequestRef};

use super::World;
use super::inputs::TAINT_LIE;
use crate::net::{Body, ChunkFrame, EndId, Frame, HostId};
use crate::plan::{FaultKind, Hostility};

/// Requests that a greedy peer sends at once: more than anybody may have open.
const GREEDY_REQUESTS: u32 = 2000;

impl World<'_> {
    /// A message of a hostile peer, bent; `None`: it is not sent. Honest peers' pass unchanged.
    pub(super) fn bend_message(&mut self, host: HostId, end: EndId, msg: PeerMessage) -> Option<PeerMessage> {
        let Some(hostility) = self.hosts[host as usize].hostile else { return Some(msg) };
        match (hostility, &msg) {
            (Hostility::Mute, PeerMessage::Refuse { .. } | PeerMessage::Table { .. }) => {
                self.tally.fired(FaultKind::Mute);
                None
            }
            (Hostility::Lie, PeerMessage::Join { slot, key, .. }) => {
                self.tally.fired(FaultKind::Lie);
                Some(PeerMessage::Join { slot: *slot, key: *key, holding: Holding::Everything })
            }
            (Hostility::Lie, PeerMessage::Bitfield { .. }) => None,
            (Hostility::Greedy, PeerMessage::Join { slot, .. }) => {
                let slot = *slot;
                self.send_plain(end, msg);
                self.tally.fired(FaultKind::Greedy);
                for number in 0..GREEDY_REQUESTS {
                    let run = ChunkRun { piece: PieceIndex(number), first: 0, count: 1 };
                    self.send_plain(end, PeerMessage::Request { slot, run });
                }
                None
            }
            (Hostility::Garbage, PeerMessage::Have { .. } | PeerMessage::Table { .. }) => {
                self.tally.fired(FaultKind::Garbage);
                let body = if self.dice.chance(50) {
                    Body::Garbage
                } else {
                    Body::Peer(PeerMessage::Found { seq: 77, offers: Vec::new() })
                };
                self.net.send(self.now, end, Frame { bytes: 100, body }, &mut self.queue);
                Some(msg)
            }
            (
                Hostility::Corrupt
                | Hostility::Lie
                | Hostility::Mute
                | Hostility::Trickle
                | Hostility::Unasked
                | Hostility::Twice
                | Hostility::Garbage
                | Hostility::Greedy,
                _,
            ) => Some(msg),
        }
    }

    /// A chunk of a hostile peer, bent; `None`: it is not sent.
    pub(super) fn bend_chunk(
        &mut self,
        host: HostId,
        end: EndId,
        chunk: ChunkFrame,
        bytes: u32,
    ) -> Option<ChunkFrame> {
        let Some(hostility) = self.hosts[host as usize].hostile else { return Some(chunk) };
        self.tally.fired(hostility.kind());
        match hostility {
            Hostility::Corrupt => Some(ChunkFrame { taint: TAINT_LIE, ..chunk }),
            Hostility::Lie => {
                let which = RequestRef::Piece(chunk.at.piece);
                self.send_plain(end, PeerMessage::Refuse { slot: chunk.slot, which, why: Refusal::Lacks });
                None
            }
            Hostility::Mute => None,
            Hostility::Trickle | Hostility::Greedy => Some(chunk),
            Hostility::Unasked => {
                let pieces = u64::from(self.catalog.get(chunk.content).geometry.pieces());
                let piece = PieceIndex(self.dice.below(pieces) as u32);
                let other = ChunkFrame { at: ChunkAddr { piece, chunk: 0 }, ..chunk };
                let stray = ChunkFrame { slot: Slot(chunk.slot.0 + 1000), ..chunk };
                self.send_extra(end, other, bytes);
                self.send_extra(end, stray, bytes);
                Some(chunk)
            }
            Hostility::Twice => {
                self.send_extra(end, chunk, bytes);
                Some(chunk)
            }
            Hostility::Garbage => {
                if self.dice.chance(30) {
                    let body = Body::Garbage;
                    self.net.send(
                        self.now,
                        end,
                        Frame { bytes: Header::BYTES as u32, body },
                        &mut self.queue,
                    );
                }
                Some(chunk)
            }
        }
    }

    fn send_extra(&mut self, end: EndId, chunk: ChunkFrame, bytes: u32) {
        if let Some(record) = self.end(end) {
            record.unbooked += 1;
            self.net.send(self.now, end, Frame { bytes, body: Body::Chunk(chunk) }, &mut self.queue);
        }
    }
}
