//! One download: what is told of it while it runs, and how it ends.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use potluck_core::content::{Listing, Node};
use potluck_core::ids::{ContentId, ContentKey, DownloadId, PieceIndex};
use potluck_core::peer::{DownloadStatus, FailReason, FetchOptions, StorageFault, WaitReason};
use potluck_transport_tcp::store::{Target, discard};
use serde_json::json;

use super::plan::Wanted;
use crate::exit::{Code, Failure};
use crate::ui::{self, DownloadBar, Event, Out, Source};

/// How often it is told to programs how far the check of what is there has come.
const CHECKING_EVERY: Duration = Duration::from_millis(100);
/// How often it is told again why it waits, while pieces come and go but the reason stays.
const WAITING_EVERY: Duration = Duration::from_secs(10);

/// What to do where a folder is in the way.
const ANOTHER_FOLDER: &str = "It is another folder, or a part of the wanted one (by --include, say). Move it away, or choose \
    another name by --out PATH.";

/// How often, and how many times, it is tried to remove what a worker may still have open.
const TIDY_EVERY: Duration = Duration::from_millis(10);
const TIDY_TRIES: u32 = 100;

/// A download of this command.
pub(crate) struct Job {
    pub(crate) download: DownloadId,
    id: ContentId,
    name: String,
    path: PathBuf,
    how: FetchOptions,
    /// Where it goes, and what it is: to take away what is of no use.
    place: (Target, ContentKey),
    chose_nothing: bool,
    /// Standard output is for its bytes.
    to_stdout: bool,
    /// Only the listing is wanted: the end is told by whoever wants it.
    for_listing: bool,
    listing: Option<Arc<Listing>>,
    out: Out,
    bar: Option<DownloadBar>,
    started: Instant,
    /// A piece was verified.
    begun: bool,
    standstill: Standstill,
    /// What was told last: bytes verified.
    told: u64,
    /// When it was told last how far the check has come.
    checked: Option<Instant>,
    waiting: Option<Waiting>,
    /// Why it waited when that was told last, and when that was.
    told_waiting: Option<(WaitReason, Instant)>,
    ended: Option<Result<(), Failure>>,
}

struct Waiting {
    reason: WaitReason,
    missing: Vec<(PieceIndex, PieceIndex)>,
}

impl Job {
    pub(crate) fn new(download: DownloadId, wanted: &Wanted, how: &FetchOptions, out: &Out) -> Self {
        let (started, name) = (Instant::now(), wanted.name.as_str().to_owned());
        let bar = DownloadBar::new(out.bars(), &name, wanted.key.length);
        bar.say(&match wanted.holders {
            Some(1) => "1 holder".to_owned(),
            Some(holders) => format!("{holders} holders"),
            None => "looking for holders".to_owned(),
        });
        Self {
            download,
            id: wanted.key.id,
            name,
            path: wanted.target.path(),
            how: how.clone(),
            place: (wanted.target.clone().selecting(&how.select), wanted.key),
            chose_nothing: false,
            // Nobody else reads along.
            to_stdout: how.in_order,
            for_listing: false,
            listing: None,
            out: out.clone(),
            bar: Some(bar),
            started,
            begun: false,
            standstill: Standstill::default(),
            told: 0,
            checked: None,
            waiting: None,
            told_waiting: None,
            ended: None,
        }
    }

    /// Has the bars of several stand below each other.
    pub(crate) fn align(jobs: &[Self]) {
        let bars = || jobs.iter().filter_map(|job| job.bar.as_ref());
        let width = bars().map(DownloadBar::width).max().unwrap_or(0);
        bars().for_each(|bar| bar.align(width));
    }

    /// For somebody who wants the listing of a folder, and nothing of what is in it.
    pub(crate) fn for_listing(self) -> Self {
        Self { for_listing: true, ..self }
    }

