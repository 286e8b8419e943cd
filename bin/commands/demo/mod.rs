//! `potluck demo`: the whole system on this machine, as real processes over TCP. A tracker, several holders, and a
//! download that loses one of its holders half-way and finishes all the same.

mod child;

use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use comfy_table::Cell;
use serde_json::Value;

use self::child::Child;
use super::Context;
use crate::args::DemoArgs;
use crate::signals::interrupted;
use crate::ui::{self, DownloadBar, Event, Source, Table, number};

/// Part of the download that is done when a holder is killed: events come every 100 ms, so that it is half by then.
const KILL_AT_PERCENT: u64 = 45;

pub(crate) async fn run(args: DemoArgs, ctx: &Context) -> anyhow::Result<()> {
    if let Some(file) = &args.file {
        look_at(file)?;
    }
    let dir = tempfile::Builder::new()
        .prefix("potluck-demo-")
        .tempdir()
        .context("cannot make a temporary folder")?;
    let mut stage = Stage { dir: dir.path().to_owned(), children: Vec::new(), ctx };
    let result = tokio::select! {
        result = stage.play(&args) => result,
        code = ctx.interrupts.wait() => Err(interrupted(code).into()),
    };
    stage.clear().await;
    dir.close().context("cannot remove the temporary folder")?;
    result
}

/// A file that cannot be shared is told before anything is started.
fn look_at(file: &Path) -> anyhow::Result<()> {
    let shown = ui::name(&file.to_string_lossy());
    let found = std::fs::metadata(file).with_context(|| format!("cannot share {shown}"))?;
    ensure!(found.is_file(), "cannot share {shown}: the demonstration takes a file");
    Ok(())
}

/// Everything that runs and lies around, to be cleared away however it ends.
struct Stage<'a> {
    dir: PathBuf,
    children: Vec<Child>,
    ctx: &'a Context,
}

