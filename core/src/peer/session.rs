//! The tracker session: joining, registering what is shared, watching what is downloaded, and coming back after a loss.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use rand_chacha::rand_core::Rng;

use crate::ids::{ContentKey, LinkId, OpId, SessionToken};
use crate::limits;
use crate::time::Instant;
use crate::wire::tracker::{Accepting, Ad, HolderRow, RefusedRequest, TrackerMessage, TrackerRequest};

use super::swarm::SwarmId;
use super::talk::cut;
use super::timers::Timer;
use super::{CloseReason, Peer, PeerEffect, PeerEvent, Role};

/// First pause before a lost tracker is dialed again; doubles up to [`AGAIN_MAX`].
const AGAIN_MIN: Duration = Duration::from_millis(250);
const AGAIN_MAX: Duration = Duration::from_secs(4);
/// A tracker that did not let us join, or did not register something, is asked again after this.
const REFUSED_AGAIN: Duration = Duration::from_secs(20);
/// Batches of announcements that may be unanswered.
const BATCHES: usize = 4;
/// Progress of a download reaches the tracker this often.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// No tracker is wanted.
    #[default]
    Off,
    Dialing,
    /// The join is under way.
    Joining(LinkId),
    Up(LinkId),
    /// Lost; dialed again by timer.
    Lost,
    /// The name is taken, or is none: a person decides.
    Refused,
}

/// What a request was for.
#[derive(Clone, Debug)]
pub(super) enum Sent {
    Join,
    /// Announced or withdrawn; with what was announced.
    Batch(Vec<ContentKey>),
    Question(OpId),
}

/// The peer's side of its tracker session.
#[derive(Debug, Default)]
pub(super) struct Session {
    state: State,
    tracker: Option<SocketAddr>,
    name: Option<String>,
    token: Option<SessionToken>,
    observed: Option<SocketAddr>,
    seq: u32,
    sent: BTreeMap<u32, Sent>,
    tries: u32,
    /// To be announced.
    dirty: BTreeSet<ContentKey>,
    /// Of these the number of pieces changed, which is told in time.
    progressed: BTreeSet<ContentKey>,
    /// To be withdrawn.
    gone: BTreeSet<ContentKey>,
    /// Announced in this session.
    registered: BTreeSet<ContentKey>,
    /// Announced, and not registered by the tracker.
    refused: BTreeSet<ContentKey>,
    /// Why it did not let us join, or register something, as was last told.
    refusal: Option<RefusedRequest>,
    watched: BTreeSet<ContentKey>,
    watch_peers: bool,
    /// The person left: no link is wanted until a tracker is joined again.
    left: bool,
    /// `Joined` was reported for this session.
    told: bool,
    changed: bool,
    heard: Instant,
    pinged: bool,
}

impl Session {
    pub(super) const fn tracker(&self) -> Option<SocketAddr> {
        self.tracker
    }

    /// The name that the tracker accepted.
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(super) fn is_link(&self, link: LinkId) -> bool {
        self.link() == Some(link)
    }

    const fn link(&self) -> Option<LinkId> {
        match self.state {
            State::Joining(link) | State::Up(link) => Some(link),
            State::Off | State::Dialing | State::Lost | State::Refused => None,
        }
    }

    const fn up(&self) -> Option<LinkId> {
        match self.state {
            State::Up(link) => Some(link),
            State::Off | State::Dialing | State::Joining(_) | State::Lost | State::Refused => None,
        }
    }

    /// The person left the network, and did not come back yet.
    pub(super) const fn has_left(&self) -> bool {
        self.left
    }

    pub(super) const fn is_up(&self) -> bool {
        self.up().is_some()
    }

    /// A first answer of the tracker is still to be expected.
    pub(super) const fn is_opening(&self) -> bool {
        matches!(self.state, State::Dialing | State::Joining(_)) && self.tries == 0
    }

    /// There is no tracker, or it is out of reach.
    pub(super) const fn is_away(&self) -> bool {
        match self.state {
            State::Off | State::Lost | State::Refused => true,
            State::Dialing => self.tries > 0,
            State::Joining(_) | State::Up(_) => false,
        }
    }

