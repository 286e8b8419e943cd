//! What a scenario may ask for. Flags of the command and keys of a file end up in the same [`Scenario`], and are judged here.
//!
//! A value is refused where the model would not honour it, or where the checks would blame the machine for what the scenario
//! asked for.

use std::fmt::Display;

use potluck_core::limits::{CHUNK_BYTES, CONTENT_BYTES_MAX, LEASE_MIN, LINKS_MAX};

use crate::plan::{FaultKind, Hostility, MILLI, SECOND};
use crate::scenario::{FaultRule, Scenario, ScenarioFault, Who};
use crate::units::{Rate, Size, Time};

/// Peers of a world.
const HOSTS_MAX: u64 = 100_000;
/// Contents of a world.
const CONTENTS_MAX: u64 = 1000;
/// Hosts that one rule strikes in all, each time counted.
const STRIKES_MAX: u64 = 100_000;
/// Nanoseconds in which everything that a scenario sets a time for must be over: simulating a quiet day takes seconds.
const DAY: u64 = 24 * 3600 * SECOND;
/// Nanoseconds of a round trip: a dial takes two, its deadline and that of a request to the tracker are five seconds.
const RTT_MAX: u64 = SECOND;
/// Nanoseconds of random delay, for the same reason: a question and its answer are late by twice as much.
const JITTER_MAX: u64 = SECOND;
/// Round trips in a lease: to dial, to join, to be pinged and to answer.
const LEASE_ROUND_TRIPS: u64 = 6;
/// Nanoseconds by which a clog delays: what was sent during it comes so long after its end.
const CLOG_MAX: u64 = 10 * SECOND;
/// Bytes per second of the slowest link, and of the fastest.
const RATES: [Rate; 2] = [Rate(1000), Rate(125_000_000_000)];
/// Nanoseconds of a sync; the checks wait for the tenth of what a download's timeouts explain.
const SYNC_MAX: u64 = 5 * SECOND;
/// Nanoseconds of a write besides its bytes.
const WRITE_MAX: u64 = 500 * MILLI;
/// Bytes per second of the slowest disk.
const DISK_RATE_MIN: Rate = Rate(1_000_000);
/// Nanoseconds that a disk may take longer than the links: a part of what the checks allow for timeouts.
const DISK_BEHIND_MAX: u64 = 30 * SECOND;
/// Bytes of a content that has real ones.
const REAL_BYTES_MAX: u64 = 64 << 20;

type Checked = Result<(), ScenarioFault>;

/// Refuses with these words.
fn nonsense(text: String) -> Checked {
    Err(ScenarioFault::Nonsense(text))
}

/// Refuses what is not within these bounds.
fn within<T: PartialOrd + Display>(key: &str, value: T, [least, most]: [T; 2], why: &str) -> Checked {
    if least <= value && value <= most {
        return Ok(());
    }
    nonsense(format!("`{key}` is {value}, and must be {least} to {most}: {why}"))
}

impl Scenario {
    /// Is all of it honoured?
    pub(crate) fn check(&self) -> Checked {
        let hosts = self.peers.saturating_add(self.holders);
        within("holders", self.holders, [1, HOSTS_MAX], "a swarm needs somebody who has everything")?;
        within("peers and holders", hosts, [1, HOSTS_MAX], "more hosts take more memory than there is")?;
        within("contents", self.contents.into(), [1, CONTENTS_MAX], "everybody fetches all of them")?;
        let largest = if self.real { REAL_BYTES_MAX } else { CONTENT_BYTES_MAX };
        let why = if self.real { "with `real` all bytes are in memory" } else { "no content is larger" };
        within("size", self.size, [Size(0), Size(largest)], why)?;
        let buffers = [Size(2 * CHUNK_BYTES), Size(CONTENT_BYTES_MAX)];
        within(
            "buffer",
            self.buffer,
            buffers,
            "a peer receives two chunks at a time, and no content is larger",
        )?;
        let most = LINKS_MAX as u64;
        within("upload-links", self.upload_links.into(), [1, most], "a peer that serves nobody is no peer")?;
        self.check_links()?;
        self.check_disk()?;
        let (percents, hostile) = (self.groups.iter().map(|group| group.percent), &self.hostile);
        let all = percents.fold(0, u64::saturating_add);
        within("percent of all groups", all, [0, 100], "they are parts of the peers that fetch")?;
        for group in &self.groups {
            if self.peers * group.percent < 100 {
                return nonsense(format!(
                    "a group of {} percent of {} peers is nobody",
                    group.percent, self.peers
                ));
            }
        }
        if let Some(rule) = hostile.iter().find(|rule| rule.count == 0) {
            return nonsense(format!("`hostile` of kind {} has a count of 0", rule.kind.kind()));
        }
        let all = hostile.iter().map(|rule| rule.count).fold(0, u64::saturating_add);
        within("count of all hostile peers", all, [0, self.peers], "they are some of the peers that fetch")?;
        self.faults.iter().try_for_each(|rule| self.check_fault(rule))
    }

