//! Every step of a run: as JSON lines in a file, or as text on the terminal.

use std::fmt::Debug;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::Context as _;
use potluck_core::peer::{PeerEffect, PeerInput};
use potluck_core::tracker::{TrackerEffect, TrackerInput};
use potluck_sim::Observer;
use serde::Serialize;

use crate::ui::Out;

/// Writes `{"at":nanoseconds,"host":number,"input":…}`, `"effect"` or `"fault"` per line; stops at the first failure to write.
pub(super) struct JsonTrace(Option<BufWriter<File>>);

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
        Ok(Self(Some(BufWriter::new(file))))
    }

    fn write<T: Serialize>(&mut self, line: &Line<'_, T>) {
        let Some(out) = &mut self.0 else { return };
        let written = serde_json::to_writer(&mut *out, line)
            .map_err(std::io::Error::from)
            .and_then(|()| out.write_all(b"\n"));
        if let Err(error) = written {
            tracing::error!("the trace ends here: {error}");
            self.0 = None;
        }
    }

    fn input<T: Serialize>(&mut self, at: u64, host: u32, input: &T) {
        self.write(&Line { at, host: Some(host), input: Some(input), effect: None, fault: None });
    }

    fn effect<T: Serialize>(&mut self, at: u64, host: u32, effect: &T) {
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
