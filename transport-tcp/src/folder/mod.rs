//! A folder that is kept shared as it changes: what is put into it is offered, what changes is hashed anew, what is removed
//! is withdrawn.
//!
//! Every visible file and every visible folder directly in it is one content, under its own name; the files of such a folder
//! are its members. Hidden names (a leading dot), potluck's part files among them, and symbolic links are left alone. The
//! system tells what is touched (`notify`), [`touched`](self) decides when that has stood still for long enough; a rescan
//! finds what was missed, and stands in where the folder cannot be watched.
//!
//! What the person does not want to share is kept in the folder itself, in [`UNSHARED`], a name a line: it outlasts rescans,
//! restarts, and moves with the folder.
//!
//! Two tasks: one looks at what is due and withdraws what is gone, the other shares what is queued, one name after the other.

mod looking;
mod touched;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::{Notify, mpsc};
use tokio_util::task::AbortOnDropHandle;

use crate::peer::{Peer, Shared};
use looking::{Look, Nature, look_at, look_into, names_in};
use touched::{Happening, Touched};

/// The file in a shared folder that names what is not to be shared.
pub const UNSHARED: &str = ".potluck-unshared";
/// Bytes of that file: some hundred thousand names.
const UNSHARED_BYTES_MAX: u64 = 64 << 20;
/// How often a folder that cannot be watched is looked through; one that takes long to look through, less often.
const UNWATCHED_EVERY: Duration = Duration::from_secs(1);
/// Part of the time that looking may take.
const LOOKING_SHARE: u32 = 10;
/// What a look finds changed a moment ago may be changing still.
const CHANGING: Duration = Duration::from_secs(2);
/// How often a folder that is watched is looked through: some file systems do not tell all.
const WATCHED_EVERY: Duration = Duration::from_secs(60);
/// Reports that wait for a slow reader; the rest is dropped: [`SharedFolder::entries`] has the present state.
const REPORTS_WAITING: usize = 1024;

/// A folder that is kept shared as it changes. Cheap to clone; the last one that is dropped ends the watching, and what is
/// shared stays so.
#[derive(Clone, Debug)]
pub struct SharedFolder {
    inner: Arc<Inner>,
    _tasks: Arc<[AbortOnDropHandle<()>; 2]>,
}

/// How it stands with a file or a folder in a shared folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name. What is not UTF-8 in it is replaced; such a name cannot be shared.
    pub name: String,
    /// Is it a folder?
    pub is_folder: bool,
    /// Bytes; of a folder that is not shared: 0.
    pub bytes: u64,
    /// How it stands.
    pub standing: Standing,
}

/// How it stands with something in a shared folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The person does not want it to be shared, or never said so.
    NotShared,
    /// It was touched a moment ago, or others are before it.
    Waiting,
    /// It is being hashed.
    Hashing,
    /// It can be fetched.
    Shared(Shared),
    /// It cannot be shared; why, in words.
    Refused(String),
}

/// Something that became of the folder by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is offered: for the first time, or as something else than before.
    Offered(Shared),
    /// It was removed, and is offered no longer.
    Withdrawn(Shared),
    /// It cannot be shared: its name, and why.
    Refused(String, String),
}

/// Why something in a shared folder was not shared, or is still.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// There is no such name in the folder.
    #[error("there is no `{0}` in the shared folder")]
    Missing(String),
    /// It cannot be shared.
    #[error("{0}")]
    Refused(String),
    /// What is not to be shared cannot be remembered.
    #[error("cannot write {}: {error}", .path.display())]
    Memory {
        /// Where.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

#[derive(Debug)]
struct Inner {
    peer: Peer,
    dir: PathBuf,
    /// Offer what nobody spoke of?
    share: bool,
    touched: Mutex<Touched>,
    state: Mutex<State>,
    /// Something was touched, or everything is to be looked at.
    wake: Notify,
    /// Something was queued.
    queued: Notify,
    /// A queued name is through.
    settled: Notify,
    changes: mpsc::Sender<Change>,
}

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<OsString, Known>,
    queue: VecDeque<OsString>,
    /// What is in the queue and still wanted.
    pending: BTreeSet<OsString>,
    hashing: Option<OsString>,
    unshared: BTreeSet<String>,
    /// Asked for by name.
    wanted: BTreeSet<OsString>,
    /// Everything is to be looked at.
    look_through: bool,
}

