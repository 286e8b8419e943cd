//! A potluck process of the demonstration, and the events it prints.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{ChildStdout, Command};

/// Time that a process has to leave in order before it is killed.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(3);

/// A running child. It is killed when dropped, and leaves by itself when this process is gone (its standard input closes).
pub(super) struct Child {
    pub(super) name: String,
    process: tokio::process::Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Child {
    /// Starts this very program with other words; its caches go into `dir`.
    pub(super) fn start(name: &str, dir: &Path, words: &[impl AsRef<OsStr>]) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let mut command = Command::new(program);
        command
            .args(["--json", "--quiet", "--while-stdin"])
            .args(words)
            .env("XDG_CACHE_HOME", dir)
            .env_remove("POTLUCK_TRACKER")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Its last words come as an event, too.
            .stderr(Stdio::null())
            .kill_on_drop(true)
            // Ctrl-C on the terminal is for the demonstration alone; it ends the others in order.
            .process_group(0);
        let mut process = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let stdout = process.stdout.take().context("a child without standard output")?;
        Ok(Self { name: name.to_owned(), process, lines: BufReader::new(stdout).lines() })
    }

    /// Its next event.
    ///
    /// # Errors
    /// It failed, or ended.
    pub(super) async fn next(&mut self) -> anyhow::Result<Value> {
        let Some(line) = self.lines.next_line().await? else { bail!("{} ended by itself", self.name) };
        let event: Value =
            serde_json::from_str(&line).with_context(|| format!("{} says {line}", self.name))?;
        if event["event"] == "error" {
            bail!("{}: {}", self.name, event["message"].as_str().unwrap_or("failed"));
        }
        Ok(event)
    }

    /// Its next event of this kind.
    pub(super) async fn event(&mut self, wanted: &str) -> anyhow::Result<Value> {
        loop {
            let event = self.next().await?;
            if event["event"] == wanted {
                return Ok(event);
            }
        }
    }

    pub(super) async fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill().await.with_context(|| format!("cannot kill {}", self.name))
    }

    pub(super) fn ask_to_leave(&mut self) {
        drop(self.process.stdin.take());
    }

    /// Waits until it is gone, not for long.
    pub(super) async fn ended(&mut self) {
        if tokio::time::timeout(LEAVE_TIMEOUT, self.process.wait()).await.is_err() {
            let _ = self.process.kill().await;
        }
    }
}
