//! What `get` is to fetch and where it goes, found out before anything is begun.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use potluck_core::content::{Kind, SafeName, Selection, Ticket};
use potluck_core::ids::ContentKey;
use potluck_core::peer::FetchOptions;
use potluck_core::wire::tracker::Row;
use potluck_transport_tcp::Fetch;
use potluck_transport_tcp::hashing::{Hashing, hash_file};
use potluck_transport_tcp::store::{PartInfo, Target, find_parts, find_untold_parts};
use serde_json::json;
use tokio::time::sleep;

use crate::args::{GetArgs, HostPort};
use crate::exit::{Code, Failure};
use crate::ui::{self, Out};
use crate::what::{self, TrackerAt, What};

/// How often the tracker is asked anew for what nobody shares yet.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Everything that is wanted, and the tracker to join for it.
pub(crate) struct Plan {
    pub(crate) tracker: HostPort,
    pub(crate) wanted: Vec<Wanted>,
    /// What of the folders is wanted.
    pub(crate) select: Selection,
}

/// One content and its place.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) key: ContentKey,
    pub(crate) kind: Kind,
    pub(crate) name: SafeName,
    /// Where holders may be found, besides those the tracker knows.
    pub(crate) peers: Vec<SocketAddr>,
    /// Number of holders that the tracker knows.
    pub(crate) holders: Option<u32>,
    pub(crate) target: Target,
}

impl Wanted {
    /// The download; `how` it is to be done, `target` where it goes.
    pub(crate) fn fetch(&self, how: &FetchOptions, target: Target) -> Fetch {
        Fetch {
            key: self.key,
            kind: self.kind,
            name: self.name.clone(),
            peers: self.peers.clone(),
            how: how.clone(),
            target,
        }
    }
}

impl Plan {
    /// # Errors
    /// Something that was named is not found, ambiguous, or cannot be put where it is to go: then nothing is begun.
    pub(crate) async fn make(args: &GetArgs, out: &Out) -> anyhow::Result<Self> {
        let place = Place::of(&args.out)?;
        if args.what.len() > 1 && !place.is_folder() {
            return Err(Failure::new(Code::Usage, "several WHAT need a folder: end --out in /").into());
        }
        let select = args.selection().map_err(|why| Failure::new(Code::Usage, why))?;
        let tracker = what::choose_tracker(&args.serve.network, &args.what).await;
        let wait = Duration::from_secs(if args.dry_run { 0 } else { args.wait.into() });
        let mut wanted: Vec<Wanted> = Vec::new();
        for what in &args.what {
            let next = match what {
                What::Ticket(ticket) => by_ticket(ticket, &place, &tracker).await?,
                What::Text(_) => match by_text(what, &args.from, &place, &tracker).await {
                    Err(error) if is_not_found(&error) && place.has_untold_part(what) => {
                        out.note(format_args!(
                            "Nobody shares `{what}`. A part of it is here: waiting for a holder."
                        ));
                        by_holder_to_come(what, &args.from, &place, &tracker, wait).await?
                    }
                    found => found?,
                },
            };
            if next.kind == Kind::File && !select.is_all() {
                return Err(Failure::new(
                    Code::Usage,
                    format!("--include and --exclude choose among the files of a folder; `{what}` is a file"),
                )
                .hint("Leave them out to fetch it.")
                .into());
            }
            if wanted.iter().any(|other| other.key == next.key) {
                continue;
            }
            if let Some(other) = wanted.iter().find(|other| other.target.path() == next.target.path()) {
                let name = ui::name(other.name.as_str());
                return Err(Failure::new(Code::Failed, format!("two contents would both be put at {name}"))
                    .hint("Fetch one of them by itself, with --out FILE.")
                    .into());
            }
            wanted.push(next);
        }
        Ok(Self { tracker, wanted, select })
    }
}

/// A ticket says all there is to know; a tracker is asked only where it names no peer.
pub(crate) async fn by_ticket(ticket: &Ticket, place: &Place, tracker: &HostPort) -> anyhow::Result<Wanted> {
    let name = place.name_for(ticket.name.as_str())?;
    let mut wanted = Wanted {
        key: ticket.key(),
        kind: ticket.kind,
        target: place.target(&name)?,
        name,
        peers: resolve_all(&ticket.peers).await,
        holders: None,
    };
    let what = What::Ticket(Box::new(ticket.clone()));
    if wanted.peers.is_empty() && !wanted.target.path().exists() && !place.has_part(&what) {
        let tracker = TrackerAt::resolve(tracker.clone()).await?;
        let known = what::find(&tracker, &what).await?;
        wanted.holders = Some(known.complete + known.partial);
    }
    Ok(wanted)
}

