//! The peer machine's world: its effects, performed.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use potluck_core::Machine;
use potluck_core::ids::{ContentKey, DownloadId, LinkId, OpId, PeerId};
use potluck_core::peer::{
    Answer, CloseReason, Command, DownloadStatus, Explanation, PeerEffect, PeerEvent, PeerInput, Place,
    Question, Role, StorageFault,
};
use tokio::sync::{mpsc, oneshot};

use super::event::Event;
use crate::driver::{Then, World};
use crate::events::EventSender;
use crate::hub::{EstablishedOver, Hub};
use crate::lanes::{Job, Lanes};
use crate::limits::CREDIT_BYTES;
use crate::link::{ChunkGear, Landings, OutgoingChunk};
use crate::store::Store;
use crate::together::Together;
use crate::transport::Transport;

/// A peer machine that handles can look into: [`potluck_core::peer::Peer`], or a test's stand-in for it.
pub trait PeerMachine: Machine<Input = PeerInput, Effect = PeerEffect> + Send + 'static {
    /// How a download is doing; `None` for an unknown one.
    fn status(&self, download: DownloadId) -> Option<DownloadStatus>;
    /// Why a download is as fast or slow as it is; `None` for an unknown one.
    fn explain(&self, download: DownloadId) -> Option<Explanation>;
    /// How a peer is called, if that is known.
    fn peer_name(&self, peer: PeerId) -> Option<String>;
}

impl PeerMachine for potluck_core::peer::Peer {
    fn status(&self, download: DownloadId) -> Option<DownloadStatus> {
        Self::status(self, download)
    }

    fn explain(&self, download: DownloadId) -> Option<Explanation> {
        Self::explain(self, download)
    }

    fn peer_name(&self, peer: PeerId) -> Option<String> {
        Self::peer_name(self, peer).map(str::to_owned)
    }
}

/// What a handle wants of the actor.
#[derive(Debug)]
pub(super) enum Ask {
    Command(Command),
    Question(Question, oneshot::Sender<Answer>),
    Status(DownloadId, oneshot::Sender<Option<DownloadStatus>>),
    Explain(DownloadId, oneshot::Sender<Option<Explanation>>),
    PeerName(PeerId, oneshot::Sender<Option<String>>),
    /// The file behind a content was seen to have changed.
    SourceChanged(ContentKey),
    /// Leave in order, then end.
    Leave,
    /// End, whether the machine has left or not.
    Stop,
}

/// Work at one place that may read or write so many bytes, and what is to be reported of it.
pub(super) struct Work {
    place: Place,
    bytes: u64,
    work: Doing,
}

type Doing = Box<dyn FnOnce(&Store) -> Option<PeerInput> + Send>;

/// Work on more bytes than this is not short: others' reports do not wait for it.
const SHORT_BYTES: u64 = 256 * 1024;

pub(super) struct PeerWorld<T: Transport, M> {
    pub(super) hub: Hub<T, PeerInput>,
    pub(super) chunks: ChunkGear,
    pub(super) store: Store,
    pub(super) lanes: Lanes,
    /// Work at the members of folders, of which there may be a great many: handed over together.
    pub(super) members: Vec<Work>,
    pub(super) completions: mpsc::UnboundedSender<PeerInput>,
    pub(super) events: EventSender<Event>,
    /// There are events whose reader is woken at the end of the turn.
    pub(super) untold: bool,
    /// Contents whose files changed, for whoever hashes them anew.
    pub(super) changed: mpsc::UnboundedSender<ContentKey>,
    pub(super) landings: Landings,
    /// Who waits for an answer; counted up by this side. Bounded by the handles' calls.
    pub(super) questions: HashMap<OpId, oneshot::Sender<Answer>>,
    pub(super) last_question: u64,
    pub(super) leaving: bool,
    /// Left in order: nothing is to come.
    pub(super) left: bool,
    pub(super) machine: std::marker::PhantomData<fn() -> M>,
}

impl<T: Transport, M: PeerMachine> World for PeerWorld<T, M> {
    type Machine = M;
    type Input = PeerInput;
    type Effect = PeerEffect;
    type Transport = T;
    type Ask = Ask;

    fn hub(&mut self) -> &mut Hub<T, PeerInput> {
        &mut self.hub
    }

