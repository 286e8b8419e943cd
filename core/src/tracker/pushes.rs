//! Watching: who asks for pushes, and what a push to one link holds.

use std::net::IpAddr;

use super::peer_log::Read;
use super::registry::{ContentIndex, OwnerId};
use super::watch::Push;
use super::{Tracker, TrackerEvent, Turn};
use crate::ids::{ContentKey, LinkId, PeerId};
use crate::limits::{HOLDER_PUSHES, PEER_PUSHES};
use crate::peer::{CloseReason, Misbehaviour};
use crate::wire::tracker::{HolderRow, TrackerMessage};

impl Tracker {
    /// Begins a watch, or begins it anew, and answers with a sample of the holders: an empty one too, so that the watcher
    /// knows. Beyond the bounds there is the sample and nothing after it.
    pub(super) fn watch(&mut self, id: LinkId, key: ContentKey, turn: &mut Turn<'_>) {
        if !key.is_plausible() {
            return self.misbehaved(id, Misbehaviour::OutOfRange, turn);
        }
        let Some(peer) = self.links.get(&id).map(|link| link.peer) else { return };
        self.keep(id);
        self.unwatch(id, key);
        let content = self.registry.pin(key);
        if self.watches.add(id, peer, content) {
            if let Some(push) = self.watches.compose(id, content, &self.registry, &mut self.rng) {
                self.send_push(id, &push, turn);
            }
            return;
        }
        turn.report(TrackerEvent::Misbehaved { who: self.who(id), what: Misbehaviour::TooMuch });
        let now = self.watches.sample_once(peer, content, &self.registry, &mut self.rng);
        self.send_push(id, &Push { content, now, gone: Vec::new() }, turn);
        self.registry.unpin(content);
    }

    pub(super) fn unwatch(&mut self, id: LinkId, key: ContentKey) {
        if let Some(content) = self.registry.index(key)
            && self.watches.remove(id, content)
        {
            self.registry.unpin(content);
        }
    }

    pub(super) fn watch_peers(&mut self, id: LinkId, on: bool, turn: &mut Turn<'_>) {
        if !on {
            self.peer_log.remove(id);
        } else if self.peer_log.add(id, turn.now, &mut self.pacer) {
            self.keep(id);
        } else {
            turn.report(TrackerEvent::Misbehaved { who: self.who(id), what: Misbehaviour::TooMuch });
        }
    }

    /// Pushes to a link what waits for it, up to a bound; the rest goes with its next push.
    pub(super) fn push(&mut self, id: LinkId, turn: &mut Turn<'_>) {
        let mut pushed = false;
        for _ in 0..PEER_PUSHES {
            match self.peer_log.read(id, &self.by_peer) {
                None | Some(Read::UpToDate) => break,
                Some(Read::Lost) => {
                    self.link_down(id, turn);
                    turn.close(id, CloseReason::Overflow);
                    return;
                }
                Some(Read::Page { joined, left }) => {
                    self.send_peers(id, &joined, left, turn);
                    pushed = true;
                }
            }
        }
        for _ in 0..HOLDER_PUSHES {
            let Some(content) = self.watches.next_waiting(id) else { break };
            if let Some(push) = self.watches.compose(id, content, &self.registry, &mut self.rng)
                && !(push.now.is_empty() && push.gone.is_empty())
            {
                self.send_push(id, &push, turn);
                pushed = true;
            }
        }
        if pushed {
            self.pacer.pushed(id, turn.now);
        }
        if self.watches.is_waiting(id) || self.peer_log.is_behind(id) {
            self.pacer.wake(id, turn.now);
        }
    }

    fn send_push(&self, id: LinkId, push: &Push, turn: &mut Turn<'_>) {
        let Some(link) = self.links.get(&id) else { return };
        let key = self.registry.key(push.content);
        let count = push.now.len() + push.gone.len();
        let now =
            push.now.iter().filter_map(|&owner| self.holder_row(owner, push.content, link.ip())).collect();
        turn.send(id, TrackerMessage::HolderChange { key, now, gone: push.gone.clone() });
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        turn.report(TrackerEvent::Pushed { to: self.who(id), what: self.registry.label(key), count });
    }

    /// Sends a page of the list of peers, or of what became of it.
    fn send_peers(&self, id: LinkId, joined: &[PeerId], left: Vec<(PeerId, String)>, turn: &mut Turn<'_>) {
        let Some(link) = self.links.get(&id) else { return };
        let joined: Vec<_> = joined
            .iter()
            .filter_map(|peer| self.sessions.get(self.by_peer.get(peer)?))
            .map(|session| session.peer_row(link.ip()))
            .collect();
        let count = u32::try_from(joined.len() + left.len()).unwrap_or(u32::MAX);
        turn.send(id, TrackerMessage::PeerChange { joined, left });
        turn.report(TrackerEvent::Pushed { to: self.who(id), what: "peers".to_owned(), count });
    }

    fn holder_row(&self, owner: OwnerId, content: ContentIndex, asker: IpAddr) -> Option<HolderRow> {
        let holder = self.registry.holder(owner, content)?;
        Some(self.sessions.get(&owner)?.holder_row(asker, holder.pieces))
    }
}
