//! `potluck share`: hashes files and folders, serves each as soon as it is hashed, and prints a ticket per PATH.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use potluck_core::content::{SafeName, Ticket};
use potluck_core::ids::{ContentId, ContentKey};
use potluck_core::peer::{PeerEvent, Question};
use potluck_transport_tcp::{Event, Peer, Shared};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

use super::{Context, STDIN, stdin_told};
use crate::args::{HostPort, ShareArgs};
use crate::exit::{Code, Failure};
use crate::session::{Session, Tracking};
use crate::ui::{self, HashingBar, Out};

/// How often hashing is told to programs.
const HASHING_EVERY: Duration = Duration::from_millis(100);

/// Bytes of standard input that are kept at a time.
const COPIED_AT_ONCE: usize = 1 << 20;
/// What standard input is called, if nobody gives it a name.
const STDIN_NAME: &str = "stdin";

pub(crate) async fn run(mut args: ShareArgs, ctx: &Context) -> anyhow::Result<()> {
    let standard_input = args.paths.iter().position(|path| path == Path::new(STDIN));
    let mut _kept = None;
    if let Some(at) = standard_input {
        if args.paths.iter().filter(|path| *path == Path::new(STDIN)).count() > 1 {
            return Err(Failure::new(Code::Usage, "there is only one standard input").into());
        }
        let (folder, path) = ctx.until_interrupted(read_stdin(args.label.take(), ctx.out.clone())).await?;
        args.paths[at] = path;
        _kept = Some(folder);
    } else if args.label.is_some() {
        return Err(Failure::new(Code::Usage, "--name is for standard input")
            .hint("Share it as PATH `-`; a file goes by its own name.")
            .into());
    }
    // What cannot be shared fails at once, before anything is hashed.
    for path in &args.paths {
        let found = std::fs::metadata(path).map_err(|error| {
            cannot_share(&format!("{}: {error}", path.display()))
                .hint("share takes paths of this machine; what others share is had by `potluck get`.")
        })?;
        if !found.is_file() && !found.is_dir() {
            return Err(cannot_share(&format!("{}: neither a file nor a folder", path.display())).into());
        }
    }
    let mut sharing = Sharing::start(&args, ctx).await?;
    let result = sharing.serve(args.paths, args.once).await;
    sharing.session.leave().await;
    result
}

/// Reads standard input to its end into a file of that name, in a temporary folder that is removed when it is dropped.
async fn read_stdin(name: Option<SafeName>, out: Out) -> anyhow::Result<(TempDir, PathBuf)> {
    let read = move || {
        let folder = tempfile::Builder::new().prefix("potluck-").tempdir()?;
        let path = folder.path().join(name.as_ref().map_or(STDIN_NAME, SafeName::as_str));
        let (_bar, mut input) = stdin_told(&out);
        let mut file = BufWriter::with_capacity(COPIED_AT_ONCE, File::create_new(&path)?);
        std::io::copy(&mut input, &mut file)?;
        file.flush()?;
        Ok((folder, path))
    };
    let read: std::io::Result<_> = tokio::task::spawn_blocking(read).await?;
    Ok(read.map_err(|error| {
        Failure::new(Code::Failed, format!("cannot keep standard input in a temporary file: {error}"))
            .hint("TMPDIR names the folder in which there is room.")
    })?)
}

/// `why` begins with the path that it is about.
fn cannot_share(why: &str) -> Failure {
    Failure::new(Code::Failed, format!("cannot share {}", ui::name(why)))
}

/// A session that shares paths.
struct Sharing<'a> {
    session: Session,
    ctx: &'a Context,
    tickets: Tickets,
    bars: BTreeMap<PathBuf, Hashing>,
    /// What each path came to, as it was last told.
    told: BTreeMap<PathBuf, ContentKey>,
}

impl<'a> Sharing<'a> {
    async fn start(args: &ShareArgs, ctx: &'a Context) -> anyhow::Result<Self> {
        let serve = &args.serve;
        let tracker = serve.network.tracker.clone().unwrap_or_default();
        let session = Session::start(serve, tracker.clone(), &ctx.out).await?;
        session.tell_listening()?;
        session.peer.look_after_shares();
        let tickets = Tickets::new(tracker, serve.network.tracker.is_some());
        Ok(Self { session, ctx, tickets, bars: BTreeMap::new(), told: BTreeMap::new() })
    }

