//! `potluck get`: fetches names, ids or tickets, serves while it downloads, and ends when the verified files stand under
//! their final names.
//!
//! [`plan`] finds out what is meant and where it goes, [`job`] is one download with its progress, [`stream`] the way of one
//! to standard output; this file runs them all in one session until each is done, failed, or has waited too long.

mod discard;
mod dry_run;
mod job;
mod plan;
mod stream;

use std::path::Path;
use std::time::{Duration, Instant};

use potluck_core::content::Kind;
use potluck_core::ids::DownloadId;
use potluck_core::peer::{FetchOptions, PeerEvent};
use potluck_transport_tcp::Event;
use tokio::time::{MissedTickBehavior, interval, sleep_until};

pub(crate) use self::job::{Job, in_words};
use self::plan::Plan;
pub(crate) use self::plan::{Place, Wanted, by_part, by_ticket, by_tracker};
use self::stream::{Scratch, Stream};
use super::Context;
use crate::args::{GetArgs, HostPort};
use crate::exit::{Code, Failure};
use crate::session::Session;
use crate::signals::interrupted;
use crate::ui;
use crate::what::{self, TrackerAt};

/// How often progress is told while it changes.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// The `--out` that means standard output.
const STDOUT: &str = "-";

pub(crate) async fn run(args: GetArgs, ctx: &Context) -> anyhow::Result<()> {
    let mut args = args.settle().map_err(|message| {
        Failure::new(Code::Usage, message)
            .hint("`potluck list` shows what there is, `potluck get --help` how to say it.")
    })?;
    if args.discard {
        return discard::run(&args, ctx);
    }
    let scratch = if args.out == Path::new(STDOUT) { Some(to_stdout(&mut args, ctx)?) } else { None };
    let plan = ctx.until_interrupted(Plan::make(&args, &ctx.out)).await?;
    if let Some(folder) = plan.wanted.iter().find(|wanted| scratch.is_some() && wanted.kind == Kind::Folder) {
        let name = ui::name(folder.name.as_str());
        return Err(Failure::new(
            Code::Usage,
            format!("{name} is a folder: it has no bytes for standard output"),
        )
        .hint("Give it a place by --out DIR/.")
        .into());
    }
    if args.dry_run {
        return dry_run::run(plan, &args, ctx).await;
    }
    if !args.from.is_empty() {
        ctx.until_interrupted(async {
            check_names(&args, &plan.tracker, ctx).await;
            Ok(())
        })
        .await?;
    }
    let session = Session::start(&args.serve, plan.tracker.clone(), &ctx.out).await?;
    let session = if args.stay { session } else { session.taciturn() };
    let mut getting = Getting { to_stdout: scratch.is_some(), ..Getting::new(session, ctx, &args) };
    let result = getting.run(plan, &args).await;
    getting.session.leave().await;
    for job in &getting.jobs {
        job.tidy().await;
    }
    result
}

/// Holders that nobody knows may come yet; more likely their names are mistyped.
async fn check_names(args: &GetArgs, tracker: &HostPort, ctx: &Context) {
    let Ok(tracker) = TrackerAt::resolve(tracker.clone()).await else { return };
    let Ok(peers) = tracker.peers().await else { return };
    let here: Vec<&str> = peers.iter().map(|(row, _)| row.name.as_str()).collect();
    for unknown in what::unknown_peers(&args.from, &here) {
        ctx.out.note(unknown);
    }
}

/// Has the content downloaded to a temporary folder, from which it goes to standard output.
fn to_stdout(args: &mut GetArgs, ctx: &Context) -> anyhow::Result<Scratch> {
    let refused = |why: &str| Failure::new(Code::Usage, format!("--out - {why}"));
    if args.what.len() > 1 {
        return Err(refused("takes one WHAT: several would run together").into());
    }
    if ctx.out.is_json() || args.dry_run {
        return Err(refused("leaves no room for other output: without --json and --dry-run, please").into());
    }
    let scratch = Scratch::new().map_err(|error| {
        Failure::new(Code::Failed, format!("cannot make a temporary folder: {error}"))
            .hint("TMPDIR names the folder in which there is room.")
    })?;
    args.out = scratch.out();
    Ok(scratch)
}

struct Getting<'a> {
    session: Session,
    ctx: &'a Context,
    jobs: Vec<Job>,
    wait: Duration,
    to_stdout: bool,
    /// The content that goes to standard output, until all of it has.
    stream: Option<Stream>,
}

impl<'a> Getting<'a> {
    fn new(session: Session, ctx: &'a Context, args: &GetArgs) -> Self {
        let wait = Duration::from_secs(args.wait.into());
        Self { session, ctx, jobs: Vec::new(), wait, to_stdout: false, stream: None }
    }

