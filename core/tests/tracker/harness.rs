//! A tracker and the links to it, without any network. Every input is followed by the checks that hold after any input.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use potluck_core::Machine;
use potluck_core::content::{Geometry, Kind};
use potluck_core::effects::Effects;
use potluck_core::ids::{ContentId, ContentKey, LinkId, OpId, PeerId, SessionToken};
use potluck_core::limits;
use potluck_core::peer::CloseReason;
use potluck_core::seed::Seed;
use potluck_core::time::{Instant, TimerKind};
use potluck_core::tracker::{Tracker, TrackerConfig, TrackerEffect, TrackerEvent, TrackerInput};
use potluck_core::wire::tracker::{
    Ad, Cursor, HolderRow, Matching, PeerRow, RefusedRequest, Row, TrackerMessage, TrackerRequest,
};

pub(crate) const LEASE: Duration = Duration::from_secs(15);

pub(crate) struct Hub {
    pub(crate) tracker: Tracker,
    pub(crate) now: Instant,
    links: u64,
    sent: BTreeMap<LinkId, Vec<TrackerMessage>>,
    pub(crate) closed: Vec<(LinkId, CloseReason)>,
    pub(crate) events: Vec<TrackerEvent>,
    pub(crate) probes: Vec<(OpId, SocketAddr)>,
    /// Links that answer no pings.
    pub(crate) mute: BTreeSet<LinkId>,
    /// Off for inputs by the hundred thousand.
    pub(crate) checking: bool,
}

impl Hub {
    pub(crate) fn new() -> Self {
        Self::seeded(1)
    }

    pub(crate) fn seeded(seed: u64) -> Self {
        let config = TrackerConfig { seed: Seed::from_number(seed), lease_ms: LEASE.as_millis() as u32 };
        Self {
            tracker: Tracker::new(config),
            now: Instant::from_millis(1_000),
            links: 0,
            sent: BTreeMap::new(),
            closed: Vec::new(),
            events: Vec::new(),
            probes: Vec::new(),
            mute: BTreeSet::new(),
            checking: true,
        }
    }

    /// From here on none of the links that are there answers pings.
    pub(crate) fn fall_silent(&mut self) {
        self.mute = (0..=self.links).map(LinkId).collect();
    }

    pub(crate) fn input(&mut self, input: TrackerInput) {
        let mut effects = Effects::new();
        let is_tick = input == TrackerInput::Tick;
        let before = self.tracker.deadline();
        self.tracker.handle(self.now, input, &mut effects);
        assert!(effects.len() <= limits::EFFECTS_PER_INPUT_MAX);
        if self.checking {
            self.tracker.check_invariants();
        }
        let after = self.tracker.deadline();
        if let Some(due) = before.filter(|due| is_tick && due.at <= self.now) {
            assert!(
                after.is_none_or(|after| after.at > due.at || after.why == TimerKind::Continue),
                "a due tick left its deadline where it was: {due:?}"
            );
        }
        let mut pings = Vec::new();
        for effect in effects.drain() {
            match effect {
                TrackerEffect::Send { link, msg: TrackerMessage::Ping { nonce } }
                    if !self.mute.contains(&link) =>
                {
                    pings.push((link, nonce));
                }
                TrackerEffect::Send { link, msg } => self.sent.entry(link).or_default().push(msg),
                TrackerEffect::Probe { op, addr } => self.probes.push((op, addr)),
                TrackerEffect::Close { link, reason } => self.closed.push((link, reason)),
                TrackerEffect::Report(event) => self.events.push(event),
            }
        }
        for (link, nonce) in pings {
            self.tell(link, TrackerRequest::Pong { nonce });
        }
    }

