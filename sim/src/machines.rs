//! The machines that a world drives: the real ones, or whatever stands in for them.

use potluck_core::Machine;
use potluck_core::content::PieceSet;
use potluck_core::ids::{ContentKey, DownloadId, PeerId};
use potluck_core::peer::{DownloadStatus, PeerConfig, PeerEffect, PeerInput};
use potluck_core::tracker::{TrackerConfig, TrackerEffect, TrackerInput};

/// A peer as the world drives and checks it. A wrapper delegates what it does not change.
pub trait PeerMachine: Machine<Input = PeerInput, Effect = PeerEffect> + Send {
    /// Its own invariants.
    ///
    /// # Errors
    /// Which one does not hold, in words.
    fn check(&self) -> Result<(), String>;
    /// Verified pieces of a content that it shares or downloads.
    fn held(&self, key: ContentKey) -> Option<PieceSet>;
    /// How a download is doing.
    fn status(&self, download: DownloadId) -> Option<DownloadStatus>;
}

/// A tracker as the world drives and checks it.
pub trait TrackerMachine: Machine<Input = TrackerInput, Effect = TrackerEffect> + Send {
    /// Its own invariants.
    ///
    /// # Errors
    /// Which one does not hold, in words.
    fn check(&self) -> Result<(), String>;
    /// Peers with a live lease.
    fn peers(&self) -> Vec<PeerId>;
    /// Holders of a content, with the number of pieces that each announced.
    fn holders(&self, key: ContentKey) -> Vec<(PeerId, u32)>;
}

/// Makes machines. A test's mutant wraps the ones it gets from [`Real`].
pub trait Machines: Sync {
    /// A peer for this host.
    fn peer(&self, host: u32, config: PeerConfig) -> Box<dyn PeerMachine>;
    /// A tracker for this host.
    fn tracker(&self, host: u32, config: TrackerConfig) -> Box<dyn TrackerMachine>;
}
