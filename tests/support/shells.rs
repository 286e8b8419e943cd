//! Shells of running peers, typed into through a pipe and read as a person would.
//!
//! What a shell says, on standard output and standard error alike, is kept as lines in the order of their coming. A test types
//! a line and waits for words that are said after it; commands run one after the other, so whatever is answered later was
//! typed later.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};

use super::processes::{Net, until};

/// The shell of a peer, typed into through a pipe.
pub struct Shell {
    pub name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    said: Arc<Mutex<Vec<String>>>,
    /// Lines before this one were said before the last command was typed.
    mark: usize,
}

impl Net {
    /// `potluck peer --dir NAME --as NAME` in the net's folder, once it has joined.
    pub fn shell(&self, name: &str, more: &[&str]) -> Shell {
        let mut shell = self.shell_at(name, &self.addr, more);
        shell.says(&["Joined the tracker", &format!("as {name}")]);
        shell
    }

    /// The same with another tracker, just started.
    pub fn shell_at(&self, name: &str, tracker: &str, more: &[&str]) -> Shell {
        let listen = if more.contains(&"--listen") { &[][..] } else { &["--listen", "127.0.0.1:0"] };
        let serve = [&["--as", name, "--tracker", tracker], listen].concat();
        let mut command = self.bare(&[&["peer", "--dir", name], &serve[..], more].concat());
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::default();
        keep_lines(child.stdout.take().unwrap(), &said);
        keep_lines(child.stderr.take().unwrap(), &said);
        let stdin = child.stdin.take();
        Shell { name: name.to_owned(), child, stdin, said, mark: 0 }
    }

    /// A path in the folder of a shell.
    pub fn of(&self, shell: &str, name: &str) -> PathBuf {
        self.dir.path().join(shell).join(name)
    }
}

fn keep_lines(from: impl Read + Send + 'static, said: &Arc<Mutex<Vec<String>>>) {
    let said = Arc::clone(said);
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            said.lock().unwrap().push(line);
        }
    });
}

impl Shell {
    /// Types a line.
    pub fn types(&mut self, line: &str) -> &mut Self {
        self.mark = self.said.lock().unwrap().len();
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
        self
    }

    /// Types a line that belongs to the one before: what was said since that one still counts.
    pub fn adds(&mut self, line: &str) -> &mut Self {
        let mark = self.mark;
        self.types(line).mark = mark;
        self
    }

    /// Waits for a line with all of these words, said since the last line was typed.
    pub fn says(&mut self, words: &[&str]) -> String {
        let mut found = None;
        until(&format!("{} says {words:?}\n{}", self.name, self.told()), || {
            found = self.since().into_iter().find(|line| words.iter().all(|word| line.contains(word)));
            // Its words are read to their end once nobody else keeps them.
            let over = self.child.try_wait().unwrap().is_some() && Arc::strong_count(&self.said) == 1;
            if found.is_none() && over {
                found = self.since().into_iter().find(|line| words.iter().all(|word| line.contains(word)));
                assert!(found.is_some(), "ended before {words:?}\n{}", self.told());
            }
            found.is_some()
        });
        found.unwrap()
    }

    /// Types a line that is answered in any case, and waits for it: all that was typed before is done then.
    pub fn is_done(&mut self) {
        let mark = self.mark;
        self.types("limit").says(&["up: ", "down: "]);
        self.mark = mark;
    }

    /// What is said from here on counts, though nothing is typed.
    pub fn mark_here(&mut self) {
        self.mark = self.said.lock().unwrap().len();
    }

    /// MiB that this shell says to have sent of a content, in all.
    pub fn sent_mib(&self, name: &str) -> f64 {
        let said = self.said.lock().unwrap();
        let lines = said.iter().filter(|line| line.contains(&format!("is done with {name}:")));
        let sent = lines.filter_map(|line| {
            let (_, sent) = line.split_once(": ")?;
            let (number, unit) = sent.split_whitespace().next().zip(sent.split_whitespace().nth(1))?;
            let number: f64 = number.parse().ok()?;
            Some(if unit == "MiB" { number } else { number / 1024.0 })
        });
        sent.sum()
    }

    /// What was said since the last line was typed.
    pub fn since(&self) -> Vec<String> {
        self.said.lock().unwrap()[self.mark..].to_vec()
    }

    /// Types a line, waits until it is done, and gives all that was said meanwhile.
    pub fn answers(&mut self, line: &str) -> String {
        self.types(line).is_done();
        self.since().join("\n")
    }

    /// Has this been said since the last line was typed?
    pub fn has_said(&self, word: &str) -> bool {
        self.since().iter().any(|line| line.contains(word))
    }

    /// Waits until so many percent of a download are there.
    pub fn until_percent(&mut self, name: &str, percent: u32) {
        until(&format!("{} has {percent}% of {name}\n{}", self.name, self.told()), || {
            let list = self.answers("downloads");
            let row = list.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            let done = row.split_whitespace().find_map(|word| word.strip_suffix('%')?.parse::<u32>().ok());
            done.is_some_and(|done| done >= percent)
        });
    }

    /// Everything that was said, for messages of failures.
    pub fn told(&self) -> String {
        format!("{}:\n{}", self.name, self.said.lock().unwrap().join("\n"))
    }

    /// SIGKILL: no word of farewell.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Types `quit`, and waits for the end; its exit code.
    pub fn quits(&mut self) -> Option<i32> {
        self.types("quit");
        self.code()
    }

    /// Closes its standard input.
    pub fn end_of_input(&mut self) {
        self.stdin = None;
    }

    /// Waits for the end; its exit code.
    pub fn code(&mut self) -> Option<i32> {
        let mut code = None;
        until(&format!("{} ends\n{}", self.name, self.told()), || {
            code = self.child.try_wait().unwrap();
            code.is_some()
        });
        code.unwrap().code()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