    /// Links, and the times that they take.
    fn check_links(&self) -> Checked {
        let groups = self.groups.iter().flat_map(|group| [("up", group.up), ("down", group.down)]);
        let own = [("up", self.up), ("down", self.down)].into_iter();
        let holders = self.holder_up.map(|rate| ("holder-up", rate));
        for (key, rate) in own.chain(holders).chain(groups) {
            within(key, rate, RATES, "a link has a rate")?;
        }
        let (rtt, most) = (Time(self.rtt.0.saturating_add(self.rtt_spread.0)), Time(RTT_MAX));
        within("rtt and rtt-spread", rtt, [Time(0), most], "with more, dials and requests time out")?;
        let most = Time(JITTER_MAX);
        within("jitter", self.jitter, [Time(0), most], "with more, dials and requests time out")?;
        within("arrive-over", self.arrive_over, [Time(0), Time(DAY)], "no run is longer")?;
        let least = LEASE_ROUND_TRIPS * (rtt.0 + self.jitter.0);
        let least = Time(least.max(LEASE_MIN.as_nanos() as u64));
        within(
            "lease",
            self.lease,
            [least, Time(DAY)],
            "a shorter one ends before a peer can say that it is there",
        )
    }

    /// A disk that keeps up with the links: the checks allow downloads the time that links take.
    fn check_disk(&self) -> Checked {
        let disk = self.disk;
        let rates = [DISK_RATE_MIN, RATES[1]];
        within(
            "disk.write_ns",
            Time(disk.write_ns),
            [Time(0), Time(WRITE_MAX)],
            "the checks wait no longer",
        )?;
        within("disk.sync_ns", Time(disk.sync_ns), [Time(0), Time(SYNC_MAX)], "the checks wait no longer")?;
        within("disk.write_rate", Rate(disk.write_rate), rates, "the checks wait no longer")?;
        within("disk.hash_rate", Rate(disk.hash_rate), rates, "the checks wait no longer")?;
        let bytes = u128::from(self.size.0) * u128::from(self.contents);
        let time = |rate: u64| bytes * u128::from(SECOND) / u128::from(rate);
        let writes = bytes.div_ceil(u128::from(CHUNK_BYTES)) * u128::from(disk.write_ns);
        let takes = writes + time(disk.write_rate) + time(disk.hash_rate);
        let links = [self.up, self.down].into_iter().chain(self.holder_up);
        let groups = self.groups.iter().flat_map(|group| [group.up, group.down]);
        let slowest = links.chain(groups).min().map_or(1, |rate| rate.0);
        let may = 2 * time(slowest) + u128::from(DISK_BEHIND_MAX);
        if takes <= may {
            return Ok(());
        }
        let seconds = |nanos| nanos / u128::from(SECOND);
        nonsense(format!(
            "`disk` takes {} s to write and to hash what a peer fetches, and must take {} s at most: twice what the slowest link \
             takes, and {} more",
            seconds(takes),
            seconds(may),
            Time(DISK_BEHIND_MAX),
        ))
    }

