//! What a driver, a person's display or a simulator may look at.

use serde::{Deserialize, Serialize};

use crate::content::PieceSet;
use crate::ids::{ContentKey, DownloadId, LinkId, PeerId, PieceIndex};

use super::swarm::{Held, Partner, Swarm, SwarmId};
use super::{Peer, WaitReason};

/// How a download is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownloadStatus {
    /// Bytes of verified pieces; of a folder: of its members.
    pub bytes: u64,
    /// Bytes in all; of a folder: of its members, 0 while its listing is not read.
    pub total: u64,
    /// Pieces not yet verified, as inclusive ranges.
    pub missing: Vec<(PieceIndex, PieceIndex)>,
    /// Why it waits, if it does.
    pub waiting: Option<WaitReason>,
    /// Peers that hold a part and are linked, or delivered something.
    pub holders: Vec<HolderStatus>,
}

/// One holder's share in a download.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HolderStatus {
    /// Who.
    pub peer: PeerId,
    /// How it is called, if known.
    pub name: String,
    /// Linked at present.
    pub linked: bool,
    /// Verified bytes that it delivered.
    pub bytes: u64,
    /// Bytes per second at present, for this download.
    pub rate: u64,
    /// Bytes asked of it for this download and not arrived.
    pub inflight: u64,
}

impl Peer {
    /// Who this peer is.
    #[must_use]
    pub const fn id(&self) -> PeerId {
        self.config.peer
    }

