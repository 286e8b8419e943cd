//! `explain`: why a download is as fast or slow as it is.

use std::time::Duration;

use comfy_table::Cell;
use potluck_core::ids::DownloadId;
use potluck_core::peer::{Explanation, HolderExplained, HolderState, Stage};

use super::desk::{Desk, Phase};
use super::downloads::named;
use crate::exit::{Code, Failure};
use crate::ui::{self, Event, Explained, Table, number};
use crate::what::What;

/// A cap of which so much is used is what bounds a download: four fifths.
const CAP_USED: (u64, u64) = (4, 5);

/// Tells it of one download; without a name, of the only one there is.
pub(super) async fn explain(desk: &Desk, what: Option<&What>) -> anyhow::Result<()> {
    let meant = desk.meant(what, |phase| matches!(phase, Phase::Running))?;
    let id = match (meant.as_slice(), what) {
        ([], _) => {
            return Err(Failure::new(Code::NotFound, "nothing is being downloaded")
                .hint("`downloads` lists what was.")
                .into());
        }
        ([only], _) | ([only, ..], Some(_)) => *only,
        ([_, ..], None) => {
            return Err(Failure::new(Code::Ambiguous, "several downloads run")
                .hint("`downloads` lists them; say which one: explain WHAT.")
                .into());
        }
    };
    let (name, phase) = named(desk, id);
    let explanation = desk.peer.explain(id).await;
    match explanation {
        Some(explanation) => tell(desk, id, &name, &explanation),
        None => {
            desk.out().line(format_args!("{name} is {}.", super::downloads::in_words(phase)))?;
            Ok(())
        }
    }
}

fn tell(desk: &Desk, id: DownloadId, name: &str, e: &Explanation) -> anyhow::Result<()> {
    let holders: Vec<Explained> = e.holders.iter().map(explained).collect();
    let rate: u64 = e.holders.iter().map(|holder| holder.rate).sum();
    let missing = &e.status.missing;
    let content = desk.state().download(id).map(|d| d.key.id);
    if let Some(id) = content {
        desk.out().event(&Event::Explain {
            id,
            stage: stage(e.stage),
            bytes: e.status.bytes,
            total: e.status.total,
            rate,
            missing,
            missing_bytes: e.missing_bytes,
            unreachable_bytes: e.unreachable_bytes,
            limit: e.down_rate_max,
            holders: &holders,
        })?;
    }
    let out = desk.out();
    let (done, total) = (ui::bytes(e.status.bytes), ui::bytes(e.status.total));
    let percent = ui::percent(e.status.bytes, e.status.total);
    out.line(format_args!("{name}: {percent} ({done} of {total}), {}, {}", ui::rate(rate), stage(e.stage)))?;
    if !e.holders.is_empty() {
        out.line(table(e))?;
    }
    for line in reasons(e, rate) {
        out.line(line)?;
    }
    Ok(())
}

