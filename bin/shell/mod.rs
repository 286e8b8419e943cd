//! `potluck peer`: a folder that is shared as it changes, and a shell to work with the network.
//!
//! Lines come from an editor on a terminal, from a pipe, or from nobody ([`input`]); [`mod@parse`] reads them; the files
//! beside it do what they say, one command after the other, while events are told as they happen ([`events`]). Whatever asks
//! the network is answered or times out by itself, so that no command holds the shell for ever; Ctrl-C gives one up.
//!
//! Downloads run in the background. At the end of a script they are waited for; what failed of it, or is not complete then,
//! makes its exit code.

mod choose;
mod complete;
mod desk;
mod downloads;
mod editor;
mod events;
mod explain;
mod files;
mod input;
mod network;
mod news;
mod parse;
mod status;

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use potluck_core::limits::REQUEST_TIMEOUT;
use potluck_core::peer::{PeerEvent, Question};
use potluck_transport_tcp::Event;
use potluck_transport_tcp::folder::{Change, Entry, SharedFolder, Standing};
use tokio::sync::{Mutex, mpsc};
use tokio::time::{MissedTickBehavior, interval, timeout};

use self::desk::{Desk, Phase, State};
use self::editor::{Editor, Interrupt};
use self::input::{Lines, Typist};
use self::news::News;
use self::parse::{Command, Parsed, parse};
use crate::args::PeerArgs;
use crate::commands::{Context, holders, info, peers};
use crate::exit::{Code, Failure, OutputFault};
use crate::session::{Session, Tracking};
use crate::ui;

/// How often progress is told while it changes.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// The first line is read once what the folder has is shared, or after this long: hashing may take hours.
const SETTLE_TIME: Duration = Duration::from_secs(1);

const DIR_HINT: &str = "--dir names a folder, which is created when it is absent.";

/// Runs a peer until it is told to quit.
pub(crate) async fn run(args: PeerArgs, ctx: &Context) -> anyhow::Result<()> {
    if std::fs::metadata(&args.dir).is_ok_and(|found| !found.is_dir()) {
        let file = ui::name(&args.dir.to_string_lossy());
        return Err(Failure::new(Code::Failed, format!("cannot share the folder {file}: it is no folder"))
            .hint(DIR_HINT)
            .into());
    }
    let typist = if ctx.while_stdin { Typist::Nobody } else { Typist::look(ctx.out.is_json()) };
    let tracker = args.serve.network.tracker.clone().unwrap_or_default();
    let session = Session::start(&args.serve, tracker.clone(), &ctx.out).await?.with_shell();
    session.tell_listening()?;
    let (folder, changes) =
        SharedFolder::start(session.peer.clone(), &args.dir, !args.no_share).map_err(|error| {
            let dir = ui::name(&args.dir.to_string_lossy());
            Failure::new(Code::Failed, format!("cannot share the folder {dir}: {error}")).hint(DIR_HINT)
        })?;
    if !args.no_share {
        ctx.out
            .note("Whoever reaches this machine can fetch what is in the folder; nothing is encrypted yet.");
    }
    let is_script = typist == Typist::Script && !std::io::stdin().is_terminal();
    let patience = is_script.then(|| Duration::from_secs(args.wait.into()));
    let caps = (args.serve.limit_up, args.serve.limit_down);
    let initial = names_in(folder.dir());
    let name = session.name().to_owned();
    let state = State { name, tracker, caps, initial, ..State::default() };
    let desk = Desk::new(ctx, session.peer.clone(), folder, session.tracking_sender(), patience, state);
    // What is shared from elsewhere nobody else looks after.
    desk.peer.look_after_shares();
    desk.peer.watch_peers(true).await;
    desk.peer.accept_offers(args.accepting()).await;
    let (interrupted, interrupts) = mpsc::channel(4);
    let (lines, editor) = match typist {
        Typist::Person => Editor::start(&desk, interrupted)?,
        Typist::Script => (Lines::of_stdin(), None),
        Typist::Nobody => (Lines::none(), None),
    };
    let lines = Arc::new(Mutex::new(lines));
    let news = News::default();
    let mut shell = Shell { desk, session, changes, news, lines, editor, interrupts, typist };
    let result = shell.work(ui::name(&args.dir.to_string_lossy())).await;
    if let Some(editor) = shell.editor.take() {
        editor.close().await;
    }
    if typist != Typist::Nobody {
        downloads::tell_left(&shell.desk).await;
    }
    shell.session.leave().await;
    result
}

struct Shell {
    desk: Arc<Desk>,
    session: Session,
    changes: mpsc::Receiver<Change>,
    news: News,
    lines: Arc<Mutex<Lines>>,
    editor: Option<Editor>,
    interrupts: mpsc::Receiver<Interrupt>,
    typist: Typist,
}

/// A command under way: true if it was the last one.
type Running = Pin<Box<dyn Future<Output = anyhow::Result<bool>>>>;

