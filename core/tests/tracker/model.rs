//! The machine against a model of a few maps: random sequences of everything that peers do, with what the tracker says
//! compared after each step. Few peers, names and contents, so that they meet.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use potluck_core::content::Kind;
use potluck_core::ids::{ContentKey, LinkId, PeerId, SessionToken};
use potluck_core::limits;
use potluck_core::time::Instant;
use potluck_core::wire::tracker::{Ad, Matching, RefusedRequest, Row, TrackerMessage, TrackerRequest};
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

use crate::harness::*;

const PEERS: u64 = 6;
const CONTENTS: u64 = 5;
const PEER_NAMES: [&str; 4] = ["ann", "bob", "bob-2", "cy"];
const NAMES: [&str; 6] = ["a.txt", "A.TXT", "b.txt", "Über.txt", "folder", "folder/b.txt"];

#[derive(Clone, Debug)]
enum Step {
    /// Joins, or takes its session over from its old link, which nobody has noticed is dead.
    Join {
        peer: u64,
        name: &'static str,
        any_name: bool,
    },
    /// Somebody claims to be this peer.
    Forge {
        peer: u64,
    },
    Rename {
        peer: u64,
        name: &'static str,
    },
    Leave {
        peer: u64,
    },
    Break {
        peer: u64,
    },
    /// Asks one last thing and answers no pings any more; what it does by itself it goes on doing.
    FallSilent {
        peer: u64,
    },
    Announce {
        peer: u64,
        ads: Vec<Ad>,
    },
    Withdraw {
        peer: u64,
        keys: Vec<ContentKey>,
    },
    Search {
        matching: Matching,
        members: bool,
        limit: u32,
    },
    Watch {
        peer: u64,
        key: ContentKey,
    },
    Unwatch {
        peer: u64,
        key: ContentKey,
    },
    WatchPeers {
        peer: u64,
        on: bool,
    },
    Pass {
        millis: u64,
    },
}

/// What should be true.
#[derive(Clone, Debug, Default)]
struct Model {
    now: Duration,
    sessions: BTreeMap<u64, Session>,
}

#[derive(Clone, Debug)]
struct Session {
    name: String,
    heard: Duration,
    silent: bool,
    ads: BTreeMap<ContentKey, Ad>,
    watches: BTreeSet<ContentKey>,
    watches_peers: bool,
}

impl Model {
    /// The peer said something.
    fn heard(&mut self, peer: &u64) -> &mut Session {
        let session = self.sessions.get_mut(peer).unwrap();
        session.heard = self.now;
        session
    }

    fn names(&self) -> BTreeSet<&str> {
        self.sessions.values().map(|session| session.name.as_str()).collect()
    }

    fn free(&self, wanted: &str) -> String {
        let stem = wanted.strip_suffix("-2").unwrap_or(wanted);
        (2..).map(|n| format!("{stem}-{n}")).find(|name| !self.names().contains(name.as_str())).unwrap()
    }

    fn holders(&self, key: ContentKey) -> BTreeMap<PeerId, (String, u32)> {
        let holders = self.sessions.iter().filter_map(|(peer, session)| {
            let ad = session.ads.get(&key)?;
            Some((peer_id(*peer), (session.name.clone(), ad.pieces)))
        });
        holders.collect()
    }

