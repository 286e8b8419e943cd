//! How much searching is done: by whoever has one address, and in all, so that there is always time for everything else.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::bucket::{Bucket, Rate};
use crate::limits::{
    SEARCH_WORK_BURST, SEARCH_WORK_IN_ALL_PER_SECOND, SEARCH_WORK_PER_REPLY, SEARCH_WORK_PER_SECOND,
    SEARCHERS_MAX,
};
use crate::origin::origin;
use crate::time::Instant;

const OWN: Rate = Rate { burst: SEARCH_WORK_BURST, per_second: SEARCH_WORK_PER_SECOND };
const IN_ALL: Rate = Rate { burst: SEARCH_WORK_BURST, per_second: SEARCH_WORK_IN_ALL_PER_SECOND };
/// Who has not done more than this is served even when others do all that may be done.
const LITTLE: Rate = Rate { burst: 2 * SEARCH_WORK_PER_REPLY, per_second: SEARCH_WORK_PER_REPLY };

/// What searches cost lately.
#[derive(Debug, Default)]
pub(super) struct Searchers {
    by_origin: BTreeMap<IpAddr, Searcher>,
    in_all: Bucket,
}

#[derive(Clone, Copy, Debug, Default)]
struct Searcher {
    own: Bucket,
    little: Bucket,
}

impl Searchers {
    pub(super) fn may_search(&self, from: IpAddr, now: Instant) -> bool {
        let searcher = self.by_origin.get(&origin(from)).copied().unwrap_or_default();
        searcher.own.has_some(now, OWN)
            && (self.in_all.has_some(now, IN_ALL) || searcher.little.has_some(now, LITTLE))
    }

    /// A search cost so much.
    pub(super) fn spend(&mut self, from: IpAddr, now: Instant, units: u64) {
        let from = origin(from);
        if self.by_origin.len() >= SEARCHERS_MAX && !self.by_origin.contains_key(&from) {
            self.by_origin.retain(|_, searcher| !searcher.own.is_full(now) || !searcher.little.is_full(now));
            if self.by_origin.len() >= SEARCHERS_MAX {
                self.by_origin.pop_first();
            }
        }
        let searcher = self.by_origin.entry(from).or_default();
        searcher.own.spend(now, OWN, units);
        searcher.little.spend(now, LITTLE, units);
        // What is done beyond the bound is not paid back by everybody.
        if self.in_all.has_some(now, IN_ALL) {
            self.in_all.spend(now, IN_ALL, units);
        }
    }

    /// Panics if a bound is exceeded.
    pub(super) fn check_invariants(&self) {
        assert!(self.by_origin.len() <= SEARCHERS_MAX);
    }
}
