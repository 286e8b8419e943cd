//! Questions that are answered at once: contents, holders, peers. Every answer is a page, and says where the next begins.
//!
//! A page of contents may be shorter than asked for, even empty, and still have a next one: a search that has to look at
//! very many names stops after a stated amount of work, and its cursor goes on from there.

use std::ops::Bound;

use super::catalog::{Found, Page};
use super::links::Link;
use super::matcher::Matcher;
use super::{Tracker, TrackerEvent, Turn};
use crate::ids::{ContentKey, LinkId, PeerId};
use crate::limits::{REPORT_NAMES, ROWS_PER_REPLY, SEARCH_WORK_PER_REPLY};
use crate::wire::tracker::{Cursor, HolderRow, Matching, RefusedRequest, Row, TrackerMessage};

/// Units of work that any search costs.
const SEARCH_WORK_MIN: u64 = 64;

/// Which page of contents is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) members: bool,
    pub(super) after: Option<&'a Cursor>,
    pub(super) limit: u32,
}

impl Tracker {
    pub(super) fn search(
        &mut self,
        id: LinkId,
        seq: u32,
        matching: &Matching,
        Wanted { members, after, limit }: Wanted<'_>,
        turn: &mut Turn<'_>,
    ) {
        let Some(from) = self.links.get(&id).map(Link::ip) else { return };
        if !self.searchers.may_search(from, turn.now) {
            return turn.refuse(id, seq, RefusedRequest::Limit("searches per second".to_owned()));
        }
        let page = Page { after, members, limit: page_rows(limit), work_max: SEARCH_WORK_PER_REPLY };
        let scanned = match matching {
            Matching::IdPrefix(digits) => self.registry.with_id_prefix(digits, page),
            Matching::All
            | Matching::Name(_)
            | Matching::Substring(_)
            | Matching::Glob(_)
            | Matching::Prefix(_) => Matcher::new(matching).map(|matcher| self.registry.scan(&matcher, page)),
        };
        let scanned = match scanned {
            Ok(scanned) => scanned,
            Err(why) => {
                self.searchers.spend(from, turn.now, SEARCH_WORK_MIN);
                return turn.refuse(id, seq, RefusedRequest::BadQuery(why));
            }
        };
        self.searchers.spend(from, turn.now, SEARCH_WORK_MIN + scanned.work);
        let rows = scanned.rows.into_iter().map(|found| {
            let (complete, partial) = self.registry.counts(found.key);
            let Found { key, kind, name, total } = found;
            Row { key, kind, name, complete, partial, total }
        });
        let rows: Vec<Row> = rows.collect();
        let searched = TrackerEvent::Searched {
            asker: self.who(id),
            query: describe(matching),
            rows: u32::try_from(rows.len()).unwrap_or(u32::MAX),
        };
        turn.report(searched);
        turn.send(id, TrackerMessage::Rows { seq, rows, next: scanned.next });
    }

    pub(super) fn look_up(
        &self,
        id: LinkId,
        seq: u32,
        key: ContentKey,
        after: Option<PeerId>,
        limit: u32,
        turn: &mut Turn<'_>,
    ) {
        let Some(link) = self.links.get(&id) else { return };
        let (limit, mut rows, mut next) = (page_rows(limit), Vec::new(), None);
        if let Some(content) = self.registry.index(key) {
            for holder in self.registry.holders_after(content, after) {
                let Some(session) = self.sessions.get(&holder.owner) else { continue };
                if rows.len() == limit {
                    next = rows.last().map(|row: &HolderRow| row.peer);
                    break;
                }
                rows.push(session.holder_row(link.ip(), holder.pieces));
            }
        }
        let (complete, partial) = self.registry.counts(key);
        let looked_up = TrackerEvent::LookedUp {
            asker: self.who(id),
            content: self.registry.label(key),
            holders: rows.iter().take(REPORT_NAMES).map(|row| row.name.clone()).collect(),
            count: complete + partial,
        };
        turn.report(looked_up);
        turn.send(id, TrackerMessage::HolderRows { seq, rows, next });
    }

    pub(super) fn list_peers(
        &self,
        id: LinkId,
        seq: u32,
        after: Option<PeerId>,
        limit: u32,
        turn: &mut Turn<'_>,
    ) {
        let Some(link) = self.links.get(&id) else { return };
        let limit = page_rows(limit);
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut live =
            self.by_peer.range((after, Bound::Unbounded)).filter_map(|(_, owner)| self.sessions.get(owner));
        let rows: Vec<_> = live.by_ref().take(limit).map(|session| session.peer_row(link.ip())).collect();
        let next = rows.last().filter(|_| live.next().is_some()).map(|row| row.peer);
        turn.send(id, TrackerMessage::PeerRows { seq, rows, next });
    }
}

/// Rows of a page: as many as wanted, at least one, at most what a reply holds.
fn page_rows(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX).clamp(1, ROWS_PER_REPLY)
}

/// A query as the log shows it.
fn describe(matching: &Matching) -> String {
    match matching {
        Matching::All => "everything".to_owned(),
        Matching::Name(text) => format!("named {text}"),
        Matching::Substring(text) => text.clone(),
        Matching::Glob(text) => format!("like {text}"),
        Matching::Prefix(text) => format!("{text}…"),
        Matching::IdPrefix(text) => format!("id {text}…"),
    }
}