    /// What is in the folder, once that is known to whoever wanted to know.
    pub(crate) fn listing(&self) -> Option<&Listing> {
        self.listing.as_deref()
    }

    pub(crate) fn is_running(&self) -> bool {
        self.ended.is_none()
    }

    /// When it has waited for `wait`, counted from the last that brought it further than ever.
    pub(crate) fn waits_until(&self, wait: Duration) -> Option<Instant> {
        self.waiting.as_ref().filter(|_| self.is_running())?;
        Some(self.standstill.since? + wait)
    }

    /// After the peer has left: a download of nothing leaves nothing.
    pub(crate) async fn tidy(&self) {
        let (target, key) = &self.place;
        for _ in 0..TIDY_TRIES {
            if !self.chose_nothing || discard(target, *key) != Err(StorageFault::Locked) {
                return;
            }
            // A worker is just about to let it go.
            tokio::time::sleep(TIDY_EVERY).await;
        }
    }

    pub(crate) fn has_failed(&self) -> bool {
        matches!(self.ended, Some(Err(_)))
    }

    pub(crate) fn take_failure(&mut self) -> Option<Failure> {
        self.ended.take().and_then(Result::err)
    }

    /// What an earlier download left, or what stands under the target's name, is being hashed.
    pub(crate) fn checking(&mut self, bytes: u64, total: u64) -> anyhow::Result<()> {
        self.say(&format!("checking what is there: {} of {}", ui::bytes(bytes), ui::bytes(total)));
        if bytes < total && self.checked.is_some_and(|told| told.elapsed() < CHECKING_EVERY) {
            return Ok(());
        }
        self.checked = Some(Instant::now());
        self.out.event(&Event::Checking { id: self.id, bytes, total })?;
        Ok(())
    }

