//! One established link to another peer, over all swarms that the two share.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use crate::bucket::Bucket;
use crate::ids::{OpId, PeerId, PieceIndex, Slot};
use crate::limits::CHUNK_BYTES;
use crate::time::Instant;
use crate::wire::peer::RequestRef;

use super::rate::RateMeter;
use super::spare::Spare;
use super::swarm::SwarmId;

/// Something that the far end asked for and that is not sent yet.
#[derive(Clone, Debug)]
pub(super) enum Want {
    /// Chunks `next .. end` of a piece, perhaps of one that was left to choose.
    Run { swarm: SwarmId, slot: Slot, piece: PieceIndex, next: u16, end: u16, choice: Option<u32> },
    /// One whole piece of these, of at most `chunks` chunks; turned into a `Run` when its turn comes.
    Any { swarm: SwarmId, slot: Slot, choice: u32, pieces: Vec<PieceIndex>, chunks: u16 },
}

impl Want {
    pub(super) const fn swarm(&self) -> SwarmId {
        match self {
            Self::Run { swarm, .. } | Self::Any { swarm, .. } => *swarm,
        }
    }

    pub(super) const fn slot(&self) -> Slot {
        match self {
            Self::Run { slot, .. } | Self::Any { slot, .. } => *slot,
        }
    }

    /// How the asker calls it: which piece was chosen it knows once it got a chunk of it.
    pub(super) const fn which(&self) -> RequestRef {
        match self {
            Self::Any { choice, .. } | Self::Run { choice: Some(choice), next: 0, .. } => {
                RequestRef::Choice(*choice)
            }
            Self::Run { piece, .. } => RequestRef::Piece(*piece),
        }
    }

    fn chunks(&self) -> usize {
        match self {
            Self::Run { next, end, .. } => usize::from(end.saturating_sub(*next)),
            Self::Any { chunks, .. } => usize::from(*chunks),
        }
    }
}

/// A link and what is known of its far end.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) peer: PeerId,
    /// Where the far end is seen.
    pub(super) addr: SocketAddr,
    /// This side dialed.
    pub(super) dialed: bool,
    /// From its `Hello`; empty before.
    pub(super) name: String,
    pub(super) hello: bool,
    /// Where it accepts links, if it does.
    pub(super) listens_at: Option<SocketAddr>,

    /// Since when it is up.
    pub(super) since: Instant,
    /// Since when it takes part in no swarm.
    pub(super) idle: Option<Instant>,
    /// When something came last, a part of a chunk too.
    pub(super) heard: Instant,
    /// When a message came last, or a chunk was whole.
    pub(super) heard_whole: Instant,
    /// The last ping that is not answered, and when it was sent.
    pub(super) pinged: Option<(u64, Instant)>,
    /// Shortest round trip measured.
    pub(super) rtt: Option<Duration>,
    /// Answers that it comes from.
    pub(super) rtt_answers: u8,

    /// Own numbers for contents on this link.
    pub(super) mine: BTreeMap<Slot, SwarmId>,
    /// The folders among these contents.
    pub(super) folders: BTreeSet<SwarmId>,
    pub(super) next_slot: u32,
    /// Swarms in which it takes no part, as it said; it is not asked again before this.
    pub(super) absent: BTreeMap<SwarmId, Instant>,
    /// The far end's numbers, for contents in which both take part.
    pub(super) theirs: BTreeMap<Slot, SwarmId>,

    /// Bytes asked for and not arrived.
    pub(super) inflight: u64,
    pub(super) down: RateMeter,
    /// When a chunk, or a part of one, last arrived, or the first was asked for after none was owed.
    pub(super) progress: Instant,
    /// Shortest time from asking to arrival of a chunk.
    pub(super) delay: Option<Duration>,
    /// It has delivered something.
    pub(super) delivered: bool,
    /// Runs of which something is under way, oldest first.
    pub(super) queue: VecDeque<OpId>,
    /// A piece of which more chunks are to be asked, in this order.
    pub(super) unfinished: VecDeque<(SwarmId, PieceIndex)>,
    /// Pings that were sent to suspects of a bad piece, and the last one that was answered: all that the far end had to say
    /// before has come then.
    pub(super) probes: u32,
    pub(super) probes_answered: u32,
    /// The swarm of which a piece was asked last; it is the turn of those after it.
    pub(super) turn: SwarmId,
    pub(super) next_choice: u32,
    /// It is told what we have at most from here on.
    pub(super) next_find: Instant,
    /// Others that were told of it, and it of others.
    pub(super) introductions: Bucket,
    /// Bytes of piece tables given to it.
    pub(super) tables_given: Bucket,
    /// Those of them that it has not fetched yet.
    pub(super) tables_owed: u64,

    /// Bytes of chunk frames that the writer still takes.
    pub(super) credit: i64,
    pub(super) wants: VecDeque<Want>,
    pub(super) spare: Spare,
    /// When it was served by turns last, not as the neediest.
    pub(super) had_turn: Instant,
}

