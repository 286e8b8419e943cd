//! Real potluck processes over loopback TCP, and the events they print.
//!
//! Goal: tests that read as transcripts. A [`Net`] has a folder and a tracker; a [`Node`] is a running process whose events
//! are awaited, never slept for; [`Net::run`] runs a verb to its end. Ports are picked by the system. Every process is killed
//! when its node is dropped, and leaves by itself should the test be killed (its standard input closes).

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use serde_json::Value;
use tempfile::TempDir;

/// A test that waits longer than this has failed. Generous: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(90);

/// A folder of one's own, and a tracker.
pub struct Net {
    pub dir: TempDir,
    tracker: Option<Node>,
    /// Where the tracker is, or was.
    pub addr: String,
}

/// A verb that ran to its end.
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub events: Vec<Value>,
}

impl Net {
    /// With a tracker whose lease is the usual one.
    pub fn new() -> Self {
        let mut net = Self::without_tracker();
        net.start_tracker("127.0.0.1:0", &[]);
        net
    }

    /// With nobody at the tracker's address.
    pub fn without_tracker() -> Self {
        // Nothing listens at port 9 of this machine.
        Self { dir: tempfile::tempdir().unwrap(), tracker: None, addr: "127.0.0.1:9".to_owned() }
    }

    pub fn start_tracker(&mut self, listen: &str, more: &[&str]) {
        let mut tracker = self.node("tracker", &[&["tracker", "--listen", listen], more].concat());
        self.addr = text(&tracker.event("listening"), "addr");
        self.tracker = Some(tracker);
    }

    pub fn tracker(&mut self) -> &mut Node {
        self.tracker.as_mut().unwrap()
    }

    /// A path below the net's folder; the folders above it are made.
    pub fn path(&self, path: &str) -> PathBuf {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    /// A file of `bytes` that look random and follow from `seed`.
    pub fn file(&self, path: &str, bytes: u64, seed: u64) -> PathBuf {
        let path = self.path(path);
        fs::write(&path, content(bytes, seed)).unwrap();
        path
    }

    /// Any verb, running.
    pub fn node(&self, name: &str, words: &[&str]) -> Node {
        Node::start(name, self.command(words))
    }

    /// A verb that serves, under this name, at a port of its own.
    pub fn serving(&self, name: &str, words: &[&str]) -> Node {
        let serve = ["--as", name, "--listen", "127.0.0.1:0", "--tracker", &self.addr];
        self.node(name, &[words, &serve].concat())
    }

    /// `share`, and the id of what it shares, once it can be fetched.
    pub fn share(&self, name: &str, path: &Path, more: &[&str]) -> (Node, String) {
        let mut node = self.serving(name, &[&["share", path.to_str().unwrap()], more].concat());
        let id = text(&node.event("sharing"), "id");
        (node, id)
    }

    /// `get` into a folder named after the getter, running.
    pub fn get(&self, name: &str, what: &str, more: &[&str]) -> Node {
        let out = format!("{}/", self.dir.path().join(name).display());
        self.serving(name, &[&["get", what, "--out", &out], more].concat())
    }

    /// Where `get` of that name puts a content.
    pub fn got(&self, name: &str, content: &str) -> PathBuf {
        self.dir.path().join(name).join(content)
    }

    /// A verb with `--json`, to its end.
    pub fn run(&self, words: &[&str]) -> Ran {
        self.node("run", words).ran()
    }

    /// A verb that asks the tracker, with `--json`, to its end.
    pub fn ask(&self, words: &[&str]) -> Ran {
        self.run(&[words, &["--tracker", &self.addr]].concat())
    }

    /// A verb as a person types it (no `--json`), to its end, in the net's folder.
    pub fn typed(&self, words: &[&str]) -> Ran {
        let output = self.bare(words).stdin(Stdio::null()).output().unwrap();
        Ran {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            events: Vec::new(),
        }
    }

    /// The names of a content's holders, by name.
    pub fn holders(&self, what: &str) -> Vec<String> {
        let ran = self.ask(&["holders", what]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let mut names: Vec<_> = ran.all("holder").map(|event| text(event, "peer")).collect();
        names.sort();
        names
    }

    /// Waits until the holders are these.
    pub fn until_holders(&self, what: &str, wanted: &[&str]) {
        until(&format!("the holders of {what} are {wanted:?}"), || {
            let ran = self.ask(&["holders", what]);
            let mut names: Vec<_> = ran.all("holder").map(|event| text(event, "peer")).collect();
            names.sort();
            names == wanted
        });
    }

    /// A command whose home, cache and temporary folder are the net's.
    pub fn bare(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_potluck"));
        command
            .args(words)
            .current_dir(self.dir.path())
            .env("HOME", self.dir.path())
            .env("XDG_CACHE_HOME", self.dir.path().join("cache"))
            .env("XDG_CONFIG_HOME", self.dir.path().join("config"))
            .env("COLUMNS", "100")
            .env_remove("NO_COLOR");
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"POTLUCK_"))
        {
            command.env_remove(name);
        }
        command
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.bare(&["--json", "--while-stdin"]);
        command.args(words);
        command
    }
}

