//! What the person asks: of the tracker, page by page; of other peers by name while there is no tracker. Every question is
//! answered, at the latest when its time is over.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::ids::{ContentKey, LinkId, OpId, PeerId};
use crate::limits;
use crate::wire::peer::{Offer, PeerMessage};
use crate::wire::tracker::{Cursor, HolderRow, Matching, PeerRow, RefusedRequest, Row, TrackerRequest};

use super::swarm::{SwarmId, name_hash};
use super::timers::Timer;
use super::{Answer, Peer, PeerEvent, Question, Role};

/// Known peers that are dialed to be asked.
const ASK_DIALS: usize = 16;
/// Offers in one answer.
const OFFERS_MAX: usize = 32;
/// A link is answered at most this often; in between it hears "have not".
const FIND_EVERY: Duration = Duration::from_millis(50);
/// Once somebody has it, the others have this long to say whether they have it, too.
const FIND_GRACE: Duration = Duration::from_millis(500);

/// A question under way.
#[derive(Debug)]
pub(super) struct Pending {
    question: Question,
    /// The tracker has been asked, in this session.
    sent: bool,
    /// Where the page begins that was asked for last.
    after: Option<Cursor>,
    after_peer: Option<PeerId>,
    /// Pages in a row that brought nothing.
    empty: u32,
    rows: Vec<Row>,
    holders: Vec<HolderRow>,
    peers: Vec<PeerRow>,
    /// Other peers are asked instead.
    find: Option<Find>,
}

/// The question put to other peers.
#[derive(Debug)]
struct Find {
    what: String,
    /// Asked, and not answered.
    waiting: BTreeSet<LinkId>,
    /// Those who answered, whatever they said.
    answered: Vec<PeerId>,
    offers: Vec<(PeerId, Offer)>,
}

impl Pending {
    fn count_page(&mut self, rows: usize) {
        self.empty = if rows == 0 { self.empty + 1 } else { 0 };
    }

    /// Does the next page, if there is one, begin beyond the last, and do pages bring something? A tracker that leads in circles,
    /// or on and on, is as good as none.
    fn goes_on<C: Ord>(&self, after: Option<&C>, next: Option<&C>) -> bool {
        let further = |next| after.is_none_or(|after| after < next);
        next.is_none_or(|next| self.empty < limits::EMPTY_PAGES_MAX && further(next))
    }
}

impl Peer {
    pub(super) fn ask_question(&mut self, op: OpId, question: Question) {
        if self.questions.len() >= limits::QUESTIONS_MAX {
            let refused = Answer::Refused(RefusedRequest::Limit("questions under way".to_owned()));
            return self.report(PeerEvent::Answer { op, answer: refused });
        }
        if let Some(why) = refused(&question) {
            return self.report(PeerEvent::Answer { op, answer: Answer::Refused(why) });
        }
        if let Question::Rename { name } = &question
            && self.may_rename_alone()
        {
            self.take_name(name.clone());
            return self.report(PeerEvent::Answer { op, answer: Answer::Done });
        }
        if self.session.has_left() {
            return self.report(PeerEvent::Answer { op, answer: Answer::Unreachable });
        }
        let pending = Pending {
            question,
            sent: false,
            after: None,
            after_peer: None,
            empty: 0,
            rows: Vec::new(),
            holders: Vec::new(),
            peers: Vec::new(),
            find: None,
        };
        self.questions.insert(op, pending);
        self.timers.set(Timer::Question(op), self.now + limits::REQUEST_TIMEOUT);
        self.send_question(op, None, None);
        if self.session.is_away() {
            self.ask_peers(op);
        }
        self.registered_questions();
    }

    /// Asks the tracker for the first or the next page.
    fn send_question(&mut self, op: OpId, after: Option<Cursor>, after_peer: Option<PeerId>) {
        let Some(pending) = self.questions.get_mut(&op) else { return };
        (pending.after, pending.after_peer) = (after.clone(), after_peer);
        let limit = limits::ROWS_PER_REPLY as u32;
        let sent = match pending.question.clone() {
            Question::Contents { matching, members, limit: wanted } => {
                let limit = limit.min(wanted.saturating_sub(pending.rows.len() as u32)).max(1);
                self.ask_tracker(op, |seq| TrackerRequest::Search { seq, matching, members, after, limit })
            }
            Question::Holders { key } => {
                self.ask_tracker(op, |seq| TrackerRequest::Holders { seq, key, after: after_peer, limit })
            }
            Question::Peers => {
                self.ask_tracker(op, |seq| TrackerRequest::Peers { seq, after: after_peer, limit })
            }
            Question::Rename { name } => self.ask_tracker(op, |seq| TrackerRequest::Rename { seq, name }),
            Question::OfferTo { to, offer, total } => {
                self.ask_tracker(op, |seq| TrackerRequest::OfferTo { seq, to, offer, total })
            }
            Question::Synced => false,
        };
        if let Some(pending) = self.questions.get_mut(&op) {
            pending.sent = sent;
        }
    }

