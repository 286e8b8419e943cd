//! Why a download is as fast or as slow as it is. Looked at when a person asks; costs a walk over what is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use crate::content::PieceSet;
use crate::ids::{DownloadId, LinkId, PeerId};

use super::swarm::{Fetching, Phase, Swarm};
use super::{DownloadStatus, Peer, StorageFault};

/// What a download is doing, with everybody's part in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// How far it has come.
    pub status: DownloadStatus,
    /// What it is at.
    pub stage: Stage,
    /// Bytes that are missing; of a folder: of the members that have been begun.
    pub missing_bytes: u64,
    /// Those of them that nobody in reach has.
    pub unreachable_bytes: u64,
    /// Cap on bytes asked for per second, over all downloads; 0: none.
    pub down_rate_max: u64,
    /// It keeps back what would be asked for now.
    pub down_rate_reached: bool,
    /// Possible holders that are known and not linked.
    pub unlinked: u32,
    /// Peers that are linked for it and have not said yet what they hold.
    pub undecided: u32,
    /// Everybody else who is linked for it, by name.
    pub holders: Vec<HolderExplained>,
}

/// What a download is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// What an earlier run left is being looked at.
    Opening,
    /// The piece table is being fetched.
    Table,
    /// Pieces are being fetched.
    Fetching,
    /// All is verified; it is being put in place.
    Finishing,
    /// The disk refused; it is tried again.
    Disk(StorageFault),
    /// The person stopped it.
    Stopped,
    /// It stands under its final name.
    Done,
}

/// One linked holder, and what it does for a download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderExplained {
    /// Who.
    pub peer: PeerId,
    /// How it is called; empty if that is not known.
    pub name: String,
    /// Where it is.
    pub addr: SocketAddr,
    /// Missing bytes that it has.
    pub needed: u64,
    /// Missing bytes that only it has, of those in reach.
    pub only: u64,
    /// Verified bytes that it delivered.
    pub delivered: u64,
    /// Bytes per second at present, for this download.
    pub rate: u64,
    /// Bytes asked of it for this download and not arrived.
    pub inflight: u64,
    /// Shortest round trip measured.
    pub round_trip: Option<Duration>,
    /// What it does.
    pub state: HolderState,
}

/// What a holder does at present, or why nothing comes from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HolderState {
    /// It delivers.
    Sending,
    /// It was asked, and nothing came yet.
    Asked,
    /// It owes something and is silent.
    Silent,
    /// It said that it serves others; it is asked again later.
    Busy,
    /// It sent wrong bytes: nothing of this content is asked of it any more.
    Dropped,
    /// It has nothing that is missing.
    NothingNew,
    /// The cap on this peer's own rate is reached.
    Capped,
    /// It serves another download of this peer, and has no time for this one.
    Elsewhere,
    /// Enough is under way from others at present.
    Enough,
    /// Everything that it has is asked of others already.
    Spare,
}

impl Peer {
    /// Why a download is as fast or slow as it is; `None`: there is no such download (any more).
    #[must_use]
    pub fn explain(&self, id: DownloadId) -> Option<Explanation> {
        let status = self.status(id)?;
        let d = self.downloads.get(&id)?;
        let stage = if d.done {
            Stage::Done
        } else if d.stopped {
            Stage::Stopped
        } else {
            self.stage(id)
        };
        let mut explained = Explanation {
            status,
            stage,
            missing_bytes: 0,
            unreachable_bytes: 0,
            down_rate_max: self.down_cap.rate(),
            down_rate_reached: self.down_cap.is_reached(self.now),
            unlinked: self
                .root_swarm(id)
                .map_or(0, |s| s.candidates.len().saturating_sub(s.partners.len()) as u32),
            undecided: 0,
            holders: Vec::new(),
        };
        let mut holders: BTreeMap<LinkId, HolderExplained> = BTreeMap::new();
        let mut undecided: BTreeSet<LinkId> = BTreeSet::new();
        for (_, swarm) in self.fetched() {
            if let Some(fetching) = swarm.fetching.as_deref().filter(|f| f.download == id) {
                self.explain_swarm(swarm, fetching, &mut explained, &mut holders);
                undecided.extend(swarm.partners.iter().filter(|(_, p)| !p.told).map(|(link, _)| *link));
            }
        }
        explained.undecided = undecided.iter().filter(|link| !holders.contains_key(link)).count() as u32;
        explained.holders.extend(holders.into_values());
        explained.holders.sort_by(|a, b| (&a.name, a.peer).cmp(&(&b.name, b.peer)));
        Some(explained)
    }

