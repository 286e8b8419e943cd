//! The line editor of a person's shell: history, completion, and output that never tears the line being typed.
//!
//! `reedline` reads keys on a thread of its own. Whatever is printed while a line is being typed waits in [`Face`] until that
//! thread looks there (some thirty times a second) and prints it above the prompt. Above the line that is typed, the prompt has
//! an area with a line per running download; it is repainted in place, and taken away when the line is entered.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reedline::{
    ColumnarMenu, EditCommand, Emacs, ExternalPrinter, FileBackedHistory, Highlighter, KeyCode, KeyModifiers,
    MenuBuilder as _, Prompt, PromptEditMode, PromptHistorySearch, Reedline, ReedlineEvent, ReedlineMenu,
    Signal, StyledText, default_emacs_keybindings,
};
use rustix::termios::{InputModes, LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::complete::Names;
use super::desk::Desk;
use super::input::Lines;

/// How often the thread looks for output while nobody types.
const LOOK_EVERY: Duration = Duration::from_millis(30);
/// Pieces of output that are printed in one go.
const PRINTED_AT_ONCE: usize = 256;
/// Lines remembered.
const HISTORY: usize = 1000;
/// Lines typed, or pasted, ahead of the command that runs. What comes beyond them is not taken: a thread that waited for room
/// would read no Ctrl-C.
const LINES_WAITING: usize = 1024;
const MENU: &str = "completion_menu";

/// Ctrl-C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interrupt {
    /// On an empty line, in no search of the history.
    NothingTyped,
    /// With something typed, which is thrown away.
    Typed,
}

/// A handle on the editor. Cheap to clone.
#[derive(Clone)]
pub(super) struct Editor(Arc<Handle>);

struct Handle {
    face: Arc<Face>,
    closed: Mutex<Option<oneshot::Receiver<()>>>,
}

/// Until it is dropped, what is typed answers a question.
pub(super) struct Asking<'a>(&'a Face);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.state().question = None;
    }
}

/// What the thread shows, and what others want it to.
struct Face {
    state: Mutex<Shown>,
    /// Ends the reading of the present line.
    stop: Arc<AtomicBool>,
    /// Who types: the prompt.
    desk: Arc<Desk>,
}

#[derive(Default)]
struct Shown {
    /// A line is being typed: output waits.
    editing: bool,
    closing: bool,
    output: VecDeque<String>,
    /// The area above the line: as it is, and as it is to be.
    area: Vec<String>,
    wanted_area: Vec<String>,
    prompt: String,
    /// Asked instead of for a command.
    question: Option<String>,
    /// To be in the line when it is asked for.
    preset: Option<String>,
    /// A line is looked for in the history.
    searching: bool,
}

impl Editor {
    /// Starts the editor; output goes through it from here on.
    pub(super) fn start(
        desk: &Arc<Desk>,
        interrupts: mpsc::Sender<Interrupt>,
    ) -> anyhow::Result<(Lines, Option<Self>)> {
        let (sender, lines) = mpsc::channel(LINES_WAITING);
        let stop = Arc::new(AtomicBool::new(false));
        let face = Arc::new(Face { state: Mutex::default(), stop, desk: Arc::clone(desk) });
        let screen = Arc::clone(&face);
        desk.out().print_through(move |text| screen.print(text));
        let (done, closed) = oneshot::channel();
        let (reading, names) = (Arc::clone(&face), Names::new(Arc::clone(desk)));
        std::thread::Builder::new().name("editor".to_owned()).spawn(move || {
            read_lines(&reading, names, &sender, &interrupts);
            reading.state().editing = false;
            // What follows begins a line of its own: in place of a prompt that nobody will answer, or below one that was left.
            let (closing, above) = {
                let state = reading.state();
                (state.closing, state.area.len())
            };
            match (closing, above) {
                (true, 0) => write_now("\r\x1b[J"),
                (true, above) => write_now(&format!("\x1b[{above}A\r\x1b[J")),
                (false, _) => write_now("\n"),
            }
            reading.flush();
            drop(done);
        })?;
        let editor = Self(Arc::new(Handle { face, closed: Mutex::new(Some(closed)) }));
        Ok((Lines::of_editor(editor.clone(), lines), Some(editor)))
    }

