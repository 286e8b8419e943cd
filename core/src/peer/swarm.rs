//! One content: what is held of it, who else takes part, and, while it is being downloaded, how far that has come.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::content::{Geometry, Kind, PieceSet, PieceTable, SafePath};
use crate::ids::{ChainingValue, ContentKey, DownloadId, LinkId, OpId, PeerId, PieceIndex, Slot};
use crate::limits;
use crate::time::Instant;

use super::io::{Place, StorageFault};
use super::pace::Standing;
use super::picker::Picker;
use super::shares::Offered;

/// How long second copies wait for first ones to be announced, in contents of so many pieces or more.
const CONFIRM: Duration = Duration::from_secs(1);
const CONFIRMED_PIECES_MIN: u32 = 64;
/// A piece of which the others have so many copies can be had elsewhere, though perhaps not by everybody at once.
const COPIES_ELSEWHERE: usize = 2;
/// Who took from here at most one in so many of its pieces lives on others. (Of 256 peers around a holder four times as fast
/// as they are each lives on others by far: it gave 1.32 copies instead of 1.58, and nobody finished later.)
const OF_US_ONE_IN: u64 = 8;
/// Among fewer partners the holder's uplink is a good part of all uplinks: eight would get their last pieces later without it.
const CROWD: usize = 32;
/// Silent turns after which a holder does not count as one.
const STRIKES_MAX: u32 = 2;
/// Who is too busy for so long does not count either: others are looked for, lest a few who always say so keep a download from
/// an honest holder.
const PUTS_OFF_MAX: Duration = Duration::from_secs(10);
/// A download waits, and says so, once all that could give something were too busy for so long: somebody may say so for ever.
/// Behind a slow uplink the next turn among thirty comes after a minute.
const BUSY_MAX: Duration = Duration::from_secs(120);
/// Pieces looked at in one search for one that was not given away.
const UNGIVEN_SCAN: u32 = 4096;

/// Number of a swarm in its peer, counted up and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SwarmId(pub(super) u64);

/// Pieces held by somebody; a complete holder needs no bits.
#[derive(Clone, Debug)]
pub(super) enum Held {
    All,
    Some(PieceSet),
}

impl Held {
    pub(super) fn contains(&self, piece: PieceIndex) -> bool {
        match self {
            Self::All => true,
            Self::Some(set) => set.contains(piece),
        }
    }

    pub(super) fn set(&self) -> Option<&PieceSet> {
        match self {
            Self::All => None,
            Self::Some(set) => Some(set),
        }
    }

    pub(super) const fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }

    pub(super) fn is_none(&self) -> bool {
        matches!(self, Self::Some(set) if set.is_empty())
    }

    pub(super) fn count(&self, pieces: u32) -> u32 {
        match self {
            Self::All => pieces,
            Self::Some(set) => set.count(),
        }
    }
}

/// The far end of a link, as a member of this swarm.
#[derive(Debug)]
pub(super) struct Partner {
    /// Since when it takes part.
    pub(super) joined: Instant,
    /// Own slot on the link, under which chunks for us arrive.
    pub(super) mine: Slot,
    /// Its slot, once its `Join` came.
    pub(super) theirs: Option<Slot>,
    pub(super) have: Held,
    /// It has said what it holds, or is taken to hold all.
    pub(super) told: bool,
    /// It holds all of a folder, members included.
    pub(super) everything: bool,
    /// It can give the piece table, as far as is known.
    pub(super) has_table: bool,

    /// Pieces asked of it, with at least one chunk outstanding or to be asked.
    pub(super) asked: BTreeSet<PieceIndex>,
    /// Open choices: candidates with the operation under which each may arrive.
    pub(super) choices: BTreeMap<u32, Vec<(PieceIndex, OpId)>>,
    /// It was busy or silent: nothing is asked before this.
    pub(super) not_before: Option<Instant>,
    /// How often in a row it was silent.
    pub(super) strikes: u32,
    /// Since when it has been too busy for all that it was asked for.
    pub(super) puts_off: Option<Instant>,
    /// How often in a row it lacked what it was asked for.
    pub(super) lacked: u32,
    /// Pieces of which it sent wrong bytes: not asked of it again.
    pub(super) bad: BTreeSet<PieceIndex>,
    /// How many of them it took back.
    pub(super) forgiven: u32,
    /// Pieces for which it will be blamed unless it retracts: since when, and the ping to be answered before.
    pub(super) suspected: BTreeMap<PieceIndex, (Instant, u32)>,
    /// Nothing is asked of it for this content any more.
    pub(super) dropped: bool,
    /// Nothing is open that it could give, so it is not searched in vain again: until a piece of its own is opened, or it
    /// has more.
    pub(super) exhausted: bool,

