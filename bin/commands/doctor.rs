//! `potluck doctor`: looks for what stands in the way of sharing and fetching, and says what to do about each.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use potluck_core::limits::DIAL_TIMEOUT;
use potluck_core::peer::{Answer, PeerEvent, Question};
use potluck_transport_tcp::Event;
use potluck_transport_tcp::store::raise_open_files;

use super::Context;
use crate::args::{DoctorArgs, HostPort};
use crate::exit::{Code, Failure, OutputFault};
use crate::session::Session;
use crate::ui;
use crate::what::TrackerAt;

/// Free space below which downloads will hardly fit.
const FREE_MIN: u64 = 64 << 20;
const FREE_WANTED: u64 = 1 << 30;
/// Bytes written to see how fast that is, and bytes per second that are slow for a disk.
const WRITE_BYTES: u64 = 32 << 20;
const WRITE_SLOW: u64 = 10 << 20;
/// Open files with which sharing folders works, and with which it works well.
const FILES_MIN: u64 = 256;
const FILES_WANTED: u64 = 4096;
/// A file's time may differ so much from the clock.
const CLOCK_SLACK: Duration = Duration::from_secs(10);
/// No clock is right that is before the year 2025, or after 2100.
const YEARS: std::ops::Range<u64> = 1_735_689_600..4_102_444_800;
/// A tracker tries to reach a peer that joined within this time.
const PROBE_TIME: Duration = Duration::from_secs(DIAL_TIMEOUT.as_secs() + 2);
/// How often it is asked whether it did.
const PROBE_EVERY: Duration = Duration::from_millis(250);