    /// Downloads that were asked for and have not failed, finished ones included.
    pub fn downloads(&self) -> impl Iterator<Item = DownloadId> + '_ {
        self.downloads.keys().copied()
    }

    /// How a download is doing; `None`: there is no such download (any more).
    #[must_use]
    pub fn status(&self, id: DownloadId) -> Option<DownloadStatus> {
        let d = self.downloads.get(&id)?;
        let total = match &d.folder {
            Some(folder) => folder.total,
            None if d.kind == crate::content::Kind::Folder => 0,
            None => d.key.length,
        };
        let mut holders: Vec<HolderStatus> = Vec::new();
        for (peer, bytes) in &d.delivered {
            holders.push(self.holder_status(id, *peer, *bytes));
        }
        let root = self.root_swarm(id);
        let linked = root.map(|s| s.partners.iter()).into_iter().flatten();
        for (link, partner) in linked {
            let Some(peer) = self.links.get(link).map(|l| l.peer) else { continue };
            if partner.have.is_none() || d.delivered.contains_key(&peer) {
                continue;
            }
            holders.push(self.holder_status(id, peer, 0));
        }
        let waiting = d.waiting.as_ref().map(|(reason, _)| *reason);
        Some(DownloadStatus { bytes: d.bytes, total, missing: self.missing_ranges(id), waiting, holders })
    }

    fn holder_status(&self, id: DownloadId, peer: PeerId, bytes: u64) -> HolderStatus {
        let link = self.by_peer.get(&peer).filter(|link| self.links.contains_key(link));
        let (inflight, rate) = link.map_or((0, 0), |link| self.part_of(*link, id));
        let name = self.peer_name(peer).unwrap_or_default().to_owned();
        HolderStatus { peer, name, linked: link.is_some(), bytes, rate, inflight }
    }

    /// What a link owes a download, and its rate in that proportion: what is asked for is what comes.
    pub(super) fn part_of(&self, link: LinkId, id: DownloadId) -> (u64, u64) {
        let Some(l) = self.links.get(&link) else { return (0, 0) };
        let rate = l.down.told(self.now) as u64;
        let others = self.downloads.iter().filter(|(other, d)| **other != id && !d.done && !d.stopped);
        let others = others.count() as u64;
        if others == 0 {
            return (l.inflight, rate);
        }
        let is_for = |swarm: SwarmId| {
            let fetching = self.swarms.get(&swarm).and_then(|s| s.fetching.as_ref());
            fetching.is_some_and(|f| f.download == id)
        };
        let runs = l.queue.iter().filter_map(|op| self.asked.get(op));
        let runs = runs.filter(|run| !run.taken_back && run.choice.is_none() && is_for(run.swarm));
        let choices = l.mine.values().filter(|swarm| is_for(**swarm)).map(|swarm| {
            let partner = self.swarms.get(swarm).and_then(|s| s.partners.get(&link));
            partner.map_or(0, |p| p.choices.len() as u64) * self.choice_bytes(*swarm)
        });
        let owed = runs.map(|run| self.outstanding_bytes(run)).sum::<u64>() + choices.sum::<u64>();
        match l.inflight {
            0 => (0, rate / (others + 1)),
            all => (owed, (u128::from(rate) * u128::from(owed) / u128::from(all)) as u64),
        }
    }

    /// How a peer is called, if that was ever heard.
    #[must_use]
    pub fn peer_name(&self, peer: PeerId) -> Option<&str> {
        if peer == self.config.peer {
            return Some(self.session.name().unwrap_or(&self.config.name));
        }
        let linked = self.by_peer.get(&peer).and_then(|l| self.links.get(l)).map(|l| l.name.as_str());
        linked
            .filter(|name| !name.is_empty())
            .or_else(|| self.known.get(&peer).map(|k| k.name.as_str()))
            .filter(|name| !name.is_empty())
            .or_else(|| self.went.iter().rev().find(|(went, _)| *went == peer).map(|(_, name)| name.as_str()))
    }

    /// The name under which the tracker knows this peer, while it does.
    #[must_use]
    pub fn name(&self) -> &str {
        self.session.name().unwrap_or(&self.config.name)
    }

    /// The pieces held of a content; `None`: it takes no part in that swarm.
    #[must_use]
    pub fn held(&self, key: ContentKey) -> Option<PieceSet> {
        let swarm = self.swarm(key)?;
        Some(match &swarm.held {
            Held::All => PieceSet::full(swarm.pieces()),
            Held::Some(set) => set.clone(),
        })
    }

    /// Is all of a content here, under its final name?
    #[must_use]
    pub fn is_complete(&self, key: ContentKey) -> bool {
        self.swarm(key).is_some_and(|s| s.complete)
    }

    /// Contents that this peer shares or downloads.
    pub fn contents(&self) -> impl Iterator<Item = ContentKey> + '_ {
        self.by_key.keys().copied()
    }

    /// Peers that are banned altogether.
    pub fn banned(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.offences.iter().filter(|(_, keys)| keys.len() >= 2).map(|((peer, _), _)| *peer)
    }

    /// Peers from which nothing of this content is fetched any more, because they sent wrong pieces of it.
    pub fn dropped(&self, key: ContentKey) -> impl Iterator<Item = PeerId> + '_ {
        self.offences.iter().filter(move |(_, keys)| keys.contains(&key)).map(|((peer, _), _)| *peer)
    }

    /// Number of links to other peers.
    #[must_use]
    pub fn links(&self) -> usize {
        self.links.len()
    }

    /// Is a tracker session up?
    #[must_use]
    pub const fn is_joined(&self) -> bool {
        self.session.is_up()
    }

    /// Bytes asked for and not arrived, over all links.
    #[must_use]
    pub const fn inflight(&self) -> u64 {
        self.inflight
    }

    fn swarm(&self, key: ContentKey) -> Option<&Swarm> {
        self.swarms.get(self.by_key.get(&key)?)
    }

    pub(super) fn partners_of(&self, key: ContentKey) -> impl Iterator<Item = &Partner> + '_ {
        self.swarm(key).into_iter().flat_map(|s| s.partners.values())
    }

    /// Number of partners in a content's swarm.
    #[must_use]
    pub fn partners(&self, key: ContentKey) -> usize {
        self.partners_of(key).count()
    }
}
