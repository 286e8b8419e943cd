//! Planted mutants: machines that are wrong on purpose, to prove that the simulator's checks can fail.
//!
//! A mutant wraps a machine and alters what goes in or what comes out. Each is run on the seed that caught it first;
//! `MUTANT_HUNT=2000 cargo test --test mutants -- --nocapture` looks for the first seed below 2,000 that catches each.
#![expect(clippy::print_stdout, reason = "a hunt tells what it found")]

use std::collections::{BTreeMap, BTreeSet};

use potluck_core::Machine;
use potluck_core::content::PieceSet;
use potluck_core::effects::Effects;
use potluck_core::ids::{ContentKey, DownloadId, LinkId, OpId, PeerId};
use potluck_core::peer::{
    CloseReason, Command, DownloadStatus, Opening, PeerConfig, PeerEffect, PeerEvent, PeerInput, Place, Role,
};
use potluck_core::time::{Deadline, Instant, TimerKind};
use potluck_core::tracker::{TrackerConfig, TrackerEffect, TrackerInput};
use potluck_core::wire::peer::PeerMessage;
use potluck_core::wire::tracker::{Matching, TrackerMessage, TrackerRequest};
use potluck_sim::{Machines, PeerMachine, Plan, Real, TrackerMachine, Violation, run};

/// What is wrong with a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    /// Tells others of a piece when it asks for it, not when it has verified it.
    AnnouncesUnverified,
    /// Never gives up on who stays silent.
    LosesStall,
    /// Asks a second holder for what it asks of the first.
    RequestsTwice,
    /// Registers nothing when it joins again.
    NeverRegistersAgain,
    /// Does not hear retractions, and so bans the honest.
    DeafToRetractions,
    /// Takes a failed sync for a good one.
    TrustsFailedSyncs,
    /// Does not hear that the person resumes.
    NeverResumes,
    /// Leaves what it took back expected.
    NeverUnexpects,
    /// Says that nothing is missing when it waits.
    HidesWhatIsMissing,
    /// Calls a download complete before it stands.
    CompletesEarly,
    /// Sends more than its writer takes.
    IgnoresCredit,
    /// Dials its tracker once and never again.
    DialsTrackerOnce,
    /// A timer that is never handled.
    SticksAtKeepAlive,
    /// Sends as fast as it can, whatever the person's cap.
    IgnoresUploadCap,
    /// Asks as fast as it can, whatever the person's cap.
    IgnoresDownloadCap,
    /// Believes nothing that stands on its disk when it starts, and fetches it again.
    ForgetsItsDisk,
    /// Asks without telling its driver what may come.
    AsksUnexpected,
    /// Goes on asking over a link that it has closed, or that was closed.
    AsksTheGone,
    /// A timer fires every millisecond, and nothing comes of it.
    TicksForEver,
    /// Does not hear of links that went silent or broke, and keeps them.
    KeepsDeadLinks,
    /// Does not close links that went silent.
    KeepsSilentLinks,
    /// Tells of a piece again and again, more than the link takes.
    Floods,
    /// Asked for what is missing, it leaves out the last range.
    MissesAMissingPiece,
    /// Tracker: takes a text that is looked for anywhere for the beginning of a name.
    TrackerSearchesBeginnings,
    /// Tracker: who withdraws does so for all holders.
    TrackerWithdrawsForAll,
    /// Tracker: takes every peer to be heard all the time.
    TrackerRenewsLeases,
    /// Tracker: does not notice that links end.
    TrackerForgetsToForget,
    /// Tracker: leaves a holder out of its answers.
    TrackerHidesAHolder,
}