    fn stage(&self, id: DownloadId) -> Stage {
        let mut stage = Stage::Opening;
        for (_, swarm) in self.fetched() {
            let Some(fetching) = swarm.fetching.as_ref().filter(|f| f.download == id) else { continue };
            stage = match fetching.phase {
                Phase::Opening { .. } => continue,
                Phase::Table { .. } => Stage::Table,
                Phase::Paused(fault) => return Stage::Disk(fault),
                Phase::Finishing { .. } => Stage::Finishing,
                Phase::Running => return Stage::Fetching,
                Phase::Filled => Stage::Fetching,
            };
        }
        stage
    }

    fn explain_swarm(
        &self,
        swarm: &Swarm,
        fetching: &Fetching,
        explained: &mut Explanation,
        holders: &mut BTreeMap<LinkId, HolderExplained>,
    ) {
        let nothing = PieceSet::empty(swarm.pieces());
        let missing: Vec<_> = match swarm.held.set() {
            Some(held) => held.iter_missing().collect(),
            None => nothing.iter().collect(),
        };
        for (link, partner) in swarm.partners.iter().filter(|(_, partner)| partner.told) {
            let Some(l) = self.links.get(link) else { continue };
            let download = self.downloads.get(&fetching.download);
            let holder = holders.entry(*link).or_insert_with(|| {
                let (inflight, rate) = self.part_of(*link, fetching.download);
                HolderExplained {
                    peer: l.peer,
                    name: self.peer_name(l.peer).unwrap_or_default().to_owned(),
                    addr: l.addr,
                    needed: 0,
                    only: 0,
                    delivered: download.and_then(|d| d.delivered.get(&l.peer)).copied().unwrap_or(0),
                    rate,
                    inflight,
                    round_trip: l.rtt,
                    state: HolderState::NothingNew,
                }
            });
            if partner.dropped {
                holder.state = HolderState::Dropped;
            } else if holder.inflight > 0 && (l.is_stuck(self.now) || partner.strikes > 0) {
                holder.state = HolderState::Silent;
            } else if holder.inflight > 0 {
                holder.state = if l.delivered { HolderState::Sending } else { HolderState::Asked };
            } else if !partner.is_askable(self.now) {
                holder.state = if partner.strikes > 0 { HolderState::Silent } else { HolderState::Busy };
            }
        }
        for piece in missing {
            let bytes = swarm.piece_bytes(piece);
            explained.missing_bytes += bytes;
            let mut having = swarm.partners.iter().filter(|(_, p)| p.offers(piece)).map(|(link, _)| *link);
            match (having.next(), having.next()) {
                (None, _) => explained.unreachable_bytes += bytes,
                (Some(only), None) => {
                    if let Some(holder) = holders.get_mut(&only) {
                        holder.needed += bytes;
                        holder.only += bytes;
                    }
                }
                (Some(first), Some(second)) => {
                    for link in [first, second].into_iter().chain(having) {
                        if let Some(holder) = holders.get_mut(&link) {
                            holder.needed += bytes;
                        }
                    }
                }
            }
        }
        let idle = holders.iter_mut().filter(|(_, h)| h.needed > 0 && h.state == HolderState::NothingNew);
        for (link, holder) in idle {
            holder.state = self.why_not_asked(*link);
        }
    }

    /// Why nothing is asked of a link for one download, though it has something for it.
    fn why_not_asked(&self, link: LinkId) -> HolderState {
        if self.links.get(&link).is_some_and(|l| l.inflight > 0) {
            HolderState::Elsewhere
        } else if self.down_cap.is_reached(self.now) {
            HolderState::Capped
        } else if self.put_off.contains(&link) {
            HolderState::Enough
        } else {
            HolderState::Spare
        }
    }
}
