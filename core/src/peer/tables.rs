//! The piece table: asking for it, and giving it to others.
//!
//! It comes whole from one partner, since only all of it can be checked. Who has got it says so before it has a piece, and
//! passes it on: the first holder gives a crowd some tables and then pieces, not a table to each.

use std::sync::Arc;
use std::time::Duration;

use crate::bucket::Rate;
use crate::content::PieceTable;
use crate::ids::{ChainingValue, LinkId, Slot};
use crate::limits;
use crate::wire::peer::PeerMessage;

use super::swarm::{Partner, Phase, SwarmId};
use super::timers::Timer;
use super::{Misbehaviour, Peer};

/// A slice of a piece table is waited for this long, and two round trips of the link, before another holder is asked.
const TABLE_TIMEOUT: Duration = Duration::from_secs(2);
/// All of a table may take this long in the first round, where there is another holder to ask.
const TABLE_PATIENCE: Duration = Duration::from_secs(10);
/// Slices of a piece table asked for at a time.
const TABLE_WINDOW: u32 = 4;
/// Where everybody has been asked in vain, it begins anew after this.
const TABLE_AGAIN: Duration = Duration::from_millis(100);
/// Bytes of tables that are given: others can give them, too, but of first copies there is one source.
const TABLES_GIVEN: Rate = Rate { burst: 1 << 20, per_second: 2 << 20 };
/// The same for one link, so that nobody can ask until nothing is left for others.
const TABLES_PER_LINK: Rate = Rate { burst: 1 << 20, per_second: 128 << 10 };

impl Peer {
    pub(super) fn request_table_said(&mut self, link: LinkId, slot: Slot, first: u32, count: u32) {
        let table =
            self.their_swarm(link, slot).and_then(|id| self.swarms.get(&id)).and_then(|s| s.table.clone());
        let values = table
            .filter(|t| first != 0 || self.may_give_table(link, size_of_val(t.values()) as u64))
            .and_then(|t| {
                let end =
                    first.checked_add(count.min(limits::TABLE_SLICE_PIECES))?.min(t.values().len() as u32);
                let slice = t.values().get(first as usize..end as usize)?;
                // Whoever has begun gets the rest, once.
                let owed = &mut self.links.get_mut(&link)?.tables_owed;
                *owed = owed.checked_sub(size_of_val(slice) as u64)?;
                Some(slice.to_vec())
            })
            .unwrap_or_default();
        self.say(link, PeerMessage::Table { slot, first, values });
    }

    /// May a table of so many bytes be given to this link now? If so it is.
    fn may_give_table(&mut self, link: LinkId, bytes: u64) -> bool {
        let now = self.now;
        let Some(l) = self.links.get_mut(&link) else { return false };
        let may =
            self.tables_given.has_some(now, TABLES_GIVEN) && l.tables_given.has_some(now, TABLES_PER_LINK);
        if may {
            self.tables_given.spend(now, TABLES_GIVEN, bytes);
            l.tables_given.spend(now, TABLES_PER_LINK, bytes);
            l.tables_owed += bytes;
        }
        may
    }

    /// A partner has the piece table, by all that is known, though it has not said so yet: asking now saves a round trip.
    pub(super) fn may_have_table(&mut self, link: LinkId, id: SwarmId) {
        if let Some(partner) = self.swarms.get_mut(&id).and_then(|s| s.partners.get_mut(&link)) {
            partner.has_table = true;
            self.ask_table(id);
        }
    }

    /// Tells whoever may lack the piece table that it is here.
    pub(super) fn announce_table(&mut self, id: SwarmId) {
        let Some(swarm) = self.swarms.get(&id) else { return };
        let lacking = swarm.partners.iter().filter(|(_, p)| !p.gives_table()).map(|(link, _)| *link);
        for link in lacking.collect::<Vec<_>>() {
            self.say_holding(link, id);
        }
    }

