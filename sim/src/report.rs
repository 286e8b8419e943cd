//! What a run says about the protocol: how close a swarm came to what its links allow.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::plan::{Hostility, Plan, SECOND};
use crate::run::Outcome;
use crate::world::{DownloadRecord, Tally};

/// Figures of a run. Times in seconds.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The plan's seed.
    pub seed: u64,
    /// Downloads that were begun, also by peers that were gone before they had finished.
    pub downloads: u64,
    /// Those that were completed, and not lost again.
    pub completed: u64,
    /// Time from its beginning to the completion of a download, the last one if its disk was lost: median.
    pub p50: f64,
    /// 90 of 100 were faster.
    pub p90: f64,
    /// 99 of 100 were faster.
    pub p99: f64,
    /// The slowest.
    pub max: f64,
    /// The fluid bound `T*`: no swarm with these links can be done earlier with the downloads that were completed. `None` if
    /// these are none, or have no bytes.
    pub bound: Option<f64>,
    /// `T*` over the time from the first beginning to the last completion: at most 1.
    pub efficiency: Option<f64>,
    /// Bytes that the first holder sent, as a multiple of all contents.
    pub holder_copies: f64,
    /// Chunk bytes that arrived and were of no use, in percent of those that were.
    pub duplicate_percent: f64,
    /// Control bytes in percent of useful chunk bytes.
    pub control_percent: f64,
    /// Inputs that machines took.
    pub inputs: u64,
    /// Simulated time.
    pub ended_at: f64,
    /// Equal for equal runs.
    pub fingerprint: String,
}

impl Report {
    /// The figures of a run of this plan.
    #[must_use]
    pub fn new(plan: &Plan, outcome: &Outcome) -> Self {
        let tally = &outcome.tally;
        let mut times: Vec<f64> = tally
            .downloads
            .iter()
            .filter_map(|d| Some(seconds(d.completed?.saturating_sub(d.began))))
            .collect();
        times.sort_by(f64::total_cmp);
        let first = tally.downloads.iter().map(|d| d.began).min().unwrap_or(0);
        let last = tally.downloads.iter().filter_map(|d| d.completed).max().unwrap_or(0);
        let took = seconds(last.saturating_sub(first));
        let bound = fluid_bound(plan, &tally.downloads);
        let total = tally.total();
        let all: u64 = plan.contents.iter().map(|content| content.bytes).sum();
        let percent = |part: u64, whole: u64| 100.0 * part as f64 / whole.max(1) as f64;
        Self {
            seed: outcome.seed,
            downloads: tally.downloads.len() as u64,
            completed: times.len() as u64,
            p50: quantile(&times, 50),
            p90: quantile(&times, 90),
            p99: quantile(&times, 99),
            max: times.last().copied().unwrap_or(0.0),
            bound,
            efficiency: bound.map(|bound| bound / took),
            holder_copies: first_holder_sent(plan, tally) as f64 / all.max(1) as f64,
            duplicate_percent: percent(total.payload_wasted, total.payload_used),
            control_percent: percent(total.control_sent, total.payload_used),
            inputs: tally.inputs,
            ended_at: seconds(outcome.ended_at),
            fingerprint: format!("{:016x}", outcome.fingerprint),
        }
    }
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / SECOND as f64
}

fn quantile(sorted: &[f64], percent: usize) -> f64 {
    let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(index).copied().unwrap_or(0.0)
}

fn first_holder_sent(plan: &Plan, tally: &Tally) -> u64 {
    let holder = plan.peers().find(|(_, peer)| !peer.shares.is_empty() && peer.hostile.is_none());
    holder.and_then(|(number, _)| tally.hosts.get(number as usize)).map_or(0, |host| host.payload_sent)
}

/// The fluid bound in seconds of those downloads that were completed: the largest of the times in which
///
/// - the holders can have sent once what somebody has completed,
/// - the slowest downloader can have received what it completed,
/// - all uplinks together can have sent what all completed.
///
/// Uplinks count whole, whatever became of their hosts, and those of hostile peers too, if what these send may be right.
#[must_use]
pub fn fluid_bound(plan: &Plan, downloads: &[DownloadRecord]) -> Option<f64> {
    let size = |number: u32| plan.contents.get(number as usize).map_or(0, |content| content.bytes);
    let (mut seeds, mut others) = (0, 0);
    for (number, peer) in plan.peers().filter(|(_, peer)| peer.hostile.is_none_or(serves)) {
        let up = plan.hosts[number as usize].up;
        if peer.shares.is_empty() { others += up } else { seeds += up }
    }
    let (mut once, mut by_host) = (BTreeMap::new(), BTreeMap::<u32, u64>::new());
    for download in downloads.iter().filter(|download| download.completed.is_some()) {
        let bytes = size(download.content);
        once.insert(download.content, bytes);
        *by_host.entry(download.host).or_default() += bytes;
    }
    let time = |bytes: u64, rate: u64| bytes as f64 / rate.max(1) as f64;
    let slowest = by_host.iter().map(|(&host, &bytes)| time(bytes, plan.hosts[host as usize].down));
    let all = [time(once.values().sum(), seeds), time(by_host.values().sum(), seeds + others)];
    slowest.chain(all).max_by(f64::total_cmp).filter(|&bound| bound > 0.0)
}

/// May a hostile peer of this kind send the right bytes?
const fn serves(hostility: Hostility) -> bool {
    match hostility {
        Hostility::Corrupt | Hostility::Lie | Hostility::Mute => false,
        Hostility::Trickle
        | Hostility::Unasked
        | Hostility::Twice
        | Hostility::Garbage
        | Hostility::Greedy => true,
    }
}
