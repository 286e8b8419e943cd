//! Completion of what is being typed: commands, flags, names and ids of contents, downloads, files, peers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use potluck_core::wire::tracker::Matching;
use reedline::{Completer, CompletionResult, Span, Suggestion};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::desk::Desk;
use super::files::local_names;
use super::parse::{Completes, commands, completes, flags};

/// The tracker has this long to answer a person who presses Tab.
const ANSWER_TIME: Duration = Duration::from_millis(500);
/// Contents asked for.
const ROWS_MAX: u32 = 1000;
/// Hex digits of an id that are suggested.
const ID_DIGITS: usize = 12;

/// Knows what a word may become. Lives on the editor's thread, which may wait.
pub(super) struct Names {
    desk: Arc<Desk>,
    runtime: Handle,
}

impl Names {
    /// To be called within the runtime.
    pub(super) fn new(desk: Arc<Desk>) -> Self {
        Self { desk, runtime: Handle::current() }
    }

    fn candidates(&self, before: &[String], word: &str) -> Vec<String> {
        if let Some(command) = before.first().filter(|_| word.starts_with('-')) {
            return flags(command);
        }
        match completes(before) {
            Completes::Commands => commands(),
            Completes::Words(words) => words.iter().map(|word| (*word).to_owned()).collect(),
            Completes::Downloads => self.desk.state().downloads.iter().map(|d| d.name.clone()).collect(),
            Completes::Files => {
                let mut names = local_names(&self.desk);
                names.extend(paths(word));
                names
            }
            Completes::Peers => self.desk.state().peers.values().cloned().collect(),
            Completes::Contents => self.contents(word),
            Completes::Nothing => Vec::new(),
        }
    }

    /// Names and ids that the tracker lists; the last known ones while it does not answer.
    fn contents(&self, word: &str) -> Vec<String> {
        if let Ok(tracker) = self.desk.tracker() {
            let asking =
                async { timeout(ANSWER_TIME, tracker.contents(Matching::All, false, ROWS_MAX)).await };
            let asked = self.runtime.block_on(asking);
            if let Ok(Ok(rows)) = asked {
                self.desk.state().listed = rows.into_iter().map(|row| (row.key.id, row.name)).collect();
            }
        }
        let state = self.desk.state();
        let id = |id: &potluck_core::ids::ContentId| id.to_string().chars().take(ID_DIGITS).collect();
        // Ids mean little to people: they are suggested to who has begun to type one.
        let is_id = word.len() >= 2 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let ids: Vec<String> = state.listed.keys().filter(|_| is_id).map(id).collect();
        state.listed.values().cloned().chain(ids).collect()
    }
}

/// Files that the beginning of a path may mean.
fn paths(word: &str) -> Vec<String> {
    let (folder, _) = word
        .rsplit_once('/')
        .map_or((".", word), |(folder, name)| (if folder.is_empty() { "/" } else { folder }, name));
    if !word.contains('/') {
        return Vec::new();
    }
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().take(ROWS_MAX as usize);
    entries
        .filter_map(|entry| Path::new(folder).join(entry.file_name()).to_str().map(str::to_owned))
        .collect()
}

impl Completer for Names {
    fn complete(&mut self, line: &str, pos: usize) -> CompletionResult {
        let (before, word, start) = last_word(line.get(..pos).unwrap_or(line));
        let mut names = self.candidates(&before, &word);
        names.retain(|name| name.starts_with(&word));
        names.sort();
        names.dedup();
        if names == [word] {
            // What stands there already is no suggestion: Enter would take it, in place of entering the line.
            names.clear();
        }
        let suggestions: Vec<Suggestion> = names
            .iter()
            .filter_map(|name| {
                let value = shlex::try_quote(name).ok()?.into_owned();
                let span = Span::new(start, pos);
                Some(Suggestion { value, span, append_whitespace: true, ..Suggestion::default() })
            })
            .collect();
        CompletionResult::fresh(suggestions)
    }
}

/// The words before the last one, the last one as far as it is typed, and where that begins.
fn last_word(line: &str) -> (Vec<String>, String, usize) {
    let mut quote = None;
    let mut start = 0;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None, ' ' | '\t') => start = at + 1,
            _ => {}
        }
    }
    let before = shlex::split(&line[..start]).unwrap_or_default();
    let word = line[start..].trim_start_matches(['\'', '"']).to_owned();
    (before, word, start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_is_what_is_being_typed() {
        let words = |line: &str| {
            let (before, word, start) = last_word(line);
            (before.join("|"), word, start)
        };
        assert_eq!(words(""), (String::new(), String::new(), 0));
        assert_eq!(words("ge"), (String::new(), "ge".to_owned(), 0));
        assert_eq!(words("get "), ("get".to_owned(), String::new(), 4));
        assert_eq!(words("get 'a b"), ("get".to_owned(), "a b".to_owned(), 4));
        assert_eq!(words("get 'a b' c"), ("get|a b".to_owned(), "c".to_owned(), 10));
    }
}
