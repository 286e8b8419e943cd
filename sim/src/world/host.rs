//! A host: a machine, a disk, and what its driver has to remember.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};

use fixedbitset::FixedBitSet;
use potluck_core::content::Kind;
use potluck_core::content::SafeName;
use potluck_core::ids::{ChunkAddr, ContentKey, DownloadId, LinkId, OpId, PeerId};
use potluck_core::peer::{ChunkFault, Command, PeerConfig, PeerInput, Place};
use potluck_core::time::Instant;
use potluck_core::tracker::{TrackerConfig, TrackerInput};

use super::caps::Meters;
use super::{DownloadRecord, Event, World};
use crate::content::{Catalog, Content};
use crate::disk::Disk;
use crate::machines::{PeerMachine, TrackerMachine};
use crate::net::{Access, EndId, HostId, Presence};
use crate::plan::{FaultKind, Hostility, PeerPlan, Plan, RolePlan};

/// The machine of a host.
pub(super) enum Node {
    Peer(Box<dyn PeerMachine>),
    Tracker(Box<dyn TrackerMachine>),
}

/// An input that waits while the process is stopped.
pub(super) enum Input {
    Peer(PeerInput),
    Tracker(TrackerInput),
}

/// A disk operation under way.
pub(super) struct DiskOp {
    pub(super) host: HostId,
    pub(super) incarnation: u32,
    pub(super) op: OpId,
    pub(super) what: DiskWork,
}

/// A chunk that has come whole and is being written. Its link may be gone before it is.
pub(super) struct Landing {
    pub(super) reader: EndId,
    pub(super) at: ChunkAddr,
    pub(super) content: u32,
    pub(super) place: Place,
    pub(super) taint: u32,
    /// It is known from the start that this comes of it.
    pub(super) fault: Option<ChunkFault>,
}

/// What a disk operation does.
pub(super) enum DiskWork {
    Land(Landing),
    Open {
        place: Place,
        content: u32,
        with_table: bool,
    },
    Reserve,
    ReadListing {
        place: Place,
    },
    /// With the chunks that were written when it began.
    Sync {
        place: Place,
        written: FixedBitSet,
    },
    Finish {
        place: Place,
    },
    Copy {
        place: Place,
        content: u32,
    },
}

/// What a driver remembers of a place: which chunks it may write, and from how many links each is expected.
pub(super) struct Wanted {
    pub(super) marks: FixedBitSet,
    pub(super) asked: Vec<u8>,
    /// Chunks that are being written.
    pub(super) writing: Vec<usize>,
}

impl Wanted {
    fn new(content: &Content) -> Self {
        Self {
            marks: FixedBitSet::with_capacity(content.chunks()),
            asked: vec![0; content.chunks()],
            writing: Vec::new(),
        }
    }
}

/// A download of a host's plan.
pub(super) struct Download {
    pub(super) content: u32,
    /// Its place in the tally.
    pub(super) record: usize,
    pub(super) waiting: bool,
    pub(super) failed: Option<String>,
    pub(super) completed: bool,
}

/// A host of the world.
pub(crate) struct Host {
    pub(super) access: Access,
    pub(super) addr: SocketAddr,
    pub(super) node: Option<Node>,
    pub(super) peer: PeerId,
    /// Counted up whenever the process ends.
    pub(super) incarnation: u32,
    pub(super) booted_at: Instant,
    pub(super) paused: bool,
    pub(super) deferred: VecDeque<Input>,
    pub(super) links: Vec<Option<EndId>>,
    pub(super) tick_at: Option<Instant>,
    pub(super) last_tick: Instant,
    pub(super) ticks_at_once: u32,
    /// Ticks of which no effect came.
    pub(super) idle_ticks: u64,
    pub(super) inputs: u64,
    pub(super) disk: Disk,
    pub(super) wanted: BTreeMap<Place, Wanted>,
    pub(super) banned: BTreeSet<PeerId>,
    pub(super) downloads: BTreeMap<DownloadId, Download>,
    pub(super) hostile: Option<Hostility>,
    /// Contents of which something rotted on its disk: what it sends of them may be wrong without its fault.
    pub(super) rotted: BTreeSet<u32>,
    /// It could not read, or saw changed, what it shared.
    pub(super) stumbled: bool,
    /// Nothing starts it again.
    pub(super) gone: bool,
    /// Dials and probes that are under way.
    pub(super) dials: BTreeSet<OpId>,
    /// Answers to the world's own questions.
    pub(super) answers: BTreeMap<OpId, potluck_core::peer::Answer>,
    pub(super) joined: bool,
    /// Of a tracker: when each peer was heard last.
    pub(super) heard: BTreeMap<PeerId, Instant>,
    /// When its process went on last.
    pub(super) resumed_at: Instant,
    /// What went at its capped rates.
    pub(super) meters: Meters,
}

