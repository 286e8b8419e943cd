//! Progress on a terminal: a bar per download with rate, time left and the live share of each holder.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{Source, text};

/// Holders named beside a bar; the rest is counted.
const HOLDERS_SHOWN: usize = 4;
/// Columns of a name and cells of a bar, where there is room.
const NAME: usize = 32;
const BAR: usize = 24;
/// Of what has no known end.
const READING: &str = "{prefix} {binary_bytes} read, {binary_bytes_per_sec}";

/// The bar of one download.
#[derive(Debug)]
pub(crate) struct DownloadBar(ProgressBar);

impl DownloadBar {
    pub(crate) fn new(bars: &MultiProgress, label: &str, total: u64) -> Self {
        let bar = bars.add(ProgressBar::new(total));
        bar.set_style(style("{msg}"));
        bar.set_prefix(shorten(label));
        Self(bar)
    }

    /// Leaves so much room for its name, that it stands below others.
    pub(crate) fn align(&self, width: usize) {
        self.0.set_prefix(text::pad(&self.0.prefix(), width));
    }

    /// Columns of its name.
    pub(crate) fn width(&self) -> usize {
        text::columns(&self.0.prefix())
    }

    /// What is being done before bytes flow, or why none do.
    pub(crate) fn say(&self, text: &str) {
        self.0.set_message(text.to_owned());
        self.0.tick();
    }

    /// Shows where it stands: bytes verified of the total, bytes per second, and who delivered how much.
    pub(crate) fn show(&self, bytes: u64, total: u64, rate: u64, sources: &[Source]) {
        self.0.set_length(total);
        self.0.set_position(bytes);
        let left = total.saturating_sub(bytes);
        let eta = left.checked_div(rate).map(|s| format!(", {} left", text::seconds(Duration::from_secs(s))));
        self.0.set_message(format!("{}{} {}", text::rate(rate), eta.unwrap_or_default(), shares(sources)));
    }
}

impl Drop for DownloadBar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// How much of what is pushed a peer has.
#[derive(Debug)]
pub(crate) struct PeerBar(ProgressBar);

impl PeerBar {
    pub(crate) fn new(bars: &MultiProgress, name: &str, total: u64) -> Self {
        let bar = bars.add(ProgressBar::new(total));
        bar.set_style(style("{msg}"));
        bar.set_prefix(shorten(name));
        Self(bar)
    }

    pub(crate) fn show(&self, bytes: u64, state: &'static str) {
        self.0.set_position(bytes);
        self.0.set_message(state);
        self.0.tick();
    }
}

impl Drop for PeerBar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// The bar of a path that is being hashed.
#[derive(Debug)]
pub(crate) struct HashingBar(ProgressBar);

impl HashingBar {
    pub(crate) fn new(bars: &MultiProgress, label: &str) -> Self {
        let bar = bars.add(ProgressBar::new(0));
        bar.set_style(style("hashing, {binary_bytes_per_sec}"));
        bar.set_prefix(shorten(label));
        Self(bar)
    }

    pub(crate) fn show(&self, bytes: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(bytes);
    }
}

impl Drop for HashingBar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// How much was read of what has no known end.
#[derive(Debug)]
pub(crate) struct ReadingBar(ProgressBar);

impl ReadingBar {
    pub(crate) fn new(bars: &MultiProgress, label: &str) -> Self {
        let bar = bars.add(ProgressBar::no_length());
        bar.set_style(template(READING));
        bar.set_prefix(shorten(label));
        Self(bar)
    }

    /// Counts what is read from `input`.
    pub(crate) fn count<R>(&self, input: R) -> impl std::io::Read + use<R>
    where
        R: std::io::Read,
    {
        self.0.wrap_read(input)
    }
}

impl Drop for ReadingBar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A name, a bar, a percentage, and what stands behind it.
fn style(behind: &str) -> ProgressStyle {
    let (_, bar) = room();
    template(&format!("{{prefix}} {{bar:{bar}}} {{percent:>3}}% {behind}")).progress_chars("━━ ")
}

fn template(template: &str) -> ProgressStyle {
    // All of them are written in this file, whose test renders them.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Columns of a name and cells of a bar.
fn room() -> (usize, usize) {
    text::name_and_bar(text::terminal_columns(std::io::stderr()), NAME, BAR)
}

/// Each holder's part of what was fetched, in percent, largest first: `[anna 61%, ben 39%]`.
fn shares(sources: &[Source]) -> String {
    let percents = text::percents(&sources.iter().map(|source| source.bytes).collect::<Vec<_>>());
    let shown = sources.iter().zip(percents).take(HOLDERS_SHOWN);
    let mut shown: Vec<_> =
        shown.map(|(source, percent)| format!("{} {percent}", text::name(&source.peer))).collect();
    if sources.len() > HOLDERS_SHOWN {
        shown.push(format!("{} more", sources.len() - HOLDERS_SHOWN));
    }
    if shown.is_empty() { String::new() } else { format!("[{}]", shown.join(", ")) }
}

/// A name that leaves room for the bar.
fn shorten(label: &str) -> String {
    shortened(label, room().0)
}

fn shortened(label: &str, columns: usize) -> String {
    let label = text::name(label);
    if text::columns(&label) <= columns {
        return label;
    }
    format!("{}…", text::cut(&label, columns - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_sound() {
        for template in ["{prefix} {bar:24} {percent:>3}% {msg}", "{bar:1} {binary_bytes_per_sec}", READING] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }

    #[test]
    fn what_is_read_is_counted() {
        let bar = ReadingBar::new(&MultiProgress::new(), "standard input");
        std::io::copy(&mut bar.count(&b"hello"[..]), &mut std::io::sink()).unwrap();
        assert_eq!((bar.0.position(), bar.0.length()), (5, None));
    }

    #[test]
    fn shares_are_percent_of_what_was_fetched() {
        let source = |peer: &str, bytes| Source { peer: peer.to_owned(), bytes };
        let text = shares(&[source("anna", 75), source("be\u{1b}n", 25)]);
        assert_eq!(text, "[anna 75%, be\\u{1b}n 25%]");
        let many: Vec<_> = (0..7).map(|_| source("x", 0)).collect();
        assert!(shares(&many).ends_with("x 0%, 3 more]"));
    }

    #[test]
    fn bars_are_aligned_by_the_longest_name() {
        let bars = ["f", "é.txt"].map(|name| DownloadBar::new(&MultiProgress::new(), name, 1));
        bars[0].align(bars[1].width());
        assert_eq!(bars[0].0.prefix(), "f    ");
    }

    #[test]
    fn long_names_leave_room() {
        assert_eq!(shortened(&"x".repeat(300), 32).chars().count(), 32);
    }
}
