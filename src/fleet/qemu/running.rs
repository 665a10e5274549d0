//! The QEMU process of the moment: what is held of it, how it ends, and what it tells by itself.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use serde_json::Value;
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::timeout;

use super::console;
use super::folder::NodeFolder;
use super::wake::WakePort;
use crate::hypervisor::qmp::{Event, Qmp};

/// No guest gets from a reset to the next one so fast.
const FIRMWARE_RESETS: Duration = Duration::from_secs(1);

/// A QEMU process.
pub(super) struct Running {
    pub(super) pid: u32,
    pub(super) qmp: Qmp,
    pub(super) wake: WakePort,
    /// Where the host forwards to the guest's SSH server.
    pub(super) ssh_port: u16,
    pub(super) kill: mpsc::UnboundedSender<()>,
    pub(super) ended: watch::Receiver<bool>,
}

impl Running {
    pub(super) fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    pub(super) async fn wait_end(&self, limit: Duration) -> bool {
        let mut ended = self.ended.clone();
        // The task that waits for the process holds the other end for as long as the process lives.
        timeout(limit, ended.wait_for(|ended| *ended)).await.is_ok()
    }
}

/// A socket of ours and its other end, which a process can inherit.
pub(super) fn socket_pair() -> io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((UnixStream::from_std(ours)?, theirs.into()))
}

/// Waits for the process, and ends it when told to or when nobody could tell any more.
pub(super) async fn reap(
    mut child: Child,
    mut killed: mpsc::UnboundedReceiver<()>,
    end: watch::Sender<bool>,
) {
    tokio::select! {
        _ = child.wait() => {}
        _ = killed.recv() => {
            // Fails only if it has ended by itself.
            let _ = child.kill().await;
        }
    }
    end.send_replace(true);
}

/// Counts what the guest, or we, reset; each is one more boot.
pub(super) async fn count_resets(
    mut events: broadcast::Receiver<Event>,
    boots: watch::Sender<u32>,
    files: NodeFolder,
    node: String,
) {
    let mut last = Duration::ZERO;
    loop {
        let event = match events.recv().await {
            Ok(event) if event.name == "RESET" => event,
            Ok(_) | Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        let by_guest = event.data.get("guest").and_then(Value::as_bool) == Some(true);
        // The firmware resets the machine again, at once, to get from a warm start to a cold one.
        let echo = by_guest && event.at.saturating_sub(last) < FIRMWARE_RESETS;
        last = event.at;
        if !echo {
            boots.send_modify(|boots| *boots += 1);
            let boot = *boots.borrow();
            // The log is for reading; the count is what matters.
            let _ = console::mark(&files.console(), &format!("reset: boot {boot} of {node}"));
        }
    }
}
