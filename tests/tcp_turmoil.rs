//! The driver of the real world, trackers and peers, over turmoil's simulated sockets: what the simulator cannot see, since
//! it has no tasks and no frames. Time is virtual, latency and order follow from the seed, blocking work runs inline.
//!
//! Limits of turmoil 0.7.2 that these tests keep to: no bandwidth, so nothing is said of speed; dropped data is never sent
//! again, so a partition breaks the connections that it catches with data under way, and heals only for new ones; an end of
//! file can get lost behind exactly 64 unread segments, so no test counts on hearing of a close at once.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks for one event among many")]
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

#[path = "../transport-tcp/tests/conformance/mod.rs"]
mod conformance;
#[path = "support/turmoil_net.rs"]
mod turmoil_net;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use conformance::{Hosts, conformance};
use potluck_core::content::{Kind, SafeName};
use potluck_core::ids::ContentKey;
use potluck_core::peer::{Answer, FetchOptions, PeerEvent, Question};
use potluck_core::seed::Seed;
use potluck_core::wire::tracker::Matching;
use potluck_transport_tcp::peer::Crews;
use potluck_transport_tcp::store::Target;
use potluck_transport_tcp::{
    Event, Events, Fetch, Peer, PeerOptions, Tracker, TrackerOptions, ask_tracker_over,
};
use turmoil::{Builder, Sim};
use turmoil_net::TurmoilTransport;

const PORT: u16 = 7070;
const MIB: usize = 1024 * 1024;

fn sim<'a>(seed: u64) -> Sim<'a> {
    Builder::new()
        .rng_seed(seed)
        .epoch(SystemTime::UNIX_EPOCH)
        .simulation_duration(Duration::from_secs(300))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(5))
        .build()
}

#[test]
fn conformance_of_the_simulated_sockets() {
    let mut sim = sim(1);
    sim.client("host", async {
        let listen = "127.0.0.1:0".parse()?;
        let (server, client) = (TurmoilTransport, TurmoilTransport);
        conformance(Hosts { server, client, listen, patience: Duration::from_secs(5) }).await;
        Ok(())
    });
    sim.run().unwrap();
}

/// What every host of a run told, with the time: two runs of one seed tell the same.
type Log = Rc<RefCell<Vec<String>>>;

fn note(log: &Log, who: &str, what: &impl std::fmt::Debug) {
    let at = turmoil::sim_elapsed().unwrap_or_default();
    log.borrow_mut().push(format!("{at:?} {who} {what:?}"));
}

fn tracker_addr() -> SocketAddr {
    SocketAddr::new(turmoil::lookup("tracker"), PORT)
}

fn seed_of(name: &str) -> Seed {
    Seed::from_number(1).fork(name)
}

/// A tracker that can crash and come back empty.
fn add_tracker(sim: &mut Sim<'_>, log: &Log) {
    let log = Rc::clone(log);
    sim.host("tracker", move || {
        let log = Rc::clone(&log);
        async move {
            let listen = SocketAddr::new([0, 0, 0, 0].into(), PORT);
            let options = TrackerOptions { listen, ..TrackerOptions::default() };
            let started = Tracker::start_on(TurmoilTransport, seed_of("tracker"), options).await?;
            let (_tracker, mut events) = started;
            while let Some(event) = events.next().await {
                note(&log, "tracker", &event);
            }
            Ok(())
        }
    });
}

async fn start(name: &str) -> Result<(Peer, Events), potluck_transport_tcp::StartError> {
    let options = PeerOptions {
        name: name.into(),
        any_name: false,
        listen: ([0, 0, 0, 0], 0).into(),
        tracker: Some(tracker_addr()),
        ..PeerOptions::default()
    };
    Peer::start_on(TurmoilTransport, Crews::inline(), seed_of(name), options).await
}

/// A peer that shares a file for as long as it runs, each time it is started.
fn add_holder(sim: &mut Sim<'_>, name: &'static str, path: PathBuf, log: &Log) {
    let log = Rc::clone(log);
    sim.host(name, move || {
        let (log, path) = (Rc::clone(&log), path.clone());
        async move {
            let (peer, mut events) = start(name).await?;
            peer.share(&path).await?;
            while let Some(event) = events.next().await {
                if let Event::Peer(event) = event {
                    note(&log, name, &event);
                }
            }
            Ok(())
        }
    });
}

