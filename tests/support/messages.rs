//! Messages of every kind with values that follow from a seed, for tests and benches of the wire.
//!
//! The generator is named (ChaCha8) and its use is spelled out here, so that a seed means the same messages for good:
//! one hash over many of them pins the whole encoding (`tests/wire_golden.rs`).

use std::net::{IpAddr, SocketAddr};

use potluck_core::content::Kind;
use potluck_core::ids::{
    ChainingValue, ChunkRun, ContentId, ContentKey, PeerId, PieceIndex, SessionToken, Slot,
};
use potluck_core::limits;
use potluck_core::seed::Seed;
use potluck_core::wire::peer::{Holding, KnownPeer, Offer, PeerMessage, Refusal, RequestRef};
use potluck_core::wire::tracker::{
    Accepting, Ad, Cursor, HolderRow, Matching, PeerRow, Reach, RefusedRequest, Row, TrackerMessage,
    TrackerRequest,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

/// How large texts and sequences get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// Mostly a few elements, at times as many as the bounds allow.
    Any,
    /// Always as many as the bounds allow.
    Full,
}

/// Makes messages.
pub(crate) struct Generator {
    rng: ChaCha8Rng,
    size: Size,
}

impl Generator {
    /// A generator whose messages follow from `seed`.
    pub(crate) fn new(seed: u64, size: Size) -> Self {
        Self { rng: Seed::from_number(seed).rng(), size }
    }

    fn u64(&mut self) -> u64 {
        self.rng.next_u64()
    }

    fn u32(&mut self) -> u32 {
        self.rng.next_u32()
    }

    fn u16(&mut self) -> u16 {
        self.u32() as u16
    }