/// The address of a host.
pub(super) fn addr_of(number: HostId) -> SocketAddr {
    let [_, a, b, c] = number.to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(10, a, b, c), 7070))
}

impl Host {
    pub(super) fn new(plan: &Plan, number: HostId, catalog: &Catalog) -> Self {
        let host = &plan.hosts[number as usize];
        let mut disk = Disk::new(plan.disk);
        let (hostile, tracker) = match &host.role {
            RolePlan::Tracker { .. } => (None, true),
            RolePlan::Peer(peer) => {
                // A liar claims what it does not have.
                if peer.hostile != Some(Hostility::Lie) {
                    let shares = peer.shares.iter().filter_map(|&planned| catalog.planned(planned));
                    shares.for_each(|content| disk.share(content, catalog.get(content)));
                }
                (peer.hostile, false)
            }
        };
        Self {
            access: Access { up: host.up, down: host.down, delay: host.delay, nat: host.nat, tracker },
            addr: addr_of(number),
            node: None,
            peer: PeerId([0; 32]),
            incarnation: 0,
            booted_at: Instant::ZERO,
            paused: false,
            deferred: VecDeque::new(),
            links: Vec::new(),
            tick_at: None,
            last_tick: Instant::ZERO,
            ticks_at_once: 0,
            idle_ticks: 0,
            inputs: 0,
            disk,
            wanted: BTreeMap::new(),
            banned: BTreeSet::new(),
            downloads: BTreeMap::new(),
            hostile,
            rotted: BTreeSet::new(),
            stumbled: false,
            gone: false,
            dials: BTreeSet::new(),
            answers: BTreeMap::new(),
            joined: false,
            heard: BTreeMap::new(),
            resumed_at: Instant::ZERO,
            meters: Meters::default(),
        }
    }

    /// The time as its machine knows it.
    pub(super) fn local(&self, now: Instant) -> Instant {
        Instant(now.0 - self.booted_at.0)
    }

    /// It keeps the rules.
    pub(super) const fn is_honest(&self) -> bool {
        self.hostile.is_none()
    }

    /// Nobody has a reason not to fetch this content from it: nothing of it rotted, nor of two contents, for which it is banned.
    pub(super) fn is_trusted_with(&self, content: u32) -> bool {
        self.is_honest() && !self.rotted.contains(&content) && self.rotted.len() < 2
    }

    /// The process runs and takes things in.
    pub(super) const fn is_live(&self) -> bool {
        self.node.is_some() && !self.paused
    }

    pub(super) fn wanted(&mut self, place: Place, content: &Content) -> &mut Wanted {
        let wanted = self.wanted.entry(place).or_insert_with(|| Wanted::new(content));
        if wanted.asked.len() != content.chunks() {
            *wanted = Wanted::new(content);
        }
        wanted
    }

    pub(super) fn new_link(&mut self, end: EndId) -> LinkId {
        self.links.push(Some(end));
        LinkId(self.links.len() as u64 - 1)
    }
}

