//! The thread that moves the frames: waits for sockets and clocks, feeds the fabric, gives out what it returns.
//!
//! It never blocks on a port. Everything that others want of it arrives as a job between two batches, so
//! that a rule set takes effect between two frames and never in the middle of one.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::AsFd;
use rustix::process::setpriority_process;

use super::capture::Capture;
use super::fabric::{Delivery, Entry, Fabric};
use super::port::Port;
use super::wake::Wake;

/// Nice value of the switch's thread, where the process may set it.
const PRIORITY: i32 = -10;

/// Something to do between two batches.
type Job = Box<dyn FnOnce(&mut Engine) + Send>;

/// Runs an engine on a thread of its own, until dropped.
pub(super) struct Driver {
    /// `None` only while dropping.
    jobs: Option<Sender<Job>>,
    wake: Arc<Wake>,
    thread: Option<JoinHandle<()>>,
}

impl Driver {
    pub(super) fn start(engine: Engine) -> io::Result<Self> {
        let wake = Arc::new(Wake::new()?);
        let (jobs, inbox) = mpsc::channel();
        let thread = thread::Builder::new().name("switch".to_owned()).spawn({
            let wake = Arc::clone(&wake);
            move || engine.run(&inbox, &wake)
        })?;
        Ok(Driver { jobs: Some(jobs), wake, thread: Some(thread) })
    }

    /// Has the thread do `work` between two batches, and waits for that; `None` if it is gone.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Engine) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = mpsc::sync_channel(1);
        let job: Job = Box::new(move |engine| {
            // Nobody waits any more: then nobody misses the answer.
            let _ = answer.send(work(engine));
        });
        self.jobs.as_ref()?.send(job).ok()?;
        self.wake.wake();
        answered.recv().ok()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.jobs = None;
        self.wake.wake();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

pub(super) struct Engine {
    pub(super) fabric: Fabric,
    /// In the fabric's order.
    pub(super) ports: Vec<Port>,
    pub(super) capture: Option<Capture>,
    /// While the switch is held: what would have been delivered, by port.
    pub(super) held: Option<Vec<(usize, Vec<u8>)>>,
}

/// What [`Engine::wait`] saw.
#[derive(Default)]
struct Ready {
    jobs: bool,
    /// Ports at whose door someone is.
    callers: Vec<usize>,
    /// Ports whose node sent something or is gone.
    senders: Vec<usize>,
    /// Ports whose node can take what waits for it.
    receivers: Vec<usize>,
}

impl Engine {
    /// Lets in whoever is expected and has come.
    pub(super) fn let_in_expected(&mut self) {
        self.ports.iter_mut().filter(|port| port.node().is_none()).for_each(Port::let_in);
    }

