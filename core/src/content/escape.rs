//! Foreign text made safe to print: names and messages of others reach a terminal only through this.

use std::borrow::Cow;
use std::fmt;

/// Shows `text` with everything that could move a cursor, change colours, reorder or hide letters written out as
/// `\u{…}` (`\n`, `\r`, `\t` for those). Everything else, of any script, stays as it is.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        self.0.chars().try_for_each(|c| {
            if is_unprintable(c) { write!(f, "{}", c.escape_default()) } else { f.write_char(c) }
        })
    }
}

/// [`Escaped`] as a string.
#[must_use]
pub fn escape(text: &str) -> String {
    Escaped(text).to_string()
}

/// JSON made safe to print: what [`Escaped`] writes out stands in its strings as `\u202e`, which means the same to a program.
#[must_use]
pub fn escape_json(json: &str) -> Cow<'_, str> {
    if !json.chars().any(is_unprintable) {
        return Cow::Borrowed(json);
    }
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        if is_unprintable(c) {
            shown.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// Does the character reorder text that stands beside it? Embeddings, overrides and isolates do.
pub(super) const fn is_bidi_override(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Controls (C0, DEL, C1), bidi controls and marks, line breaks beyond ASCII, and characters that show nothing. The two
/// joiners (U+200C, U+200D) stay: whole scripts and emoji need them.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || is_bidi_override(c)
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}')
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{2060}'..='\u{2064}' | '\u{206a}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::{escape, escape_json};

    #[test]
    fn what_moves_or_hides_is_written_out() {
        for (text, shown) in [
            ("plain text.txt", "plain text.txt"),
            ("資料 — 2026.pdf", "資料 — 2026.pdf"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("gpj.\u{202e}exe", "gpj.\\u{202e}exe"),
            ("zero\u{200b}width", "zero\\u{200b}width"),
            ("👩\u{200d}🚀", "👩\u{200d}🚀"),
            ("line\u{2028}break", "line\\u{2028}break"),
            ("\0\u{7f}", "\\u{0}\\u{7f}"),
        ] {
            assert_eq!(escape(text), shown);
        }
    }

    #[test]
    fn json_says_the_same_with_nothing_raw() {
        let names = [
            "plain",
            "資料 👩\u{200d}🚀",
            "a\u{1b}[31m\u{7f}",
            "\u{9b}31m",
            "gpj.\u{202e}exe",
            "tag\u{e0041}",
        ];
        let json = serde_json::to_string(&names).unwrap();
        let shown = escape_json(&json);
        assert_eq!(serde_json::from_str::<Vec<String>>(&shown).unwrap(), names);
        assert_eq!(escape(&shown), shown);
        assert!(shown.contains("資料 👩\u{200d}🚀") && shown.contains(r"gpj.\u202eexe"), "{shown}");
    }
}
