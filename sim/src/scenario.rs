//! Scenarios: swarms that people describe, in TOML, and that become plans.
//!
//! Every knob is honoured by the model or refused (`knobs`); `docs/simulation.md` lists them all.

use potluck_core::limits::CHUNK_BYTES;
use potluck_core::seed::Seed;
use serde::Deserialize;

use crate::dice::Dice;
use crate::disk::DiskSpeed;
use crate::plan::{
    ContentPlan, Fault, FaultKind, HostPlan, Hostility, MILLI, PeerPlan, Plan, RolePlan, SECOND, When,
};
use crate::units::{Rate, Size, Time};

/// What people ask network simulators for and this one does not do.
const NOT_MODELLED: &[(&str, &str)] = &[
    ("loss", "nothing is lost in this network; use the faults `clog`, `reset` and `half-open`"),
    ("mtu", "frames are not cut into packets"),
    ("reorder", "a connection delivers in order"),
    ("congestion", "the only bottlenecks are the hosts' own links"),
    ("disk-read", "what is served is taken to come from the page cache"),
    ("cpu", "machines take no time"),
];

/// A scenario that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScenarioFault {
    /// It is no scenario.
    #[error("{0}")]
    Syntax(String),
    /// A knob that the model does not honour.
    #[error("`{0}` is not modelled: {1}")]
    NotModelled(String, &'static str),
    /// A value that makes no sense.
    #[error("{0}")]
    Nonsense(String),
}

/// A swarm, described. Rates default to 100 Mbit/s, the rest to no trouble at all.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Scenario {
    /// One line that says what it shows.
    pub about: String,
    /// All chance follows from it.
    pub seed: u64,
    /// Peers that fetch.
    pub peers: u64,
    /// Peers that hold everything from the start.
    pub holders: u64,
    /// Bytes of each content.
    pub size: Size,
    /// Number of contents; everybody fetches all of them.
    pub contents: u32,
    /// Uplink of every peer.
    pub up: Rate,
    /// Downlink of every peer.
    pub down: Rate,
    /// Uplink of the holders; as `up` if absent.
    pub holder_up: Option<Rate>,
    /// Round trip between two peers.
    pub rtt: Time,
    /// By how much the round trip of a pair may be longer.
    pub rtt_spread: Time,
    /// Random extra delay.
    pub jitter: Time,
    /// Peers start one after the other over this time.
    pub arrive_over: Time,
    /// Lease at the tracker.
    pub lease: Time,
    /// Without a tracker: everybody is given the holders' addresses.
    pub tracker: bool,
    /// Contents have real bytes, messages are really encoded and decoded.
    pub real: bool,
    /// Every peer's buffer budget.
    pub buffer: Size,
    /// Links that a peer serves at once.
    pub upload_links: u32,
    /// Speed of the disks.
    pub disk: DiskSpeed,
    /// Some of the peers, with other links.
    pub groups: Vec<Group>,
    /// What goes wrong.
    pub faults: Vec<FaultRule>,
    /// Hostile peers among those that fetch, by kind.
    pub hostile: Vec<HostileRule>,
}

/// Peers with links of their own.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Group {
    /// How many of the fetching peers, in percent.
    pub percent: u64,
    /// Their uplink.
    pub up: Rate,
    /// Their downlink.
    pub down: Rate,
    /// Nobody can dial them.
    #[serde(default)]
    pub nat: bool,
}

/// One or many faults.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FaultRule {
    /// What.
    pub kind: FaultKind,
    /// To whom.
    pub who: Who,
    /// When the first happens.
    pub at: Option<Time>,
    /// Or: when the first holder has sent so many copies of the first content, at the latest when all downloads are done.
    pub after_copies: Option<f64>,
    /// How often in all; 1 if absent.
    #[serde(default = "one")]
    pub times: u64,
    /// Time between two of them.
    #[serde(default)]
    pub every: Time,
    /// Until it is over; absent: for good.
    pub lasts: Option<Time>,
    /// How many hosts at a time, in percent of those that it may strike; one if absent.
    pub percent: Option<u64>,
    /// Of `slow`: percent of the speed.
    pub speed: Option<u64>,
    /// Of `clog`: the delay.
    pub delay: Option<Time>,
}

const fn one() -> u64 {
    1
}