    fn connected(&mut self, established: EstablishedOver<T>, after: &mut VecDeque<PeerInput>) {
        let (op, role, peer, addr) =
            (established.dialed, established.role, established.peer, established.addr);
        let link = match role {
            Role::Peer => {
                let wrap = |link, msg| PeerInput::Peer { link, msg };
                self.hub.start(established, wrap, Some(self.chunks.clone()))
            }
            Role::Tracker => self.hub.start(established, |link, msg| PeerInput::Tracker { link, msg }, None),
        };
        after.push_back(PeerInput::LinkUp { link, op, role, peer, addr });
        if role == Role::Peer {
            after.push_back(PeerInput::Writable { link, bytes: CREDIT_BYTES });
        }
    }

    fn link_down(link: LinkId, reason: CloseReason) -> PeerInput {
        PeerInput::LinkDown { link, reason }
    }

    fn perform(&mut self, effect: PeerEffect, after: &mut VecDeque<PeerInput>) {
        match effect {
            PeerEffect::Dial { op, addr, role } => {
                self.hub.dial(op, addr, role, |op, error| PeerInput::DialFailed { op, error });
            }
            PeerEffect::Close { link, reason } => {
                tracing::debug!(%link, ?reason, "closing a link");
                self.hub.close(link);
            }
            PeerEffect::SendPeer { link, msg } => {
                let taken = self.hub.send(link, &msg);
                overflowed(taken, link, after);
            }
            PeerEffect::SendTracker { link, msg } => {
                let taken = self.hub.send(link, &msg);
                overflowed(taken, link, after);
            }
            PeerEffect::SendChunk { link, slot, key, at } => {
                if let Some(link) = self.hub.link(link) {
                    link.outbox.push_chunk(OutgoingChunk { slot, key, at });
                }
            }
            PeerEffect::Expect { link, op, slot, key, place, run } => {
                if let Some(link) = self.hub.link(link) {
                    let landing = self.landings.want(place, run);
                    link.expectations.add(op, slot, key, place, run, landing);
                }
            }
            PeerEffect::Unexpect { link, op } => {
                if let Some(link) = self.hub.link(link) {
                    link.expectations.remove(op);
                }
            }
            PeerEffect::Open { op, key, place, table } => {
                let events = self.events.clone();
                self.store(place, key.length, move |store| {
                    let checking = progress_of(place, events);
                    Some(PeerInput::Opened { op, result: store.open(place, key, table, &checking) })
                });
            }
            PeerEffect::Reserve { op, place } => {
                let (store, completions) = (self.store.clone(), self.completions.clone());
                let writing = self.chunks.receiving.writing.clone();
                self.chunks.receiving.hashers.run(move || {
                    let told = move |result| drop(completions.send(PeerInput::Reserved { op, result }));
                    reserve(store, writing, place, 0, told);
                });
            }
            PeerEffect::ReadListing { op, download } => {
                let read = move |store: &Store| store.read_listing(download);
                self.store(Place::Root(download), 0, move |store| {
                    Some(PeerInput::ListingRead { op, result: read(store) })
                });
            }
            PeerEffect::Sync { op, place } => {
                self.store(place, 0, move |store| Some(PeerInput::Synced { op, result: store.sync(place) }));
            }
            PeerEffect::Finish { op, place } => {
                self.store(place, 0, move |store| {
                    Some(PeerInput::Finished { op, result: store.finish(place) })
                });
            }
            PeerEffect::CopyLocal { op, key, place } => {
                let events = self.events.clone();
                self.store(place, key.length, move |store| {
                    let checking = progress_of(place, events);
                    Some(PeerInput::Copied { op, result: store.copy_local(key, place, &checking) })
                });
            }
            PeerEffect::Release { place } => {
                // It would wait behind what it is to stop.
                self.store.interrupt(place);
                self.store(place, 0, move |store| {
                    store.release(place);
                    None
                });
            }
            PeerEffect::Report(event) => self.report(event),
        }
    }

