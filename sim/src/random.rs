//! Random plans: a seed becomes a swarm with its own mix of what goes wrong.
//!
//! Each seed first draws which fault kinds exist at all, then how often each of them happens: a world in which everything
//! goes wrong at once hides what goes wrong alone. Honest peers that hold everything from the start stay reachable often enough
//! that most downloads can be finished; the checks know which.

use potluck_core::limits::CHUNK_BYTES;
use potluck_core::seed::Seed;

use crate::dice::Dice;
use crate::disk::DiskSpeed;
use crate::plan::{
    ContentPlan, Fault, FaultKind, HostPlan, Hostility, MILLI, PeerPlan, Plan, RolePlan, SECOND, When,
};

/// Faults that strike a host and end by themselves.
const FAULTS: &[FaultKind] = &[
    FaultKind::Kill,
    FaultKind::PowerCut,
    FaultKind::DiskLost,
    FaultKind::Leave,
    FaultKind::Pause,
    FaultKind::Stop,
    FaultKind::Slow,
    FaultKind::Refuse,
    FaultKind::Hang,
    FaultKind::Reset,
    FaultKind::HalfOpen,
    FaultKind::Partition,
    FaultKind::OneWay,
    FaultKind::Isolate,
    FaultKind::Clog,
    FaultKind::DiskFull,
    FaultKind::WriteError,
    FaultKind::ReadError,
    FaultKind::SyncError,
    FaultKind::Rot,
    FaultKind::Edit,
    FaultKind::TrackerCrash,
    FaultKind::TrackerStall,
    FaultKind::TrackerCut,
];

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn random(seed: u64) -> Self {
        Draw::new(seed).plan()
    }
}

struct Draw {
    seed: u64,
    dice: Dice,
    /// Chance of what was added later: the other draws of a seed stay as they were.
    later: Dice,
    /// Nanoseconds during which faults happen.
    busy: u64,
}

impl Draw {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(&Seed::from_number(seed), "plan");
        let later = Dice::new(&Seed::from_number(seed), "plan, later");
        let busy = dice.between(10, 60) * SECOND;
        Self { seed, dice, later, busy }
    }

    fn plan(mut self) -> Plan {
        let contents = self.contents();
        let hosts = self.hosts(&contents);
        let faults = self.faults(&hosts);
        let dice = &mut self.dice;
        let pair_spread = if dice.chance(50) { dice.spread(1, 50) * MILLI } else { 0 };
        let jitter = if dice.chance(50) { dice.spread(1, 20) * MILLI } else { 0 };
        let slow_disk = DiskSpeed { write_ns: 8 * MILLI, write_rate: 100_000_000, ..DiskSpeed::default() };
        let disk = if dice.chance(20) { slow_disk } else { DiskSpeed::default() };
        Plan { seed: self.seed, pair_spread, jitter, disk, real: false, contents, hosts, faults }
    }

    fn contents(&mut self) -> Vec<ContentPlan> {
        let dice = &mut self.dice;
        let count = dice.between(1, 5);
        let mut contents: Vec<_> = (0..count)
            .map(|number| {
                // The first is large, others are anything down to nothing, near the borders of pieces above all.
                let chunks = if number == 0 { dice.between(64, 68) } else { dice.spread(1, 96) };
                let edge = [0, 1, CHUNK_BYTES - 1, dice.below(CHUNK_BYTES)];
                let extra = dice.pick(&edge).copied().unwrap_or(0);
                let bytes = if number > 0 && dice.chance(5) { 0 } else { chunks * CHUNK_BYTES + extra };
                ContentPlan { name: format!("content-{number}"), bytes, members: Vec::new() }
            })
            .collect();
        if count > 2 && dice.chance(30) {
            let last = contents.len() as u32 - 1;
            let members = (1..=last).map(|number| (format!("folder/file-{number}"), number)).collect();
            contents.push(ContentPlan { name: "folder".to_owned(), bytes: 0, members });
        }
        contents
    }

    fn hosts(&mut self, contents: &[ContentPlan]) -> Vec<HostPlan> {
        let dice = &mut self.dice;
        // Small swarms find as much in less time; every other one is large enough for what needs a crowd.
        let peers = match dice.below(20) {
            0..=8 => dice.between(3, 12),
            9 => dice.between(24, 63),
            _ => dice.between(20, 22),
        };
        let mixed = dice.chance(60);
        let base = dice.spread(1_000_000, 50_000_000);
        let flash = dice.chance(30);
        let hostile_percent = if dice.chance(40) { dice.between(3, 15) } else { 0 };
        let nat_percent = if dice.chance(40) { dice.between(5, 60) } else { 0 };
        let capped = dice.chance(20);
        let later = &mut self.later;
        let capped_down = later.chance(20);
        let lease_ms = dice.between(5, 15) as u32 * 1000;
        let tracker = HostPlan {
            up: 100_000_000,
            down: 100_000_000,
            delay: dice.spread(1, 20) * MILLI,
            nat: false,
            role: RolePlan::Tracker { lease_ms },
        };
        let mut hosts = vec![tracker];
        let holders = dice.between(1, 4);
        for number in 1..=peers {
            let rate = if mixed { dice.spread(base / 4, base * 4) } else { base };
            let down = if mixed && dice.chance(50) { rate * dice.between(1, 8) } else { rate };
            let holds = number <= holders;
            let mut peer =
                PeerPlan { inflight_bytes_max: dice.spread(8, 256) * CHUNK_BYTES, ..PeerPlan::default() };
            peer.upload_links_max = dice.spread(4, 64) as u32;
            let start = if flash { dice.below(2 * SECOND) } else { dice.below(self.busy) };
            peer.starts_at = if holds { 0 } else { start };
            for content in 0..contents.len() as u32 {
                if holds && (number == 1 || dice.chance(70)) {
                    peer.shares.push(content);
                } else if !holds && (content == 0 || dice.chance(12)) {
                    peer.fetches.push((content, dice.below(3 * SECOND)));
                }
            }
            if !holds && dice.chance(hostile_percent) {
                peer.hostile = dice.pick(Hostility::ALL).copied();
                let lures = dice.chance(70);
                if lures {
                    peer.shares.push(0);
                    peer.fetches.retain(|(content, _)| *content != 0);
                }
            }
            let trickles = peer.hostile == Some(Hostility::Trickle);
            if capped && dice.chance(30) {
                peer.up_cap = rate / 2 + 1;
            }
            if capped_down && later.chance(30) {
                peer.down_cap = later.spread(rate / 8, rate) + 1;
            }
            hosts.push(HostPlan {
                up: if trickles { 20_000 } else { rate },
                down: if trickles { 200_000 } else { down },
                delay: dice.spread(1, 80) * MILLI / 2,
                nat: !holds && dice.chance(nat_percent),
                role: RolePlan::Peer(peer),
            });
        }
        hosts
    }

    fn faults(&mut self, hosts: &[HostPlan]) -> Vec<Fault> {
        let dice = &mut self.dice;
        let share = dice.between(20, 80);
        let weights: Vec<u64> =
            FAULTS.iter().map(|_| if dice.chance(share) { dice.spread(1, 64) } else { 0 }).collect();
        let total: u64 = weights.iter().sum();
        let count = if total == 0 { 0 } else { dice.between(20, 120) };
        let mut faults: Vec<_> = (0..count)
            .filter_map(|_| {
                let mut left = dice.below(total);
                let drawn = FAULTS.iter().zip(&weights).find(|(_, weight)| {
                    let here = left < **weight;
                    left = left.saturating_sub(**weight);
                    here
                });
                let at = dice.below(self.busy);
                drawn.map(|(&what, _)| fault(dice, what, at, hosts))
            })
            .collect();
        faults.sort_by_key(|fault| match fault.when {
            When::At(at) | When::Sent { bytes: at, .. } => at,
        });
        faults
    }
}

