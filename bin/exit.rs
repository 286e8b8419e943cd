//! How potluck ends: exit codes are a contract, and every failure says what happened and what to do next.

use std::fmt;
use std::io;

use potluck_transport_tcp::StartError;
use serde_json::{Map, Value};

/// The exit codes that are not 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// Anything without a code of its own.
    Failed = 1,
    /// The command line cannot be understood.
    Usage = 2,
    /// Nobody knows such a content.
    NotFound = 3,
    /// No remaining holder has what is missing; progress is kept.
    Incomplete = 4,
    /// The name means several contents.
    Ambiguous = 5,
    /// The tracker does not answer.
    Unreachable = 6,
    /// SIGINT came before it was done.
    Interrupted = 130,
    /// SIGTERM came before it was done.
    Terminated = 143,
}

/// A failure with a code of its own. Any other error exits with [`Code::Failed`].
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) message: String,
    /// What to do next, and what else helps: lines for people.
    pub(crate) hint: Option<String>,
    /// Further fields of the JSON object.
    pub(crate) fields: Map<String, Value>,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, fields: Map::new() }
    }

    /// The failure that an error is; without a code of its own, [`Code::Failed`].
    pub(crate) fn of(error: anyhow::Error) -> Self {
        error.downcast().unwrap_or_else(|error| Self::new(Code::Failed, format!("{error:#}")))
    }

    /// Adds what a person reads below the message.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds to the JSON object names that may have been meant, if there are any.
    pub(crate) fn suggesting(self, near: &[String]) -> Self {
        if near.is_empty() { self } else { self.field("near", near.into()) }
    }

    /// Adds a field to the JSON object.
    pub(crate) fn field(mut self, name: &str, value: Value) -> Self {
        self.fields.insert(name.to_owned(), value);
        self
    }
}

/// Why a peer or a tracker did not start; `listen` is what helps where its address cannot be had.
pub(crate) fn not_started(error: &StartError, listen: &str) -> Failure {
    let failure = Failure::new(Code::Failed, error.to_string());
    match error {
        StartError::Listen { .. } => failure.hint(listen),
        StartError::Record { .. } => failure.hint("Choose another file with --record."),
        StartError::Threads(_) | StartError::Entropy => failure,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Standard output could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
pub(crate) struct OutputFault(#[from] pub(crate) io::Error);

impl OutputFault {
    /// The reader went away, as `head` does: it has what it wanted.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}
