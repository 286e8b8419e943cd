//! What commands and events both work on: the peer, its folder, its downloads, and what is known of the network.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use potluck_core::content::Kind;
use potluck_core::ids::{ContentId, ContentKey, DownloadId, PeerId};
use potluck_core::wire::tracker::Reach;
use potluck_transport_tcp::folder::{SharedFolder, Standing};
use potluck_transport_tcp::{Peer, Shared};
use tokio::sync::{Notify, watch};

use crate::args::HostPort;
use crate::commands::Context;
use crate::commands::get::Job;
use crate::exit::{Code, Failure};
use crate::near;
use crate::session::Tracking;
use crate::ui::{self, Out};
use crate::what::{self, TrackerAt, What};

/// What to do where the tracker does not answer.
const UNREACHABLE: &str = "It is tried on in the background; `join HOST:PORT` joins another one.";

/// Everything that a command has at hand.
pub(super) struct Desk {
    pub(super) ctx: Context,
    pub(super) peer: Peer,
    pub(super) folder: SharedFolder,
    /// How it stands with the tracker.
    pub(super) tracking: watch::Sender<Tracking>,
    /// How long a script waits for a download that cannot go on; a person (`None`) waits as long as it pleases.
    pub(super) patience: Option<Duration>,
    /// A download has ended, was stopped, waits, or goes on.
    pub(super) moved: Notify,
    state: Mutex<State>,
}

/// What changes.
#[derive(Default)]
pub(super) struct State {
    /// Our name: the prompt.
    pub(super) name: String,
    pub(super) tracker: HostPort,
    pub(super) downloads: Vec<Download>,
    /// Paths outside of the folder that were shared by a command.
    pub(super) outside: BTreeMap<PathBuf, Shared>,
    /// Bytes hashed, and to be hashed in all, of what is being hashed.
    pub(super) hashing: Option<(PathBuf, u64, u64)>,
    /// Peers that are here, by what they were last called.
    pub(super) peers: BTreeMap<PeerId, String>,
    /// The tracker has told who was here when we came: from then on it tells who comes.
    pub(super) peers_listed: bool,
    /// Names of contents that were listed, for completion.
    pub(super) listed: BTreeMap<ContentId, String>,
    /// What the folder had in it when the shell began (that it is shared is told in one line), and what is shared by name
    /// (told by the command): none of it is news.
    pub(super) initial: BTreeSet<String>,
    /// Caps on the rates, up and down; 0: none.
    pub(super) caps: (u64, u64),
    /// The first failure that was told, of a command or of a download.
    pub(super) failed: Option<Code>,
}

/// A download that was begun here.
pub(super) struct Download {
    pub(super) id: DownloadId,
    pub(super) key: ContentKey,
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) job: Job,
    pub(super) phase: Phase,
    /// It was told that it is waited for no longer, and it has not gone on since.
    pub(super) given_up: bool,
}

/// How it stands with a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It runs, or waits for a holder.
    Running,
    /// The person stopped it.
    Stopped,
    /// `leave` stopped it; `join` goes on with it.
    Left,
    Done,
    Failed(Code),
}

impl Desk {
    pub(super) fn new(
        ctx: &Context,
        peer: Peer,
        folder: SharedFolder,
        tracking: watch::Sender<Tracking>,
        patience: Option<Duration>,
        state: State,
    ) -> Arc<Self> {
        let (ctx, state) = (ctx.clone(), Mutex::new(state));
        Arc::new(Self { ctx, peer, folder, tracking, patience, moved: Notify::new(), state })
    }

