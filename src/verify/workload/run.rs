//! Running the clients of a workload.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::client::{Answer, Client, Site};
use super::guard::{attempt, last_words};
use super::kinds::{Closing, Generator};
use super::operation::Request;
use super::{Workload, WorkloadSpec};
use crate::journal::{Event, OpOutcome, OpRecord};
use crate::seed::Seed;
use crate::verify::{Clock, Target, of_role};

/// Takes each operation when it completed or was given up.
pub type Sink = Arc<dyn Fn(OpRecord) + Send + Sync>;

/// Pause between two tries of what must succeed.
const RETRY_EVERY: Duration = Duration::from_millis(250);

/// What a workload left behind, for [`close`].
#[derive(Debug, Clone, Default)]
pub struct Used {
    pub(super) closing: Vec<Closing>,
    /// No operation so far has this process number or a higher one.
    pub(super) next_process: u32,
    /// What clients said that crashed, each word once. They are ours: such a run proves nothing.
    pub crashed: Vec<String>,
}

/// Why the last look at a workload's keys is not complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotClosed {
    /// The service did not answer.
    Unanswered(String),
    /// A client of ours crashed.
    Crashed(String),
}

/// Prepares the service for the workload: what the kind and the client want done before the first operation,
/// tried on one node after another until it succeeds or `deadline` passes. Gives what the journal must hold of
/// the workload; the error says why it cannot begin.
pub async fn prepare(workload: &Workload, targets: &[Target], deadline: Instant) -> Result<Event, String> {
    let spec = &workload.spec;
    let plan = spec.kind.kind().generator(workload.setting()).plan();
    let announced = Event::Workload {
        workload: workload.name.clone(),
        kind: spec.kind.name().to_owned(),
        plan: plan.clone(),
    };
    let operation = Arc::new(spec.kind.kind().setup());
    if !workload.client.can(spec.kind, &operation.f) {
        return Ok(announced);
    }
    let nodes = Nodes::new(workload, targets);
    let request = Request { key: workload.name.clone(), operation, input: plan };
    let mut client = workload.client.client(spec.kind);
    let mut at = 0;
    loop {
        let limit = (Instant::now() + spec.timeout.0).min(deadline);
        let answer = match nodes.site(at) {
            Some(site) => attempt(client.as_mut(), site, &request, limit)
                .await
                .map_err(|why| crash_of(&workload.name, &why))?,
            None => return Err(format!("{}: there is no node to prepare", workload.name)),
        };
        if answer.outcome == OpOutcome::Ok {
            return Ok(announced);
        }
        if Instant::now() + RETRY_EVERY >= deadline {
            return Err(format!("the workload {} cannot be prepared: {}", workload.name, answer.detail));
        }
        at += 1;
        sleep(RETRY_EVERY).await;
    }
}

/// Lets the clients work until `stop` is cancelled, then waits for the operations under way, which the
/// workload's own timeout bounds.
///
/// The future must be awaited to its end: an operation that took effect and was never recorded would make
/// a correct service look wrong.
pub async fn run_workload(
    workload: &Workload,
    targets: &[Target],
    seed: Seed,
    clock: Clock,
    sink: Sink,
    stop: CancellationToken,
) -> Used {
    let spec = &workload.spec;
    let nodes = Nodes::new(workload, targets);
    if nodes.role.is_empty() {
        return Used::default();
    }
    let clients = spec.clients.get();
    let generator = Arc::new(Mutex::new(spec.kind.kind().generator(workload.setting())));
    let next_process = Arc::new(AtomicU32::new(u32::from(clients)));
    let mut at_work = JoinSet::new();
    for number in 0..clients {
        let worker = Worker {
            number: usize::from(number),
            rng: seed.stream(&format!("workload {} client {number} operations", workload.name)),
            generator: Arc::clone(&generator),
            think: spec.think.unwrap_or_default().0,
            hand: Hand {
                workload: workload.name.clone(),
                process: u32::from(number),
                process_step: u32::from(clients),
                next_process: Arc::clone(&next_process),
                client: workload.client.client(spec.kind),
                crashed: None,
                at: usize::from(number),
                stay: spec.stay,
                nodes: nodes.clone(),
                timeout: spec.timeout.0,
                clock: Arc::clone(&clock),
                sink: Arc::clone(&sink),
            },
        };
        let rng = seed.stream(&format!("workload {} client {number} pace", workload.name));
        let pace = Pace::new(spec, number, rng, Instant::now());
        at_work.spawn(worker.work(pace, stop.clone()));
    }
    let mut crashed = Vec::new();
    while let Some(finished) = at_work.join_next().await {
        let crash = finished.unwrap_or_else(|error| Some(words_of(error)));
        crashed.extend(crash.map(|why| crash_of(&workload.name, &why)));
    }
    crashed.sort();
    crashed.dedup();
    let closing = lock(&generator).closing();
    Used { closing, next_process: next_process.load(Ordering::Relaxed), crashed }
}