/// Every mutant with the seed that catches it.
const MUTANTS: &[(Wrong, u64)] = &[
    (Wrong::AnnouncesUnverified, 0),
    (Wrong::LosesStall, 2),
    (Wrong::RequestsTwice, 0),
    (Wrong::NeverRegistersAgain, 0),
    (Wrong::DeafToRetractions, 7),
    (Wrong::TrustsFailedSyncs, 4),
    (Wrong::NeverResumes, 3),
    (Wrong::NeverUnexpects, 0),
    (Wrong::HidesWhatIsMissing, 4),
    (Wrong::CompletesEarly, 0),
    (Wrong::IgnoresCredit, 0),
    (Wrong::DialsTrackerOnce, 0),
    (Wrong::SticksAtKeepAlive, 0),
    (Wrong::IgnoresUploadCap, 4),
    (Wrong::IgnoresDownloadCap, 0),
    (Wrong::ForgetsItsDisk, 3),
    (Wrong::AsksUnexpected, 0),
    (Wrong::AsksTheGone, 2),
    (Wrong::TicksForEver, 0),
    (Wrong::KeepsDeadLinks, 3),
    (Wrong::KeepsSilentLinks, 8),
    (Wrong::Floods, 0),
    (Wrong::MissesAMissingPiece, 7),
    (Wrong::TrackerSearchesBeginnings, 0),
    (Wrong::TrackerWithdrawsForAll, 3),
    (Wrong::TrackerRenewsLeases, 0),
    (Wrong::TrackerForgetsToForget, 0),
    (Wrong::TrackerHidesAHolder, 0),
];

struct Mutants(Wrong);

impl Machines for Mutants {
    fn peer(&self, host: u32, mut config: PeerConfig) -> Box<dyn PeerMachine> {
        if self.0 == Wrong::IgnoresUploadCap {
            config.up_rate_max = 0;
        }
        if self.0 == Wrong::IgnoresDownloadCap {
            config.down_rate_max = 0;
        }
        let inner = Real.peer(host, config);
        Box::new(MutantPeer {
            wrong: self.0,
            inner,
            effects: Effects::new(),
            joins: 0,
            tracker_dials: 0,
            slots: BTreeMap::new(),
            asked: None,
            now: Instant::ZERO,
            gone: None,
        })
    }
    fn tracker(&self, host: u32, config: TrackerConfig) -> Box<dyn TrackerMachine> {
        Box::new(MutantTracker {
            wrong: self.0,
            inner: Real.tracker(host, config),
            effects: Effects::new(),
            links: BTreeSet::new(),
        })
    }
}

struct MutantPeer {
    wrong: Wrong,
    inner: Box<dyn PeerMachine>,
    effects: Effects<PeerEffect>,
    /// Sessions with the tracker so far.
    joins: u32,
    tracker_dials: u32,
    /// Own slots, by link and content.
    slots: BTreeMap<(LinkId, ContentKey), potluck_core::ids::Slot>,
    /// The last request of another link, to be repeated.
    asked: Option<PeerEffect>,
    now: Instant,
    /// A link that was up once.
    gone: Option<LinkId>,
}

impl MutantPeer {
    /// What the machine is told; `None`: nothing.
    fn told(&self, input: PeerInput) -> Option<PeerInput> {
        match (self.wrong, input) {
            (Wrong::DeafToRetractions, PeerInput::Peer { msg: PeerMessage::Retract { .. }, .. })
            | (Wrong::NeverResumes, PeerInput::Command(Command::Resume { .. })) => None,
            (Wrong::TrustsFailedSyncs, PeerInput::Synced { op, .. }) => {
                Some(PeerInput::Synced { op, result: Ok(()) })
            }
            (Wrong::IgnoresCredit, PeerInput::Writable { link, bytes }) => {
                Some(PeerInput::Writable { link, bytes: bytes * 2 })
            }
            (Wrong::SticksAtKeepAlive, PeerInput::Tick)
                if self.inner.deadline().is_some_and(|deadline| deadline.why == TimerKind::KeepAlive) =>
            {
                None
            }
            (Wrong::KeepsDeadLinks, PeerInput::LinkDown { .. }) => None,
            (Wrong::ForgetsItsDisk, PeerInput::Opened { op, result: Ok(Opening::Part { table, have }) }) => {
                let have = PieceSet::empty(have.len());
                Some(PeerInput::Opened { op, result: Ok(Opening::Part { table, have }) })
            }
            (_, input) => Some(input),
        }
    }

