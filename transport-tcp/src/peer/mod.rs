//! The handle of a peer: what a program calls to share, to fetch and to ask.
//!
//! [`Peer::start`] starts an actor that owns the machine; a [`Peer`] is a cheap handle on it, [`Events`] is what it tells.
//! When the last handle is dropped the actor ends without ceremony; [`Peer::leave`] ends it in order.
//!
//! ```no_run
//! # use potluck_core::content::{Kind, SafeName};
//! # use potluck_core::ids::ContentKey;
//! # use potluck_core::peer::{FetchOptions, PeerEvent};
//! use potluck_transport_tcp::store::Target;
//! use potluck_transport_tcp::{Event, Fetch, Peer, PeerOptions};
//!
//! # async fn example(key: ContentKey, holder: std::net::SocketAddr) -> Result<(), Box<dyn std::error::Error>> {
//! let (peer, mut events) = Peer::start(PeerOptions::default()).await?;
//! let name = SafeName::parse("big.iso")?;
//! let target = Target::new("downloads/".as_ref(), &name)?;
//! let fetch = Fetch { key, kind: Kind::File, name, peers: vec![holder], how: FetchOptions::default(), target };
//! let download = peer.fetch(fetch).await;
//! while let Some(event) = events.next().await {
//!     if event == Event::Peer(PeerEvent::Completed { download }) {
//!         break;
//!     }
//! }
//! peer.leave().await;
//! # Ok(())
//! # }
//! ```

mod event;
mod share;
mod world;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use potluck_core::content::{Kind, SafeName};
use potluck_core::ids::{ContentKey, DownloadId, PeerId};
use potluck_core::peer::{
    Answer, Command, DownloadStatus, Explanation, FetchOptions, PeerConfig, PeerInput, Question, Role,
};
use potluck_core::seed::Seed;
use potluck_core::wire::tracker::Accepting;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

pub use event::{Event, Events, Shared};
pub use share::ShareError;
pub use world::PeerMachine;

use crate::driver::{Driver, mailbox};
use crate::events::{self, EventSender};
use crate::hub::Hub;
use crate::lanes::Lanes;
use crate::limits::{COPYING_BYTES_MAX, LEAVE_TIMEOUT, STORAGE_THREADS};
use crate::link::{ChunkGear, Landings, Receiving, Sending, Throttle};
use crate::pool::BufferPool;
use crate::record::Recorder;
use crate::store::{SourceHandle, Store, StoreOptions, Target, raise_open_files};
use crate::tcp::TcpTransport;
use crate::transport::{Copying, Listener, Transport};
use crate::workers::Workers;
use share::Shares;
use world::{Ask, PeerWorld};

/// How a peer is to be.
#[derive(Clone, Debug)]
pub struct PeerOptions {
    /// Name to join trackers with.
    pub name: String,
    /// Nobody chose the name: take a free one like it if it is taken.
    pub any_name: bool,
    /// Where to accept links; port 0 picks one. A specific address is also the source of outgoing links.
    pub listen: SocketAddr,
    /// A tracker to join at once.
    pub tracker: Option<SocketAddr>,
    /// Bytes that chunks may take in memory, and that may be under way to this peer.
    pub buffer_bytes: u64,
    /// Links served at the same time; others hear "busy".
    pub upload_links: u32,
    /// Cap on bytes sent per second; 0: none.
    pub up_rate: u64,
    /// Cap on bytes asked for per second; 0: none.
    pub down_rate: u64,
    /// The file in which the hashes of shared files are remembered ([`crate::hash_cache`]).
    pub hash_cache: Option<PathBuf>,
    /// Write everything that the machine is told to this file ([`crate::record`]).
    pub record: Option<PathBuf>,
}

impl Default for PeerOptions {
    fn default() -> Self {
        Self {
            name: "peer".to_owned(),
            any_name: true,
            listen: (Ipv4Addr::UNSPECIFIED, 0).into(),
            tracker: None,
            buffer_bytes: 64 * 1024 * 1024,
            upload_links: 64,
            up_rate: 0,
            down_rate: 0,
            hash_cache: None,
            record: None,
        }
    }
}

