//! What this peer offers of its own: contents that the driver can read at any time.

use std::sync::Arc;

use crate::content::{Geometry, Kind, PieceTable};
use crate::ids::{ContentKey, LinkId, Slot};
use crate::limits;
use crate::wire::peer::PeerMessage;

use super::Peer;
use super::swarm::{Held, Swarm, SwarmId, label, name_hash};

/// A content as a `Share` command describes it.
#[derive(Debug)]
pub(super) struct Offered {
    pub(super) key: ContentKey,
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) member: bool,
    pub(super) total: u64,
    pub(super) table: Option<Arc<PieceTable>>,
}

impl Peer {
    /// Offers a content that the driver can read. One that is being downloaded is offered by that download, and on its own
    /// if that ends before it is complete.
    pub(super) fn share(&mut self, offered: Offered) {
        let key = offered.key;
        let Some(id) = self.by_key.get(&key).copied() else { return self.offer(offered) };
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        if swarm.complete {
            self.relabel(id, offered);
            self.announce_content(key);
        } else {
            swarm.offered = Some(Box::new(offered));
        }
    }

    /// The same bytes under another name: the newest name counts, and a file of its own outweighs a member.
    pub(super) fn relabel(&mut self, id: SwarmId, offered: Offered) {
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        swarm.member &= offered.member;
        swarm.total = offered.total;
        swarm.staged = None;
        self.by_name.remove(&(name_hash(&swarm.name), id));
        swarm.name = label(offered.key, offered.name);
        self.by_name.insert((name_hash(&swarm.name), id));
    }

    /// Offers a content in whose swarm this peer takes no part yet.
    pub(super) fn offer(&mut self, offered: Offered) {
        let Offered { key, kind, name, member, total, table } = offered;
        let Some(geometry) = Geometry::new(key.length) else { return };
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
        self.forget_other_names(key);
        let Some(id) = self.by_key.get(&key).copied() else { return };
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        swarm.offered = None;
        let over = swarm.complete && swarm.fetching.is_none();
        if swarm.complete {
            // It may be withdrawn since its file changed: what is under way of it is no lie, but taken back.
            let links: Vec<(LinkId, Slot)> = swarm.partners.iter().map(|(l, p)| (*l, p.mine)).collect();
            for (link, slot) in links {
                self.say(link, PeerMessage::Retract { slot, pieces: Vec::new() });
            }
        }
        if over {
            self.remove_swarm(id);
        }
    }
}