    fn bool(&mut self) -> bool {
        self.u32() & 1 == 1
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.u64() % bound as u64) as usize
    }

    fn count(&mut self, max: usize) -> usize {
        match (self.size, self.below(16)) {
            (Size::Full, _) | (Size::Any, 0) => max,
            (Size::Any, 1) => self.below(max + 1),
            (Size::Any, _) => self.below(max.min(4) + 1),
        }
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    fn vec<T>(&mut self, max: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.count(max)).map(|_| make(self)).collect()
    }

    fn option<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let some = self.bool() || self.size == Size::Full;
        some.then(|| make(self))
    }

    /// At most `bytes_max` bytes of UTF-8; in full size exactly.
    fn text(&mut self, bytes_max: usize) -> String {
        let bytes = self.count(bytes_max);
        let mut text = String::new();
        while text.len() < bytes {
            let c =
                ['a', 'Z', '0', ' ', '.', '/', '\0', '\u{1b}', 'ü', '語', '👍', '\u{202e}'][self.below(12)];
            text.push(if text.len() + c.len_utf8() <= bytes { c } else { 'x' });
        }
        text
    }

    fn key(&mut self) -> ContentKey {
        ContentKey { id: ContentId(self.bytes()), length: self.u64() }
    }

    fn kind(&mut self) -> Kind {
        if self.bool() { Kind::File } else { Kind::Folder }
    }

    fn name(&mut self) -> String {
        self.text(limits::NAME_BYTES_MAX)
    }

    fn peer_name(&mut self) -> String {
        self.text(limits::PEER_NAME_BYTES_MAX)
    }

    fn peer_id(&mut self) -> PeerId {
        PeerId(self.bytes())
    }

    fn ip(&mut self) -> IpAddr {
        if self.size == Size::Any && self.bool() {
            IpAddr::from(self.bytes::<4>())
        } else {
            IpAddr::from(self.bytes::<16>())
        }
    }

    fn addr(&mut self) -> SocketAddr {
        SocketAddr::new(self.ip(), self.u16())
    }

    fn slot(&mut self) -> Slot {
        Slot(self.u32())
    }

    fn pieces(&mut self, max: usize) -> Vec<PieceIndex> {
        self.vec(max, |g| PieceIndex(g.u32()))
    }

    fn request_ref(&mut self) -> RequestRef {
        if self.bool() { RequestRef::Piece(PieceIndex(self.u32())) } else { RequestRef::Choice(self.u32()) }
    }

    fn reach(&mut self) -> Reach {
        Reach { ip: self.option(Self::ip), port: self.u16(), dialable: self.bool() }
    }

    fn holder_row(&mut self) -> HolderRow {
        HolderRow { peer: self.peer_id(), name: self.peer_name(), reach: self.reach(), pieces: self.u32() }
    }

    fn peer_row(&mut self) -> PeerRow {
        PeerRow { peer: self.peer_id(), name: self.peer_name(), reach: self.reach() }
    }

    fn cursor(&mut self) -> Cursor {
        Cursor { name: self.name(), key: self.key() }
    }

    fn ad(&mut self) -> Ad {
        Ad {
            key: self.key(),
            kind: self.kind(),
            name: self.name(),
            member: self.bool(),
            pieces: self.u32(),
            total: self.u64(),
        }
    }

    fn row(&mut self) -> Row {
        Row {
            key: self.key(),
            kind: self.kind(),
            name: self.name(),
            complete: self.u32(),
            partial: self.u32(),
            total: self.u64(),
        }
    }

    fn offer(&mut self) -> Offer {
        Offer { key: self.key(), kind: self.kind(), name: self.name() }
    }

    fn matching(&mut self) -> Matching {
        let text = self.text(limits::QUERY_BYTES_MAX);
        match self.below(5 + usize::from(self.size == Size::Any)) {
            0 => Matching::Name(text),
            1 => Matching::Substring(text),
            2 => Matching::Glob(text),
            3 => Matching::Prefix(text),
            4 => Matching::IdPrefix(text),
            _ => Matching::All,
        }
    }

    fn refused(&mut self) -> RefusedRequest {
        match self.below(6) {
            0 => RefusedRequest::NameTaken { offer: self.peer_name() },
            1 => RefusedRequest::BadName,
            2 => RefusedRequest::NotJoined,
            3 => RefusedRequest::NotYours,
            4 => RefusedRequest::Limit(self.text(limits::QUERY_BYTES_MAX)),
            _ => RefusedRequest::BadQuery(self.text(limits::QUERY_BYTES_MAX)),
        }
    }

    /// A message between peers, of any kind.
    pub(crate) fn peer_message(&mut self) -> PeerMessage {
        match self.below(19) {
            0 => PeerMessage::Hello { name: self.peer_name(), listen_port: self.u16() },
            1 => {
                let holding =
                    [Holding::Nothing, Holding::Everything, Holding::Some, Holding::Table][self.below(4)];
                PeerMessage::Join { slot: self.slot(), key: self.key(), holding }
            }
            2 => {
                let bits = self.vec(limits::BITFIELD_SLICE_BYTES, |g| g.u32() as u8);
                PeerMessage::Bitfield { slot: self.slot(), first: self.u32(), bits }
            }
            3 => PeerMessage::Have { slot: self.slot(), pieces: self.pieces(limits::HAVES_PER_MESSAGE) },
            4 => PeerMessage::Leave { slot: self.slot() },
            5 => PeerMessage::Retract { slot: self.slot(), pieces: self.pieces(limits::HAVES_PER_MESSAGE) },
            6 => {
                let run = ChunkRun { piece: PieceIndex(self.u32()), first: self.u16(), count: self.u16() };
                PeerMessage::Request { slot: self.slot(), run }
            }
            7 => {
                let pieces = self.pieces(limits::CHOICE_PIECES_MAX);
                PeerMessage::RequestAny { slot: self.slot(), choice: self.u32(), pieces }
            }
            8 => PeerMessage::Cancel { slot: self.slot(), which: self.request_ref() },
            9 => {
                let why = if self.bool() { Refusal::Lacks } else { Refusal::Busy { retry_ms: self.u32() } };
                PeerMessage::Refuse { slot: self.slot(), which: self.request_ref(), why }
            }
            10 => PeerMessage::RequestTable { slot: self.slot(), first: self.u32(), count: self.u32() },
            11 => {
                let values = self.vec(limits::TABLE_SLICE_PIECES as usize, |g| ChainingValue(g.bytes()));
                PeerMessage::Table { slot: self.slot(), first: self.u32(), values }
            }
            12 => PeerMessage::Holders { slot: self.slot(), peers: self.known_peers() },
            13 => PeerMessage::Find { seq: self.u32(), what: self.text(limits::QUERY_BYTES_MAX) },
            14 => PeerMessage::Found { seq: self.u32(), offers: self.vec(32, Self::offer) },
            15 => PeerMessage::Ping { nonce: self.u64() },
            16 => PeerMessage::Pong { nonce: self.u64() },
            17 => PeerMessage::Spare { ahead: self.u32() as u16 },
            _ => PeerMessage::Absent { slot: self.slot(), peers: self.known_peers() },
        }
    }

    fn known_peers(&mut self) -> Vec<KnownPeer> {
        self.vec(limits::HOLDER_SAMPLE, |g| KnownPeer { peer: g.peer_id(), addr: g.addr() })
    }

    /// A request to a tracker, of any kind.
    pub(crate) fn tracker_request(&mut self) -> TrackerRequest {
        match self.below(17) {
            0 => TrackerRequest::Join {
                seq: self.u32(),
                name: self.peer_name(),
                any_name: self.bool(),
                listen_port: self.u16(),
                token: self.option(|g| SessionToken(g.bytes())),
            },
            1 => {
                TrackerRequest::Announce { seq: self.u32(), ads: self.vec(limits::ADS_PER_MESSAGE, Self::ad) }
            }
            2 => TrackerRequest::Withdraw {
                seq: self.u32(),
                keys: self.vec(limits::ADS_PER_MESSAGE, Self::key),
            },
            3 => TrackerRequest::Search {
                seq: self.u32(),
                matching: self.matching(),
                members: self.bool(),
                after: self.option(Self::cursor),
                limit: self.u32(),
            },
            4 => TrackerRequest::Holders {
                seq: self.u32(),
                key: self.key(),
                after: self.option(Self::peer_id),
                limit: self.u32(),
            },
            5 => TrackerRequest::Peers {
                seq: self.u32(),
                after: self.option(Self::peer_id),
                limit: self.u32(),
            },
            6 => TrackerRequest::Watch { key: self.key() },
            7 => TrackerRequest::Unwatch { key: self.key() },
            8 => TrackerRequest::WatchPeers { on: self.bool() },
            9 => TrackerRequest::Rename { seq: self.u32(), name: self.peer_name() },
            10 => TrackerRequest::AskToDial { peer: self.peer_id() },
            11 => TrackerRequest::Leave {},
            12 => TrackerRequest::Ping { nonce: self.u64() },
            13 => TrackerRequest::Pong { nonce: self.u64() },
            14 => TrackerRequest::AcceptOffers { seq: self.u32(), from: self.accepting() },
            15 => TrackerRequest::OfferTo {
                seq: self.u32(),
                to: self.peer_id(),
                offer: self.offer(),
                total: self.u64(),
            },
            _ => TrackerRequest::AlsoNamed {
                key: self.key(),
                names: self.vec(limits::OTHER_NAMES_PER_CONTENT, Self::name),
            },
        }
    }

    /// An answer or push of a tracker, of any kind.
    pub(crate) fn tracker_message(&mut self) -> TrackerMessage {
        match self.below(12) {
            0 => TrackerMessage::Joined {
                seq: self.u32(),
                name: self.peer_name(),
                token: SessionToken(self.bytes()),
                observed: self.addr(),
                lease_ms: self.u32(),
            },
            1 => TrackerMessage::Done { seq: self.u32() },
            2 => TrackerMessage::Refused { seq: self.u32(), why: self.refused() },
            3 => TrackerMessage::Rows {
                seq: self.u32(),
                rows: self.vec(limits::ROWS_PER_REPLY, Self::row),
                next: self.option(Self::cursor),
            },
            4 => TrackerMessage::HolderRows {
                seq: self.u32(),
                rows: self.vec(limits::ROWS_PER_REPLY, Self::holder_row),
                next: self.option(Self::peer_id),
            },
            5 => TrackerMessage::PeerRows {
                seq: self.u32(),
                rows: self.vec(limits::ROWS_PER_REPLY, Self::peer_row),
                next: self.option(Self::peer_id),
            },
            6 => TrackerMessage::HolderChange {
                key: self.key(),
                now: self.vec(limits::HOLDER_SAMPLE, Self::holder_row),
                gone: self.vec(limits::ROWS_PER_REPLY, Self::peer_id),
            },
            7 => TrackerMessage::PeerChange {
                joined: self.vec(limits::ROWS_PER_REPLY, Self::peer_row),
                left: self.vec(limits::ROWS_PER_REPLY, |g| (g.peer_id(), g.peer_name())),
            },
            8 => TrackerMessage::PleaseDial { row: self.peer_row() },
            9 => TrackerMessage::Ping { nonce: self.u64() },
            10 => TrackerMessage::Pong { nonce: self.u64() },
            _ => TrackerMessage::Offered { from: self.peer_row(), offer: self.offer(), total: self.u64() },
        }
    }

    fn accepting(&mut self) -> Accepting {
        match self.below(3) {
            0 => Accepting::Nobody,
            1 => Accepting::Everybody,
            _ => Accepting::Names(self.vec(limits::ACCEPTED_NAMES_MAX, Self::peer_name)),
        }
    }
}