    fn does(&mut self, effect: PeerEffect, out: &mut Effects<PeerEffect>) {
        if let PeerEffect::SendPeer { link, msg: PeerMessage::Join { slot, key, .. } } = &effect {
            self.slots.insert((*link, *key), *slot);
        }
        match (self.wrong, effect) {
            (Wrong::AnnouncesUnverified, PeerEffect::Expect { link, op, slot, key, place, run }) => {
                out.push(PeerEffect::Expect { link, op, slot, key, place, run });
                out.push(PeerEffect::SendPeer {
                    link,
                    msg: PeerMessage::Have { slot, pieces: vec![run.piece] },
                });
            }
            (Wrong::RequestsTwice, PeerEffect::Expect { link, op, slot, key, place, run }) => {
                let again = self.asked.replace(PeerEffect::Expect { link, op, slot, key, place, run });
                out.push(PeerEffect::Expect { link, op, slot, key, place, run });
                if let Some(PeerEffect::Expect { link: other, op, key: same, place, run, .. }) = again
                    && other != link
                    && same == key
                {
                    let op = OpId(op.0 + (1 << 40));
                    out.push(PeerEffect::Expect { link, op, slot, key, place, run });
                    out.push(PeerEffect::SendPeer { link, msg: PeerMessage::Request { slot, run } });
                }
            }
            (Wrong::NeverRegistersAgain, PeerEffect::SendTracker { link, msg }) => {
                self.joins += u32::from(matches!(msg, TrackerRequest::Join { .. }));
                if self.joins < 2 || !matches!(msg, TrackerRequest::Announce { .. }) {
                    out.push(PeerEffect::SendTracker { link, msg });
                }
            }
            (Wrong::NeverUnexpects, PeerEffect::Unexpect { .. }) => {}
            (Wrong::HidesWhatIsMissing, PeerEffect::Report(PeerEvent::Waiting { download, reason, .. })) => {
                out.push(PeerEffect::Report(PeerEvent::Waiting { download, reason, missing: Vec::new() }));
            }
            (Wrong::CompletesEarly, PeerEffect::Finish { op, place }) => {
                if let Place::Root(download) = place {
                    out.push(PeerEffect::Report(PeerEvent::Completed { download }));
                }
                out.push(PeerEffect::Finish { op, place });
            }
            (Wrong::DialsTrackerOnce, PeerEffect::Dial { op, addr, role: Role::Tracker }) => {
                self.tracker_dials += 1;
                if self.tracker_dials == 1 {
                    out.push(PeerEffect::Dial { op, addr, role: Role::Tracker });
                }
            }
            (Wrong::AsksUnexpected, PeerEffect::Expect { .. })
            | (Wrong::KeepsSilentLinks, PeerEffect::Close { reason: CloseReason::Silent, .. }) => {}
            (Wrong::AsksTheGone, PeerEffect::SendPeer { link, msg: PeerMessage::Request { slot, run } }) => {
                let link = self.gone.unwrap_or(link);
                out.push(PeerEffect::SendPeer { link, msg: PeerMessage::Request { slot, run } });
            }
            (Wrong::AsksTheGone, PeerEffect::Close { link, reason }) => {
                self.gone = Some(link);
                out.push(PeerEffect::Close { link, reason });
            }
            (Wrong::Floods, PeerEffect::SendPeer { link, msg: PeerMessage::Have { slot, pieces } }) => {
                for _ in 0..2000 {
                    let pieces = pieces.iter().copied().cycle().take(1000).collect();
                    out.push(PeerEffect::SendPeer { link, msg: PeerMessage::Have { slot, pieces } });
                }
            }
            (_, effect) => out.push(effect),
        }
    }
}

impl Machine for MutantPeer {
    type Input = PeerInput;
    type Effect = PeerEffect;

    fn handle(&mut self, now: Instant, input: PeerInput, out: &mut Effects<PeerEffect>) {
        self.now = now;
        if let Some(input) = self.told(input) {
            let mut effects = std::mem::take(&mut self.effects);
            self.inner.handle(now, input, &mut effects);
            effects.drain().for_each(|effect| self.does(effect, out));
            self.effects = effects;
        }
    }

    fn deadline(&self) -> Option<Deadline> {
        let lost = |deadline: &Deadline| self.wrong == Wrong::LosesStall && deadline.why == TimerKind::Stall;
        let real = self.inner.deadline().filter(|deadline| !lost(deadline));
        if self.wrong == Wrong::TicksForEver {
            let soon = Deadline { at: Instant(self.now.0 + 1_000_000), why: TimerKind::Continue };
            return Some(real.filter(|real| real.at < soon.at).unwrap_or(soon));
        }
        real
    }
}