fn crash_of(workload: &str, why: &str) -> String {
    format!("a client of the workload {workload} crashed: {why}")
}

fn words_of(error: JoinError) -> String {
    error.try_into_panic().map_or_else(|error| error.to_string(), |panic| last_words(panic.as_ref()))
}

/// Takes the last look: every key is read once more, a queue emptied; each is retried on one node after
/// another until it is answered or `deadline` passes. Every try is recorded as an ordinary operation.
pub async fn close(
    workload: &Workload,
    targets: &[Target],
    used: &Used,
    clock: Clock,
    sink: Sink,
    deadline: Instant,
) -> Result<(), NotClosed> {
    let spec = &workload.spec;
    let nodes = Nodes::new(workload, targets);
    let (all, clients) = (used.closing.len(), u32::from(spec.clients.get()));
    let next_process = Arc::new(AtomicU32::new(used.next_process));
    let mut at_work = JoinSet::new();
    for number in 0..clients.min(u32::try_from(all).unwrap_or(u32::MAX)) {
        let first = usize::try_from(number).unwrap_or_default();
        let closing: Vec<Closing> =
            used.closing.iter().skip(first).step_by(spec.clients.get().into()).cloned().collect();
        let hand = Hand {
            workload: workload.name.clone(),
            process: used.next_process + number,
            process_step: clients,
            next_process: Arc::clone(&next_process),
            client: workload.client.client(spec.kind),
            crashed: None,
            at: first,
            stay: false,
            nodes: nodes.clone(),
            timeout: spec.timeout.0,
            clock: Arc::clone(&clock),
            sink: Arc::clone(&sink),
        };
        at_work.spawn(hand.close(closing, deadline));
    }
    let (mut unanswered, mut crashed) = (0, None);
    while let Some(finished) = at_work.join_next().await {
        match finished.unwrap_or_else(|error| Err(words_of(error))) {
            Ok(some) => unanswered += some,
            Err(why) => crashed = Some(crash_of(&workload.name, &why)),
        }
    }
    match (crashed, unanswered) {
        (Some(why), _) => Err(NotClosed::Crashed(why)),
        (None, 0) => Ok(()),
        (None, some) => Err(NotClosed::Unanswered(format!(
            "{some} of {all} keys of {} could not be read at the end",
            workload.name
        ))),
    }
}

/// When a client's operations are due: evenly spread with some jitter, at the client's share of the rate.
/// Turns that a slow operation made it miss are left out, not made up for in a burst.
pub(super) struct Pace {
    period: Duration,
    turn: Instant,
    rng: ChaCha8Rng,
}

impl Pace {
    /// The pace of client `number` of a workload that begins at `now`.
    pub(super) fn new(spec: &WorkloadSpec, number: u16, rng: ChaCha8Rng, now: Instant) -> Self {
        let period = Duration::from_secs_f64(f64::from(spec.clients.get()) / spec.rate.0);
        let offset = period.mul_f64(f64::from(number) / f64::from(spec.clients.get()));
        Pace { period, turn: now + offset, rng }
    }

    /// When the operation after `now` is to start, no sooner than `think` from then.
    pub(super) fn next(&mut self, now: Instant, think: Duration) -> Instant {
        let due = self.turn + self.period.mul_f64(self.rng.random_range(0.0..0.5));
        self.turn = (self.turn + self.period).max(now);
        due.max(now + think)
    }
}

/// The nodes that a workload may use.
#[derive(Clone)]
struct Nodes {
    role: Arc<[Target]>,
    all: Arc<[Target]>,
}