/// A running process.
pub struct Node {
    pub name: String,
    child: Child,
    lines: Receiver<String>,
    /// Who holds it keeps standard output from being read: what is printed stays in the pipe, as long as there is room.
    pub unread: Arc<Mutex<()>>,
    /// Events that were read.
    pub seen: Vec<Value>,
    stderr: Arc<Mutex<String>>,
    /// Reads standard error to its end.
    reading: Option<std::thread::JoinHandle<()>>,
    /// Events before this one were handed out by [`Node::event`].
    next: usize,
}

impl Node {
    pub fn start(name: &str, mut command: Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let unread = Arc::new(Mutex::new(()));
        let held = unread.clone();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                drop(held.lock());
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let stderr = Arc::new(Mutex::new(String::new()));
        let (words, mut from) = (stderr.clone(), child.stderr.take().unwrap());
        let reading = std::thread::spawn(move || {
            let mut block = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut block) {
                words.lock().unwrap().push_str(&String::from_utf8_lossy(&block[..count]));
            }
        });
        let reading = Some(reading);
        Self { name: name.to_owned(), child, lines, unread, seen: Vec::new(), stderr, reading, next: 0 }
    }

    /// The next event of this kind that was not handed out yet.
    pub fn event(&mut self, kind: &str) -> Value {
        self.event_where(kind, |_| true)
    }

    /// The next event of this kind for which `wanted` holds.
    pub fn event_where(&mut self, kind: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            while self.next < self.seen.len() {
                self.next += 1;
                let event = &self.seen[self.next - 1];
                if event["event"] == kind && wanted(event) {
                    return event.clone();
                }
            }
            self.read(until, kind);
        }
    }

    /// Waits until so many percent are verified.
    pub fn until_percent(&mut self, percent: u64) {
        self.event_where("progress", |event| {
            number(event, "bytes") * 100 >= number(event, "total") * percent
        });
    }

    fn read(&mut self, until: Instant, waiting_for: &str) {
        match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                self.seen.push(serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}")))
            }
            Err(RecvTimeoutError::Timeout) => {
                panic!("{} was waited for in vain\n{}", waiting_for, self.told())
            }
            Err(RecvTimeoutError::Disconnected) => panic!("ended before `{waiting_for}`\n{}", self.told()),
        }
    }

    /// Waits for the end of a download.
    pub fn done(&mut self) -> Value {
        self.event("done")
    }

    /// Everything this process printed so far, for messages of failures.
    pub fn told(&self) -> String {
        let seen: Vec<_> = self.seen.iter().map(Value::to_string).collect();
        format!("{}:\n{}\n--- stderr\n{}", self.name, seen.join("\n"), self.stderr())
    }

    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// Waits until its log has a line with all of these words.
    pub fn until_logged(&self, words: &[&str]) {
        until(&format!("{} logs {words:?}", self.name), || {
            self.stderr().lines().any(|line| words.iter().all(|word| line.contains(word)))
        });
    }

    /// The most memory that it had at once, in bytes.
    pub fn memory_peak(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Bytes that it has read so far, of files and of everything else.
    pub fn bytes_read(&self) -> u64 {
        let io = fs::read_to_string(format!("/proc/{}/io", self.child.id())).unwrap();
        io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// As `ulimit -n` does: it may have so many files open.
    pub fn limit_open_files(&self, files: u64) {
        let limit = Rlimit { current: Some(files), maximum: Some(files) };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Nofile, limit).unwrap();
    }

    /// As `ulimit -f` does: no file of it may grow beyond so many bytes.
    pub fn limit_file_size(&self, bytes: Option<u64>) {
        let pid = Some(Pid::from_child(&self.child));
        let maximum = getrlimit(Resource::Fsize).maximum;
        prlimit(pid, Resource::Fsize, Rlimit { current: bytes.or(maximum), maximum }).unwrap();
    }

    /// SIGKILL: no word of farewell.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and its exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.wait().code()
    }

    /// Waits for its end, whether or not somebody reads what it prints.
    pub fn end(&mut self) -> ExitStatus {
        let mut ended = None;
        until(&format!("{} ends", self.name), || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        ended.unwrap()
    }

    /// Waits for its end, and for all that it printed.
    pub fn wait(&mut self) -> ExitStatus {
        let ended = self.end();
        let until = Instant::now() + PATIENCE;
        while let Ok(line) = self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            self.seen.push(serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}")));
        }
        ended
    }

    /// Waits for its end; what it printed, and how it ended.
    pub fn ran(mut self) -> Ran {
        let status = self.wait();
        self.reading.take().map(std::thread::JoinHandle::join);
        let events = std::mem::take(&mut self.seen);
        let stdout = events.iter().map(|event| format!("{event}\n")).collect();
        Ran { code: status.code(), stdout, stderr: self.stderr(), events }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ran {
    pub fn all(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.events.iter().filter(move |event| event["event"] == kind)
    }

    pub fn one(&self, kind: &str) -> &Value {
        let mut all = self.all(kind);
        match (all.next(), all.next()) {
            (Some(event), None) => event,
            _ => panic!("not one `{kind}`:\n{}\n{}", self.stdout, self.stderr),
        }
    }
}

/// Waits until it holds: for what has no event of its own.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Bytes that look random and follow from `seed`.
pub fn content(bytes: u64, seed: u64) -> Vec<u8> {
    let mut content = vec![0; usize::try_from(bytes).unwrap()];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut content);
    content
}