    fn rows(&self, matching: &Matching, members: bool) -> Vec<Row> {
        let mut rows: BTreeMap<(String, ContentKey), Vec<&Ad>> = BTreeMap::new();
        for ad in self.sessions.values().flat_map(|session| session.ads.values()) {
            rows.entry((ad.name.clone(), ad.key)).or_default().push(ad);
        }
        rows.retain(|(name, key), ads| {
            (members || ads.iter().any(|ad| !ad.member))
                && match matching {
                    Matching::All => true,
                    Matching::Name(wanted) => name == wanted,
                    Matching::Prefix(prefix) => name.starts_with(prefix),
                    Matching::Substring(text) => name.to_lowercase().contains(&text.to_lowercase()),
                    Matching::Glob(glob) => name.ends_with(glob.trim_start_matches('*')),
                    Matching::IdPrefix(digits) => key.id.to_string().starts_with(digits),
                }
        });
        let rows = rows.into_iter().map(|((name, key), ads)| {
            let holders = self.holders(key);
            let complete = holders.values().filter(|(_, pieces)| *pieces == 4).count() as u32;
            let folders = ads.iter().filter(|ad| ad.kind == Kind::Folder).count();
            let kind = if 2 * folders > ads.len() { Kind::Folder } else { Kind::File };
            let partial = holders.len() as u32 - complete;
            Row { key, kind, name, complete, partial, total: key.length }
        });
        rows.collect()
    }
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self::default()).boxed()
    }

    fn transitions(state: &Self) -> BoxedStrategy<Step> {
        let live: Vec<u64> = state.sessions.keys().copied().collect();
        let peer = || prop::sample::select(live.clone());
        let key = || (0..CONTENTS).prop_map(four_pieces);
        let name = || prop::sample::select(&PEER_NAMES);
        let label = || prop::sample::select(&NAMES);
        let ad = (key(), label(), any::<bool>(), any::<bool>(), 0_u32..=4);
        let ad = ad.prop_map(|(key, name, member, folder, pieces)| {
            let kind = if folder { Kind::Folder } else { Kind::File };
            Ad { key, kind, name: name.to_owned(), member, pieces, total: key.length }
        });
        let matching = prop_oneof![
            Just(Matching::All),
            label().prop_map(|name| Matching::Name(name.into())),
            prop::sample::select(&["", "a", "über", "TXT", "r/", "zz"][..])
                .prop_map(|t| Matching::Substring(t.into())),
            prop::sample::select(&["", "f", "A.", "zz"][..]).prop_map(|t| Matching::Prefix(t.into())),
            prop::sample::select(&["*", "*.txt", "*r"][..]).prop_map(|t| Matching::Glob(t.into())),
            key().prop_map(|key| Matching::IdPrefix(key.id.to_string()[..10].to_owned())),
        ];
        let anybody = prop_oneof![
            6 => (0..PEERS, name(), any::<bool>())
                .prop_map(|(peer, name, any_name)| Step::Join { peer, name, any_name }),
            3 => (matching, any::<bool>(), 1_u32..4)
                .prop_map(|(matching, members, limit)| Step::Search { matching, members, limit }),
            4 => (0_u64..6_000).prop_map(|millis| Step::Pass { millis }),
        ];
        if live.is_empty() {
            return anybody.boxed();
        }
        prop_oneof![
            13 => anybody,
            1 => peer().prop_map(|peer| Step::Forge { peer }),
            2 => (peer(), name()).prop_map(|(peer, name)| Step::Rename { peer, name }),
            1 => peer().prop_map(|peer| Step::Leave { peer }),
            1 => peer().prop_map(|peer| Step::Break { peer }),
            1 => peer().prop_map(|peer| Step::FallSilent { peer }),
            8 => (peer(), prop::collection::vec(ad, 0..4)).prop_map(|(peer, ads)| Step::Announce { peer, ads }),
            3 => (peer(), prop::collection::vec(key(), 0..3)).prop_map(|(peer, keys)| Step::Withdraw { peer, keys }),
            3 => (peer(), key()).prop_map(|(peer, key)| Step::Watch { peer, key }),
            1 => (peer(), key()).prop_map(|(peer, key)| Step::Unwatch { peer, key }),
            1 => (peer(), any::<bool>()).prop_map(|(peer, on)| Step::WatchPeers { peer, on }),
        ]
        .boxed()
    }

    /// Only what joined does what only a joined peer may do; the rest has tests of its own.
    fn preconditions(state: &Self, step: &Step) -> bool {
        match step {
            Step::Join { .. } | Step::Search { .. } | Step::Pass { .. } => true,
            Step::Forge { peer }
            | Step::Rename { peer, .. }
            | Step::Leave { peer }
            | Step::Break { peer }
            | Step::FallSilent { peer }
            | Step::Announce { peer, .. }
            | Step::Withdraw { peer, .. }
            | Step::Watch { peer, .. }
            | Step::Unwatch { peer, .. }
            | Step::WatchPeers { peer, .. } => state.sessions.contains_key(peer),
        }
    }

    fn apply(mut state: Self, step: &Step) -> Self {
        let taken: BTreeSet<String> = state.names().into_iter().map(str::to_owned).collect();
        match step {
            Step::Join { peer, name, any_name } => {
                if state.sessions.contains_key(peer) {
                    let session = state.heard(peer);
                    session.silent = false;
                    session.watches.clear();
                    session.watches_peers = false;
                    if !any_name && !taken.contains(*name) {
                        session.name = (*name).to_owned();
                    }
                    return state;
                }
                let name = match (taken.contains(*name), any_name) {
                    (false, _) => (*name).to_owned(),
                    (true, true) => state.free(name),
                    (true, false) => return state,
                };
                let session = Session {
                    name,
                    heard: state.now,
                    silent: false,
                    ads: BTreeMap::new(),
                    watches: BTreeSet::new(),
                    watches_peers: false,
                };
                state.sessions.insert(*peer, session);
            }
            Step::Forge { .. } | Step::Search { .. } => {}
            Step::Rename { peer, name } => {
                let session = state.heard(peer);
                if !taken.contains(*name) {
                    session.name = (*name).to_owned();
                }
            }
            Step::Leave { peer } | Step::Break { peer } => _ = state.sessions.remove(peer),
            Step::FallSilent { peer } => state.heard(peer).silent = true,
            Step::Announce { peer, ads } => {
                let session = state.heard(peer);
                for ad in ads {
                    session.ads.remove(&ad.key);
                    if ad.pieces > 0 {
                        session.ads.insert(ad.key, ad.clone());
                    }
                }
            }
            Step::Withdraw { peer, keys } => {
                let session = state.heard(peer);
                session.ads.retain(|key, _| !keys.contains(key));
            }
            Step::Watch { peer, key } => _ = state.heard(peer).watches.insert(*key),
            Step::Unwatch { peer, key } => _ = state.heard(peer).watches.remove(key),
            Step::WatchPeers { peer, on } => state.heard(peer).watches_peers = *on,
            Step::Pass { millis } => {
                state.now += Duration::from_millis(*millis);
                let now = state.now;
                state.sessions.retain(|_, session| !session.silent || now - session.heard < LEASE);
            }
        }
        state
    }
}

