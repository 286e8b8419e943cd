//! `potluck get WHAT --out -`: the content goes to standard output, in order, while it is downloaded.
//!
//! The download itself lands in a temporary folder, as any other does: what is verified from the beginning on is copied from
//! there. A reader that is slow holds up the copying, not the download; one that goes away ends it.

use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use potluck_core::content::Geometry;
use potluck_core::ids::ContentKey;
use potluck_core::peer::DownloadStatus;
use potluck_transport_tcp::Peer;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::exit::OutputFault;

/// Bytes copied at a time.
const STEP_BYTES: usize = 256 * 1024;

/// Where a content that goes to standard output is downloaded to. Removed when it is dropped.
pub(super) struct Scratch(TempDir);

impl Scratch {
    /// A folder of its own, below `TMPDIR`.
    pub(super) fn new() -> io::Result<Self> {
        tempfile::Builder::new().prefix("potluck-").tempdir().map(Self)
    }

    /// To be used as `--out`: the content goes there under its own name.
    pub(super) fn out(&self) -> PathBuf {
        self.0.path().join("")
    }
}

/// A content on its way to standard output.
pub(super) struct Stream {
    key: ContentKey,
    /// Bytes from the beginning that are verified.
    verified: watch::Sender<u64>,
    copying: JoinHandle<anyhow::Result<()>>,
}

impl Stream {
    pub(super) fn start(peer: &Peer, key: ContentKey) -> Self {
        let (verified, told) = watch::channel(0);
        let copying = tokio::spawn(copy(peer.clone(), key, told));
        Self { key, verified, copying }
    }

    /// Takes in how the download is doing.
    pub(super) fn advance(&self, status: &DownloadStatus) {
        let whole = status.bytes >= self.key.length;
        let prefix = match (status.missing.first(), Geometry::new(self.key.length)) {
            (Some((first, _)), Some(geometry)) => geometry.piece_length() * u64::from(first.0),
            _ if whole => self.key.length,
            _ => 0,
        };
        self.verified
            .send_if_modified(|verified| prefix > std::mem::replace(verified, prefix.max(*verified)));
    }

    /// All of it is verified.
    pub(super) fn complete(&self) {
        self.verified.send_replace(self.key.length);
    }

    /// Waits until all of it is written, or cannot be. Cancel-safe; not to be called again after it returned.
    pub(super) async fn ended(&mut self) -> anyhow::Result<()> {
        (&mut self.copying).await??;
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.copying.abort();
    }
}

async fn copy(peer: Peer, key: ContentKey, mut verified: watch::Receiver<u64>) -> anyhow::Result<()> {
    let mut written = 0;
    while written < key.length {
        let Ok(until) = verified.wait_for(|verified| *verified > written).await.map(|until| *until) else {
            return Ok(());
        };
        let peer = peer.clone();
        let step = tokio::task::spawn_blocking(move || {
            // What is verified can be read, wherever it stands by now.
            let source = peer.open(key).context("what was downloaded cannot be read")?;
            let mut stdout = io::stdout().lock();
            let mut buffer = vec![0; STEP_BYTES];
            let mut at = written;
            while at < until {
                let wanted = (until - at).min(STEP_BYTES as u64) as usize;
                let read = source
                    .read_at(at, &mut buffer[..wanted])
                    .context("what was downloaded cannot be read")?;
                anyhow::ensure!(read > 0, "what was downloaded is gone");
                stdout.write_all(&buffer[..read]).map_err(OutputFault)?;
                at += read as u64;
            }
            stdout.flush().map_err(OutputFault)?;
            anyhow::Ok(())
        });
        step.await??;
        written = until;
    }
    Ok(())
}
