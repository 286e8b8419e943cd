//! A plan: everything that a run depends on, written out. The same plan gives the same run, bit for bit.
//!
//! Scenario files and random seeds become plans. Faults are a list of independent entries, each with its own end, so that
//! a failing run can be shrunk by leaving entries out.

use std::fmt;

use potluck_core::limits::CHUNK_BYTES;
use serde::{Deserialize, Serialize};

use crate::disk::DiskSpeed;

/// Nanoseconds of a millisecond.
pub(crate) const MILLI: u64 = 1_000_000;
/// Nanoseconds of a second.
pub(crate) const SECOND: u64 = 1_000_000_000;

/// What a run consists of. Times are nanoseconds since its start, rates bytes per second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// All chance follows from it.
    pub seed: u64,
    /// Nanoseconds by which the latency of a pair may exceed the sum of both hosts' delays.
    pub pair_spread: u64,
    /// Nanoseconds of random extra delay.
    pub jitter: u64,
    /// All hosts' disks.
    pub disk: DiskSpeed,
    /// Contents have bytes, and every message is decoded from what it was encoded to.
    pub real: bool,
    /// What is shared and fetched.
    pub contents: Vec<ContentPlan>,
    /// Trackers and peers.
    pub hosts: Vec<HostPlan>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
}

/// A content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentPlan {
    /// Its label.
    pub name: String,
    /// Bytes; of a folder computed.
    pub bytes: u64,
    /// Of a folder: paths, and the numbers of the contents there (earlier ones).
    pub members: Vec<(String, u32)>,
}

/// A host with its links.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPlan {
    /// Rate up.
    pub up: u64,
    /// Rate down.
    pub down: u64,
    /// Nanoseconds one way to the middle of the network.
    pub delay: u64,
    /// It cannot be dialed.
    pub nat: bool,
    /// What runs on it.
    pub role: RolePlan,
}

/// What runs on a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RolePlan {
    /// A tracker with this lease in milliseconds.
    Tracker {
        /// Milliseconds.
        lease_ms: u32,
    },
    /// A peer.
    Peer(PeerPlan),
}

/// What a peer does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerPlan {
    /// When it starts.
    pub starts_at: u64,
    /// Contents that it shares in place.
    pub shares: Vec<u32>,
    /// Contents that it fetches, and how long after its start.
    pub fetches: Vec<(u32, u64)>,
    /// How it breaks the rules, if it does.
    pub hostile: Option<Hostility>,
    /// Its buffer budget.
    pub inflight_bytes_max: u64,
    /// Links it serves at once.
    pub upload_links_max: u32,
    /// Caps that the person set; 0: none.
    pub up_cap: u64,
    /// As `up_cap`.
    pub down_cap: u64,
    /// Its tracker, if it has one.
    pub tracker: Option<u32>,
    /// Hosts whose addresses it was given with its downloads.
    pub knows: Vec<u32>,
}

impl Default for PeerPlan {
    fn default() -> Self {
        Self {
            starts_at: 0,
            shares: Vec::new(),
            fetches: Vec::new(),
            hostile: None,
            inflight_bytes_max: 64 * CHUNK_BYTES,
            upload_links_max: 32,
            up_cap: 0,
            down_cap: 0,
            tracker: Some(0),
            knows: Vec::new(),
        }
    }
}

/// Something that goes wrong, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// When.
    pub when: When,
    /// What.
    pub what: FaultKind,
    /// To which hosts. Partitions and clogs lie between these and all others; other kinds concern each of them.
    pub hosts: Vec<u32>,
    /// Nanoseconds until it is over, or until the host is back; `None`: never.
    pub lasts: Option<u64>,
    /// Of `Slow`: percent of the speed. Of `Clog`: nanoseconds of delay.
    pub amount: u64,
}

/// When a fault happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum When {
    /// At this time.
    At(u64),
    /// When this host has sent so many payload bytes, at the latest when all downloads are done.
    Sent {
        /// Which host.
        host: u32,
        /// Payload bytes.
        bytes: u64,
    },
}