    /// Asks the next holder for the piece table.
    pub(super) fn ask_table(&mut self, id: SwarmId) {
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        let pieces = swarm.geometry.pieces();
        let Some(fetching) = &mut swarm.fetching else { return };
        let Phase::Table(table) = &mut fetching.phase else { return };
        if table.from.is_some() {
            return;
        }
        let untried = |(l, p): &(&LinkId, &Partner)| p.gives_table() && !table.tried.contains(l);
        let Some((link, slot)) = swarm.partners.iter().find(untried).map(|(l, p)| (*l, p.mine)) else {
            let pause = if table.tried.is_empty() { TABLE_TIMEOUT } else { TABLE_AGAIN };
            self.timers.set_by(Timer::Table(id), self.now + pause);
            return;
        };
        table.values.clear();
        table.from = Some(link);
        table.since = self.now;
        table.tried.insert(link);
        for first in (0..pieces).step_by(limits::TABLE_SLICE_PIECES as usize).take(TABLE_WINDOW as usize) {
            self.say(link, PeerMessage::RequestTable { slot, first, count: limits::TABLE_SLICE_PIECES });
        }
        self.expect_slice(link, id);
    }

    /// The next slice of a table is due from this link.
    fn expect_slice(&mut self, link: LinkId, id: SwarmId) {
        let rtt = self.links.get(&link).and_then(|l| l.rtt).unwrap_or_default();
        self.timers.set(Timer::Table(id), self.now + TABLE_TIMEOUT + rtt * 2);
    }

    pub(super) fn table_timed_out(&mut self, id: SwarmId) {
        let Some(fetching) = self.swarms.get_mut(&id).and_then(|s| s.fetching.as_mut()) else { return };
        if let Phase::Table(table) = &mut fetching.phase {
            match table.from.take() {
                Some(link) => self.asked_in_vain(link, id),
                None if !table.tried.is_empty() => {
                    table.rounds = table.rounds.saturating_add(1);
                    table.tried.clear();
                }
                None => {}
            }
            self.ask_table(id);
        }
    }

    pub(super) fn table_said(&mut self, link: LinkId, slot: Slot, first: u32, slice: Vec<ChainingValue>) {
        let Some(id) = self.links.get(&link).and_then(|l| l.mine.get(&slot).copied()) else { return };
        let Some(swarm) = self.swarms.get_mut(&id) else { return };
        let (key, pieces) = (swarm.key, swarm.geometry.pieces());
        let Some(fetching) = &mut swarm.fetching else { return };
        let Phase::Table(table) = &mut fetching.phase else { return };
        if table.from != Some(link) || first as usize != table.values.len() {
            return;
        }
        let expected = limits::TABLE_SLICE_PIECES.min(pieces - first) as usize;
        if slice.len() != expected {
            // It does not have it, or gave it to others, or not in order: the next one may.
            table.from = None;
            self.asked_in_vain(link, id);
            self.ask_table(id);
            return;
        }
        table.values.extend(slice);
        let got = table.values.len() as u32;
        if got < pieces {
            let others = swarm.partners.iter().any(|(l, p)| *l != link && p.gives_table());
            if others && is_slow(self.now.since(table.since), table.rounds, got, pieces) {
                table.from = None;
                self.ask_table(id);
                return;
            }
            let ahead = got + limits::TABLE_SLICE_PIECES * (TABLE_WINDOW - 1);
            if ahead < pieces {
                self.say(
                    link,
                    PeerMessage::RequestTable { slot, first: ahead, count: limits::TABLE_SLICE_PIECES },
                );
            }
            self.expect_slice(link, id);
            return;
        }
        let values = std::mem::take(&mut table.values);
        self.timers.clear(Timer::Table(id));
        match PieceTable::new(key, values) {
            Ok(table) => self.table_ready(id, Arc::new(table)),
            Err(_) => {
                if let Some(Phase::Table(table)) =
                    self.swarms.get_mut(&id).and_then(|s| s.fetching.as_mut()).map(|f| &mut f.phase)
                {
                    table.from = None;
                }
                self.offended(link, id, Misbehaviour::BadTable);
                self.ask_table(id);
            }
        }
    }
}

/// Would all of a table take longer than a holder has for it, at the pace so far? Each round of all holders gives them twice
/// the time: one that dawdles is left soon, and where all are slow each is waited for in the end.
fn is_slow(spent: Duration, rounds: u32, got: u32, pieces: u32) -> bool {
    let allowed = TABLE_PATIENCE * (1 << rounds.min(12));
    spent >= TABLE_TIMEOUT && spent.as_secs_f64() * f64::from(pieces) > allowed.as_secs_f64() * f64::from(got)
}