/// What `b3sum` prints for a file.
pub fn b3sum(path: &Path) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(fs::File::open(path).unwrap()).unwrap();
    hasher.finalize().to_string()
}

pub fn text(event: &Value, field: &str) -> String {
    event[field].as_str().unwrap_or_else(|| panic!("no text `{field}` in {event}")).to_owned()
}

pub fn number(event: &Value, field: &str) -> u64 {
    event[field].as_u64().unwrap_or_else(|| panic!("no number `{field}` in {event}"))
}

/// Who delivered how much, of a `done`.
pub fn sources(done: &Value) -> Vec<(String, u64)> {
    let sources = done["sources"].as_array().unwrap();
    sources.iter().map(|source| (text(source, "peer"), number(source, "bytes"))).collect()
}

/// The part files and sidecars in a folder.
pub fn leftovers(folder: &Path) -> Vec<String> {
    let entries: Vec<_> = fs::read_dir(folder).map(|entries| entries.flatten().collect()).unwrap_or_default();
    entries
        .iter()
        .map(|e| e.file_name().into_string().unwrap())
        .filter(|name| name.starts_with('.'))
        .collect()
}

/// Every path below a folder, with what matters of it.
pub fn tree(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let (path, meta) = (entry.path(), entry.metadata().unwrap());
            let what = if meta.is_dir() {
                folders.push(path.clone());
                format!("folder {:?}", meta.modified().unwrap())
            } else {
                let time = meta.modified().unwrap();
                format!("{} exec {} {time:?}", b3sum(&path), meta.permissions().mode() & 0o100)
            };
            found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), what);
        }
    }
    found
}
