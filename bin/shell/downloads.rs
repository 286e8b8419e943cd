//! Commands about downloads: beginning, stopping, going on, waiting, and how they stand.

use std::net::SocketAddr;
use std::time::Instant;

use comfy_table::Cell;
use potluck_core::content::{Geometry, Kind};
use potluck_core::ids::DownloadId;
use potluck_core::peer::{Answer, FetchOptions, Question};
use potluck_core::wire::peer::Offer;
use potluck_core::wire::tracker::Row;

use super::choose::{Choice, Chosen, choose};
use super::desk::{Desk, Download, Phase};
use super::input::Lines;
use super::parse::GetWords;
use crate::commands::get::{Job, Place, Wanted, by_part, by_ticket, by_tracker, until};
use crate::exit::{Code, Failure, OutputFault};
use crate::near;
use crate::ui::{self, Event, Table, number, size};
use crate::what::{self, What};

/// What comes of a choice that is not made.
const NOTHING_IS_FETCHED: &str = "Nothing is fetched.";

/// Begins downloads, or goes on with what was stopped. What fails keeps none of the others from being fetched.
pub(super) async fn get(desk: &Desk, lines: &mut Lines, words: GetWords) -> anyhow::Result<()> {
    let out = words.out.clone().unwrap_or_else(|| desk.folder.dir().to_owned());
    let place = Place::of(&out)?;
    somebody_is_here(desk, &words.from).await?;
    // The last failure is the command's answer; those before it are told as they are.
    let mut failed: Option<anyhow::Error> = None;
    for what in &words.what {
        match get_one(desk, lines, &words, what, &place).await {
            Ok(()) => {}
            Err(error) if error.is::<OutputFault>() => return Err(error),
            Err(error) => {
                if let Some(before) = failed.replace(error) {
                    desk.fail(&desk.failure_of(before));
                }
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

/// Of the peers that are to be fetched from, at least one must be here: nobody is waited for by a slip of the fingers.
async fn somebody_is_here(desk: &Desk, from: &[String]) -> anyhow::Result<()> {
    if from.is_empty() {
        return Ok(());
    }
    // Without a tracker nobody knows who is here.
    let Ok(tracker) = desk.tracker() else { return Ok(()) };
    let Ok(peers) = tracker.peers().await else { return Ok(()) };
    let me = desk.peer.id();
    let others = peers.iter().filter(|(row, _)| row.peer != me);
    let here: Vec<&str> = others.map(|(row, _)| row.name.as_str()).collect();
    let unknown = what::unknown_peers(from, &here);
    if unknown.len() < from.len() {
        for unknown in unknown {
            desk.out().note(unknown);
        }
        return Ok(());
    }
    let names: Vec<_> = unknown.iter().map(|unknown| format!("`{}`", ui::name(unknown.name))).collect();
    let mut near: Vec<String> = Vec::new();
    for name in unknown.into_iter().flat_map(|unknown| unknown.near) {
        if !near.contains(&name) {
            near.push(name);
        }
    }
    let failure = Failure::new(Code::NotFound, format!("no other peer is called {}", names.join(" or ")));
    Err(failure.hint(what::did_you_mean(&near, "`peers` lists who is here.")).suggesting(&near).into())
}

async fn get_one(
    desk: &Desk,
    lines: &mut Lines,
    words: &GetWords,
    what: &What,
    place: &Place,
) -> anyhow::Result<()> {
    if words.out.is_none() && goes_on(desk, what).await? {
        return Ok(());
    }
    let Some(wanted) = find(desk, lines, what, &words.from, place).await? else {
        desk.out().line(NOTHING_IS_FETCHED)?;
        return Ok(());
    };
    let mut from = words.from.clone();
    if words.choose {
        match choose_holder(desk, lines, &wanted).await? {
            Some(holder) => from = vec![holder],
            None => {
                desk.out().line(NOTHING_IS_FETCHED)?;
                return Ok(());
            }
        }
    }
    begin(desk, &wanted, from).await
}

/// What is being fetched already is not fetched twice; what was stopped goes on.
async fn goes_on(desk: &Desk, what: &What) -> anyhow::Result<bool> {
    let known = {
        let state = desk.state();
        let open = |d: &&Download| matches!(d.phase, Phase::Running | Phase::Stopped | Phase::Left);
        state
            .downloads
            .iter()
            .filter(open)
            .find(|d| d.is_meant_by(what))
            .map(|d| (d.id, d.phase, d.name.clone()))
    };
    let Some((id, phase, name)) = known else { return Ok(false) };
    if phase == Phase::Running {
        desk.out().line(format_args!("{} is being fetched already.", ui::name(&name)))?;
    } else {
        resume_one(desk, id).await?;
    }
    Ok(true)
}

/// What is meant; `None`: several are, and the person wants none of them.
async fn find(
    desk: &Desk,
    lines: &mut Lines,
    what: &What,
    from: &[String],
    place: &Place,
) -> anyhow::Result<Option<Wanted>> {
    if let What::Ticket(ticket) = what {
        let tracker = desk.state().tracker.clone();
        return by_ticket(ticket, place, &tracker).await.map(Some);
    }
    let tracker = if desk.is_lost() { None } else { Some(desk.tracker()?) };
    let rows = match &tracker {
        Some(tracker) => what::rows_at(tracker, what, from).await,
        None => ask_around(desk, what).await,
    };
    let rows = match rows {
        Ok(rows) => rows,
        Err(error) => match place.part(what)? {
            Some(part) => return by_part(part, place).map(Some),
            None => return place.standing(what).await.map(Some).ok_or(error),
        },
    };
    let mut contents = what::distinct(&rows);
    let row = match contents.len() {
        0 => match place.part(what)? {
            Some(part) => return by_part(part, place).map(Some),
            None => match (place.standing(what).await, &tracker) {
                (Some(standing), _) => return Ok(Some(standing)),
                (None, Some(tracker)) => return Err(what::not_found(tracker, what).await.into()),
                // A tracker that is lost has no names to tell, and to wait for.
                (None, None) => return Err(unknown_here(desk, what).into()),
            },
        },
        1 => contents.remove(0),
        _ => match choose_content(desk, lines, what, &contents).await? {
            Some(index) => contents.swap_remove(index),
            None => return Ok(None),
        },
    };
    by_tracker(row, place).map(Some)
}

/// No peer that is known has it, and no tracker tells of others: names that were listed before may be like it.
fn unknown_here(desk: &Desk, what: &What) -> Failure {
    let near = {
        let state = desk.state();
        near::names(&what.to_string(), state.listed.values().map(String::as_str))
    };
    let of_known = Failure::new(Code::NotFound, format!("no peer that is known has `{what}`"));
    let otherwise = "`get` asks the tracker again once it answers.";
    of_known.hint(what::did_you_mean(&near, otherwise)).suggesting(&near)
}

/// Without a tracker: every peer that is known says whether it has it.
async fn ask_around(desk: &Desk, what: &What) -> anyhow::Result<Vec<Row>> {
    desk.out().note("The tracker does not answer; asking the peers that are known.");
    let mut rows: Vec<Row> = Vec::new();
    for matching in what.questions() {
        let question = Question::Contents { matching, members: true, limit: what::ROWS_MAX };
        match desk.peer.ask(question).await {
            Answer::Contents(found) => rows.extend(found),
            Answer::Offers { offers, answered } => {
                for peer in answered {
                    let name = desk.peer.peer_name(peer).await;
                    let has = offers.iter().any(|(from, _)| *from == peer);
                    desk.out().event(&Event::Heard { peer: &name, has })?;
                    let says = if has { "has it" } else { "has it not" };
                    desk.out().line(format_args!("{} {says}.", ui::name(&name)))?;
                }
                what::add_offers(&mut rows, offers);
            }
            _ => {
                return Err(
                    Failure::new(Code::Unreachable, "neither the tracker nor any peer answers").into()
                );
            }
        }
    }
    Ok(rows)
}

async fn choose_content(
    desk: &Desk,
    lines: &mut Lines,
    what: &What,
    contents: &[Row],
) -> anyhow::Result<Option<usize>> {
    let of = |row: &Row| Choice {
        name: ui::short_id(row.key.id),
        about: format!(
            "{:>10}  {} complete, {} partial  {}",
            ui::bytes(size(row)),
            row.complete,
            row.partial,
            ui::name(&row.name)
        ),
    };
    let choices: Vec<_> = contents.iter().map(of).collect();
    let heading = format!("`{what}` means several contents:");
    match choose(&heading, &choices, lines, desk.out()).await? {
        Chosen::One(index) => Ok(Some(index)),
        Chosen::Cancelled => Ok(None),
        Chosen::Nothing => {
            let message = format!("`{what}` means several contents, and none of them was chosen");
            Err(Failure::new(Code::Ambiguous, message).hint(NOTHING_IS_FETCHED).into())
        }
    }
}

async fn choose_holder(desk: &Desk, lines: &mut Lines, wanted: &Wanted) -> anyhow::Result<Option<String>> {
    let me = desk.peer.id();
    let holders = desk.tracker()?.holders(wanted.key).await?;
    let of = Geometry::new(wanted.key.length).map_or(0, |geometry| geometry.pieces());
    let choices: Vec<_> = holders
        .into_iter()
        .filter(|(row, _)| row.peer != me)
        .map(|(row, addr)| Choice { name: row.name, about: format!("{addr}  {} of {of} pieces", row.pieces) })
        .collect();
    let shown = ui::name(wanted.name.as_str());
    if choices.is_empty() {
        return Err(Failure::new(Code::NotFound, format!("nobody else holds {shown} at present")).into());
    }
    let heading = format!("{shown} is held by:");
    match choose(&heading, &choices, lines, desk.out()).await? {
        Chosen::One(index) => Ok(choices.into_iter().nth(index).map(|choice| choice.name)),
        Chosen::Cancelled => Ok(None),
        Chosen::Nothing => {
            let message = format!("no holder of {shown} was chosen");
            Err(Failure::new(Code::Failed, message).hint(NOTHING_IS_FETCHED).into())
        }
    }
}

async fn begin(desk: &Desk, wanted: &Wanted, from: Vec<String>) -> anyhow::Result<()> {
    let (name, path) = (wanted.name.as_str().to_owned(), wanted.target.path());
    let bytes = if wanted.kind == Kind::File { wanted.key.length } else { 0 };
    desk.out().event(&Event::Fetching {
        id: wanted.key.id,
        name: &name,
        path: &path.to_string_lossy(),
        holders: wanted.holders,
    })?;
    let whom = match (from.as_slice(), wanted.holders) {
        ([], Some(1)) => "1 holder".to_owned(),
        ([], Some(holders)) => format!("{holders} holders"),
        ([], None) => "whoever has it".to_owned(),
        (names, _) => names.iter().map(|name| ui::name(name)).collect::<Vec<_>>().join(", "),
    };
    let size = if bytes == 0 { String::new() } else { format!(" ({})", ui::bytes(bytes)) };
    desk.out().line(format_args!("Fetching {}{size} from {whom}.", ui::name(&name)))?;
    let how = FetchOptions { only_from: from, ..FetchOptions::default() };
    let id = desk.peer.fetch(wanted.fetch(&how, wanted.target.clone())).await;
    let job = Job::new(id, wanted, &how, desk.out());
    let phase = if desk.has_left() { Phase::Left } else { Phase::Running };
    let (key, kind) = (wanted.key, wanted.kind);
    desk.state().downloads.push(Download { id, key, kind, name, path, job, phase, given_up: false });
    Ok(())
}

/// Fetches into the folder what a peer pushes, as `get` would.
pub(super) async fn take_offer(
    desk: &Desk,
    from: &str,
    addr: Option<SocketAddr>,
    offer: &Offer,
    total: u64,
) -> anyhow::Result<()> {
    let (key, kind) = (offer.key, offer.kind);
    desk.out().event(&Event::Offered { peer: from, id: key.id, kind, name: &offer.name, bytes: total })?;
    let (shown, size) = (ui::name(&offer.name), ui::bytes(total));
    desk.out().line(format_args!("{} pushes {shown} ({size}).", ui::name(from)))?;
    let place = Place::of(desk.folder.dir())?;
    let name = place.name_for(&offer.name)?;
    let target = place.target(&name)?;
    let peers = addr.into_iter().collect();
    begin(desk, &Wanted { key, kind, name, peers, holders: None, target }, Vec::new()).await
}

/// Stops downloads.
pub(super) async fn stop(desk: &Desk, what: Option<&What>) -> anyhow::Result<()> {
    let meant = desk.meant(what, |phase| matches!(phase, Phase::Running | Phase::Left))?;
    if meant.is_empty() {
        desk.out().line("Nothing is being downloaded.")?;
    }
    for id in meant {
        let percent = match desk.peer.status(id).await {
            Some(status) => ui::percent(status.bytes, status.total),
            None => "some".to_owned(),
        };
        let (name, phase) = named(desk, id);
        if !matches!(phase, Phase::Running | Phase::Left) {
            desk.out().line(format_args!("{name} does not run: it is {}.", in_words(phase)))?;
            continue;
        }
        set_phase(desk, id, Phase::Stopped);
        desk.peer.stop(id).await;
        desk.moved.notify_waiters();
        desk.out().event(&Event::Stopped { name: &name })?;
        desk.out()
            .line(format_args!("{name} is stopped, {percent} is kept; `resume` or `get` goes on with it."))?;
    }
    Ok(())
}

/// Tells, at the end, what is not complete.
pub(super) async fn tell_left(desk: &Desk) {
    let unfinished = |phase| matches!(phase, Phase::Running | Phase::Stopped | Phase::Left);
    for id in desk.meant(None, unfinished).unwrap_or_default() {
        let Some(status) = desk.peer.status(id).await else { continue };
        let (name, percent) = (named(desk, id).0, ui::percent(status.bytes, status.total));
        desk.out().note(format_args!("{name} is at {percent}, which is kept; `get` goes on with it."));
    }
}

/// Goes on with what was stopped.
pub(super) async fn resume(desk: &Desk, what: Option<&What>) -> anyhow::Result<()> {
    let meant = desk.meant(what, |phase| phase == Phase::Stopped)?;
    if meant.is_empty() {
        desk.out().line("Nothing was stopped.")?;
    }
    for id in meant {
        let (name, phase) = named(desk, id);
        match phase {
            Phase::Stopped => resume_one(desk, id).await?,
            _ => desk.out().line(format_args!("{name} was not stopped: it is {}.", in_words(phase)))?,
        }
    }
    Ok(())
}

async fn resume_one(desk: &Desk, id: DownloadId) -> anyhow::Result<()> {
    let left = desk.has_left();
    set_phase(desk, id, if left { Phase::Left } else { Phase::Running });
    desk.peer.resume(id).await;
    let (name, _) = named(desk, id);
    let goes = if left { "goes on once you `join`" } else { "goes on" };
    desk.out().line(format_args!("{name} {goes}."))?;
    Ok(())
}

/// Waits until downloads have ended.
pub(super) async fn wait(desk: &Desk, what: Option<&What>) -> anyhow::Result<()> {
    let meant = desk.meant(what, |phase| matches!(phase, Phase::Running | Phase::Left))?;
    for id in meant {
        let phase = match ended(desk, id).await {
            Ok(phase) => phase,
            Err(failure) => {
                if let Some(download) = desk.state().download(id) {
                    download.given_up = true;
                }
                return Err(failure.into());
            }
        };
        let (name, _) = named(desk, id);
        let incomplete = |why: &str| Failure::new(Code::Incomplete, format!("{name} is {why}"));
        match phase {
            Phase::Failed(code) => return Err(Failure::new(code, format!("{name} was not fetched")).into()),
            Phase::Stopped => {
                return Err(incomplete("stopped; progress is kept").hint("`resume` goes on with it.").into());
            }
            Phase::Left => {
                let failure = incomplete("paused since you left the network; progress is kept");
                return Err(failure.hint("`join` goes on with it.").into());
            }
            Phase::Running | Phase::Done => {}
        }
    }
    Ok(())
}

/// Waits until a download runs no more.
///
/// # Errors
/// Of a script: it has not got on for longer than that has patience.
pub(super) async fn ended(desk: &Desk, id: DownloadId) -> Result<Phase, Failure> {
    loop {
        let moved = desk.moved.notified();
        tokio::pin!(moved);
        moved.as_mut().enable();
        let give_up = {
            let mut state = desk.state();
            let Some(download) = state.download(id) else { return Ok(Phase::Done) };
            if download.phase != Phase::Running {
                return Ok(download.phase);
            }
            let give_up = desk.patience.and_then(|patience| download.job.waits_until(patience));
            if give_up.is_some_and(|then| then <= Instant::now())
                && let Some(failure) = download.job.why_it_waits()
            {
                return Err(failure);
            }
            give_up
        };
        tokio::select! {
            () = moved => {}
            () = until(give_up) => {}
        }
    }
}

/// Lists downloads.
pub(super) async fn list(desk: &Desk) -> anyhow::Result<()> {
    let all: Vec<_> = {
        let state = desk.state();
        state.downloads.iter().map(|d| (d.id, d.key.id, d.name.clone(), d.path.clone(), d.phase)).collect()
    };
    let mut table = Table::new(["NAME", "DONE", "SIZE", "RATE", "HOLDERS", "STATE"]);
    for (download, id, name, path, phase) in all {
        let status = desk.peer.status(download).await;
        let (bytes, total) = status.as_ref().map_or((0, 0), |status| (status.bytes, status.total));
        let rate: u64 = status.iter().flat_map(|s| &s.holders).map(|holder| holder.rate).sum();
        let rate = if phase == Phase::Running { rate } else { 0 };
        let holders = status.iter().flat_map(|s| &s.holders).filter(|holder| holder.linked).count();
        let waits = status.as_ref().and_then(|status| status.waiting).filter(|_| phase == Phase::Running);
        let words = match waits {
            Some(reason) => format!("waits: {}", crate::commands::get::in_words(reason)),
            None => in_words(phase).to_owned(),
        };
        let path = path.to_string_lossy();
        desk.out().event(&Event::Download {
            id,
            name: &name,
            path: &path,
            state: state_of(phase),
            bytes,
            total,
            rate,
            holders,
        })?;
        let (done, size) = match phase {
            Phase::Failed(_) => ("-".to_owned(), "-".to_owned()),
            // Of nothing, all is here.
            Phase::Done => (ui::percent(1, 1), ui::bytes(total)),
            _ => (ui::percent(bytes, total), ui::bytes(total)),
        };
        let (name, words) = (Cell::new(ui::name(&name)), Cell::new(words));
        table.row([name, number(done), number(size), number(ui::rate(rate)), number(holders), words]);
    }
    if table.is_empty() {
        desk.out().line("Nothing was downloaded yet.")?;
        return Ok(());
    }
    desk.out().line(table)?;
    Ok(())
}

/// How it stands, for people.
pub(super) const fn in_words(phase: Phase) -> &'static str {
    match phase {
        Phase::Running => "running",
        Phase::Stopped => "stopped",
        Phase::Left => "paused until you join again",
        Phase::Done => "done",
        Phase::Failed(_) => "failed",
    }
}

const fn state_of(phase: Phase) -> &'static str {
    match phase {
        Phase::Running => "running",
        Phase::Stopped => "stopped",
        Phase::Left => "paused",
        Phase::Done => "done",
        Phase::Failed(_) => "failed",
    }
}

/// Its name, to be shown, and how it stands.
pub(super) fn named(desk: &Desk, id: DownloadId) -> (String, Phase) {
    let mut state = desk.state();
    let found = state.download(id).map(|download| (ui::name(&download.name), download.phase));
    found.unwrap_or_else(|| (String::new(), Phase::Done))
}

fn set_phase(desk: &Desk, id: DownloadId, phase: Phase) {
    if let Some(download) = desk.state().download(id) {
        download.phase = phase;
    }
}
