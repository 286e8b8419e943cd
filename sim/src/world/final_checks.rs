//! What must hold at the end: a full sweep of the invariants, and after the faults have stopped,
//! that everybody who can finish has finished, that nothing is left over, and that the tracker knows who holds what.

use std::collections::BTreeSet;

use fixedbitset::FixedBitSet;
use potluck_core::content::PieceSet;
use potluck_core::ids::{DownloadId, OpId, PieceIndex};
use potluck_core::limits;
use potluck_core::peer::{Answer, Command, Place, Question};
use potluck_core::wire::tracker::{Matching, Row};

use super::World;
use super::end::Expected;
use super::host::{Host, Node};
use super::inputs::guarded;
use crate::dice::Dice;
use crate::disk::Part;
use crate::net::{EndId, HostId};
use crate::plan::{RolePlan, SECOND};

/// The world's own questions have numbers of their own.
const QUESTIONS: u64 = 1 << 60;

/// How long answers to them may take, in nanoseconds.
const ANSWERS: u64 = 10 * SECOND;

/// Searches besides the one for everything.
const SEARCHES: u64 = 5;

/// What timeouts and backoffs may take until a download goes on, in nanoseconds: links that went dead are found after
/// [`limits::SILENT_LINK`], and redialed, or a tracker rejoined, after pauses of up to half a minute.
const PATIENCE: u64 = 90 * SECOND;

/// Ticks without an effect that a host may have in the end: several a second per link, for a minute.
const IDLE_TICKS_MAX: u64 = 10_000;

/// Whether a download can be finished with what is there, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Prospect {
    /// It is complete.
    Complete,
    /// Honest peers in reach hold what is missing.
    Certain,
    /// Only peers of which something rotted, or that are hostile, or that it may not find, have all that is missing.
    Unsure,
    /// Nobody in reach has what is missing.
    Hopeless,
}

