//! A tracker with a crowd of joined peers, driven without a network.

use std::net::{Ipv4Addr, SocketAddr};

use potluck_core::Machine;
use potluck_core::content::Kind;
use potluck_core::effects::Effects;
use potluck_core::ids::{ContentId, ContentKey, LinkId, PeerId};
use potluck_core::limits;
use potluck_core::seed::Seed;
use potluck_core::time::Instant;
use potluck_core::tracker::{Tracker, TrackerConfig, TrackerEffect, TrackerInput};
use potluck_core::wire::tracker::{Ad, TrackerMessage, TrackerRequest};

pub(crate) struct Crowd {
    pub(crate) tracker: Tracker,
    pub(crate) now: Instant,
    effects: Effects<TrackerEffect>,
}

impl Crowd {
    pub(crate) fn new() -> Self {
        let lease_ms = u32::MAX;
        let tracker = Tracker::new(TrackerConfig { seed: Seed::from_number(1), lease_ms });
        Self { tracker, now: Instant::from_millis(1), effects: Effects::new() }
    }

    /// Feeds one input and returns the last message sent in answer.
    pub(crate) fn input(&mut self, input: TrackerInput) -> Option<TrackerMessage> {
        self.now.0 += 1;
        self.tracker.handle(self.now, input, &mut self.effects);
        self.effects.drain().fold(None, |last, effect| match effect {
            TrackerEffect::Send { msg, .. } => Some(msg),
            TrackerEffect::Probe { .. } | TrackerEffect::Close { .. } | TrackerEffect::Report(_) => last,
        })
    }

    pub(crate) fn ask(&mut self, link: u64, msg: TrackerRequest) -> Option<TrackerMessage> {
        self.input(TrackerInput::Request { link: LinkId(link), msg })
    }

    /// Peer number `peer` joins over the link of this number.
    pub(crate) fn join(&mut self, peer: u64) {
        let ip = Ipv4Addr::from(0x0a00_0000 + u32::try_from(peer % (1 << 24)).unwrap_or_default());
        let addr = SocketAddr::new(ip.into(), 40_000);
        self.input(TrackerInput::LinkUp { link: LinkId(peer), peer: PeerId(hash(peer)), addr });
        let name = format!("peer-{peer}@host");
        self.ask(peer, TrackerRequest::Join { seq: 0, name, any_name: false, listen_port: 0, token: None });
    }

    /// `peers` peers with `each` contents of their own.
    pub(crate) fn of(peers: u64, each: u64) -> Self {
        let mut crowd = Self::new();
        for peer in 0..peers {
            crowd.join(peer);
            for ads in batches(peer * each, each) {
                crowd.ask(peer, TrackerRequest::Announce { seq: 0, ads });
            }
        }
        crowd
    }
}

/// The ads of `count` contents from number `first` on, in messages as full as they may be.
pub(crate) fn batches(first: u64, count: u64) -> Vec<Vec<Ad>> {
    let ads: Vec<Ad> = (first..first + count).map(ad).collect();
    ads.chunks(limits::ADS_PER_MESSAGE).map(<[Ad]>::to_vec).collect()
}

/// A whole content of one piece, under a name as people have them, of about 35 bytes.
pub(crate) fn ad(number: u64) -> Ad {
    const WORDS: [&str; 16] = [
        "Holiday", "report", "Lecture", "backup", "Mixtape", "scan", "IMG", "final", "draft", "Season",
        "chapter", "invoice", "Concert", "notes", "dataset", "übung",
    ];
    const ENDINGS: [&str; 8] = ["mkv", "jpg", "pdf", "tar.gz", "mp3", "txt", "iso", "flac"];
    let random = hash(number);
    let word = |at: usize| WORDS[usize::from(random[at] % 16)];
    let name = format!(
        "{} {} {} {number:07}.{}",
        word(0),
        word(1),
        2000 + u32::from(random[2] % 27),
        ENDINGS[usize::from(random[3] % 8)]
    );
    Ad { key: key(number), kind: Kind::File, name, member: false, pieces: 1, total: 1 }
}

pub(crate) fn key(number: u64) -> ContentKey {
    ContentKey { id: ContentId(hash(number)), length: 1000 + number % 100_000 }
}

fn hash(number: u64) -> [u8; 32] {
    *blake3::hash(&number.to_le_bytes()).as_bytes()
}