/// Why a peer or a tracker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened at.
    #[error("cannot listen at {addr}: {error}")]
    Listen {
        /// Which.
        addr: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// The recording cannot be created.
    #[error("cannot record to {}: {error}", .path.display())]
    Record {
        /// Where.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The system gives no threads.
    #[error("cannot start threads: {0}")]
    Threads(io::Error),
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    Entropy,
}

/// Who does a peer's blocking work. Three crews, so that none waits for another's long jobs.
#[derive(Clone, Debug)]
pub struct Crews {
    /// Hash and write arriving chunks.
    pub chunks: Workers,
    /// Open, sync and finish places; read what is not in memory.
    pub storage: Workers,
    /// Look for what is to be shared and hash it, one path at a time.
    pub sharing: Workers,
    /// Threads that one hashing may spread over.
    pub cores: usize,
}

impl Crews {
    /// Threads: as many for chunks as there are cores, a few for the disk.
    ///
    /// # Errors
    /// The system refuses to start a thread.
    pub fn threads() -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            chunks: Workers::threads(cores)?,
            storage: Workers::threads(STORAGE_THREADS)?,
            sharing: Workers::threads(1)?,
            cores,
        })
    }

    /// Everything on the thread that asks, for runtimes that cannot wait for threads (turmoil).
    #[must_use]
    pub fn inline() -> Self {
        Self { chunks: Workers::inline(), storage: Workers::inline(), sharing: Workers::inline(), cores: 1 }
    }
}

/// A content that is to be downloaded.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// What it is.
    pub key: ContentKey,
    /// File or folder.
    pub kind: Kind,
    /// Its label.
    pub name: SafeName,
    /// Where holders may be found, besides those that the tracker knows.
    pub peers: Vec<SocketAddr>,
    /// From whom, in which order, and what of it.
    pub how: FetchOptions,
    /// Where it goes.
    pub target: Target,
}

/// A handle on a running peer. Cheap to clone; when the last one is dropped, the peer ends as if it had crashed.
///
/// After [`leave`](Self::leave) by any handle the others do nothing and answer as if no tracker were in reach.
#[derive(Clone, Debug)]
pub struct Peer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: PeerId,
    listen: SocketAddr,
    asks: mpsc::Sender<Ask>,
    store: Store,
    crews: Crews,
    hash_cache: Option<PathBuf>,
    events: EventSender<Event>,
    /// Downloads count from 1.
    last_download: AtomicU64,
    shares: Mutex<Shares>,
    /// Held by the one path that is being shared.
    share_turn: Mutex<()>,
    /// Cancelled once the actor has ended and its tasks with it.
    ended: CancellationToken,
}

impl Peer {
    /// Starts a peer over TCP. Lets the process open as many files as the system allows.
    ///
    /// # Errors
    /// The address is taken, the recording cannot be written, or the system gives no threads or randomness.
    pub async fn start(options: PeerOptions) -> Result<(Self, Events), StartError> {
        raise_open_files();
        let transport = TcpTransport::from_listen_addr(options.listen);
        let crews = Crews::threads().map_err(StartError::Threads)?;
        Self::start_on(transport, crews, random_seed()?, options).await
    }

