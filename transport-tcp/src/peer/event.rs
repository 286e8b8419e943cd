//! What a peer tells its owner.

use std::path::PathBuf;

use potluck_core::content::Kind;
use potluck_core::ids::{ContentKey, DownloadId, PeerId};
use potluck_core::peer::{Misbehaviour, PeerEvent};

use crate::events::{EventReceiver, Fate, Queued};

/// Something that a person, or the program around a peer, may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// What the peer machine tells.
    Peer(PeerEvent),
    /// A path that is to be shared is being hashed.
    ShareProgress {
        /// The path, as it was given.
        path: PathBuf,
        /// Bytes hashed.
        bytes: u64,
        /// Bytes to hash in all.
        total: u64,
    },
    /// A path can be fetched by others: for the first time, or again after its files changed.
    Shared(Shared),
    /// A path can no longer be shared: its files are gone or do not stand still.
    ShareLost {
        /// The path, as it was given.
        path: PathBuf,
        /// What it was shared as.
        key: ContentKey,
        /// Why, in words.
        why: String,
    },
    /// What an earlier run left of a download is being hashed.
    Checking {
        /// Which.
        download: DownloadId,
        /// Bytes checked.
        bytes: u64,
        /// Bytes to check in all.
        total: u64,
    },
    /// The reader was slow: so many events of passing interest (verified pieces, uploads that began) were dropped.
    Missed {
        /// How many.
        count: u64,
    },
}

/// A path that is shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// The path, as it was given.
    pub path: PathBuf,
    /// What it is; of a folder: its listing.
    pub key: ContentKey,
    /// File or folder.
    pub kind: Kind,
    /// The label it is shared under.
    pub name: String,
    /// Bytes of the file, or of all files of the folder.
    pub bytes: u64,
    /// Number of files.
    pub files: u64,
}

/// The events of a peer, in order. Bounded: a reader that is slow loses only events of passing interest, and is told how
/// many; progress and states are kept in their newest form.
pub struct Events(pub(super) EventReceiver<Event>);

impl Events {
    /// The next event; `None` once the peer has left. Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.next().await
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

/// Events of one key supersede each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EventKey {
    Session,
    Refused,
    Registered,
    Peers,
    Download(DownloadId),
    Checking(DownloadId),
    Share(PathBuf),
    Misbehaved(PeerId, Misbehaviour, Option<ContentKey>),
    Retracted(PeerId, ContentKey),
    Withdrawn(ContentKey),
    Upload(PeerId, ContentKey),
}

impl Queued for Event {
    type Key = EventKey;

    fn fate(&self) -> Fate<EventKey> {
        match self {
            Self::Peer(event) => fate_of(event),
            Self::ShareProgress { path, .. } => Fate::Replaces(EventKey::Share(path.clone())),
            Self::Checking { download, .. } => Fate::Replaces(EventKey::Checking(*download)),
            Self::Shared(_) | Self::ShareLost { .. } | Self::Missed { .. } => Fate::Kept,
        }
    }

    fn absorb(&mut self, earlier: Self) {
        match (self, earlier) {
            (
                Self::Peer(PeerEvent::PeersChanged { joined, left }),
                Self::Peer(PeerEvent::PeersChanged { joined: joined_before, left: left_before }),
            ) => {
                // The newest of each peer holds: a later row replaces an earlier one, a later end both.
                let known = |peer: PeerId| {
                    joined.iter().any(|row| row.peer == peer) || left.iter().any(|(gone, _)| *gone == peer)
                };
                let rows: Vec<_> = joined_before.into_iter().filter(|row| !known(row.peer)).collect();
                let gone: Vec<_> = left_before.into_iter().filter(|(peer, _)| !known(*peer)).collect();
                joined.extend(rows);
                left.extend(gone);
            }
            (
                Self::Peer(PeerEvent::UploadEnded { bytes, complete, .. }),
                Self::Peer(PeerEvent::UploadEnded { bytes: bytes_before, complete: complete_before, .. }),
            ) => {
                *bytes += bytes_before;
                *complete |= complete_before;
            }
            _ => {}
        }
    }

    fn missed(count: u64) -> Self {
        Self::Missed { count }
    }
}

fn fate_of(event: &PeerEvent) -> Fate<EventKey> {
    Fate::Replaces(match event {
        PeerEvent::PieceVerified { .. } | PeerEvent::UploadBegan { .. } => return Fate::Dropped,
        PeerEvent::Answer { .. }
        | PeerEvent::Completed { .. }
        | PeerEvent::Failed { .. }
        | PeerEvent::Listed { .. }
        | PeerEvent::Offered { .. }
        | PeerEvent::Left => return Fate::Kept,
        PeerEvent::Joined { .. }
        | PeerEvent::NameTaken { .. }
        | PeerEvent::JoinRefused { .. }
        | PeerEvent::TrackerLost { .. } => EventKey::Session,
        PeerEvent::AnnounceRefused { .. } => EventKey::Refused,
        PeerEvent::Registered { .. } => EventKey::Registered,
        PeerEvent::PeersChanged { .. } => EventKey::Peers,
        PeerEvent::Waiting { download, .. } | PeerEvent::Resumed { download } => {
            EventKey::Download(*download)
        }
        PeerEvent::Misbehaved { peer, what, key, .. } => EventKey::Misbehaved(*peer, *what, *key),
        PeerEvent::Retracted { peer, key } => EventKey::Retracted(*peer, *key),
        PeerEvent::Withdrawn { key } => EventKey::Withdrawn(*key),
        PeerEvent::UploadEnded { peer, key, .. } => EventKey::Upload(*peer, *key),
    })
}