/// A failure after which nothing is left to be done.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Ends(Failure);

impl Shell {
    /// Works until it is told to quit. `dir` is the folder as it was typed.
    async fn work(&mut self, dir: String) -> anyhow::Result<()> {
        let mut progress = interval(PROGRESS_EVERY);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut running: Option<Running> = Some(Box::pin(begin(Arc::clone(&self.desk), dir)));
        // What ends the shell unless another name is given.
        let mut nameless: Option<Failure> = None;
        let mut tracking = self.session.tracking();
        let mut typing = self.typist != Typist::Nobody;
        loop {
            tokio::select! {
                _ = self.desk.ctx.interrupts.wait() => return Ok(()),
                event = self.session.next() => {
                    let event = event?;
                    if let Event::Peer(PeerEvent::NameTaken { offer }) = &event {
                        nameless = Some(Session::name_is_taken(&self.desk.state().name, offer));
                        running = Some(self.another_name(offer.clone())?);
                    } else {
                        events::tell(&self.desk, &self.session, event, &mut self.news).await?;
                    }
                }
                Some(change) = self.changes.recv() => {
                    events::tell_change(&self.desk, change, &mut self.news)?;
                }
                _ = progress.tick() => {
                    for line in self.news.due(Instant::now()) {
                        self.desk.out().note(line);
                    }
                    self.tell_progress().await?;
                }
                Ok(()) = tracking.changed() => {
                    let joined = matches!(*tracking.borrow_and_update(), Tracking::Joined(_));
                    let mut state = self.desk.state();
                    if joined {
                        state.name = self.session.name().to_owned();
                    } else {
                        state.peers.clear();
                        state.peers_listed = false;
                    }
                }
                Some(interrupt) = self.interrupts.recv() => {
                    if let Some(failure) = nameless {
                        return Err(failure.into());
                    }
                    if running.take().is_some() {
                        self.desk.out().note("Given up.");
                    } else if interrupt == Interrupt::NothingTyped {
                        return Ok(());
                    }
                }
                line = next_line(&self.lines), if running.is_none() && typing => match line {
                    Some(line) => running = self.read(&line)?,
                    None if self.typist == Typist::Person => return Ok(()),
                    None => {
                        typing = false;
                        running = Some(Box::pin(finish(Arc::clone(&self.desk))));
                    }
                },
                done = end_of(&mut running), if running.is_some() => {
                    running = None;
                    nameless = None;
                    if self.is_last(done)? {
                        return self.verdict();
                    }
                }
            }
        }
    }

    /// Begins what a line says.
    fn read(&self, line: &str) -> anyhow::Result<Option<Running>> {
        match parse(line) {
            Ok(Parsed::Nothing) => Ok(None),
            Ok(Parsed::Help(text)) => {
                self.desk.out().event(&ui::Event::Text { text: &text })?;
                self.desk.out().line(text)?;
                self.desk.out().event(&ui::Event::Answered { command: line.trim() })?;
                Ok(None)
            }
            Ok(Parsed::Do(command)) => {
                let (desk, lines) = (Arc::clone(&self.desk), Arc::clone(&self.lines));
                let typed = line.trim().to_owned();
                Ok(Some(Box::pin(async move { obey(&desk, &lines, *command, &typed).await })))
            }
            Err(failure) => {
                self.desk.fail(&failure.field("command", line.trim().into()));
                Ok(None)
            }
        }
    }

    /// Our name is taken: a person is asked for another one, with a free one preset.
    fn another_name(&self, offer: String) -> anyhow::Result<Running> {
        let failure = Session::name_is_taken(&self.desk.state().name, &offer);
        let Some(editor) = self.editor.clone() else { return Err(failure.into()) };
        let (desk, lines) = (Arc::clone(&self.desk), Arc::clone(&self.lines));
        Ok(Box::pin(async move {
            desk.out().note(format_args!("{failure}."));
            let asking = editor.asking_preset("another name: ", &offer);
            let line = lines.lock().await.next().await;
            drop(asking);
            let Some(name) = line.map(|line| line.trim().to_owned()).filter(|name| !name.is_empty()) else {
                return Err(Ends(failure).into());
            };
            desk.state().name.clone_from(&name);
            desk.peer.ask(Question::Rename { name }).await;
            Ok(false)
        }))
    }

    /// Tells how a command ended; true if the shell is to end with it.
    fn is_last(&self, done: anyhow::Result<bool>) -> anyhow::Result<bool> {
        let error = match done {
            Ok(last) => return Ok(last),
            Err(error) if error.is::<OutputFault>() => return Err(error),
            Err(error) => error,
        };
        match error.downcast::<Ends>() {
            Ok(Ends(failure)) => Err(failure.into()),
            Err(error) => {
                self.desk.fail(&Failure::of(error));
                Ok(false)
            }
        }
    }

