//! What must hold at the end: a full sweep of the invariants, and after the faults have stopped,
//! that everybody who can finish has finished, that nothing is left over, and that the tracker knows who holds what.

use fixedbitset::FixedBitSet;
use potluck_core::content::PieceSet;
use potluck_core::ids::{DownloadId, OpId};
use potluck_core::limits;
use potluck_core::peer::{Answer, Command, Place, Question};
use potluck_core::wire::tracker::Matching;

use super::World;
use super::host::{Host, Node};
use super::inputs::guarded;
use crate::disk::Part;
use crate::net::{EndId, HostId};
use crate::plan::{RolePlan, SECOND};

/// The world's own questions have numbers of their own.
const QUESTIONS: u64 = 1 << 60;

/// How long answers to them may take, in nanoseconds.
const ANSWERS: u64 = 10 * SECOND;

/// What timeouts and backoffs may take until a download goes on, in nanoseconds: links that went dead are found after
/// [`limits::SILENT_LINK`], and redialed, or a tracker rejoined, after pauses of up to half a minute.
const PATIENCE: u64 = 90 * SECOND;

/// Whether a download can be finished with what is there, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Prospect {
    /// It is complete.
    Complete,
    /// Honest peers in reach hold what is missing.
    Certain,
    /// Only peers whose disks were tampered with, or that are hostile, or that it may not find, have all that is missing.
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
            if host.paused || (honest && !host.is_honest()) || (nat && host.access.nat) {
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
            if let Some(piece) = held.iter().find(|&piece| !host.disk.holds(index, content, piece)) {
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
            let unfinished = |(place, part): (&Place, &crate::disk::Part)| {
                let Place::Root(id) = place else { return None };
                let completed = host.downloads.get(id).is_some_and(|download| download.completed);
                (completed && !part.finished).then_some(*place)
            };
            if let Some(place) = host.disk.parts.iter().find_map(unfinished) {
                return self.fail(number, || format!("a part file is left at {place:?}"));
            }
            let joins =
                matches!(&self.plan.hosts[number as usize].role, RolePlan::Peer(p) if p.tracker.is_some());
            if joins && !host.joined {
                return self.fail(number, || "has not joined its tracker again".to_owned());
            }
        }
        for (end, hosts) in self.net.connections().collect::<Vec<_>>() {
            let dead = |host: HostId| self.hosts[host as usize].node.is_none();
            if hosts.iter().all(|&host| dead(host)) {
                return self.fail(hosts[0], || {
                    format!("connection {} is left with nobody at either end", end.conn())
                });
            }
        }
    }

    /// Asks a peer what the network has, and who holds each content: as many at once as it takes, and waits for the answers,
    /// which come after a few round trips.
    pub(crate) fn ask(&mut self) -> Option<HostId> {
        let asks = |host: &super::host::Host| {
            host.is_live() && host.joined && host.hostile.is_none() && !host.access.tracker
        };
        let asker = (0..).zip(&self.hosts).find(|(_, host)| asks(host)).map(|(number, _)| number)?;
        let everything = Question::Contents { matching: Matching::All, members: true, limit: 10_000 };
        let contents: Vec<_> = self.catalog.iter().map(|(number, content)| (number, content.key)).collect();
        self.host(asker).answers.clear();
        self.command(asker, Command::Ask { op: OpId(QUESTIONS), question: everything });
        for contents in contents.chunks(limits::QUESTIONS_MAX - 1) {
            for &(number, key) in contents {
                let op = OpId(QUESTIONS + 1 + u64::from(number));
                self.command(asker, Command::Ask { op, question: Question::Holders { key } });
            }
            self.run_until(self.now.0 + ANSWERS);
        }
        Some(asker)
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

fn covers(available: &PieceSet, own: &PieceSet) -> bool {
    available.iter_missing().all(|piece| own.contains(piece))
}