    /// Pieces sent to it that it has not announced.
    pub(super) given: BTreeSet<PieceIndex>,
    /// Payload bytes of this content alone sent to it; the same piece counts as often as it was sent.
    pub(super) taken_bytes: u64,
    /// How many pieces it had when it was last sent elsewhere.
    pub(super) sent_elsewhere: u32,
    /// Payload bytes sent to it; of a folder those of its members, too.
    pub(super) sent_bytes: u64,
    pub(super) uploading: bool,
}

impl Partner {
    pub(super) fn new(now: Instant, mine: Slot, have: Held) -> Self {
        Self {
            joined: now,
            mine,
            theirs: None,
            told: have.is_all(),
            have,
            everything: false,
            has_table: false,
            asked: BTreeSet::new(),
            choices: BTreeMap::new(),
            not_before: None,
            strikes: 0,
            puts_off: None,
            lacked: 0,
            bad: BTreeSet::new(),
            forgiven: 0,
            suspected: BTreeMap::new(),
            dropped: false,
            exhausted: false,
            given: BTreeSet::new(),
            taken_bytes: 0,
            sent_elsewhere: 0,
            sent_bytes: 0,
            uploading: false,
        }
    }

    /// May something be asked of it now?
    pub(super) fn is_askable(&self, now: Instant) -> bool {
        !self.dropped && self.not_before.is_none_or(|at| at <= now)
    }

    /// Does it answer, if only that it is busy? Not who was silent turn after turn.
    pub(super) const fn answers(&self) -> bool {
        !self.dropped && self.strikes < STRIKES_MAX
    }

    /// Does it count as somebody who may give something? Not who was too busy for long.
    pub(super) fn counts(&self, now: Instant) -> bool {
        self.answers() && self.puts_off.is_none_or(|since| now.since(since) < PUTS_OFF_MAX)
    }

    /// Does it answer, and was it not too busy for too long?
    pub(super) fn may_give(&self, now: Instant) -> bool {
        self.answers() && self.puts_off.is_none_or(|since| now.since(since) < BUSY_MAX)
    }

    /// It gave something.
    pub(super) const fn gave(&mut self) {
        self.strikes = 0;
        self.lacked = 0;
        self.puts_off = None;
    }

    /// May the piece table be asked of it?
    pub(super) fn gives_table(&self) -> bool {
        !self.dropped && (self.has_table || !self.have.is_none())
    }

    /// May this piece be asked of it, some time?
    pub(super) fn offers(&self, piece: PieceIndex) -> bool {
        !self.dropped && self.have.contains(piece) && !self.bad.contains(&piece)
    }
}

/// What has arrived of a piece that is not verified yet.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) values: Vec<Option<ChainingValue>>,
    pub(super) count: u16,
    /// Who sent how many bytes of it; of two, nobody can be blamed alone.
    pub(super) from: BTreeMap<(PeerId, LinkId), (SocketAddr, u64)>,
}

/// One link's part in fetching a piece.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) link: LinkId,
    /// First chunk not asked of it yet.
    pub(super) next: u16,
    /// Operations under which chunks may arrive.
    pub(super) ops: Vec<OpId>,
}

/// A piece table on its way: from one holder at a time, since only all of it can be checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Collecting {
    pub(super) values: Vec<ChainingValue>,
    pub(super) from: Option<LinkId>,
    /// Since when that one is asked.
    pub(super) since: Instant,
    pub(super) tried: BTreeSet<LinkId>,
    /// How often all holders had been tried, and none was quick enough.
    pub(super) rounds: u32,
}

/// How far a download of one content has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its place is being opened.
    Opening { op: OpId },
    /// The piece table is being collected.
    Table(Collecting),
    /// Pieces are being fetched.
    Running,
    /// The disk refused; tried again by timer.
    Paused(StorageFault),
    /// All pieces are verified; it is being put in place.
    Finishing { op: OpId },
    /// All bytes are here; a folder's members are still being fetched.
    Filled,
}