impl Nodes {
    fn new(workload: &Workload, targets: &[Target]) -> Self {
        let role = of_role(targets, workload.spec.role.as_deref()).cloned().collect();
        Nodes { role, all: targets.into() }
    }

    /// Everything as seen by a client that is at the node of this number, counted round and round.
    fn site(&self, at: usize) -> Option<Site<'_>> {
        let here = self.role.get(at % self.role.len().max(1))?;
        Some(Site { here, role: &self.role, all: &self.all })
    }
}

/// One client of a running workload.
struct Worker {
    number: usize,
    rng: ChaCha8Rng,
    generator: Arc<Mutex<Box<dyn Generator>>>,
    think: Duration,
    hand: Hand,
}

impl Worker {
    /// Works until told to stop; what its client said if it crashed.
    async fn work(mut self, mut pace: Pace, stop: CancellationToken) -> Option<String> {
        while stop.run_until_cancelled(sleep_until(pace.next(Instant::now(), self.think))).await.is_some() {
            let chosen = lock(&self.generator).next(self.number, &mut self.rng);
            let Some(request) = chosen else { break };
            let deadline = Instant::now() + self.hand.timeout;
            let record = self.hand.perform(&request, deadline).await;
            lock(&self.generator).observe(&request, record.outcome, &record.output);
            if self.hand.crashed.is_some() {
                break;
            }
        }
        self.hand.crashed
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What performs operations and records them: a client, the node it is at, and its process number.
struct Hand {
    workload: String,
    process: u32,
    /// Added to the process number when an operation was lost: the lost one stays open for ever, and one
    /// process has at most one open operation.
    process_step: u32,
    /// Above every process number that the workload has used.
    next_process: Arc<AtomicU32>,
    client: Box<dyn Client>,
    /// What the client said when it crashed: this hand does nothing more.
    crashed: Option<String>,
    at: usize,
    stay: bool,
    nodes: Nodes,
    timeout: Duration,
    clock: Clock,
    sink: Sink,
}

impl Hand {
    async fn perform(&mut self, request: &Request, deadline: Instant) -> OpRecord {
        let invoked_us = (self.clock)();
        self.next_process.fetch_max(self.process + 1, Ordering::Relaxed);
        let (node, answer) = match self.nodes.site(self.at) {
            Some(site) => {
                let tried = attempt(self.client.as_mut(), site, request, deadline).await;
                let answer = tried.unwrap_or_else(|why| {
                    let answer = Answer::lost(request, format!("the client crashed: {why}"));
                    self.crashed = Some(why);
                    answer
                });
                (site.here.node.clone(), answer)
            }
            None => (String::new(), Answer::fail("no node")),
        };
        let record = OpRecord {
            workload: self.workload.clone(),
            process: self.process,
            node: answer.node.unwrap_or(node),
            key: request.key.clone(),
            f: request.f().to_owned(),
            input: request.input.clone(),
            output: answer.output,
            outcome: answer.outcome,
            invoked_us,
            completed_us: (self.clock)(),
            detail: answer.detail,
        };
        (self.sink)(record.clone());
        if record.outcome == OpOutcome::Indeterminate {
            self.process += self.process_step;
        }
        if record.outcome != OpOutcome::Ok && !self.stay {
            self.at += 1;
        }
        record
    }

    /// How many were not answered before `deadline`; the error is what the client said when it crashed.
    async fn close(mut self, closing: Vec<Closing>, deadline: Instant) -> Result<usize, String> {
        let mut unanswered = 0;
        for Closing { request, until_empty } in closing {
            loop {
                let limit = (Instant::now() + self.timeout).min(deadline);
                let started = Instant::now();
                let record = self.perform(&request, limit).await;
                if let Some(why) = self.crashed {
                    return Err(why);
                }
                if record.outcome == OpOutcome::Ok {
                    if !until_empty || record.output.is_null() {
                        break;
                    }
                    if started < deadline {
                        continue;
                    }
                }
                if started + RETRY_EVERY >= deadline {
                    unanswered += 1;
                    break;
                }
                sleep_until(started + RETRY_EVERY).await;
            }
        }
        Ok(unanswered)
    }
}