#[derive(Debug)]
struct Known {
    look: Look,
    standing: Standing,
}

impl SharedFolder {
    /// Shares a folder, which is created if it is absent; with `share` false only what is asked for by name. Returns at once;
    /// what is in it is hashed by and by.
    ///
    /// # Errors
    /// The folder cannot be created or read, nor what is not to be shared of it.
    pub fn start(peer: Peer, dir: &Path, share: bool) -> io::Result<(Self, mpsc::Receiver<Change>)> {
        std::fs::create_dir_all(dir)?;
        let dir = dir.canonicalize()?;
        std::fs::read_dir(&dir)?;
        let (changes, receiver) = mpsc::channel(REPORTS_WAITING);
        let state = State { unshared: read_unshared(&dir)?, look_through: true, ..State::default() };
        let inner = Arc::new(Inner {
            peer,
            dir,
            share,
            touched: Mutex::default(),
            state: Mutex::new(state),
            wake: Notify::new(),
            queued: Notify::new(),
            settled: Notify::new(),
            changes,
        });
        let watching = AbortOnDropHandle::new(tokio::spawn(watch(Arc::clone(&inner))));
        let sharing = AbortOnDropHandle::new(tokio::spawn(share_queued(Arc::clone(&inner))));
        Ok((Self { inner, _tasks: Arc::new([watching, sharing]) }, receiver))
    }

    /// The folder, absolute.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// How it stands with everything visible in the folder, by name; of what came a moment ago that it waits, or is not shared.
    pub async fn look(&self) -> Vec<Entry> {
        let dir = self.inner.dir.clone();
        let found = blocking(move || names_in(&dir)).await.unwrap_or_default();
        let mut entries = self.entries();
        let state = self.inner.state();
        for (name, is_folder, bytes) in
            found.into_iter().filter(|(name, ..)| !state.entries.contains_key(name))
        {
            let wanted = self.inner.wants(&state, &name, is_folder.is_none());
            let standing = if wanted { Standing::Waiting } else { Standing::NotShared };
            let (name, is_folder) = (name.to_string_lossy().into_owned(), is_folder == Some(true));
            entries.push(Entry { name, is_folder, bytes, standing });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries
    }

    /// How it stands with everything that was seen in the folder, by name.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let state = self.inner.state();
        let of = |(name, known): (&OsString, &Known)| Entry {
            name: name.to_string_lossy().into_owned(),
            is_folder: known.look.nature == Nature::Folder,
            bytes: match &known.standing {
                Standing::Shared(shared) => shared.bytes,
                Standing::NotShared | Standing::Waiting | Standing::Hashing | Standing::Refused(_) => {
                    known.look.bytes
                }
            },
            standing: known.standing.clone(),
        };
        state.entries.iter().map(of).collect()
    }

    /// Looks through the folder at once. Returns when everything that stands still is offered; what somebody is writing to
    /// comes later by itself.
    pub async fn refresh(&self) {
        self.inner.look_through(Duration::ZERO).await;
        self.inner.until(State::is_idle).await;
    }

    /// Returns once the folder was looked through for the first time: all that is in it is known by name.
    pub async fn listed(&self) {
        self.inner.until(|state| !state.look_through).await;
    }

    /// Returns once everything that was found so far is offered, or cannot be.
    pub async fn settled(&self) {
        self.inner.until(|state| !state.look_through && state.is_idle()).await;
    }