/// Whom a fault strikes.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// The first holder.
    FirstHolder,
    /// Any holder.
    Holder,
    /// Any peer that fetches.
    Fetcher,
    /// The tracker.
    Tracker,
}

/// So many hostile peers of a kind.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HostileRule {
    /// How they break the rules.
    pub kind: Hostility,
    /// How many.
    pub count: u64,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            about: String::new(),
            seed: 1,
            peers: 8,
            holders: 1,
            size: Size(256 << 20),
            contents: 1,
            up: Rate(12_500_000),
            down: Rate(12_500_000),
            holder_up: None,
            rtt: Time(MILLI),
            rtt_spread: Time(0),
            jitter: Time(0),
            arrive_over: Time(0),
            lease: Time(15 * SECOND),
            tracker: true,
            real: false,
            buffer: Size(256 * CHUNK_BYTES),
            upload_links: 32,
            disk: DiskSpeed::default(),
            groups: Vec::new(),
            faults: Vec::new(),
            hostile: Vec::new(),
        }
    }
}

/// The scenarios that come with potluck, by name.
pub const SHIPPED: &[(&str, &str)] = &[
    ("flash-crowd", include_str!("../scenarios/flash-crowd.toml")),
    ("churn", include_str!("../scenarios/churn.toml")),
    ("slow-seed", include_str!("../scenarios/slow-seed.toml")),
    ("partition", include_str!("../scenarios/partition.toml")),
    ("tracker-outage", include_str!("../scenarios/tracker-outage.toml")),
    ("hostile-minority", include_str!("../scenarios/hostile-minority.toml")),
    ("mixed-links", include_str!("../scenarios/mixed-links.toml")),
    ("holder-leaves", include_str!("../scenarios/holder-leaves.toml")),
];

impl Scenario {
    /// Reads a scenario file.
    ///
    /// # Errors
    /// No TOML, an unknown or unmodelled knob, or a value of the wrong kind.
    pub fn parse(text: &str) -> Result<Self, ScenarioFault> {
        let table: toml::Table =
            text.parse().map_err(|fault: toml::de::Error| ScenarioFault::Syntax(fault.to_string()))?;
        for key in table.keys() {
            if let Some((_, why)) = NOT_MODELLED.iter().find(|(name, _)| key.starts_with(name)) {
                return Err(ScenarioFault::NotModelled(key.clone(), why));
            }
        }
        toml::from_str(text).map_err(|fault| ScenarioFault::Syntax(fault.to_string()))
    }

    /// A scenario that comes with potluck.
    #[must_use]
    pub fn shipped(name: &str) -> Option<Self> {
        let (_, text) = SHIPPED.iter().find(|(known, _)| *known == name)?;
        Self::parse(text).ok()
    }

    /// Writes out everything that follows from it.
    ///
    /// # Errors
    /// Values that contradict each other, or that the model does not honour.
    pub fn plan(&self) -> Result<Plan, ScenarioFault> {
        self.check()?;
        let mut dice = Dice::new(&Seed::from_number(self.seed), "scenario");
        let contents: Vec<_> = (0..self.contents)
            .map(|number| ContentPlan {
                name: format!("content-{number}"),
                bytes: self.size.0,
                members: Vec::new(),
            })
            .collect();
        let tracker = HostPlan {
            up: 125_000_000,
            down: 125_000_000,
            delay: self.rtt.0 / 4,
            nat: false,
            role: RolePlan::Tracker { lease_ms: (self.lease.0 / MILLI) as u32 },
        };
        let mut hosts = vec![tracker];
        hosts.extend((0..self.holders).map(|_| self.peer(true, 0)));
        for number in 0..self.peers {
            let at = if self.peers > 1 { self.arrive_over.0 * number / (self.peers - 1) } else { 0 };
            hosts.push(self.peer(false, at));
        }
        self.regroup(&mut hosts, &mut dice);
        let faults = self.faults(&mut dice);
        let (pair_spread, jitter) = (self.rtt_spread.0 / 2, self.jitter.0);
        let (disk, real) = (self.disk, self.real);
        Ok(Plan { seed: self.seed, pair_spread, jitter, disk, real, contents, hosts, faults })
    }