fn fault(dice: &mut Dice, what: FaultKind, at: u64, hosts: &[HostPlan]) -> Fault {
    let peers = hosts.len() as u64 - 1;
    let peer = 1 + dice.below(peers) as u32;
    let group = |dice: &mut Dice| {
        let mut all: Vec<u32> = (0..=peers as u32).collect();
        dice.shuffle(&mut all);
        let size = 1 + dice.below(peers.div_ceil(2)) as usize;
        all.truncate(size);
        all
    };
    let brief = dice.spread(50 * MILLI, 20 * SECOND);
    let (hosts, lasts, amount) = match what {
        FaultKind::Kill | FaultKind::PowerCut | FaultKind::DiskLost | FaultKind::Leave => {
            let for_good = dice.chance(15) && peer > 2;
            (vec![peer], (!for_good).then_some(brief), 0)
        }
        FaultKind::TrackerCrash | FaultKind::TrackerStall => (vec![0], Some(brief), 0),
        FaultKind::Partition | FaultKind::OneWay => (group(dice), Some(brief), 0),
        FaultKind::TrackerCut => {
            let mut cut = group(dice);
            cut.retain(|&host| host != 0);
            (cut, Some(brief), 0)
        }
        FaultKind::Clog => (group(dice), Some(brief), dice.spread(20, 3000) * MILLI),
        FaultKind::Slow => (vec![peer], Some(brief), dice.spread(2, 50)),
        FaultKind::Reset | FaultKind::HalfOpen | FaultKind::Rot | FaultKind::Edit => (vec![peer], None, 0),
        FaultKind::Pause
        | FaultKind::Stop
        | FaultKind::Refuse
        | FaultKind::Hang
        | FaultKind::Isolate
        | FaultKind::DiskFull
        | FaultKind::WriteError
        | FaultKind::ReadError
        | FaultKind::SyncError
        | FaultKind::LateJoin
        | FaultKind::Corrupt
        | FaultKind::Lie
        | FaultKind::Mute
        | FaultKind::Trickle
        | FaultKind::Unasked
        | FaultKind::Twice
        | FaultKind::Garbage
        | FaultKind::Greedy => (vec![peer], Some(brief), 0),
    };
    Fault { when: When::At(at), what, hosts, lasts, amount }
}