    fn say(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.say(text);
        }
    }

    /// What is in a folder is known.
    pub(crate) fn listed(&mut self, listing: &Arc<Listing>) {
        if self.for_listing {
            self.listing = Some(Arc::clone(listing));
            return;
        }
        self.say(&format!("{} files", files(&self.how.select.of(listing))));
    }

    /// A piece was verified; true if it is the first.
    pub(crate) fn verified(&mut self) -> bool {
        !std::mem::replace(&mut self.begun, true)
    }

    /// Tells where it stands, if that changed.
    pub(crate) fn tell(&mut self, status: &DownloadStatus) -> anyhow::Result<()> {
        let rate = status.holders.iter().map(|holder| holder.rate).sum();
        let sources = sources(status);
        if let Some(bar) = &self.bar {
            bar.show(status.bytes, status.total, rate, &sources);
        }
        if self.told == status.bytes {
            return Ok(());
        }
        self.told = status.bytes;
        self.standstill.reached(status.bytes, self.waiting.is_some(), Instant::now());
        self.out.event(&Event::Progress {
            id: self.id,
            bytes: status.bytes,
            total: status.total,
            rate,
            holders: status.holders.iter().filter(|holder| holder.linked).count(),
            sources: &sources,
        })?;
        Ok(())
    }

    pub(crate) fn waiting(
        &mut self,
        reason: WaitReason,
        missing: Vec<(PieceIndex, PieceIndex)>,
    ) -> anyhow::Result<()> {
        self.say(&format!("waiting: {}", in_words(reason)));
        self.standstill.begins(Instant::now());
        // A full disk takes a piece now and then, and is full again.
        let told =
            self.told_waiting.is_some_and(|(why, told)| why == reason && told.elapsed() < WAITING_EVERY);
        if told && matches!(reason, WaitReason::Storage(_)) {
            self.waiting = Some(Waiting { reason, missing });
            return Ok(());
        }
        self.told_waiting = Some((reason, Instant::now()));
        self.out.event(&Event::Waiting { id: self.id, reason: in_words(reason), missing: &missing })?;
        self.out.note(format_args!(
            "{} waits: {}{}.",
            ui::name(&self.name),
            in_words(reason),
            if missing.is_empty() { String::new() } else { format!(" ({})", ui::missing(&missing)) }
        ));
        self.waiting = Some(Waiting { reason, missing });
        Ok(())
    }

    pub(crate) fn resumed(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            self.standstill.ends(waiting.reason);
            self.say("going on");
        }
    }

    /// The verified content stands under its final name.
    pub(crate) fn done(&mut self, status: Option<DownloadStatus>) -> anyhow::Result<()> {
        let took = self.started.elapsed();
        let (bytes, sources) = status.map_or((0, Vec::new()), |status| (status.total, sources(&status)));
        let path = self.path.to_string_lossy();
        self.bar = None;
        if self.for_listing {
            self.ended = Some(Ok(()));
            return Ok(());
        }
        self.out.event(&Event::Done {
            path: &path,
            id: self.id,
            bytes,
            seconds: took.as_secs_f64(),
            sources: &sources,
        })?;
        let summary = summary(bytes, took, &sources);
        if self.to_stdout {
            self.out.note(format_args!("{}  {summary}", ui::name(&self.name)));
        } else {
            self.out.line(format_args!("{}  {summary}", ui::name(&path)))?;
        }
        self.ended = Some(Ok(()));
        Ok(())
    }

    pub(crate) fn failed(&mut self, reason: FailReason) {
        if self.for_listing && self.listing.is_some() && reason == FailReason::NothingChosen {
            // The listing is all that was wanted.
            self.bar = None;
            self.ended = Some(Ok(()));
            return;
        }
        let (target, key) = &self.place;
        // If nothing stands under the target's name, it is the part file's that is taken.
        let occupied = reason == FailReason::Storage(StorageFault::Occupied);
        let of_part = occupied && std::fs::symlink_metadata(&self.path).is_err();
        let path = if of_part { target.part_path(key.id) } else { self.path.clone() };
        let path = ui::name(&path.to_string_lossy());
        let failure = match reason {
            FailReason::Storage(fault) if occupied && self.path.is_dir() => {
                storage_failure(fault, &path).hint(ANOTHER_FOLDER)
            }
            FailReason::Storage(fault) => storage_failure(fault, &path),
            FailReason::NotAContent => self
                .failure(Code::Failed, "its pieces do not fit its id and length: whoever named it was wrong"),
            FailReason::BadListing(fault) => {
                let why = format!("{}; nothing of it was put in place", ui::name(&fault.to_string()));
                self.failure(Code::Failed, &why).field("path", json!(fault.path()))
            }
            FailReason::TooMany => self.failure(Code::Failed, "it has more parts than this peer takes"),
            FailReason::NothingChosen => {
                self.chose_nothing = true;
                nothing_chosen(&ui::name(&self.name))
            }
        };
        self.end(failure);
    }

    /// It has waited long enough.
    pub(crate) fn give_up(&mut self) {
        if let Some(failure) = self.why_it_waits() {
            self.waiting = None;
            self.end(failure);
        }
    }

    /// The failure that it is to wait no longer, while it waits.
    pub(crate) fn why_it_waits(&self) -> Option<Failure> {
        let waiting = self.waiting.as_ref()?;
        Some(match waiting.reason {
            WaitReason::Storage(fault) => storage_failure(fault, &ui::name(&self.path.to_string_lossy())),
            reason => self.incomplete(reason, &waiting.missing),
        })
    }

    fn incomplete(&self, reason: WaitReason, missing: &[(PieceIndex, PieceIndex)]) -> Failure {
        let mut why = in_words(reason).to_owned();
        if !missing.is_empty() {
            why.push_str(&format!("; {}", ui::missing(missing)));
        }
        let mut hint = "Progress is kept: the same command goes on once a holder is back.".to_owned();
        if !self.how.only_from.is_empty() {
            let names: Vec<_> = self.how.only_from.iter().map(|name| ui::name(name)).collect();
            hint.push_str(&format!(" Only {} was asked (--from).", names.join(", ")));
        }
        self.failure(Code::Incomplete, &why)
            .hint(hint)
            .field("id", json!(self.id))
            .field("missing", json!(missing))
    }

    fn failure(&self, code: Code, why: &str) -> Failure {
        Failure::new(code, format!("{} is not complete: {why}", ui::name(&self.name)))
    }

    /// Several downloads may fail; each says so at once, and the first gives the exit code.
    fn end(&mut self, failure: Failure) {
        self.bar = None;
        tracing::debug!("{failure}");
        self.ended = Some(Err(failure));
    }
}