    /// Lets time pass, with a tick at every deadline.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.tracker.deadline().filter(|due| due.at <= end) {
            self.now = self.now.max(due.at);
            self.input(TrackerInput::Tick);
        }
        self.now = end;
    }

    /// Does what waits for the next input only.
    pub(crate) fn settle(&mut self) {
        self.pass(Duration::ZERO);
    }

    pub(crate) fn link(&mut self, peer: u64) -> LinkId {
        self.link_from(peer, IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + peer as u32)))
    }

    pub(crate) fn link_from(&mut self, peer: u64, ip: impl Into<IpAddr>) -> LinkId {
        self.links += 1;
        let link = LinkId(self.links);
        let addr = SocketAddr::new(ip.into(), 50_000);
        self.input(TrackerInput::LinkUp { link, peer: peer_id(peer), addr });
        link
    }

    pub(crate) fn drop_link(&mut self, link: LinkId) {
        self.input(TrackerInput::LinkDown { link, reason: CloseReason::Broken });
    }

    pub(crate) fn tell(&mut self, link: LinkId, msg: TrackerRequest) {
        self.input(TrackerInput::Request { link, msg });
    }

    /// What was sent to the link since it was last asked for.
    pub(crate) fn take(&mut self, link: LinkId) -> Vec<TrackerMessage> {
        self.sent.remove(&link).unwrap_or_default()
    }

    /// Everything that was sent and not taken.
    pub(crate) fn take_all(&mut self) -> Vec<TrackerMessage> {
        std::mem::take(&mut self.sent).into_values().flatten().collect()
    }

    /// What was taken too early.
    pub(crate) fn put_back(&mut self, link: LinkId, msgs: Vec<TrackerMessage>) {
        self.sent.entry(link).or_default().splice(0..0, msgs);
    }

    /// Asks, and takes the one answer; pushes of before are forgotten.
    pub(crate) fn ask(&mut self, link: LinkId, msg: TrackerRequest) -> TrackerMessage {
        self.take(link);
        self.tell(link, msg);
        let mut answers = self.take(link);
        answers.retain(|msg| {
            !matches!(msg, TrackerMessage::HolderChange { .. } | TrackerMessage::PeerChange { .. })
        });
        assert_eq!(answers.len(), 1, "{answers:?}");
        answers.remove(0)
    }

    pub(crate) fn try_join(
        &mut self,
        link: LinkId,
        name: &str,
        any_name: bool,
        token: Option<SessionToken>,
    ) -> TrackerMessage {
        self.ask(
            link,
            TrackerRequest::Join { seq: 1, name: name.to_owned(), any_name, listen_port: 7000, token },
        )
    }

    /// A link of a new peer that joined.
    pub(crate) fn join(&mut self, peer: u64, name: &str) -> LinkId {
        let link = self.link(peer);
        self.rejoin(link, name, None);
        link
    }

    pub(crate) fn rejoin(&mut self, link: LinkId, name: &str, token: Option<SessionToken>) -> SessionToken {
        match self.try_join(link, name, false, token) {
            TrackerMessage::Joined { token, .. } => token,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn announce(&mut self, link: LinkId, ads: Vec<Ad>) -> TrackerMessage {
        self.ask(link, TrackerRequest::Announce { seq: 2, ads })
    }

    pub(crate) fn withdraw(&mut self, link: LinkId, keys: Vec<ContentKey>) -> TrackerMessage {
        self.ask(link, TrackerRequest::Withdraw { seq: 3, keys })
    }

    pub(crate) fn rename(&mut self, link: LinkId, name: &str) -> TrackerMessage {
        self.ask(link, TrackerRequest::Rename { seq: 4, name: name.to_owned() })
    }

    pub(crate) fn page(
        &mut self,
        link: LinkId,
        matching: Matching,
        members: bool,
        after: Option<Cursor>,
        limit: u32,
    ) -> (Vec<Row>, Option<Cursor>) {
        match self.ask(link, TrackerRequest::Search { seq: 5, matching, members, after, limit }) {
            TrackerMessage::Rows { seq: 5, rows, next } => (rows, next),
            other => panic!("{other:?}"),
        }
    }

    /// All rows that match, page by page.
    pub(crate) fn search(&mut self, link: LinkId, matching: Matching) -> Vec<Row> {
        let mut all = Vec::new();
        let mut after = None;
        loop {
            let (rows, next) = self.page(link, matching.clone(), false, after, 256);
            all.extend(rows);
            after = next;
            if after.is_none() {
                return all;
            }
        }
    }

    pub(crate) fn names(&mut self, link: LinkId, matching: Matching) -> Vec<String> {
        self.search(link, matching).into_iter().map(|row| row.name).collect()
    }

    pub(crate) fn holders(&mut self, link: LinkId, key: ContentKey) -> Vec<HolderRow> {
        let mut all = Vec::new();
        let mut after = None;
        loop {
            match self.ask(link, TrackerRequest::Holders { seq: 6, key, after, limit: 256 }) {
                TrackerMessage::HolderRows { seq: 6, rows, next } => {
                    all.extend(rows);
                    after = next;
                }
                other => panic!("{other:?}"),
            }
            if after.is_none() {
                return all;
            }
        }
    }

    pub(crate) fn holder_names(&mut self, link: LinkId, key: ContentKey) -> Vec<String> {
        self.holders(link, key).into_iter().map(|row| row.name).collect()
    }

    pub(crate) fn peers(&mut self, link: LinkId) -> Vec<PeerRow> {
        match self.ask(link, TrackerRequest::Peers { seq: 7, after: None, limit: 256 }) {
            TrackerMessage::PeerRows { seq: 7, rows, next: None } => rows,
            other => panic!("{other:?}"),
        }
    }

    /// Pushes about holders since the link was last looked at: who came or changed, who is gone.
    pub(crate) fn pushes(&mut self, link: LinkId) -> Vec<(ContentKey, Vec<HolderRow>, Vec<PeerId>)> {
        self.take(link)
            .into_iter()
            .filter_map(|msg| match msg {
                TrackerMessage::HolderChange { key, now, gone } => Some((key, now, gone)),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn peer_pushes(&mut self, link: LinkId) -> Vec<(Vec<String>, Vec<String>)> {
        let pushes = self.take(link).into_iter().filter_map(|msg| match msg {
            TrackerMessage::PeerChange { joined, left } => Some((
                joined.into_iter().map(|row| row.name).collect(),
                left.into_iter().map(|(_, name)| name).collect(),
            )),
            _ => None,
        });
        pushes.collect()
    }

    pub(crate) fn is_closed(&self, link: LinkId) -> Option<CloseReason> {
        self.closed.iter().find(|(closed, _)| *closed == link).map(|(_, reason)| *reason)
    }
}

/// Peer ids in an order that is not that of their numbers.
pub(crate) fn peer_id(number: u64) -> PeerId {
    PeerId(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

pub(crate) fn key(number: u64, length: u64) -> ContentKey {
    let mut id = *blake3::hash(&number.to_be_bytes()).as_bytes();
    id[..4].copy_from_slice(&(number as u32).to_be_bytes());
    ContentKey { id: ContentId(id), length }
}

/// All of a content of four pieces.
pub(crate) fn ad(number: u64, name: &str) -> Ad {
    partial(number, name, 4)
}

/// Some of a content of four pieces.
pub(crate) fn partial(number: u64, name: &str, pieces: u32) -> Ad {
    let key = four_pieces(number);
    assert_eq!(Geometry::new(key.length).map(|geometry| geometry.pieces()), Some(4));
    Ad { key, kind: Kind::File, name: name.to_owned(), member: false, pieces, total: key.length }
}

pub(crate) fn four_pieces(number: u64) -> ContentKey {
    key(number, 4 * limits::PIECE_BYTES_MIN)
}

pub(crate) fn done(seq: u32) -> TrackerMessage {
    TrackerMessage::Done { seq }
}

pub(crate) fn refused(seq: u32, why: RefusedRequest) -> TrackerMessage {
    TrackerMessage::Refused { seq, why }
}

pub(crate) fn limit(seq: u32, bound: &str) -> TrackerMessage {
    refused(seq, RefusedRequest::Limit(bound.to_owned()))
}
