//! The handle of a tracker.
//!
//! ```no_run
//! use potluck_transport_tcp::{Tracker, TrackerOptions};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let (tracker, mut events) = Tracker::start(TrackerOptions::default()).await?;
//! println!("listening at {}", tracker.listen_addr());
//! while let Some(event) = events.next().await {
//!     println!("{event:?}");
//! }
//! # Ok(())
//! # }
//! ```

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use potluck_core::Machine;
use potluck_core::ids::{LinkId, PeerId};
use potluck_core::limits::LEASE;
use potluck_core::peer::{CloseReason, Role};
use potluck_core::seed::Seed;
use potluck_core::tracker::{TrackerConfig, TrackerEffect, TrackerEvent, TrackerInput};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::driver::{Driver, Then, World, mailbox};
use crate::events::{self, EventReceiver, EventSender, Fate, Queued};
use crate::hub::{EstablishedOver, Hub};
use crate::peer::{StartError, random_seed};
use crate::record::Recorder;
use crate::store::raise_open_files;
use crate::tcp::TcpTransport;
use crate::transport::{Listener, Transport};

/// How a tracker is to be.
#[derive(Clone, Debug)]
pub struct TrackerOptions {
    /// Where to accept links; port 0 picks one.
    pub listen: SocketAddr,
    /// A peer that is silent for this long is forgotten.
    pub lease: Duration,
    /// Write everything that the machine is told to this file ([`crate::record`]).
    pub record: Option<PathBuf>,
}

impl Default for TrackerOptions {
    fn default() -> Self {
        Self { listen: (Ipv4Addr::UNSPECIFIED, 7070).into(), lease: LEASE, record: None }
    }
}

/// A handle on a running tracker. Cheap to clone; when the last one is dropped, the tracker ends.
#[derive(Clone, Debug)]
pub struct Tracker(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    listen: SocketAddr,
    stop: mpsc::Sender<Stop>,
    ended: CancellationToken,
}

/// The one thing that a handle wants of a tracker.
#[derive(Debug)]
struct Stop;

/// What a tracker's log tells. Bounded: a reader that is slow misses lines, which are counted in the log.
pub struct TrackerEvents(EventReceiver<Logged>);

/// A line of the log, or the number of lines that went missing.
enum Logged {
    Event(TrackerEvent),
    Missed(u64),
}

impl Queued for Logged {
    type Key = ();
    fn fate(&self) -> Fate<()> {
        Fate::Passing(())
    }
    fn absorb(&mut self, _earlier: Self) -> u64 {
        0
    }
    fn missed(count: u64) -> Self {
        Self::Missed(count)
    }
}

impl TrackerEvents {
    /// The next event; `None` once the tracker has ended. Cancel safe.
    pub async fn next(&mut self) -> Option<TrackerEvent> {
        loop {
            match self.0.next().await? {
                Logged::Event(event) => return Some(event),
                Logged::Missed(count) => tracing::warn!(count, "events were not read in time"),
            }
        }
    }
}

impl std::fmt::Debug for TrackerEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrackerEvents").finish_non_exhaustive()
    }
}

impl Tracker {
    /// Starts a tracker over TCP. Lets the process open as many files as the system allows: each peer's link is one.
    ///
    /// # Errors
    /// The address is taken, the recording cannot be written, or the system gives no randomness.
    pub async fn start(options: TrackerOptions) -> Result<(Self, TrackerEvents), StartError> {
        raise_open_files();
        let transport = TcpTransport::from_listen_addr(options.listen);
        Self::start_on(transport, random_seed()?, options).await
    }

