//! Being interrupted: the first signal asks for an orderly end, the second one kills.

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::exit::{Code, Failure};
use crate::ui;

/// Tells whether potluck was asked to end. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Interrupts(watch::Receiver<Option<Code>>);

impl Interrupts {
    /// Takes over SIGINT and SIGTERM; with `while_stdin` the end of standard input counts as a SIGTERM.
    pub(crate) fn listen(while_stdin: bool) -> std::io::Result<Self> {
        // Not to be killed by a limit on the size of files: then the write fails, and is told. Tokio's handler stays
        // when nobody listens.
        drop(signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))?);
        let (sender, receiver) = watch::channel(None);
        let mut int = signal(SignalKind::interrupt())?;
        let mut term = signal(SignalKind::terminate())?;
        let (closed, mut stdin_closed) = tokio::sync::oneshot::channel();
        if while_stdin {
            // A plain thread: tokio's own would be waited for at the end.
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
                let _ = closed.send(());
            });
        }
        tokio::spawn(async move {
            loop {
                let code = tokio::select! {
                    _ = int.recv() => Code::Interrupted,
                    _ = term.recv() => Code::Terminated,
                    Ok(()) = &mut stdin_closed, if sender.borrow().is_none() => Code::Terminated,
                };
                if sender.borrow().is_some() {
                    std::process::exit(code as i32);
                }
                sender.send_replace(Some(code));
                // Who waits to be read cannot end by itself.
                tokio::spawn(async move {
                    ui::stuck().await;
                    std::process::exit(code as i32);
                });
            }
        });
        Ok(Self(receiver))
    }

    /// The exit code that stands for the first signal, if it has come.
    pub(crate) fn came(&self) -> Option<Code> {
        *self.0.borrow()
    }

    /// Waits for the first signal and names the exit code that stands for it. Cancel-safe.
    pub(crate) async fn wait(&self) -> Code {
        let mut receiver = self.0.clone();
        let code = receiver.wait_for(Option::is_some).await.ok().and_then(|code| *code);
        match code {
            Some(code) => code,
            // The listening task ended with its runtime; nobody waits any more.
            None => std::future::pending().await,
        }
    }
}

/// The failure of a verb that was interrupted before it was done.
pub(crate) fn interrupted(code: Code) -> Failure {
    let name = if code == Code::Terminated { "SIGTERM" } else { "SIGINT" };
    Failure::new(code, format!("interrupted by {name}"))
}