impl World<'_> {
    /// All downloads of peers that run, with what can become of them.
    pub(crate) fn prospects(&self) -> Vec<(HostId, DownloadId, Prospect)> {
        let mut all = Vec::new();
        let mut known = std::collections::BTreeMap::new();
        for (number, host) in (0..).zip(&self.hosts) {
            if !host.is_live() || host.hostile.is_some() {
                continue;
            }
            for (&id, download) in &host.downloads {
                let members = self.catalog.get(download.content).members.iter().flatten().copied();
                // Who has a folder's listing still lacks its members.
                let mut prospect = Prospect::Complete;
                for content in std::iter::once(download.content).chain(members) {
                    if download.completed {
                        break;
                    }
                    let nat = host.access.nat;
                    let found = self.found_by(number, content);
                    let (certain, any) = known.entry((content, nat, found)).or_insert_with_key(|key| {
                        let (content, nat, found) = key;
                        (self.available(*content, *nat, Some(found)), self.available(*content, *nat, None))
                    });
                    let own = self.own(host, content);
                    let one = if covers(certain, &own) {
                        Prospect::Certain
                    } else if covers(any, &own) {
                        Prospect::Unsure
                    } else {
                        Prospect::Hopeless
                    };
                    prospect = prospect.max(one);
                }
                all.push((number, id, prospect));
            }
        }
        all
    }

    /// Pieces of a content that stand in any of a host's own places. What a failed sync let go does not, however it looks.
    fn own(&self, host: &Host, number: u32) -> PieceSet {
        let content = self.catalog.get(number);
        let mut own = PieceSet::empty(content.geometry.pieces());
        for part in host.disk.parts.values().filter(|part| part.content == number) {
            for piece in part.pieces(content).iter() {
                if content.range(piece).all(|chunk| !part.let_go.contains(chunk)) {
                    own.insert(piece);
                }
            }
        }
        own
    }

    /// Hosts that a peer finds for a content, itself among them: with a tracker everybody, else whom it has links to and whose
    /// addresses it was given, and whom these in turn can name.
    fn found_by(&self, number: HostId, content: u32) -> FixedBitSet {
        let mut found = FixedBitSet::with_capacity(self.hosts.len());
        let RolePlan::Peer(plan) = &self.plan.hosts[number as usize].role else { return found };
        if plan.tracker.is_some() {
            found.insert_range(..);
            return found;
        }
        let key = self.catalog.get(content).key;
        let takes_part = |host: &Host| match &host.node {
            Some(Node::Peer(peer)) => !host.paused && peer.held(key).is_some(),
            Some(Node::Tracker(_)) | None => false,
        };
        let far = |end: &EndId| self.net.host_of(end.far());
        let linked = |host: HostId| self.hosts[host as usize].links.iter().flatten().filter_map(far);
        let dialable = |host: &HostId| !self.hosts[*host as usize].access.nat;
        found.insert(number as usize);
        let mut ask: Vec<HostId> =
            linked(number).chain(plan.knows.iter().copied().filter(dialable)).collect();
        while let Some(host) = ask.pop() {
            if takes_part(&self.hosts[host as usize]) && !found.put(host as usize) {
                ask.extend(linked(host).filter(dialable));
            }
        }
        found
    }

    /// Pieces of a content that running peers hold and offer: the honest ones among `found`, or any at all. Of two peers that
    /// nobody can dial neither reaches the other.
    fn available(&self, number: u32, nat: bool, found: Option<&FixedBitSet>) -> PieceSet {
        let content = self.catalog.get(number);
        let honest = found.is_some();
        let mut union = PieceSet::empty(content.geometry.pieces());
        for (index, host) in self.hosts.iter().enumerate() {
            let Some(Node::Peer(peer)) = &host.node else { continue };
            if host.paused || (honest && !host.is_trusted_with(number)) || (nat && host.access.nat) {
                continue;
            }
            if found.is_some_and(|found| !found.contains(index)) {
                continue;
            }
            let Some(held) = peer.held(content.key) else { continue };
            for piece in held.iter() {
                if !honest || host.disk.holds(number, content, piece) {
                    union.insert(piece);
                }
            }
        }
        union
    }

    /// How long all downloads that can be finished may take, and how long nothing may move meanwhile, in nanoseconds.
    ///
    /// All: each missing byte, sent over the slowest link one after the other and twice, and [`PATIENCE`] for what must
    /// time out first. Nothing: eight chunks over the slowest link, and [`PATIENCE`].
    pub(crate) fn bounds(&self) -> (u64, u64) {
        let mut missing = 0u64;
        let mut slowest = u64::MAX;
        for host in self.hosts.iter().filter(|host| host.node.is_some() && !host.access.tracker) {
            slowest = slowest.min(host.access.up).min(host.access.down);
            for download in host.downloads.values().filter(|download| !download.completed) {
                let content = self.catalog.get(download.content);
                let members =
                    content.members.iter().flatten().map(|&m| self.catalog.get(m).key.length).sum::<u64>();
                missing += content.key.length + members;
            }
        }
        for (_, peer) in self.plan.peers() {
            for cap in [peer.up_cap, peer.down_cap] {
                slowest = if cap == 0 { slowest } else { slowest.min(cap) };
            }
        }
        let time = |bytes: u64| {
            let nanos = u128::from(bytes) * u128::from(SECOND) / u128::from(slowest.max(1));
            u64::try_from(nanos).unwrap_or(u64::MAX / 4).saturating_add(PATIENCE)
        };
        (time(missing.saturating_mul(2)), time(8 * limits::CHUNK_BYTES))
    }

    /// Nanoseconds since a piece was verified anywhere.
    pub(crate) fn idle(&self) -> u64 {
        self.now.since(self.progress_at).as_nanos() as u64
    }

    /// Fails if a download that can be finished is not, and if one that cannot does not say so.
    pub(crate) fn check_liveness(&mut self, waited: u64) {
        for (host, id, prospect) in self.prospects() {
            let download = &self.hosts[host as usize].downloads[&id];
            let (waiting, name) = (download.waiting, self.catalog.get(download.content).name.clone());
            let seconds = waited / SECOND;
            match prospect {
                Prospect::Complete | Prospect::Unsure => {}
                Prospect::Certain => {
                    let state = self.describe(host, id);
                    return self.fail(host, || {
                        format!("has not finished {name}, {seconds} s after the faults stopped, though all is in reach; {state}")
                    });
                }
                Prospect::Hopeless if !waiting => {
                    return self.fail(host, || {
                        format!("does not say what of {name} is missing, though nobody has it")
                    });
                }
                Prospect::Hopeless => {}
            }
        }
    }

    /// Once all is quiet: whoever lacks something names exactly that, and none of it is to be had.
    pub(crate) fn check_what_is_missing(&mut self) {
        for (number, id, prospect) in self.prospects() {
            let host = &self.hosts[number as usize];
            let content = host.downloads[&id].content;
            let (Some(Node::Peer(peer)), None) = (&host.node, &self.catalog.get(content).listing) else {
                continue;
            };
            let Some(status) = peer.status(id).filter(|_| prospect > Prospect::Complete) else { continue };
            let Some(part) = host.disk.parts.get(&Place::Root(id)) else { continue };
            // Another download of the same content fetches what both want.
            let pieces = self.catalog.get(content).geometry.pieces();
            if !host.wanted.contains_key(&Place::Root(id)) || part.content != content {
                continue;
            }
            let mut named = PieceSet::empty(pieces);
            for (first, last) in status.missing {
                (first.0..=last.0).for_each(|piece| {
                    named.insert(PieceIndex(piece));
                });
            }
            let own = part.pieces(self.catalog.get(content));
            let found = self.found_by(number, content);
            let there = self.available(content, host.access.nat, Some(&found));
            let wrong =
                (0..pieces).map(PieceIndex).find(|&piece| own.contains(piece) == named.contains(piece));
            if let Some(piece) = wrong.filter(|_| part.let_go.is_clear()) {
                return self
                    .fail(number, || format!("is wrong about piece {piece} when asked what is missing"));
            }
            if let Some(piece) = named.iter().find(|&piece| there.contains(piece)) {
                let state = self.describe(number, id);
                return self
                    .fail(number, || format!("has not fetched piece {piece}, which is in reach; {state}"));
            }
        }
    }

    fn describe(&self, host: HostId, id: DownloadId) -> String {
        let record = &self.hosts[host as usize];
        let Some(Node::Peer(peer)) = &record.node else { return "it does not run".to_owned() };
        let links = record.links.iter().flatten().count();
        let expects: usize = record
            .links
            .iter()
            .flatten()
            .filter_map(|end| self.ends.get(end.index())?.as_deref())
            .map(|end| end.expected.len())
            .sum();
        let status = peer.status(id).map(|s| {
            format!(
                "{} of {} bytes, missing {:?}, waiting {:?}, {} holders",
                s.bytes,
                s.total,
                s.missing,
                s.waiting,
                s.holders.len()
            )
        });
        format!(
            "{links} links, {expects} requests, joined: {}, {}",
            record.joined,
            status.unwrap_or_default()
        )
    }

    /// Every machine's own invariants.
    pub(crate) fn sweep(&mut self) {
        for number in 0..self.hosts.len() as HostId {
            let host = &self.hosts[number as usize];
            let checked = guarded(|| match &host.node {
                Some(Node::Peer(peer)) => peer.check(),
                Some(Node::Tracker(tracker)) => tracker.check(),
                None => {}
            });
            if let Err(what) = checked {
                return self.fail(number, || what);
            }
            let links = host.links.iter().flatten().count();
            // And the link to the tracker.
            if !host.access.tracker && links > limits::LINKS_MAX + 1 {
                return self.fail(number, || format!("{links} links"));
            }
            self.sweep_held(number);
        }
    }

    /// What a machine counts as held must be right on its disk.
    fn sweep_held(&mut self, number: HostId) {
        let host = &self.hosts[number as usize];
        let Some(Node::Peer(peer)) = &host.node else { return };
        if !host.is_honest() {
            return;
        }
        let mut wrong = None;
        for (index, content) in self.catalog.iter() {
            let changed = host.disk.shared.get(&index).is_some_and(|shared| shared.changed);
            let Some(held) = peer.held(content.key).filter(|_| !changed) else { continue };
            if let Some(piece) = held.iter().find(|&piece| !host.disk.seems_held(index, content, piece)) {
                wrong = Some((content.name.clone(), piece));
            }
        }
        if let Some((name, piece)) = wrong {
            self.fail(number, || {
                format!("counts piece {piece} of {name} as held, which is not right on its disk")
            });
        }
    }

    /// Once all is quiet: nothing may be left over.
    pub(crate) fn check_leftovers(&mut self) {
        for number in 0..self.hosts.len() as HostId {
            let host = &self.hosts[number as usize];
            if !host.is_live() || host.access.tracker || host.hostile.is_some() {
                continue;
            }
            let done = host.downloads.values().all(|download| download.completed);
            let expects = host
                .links
                .iter()
                .flatten()
                .filter_map(|end| self.ends.get(end.index())?.as_deref())
                .map(|end| end.expected.len())
                .sum::<usize>();
            if done && expects > 0 {
                return self.fail(number, || format!("is done, and {expects} requests are left"));
            }
            let unfinished = |(place, part): &(&Place, &Part)| {
                let (Place::Root(download) | Place::Member { download, .. }) = place;
                !part.finished && host.downloads.get(download).is_none_or(|download| download.completed)
            };
            if let Some((&place, _)) = host.disk.parts.iter().find(unfinished) {
                return self.fail(number, || format!("a part file is left at {place:?}"));
            }
            let slow = self.bounds().1;
            let old = |end: &EndId| {
                let end = self.ends.get(end.index())?.as_deref()?;
                let waits = |expected: &&Expected| self.now.since(expected.since).as_nanos() as u64 > slow;
                end.expected.iter().find(waits).map(|expected| (end.far_host, expected.run.piece))
            };
            if let Some((far, piece)) = host.links.iter().flatten().find_map(old) {
                return self.fail(number, || {
                    format!(
                        "has waited for piece {piece} of host {far} for {} s, and takes it back never",
                        slow / SECOND
                    )
                });
            }
            let due = host
                .deadline()
                .filter(|deadline| host.booted_at.0.saturating_add(deadline.at.0) < self.now.0);
            if let Some(deadline) = due {
                return self.fail(number, || format!("a timer is stuck in the past: {deadline:?}"));
            }
            let ticks = host.idle_ticks;
            if ticks > IDLE_TICKS_MAX {
                return self.fail(number, || {
                    format!("{ticks} times in the end a timer fired, and nothing came of it")
                });
            }
            let joins =
                matches!(&self.plan.hosts[number as usize].role, RolePlan::Peer(p) if p.tracker.is_some());
            if joins && !host.joined {
                return self.fail(number, || "has not joined its tracker again".to_owned());
            }
        }
        // What is half dead in this moment may be about to end. Nobody keeps it for longer than silence is borne.
        let half_dead = self.half_dead();
        if half_dead.is_empty() {
            return;
        }
        let patience = limits::SILENT_LINK + limits::PING_AFTER + limits::DIAL_TIMEOUT;
        self.run_until(self.now.0 + patience.as_nanos() as u64);
        if let Some((end, host)) = self.half_dead().into_iter().find(|left| half_dead.contains(left)) {
            self.fail(host, || format!("connection {} is left, and nobody is at its other end", end.conn()));
        }
    }

    /// Connections of which one end, or both, is nobody's any more, with a host that has the other.
    fn half_dead(&self) -> Vec<(EndId, HostId)> {
        let there = |end: EndId| self.ends.get(end.index()).is_some_and(Option::is_some);
        let paused = |host: &HostId| self.hosts[*host as usize].paused;
        let left = |(end, hosts): (EndId, [HostId; 2])| {
            let alive = [there(end), there(end.far())];
            let host = if alive[0] { hosts[0] } else { hosts[1] };
            (alive != [true; 2] && !hosts.iter().any(paused)).then_some((end, host))
        };
        let known = self.net.connections().filter_map(left);
        // And links to which the network knows no connection.
        let ends = (0..)
            .zip(&self.hosts)
            .flat_map(|(n, host)| host.links.iter().flatten().map(move |end| (*end, n)));
        known.chain(ends.filter(|(end, _)| self.net.host_of(*end).is_none())).collect()
    }

    /// Timers are counted from here on: with nothing left to do few of them fire in vain.
    pub(crate) fn count_idle_ticks(&mut self) {
        self.hosts.iter_mut().for_each(|host| host.idle_ticks = 0);
    }

    /// Asks a peer what the network has, and who holds each content: as many at once as it takes, and waits for the answers,
    /// which come after a few round trips.
    pub(crate) fn ask(&mut self) -> Option<HostId> {
        let asks = |host: &super::host::Host| {
            host.is_live() && host.joined && host.hostile.is_none() && !host.access.tracker
        };
        let asker = (0..).zip(&self.hosts).find(|(_, host)| asks(host)).map(|(number, _)| number)?;
        let everything = Question::Contents { matching: Matching::All, members: true, limit: 10_000 };
        for (op, matching) in self.searches() {
            let question = Question::Contents { matching, members: true, limit: 10_000 };
            self.command(asker, Command::Ask { op, question });
        }
        let contents: Vec<_> = self.catalog.iter().map(|(number, content)| (number, content.key)).collect();
        self.host(asker).answers.clear();
        self.command(asker, Command::Ask { op: OpId(QUESTIONS), question: everything });
        for contents in contents.chunks(limits::QUESTIONS_MAX - 1 - SEARCHES as usize) {
            for &(number, key) in contents {
                let op = OpId(QUESTIONS + 1 + u64::from(number));
                self.command(asker, Command::Ask { op, question: Question::Holders { key } });
            }
            self.run_until(self.now.0 + ANSWERS);
        }
        Some(asker)
    }

    /// A search of each kind for a part of some content's name or id, drawn by the plan's seed.
    fn searches(&self) -> Vec<(OpId, Matching)> {
        let mut dice = Dice::new(&self.seed, "searches");
        let contents: Vec<_> =
            self.catalog.iter().map(|(_, content)| (content.name.clone(), content.key)).collect();
        let Some((name, key)) = dice.pick(&contents).cloned() else { return Vec::new() };
        let cut = |dice: &mut Dice, text: &str| text[..dice.below(text.len() as u64 + 1) as usize].to_owned();
        let tail = name[dice.below(name.len() as u64) as usize..].to_owned();
        let glob = match dice.below(3) {
            0 => format!("*{tail}"),
            1 => format!("{}*", cut(&mut dice, &name)),
            _ => format!("{}?", cut(&mut dice, &name)),
        };
        let drawn = [
            Matching::Substring(tail.to_uppercase()),
            Matching::Glob(glob),
            Matching::Prefix(cut(&mut dice, &name)),
            Matching::Name(name),
            Matching::IdPrefix(key.id.to_string()[..8 + dice.below(57) as usize].to_owned()),
        ];
        drawn
            .into_iter()
            .enumerate()
            .map(|(index, matching)| (OpId(QUESTIONS - 1 - index as u64), matching))
            .collect()
    }

    /// Compares the answers with the truth.
    pub(crate) fn check_answers(&mut self, asker: HostId) {
        let answers = std::mem::take(&mut self.host(asker).answers);
        let mut listed = Vec::new();
        for number in self.catalog.numbers() {
            let Some(Answer::Holders(rows)) = answers.get(&OpId(QUESTIONS + 1 + u64::from(number))) else {
                return self.fail(asker, || {
                    format!("no answer to the question for the holders of content {number}")
                });
            };
            let content = self.catalog.get(number);
            let mut expected = Vec::new();
            for host in self.hosts.iter().filter(|host| host.joined && host.hostile.is_none()) {
                let Some(Node::Peer(peer)) = &host.node else { continue };
                let Some(held) = peer.held(content.key) else { continue };
                let all = content.geometry.pieces();
                let stands = |part: &Part| part.content == number && part.finished;
                let whole = host.disk.shared.contains_key(&number) || host.disk.parts.values().any(stands);
                // Until it stands under its final name it is a part, and a folder lacks its members.
                let pieces = if whole { held.count() } else { held.count().min(all.saturating_sub(1)) };
                if pieces > 0 || all == 0 {
                    expected.push((host.peer, pieces));
                }
            }
            let honest = |peer| !self.hosts.iter().any(|host| host.peer == peer && host.hostile.is_some());
            let mut found: Vec<_> = rows
                .iter()
                .map(|(row, _)| (row.peer, row.pieces))
                .filter(|(peer, _)| honest(*peer))
                .collect();
            expected.sort_unstable();
            found.sort_unstable();
            if !expected.is_empty() || !rows.is_empty() {
                listed.push(content.key);
            }
            if expected != found {
                let name = content.name.clone();
                return self.fail(asker, || {
                    format!("hears that {name} has the holders {found:?}, the truth is {expected:?}")
                });
            }
        }
        let Some(Answer::Contents(rows)) = answers.get(&OpId(QUESTIONS)) else {
            return self.fail(asker, || "no answer to the question for all contents".to_owned());
        };
        for (op, matching) in self.searches() {
            let Some(Answer::Contents(some)) = answers.get(&op) else {
                return self.fail(asker, || format!("no answer to the search {matching:?}"));
            };
            let names = |rows: &mut dyn Iterator<Item = &Row>| {
                rows.map(|row| (row.name.clone(), row.key)).collect::<BTreeSet<_>>()
            };
            let expected = names(&mut rows.iter().filter(|row| is_wanted(&matching, row)));
            let found = names(&mut some.iter());
            if found != expected {
                return self
                    .fail(asker, || format!("{matching:?} finds {found:?}, and should find {expected:?}"));
            }
        }
        let mut found: Vec<_> = rows.iter().map(|row| row.key).collect();
        found.sort_unstable();
        found.dedup();
        listed.sort_unstable();
        if found != listed {
            self.fail(asker, || format!("hears of {} contents, there are {}", found.len(), listed.len()));
        }
    }

    /// Trackers must list running peers only.
    pub(crate) fn check_tracker(&mut self) {
        for number in 0..self.hosts.len() as HostId {
            let Some(Node::Tracker(tracker)) = &self.hosts[number as usize].node else { continue };
            let stranger = tracker
                .peers()
                .into_iter()
                .find(|peer| !self.hosts.iter().any(|host| host.peer == *peer && host.node.is_some()));
            if let Some(peer) = stranger {
                return self.fail(number, || {
                    format!("lists {peer:?}, which has been gone for longer than its lease")
                });
            }
        }
    }
}

