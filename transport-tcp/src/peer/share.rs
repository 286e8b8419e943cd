//! What a peer shares: hashed, offered, and kept up to date.
//!
//! A path that is shared offers one content (a file), or many (each file of a folder as a member, then the folder's
//! listing). The same content may be offered by several paths: it is withdrawn when the last of them goes. Whatever a path
//! offers is kept by path, so that sharing it again replaces exactly that.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use potluck_core::content::{Collision, Kind, Node, PieceTable, escape, portability};
use potluck_core::ids::ContentKey;
use potluck_core::limits::OTHER_NAMES_PER_CONTENT;
use potluck_core::peer::Command;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::Inner;
use super::event::{Event, Shared};
use crate::events::EventSender;
use crate::hash_cache::CacheFile;
use crate::hashing::{HashCache, HashError, Hashed, Hashing, hash_file, hash_folder};
use crate::limits::HASH_CACHED_BYTES_MIN;
use crate::scan::{FolderPlan, Found, ScanError, ScanPlan, Skipped, scan};
use crate::store::{FileIdentity, Source};

/// A file that changed is left alone for this long before it is hashed again: it may be changing still.
const SETTLE: Duration = Duration::from_secs(1);
/// What did not stand still even then is tried again after this long.
const AGAIN: Duration = Duration::from_secs(5);

/// Of what a folder leaves out, so much is told one by one.
const SKIPPED_TOLD: usize = 20;

/// What is shared is looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A file that changes all the time is looked at more and more seldom, down to this.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(60);
/// Looking takes at most so much of the time: a fiftieth.
const LOOK_SHARE: u32 = 50;

/// Why a path is not shared.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// What is there cannot be shared.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// It could not be hashed.
    #[error(transparent)]
    Hash(#[from] HashError),
}

impl ShareError {
    /// It may well go if it is tried again.
    const fn is_passing(&self) -> bool {
        matches!(self, Self::Hash(HashError::Changing { .. }))
    }
}

/// One content as one path offers it.
#[derive(Clone, Debug)]
struct Offer {
    kind: Kind,
    name: String,
    member: bool,
    total: u64,
    table: Option<Arc<PieceTable>>,
    source: Source,
}

impl Offer {
    /// Would others see no difference?
    fn looks_like(&self, other: &Self) -> bool {
        (self.kind, &self.name, self.member) == (other.kind, &other.name, other.member)
    }
}

/// What a path came to when it was shared.
#[derive(Clone, Debug)]
struct Root {
    key: ContentKey,
    /// Where it led: absolute, without symbolic links. It is offered anew only from there: whoever may put a link in its
    /// place could else have any file of this user's offered.
    led_to: PathBuf,
    /// Of a folder: what was in it.
    look: Option<blake3::Hash>,
}

/// Something that is shared, as it was when it was hashed.
#[derive(Debug)]
struct Shown {
    key: ContentKey,
    path: PathBuf,
    was: Was,
}

#[derive(Debug)]
enum Was {
    /// This file.
    File(PathBuf, FileIdentity),
    /// A folder with all that is in it.
    Folder(blake3::Hash),
}

impl Shown {
    fn is_another(&self) -> bool {
        match &self.was {
            Was::File(file, identity) => FileIdentity::at(file).ok() != Some(*identity),
            Was::Folder(look) => scan(&self.path).ok().and_then(|plan| look_of(&plan)) != Some(*look),
        }
    }
}

fn look_of(plan: &ScanPlan) -> Option<blake3::Hash> {
    match &plan.found {
        Found::File(_) => None,
        Found::Folder(folder) => Some(folder.look()),
    }
}

/// What is shared, by path and by content.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// By the path as it was given: what it came to.
    by_path: BTreeMap<PathBuf, Root>,
    /// By content: the paths that offer it, and how, by path. Never empty, and almost always one: a map would take room for
    /// eleven, of each of a hundred thousand files.
    by_key: HashMap<ContentKey, Vec<(PathBuf, Offer)>>,
    /// The same the other way round. Never empty.
    keys_of: HashMap<PathBuf, BTreeSet<ContentKey>>,
    /// Folders whose owner sees by itself what becomes of what lies directly in them.
    watched: BTreeSet<PathBuf>,
    /// By content, the other names that were said of it. None is empty.
    also: HashMap<ContentKey, Vec<String>>,
}

