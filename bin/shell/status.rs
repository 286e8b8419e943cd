//! One line per running download, for the area that is kept up to date while a person types.

use std::time::Duration;

use potluck_core::peer::DownloadStatus;

use crate::commands::get::in_words;
use crate::ui;

/// Cells of the bar, where there is room.
const BAR: usize = 20;
/// Columns of a name, where there is room; what is longer is cut.
const NAME: usize = 24;
/// Holders named; the rest is counted.
const HOLDERS: usize = 3;

/// How downloads stand, each in a line: `f.bin  ━━━━━━━━        41%  12.5 MiB/s, 3.1 s left  [ann 60%, ben 40%]`. On a
/// terminal of few columns names and bars give way to the figures.
pub(super) fn lines(downloads: &[(String, DownloadStatus)], columns: usize) -> Vec<String> {
    let (longest, bar) = ui::name_and_bar(columns, NAME, BAR);
    let shown = |name: &str| ui::cut(&ui::name(name), longest).to_owned();
    let names: Vec<String> = downloads.iter().map(|(name, _)| shown(name)).collect();
    let width = names.iter().map(|name| ui::columns(name)).max().unwrap_or(0);
    names.iter().zip(downloads).map(|(name, (_, status))| line(&ui::pad(name, width), bar, status)).collect()
}

fn line(name: &str, bar: usize, status: &DownloadStatus) -> String {
    let cells = bar as u64;
    let filled = (status.bytes.saturating_mul(cells) / status.total.max(1)).min(cells);
    let bar: String = (0..cells).map(|cell| if cell < filled { '━' } else { ' ' }).collect();
    let percent = ui::percent(status.bytes, status.total);
    if let Some(reason) = status.waiting {
        return format!("{name}  {bar} {percent:>4}  waits: {}", in_words(reason));
    }
    let rate: u64 = status.holders.iter().map(|holder| holder.rate).sum();
    let left = status.total.saturating_sub(status.bytes).checked_div(rate);
    let left = left.map(|seconds| format!(", {} left", ui::seconds(Duration::from_secs(seconds))));
    format!("{name}  {bar} {percent:>4}  {}{}{}", ui::rate(rate), left.unwrap_or_default(), shares(status))
}

/// Who delivered how much, the most first.
fn shares(status: &DownloadStatus) -> String {
    let fetched: u64 = status.holders.iter().map(|holder| holder.bytes).sum();
    let mut holders: Vec<_> = status.holders.iter().filter(|holder| holder.bytes > 0).collect();
    holders.sort_by_key(|holder| std::cmp::Reverse(holder.bytes));
    let of = |holder: &&potluck_core::peer::HolderStatus| {
        let name = ui::name(&ui::peer_name(&holder.name, holder.peer));
        format!("{name} {}", ui::percent(holder.bytes, fetched))
    };
    let mut shown: Vec<_> = holders.iter().take(HOLDERS).map(of).collect();
    if holders.len() > HOLDERS {
        shown.push(format!("{} more", holders.len() - HOLDERS));
    }
    if shown.is_empty() { String::new() } else { format!("  [{}]", shown.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use potluck_core::ids::PeerId;
    use potluck_core::peer::{HolderStatus, WaitReason};

    #[test]
    fn a_line_says_all_that_matters() {
        let holder = |name: &str, bytes, rate| HolderStatus {
            peer: PeerId([1; 32]),
            name: name.to_owned(),
            linked: true,
            bytes,
            rate,
            inflight: 0,
        };
        let holders = vec![holder("ann", 10, 1024), holder("ben", 30, 1024), holder("idle", 0, 0)];
        let mut status =
            DownloadStatus { bytes: 40, total: 10_280, missing: Vec::new(), waiting: None, holders };
        let text = line("f", BAR, &status);
        assert!(text.ends_with("0%  2.00 KiB/s, 5.0 s left  [ben 75%, ann 25%]"), "{text}");
        status.waiting = Some(WaitReason::NoHolder);
        assert!(line("f", BAR, &status).ends_with("waits: no holder is in reach"));
    }

    #[test]
    fn bars_stand_below_each_other() {
        let status =
            DownloadStatus { bytes: 1, total: 1, missing: Vec::new(), waiting: None, holders: Vec::new() };
        let names = ["f", "é.txt", "日本", &"long".repeat(20), &"長い".repeat(20)];
        let lines = lines(&names.map(|name| (name.to_owned(), status.clone())), 80);
        let bars: Vec<_> =
            lines.iter().map(|line| line.find('━').map(|at| ui::columns(&line[..at]))).collect();
        assert_eq!(bars, [Some(NAME + 2); 5]);
    }
}
