//! What a peer tells its owner.

use std::path::PathBuf;

use potluck_core::content::Kind;
use potluck_core::ids::{ContentKey, DownloadId};
use potluck_core::peer::PeerEvent;

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
    /// The reader was slow: so many events of passing interest were dropped since it was last told so. Which they may have
    /// been, [`Events`] says.
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
/// many ([`Event::Missed`]); progress and states are kept in their newest form.
///
/// Of passing interest are verified pieces, uploads, peers that join and leave, offers, faults of others and what was
/// withdrawn: of each sort the newest few thousand are kept. Of uploads that delivered all of a content one is kept for each
/// content. What became of downloads and of the paths that are shared is never lost.
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

/// Events of one key supersede each other, or are of one sort.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum EventKey {
    Session,
    Refused,
    Registered,
    Download(DownloadId),
    Checking(DownloadId),
    Hashing(PathBuf),
    Share(PathBuf),
    Delivered(ContentKey),
    Pieces,
    Uploads,
    Peers,
    Offers,
    Faults,
    Withdrawn,
}

impl Queued for Event {
    type Key = EventKey;

    fn fate(&self) -> Fate<EventKey> {
        match self {
            Self::Peer(event) => fate_of(event),
            Self::ShareProgress { path, .. } => Fate::Replaces(EventKey::Hashing(path.clone())),
            Self::Checking { download, .. } => Fate::Replaces(EventKey::Checking(*download)),
            Self::Shared(Shared { path, .. }) | Self::ShareLost { path, .. } => {
                Fate::Replaces(EventKey::Share(path.clone()))
            }
            Self::Missed { .. } => Fate::Kept,
        }
    }

    fn weight(&self) -> usize {
        if let Self::Peer(PeerEvent::PeersChanged { joined, left }) = self {
            joined.len() + left.len()
        } else {
            1
        }
    }

    fn absorb(&mut self, earlier: Self) -> u64 {
        let (
            Self::Peer(PeerEvent::UploadEnded { peer, bytes, .. }),
            Self::Peer(PeerEvent::UploadEnded { peer: peer_before, bytes: bytes_before, .. }),
        ) = (self, earlier)
        else {
            // A state that is over.
            return 0;
        };
        if *peer != peer_before {
            return 1;
        }
        *bytes += bytes_before;
        0
    }

    fn missed(count: u64) -> Self {
        Self::Missed { count }
    }
}

fn fate_of(event: &PeerEvent) -> Fate<EventKey> {
    match event {
        PeerEvent::Answer { .. }
        | PeerEvent::Completed { .. }
        | PeerEvent::Failed { .. }
        | PeerEvent::Listed { .. }
        | PeerEvent::Left => Fate::Kept,
        PeerEvent::Joined { .. }
        | PeerEvent::NameTaken { .. }
        | PeerEvent::JoinRefused { .. }
        | PeerEvent::TrackerLost { .. } => Fate::Replaces(EventKey::Session),
        PeerEvent::AnnounceRefused { .. } => Fate::Replaces(EventKey::Refused),
        PeerEvent::Registered { .. } => Fate::Replaces(EventKey::Registered),
        PeerEvent::Waiting { download, .. } | PeerEvent::Resumed { download } => {
            Fate::Replaces(EventKey::Download(*download))
        }
        // Somebody may wait for the one that has all of it.
        PeerEvent::UploadEnded { key, complete: true, .. } => Fate::Replaces(EventKey::Delivered(*key)),
        PeerEvent::UploadBegan { .. } | PeerEvent::UploadEnded { .. } => Fate::Passing(EventKey::Uploads),
        PeerEvent::PieceVerified { .. } => Fate::Passing(EventKey::Pieces),
        PeerEvent::PeersChanged { .. } => Fate::Passing(EventKey::Peers),
        PeerEvent::Offered { .. } => Fate::Passing(EventKey::Offers),
        PeerEvent::Misbehaved { .. } | PeerEvent::Retracted { .. } => Fate::Passing(EventKey::Faults),
        PeerEvent::Withdrawn { .. } => Fate::Passing(EventKey::Withdrawn),
    }
}