impl Stage<'_> {
    async fn play(&mut self, args: &DemoArgs) -> anyhow::Result<()> {
        let file = match &args.file {
            Some(file) => file.clone(),
            None => self.make_file(args.size << 20).await?,
        };
        let tracker = self.start_tracker().await?;
        let id = self.start_holders(&file, args.holders, &tracker).await?;
        let (done, killed) = self.download(&id, &tracker).await?;
        self.step(
            "checking the result against the original with a plain BLAKE3, away from potluck's own code",
        )?;
        let fetched = PathBuf::from(text(&done, "path")?);
        let (original, result) = tokio::try_join!(plain_hash(&file), plain_hash(&fetched))?;
        ensure!(
            original == result && result == id,
            "the result is not what was shared: {result}, not {original}"
        );
        self.tell_result(&done, killed.as_deref())
    }

    async fn start_tracker(&mut self) -> anyhow::Result<String> {
        self.step("starting a tracker")?;
        let mut tracker = Child::start("tracker", &self.dir, &["tracker", "--listen", "127.0.0.1:0"])?;
        let addr = text(&tracker.event("listening").await?, "addr")?.to_owned();
        self.children.push(tracker);
        Ok(addr)
    }

    /// Starts the holders; returns the id of what they share.
    async fn start_holders(&mut self, file: &Path, count: u32, tracker: &str) -> anyhow::Result<String> {
        self.step(&format!("starting {count} holders of {}", ui::name(&file.to_string_lossy())))?;
        // Absolute, so that no name is taken for a flag.
        let path = std::path::absolute(file)?;
        let path = path.to_str().context("the file's path is not UTF-8")?;
        let mut id = String::new();
        for number in 1..=count {
            let name = format!("holder-{number}");
            let mut holder = Child::start(&name, &self.dir, &serving(&["share", path], &name, tracker))?;
            // The first one hashes the file; those after it find its hash in the cache.
            id = text(&holder.event("sharing").await?, "id")?.to_owned();
            self.children.push(holder);
        }
        Ok(id)
    }

    /// Downloads, and kills a holder half-way; returns the last word of the download and who was killed.
    async fn download(&mut self, id: &str, tracker: &str) -> anyhow::Result<(Value, Option<String>)> {
        self.step("downloading from all of them at once")?;
        let out = format!("{}/", self.dir.join("fetched").display());
        let words = serving(&["get", id, "--out", &out], "downloader", tracker);
        let mut getter = Child::start("downloader", &self.dir, &words)?;
        let bar = DownloadBar::new(self.ctx.out.bars(), "download", 0);
        let mut killed = None;
        let done = loop {
            let event = getter.next().await?;
            match text(&event, "event")? {
                "progress" => {
                    let (bytes, total) = (count(&event, "bytes"), count(&event, "total"));
                    bar.show(bytes, total, count(&event, "rate"), &sources(&event));
                    if killed.is_none() && bytes * 100 >= total * KILL_AT_PERCENT {
                        killed = self.kill_a_holder(bytes * 100 / total.max(1)).await?;
                    }
                }
                "done" => break event,
                _ => {}
            }
        };
        drop(bar);
        self.children.push(getter);
        Ok((done, killed))
    }

    /// SIGKILL, without a word of warning to anybody.
    async fn kill_a_holder(&mut self, percent: u64) -> anyhow::Result<Option<String>> {
        let Some(holder) = self.children.last_mut() else { return Ok(None) };
        holder.kill().await?;
        let name = holder.name.clone();
        self.step(&format!("killed {name} when {percent}% was there"))?;
        Ok(Some(name))
    }

    fn tell_result(&self, done: &Value, killed: Option<&str>) -> anyhow::Result<()> {
        let (bytes, sources) = (count(done, "bytes"), sources(done));
        let seconds = done["seconds"].as_f64().unwrap_or_default();
        let fetched: u64 = sources.iter().map(|source| source.bytes).sum();
        let mut table = Table::new(["HOLDER", "DELIVERED", "SHARE", ""]);
        for source in &sources {
            let note = if killed == Some(&source.peer) { "killed half-way" } else { "" };
            let share = ui::percent(source.bytes, fetched);
            table.row([
                Cell::new(&source.peer),
                number(ui::bytes(source.bytes)),
                number(share),
                Cell::new(note),
            ]);
        }
        let out = &self.ctx.out;
        out.line(table)?;
        let took = Duration::from_secs_f64(seconds);
        let rate = ui::rate((bytes as f64 / seconds.max(1e-9)) as u64);
        out.line(format_args!(
            "Verified: {} in {} ({rate}), every byte as it was shared.",
            ui::bytes(bytes),
            ui::seconds(took)
        ))?;
        if killed.is_none() {
            out.note(
                "It was done before a holder could be killed half-way; a larger FILE or --size shows that.",
            );
        }
        let id = text(done, "id")?.parse()?;
        out.event(&Event::Done { path: text(done, "path")?, id, bytes, seconds, sources: &sources })?;
        Ok(())
    }

    /// Bytes that no compression and no deduplication makes less of: the output of a hash without end.
    async fn make_file(&self, bytes: u64) -> anyhow::Result<PathBuf> {
        self.step(&format!("making {} of data", ui::bytes(bytes)))?;
        let path = self.dir.join("potluck.bin");
        let target = path.clone();
        let seed = format!("{:?}", Instant::now());
        tokio::task::spawn_blocking(move || {
            let mut stream = blake3::Hasher::new().update(seed.as_bytes()).finalize_xof();
            let mut file = BufWriter::new(std::fs::File::create(target)?);
            let mut block = vec![0; 1 << 20];
            for _ in 0..bytes >> 20 {
                stream.fill(&mut block);
                file.write_all(&block)?;
            }
            file.flush()
        })
        .await?
        .context("cannot make the data")?;
        Ok(path)
    }

    fn step(&self, what: &str) -> anyhow::Result<()> {
        self.ctx.out.event(&Event::Demo { step: what })?;
        self.ctx.out.note(what);
        Ok(())
    }

    /// Ends every process: asks all of them, then waits for each.
    async fn clear(&mut self) {
        for child in &mut self.children {
            child.ask_to_leave();
        }
        for child in &mut self.children {
            child.ended().await;
        }
    }
}

fn serving<'a>(words: &[&'a str], name: &'a str, tracker: &'a str) -> Vec<&'a str> {
    [words, &["--as", name, "--listen", "127.0.0.1:0", "--tracker", tracker]].concat()
}

async fn plain_hash(path: &Path) -> anyhow::Result<String> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(std::fs::File::open(&path)?)?;
        Ok(hasher.finalize().to_string())
    })
    .await?
}

fn text<'a>(event: &'a Value, field: &str) -> anyhow::Result<&'a str> {
    event[field].as_str().with_context(|| format!("no `{field}` in {event}"))
}

fn count(event: &Value, field: &str) -> u64 {
    event[field].as_u64().unwrap_or_default()
}

fn sources(event: &Value) -> Vec<Source> {
    serde_json::from_value(event["sources"].clone()).unwrap_or_default()
}
