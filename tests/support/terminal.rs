//! A terminal in memory: keys go in, the screen is what a person would see.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::num::NonZero;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// What programs ask a terminal to learn where the cursor is.
const WHERE_IS_THE_CURSOR: &[u8] = b"\x1b[6n";

/// A program that runs in a terminal.
pub struct Terminal {
    child: Child,
    keys: File,
    screen: Arc<Mutex<vt100::Parser>>,
}

impl Terminal {
    /// Runs a command in a terminal of this size.
    pub fn start(mut command: Command, rows: u16, columns: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap();
        let end = || {
            let slave = File::options().read(true).write(true).open(path.to_str().unwrap());
            Stdio::from(slave.unwrap())
        };
        let child =
            command.env("TERM", "xterm-256color").stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let keys = File::from(master);
        let [rows, columns] = [rows, columns].map(|size| NonZero::new(size).unwrap());
        let screen = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0)));
        let (shown, from, to) = (Arc::clone(&screen), keys.try_clone().unwrap(), keys.try_clone().unwrap());
        std::thread::spawn(move || show(from, to, &shown));
        Self { child, keys, screen }
    }

    /// Types keys as they are: `\r` is Enter, `\t` is Tab, `\x03` is Ctrl-C.
    pub fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// What is on the screen, line by line, without blanks at the ends.
    pub fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    /// The screen as it is now.
    pub fn screen(&self) -> vt100::Screen {
        self.screen.lock().unwrap().screen().clone()
    }

    /// Waits until the screen shows what is wanted.
    pub fn until(&self, what: &str, shows: impl Fn(&str) -> bool) {
        let until = Instant::now() + Duration::from_secs(60);
        while !shows(&self.text()) {
            assert!(Instant::now() < until, "waited in vain until {what}; the screen:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for the end; its exit code.
    pub fn code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Shows what a program writes, and answers where the cursor is.
fn show(mut from: File, mut to: File, screen: &Mutex<vt100::Parser>) {
    let mut waiting: Vec<u8> = Vec::new();
    let mut block = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut block) {
        waiting.extend(&block[..count]);
        loop {
            let asked = waiting.windows(WHERE_IS_THE_CURSOR.len()).position(|w| w == WHERE_IS_THE_CURSOR);
            let end = asked.map_or(waiting.len(), |at| at + WHERE_IS_THE_CURSOR.len());
            let mut screen = screen.lock().unwrap();
            screen.process(&waiting[..end]);
            let (row, column) = screen.screen().cursor_position();
            drop(screen);
            // A question that is cut in two is put together with the next block: the emulator ignores it either way.
            let rest = waiting.split_off(end);
            let tail = waiting.iter().rposition(|byte| *byte == b'\x1b').filter(|at| waiting.len() - at < 4);
            let cut = tail.filter(|_| asked.is_none()).map(|at| waiting.split_off(at)).unwrap_or_default();
            waiting = if asked.is_some() { rest } else { cut };
            if asked.is_none() {
                break;
            }
            let _ = write!(to, "\x1b[{};{}R", row + 1, column + 1);
        }
    }
}