impl Shares {
    /// Notes that `path` offers a content. Returns the offer that is to be made, if it is another than before.
    fn add(&mut self, path: &Path, key: ContentKey, offer: Offer) -> Option<&Offer> {
        let offers = self.by_key.entry(key).or_insert_with(|| Vec::with_capacity(1));
        let before = best(offers).cloned();
        match offers.binary_search_by(|(of, _)| of.as_path().cmp(path)) {
            Ok(at) => offers[at].1 = offer,
            Err(at) => offers.insert(at, (path.to_owned(), offer)),
        }
        if let Some(keys) = self.keys_of.get_mut(path) {
            keys.insert(key);
        } else {
            self.keys_of.insert(path.to_owned(), BTreeSet::from([key]));
        }
        best(offers).filter(|offer| !before.is_some_and(|before| before.looks_like(offer)))
    }

    /// The names that a content has besides that of its best offer, if they are others than were said. `gone` offers it no
    /// longer.
    fn other_names(&mut self, key: ContentKey, gone: Option<&Path>) -> Option<Vec<String>> {
        let offers = self.by_key.get(&key).map_or(&[][..], Vec::as_slice);
        let known = self.also.get(&key).map_or(&[][..], Vec::as_slice);
        if offers.len() < 2 && known.is_empty() {
            return None;
        }
        let best = best(offers).map(|offer| offer.name.as_str());
        // Once there are as many as may be said, one more or less changes nothing: of a hundred thousand empty files each would
        // have all of them said again.
        let gone = gone.and_then(Path::file_name).and_then(OsStr::to_str);
        let stands = |name: &String| Some(name.as_str()) != best && Some(name.as_str()) != gone;
        if known.len() >= OTHER_NAMES_PER_CONTENT && known.iter().all(stands) {
            return None;
        }
        let names = offers.iter().map(|(_, offer)| offer).filter(|offer| !offer.member);
        let others = names.map(|offer| offer.name.as_str()).filter(|name| Some(*name) != best);
        let others: BTreeSet<&str> = others.take(OTHER_NAMES_PER_CONTENT).collect();
        if others.iter().eq(known) {
            return None;
        }
        let others: Vec<String> = others.into_iter().map(str::to_owned).collect();
        if others.is_empty() {
            self.also.remove(&key);
        } else {
            self.also.insert(key, others.clone());
        }
        Some(others)
    }

    /// Notes that `path` offers a content no longer. Returns the best offer of those that are left.
    fn remove(&mut self, path: &Path, key: ContentKey) -> Option<&Offer> {
        self.unlist(path, key);
        let offers = self.by_key.get_mut(&key)?;
        offers.retain(|(of, _)| of != path);
        if offers.is_empty() {
            self.by_key.remove(&key);
            return None;
        }
        self.by_key.get(&key).and_then(|offers| best(offers))
    }

    /// Files and folders that are shared, but for what a watched folder shares.
    fn unwatched(&self) -> Vec<Shown> {
        let mut shown = Vec::new();
        for (key, offers) in &self.by_key {
            for (path, offer) in offers {
                if let Source::File { path: file, identity } = &offer.source {
                    let was = Was::File(file.clone(), *identity);
                    shown.push(Shown { key: *key, path: path.clone(), was });
                }
            }
        }
        let folders = self.by_path.iter().filter_map(|(path, root)| {
            Some(Shown { key: root.key, path: path.clone(), was: Was::Folder(root.look?) })
        });
        shown.extend(folders);
        shown.retain(|shown| shown.path.parent().is_none_or(|folder| !self.watched.contains(folder)));
        shown
    }

    /// Every content that `path` offers.
    fn of(&self, path: &Path) -> BTreeSet<ContentKey> {
        self.keys_of.get(path).cloned().unwrap_or_default()
    }

    /// Takes a content out of those that `path` offers.
    fn unlist(&mut self, path: &Path, key: ContentKey) {
        let Some(keys) = self.keys_of.get_mut(path) else { return };
        keys.remove(&key);
        if keys.is_empty() {
            self.keys_of.remove(path);
        }
    }

    /// Notes that a content is offered by nobody, since its file changed. Returns the paths that did.
    fn lose(&mut self, key: ContentKey) -> Vec<PathBuf> {
        self.also.remove(&key);
        let paths: Vec<_> = self.by_key.remove(&key).into_iter().flatten().map(|(path, _)| path).collect();
        paths.iter().for_each(|path| self.unlist(path, key));
        paths
    }
}

/// As itself rather than as a folder's member.
fn best(offers: &[(PathBuf, Offer)]) -> Option<&Offer> {
    offers.iter().map(|(_, offer)| offer).min_by_key(|offer| offer.member)
}

