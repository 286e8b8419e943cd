//! The peer machine: joins a tracker, keeps links to other peers, fetches contents piece by piece from every holder at once,
//! and serves what it has verified.
//!
//! Inputs and effects are in [`io`](self) ([`PeerInput`], [`PeerEffect`]), what the person is told in `event` ([`PeerEvent`]);
//! the driver performs, this decides. One machine owns everything; each file holds one concern as methods of [`Peer`]:
//!
//! | file | concern |
//! |---|---|
//! | `session` | the tracker: joining, announcing, watching, coming back |
//! | `questions` | what the person asks of the tracker, or of other peers while there is none |
//! | `linking` | who to dial, which links stay, keep-alive, bans |
//! | `talk` | what peers say to each other about contents: joining a swarm, haves, holders |
//! | `tables` | asking for piece tables, and giving them |
//! | `requests` | what to ask of whom |
//! | `pace` | how much is asked for at a time |
//! | `overtake` | taking over what slow and silent links owe, the end game |
//! | `arrivals` | chunks into verified pieces; who is to blame for wrong ones |
//! | `uploads` | serving what others ask for |
//! | `downloads` | a download from `Fetch` to its final name |
//! | `faults`, `waiting` | a disk that refuses; whether there is a way to go on |
//! | `shares`, `also` | what is offered; its other names |
//! | `offers` | what other peers offer |
//! | `sources` | which holders a download with a bounded number of them uses |
//! | `spare` | idle uplinks are offered to whoever has least |
//! | `folders` | the members of a folder |
//! | `status`, `explain` | what may be looked at; why a download is as fast as it is |
//! | `outgoing` | how many chunks leave at once, how many links are served |
//! | `picker`, `rate`, `timers` | rarest first; measured and capped rates; all deadlines |
//!
//! Invariants (checked by [`Peer::check_invariants`]): a piece is held only after its chunks were written and folded to the
//! table's value; a piece that is not held is open, or asked of at most two links, or a candidate in exactly one choice;
//! what is counted as under way is what links were asked for; every timer belongs to something alive.

mod also;
mod arrivals;
mod check;
mod downloads;
mod event;
mod explain;
mod faults;
mod folders;
mod introductions;
mod io;
mod link;
mod linking;
mod offers;
mod outgoing;
mod overtake;
mod pace;
mod picker;
mod questions;
mod rate;
mod requests;
mod room;
mod session;
mod shares;
mod sources;
mod spare;
mod status;
mod swarm;
mod tables;
mod talk;
mod timers;
mod uploads;
mod waiting;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use rand_chacha::ChaCha8Rng;

use crate::Machine;
use crate::bucket::Bucket;
use crate::effects::Effects;
use crate::ids::{ContentKey, DownloadId, LinkId, OpId, PeerId};
use crate::limits;
use crate::time::{Deadline, Instant};
use crate::wire::peer::PeerMessage;
use crate::wire::tracker::Accepting;

pub use event::*;
pub use explain::{Explanation, HolderExplained, HolderState, Stage};
pub use io::*;
// Measured by a bench of its own; nothing else has a use for it.
#[doc(hidden)]
pub use picker::Picker;
pub use status::{DownloadStatus, HolderStatus};

use also::OtherNames;
use downloads::Download;
use link::Link;
use linking::{Dial, KnownPeer};
use outgoing::Outgoing;
use questions::Pending;
use rate::RateCap;
use requests::AskedRun;
use session::Session;
use shares::Offered;
use swarm::{Swarm, SwarmId, name_hash};
use timers::{Timer, Timers};

/// The machine of one peer.
#[derive(Debug)]
pub struct Peer {
    config: PeerConfig,
    now: Instant,
    outbox: VecDeque<PeerEffect>,
    timers: Timers,
    rng: ChaCha8Rng,
    next_op: u64,
    next_swarm: u64,
    leaving: bool,

    session: Session,
    questions: BTreeMap<OpId, Pending>,
    /// Whose offers are told.
    accepting: Accepting,
    /// Contents whose offer was told, and that are not here yet.
    offered: BTreeSet<ContentKey>,

    links: BTreeMap<LinkId, Link>,
    by_peer: BTreeMap<PeerId, LinkId>,
    dials: BTreeMap<OpId, Dial>,
    /// The last dial failed since as many files are open as may be.
    too_many_open: bool,
    known: BTreeMap<PeerId, KnownPeer>,
    /// Names of peers that went and cannot be dialed, newest last: what they did is told after they went.
    went: VecDeque<(PeerId, String)>,
    /// Contents of which a peer sent wrong pieces; two: banned.
    offences: BTreeMap<(PeerId, IpAddr), BTreeSet<ContentKey>>,