/// The searches' model: what a row must be to be found. Names are short and plain here.
fn is_wanted(matching: &Matching, row: &Row) -> bool {
    match matching {
        Matching::All => true,
        Matching::Name(name) => row.name == *name,
        Matching::Prefix(text) => row.name.starts_with(text.as_str()),
        Matching::Substring(text) => row.name.to_lowercase().contains(&text.to_lowercase()),
        Matching::IdPrefix(digits) => row.key.id.to_string().starts_with(digits.as_str()),
        Matching::Glob(glob) => is_like(glob.as_bytes(), row.name.as_bytes()),
    }
}

/// `*` stands for anything, `?` for one byte.
fn is_like(glob: &[u8], name: &[u8]) -> bool {
    match (glob, name) {
        ([], _) => name.is_empty(),
        ([b'*', rest @ ..], _) => is_like(rest, name) || (!name.is_empty() && is_like(glob, &name[1..])),
        ([b'?', rest @ ..], [_, after @ ..]) => is_like(rest, after),
        ([byte, rest @ ..], [first, after @ ..]) => byte == first && is_like(rest, after),
        (_, []) => false,
    }
}

fn covers(available: &PieceSet, own: &PieceSet) -> bool {
    available.iter_missing().all(|piece| own.contains(piece))
}