    async fn run(&mut self, plan: Plan, args: &GetArgs) -> anyhow::Result<()> {
        let how = FetchOptions {
            only_from: args.from.clone(),
            holders_max: args.max_holders,
            select: plan.select,
            in_order: self.to_stdout,
        };
        for wanted in plan.wanted {
            let download = self.session.peer.fetch(wanted.fetch(&how, wanted.target.clone())).await;
            if self.to_stdout {
                self.stream = Some(Stream::start(&self.session.peer, wanted.key));
            }
            self.jobs.push(Job::new(download, &wanted, &how, &self.ctx.out));
        }
        Job::align(&self.jobs);
        self.until_all_ended().await?;
        if let Some(failure) = self.jobs.iter_mut().find_map(Job::take_failure) {
            return Err(failure.into());
        }
        if args.stay {
            self.ctx.out.note("Serving what was fetched. Ctrl-C ends it.");
            self.serve().await?;
        }
        Ok(())
    }

    async fn until_all_ended(&mut self) -> anyhow::Result<()> {
        let mut progress = interval(PROGRESS_EVERY);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.jobs.iter().any(Job::is_running) || self.is_streaming() {
            let give_up = self.jobs.iter().filter_map(|job| job.waits_until(self.wait)).min();
            tokio::select! {
                code = self.ctx.interrupts.wait() => {
                    self.jobs.clear();
                    let failure = interrupted(code);
                    let kept = "Progress is kept: the same command goes on.";
                    return Err(if self.to_stdout { failure } else { failure.hint(kept) }.into());
                }
                event = self.session.next() => {
                    if self.handle(event?).await? {
                        progress.reset();
                    }
                }
                ended = streamed(&mut self.stream) => {
                    self.stream = None;
                    ended?;
                }
                _ = progress.tick() => self.tell_progress().await?,
                () = until(give_up) => self.give_up(),
            }
        }
        Ok(())
    }

    /// Is there something to write that was, or will be, downloaded?
    fn is_streaming(&self) -> bool {
        self.stream.is_some() && self.jobs.iter().all(|job| !job.has_failed())
    }

    /// Goes on serving until interrupted.
    async fn serve(&mut self) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                _ = self.ctx.interrupts.wait() => return Ok(()),
                event = self.session.next() => drop(event?),
            }
        }
    }

    /// Takes in what happened to a download; true if its first progress was told.
    async fn handle(&mut self, event: Event) -> anyhow::Result<bool> {
        match event {
            Event::Checking { download, bytes, total } => {
                if let Some(job) = self.job(download) {
                    job.checking(bytes, total)?;
                }
            }
            Event::Peer(PeerEvent::Listed { download, listing }) => {
                if let Some(job) = self.job(download) {
                    job.listed(&listing);
                }
            }
            Event::Peer(PeerEvent::PieceVerified { download, piece, from, .. }) => {
                if tracing::enabled!(tracing::Level::DEBUG) {
                    let from = self.session.name_of(from).await;
                    tracing::debug!("piece {piece} from {} is right", ui::name(&from));
                }
                let first = self.job(download).is_some_and(Job::verified);
                if first {
                    self.tell(download).await?;
                }
                return Ok(first);
            }
            Event::Peer(PeerEvent::Waiting { download, reason, missing }) => {
                if let Some(job) = self.job(download) {
                    job.waiting(reason, missing)?;
                }
            }
            Event::Peer(PeerEvent::Resumed { download }) => {
                if let Some(job) = self.job(download) {
                    job.resumed();
                }
            }
            Event::Peer(PeerEvent::Completed { download }) => {
                let status = self.session.peer.status(download).await;
                if let Some(stream) = &self.stream {
                    stream.complete();
                }
                if let Some(job) = self.job(download) {
                    job.done(status)?;
                }
            }
            Event::Peer(PeerEvent::Failed { download, reason }) => {
                if let Some(job) = self.job(download) {
                    job.failed(reason);
                }
            }
            _ => {}
        }
        Ok(false)
    }

    fn job(&mut self, download: DownloadId) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|job| job.download == download)
    }

    async fn tell_progress(&mut self) -> anyhow::Result<()> {
        let running: Vec<_> =
            self.jobs.iter().filter(|job| job.is_running()).map(|job| job.download).collect();
        for download in running {
            self.tell(download).await?;
        }
        Ok(())
    }

    async fn tell(&mut self, download: DownloadId) -> anyhow::Result<()> {
        let status = self.session.peer.status(download).await;
        if let (Some(stream), Some(status)) = (&self.stream, &status) {
            stream.advance(status);
        }
        if let (Some(job), Some(status)) = (self.job(download), status) {
            job.tell(&status)?;
        }
        Ok(())
    }

    fn give_up(&mut self) {
        let now = Instant::now();
        for job in &mut self.jobs {
            if job.waits_until(self.wait).is_some_and(|until| until <= now) {
                job.give_up();
            }
        }
    }
}

/// Waits until all is written to standard output; for ever, if nothing is to be.
async fn streamed(stream: &mut Option<Stream>) -> anyhow::Result<()> {
    match stream {
        Some(stream) => stream.ended().await,
        None => std::future::pending().await,
    }
}

/// Waits until then; for ever, if there is no then.
pub(crate) async fn until(then: Option<Instant>) {
    match then {
        Some(then) => sleep_until(then.into()).await,
        None => std::future::pending().await,
    }
}