    pub(super) fn out(&self) -> &Out {
        &self.ctx.out
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells a failure, and goes on. A script ends with the code of the first.
    pub(super) fn fail(&self, failure: &Failure) {
        self.state().failed.get_or_insert(failure.code);
        self.out().failure(failure);
    }

    /// The failure of a command, with what helps in a shell in place of what helps who typed one command.
    pub(super) fn failure_of(&self, error: anyhow::Error) -> Failure {
        let mut failure = Failure::of(error);
        let usual = failure.hint.as_deref().is_none_or(|hint| hint == what::UNREACHABLE);
        if failure.code == Code::Unreachable && !self.has_left() && usual {
            return failure.hint(UNREACHABLE);
        }
        // Here a verb is typed without it.
        failure.hint = failure.hint.map(|hint| hint.replace("`potluck ", "`"));
        failure
    }

    /// The tracker, asked by this very peer.
    ///
    /// # Errors
    /// It is known not to answer, or was left.
    pub(super) fn tracker(&self) -> Result<TrackerAt, Failure> {
        let written = self.state().tracker.clone();
        let tracking = *self.tracking.borrow();
        match tracking {
            Tracking::Left => Err(Failure::new(Code::Unreachable, "you have left the network")
                .hint("`join` comes back, `join HOST:PORT` goes elsewhere.")),
            Tracking::Lost => Err(what::silent(&written)),
            Tracking::Joined(_) | Tracking::Joining => Ok(TrackerAt::over(written, self.peer.clone())),
        }
    }

    /// Has the person left the network?
    pub(super) fn has_left(&self) -> bool {
        *self.tracking.borrow() == Tracking::Left
    }

    /// Is the tracker known not to answer?
    pub(super) fn is_lost(&self) -> bool {
        *self.tracking.borrow() == Tracking::Lost
    }

    /// Where somebody is reached from here: who is on the tracker's own machine, at the tracker's address.
    pub(super) fn addr_of(&self, reach: Reach) -> SocketAddr {
        let tracker = match *self.tracking.borrow() {
            Tracking::Joined(at) => at.ip(),
            Tracking::Joining | Tracking::Lost | Tracking::Left => IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        SocketAddr::new(reach.ip.unwrap_or(tracker), reach.port)
    }

    /// How a content is called here; `None`: it is unknown, or a part of a folder.
    pub(super) fn name_of(&self, id: ContentId) -> Option<String> {
        let shared = self.folder.entries().into_iter().find_map(|entry| match entry.standing {
            Standing::Shared(shared) if shared.key.id == id => Some(entry.name),
            _ => None,
        });
        let state = self.state();
        let downloaded = || state.downloads.iter().find(|d| d.key.id == id).map(|d| d.name.clone());
        let outside = || state.outside.values().find(|s| s.key.id == id).map(|s| s.name.clone());
        shared.or_else(downloaded).or_else(outside).map(|name| ui::name(&name))
    }

    /// The downloads that are meant; of no name, all for which `fits` holds.
    ///
    /// # Errors
    /// Nothing of that name is being downloaded.
    pub(super) fn meant(
        &self,
        what: Option<&What>,
        fits: impl Fn(Phase) -> bool,
    ) -> Result<Vec<DownloadId>, Failure> {
        let state = self.state();
        let Some(what) = what else {
            return Ok(state.downloads.iter().filter(|d| fits(d.phase)).map(|d| d.id).collect());
        };
        // Of several with the same name, those that are still of interest come first.
        let all: Vec<&Download> = state.downloads.iter().filter(|d| d.is_meant_by(what)).collect();
        let found: Vec<_> = all.iter().filter(|d| fits(d.phase)).map(|d| d.id).collect();
        match (found.is_empty(), all.last()) {
            (false, _) => Ok(found),
            (true, Some(last)) => Ok(vec![last.id]),
            (true, None) => {
                let names = state.downloads.iter().map(|d| d.name.as_str());
                let near = near::names(&what.to_string(), names);
                Err(Failure::new(Code::NotFound, format!("`{what}` is not being downloaded"))
                    .hint(what::did_you_mean(&near, "`downloads` lists what is.")))
            }
        }
    }

    /// The folder's name that a path means, if it lies directly in the folder.
    pub(super) fn name_in_folder(&self, path: &Path) -> Option<String> {
        // A folder is listed with a slash behind its name, which is no part of it.
        let name = path.file_name()?;
        let inside = self.folder.dir().join(path);
        if path.components().count() == 1 && std::fs::symlink_metadata(&inside).is_ok() {
            return name.to_str().map(str::to_owned);
        }
        let folder = path.parent()?.canonicalize().ok()?;
        (folder == self.folder.dir()).then(|| name.to_str().map(str::to_owned)).flatten()
    }
}

impl State {
    /// With what code a script ends here, if not all of it came to a good end.
    pub(super) fn falls_short(&self) -> Option<Code> {
        let open = |phase| matches!(phase, Phase::Running | Phase::Stopped | Phase::Left);
        let incomplete = self.downloads.iter().any(|download| open(download.phase));
        self.failed.or_else(|| incomplete.then_some(Code::Incomplete))
    }

    pub(super) fn download(&mut self, id: DownloadId) -> Option<&mut Download> {
        self.downloads.iter_mut().find(|download| download.id == id)
    }
}

impl Download {
    pub(super) fn is_meant_by(&self, what: &What) -> bool {
        what.means(self.key.id, &self.name)
    }
}

#[cfg(test)]
mod tests {
    use potluck_transport_tcp::PeerOptions;

    use super::*;
    use crate::signals::Interrupts;

    #[tokio::test]
    async fn a_tracker_that_is_known_not_to_answer_is_not_asked() {
        let dir = tempfile::tempdir().unwrap();
        let options = PeerOptions { listen: "127.0.0.1:0".parse().unwrap(), ..PeerOptions::default() };
        let (peer, _events) = Peer::start(options).await.unwrap();
        let (folder, _changes) = SharedFolder::start(peer.clone(), dir.path(), false).unwrap();
        let interrupts = Interrupts::listen(false).unwrap();
        let ctx = Context { out: Out::json(), interrupts, while_stdin: false };
        let (tracking, _) = watch::channel(Tracking::Joining);
        let desk = Desk::new(&ctx, peer, folder, tracking, None, State::default());
        assert!(desk.tracker().is_ok(), "it may answer yet");
        for (now, says) in [(Tracking::Lost, "does not answer"), (Tracking::Left, "you have left")] {
            desk.tracking.send_replace(now);
            let failure = desk.tracker().unwrap_err();
            assert!(failure.code == Code::Unreachable && failure.message.contains(says), "{failure}");
        }
    }
}