/// Number of files in a listing.
pub(crate) fn files(listing: &Listing) -> usize {
    listing.entries().iter().filter(|entry| matches!(entry.node, Node::File { .. })).count()
}

/// No file of the folder `name` is chosen.
pub(crate) fn nothing_chosen(name: &str) -> Failure {
    Failure::new(Code::NotFound, format!("--include and --exclude leave no file of {name}"))
        .hint("`get --dry-run` without them lists what is in it.")
}

pub(crate) fn in_words(reason: WaitReason) -> &'static str {
    match reason {
        WaitReason::NoHolder => "no holder is in reach",
        WaitReason::MissingPieces => "no holder in reach has what is missing",
        WaitReason::Busy => "all holders in reach are too busy",
        WaitReason::Storage(fault) => storage_in_words(fault),
        WaitReason::Stopped => "stopped",
    }
}

fn storage_in_words(fault: StorageFault) -> &'static str {
    match fault {
        StorageFault::Full => "the disk is full",
        StorageFault::Io => "the disk reports an error",
        StorageFault::Denied => "writing there is not allowed",
        StorageFault::Locked => "another potluck downloads to it at present",
        StorageFault::Occupied => "something else stands there, and is not touched",
        StorageFault::BadPath => "such a path cannot exist there",
        StorageFault::Altered => "somebody else changed its part file",
        StorageFault::TooManyOpen => "as many files are open as may be",
        StorageFault::TooLarge => "no file may grow so large there",
    }
}

pub(crate) fn storage_failure(fault: StorageFault, path: &str) -> Failure {
    let next = match fault {
        StorageFault::Full => "Make room and run the same command again; progress is kept.",
        StorageFault::Io => "The system's log says more. Progress is kept.",
        StorageFault::TooManyOpen => {
            "Raise the limit, `ulimit -n 65536`, and run the same command again; progress is kept."
        }
        StorageFault::TooLarge => {
            "Raise the limit, `ulimit -f unlimited`, or choose a file system that takes such files by --out PATH."
        }
        StorageFault::Altered => "The same command goes on with what is right of it.",
        StorageFault::Denied => "Choose another place by --out PATH.",
        StorageFault::Locked => "Wait for it, or choose another place by --out PATH.",
        StorageFault::Occupied => "Move it away, or choose another name by --out PATH.",
        StorageFault::BadPath => "Choose another place by --out PATH; one that ends in / is created.",
    };
    Failure::new(Code::Failed, format!("cannot use {path}: {}", storage_in_words(fault))).hint(next)
}

fn sources(status: &DownloadStatus) -> Vec<Source> {
    let delivered = status.holders.iter().filter(|holder| holder.bytes > 0);
    // Who was started again is another peer of the same name.
    let mut by_name: BTreeMap<String, u64> = BTreeMap::new();
    for holder in delivered {
        *by_name.entry(ui::peer_name(&holder.name, holder.peer)).or_default() += holder.bytes;
    }
    let mut sources: Vec<_> = by_name.into_iter().map(|(peer, bytes)| Source { peer, bytes }).collect();
    sources.sort_by_key(|source| std::cmp::Reverse(source.bytes));
    sources
}