    /// Shares what has this name, from now on. Returns it, and whether it was shared already.
    ///
    /// # Errors
    /// There is no such name, or it cannot be shared.
    pub async fn share(&self, name: &str) -> Result<(Shared, bool), FolderError> {
        let inner = &self.inner;
        let key = OsString::from(name);
        let look = inner.look_at(&key).await.map_err(|_| FolderError::Missing(name.to_owned()))?;
        {
            let mut state = inner.state();
            if state.unshared.remove(name) {
                inner.write_unshared(&state.unshared)?;
            }
            state.wanted.insert(key.clone());
            if let Some(Known { look: before, standing: Standing::Shared(shared) }) = state.entries.get(&key)
                && *before == look
            {
                return Ok((shared.clone(), true));
            }
            state.entries.insert(key.clone(), Known { look, standing: Standing::Waiting });
            state.enqueue(key.clone());
        }
        inner.queued.notify_one();
        inner.until(|state| !state.is_pending(&key)).await;
        match inner.state().entries.get(&key).map(|known| known.standing.clone()) {
            Some(Standing::Shared(shared)) => Ok((shared, false)),
            Some(Standing::Refused(why)) => Err(FolderError::Refused(why)),
            _ => Err(FolderError::Missing(name.to_owned())),
        }
    }

    /// Offers what has this name, as if it had been asked for, by and by: it was downloaded, so the peer serves it already.
    pub async fn offer(&self, name: &str) {
        let name = OsString::from(name);
        self.inner.state().wanted.insert(name.clone());
        self.inner.settle(name).await;
    }

    /// Shares what has this name no longer, until it is asked for. Returns whether it was shared.
    ///
    /// # Errors
    /// There is no such name, or it cannot be remembered that it is not to be shared.
    pub async fn unshare(&self, name: &str) -> Result<bool, FolderError> {
        let inner = &self.inner;
        let key = OsString::from(name);
        {
            let mut state = inner.state();
            if !state.entries.contains_key(&key) {
                return Err(FolderError::Missing(name.to_owned()));
            }
            if inner.share && state.unshared.insert(name.to_owned()) {
                inner.write_unshared(&state.unshared)?;
            }
            state.wanted.remove(&key);
            state.pending.remove(&key);
        }
        // What is just being hashed is let go of once it is.
        inner.until(|state| state.hashing.as_ref() != Some(&key)).await;
        let was = {
            let mut state = inner.state();
            let Some(known) = state.entries.get_mut(&key) else { return Ok(false) };
            matches!(std::mem::replace(&mut known.standing, Standing::NotShared), Standing::Shared(_))
        };
        inner.peer.unshare_path(&inner.dir.join(name)).await;
        Ok(was)
    }
}

impl State {
    fn enqueue(&mut self, name: OsString) {
        if self.pending.insert(name.clone()) {
            self.queue.push_back(name);
        }
    }

    /// The next that is still wanted; it is being hashed from here on.
    fn dequeue(&mut self) -> Option<OsString> {
        while let Some(name) = self.queue.pop_front() {
            if self.pending.remove(&name) {
                self.hashing = Some(name.clone());
                return Some(name);
            }
        }
        None
    }