    /// The session is up: what waited for it is asked.
    pub(super) fn send_questions(&mut self) {
        let waiting: Vec<OpId> = self.questions.iter().filter(|(_, p)| !p.sent).map(|(op, _)| *op).collect();
        for op in waiting {
            self.send_question(op, None, None);
        }
    }

    /// The session is gone: what was asked in it has to be asked again, from the first page.
    pub(super) fn unsend_questions(&mut self) {
        for pending in self.questions.values_mut() {
            pending.sent = false;
            pending.rows.clear();
            pending.holders.clear();
            pending.peers.clear();
        }
    }

    fn answer(&mut self, op: OpId, answer: Answer) {
        if self.questions.remove(&op).is_some() {
            self.timers.clear(Timer::Question(op));
            self.session.forget_question(op);
            self.report(PeerEvent::Answer { op, answer });
        }
    }

    pub(super) fn question_timed_out(&mut self, op: OpId) {
        let answer = match self.questions.get_mut(&op).and_then(|p| p.find.take()) {
            Some(Find { offers, answered, .. }) if !answered.is_empty() => {
                Answer::Offers { offers, answered }
            }
            _ => Answer::Unreachable,
        };
        self.answer(op, answer);
    }

    pub(super) fn question_done(&mut self, op: OpId) {
        if let Some(Question::Rename { name }) = self.questions.get(&op).map(|p| p.question.clone()) {
            self.renamed(name);
        }
        self.answer(op, Answer::Done);
    }

    pub(super) fn question_refused(&mut self, op: OpId, why: RefusedRequest) {
        self.answer(op, Answer::Refused(why));
    }

    /// Everything shared is registered.
    pub(super) fn registered_questions(&mut self) {
        if !self.is_registered() {
            return;
        }
        let waiting: Vec<OpId> = self
            .questions
            .iter()
            .filter(|(_, p)| p.question == Question::Synced)
            .map(|(op, _)| *op)
            .collect();
        let answer = self.refusal().cloned().map_or(Answer::Done, Answer::Refused);
        for op in waiting {
            self.answer(op, answer.clone());
        }
    }

    pub(super) fn rows_said(&mut self, op: OpId, rows: Vec<Row>, next: Option<Cursor>) {
        let Some(pending) = self.questions.get_mut(&op) else { return };
        let Question::Contents { limit, .. } = pending.question else { return };
        pending.count_page(rows.len());
        pending.rows.extend(rows);
        let next = next.filter(|cursor| cursor.name.len() <= limits::NAME_BYTES_MAX);
        if !pending.goes_on(pending.after.as_ref(), next.as_ref()) {
            return self.answer(op, Answer::Unreachable);
        }
        if next.is_some() && (pending.rows.len() as u32) < limit {
            self.timers.set(Timer::Question(op), self.now + limits::REQUEST_TIMEOUT);
            return self.send_question(op, next, None);
        }
        let rows = std::mem::take(&mut pending.rows);
        self.answer(op, Answer::Contents(rows));
    }

    pub(super) fn holder_rows_said(&mut self, op: OpId, rows: Vec<HolderRow>, next: Option<PeerId>) {
        let Some(pending) = self.questions.get_mut(&op) else { return };
        pending.count_page(rows.len());
        pending.holders.extend(rows);
        if !pending.goes_on(pending.after_peer.as_ref(), next.as_ref()) {
            return self.answer(op, Answer::Unreachable);
        }
        if next.is_some() && pending.holders.len() < limits::PEERS_PER_TRACKER {
            self.timers.set(Timer::Question(op), self.now + limits::REQUEST_TIMEOUT);
            return self.send_question(op, None, next);
        }
        let rows = std::mem::take(&mut pending.holders);
        let rows = rows
            .into_iter()
            .map(|r| {
                let addr = self.shown(r.reach);
                (r, addr)
            })
            .collect();
        self.answer(op, Answer::Holders(rows));
    }