    fn check_fault(&self, rule: &FaultRule) -> Checked {
        let nonsense = |text: &str| nonsense(format!("fault `{}`: {text}", rule.kind));
        self.check_kind(rule)?;
        let pool = self.pool(rule.who);
        if pool.is_empty() {
            return nonsense("there are no `peers` to strike");
        }
        let size = pool.end - pool.start;
        if rule.percent.is_some_and(|percent| percent > 100) || self.struck(rule) == 0 {
            let percent = rule.percent.unwrap_or_default();
            return nonsense(&format!("`percent` is {percent}, and must make 1 to {size} of {size} hosts"));
        }
        let most = STRIKES_MAX / self.struck(rule);
        if rule.times == 0 || rule.times > most {
            return nonsense(&format!("`times` is {}, and must be 1 to {most}", rule.times));
        }
        if rule.every.0 > 0 && (rule.times == 1 || rule.after_copies.is_some()) {
            return nonsense("`every` belongs to `at`, and to `times` of 2 and more");
        }
        if rule.at.is_some() == rule.after_copies.is_some() {
            return nonsense("needs one of `at` and `after-copies`");
        }
        if let Some(copies) = rule.after_copies.filter(|copies| !copies.is_finite() || *copies < 0.0) {
            return nonsense(&format!("`after-copies` is {copies}, and must be a number from 0 on"));
        }
        let last = rule.every.0.saturating_mul(rule.times - 1);
        let parts = [rule.at.unwrap_or_default().0, last, rule.lasts.unwrap_or_default().0];
        let over = parts.into_iter().fold(0, u64::saturating_add);
        if over > DAY {
            return nonsense(&format!(
                "is over after {}, and must be after {} at most",
                Time(over),
                Time(DAY)
            ));
        }
        Ok(())
    }

