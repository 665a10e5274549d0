//! The protocol by which QEMU uses a disk, and the threads that speak it.
//!
//! Fixed newstyle handshake, simple replies. The other end is hostile: a guest can make its hypervisor send
//! any request, so nothing that it says is believed, and what it can make us hold is bounded.
//!
//! | part | owns |
//! |---|---|
//! | `protocol` | numbers and the shape of requests |
//! | `wire` | bytes in and out in few system calls |
//! | `handshake` | what is agreed upon before the first request |
//! | `transmit`, `lane` | requests and their answers, and answers that have to wait |

use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::device::Disk;

mod handshake;
mod lane;
mod protocol;
mod transmit;
mod wire;

pub use transmit::converse;

/// A conversation in a thread of its own. Dropping it lets it go on to its end.
#[derive(Debug)]
pub struct Serving {
    disk: Arc<Disk>,
    stream: UnixStream,
    ended: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<()>>,
}

impl Serving {
    pub(super) fn start(disk: Arc<Disk>, stream: UnixStream) -> io::Result<Self> {
        let (reader, writer) = (stream.try_clone()?, stream.try_clone()?);
        let thread = std::thread::Builder::new().name("disk".to_owned());
        let ended = Arc::new(AtomicBool::new(false));
        let thread = thread.spawn({
            let (disk, ended, whole) = (disk.clone(), ended.clone(), stream.try_clone()?);
            move || {
                let outcome = converse(&disk, &ended, reader, writer);
                // The other end may be gone already.
                let _ = whole.shutdown(Shutdown::Both);
                outcome
            }
        })?;
        Ok(Serving { disk, stream, ended, thread })
    }

    /// Ends the conversation, whatever is under way in it, and waits until nothing more can come of it.
    pub fn end(self) -> io::Result<()> {
        // Fails when the other end is gone already.
        let _ = self.stream.shutdown(Shutdown::Both);
        self.ended.store(true, Ordering::Release);
        self.disk.bell().ring();
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("a disk's thread panicked")))
    }
}