/// See [`Peer::share`](super::Peer::share). With `led_to`, only if the path leads there.
pub(super) async fn share(peer: &Inner, path: &Path, led_to: Option<PathBuf>) -> Result<Shared, ShareError> {
    // One path at a time: hashing takes all cores anyhow, and what a path offered before is replaced in one go.
    let _turn = peer.share_turn.lock().await;
    let hashed = hash(peer, path, led_to).await;
    let mut shares = peer.shares.lock().await;
    let (shared, root, offered) = match hashed {
        Ok(hashed) => hashed,
        Err(error) => {
            // What does not stand still may be tried again: it stays known.
            let known = shares.by_path.get(path).cloned().filter(|_| error.is_passing());
            forget(peer, &mut shares, path).await;
            shares.by_path.extend(known.map(|root| (path.to_owned(), root)));
            return Err(error);
        }
    };
    shares.by_path.insert(path.to_owned(), root);
    let all = shares.of(path);
    withdraw(peer, &mut shares, path, all.difference(&offered)).await;
    drop(shares);
    peer.events.send(Event::Shared(shared.clone()));
    Ok(shared)
}

/// Hashes what is at a path and offers it on the way. Returns what it came to, and all that was offered.
async fn hash(
    peer: &Inner,
    path: &Path,
    led_to: Option<PathBuf>,
) -> Result<(Shared, Root, BTreeSet<ContentKey>), ShareError> {
    let given = path.to_owned();
    let plan = peer.crews.sharing.call(move || scan(&given)).await?;
    let (leads_to, look) = (plan.root.clone(), look_of(&plan));
    if led_to.is_some_and(|led_to| led_to != leads_to) {
        return Err(ScanError::Led { path: path.to_owned() }.into());
    }
    let (tell, hashed) = mpsc::unbounded_channel();
    let cancelled = Cancelled::default();
    let job = HashJob {
        path: path.to_owned(),
        threads: peer.crews.cores,
        cache: peer.hash_cache.clone(),
        tell,
        events: peer.events.clone(),
        cancelled: Arc::clone(&cancelled.0),
    };
    let hashing = peer.crews.sharing.call(move || job.run(&plan));
    let (shared, offered) = tokio::join!(hashing, offer_each(peer, path, hashed));
    let shared = shared?;
    let root = Root { key: shared.key, led_to: leads_to, look };
    Ok((shared, root, offered))
}

/// Offers what was hashed, as it comes.
async fn offer_each(
    peer: &Inner,
    path: &Path,
    mut hashed: mpsc::UnboundedReceiver<(ContentKey, Offer)>,
) -> BTreeSet<ContentKey> {
    let mut offered = BTreeSet::new();
    while let Some((key, offer)) = hashed.recv().await {
        peer.store.add_source(key, offer.source.clone());
        let mut shares = peer.shares.lock().await;
        if let Some(offer) = shares.add(path, key, offer) {
            peer.command(command(key, offer)).await;
        }
        say_other_names(peer, &mut shares, key, None).await;
        offered.insert(key);
    }
    offered
}

/// See [`Peer::watches`](super::Peer::watches).
pub(super) async fn watches(peer: &Inner, folder: &Path) {
    peer.shares.lock().await.watched.insert(folder.to_owned());
}

/// See [`Peer::unshare`](super::Peer::unshare).
pub(super) async fn unshare(peer: &Inner, key: ContentKey) {
    let mut shares = peer.shares.lock().await;
    let paths: Vec<_> =
        shares.by_path.iter().filter(|(_, root)| root.key == key).map(|(path, _)| path.clone()).collect();
    for path in paths {
        forget(peer, &mut shares, &path).await;
    }
}

/// See [`Peer::unshare_path`](super::Peer::unshare_path).
pub(super) async fn unshare_path(peer: &Inner, path: &Path) {
    let mut shares = peer.shares.lock().await;
    forget(peer, &mut shares, path).await;
}

/// Withdraws everything that a path offers.
async fn forget(peer: &Inner, shares: &mut Shares, path: &Path) {
    shares.by_path.remove(path);
    let offered = shares.of(path);
    withdraw(peer, shares, path, &offered).await;
}

