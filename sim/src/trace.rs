//! The fingerprint of a run: a number that every input and every effect goes into.

use potluck_core::ids::{ContentKey, PieceIndex};
use potluck_core::peer::{Command, PeerEffect, PeerEvent, PeerInput, Place};
use potluck_core::time::Instant;
use potluck_core::tracker::{TrackerEffect, TrackerInput};

/// A running hash. Equal runs have equal ones, in every process and on every machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint(pub(crate) u64);

impl Fingerprint {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed ^ 0x51_7C_C1_B7_27_22_0A_95)
    }

    /// Takes a number in.
    pub(crate) const fn number(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(23) ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    /// Takes bytes in.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.number(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.number(u64::from_le_bytes(last));
    }

    fn all<const N: usize>(&mut self, numbers: [u64; N]) {
        for number in numbers {
            self.number(number);
        }
    }

    /// A step of a host begins.
    pub(crate) fn step(&mut self, now: Instant, host: u32) {
        self.all([now.0, u64::from(host)]);
    }

    /// An input of a peer. The bodies of messages went in when they were sent.
    pub(crate) fn peer_input(&mut self, input: &PeerInput) {
        match input {
            PeerInput::Command(command) => self.all([1, command_code(command)]),
            PeerInput::LinkUp { link, op, peer, .. } => {
                self.all([2, link.0, op.map_or(0, |op| op.0)]);
                self.bytes(&peer.0);
            }
            PeerInput::DialFailed { op, error } => self.all([3, op.0, *error as u64]),
            PeerInput::LinkDown { link, .. } => self.all([4, link.0]),
            PeerInput::Peer { link, .. } => self.all([5, link.0]),
            PeerInput::Tracker { link, .. } => self.all([6, link.0]),
            PeerInput::Writable { link, bytes } => self.all([7, link.0, u64::from(*bytes)]),
            PeerInput::Receiving { link, bytes } => self.all([8, link.0, u64::from(*bytes)]),
            PeerInput::ChunkArrived { op, at, result } => {
                let right = result.map_or(0, |value| u64::from_le_bytes(first_word(&value.0)));
                self.all([9, op.0, place(at.piece, at.chunk), right]);
            }
            PeerInput::ChunkSent { link, key, at, result } => {
                self.all([10, link.0, key_code(*key), place(at.piece, at.chunk), *result as u64]);
            }
            PeerInput::SourceChanged { key } => self.all([11, key_code(*key)]),
            PeerInput::Opened { op, result } => self.all([12, op.0, u64::from(result.is_ok())]),
            PeerInput::Reserved { op, result } => self.all([13, op.0, u64::from(result.is_ok())]),
            PeerInput::Copied { op, result } => self.all([14, op.0, u64::from(result.is_ok())]),
            PeerInput::ListingRead { op, result } => self.all([15, op.0, u64::from(result.is_ok())]),
            PeerInput::Synced { op, result } => self.all([16, op.0, u64::from(result.is_ok())]),
            PeerInput::Finished { op, result } => self.all([17, op.0, u64::from(result.is_ok())]),
            PeerInput::Tick => self.number(18),
        }
    }

    /// An effect of a peer, besides the body of a message.
    pub(crate) fn peer_effect(&mut self, effect: &PeerEffect) {
        match effect {
            PeerEffect::Dial { op, addr, role } => self.all([31, op.0, u64::from(addr.port()), *role as u64]),
            PeerEffect::Close { link, .. } => self.all([32, link.0]),
            PeerEffect::SendPeer { link, .. } => self.all([33, link.0]),
            PeerEffect::SendTracker { link, .. } => self.all([34, link.0]),
            PeerEffect::SendChunk { link, slot, key, at } => {
                self.all([35, link.0, u64::from(slot.0), key_code(*key), place(at.piece, at.chunk)]);
            }
            PeerEffect::Expect { link, op, slot, run, .. } => {
                let run = place(run.piece, run.first) << 16 | u64::from(run.count);
                self.all([36, link.0, op.0, u64::from(slot.0), run]);
            }
            PeerEffect::Unexpect { link, op } => self.all([37, link.0, op.0]),
            PeerEffect::Open { op, key, place, .. } => {
                self.all([38, op.0, key_code(*key), place_code(*place)])
            }
            PeerEffect::Reserve { op, place } => self.all([39, op.0, place_code(*place)]),
            PeerEffect::ReadListing { op, download } => self.all([40, op.0, download.0]),
            PeerEffect::Sync { op, place } => self.all([41, op.0, place_code(*place)]),
            PeerEffect::Finish { op, place } => self.all([42, op.0, place_code(*place)]),
            PeerEffect::CopyLocal { op, key, place } => {
                self.all([43, op.0, key_code(*key), place_code(*place)])
            }
            PeerEffect::Release { place } => self.all([44, place_code(*place)]),
            PeerEffect::Report(event) => self.all([45, event_code(event)]),
        }
    }

    /// An input of a tracker.
    pub(crate) fn tracker_input(&mut self, input: &TrackerInput) {
        match input {
            TrackerInput::LinkUp { link, peer, .. } => {
                self.all([61, link.0]);
                self.bytes(&peer.0);
            }
            TrackerInput::LinkDown { link, .. } => self.all([62, link.0]),
            TrackerInput::Request { link, .. } => self.all([63, link.0]),
            TrackerInput::Probed { op, answered_by } => {
                self.all([64, op.0, u64::from(answered_by.is_some())])
            }
            TrackerInput::Tick => self.number(65),
        }
    }

    /// An effect of a tracker.
    pub(crate) fn tracker_effect(&mut self, effect: &TrackerEffect) {
        match effect {
            TrackerEffect::Send { link, .. } => self.all([71, link.0]),
            TrackerEffect::Probe { op, addr } => self.all([72, op.0, u64::from(addr.port())]),
            TrackerEffect::Close { link, .. } => self.all([73, link.0]),
            TrackerEffect::Report(_) => self.number(74),
        }
    }
}

