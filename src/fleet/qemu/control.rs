//! What is said between a fleet's handles and its supervisor: one JSON object a line, over a Unix socket.
//!
//! Questions on one connection are answered in turn. After a good answer to `dial` the connection carries
//! the bytes of the dialed one. What was done as a lease ends when its connection does.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::folder::CONTROL_SOCKET;
use crate::disk::{DiskRules, Unflushed};
use crate::fleet::provider::{FleetError, InstanceAction};
use crate::guest::DialError;
use crate::network::RuleSet;
use crate::seed::Seed;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    Status {
        node: String,
    },
    /// Freezing is a lease: when the connection ends, the node thaws.
    Act {
        node: String,
        action: InstanceAction,
    },
    /// Where the node's SSH server is reached.
    SshPort {
        node: String,
    },
    Dial {
        node: String,
        port: u16,
        within: Duration,
    },
    /// A lease: when the connection ends, so do the rules.
    Impair {
        rules: RuleSet,
    },
    Repair {
        fault: String,
    },
    Counters {
        fault: String,
    },
    PowerCut {
        node: String,
        unflushed: Unflushed,
        seed: Seed,
    },
    /// A lease, as `impair` is.
    ImpairDisks {
        rules: DiskRules,
    },
    RepairDisks {
        fault: String,
    },
    DiskCounters {
        fault: String,
    },
    /// Saves all machines at one instant into a folder; says how they are to be woken.
    Save {
        into: PathBuf,
    },
    Destroy,
}

/// The supervisor's answer, or why there is none.
pub(crate) type Reply = Result<serde_json::Value, Refusal>;

/// An error on its way through the socket.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Refusal {
    NoSuchNode(String),
    Start { node: String, reason: String, console: String },
    Provider(String),
    Refused,
    Unreachable,
    TimedOut,
}

impl From<FleetError> for Refusal {
    fn from(error: FleetError) -> Self {
        match error {
            FleetError::NoSuchNode(node) => Refusal::NoSuchNode(node),
            FleetError::Start { node, reason, console } => Refusal::Start { node, reason, console },
            other => Refusal::Provider(other.to_string()),
        }
    }
}

impl From<Refusal> for FleetError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoSuchNode(node) => FleetError::NoSuchNode(node),
            Refusal::Start { node, reason, console } => FleetError::Start { node, reason, console },
            Refusal::Provider(reason) => FleetError::Provider(reason),
            refusal => FleetError::Provider(DialError::from(refusal).to_string()),
        }
    }
}

impl From<DialError> for Refusal {
    fn from(error: DialError) -> Self {
        match error {
            DialError::Refused => Refusal::Refused,
            DialError::Unreachable => Refusal::Unreachable,
            DialError::TimedOut => Refusal::TimedOut,
            DialError::Fleet(reason) => Refusal::Provider(reason),
        }
    }
}

impl From<Refusal> for DialError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Refused => DialError::Refused,
            Refusal::Unreachable => DialError::Unreachable,
            Refusal::TimedOut => DialError::TimedOut,
            Refusal::Provider(reason) => DialError::Fleet(reason),
            Refusal::NoSuchNode(node) => DialError::Fleet(format!("there is no node `{node}`")),
            Refusal::Start { node, reason, .. } => DialError::Fleet(format!("{node}: {reason}")),
        }
    }
}

/// Where a supervisor listens. Holds the folder open, so that the path of the socket is always short.
#[derive(Debug)]
pub(crate) struct Address {
    folder: File,
}

impl Address {
    pub(crate) fn of(folder: &Path) -> std::io::Result<Self> {
        let folder =
            rustix::fs::open(folder, OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Address { folder: folder.into() })
    }

    pub(crate) async fn connect(&self) -> std::io::Result<Connection<UnixStream>> {
        let path = format!("/proc/self/fd/{}/{CONTROL_SOCKET}", self.folder.as_raw_fd());
        loop {
            match UnixStream::connect(&path).await {
                // The queue of the listener is full: it is asked by many at once.
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                other => return other.map(Connection::new),
            }
        }
    }
}

/// One end of a conversation; a byte stream like any other once a dial has succeeded.
#[derive(Debug)]
pub(crate) struct Connection<S> {
    stream: BufReader<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(crate) fn new(stream: S) -> Self {
        Connection { stream: BufReader::new(stream) }
    }

    /// The next message; `None` when the other end has closed.
    pub(crate) async fn receive<T: DeserializeOwned>(&mut self) -> std::io::Result<Option<T>> {
        let mut line = String::new();
        match self.stream.read_line(&mut line).await? {
            0 => Ok(None),
            _ => Ok(Some(serde_json::from_str(&line)?)),
        }
    }

    pub(crate) async fn send(&mut self, message: &impl Serialize) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        self.stream.write_all(&line).await
    }

    /// Asks and waits for the answer.
    pub(crate) async fn ask<T: DeserializeOwned>(&mut self, request: &Request) -> Result<T, FleetError> {
        let reply = self.exchange(request).await.map_err(|error| gone(&error.to_string()))?;
        serde_json::from_value(reply?)
            .map_err(|error| FleetError::Provider(format!("unexpected answer: {error}")))
    }

    /// Asks for a connection to a port of a node; after success this one carries its bytes.
    pub(crate) async fn dial(&mut self, request: &Request) -> Result<(), DialError> {
        let reply = self.exchange(request).await.map_err(|error| DialError::Fleet(error.to_string()))?;
        Ok(reply.map(drop)?)
    }

    async fn exchange(&mut self, request: &Request) -> std::io::Result<Reply> {
        self.send(request).await?;
        let closed = || std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "it closed the connection");
        self.receive::<Reply>().await?.ok_or_else(closed)
    }

    pub(crate) fn into_stream(self) -> BufReader<S> {
        self.stream
    }
}

/// The error of a fleet whose supervisor does not answer.
pub(crate) fn gone(why: &str) -> FleetError {
    FleetError::Provider(format!("the fleet's supervisor is gone: {why}"))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn a_socket_in_a_deep_folder_is_reached_and_upgraded() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(120)).join("e".repeat(120));
        std::fs::create_dir_all(&deep).unwrap();
        let address = Address::of(&deep).unwrap();
        let path = format!("/proc/self/fd/{}/{CONTROL_SOCKET}", address.folder.as_raw_fd());
        let listener = UnixListener::bind(path).unwrap();
        tokio::spawn(async move {
            let mut connection = Connection::new(listener.accept().await.unwrap().0);
            while let Ok(Some(request)) = connection.receive::<Request>().await {
                let reply: Reply = match request {
                    Request::SshPort { .. } => Ok(22.into()),
                    Request::Dial { .. } => Ok(serde_json::Value::Null),
                    _ => Err(Refusal::NoSuchNode("x".to_owned())),
                };
                connection.send(&reply).await.unwrap();
                if matches!(request, Request::Dial { .. }) {
                    // What the service says at once must not get lost behind the answer.
                    connection.into_stream().write_all(b"banner").await.unwrap();
                    return;
                }
            }
        });
        let mut connection = address.connect().await.unwrap();
        let node = "etcd-1".to_owned();
        let port: u16 = connection.ask(&Request::SshPort { node: node.clone() }).await.unwrap();
        assert_eq!(port, 22);
        let refused = connection.ask::<()>(&Request::Status { node: node.clone() }).await.unwrap_err();
        assert!(matches!(refused, FleetError::NoSuchNode(_)));
        let dial = Request::Dial { node, port: 1, within: Duration::from_secs(1) };
        connection.ask::<()>(&dial).await.unwrap();
        let mut said = String::new();
        connection.into_stream().read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "banner");
    }
}