/// `1.4 GiB in 2.0 s (700 MiB/s) from anna 61%, ben 39%`.
fn summary(bytes: u64, took: Duration, sources: &[Source]) -> String {
    let fetched: u64 = sources.iter().map(|source| source.bytes).sum();
    if bytes == 0 {
        return ui::bytes(0);
    }
    if fetched == 0 {
        return format!("{}, was here already", ui::bytes(bytes));
    }
    let rate = (fetched as f64 / took.as_secs_f64().max(1e-9)) as u64;
    let percents = ui::percents(&sources.iter().map(|source| source.bytes).collect::<Vec<_>>());
    let shares: Vec<_> =
        sources.iter().zip(percents).map(|(s, percent)| format!("{} {percent}", ui::name(&s.peer))).collect();
    format!("{} in {} ({}) from {}", ui::bytes(bytes), ui::seconds(took), ui::rate(rate), shares.join(", "))
}

/// How long nothing has brought a download further than ever. What is fetched again because a disk did not keep it does not
/// count, or a disk that never syncs would be waited for without end.
#[derive(Debug, Default)]
struct Standstill {
    /// Most bytes that were ever verified.
    best: u64,
    since: Option<Instant>,
}

impl Standstill {
    fn begins(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    fn reached(&mut self, bytes: u64, waiting: bool, now: Instant) {
        if bytes > self.best {
            self.best = bytes;
            self.since = waiting.then_some(now);
        }
    }

    /// It goes on. Whether a disk takes more shows only by what it keeps.
    const fn ends(&mut self, reason: WaitReason) {
        if !matches!(reason, WaitReason::Storage(_)) {
            self.since = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use potluck_core::ids::PeerId;
    use potluck_core::peer::HolderStatus;

    use super::*;

    #[test]
    fn the_summary_names_the_sources() {
        let sources = [
            Source { peer: "anna".to_owned(), bytes: 3 << 20 },
            Source { peer: "b\u{1b}n".to_owned(), bytes: 1 << 20 },
        ];
        let text = summary(4 << 20, Duration::from_secs(2), &sources);
        assert_eq!(text, "4.00 MiB in 2.0 s (2.00 MiB/s) from anna 75%, b\\u{1b}n 25%");
        assert_eq!(summary(5, Duration::ZERO, &[]), "5 B, was here already");
        assert_eq!(summary(0, Duration::ZERO, &[]), "0 B", "nothing has to come of nothing");
    }

    #[test]
    fn what_a_disk_does_not_keep_is_no_progress() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let disk = WaitReason::Storage(StorageFault::Io);
        let mut standstill = Standstill::default();
        standstill.reached(100, false, start);
        for round in 0..3 {
            standstill.begins(at(1 + round));
            standstill.ends(disk);
            standstill.reached(0, false, at(1 + round));
            standstill.reached(100, false, at(1 + round));
        }
        assert_eq!(standstill.since, Some(at(1)), "the same bytes again and again");
        standstill.reached(101, false, at(9));
        assert_eq!(standstill.since, None, "it took more");
        standstill.begins(at(10));
        standstill.reached(102, true, at(11));
        assert_eq!(standstill.since, Some(at(11)), "it waits still, and gets on");
        standstill.ends(WaitReason::NoHolder);
        assert_eq!(standstill.since, None, "a holder is back");
    }

    #[test]
    fn a_holder_that_was_started_again_is_one_source() {
        let holder = |peer, name: &str, bytes| HolderStatus {
            peer: PeerId([peer; 32]),
            name: name.to_owned(),
            linked: true,
            bytes,
            rate: 0,
            inflight: 0,
        };
        let holders = vec![holder(1, "a", 5), holder(2, "b", 7), holder(3, "a", 6)];
        let status = DownloadStatus { bytes: 18, total: 18, missing: Vec::new(), waiting: None, holders };
        let told: Vec<_> = sources(&status).into_iter().map(|source| (source.peer, source.bytes)).collect();
        assert_eq!(told, [("a".to_owned(), 11), ("b".to_owned(), 7)]);
    }
}
