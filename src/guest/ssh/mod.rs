//! [`Session`] over SSH.
//!
//! Each session owns one connection at a time and opens it at the first call; to run commands at the same
//! time, use several sessions. A connection is thrown away after any failure.

mod connection;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use self::connection::{Broken, Cancel, Connection};
use super::{ExecOutput, Session, SessionError};

/// Where an instance's SSH server is reached right now.
#[async_trait]
pub trait Endpoint: Send + Sync {
    /// Fails, with the reason, when there is no such place, as for an instance that is stopped.
    async fn address(&self) -> Result<SocketAddr, String>;
}

/// Who we are, and who the server must be.
#[derive(Clone)]
pub struct Identity {
    pub user: String,
    /// An OpenSSH private key file's text.
    pub private_key: String,
    /// The server's ed25519 key as it goes over the wire.
    pub host_key: Vec<u8>,
}

/// How long a server may take to say its first word, at the first attempt; doubled at each further one,
/// because a slow guest must get its chance as well.
const FIRST_GREETING: Duration = Duration::from_secs(2);
const LONGEST_GREETING: Duration = Duration::from_secs(16);
/// For the key exchange and the login after the first word; slow guests need seconds.
const LOGIN: Duration = Duration::from_secs(30);
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(200);

/// A shell session over SSH.
pub struct SshSession {
    endpoint: Arc<dyn Endpoint>,
    identity: Arc<Identity>,
    connection: Mutex<Option<Connection>>,
}

/// Why one try at a command ended.
enum Attempt {
    /// Nothing was started; on a connection that was kept from an earlier call it is worth a new one.
    NotStarted(Broken),
    Started(Broken),
}

impl SshSession {
    pub fn new(endpoint: Arc<dyn Endpoint>, identity: Arc<Identity>) -> Self {
        SshSession { endpoint, identity, connection: Mutex::new(None) }
    }

    async fn run(
        &self,
        command: String,
        input: Vec<u8>,
        deadline: Instant,
    ) -> Result<ExecOutput, SessionError> {
        let busy = |_| SessionError::Connect("the session was busy until the deadline".to_owned());
        let mut kept = timeout_at(deadline, self.connection.lock()).await.map_err(busy)?;
        let input: Arc<[u8]> = input.into();
        let mut fresh = false;
        loop {
            let connection = match kept.take() {
                Some(connection) => connection,
                None => {
                    fresh = true;
                    self.connect(deadline).await?
                }
            };
            match exec(connection, command.clone(), input.clone(), deadline).await {
                Ok((connection, output)) => {
                    *kept = Some(connection);
                    return Ok(output);
                }
                // The instance was booted again since the last call.
                Err(Attempt::NotStarted(Broken::Error(_))) if !fresh => {}
                Err(Attempt::NotStarted(broken)) => return Err(not_started(broken)),
                Err(Attempt::Started(Broken::TimedOut)) => return Err(SessionError::TimedOut),
                Err(Attempt::Started(Broken::HostKey)) => return Err(SessionError::HostKey),
                Err(Attempt::Started(Broken::Error(reason))) => return Err(SessionError::Lost(reason)),
            }
        }
    }

    /// Tries until the deadline: the guest may still be booting.
    async fn connect(&self, deadline: Instant) -> Result<Connection, SessionError> {
        let mut greeting = FIRST_GREETING;
        let mut last = "no attempt was made before the deadline".to_owned();
        loop {
            let now = Instant::now();
            if now >= deadline {
                return Err(SessionError::Connect(last));
            }
            let address = match timeout_at(deadline, self.endpoint.address()).await {
                Ok(address) => address.map_err(SessionError::Connect)?,
                Err(_) => return Err(SessionError::Connect("the fleet did not answer".to_owned())),
            };
            let identity = self.identity.clone();
            let (greet_by, login_by) = (deadline.min(now + greeting), deadline.min(now + greeting + LOGIN));
            let attempt = blocking(move |cancel| {
                let opened =
                    Connection::open(address, &identity, greet_by.into_std(), login_by.into_std(), cancel);
                if opened.is_err() {
                    cancel.pause(BETWEEN_ATTEMPTS);
                }
                opened
            });
            match attempt.await {
                Ok(connection) => return Ok(connection),
                Err(Broken::HostKey) => return Err(SessionError::HostKey),
                Err(Broken::TimedOut) => last = format!("no answer from {address}"),
                Err(Broken::Error(reason)) => last = reason,
            }
            greeting = (greeting * 2).min(LONGEST_GREETING);
        }
    }
}

