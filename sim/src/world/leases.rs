//! What a tracker may list: who was heard within its lease; and who may withdraw: the owner.

use std::collections::BTreeSet;
use std::time::Duration;

use potluck_core::ids::{ContentKey, PeerId};
use potluck_core::tracker::TrackerInput;
use potluck_core::wire::tracker::{TrackerMessage, TrackerRequest};

use super::World;
use super::host::Node;
use crate::net::HostId;
use crate::plan::RolePlan;

/// A tracker that was stopped is told only by and by of who was not silent.
const SLACK: Duration = Duration::from_secs(1);

/// The holders of the contents that a request is about, before it.
pub(super) struct Owners {
    asker: PeerId,
    holders: Vec<(ContentKey, BTreeSet<PeerId>)>,
}

impl World<'_> {
    /// A tracker is about to take this: notes who is heard, and who holds what the request may withdraw.
    pub(super) fn before_request(&mut self, number: HostId, input: &TrackerInput) -> Option<Owners> {
        let (TrackerInput::LinkUp { link, .. } | TrackerInput::Request { link, .. }) = input else {
            return None;
        };
        let end = self.end_of(number, *link)?;
        let asker = self.end(end)?.far_peer;
        let now = self.now;
        self.host(number).heard.insert(asker, now);
        let TrackerInput::Request { msg, .. } = input else { return None };
        let keys: Vec<ContentKey> = if let TrackerRequest::Withdraw { keys, .. } = msg {
            keys.clone()
        } else if let TrackerRequest::Announce { ads, .. } = msg {
            // Whoever holds nothing any more takes its registration back.
            ads.iter().filter(|ad| ad.pieces == 0).map(|ad| ad.key).collect()
        } else {
            return None;
        };
        let Some(Node::Tracker(tracker)) = &self.hosts[number as usize].node else { return None };
        let holders = keys.into_iter().map(|key| (key, tracker.holders(key))).collect();
        Some(Owners { asker, holders })
    }

    /// It has taken it: what others registered is there, unless their session ended.
    pub(super) fn check_owners(&mut self, number: HostId, before: Owners) {
        let Some(Node::Tracker(tracker)) = &self.hosts[number as usize].node else { return };
        for (key, holders) in before.holders {
            let now = tracker.holders(key);
            let lost = holders.into_iter().find(|peer| *peer != before.asker && !now.contains(peer));
            if let Some(peer) = lost.filter(|peer| tracker.peers().contains(peer)) {
                let asker = before.asker;
                return self.fail(number, || {
                    format!("lets {asker:?} withdraw what {peer:?} registered of {:?}", key.id)
                });
            }
        }
    }

    /// A tracker names peers: they were heard within its lease.
    pub(super) fn check_listed(&mut self, number: HostId, msg: &TrackerMessage) {
        let host = &self.hosts[number as usize];
        let RolePlan::Tracker { lease_ms } = self.plan.hosts[number as usize].role else { return };
        let lease = Duration::from_millis(lease_ms.into()).max(potluck_core::limits::LEASE_MIN) + SLACK;
        let is_dead = |peer: &PeerId| {
            let heard = host.heard.get(peer).copied();
            heard.is_none_or(|heard| self.now.since(heard.max(host.resumed_at)) > lease)
        };
        let dead = if let TrackerMessage::HolderRows { rows, .. }
        | TrackerMessage::HolderChange { now: rows, .. } = msg
        {
            rows.iter().map(|row| row.peer).find(is_dead)
        } else if let TrackerMessage::PeerRows { rows, .. }
        | TrackerMessage::PeerChange { joined: rows, .. } = msg
        {
            rows.iter().map(|row| row.peer).find(is_dead)
        } else {
            None
        };
        if let Some(peer) = dead {
            self.fail(number, || format!("lists {peer:?}, which it has not heard for longer than its lease"));
        }
    }
}