macro_rules! kinds {
    ($($(#[$meta:meta])* $name:ident $label:literal,)*) => {
        /// The kinds of faults, for counting.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum FaultKind { $($(#[$meta])* $name,)* }

        impl FaultKind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// What tables and messages call it.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}

kinds! {
    /// The process is killed; what it wrote stays.
    Kill "kill",
    /// The power is cut: only what was durable stays, and nobody is told.
    PowerCut "power-cut",
    /// The machine is replaced by one with an empty disk.
    DiskLost "disk-lost",
    /// The peer leaves in order.
    Leave "leave",
    /// The process is stopped, and goes on later.
    Pause "pause",
    /// The person stops all downloads, and resumes them later.
    Stop "stop",
    /// Both links, and the disk, work at a percentage of their speed.
    Slow "slow",
    /// Dials to it are refused.
    Refuse "refuse",
    /// Dials to it never end.
    Hang "hang",
    /// A connection is reset, in the middle of a frame if one is under way.
    Reset "reset",
    /// A connection goes dead, and nobody is told.
    HalfOpen "half-open",
    /// The hosts and all others do not reach each other.
    Partition "partition",
    /// The hosts hear the others, but are not heard.
    OneWay "one-way",
    /// The host reaches nobody.
    Isolate "isolate",
    /// What the hosts and the others send each other is late.
    Clog "clog",
    /// The disk has no space.
    DiskFull "disk-full",
    /// Writes fail.
    WriteError "write-error",
    /// Reads for serving fail.
    ReadError "read-error",
    /// Syncs fail.
    SyncError "sync-error",
    /// A chunk of a shared content rots, without a trace.
    Rot "rot",
    /// A shared content is edited.
    Edit "edit",
    /// A tracker crashes and comes back empty.
    TrackerCrash "tracker-crash",
    /// A tracker takes nothing in for a while.
    TrackerStall "tracker-stall",
    /// The hosts do not reach the trackers.
    TrackerCut "tracker-cut",
    /// A peer starts while others are at it.
    LateJoin "late-join",
    /// A hostile peer sent wrong bytes.
    Corrupt "corrupt",
    /// A hostile peer claimed what it lacks.
    Lie "lie",
    /// A hostile peer did not answer.
    Mute "mute",
    /// A hostile peer answered at a trickle.
    Trickle "trickle",
    /// A hostile peer sent what nobody asked for.
    Unasked "unasked",
    /// A hostile peer sent a chunk twice.
    Twice "twice",
    /// A hostile peer sent bytes that are no frame, or messages out of place.
    Garbage "garbage",
    /// A hostile peer asked for more than it may.
    Greedy "greedy",
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// How a hostile peer breaks the rules. It joins and serves like any other, but for this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hostility {
    /// Sends wrong bytes.
    Corrupt,
    /// Claims to hold everything; has nothing, and says so only when asked.
    Lie,
    /// Takes requests and never answers.
    Mute,
    /// Sends a chunk in many seconds.
    Trickle,
    /// Sends chunks that nobody asked for.
    Unasked,
    /// Sends every chunk twice.
    Twice,
    /// Sends bytes that are no frame.
    Garbage,
    /// Asks for more than the bounds allow.
    Greedy,
}

impl Hostility {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Corrupt,
        Self::Lie,
        Self::Mute,
        Self::Trickle,
        Self::Unasked,
        Self::Twice,
        Self::Garbage,
        Self::Greedy,
    ];

    /// What it is counted as.
    #[must_use]
    pub const fn kind(self) -> FaultKind {
        match self {
            Self::Corrupt => FaultKind::Corrupt,
            Self::Lie => FaultKind::Lie,
            Self::Mute => FaultKind::Mute,
            Self::Trickle => FaultKind::Trickle,
            Self::Unasked => FaultKind::Unasked,
            Self::Twice => FaultKind::Twice,
            Self::Garbage => FaultKind::Garbage,
            Self::Greedy => FaultKind::Greedy,
        }
    }
}

impl Plan {
    /// When the last fault that happens at a set time is over. When the others happen nobody knows beforehand.
    #[must_use]
    pub fn faults_end(&self) -> u64 {
        let end = |fault: &Fault| match fault.when {
            When::At(at) => at + fault.lasts.unwrap_or(0),
            When::Sent { .. } => 0,
        };
        let starts = self.peers().map(|(_, peer)| {
            peer.starts_at + peer.fetches.iter().map(|(_, after)| *after).max().unwrap_or(0)
        });
        self.faults.iter().map(end).chain(starts).max().unwrap_or(0)
    }

    /// All peers with their hosts' numbers.
    pub fn peers(&self) -> impl Iterator<Item = (u32, &PeerPlan)> {
        (0..).zip(&self.hosts).filter_map(|(number, host)| match &host.role {
            RolePlan::Peer(peer) => Some((number, peer)),
            RolePlan::Tracker { .. } => None,
        })
    }

    /// The fault kinds that this plan means to happen.
    #[must_use]
    pub fn enabled(&self) -> std::collections::BTreeSet<FaultKind> {
        let hostile = self.peers().filter_map(|(_, peer)| Some(peer.hostile?.kind()));
        let late = self.peers().filter(|(_, peer)| peer.starts_at > 0).map(|_| FaultKind::LateJoin);
        self.faults.iter().map(|fault| fault.what).chain(hostile).chain(late).collect()
    }

    /// The same plan with only the faults of these numbers.
    #[must_use]
    pub fn with_faults(&self, kept: &[usize]) -> Self {
        let faults = kept.iter().filter_map(|&index| self.faults.get(index).cloned()).collect();
        Self { faults, ..self.clone() }
    }
}