    /// Is nothing to be hashed, or being hashed?
    fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.hashing.is_none()
    }

    fn is_pending(&self, name: &OsStr) -> bool {
        self.pending.contains(name) || self.hashing.as_deref() == Some(name)
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touched(&self) -> MutexGuard<'_, Touched> {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, change: Change) {
        let _ = self.changes.try_send(change);
    }

    async fn until(&self, holds: impl Fn(&State) -> bool) {
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            if holds(&self.state()) {
                return;
            }
            settled.await;
        }
    }

    /// Is it to be offered?
    fn wants(&self, state: &State, name: &OsStr, is_link: bool) -> bool {
        let unshared = name.to_str().is_some_and(|name| state.unshared.contains(name));
        let usual = self.share && !unshared && !is_link;
        usual || state.wanted.contains(name)
    }

    async fn look_at(&self, name: &OsStr) -> io::Result<Look> {
        let path = self.dir.join(name);
        blocking(move || look_at(&path)).await
    }

    /// Looks at one name: queues it if it is to be offered and is another than before, withdraws it if it is gone.
    async fn settle(&self, name: OsString) {
        match self.look_at(&name).await {
            Ok(look) => self.saw(name, look),
            Err(_) => self.lost(&name).await,
        }
    }

    fn saw(&self, name: OsString, look: Look) {
        let mut state = self.state();
        let known = state.entries.get(&name);
        let same = known.is_some_and(|known| known.look == look);
        if !self.wants(&state, &name, look.nature == Nature::Symlink) {
            if known.is_none_or(|known| !matches!(known.standing, Standing::Shared(_))) {
                state.entries.insert(name, Known { look, standing: Standing::NotShared });
            }
            return;
        }
        if same && known.is_some_and(|k| !matches!(k.standing, Standing::NotShared | Standing::Waiting)) {
            return;
        }
        match state.entries.get_mut(&name) {
            // It stays shared as what it was until it is hashed.
            Some(Known { look: before, standing: Standing::Shared(_) }) => *before = look,
            _ => drop(state.entries.insert(name.clone(), Known { look, standing: Standing::Waiting })),
        }
        state.enqueue(name);
        drop(state);
        self.queued.notify_one();
    }

    async fn lost(&self, name: &OsString) {
        let known = {
            let mut state = self.state();
            state.pending.remove(name);
            state.wanted.remove(name);
            state.entries.remove(name)
        };
        self.settled.notify_waiters();
        if let Some(Known { standing: Standing::Shared(shared), .. }) = known {
            self.peer.unshare_path(&self.dir.join(name)).await;
            self.tell(Change::Withdrawn(shared));
        }
    }

    /// Looks at everything in the folder. What was changed more recently than `quiet` ago waits until it stands still.
    async fn look_through(&self, quiet: Duration) {
        let dir = self.dir.clone();
        let Ok(found) = blocking(move || look_into(&dir)).await else { return };
        let gone: Vec<OsString> = {
            let state = self.state();
            state.entries.keys().filter(|name| !found.contains_key(*name)).cloned().collect()
        };
        for name in gone {
            self.lost(&name).await;
        }
        for (name, look) in found {
            let mut touched = self.touched();
            if touched.is_being_written(&name) {
                continue;
            }
            let known = self.state().entries.get(&name).is_some_and(|known| known.look == look);
            if !known && look.is_newer_than(quiet) {
                let path = self.dir.join(&name);
                touched.take_in(Instant::now(), name, path, Happening::Touched);
                continue;
            }
            touched.forget(&name);
            drop(touched);
            self.saw(name, look);
        }
        self.state().look_through = false;
        self.settled.notify_waiters();
    }

    /// Takes in what the system tells. Called on the watcher's thread.
    fn hear(&self, event: notify::Result<notify::Event>) {
        let Ok(event) = event else { return self.look_soon() };
        if event.need_rescan() {
            return self.look_soon();
        }
        let what = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => Happening::Closed,
            EventKind::Access(_) => return,
            EventKind::Modify(ModifyKind::Data(_)) => Happening::Written,
            EventKind::Any
            | EventKind::Create(_)
            | EventKind::Modify(_)
            | EventKind::Remove(_)
            | EventKind::Other => Happening::Touched,
        };
        let now = Instant::now();
        let mut heard = false;
        for path in event.paths {
            let name = path.strip_prefix(&self.dir).ok().and_then(|below| below.iter().next());
            let Some(name) = name.filter(|name| !is_hidden(name)).map(OsStr::to_owned) else { continue };
            self.touched().take_in(now, name, path, what);
            heard = true;
        }
        if heard {
            self.wake.notify_one();
        }
    }

    fn look_soon(&self) {
        self.state().look_through = true;
        self.wake.notify_one();
    }

    fn write_unshared(&self, unshared: &BTreeSet<String>) -> Result<(), FolderError> {
        let path = self.dir.join(UNSHARED);
        let lines: String = unshared.iter().map(|name| format!("{name}\n")).collect();
        // Written beside it and put in its place, so that it is never half there.
        let new = self.dir.join(format!("{UNSHARED}.new"));
        let written = write_anew(&new, &lines).and_then(|()| std::fs::rename(&new, &path));
        written.map_err(|error| FolderError::Memory { path, error })
    }
}