impl PeerMachine for MutantPeer {
    fn check(&self) {
        self.inner.check();
    }
    fn held(&self, key: ContentKey) -> Option<PieceSet> {
        self.inner.held(key)
    }
    fn status(&self, download: DownloadId) -> Option<DownloadStatus> {
        let mut status = self.inner.status(download)?;
        if self.wrong == Wrong::MissesAMissingPiece {
            status.missing.pop();
        }
        Some(status)
    }
}

struct MutantTracker {
    wrong: Wrong,
    inner: Box<dyn TrackerMachine>,
    effects: Effects<TrackerEffect>,
    /// Links that are up.
    links: BTreeSet<LinkId>,
}

impl Machine for MutantTracker {
    type Input = TrackerInput;
    type Effect = TrackerEffect;

    fn handle(&mut self, now: Instant, mut input: TrackerInput, out: &mut Effects<TrackerEffect>) {
        if let TrackerInput::LinkUp { link, .. } = &input {
            self.links.insert(*link);
        }
        if let TrackerInput::Request { msg: TrackerRequest::Search { matching, .. }, .. } = &mut input
            && let Matching::Substring(text) = matching
            && self.wrong == Wrong::TrackerSearchesBeginnings
        {
            *matching = Matching::Prefix(std::mem::take(text));
        }
        for link in self.links.clone() {
            let msg = match (self.wrong, &input) {
                (Wrong::TrackerRenewsLeases, _) => TrackerRequest::Pong { nonce: 0 },
                (Wrong::TrackerWithdrawsForAll, TrackerInput::Request { msg, .. })
                    if matches!(msg, TrackerRequest::Withdraw { .. }) =>
                {
                    msg.clone()
                }
                _ => break,
            };
            self.inner.handle(now, TrackerInput::Request { link, msg }, &mut self.effects);
            self.effects.drain().for_each(drop);
        }
        // Neither does it hear of an end, nor does time pass for it.
        let forgets = self.wrong == Wrong::TrackerForgetsToForget;
        if forgets && matches!(&input, TrackerInput::LinkDown { .. } | TrackerInput::Tick) {
            return;
        }
        let now = if forgets { Instant::ZERO } else { now };
        self.inner.handle(now, input, &mut self.effects);
        for mut effect in self.effects.drain() {
            if self.wrong == Wrong::TrackerHidesAHolder
                && let TrackerEffect::Send { msg: TrackerMessage::HolderRows { rows, .. }, .. } = &mut effect
            {
                rows.pop();
            }
            out.push(effect);
        }
    }

    fn deadline(&self) -> Option<Deadline> {
        self.inner.deadline().filter(|_| self.wrong != Wrong::TrackerForgetsToForget)
    }
}

impl TrackerMachine for MutantTracker {
    fn check(&self) {
        self.inner.check();
    }
    fn peers(&self) -> Vec<PeerId> {
        self.inner.peers()
    }
    fn holders(&self, key: ContentKey) -> BTreeSet<PeerId> {
        self.inner.holders(key)
    }
}

fn catch(wrong: Wrong, seed: u64) -> Option<Violation> {
    run(Plan::random(seed), &Mutants(wrong), None).expect("random plans are sound").violation
}

/// Every mutant is caught on its seed, where the right machines pass.
#[test]
fn every_mutant_is_caught() {
    if let Some(seeds) = std::env::var("MUTANT_HUNT").ok().and_then(|seeds| seeds.parse().ok()) {
        return hunt(seeds);
    }
    for &(wrong, seed) in MUTANTS {
        assert!(catch(wrong, seed).is_some(), "{wrong:?} got past seed {seed}");
        let right = run(Plan::random(seed), &Real, None).expect("random plans are sound").violation;
        assert_eq!(right, None, "seed {seed}");
    }
}

fn hunt(seeds: u64) {
    for &(wrong, known) in MUTANTS {
        let sound = |seed: &u64| run(Plan::random(*seed), &Real, None).is_ok_and(|o| o.violation.is_none());
        let found = (0..seeds).find_map(|seed| Some((seed, catch(wrong, seed).filter(|_| sound(&seed))?)));
        match found {
            Some((seed, violation)) => println!("(Wrong::{wrong:?}, {seed}), // was {known}: {violation}"),
            None => println!("{wrong:?} is not caught by any seed below {seeds}"),
        }
    }
}
