//! One SSH connection, driven without blocking calls.
//!
//! libssh2's own timeouts count from the last byte, not from the start of a call, so a chatty command
//! outlives them. Here every call is tried, and between tries the socket is polled for no longer than is
//! left until the caller's deadline. Everything in this file runs on a thread that may wait.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use ssh2::{BlockDirections, Channel, ErrorCode, MethodType};

use super::Identity;
use crate::guest::{ExecOutput, ExitStatus};

/// More output than this is not an answer but a flood; it would be held in memory.
const MAX_OUTPUT: usize = 256 << 20;
/// libssh2's "try again", as an error code.
const EAGAIN: ErrorCode = ErrorCode::Session(-37);

/// Why an exchange ended early.
#[derive(Debug)]
pub(super) enum Broken {
    /// The server's key is not the pinned one.
    HostKey,
    TimedOut,
    Error(String),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Broken::Error(error.to_string())
    }
}

/// Ends a blocked connection from another thread: the only clean way to stop libssh2 is to shut its socket.
#[derive(Debug, Default)]
pub(super) struct Cancel {
    state: Mutex<CancelState>,
    cancelled: Condvar,
}

#[derive(Debug, Default)]
struct CancelState {
    cancelled: bool,
    stream: Option<TcpStream>,
}

impl Cancel {
    fn lock(&self) -> std::sync::MutexGuard<'_, CancelState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn cancel(&self) {
        let mut state = self.lock();
        state.cancelled = true;
        if let Some(stream) = state.stream.take() {
            // An error means that the socket is shut already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.cancelled.notify_all();
    }

    /// Forgets the socket: from now on a cancellation leaves it alone.
    pub(super) fn release(&self) {
        self.lock().stream = None;
    }

    /// Names the socket to shut; shuts it at once if the cancellation came first.
    pub(super) fn watch(&self, stream: &TcpStream) -> io::Result<()> {
        let mut state = self.lock();
        if state.cancelled {
            return stream.shutdown(Shutdown::Both);
        }
        state.stream = Some(stream.try_clone()?);
        Ok(())
    }

    /// Pauses between two attempts; returns early when cancelled.
    pub(super) fn pause(&self, time: Duration) {
        let state = self.lock();
        // The result only says whether the time ran out; the next attempt finds its socket shut if not.
        let _ = self.cancelled.wait_timeout_while(state, time, |state| !state.cancelled);
    }
}

pub(super) struct Connection {
    session: ssh2::Session,
    /// The same socket as the session's, for polling and shutting.
    stream: TcpStream,
}