    /// What is typed from here on answers this question.
    pub(super) fn asking(&self, question: &str) -> Asking<'_> {
        self.0.face.state().question = Some(question.to_owned());
        Asking(&self.0.face)
    }

    /// The same, with an answer that needs only to be confirmed.
    pub(super) fn asking_preset(&self, question: &str, preset: &str) -> Asking<'_> {
        let asking = self.asking(question);
        self.0.face.state().preset = Some(preset.to_owned());
        self.0.face.stop.store(true, Ordering::Relaxed);
        asking
    }

    /// Shows these lines above the one that is typed.
    pub(super) fn show(&self, lines: Vec<String>) {
        self.0.face.state().wanted_area = lines;
    }

    /// Ends the reading, and puts the terminal in order.
    pub(super) async fn close(self) {
        let closed = self.0.closed.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.0.face.state().closing = true;
        self.0.face.stop.store(true, Ordering::Relaxed);
        if let Some(closed) = closed {
            // The thread has nothing to say: it drops its end.
            let _ = closed.await;
        }
    }
}

impl Face {
    fn state(&self) -> MutexGuard<'_, Shown> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn print(&self, text: &str) {
        let mut state = self.state();
        if state.editing {
            state.output.push_back(text.to_owned());
        } else {
            write_now(text);
        }
    }

    /// Prints what waits. Nothing is being typed.
    fn flush(&self) {
        let output = std::mem::take(&mut self.state().output);
        for text in output {
            write_now(&text);
        }
    }

    /// Called by the editor again and again while a line is being typed: hands output to its printer, to be printed above the
    /// prompt. The prompt's area is taken away first; it is painted again below the output. True if only the prompt is to be
    /// painted again.
    fn look(&self, printer: &std::sync::mpsc::SyncSender<String>) -> bool {
        let name = self.desk.state().name.clone();
        let mut state = self.state();
        let prompt = state.question.clone().unwrap_or_else(|| format!("{}> ", crate::ui::name(&name)));
        let repaint = state.prompt != prompt || state.area != state.wanted_area;
        let above = state.area.len();
        state.prompt = prompt;
        state.area = state.wanted_area.clone();
        if state.output.is_empty() {
            return repaint;
        }
        let mut text = if above == 0 { String::new() } else { format!("\x1b[{above}A\r\x1b[J") };
        for _ in 0..PRINTED_AT_ONCE {
            let Some(next) = state.output.pop_front() else { break };
            text.push_str(&next);
        }
        // The channel has room: only this thread fills it, and it is emptied right after.
        let _ = printer.try_send(text);
        false
    }
}