/// Searches for the one content that there is, until it is found.
async fn found() -> (ContentKey, String) {
    let me = potluck_core::ids::PeerId(seed_of("visitor").0);
    loop {
        let question =
            Question::Contents { matching: Matching::Substring("content".into()), members: false, limit: 10 };
        let answer = ask_tracker_over(&TurmoilTransport, me, tracker_addr(), question).await;
        if let Ok(Answer::Contents(rows)) = answer
            && let Some(row) = rows.first()
        {
            return (row.key, row.name.clone());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A peer that searches, downloads into `out`, and compares; what it hears is noted.
fn add_downloader(sim: &mut Sim<'_>, name: &'static str, out: &Path, expected: Vec<u8>, log: &Log) {
    let (out, log) = (out.join(name), Rc::clone(log));
    std::fs::create_dir_all(&out).unwrap();
    sim.client(name, async move {
        let (key, label) = found().await;
        let (peer, mut events) = start(name).await?;
        let label = SafeName::parse(&label)?;
        let target = Target::new(&out, &label)?;
        let path = target.path();
        let fetch = Fetch {
            key,
            kind: Kind::File,
            name: label,
            peers: Vec::new(),
            how: FetchOptions::default(),
            target,
        };
        let download = peer.fetch(fetch).await;
        while let Some(event) = events.next().await {
            let Event::Peer(event) = event else { continue };
            note(&log, name, &event);
            match event {
                PeerEvent::Completed { download: of } if of == download => break,
                PeerEvent::Failed { reason, .. } => panic!("failed: {reason:?}"),
                _ => {}
            }
        }
        assert!(std::fs::read(path)? == expected, "the bytes are not those that were shared");
        peer.leave().await;
        Ok(())
    });
}

/// A folder with a file to share in it.
fn content(length: usize) -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
    let path = folder.path().join("content");
    std::fs::write(&path, &bytes).unwrap();
    (folder, path, bytes)
}

/// Steps until the log has a line that contains `what`.
fn run_until(sim: &mut Sim<'_>, log: &Log, what: &str) {
    let mut seen = 0;
    loop {
        assert!(!sim.step().unwrap(), "all clients ended before {what:?}");
        let log = log.borrow();
        if log[seen..].iter().any(|line| line.contains(what)) {
            return;
        }
        seen = log.len();
    }
}

fn run_to_end(sim: &mut Sim<'_>, log: &Log) {
    if let Err(error) = sim.run() {
        panic!("{error}; what was told: {:#?}", log.borrow());
    }
}

/// Joins, a search, and a download from two holders; the same again is the same, line by line.
#[test]
fn two_runs_of_one_seed_are_equal() {
    let run = |seed| {
        let (folder, path, bytes) = content(3 * MIB + 5);
        let (mut sim, log) = (sim(seed), Log::default());
        add_tracker(&mut sim, &log);
        add_holder(&mut sim, "ada", path.clone(), &log);
        add_holder(&mut sim, "bob", path, &log);
        add_downloader(&mut sim, "eve", folder.path(), bytes, &log);
        run_to_end(&mut sim, &log);
        log.take()
    };
    let first = run(3);
    assert!(first.iter().any(|line| line.contains("PieceVerified")));
    assert_eq!(first, run(3));
    assert_ne!(first, run(4));
}

/// One of two holders is cut off in the middle: the other delivers the rest.
#[test]
fn a_partition_in_mid_transfer() {
    let (folder, path, bytes) = content(24 * MIB);
    let (mut sim, log) = (sim(5), Log::default());
    add_tracker(&mut sim, &log);
    add_holder(&mut sim, "ada", path.clone(), &log);
    add_holder(&mut sim, "bob", path, &log);
    add_downloader(&mut sim, "eve", folder.path(), bytes, &log);
    run_until(&mut sim, &log, "PieceVerified");
    sim.partition("ada", "eve");
    run_to_end(&mut sim, &log);
}

/// The only holder is cut off and comes back: the download goes on by itself.
#[test]
fn a_partition_from_everybody_heals() {
    let (folder, path, bytes) = content(24 * MIB);
    let (mut sim, log) = (sim(6), Log::default());
    add_tracker(&mut sim, &log);
    add_holder(&mut sim, "ada", path, &log);
    add_downloader(&mut sim, "eve", folder.path(), bytes, &log);
    run_until(&mut sim, &log, "PieceVerified");
    sim.partition("ada", "eve");
    run_until(&mut sim, &log, "eve Waiting");
    sim.repair("ada", "eve");
    run_to_end(&mut sim, &log);
}

/// Packets are held for a while and then all come at once.
#[test]
fn held_packets_are_only_late() {
    let (folder, path, bytes) = content(8 * MIB);
    let (mut sim, log) = (sim(7), Log::default());
    add_tracker(&mut sim, &log);
    add_holder(&mut sim, "ada", path, &log);
    add_downloader(&mut sim, "eve", folder.path(), bytes, &log);
    run_until(&mut sim, &log, "PieceVerified");
    sim.hold("ada", "eve");
    let until = sim.elapsed() + Duration::from_secs(2);
    while sim.elapsed() < until {
        sim.step().unwrap();
    }
    sim.release("ada", "eve");
    run_to_end(&mut sim, &log);
}

/// The only holder crashes in the middle and starts again, as another process on the same host: the download goes on.
#[test]
fn a_holder_that_crashes_and_bounces() {
    let (folder, path, bytes) = content(24 * MIB);
    let (mut sim, log) = (sim(8), Log::default());
    add_tracker(&mut sim, &log);
    add_holder(&mut sim, "ada", path, &log);
    add_downloader(&mut sim, "eve", folder.path(), bytes, &log);
    run_until(&mut sim, &log, "PieceVerified");
    sim.crash("ada");
    run_until(&mut sim, &log, "eve Waiting");
    sim.bounce("ada");
    run_to_end(&mut sim, &log);
}

/// The tracker crashes in the middle: the download ends without it. It comes back empty: within 10 s the holder is
/// registered again by itself, so that a newcomer finds it.
#[test]
fn a_tracker_that_crashes_and_bounces() {
    let (folder, path, bytes) = content(24 * MIB);
    let (mut sim, log) = (sim(9), Log::default());
    add_tracker(&mut sim, &log);
    add_holder(&mut sim, "ada", path, &log);
    add_downloader(&mut sim, "eve", folder.path(), bytes.clone(), &log);
    run_until(&mut sim, &log, "PieceVerified");
    sim.crash("tracker");
    run_to_end(&mut sim, &log);
    sim.bounce("tracker");
    let bounced = sim.elapsed();
    add_downloader(&mut sim, "fay", folder.path(), bytes, &log);
    run_until(&mut sim, &log, "tracker Announced");
    assert!(sim.elapsed() - bounced <= Duration::from_secs(10));
    run_to_end(&mut sim, &log);
}
