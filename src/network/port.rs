//! One port: the way to its node, and the frames that wait for a slow receiver.
//!
//! A port never waits: what its node cannot take now is queued up to a limit and then dropped and counted, and
//! a node that is not there yet, or not any more, costs the frame and nothing else. It knows no rules.

use std::fs;
use std::io::{self, ErrorKind};
use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use super::wire::{Reader, Writer};

/// Bytes that wait for one node, at most: some five hundred full frames.
const QUEUE_LIMIT: usize = 768 << 10;

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

pub(super) struct Port {
    /// Where nodes call; none for a node of this process.
    door: Option<Door>,
    /// The node that called last, while it is there.
    node: Option<UnixStream>,
    reader: Reader,
    writer: Writer,
    pub(super) stats: PortStats,
}

impl Port {
    /// Listens at `path`, replacing a socket that a dead process left there.
    pub(super) fn listen(path: &Path) -> io::Result<Self> {
        Ok(Port::new(Some(Door::open(path)?), None))
    }

    /// The port of a node of this process.
    pub(super) fn of(node: UnixStream) -> Self {
        Port::new(None, Some(node))
    }

    fn new(door: Option<Door>, node: Option<UnixStream>) -> Self {
        let (reader, writer) = (Reader::default(), Writer::default());
        Port { door, node, reader, writer, stats: PortStats::default() }
    }

    /// Readable when another node calls.
    pub(super) fn door(&self) -> Option<BorrowedFd<'_>> {
        self.door.as_ref().map(|door| door.listener.as_fd())
    }

    /// Readable when the node has sent something or is gone.
    pub(super) fn node(&self) -> Option<BorrowedFd<'_>> {
        self.node.as_ref().map(AsFd::as_fd)
    }

    /// Whether something waits until the node can take more.
    pub(super) fn is_behind(&self) -> bool {
        self.writer.waiting() > 0
    }

    /// Lets in the node that calls, if one does; the one before it is gone.
    pub(super) fn let_in(&mut self) {
        while let Some(Ok((node, _))) = self.door.as_ref().map(|door| door.listener.accept()) {
            self.leave();
            self.node = Some(node);
        }
    }

    /// Reads what the node has sent. The reader is lent out, so that frames can be given to other ports where they
    /// lie; [`Port::listen_again`] takes it back.
    pub(super) fn hear(&mut self) -> Reader {
        let mut reader = mem::take(&mut self.reader);
        if let Some(node) = &self.node {
            match reader.fill(node.as_fd()) {
                Ok(true) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Ok(false) | Err(_) => {
                    self.leave();
                    return Reader::default();
                }
            }
        }
        reader
    }

    pub(super) fn listen_again(&mut self, reader: Reader) {
        self.reader = reader;
    }

    /// Puts a frame behind what waits for the node already; false if it is lost. [`Port::flush`] sends it.
    pub(super) fn give(&mut self, frame: &[u8]) -> bool {
        if self.node.is_none() {
            self.stats.absent += 1;
            return false;
        }
        if self.writer.waiting() + frame.len() > QUEUE_LIMIT {
            self.stats.overrun += 1;
            return false;
        }
        self.writer.push(frame);
        self.stats.received += 1;
        true
    }

    /// Sends the node what it takes now.
    pub(super) fn flush(&mut self) {
        if let Some(node) = &self.node
            && self.writer.flush(node.as_fd()).is_err()
        {
            self.leave();
        }
    }

    fn leave(&mut self) {
        (self.node, self.reader, self.writer) = (None, Reader::default(), Writer::default());
    }
}

/// A listening socket with a path, which goes with it.
struct Door {
    listener: UnixListener,
    path: PathBuf,
}

impl Door {
    fn open(path: &Path) -> io::Result<Self> {
        if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
            fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Ok(Door { listener, path: path.to_owned() })
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // Nothing to be done about a failure: the next start replaces what is left.
        let _ = fs::remove_file(&self.path);
    }
}
