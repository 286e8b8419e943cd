//! Which holders a download with a bounded number of them fetches from.
//!
//! A holder takes a place with the first thing that is asked of it, and gives it up when it is gone, silent, at fault, or has
//! nothing left to give. Without a bound nothing is kept.

use crate::ids::{DownloadId, LinkId};

use super::Peer;
use super::swarm::SwarmId;

impl Peer {
    /// May something of this content be asked of this link?
    pub(super) fn may_ask(&self, link: LinkId, id: SwarmId) -> bool {
        if !self.sources_bounded {
            return true;
        }
        let download = self.swarms.get(&id).and_then(|s| s.fetching.as_ref()).map(|f| f.download);
        let Some(d) = download.and_then(|id| self.downloads.get(&id)) else { return true };
        let bound = d.how.holders_max;
        bound == 0 || d.sources.contains(&link) || d.sources.len() < bound as usize
    }

    /// Something was asked of it.
    pub(super) fn takes_place(&mut self, link: LinkId, id: SwarmId) {
        if !self.sources_bounded {
            return;
        }
        let download = self.swarms.get(&id).and_then(|s| s.fetching.as_ref()).map(|f| f.download);
        if let Some(d) = download.and_then(|id| self.downloads.get_mut(&id))
            && d.how.holders_max != 0
        {
            d.sources.insert(link);
        }
    }

    /// A link owes nothing and finds nothing to ask for, or is of no use: others may take its places.
    pub(super) fn gives_up_places(&mut self, link: LinkId) {
        if !self.sources_bounded {
            return;
        }
        let left: Vec<DownloadId> = self
            .downloads
            .iter_mut()
            .filter_map(|(id, d)| (d.how.holders_max != 0 && d.sources.remove(&link)).then_some(*id))
            .collect();
        for download in left {
            for swarm in self.swarms_of(download) {
                let partners = self.swarms.get(&swarm).into_iter().flat_map(|s| s.partners.keys());
                self.hungry.extend(partners.copied().filter(|other| *other != link));
            }
        }
    }
}