    /// Starts a tracker over any transport. Everything random in it follows from `seed`.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_on<T: Transport>(
        transport: T,
        seed: Seed,
        options: TrackerOptions,
    ) -> Result<(Self, TrackerEvents), StartError> {
        Self::start_machine(transport, seed, options, potluck_core::tracker::Tracker::new).await
    }

    /// Starts a tracker around another machine than the usual one: for tests that alter its inputs or effects.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_machine<T, M>(
        transport: T,
        seed: Seed,
        options: TrackerOptions,
        machine: impl FnOnce(TrackerConfig) -> M,
    ) -> Result<(Self, TrackerEvents), StartError>
    where
        T: Transport,
        M: Machine<Input = TrackerInput, Effect = TrackerEffect> + Send + 'static,
    {
        let addr = options.listen;
        let listener = transport.listen(addr).await.map_err(|error| StartError::Listen { addr, error })?;
        let listen = listener.local_addr();
        let me = PeerId(seed.fork("identity").0);
        let lease_ms = u32::try_from(options.lease.as_millis()).unwrap_or(u32::MAX);
        let config = TrackerConfig { seed: seed.fork("machine"), lease_ms };
        let recorder = match options.record {
            None => None,
            Some(path) => match Recorder::create(&path, "tracker", &config) {
                Ok(recorder) => Some(recorder),
                Err(error) => return Err(StartError::Record { path, error }),
            },
        };
        let (reports, stop, mailbox) = mailbox();
        let (sender, receiver) = events::queue();
        let mut hub = Hub::new(Arc::new(transport), me, reports);
        hub.listen(listener, Role::Tracker);
        let world = TrackerWorld { hub, events: sender, machine: std::marker::PhantomData };
        let driver = Driver::new(world, machine(config), mailbox, recorder);
        let ended = CancellationToken::new();
        let guard = ended.clone().drop_guard();
        tokio::spawn(async move {
            driver.run(|| TrackerInput::Tick).await;
            drop(guard);
        });
        Ok((Self(Arc::new(Inner { listen, stop, ended })), TrackerEvents(receiver)))
    }

    /// Where it accepts links.
    #[must_use]
    pub fn listen_addr(&self) -> SocketAddr {
        self.0.listen
    }

    /// Ends the tracker: lets queued answers go out, closes all links, ends all tasks.
    pub async fn stop(self) {
        let _ = self.0.stop.send(Stop).await;
        self.0.ended.cancelled().await;
    }
}

struct TrackerWorld<T: Transport, M> {
    hub: Hub<T, TrackerInput>,
    events: EventSender<Logged>,
    machine: std::marker::PhantomData<fn() -> M>,
}

impl<T, M> World for TrackerWorld<T, M>
where
    T: Transport,
    M: Machine<Input = TrackerInput, Effect = TrackerEffect> + Send + 'static,
{
    type Machine = M;
    type Input = TrackerInput;
    type Effect = TrackerEffect;
    type Transport = T;
    type Ask = Stop;

    fn hub(&mut self) -> &mut Hub<T, TrackerInput> {
        &mut self.hub
    }

    fn connected(&mut self, established: EstablishedOver<T>, after: &mut VecDeque<TrackerInput>) {
        let (peer, addr) = (established.peer, established.addr);
        let link = self.hub.start(established, |link, msg| TrackerInput::Request { link, msg }, None);
        after.push_back(TrackerInput::LinkUp { link, peer, addr });
    }

    fn link_down(link: LinkId, reason: CloseReason) -> TrackerInput {
        TrackerInput::LinkDown { link, reason }
    }

    fn perform(&mut self, effect: TrackerEffect, after: &mut VecDeque<TrackerInput>) {
        match effect {
            TrackerEffect::Send { link, msg } => {
                if !self.hub.send(link, &msg) {
                    after.push_back(TrackerInput::LinkDown { link, reason: CloseReason::Overflow });
                }
            }
            TrackerEffect::Probe { op, addr } => {
                self.hub.probe(op, addr, |op, answered_by| TrackerInput::Probed { op, answered_by });
            }
            TrackerEffect::Close { link, reason } => {
                tracing::debug!(%link, ?reason, "closing a link");
                self.hub.close(link);
            }
            TrackerEffect::Report(event) => self.events.send(Logged::Event(event)),
        }
    }

    fn ask(&mut self, _machine: &M, Stop: Stop, _after: &mut VecDeque<TrackerInput>) -> Then {
        Then::Stop
    }

    fn is_over(&self) -> bool {
        false
    }
}