async fn withdraw(
    peer: &Inner,
    shares: &mut Shares,
    path: &Path,
    keys: impl IntoIterator<Item = &ContentKey>,
) {
    for key in keys {
        if let Some(left) = shares.remove(path, *key) {
            peer.store.add_source(*key, left.source.clone());
            peer.command(command(*key, left)).await;
        } else {
            peer.store.remove_source(*key);
            peer.command(Command::Unshare { key: *key }).await;
        }
        say_other_names(peer, shares, *key, Some(path)).await;
    }
}

async fn say_other_names(peer: &Inner, shares: &mut Shares, key: ContentKey, gone: Option<&Path>) {
    if let Some(names) = shares.other_names(key, gone) {
        peer.command(Command::AlsoNamed { key, names }).await;
    }
}

fn command(key: ContentKey, offer: &Offer) -> Command {
    let Offer { kind, name, member, total, table, .. } = offer.clone();
    Command::Share { key, kind, name, member, total, table }
}

/// Shares paths anew whose files were seen to have changed, until the peer has ended.
pub(super) async fn reshare(peer: Weak<Inner>, mut changed: mpsc::UnboundedReceiver<ContentKey>) {
    // What did not stand still.
    let mut again: BTreeSet<PathBuf> = BTreeSet::new();
    loop {
        let first = tokio::select! {
            first = changed.recv() => match first {
                Some(first) => Some(first),
                None => return,
            },
            () = sleep(AGAIN), if !again.is_empty() => None,
        };
        sleep(SETTLE).await;
        let Some(peer) = peer.upgrade() else { return };
        let mut paths = std::mem::take(&mut again);
        let mut shares = peer.shares.lock().await;
        let mut next = first.or_else(|| changed.try_recv().ok());
        while let Some(key) = next {
            paths.extend(shares.lose(key));
            next = changed.try_recv().ok();
        }
        drop(shares);
        for path in paths {
            // A path that was unshared meanwhile is nobody's concern.
            let Some(root) = peer.shares.lock().await.by_path.get(&path).cloned() else { continue };
            match share(&peer, &path, Some(root.led_to)).await {
                Ok(_) => {}
                Err(error) if error.is_passing() => drop(again.insert(path)),
                Err(error) => {
                    peer.events.send(Event::ShareLost { path, key: root.key, why: error.to_string() });
                }
            }
        }
    }
}

/// Paths that are not to be looked at before some time, since they change often.
type Restless = HashMap<PathBuf, (Instant, Duration)>;

/// Looks every now and then whether what is shared is still what was hashed, until the peer has ended. What is asked for is
/// looked at in any case, before and after each chunk.
pub(super) async fn look_after(peer: Weak<Inner>) {
    let mut restless = Restless::new();
    let mut pause = LOOK_EVERY;
    loop {
        sleep(pause).await;
        let Some(peer) = peer.upgrade() else { return };
        let began = Instant::now();
        restless.retain(|_, (then, pause)| *then + *pause > began);
        let mut shown = peer.shares.lock().await.unwatched();
        shown.retain(|shown| restless.get(&shown.path).is_none_or(|(then, _)| *then <= began));
        let look = move || {
            shown.retain(Shown::is_another);
            shown
        };
        for Shown { key, path, .. } in peer.crews.storage.call(look).await {
            let (then, pause) = restless.entry(path).or_insert((began, LOOK_EVERY));
            if *then <= began {
                *pause = (*pause * 2).min(LOOK_EVERY_MAX);
                *then = began + *pause;
            }
            peer.source_changed(key).await;
        }
        pause = LOOK_EVERY.max(began.elapsed() * LOOK_SHARE);
    }
}

/// Says to stop when the one who waits for the hashing is gone.
#[derive(Default)]
struct Cancelled(Arc<AtomicBool>);

impl Drop for Cancelled {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The hashing of one path, on a worker.
struct HashJob {
    path: PathBuf,
    threads: usize,
    /// The file in which hashes are remembered.
    cache: Option<PathBuf>,
    /// Told of each content as soon as it is hashed. Bounded by the plan's number of files.
    tell: mpsc::UnboundedSender<(ContentKey, Offer)>,
    events: EventSender<Event>,
    cancelled: Arc<AtomicBool>,
}

/// Whoever fetches it to a file system that cannot hold the name is refused, and cannot give it another.
fn warn_of_name(path: &Path, why: &impl std::fmt::Display) {
    let path = path.to_string_lossy();
    tracing::warn!(path = %escape(&path), %why, "not every file system can hold this name");
}

impl HashJob {
    fn run(&self, plan: &ScanPlan) -> Result<Shared, ShareError> {
        let total = plan.bytes();
        let progress = self.progress(total);
        // A small file is read sooner than it is looked up.
        let worth = total >= HASH_CACHED_BYTES_MIN || matches!(plan.found, Found::Folder(_));
        let cache =
            self.cache.clone().filter(|_| worth).map(|path| CacheFile::look_up(path, &plan.identities()));
        let how = Hashing {
            threads: self.threads,
            progress: &progress,
            cancelled: &self.cancelled,
            cache: cache.as_ref().map(|cache| cache as &dyn HashCache),
        };
        match &plan.found {
            Found::File(_) => self.file(plan, how),
            Found::Folder(folder) => self.folder(plan, folder, how),
        }
    }

