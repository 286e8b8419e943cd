//! The world: hosts with machines, disks and links, in virtual time.
//!
//! The world is the third thing that performs a machine's effects, after the drivers of `potluck-transport-tcp`, and
//! keeps to the same contract: `perform` is where every effect becomes something that happens, `inputs` where what
//! happened becomes an input. Nothing in it asks for real time or real chance, so a plan fixes every step.

mod caps;
mod checks;
mod end;
mod faults;
mod final_checks;
mod host;
mod hostile;
mod inputs;
mod leases;
mod perform;
mod tally;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use potluck_core::content::{Kind, Listing, ListingEntry, Node as ListingNode, SafePath};
use potluck_core::effects::Effects;
use potluck_core::peer::{PeerEffect, PeerInput};
use potluck_core::seed::Seed;
use potluck_core::time::Instant;
use potluck_core::tracker::{TrackerEffect, TrackerInput};
use slab::Slab;

use crate::content::{Catalog, Content};
use crate::dice::Dice;
use crate::events::Events;
use crate::machines::Machines;
use crate::net::{EndId, HostId, Net, NetEvent};
use crate::plan::{Plan, RolePlan, When};
use crate::trace::Fingerprint;
use end::End;
pub(crate) use final_checks::Prospect;
use host::{DiskOp, Host, Node};
pub(crate) use inputs::guarded;
pub use tally::{DownloadRecord, HostTally, TIMELINE_STEP, Tally};

/// Inputs between two full sweeps of a host's invariants.
const SWEEP_EVERY: u64 = 64;
/// In a world of more hosts than this each is swept less often, and all of them together as often: among many a host has more
/// links, and its sweep costs more.
const SWEPT_HOSTS: usize = 64;
/// Ticks of one host at one instant before it counts as a stuck timer.
const TICKS_AT_ONCE_MAX: u32 = 10_000;

/// What is to happen.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// The network's own.
    Net(NetEvent),
    /// A machine's deadline.
    Tick(HostId),
    /// A disk operation is done.
    Disk(usize),
    /// A host starts for the first time.
    Start(HostId),
    /// A peer begins the download of this index in its plan, unless it was restarted since.
    Fetch(HostId, u16, u32),
    /// A fault begins.
    Fault(u32),
    /// A fault is over.
    Over(u32),
}

impl From<NetEvent> for Event {
    fn from(event: NetEvent) -> Self {
        Self::Net(event)
    }
}

/// A check that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, thiserror::Error)]
#[error("at {:.6} s, host {host}: {what}", *.at as f64 / 1e9)]
pub struct Violation {
    /// Nanoseconds since the run's start.
    pub at: u64,
    /// The host concerned.
    pub host: u32,
    /// The check, in words.
    pub what: String,
}

/// A plan that no world can be made of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanFault {
    /// A content's size is impossible.
    #[error("content {0:?} cannot have {1} bytes")]
    Size(String, u64),
    /// A folder's members are no listing.
    #[error("folder {0:?}: {1}")]
    Folder(String, String),
    /// A number refers to nothing.
    #[error("the plan refers to {0} {1}, which does not exist")]
    Unknown(&'static str, u32),
    /// A rate of zero.
    #[error("host {0} has a link without a rate")]
    NoRate(u32),
}

/// Told of every step, for traces.
pub trait Observer {
    /// A peer is about to take an input.
    fn peer_input(&mut self, at: u64, host: u32, input: &PeerInput);
    /// A peer's effect is about to be performed.
    fn peer_effect(&mut self, at: u64, host: u32, effect: &PeerEffect);
    /// A tracker is about to take an input.
    fn tracker_input(&mut self, at: u64, host: u32, input: &TrackerInput);
    /// A tracker's effect is about to be performed.
    fn tracker_effect(&mut self, at: u64, host: u32, effect: &TrackerEffect);
    /// A fault begins or ends.
    fn fault(&mut self, at: u64, what: &str);
}

/// A simulated world.
pub struct World<'a> {
    plan: Plan,
    machines: &'a dyn Machines,
    now: Instant,
    queue: Events<Event>,
    net: Net,
    catalog: Catalog,
    hosts: Vec<Host>,
    by_addr: BTreeMap<SocketAddr, HostId>,
    ends: Vec<Option<Box<End>>>,
    disk_ops: Slab<DiskOp>,
    /// Hosts whose process ends once the effects at hand are performed.
    leaving: Vec<HostId>,
    /// Faults that wait for a host to have sent so much.
    by_sent: Vec<(HostId, u64, u32)>,
    /// Faults that have begun and are not over.
    open_faults: BTreeSet<u32>,
    /// When the last of those that have begun, or are to begin at a set time, is over.
    faults_end: Instant,
    /// When a piece was verified last, anywhere.
    progress_at: Instant,
    peer_effects: Effects<PeerEffect>,
    tracker_effects: Effects<TrackerEffect>,
    scratch: Vec<u8>,
    print: Fingerprint,
    observer: Option<Box<dyn Observer + 'a>>,
    violation: Option<Violation>,
    tally: Tally,
    dice: Dice,
    seed: Seed,
}

