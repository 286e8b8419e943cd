//! What happens by itself, told as it happens.

use std::sync::Arc;
use std::time::Instant;

use potluck_core::ids::{DownloadId, PeerId};
use potluck_core::limits::ROWS_PER_REPLY;
use potluck_core::peer::Answer;
use potluck_core::peer::{PeerEvent, Question, WaitReason};
use potluck_core::wire::tracker::PeerRow;
use potluck_transport_tcp::Event;
use potluck_transport_tcp::folder::Change;

use super::desk::{Desk, Phase};
use super::news::News;
use super::{downloads, files};
use crate::commands::share::Tickets;
use crate::exit::{Code, OutputFault};
use crate::session::Session;
use crate::ui;

/// Tells what became of the peer.
pub(super) async fn tell(
    desk: &Arc<Desk>,
    session: &Session,
    event: Event,
    news: &mut News,
) -> anyhow::Result<()> {
    match event {
        Event::Checking { download, bytes, total } => {
            if let Some(download) = desk.state().download(download) {
                download.job.checking(bytes, total)?;
            }
        }
        Event::ShareProgress { path, bytes, total } => {
            desk.out().event(&ui::Event::Hashing { path: &path.to_string_lossy(), bytes, total })?;
            desk.state().hashing = Some((path, bytes, total));
        }
        Event::Shared(shared) => {
            // A ticket takes a look at the network: it is made only for who reads it.
            if desk.out().is_json() {
                let tracker = desk.state().tracker.clone();
                let ticket = Tickets::new(tracker, true).make(&shared, session).await?.to_string();
                let (id, kind, name) = (shared.key.id, shared.kind, shared.name.as_str());
                let bytes = shared.bytes;
                desk.out().event(&ui::Event::Sharing { id, kind, name, bytes, ticket: &ticket })?;
            }
            // That it is shared at all is told by the command.
            if let Some(known) = desk.state().outside.get_mut(&shared.path)
                && known.key != shared.key
            {
                known.clone_from(&shared);
                news.offered(shared, Instant::now());
            }
        }
        Event::ShareLost { path, key, why } => {
            desk.out().event(&ui::Event::Withdrawn { id: key.id })?;
            if let Some(shared) = desk.state().outside.remove(&path) {
                news.gone(shared, Instant::now());
            }
            tracing::info!("{} is shared no longer: {}", ui::name(&path.to_string_lossy()), ui::name(&why));
        }
        Event::Peer(event) => of_peer(desk, session, event).await?,
        _ => {}
    }
    Ok(())
}

async fn of_peer(desk: &Arc<Desk>, session: &Session, event: PeerEvent) -> anyhow::Result<()> {
    match event {
        PeerEvent::PieceVerified { download, piece, from, .. } => {
            if tracing::enabled!(tracing::Level::DEBUG) {
                let from = session.name_of(from).await;
                tracing::debug!("piece {piece} from {} is right", ui::name(&from));
            }
            if let Some(download) = desk.state().download(download) {
                download.job.verified();
            }
        }
        PeerEvent::Waiting { download, reason, missing } => {
            // Who stops it is told so by the command.
            if reason != WaitReason::Stopped
                && let Some(download) = desk.state().download(download)
            {
                download.job.waiting(reason, missing)?;
            }
            desk.moved.notify_waiters();
        }
        PeerEvent::Resumed { download } => {
            if let Some(download) = desk.state().download(download) {
                download.job.resumed();
                download.given_up = false;
            }
        }
        PeerEvent::Completed { download } => completed(desk, download).await?,
        PeerEvent::Failed { download, reason } => {
            let failure = desk.state().download(download).and_then(|download| {
                download.job.failed(reason);
                let failure = download.job.take_failure();
                download.phase = Phase::Failed(failure.as_ref().map_or(Code::Failed, |failure| failure.code));
                failure
            });
            desk.moved.notify_waiters();
            if let Some(failure) = failure {
                desk.fail(&failure);
            }
        }
        PeerEvent::Offered { name, addr, offer, total, .. } => {
            // What cannot be taken is told, and nothing else comes of it.
            if let Err(error) = downloads::take_offer(desk, &name, addr, &offer, total).await {
                if error.is::<OutputFault>() {
                    return Err(error);
                }
                desk.out().note(format_args!("{} is not fetched: {error:#}", ui::name(&offer.name)));
            }
        }
        PeerEvent::PeersChanged { joined, left } => peers_changed(desk, joined, left)?,
        PeerEvent::UploadBegan { peer, key } => {
            let name = session.name_of(peer).await;
            desk.out().event(&ui::Event::UploadBegan { peer: &name, id: key.id })?;
            match desk.name_of(key.id) {
                Some(what) => desk.out().line(format_args!("{} fetches {what}.", ui::name(&name)))?,
                None => tracing::debug!("{} fetches {}", ui::name(&name), ui::short_id(key.id)),
            }
        }
        PeerEvent::UploadEnded { peer, key, bytes, complete } => {
            let name = session.name_of(peer).await;
            desk.out().event(&ui::Event::UploadEnded { peer: &name, id: key.id, bytes, complete })?;
            let whole = if complete { "; it has all of it now" } else { "; it does not have all of it" };
            if let Some(what) = desk.name_of(key.id) {
                let who = ui::name(&name);
                desk.out()
                    .line(format_args!("{who} is done with {what}: {} sent{whole}.", ui::bytes(bytes)))?;
            }
        }
        PeerEvent::Withdrawn { key } => {
            desk.out().event(&ui::Event::Withdrawn { id: key.id })?;
            let name = desk.name_of(key.id).unwrap_or_else(|| ui::short_id(key.id));
            tracing::info!("{name} changed and is withdrawn");
        }
        _ => {}
    }
    Ok(())
}

