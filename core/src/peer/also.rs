//! Other names of what is offered. Equal bytes are one content, which is registered under one name; every other name that a
//! file of these bytes has is told to the tracker besides, and found like the first.

use std::collections::{BTreeMap, BTreeSet};

use super::swarm::name_hash;
use super::{Peer, PeerEffect};
use crate::content::SafePath;
use crate::ids::{ContentId, ContentKey, LinkId};
use crate::limits::{NAME_BYTES_MAX, OTHER_NAMES_PER_CONTENT};
use crate::wire::tracker::TrackerRequest;

const FIRST: ContentKey = ContentKey { id: ContentId([0; 32]), length: 0 };
const LAST: ContentKey = ContentKey { id: ContentId([0xff; 32]), length: u64::MAX };

#[derive(Debug, Default)]
pub(super) struct OtherNames {
    /// None of them is empty.
    by_key: BTreeMap<ContentKey, Vec<String>>,
    /// By the hash of the name.
    by_name: BTreeSet<(u64, ContentKey)>,
    /// Contents of which the tracker knows other names.
    told: BTreeSet<ContentKey>,
}

impl OtherNames {
    fn set(&mut self, key: ContentKey, names: Vec<String>) {
        for name in self.by_key.remove(&key).into_iter().flatten() {
            self.by_name.remove(&(name_hash(&name), key));
        }
        self.by_name.extend(names.iter().map(|name| (name_hash(name), key)));
        if !names.is_empty() {
            self.by_key.insert(key, names);
        }
    }

    /// The content is not registered any more, and with it goes what it was called.
    pub(super) fn withdrawn(&mut self, key: ContentKey) {
        self.told.remove(&key);
    }

    /// The contents that have this name besides another.
    pub(super) fn named(&self, name: &str) -> impl Iterator<Item = ContentKey> {
        let hash = name_hash(name);
        let like = self.by_name.range((hash, FIRST)..=(hash, LAST)).map(|(_, key)| *key);
        like.filter(move |key| self.by_key.get(key).is_some_and(|names| names.iter().any(|is| is == name)))
    }
}

impl Peer {
    /// A content that is offered goes by these names, too, and by no others that were said before.
    pub(super) fn also_named(&mut self, key: ContentKey, mut names: Vec<String>) {
        names.retain(|name| name.len() <= NAME_BYTES_MAX && SafePath::parse(name).is_ok());
        names.truncate(OTHER_NAMES_PER_CONTENT);
        self.also.set(key, names);
        if self.by_key.contains_key(&key) {
            self.announce_content(key);
        }
    }

    /// It is offered no longer.
    pub(super) fn forget_other_names(&mut self, key: ContentKey) {
        self.also.set(key, Vec::new());
    }

    /// Tells the tracker of the other names of what was just announced.
    pub(super) fn tell_other_names(&mut self, link: LinkId, keys: &[ContentKey]) {
        for &key in keys {
            let names = self.also.by_key.get(&key).cloned().unwrap_or_default();
            let known =
                if names.is_empty() { self.also.told.remove(&key) } else { !self.also.told.insert(key) };
            if known || !names.is_empty() {
                self.effect(PeerEffect::SendTracker { link, msg: TrackerRequest::AlsoNamed { key, names } });
            }
        }
    }
}
