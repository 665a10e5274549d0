//! Answers that have to wait, so that those behind them need not: for a delay, for the end of a stall, or for
//! the host's disk.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::protocol::Errno;
use super::transmit::reply;
use crate::disk::device::Disk;
use crate::disk::troubles::Installed;

/// More than QEMU has under way at once; whoever sends more than this waits for the first to be answered.
const MAX_WAITING: usize = 256;
const MAX_BYTES: usize = 64 << 20;

pub(super) struct Waiting {
    pub(super) due: Instant,
    /// Until all of these are gone.
    pub(super) stalled_by: Vec<Arc<Installed>>,
    pub(super) work: Work,
}

pub(super) enum Work {
    Send(Vec<u8>),
    /// Flush, and then answer the request of this handle.
    Flush(u64),
}

impl Waiting {
    fn is_stalled(&self) -> bool {
        self.stalled_by.iter().any(|installed| !installed.is_gone())
    }

    fn bytes(&self) -> usize {
        match &self.work {
            Work::Send(bytes) => bytes.len(),
            Work::Flush(_) => 0,
        }
    }
}

/// The waiting answers of one conversation.
pub(super) struct Lane<'a> {
    disk: &'a Disk,
    waiting: Mutex<Vec<Waiting>>,
    /// Nobody wants an answer any more.
    ended: &'a AtomicBool,
}

impl<'a> Lane<'a> {
    pub(super) fn new(disk: &'a Disk, ended: &'a AtomicBool) -> Self {
        Lane { disk, waiting: Mutex::new(Vec::new()), ended }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Adds an answer, as soon as there is room for it.
    pub(super) fn push(&self, answer: Waiting) {
        let bell = self.disk.bell();
        loop {
            let seen = bell.rings();
            let mut waiting = self.waiting();
            let bytes: usize = waiting.iter().map(Waiting::bytes).sum();
            if waiting.len() < MAX_WAITING && bytes + answer.bytes() <= MAX_BYTES {
                waiting.push(answer);
                break;
            }
            drop(waiting);
            if self.has_ended() {
                return;
            }
            bell.wait(seen, None);
        }
        bell.ring();
    }

    /// Lets [`Lane::run`] return; what still waits is never answered.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.disk.bell().ring();
    }

    /// Sends what is due until the conversation ends.
    pub(super) fn run(&self, stream: &Mutex<impl Write>) -> io::Result<()> {
        let bell = self.disk.bell();
        loop {
            let seen = bell.rings();
            if self.has_ended() {
                return Ok(());
            }
            let now = Instant::now();
            let ready: Vec<Waiting> =
                self.waiting().extract_if(.., |answer| answer.due <= now && !answer.is_stalled()).collect();
            if ready.is_empty() {
                let next = self.waiting().iter().filter(|answer| !answer.is_stalled()).map(|a| a.due).min();
                bell.wait(seen, next);
                continue;
            }
            for answer in ready {
                let bytes = match answer.work {
                    Work::Send(bytes) => bytes,
                    Work::Flush(handle) => reply(handle, self.disk.flush().map_err(Errno::from)).to_vec(),
                };
                stream.lock().unwrap_or_else(PoisonError::into_inner).write_all(&bytes)?;
            }
            // There is room again.
            bell.ring();
        }
    }
}