impl Link {
    pub(super) fn new(now: Instant, peer: PeerId, addr: SocketAddr, dialed: bool) -> Self {
        Self {
            peer,
            addr,
            dialed,
            name: String::new(),
            hello: false,
            listens_at: dialed.then_some(addr),
            since: now,
            idle: Some(now),
            heard: now,
            heard_whole: now,
            pinged: None,
            rtt: None,
            rtt_answers: 0,
            mine: BTreeMap::new(),
            folders: BTreeSet::new(),
            next_slot: 0,
            absent: BTreeMap::new(),
            theirs: BTreeMap::new(),
            inflight: 0,
            down: RateMeter::new(now),
            progress: now,
            delay: None,
            delivered: false,
            queue: VecDeque::new(),
            unfinished: VecDeque::new(),
            probes: 0,
            probes_answered: 0,
            turn: SwarmId(0),
            next_choice: 0,
            next_find: now,
            introductions: Bucket::default(),
            tables_given: Bucket::default(),
            tables_owed: 0,
            credit: 0,
            wants: VecDeque::new(),
            spare: Spare::default(),
            had_turn: now,
        }
    }

    /// Bytes that may be under way: measured rate x (2 x request delay + 100 ms), at least two chunks, at most `share`.
    pub(super) fn inflight_target(&self, now: Instant, share: u64) -> u64 {
        let least = 2 * CHUNK_BYTES;
        let delay = self.delay.or(self.rtt).unwrap_or_default();
        let rate = self.down.rate(now).max(self.down.peak());
        let wanted = (rate * (2.0 * delay.as_secs_f64() + 0.1)) as u64;
        wanted.max(least).min(share.max(least))
    }

    /// How long until `bytes` more have come, after all that is owed already. A link that should have delivered and did
    /// not is expected to stay silent for as long again.
    pub(super) fn eta(&self, now: Instant, bytes: u64) -> Duration {
        let silent = now.since(self.progress);
        let rate = self.down.rate(now).max(1.0);
        let peak = self.down.peak();
        if !self.delivered {
            let waited = if self.inflight == 0 { Duration::ZERO } else { silent };
            return waited * 2 + Duration::from_secs(1);
        }
        let due = |rate: f64| Duration::from_secs_f64((bytes as f64 / rate).min(1e6));
        if self.inflight == 0 || silent < Duration::from_millis(100) {
            return due(rate.max(peak * 0.5));
        }
        due(rate).max(silent * 2)
    }

    /// It owes something and has been silent for much longer than its chunks usually take.
    pub(super) fn is_stuck(&self, now: Instant) -> bool {
        let silent = now.since(self.progress);
        if !self.delivered {
            return silent >= Duration::from_millis(1500) + self.rtt.unwrap_or_default() * 4;
        }
        let usual = Duration::from_secs_f64((CHUNK_BYTES as f64 / self.down.peak().max(1.0)).min(60.0));
        silent >= (usual * 6).max(Duration::from_millis(1500))
    }

    /// Its chunks come about as often as they usually do.
    pub(super) fn is_lively(&self, now: Instant) -> bool {
        let usual = Duration::from_secs_f64((CHUNK_BYTES as f64 / self.down.peak().max(1.0)).min(1.0));
        self.delivered && now.since(self.progress) < (usual * 4).max(Duration::from_millis(250))
    }

    /// How long the far end may be silent while it owes something.
    pub(super) fn patience(&self) -> Duration {
        if !self.delivered {
            return Duration::from_secs(6) + self.rtt.unwrap_or_default() * 4;
        }
        let due = Duration::from_secs_f64((self.inflight as f64 / self.down.peak().max(1.0)).min(1e3));
        (due * 4).clamp(Duration::from_secs(2), Duration::from_secs(15))
    }

    /// Chunks that are asked for and not sent; a choice counts as one piece.
    pub(super) fn wanted_chunks(&self) -> usize {
        self.wants.iter().map(Want::chunks).sum()
    }

    /// Neither side takes part in a swarm of the other's.
    pub(super) fn is_idle(&self) -> bool {
        self.mine.is_empty() && self.theirs.is_empty()
    }

    /// The far end's number means this swarm no longer, if it did.
    pub(super) fn forget_slot(&mut self, slot: Slot, id: SwarmId) {
        if self.theirs.get(&slot) == Some(&id) {
            self.theirs.remove(&slot);
        }
    }

    /// The swarms in which this link has a place, in order of their slots.
    pub(super) fn swarms(&self) -> Vec<SwarmId> {
        self.mine.values().copied().collect()
    }
}