#[cfg(test)]
mod tests {
    use potluck_core::ids::{ContentId, PeerId};

    use super::*;
    use crate::events::queue;
    use crate::limits::EVENTS_WAITING;

    const HERE: ContentKey = ContentKey { id: ContentId([1; 32]), length: 3 };

    fn id(peer: u32) -> PeerId {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&peer.to_le_bytes());
        PeerId(id)
    }

    fn ended(peer: u32, bytes: u64, complete: bool) -> Event {
        Event::Peer(PeerEvent::UploadEnded { peer: id(peer), key: HERE, bytes, complete })
    }

    /// Nobody reads while a crowd of ever new peers fetches, each once whole and once in part: of the whole deliveries one
    /// stays, for who waits for one, and what became of a download. All else is counted.
    #[tokio::test]
    async fn a_crowd_does_not_displace_what_must_be_known() {
        const CROWD: u32 = 50_000;
        let (sender, receiver) = queue();
        let (first, second) = (DownloadId(1), DownloadId(2));
        sender.send(Event::Peer(PeerEvent::Completed { download: first }));
        for peer in 0..CROWD {
            sender.send(Event::Peer(PeerEvent::UploadBegan { peer: id(peer), key: HERE }));
            sender.send(ended(peer, 1, false));
            sender.send(ended(peer, 1, true));
            sender.send(ended(peer, 2, true));
        }
        sender.send(Event::Peer(PeerEvent::Completed { download: second }));
        drop(sender);
        let mut all = Vec::new();
        while let Some(event) = receiver.next().await {
            all.push(event);
        }
        assert!(all.len() < 2 * EVENTS_WAITING + 10, "{} were kept", all.len());
        let count = |wanted: &dyn Fn(&Event) -> bool| all.iter().filter(|event| wanted(event)).count();
        for download in [first, second] {
            assert_eq!(count(&|event| *event == Event::Peer(PeerEvent::Completed { download })), 1);
        }
        assert!(all.contains(&ended(CROWD - 1, 3, true)), "the bytes of both of its uploads");
        let missed: u64 =
            all.iter().map(|event| if let Event::Missed { count } = event { *count } else { 0 }).sum();
        // Each of the last deliveries took up another one of the same peer, from when the queue was full on.
        let told = all.iter().filter(|event| !matches!(event, Event::Missed { .. })).count() as u64;
        let merged = 4 * u64::from(CROWD) + 2 - told - missed;
        assert!((u64::from(CROWD) - 2000..=u64::from(CROWD)).contains(&merged), "{merged} were taken up");
    }

    /// A path that changes all the time, and its newest state.
    #[tokio::test]
    async fn of_a_path_the_newest_state_stays() {
        let (sender, receiver) = queue();
        for number in 0..3 * EVENTS_WAITING {
            let key = ContentKey { id: HERE.id, length: number as u64 };
            sender.send(Event::Peer(PeerEvent::Withdrawn { key }));
            let (kind, name, bytes, files) = (Kind::File, "log".to_owned(), key.length, 1);
            sender.send(Event::Shared(Shared { path: "log".into(), key, kind, name, bytes, files }));
        }
        let key = ContentKey { id: HERE.id, length: 1 };
        let lost = Event::ShareLost { path: "log".into(), key, why: "gone".to_owned() };
        sender.send(lost.clone());
        drop(sender);
        let mut all = Vec::new();
        while let Some(event) = receiver.next().await {
            all.push(event);
        }
        assert!(all.len() <= 2 * EVENTS_WAITING, "{} were kept", all.len());
        let mut states =
            all.iter().filter(|event| matches!(event, Event::Shared(_) | Event::ShareLost { .. }));
        assert_eq!(states.next_back(), Some(&lost));
    }
}