    swarms: BTreeMap<SwarmId, Swarm>,
    by_key: BTreeMap<ContentKey, SwarmId>,
    /// By the hash of their names.
    by_name: BTreeSet<(u64, SwarmId)>,
    also: OtherNames,
    /// Swarms that are being fetched: a few of perhaps a great many.
    fetched: BTreeSet<SwarmId>,
    /// Those of them that may have open pieces; who looks and finds none takes them out.
    open: BTreeSet<SwarmId>,
    downloads: BTreeMap<DownloadId, Download>,
    /// Some download is, or was, to use a bounded number of holders.
    sources_bounded: bool,
    /// Storage operations under way.
    storage: BTreeMap<OpId, downloads::StorageOp>,
    /// Runs asked for, and those taken back whose chunks may still come.
    asked: BTreeMap<OpId, AskedRun>,

    /// Links with room for more requests.
    hungry: BTreeSet<LinkId>,
    /// The link that was asked for something last.
    last_asked: LinkId,
    /// Links that were asked for nothing since enough is under way over others.
    put_off: BTreeSet<LinkId>,
    /// Less is under way than when it was last looked whether one of them may be asked.
    less_under_way: bool,
    /// Links that are served: they hold an upload slot.
    served: BTreeSet<LinkId>,
    /// Links with something to send and credit to send it.
    ready: BTreeSet<LinkId>,
    /// The link whose turn was last.
    last_served: LinkId,
    /// The addresses that had their turn in this round.
    had_turn: BTreeSet<IpAddr>,
    /// The last chunk went by turns, not to the neediest.
    by_turns: bool,
    outgoing: Outgoing,
    up_cap: RateCap,
    /// Bytes of piece tables given.
    tables_given: Bucket,
    down_cap: RateCap,
    inflight: u64,
    /// Links that owe something.
    owing: usize,
    /// Bytes that arrived, over all links.
    down: rate::RateMeter,
    survey: pace::Survey,
}

impl Peer {
    /// A peer that has not begun anything.
    #[must_use]
    pub fn new(config: PeerConfig) -> Self {
        Self {
            now: Instant::ZERO,
            outbox: VecDeque::new(),
            timers: Timers::default(),
            rng: config.seed.fork("peer").rng(),
            next_op: 1,
            next_swarm: 1,
            leaving: false,
            session: Session::default(),
            questions: BTreeMap::new(),
            accepting: Accepting::default(),
            offered: BTreeSet::new(),
            links: BTreeMap::new(),
            by_peer: BTreeMap::new(),
            dials: BTreeMap::new(),
            too_many_open: false,
            known: BTreeMap::new(),
            went: VecDeque::new(),
            offences: BTreeMap::new(),
            swarms: BTreeMap::new(),
            by_key: BTreeMap::new(),
            by_name: BTreeSet::new(),
            also: OtherNames::default(),
            fetched: BTreeSet::new(),
            open: BTreeSet::new(),
            downloads: BTreeMap::new(),
            sources_bounded: false,
            storage: BTreeMap::new(),
            asked: BTreeMap::new(),
            hungry: BTreeSet::new(),
            last_asked: LinkId(0),
            put_off: BTreeSet::new(),
            less_under_way: false,
            served: BTreeSet::new(),
            ready: BTreeSet::new(),
            last_served: LinkId(0),
            had_turn: BTreeSet::new(),
            by_turns: false,
            outgoing: Outgoing::new(),
            up_cap: RateCap::new(config.up_rate_max),
            tables_given: Bucket::default(),
            down_cap: RateCap::new(config.down_rate_max),
            inflight: 0,
            owing: 0,
            down: rate::RateMeter::new(Instant::ZERO),
            survey: pace::Survey::default(),
            config,
        }
    }

    fn effect(&mut self, effect: PeerEffect) {
        self.outbox.push_back(effect);
    }

    fn report(&mut self, event: PeerEvent) {
        self.effect(PeerEffect::Report(event));
    }

    fn say(&mut self, link: LinkId, msg: PeerMessage) {
        self.effect(PeerEffect::SendPeer { link, msg });
    }

    const fn new_op(&mut self) -> OpId {
        let op = OpId(self.next_op);
        self.next_op += 1;
        op
    }

    const fn new_swarm_id(&mut self) -> SwarmId {
        let id = SwarmId(self.next_swarm);
        self.next_swarm += 1;
        id
    }

    /// Takes up a content.
    fn add_swarm(&mut self, swarm: Swarm) -> SwarmId {
        let id = self.new_swarm_id();
        self.by_key.insert(swarm.key, id);
        self.by_name.insert((name_hash(&swarm.name), id));
        self.swarms.insert(id, swarm);
        id
    }