    pub(super) fn peer_rows_said(&mut self, op: OpId, rows: Vec<PeerRow>, next: Option<PeerId>) {
        let Some(pending) = self.questions.get_mut(&op) else { return };
        pending.count_page(rows.len());
        pending.peers.extend(rows);
        if !pending.goes_on(pending.after_peer.as_ref(), next.as_ref()) {
            return self.answer(op, Answer::Unreachable);
        }
        if next.is_some() && pending.peers.len() < limits::PEERS_PER_TRACKER {
            self.timers.set(Timer::Question(op), self.now + limits::REQUEST_TIMEOUT);
            return self.send_question(op, None, next);
        }
        let rows = std::mem::take(&mut pending.peers);
        let rows = rows
            .into_iter()
            .map(|r| {
                let addr = self.shown(r.reach);
                (r, addr)
            })
            .collect();
        self.answer(op, Answer::Peers(rows));
    }

    /// An address to show, also of somebody who does not listen.
    fn shown(&self, reach: crate::wire::tracker::Reach) -> std::net::SocketAddr {
        let ip = reach.ip.or_else(|| self.session.tracker().map(|t| t.ip()));
        let ip = ip.unwrap_or(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
        std::net::SocketAddr::new(ip, reach.port)
    }

    /// The tracker is out of reach: what peers can answer is asked of them.
    pub(super) fn ask_peers_instead(&mut self) {
        for op in self.questions.keys().copied().collect::<Vec<_>>() {
            self.ask_peers(op);
        }
    }

    fn ask_peers(&mut self, op: OpId) {
        let Some(pending) = self.questions.get_mut(&op).filter(|p| p.find.is_none()) else { return };
        let what = match &pending.question {
            Question::Contents { matching: Matching::Name(what) | Matching::IdPrefix(what), .. } => {
                what.clone()
            }
            Question::Contents { .. }
            | Question::Holders { .. }
            | Question::Peers
            | Question::Rename { .. }
            | Question::OfferTo { .. }
            | Question::Synced => return,
        };
        pending.find =
            Some(Find { what, waiting: BTreeSet::new(), answered: Vec::new(), offers: Vec::new() });
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            self.ask_link_one(link, op);
        }
        // Somebody who started again is known under the identity it had, too, and linked under the new one.
        let linked: BTreeSet<_> = self.links.values().filter_map(|l| l.listens_at).collect();
        let far: Vec<_> = self
            .known
            .iter()
            .filter(|(peer, known)| !self.by_peer.contains_key(peer) && !linked.contains(&known.addr))
            .map(|(_, known)| known.addr)
            .take(ASK_DIALS.min(limits::LINKS_MAX.saturating_sub(self.links.len() + self.dials.len())))
            .collect();
        for addr in far {
            self.dial(addr, Role::Peer);
        }
    }

    /// A new link is asked what is being asked of all.
    pub(super) fn ask_link(&mut self, link: LinkId) {
        for op in self.questions.keys().copied().collect::<Vec<_>>() {
            self.ask_link_one(link, op);
        }
    }

    fn ask_link_one(&mut self, link: LinkId, op: OpId) {
        let Some(find) = self.questions.get_mut(&op).and_then(|p| p.find.as_mut()) else { return };
        if find.waiting.insert(link) {
            let what = find.what.clone();
            self.say(link, PeerMessage::Find { seq: op.0 as u32, what });
        }
    }

    pub(super) fn found_said(&mut self, link: LinkId, seq: u32, offers: Vec<Offer>) {
        let Some(peer) = self.links.get(&link).map(|l| l.peer) else { return };
        let op = self.questions.keys().copied().find(|op| op.0 as u32 == seq);
        let Some((op, find)) = op.and_then(|op| Some((op, self.questions.get_mut(&op)?.find.as_mut()?)))
        else {
            return;
        };
        if find.waiting.remove(&link) {
            find.answered.push(peer);
            let room = limits::ROWS_PER_REPLY.saturating_sub(find.offers.len());
            find.offers.extend(offers.into_iter().take(OFFERS_MAX.min(room)).map(|offer| (peer, offer)));
        }
        self.maybe_found(op);
    }

