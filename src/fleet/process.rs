//! Processes named so that a recycled process id is never taken for the one that had it before.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// A process for all time: its id, when it started, and in which boot of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    pub pid: u32,
    /// Clock ticks after boot, as in `/proc/PID/stat`.
    started: u64,
    boot: String,
}

impl ProcessId {
    /// This process.
    pub fn current() -> io::Result<Self> {
        Self::of(std::process::id())
    }

    /// The process that has this id now.
    pub fn of(pid: u32) -> io::Result<Self> {
        let (_, started) =
            stat(pid).ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no process {pid}")))?;
        Ok(ProcessId { pid, started, boot: boot_id()? })
    }

    /// Whether it still runs. One that only waits to be reaped by its parent does not.
    pub fn is_alive(&self) -> bool {
        let running =
            stat(self.pid).is_some_and(|(state, started)| started == self.started && !"ZX".contains(state));
        running && boot_id().is_ok_and(|boot| boot == self.boot)
    }

    /// Waits until it has ended; false if it has not within `limit`.
    pub fn wait(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let Some(pidfd) = self.open() else { return true };
        // The descriptor becomes readable when the process ends, also while nobody reaps it.
        while self.is_alive() {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(left) = Timespec::try_from(left) else { return false };
            match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left)) {
                Ok(0) => return !self.is_alive(),
                Ok(_) => return true,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        if let Some(pidfd) = self.open() {
            // An error means that it ended in between.
            let _ = pidfd_send_signal(&pidfd, Signal::TERM);
        }
    }

    /// Kills it and waits for its end; false if it outlived five seconds.
    pub fn kill(&self) -> bool {
        if let Some(pidfd) = self.open() {
            // An error means that it ended in between, which the wait sees.
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        }
        self.wait(Duration::from_secs(5))
    }

    /// A handle that cannot come to mean another process; `None` if it has ended.
    fn open(&self) -> Option<std::os::fd::OwnedFd> {
        let pid = Pid::from_raw(i32::try_from(self.pid).ok()?)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // Checked after opening: from here on the id cannot be recycled under us.
        self.is_alive().then_some(pidfd)
    }
}

/// State and start time of a process.
fn stat(pid: u32) -> Option<(char, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may itself hold spaces and parentheses.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_is_known_until_it_ends_and_never_after() {
        assert!(ProcessId::current().unwrap().is_alive());
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let id = ProcessId::of(child.id()).unwrap();
        assert!(id.is_alive() && !id.wait(Duration::from_millis(20)));
        assert!(id.kill());
        // Not reaped yet, but dead.
        assert!(!id.is_alive());
        child.wait().unwrap();
        assert!(!id.is_alive() && id.kill());
    }

    #[test]
    fn a_process_that_is_asked_to_end_does() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let id = ProcessId::of(child.id()).unwrap();
        id.terminate();
        assert!(id.wait(Duration::from_secs(60)));
        child.wait().unwrap();
        id.terminate();
    }

    #[test]
    fn another_process_with_the_same_id_is_not_it() {
        let me = ProcessId::current().unwrap();
        let before = ProcessId { started: me.started - 1, ..me.clone() };
        let other_boot = ProcessId { boot: "another".to_owned(), ..me };
        assert!(!before.is_alive() && !other_boot.is_alive());
        other_boot.terminate();
        // And killing what it is not harms nobody: this test goes on.
        assert!(before.kill() && other_boot.kill());
    }
}