    /// Requests that the tracker has not answered.
    pub(super) fn waiting(&self) -> usize {
        self.sent.len()
    }

    /// Nobody waits for an answer any more.
    pub(super) fn forget_question(&mut self, op: OpId) {
        self.sent.retain(|_, sent| !matches!(sent, Sent::Question(of) if *of == op));
    }

    fn is_registered(&self) -> bool {
        self.dirty.is_empty()
            && self.gone.is_empty()
            && !self.sent.values().any(|s| matches!(s, Sent::Batch(_)))
    }
}

impl Peer {
    pub(super) fn join_tracker(&mut self, addr: SocketAddr) {
        self.end_session();
        self.session.gone.clear();
        self.session.tracker = Some(addr);
        self.session.token = None;
        self.session.refusal = None;
        self.session.tries = 0;
        self.session.left = false;
        self.dial_tracker();
        for id in self.downloads.iter().filter(|(_, d)| d.left).map(|(id, _)| *id).collect::<Vec<_>>() {
            self.resume_download(id);
        }
    }

    /// Ends the session, closes every link, pauses downloads until a tracker is joined again.
    pub(super) fn leave_tracker(&mut self) {
        self.end_session();
        self.session.tracker = None;
        self.session.left = true;
        self.dials.clear();
        for id in self.downloads.keys().copied().collect::<Vec<_>>() {
            if self.stop_download(id)
                && let Some(d) = self.downloads.get_mut(&id)
            {
                d.left = true;
            }
        }
        for op in self.questions.keys().copied().collect::<Vec<_>>() {
            self.question_timed_out(op);
        }
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            self.close(link, CloseReason::Leaving);
        }
    }

    /// Tells the tracker good-bye, if there is one.
    pub(super) fn end_session(&mut self) {
        if let Some(link) = self.session.link() {
            self.effect(PeerEffect::SendTracker { link, msg: TrackerRequest::Leave {} });
            self.effect(PeerEffect::Close { link, reason: CloseReason::Leaving });
        }
        self.dials.retain(|_, d| d.role != Role::Tracker);
        self.timers.clear(Timer::Session);
        self.reset_session(State::Off);
    }

    /// Nothing of this session counts any more; what is shared is to be announced in the next.
    fn reset_session(&mut self, state: State) {
        self.session.state = state;
        self.session.sent.clear();
        self.session.told = false;
        self.session.pinged = false;
        let registered = std::mem::take(&mut self.session.registered);
        self.session.dirty.extend(registered);
        self.session.dirty.append(&mut self.session.refused);
        self.session.dirty.append(&mut self.session.progressed);
        self.timers.clear(Timer::Announce);
        self.timers.clear(Timer::AnnounceAgain);
        self.unsend_questions();
    }

    fn dial_tracker(&mut self) {
        let Some(addr) = self.session.tracker else { return };
        self.session.state = State::Dialing;
        self.timers.set(Timer::Session, self.now + limits::DIAL_TIMEOUT * 2);
        self.dial(addr, Role::Tracker);
    }

    /// A dial to the tracker succeeded.
    pub(super) fn tracker_linked(&mut self, link: LinkId, dialed: Option<SocketAddr>) {
        if self.session.state != State::Dialing || dialed != self.session.tracker {
            self.effect(PeerEffect::Close { link, reason: CloseReason::Done });
            return;
        }
        self.session.state = State::Joining(link);
        self.session.heard = self.now;
        self.timers.set(Timer::Session, self.now + limits::REQUEST_TIMEOUT);
        self.send_join(link);
    }

    fn send_join(&mut self, link: LinkId) {
        let seq = self.request(Sent::Join);
        let name = self.session.name.clone().unwrap_or_else(|| self.config.name.clone());
        let msg = TrackerRequest::Join {
            seq,
            name,
            any_name: self.config.any_name,
            listen_port: self.config.listen_port,
            token: self.session.token,
        };
        self.effect(PeerEffect::SendTracker { link, msg });
        // Watched without waiting for the answer, which saves a round trip before the first dial.
        for key in self.session.watched.clone() {
            self.tell_watch(TrackerRequest::Watch { key });
        }
    }

    fn request(&mut self, what: Sent) -> u32 {
        self.session.seq = self.session.seq.wrapping_add(1);
        self.session.sent.insert(self.session.seq, what);
        self.session.seq
    }

    /// The tracker cannot be reached (any more); it is dialed again.
    pub(super) fn tracker_lost(&mut self) {
        let Some(tracker) = self.session.tracker else { return };
        let first = self.session.tries == 0;
        let pause = AGAIN_MIN.saturating_mul(1 << self.session.tries.min(4)).min(AGAIN_MAX);
        self.session_after(pause);
        if first {
            self.report(PeerEvent::TrackerLost { tracker });
        }
    }

    /// There is no session until the tracker is dialed again, after a pause.
    fn session_after(&mut self, pause: Duration) {
        self.reset_session(State::Lost);
        let jitter = pause.mul_f64(f64::from(self.rng.next_u32() % 256) / 1024.0);
        self.session.tries = self.session.tries.saturating_add(1);
        self.timers.set(Timer::Session, self.now + pause + jitter);
        self.ask_peers_instead();
    }

    pub(super) fn session_timer(&mut self) {
        match self.session.state {
            State::Off | State::Refused => {}
            State::Lost => self.dial_tracker(),
            State::Dialing => {
                self.dials.retain(|_, d| d.role != Role::Tracker);
                self.tracker_lost();
            }
            State::Joining(link) => {
                self.effect(PeerEffect::Close { link, reason: CloseReason::Silent });
                self.tracker_lost();
            }
            State::Up(link) => {
                let silent = self.now.since(self.session.heard);
                if silent >= limits::SILENT_LINK {
                    self.effect(PeerEffect::Close { link, reason: CloseReason::Silent });
                    return self.tracker_lost();
                }
                if silent >= limits::PING_AFTER && !self.session.pinged {
                    self.session.pinged = true;
                    let nonce = self.rng.next_u64();
                    self.effect(PeerEffect::SendTracker { link, msg: TrackerRequest::Ping { nonce } });
                }
                self.timers.set(Timer::Session, self.now + limits::PING_AFTER / 2);
            }
        }
    }

    /// Sends to the tracker if the session is up.
    pub(super) fn tell_tracker(&mut self, msg: TrackerRequest) {
        if let Some(link) = self.session.up() {
            self.effect(PeerEffect::SendTracker { link, msg });
        }
    }

    /// Sends a request whose answer changes nothing, if the session is up.
    pub(super) fn request_unanswered(&mut self, msg: impl FnOnce(u32) -> TrackerRequest) {
        if let Some(link) = self.session.up() {
            self.session.seq = self.session.seq.wrapping_add(1);
            let msg = msg(self.session.seq);
            self.effect(PeerEffect::SendTracker { link, msg });
        }
    }

    /// Sends a question whose answer quotes it.
    pub(super) fn ask_tracker(&mut self, op: OpId, msg: impl FnOnce(u32) -> TrackerRequest) -> bool {
        let Some(link) = self.session.up() else { return false };
        let seq = self.request(Sent::Question(op));
        self.effect(PeerEffect::SendTracker { link, msg: msg(seq) });
        true
    }

    pub(super) fn tracker_says(&mut self, link: LinkId, msg: TrackerMessage) {
        if !self.session.is_link(link) {
            return;
        }
        self.session.heard = self.now;
        self.session.pinged = false;
        match msg {
            TrackerMessage::Joined { seq, name, token, observed, lease_ms: _ } => {
                if let Some(Sent::Join) = self.session.sent.remove(&seq) {
                    self.session_up(link, name, token, observed);
                }
            }
            TrackerMessage::Done { seq } => match self.session.sent.remove(&seq) {
                Some(Sent::Batch(_)) => self.announce(),
                Some(Sent::Question(op)) => self.question_done(op),
                Some(Sent::Join) | None => {}
            },
            TrackerMessage::Refused { seq, why } => match self.session.sent.remove(&seq) {
                Some(Sent::Join) => self.join_refused(link, why),
                Some(Sent::Batch(keys)) => self.batch_refused(keys, why),
                Some(Sent::Question(op)) => self.question_refused(op, why),
                None => {}
            },
            TrackerMessage::Rows { seq, rows, next } => {
                if let Some(Sent::Question(op)) = self.session.sent.remove(&seq) {
                    self.rows_said(op, rows, next);
                }
            }
            TrackerMessage::HolderRows { seq, rows, next } => {
                if let Some(Sent::Question(op)) = self.session.sent.remove(&seq) {
                    self.holder_rows_said(op, rows, next);
                }
            }
            TrackerMessage::PeerRows { seq, rows, next } => {
                if let Some(Sent::Question(op)) = self.session.sent.remove(&seq) {
                    self.peer_rows_said(op, rows, next);
                }
            }
            TrackerMessage::HolderChange { key, now, gone } => self.holders_changed(key, &now, &gone),
            TrackerMessage::PeerChange { joined, left } => {
                for row in &joined {
                    if let Some(addr) = self.resolve(row.reach) {
                        self.learn(row.peer, &row.name, addr);
                    }
                }
                self.report(PeerEvent::PeersChanged { joined, left });
            }
            TrackerMessage::Offered { from, offer, total } => self.offer_said(from, offer, total),
            TrackerMessage::PleaseDial { row } => self.please_dial(&row),
            TrackerMessage::Ping { nonce } => self.tell_tracker(TrackerRequest::Pong { nonce }),
            TrackerMessage::Pong { .. } => {}
        }
    }

    fn session_up(&mut self, link: LinkId, name: String, token: SessionToken, observed: SocketAddr) {
        self.session.state = State::Up(link);
        self.session.name = Some(cut(name, limits::PEER_NAME_BYTES_MAX));
        self.session.token = Some(token);
        self.session.observed = Some(observed);
        self.session.tries = 0;
        self.timers.set(Timer::Session, self.now + limits::PING_AFTER);
        if self.accepting != Accepting::Nobody {
            self.say_accepting();
        }
        if self.session.watch_peers {
            self.tell_tracker(TrackerRequest::WatchPeers { on: true });
        }
        self.send_questions();
        self.announce();
    }

    fn join_refused(&mut self, link: LinkId, why: RefusedRequest) {
        match why {
            RefusedRequest::NameTaken { offer } => {
                self.effect(PeerEffect::Close { link, reason: CloseReason::Done });
                self.timers.clear(Timer::Session);
                self.reset_session(State::Refused);
                self.report(PeerEvent::NameTaken { offer });
            }
            RefusedRequest::BadName => {
                self.effect(PeerEffect::Close { link, reason: CloseReason::Done });
                self.timers.clear(Timer::Session);
                self.reset_session(State::Refused);
                self.tell_join_refused(why);
            }
            RefusedRequest::NotJoined
            | RefusedRequest::NotYours
            | RefusedRequest::Limit(_)
            | RefusedRequest::BadQuery(_) => {
                self.effect(PeerEffect::Close { link, reason: CloseReason::Done });
                self.session_after(REFUSED_AGAIN);
                self.tell_join_refused(why);
            }
        }
    }

    fn tell_join_refused(&mut self, why: RefusedRequest) {
        let Some(tracker) = self.session.tracker.filter(|_| self.session.refusal.as_ref() != Some(&why))
        else {
            return;
        };
        self.session.refusal = Some(why.clone());
        self.report(PeerEvent::JoinRefused { tracker, why });
    }

    /// The tracker did not register contents (all of a batch, or none); it may later.
    fn batch_refused(&mut self, keys: Vec<ContentKey>, why: RefusedRequest) {
        let refused = keys.into_iter().filter(|key| self.session.registered.remove(key));
        let before = self.session.refused.len();
        self.session.refused.extend(refused);
        let contents = self.session.refused.len();
        if contents > before {
            self.timers.set_by(Timer::AnnounceAgain, self.now + REFUSED_AGAIN);
            if self.session.refusal.as_ref() != Some(&why) {
                self.session.refusal = Some(why.clone());
                self.report(PeerEvent::AnnounceRefused { why, contents: contents as u32 });
            }
        }
        self.announce();
    }

    /// What the tracker refused is announced again.
    pub(super) fn announce_refused(&mut self) {
        self.session.changed |= !self.session.refused.is_empty();
        self.session.dirty.append(&mut self.session.refused);
        self.announce();
    }

    /// Why not all of what is shared is registered.
    pub(super) fn refusal(&self) -> Option<&RefusedRequest> {
        self.session.refusal.as_ref().filter(|_| !self.session.refused.is_empty())
    }

    /// Takes another name while there is no session that could be asked to change it.
    pub(super) fn take_name(&mut self, name: String) {
        self.config.name.clone_from(&name);
        self.session.name = Some(name);
        if self.session.state == State::Refused {
            self.session.tries = 0;
            self.dial_tracker();
        }
    }

    /// The tracker accepted another name.
    pub(super) fn renamed(&mut self, name: String) {
        self.config.name.clone_from(&name);
        self.session.name = Some(name);
    }

    pub(super) const fn may_rename_alone(&self) -> bool {
        matches!(self.session.state, State::Refused | State::Off | State::Lost)
    }

    /// A content is to be (re-)announced.
    pub(super) fn announce_content(&mut self, key: ContentKey) {
        self.session.gone.remove(&key);
        self.session.refused.remove(&key);
        self.session.progressed.remove(&key);
        self.session.dirty.insert(key);
        self.session.changed = true;
        self.timers.set_by(Timer::Announce, self.now);
    }

    /// The tracker has been told what is here of a content.
    pub(super) fn is_announced(&self, key: &ContentKey) -> bool {
        let Session { registered, dirty, progressed, .. } = &self.session;
        registered.contains(key) && !dirty.contains(key) && !progressed.contains(key)
    }

    /// More or fewer pieces are here than before: the first ones at once, unless they are one of many contents in a folder,
    /// and changes in time.
    pub(super) fn announce_progress(&mut self, id: SwarmId) {
        let Some(swarm) = self.swarms.get(&id).filter(|s| !s.held.is_none()) else { return };
        let (key, member) = (swarm.key, swarm.member);
        if self.session.registered.contains(&key) || member {
            self.session.progressed.insert(key);
            self.timers.set_by(Timer::Announce, self.now + PROGRESS_EVERY);
        } else {
            self.session.dirty.insert(key);
            self.timers.set_by(Timer::Announce, self.now);
        }
    }

    /// It is time to tell of what changed.
    pub(super) fn announce_due(&mut self) {
        self.session.dirty.append(&mut self.session.progressed);
        self.announce();
    }

    /// A download has fewer pieces than before.
    pub(super) fn announce_loss(&mut self, id: SwarmId) {
        let Some(swarm) = self.swarms.get(&id) else { return };
        if swarm.held.is_none() {
            self.withdraw_content(swarm.key);
        } else {
            self.announce_progress(id);
        }
    }

    pub(super) fn withdraw_content(&mut self, key: ContentKey) {
        // What an earlier link of this session registered is still there when the next takes the session over.
        let unsaid = self.session.dirty.remove(&key) | self.session.progressed.remove(&key);
        let known = unsaid && self.session.token.is_some();
        self.session.refused.remove(&key);
        self.also.withdrawn(key);
        if self.session.registered.remove(&key) || known {
            self.session.gone.insert(key);
            self.session.changed = true;
            self.timers.set_by(Timer::Announce, self.now);
        }
    }

    /// Sends what is to be announced and withdrawn, some batches at a time.
    pub(super) fn announce(&mut self) {
        let Some(link) = self.session.up() else { return };
        while !self.session.gone.is_empty() || !self.session.dirty.is_empty() {
            if self.session.sent.values().filter(|s| matches!(s, Sent::Batch(_))).count() >= BATCHES {
                return;
            }
            if !self.session.gone.is_empty() {
                let keys: Vec<_> = take(&mut self.session.gone, limits::ADS_PER_MESSAGE);
                let seq = self.request(Sent::Batch(Vec::new()));
                self.effect(PeerEffect::SendTracker { link, msg: TrackerRequest::Withdraw { seq, keys } });
                continue;
            }
            let keys = take(&mut self.session.dirty, limits::ADS_PER_MESSAGE);
            let ads: Vec<Ad> = keys.into_iter().filter_map(|key| self.ad(key)).collect();
            let announced: Vec<ContentKey> = ads.iter().map(|ad| ad.key).collect();
            self.session.registered.extend(&announced);
            if !ads.is_empty() {
                let seq = self.request(Sent::Batch(announced.clone()));
                self.effect(PeerEffect::SendTracker { link, msg: TrackerRequest::Announce { seq, ads } });
                self.tell_other_names(link, &announced);
            }
        }
        if self.session.is_registered() {
            self.all_registered();
        }
    }

    fn all_registered(&mut self) {
        if self.session.refused.is_empty() {
            self.session.refusal = None;
        }
        let contents = self.session.registered.len() as u32;
        if !std::mem::replace(&mut self.session.told, true) {
            if let (Some(tracker), Some(name), Some(observed)) =
                (self.session.tracker, self.session.name.clone(), self.session.observed)
            {
                self.report(PeerEvent::Joined { tracker, name, observed, contents });
            }
        } else if self.session.changed {
            self.report(PeerEvent::Registered { contents });
        }
        self.session.changed = false;
        self.registered_questions();
    }

    pub(super) fn is_registered(&self) -> bool {
        self.session.told && self.session.is_registered()
    }

    /// How a content is announced; `None`: nothing is held of it.
    fn ad(&self, key: ContentKey) -> Option<Ad> {
        let swarm = self.swarms.get(self.by_key.get(&key)?)?;
        let all = swarm.pieces();
        let held = swarm.held.count(all);
        // Until it stands under its final name it is a part; of what has one piece, nothing.
        let pieces = if swarm.complete { held } else { held.min(all.saturating_sub(1)) };
        if pieces == 0 && !swarm.complete {
            return None;
        }
        let (kind, name, member, total) = (swarm.kind, swarm.name.clone(), swarm.member, swarm.total);
        Some(Ad { key, kind, name, member, pieces, total })
    }

    /// Pushes of holders are wanted.
    pub(super) fn watch(&mut self, key: ContentKey) {
        if self.session.watched.len() < limits::WATCHES_PER_PEER && self.session.watched.insert(key) {
            self.tell_watch(TrackerRequest::Watch { key });
        }
    }

    /// A watch that is begun again begins with another sample.
    pub(super) fn watch_anew(&mut self, key: ContentKey) {
        if self.session.watched.contains(&key) {
            self.tell_watch(TrackerRequest::Watch { key });
        }
    }

    pub(super) fn unwatch(&mut self, key: ContentKey) {
        if self.session.watched.remove(&key) {
            self.tell_watch(TrackerRequest::Unwatch { key });
        }
    }

    /// Watching needs no name: it may go out before the join is answered.
    fn tell_watch(&mut self, msg: TrackerRequest) {
        if let Some(link) = self.session.link() {
            self.effect(PeerEffect::SendTracker { link, msg });
        }
    }

    pub(super) fn watch_peers(&mut self, on: bool) {
        self.session.watch_peers = on;
        self.tell_tracker(TrackerRequest::WatchPeers { on });
    }

    fn holders_changed(&mut self, key: ContentKey, now: &[HolderRow], gone: &[crate::ids::PeerId]) {
        let Some(id) = self.by_key.get(&key).copied() else { return };
        if let Some(swarm) = self.swarms.get_mut(&id) {
            // A dial under way still has to know what for.
            let dialing = |addr| self.dials.values().any(|dial| dial.addr == addr);
            swarm.candidates.retain(|addr, c| c.peer.is_none_or(|p| !gone.contains(&p)) || dialing(*addr));
            swarm.invited.retain(|peer| !gone.contains(peer));
        }
        for row in now.iter().take(limits::HOLDER_SAMPLE) {
            self.holder_found(id, row);
        }
    }
}

/// Takes up to `n` keys out of a set.
fn take(set: &mut BTreeSet<ContentKey>, n: usize) -> Vec<ContentKey> {
    let mut keys = Vec::with_capacity(n.min(set.len()));
    while keys.len() < n
        && let Some(key) = set.pop_first()
    {
        keys.push(key);
    }
    keys
}
