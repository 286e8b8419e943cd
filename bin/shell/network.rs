//! Commands about the network: joining, leaving, and what the tracker knows.

use std::time::Duration;

use potluck_core::limits::REQUEST_TIMEOUT;
use potluck_core::peer::{Answer, Question};
use potluck_core::wire::tracker::{Matching, RefusedRequest};
use tokio::time::timeout;

use super::desk::{Desk, Phase};
use super::parse::Way;
use crate::args::{HostPort, RowArgs};
use crate::commands::list;
use crate::exit::{Code, Failure};
use crate::session::Tracking;
use crate::ui::{self, Event};
use crate::what::TrackerAt;

/// Time for a join to come through: a dial, and a request.
const JOIN_TIME: Duration = REQUEST_TIMEOUT;

/// Joins a tracker, and shows what is shared there.
pub(super) async fn join(desk: &Desk, tracker: Option<HostPort>) -> anyhow::Result<()> {
    let written = tracker.unwrap_or_else(|| desk.state().tracker.clone());
    let found = TrackerAt::resolve(written.clone()).await.map_err(|error| {
        Failure::of(error).hint("Nothing has changed; `join HOST:PORT` joins another one.")
    })?;
    desk.state().tracker = written.clone();
    let mut tracking = desk.tracking.subscribe();
    desk.tracking.send_replace(Tracking::Joining);
    for download in &mut desk.state().downloads {
        if download.phase == Phase::Left {
            download.phase = Phase::Running;
        }
    }
    desk.peer.join(found.addr).await;
    let joined = tracking.wait_for(|tracking| !matches!(tracking, Tracking::Joining | Tracking::Left));
    match timeout(JOIN_TIME, joined).await.ok().and_then(Result::ok).map(|now| *now) {
        Some(Tracking::Joined(_)) => everything(desk).await,
        _ => Err(Failure::new(Code::Unreachable, format!("the tracker at {written} does not answer")).into()),
    }
}

/// Closes every link and pauses downloads.
pub(super) async fn leave(desk: &Desk) -> anyhow::Result<()> {
    desk.peer.leave_tracker().await;
    desk.tracking.send_replace(Tracking::Left);
    let mut paused = 0;
    {
        let mut state = desk.state();
        for download in state.downloads.iter_mut().filter(|d| d.phase == Phase::Running) {
            download.phase = Phase::Left;
            paused += 1;
        }
    }
    desk.out().event(&Event::LeftNetwork { paused })?;
    let downloads = match paused {
        0 => String::new(),
        1 => " One download is paused.".to_owned(),
        paused => format!(" {paused} downloads are paused."),
    };
    desk.out().line(format_args!("Left the network; every link is closed.{downloads} `join` comes back."))?;
    Ok(())
}

/// Everything that is shared.
pub(super) async fn everything(desk: &Desk) -> anyhow::Result<()> {
    list_rows(desk, RowArgs { files: false, holders: false }).await
}

pub(super) async fn list_rows(desk: &Desk, rows: RowArgs) -> anyhow::Result<()> {
    list::show(&desk.tracker()?, Matching::All, rows, &desk.ctx, list::NOTHING).await
}

pub(super) async fn search(desk: &Desk, query: String, rows: RowArgs) -> anyhow::Result<()> {
    let nothing = list::nothing_like(&query);
    list::show(&desk.tracker()?, list::pattern(query), rows, &desk.ctx, &nothing).await
}

/// Takes another name; what is registered stays ours.
pub(super) async fn rename(desk: &Desk, name: String) -> anyhow::Result<()> {
    let shown = ui::name(&name);
    match desk.peer.ask(Question::Rename { name: name.clone() }).await {
        Answer::Done => {
            desk.state().name.clone_from(&name);
            desk.out().event(&Event::Renamed { name: &name })?;
            desk.out().line(format_args!("You are {shown} from now on; what you registered stays yours."))?;
            Ok(())
        }
        Answer::Refused(RefusedRequest::NameTaken { offer }) => {
            Err(Failure::new(Code::Failed, format!("the name {shown} is taken by another peer"))
                .hint(format!("`rename {}` is free.", ui::name(&offer)))
                .field("offer", offer.into())
                .into())
        }
        Answer::Refused(why) => {
            Err(Failure::new(Code::Failed, format!("the tracker refuses: {}", ui::refusal(&why))).into())
        }
        _ => {
            Err(Failure::new(Code::Unreachable, "the tracker does not answer; the name stays as it is")
                .into())
        }
    }
}

/// Caps a rate, or tells the caps.
pub(super) async fn limit(desk: &Desk, way: Option<Way>, rate: Option<u64>) -> anyhow::Result<()> {
    let caps = {
        let mut state = desk.state();
        match (way, rate) {
            (Some(Way::Up), Some(rate)) => state.caps.0 = rate,
            (Some(Way::Down), Some(rate)) => state.caps.1 = rate,
            _ => {}
        }
        state.caps
    };
    if rate.is_some() {
        desk.peer.limit_rates(caps.0, caps.1).await;
    }
    let shown = |cap: u64| if cap == 0 { "no cap".to_owned() } else { ui::rate(cap) };
    desk.out().event(&Event::Limits { up: caps.0, down: caps.1 })?;
    desk.out().line(format_args!("up: {}, down: {}", shown(caps.0), shown(caps.1)))?;
    Ok(())
}

/// Waits until the tracker has acknowledged everything that is shared. False: it does not answer.
pub(super) async fn acknowledged(desk: &Desk) -> bool {
    if matches!(*desk.tracking.borrow(), Tracking::Lost | Tracking::Left) {
        return false;
    }
    desk.peer.ask(Question::Synced).await == Answer::Done
}
