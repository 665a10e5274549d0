//! One port's sockets, and the frames that wait for a slow receiver.
//!
//! A port never waits: what its receiver cannot take now is queued up to a limit and then dropped and counted,
//! and a receiver that is not there yet, or not any more, costs the frame and nothing else. It knows no rules.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use super::mmsg;

/// Frames that wait for one receiver. The kernel itself takes only ten datagrams a Unix socket, fewer than one
/// TCP window, so this is the buffer of the port.
const QUEUE_LIMIT: usize = 512;

/// What one port saw so far. `sent` and `received` are from the side of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PortStats {
    /// Frames that the node sent into the switch.
    pub sent: u64,
    /// Frames that the node was given.
    pub received: u64,
    /// Frames for the node that were dropped because it reads too slowly.
    pub overrun: u64,
    /// Frames for the node that were dropped because nobody was there to take them.
    pub absent: u64,
    /// Frames of the node that are no Ethernet frames, or too long.
    pub malformed: u64,
    /// Frames of the node for a hardware address that no port has.
    pub unknown: u64,
}

/// How frames reach the node.
enum Wire {
    /// A path on each side. The sending socket is not the bound one: a bound socket that is connected to a
    /// node would refuse the frames of the node's next incarnation.
    Paths { inward: UnixDatagram, outward: UnixDatagram, local: PathBuf, remote: PathBuf, connected: bool },
    /// Both ends live in this process.
    Pair { ours: UnixDatagram, connected: bool },
}

pub(super) struct Port {
    wire: Wire,
    queue: VecDeque<Vec<u8>>,
    pub(super) stats: PortStats,
}

impl Port {
    /// Binds `local`, replacing a socket that a dead process left there.
    pub(super) fn bind(local: &Path, remote: &Path) -> io::Result<Self> {
        if fs::symlink_metadata(local).is_ok_and(|found| found.file_type().is_socket()) {
            fs::remove_file(local)?;
        }
        let inward = UnixDatagram::bind(local)?;
        let outward = UnixDatagram::unbound()?;
        let (local, remote) = (local.to_owned(), remote.to_owned());
        Ok(Port::new(Wire::Paths { inward, outward, local, remote, connected: false }))
    }

    pub(super) fn pair(ours: UnixDatagram) -> Self {
        Port::new(Wire::Pair { ours, connected: true })
    }

    fn new(wire: Wire) -> Self {
        Port { wire, queue: VecDeque::new(), stats: PortStats::default() }
    }

    /// Readable when the node has sent something.
    pub(super) fn inward(&self) -> BorrowedFd<'_> {
        match &self.wire {
            Wire::Paths { inward, .. } => inward.as_fd(),
            Wire::Pair { ours, .. } => ours.as_fd(),
        }
    }

    /// Writable when the node can take more; given only while something waits for that.
    pub(super) fn backlog(&self) -> Option<BorrowedFd<'_>> {
        (!self.queue.is_empty()).then(|| self.outward())
    }

    fn outward(&self) -> BorrowedFd<'_> {
        match &self.wire {
            Wire::Paths { outward, .. } => outward.as_fd(),
            Wire::Pair { ours, .. } => ours.as_fd(),
        }
    }

    /// Gives `frames` to the node, in order, behind what waits already. Says how many of them, counted from
    /// the first, the node has got when this returns.
    pub(super) fn deliver<T: AsRef<[u8]>>(&mut self, frames: &[T]) -> usize {
        let sent = if self.queue.is_empty() { self.send(frames) } else { Sent::default() };
        for frame in frames.iter().skip(sent.settled) {
            if self.queue.len() < QUEUE_LIMIT {
                self.queue.push_back(frame.as_ref().to_vec());
            } else {
                self.stats.overrun += 1;
            }
        }
        sent.delivered
    }

    /// Gives the node what waited, as far as it takes it; `delivered` sees what it got.
    pub(super) fn flush(&mut self, delivered: impl FnOnce(&[Vec<u8>])) {
        let mut queue = std::mem::take(&mut self.queue);
        let frames = queue.make_contiguous();
        let sent = self.send(frames);
        delivered(frames.get(..sent.delivered).unwrap_or_default());
        queue.drain(..sent.settled);
        self.queue = queue;
    }

    fn send<T: AsRef<[u8]>>(&mut self, frames: &[T]) -> Sent {
        let mut sent = Sent::default();
        let mut reconnected = false;
        while let Some(rest) = frames.get(sent.delivered..).filter(|rest| !rest.is_empty()) {
            if !self.wire.connected() {
                // Once a call: a peer that goes away between connecting and sending must not hold us here.
                if reconnected || !self.wire.connect() {
                    self.stats.absent += rest.len() as u64;
                    sent.settled = frames.len();
                    return sent;
                }
                reconnected = true;
            }
            match mmsg::send(self.outward(), rest) {
                Ok(count) => {
                    sent.delivered += count;
                    sent.settled = sent.delivered;
                    self.stats.received += count as u64;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return sent,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.wire.disconnected(),
            }
        }
        sent
    }
}

/// What became of the first frames of a slice.
#[derive(Default)]
struct Sent {
    /// The node has got so many.
    delivered: usize,
    /// So many need no further care: delivered, or dropped because nobody is there.
    settled: usize,
}

impl Wire {
    fn connected(&self) -> bool {
        match self {
            Wire::Paths { connected, .. } => *connected,
            Wire::Pair { connected, .. } => *connected,
        }
    }

    /// Whether there is somebody at the other end now.
    fn connect(&mut self) -> bool {
        match self {
            Wire::Paths { outward, remote, connected, .. } => {
                *connected = outward.connect(remote).is_ok();
                *connected
            }
            Wire::Pair { .. } => false,
        }
    }

    fn disconnected(&mut self) {
        match self {
            Wire::Paths { connected, .. } | Wire::Pair { connected, .. } => *connected = false,
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Wire::Paths { local, .. } = self {
            // Nothing to be done about a failure: the next start replaces what is left.
            let _ = fs::remove_file(local);
        }
    }
}
