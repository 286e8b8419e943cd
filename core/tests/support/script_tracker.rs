//! Scripts for the tracker machine.

use std::collections::BTreeSet;

use potluck_core::Machine;
use potluck_core::ids::{LinkId, OpId};
use potluck_core::limits;
use potluck_core::peer::CloseReason;
use potluck_core::seed::Seed;
use potluck_core::time::Instant;
use potluck_core::tracker::{Tracker, TrackerConfig, TrackerEffect, TrackerInput};
use potluck_core::wire::peer::Offer;
use potluck_core::wire::tracker::{Accepting, Ad, Cursor, Matching, TrackerRequest};

use super::{Choices, Story, TICKS_MAX, check_message, handle_twice, play, sendable};

/// Reads `bytes` as a script for the tracker machine and plays it.
///
/// # Panics
/// Where the machine breaks its contract.
pub(crate) fn tracker_script(bytes: &[u8]) {
    let config = TrackerConfig { seed: Seed::from_number(1), lease_ms: 15_000 };
    let run = &mut Run {
        machines: [Tracker::new(config.clone()), Tracker::new(config)],
        now: Instant::ZERO,
        links: BTreeSet::new(),
        next_link: 1,
        probes: Vec::new(),
        story: Story::default(),
    };
    play(run, bytes, Run::step, |run| &run.story);
}

struct Run {
    machines: [Tracker; 2],
    now: Instant,
    links: BTreeSet<LinkId>,
    next_link: u64,
    probes: Vec<OpId>,
    story: Story,
}

impl Run {
    fn step(&mut self, choices: &mut Choices<'_>) {
        match choices.below(16) {
            0 | 1 => {
                let link = LinkId(self.next_link);
                self.next_link += 1;
                self.links.insert(link);
                let (peer, addr) = (choices.peer(), choices.addr());
                self.input(TrackerInput::LinkUp { link, peer, addr });
                if choices.rarely(4) {
                    return;
                }
                if let Some(msg) = sendable(join(choices)) {
                    self.input(TrackerInput::Request { link, msg });
                }
            }
            2 => {
                let link = self.some_link(choices);
                self.links.remove(&link);
                self.input(TrackerInput::LinkDown { link, reason: CloseReason::Broken });
            }
            3 => {
                let op = if choices.rarely(8) { OpId(choices.byte().into()) } else { OpId(0) };
                let op = choices.one_of(&self.probes).unwrap_or(op);
                let answered_by = if choices.rarely(3) { None } else { Some(choices.peer()) };
                self.probes.retain(|o| *o != op);
                self.input(TrackerInput::Probed { op, answered_by });
            }
            4 => self.input(TrackerInput::Tick),
            5 | 6 => {
                self.now = self.now + choices.pause();
                self.input(TrackerInput::Tick);
            }
            _ => {
                let link = self.some_link(choices);
                let Some(msg) = sendable(request(choices)) else { return };
                self.input(TrackerInput::Request { link, msg });
            }
        }
    }

    fn some_link(&self, choices: &mut Choices<'_>) -> LinkId {
        if choices.rarely(32) {
            return LinkId(choices.byte().into());
        }
        let these: Vec<LinkId> = self.links.iter().copied().collect();
        choices.one_of(&these).unwrap_or(LinkId(0))
    }

    fn input(&mut self, input: TrackerInput) {
        self.handle(input);
        let mut ticks = 0;
        while self.machines[0].deadline().is_some_and(|d| d.at <= self.now) {
            let due = self.machines[0].deadline();
            self.handle(TrackerInput::Tick);
            ticks += 1;
            assert!(ticks < TICKS_MAX, "{due:?} at {:?} moves or is cleared", self.now);
        }
    }

    fn handle(&mut self, input: TrackerInput) {
        self.story.tell(self.now, &input);
        let effects = handle_twice(self.now, input, &mut self.machines);
        for effect in &effects {
            self.story.tell(self.now, effect);
        }
        self.machines[0].check_invariants();
        for effect in effects {
            match effect {
                TrackerEffect::Send { link, msg } => {
                    check_message(&msg);
                    assert!(self.links.contains(&link), "nothing is said on a link that is gone");
                }
                TrackerEffect::Probe { op, .. } => {
                    self.probes.push(op);
                    assert!(self.probes.len() <= limits::PROBES_MAX * 2, "probes under way");
                }
                TrackerEffect::Close { link, .. } => {
                    assert!(self.links.remove(&link), "{link:?} is up when it is closed");
                }
                TrackerEffect::Report(_) => {}
            }
        }
    }
}

fn join(choices: &mut Choices<'_>) -> TrackerRequest {
    TrackerRequest::Join {
        seq: choices.number(),
        name: choices.name(),
        any_name: choices.rarely(2),
        listen_port: choices.port(),
        token: choices.rarely(4).then(|| choices.token()),
    }
}

fn request(choices: &mut Choices<'_>) -> TrackerRequest {
    let seq = choices.number();
    match choices.below(20) {
        0 => join(choices),
        1..6 => {
            let ad = |c: &mut Choices<'_>| {
                let content = c.content();
                let key = if c.rarely(8) { c.key() } else { content.key };
                let pieces = if c.rarely(4) { c.number() } else { content.synthetic.geometry.pieces() };
                Ad { key, kind: content.kind, name: c.name(), member: c.rarely(4), pieces, total: key.length }
            };
            let ads = if choices.rarely(32) { vec![ad(choices); 300] } else { choices.some(5, ad) };
            TrackerRequest::Announce { seq, ads }
        }
        6 | 7 => TrackerRequest::Withdraw { seq, keys: choices.some(3, Choices::key) },
        8 | 9 => {
            let text = choices.name();
            let matching = match choices.below(6) {
                0 => Matching::All,
                1 => Matching::Name(text),
                2 => Matching::Substring(text),
                3 => Matching::Glob(text),
                4 => Matching::Prefix(text),
                _ => Matching::IdPrefix(if choices.rarely(2) { text } else { choices.key().id.to_string() }),
            };
            let after = choices.rarely(4).then(|| Cursor { name: choices.name(), key: choices.key() });
            TrackerRequest::Search {
                seq,
                matching,
                members: choices.rarely(2),
                after,
                limit: choices.number(),
            }
        }
        10 => {
            let (key, after) = (choices.key(), choices.rarely(4).then(|| choices.peer()));
            TrackerRequest::Holders { seq, key, after, limit: choices.number() }
        }
        11 => {
            let after = choices.rarely(4).then(|| choices.peer());
            TrackerRequest::Peers { seq, after, limit: choices.number() }
        }
        12 | 13 => TrackerRequest::Watch { key: choices.key() },
        14 => TrackerRequest::Unwatch { key: choices.key() },
        15 => TrackerRequest::WatchPeers { on: !choices.rarely(3) },
        16 => TrackerRequest::Rename { seq, name: choices.name() },
        17 => TrackerRequest::AskToDial { peer: choices.peer() },
        18 if choices.rarely(4) => TrackerRequest::Leave {},
        _ => match choices.below(4) {
            2 => TrackerRequest::AcceptOffers { seq, from: Accepting::Everybody },
            3 => {
                let offer = Offer { key: choices.key(), kind: choices.content().kind, name: choices.name() };
                TrackerRequest::OfferTo { seq, to: choices.peer(), offer, total: 1 }
            }
            0 => TrackerRequest::Ping { nonce: 1 },
            _ => TrackerRequest::Pong { nonce: 1 },
        },
    }
}
