//! `potluck get`: fetches names, ids or tickets, serves while it downloads, and ends when the verified files stand under
//! their final names.
//!
//! [`plan`] finds out what is meant and where it goes, [`job`] is one download with its progress; this file runs them all
//! in one session until each is done, failed, or has waited too long.

mod discard;
mod job;
mod plan;

use std::time::{Duration, Instant};

use potluck_core::ids::DownloadId;
use potluck_core::peer::PeerEvent;
use potluck_transport_tcp::Event;
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use self::job::Job;
use self::plan::Plan;
use super::Context;
use crate::args::GetArgs;
use crate::exit::{Code, Failure};
use crate::session::Session;
use crate::signals::interrupted;
use crate::ui;

/// How often progress is told while it changes.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

pub(crate) async fn run(args: GetArgs, ctx: &Context) -> anyhow::Result<()> {
    let args = args.settle().map_err(|message| Failure::new(Code::Usage, message))?;
    if args.discard {
        return discard::run(&args, ctx);
    }
    let plan = ctx.until_interrupted(Plan::make(&args)).await?;
    let session = Session::start(&args.serve, plan.tracker.clone(), &ctx.out).await?;
    let session = if args.stay { session } else { session.taciturn() };
    let mut getting = Getting { session, ctx, jobs: Vec::new(), wait: Duration::from_secs(args.wait.into()) };
    let result = getting.run(plan, &args).await;
    getting.session.leave().await;
    result
}

struct Getting<'a> {
    session: Session,
    ctx: &'a Context,
    jobs: Vec<Job>,
    wait: Duration,
}

impl Getting<'_> {
    async fn run(&mut self, plan: Plan, args: &GetArgs) -> anyhow::Result<()> {
        for wanted in plan.wanted {
            let download = self.session.peer.fetch(wanted.fetch(&args.from)).await;
            self.jobs.push(Job::new(download, &wanted, &args.from, &self.ctx.out));
        }
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
        while self.jobs.iter().any(Job::is_running) {
            let give_up = self.jobs.iter().filter_map(|job| job.waits_until(self.wait)).min();
            tokio::select! {
                code = self.ctx.interrupts.wait() => {
                    self.jobs.clear();
                    return Err(interrupted(code).hint("Progress is kept: the same command goes on.").into());
                }
                event = self.session.next() => {
                    if self.handle(event?).await? {
                        progress.reset();
                    }
                }
                _ = progress.tick() => self.tell_progress().await?,
                () = until(give_up) => self.give_up(),
            }
        }
        Ok(())
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
            Event::Peer(PeerEvent::PieceVerified { download, piece, from, .. }) => {
                if tracing::enabled!(tracing::Level::DEBUG) {
                    let from = self.session.peer.peer_name(from).await;
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

/// Waits until then; for ever, if there is no then.
async fn until(then: Option<Instant>) {
    match then {
        Some(then) => sleep_until(then.into()).await,
        None => std::future::pending().await,
    }
}
