//! What goes wrong, when the plan says so.

use fixedbitset::FixedBitSet;
use potluck_core::ids::DownloadId;
use potluck_core::peer::{Command, PeerInput};
use potluck_core::time::Instant;

use super::host::{Download, Node};
use super::{Event, World};
use crate::disk::DiskFaults;
use crate::net::{Barrier, EndId, HostId, Presence};
use crate::plan::{Fault, FaultKind};

/// Kinds that keep a host down until they are over.
const DOWN: &[FaultKind] =
    &[FaultKind::Kill, FaultKind::PowerCut, FaultKind::DiskLost, FaultKind::Leave, FaultKind::TrackerCrash];
/// Kinds that stop its process until they are over.
const FROZEN: &[FaultKind] = &[FaultKind::Pause, FaultKind::TrackerStall];

impl World<'_> {
    pub(super) fn begin_fault(&mut self, number: u32) {
        let Some(fault) = self.plan.faults.get(number as usize).cloned() else { return };
        let now = self.now;
        if let Some(observer) = &mut self.observer {
            observer.fault(now.0, &format!("{} {:?}", fault.what, fault.hosts));
        }
        if fault.lasts.is_some() {
            self.open_faults.insert(number);
        }
        let felt = self.is_felt(&fault);
        if self.strike(number, &fault) {
            if felt {
                self.tally.fired(fault.what);
            }
            let end = Instant(now.0 + fault.lasts.unwrap_or(0));
            self.faults_end = self.faults_end.max(end);
            if fault.lasts.is_some() {
                self.queue.push(end, Event::Over(number));
            }
        } else {
            self.open_faults.remove(&number);
        }
    }

    /// Can it have an effect on anybody? What befalls a process, a connection or a file finds that out by itself. What lies on a
    /// host, or between hosts, is felt by those that run, as long as there is something left to fetch.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest strikes, or finds nothing to strike")]
    fn is_felt(&self, fault: &Fault) -> bool {
        let runs = |number: HostId| self.hosts[number as usize].node.is_some();
        let struck = || fault.hosts.iter().any(|&host| runs(host));
        let rest = |number: &HostId| !fault.hosts.contains(number);
        let others = || (0..self.hosts.len() as HostId).filter(rest).any(runs);
        let tracked = || self.plan.peers().any(|(_, peer)| peer.tracker.is_some());
        match fault.what {
            FaultKind::TrackerCrash | FaultKind::TrackerStall => tracked(),
            FaultKind::TrackerCut => tracked() && struck() && fault.lasts != Some(0),
            FaultKind::Partition | FaultKind::OneWay | FaultKind::Isolate | FaultKind::Clog => {
                struck() && others() && !self.is_all_done() && fault.lasts != Some(0)
            }
            FaultKind::Slow
            | FaultKind::Refuse
            | FaultKind::Hang
            | FaultKind::DiskFull
            | FaultKind::WriteError
            | FaultKind::ReadError
            | FaultKind::SyncError => struck() && !self.is_all_done() && fault.lasts != Some(0),
            _ => true,
        }
    }

    /// Does it; false if there was nothing to be done to.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest concerns hosts one by one")]
    fn strike(&mut self, number: u32, fault: &Fault) -> bool {
        let between = |world: &mut Self, both_ways, delay| {
            let from = world.set_of(&fault.hosts);
            let mut to = from.clone();
            to.toggle_range(..);
            world.net.raise(world.now, Barrier { number, from, to, both_ways, delay });
            true
        };
        match fault.what {
            FaultKind::Partition | FaultKind::Isolate => between(self, true, None),
            FaultKind::OneWay => between(self, false, None),
            FaultKind::Clog => between(self, true, Some(fault.amount)),
            FaultKind::TrackerCut => {
                let tracker = |(number, host): (u32, &super::Host)| host.access.tracker.then_some(number);
                let trackers: Vec<HostId> = (0..).zip(&self.hosts).filter_map(tracker).collect();
                let (from, to) = (self.set_of(&fault.hosts), self.set_of(&trackers));
                self.net.raise(self.now, Barrier { number, from, to, both_ways: true, delay: None });
                true
            }
            _ => {
                let mut struck = false;
                for &host in &fault.hosts {
                    struck |= self.strike_host(host, fault);
                }
                struck
            }
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "partitions are struck as a whole, and hostile peers strike by themselves"
    )]
    fn strike_host(&mut self, host: HostId, fault: &Fault) -> bool {
        let for_good = fault.lasts.is_none();
        match fault.what {
            FaultKind::Kill | FaultKind::TrackerCrash => self.down(host, Presence::NoProcess, for_good),
            FaultKind::PowerCut => {
                let struck = self.down(host, Presence::Off, for_good);
                if struck {
                    self.hosts[host as usize].disk.cut_power(&mut self.dice);
                }
                struck
            }
            FaultKind::DiskLost => {
                let struck = self.down(host, Presence::Off, for_good);
                if struck {
                    let record = &mut self.hosts[host as usize];
                    record.disk.wipe();
                    for download in record.downloads.values_mut() {
                        download.completed = false;
                        self.tally.downloads[download.record].completed = None;
                    }
                }
                struck
            }
            FaultKind::Leave => {
                let struck = self.is_live_peer(host);
                if struck {
                    self.host(host).gone = for_good;
                    self.command(host, Command::Leave);
                }
                struck
            }
            FaultKind::Pause | FaultKind::TrackerStall => {
                let struck = self.hosts[host as usize].node.is_some();
                if struck {
                    self.host(host).paused = true;
                    self.net.set_paused(self.now, host, true, &mut self.queue);
                }
                struck
            }
            FaultKind::Stop => self.for_open_downloads(host, |download| Command::Stop { download }),
            FaultKind::Slow
            | FaultKind::Refuse
            | FaultKind::Hang
            | FaultKind::DiskFull
            | FaultKind::WriteError
            | FaultKind::SyncError => {
                self.set_condition(host);
                true
            }
            FaultKind::ReadError => {
                self.set_condition(host);
                self.host(host).stumbled = true;
                true
            }
            FaultKind::Reset => self.with_connection(host, |world, end| world.net.reset(end)),
            FaultKind::HalfOpen => self.with_connection(host, |world, end| world.net.half_open(end)),
            FaultKind::Rot => self.rot(host),
            FaultKind::Edit => self.edit(host),
            _ => false,
        }
    }

    /// Ends a fault. Another one that is open may keep a host where it is.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest has no end, or is a barrier")]
    pub(super) fn end_fault(&mut self, number: u32) {
        let Some(fault) = self.plan.faults.get(number as usize).cloned() else { return };
        self.open_faults.remove(&number);
        if let Some(observer) = &mut self.observer {
            observer.fault(self.now.0, &format!("{} {:?} is over", fault.what, fault.hosts));
        }
        self.net.lower(self.now, number, &mut self.queue);
        for &host in &fault.hosts {
            match fault.what {
                what if DOWN.contains(&what) => {
                    if !self.has(host, DOWN) {
                        self.boot(host);
                    }
                }
                what if FROZEN.contains(&what) => {
                    if !self.has(host, FROZEN) {
                        self.resume(host);
                    }
                }
                FaultKind::Stop => {
                    if !self.has(host, &[FaultKind::Stop]) {
                        self.for_open_downloads(host, |download| Command::Resume { download });
                    }
                }
                _ => self.set_condition(host),
            }
        }
    }

    /// Faults that are open at a host.
    fn open_at(&self, host: HostId) -> impl Iterator<Item = &Fault> {
        let fault = |number: &u32| self.plan.faults.get(*number as usize);
        self.open_faults.iter().filter_map(fault).filter(move |fault| fault.hosts.contains(&host))
    }

    /// Is one of these open at a host?
    fn has(&self, host: HostId, kinds: &[FaultKind]) -> bool {
        self.open_at(host).any(|fault| kinds.contains(&fault.what))
    }

    /// What a host's links and disk are like follows from the faults that are open.
    fn set_condition(&mut self, host: HostId) {
        let slow = self.open_at(host).filter(|fault| fault.what == FaultKind::Slow);
        let percent = slow.map(|fault| fault.amount).min().unwrap_or(100);
        let has = |kind| self.has(host, &[kind]);
        let disk = DiskFaults {
            full: has(FaultKind::DiskFull),
            write: has(FaultKind::WriteError),
            read: has(FaultKind::ReadError),
            sync: has(FaultKind::SyncError),
        };
        let (refuses, hangs) = (has(FaultKind::Refuse), has(FaultKind::Hang));
        self.net.set_speed(host, percent);
        self.net.set_dialing(host, refuses, hangs);
        let record = self.host(host);
        record.disk.percent = percent;
        record.disk.faults = disk;
    }

    /// A host has sent more: some faults wait for that.
    pub(super) fn check_sent(&mut self, host: HostId) {
        if self.by_sent.is_empty() {
            return;
        }
        let sent = self.tally.hosts[host as usize].payload_sent;
        let (now, queue) = (self.now, &mut self.queue);
        self.by_sent.retain(|&(of, bytes, fault)| {
            let waits = of != host || sent < bytes;
            if !waits {
                queue.push(now, Event::Fault(fault));
            }
            waits
        });
    }

    /// Everybody has everything: who has not sent so much by now will not. What waits for that happens now.
    pub(super) fn check_all_done(&mut self) {
        if !self.by_sent.is_empty() && self.is_all_done() {
            for (_, _, fault) in self.by_sent.drain(..) {
                self.queue.push(self.now, Event::Fault(fault));
            }
        }
    }

    /// Are all downloads of the plan complete?
    fn is_all_done(&self) -> bool {
        let planned: usize = self.plan.peers().map(|(_, peer)| peer.fetches.len()).sum();
        planned == self.tally.downloads.iter().filter(|download| download.completed.is_some()).count()
    }

    fn is_live_peer(&self, host: HostId) -> bool {
        let host = &self.hosts[host as usize];
        host.is_live() && matches!(host.node, Some(Node::Peer(_)))
    }

    /// Ends a process; false if none runs.
    fn down(&mut self, host: HostId, to: Presence, for_good: bool) -> bool {
        if self.hosts[host as usize].node.is_none() {
            return false;
        }
        self.halt(host, to);
        self.host(host).gone = for_good;
        true
    }

    fn resume(&mut self, host: HostId) {
        if std::mem::replace(&mut self.host(host).paused, false) {
            let now = self.now;
            self.host(host).resumed_at = now;
            self.net.set_paused(now, host, false, &mut self.queue);
            self.feed_deferred(host);
        }
    }

    fn for_open_downloads(&mut self, host: HostId, command: impl Fn(DownloadId) -> Command) -> bool {
        let open = |(id, download): (&DownloadId, &Download)| (!download.completed).then_some(*id);
        let downloads: Vec<_> = self.hosts[host as usize].downloads.iter().filter_map(open).collect();
        // A stopped process hears it when it goes on.
        let any = !downloads.is_empty() && self.hosts[host as usize].node.is_some();
        for download in downloads {
            self.command(host, command(download));
        }
        any
    }

    /// Does something to one of the connections of a host.
    fn with_connection(&mut self, host: HostId, strike: impl FnOnce(&mut Self, EndId)) -> bool {
        let ends: Vec<EndId> = self.hosts[host as usize].links.iter().flatten().copied().collect();
        let Some(&end) = self.dice.pick(&ends) else { return false };
        strike(self, end);
        true
    }

    fn set_of(&self, hosts: &[HostId]) -> FixedBitSet {
        let mut set = FixedBitSet::with_capacity(self.hosts.len());
        hosts.iter().for_each(|&host| set.insert(host as usize));
        set
    }

    fn pick_shared(&mut self, host: HostId) -> Option<u32> {
        let shared: Vec<u32> = self.hosts[host as usize].disk.shared.keys().copied().collect();
        self.dice.pick(&shared).copied()
    }

    fn rot(&mut self, host: HostId) -> bool {
        let Some(number) = self.pick_shared(host) else { return false };
        let chunks = self.catalog.get(number).chunks() as u64;
        let chunk = self.dice.below(chunks) as usize;
        let record = self.host(host);
        record.rotted.insert(number);
        let shared = record.disk.shared.get_mut(&number).filter(|_| chunks > 0);
        shared.is_some_and(|shared| !shared.rotten.put(chunk))
    }

    /// Whoever shares it may see it at once, or when it sends from it.
    fn edit(&mut self, host: HostId) -> bool {
        let Some(number) = self.pick_shared(host) else { return false };
        let Some(shared) = self.host(host).disk.shared.get_mut(&number) else { return false };
        let anew = !std::mem::replace(&mut shared.changed, true);
        self.host(host).stumbled = true;
        if self.dice.chance(50) && self.is_live_peer(host) {
            let key = self.catalog.get(number).key;
            self.feed_peer(host, PeerInput::SourceChanged { key });
        }
        anew
    }
}