    /// Shares until interrupted; with `once` until each path was delivered completely.
    async fn serve(&mut self, paths: Vec<PathBuf>, once: bool) -> anyhow::Result<()> {
        // What was delivered completely; a path can be so before it is told that it can be fetched.
        let mut delivered: BTreeSet<ContentId> = BTreeSet::new();
        let mut unshared = paths.len();
        let (results, mut shared) = mpsc::channel(1);
        self.ctx.out.note(
            "Whoever reaches this machine can fetch what is shared; nothing is encrypted yet. Ctrl-C ends it.",
        );
        let hashing =
            tokio::spawn(share_all(self.session.peer.clone(), paths, self.session.tracking(), results));
        while !once || unshared > 0 || !self.told.values().all(|key| delivered.contains(&key.id)) {
            tokio::select! {
                // What was joined is told before what can be fetched through it.
                biased;
                _ = self.ctx.interrupts.wait() => break,
                event = self.session.next() => delivered.extend(self.handle(event?).await?),
                Some(result) = shared.recv() => {
                    unshared -= 1;
                    match result {
                        Ok(shared) => self.tell_sharing(&shared).await?,
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        hashing.abort();
        Ok(())
    }

    /// Tells an event; of a complete delivery, returns what was delivered.
    async fn handle(&mut self, event: Event) -> anyhow::Result<Option<ContentId>> {
        match event {
            Event::ShareProgress { path, bytes, total } => self.tell_hashing(path, bytes, total)?,
            Event::Peer(PeerEvent::UploadEnded { peer, key, bytes, complete }) => {
                let name = self.session.name_of(peer).await;
                let whole = if complete { "all of it is there" } else { "not all of it" };
                tracing::info!(
                    "{} got {} of {} ({whole})",
                    ui::name(&name),
                    ui::bytes(bytes),
                    ui::short_id(key.id)
                );
                self.ctx.out.event(&ui::Event::UploadEnded { peer: &name, id: key.id, bytes, complete })?;
                return Ok(complete.then_some(key.id));
            }
            Event::Peer(PeerEvent::Withdrawn { key }) => {
                self.ctx.out.event(&ui::Event::Withdrawn { id: key.id })?;
                self.ctx.out.note(format_args!("{} changed and is withdrawn.", ui::short_id(key.id)));
            }
            // What a path came to at first is told once the tracker knows it; here it came to something else.
            Event::Shared(shared) if self.told.get(&shared.path).is_some_and(|key| *key != shared.key) => {
                self.tell_sharing(&shared).await?;
            }
            Event::ShareLost { path, key, why } => {
                self.ctx.out.event(&ui::Event::Withdrawn { id: key.id })?;
                let path = ui::name(&path.to_string_lossy());
                self.ctx.out.note(format_args!("{path} is shared no longer: {}", ui::name(&why)));
            }
            _ => {}
        }
        Ok(None)
    }

    fn tell_hashing(&mut self, path: PathBuf, bytes: u64, total: u64) -> anyhow::Result<()> {
        let shown = path.to_string_lossy().into_owned();
        let out = &self.ctx.out;
        let hashing =
            self.bars.entry(path).or_insert_with(|| Hashing::new(HashingBar::new(out.bars(), &shown)));
        hashing.bar.show(bytes, total);
        if hashing.told.is_none_or(|told| told.elapsed() >= HASHING_EVERY) {
            hashing.told = Some(Instant::now());
            out.event(&ui::Event::Hashing { path: &shown, bytes, total })?;
        }
        Ok(())
    }

    async fn tell_sharing(&mut self, shared: &Shared) -> anyhow::Result<()> {
        // One path after the other: whichever bar stands is that of what is done.
        self.bars.clear();
        let ticket = self.tickets.make(shared, &self.session).await?.to_string();
        let out = &self.ctx.out;
        let (id, kind, name) = (shared.key.id, shared.kind, shared.name.as_str());
        self.told.insert(shared.path.clone(), shared.key);
        out.event(&ui::Event::Sharing { id, kind, name, bytes: shared.bytes, ticket: &ticket })?;
        let files = if shared.files > 1 { format!(" in {} files", shared.files) } else { String::new() };
        out.note(format_args!("Sharing {} ({}{files}), id {id}", ui::name(name), ui::bytes(shared.bytes)));
        out.line(&ticket)?;
        Ok(())
    }
}

/// Hashes and offers paths one after the other (each uses all cores), and sends on what can be fetched.
async fn share_all(
    peer: Peer,
    paths: Vec<PathBuf>,
    tracking: watch::Receiver<Tracking>,
    results: mpsc::Sender<anyhow::Result<Shared>>,
) {
    for path in paths {
        let result = peer.share(&path).await.map_err(|error| cannot_share(&error.to_string()).into());
        if result.is_ok() {
            registered(&peer, tracking.clone()).await;
        }
        if results.send(result).await.is_err() {
            return;
        }
    }
}

/// Waits until the tracker knows what is shared; without a tracker there is nothing to wait for.
async fn registered(peer: &Peer, mut tracking: watch::Receiver<Tracking>) {
    tokio::select! {
        _ = peer.ask(Question::Synced) => {}
        _ = tracking.wait_for(|tracking| *tracking == Tracking::Lost) => {}
    }
}

struct Hashing {
    bar: HashingBar,
    told: Option<Instant>,
}

impl Hashing {
    fn new(bar: HashingBar) -> Self {
        Self { bar, told: None }
    }
}

/// Makes tickets: with every address at which others can reach this peer, and its tracker.
pub(crate) struct Tickets {
    tracker: HostPort,
    /// Somebody named the tracker: it belongs into the ticket though it may not answer at present.
    tracker_chosen: bool,
}

impl Tickets {
    pub(crate) const fn new(tracker: HostPort, tracker_chosen: bool) -> Self {
        Self { tracker, tracker_chosen }
    }

    /// The ticket of something that is shared.
    pub(crate) async fn make(&self, shared: &Shared, session: &Session) -> anyhow::Result<Ticket> {
        let reach = session.reach(&self.tracker).await;
        let tracker = match reach.tracking {
            Tracking::Joined(_) => reach.tracker,
            Tracking::Joining | Tracking::Lost | Tracking::Left => {
                self.tracker_chosen.then(|| self.tracker.to_string())
            }
        };
        Ok(Ticket {
            id: shared.key.id,
            kind: shared.kind,
            name: SafeName::parse(&shared.name)?,
            size: shared.key.length,
            trackers: tracker.into_iter().collect(),
            peers: reach.peers,
        })
    }
}