/// Writes to the terminal while no line is being typed.
fn write_now(text: &str) {
    let mut stdout = std::io::stdout().lock();
    // A terminal that is gone misses nothing.
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// The thread: reads lines until the shell ends.
fn read_lines(
    face: &Arc<Face>,
    names: Names,
    lines: &mpsc::Sender<String>,
    interrupts: &mpsc::Sender<Interrupt>,
) {
    let _held = HeldTerminal::take();
    let mut editor = make(face, names);
    let prompt = Face::prompt(face, true);
    loop {
        if let Some(preset) = face.state().preset.take() {
            editor.run_edit_commands(&[EditCommand::Clear, EditCommand::InsertString(preset)]);
        }
        {
            let mut state = face.state();
            if state.closing {
                return;
            }
            state.editing = true;
        }
        let sent = match editor.read_line(&prompt) {
            Ok(Signal::Success(line)) => {
                // A history that cannot be kept is no reason to stop.
                let _ = editor.sync_history();
                {
                    let mut state = face.state();
                    state.editing = false;
                    state.area.clear();
                }
                face.flush();
                match lines.try_send(line) {
                    Err(TrySendError::Full(line)) => {
                        let shown = crate::ui::name(&line);
                        face.desk.out().note(format_args!("Too many lines wait: `{shown}` is not taken."));
                        true
                    }
                    sent => sent.is_ok(),
                }
            }
            // The prompt stands where it stood, and output goes on waiting.
            Ok(Signal::HostCommand(_) | Signal::CtrlC) => {
                let searching = std::mem::take(&mut face.state().searching);
                if searching {
                    // A line that is broken off is no search any more.
                    face.stop.store(true, Ordering::Relaxed);
                }
                let typed = searching || !editor.current_buffer_contents().is_empty();
                let interrupt = if typed { Interrupt::Typed } else { Interrupt::NothingTyped };
                editor.run_edit_commands(&[EditCommand::Clear]);
                interrupts.blocking_send(interrupt).is_ok()
            }
            Ok(Signal::ExternalBreak(_)) => true,
            // The end of input, or a terminal that is gone: no more lines.
            _ => false,
        };
        if !sent {
            return;
        }
    }
}

fn make(face: &Arc<Face>, names: Names) -> Reedline {
    let mut keys = default_emacs_keybindings();
    let complete =
        ReedlineEvent::UntilFound(vec![ReedlineEvent::Menu(MENU.to_owned()), ReedlineEvent::MenuNext]);
    keys.add_binding(KeyModifiers::NONE, KeyCode::Tab, complete);
    // Returns with the prompt as it stands: nothing of it is left behind.
    let interrupt = ReedlineEvent::ExecuteHostCommand(String::new());
    keys.add_binding(KeyModifiers::CONTROL, KeyCode::Char('c'), interrupt);
    keys.add_binding(KeyModifiers::SHIFT, KeyCode::BackTab, ReedlineEvent::MenuPrevious);
    let printer = ExternalPrinter::new(4);
    let sender = printer.sender();
    let looking = Arc::clone(face);
    let mut editor = Reedline::create()
        .with_external_printer(printer)
        .with_poll_interval(LOOK_EVERY)
        .with_break_signal(Arc::clone(&face.stop))
        .with_completer(Box::new(names))
        .with_quick_completions(true)
        .with_partial_completions(true)
        .with_menu(ReedlineMenu::EngineCompleter(Box::new(
            ColumnarMenu::default().with_name(MENU).with_marker(""),
        )))
        .with_edit_mode(Box::new(Emacs::new(keys)))
        .with_highlighter(Box::new(Plain))
        .with_transient_prompt(Box::new(Face::prompt(face, false)))
        .with_ansi_colors(face.desk.out().colors_on_stdout());
    let repaint = editor.repaint_signal();
    editor = editor.with_idle_callback(Box::new(move || {
        if looking.look(&sender) {
            repaint.request_repaint();
        }
    }));
    match history_file().map(|path| FileBackedHistory::with_file(HISTORY, path)) {
        Some(Ok(history)) => editor.with_history(Box::new(history)),
        // Without a file the lines of this run are remembered.
        Some(Err(_)) | None => editor,
    }
}

/// Where typed lines are remembered: below `XDG_STATE_HOME`, else below `.local/state` in the home folder.
fn history_file() -> Option<PathBuf> {
    let given = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let state = given.or_else(|| Some(std::env::home_dir()?.join(".local/state")))?;
    Some(state.join("potluck").join("history"))
}

/// The prompt; while a line is typed, with the area above it.
struct LivePrompt {
    face: Arc<Face>,
    with_area: bool,
}

impl Face {
    fn prompt(face: &Arc<Self>, with_area: bool) -> LivePrompt {
        LivePrompt { face: Arc::clone(face), with_area }
    }
}

impl Prompt for LivePrompt {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        let state = self.face.state();
        let width = width();
        let mut text = String::new();
        for line in state.area.iter().filter(|_| self.with_area) {
            text.push_str(crate::ui::cut(line, width));
            text.push('\n');
        }
        text.push_str(&state.prompt);
        Cow::Owned(text)
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn render_prompt_indicator(&self, _: PromptEditMode) -> Cow<'_, str> {
        self.face.state().searching = false;
        Cow::Borrowed("")
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        self.face.state().searching = true;
        Cow::Owned(format!("(search: {}) ", search.term))
    }
}

/// Columns of a line above the one that is typed: the last of the terminal's stays free.
pub(super) fn width() -> usize {
    crate::ui::terminal_columns(std::io::stdout()).saturating_sub(1)
}

/// Until it is dropped, keys that are typed between two lines wait as they are for the next one. `reedline` leaves the terminal
/// there as it found it: as usual, keys would be shown where output comes, Enter would arrive as something else, and
/// Ctrl-C would end everything.
struct HeldTerminal(Option<Termios>);

impl HeldTerminal {
    fn take() -> Self {
        let Ok(before) = tcgetattr(std::io::stdin()) else { return Self(None) };
        let mut held = before.clone();
        held.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN;
        held.input_modes -= InputModes::ICRNL | InputModes::IXON;
        let set = tcsetattr(std::io::stdin(), OptionalActions::Now, &held);
        Self(set.is_ok().then_some(before))
    }
}

impl Drop for HeldTerminal {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // A terminal that is gone needs no order.
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// Changes no colour.
struct Plain;

impl Highlighter for Plain {
    fn highlight(&self, line: &str, _cursor: usize) -> StyledText {
        let mut text = StyledText::new();
        text.push((Default::default(), line.to_owned()));
        text
    }
}