fn place(piece: PieceIndex, chunk: u16) -> u64 {
    u64::from(piece.0) << 16 | u64::from(chunk)
}

fn first_word(bytes: &[u8; 32]) -> [u8; 8] {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[..8]);
    word
}

fn key_code(key: ContentKey) -> u64 {
    u64::from_le_bytes(first_word(&key.id.0)) ^ key.length
}

fn place_code(place: Place) -> u64 {
    match place {
        Place::Root(download) => download.0 << 1,
        Place::Member { download, entry } => download.0 << 33 | u64::from(entry) << 1 | 1,
    }
}

fn command_code(command: &Command) -> u64 {
    match command {
        Command::JoinTracker { addr } => 1 << 16 | u64::from(addr.port()),
        Command::LeaveTracker => 2,
        Command::Share { key, .. } => 3 ^ key_code(*key),
        Command::Unshare { key } => 4 ^ key_code(*key),
        Command::Fetch { download, key, .. } => 5 ^ key_code(*key) ^ download.0,
        Command::Stop { download } => 6 ^ download.0 << 8,
        Command::Resume { download } => 7 ^ download.0 << 8,
        Command::Ask { op, .. } => 8 ^ op.0 << 8,
        Command::WatchPeers { on } => 9 ^ u64::from(*on) << 8,
        Command::LimitRates { up, down } => 10 ^ up << 8 ^ down << 9,
        Command::Leave => 11,
        Command::AcceptOffers { .. } => 12,
        Command::AlsoNamed { key, .. } => 13 ^ key_code(*key),
    }
}

fn event_code(event: &PeerEvent) -> u64 {
    match event {
        PeerEvent::Joined { contents, .. } => 1 ^ u64::from(*contents) << 8,
        PeerEvent::NameTaken { .. } => 2,
        PeerEvent::JoinRefused { .. } => 18,
        PeerEvent::AnnounceRefused { .. } => 19,
        PeerEvent::TrackerLost { .. } => 3,
        PeerEvent::Registered { contents } => 4 ^ u64::from(*contents) << 8,
        PeerEvent::Answer { op, .. } => 5 ^ op.0 << 8,
        PeerEvent::PeersChanged { joined, left } => {
            6 ^ (joined.len() as u64) << 8 ^ (left.len() as u64) << 32
        }
        PeerEvent::PieceVerified { download, piece, .. } => 7 ^ download.0 << 8 ^ u64::from(piece.0) << 32,
        PeerEvent::Waiting { download, .. } => 8 ^ download.0 << 8,
        PeerEvent::Resumed { download } => 9 ^ download.0 << 8,
        PeerEvent::Completed { download } => 10 ^ download.0 << 8,
        PeerEvent::Failed { download, .. } => 11 ^ download.0 << 8,
        PeerEvent::Misbehaved { what, banned, .. } => 12 ^ (*what as u64) << 8 ^ u64::from(*banned) << 16,
        PeerEvent::Retracted { key, .. } => 13 ^ key_code(*key),
        PeerEvent::Withdrawn { key } => 14 ^ key_code(*key),
        PeerEvent::UploadBegan { key, .. } => 15 ^ key_code(*key),
        PeerEvent::UploadEnded { key, bytes, .. } => 16 ^ key_code(*key) ^ bytes << 8,
        PeerEvent::Left => 17,
        PeerEvent::Offered { offer, .. } => 19 ^ key_code(offer.key),
        PeerEvent::Listed { download, listing } => {
            18 ^ download.0 << 8 ^ (listing.entries().len() as u64) << 32
        }
    }
}