/// The machine, and what its peers know of it.
struct Real {
    hub: Hub,
    start: Instant,
    links: BTreeMap<u64, LinkId>,
    tokens: BTreeMap<u64, SessionToken>,
    /// What each peer was told of each content that it watches.
    views: BTreeMap<(u64, ContentKey), BTreeMap<PeerId, String>>,
    /// What each peer was told of the others.
    peer_views: BTreeMap<u64, BTreeMap<PeerId, String>>,
}

impl Real {
    /// Takes in what was pushed.
    fn hear(&mut self) {
        for (&peer, &link) in &self.links {
            for msg in self.hub.take(link) {
                match msg {
                    TrackerMessage::HolderChange { key, now, gone } => {
                        assert!(now.len() <= limits::HOLDER_SAMPLE);
                        let Some(view) = self.views.get_mut(&(peer, key)) else {
                            panic!("a push nobody asked for")
                        };
                        for peer in gone {
                            assert!(view.remove(&peer).is_some(), "gone, and was never there");
                        }
                        view.extend(now.into_iter().map(|row| (row.peer, row.name)));
                    }
                    TrackerMessage::PeerChange { joined, left } => {
                        let Some(view) = self.peer_views.get_mut(&peer) else {
                            panic!("a push nobody asked for")
                        };
                        for (peer, _) in left {
                            assert!(view.remove(&peer).is_some(), "left, and was never there");
                        }
                        view.extend(joined.into_iter().map(|row| (row.peer, row.name)));
                    }
                    TrackerMessage::Ping { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    fn forget_views(&mut self, peer: u64) {
        self.views.retain(|(watcher, _), _| *watcher != peer);
        self.peer_views.remove(&peer);
    }

    fn ask(&mut self, peer: u64, msg: TrackerRequest) -> TrackerMessage {
        self.hear();
        let link = self.links[&peer];
        self.hub.tell(link, msg);
        let mut said = self.hub.take(link);
        let is_push = |msg: &TrackerMessage| {
            matches!(msg, TrackerMessage::HolderChange { .. } | TrackerMessage::PeerChange { .. })
        };
        let at = said.iter().position(|msg| !is_push(msg)).unwrap();
        let answer = said.remove(at);
        self.hub.put_back(link, said);
        self.hear();
        answer
    }

    fn join(&mut self, model: &Model, peer: u64, name: &str, any_name: bool) {
        let token = self.tokens.get(&peer).copied();
        let link = self.hub.link(peer);
        self.hear();
        let old = self.links.insert(peer, link);
        let request = TrackerRequest::Join { seq: 1, name: name.to_owned(), any_name, listen_port: 0, token };
        match self.ask(peer, request) {
            TrackerMessage::Joined { name, token, .. } => {
                assert_eq!(name, model.sessions[&peer].name);
                self.tokens.insert(peer, token);
                self.forget_views(peer);
            }
            TrackerMessage::Refused { why: RefusedRequest::NameTaken { offer }, .. } => {
                assert_eq!(offer, model.free(name));
                assert_eq!(old, None);
                self.links.remove(&peer);
                self.hub.drop_link(link);
            }
            other => panic!("{other:?}"),
        }
    }
}

struct Test;

impl StateMachineTest for Test {
    type SystemUnderTest = Real;
    type Reference = Model;

    fn init_test(_: &Model) -> Real {
        let hub = Hub::new();
        Real {
            start: hub.now,
            hub,
            links: BTreeMap::new(),
            tokens: BTreeMap::new(),
            views: BTreeMap::new(),
            peer_views: BTreeMap::new(),
        }
    }

    fn apply(mut real: Real, model: &Model, step: Step) -> Real {
        match step {
            Step::Join { peer, name, any_name } => real.join(model, peer, name, any_name),
            Step::Forge { peer } => {
                let link = real.hub.link(peer);
                let answer = real.hub.try_join(link, "forged", true, Some(SessionToken([1; 16])));
                assert_eq!(answer, refused(1, RefusedRequest::NotYours));
                real.hub.drop_link(link);
            }
            Step::Rename { peer, name } => {
                match real.ask(peer, TrackerRequest::Rename { seq: 4, name: name.to_owned() }) {
                    TrackerMessage::Done { .. } => assert_eq!(model.sessions[&peer].name, name),
                    TrackerMessage::Refused { why: RefusedRequest::NameTaken { offer }, .. } => {
                        assert_eq!(offer, model.free(name));
                    }
                    other => panic!("{other:?}"),
                }
            }
            Step::Leave { peer } => {
                let link = real.links.remove(&peer).unwrap();
                real.hub.tell(link, TrackerRequest::Leave {});
                real.forget_views(peer);
            }
            Step::Break { peer } => {
                let link = real.links.remove(&peer).unwrap();
                real.hub.drop_link(link);
                real.forget_views(peer);
            }
            Step::FallSilent { peer } => {
                real.ask(peer, TrackerRequest::Ping { nonce: 1 });
                real.hub.mute.insert(real.links[&peer]);
            }
            Step::Announce { peer, ads } => {
                assert_eq!(real.ask(peer, TrackerRequest::Announce { seq: 2, ads }), done(2))
            }
            Step::Withdraw { peer, keys } => {
                let before: Vec<_> =
                    real.hub.tracker.registrations().map(|(peer, key, ..)| (peer, key)).collect();
                let mut own: Vec<_> = keys.iter().map(|key| (peer_id(peer), *key)).collect();
                own.dedup();
                let all = own.len() == keys.len() && own.iter().all(|pair| before.contains(pair));
                let answer = real.ask(peer, TrackerRequest::Withdraw { seq: 3, keys });
                assert_eq!(answer, if all { done(3) } else { refused(3, RefusedRequest::NotYours) });
            }
            Step::Search { matching, members, limit } => {
                let visitor = real.hub.link(99);
                let (mut rows, mut after) = (vec![], None);
                loop {
                    let (page, next) = real.hub.page(visitor, matching.clone(), members, after, limit);
                    assert!(page.len() == limit as usize || (next.is_none() && page.len() < limit as usize));
                    rows.extend(page);
                    after = next;
                    if after.is_none() {
                        break;
                    }
                }
                assert_eq!(rows, model.rows(&matching, members));
                real.hub.drop_link(visitor);
            }
            Step::Watch { peer, key } => {
                real.hear();
                real.views.insert((peer, key), BTreeMap::new());
                real.hub.tell(real.links[&peer], TrackerRequest::Watch { key });
            }
            Step::Unwatch { peer, key } => {
                real.hear();
                real.hub.tell(real.links[&peer], TrackerRequest::Unwatch { key });
                real.hear();
                real.views.remove(&(peer, key));
            }
            Step::WatchPeers { peer, on } => {
                real.hear();
                if on {
                    real.peer_views.insert(peer, BTreeMap::new());
                }
                real.hub.tell(real.links[&peer], TrackerRequest::WatchPeers { on });
                real.hear();
                if !on {
                    real.peer_views.remove(&peer);
                }
            }
            Step::Pass { millis } => real.hub.pass(Duration::from_millis(millis)),
        }
        real.hear();
        let gone: Vec<u64> =
            real.links.keys().copied().filter(|peer| !model.sessions.contains_key(peer)).collect();
        for peer in gone {
            real.links.remove(&peer);
            real.forget_views(peer);
        }
        real
    }

    fn check_invariants(real: &Real, model: &Model) {
        assert_eq!(real.hub.now.since(real.start), model.now);
        let sessions: BTreeMap<_, _> =
            real.hub.tracker.sessions().map(|session| (session.peer, session.name.to_owned())).collect();
        let expected: BTreeMap<_, _> =
            model.sessions.iter().map(|(peer, session)| (peer_id(*peer), session.name.clone())).collect();
        assert_eq!(sessions, expected);
        let registrations: BTreeSet<_> = real
            .hub
            .tracker
            .registrations()
            .map(|(peer, key, name, pieces)| (peer, key, name.to_owned(), pieces))
            .collect();
        let expected: BTreeSet<_> = (model.sessions.iter())
            .flat_map(|(peer, session)| {
                session.ads.values().map(|ad| (peer_id(*peer), ad.key, ad.name.clone(), ad.pieces))
            })
            .collect();
        assert_eq!(registrations, expected);
    }

    /// Once nothing more happens, whoever watches knows what is true.
    fn teardown(mut real: Real, mut model: Model) {
        real.hub.pass(LEASE + 2 * limits::PUSH_INTERVAL);
        real.hear();
        model.sessions.retain(|_, session| !session.silent);
        let all: BTreeMap<_, _> =
            model.sessions.iter().map(|(peer, session)| (peer_id(*peer), session.name.clone())).collect();
        for (peer, session) in &model.sessions {
            for key in &session.watches {
                let mut holders: BTreeMap<_, _> =
                    model.holders(*key).into_iter().map(|(peer, (name, _))| (peer, name)).collect();
                holders.remove(&peer_id(*peer));
                assert_eq!(real.views[&(*peer, *key)], holders);
            }
            if session.watches_peers {
                assert_eq!(real.peer_views[peer], all);
            }
        }
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_machine_does_what_the_model_says(sequential 1..80 => Test);
}