/// A content that is being downloaded.
#[derive(Debug)]
pub(super) struct Fetching {
    pub(super) download: DownloadId,
    pub(super) place: Place,
    pub(super) phase: Phase,
    pub(super) picker: Picker,
    /// Pieces asked of somebody; at most two asks each, the second in the end game.
    pub(super) asked: BTreeMap<PieceIndex, Vec<Ask>>,
    pub(super) arrived: BTreeMap<PieceIndex, Arrived>,
    /// All operations under which a piece that is not held was ever asked for.
    pub(super) runs: BTreeMap<PieceIndex, Vec<OpId>>,
    /// Pieces whose chunks came from several and did not fit: to be fetched from one.
    pub(super) undivided: BTreeSet<PieceIndex>,
    /// The last piece is verified, and with it the length.
    pub(super) proven: bool,
    pub(super) reserving: Option<OpId>,
    /// When the tracker was asked for a sample of holders last.
    pub(super) sampled: Instant,
    /// Verified since the last sync began.
    pub(super) unsynced: Vec<PieceIndex>,
    /// The sync that runs, and what it covers.
    pub(super) syncing: Option<(OpId, Vec<PieceIndex>)>,
    /// Wait for this content, to be copied when it is complete.
    pub(super) followers: Vec<Place>,
    /// Its place has been opened.
    pub(super) opened: bool,
    /// How we stand among its partners, as counted last.
    pub(super) standing: Standing,
}

impl Fetching {
    /// A download lacks this content: it fetches it, or waits for the bytes of another that does.
    pub(super) fn is_for(&self, download: DownloadId) -> bool {
        self.download == download || self.followers.iter().any(|place| place.download() == download)
    }
}

/// A way to reach a possible holder.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) peer: Option<PeerId>,
    pub(super) tries: u32,
    pub(super) next: Instant,
    /// The tracker knows that it cannot be dialed.
    pub(super) undialable: bool,
    /// Pieces that the tracker knows it to hold.
    pub(super) holds: Option<u32>,
}

/// One content and its members.
#[derive(Debug)]
pub(super) struct Swarm {
    pub(super) key: ContentKey,
    pub(super) kind: Kind,
    pub(super) name: String,
    /// Part of a folder.
    pub(super) member: bool,
    /// Bytes of all of it; of a folder those of its files, 0 while its listing is not read.
    pub(super) total: u64,
    pub(super) geometry: Geometry,
    pub(super) table: Option<Arc<PieceTable>>,
    pub(super) held: Held,
    /// The driver can read all of it: it was shared, or is finished.
    pub(super) complete: bool,
    /// It stands only in the staging place of this folder.
    pub(super) staged: Option<DownloadId>,
    pub(super) partners: BTreeMap<LinkId, Partner>,
    pub(super) fetching: Option<Box<Fetching>>,
    /// Verified pieces that no partner was told of yet.
    pub(super) news: Vec<PieceIndex>,
    /// Pieces that are held and could not be read when they were asked for.
    pub(super) unreadable: BTreeSet<PieceIndex>,
    /// Offered while it is being downloaded: what stays of it should the download end without it.
    pub(super) offered: Option<Box<Offered>>,
    /// Where more partners may be found.
    pub(super) candidates: BTreeMap<SocketAddr, Candidate>,
    /// Holders that accept no links: they are asked to dial.
    pub(super) invited: BTreeSet<PeerId>,
    /// Names of the only peers to fetch from; empty: all.
    pub(super) only_from: Vec<String>,
    /// Of every piece below this that is held, somebody else has a copy. Back to zero when a partner leaves.
    pub(super) given_below: u32,
    /// Since all was given first copies are waited for, until then.
    pub(super) confirmed_by: Option<Instant>,
    /// More candidates are dialed from here on.
    pub(super) next_wave: Instant,
}

impl Swarm {
    pub(super) fn new(key: ContentKey, kind: Kind, name: String, geometry: Geometry, held: Held) -> Self {
        let name = label(key, name);
        Self {
            key,
            kind,
            name,
            member: false,
            total: if kind == Kind::File { key.length } else { 0 },
            geometry,
            table: None,
            held,
            complete: false,
            news: Vec::new(),
            unreadable: BTreeSet::new(),
            staged: None,
            partners: BTreeMap::new(),
            fetching: None,
            offered: None,
            candidates: BTreeMap::new(),
            invited: BTreeSet::new(),
            only_from: Vec::new(),
            given_below: 0,
            confirmed_by: None,
            next_wave: Instant::ZERO,
        }
    }