/// Whatever else stands there is not waited for, and not taken for leave to share all.
fn read_unshared(dir: &Path) -> io::Result<BTreeSet<String>> {
    let path = dir.join(UNSHARED);
    let read = || match std::fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
        Ok(found) if !found.is_file() => Err(io::Error::other("not a file")),
        Ok(found) if found.len() > UNSHARED_BYTES_MAX => Err(io::ErrorKind::FileTooLarge.into()),
        Ok(_) => std::fs::read_to_string(&path),
    };
    let text = read().map_err(|error| io::Error::new(error.kind(), format!("{UNSHARED} in it: {error}")))?;
    Ok(text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// Writes a file that is not there, or was left by an attempt; a link in its place is not followed.
fn write_anew(path: &Path, text: &str) -> io::Result<()> {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    File::create_new(path)?.write_all(text.as_bytes())
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// Has the system tell of changes below a folder. Symbolic links are not followed: one to `/` would have all of the machine
/// watched.
fn watcher(dir: &Path, hear: impl notify::EventHandler) -> notify::Result<RecommendedWatcher> {
    let mut watcher = RecommendedWatcher::new(hear, notify::Config::default().with_follow_symlinks(false))?;
    watcher.watch(dir, RecursiveMode::Recursive)?;
    Ok(watcher)
}

/// Looks at what is due, until the folder is dropped.
async fn watch(inner: Arc<Inner>) {
    inner.peer.watches(&inner.dir).await;
    let hearing = Arc::downgrade(&inner);
    let watched = watcher(&inner.dir, move |event| {
        if let Some(inner) = hearing.upgrade() {
            inner.hear(event);
        }
    });
    if let Err(error) = &watched {
        tracing::warn!("cannot watch {}: {error}; looking through it every second", inner.dir.display());
    }
    let mut every = if watched.is_ok() { WATCHED_EVERY } else { UNWATCHED_EVERY };
    let mut looked = Instant::now();
    // What is there at the beginning is taken as it is.
    let mut quiet = Duration::ZERO;
    loop {
        let now = Instant::now();
        if inner.state().look_through || now >= looked + every {
            inner.look_through(quiet).await;
            looked = Instant::now();
            every = every.max(looked.duration_since(now) * LOOKING_SHARE);
            quiet = CHANGING;
        }
        let due = inner.touched().take_due(now);
        for name in due {
            inner.settle(name).await;
        }
        let next = inner.touched().next_due().map_or(looked + every, |due| due.min(looked + every));
        tokio::select! {
            () = inner.wake.notified() => {}
            () = tokio::time::sleep_until(next.into()) => {}
        }
    }
}

/// Shares what is queued, until the folder is dropped.
async fn share_queued(inner: Arc<Inner>) {
    loop {
        let (next, is_link) = {
            let mut state = inner.state();
            let next = state.dequeue();
            let known = next.as_ref().and_then(|name| state.entries.get(name));
            let is_link = known.is_some_and(|known| known.look.nature == Nature::Symlink);
            if let Some(Known { standing: standing @ Standing::Waiting, .. }) =
                next.as_ref().and_then(|name| state.entries.get_mut(name))
            {
                *standing = Standing::Hashing;
            }
            (next, is_link)
        };
        let Some(name) = next else {
            inner.queued.notified().await;
            continue;
        };
        let path = inner.dir.join(&name);
        // What was no link when it was looked at is not followed if it is one by now.
        let result =
            if is_link { inner.peer.share(&path).await } else { inner.peer.share_plain(&path).await };
        let keep = take_in(&inner, &name, result);
        if !keep {
            inner.peer.unshare_path(&path).await;
        }
        inner.state().hashing = None;
        inner.settled.notify_waiters();
    }
}

/// Takes in what became of a name; false if it is not to be shared any more.
fn take_in(inner: &Inner, name: &OsString, result: Result<Shared, crate::ShareError>) -> bool {
    let mut state = inner.state();
    let Some(known) = state.entries.get(name) else { return false };
    if !inner.wants(&state, name, known.look.nature == Nature::Symlink) {
        return false;
    }
    let Some(known) = state.entries.get_mut(name) else { return false };
    match result {
        Ok(shared) => {
            let news = known.standing != Standing::Shared(shared.clone());
            known.standing = Standing::Shared(shared.clone());
            drop(state);
            if news {
                inner.tell(Change::Offered(shared));
            }
        }
        Err(error) => {
            let why = error.to_string();
            known.standing = Standing::Refused(why.clone());
            drop(state);
            inner.tell(Change::Refused(name.to_string_lossy().into_owned(), why));
        }
    }
    true
}

#[cfg(test)]
mod tests;