async fn completed(desk: &Arc<Desk>, id: DownloadId) -> anyhow::Result<()> {
    let status = desk.peer.status(id).await;
    let (name, path) = {
        let mut state = desk.state();
        let Some(download) = state.download(id) else { return Ok(()) };
        download.phase = Phase::Done;
        download.job.done(status)?;
        (download.name.clone(), download.path.clone())
    };
    desk.moved.notify_waiters();
    let desk = Arc::clone(desk);
    tokio::spawn(async move {
        files::keep(&desk, &path).await;
        if desk.peer.ask(Question::Synced).await == Answer::Done {
            // Whoever read the output may be gone; then nobody misses the line.
            let _ = desk
                .out()
                .line(format_args!("{} is registered: others can fetch it from here.", ui::name(&name)));
        }
    });
    Ok(())
}

/// The list after joining, page by page, says who is here; what comes after it, who came and went.
fn peers_changed(desk: &Desk, joined: Vec<PeerRow>, left: Vec<(PeerId, String)>) -> anyhow::Result<()> {
    let me = desk.peer.id();
    let out = desk.out();
    let mut state = desk.state();
    let listing = !state.peers_listed;
    state.peers_listed |= joined.len() < ROWS_PER_REPLY;
    for (peer, name) in left.into_iter().filter(|(peer, _)| *peer != me) {
        let known = state.peers.remove(&peer).unwrap_or(name);
        out.event(&ui::Event::Left { peer: &known })?;
        out.line(format_args!("{} left", ui::name(&known)))?;
    }
    for row in joined {
        let before = state.peers.insert(row.peer, row.name.clone());
        if listing || row.peer == me || before.as_ref() == Some(&row.name) {
            continue;
        }
        let addr = desk.addr_of(row.reach);
        out.event(&ui::Event::Peer { peer: &row.name, addr })?;
        let name = ui::name(&row.name);
        match before {
            Some(before) => out.line(format_args!("{} is {name} now", ui::name(&before)))?,
            None => out.line(format_args!("{name} joined from {addr}"))?,
        }
    }
    Ok(())
}

/// Tells what became of the folder, or leaves it to the news.
pub(super) fn tell_change(desk: &Desk, change: Change, news: &mut News) -> anyhow::Result<()> {
    match change {
        Change::Offered(shared) => {
            // What was downloaded is told as such.
            let path = desk.folder.dir().join(&shared.name);
            let initial = desk.state().initial.remove(&shared.name);
            let downloaded = desk.state().downloads.iter().any(|d| d.path == path && d.key == shared.key);
            if !downloaded && !initial {
                news.offered(shared, Instant::now());
            }
        }
        Change::Withdrawn(shared) => {
            desk.out().event(&ui::Event::Withdrawn { id: shared.key.id })?;
            news.gone(shared, Instant::now());
        }
        Change::Refused(name, why) => {
            desk.out().note(format_args!("{} cannot be shared: {}", ui::name(&name), ui::name(&why)));
        }
    }
    Ok(())
}
