//! potluck in the real world: tokio, sockets, disk and hashing threads around `potluck-core`'s machines.
//!
//! The handles are what a program uses: [`Peer`] shares, fetches and asks; [`Tracker`] runs an index; [`ask_tracker`] asks
//! one without joining it.
//!
//! ```no_run
//! use potluck_transport_tcp::{Event, Peer, PeerOptions};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let options = PeerOptions { name: "ada".into(), tracker: Some("127.0.0.1:7070".parse()?), ..PeerOptions::default() };
//! let (peer, mut events) = Peer::start(options).await?;
//! let shared = peer.share("photos".as_ref()).await?;
//! println!("{} files as {}", shared.files, shared.key.id);
//! while let Some(event) = events.next().await {
//!     println!("{event:?}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Inside
//!
//! | part | role |
//! |---|---|
//! | [`transport`] | the trait that carries links; [`tcp`] and [`memory`] implement it |
//! | `framing`, `connect`, `link` | handshakes, frames, a reader and a writer task per link |
//! | `hub`, `driver` | all links of a machine; the actor that owns it |
//! | [`workers`], [`pool`] | blocking work; chunk buffers within a budget |
//! | [`store`], [`scan`], [`hashing`], [`hash_cache`] | downloads and shared files on disk |
//! | [`folder`] | a folder that is kept shared as it changes |
//! | [`record`] | recordings of a machine's inputs |
//! | [`peer`], [`tracker`], [`ask_tracker`] | the handles |
//!
//! A chunk's bytes go from the socket into a pooled buffer, are hashed there by a worker and written once at their
//! position; on their way out they go from the page cache to the socket by `sendfile`. No machine and no channel sees them.

mod ask;
mod clock;
mod connect;
mod driver;
mod events;
pub mod folder;
mod framing;
pub mod hash_cache;
pub mod hashing;
mod hub;
mod lanes;
mod limits;
mod link;
pub mod memory;
pub mod peer;
pub mod pool;
pub mod record;
pub mod scan;
pub mod store;
pub mod tcp;
mod together;
pub mod tracker;
pub mod transport;
pub mod workers;

pub use ask::{
    AskError, PeersChange, ask_tracker, ask_tracker_by_page, ask_tracker_over, watch_tracker_peers,
};
pub use peer::{Event, Events, Fetch, Peer, PeerOptions, ShareError, Shared, StartError};
pub use tracker::{Tracker, TrackerEvents, TrackerOptions};