    /// Forgets a content; what belongs to it besides is its caller's concern.
    fn take_swarm(&mut self, id: SwarmId) -> Option<Swarm> {
        let swarm = self.swarms.remove(&id)?;
        self.by_key.remove(&swarm.key);
        self.by_name.remove(&(name_hash(&swarm.name), id));
        Some(swarm)
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::JoinTracker { addr } => self.join_tracker(addr),
            Command::LeaveTracker => self.leave_tracker(),
            Command::Share { key, kind, name, member, total, table } => {
                self.share(Offered { key, kind, name, member, total, table });
            }
            Command::AlsoNamed { key, names } => self.also_named(key, names),
            Command::Unshare { key } => self.unshare(key),
            Command::Fetch { download, key, kind, name, peers, how } => {
                self.fetch(download, key, kind, name, peers, how);
            }
            Command::Stop { download } => {
                self.stop_download(download);
            }
            Command::Resume { download } => self.resume_download(download),
            Command::Ask { op, question } => self.ask_question(op, question),
            Command::AcceptOffers { from } => self.accept_offers(from),
            Command::WatchPeers { on } => self.watch_peers(on),
            Command::LimitRates { up, down } => self.limit_rates(up, down),
            Command::Leave => self.leave(),
        }
    }

    fn limit_rates(&mut self, up: u64, down: u64) {
        self.up_cap.set_rate(up);
        self.down_cap.set_rate(down);
        self.timers.clear(Timer::UpRate);
        self.timers.clear(Timer::DownRate);
        self.hungry.extend(self.links.keys().copied());
        self.serve();
    }

    /// Leaves in order: the tracker is told, every link is closed.
    fn leave(&mut self) {
        self.leaving = true;
        self.dials.clear();
        self.end_session();
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            self.close(link, CloseReason::Leaving);
        }
        for id in self.downloads.keys().copied().collect::<Vec<_>>() {
            self.release_places(id);
        }
        self.timers = Timers::default();
        self.report(PeerEvent::Left);
    }

    fn tick(&mut self) {
        // A handler may set its timer again, for later; what is due now is bounded by what was due before.
        let mut budget = limits::TIMERS_PER_TICK;
        while budget > 0
            && let Some(timer) = self.timers.pop_due(self.now)
        {
            budget -= 1;
            match timer {
                Timer::Continue => {}
                Timer::KeepAlive(link) => self.keep_alive(link),
                Timer::Stall => self.check_stalls(),
                Timer::Haves(swarm) => self.flush_haves(swarm),
                Timer::HavesAgain(swarm) => self.announce_unreadable(swarm),
                Timer::Table(swarm) => self.table_timed_out(swarm),
                Timer::Retry(link, swarm) => self.retry(link, swarm),
                Timer::Dial(swarm) => self.dial_candidates(swarm),
                Timer::Untold(swarm) => self.tell_no_holder(swarm),
                Timer::Session => self.session_timer(),
                Timer::Announce => self.announce_due(),
                Timer::AnnounceAgain => self.announce_refused(),
                Timer::Question(op) => self.question_timed_out(op),
                Timer::Sync(swarm) => self.sync(swarm),
                Timer::Storage(swarm) => self.retry_storage(swarm),
                Timer::Again(download) => self.places_again(download),
                Timer::Blame(link, swarm) => self.blame_due(link, swarm),
                Timer::Waiting(download) => self.check_waiting(download),
                Timer::UploadIdle(link) => self.upload_idle(link),
                Timer::UpRate => self.serve(),
                Timer::Spare => self.offer_spare(false),
                Timer::DownRate => self.hungry.extend(self.links.keys().copied()),
            }
        }
    }

    fn input(&mut self, input: PeerInput) {
        match input {
            PeerInput::Command(command) => self.command(command),
            PeerInput::LinkUp { link, op, role, peer, addr } => self.link_up(link, op, role, peer, addr),
            PeerInput::DialFailed { op, error } => self.dial_failed(op, error),
            PeerInput::LinkDown { link, reason } => self.link_down(link, reason),
            PeerInput::Peer { link, msg } => self.peer_says(link, msg),
            PeerInput::Tracker { link, msg } => self.tracker_says(link, msg),
            PeerInput::Writable { link, bytes } => self.writable(link, bytes),
            PeerInput::Receiving { link, bytes } => self.receiving(link, bytes),
            PeerInput::ChunkArrived { op, at, result } => self.chunk_arrived(op, at, result),
            PeerInput::ChunkSent { link, key, at, result } => self.chunk_sent(link, key, at, result),
            PeerInput::SourceChanged { key } => self.source_changed(key),
            PeerInput::Opened { op, result } => self.opened(op, result),
            PeerInput::Reserved { op, result } => self.reserved(op, result),
            PeerInput::Copied { op, result } => self.copied(op, result),
            PeerInput::ListingRead { op, result } => self.listing_read(op, result),
            PeerInput::Synced { op, result } => self.synced(op, result),
            PeerInput::Finished { op, result } => self.finished(op, result),
            PeerInput::Tick => {}
        }
    }
}

impl Machine for Peer {
    type Input = PeerInput;
    type Effect = PeerEffect;

    fn handle(&mut self, now: Instant, input: PeerInput, out: &mut Effects<PeerEffect>) {
        debug_assert!(now >= self.now, "time went back");
        self.now = now.max(self.now);
        if !self.leaving || input == PeerInput::Tick {
            self.input(input);
            self.tick();
            self.fill_hungry();
        }
        let whole = self.outbox.len() <= limits::EFFECTS_PER_INPUT_MAX;
        out.extend(self.outbox.drain(..self.outbox.len().min(limits::EFFECTS_PER_INPUT_MAX)));
        if !whole {
            self.timers.set(Timer::Continue, self.now);
        }
    }

    fn deadline(&self) -> Option<Deadline> {
        self.timers.deadline()
    }
}