/// The tracker says what a name or an id means; where it cannot, what an earlier download left may.
async fn by_text(what: &What, from: &[String], place: &Place, tracker: &HostPort) -> anyhow::Result<Wanted> {
    let found = match TrackerAt::resolve(tracker.clone()).await {
        Ok(tracker) => what::find_at(&tracker, what, from).await,
        Err(error) => Err(error),
    };
    let error = match found {
        Ok(known) => return by_tracker(known, place),
        Err(error) => error,
    };
    let code = error.downcast_ref::<Failure>().map(|failure| failure.code);
    if !matches!(code, Some(Code::NotFound | Code::Unreachable)) {
        return Err(error);
    }
    match place.part(what)? {
        Some(part) => by_part(part, place),
        None => place.standing(what).await.ok_or(error),
    }
}

/// What is known of a part without its sidecar is too little to go on: that, too, comes from a holder.
async fn by_holder_to_come(
    what: &What,
    from: &[String],
    place: &Place,
    tracker: &HostPort,
    wait: Duration,
) -> anyhow::Result<Wanted> {
    let until = Instant::now() + wait;
    loop {
        if let Ok(tracker) = TrackerAt::resolve(tracker.clone()).await
            && let Ok(rows) = what::rows_at(&tracker, what, from).await
            && let Some(known) = what::one_of(&rows, what)?
        {
            return by_tracker(known, place);
        }
        if Instant::now() >= until {
            return Err(Failure::new(
                Code::Incomplete,
                format!("`{what}` is not complete: no holder is in reach"),
            )
            .hint("Its part is kept: the same command goes on once a holder is back.")
            .into());
        }
        sleep(LOOK_AGAIN.min(until.saturating_duration_since(Instant::now()))).await;
    }
}

fn is_not_found(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Failure>().is_some_and(|failure| failure.code == Code::NotFound)
}

pub(crate) fn by_tracker(known: Row, place: &Place) -> anyhow::Result<Wanted> {
    let name = place.name_for(&known.name)?;
    Ok(Wanted {
        key: known.key,
        kind: known.kind,
        target: place.target(&name)?,
        name,
        peers: Vec::new(),
        holders: Some(known.complete + known.partial),
    })
}

pub(crate) fn by_part(part: PartInfo, place: &Place) -> anyhow::Result<Wanted> {
    let target = place.target(&part.name)?;
    Ok(Wanted { key: part.key, kind: part.kind, name: part.name, peers: Vec::new(), holders: None, target })
}

/// Where `--out` puts what is fetched.
pub(crate) struct Place {
    out: PathBuf,
}

impl Place {
    pub(crate) fn of(out: &Path) -> Result<Self, Failure> {
        let place = Self { out: out.to_owned() };
        if let Some(file) = place.in_the_way() {
            let (out, file) = (ui::name(&out.to_string_lossy()), ui::name(&file.to_string_lossy()));
            return Err(Failure::new(
                Code::Failed,
                format!("cannot download to {out}: {file} is a file, no folder"),
            )
            .hint("Choose another place by --out PATH."));
        }
        if !place.is_folder() && !place.folder().is_dir() {
            let folder = ui::name(&place.folder().to_string_lossy());
            return Err(Failure::new(Code::Failed, format!("the folder {folder} does not exist"))
                .hint("Create it first; an --out that ends in / is created."));
        }
        Ok(place)
    }

    /// Does it take contents under their own names?
    fn is_folder(&self) -> bool {
        self.out.as_os_str().as_encoded_bytes().ends_with(b"/") || self.out.is_dir()
    }