    /// Moves frames until nobody can send jobs any more.
    fn run(mut self, jobs: &Receiver<Job>, wake: &Wake) {
        // The default slack of 50 microseconds is a quarter of the error that a delay may have.
        if let Err(error) = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1)) {
            tracing::debug!(%error, "the switch's timers stay coarse");
        }
        // Hypervisors that emulate processors take all they can get; a frame must not wait for their slices to end.
        if let Err(error) = setpriority_process(None, PRIORITY) {
            tracing::debug!(%error, "the switch runs with no more than its share of the processor");
        }
        let mut ready = Ready::default();
        loop {
            self.wait(wake, &mut ready);
            if ready.jobs {
                wake.clear();
                loop {
                    match jobs.try_recv() {
                        Ok(job) => job(&mut self),
                        Err(TryRecvError::Empty) => break,
                        Err(TryRecvError::Disconnected) => return,
                    }
                }
            }
            // Nobody who was there before a frame was sent may miss it, so whoever is expected is looked for, too.
            self.let_in_expected();
            for index in ready.callers.drain(..) {
                self.ports.get_mut(index).map(Port::let_in);
            }
            for index in ready.receivers.drain(..) {
                self.ports.get_mut(index).map(Port::flush);
            }
            self.expire();
            for port in ready.senders.drain(..) {
                self.take(port);
            }
        }
    }

    /// Delivers what the fabric gave back; keeps it back while the switch is held.
    pub(super) fn deliver(&mut self, deliveries: &[Delivery<'_>]) {
        if let Some(held) = &mut self.held {
            held.extend(deliveries.iter().map(|Delivery { to, frame }| (*to, frame.to_vec())));
            return;
        }
        for Delivery { to, frame } in deliveries {
            let given = self.ports.get_mut(*to).is_some_and(|port| port.give(frame));
            if given && let Some(Err(error)) = self.capture.as_mut().map(|capture| capture.record(frame)) {
                self.end_capture(&error);
            }
        }
        // Once for all of a port's frames.
        if !deliveries.is_empty() {
            self.ports.iter_mut().filter(|port| port.is_behind()).for_each(Port::flush);
        }
    }

    fn wait(&mut self, wake: &Wake, ready: &mut Ready) {
        let timeout = self.fabric.next_due().map(|due| due.saturating_duration_since(Instant::now()));
        if timeout.is_none_or(|timeout| !timeout.is_zero()) {
            self.flush_capture();
        }
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut polled = Vec::with_capacity(2 * self.ports.len() + 1);
        polled.push(PollFd::from_borrowed_fd(wake.as_fd(), PollFlags::IN));
        for port in &self.ports {
            let wanted = if port.is_behind() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            polled.extend(port.door().map(|door| PollFd::from_borrowed_fd(door, PollFlags::IN)));
            polled.extend(port.node().map(|node| PollFd::from_borrowed_fd(node, wanted)));
        }
        ready.jobs = false;
        // An interrupted wait is a wait that saw nothing; the next one sees it.
        if poll(&mut polled, timeout.as_ref()).is_err() {
            return;
        }
        let mut seen = polled.iter().map(PollFd::revents);
        ready.jobs = seen.next().is_some_and(|seen| !seen.is_empty());
        for (index, port) in self.ports.iter().enumerate() {
            if port.door().is_some() && seen.next().is_some_and(|seen| !seen.is_empty()) {
                ready.callers.push(index);
            }
            let Some(seen) = port.node().and_then(|_| seen.next()) else { continue };
            if seen.contains(PollFlags::OUT) {
                ready.receivers.push(index);
            }
            if !(seen - PollFlags::OUT).is_empty() {
                ready.senders.push(index);
            }
        }
    }

    /// Takes one batch from a port: each port gets its turn, however much one of them sends. Says how many
    /// frames that were.
    pub(super) fn take(&mut self, from: usize) -> usize {
        let Some(port) = self.ports.get_mut(from) else { return 0 };
        let before = port.stats.sent;
        let mut reader = port.hear();
        let now = Instant::now();
        let mut out = Vec::with_capacity(64);
        for frame in reader.take() {
            port.stats.sent += 1;
            match frame.map_or(Entry::Malformed, |frame| self.fabric.enter(now, from, frame, &mut out)) {
                Entry::Taken => {}
                Entry::Malformed => port.stats.malformed += 1,
                Entry::Unknown => port.stats.unknown += 1,
            }
        }
        self.deliver(&out);
        drop(out);
        let Some(port) = self.ports.get_mut(from) else { return 0 };
        port.listen_again(reader);
        usize::try_from(port.stats.sent - before).unwrap_or(usize::MAX)
    }

    fn expire(&mut self) {
        let mut out = Vec::new();
        self.fabric.expire(Instant::now(), &mut out);
        self.deliver(&out);
    }

    fn flush_capture(&mut self) {
        if let Some(Err(error)) = self.capture.as_mut().map(Capture::flush) {
            self.end_capture(&error);
        }
    }

    fn end_capture(&mut self, error: &io::Error) {
        tracing::warn!(%error, "the capture ends here");
        self.capture = None;
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.flush_capture();
    }
}
