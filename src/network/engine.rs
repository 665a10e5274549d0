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
use super::mmsg::{BATCH, Inbox};
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
    /// Ports whose node sent something.
    senders: Vec<usize>,
    /// Ports whose node can take what waits for it.
    receivers: Vec<usize>,
}

impl Engine {
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
        let mut inbox = Inbox::new();
        loop {
            let ready = self.wait(wake);
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
            for port in ready.receivers {
                self.flush(port);
            }
            self.expire();
            for port in ready.senders {
                self.take(port, &mut inbox);
            }
        }
    }

    /// Delivers what the fabric gave back outside of a batch.
    pub(super) fn deliver(&mut self, mut deliveries: Vec<Delivery<'_>>) {
        if let Some(held) = &mut self.held {
            held.extend(deliveries.into_iter().map(|delivery| (delivery.to, delivery.frame.into_owned())));
            return;
        }
        // Stable, so the frames of one port keep their order.
        deliveries.sort_by_key(|delivery| delivery.to);
        for run in deliveries.chunk_by(|one, other| one.to == other.to) {
            let Some(port) = run.first().and_then(|first| self.ports.get_mut(first.to)) else { continue };
            let delivered = port.deliver(run);
            record(&mut self.capture, run.get(..delivered).unwrap_or_default());
        }
    }

    fn wait(&mut self, wake: &Wake) -> Ready {
        let timeout = self.fabric.next_due().map(|due| due.saturating_duration_since(Instant::now()));
        if timeout.is_none_or(|timeout| !timeout.is_zero()) {
            flush_capture(&mut self.capture);
        }
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut polled = Vec::with_capacity(2 * self.ports.len() + 1);
        polled.push(PollFd::from_borrowed_fd(wake.as_fd(), PollFlags::IN));
        polled.extend(self.ports.iter().map(|port| PollFd::from_borrowed_fd(port.inward(), PollFlags::IN)));
        let mut backlogs = Vec::new();
        for (index, port) in self.ports.iter().enumerate() {
            if let Some(outward) = port.backlog() {
                backlogs.push(index);
                polled.push(PollFd::from_borrowed_fd(outward, PollFlags::OUT));
            }
        }
        // An interrupted wait is a wait that saw nothing; the next one sees it.
        if poll(&mut polled, timeout.as_ref()).is_err() {
            return Ready::default();
        }
        let mut seen = polled.iter().map(|polled| !polled.revents().is_empty());
        Ready {
            jobs: seen.next().unwrap_or(false),
            senders: seen
                .by_ref()
                .take(self.ports.len())
                .enumerate()
                .filter_map(|(index, seen)| seen.then_some(index))
                .collect(),
            receivers: seen.zip(backlogs).filter_map(|(seen, index)| seen.then_some(index)).collect(),
        }
    }

    /// Takes one batch from a port: each port gets its turn, however much one of them sends. Says how many
    /// frames that were.
    pub(super) fn take(&mut self, from: usize, inbox: &mut Inbox) -> usize {
        let Some(port) = self.ports.get_mut(from) else { return 0 };
        let Ok(count) = inbox.receive(port.inward()) else { return 0 };
        let now = Instant::now();
        let mut out = Vec::with_capacity(BATCH);
        for frame in inbox.frames() {
            port.stats.sent += 1;
            match frame.map_or(Entry::Malformed, |frame| self.fabric.enter(now, from, frame, &mut out)) {
                Entry::Taken => {}
                Entry::Malformed => port.stats.malformed += 1,
                Entry::Unknown => port.stats.unknown += 1,
            }
        }
        self.deliver(out);
        count
    }

    fn expire(&mut self) {
        let mut out = Vec::new();
        self.fabric.expire(Instant::now(), &mut out);
        self.deliver(out);
    }

    fn flush(&mut self, port: usize) {
        let capture = &mut self.capture;
        if let Some(port) = self.ports.get_mut(port) {
            port.flush(|delivered| record(capture, delivered));
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        flush_capture(&mut self.capture);
    }
}

fn record<T: AsRef<[u8]>>(capture: &mut Option<Capture>, frames: &[T]) {
    if let Some(Err(error)) = capture.as_mut().map(|capture| capture.record(frames)) {
        tracing::warn!(%error, "the capture ends here");
        *capture = None;
    }
}

fn flush_capture(capture: &mut Option<Capture>) {
    if let Some(Err(error)) = capture.as_mut().map(Capture::flush) {
        tracing::warn!(%error, "the capture ends here");
        *capture = None;
    }
}