fn table(e: &Explanation) -> Table {
    let delivered: Vec<u64> = e.holders.iter().map(|holder| holder.delivered).collect();
    let any = delivered.iter().any(|bytes| *bytes > 0);
    let mut table = Table::new(["HOLDER", "SHARE", "RATE", "HAS OF IT", "ONLY IT HAS", "ROUND TRIP", ""]);
    for (holder, percent) in e.holders.iter().zip(ui::percents(&delivered)) {
        let share = if any { percent } else { "-".to_owned() };
        let has =
            if e.missing_bytes == 0 { "-".to_owned() } else { ui::percent(holder.needed, e.missing_bytes) };
        let trip = holder.round_trip.map_or_else(|| "-".to_owned(), milliseconds);
        table.row([
            Cell::new(ui::name(&ui::peer_name(&holder.name, holder.peer))),
            number(share),
            number(ui::rate(holder.rate)),
            number(has),
            number(ui::bytes(holder.only)),
            number(trip),
            Cell::new(does(holder)),
        ]);
    }
    table
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

fn does(holder: &HolderExplained) -> String {
    let owed = ui::bytes(holder.inflight);
    match holder.state {
        HolderState::Sending => format!("sends; {owed} asked for"),
        HolderState::Asked => format!("asked for {owed}, nothing came yet"),
        HolderState::Silent => format!("silent; what it owes is asked of others ({owed})"),
        HolderState::Busy => "busy with others; asked again soon".to_owned(),
        HolderState::Dropped => "sent wrong bytes; not asked any more".to_owned(),
        HolderState::NothingNew => "has nothing that is missing".to_owned(),
        HolderState::Capped => "waits: our own cap is reached".to_owned(),
        HolderState::Elsewhere => "serves another download of yours".to_owned(),
        HolderState::Enough => "waits: enough comes from others".to_owned(),
        HolderState::Spare => "all that it has is asked of others".to_owned(),
    }
}

/// What bounds it, in sentences.
fn reasons(e: &Explanation, rate: u64) -> Vec<String> {
    let mut lines = Vec::new();
    match e.stage {
        Stage::Opening => {
            lines.push("What an earlier run left is being checked; nothing is fetched until then.".to_owned())
        }
        Stage::Table => lines.push("The piece table is being fetched; pieces come after it.".to_owned()),
        Stage::Finishing => lines.push("Everything is verified; it is being put in place.".to_owned()),
        Stage::Disk(_) => lines.push("The disk refuses; it is tried again by itself.".to_owned()),
        Stage::Stopped => lines.push("It is stopped; `resume` goes on with it.".to_owned()),
        Stage::Done => lines.push("It is complete, and can be fetched from here.".to_owned()),
        Stage::Fetching => {}
    }
    let reachable = e.missing_bytes.saturating_sub(e.unreachable_bytes);
    let asked = e.undecided > 0 || (e.holders.is_empty() && e.status.waiting.is_none());
    if e.stage == Stage::Fetching && asked {
        lines.push(match e.undecided {
            0 => "Who has it is still being found out.".to_owned(),
            1 => "What one more linked peer has is still being found out.".to_owned(),
            peers => format!("What {peers} more linked peers have is still being found out."),
        });
    } else if e.stage == Stage::Fetching && e.holders.is_empty() {
        lines
            .push("No holder is linked: nothing can come. It goes on by itself when one appears.".to_owned());
    } else if e.stage == Stage::Fetching && rate > 0 && reachable > 0 {
        lines.push(bound(e, rate, reachable));
    }
    if e.down_rate_max > 0 && !is_capped(e, rate) {
        lines.push(format!("Our own cap: {} (`limit down off` lifts it).", ui::rate(e.down_rate_max)));
    }
    if !e.status.missing.is_empty() && e.stage != Stage::Done {
        let missing =
            format!("Missing: {} in pieces {}", ui::bytes(e.missing_bytes), ui::pieces(&e.status.missing));
        lines.push(match e.unreachable_bytes {
            _ if asked => format!("{missing}."),
            0 => format!("{missing}."),
            bytes => format!("{missing}; nobody in reach has {} of it.", ui::bytes(bytes)),
        });
    }
    if e.unlinked > 0 {
        lines.push(format!("{} more possible holders are known and not linked.", e.unlinked));
    }
    lines
}

/// Does our own cap bound it? Others may use it up as well.
fn is_capped(e: &Explanation, rate: u64) -> bool {
    let used = rate.saturating_mul(CAP_USED.1) >= e.down_rate_max.saturating_mul(CAP_USED.0);
    e.stage == Stage::Fetching && e.down_rate_max > 0 && rate > 0 && (e.down_rate_reached || used)
}

/// Our own cap, the links together, or one holder alone: the one whose own pieces take longest.
fn bound(e: &Explanation, rate: u64, reachable: u64) -> String {
    let seconds = |bytes: u64, rate: u64| bytes as f64 / rate.max(1) as f64;
    if is_capped(e, rate) {
        let time = ui::seconds(Duration::from_secs_f64(seconds(reachable, rate).min(1e9)));
        return format!(
            "Bound by our own cap of {}: {} to come at {} take {time}; `limit down off` lifts it.",
            ui::rate(e.down_rate_max),
            ui::bytes(reachable),
            ui::rate(rate)
        );
    }
    let all = seconds(reachable, rate);
    let alone = e
        .holders
        .iter()
        .filter(|holder| holder.only > 0)
        .map(|holder| (seconds(holder.only, holder.rate), holder))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    if let Some((time, holder)) = alone
        && e.holders.len() > 1
        && time > all * 1.1
    {
        let (name, only) = (ui::name(&ui::peer_name(&holder.name, holder.peer)), ui::bytes(holder.only));
        if holder.rate == 0 {
            return format!(
                "Bound by {name}: only it has {only} of what is missing, and nothing comes from it."
            );
        }
        let time = ui::seconds(Duration::from_secs_f64(time.min(1e9)));
        return format!(
            "Bound by {name}: only it has {only} of what is missing; at its {} that takes {time}.",
            ui::rate(holder.rate)
        );
    }
    let time = ui::seconds(Duration::from_secs_f64(all.min(1e9)));
    let links = match e.holders.len() {
        1 => "the only link".to_owned(),
        links => format!("all {links} links together"),
    };
    format!("Bound by {links}: {} to come at {} take {time}.", ui::bytes(reachable), ui::rate(rate))
}

const fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Opening => "checking what is there",
        Stage::Table => "fetching the piece table",
        Stage::Fetching => "fetching",
        Stage::Finishing => "finishing",
        Stage::Disk(_) => "waiting for the disk",
        Stage::Stopped => "stopped",
        Stage::Done => "done",
    }
}