    fn peer(&self, holds: bool, starts_at: u64) -> HostPlan {
        let every = 0..self.contents;
        let up = self.holder_up.filter(|_| holds).unwrap_or(self.up).0;
        let peer = PeerPlan {
            starts_at,
            shares: if holds { every.clone().collect() } else { Vec::new() },
            fetches: if holds { Vec::new() } else { every.map(|content| (content, 0)).collect() },
            inflight_bytes_max: self.buffer.0,
            upload_links_max: self.upload_links,
            tracker: self.tracker.then_some(0),
            knows: if holds || self.tracker { Vec::new() } else { (1..=self.holders as u32).collect() },
            ..PeerPlan::default()
        };
        HostPlan { up, down: self.down.0, delay: self.rtt.0 / 4, nat: false, role: RolePlan::Peer(peer) }
    }

    /// Gives some of the fetching peers other links, and others a bad character.
    fn regroup(&self, hosts: &mut [HostPlan], dice: &mut Dice) {
        let first = 1 + self.holders as usize;
        let mut order: Vec<usize> = (first..hosts.len()).collect();
        dice.shuffle(&mut order);
        let mut order = order.into_iter();
        for group in &self.groups {
            for number in order.by_ref().take((self.peers * group.percent / 100) as usize) {
                hosts[number] =
                    HostPlan { up: group.up.0, down: group.down.0, nat: group.nat, ..hosts[number].clone() };
            }
        }
        let mut order: Vec<usize> = (first..hosts.len()).collect();
        dice.shuffle(&mut order);
        let mut order = order.into_iter();
        for rule in &self.hostile {
            for number in order.by_ref().take(rule.count as usize) {
                let RolePlan::Peer(peer) = &mut hosts[number].role else { continue };
                peer.hostile = Some(rule.kind);
                peer.shares = peer.fetches.drain(..).map(|(content, _)| content).collect();
                if rule.kind == Hostility::Trickle {
                    hosts[number].up = 20_000;
                }
            }
        }
    }

    fn faults(&self, dice: &mut Dice) -> Vec<Fault> {
        let mut faults = Vec::new();
        for rule in &self.faults {
            // Nobody is struck twice by one rule until everybody was.
            let mut struck: Vec<u32> = Vec::new();
            let amount = rule.delay.map(|delay| delay.0).or(rule.speed).unwrap_or(10);
            for time in 0..rule.times {
                let when = match rule.after_copies {
                    Some(copies) => When::Sent { host: 1, bytes: (copies * self.size.0 as f64) as u64 },
                    None => When::At(rule.at.unwrap_or_default().0 + time * rule.every.0),
                };
                let hosts = self.hosts_of(rule, dice, &mut struck);
                // Isolated hosts do not reach each other either: one fault each.
                let apart = if rule.kind == FaultKind::Isolate { 1 } else { hosts.len() };
                faults.extend(hosts.chunks(apart.max(1)).map(|hosts| Fault {
                    when,
                    what: rule.kind,
                    hosts: hosts.to_vec(),
                    lasts: rule.lasts.map(|lasts| lasts.0),
                    amount,
                }));
            }
        }
        faults
    }

    /// Hosts that a rule may strike, from the first up to but not including the last.
    pub(crate) const fn pool(&self, who: Who) -> std::ops::Range<u64> {
        match who {
            Who::FirstHolder => 1..2,
            Who::Holder => 1..1 + self.holders,
            Who::Fetcher => 1 + self.holders..1 + self.holders + self.peers,
            Who::Tracker => 0..1,
        }
    }

    /// How many of them it strikes each time.
    pub(crate) fn struck(&self, rule: &FaultRule) -> u64 {
        let pool = self.pool(rule.who);
        rule.percent.map_or(1, |percent| (pool.end - pool.start) * percent / 100)
    }

    fn hosts_of(&self, rule: &FaultRule, dice: &mut Dice, struck: &mut Vec<u32>) -> Vec<u32> {
        let mut pool: Vec<u32> = self.pool(rule.who).map(|host| host as u32).collect();
        if pool.iter().all(|host| struck.contains(host)) {
            struck.clear();
        }
        pool.retain(|host| !struck.contains(host));
        dice.shuffle(&mut pool);
        pool.truncate(self.struck(rule) as usize);
        struck.extend(&pool);
        pool
    }
}