pub(crate) async fn run(args: DoctorArgs, ctx: &Context) -> anyhow::Result<()> {
    let checks = async {
        let tracker = args.serve.network.tracker.clone().unwrap_or_default();
        let mut failed = 0;
        let mut tell = |check: &str, finding: Finding| {
            failed += u32::from(finding.state == State::Failed);
            tell(check, &finding, ctx)
        };
        let reached = tracker_answers(&tracker).await;
        let answers = reached.state == State::Ok;
        tell("tracker", reached)?;
        if answers {
            let (name, port) = port_is_reachable(&args, tracker, ctx).await?;
            if let Some(name) = name {
                tell("name", name)?;
            }
            tell("port", port)?;
        } else {
            let unknown = Finding::new(State::Warning, "not looked at: the tracker would have to try it");
            tell("port", unknown)?;
        }
        let dir = args.dir.clone();
        for (check, finding) in tokio::task::spawn_blocking(move || of_this_machine(&dir)).await? {
            tell(check, finding)?;
        }
        anyhow::Ok(failed)
    };
    match ctx.until_interrupted(checks).await? {
        0 => Ok(()),
        1 => Err(Failure::new(Code::Failed, "one check failed").into()),
        failed => Err(Failure::new(Code::Failed, format!("{failed} checks failed")).into()),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ok,
    Warning,
    Failed,
}

/// What a check came to, and what to do about it.
#[derive(Debug)]
struct Finding {
    state: State,
    found: String,
    advice: Option<String>,
}

impl Finding {
    fn new(state: State, found: impl Into<String>) -> Self {
        Self { state, found: found.into(), advice: None }
    }

    fn advice(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }
}

fn tell(check: &str, finding: &Finding, ctx: &Context) -> anyhow::Result<()> {
    let state = match finding.state {
        State::Ok => "ok",
        State::Warning => "warning",
        State::Failed => "failed",
    };
    let (found, advice) = (finding.found.as_str(), finding.advice.as_deref());
    ctx.out.event(&ui::Event::Check { check, state, found, advice })?;
    ctx.out.line(format_args!("{state:<8} {check:<8} {}", ui::name(found)))?;
    if let Some(advice) = advice {
        ctx.out.line(format_args!("{:<17} {}", "", ui::name(advice)))?;
    }
    Ok(())
}

async fn tracker_answers(tracker: &HostPort) -> Finding {
    let begun = Instant::now();
    let asked = async { TrackerAt::resolve(tracker.clone()).await?.peers().await };
    match asked.await {
        Ok(peers) => {
            let (peers, took) = (peers.len(), begun.elapsed().as_millis());
            let are = if peers == 1 { "peer is" } else { "peers are" };
            Finding::new(State::Ok, format!("{tracker} answers in {took} ms; {peers} {are} here"))
        }
        Err(error) => Finding::new(State::Failed, format!("{error:#}")).advice(
            "Start one (`potluck tracker`), name another by --tracker HOST:PORT or POTLUCK_TRACKER, or let its port \
             through the firewall on its machine.",
        ),
    }
}

/// Joins the tracker, which then tries to reach the port. What is found of the name, if that is taken, comes first.
async fn port_is_reachable(
    args: &DoctorArgs,
    tracker: HostPort,
    ctx: &Context,
) -> anyhow::Result<(Option<Finding>, Finding)> {
    // As in a shell, a name that is taken is no end.
    let mut session = match Session::start(&args.serve, tracker, &ctx.out).await {
        Ok(session) => session.taciturn().with_shell(),
        Err(error) => return Ok((None, failure(Failure::of(error)))),
    };
    let listen = session.peer.listen_addr();
    let mut name = None;
    let reached = tokio::time::timeout(PROBE_TIME, is_reached(&mut session, &mut name)).await;
    session.leave().await;
    let port = listen.port();
    let port = match reached {
        Ok(Ok(())) => Finding::new(State::Ok, format!("the tracker reaches this machine at port {port}")),
        Ok(Err(error)) if error.is::<OutputFault>() => return Err(error),
        Ok(Err(error)) => failure(Failure::of(error)),
        Err(_) => Finding::new(State::Failed, format!("the tracker does not reach this machine at port {port}"))
            .advice(
                "Let it through the firewall (and, behind NAT, forward it): `--listen 0.0.0.0:PORT` always takes the same. \
                 Fetching works without; others fetch from here only if they can be reached themselves.",
            ),
    };
    Ok((name, port))
}

fn failure(Failure { message, hint, .. }: Failure) -> Finding {
    Finding { state: State::Failed, found: message, advice: hint }
}

/// Returns once the tracker has reached it: under the name that is offered, if ours is taken, which is told.
async fn is_reached(session: &mut Session, taken: &mut Option<Finding>) -> anyhow::Result<()> {
    let peer = session.peer.clone();
    let asking = async {
        loop {
            if let Answer::Peers(peers) = peer.ask(Question::Peers).await
                && peers.iter().any(|(row, _)| row.peer == peer.id() && row.reach.dialable)
            {
                return;
            }
            tokio::time::sleep(PROBE_EVERY).await;
        }
    };
    tokio::pin!(asking);
    loop {
        tokio::select! {
            () = &mut asking => return Ok(()),
            event = session.next() => if let Event::Peer(PeerEvent::NameTaken { offer }) = event? {
                if taken.is_none() {
                    let Failure { message, hint, .. } = Session::name_is_taken(session.name(), &offer);
                    let ours = "If that is a peer of yours, all is well.";
                    let advice = hint.map(|hint| format!("{ours} {hint}"));
                    *taken = Some(Finding { state: State::Warning, found: message, advice });
                }
                let peer = session.peer.clone();
                tokio::spawn(async move { peer.ask(Question::Rename { name: offer }).await });
            },
        }
    }
}

fn of_this_machine(dir: &Path) -> Vec<(&'static str, Finding)> {
    let mut findings = Vec::new();
    let written = write_speed(dir);
    findings.push(("clock", clock(written.as_ref().ok().and_then(|(_, time)| *time))));
    findings.push(("space", free_space(dir)));
    findings.push((
        "disk",
        match written {
            Ok((rate, _)) if rate < WRITE_SLOW => {
                Finding::new(State::Warning, format!("{} are written per second", ui::bytes(rate)))
                    .advice("Downloads are no faster than that. Choose a faster disk by --out or --dir.")
            }
            Ok((rate, _)) => Finding::new(State::Ok, format!("{} are written per second", ui::bytes(rate))),
            Err(error) => {
                let dir = dir.to_string_lossy();
                Finding::new(State::Failed, format!("cannot write to {dir}: {error}")).advice(
                    "Choose a folder that you may write to by --dir DIR; downloads go there by --out DIR.",
                )
            }
        },
    ));
    let files = raise_open_files();
    findings.push(("files", open_files(files)));
    findings
}

fn clock(file_time: Option<SystemTime>) -> Finding {
    let now = SystemTime::now();
    let since = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let advice = "Set it, or have it set: `timedatectl set-ntp true`.";
    if !YEARS.contains(&since) {
        return Finding::new(State::Failed, "the clock is years off").advice(advice);
    }
    let differs = |file: &SystemTime| {
        let apart = now.duration_since(*file).or_else(|_| file.duration_since(now)).unwrap_or_default();
        apart > CLOCK_SLACK
    };
    if file_time.as_ref().is_some_and(differs) {
        return Finding::new(State::Warning, "the file system's clock differs from this machine's")
            .advice("Set both: the times of files tell whether they changed.");
    }
    Finding::new(State::Ok, "plausible, and that of the file system")
}

/// Bytes written and synced per second, and the time of a new file.
fn write_speed(dir: &Path) -> std::io::Result<(u64, Option<SystemTime>)> {
    let mut file = tempfile::tempfile_in(dir)?;
    let block = vec![0x5a; 1 << 20];
    let begun = Instant::now();
    for _ in 0..WRITE_BYTES / block.len() as u64 {
        file.write_all(&block)?;
    }
    file.sync_all()?;
    let rate = WRITE_BYTES as f64 / begun.elapsed().as_secs_f64().max(1e-6);
    Ok((rate as u64, file.metadata()?.modified().ok()))
}

fn free_space(dir: &Path) -> Finding {
    let free = match rustix::fs::statvfs(dir) {
        Ok(stat) => stat.f_bavail.saturating_mul(stat.f_frsize),
        Err(error) => {
            return Finding::new(State::Failed, format!("cannot look at {}: {error}", dir.display()))
                .advice("Name a folder that is there by --dir DIR.");
        }
    };
    let found = format!("{} are free in {}", ui::bytes(free), dir.display());
    let advice =
        "Make room, or choose another disk by --out or --dir: a download needs all of its space at once.";
    judged(free, FREE_MIN, FREE_WANTED, found, advice)
}

fn open_files(limit: u64) -> Finding {
    let found = format!("{limit} files may be open");
    let advice = "Raise the limit: `ulimit -n 65536`, or LimitNOFILE= in a service's unit.";
    judged(limit, FILES_MIN, FILES_WANTED, found, advice)
}

/// How good it is that there is so much: too little, little, or enough.
fn judged(count: u64, least: u64, enough: u64, found: String, advice: &str) -> Finding {
    if count >= enough {
        return Finding::new(State::Ok, found);
    }
    let state = if count < least { State::Failed } else { State::Warning };
    Finding::new(state, found).advice(advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_judged() {
        assert_eq!(open_files(10).state, State::Failed);
        assert_eq!(open_files(1024).state, State::Warning);
        assert_eq!(open_files(1_000_000).state, State::Ok);
        assert!(open_files(10).advice.is_some());
    }

    #[test]
    fn clocks_that_differ_are_told() {
        let now = SystemTime::now();
        assert_eq!(clock(Some(now)).state, State::Ok);
        assert_eq!(clock(now.checked_sub(Duration::from_secs(3600))).state, State::Warning);
    }
}
