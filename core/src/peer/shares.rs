//! What this peer offers of its own: contents that the driver can read at any time.

use std::sync::Arc;

use crate::content::{Geometry, Kind, PieceTable};
use crate::ids::ContentKey;
use crate::limits;

use super::Peer;
use super::swarm::{Held, Swarm, label, name_hash};

impl Peer {
    /// Offers a content that the driver can read.
    pub(super) fn share(
        &mut self,
        key: ContentKey,
        kind: Kind,
        name: String,
        member: bool,
        total: u64,
        table: Option<Arc<PieceTable>>,
    ) {
        let Some(geometry) = Geometry::new(key.length) else { return };
        if let Some((id, swarm)) = self.by_key.get(&key).and_then(|id| Some((*id, self.swarms.get_mut(id)?)))
        {
            if swarm.complete {
                // The same bytes under another name: the newest name counts, and a file of its own outweighs a member.
                swarm.member &= member;
                swarm.total = total;
                swarm.staged = None;
                self.by_name.remove(&(name_hash(&swarm.name), id));
                swarm.name = label(key, name);
                self.by_name.insert((name_hash(&swarm.name), id));
                self.announce_content(key);
            }
            return;
        }
        if self.swarms.len() >= limits::CONTENTS_PER_PEER {
            return;
        }
        let mut swarm = Swarm::new(key, kind, name, geometry, Held::All);
        swarm.member = member;
        swarm.total = total;
        swarm.table = table;
        swarm.complete = true;
        self.add_swarm(swarm);
        self.announce_content(key);
    }

    pub(super) fn unshare(&mut self, key: ContentKey) {
        let Some(id) = self.by_key.get(&key).copied() else { return };
        if self.swarms.get(&id).is_some_and(|s| s.complete && s.fetching.is_none()) {
            self.remove_swarm(id);
        }
    }
}