    fn file(&self, plan: &ScanPlan, how: Hashing<'_>) -> Result<Shared, ShareError> {
        let Hashed { key, table, identity } = hash_file(&plan.root, how)?;
        if let Some(why) = portability(plan.name.as_str()).first() {
            warn_of_name(&plan.root, why);
        }
        let source = Source::File { path: plan.root.clone(), identity };
        let name = plan.name.as_str().to_owned();
        let total = key.length;
        self.offer(key, Offer { kind: Kind::File, name: name.clone(), member: false, total, table, source });
        Ok(Shared { path: self.path.clone(), key, kind: Kind::File, name, bytes: key.length, files: 1 })
    }

    fn folder(&self, plan: &ScanPlan, folder: &FolderPlan, how: Hashing<'_>) -> Result<Shared, ShareError> {
        let each = |index: usize, hashed: &Hashed| {
            let Some(file) = folder.files.get(index) else { return };
            let path = plan.root.join(file.path.as_str());
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let source = Source::File { path, identity: hashed.identity };
            let (total, table) = (hashed.key.length, hashed.table.clone());
            self.offer(hashed.key, Offer { kind: Kind::File, name, member: true, total, table, source });
        };
        let hashed = hash_folder(&plan.root, folder, how, &each)?;
        let mut skipped = folder.skipped.iter().chain(&hashed.skipped);
        for Skipped { path, why } in skipped.by_ref().take(SKIPPED_TOLD) {
            tracing::warn!(path = %escape(&path.to_string_lossy()), %why, "not shared");
        }
        let mut more = 0_usize;
        for Skipped { path, why } in skipped {
            tracing::info!(path = %escape(&path.to_string_lossy()), %why, "not shared");
            more += 1;
        }
        if more > 0 {
            tracing::warn!("{more} more are not shared; -v names them");
        }
        for (path, why) in hashed.listing.unportable(SKIPPED_TOLD) {
            warn_of_name(&plan.root.join(path), &why);
        }
        for Collision { first, second } in hashed.listing.collisions(SKIPPED_TOLD) {
            let why = format!("where case or Unicode form does not tell, it is `{}`", escape(&first));
            warn_of_name(&plan.root.join(second), &why);
        }
        let files =
            hashed.listing.entries().iter().filter(|entry| matches!(entry.node, Node::File { .. })).count();
        let (key, kind, name) = (hashed.key, Kind::Folder, plan.name.as_str().to_owned());
        let source = Source::Memory(hashed.bytes);
        let (total, table) = (hashed.listing.total_bytes(), hashed.table);
        self.offer(key, Offer { kind, name: name.clone(), member: false, total, table, source });
        Ok(Shared { path: self.path.clone(), key, kind, name, bytes: total, files: files as u64 })
    }

    fn offer(&self, key: ContentKey, offer: Offer) {
        // Nobody waits any more: the job is about to be cancelled.
        let _ = self.tell.send((key, offer));
    }