impl<'a> World<'a> {
    /// A world in which nothing has happened yet.
    ///
    /// # Errors
    /// The plan refers to what does not exist, or has an impossible content.
    pub fn new(plan: Plan, machines: &'a dyn Machines) -> Result<Self, PlanFault> {
        let seed = Seed::from_number(plan.seed);
        let mut dice = Dice::new(&seed, "world");
        let catalog = build_catalog(&plan, &seed)?;
        check_plan(&plan)?;
        let mut world = Self {
            machines,
            now: Instant::ZERO,
            queue: Events::new(dice.number()),
            net: Net::new(Dice::new(&seed, "network"), plan.pair_spread, plan.jitter),
            catalog,
            hosts: Vec::new(),
            by_addr: BTreeMap::new(),
            ends: Vec::new(),
            disk_ops: Slab::new(),
            leaving: Vec::new(),
            by_sent: Vec::new(),
            open_faults: BTreeSet::new(),
            faults_end: Instant(plan.faults_end()),
            progress_at: Instant::ZERO,
            peer_effects: Effects::new(),
            tracker_effects: Effects::new(),
            scratch: Vec::new(),
            print: Fingerprint::new(plan.seed),
            observer: None,
            violation: None,
            tally: Tally::default(),
            dice,
            seed,
            plan,
        };
        world.populate();
        Ok(world)
    }

    fn populate(&mut self) {
        for number in 0..self.plan.hosts.len() as HostId {
            let host = Host::new(&self.plan, number, &self.catalog);
            self.net.add_host(host.access);
            self.by_addr.insert(host.addr, number);
            let starts_at = match &self.plan.hosts[number as usize].role {
                RolePlan::Tracker { .. } => 0,
                RolePlan::Peer(peer) => peer.starts_at,
            };
            self.hosts.push(host);
            self.tally.hosts.push(HostTally::default());
            self.queue.push(Instant(starts_at), Event::Start(number));
        }
        for (number, fault) in (0..).zip(&self.plan.faults) {
            match fault.when {
                When::At(at) => self.queue.push(Instant(at), Event::Fault(number)),
                When::Sent { host, bytes } => self.by_sent.push((host, bytes, number)),
            }
        }
    }

    /// Has every step told to `observer`.
    pub fn observe(&mut self, observer: Box<dyn Observer + 'a>) {
        self.observer = Some(observer);
    }

    /// Nanoseconds since the run's start.
    #[must_use]
    pub const fn now(&self) -> u64 {
        self.now.0
    }

    /// The plan it was made of.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What was counted so far.
    #[must_use]
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The first check that did not hold.
    #[must_use]
    pub const fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// The fingerprint of all steps so far.
    #[must_use]
    pub const fn fingerprint(&self) -> u64 {
        self.print.0
    }

    /// Does the next event, if it is due by `until` and no check has failed.
    pub fn step(&mut self, until: u64) -> bool {
        if self.violation.is_some() {
            return false;
        }
        let Some((at, event)) = self.queue.pop_until(Instant(until)) else { return false };
        self.now = at;
        self.tally.events += 1;
        match event {
            Event::Net(event) => self.net.on_event(at, event, &mut self.queue),
            Event::Tick(host) => self.on_tick(host),
            Event::Disk(op) => self.on_disk(op),
            Event::Start(host) => self.boot(host),
            Event::Fetch(host, index, incarnation) => self.fetch(host, index, incarnation),
            Event::Fault(fault) => self.begin_fault(fault),
            Event::Over(fault) => self.end_fault(fault),
        }
        self.settle();
        true
    }

    /// Lets time pass until `until`, or until a check fails.
    pub fn run_until(&mut self, until: u64) {
        while self.step(until) {}
        if self.violation.is_none() {
            self.now = self.now.max(Instant(until));
        }
    }

    /// Adds the time of the peers that still run.
    pub(crate) fn count_time(&mut self) {
        let up = |host: &Host| match host.node {
            Some(Node::Peer(_)) => self.now.since(host.booted_at).as_nanos() as u64,
            Some(Node::Tracker(_)) | None => 0,
        };
        self.tally.peer_time += self.hosts.iter().map(up).sum::<u64>();
    }

    pub(crate) fn into_tally(self) -> Tally {
        self.tally
    }

    /// Has every fault that began come to its end?
    pub(crate) fn is_calm(&self) -> bool {
        self.open_faults.is_empty()
    }

