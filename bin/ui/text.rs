//! Numbers and names as people read them.

use std::fmt::Display;
use std::os::fd::AsFd;
use std::time::Duration;

use indicatif::{BinaryBytes, HumanDuration};
use potluck_core::content::escape;
use potluck_core::ids::{ContentId, PeerId, PieceIndex};
use potluck_core::wire::tracker::RefusedRequest;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Columns of a percentage, a rate, and the blanks before them.
const FIGURES: usize = "   100%  999.99 KiB/s".len();
/// Columns of an excerpt.
const EXCERPT: usize = 60;
/// Where nobody says how wide the terminal is.
const USUAL_COLUMNS: usize = 80;
/// So much of a name is shown on the narrowest terminal.
const NAME_MIN: usize = 8;

/// A size: `1.40 GiB`.
pub(crate) fn bytes(count: u64) -> String {
    BinaryBytes(count).to_string()
}

/// A rate: `812.31 MiB/s`.
pub(crate) fn rate(bytes_per_second: u64) -> String {
    format!("{}/s", BinaryBytes(bytes_per_second))
}

/// A part of a whole, rounded: `61%`.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    format!("{:.0}%", part as f64 * 100.0 / whole.max(1) as f64)
}

/// Parts of their sum, each in whole percent, together 100: those that lose most by rounding down are rounded up.
pub(crate) fn percents(parts: &[u64]) -> Vec<String> {
    let whole = parts.iter().map(|part| u128::from(*part)).sum::<u128>().max(1);
    let exact = |part: u64| u128::from(part) * 100;
    let mut percents: Vec<u128> = parts.iter().map(|part| exact(*part) / whole).collect();
    let lost: u128 = parts.iter().map(|part| exact(*part) % whole).sum::<u128>() / whole;
    let mut by_loss: Vec<usize> = (0..parts.len()).collect();
    by_loss.sort_by_key(|i| std::cmp::Reverse(exact(parts[*i]) % whole));
    for i in by_loss.into_iter().take(lost as usize) {
        percents[i] += 1;
    }
    percents.into_iter().map(|percent| format!("{percent}%")).collect()
}

/// A time: exact where it is short, rough where it is long.
pub(crate) fn seconds(time: Duration) -> String {
    if time < Duration::from_secs(60) {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        HumanDuration(time).to_string()
    }
}

/// A name that came from elsewhere, with everything visible that does not print.
pub(crate) fn name(text: &str) -> String {
    escape(text)
}

/// Columns of a terminal that a text takes.
pub(crate) fn columns(text: &str) -> usize {
    text.width()
}

/// As much of a text as so many columns hold.
pub(crate) fn cut(text: &str, columns: usize) -> &str {
    let mut left = columns;
    let fits = |(_, c): &(usize, char)| match left.checked_sub(c.width().unwrap_or(0)) {
        Some(room) => {
            left = room;
            false
        }
        None => true,
    };
    text.char_indices().find(fits).map_or(text, |(end, _)| &text[..end])
}

/// The beginning of what somebody typed, as it is shown where it was not understood.
pub(crate) fn excerpt(typed: &str) -> String {
    name(cut(typed, EXCERPT))
}

/// Columns of the terminal that this is; of none, or one that does not say, the usual ones.
pub(crate) fn terminal_columns(terminal: impl AsFd) -> usize {
    let size = rustix::termios::tcgetwinsize(terminal);
    let columns = size.ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
    columns.unwrap_or(USUAL_COLUMNS)
}

/// A text with blanks behind it, up to so many columns.
pub(crate) fn pad(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(text.width())))
}

/// Columns of a name and cells of a bar, in a line of so many columns with a percentage and a rate behind them: names and bars
/// give way to figures.
pub(crate) fn name_and_bar(columns: usize, name_max: usize, bar_max: usize) -> (usize, usize) {
    let room = columns.saturating_sub(FIGURES);
    let name = name_max.min(room.saturating_sub(bar_max).max(room / 2)).max(NAME_MIN);
    (name, bar_max.min(room.saturating_sub(name)).max(1))
}

/// Words of several lines that may quote what came from elsewhere, an error of a library say, with everything visible that
/// does not print. What is made of [`name`]s already stays as it is.
pub(crate) fn lines(text: impl Display) -> String {
    text.to_string().split('\n').map(escape).collect::<Vec<_>>().join("\n")
}

/// How a peer is called; the beginning of its id where it has no name.
pub(crate) fn peer_name(name: &str, peer: PeerId) -> String {
    if name.is_empty() { format!("{peer:?}") } else { name.to_owned() }
}