    /// How a script ended. A person has seen it.
    fn verdict(&self) -> anyhow::Result<()> {
        if self.desk.patience.is_none() {
            return Ok(());
        }
        match self.desk.state().falls_short() {
            None => Ok(()),
            Some(code) => Err(Failure::new(code, "not everything that was asked for was done").into()),
        }
    }

    async fn tell_progress(&self) -> anyhow::Result<()> {
        let running: Vec<_> = {
            let state = self.desk.state();
            state.downloads.iter().filter(|d| d.phase == Phase::Running).map(|d| d.id).collect()
        };
        let mut shown = Vec::new();
        for id in running {
            let Some(status) = self.desk.peer.status(id).await else { continue };
            if let Some(download) = self.desk.state().download(id).filter(|d| d.phase == Phase::Running) {
                download.job.tell(&status)?;
                shown.push((download.name.clone(), status));
            }
        }
        if let Some(editor) = &self.editor {
            editor.show(status::lines(&shown, editor::width()));
        }
        Ok(())
    }
}

/// What is in a folder, by name.
fn names_in(dir: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

async fn next_line(lines: &Mutex<Lines>) -> Option<String> {
    lines.lock().await.next().await
}

async fn end_of(running: &mut Option<Running>) -> anyhow::Result<bool> {
    match running {
        Some(running) => running.await,
        None => std::future::pending().await,
    }
}

/// Before the first line is read: the tracker has answered, or does not, and small folders are shared.
async fn begin(desk: Arc<Desk>, dir: String) -> anyhow::Result<bool> {
    let mut tracking = desk.tracking.subscribe();
    let joined = tracking.wait_for(|tracking| *tracking != Tracking::Joining);
    let _ = timeout(REQUEST_TIMEOUT, joined).await;
    desk.folder.listed().await;
    let _ = timeout(SETTLE_TIME, desk.folder.settled()).await;
    let is_shared = |entry: &Entry| matches!(entry.standing, Standing::Shared(_));
    let entries = desk.folder.entries();
    let (shared, all) = (entries.iter().filter(|entry| is_shared(entry)).count(), entries.len());
    desk.out().note(match all {
        0 => format!("Nothing is in {dir} yet. `help` lists commands."),
        _ => format!("Sharing {shared} of {all} files and folders in {dir}. `help` lists commands."),
    });
    Ok(false)
}

/// Does what was typed; true if that was the last.
async fn obey(desk: &Desk, lines: &Mutex<Lines>, command: Command, typed: &str) -> anyhow::Result<bool> {
    if matches!(command, Command::Quit) {
        return Ok(true);
    }
    match perform(desk, lines, command).await {
        Ok(()) => desk.out().event(&ui::Event::Answered { command: typed })?,
        Err(error) if error.is::<OutputFault>() => return Err(error),
        Err(error) => return Err(desk.failure_of(error).field("command", typed.into()).into()),
    }
    Ok(false)
}

async fn perform(desk: &Desk, lines: &Mutex<Lines>, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Quit => Ok(()),
        Command::Join { tracker } => network::join(desk, tracker).await,
        Command::Leave => network::leave(desk).await,
        Command::List { rows } => network::list_rows(desk, rows).await,
        Command::Search { query, rows } => network::search(desk, query, rows).await,
        Command::Peers => peers::tell_present(&desk.tracker()?, &desk.ctx).await,
        Command::Holders { what } => holders::tell(&desk.tracker()?, &what, &desk.ctx).await,
        Command::Info { what } => info::tell(&desk.tracker()?, &what, &desk.ctx).await,
        Command::Rename { name } => network::rename(desk, name).await,
        Command::Limit { way, rate } => network::limit(desk, way, rate).await,
        Command::Local => files::local(desk).await,
        Command::Share { path } => files::share(desk, &path).await,
        Command::Unshare { path } => files::unshare(desk, &path).await,
        Command::Refresh => files::refresh(desk).await,
        Command::Get(words) => downloads::get(desk, &mut *lines.lock().await, words).await,
        Command::Downloads => downloads::list(desk).await,
        Command::Stop { what } => downloads::stop(desk, what.as_ref()).await,
        Command::Resume { what } => downloads::resume(desk, what.as_ref()).await,
        Command::Wait { what } => downloads::wait(desk, what.as_ref()).await,
        Command::Explain { what } => explain::explain(desk, what.as_ref()).await,
    }
}

/// After the last line of a script: running downloads are waited for; one that cannot go on for long is given up.
async fn finish(desk: Arc<Desk>) -> anyhow::Result<bool> {
    for id in desk.meant(None, |phase| phase == Phase::Running)? {
        if let Err(failure) = downloads::ended(&desk, id).await
            && desk.state().download(id).is_none_or(|download| !download.given_up)
        {
            desk.fail(&failure);
        }
    }
    Ok(true)
}