    /// What belongs to which kind.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest takes any host and any duration")]
    fn check_kind(&self, rule: &FaultRule) -> Checked {
        let kind = rule.kind;
        let nonsense = |text: &str| nonsense(format!("fault `{kind}`: {text}"));
        let of_tracker = matches!(kind, FaultKind::TrackerCrash | FaultKind::TrackerStall);
        if of_tracker != (rule.who == Who::Tracker) {
            return nonsense("trackers crash and stall, peers do all else");
        }
        if Hostility::ALL.iter().any(|hostility| hostility.kind() == kind) || kind == FaultKind::LateJoin {
            return nonsense("is described by `hostile` or `arrive-over`");
        }
        if rule.speed.is_some() != (kind == FaultKind::Slow)
            || rule.speed.is_some_and(|speed| !(1..=100).contains(&speed))
        {
            return nonsense("`speed` belongs to `slow`, and is 1 to 100 percent");
        }
        if rule.delay.is_some() != (kind == FaultKind::Clog) {
            return nonsense("`delay` belongs to `clog`");
        }
        if let Some(delay) = rule.delay {
            within(
                "delay",
                delay,
                [Time(1), Time(CLOG_MAX)],
                "what is late still comes when the clog is over",
            )?;
        }
        let for_good = rule.lasts.is_none();
        match kind {
            FaultKind::Kill
            | FaultKind::PowerCut
            | FaultKind::DiskLost
            | FaultKind::Leave
            | FaultKind::TrackerCrash => Ok(()),
            FaultKind::Reset | FaultKind::HalfOpen | FaultKind::Rot | FaultKind::Edit if for_good => Ok(()),
            FaultKind::Reset | FaultKind::HalfOpen | FaultKind::Rot | FaultKind::Edit => {
                nonsense("takes no `lasts`")
            }
            _ if for_good => nonsense("needs `lasts`"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Fault;

    fn refusal(text: &str) -> String {
        let planned = Scenario::parse(text).and_then(|scenario| scenario.plan());
        planned.map_or_else(|fault| fault.to_string(), |_| String::new())
    }

    fn of_fault(more: &str) -> String {
        refusal(&format!("peers = 4\n[[faults]]\nkind = \"kill\"\nwho = \"fetcher\"\n{more}"))
    }

    /// Each says which knob it is, its value, and what would be right.
    #[test]
    fn what_is_not_honoured_is_refused_in_words() {
        for (text, words) in [
            (
                "peers = 9223372036854775807",
                "`peers and holders` is 9223372036854775808, and must be 1 to 100000",
            ),
            ("upload-links = 0", "`upload-links` is 0, and must be 1 to 512"),
            ("disk = { write_rate = 0 }", "`disk.write_rate` is 0 B/s, and must be 1 MB/s to"),
            ("disk = { sync_ns = 100000000000 }", "`disk.sync_ns` is 100 s, and must be 0 ns to 5 s"),
            (
                "disk = { write_ns = 400000000 }\ndown = \"1 Gbit/s\"\nup = \"1 Gbit/s\"",
                "`disk` takes 409 s to write",
            ),
            ("rtt = \"4 s\"", "`rtt and rtt-spread` is 4 s, and must be 0 ns to 1 s"),
            ("rtt-spread = \"2500000 h\"", "`rtt and rtt-spread` is"),
            ("jitter = \"2 s\"", "`jitter` is 2 s, and must be 0 ns to 1 s"),
            ("arrive-over = \"2500000 h\"", "`arrive-over` is 2500000 h, and must be 0 ns to 24 h"),
            ("lease = \"1194 h\"", "`lease` is 1194 h, and must be 100 ms to 24 h"),
            ("lease = \"99 ms\"", "`lease` is 99 ms, and must be 100 ms"),
            ("lease = \"1 s\"\nrtt = \"500 ms\"", "`lease` is 1 s, and must be 3 s"),
            (
                "[[groups]]\npercent = 9\nup = \"1 MB/s\"\ndown = \"1 MB/s\"",
                "a group of 9 percent of 8 peers is nobody",
            ),
            (
                "hostile = [{ kind = \"lie\", count = 9223372036854775807 }, { kind = \"mute\", count = 9223372036854775807 }, \
                 { kind = \"mute\", count = 4 }]",
                "`count of all hostile peers` is 18446744073709551615, and must be 0 to 8",
            ),
            ("hostile = [{ kind = \"lie\", count = 0 }]", "`hostile` of kind lie has a count of 0"),
        ] {
            let told = refusal(text);
            assert!(told.contains(words), "{text}: {told:?}");
        }
    }

    #[test]
    fn a_fault_that_would_not_be_as_described_is_refused_in_words() {
        for (more, words) in [
            ("at = \"1 s\"\ntimes = 0", "`times` is 0, and must be 1 to"),
            ("at = \"1 s\"\npercent = 0", "`percent` is 0, and must make 1 to 4 of 4 hosts"),
            ("at = \"1 s\"\npercent = 24", "`percent` is 24"),
            ("at = \"1 s\"\npercent = 101", "`percent` is 101"),
            ("at = \"1 s\"\ntimes = 50001\npercent = 50", "`times` is 50001, and must be 1 to 50000"),
            ("after-copies = -3.5", "`after-copies` is -3.5"),
            ("after-copies = nan", "`after-copies` is NaN"),
            ("after-copies = inf", "`after-copies` is inf"),
            ("after-copies = 0.5\ntimes = 3\nevery = \"100 s\"", "`every` belongs to `at`"),
            ("at = \"1 s\"\nevery = \"1 s\"", "`every` belongs to"),
            ("at = \"1 h\"\nevery = \"2000000 h\"\ntimes = 4", "is over after"),
            ("at = \"1 s\"\nlasts = \"24 h\"", "is over after 86401 s, and must be after 24 h at most"),
        ] {
            let told = of_fault(more);
            assert!(told.contains(words), "{more}: {told:?}");
        }
    }

    /// Half of all, and then the other half; and who is isolated does not reach the other one.
    #[test]
    fn percents_are_of_all_and_the_isolated_are_alone() {
        let text = "peers = 4\n[[faults]]\nkind = \"isolate\"\nwho = \"fetcher\"\npercent = 50\nat = \"1 s\"\ntimes = 2\n\
                    every = \"1 s\"\nlasts = \"1 s\"";
        let plan = Scenario::parse(text).and_then(|scenario| scenario.plan());
        let faults: Vec<Fault> = plan.map_or_else(|_| Vec::new(), |plan| plan.faults);
        let mut hosts: Vec<_> = faults.iter().map(|fault| fault.hosts.clone()).collect();
        hosts.sort();
        assert_eq!(hosts, [[2], [3], [4], [5]]);
    }
}