    /// When every fault is over, as far as is known: one that waits for bytes to be sent moves it once it begins.
    pub(crate) const fn faults_end(&self) -> u64 {
        self.faults_end.0
    }

    /// Does a download say that it cannot go on?
    pub(crate) fn says_so(&self, host: HostId, download: potluck_core::ids::DownloadId) -> bool {
        self.hosts[host as usize].downloads.get(&download).is_some_and(|download| download.waiting)
    }

    /// Inputs of a host between two sweeps of it.
    const fn sweep_every(&self) -> u64 {
        SWEEP_EVERY * self.hosts.len().div_ceil(SWEPT_HOSTS) as u64
    }

    /// Turns what happened in the network into inputs until nothing is left.
    fn settle(&mut self) {
        while self.violation.is_none() {
            if let Some(happened) = self.net.happened.pop_front() {
                self.on_happened(happened);
            } else if let Some(host) = self.leaving.pop() {
                self.process_left(host);
            } else {
                break;
            }
        }
    }

    fn fail(&mut self, host: HostId, what: impl FnOnce() -> String) {
        if self.violation.is_none() {
            self.violation = Some(Violation { at: self.now.0, host, what: what() });
        }
    }

    fn end(&mut self, end: EndId) -> Option<&mut End> {
        self.ends.get_mut(end.index())?.as_deref_mut()
    }

    /// The end that a host knows by this link's number.
    fn end_of(&self, host: HostId, link: potluck_core::ids::LinkId) -> Option<EndId> {
        self.hosts[host as usize].links.get(link.0 as usize).copied().flatten()
    }
}

fn build_catalog(plan: &Plan, seed: &Seed) -> Result<Catalog, PlanFault> {
    let mut catalog = Catalog::default();
    let seed = seed.fork("contents");
    for content in &plan.contents {
        let impossible = || PlanFault::Size(content.name.clone(), content.bytes);
        let made = if !content.members.is_empty() {
            folder(content, &catalog)?
        } else if plan.real || content.bytes == 0 {
            let mut bytes = vec![0; usize::try_from(content.bytes).map_err(|_| impossible())?];
            let mut output =
                blake3::Hasher::new_keyed(&seed.0).update(content.name.as_bytes()).finalize_xof();
            output.fill(&mut bytes);
            Content::real(&content.name, Kind::File, bytes).ok_or_else(impossible)?
        } else {
            Content::invent(&seed, &content.name, content.bytes).ok_or_else(impossible)?
        };
        catalog.add(made);
    }
    Ok(catalog)
}

fn folder(plan: &crate::plan::ContentPlan, catalog: &Catalog) -> Result<Content, PlanFault> {
    let fault = |why: String| PlanFault::Folder(plan.name.clone(), why);
    let mut entries = Vec::new();
    for (path, number) in &plan.members {
        let number = catalog.planned(*number).ok_or(PlanFault::Unknown("content", *number))?;
        let path = SafePath::parse(path).map_err(|f| fault(f.to_string()))?;
        entries.push(ListingEntry {
            path,
            node: ListingNode::File { key: catalog.get(number).key, executable: false, mtime_ns: 0 },
        });
    }
    let listing = Listing::new(entries).map_err(|f| fault(f.to_string()))?;
    let bytes = listing.encode();
    let length = bytes.len() as u64;
    let mut content = Content::real(&plan.name, Kind::Folder, bytes)
        .ok_or_else(|| PlanFault::Size(plan.name.clone(), length))?;
    let number = |entry: &ListingEntry| match &entry.node {
        ListingNode::File { key, .. } => catalog.find(*key),
        ListingNode::Folder { .. } => None,
    };
    content.members = listing.entries().iter().map(number).collect();
    content.listing = Some(std::sync::Arc::new(listing));
    Ok(content)
}

fn check_plan(plan: &Plan) -> Result<(), PlanFault> {
    let (hosts, contents) = (plan.hosts.len() as u32, plan.contents.len() as u32);
    let known = |what, number, end| if number < end { Ok(()) } else { Err(PlanFault::Unknown(what, number)) };
    for (number, host) in (0..).zip(&plan.hosts) {
        if host.up == 0 || host.down == 0 {
            return Err(PlanFault::NoRate(number));
        }
    }
    for (_, peer) in plan.peers() {
        for &content in peer.shares.iter().chain(peer.fetches.iter().map(|(content, _)| content)) {
            known("content", content, contents)?;
        }
        for &host in peer.tracker.iter().chain(&peer.knows) {
            known("host", host, hosts)?;
        }
    }
    for fault in &plan.faults {
        for &host in &fault.hosts {
            known("host", host, hosts)?;
        }
    }
    Ok(())
}