    fn ask(&mut self, machine: &M, ask: Ask, after: &mut VecDeque<PeerInput>) -> Then {
        match ask {
            Ask::Command(command) => {
                if let Command::LimitRates { up, down } = command {
                    self.chunks.sending.throttle.set(up);
                    self.chunks.receiving.throttle.set(down);
                }
                after.push_back(PeerInput::Command(command));
            }
            Ask::Question(question, answer) => {
                self.questions.retain(|_, waiting| !waiting.is_closed());
                self.last_question += 1;
                let op = OpId(self.last_question);
                self.questions.insert(op, answer);
                after.push_back(PeerInput::Command(Command::Ask { op, question }));
            }
            Ask::Status(download, answer) => drop(answer.send(machine.status(download))),
            Ask::Explain(download, answer) => drop(answer.send(machine.explain(download))),
            Ask::PeerName(peer, answer) => drop(answer.send(machine.peer_name(peer))),
            Ask::SourceChanged(key) => after.push_back(PeerInput::SourceChanged { key }),
            Ask::Leave if !self.leaving => {
                self.leaving = true;
                after.push_back(PeerInput::Command(Command::Leave));
            }
            Ask::Leave => {}
            Ask::Stop => return Then::Stop,
        }
        Then::GoOn
    }

    fn settle(&mut self) {
        if std::mem::take(&mut self.untold) {
            self.events.wake();
        }
        if self.members.is_empty() {
            return;
        }
        let told = Arc::new(Together::new(self.completions.clone()));
        let mut jobs: Vec<(Place, Job)> = Vec::with_capacity(self.members.len());
        for Work { place, bytes, work } in self.members.drain(..) {
            let (store, told) = (self.store.clone(), Arc::clone(&told));
            let is_short = bytes <= SHORT_BYTES;
            let job = move || {
                if !is_short {
                    told.flush();
                }
                if let Some(input) = work(&store) {
                    told.send(input);
                }
            };
            jobs.push((place, Box::new(job)));
            if !is_short {
                // Nothing short is to wait behind it.
                let long = jobs.pop();
                self.lanes.run_together(std::mem::take(&mut jobs));
                self.lanes.run_together(long.into_iter().collect());
            }
        }
        self.lanes.run_together(jobs);
    }

    fn is_over(&self) -> bool {
        self.leaving && self.left
    }
}

impl<T: Transport, M> PeerWorld<T, M> {
    /// Lets a worker do what `work` says, after all earlier work at the same place, and report it. It may read or write so
    /// many bytes.
    fn store(
        &mut self,
        place: Place,
        bytes: u64,
        work: impl FnOnce(&Store) -> Option<PeerInput> + Send + 'static,
    ) {
        if let Place::Member { .. } = place {
            return self.members.push(Work { place, bytes, work: Box::new(work) });
        }
        let (store, completions) = (self.store.clone(), self.completions.clone());
        self.lanes.run(place, move || {
            if let Some(input) = work(&store) {
                let _ = completions.send(input);
            }
        });
    }

    fn report(&mut self, event: PeerEvent) {
        if let PeerEvent::Answer { op, answer } = event {
            // Whoever asked may have gone.
            if let Some(waiting) = self.questions.remove(&op) {
                let _ = waiting.send(answer);
            }
            return;
        }
        if let PeerEvent::Withdrawn { key } = event {
            self.store.remove_source(key);
            let _ = self.changed.send(key);
        }
        self.left |= event == PeerEvent::Left;
        self.events.queue(Event::Peer(event));
        self.untold = true;
    }
}

/// Takes the space for a place, in steps between which writes have their turn: a file system lets none pass meanwhile, and a
/// download that stands still at its beginning looks slow for a while after.
fn reserve(
    store: Store,
    writing: Lanes,
    place: Place,
    start: u64,
    told: impl FnOnce(Result<(), StorageFault>) + Send + 'static,
) {
    let others = writing.clone();
    writing.run(place, move || match store.reserve(place, start) {
        Ok(Some(next)) => reserve(store, others, place, next, told),
        result => told(result.map(drop)),
    });
}

fn overflowed(taken: bool, link: LinkId, after: &mut VecDeque<PeerInput>) {
    if !taken {
        after.push_back(PeerInput::LinkDown { link, reason: CloseReason::Overflow });
    }
}

/// Tells of the checking of a download's own part; members of a folder are checked too quickly to be worth it.
fn progress_of(place: Place, events: EventSender<Event>) -> impl Fn(u64, u64) + Sync {
    move |bytes, total| match place {
        Place::Root(download) => events.send(Event::Checking { download, bytes, total }),
        Place::Member { .. } => {}
    }
}
