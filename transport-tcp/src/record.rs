//! Recordings: everything that a machine was told, so that a simulator can replay what happened in the field.
//!
//! A recording is JSON lines. The first is a [`Head`]: which machine it was, and its configuration (with the seed). Every
//! other line is `[nanoseconds, input]`. The same machine, fed the same inputs, gives the same effects.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, BufWriter, Read as _, Seek as _, Write};
use std::path::{Path, PathBuf};

use potluck_core::time::Instant;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::limits::{RECORD_FLUSH, RECORDED_HEAD_BYTES_MAX, RECORDED_INPUT_BYTES_MAX};

/// The format of the lines that follow.
const VERSION: u32 = 1;
/// How every recording begins.
const BEGINS: &[u8] = b"{\"potluck_recording\":";

/// First line of a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head<C> {
    /// Version of this format.
    pub potluck_recording: u32,
    /// `peer` or `tracker`.
    pub machine: String,
    /// What the machine was started with.
    pub config: C,
}

/// A recording, read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording<C, I> {
    /// What the machine was started with.
    pub config: C,
    /// What it was told, and when.
    pub inputs: Vec<(Instant, I)>,
    /// The last line was cut off: the process was killed while it wrote.
    pub cut_off: bool,
}

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file cannot be read.
    #[error("{}: {error}", .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A line is not what it must be.
    #[error("{}, line {line}: {error}", .path.display())]
    Line {
        /// Where.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong.
        error: serde_json::Error,
    },
    /// A line is longer than any that a machine records.
    #[error("{}, line {line}: longer than the {most} bytes that a recording may have there", .path.display())]
    Long {
        /// Where.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// Bytes that it may have.
        most: u64,
    },
    /// It is the recording of something else.
    #[error("{}: a recording of version {version} of a {machine}, not of version {VERSION} of a {wanted}", .path.display())]
    Other {
        /// Where.
        path: PathBuf,
        /// Its version.
        version: u32,
        /// Its machine.
        machine: String,
        /// The wanted machine.
        wanted: &'static str,
    },
}

/// Which machine a recording is of, by its first line: `peer` or `tracker`.
///
/// # Errors
/// The file cannot be read, or is no recording.
pub fn recorded_machine(path: &Path) -> Result<String, RecordingError> {
    let head: Head<serde::de::IgnoredAny> = Lines::open(path)?.head()?;
    Ok(head.machine)
}

/// Reads the recording of a `machine` (`peer` or `tracker`) with configuration `C` and inputs `I`.
///
/// # Errors
/// The file cannot be read, is no recording, or one of another machine or version. A last line that was cut off is none.
pub fn read_recording<C: DeserializeOwned, I: DeserializeOwned>(
    path: &Path,
    machine: &'static str,
) -> Result<Recording<C, I>, RecordingError> {
    let mut lines = Lines::open(path)?;
    let head: Head<serde_json::Value> = lines.head()?;
    if head.potluck_recording != VERSION || head.machine != machine {
        let (version, is) = (head.potluck_recording, head.machine);
        return Err(RecordingError::Other { path: path.to_owned(), version, machine: is, wanted: machine });
    }
    let config = serde_json::from_value(head.config).map_err(|error| line_error(path, 1, error))?;
    let (mut inputs, mut cut_off) = (Vec::new(), false);
    while let Some(line) = lines.next(RECORDED_INPUT_BYTES_MAX)? {
        match serde_json::from_slice(&line) {
            Ok(input) => inputs.push(input),
            Err(error) if error.is_eof() && lines.are_over()? => cut_off = true,
            Err(error) => return Err(line_error(path, lines.number, error)),
        }
    }
    Ok(Recording { config, inputs, cut_off })
}

/// The lines of a recording.
struct Lines<'a> {
    path: &'a Path,
    file: BufReader<File>,
    /// Of the line that was read last, from 1.
    number: usize,
}

impl<'a> Lines<'a> {
    fn open(path: &'a Path) -> Result<Self, RecordingError> {
        let file = File::open(path).map_err(|error| io_error(path, error))?;
        Ok(Self { path, file: BufReader::new(file), number: 0 })
    }

    /// The next line, of so many bytes at most.
    fn next(&mut self, most: u64) -> Result<Option<Vec<u8>>, RecordingError> {
        let mut line = Vec::new();
        // And its end.
        let mut file = (&mut self.file).take(most + 1);
        file.read_until(b'\n', &mut line).map_err(|error| io_error(self.path, error))?;
        self.number += 1;
        if line.len() as u64 > most && !line.ends_with(b"\n") {
            return Err(RecordingError::Long { path: self.path.to_owned(), line: self.number, most });
        }
        Ok((!line.is_empty()).then_some(line))
    }

    fn head<T: DeserializeOwned>(&mut self) -> Result<T, RecordingError> {
        let line = self.next(RECORDED_HEAD_BYTES_MAX)?.unwrap_or_default();
        serde_json::from_slice(&line).map_err(|error| line_error(self.path, self.number, error))
    }

    fn are_over(&mut self) -> Result<bool, RecordingError> {
        self.file.fill_buf().map(<[u8]>::is_empty).map_err(|error| io_error(self.path, error))
    }
}

fn io_error(path: &Path, error: io::Error) -> RecordingError {
    RecordingError::Io { path: path.to_owned(), error }
}

fn line_error(path: &Path, line: usize, error: serde_json::Error) -> RecordingError {
    RecordingError::Line { path: path.to_owned(), line, error }
}