fn not_started(broken: Broken) -> SessionError {
    match broken {
        Broken::HostKey => SessionError::HostKey,
        Broken::TimedOut => SessionError::Connect("no answer before the deadline".to_owned()),
        Broken::Error(reason) => SessionError::Connect(reason),
    }
}

async fn exec(
    connection: Connection,
    command: String,
    input: Arc<[u8]>,
    deadline: Instant,
) -> Result<(Connection, ExecOutput), Attempt> {
    let deadline = deadline.into_std();
    blocking(move |cancel| {
        cancel.watch(connection.stream()).map_err(|error| Attempt::NotStarted(error.into()))?;
        let channel = connection.channel(deadline).map_err(Attempt::NotStarted)?;
        match connection.exec(channel, &command, &input, deadline) {
            Ok(output) => Ok((connection, output)),
            Err(broken) => Err(Attempt::Started(broken)),
        }
    })
    .await
}

/// Runs `work` on a thread that may wait. When the future is dropped, the work's socket is shut, so that
/// the thread ends soon.
async fn blocking<T: Send + 'static, E: From<Lost> + Send + 'static>(
    work: impl FnOnce(&Cancel) -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    struct OnDrop(Arc<Cancel>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.cancel();
        }
    }
    let cancel = Arc::new(Cancel::default());
    let guard = OnDrop(cancel.clone());
    let done = tokio::task::spawn_blocking(move || {
        let done = work(&cancel);
        // From here on the connection belongs to the session again.
        cancel.release();
        done
    })
    .await;
    drop(guard);
    done.unwrap_or_else(|error| Err(E::from(Lost(error.to_string()))))
}

/// The thread itself failed.
struct Lost(String);

impl From<Lost> for Broken {
    fn from(lost: Lost) -> Self {
        Broken::Error(lost.0)
    }
}

impl From<Lost> for Attempt {
    fn from(lost: Lost) -> Self {
        Attempt::Started(lost.into())
    }
}

fn quoted(path: &str) -> Result<String, SessionError> {
    let quoted = shlex::try_quote(path).map_err(|error| SessionError::File(format!("{path:?}: {error}")))?;
    Ok(quoted.into_owned())
}

fn file_result(output: ExecOutput, path: &str) -> Result<Vec<u8>, SessionError> {
    if output.success() {
        return Ok(output.stdout);
    }
    let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(SessionError::File(if reason.is_empty() { format!("{path}: {}", output.status) } else { reason }))
}

#[async_trait]
impl Session for SshSession {
    async fn exec(&self, command: &str, deadline: Instant) -> Result<ExecOutput, SessionError> {
        // The login shell of root may be anything; the command is written for `sh`.
        let command = format!("exec sh -c {}", quoted(command)?);
        self.run(command, Vec::new(), deadline).await
    }

    async fn put(&self, path: &str, bytes: &[u8], mode: u32, deadline: Instant) -> Result<(), SessionError> {
        let (target, aside) = (quoted(path)?, quoted(&format!("{path}.{:08x}~", rand::random::<u32>()))?);
        // Written aside and renamed: a service never reads half a file, even if the connection breaks.
        let script = format!(
            "umask 077 && {{ cat > {aside} && chmod {mode:o} {aside} && mv -fT {aside} {target} || \
             {{ rm -f {aside}; exit 1; }}; }}"
        );
        let command = format!("exec sh -c {}", quoted(&script)?);
        let output = self.run(command, bytes.to_vec(), deadline).await?;
        file_result(output, path).map(drop)
    }

    async fn get(&self, path: &str, deadline: Instant) -> Result<Vec<u8>, SessionError> {
        let output = self.exec(&format!("exec cat -- {}", quoted(path)?), deadline).await?;
        file_result(output, path)
    }
}

#[cfg(test)]
mod tests;
