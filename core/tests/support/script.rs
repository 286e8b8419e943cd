//! Byte scripts: any bytes are read as a sequence of inputs to a machine, type-correct and otherwise as wrong as can be, with
//! its invariants checked after each. What tests and fuzz targets share; `peer_script` and `tracker_script` panic where the
//! machine's contract is broken.
//!
//! A script draws from a small world (a few peers, contents, links, numbers), so that inputs refer to each other: completions
//! quote operations that were asked for, messages name slots that were given out. Every choice is one byte, so that a script
//! that fails can be made shorter.

#[path = "script_peer.rs"]
mod peer;
#[path = "synthetic.rs"]
mod synthetic;
#[path = "script_tracker.rs"]
mod tracker;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;
use std::time::Duration;

use potluck_core::Machine;
use potluck_core::content::{Kind, Listing, ListingEntry, Node, SafePath};
use potluck_core::effects::Effects;
use potluck_core::ids::{ContentId, ContentKey, PeerId, SessionToken};
use potluck_core::limits;
use potluck_core::time::Instant;
use potluck_core::wire::WireMessage;
use potluck_core::wire::tracker::Reach;

pub(crate) use peer::peer_script;
use synthetic::Synthetic;
pub(crate) use tracker::tracker_script;

/// Ticks at one instant after which a machine must have come to rest.
const TICKS_MAX: usize = 64;

/// Reads choices from bytes; when these are used up, every choice is the first.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, n: usize) -> usize {
        if n <= 1 { 0 } else { usize::from(self.byte()) % n }
    }

    /// True for about one byte in `n`, never for the byte 0.
    fn rarely(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    fn one_of<T: Clone>(&mut self, these: &[T]) -> Option<T> {
        if these.is_empty() { None } else { these.get(self.below(these.len())).cloned() }
    }

    fn some<T>(&mut self, most: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(most + 1)).map(|_| make(self)).collect()
    }

    /// Small numbers, bounds, and numbers beyond all bounds.
    fn number(&mut self) -> u32 {
        match self.below(16) {
            12 => u32::MAX,
            13 => 1 << 20,
            14 => 1024 + u32::from(self.byte()),
            15 => u32::from(self.byte()),
            small => small as u32,
        }
    }

    fn pause(&mut self) -> Duration {
        Duration::from_millis(match self.byte() {
            0 => 0,
            1..80 => 1,
            80..160 => 15,
            160..200 => 80,
            200..220 => 300,
            220..240 => 1100,
            240..250 => 2600,
            250..253 => 6000,
            253 | 254 => 16_000,
            255 => 40_000,
        })
    }

    fn peer(&mut self) -> PeerId {
        PeerId([self.below(6) as u8; 32])
    }

    fn ip(&mut self) -> IpAddr {
        let ips = [
            IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
            IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)),
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
            IpAddr::V6(Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped()),
        ];
        self.one_of(&ips).unwrap_or(ips[0])
    }

    fn addr(&mut self) -> SocketAddr {
        let ip = self.ip();
        SocketAddr::new(ip, self.port())
    }

    fn port(&mut self) -> u16 {
        self.one_of(&[1000, 1001, 1002, 0, u16::MAX]).unwrap_or(1000)
    }

    fn reach(&mut self) -> Reach {
        let ip = if self.rarely(4) { None } else { Some(self.ip()) };
        Reach { ip, port: self.port(), dialable: self.rarely(2) }
    }

    fn name(&mut self) -> String {
        let names = ["anna", "bob", "", "a b", "\u{202e}evil", "..", "ANNA", "a%*?[", "0123456789abcdef"];
        match self.below(names.len() + 2) {
            9 => "n".repeat(2000),
            10 => "ü".repeat(50),
            i => names[i].to_owned(),
        }
    }

    fn token(&mut self) -> SessionToken {
        SessionToken([self.byte(); 16])
    }

    /// Mostly one of many pieces, so that scripts meet at the same.
    fn which_content(&mut self) -> usize {
        self.one_of(&[3, 3, 4, 3, 4, 0, 3, 4, 3, 0, 1, 2, 5, 6, 7, 6]).unwrap_or(0)
    }

    fn content(&mut self) -> &'static Content {
        &CONTENTS[self.which_content()]
    }

    /// The key of a content, or one that nothing has.
    fn key(&mut self) -> ContentKey {
        let content = self.content();
        match self.below(16) {
            13 => ContentKey { length: content.key.length ^ 1, ..content.key },
            14 => ContentKey { length: limits::CONTENT_BYTES_MAX + 1, ..content.key },
            15 => ContentKey { id: ContentId([7; 32]), length: [0, 1, 1 << 44][self.below(3)] },
            _ => content.key,
        }
    }
}

