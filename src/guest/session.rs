//! Running commands in one instance and copying files, over a path that faults never touch.

use std::fmt;

use async_trait::async_trait;
use tokio::time::Instant;

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitStatus {
    Code(i32),
    /// Killed by this signal, named without `SIG`, such as `KILL`.
    Signal(String),
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitStatus::Code(code) => write!(f, "exit code {code}"),
            ExitStatus::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// What a command left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutput {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl ExecOutput {
    pub fn success(&self) -> bool {
        self.status == ExitStatus::Code(0)
    }

    /// Standard output as text, without the line end at its end.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_owned()
    }
}

/// Why a session could not do what it was asked. The session reconnects by itself at the next call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// No connection: the command was not started.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The host key is not the one that this instance was given.
    #[error("the host key is not the one this instance was given")]
    HostKey,
    /// The deadline passed; the command may still be running in the instance.
    #[error("no answer before the deadline")]
    TimedOut,
    /// The connection broke; the command may have run.
    #[error("connection lost: {0}")]
    Lost(String),
    /// The instance answered that it cannot read or write the file; the connection is fine.
    #[error("{0}")]
    File(String),
}

/// A shell on one instance, as root. Calls on one session run one after another; ask the fleet for a
/// further session to run commands at the same time.
#[async_trait]
pub trait Session: Send + Sync {
    /// Runs `command` with `sh -c`, drains both streams, waits for its end.
    async fn exec(&self, command: &str, deadline: Instant) -> Result<ExecOutput, SessionError>;

    /// Writes `bytes` to the absolute `path` with permission bits `mode`, replacing what was there.
    async fn put(&self, path: &str, bytes: &[u8], mode: u32, deadline: Instant) -> Result<(), SessionError>;

    /// Reads the file at the absolute `path`.
    async fn get(&self, path: &str, deadline: Instant) -> Result<Vec<u8>, SessionError>;
}