    /// If everybody who was asked has answered, or is gone, that is the answer; if some have, it soon is.
    fn maybe_found(&mut self, op: OpId) {
        let dialing = self.dials.values().any(|d| d.role == Role::Peer);
        let Some(find) = self.questions.get_mut(&op).and_then(|p| p.find.as_mut()) else { return };
        if !find.waiting.is_empty() || dialing {
            if !find.offers.is_empty() {
                self.timers.set_by(Timer::Question(op), self.now + FIND_GRACE);
            }
        } else if !find.answered.is_empty() {
            let (offers, answered) = (std::mem::take(&mut find.offers), std::mem::take(&mut find.answered));
            self.answer(op, Answer::Offers { offers, answered });
        }
    }

    pub(super) fn link_left_questions(&mut self, link: LinkId) {
        for op in self.questions.keys().copied().collect::<Vec<_>>() {
            if let Some(find) = self.questions.get_mut(&op).and_then(|p| p.find.as_mut())
                && find.waiting.remove(&link)
            {
                self.maybe_found(op);
            }
        }
    }

    /// Somebody asks what we have of a name or an id.
    pub(super) fn find_said(&mut self, link: LinkId, seq: u32, what: &str) {
        let now = self.now;
        let Some(l) = self.links.get_mut(&link) else { return };
        let early = l.next_find > now;
        l.next_find = now + FIND_EVERY;
        let offers = if early { Vec::new() } else { self.offers(what) };
        self.say(link, PeerMessage::Found { seq, offers });
    }

    /// What is held of this name, or of ids that begin so. A bounded number of contents is looked at.
    fn offers(&self, what: &str) -> Vec<Offer> {
        let hash = name_hash(what);
        let named = self.by_name.range((hash, SwarmId(0))..=(hash, SwarmId(u64::MAX))).map(|(_, id)| *id);
        let named = named.filter(|id| self.swarms.get(id).is_some_and(|s| s.name == what));
        let also = self.also.named(what).filter_map(|key| self.by_key.get(&key).copied());
        let named = named.chain(also).map(|id| (id, Some(what)));
        let range = ids_from(what).map(|ids| self.by_key.range(ids).map(|(_, id)| *id));
        let begun = range.into_iter().flatten();
        // What has the name as well was found by it.
        let begun = begun.filter(|id| self.swarms.get(id).is_some_and(|s| s.name != what));
        let begun = begun.map(|id| (id, None));
        let found = named.take(limits::FIND_SCAN).chain(begun.take(limits::FIND_SCAN));
        found
            .filter_map(|(id, name)| Some((self.swarms.get(&id)?, name)))
            .filter(|(s, _)| !s.held.is_none() || s.complete)
            .take(OFFERS_MAX)
            .map(|(s, name)| Offer { key: s.key, kind: s.kind, name: name.unwrap_or(&s.name).to_owned() })
            .collect()
    }
}

/// The keys of all contents whose ids begin with these hex digits, at least eight.
fn ids_from(digits: &str) -> Option<RangeInclusive<ContentKey>> {
    if !(8..=64).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let id = |fill: &str| (digits.to_owned() + &fill.repeat(64 - digits.len())).parse().ok();
    let first = ContentKey { id: id("0")?, length: 0 };
    Some(first..=ContentKey { id: id("f")?, length: u64::MAX })
}

/// What no tracker would understand, and no message could carry.
fn refused(question: &Question) -> Option<RefusedRequest> {
    match question {
        Question::Rename { name } => {
            (name.is_empty() || name.len() > limits::PEER_NAME_BYTES_MAX).then_some(RefusedRequest::BadName)
        }
        Question::Contents { matching, .. } => {
            let text = match matching {
                Matching::All => return None,
                Matching::Name(text)
                | Matching::Substring(text)
                | Matching::Glob(text)
                | Matching::Prefix(text)
                | Matching::IdPrefix(text) => text,
            };
            let max = limits::QUERY_BYTES_MAX;
            (text.len() > max).then(|| RefusedRequest::BadQuery(format!("longer than {max} bytes")))
        }
        Question::OfferTo { offer, .. } => {
            (offer.name.len() > limits::NAME_BYTES_MAX).then_some(RefusedRequest::BadName)
        }
        Question::Holders { .. } | Question::Peers | Question::Synced => None,
    }
}