    /// Starts a peer over any transport. Its identity and everything random in it follow from `seed`.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_on<T: Transport>(
        transport: T,
        crews: Crews,
        seed: Seed,
        options: PeerOptions,
    ) -> Result<(Self, Events), StartError> {
        Self::start_machine(transport, crews, seed, options, potluck_core::peer::Peer::new).await
    }

    /// Starts a peer around another machine than the usual one: for tests that alter its inputs or effects.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_machine<T: Transport, M: PeerMachine>(
        transport: T,
        crews: Crews,
        seed: Seed,
        options: PeerOptions,
        machine: impl FnOnce(PeerConfig) -> M,
    ) -> Result<(Self, Events), StartError> {
        let addr = options.listen;
        let listener = transport.listen(addr).await.map_err(|error| StartError::Listen { addr, error })?;
        let listen = listener.local_addr();
        let id = PeerId(seed.fork("identity").0);
        let config = PeerConfig {
            peer: id,
            name: options.name,
            any_name: options.any_name,
            listen_port: listen.port(),
            seed: seed.fork("machine"),
            inflight_bytes_max: options.buffer_bytes,
            upload_links_max: options.upload_links,
            up_rate_max: options.up_rate,
            down_rate_max: options.down_rate,
        };
        let recorder = match options.record {
            None => None,
            Some(path) => match Recorder::create(&path, "peer", &config) {
                Ok(recorder) => Some(recorder),
                Err(error) => return Err(StartError::Record { path, error }),
            },
        };
        let (reports, asks, mailbox) = mailbox();
        let (sender, receiver) = events::queue();
        let (changed, changes) = mpsc::unbounded_channel();
        let ended = CancellationToken::new();
        let hash_cache = options.hash_cache.clone();
        let store =
            Store::new(StoreOptions { hash_threads: crews.cores, hash_cache, ..StoreOptions::default() });
        let peer = Self(Arc::new(Inner {
            id,
            listen,
            asks,
            store: store.clone(),
            crews: crews.clone(),
            hash_cache: options.hash_cache,
            events: sender.clone(),
            last_download: AtomicU64::new(0),
            shares: Mutex::default(),
            share_turn: Mutex::default(),
            ended: ended.clone(),
        }));
        let completions = reports.completions.clone();
        let pool = BufferPool::new(options.buffer_bytes);
        let copying = Copying {
            workers: crews.storage.clone(),
            pool: BufferPool::new(COPYING_BYTES_MAX.min(options.buffer_bytes / 8)),
        };
        let chunks = ChunkGear {
            receiving: Receiving {
                throttle: Throttle::new(options.down_rate),
                pool,
                hashers: crews.chunks,
                writing: Lanes::new(Workers::inline()),
                store: store.clone(),
                completions: completions.clone(),
            },
            sending: Sending {
                store: store.clone(),
                copying,
                throttle: Throttle::new(options.up_rate),
                completions: completions.clone(),
            },
        };
        let mut hub = Hub::new(Arc::new(transport), id, reports);
        hub.listen(listener, Role::Peer);
        let world = PeerWorld {
            hub,
            chunks,
            store,
            lanes: Lanes::new(crews.storage),
            members: Vec::new(),
            untold: false,
            completions,
            events: sender,
            changed,
            landings: Landings::default(),
            questions: std::collections::HashMap::new(),
            last_question: 0,
            leaving: false,
            left: false,
            machine: std::marker::PhantomData,
        };
        let driver = Driver::new(world, machine(config), mailbox, recorder);
        let resharing =
            AbortOnDropHandle::new(tokio::spawn(share::reshare(Arc::downgrade(&peer.0), changes)));
        tokio::spawn(run(driver, resharing, ended.drop_guard()));
        if let Some(tracker) = options.tracker {
            peer.join(tracker).await;
        }
        Ok((peer, Events(receiver)))
    }

    /// Who it is on the network.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.0.id
    }

    /// Where it accepts links.
    #[must_use]
    pub fn listen_addr(&self) -> SocketAddr {
        self.0.listen
    }

    /// Keeps a session with a tracker from here on, in place of an earlier one.
    pub async fn join(&self, tracker: SocketAddr) {
        self.command(Command::JoinTracker { addr: tracker }).await;
    }

    /// Ends the session with the tracker, closes all links and pauses downloads, until [`join`](Self::join). What is shared
    /// stays known.
    pub async fn leave_tracker(&self) {
        self.command(Command::LeaveTracker).await;
    }

    /// Hashes a file, or a folder with every regular file below it, and offers it. Each file can be fetched as soon as it
    /// is hashed, the whole when this returns. Dropping the future stops the hashing; what is offered by then stays offered
    /// until the path is shared again.
    ///
    /// Sharing a path again offers what it holds by then, in place of what it held before. From then on files that are seen to
    /// have changed are hashed and offered anew by themselves ([`Event::Shared`], [`Event::ShareLost`]), unless a symbolic
    /// link leads the path elsewhere by then.
    ///
    /// # Errors
    /// The path cannot be read, has names that nobody could receive, or does not stand still. Then nothing of it is offered.
    pub async fn share(&self, path: &Path) -> Result<Shared, ShareError> {
        share::share(&self.0, path, None).await
    }

    /// Shares what stands at a path, as [`share`](Self::share) does, but only if no symbolic link leads there. The path is
    /// absolute and canonical but for its last name.
    pub(crate) async fn share_plain(&self, path: &Path) -> Result<Shared, ShareError> {
        share::share(&self.0, path, Some(path.to_owned())).await
    }

    /// Looks every two seconds whether what is shared is still what was hashed, for as long as the peer runs, and offers
    /// what changed as what it is by then; what a [`SharedFolder`](crate::folder::SharedFolder) shares is left to that. Without
    /// this a change shows when somebody asks for the file.
    pub fn look_after_shares(&self) {
        tokio::spawn(share::look_after(Arc::downgrade(&self.0)));
    }

    /// Somebody sees by itself what becomes of what lies directly in a folder.
    pub(crate) async fn watches(&self, folder: &Path) {
        share::watches(&self.0, folder).await;
    }

    /// Offers a content no longer; of a folder, none of its files that are not shared otherwise, too.
    pub async fn unshare(&self, key: ContentKey) {
        share::unshare(&self.0, key).await;
    }

    /// Offers no longer what [`share`](Self::share) offered of this path. What was downloaded to it stays offered.
    pub async fn unshare_path(&self, path: &Path) {
        share::unshare_path(&self.0, path).await;
    }

    /// Begins a download. [`PeerEvent::Completed`](potluck_core::peer::PeerEvent::Completed) or
    /// [`PeerEvent::Failed`](potluck_core::peer::PeerEvent::Failed) ends it.
    pub async fn fetch(&self, what: Fetch) -> DownloadId {
        let Fetch { key, kind, name, peers, how, target } = what;
        let download = DownloadId(self.0.last_download.fetch_add(1, Ordering::Relaxed) + 1);
        let label = name.as_str().to_owned();
        self.0.store.set_target(download, target.selecting(&how.select), kind, name);
        self.command(Command::Fetch { download, key, kind, name: label, peers, how }).await;
        download
    }

    /// Pauses a download; what is verified stays.
    pub async fn stop(&self, download: DownloadId) {
        self.command(Command::Stop { download }).await;
    }

    /// Goes on with a paused download.
    pub async fn resume(&self, download: DownloadId) {
        self.command(Command::Resume { download }).await;
    }

    /// Caps the rates, in bytes per second sent and asked for; 0: none.
    pub async fn limit_rates(&self, up: u64, down: u64) {
        self.command(Command::LimitRates { up, down }).await;
    }

    /// Whose offers are told by [`PeerEvent::Offered`](potluck_core::peer::PeerEvent::Offered). At first nobody's.
    pub async fn accept_offers(&self, from: Accepting) {
        self.command(Command::AcceptOffers { from }).await;
    }

    /// Begins or ends to tell of peers that join and leave the tracker.
    pub async fn watch_peers(&self, on: bool) {
        self.command(Command::WatchPeers { on }).await;
    }

    /// How a download is doing; `None` for an unknown one, or after the peer has left.
    pub async fn status(&self, download: DownloadId) -> Option<DownloadStatus> {
        self.ask_actor(|answer| Ask::Status(download, answer)).await.flatten()
    }

    /// Why a download is as fast or slow as it is; `None` for an unknown one, or after the peer has left.
    pub async fn explain(&self, download: DownloadId) -> Option<Explanation> {
        self.ask_actor(|answer| Ask::Explain(download, answer)).await.flatten()
    }

    /// Opens a content for reading: what is shared, what was downloaded, and what is there of what is being downloaded (only
    /// what is verified is sure to be right). `None`: it is not here, or its file changed. Blocks for as long as opening a
    /// file does.
    #[must_use]
    pub fn open(&self, key: ContentKey) -> Option<SourceHandle> {
        self.0.store.source(key)
    }

    /// Where a download stands, or will stand.
    #[must_use]
    pub fn final_path(&self, download: DownloadId) -> Option<PathBuf> {
        self.0.store.final_path(download)
    }

    /// Asks the tracker; while there is none in reach, the peers that are known.
    pub async fn ask(&self, question: Question) -> Answer {
        self.ask_actor(|answer| Ask::Question(question, answer)).await.unwrap_or(Answer::Unreachable)
    }

    /// How a peer is called; the beginning of its id if nobody said.
    pub async fn peer_name(&self, peer: PeerId) -> String {
        let name = self.ask_actor(|answer| Ask::PeerName(peer, answer)).await.flatten();
        name.unwrap_or_else(|| format!("{peer:?}"))
    }

    /// Leaves in order: tells the tracker and all links, lets what is queued go out, and ends all tasks. Takes a few
    /// seconds at most.
    pub async fn leave(self) {
        let _ = self.0.asks.send(Ask::Leave).await;
        if timeout(LEAVE_TIMEOUT, self.0.ended.cancelled()).await.is_err() {
            let _ = self.0.asks.send(Ask::Stop).await;
            self.0.ended.cancelled().await;
        }
    }

    async fn command(&self, command: Command) {
        self.0.command(command).await;
    }

    async fn ask_actor<A>(&self, ask: impl FnOnce(oneshot::Sender<A>) -> Ask) -> Option<A> {
        let (answer, answered) = oneshot::channel();
        self.0.asks.send(ask(answer)).await.ok()?;
        answered.await.ok()
    }
}

impl Inner {
    /// Hands a command to the actor. After it has ended, commands go nowhere.
    async fn command(&self, command: Command) {
        let _ = self.asks.send(Ask::Command(command)).await;
    }

    /// Tells the actor that the file behind a content is not what was shared.
    async fn source_changed(&self, key: ContentKey) {
        let _ = self.asks.send(Ask::SourceChanged(key)).await;
    }
}

/// The actor's task. `ended` tells the handles, whichever way it ends.
async fn run<T: Transport, M: PeerMachine>(
    driver: Driver<PeerWorld<T, M>>,
    resharing: AbortOnDropHandle<()>,
    ended: DropGuard,
) {
    driver.run(|| PeerInput::Tick).await;
    drop(resharing);
    drop(ended);
}

/// Thirty-two bytes from the system.
pub(crate) fn random_seed() -> Result<Seed, StartError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|_| StartError::Entropy)?;
    Ok(Seed(seed))
}