    /// Tells of progress in steps of a 256th, at least a megabyte.
    fn progress(&self, total: u64) -> impl Fn(u64) + Sync {
        let step = (total / 256).max(1024 * 1024);
        let done = AtomicU64::new(0);
        move |bytes| {
            let before = done.fetch_add(bytes, Ordering::Relaxed);
            let now = before + bytes;
            if before / step != now / step || now == total {
                self.events.send(Event::ShareProgress { path: self.path.clone(), bytes: now, total });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use potluck_core::ids::ContentId;

    use super::*;

    const KEY: ContentKey = ContentKey { id: ContentId([1; 32]), length: 3 };

    fn offer(name: &str, member: bool) -> Offer {
        let source = Source::Memory(Arc::from(*b"abc"));
        Offer { kind: Kind::File, name: name.into(), member, total: 0, table: None, source }
    }

    #[test]
    fn a_content_is_offered_by_its_best_path_and_withdrawn_with_its_last() {
        let mut shares = Shares::default();
        let (file, folder) = (Path::new("file"), Path::new("folder"));
        assert_eq!(shares.add(folder, KEY, offer("in folder", true)).unwrap().name, "in folder");
        assert!(shares.add(folder, KEY, offer("in folder", true)).is_none());
        assert_eq!(shares.add(file, KEY, offer("alone", false)).unwrap().name, "alone");
        assert!(shares.add(folder, KEY, offer("in folder, renamed", true)).is_none());
        assert_eq!(shares.remove(file, KEY).unwrap().name, "in folder, renamed");
        assert!(shares.remove(folder, KEY).is_none());
        assert!(shares.by_key.is_empty() && shares.keys_of.is_empty());
    }

    #[test]
    fn every_name_of_the_same_bytes_is_said() {
        let mut shares = Shares::default();
        let [a, b, folder] = ["a", "b", "folder"].map(Path::new);
        shares.add(b, KEY, offer("b", false));
        assert_eq!(shares.other_names(KEY, None), None);
        shares.add(folder, KEY, offer("folder/c", true));
        assert_eq!(shares.other_names(KEY, None), None, "a folder has its files by their paths");
        assert_eq!(shares.add(a, KEY, offer("a", false)).unwrap().name, "a");
        assert_eq!(shares.other_names(KEY, None), Some(vec!["b".to_owned()]));
        assert_eq!(shares.other_names(KEY, None), None, "it was said");
        assert_eq!(shares.remove(a, KEY).unwrap().name, "b");
        assert_eq!(shares.other_names(KEY, None), Some(Vec::new()));
        shares.add(a, KEY, offer("a", false));
        assert_eq!(shares.other_names(KEY, None), Some(vec!["b".to_owned()]));
        shares.lose(KEY);
        assert_eq!(shares.other_names(KEY, None), None, "it is withdrawn with all its names");
        // Of a great many only so many are said, and those again only if one of them goes.
        let name = |number: usize| format!("{number:04}");
        let mut said = Vec::new();
        for number in 0..OTHER_NAMES_PER_CONTENT + 50 {
            shares.add(Path::new(&name(number)), KEY, offer(&name(number), false));
            said.extend(shares.other_names(KEY, None));
        }
        assert_eq!(said.len(), OTHER_NAMES_PER_CONTENT);
        for (number, again) in [(OTHER_NAMES_PER_CONTENT + 10, false), (7, true), (0, true)] {
            let path = PathBuf::from(name(number));
            shares.remove(&path, KEY);
            let names = shares.other_names(KEY, Some(&path));
            assert_eq!(names.is_some(), again, "{number}");
            assert!(names.is_none_or(|names| names.len() == OTHER_NAMES_PER_CONTENT));
        }
    }

    #[test]
    fn what_a_watched_folder_shares_is_not_looked_at_again() {
        let mut shares = Shares::default();
        shares.watched.insert("/dir".into());
        let identity = FileIdentity { device: 0, inode: 0, size: 3, mtime_ns: 0, ctime_ns: 0 };
        for path in ["/dir/f", "/dir/tree/by its own path", "/elsewhere"] {
            let source = Source::File { path: path.into(), identity };
            shares.add(Path::new(path), KEY, Offer { source, ..offer("f", false) });
        }
        for path in ["/dir/tree", "/tree"] {
            let look = Some(blake3::hash(b"what was in it"));
            shares.by_path.insert(path.into(), Root { key: KEY, led_to: path.into(), look });
        }
        let looked_at: Vec<_> = shares.unwatched().into_iter().map(|shown| shown.path).collect();
        assert_eq!(looked_at, ["/dir/tree/by its own path", "/elsewhere", "/tree"].map(Path::new));
    }

    #[test]
    fn what_changed_is_offered_anew_by_every_path_that_did() {
        let mut shares = Shares::default();
        let (one, two) = (Path::new("one"), Path::new("two"));
        shares.add(one, KEY, offer("a", false));
        shares.add(two, KEY, offer("b", true));
        assert_eq!(shares.of(one), BTreeSet::from([KEY]));
        assert_eq!(shares.lose(KEY), [one, two]);
        assert!(shares.of(one).is_empty() && shares.of(two).is_empty());
        assert!(shares.add(one, KEY, offer("a", false)).is_some());
        assert_eq!(shares.of(one), BTreeSet::from([KEY]));
    }
}