fn explained(holder: &HolderExplained) -> Explained {
    let state = match holder.state {
        HolderState::Sending => "sending",
        HolderState::Asked => "asked",
        HolderState::Silent => "silent",
        HolderState::Busy => "busy",
        HolderState::Dropped => "dropped",
        HolderState::NothingNew => "nothing_new",
        HolderState::Capped => "capped",
        HolderState::Elsewhere => "elsewhere",
        HolderState::Enough => "enough",
        HolderState::Spare => "spare",
    };
    Explained {
        peer: ui::peer_name(&holder.name, holder.peer),
        addr: holder.addr,
        state,
        delivered: holder.delivered,
        rate: holder.rate,
        inflight: holder.inflight,
        needed: holder.needed,
        only: holder.only,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use potluck_core::ids::{PeerId, PieceIndex};
    use potluck_core::peer::{DownloadStatus, WaitReason};

    fn holder(name: &str, rate: u64, needed: u64, only: u64) -> HolderExplained {
        HolderExplained {
            peer: PeerId([1; 32]),
            name: name.to_owned(),
            addr: ([127, 0, 0, 1], 1).into(),
            needed,
            only,
            delivered: 100,
            rate,
            inflight: 0,
            round_trip: None,
            state: HolderState::Sending,
        }
    }

    fn explanation(holders: Vec<HolderExplained>) -> Explanation {
        let missing = vec![(PieceIndex(3), PieceIndex(9))];
        Explanation {
            status: DownloadStatus { bytes: 10, total: 1000, missing, waiting: None, holders: Vec::new() },
            stage: Stage::Fetching,
            missing_bytes: 990,
            unreachable_bytes: 0,
            down_rate_max: 0,
            down_rate_reached: false,
            unlinked: 0,
            undecided: 0,
            holders,
        }
    }

    #[test]
    fn the_links_together_bound_it_or_one_alone() {
        let text = |holders| reasons(&explanation(holders), 30).join("\n");
        let together = text(vec![holder("a", 20, 990, 0), holder("b", 10, 990, 0)]);
        assert!(
            together.starts_with("Bound by all 2 links together: 990 B to come at 30 B/s take 33.0 s."),
            "{together}"
        );
        let alone = text(vec![holder("a", 20, 500, 0), holder("slow", 10, 990, 490)]);
        assert!(alone.contains(
            "Bound by slow: only it has 490 B of what is missing; at its 10 B/s that takes 49.0 s."
        ));
        assert!(alone.contains("pieces 3-9."), "{alone}");
    }

    #[test]
    fn our_own_cap_bounds_it() {
        let mut e = explanation(vec![holder("a", 20, 990, 0), holder("b", 10, 990, 0)]);
        e.down_rate_max = 33;
        let text = reasons(&e, 30).join("\n");
        let bound =
            "Bound by our own cap of 33 B/s: 990 B to come at 30 B/s take 33.0 s; `limit down off` lifts it.";
        assert!(text.starts_with(bound) && text.matches("lifts it").count() == 1, "{text}");
        e.down_rate_max = 300;
        let text = reasons(&e, 30).join("\n");
        assert!(text.starts_with("Bound by all 2 links") && text.contains("Our own cap: 300 B/s"), "{text}");
        // Others use it up.
        e.down_rate_reached = true;
        assert!(reasons(&e, 30)[0].starts_with("Bound by our own cap"));
    }

    #[test]
    fn what_is_not_known_yet_bounds_nothing() {
        let mut e = explanation(Vec::new());
        e.unreachable_bytes = 990;
        let text = reasons(&e, 0).join("\n");
        assert!(
            text.starts_with("Who has it is still being found out.") && !text.contains("nobody"),
            "{text}"
        );
        e.holders = vec![holder("a", 30, 490, 490)];
        e.undecided = 2;
        let text = reasons(&e, 30).join("\n");
        assert!(text.starts_with("What 2 more linked peers have is still being found out."), "{text}");
        assert!(!text.contains("Bound by") && !text.contains("nobody"), "{text}");
    }

    #[test]
    fn what_nobody_has_is_said() {
        let mut e = explanation(Vec::new());
        e.unreachable_bytes = 990;
        e.status.waiting = Some(WaitReason::NoHolder);
        let text = reasons(&e, 0).join("\n");
        assert!(
            text.contains("No holder is linked") && text.contains("nobody in reach has 990 B of it"),
            "{text}"
        );
    }
}
