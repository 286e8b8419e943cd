//! The objects that `--json` prints: a contract that tools depend on. Fields are only ever added.

use std::net::SocketAddr;

use potluck_core::content::Kind;
use potluck_core::ids::{ContentId, PeerId, PieceIndex};
use potluck_core::wire::tracker::Row;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::exit::Failure;

/// One line of output for programs. Peers appear by name; `bytes`, `total` and `size` are bytes, `rate` is bytes per second.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event<'a> {
    /// Links are accepted at `addr`, which others can type.
    Listening { addr: SocketAddr },
    /// The tracker knows us, and what we share is registered.
    Joined {
        tracker: SocketAddr,
        #[serde(rename = "as")]
        name: &'a str,
        peer_id: PeerId,
        contents: u32,
    },
    /// The reader was slow: so many events are missing, since the last of these.
    Lagged { missed: u64 },
    /// What we share has changed, and the tracker knows.
    Registered { contents: u32 },
    /// The tracker does not answer; it is tried again until it does.
    TrackerLost { tracker: SocketAddr },
    /// The tracker does not let us join; it is tried again.
    JoinRefused { tracker: SocketAddr, why: &'a str },
    /// The tracker does not list so many of our contents; it is asked again.
    Refused { contents: u32, why: &'a str },
    /// A path is being hashed.
    Hashing { path: &'a str, bytes: u64, total: u64 },
    /// A path can be fetched.
    Sharing { id: ContentId, kind: Kind, name: &'a str, bytes: u64, ticket: &'a str },
    /// A shared file changed; it is offered no longer.
    Withdrawn { id: ContentId },
    /// Somebody began to fetch from us.
    UploadBegan { peer: &'a str, id: ContentId },
    /// Somebody ended fetching from us.
    UploadEnded { peer: &'a str, id: ContentId, bytes: u64, complete: bool },
    /// What an interrupted download left is being looked at.
    Checking { id: ContentId, bytes: u64, total: u64 },
    /// Verified bytes so far.
    Progress { id: ContentId, bytes: u64, total: u64, rate: u64, holders: usize, sources: &'a [Source] },
    /// The download cannot go on at present; `missing` are pieces, as inclusive ranges.
    Waiting { id: ContentId, reason: &'a str, missing: &'a [(PieceIndex, PieceIndex)] },
    /// The verified file stands at `path`.
    Done { path: &'a str, id: ContentId, bytes: u64, seconds: f64, sources: &'a [Source] },
    /// A file (or empty folder) that would be fetched, `path` below the target's.
    WouldFetch { path: &'a str, kind: Kind, id: Option<ContentId>, bytes: u64 },
    /// What would be fetched in all, and where it would go (`get --dry-run`).
    Planned { path: &'a str, id: ContentId, kind: Kind, files: u64, bytes: u64 },
    /// A download began; `holders` is what the tracker says (`peer`).
    Fetching {
        id: ContentId,
        name: &'a str,
        path: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        holders: Option<u32>,
    },
    /// A download was stopped by a command.
    Stopped { name: &'a str },
    /// A row of `downloads`; `state` is running, stopped, paused, done or failed.
    Download {
        id: ContentId,
        name: &'a str,
        path: &'a str,
        state: &'a str,
        bytes: u64,
        total: u64,
        rate: u64,
        holders: usize,
    },
    /// Why a download is as fast as it is; `missing` are pieces, `limit` is our own cap (0: none).
    Explain {
        id: ContentId,
        stage: &'a str,
        bytes: u64,
        total: u64,
        rate: u64,
        missing: &'a [(PieceIndex, PieceIndex)],
        missing_bytes: u64,
        unreachable_bytes: u64,
        limit: u64,
        holders: &'a [Explained],
    },
    /// A row of `local`; `state` is shared, not_shared, waiting, hashing, partial or refused.
    Local {
        name: &'a str,
        kind: Kind,
        bytes: u64,
        state: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<ContentId>,
    },
    /// Something is shared no longer, since a command said so.
    Unshared { path: &'a str },
    /// We have another name.
    Renamed { name: &'a str },
    /// The network was left by a command; so many downloads are paused.
    LeftNetwork { paused: usize },
    /// Caps on the rates, in bytes per second; 0: none.
    Limits { up: u64, down: u64 },
    /// Several are meant: the next line says which, by number (from 1) or as it stands here; or `cancel`.
    Choose { choices: &'a [&'a str] },
    /// While no tracker answers: a peer said whether it has what is wanted.
    Heard { peer: &'a str, has: bool },
    /// A command of the shell is done; one that fails gives an `error` with its `command`.
    Answered { command: &'a str },
    /// A peer whose offers are accepted offers a content; it is being fetched.
    Offered { peer: &'a str, id: ContentId, kind: Kind, name: &'a str, bytes: u64 },
    /// How much of what is pushed a peer has: `state` is `offered`, `fetching`, `done`, `refused` or `stuck`.
    Push { peer: &'a str, state: &'a str, bytes: u64, total: u64, reason: Option<&'a str> },
    /// What `doctor` found; `state` is `ok`, `warning` or `failed`, `advice` what to do.
    Check { check: &'a str, state: &'a str, found: &'a str, advice: Option<&'a str> },
    /// A part file was removed.
    Discarded { path: &'a str, id: ContentId },
    /// A remote was at fault; `banned`: for everything, else for this content or link.
    Misbehaved { peer: &'a str, addr: SocketAddr, what: &'a str, banned: bool },
    /// A holder took back what it had sent.
    Retracted { peer: &'a str, id: ContentId },
    /// A scenario that comes with potluck.
    Scenario { name: &'a str, about: &'a str },
    /// Figures of a simulated run; `faults` by kind.
    Report {
        #[serde(flatten)]
        report: &'a potluck_sim::Report,
        faults: &'a std::collections::BTreeMap<potluck_sim::FaultKind, u64>,
    },
    /// What a seed stands for (`sim replay --plan`).
    Plan { plan: &'a potluck_sim::Plan },
    /// How a simulated run goes: nanoseconds since its start, and pieces verified of those that all downloads have.
    Simulating { at: u64, pieces: u64, of: u64, inputs: u64 },
    /// How an exploration goes; `rate` is seeds per second.
    Exploring { seeds: u64, rate: f64, faults: u64, failures: usize },
    /// What an exploration came to.
    Explored {
        seconds: f64,
        #[serde(flatten)]
        findings: &'a potluck_sim::Findings,
    },
    /// A check did not hold in a simulated run; `at` is nanoseconds since its start.
    Violation { seed: u64, at: u64, host: u32, check: &'a str, replay: &'a str },
    /// A recording was replayed; `span` is nanoseconds.
    Replayed {
        machine: &'a str,
        #[serde(flatten)]
        replayed: &'a potluck_sim::Replayed,
    },
    /// A row of what the network has.
    Content {
        #[serde(flatten)]
        row: ContentRow,
        #[serde(skip_serializing_if = "Option::is_none")]
        holders: Option<Vec<String>>,
    },
    /// Somebody who holds (a part of) it.
    Holder { peer: &'a str, addr: SocketAddr, complete: bool, pieces: u32, of: u32 },
    /// Somebody who is here.
    Peer { peer: &'a str, addr: SocketAddr },
    /// Somebody left (`peers --watch`).
    Left { peer: &'a str },
    /// What a content is made of: `pieces` of `piece_bytes`, the last may be short; of a folder, those of its listing.
    Info {
        #[serde(flatten)]
        row: ContentRow,
        piece_bytes: u64,
        pieces: u32,
    },
    /// The id of a path.
    Hash { id: ContentId, kind: Kind, path: &'a str, bytes: u64 },
    /// What is meant to be read as it is: a manual page, a script for a shell.
    Text { text: &'a str },
    /// A step of the demonstration.
    Demo { step: &'a str },
    /// Before an exit that is not 0.
    Error {
        code: u8,
        message: &'a str,
        #[serde(flatten)]
        fields: &'a Map<String, Value>,
    },
}

impl<'a> Event<'a> {
    pub(crate) fn error(failure: &'a Failure) -> Self {
        Self::Error { code: failure.code as u8, message: &failure.message, fields: &failure.fields }
    }
}

/// One holder's part in `explain`; bytes, and bytes per second.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Explained {
    pub(crate) peer: String,
    pub(crate) addr: SocketAddr,
    pub(crate) state: &'static str,
    pub(crate) delivered: u64,
    pub(crate) rate: u64,
    pub(crate) inflight: u64,
    /// Missing bytes that it has.
    pub(crate) needed: u64,
    /// Missing bytes that only it has.
    pub(crate) only: u64,
}

/// How much of a download came from whom.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Source {
    pub(crate) peer: String,
    pub(crate) bytes: u64,
}

/// A content as the tracker lists it; `complete` and `partial` are numbers of holders.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ContentRow {
    pub(crate) id: ContentId,
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) complete: u32,
    pub(crate) partial: u32,
}

/// Bytes that a row stands for. A folder's are what its holders state; a file's are part of what it is.
pub(crate) fn size(row: &Row) -> u64 {
    match row.kind {
        Kind::File => row.key.length,
        Kind::Folder => row.total,
    }
}

impl From<&Row> for ContentRow {
    fn from(row: &Row) -> Self {
        Self {
            id: row.key.id,
            kind: row.kind,
            name: row.name.clone(),
            bytes: size(row),
            complete: row.complete,
            partial: row.partial,
        }
    }
}