impl World<'_> {
    pub(super) fn host(&mut self, host: HostId) -> &mut Host {
        &mut self.hosts[host as usize]
    }

    fn peer_plan(&self, host: HostId) -> Option<PeerPlan> {
        match &self.plan.hosts[host as usize].role {
            RolePlan::Peer(peer) => Some(peer.clone()),
            RolePlan::Tracker { .. } => None,
        }
    }

    /// Starts the process of a host, for the first time or again.
    pub(super) fn boot(&mut self, number: HostId) {
        let now = self.now;
        if self.hosts[number as usize].node.is_some() || self.hosts[number as usize].gone {
            return;
        }
        self.net.start(now, number, &mut self.queue);
        let machines = self.machines;
        let incarnation = self.hosts[number as usize].incarnation;
        let seed = self.seed.fork(&format!("host {number} {incarnation}"));
        let plan = self.peer_plan(number);
        let host = self.host(number);
        host.booted_at = now;
        host.peer = PeerId(seed.fork("peer id").0);
        let Some(plan) = plan else {
            let RolePlan::Tracker { lease_ms } = self.plan.hosts[number as usize].role else { return };
            let tracker = machines.tracker(number, TrackerConfig { seed, lease_ms });
            self.host(number).node = Some(Node::Tracker(tracker));
            return self.reschedule(number);
        };
        let config = PeerConfig {
            peer: host.peer,
            name: format!("peer-{number}"),
            any_name: true,
            listen_port: if host.access.nat { 0 } else { host.addr.port() },
            seed,
            inflight_bytes_max: plan.inflight_bytes_max,
            upload_links_max: plan.upload_links_max,
            up_rate_max: plan.up_cap,
            down_rate_max: plan.down_cap,
        };
        host.node = Some(Node::Peer(machines.peer(number, config)));
        if incarnation == 0 && plan.starts_at > 0 {
            self.tally.fired(FaultKind::LateJoin);
        }
        if let Some(tracker) = plan.tracker {
            let addr = self.hosts[tracker as usize].addr;
            self.command(number, Command::JoinTracker { addr });
        }
        for &content in &plan.shares {
            self.share(number, content);
        }
        if incarnation == 0 {
            for (index, &(_, after)) in (0..).zip(&plan.fetches) {
                let at = Instant(now.0 + after);
                self.queue.push(at, Event::Fetch(number, index, incarnation));
            }
        } else {
            // What was begun before goes on.
            for index in 0..plan.fetches.len() {
                self.fetch(number, index as u16, incarnation);
            }
        }
        self.reschedule(number);
    }

    fn share(&mut self, host: HostId, planned: u32) {
        let Some(number) = self.catalog.planned(planned) else { return };
        let name = self.plan.contents[planned as usize].name.clone();
        let lies = self.hosts[host as usize].hostile == Some(Hostility::Lie);
        match self.hosts[host as usize].disk.shared.get(&number) {
            Some(shared) if shared.changed => return,
            None if !lies => return,
            Some(_) | None => {}
        }
        let content = self.catalog.get(number);
        let (key, kind, table) = (content.key, content.kind, content.table.clone());
        let members = content.members.clone();
        let mut total = if kind == Kind::File { key.length } else { 0 };
        for member in members.into_iter().flatten() {
            let content = self.catalog.get(member);
            let (key, kind, name, table) =
                (content.key, content.kind, content.name.clone(), content.table.clone());
            self.hosts[host as usize].disk.share(member, content);
            total += key.length;
            self.command(host, Command::Share { key, kind, name, member: true, total: key.length, table });
        }
        self.command(host, Command::Share { key, kind, name, member: false, total, table });
    }

    /// A peer begins (or goes on with) a download of its plan.
    pub(super) fn fetch(&mut self, host: HostId, index: u16, incarnation: u32) {
        if self.hosts[host as usize].incarnation != incarnation
            && !self.hosts[host as usize].downloads.is_empty()
        {
            return;
        }
        if self.hosts[host as usize].node.is_none() {
            return;
        }
        let Some(plan) = self.peer_plan(host) else { return };
        let Some(&(planned, _)) = plan.fetches.get(usize::from(index)) else { return };
        let Some(number) = self.catalog.planned(planned) else { return };
        let download = DownloadId(u64::from(index));
        let content = self.catalog.get(number);
        let (key, kind) = (content.key, content.kind);
        let name = self.plan.contents[planned as usize].name.clone();
        let peers = plan.knows.iter().map(|&host| addr_of(host)).collect();
        let began = self.now.0;
        if !self.hosts[host as usize].downloads.contains_key(&download) {
            let record = self.tally.downloads.len();
            self.tally.downloads.push(DownloadRecord { host, content: planned, began, completed: None });
            let fresh = Download { content: number, record, waiting: false, failed: None, completed: false };
            self.host(host).downloads.insert(download, fresh);
        }
        debug_assert!(SafeName::parse(&name).is_ok());
        let how = potluck_core::peer::FetchOptions::default();
        self.command(host, Command::Fetch { download, key, kind, name, peers, how });
    }

    /// The person says something.
    pub(super) fn command(&mut self, host: HostId, command: Command) {
        self.feed_peer(host, PeerInput::Command(command));
        self.settle();
    }

    /// Ends the process of a host.
    pub(super) fn halt(&mut self, number: HostId, to: Presence) {
        let now = self.now;
        let up = now.since(self.hosts[number as usize].booted_at).as_nanos() as u64;
        let host = self.host(number);
        if host.node.take().is_none() {
            return;
        }
        let peer = !host.access.tracker;
        host.incarnation += 1;
        host.paused = false;
        host.deferred.clear();
        host.tick_at = None;
        host.wanted.clear();
        host.banned.clear();
        host.dials.clear();
        host.joined = false;
        host.heard.clear();
        host.meters = Meters::default();
        let ends: Vec<EndId> = host.links.drain(..).flatten().collect();
        for end in ends {
            self.ends[end.index()] = None;
        }
        self.net.stop(now, number, to, &mut self.queue);
        if peer {
            self.tally.peer_time += up;
        }
    }

    /// A machine left in order, and its program ends.
    pub(super) fn process_left(&mut self, host: HostId) {
        self.halt(host, Presence::NoProcess);
    }

    /// The number of a content, which the plan must know.
    pub(super) fn content_of(&mut self, host: HostId, key: ContentKey) -> Option<u32> {
        let number = self.catalog.find(key);
        if number.is_none() {
            self.fail(host, || format!("names the unknown content {:?}", key.id));
        }
        number
    }
}