    /// The folder in which targets lie.
    fn folder(&self) -> &Path {
        if self.is_folder() {
            return &self.out;
        }
        match self.out.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    /// What should be a folder for anything to lie there, and is none.
    fn in_the_way(&self) -> Option<&Path> {
        // Without a slash at its end, a file is found to be one.
        let folder = self.folder().components().as_path();
        let (there, of) = folder.ancestors().find_map(|path| Some((path, std::fs::metadata(path).ok()?)))?;
        (!of.is_dir()).then_some(there)
    }

    /// The file that stands at the target, if an id means it: then nobody is needed to have it.
    pub(crate) async fn standing(&self, what: &What) -> Option<Wanted> {
        let is_file = std::fs::symlink_metadata(&self.out).is_ok_and(|found| found.is_file());
        if !is_file || !what.is_id() {
            return None;
        }
        let out = self.out.clone();
        let hash = move || {
            let (threads, cancelled) =
                (std::thread::available_parallelism().map_or(1, usize::from), AtomicBool::new(false));
            let how = Hashing { threads, progress: &|_| (), cancelled: &cancelled, cache: None };
            hash_file(&out, how).ok()
        };
        let key = tokio::task::spawn_blocking(hash).await.ok()??.key;
        let name = self.name_for(&self.out.file_name()?.to_string_lossy()).ok()?;
        let target = self.target(&name).ok()?;
        what.means(key.id, "").then(|| Wanted {
            key,
            kind: Kind::File,
            name,
            peers: Vec::new(),
            holders: None,
            target,
        })
    }

    /// The content's own name, checked; where the target has a name of its own, a strange one does no harm.
    pub(crate) fn name_for(&self, name: &str) -> Result<SafeName, Failure> {
        let own = SafeName::parse(name);
        if self.is_folder() {
            return own.map_err(|fault| {
                Failure::new(Code::Failed, format!("its name `{}` is refused: {fault}", ui::name(name)))
                    .hint("Give the target a name of your own: --out FILE.")
            });
        }
        own.or_else(|_| SafeName::parse("unnamed"))
            .map_err(|fault| Failure::new(Code::Failed, fault.to_string()))
    }

    pub(crate) fn target(&self, name: &SafeName) -> Result<Target, Failure> {
        Target::new(&self.out, name).map_err(|error| {
            let out = ui::name(&self.out.to_string_lossy());
            Failure::new(Code::Failed, format!("cannot download to {out}: {error}"))
        })
    }

    /// Parts of interrupted downloads that `what` means.
    pub(crate) fn parts(&self, what: &What) -> Vec<PartInfo> {
        let mut parts = find_parts(self.folder());
        parts.retain(|part| what.means(part.key.id, part.name.as_str()));
        parts
    }

    fn has_part(&self, what: &What) -> bool {
        !self.parts(what).is_empty() || self.has_untold_part(what)
    }

    /// Is there a part of it whose sidecar is lost?
    fn has_untold_part(&self, what: &What) -> bool {
        find_untold_parts(self.folder()).iter().any(|(name, digits)| what.may_mean(name, digits))
    }

    pub(crate) fn part(&self, what: &What) -> Result<Option<PartInfo>, Failure> {
        let mut parts = self.parts(what);
        let part = parts.pop();
        if parts.is_empty() {
            return Ok(part);
        }
        let ids: Vec<_> = parts.iter().chain(&part).map(|part| part.key.id.to_string()).collect();
        Err(Failure::new(Code::Ambiguous, format!("`{what}` means several interrupted downloads"))
            .hint(format!("Say which one by its id:\n{}", ids.join("\n")))
            .field("candidates", json!(ids)))
    }
}

/// Addresses of a ticket; those that cannot be looked up are of no use at present.
async fn resolve_all(written: &[String]) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for text in written {
        if let Ok(host) = text.parse::<HostPort>() {
            found.extend(host.resolve().await.unwrap_or_default());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_the_contract_says() {
        let dir = tempfile::tempdir().unwrap();
        let name = SafeName::parse("n").unwrap();
        let path = |out: &Path| Place::of(out).unwrap().target(&name).unwrap().path();
        assert_eq!(path(dir.path()), dir.path().join("n"));
        assert_eq!(path(&dir.path().join("new/")), dir.path().join("new/n"));
        assert_eq!(path(&dir.path().join("other")), dir.path().join("other"));
        assert_eq!(Place::of(&dir.path().join("no/such")).map(drop).unwrap_err().code, Code::Failed);
    }

    #[test]
    fn a_file_is_no_place_for_anything_below_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        std::fs::write(&file, b"f").unwrap();
        for below in ["f/", "f/x", "f/x/", "f/x/y"] {
            let failure = Place::of(&dir.path().join(below)).map(drop).unwrap_err();
            assert!(failure.message.ends_with("/f is a file, no folder"), "{below}: {failure}");
        }
        assert!(Place::of(&file).is_ok(), "it may be the target itself");
    }

    #[tokio::test]
    async fn what_stands_at_the_target_is_known_by_its_id() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        std::fs::write(&file, b"hello").unwrap();
        let place = Place::of(&file).unwrap();
        let id = "ea8f163db38682925e4491c5e58d4bb3506ef8c14eb78a86e908c5624a67200f";
        for (text, means) in [(id, true), (&id[..8], true), (&"0".repeat(64), false), ("f", false)] {
            let wanted = place.standing(&text.parse().unwrap()).await;
            assert_eq!(
                wanted.map(|wanted| wanted.key.id.to_string()),
                means.then(|| id.to_owned()),
                "{text}"
            );
        }
        let folder = Place::of(dir.path()).unwrap();
        assert!(folder.standing(&id.parse().unwrap()).await.is_none());
    }

    #[test]
    fn a_refused_name_needs_one_of_our_own() {
        let dir = tempfile::tempdir().unwrap();
        let into = Place::of(dir.path()).unwrap();
        let at = Place::of(&dir.path().join("mine")).unwrap();
        assert!(into.name_for("../evil").is_err());
        assert!(at.name_for("../evil").is_ok());
    }
}