/// A content of the small world.
struct Content {
    key: ContentKey,
    kind: Kind,
    synthetic: Synthetic,
    listing: Option<std::sync::Arc<Listing>>,
}

/// From no byte to several chunks per piece; the last two are folders with some of the others as members.
static CONTENTS: LazyLock<Vec<Content>> = LazyLock::new(|| {
    let lengths = [700 << 10, 1000, 0, 40 * (256 << 10) + 5, (1 << 29) + 300_000, 300_000];
    let files: Vec<Synthetic> =
        lengths.iter().zip(0..).map(|(length, salt)| Synthetic::new(*length, salt)).collect();
    let entry = |path: &str, key| ListingEntry {
        path: SafePath::parse(path).expect("a safe path"),
        node: Node::File { key, executable: false, mtime_ns: 0 },
    };
    let small = vec![entry("a", files[0].key), entry("b/c", files[1].key), entry("b/d", files[0].key)];
    let odd = vec![entry("x", files[2].key), entry("y", files[5].key), entry("z", files[3].key)];
    let folders = [(2000, 100, small), (600 << 10, 101, odd)].map(|(length, salt, entries)| {
        let synthetic = Synthetic::new(length, salt);
        let listing = Some(std::sync::Arc::new(Listing::new(entries).expect("a listing")));
        Content { key: synthetic.key, kind: Kind::Folder, synthetic, listing }
    });
    let files = files.into_iter().map(|synthetic| Content {
        key: synthetic.key,
        kind: Kind::File,
        synthetic,
        listing: None,
    });
    files.chain(folders).collect()
});

/// What happened lately, to be read where a script fails.
#[derive(Debug, Default)]
struct Story(VecDeque<String>);

impl Story {
    const LINES: usize = 60;

    fn tell(&mut self, now: Instant, what: &impl std::fmt::Debug) {
        if self.0.len() >= Self::LINES {
            self.0.pop_front();
        }
        let mut line = format!("{:>6} ms {what:?}", now.0 / 1_000_000);
        line.truncate(line.floor_char_boundary(300));
        self.0.push_back(line);
    }
}

/// Plays a script; a panic is passed on with what led to it.
fn play<R>(run: &mut R, bytes: &[u8], step: impl Fn(&mut R, &mut Choices<'_>), story: impl Fn(&R) -> &Story) {
    let mut choices = Choices(bytes);
    let played = catch_unwind(AssertUnwindSafe(|| {
        while !choices.is_over() {
            step(run, &mut choices);
        }
    }));
    if let Err(cause) = played {
        let text = cause.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| cause.downcast_ref::<&str>().copied()).unwrap_or("a panic");
        let lines: Vec<&str> = story(run).0.iter().map(String::as_str).collect();
        panic!("{text}\n{}", lines.join("\n"));
    }
}

/// The message, if a reader would let it in.
fn sendable<M: WireMessage>(msg: M) -> Option<M> {
    let mut body = Vec::new();
    msg.encode_body(&mut body);
    M::body_bytes_max(msg.kind()).filter(|max| body.len() <= *max as usize).map(|_| msg)
}

/// A message is one that the far end will accept.
fn check_message<M: WireMessage + PartialEq + std::fmt::Debug>(msg: &M) {
    let mut body = Vec::new();
    msg.encode_body(&mut body);
    let max = M::body_bytes_max(msg.kind()).expect("a known kind");
    assert!(body.len() <= max as usize, "{} of {} bytes is over its cap", msg.name(), body.len());
    assert_eq!(M::decode_body(msg.kind(), &body).as_ref(), Ok(msg), "{} survives its encoding", msg.name());
}

/// The same input to two equal machines: the second reads it from a recording. What the first answers.
fn handle_twice<M>(now: Instant, input: M::Input, machines: &mut [M; 2]) -> Vec<M::Effect>
where
    M: Machine,
    M::Input: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
    M::Effect: PartialEq + std::fmt::Debug,
{
    let recorded = serde_json::to_string(&input).expect("an input can be recorded");
    let replayed: M::Input = serde_json::from_str(&recorded).expect("a recording can be read");
    assert_eq!(replayed, input, "a recording says what happened");
    let [first, second] = machines;
    let mut out = Effects::new();
    first.handle(now, input, &mut out);
    let mut again = Effects::new();
    second.handle(now, replayed, &mut again);
    let effects: Vec<M::Effect> = out.drain().collect();
    assert!(effects.iter().eq(again.iter()), "the same inputs give the same effects");
    assert_eq!(first.deadline(), second.deadline(), "and the same deadline");
    assert!(effects.len() <= limits::EFFECTS_PER_INPUT_MAX, "{} effects of one input", effects.len());
    effects
}
