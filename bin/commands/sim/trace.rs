//! Every step of a run: as JSON lines in a file, or as text on the terminal.

use std::cell::RefCell;
use std::fmt::Debug;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::Context as _;
use potluck_core::peer::{PeerEffect, PeerInput};
use potluck_core::tracker::{TrackerEffect, TrackerInput};
use potluck_sim::Observer;
use serde::Serialize;

use crate::ui::Out;

/// Writes `{"at":nanoseconds,"host":number,"input":…}`, `"effect"` or `"fault"` per line; stops at the first failure to write.
///
/// The world owns the observer that it is told by: a clone is kept, to be asked at the end.
#[derive(Clone)]
pub(super) struct JsonTrace(Rc<RefCell<Lines>>);

struct Lines {
    path: PathBuf,
    out: BufWriter<File>,
    /// After a failure the rest is left out.
    written: io::Result<()>,
}

#[derive(Serialize)]
struct Line<'a, T> {
    at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<&'a T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    effect: Option<&'a T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<&'a str>,
}

impl JsonTrace {
    pub(super) fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        let lines = Lines { path: path.to_owned(), out: BufWriter::new(file), written: Ok(()) };
        Ok(Self(Rc::new(RefCell::new(lines))))
    }

    /// Is all of it in the file?
    pub(super) fn finish(&self) -> anyhow::Result<()> {
        let mut lines = self.0.borrow_mut();
        let Lines { path, out, written } = &mut *lines;
        std::mem::replace(written, Ok(()))
            .and_then(|()| out.flush())
            .with_context(|| format!("the trace {} lacks its end", path.display()))
    }

    fn write<T: Serialize>(&self, line: &Line<'_, T>) {
        let mut lines = self.0.borrow_mut();
        let Lines { out, written, .. } = &mut *lines;
        if written.is_ok() {
            *written = serde_json::to_writer(&mut *out, line)
                .map_err(io::Error::from)
                .and_then(|()| out.write_all(b"\n"));
        }
    }

    fn input<T: Serialize>(&self, at: u64, host: u32, input: &T) {
        self.write(&Line { at, host: Some(host), input: Some(input), effect: None, fault: None });
    }

    fn effect<T: Serialize>(&self, at: u64, host: u32, effect: &T) {
        self.write(&Line { at, host: Some(host), input: None, effect: Some(effect), fault: None });
    }
}

impl Observer for JsonTrace {
    fn peer_input(&mut self, at: u64, host: u32, input: &PeerInput) {
        self.input(at, host, input);
    }
    fn peer_effect(&mut self, at: u64, host: u32, effect: &PeerEffect) {
        self.effect(at, host, effect);
    }
    fn tracker_input(&mut self, at: u64, host: u32, input: &TrackerInput) {
        self.input(at, host, input);
    }
    fn tracker_effect(&mut self, at: u64, host: u32, effect: &TrackerEffect) {
        self.effect(at, host, effect);
    }
    fn fault(&mut self, at: u64, what: &str) {
        self.write(&Line::<()> { at, host: None, input: None, effect: None, fault: Some(what) });
    }
}

/// What a run came to, and its trace: of two failures that of the run goes on, and the trace's is told before it.
pub(super) fn finish(trace: Option<&JsonTrace>, run: anyhow::Result<()>, out: &Out) -> anyhow::Result<()> {
    match (run, trace.map_or(Ok(()), JsonTrace::finish)) {
        (Ok(()), written) => written,
        (failed, Ok(())) => failed,
        (failed, Err(error)) => {
            out.complain_of(format!("{error:#}"));
            failed
        }
    }
}

/// Prints a line per step of the chosen hosts (of all, if none is chosen).
pub(super) struct Steps {
    out: Out,
    hosts: Vec<u32>,
}

impl Steps {
    pub(super) fn new(out: Out, hosts: Vec<u32>) -> Self {
        Self { out, hosts }
    }

    fn line(&self, at: u64, host: u32, sign: char, what: &dyn Debug) {
        if self.hosts.is_empty() || self.hosts.contains(&host) {
            // A reader that has gone away does not stop the run.
            let _ = self.out.line(format!("{:.6} {host} {sign} {what:?}", at as f64 / 1e9));
        }
    }
}

impl Observer for Steps {
    fn peer_input(&mut self, at: u64, host: u32, input: &PeerInput) {
        self.line(at, host, '<', input);
    }
    fn peer_effect(&mut self, at: u64, host: u32, effect: &PeerEffect) {
        self.line(at, host, '>', effect);
    }
    fn tracker_input(&mut self, at: u64, host: u32, input: &TrackerInput) {
        self.line(at, host, '<', input);
    }
    fn tracker_effect(&mut self, at: u64, host: u32, effect: &TrackerEffect) {
        self.line(at, host, '>', effect);
    }
    fn fault(&mut self, at: u64, what: &str) {
        let _ = self.out.line(format!("{:.6} ! {what}", at as f64 / 1e9));
    }
}