    /// Its pieces are being fetched right now.
    pub(super) fn is_running(&self) -> bool {
        self.fetching.as_ref().is_some_and(|f| f.phase == Phase::Running)
    }

    /// It could use partners. A folder whose listing is complete needs them for its members.
    pub(super) fn wants_partners(&self) -> bool {
        self.fetching.as_ref().is_some_and(|f| match f.phase {
            Phase::Table(_) | Phase::Running | Phase::Filled => true,
            Phase::Opening { .. } | Phase::Paused(_) | Phase::Finishing { .. } => false,
        })
    }

    /// Partners known to have all.
    pub(super) fn complete_partners(&self) -> usize {
        self.partners.values().filter(|p| p.have.is_all() && !p.dropped).count()
    }

    /// Copies of a piece among the partners: announced, or given by us and not announced yet.
    pub(super) fn copies(&self, piece: PieceIndex) -> usize {
        self.partners.values().filter(|p| p.have.contains(piece) || p.given.contains(&piece)).count()
    }

    /// Is a partner sent elsewhere for a piece of which there are so many copies? A holder of all gave everything once, and
    /// spares its uplink where it is not needed: for who has nearly all from others, and got more since it was sent
    /// elsewhere last. So nobody waits in vain.
    pub(super) fn sends_elsewhere(&mut self, link: LinkId, copies: usize) -> bool {
        if !self.complete || copies < COPIES_ELSEWHERE || self.partners.len() < CROWD {
            return false;
        }
        let (pieces, piece_length) = (self.pieces(), self.geometry.piece_length());
        let Some(partner) = self.partners.get_mut(&link) else { return false };
        let has = partner.have.count(pieces);
        let from_others = u64::from(has) * piece_length >= partner.taken_bytes.saturating_mul(OF_US_ONE_IN);
        let elsewhere = from_others && has > partner.sent_elsewhere;
        if elsewhere {
            partner.sent_elsewhere = has;
        }
        elsewhere
    }

    /// Is there a piece here that nobody else has got yet? Looks on from where the last search ended, a bounded way.
    pub(super) fn has_ungiven(&mut self) -> bool {
        let end = self.pieces().min(self.given_below.saturating_add(UNGIVEN_SCAN));
        while self.given_below < end {
            let piece = PieceIndex(self.given_below);
            if self.held.contains(piece) && self.copies(piece) == 0 {
                return true;
            }
            self.given_below += 1;
        }
        false
    }

    /// Has everything been given to somebody, and is some first copy not known to have come? Its holder should not be busy
    /// with second copies meanwhile: should it go, what is on its way is lost. It is waited for a short while.
    pub(super) fn has_first_copies_on_their_way(&mut self, now: Instant) -> bool {
        if self.pieces() < CONFIRMED_PIECES_MIN {
            return false;
        }
        // The search ends after a bounded way, perhaps before the last piece.
        if self.has_ungiven() || self.given_below < self.pieces() {
            self.confirmed_by = None;
            return false;
        }
        if now >= *self.confirmed_by.get_or_insert(now + CONFIRM) {
            return false;
        }
        let mut given = self.partners.values().flat_map(|p| &p.given);
        given.any(|piece| !self.partners.values().any(|p| p.have.contains(*piece)))
    }

    pub(super) fn pieces(&self) -> u32 {
        self.geometry.pieces()
    }

    pub(super) fn piece_bytes(&self, piece: PieceIndex) -> u64 {
        self.geometry.piece_bytes(piece).unwrap_or(0)
    }
}

/// What a name is looked up by: short, and of names that others chose no two are likely to share one.
pub(super) fn name_hash(name: &str) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(name.as_bytes()).as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// The name under which a content is announced: of a path that is too long for a name the end of it, of what is no name the
/// id. A tracker would refuse it, and with it all that is announced beside it.
pub(super) fn label(key: ContentKey, name: String) -> String {
    match SafePath::parse(&name) {
        Ok(path) if name.len() > limits::NAME_BYTES_MAX => path.file_name().as_str().to_owned(),
        Ok(_) => name,
        Err(_) => key.id.to_string(),
    }
}
