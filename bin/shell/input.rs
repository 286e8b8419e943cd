//! Where lines come from: a line editor on a terminal, a pipe or a file, or nobody.

use std::io::{self, BufRead, Read as _};

use rustix::fs::FileType;
use tokio::sync::mpsc;

use super::editor::Editor;
use crate::ui::Out;

/// Lines read ahead.
const LINES_WAITING: usize = 16;
/// Bytes of one line. Of a longer one so many and one more are kept: enough to be told from others.
pub(super) const LINE_BYTES_MAX: usize = 64 * 1024;

/// Who types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Typist {
    /// A person before a terminal.
    Person,
    /// A pipe, a file, a socket, or a terminal where no line can be edited.
    Script,
    /// Nobody: standard input is closed, or the null device; or potluck runs in the background of its terminal.
    Nobody,
}

impl Typist {
    /// Looks at the standard streams; the editor paints on standard error. `--json` and a terminal too simple for an editor
    /// make a script of a person.
    pub(super) fn look(json: bool) -> Self {
        let stdin = std::io::stdin();
        if rustix::termios::isatty(&stdin) {
            // Whoever reads from a terminal in the background is stopped by it.
            let front = rustix::termios::tcgetpgrp(&stdin);
            if front.is_ok_and(|front| front != rustix::process::getpgrp()) {
                return Self::Nobody;
            }
            let simple = std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
            let seen =
                rustix::termios::isatty(std::io::stdout()) && rustix::termios::isatty(std::io::stderr());
            let editable = !json && !simple && seen;
            return if editable { Self::Person } else { Self::Script };
        }
        match rustix::fs::fstat(&stdin).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            Ok(FileType::Fifo | FileType::Socket | FileType::RegularFile) => Self::Script,
            _ => Self::Nobody,
        }
    }
}

/// The lines that are typed, and the editor that they are typed in, if there is one.
pub(super) struct Lines {
    lines: mpsc::Receiver<String>,
    editor: Option<Editor>,
}

impl Lines {
    /// Nobody types.
    pub(super) fn none() -> Self {
        let (_, lines) = mpsc::channel(1);
        Self { lines, editor: None }
    }

    /// Reads standard input, on a thread of its own: it may block for ever.
    pub(super) fn of_stdin() -> Self {
        let (sender, lines) = mpsc::channel(LINES_WAITING);
        std::thread::spawn(move || {
            let mut stdin = std::io::stdin().lock();
            while let Ok(Some(line)) = read_line(&mut stdin) {
                if sender.blocking_send(line).is_err() {
                    break;
                }
            }
        });
        Self { lines, editor: None }
    }

    /// What an editor says.
    pub(super) fn of_editor(editor: Editor, lines: mpsc::Receiver<String>) -> Self {
        Self { lines, editor: Some(editor) }
    }

    #[cfg(test)]
    pub(super) fn of(lines: &[&str]) -> Self {
        let (sender, receiver) = mpsc::channel(lines.len().max(1));
        for line in lines {
            sender.try_send((*line).to_owned()).unwrap();
        }
        Self { lines: receiver, editor: None }
    }

    /// The next line; `None` at the end of input. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<String> {
        self.lines.recv().await
    }

    /// Asks for a line that is no command. Cancel-safe.
    pub(super) async fn ask(&mut self, prompt: &str, out: &Out) -> Option<String> {
        match &self.editor {
            Some(editor) => {
                let _asking = editor.asking(prompt);
                self.lines.recv().await
            }
            None => {
                out.note(prompt.trim_end());
                self.lines.recv().await
            }
        }
    }
}

/// The next line without its end; `None` at the end of input. What a line has beyond its bound is skipped.
fn read_line(input: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    if input.by_ref().take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut bytes)? == 0 {
        return Ok(None);
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    } else if bytes.len() > LINE_BYTES_MAX {
        input.skip_until(b'\n')?;
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_never_taken_for_two() {
        let (whole, long) = ("x".repeat(LINE_BYTES_MAX), "y".repeat(3 * LINE_BYTES_MAX));
        let mut input = io::Cursor::new(format!("list\n\n{whole}\n{long}\nquit"));
        let mut lines = Vec::new();
        while let Some(line) = read_line(&mut input).unwrap() {
            lines.push(line);
        }
        assert_eq!(lines, ["list", "", &whole, &"y".repeat(LINE_BYTES_MAX + 1), "quit"]);
    }
}