/// An empty file, locked while it is recorded into. One that has anything in it but a recording is the user's.
fn file_for_recording(path: &Path) -> io::Result<File> {
    let is_special = std::fs::metadata(path).is_ok_and(|meta| !meta.is_file() && !meta.is_dir());
    if is_special {
        return OpenOptions::new().write(true).open(path);
    }
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            return Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                "something else is being recorded there",
            ));
        }
        // Some file systems have no locks.
        Ok(()) | Err(TryLockError::Error(_)) => {}
    }
    let mut begins = Vec::new();
    (&mut file).take(BEGINS.len() as u64).read_to_end(&mut begins)?;
    if !begins.is_empty() && begins != BEGINS {
        let is_there = "it is there already, and is no recording";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, is_there));
    }
    file.set_len(0)?;
    file.rewind()?;
    Ok(file)
}

/// Writes a recording. When the disk fails it stops, says so once, and the machine goes on unrecorded.
#[derive(Debug)]
pub(crate) struct Recorder {
    /// `None` after a failure.
    out: Option<BufWriter<File>>,
    flushed: tokio::time::Instant,
}

impl Recorder {
    /// Creates the file, or takes the place of an earlier recording, and writes the head.
    pub(crate) fn create<C: Serialize>(path: &Path, machine: &str, config: &C) -> io::Result<Self> {
        let out = BufWriter::with_capacity(64 * 1024, file_for_recording(path)?);
        let mut recorder = Self { out: Some(out), flushed: tokio::time::Instant::now() };
        recorder.line(&Head { potluck_recording: VERSION, machine: machine.to_owned(), config })?;
        Ok(recorder)
    }

    /// Appends one input.
    pub(crate) fn record<I: Serialize>(&mut self, now: Instant, input: &I) {
        if let Err(error) = self.line(&(now, input)) {
            self.give_up(&error);
        }
    }

    /// Writes out what is buffered, once in [`RECORD_FLUSH`].
    pub(crate) fn flush_if_due(&mut self) {
        if self.flushed.elapsed() < RECORD_FLUSH {
            return;
        }
        self.flushed = tokio::time::Instant::now();
        if let Some(Err(error)) = self.out.as_mut().map(Write::flush) {
            self.give_up(&error);
        }
    }

    fn line<T: Serialize>(&mut self, value: &T) -> io::Result<()> {
        let Some(out) = &mut self.out else { return Ok(()) };
        serde_json::to_writer(&mut *out, value)?;
        out.write_all(b"\n")
    }

    fn give_up(&mut self, error: &io::Error) {
        tracing::error!(%error, "the recording ends here");
        self.out = None;
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.out.as_mut().map(Write::flush) {
            tracing::error!(%error, "the recording lacks its end");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_recorded_is_read_back_even_if_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recording");
        let mut recorder = Recorder::create(&path, "peer", &"config").unwrap();
        recorder.record(Instant(5), &vec![1, 2]);
        recorder.record(Instant(6), &Vec::<u32>::new());
        drop(recorder);
        let read: Recording<String, Vec<u32>> = read_recording(&path, "peer").unwrap();
        let inputs = vec![(Instant(5), vec![1, 2]), (Instant(6), vec![])];
        assert_eq!(read, Recording { config: "config".into(), inputs: inputs.clone(), cut_off: false });
        assert_eq!(recorded_machine(&path).unwrap(), "peer");

        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{text}[7,[3")).unwrap();
        let read: Recording<String, Vec<u32>> = read_recording(&path, "peer").unwrap();
        assert!(read.cut_off && read.inputs == inputs);

        std::fs::write(&path, format!("{text}[7,[3\n[8,[]]\n")).unwrap();
        let damaged = read_recording::<String, Vec<u32>>(&path, "peer");
        assert!(matches!(damaged, Err(RecordingError::Line { line: 4, .. })));
        assert!(matches!(
            read_recording::<String, Vec<u32>>(&path, "tracker"),
            Err(RecordingError::Other { version: VERSION, .. })
        ));
    }

    /// Neither reads further than it must.
    #[test]
    fn a_line_without_an_end_is_no_recording() {
        let endless = Path::new("/dev/zero");
        let most = RECORDED_HEAD_BYTES_MAX;
        let long = |error| matches!(error, RecordingError::Long { line: 1, most: said, .. } if said == most);
        assert!(recorded_machine(endless).is_err_and(long));
        assert!(read_recording::<u8, u8>(endless, "peer").is_err_and(long));
    }

    #[test]
    fn a_recording_takes_the_place_of_an_earlier_one_and_of_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recording");
        let create = |config: &str| Recorder::create(&path, "peer", &config).map(drop);
        create("a long configuration").unwrap();
        create("short").unwrap();
        let read: Recording<String, u8> = read_recording(&path, "peer").unwrap();
        assert_eq!(read.config, "short");

        let under_way = Recorder::create(&path, "peer", &"first").unwrap();
        assert_eq!(create("second").unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        drop(under_way);
        assert!(std::fs::read_to_string(&path).unwrap().contains("first"));

        for users in ["a diary", "{\"potluck", "{\"other\":1}\n"] {
            std::fs::write(&path, users).unwrap();
            assert_eq!(create("config").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), users);
        }
        Recorder::create(Path::new("/dev/null"), "peer", &"config").unwrap();
    }

    #[test]
    fn what_is_no_recording_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none");
        assert!(matches!(recorded_machine(&path), Err(RecordingError::Io { .. })));
        std::fs::write(&path, "").unwrap();
        assert!(matches!(read_recording::<u8, u8>(&path, "peer"), Err(RecordingError::Line { line: 1, .. })));
    }
}