impl Connection {
    /// Connects, checks the server's key, logs in. The server must send its first bytes before
    /// `greeting`: a port forward accepts connections long before the guest behind it does.
    pub(super) fn open(
        address: SocketAddr,
        identity: &Identity,
        greeting: Instant,
        deadline: Instant,
        cancel: &Cancel,
    ) -> Result<Self, Broken> {
        let stream = TcpStream::connect_timeout(&address, left(greeting)?)?;
        cancel.watch(&stream)?;
        stream.set_nodelay(true)?;
        wait(&stream, PollFlags::IN, greeting)?;

        let mut session = ssh2::Session::new().map_err(text)?;
        session.set_tcp_stream(stream.try_clone()?);
        session.set_blocking(false);
        session.method_pref(MethodType::HostKey, "ssh-ed25519").map_err(text)?;
        let mut connection = Connection { session, stream };
        loop {
            match connection.session.handshake() {
                Ok(()) => break,
                Err(error) => connection.again(error, deadline)?,
            }
        }
        if connection.session.host_key().map(|(key, _)| key) != Some(identity.host_key.as_slice()) {
            return Err(Broken::HostKey);
        }
        let key = &identity.private_key;
        connection
            .drive(deadline, |session| session.userauth_pubkey_memory(&identity.user, None, key, None))?;
        Ok(connection)
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Opens the channel of one command. When this fails, nothing was started.
    pub(super) fn channel(&self, deadline: Instant) -> Result<Channel, Broken> {
        self.drive(deadline, ssh2::Session::channel_session)
    }

    /// Runs `command` with `input` on its standard input, until both its streams and itself ended.
    pub(super) fn exec(
        &self,
        mut channel: Channel,
        command: &str,
        mut input: &[u8],
        deadline: Instant,
    ) -> Result<ExecOutput, Broken> {
        self.drive(deadline, |_| channel.exec(command))?;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut input_open = true;
        let mut buffer = vec![0_u8; 64 << 10];
        loop {
            let mut moved = false;
            if !input.is_empty() {
                match channel.write(input) {
                    Ok(written) => {
                        input = input.get(written..).unwrap_or_default();
                        moved |= written > 0;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    // The command closed its input; how it ended says whether that was right.
                    Err(_) => input = &[],
                }
            } else if input_open {
                self.drive(deadline, |_| channel.send_eof())?;
                input_open = false;
            }
            moved |= drain(&mut channel.stream(0), &mut buffer, &mut stdout)?;
            moved |= drain(&mut channel.stderr(), &mut buffer, &mut stderr)?;
            if channel.eof() {
                break;
            }
            if moved {
                // A command that never falls silent must not outlive the deadline either.
                left(deadline)?;
            } else {
                self.wait(deadline)?;
            }
        }
        self.drive(deadline, |_| channel.close())?;
        self.drive(deadline, |_| channel.wait_close())?;
        // The exit status of a killed command reads as 0, so the signal is asked first.
        let signal = channel.exit_signal().map_err(text)?.exit_signal;
        let status = match signal {
            Some(signal) => ExitStatus::Signal(signal),
            None => ExitStatus::Code(channel.exit_status().map_err(text)?),
        };
        Ok(ExecOutput { status, stdout, stderr })
    }

    /// Repeats a call until it neither succeeds nor fails for lack of data.
    fn drive<T>(
        &self,
        deadline: Instant,
        mut call: impl FnMut(&ssh2::Session) -> Result<T, ssh2::Error>,
    ) -> Result<T, Broken> {
        loop {
            match call(&self.session) {
                Ok(value) => return Ok(value),
                Err(error) => self.again(error, deadline)?,
            }
        }
    }

    fn again(&self, error: ssh2::Error, deadline: Instant) -> Result<(), Broken> {
        if error.code() == EAGAIN { self.wait(deadline) } else { Err(text(error)) }
    }

    fn wait(&self, deadline: Instant) -> Result<(), Broken> {
        let direction = match self.session.block_directions() {
            BlockDirections::Outbound => PollFlags::OUT,
            BlockDirections::Both => PollFlags::IN | PollFlags::OUT,
            BlockDirections::Inbound | BlockDirections::None => PollFlags::IN,
        };
        wait(&self.stream, direction, deadline)
    }
}

fn text(error: ssh2::Error) -> Broken {
    Broken::Error(error.message().to_owned())
}

fn left(deadline: Instant) -> Result<Duration, Broken> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(Broken::TimedOut),
        left => Ok(left),
    }
}

fn wait(stream: &TcpStream, direction: PollFlags, deadline: Instant) -> Result<(), Broken> {
    loop {
        let timeout =
            Timespec::try_from(left(deadline)?).map_err(|error| Broken::Error(error.to_string()))?;
        match poll(&mut [PollFd::new(stream, direction)], Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(io::Error::from(error).into()),
        }
    }
}

/// Takes what one read gives; whether it gave anything.
fn drain(from: &mut ssh2::Stream, buffer: &mut [u8], into: &mut Vec<u8>) -> Result<bool, Broken> {
    match from.read(buffer) {
        Ok(0) => Ok(false),
        Ok(count) if into.len() + count > MAX_OUTPUT => {
            Err(Broken::Error(format!("more than {} MiB of output", MAX_OUTPUT >> 20)))
        }
        Ok(count) => {
            into.extend_from_slice(buffer.get(..count).unwrap_or_default());
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error.into()),
    }
}