/// Why a tracker refused something. What it says itself is foreign text.
pub(crate) fn refusal(why: &RefusedRequest) -> String {
    match why {
        RefusedRequest::NameTaken { offer } => format!("the name is taken, {} is free", name(offer)),
        RefusedRequest::BadName => "not a name that it accepts".to_owned(),
        RefusedRequest::NotJoined => "we have not joined".to_owned(),
        RefusedRequest::NotYours => "somebody else is registered under our peer id".to_owned(),
        RefusedRequest::Limit(bound) => format!("its bound on {} is reached", name(bound)),
        RefusedRequest::BadQuery(text) => name(text),
    }
}

/// The part of an id that tells contents apart for people; `get` takes it as well.
pub(crate) fn short_id(id: ContentId) -> String {
    let mut text = id.to_string();
    text.truncate(12);
    text
}

/// Missing pieces: `3, 7-9 and 4 more ranges`.
pub(crate) fn pieces(ranges: &[(PieceIndex, PieceIndex)]) -> String {
    const SHOWN: usize = 8;
    let one = |&(first, last): &(PieceIndex, PieceIndex)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    let shown = ranges.iter().take(SHOWN).map(one).collect::<Vec<_>>().join(", ");
    match ranges.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more ranges"),
    }
}

/// The same with the word for it, which tells a number of a piece from a count of pieces.
pub(crate) fn missing(ranges: &[(PieceIndex, PieceIndex)]) -> String {
    let one = matches!(ranges, [(first, last)] if first == last);
    format!("missing piece{} {}", if one { "" } else { "s" }, pieces(ranges))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_named_briefly() {
        let range = |a, b| (PieceIndex(a), PieceIndex(b));
        assert_eq!(pieces(&[range(3, 3), range(7, 9)]), "3, 7-9");
        assert_eq!(missing(&[range(3, 3), range(7, 9)]), "missing pieces 3, 7-9");
        assert_eq!(
            (missing(&[range(0, 0)]), missing(&[range(0, 1)])),
            ("missing piece 0".into(), "missing pieces 0-1".into())
        );
        let many: Vec<_> = (0..20).map(|i| range(i * 2, i * 2)).collect();
        assert!(pieces(&many).ends_with("14 and 12 more ranges"));
    }

    #[test]
    fn lines_stay_lines_and_names_what_they_are() {
        let text = format!("no `{}`: \u{1b}[2J\nnext\u{202e}", name("a\u{1b}\nb"));
        assert_eq!(lines(text), "no `a\\u{1b}\\nb`: \\u{1b}[2J\nnext\\u{202e}");
    }

    #[test]
    fn texts_are_measured_in_columns() {
        assert_eq!((columns("é.txt"), columns("日本")), (5, 4));
        assert_eq!(
            (cut("日本.txt", 3), cut("日本.txt", 5), cut("f", 0), cut("f", 9)),
            ("日", "日本.", "", "f")
        );
        assert_eq!((pad("日本", 5), pad("long", 2)), ("日本 ".to_owned(), "long".to_owned()));
    }

    #[test]
    fn figures_have_room_on_a_narrow_terminal() {
        assert_eq!(name_and_bar(80, 32, 24), (32, 24));
        assert_eq!(name_and_bar(60, 32, 24), (19, 20));
        assert_eq!(name_and_bar(40, 32, 24), (9, 10));
        assert_eq!(name_and_bar(5, 32, 24), (8, 1));
    }

    #[test]
    fn parts_add_up_to_the_whole() {
        for (parts, shown) in [
            (&[][..], ""),
            (&[0, 0], "0% 0%"),
            (&[7], "100%"),
            (&[1, 1, 1], "34% 33% 33%"),
            (&[2, 2, 1, 1], "33% 33% 17% 17%"),
            (&[999, 1], "100% 0%"),
            (&[u64::MAX, u64::MAX, u64::MAX, u64::MAX], "25% 25% 25% 25%"),
        ] {
            assert_eq!(percents(parts).join(" "), shown, "{parts:?}");
        }
    }

    #[test]
    fn times_and_ids() {
        assert_eq!(seconds(Duration::from_millis(1234)), "1.2 s");
        assert_eq!(seconds(Duration::from_secs(120)), "2 minutes");
        assert_eq!((percent(2, 3), percent(0, 0), percent(7, 7)), ("67%".into(), "0%".into(), "100%".into()));
        assert_eq!(short_id(ContentId([0xab; 32])), "abababababab");
    }
}
