//! Peers and trackers in one process, for the tests of the handles.
#![allow(dead_code, reason = "each test uses its part")]
#![expect(clippy::unwrap_used, reason = "a helper of tests")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use potluck_core::content::{Kind, SafeName};
use potluck_core::ids::{ContentKey, DownloadId};
use potluck_core::peer::{FetchOptions, PeerEvent};
use potluck_transport_tcp::store::Target;
use potluck_transport_tcp::{Event, Events, Fetch, Peer, PeerOptions, Shared, Tracker, TrackerOptions};
use tokio::time::timeout;

/// A test that waits for longer has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn tracker() -> Tracker {
    let options = TrackerOptions { listen: "127.0.0.1:0".parse().unwrap(), ..TrackerOptions::default() };
    Tracker::start(options).await.unwrap().0
}

pub(crate) fn options(name: &str, tracker: Option<&Tracker>) -> PeerOptions {
    PeerOptions {
        name: name.into(),
        any_name: false,
        listen: "127.0.0.1:0".parse().unwrap(),
        tracker: tracker.map(Tracker::listen_addr),
        ..PeerOptions::default()
    }
}

pub(crate) async fn peer(name: &str, tracker: Option<&Tracker>) -> (Peer, Events) {
    Peer::start(options(name, tracker)).await.unwrap()
}

/// Bytes that repeat nowhere within a chunk, and differ by seed.
pub(crate) fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

pub(crate) fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, bytes).unwrap();
    path
}

pub(crate) fn into_folder(key: ContentKey, kind: Kind, name: &str, folder: &Path) -> Fetch {
    let name = SafeName::parse(name).unwrap();
    let target = Target::new(folder, &name).unwrap();
    Fetch { key, kind, name, peers: Vec::new(), how: FetchOptions::default(), target }
}

pub(crate) fn what(shared: &Shared, folder: &Path) -> Fetch {
    into_folder(shared.key, shared.kind, &shared.name, folder)
}

/// Waits for the event that `pick` wants; panics with what came instead.
pub(crate) async fn wait_for<T>(events: &mut Events, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
    let mut seen = Vec::new();
    let search = async {
        while let Some(event) = events.next().await {
            if let Some(found) = pick(&event) {
                return Some(found);
            }
            if !matches!(event, Event::Peer(PeerEvent::PieceVerified { .. })) {
                seen.push(event);
            }
        }
        None
    };
    match timeout(PATIENCE, search).await {
        Ok(Some(found)) => found,
        Ok(None) => panic!("the peer ended; it told {seen:#?}"),
        Err(_) => panic!("it did not come; instead {seen:#?}"),
    }
}

/// Waits until a download is complete; fails when it fails.
pub(crate) async fn completed(events: &mut Events, download: DownloadId) {
    wait_for(events, |event| {
        let Event::Peer(event) = event else { return None };
        if let PeerEvent::Failed { download: of, reason } = event
            && *of == download
        {
            panic!("failed: {reason:?}");
        }
        (*event == PeerEvent::Completed { download }).then_some(())
    })
    .await;
}
