//! The machines that a world drives: the real ones, or whatever stands in for them.

use std::collections::BTreeSet;

use potluck_core::Machine;
use potluck_core::content::PieceSet;
use potluck_core::ids::{ContentKey, DownloadId, PeerId};
use potluck_core::peer::{DownloadStatus, Peer, PeerConfig, PeerEffect, PeerInput};
use potluck_core::tracker::{Tracker, TrackerConfig, TrackerEffect, TrackerInput};

/// A peer as the world drives and checks it. A wrapper delegates what it does not change.
pub trait PeerMachine: Machine<Input = PeerInput, Effect = PeerEffect> + Send {
    /// Panics if one of its own invariants does not hold; the world turns that into a violation.
    fn check(&self);
    /// Verified pieces of a content that it shares or downloads.
    fn held(&self, key: ContentKey) -> Option<PieceSet>;
    /// How a download is doing.
    fn status(&self, download: DownloadId) -> Option<DownloadStatus>;
}

impl PeerMachine for Peer {
    fn check(&self) {
        self.check_invariants();
    }
    fn held(&self, key: ContentKey) -> Option<PieceSet> {
        Self::held(self, key)
    }
    fn status(&self, download: DownloadId) -> Option<DownloadStatus> {
        Self::status(self, download)
    }
}

/// A tracker as the world drives and checks it.
pub trait TrackerMachine: Machine<Input = TrackerInput, Effect = TrackerEffect> + Send {
    /// Panics if one of its own invariants does not hold; the world turns that into a violation.
    fn check(&self);
    /// Peers with a live lease.
    fn peers(&self) -> Vec<PeerId>;
    /// Those of them that registered a content.
    fn holders(&self, key: ContentKey) -> BTreeSet<PeerId>;
}

impl TrackerMachine for Tracker {
    fn check(&self) {
        self.check_invariants();
    }
    fn peers(&self) -> Vec<PeerId> {
        self.sessions().map(|session| session.peer).collect()
    }
    fn holders(&self, key: ContentKey) -> BTreeSet<PeerId> {
        Self::holders(self, key).collect()
    }
}

/// Makes machines. A test's mutant wraps the ones it gets from [`Real`].
pub trait Machines: Sync {
    /// A peer for this host.
    fn peer(&self, host: u32, config: PeerConfig) -> Box<dyn PeerMachine>;
    /// A tracker for this host.
    fn tracker(&self, host: u32, config: TrackerConfig) -> Box<dyn TrackerMachine>;
}

/// The machines of `potluck-core`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Real;

impl Machines for Real {
    fn peer(&self, _host: u32, config: PeerConfig) -> Box<dyn PeerMachine> {
        Box::new(Peer::new(config))
    }
    fn tracker(&self, _host: u32, config: TrackerConfig) -> Box<dyn TrackerMachine> {
        Box::new(Tracker::new(config))
    }
}
