//! Running the clients of a workload.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::client::{Client, RegisterOp};
use super::register::{Chooser, Registers};
use super::{Workload, WorkloadSpec};
use crate::journal::{OpOutcome, OpRecord};
use crate::seed::Seed;
use crate::verify::{Clock, Target, of_role};

/// Takes each operation when it completed or was given up.
pub type Sink = Arc<dyn Fn(OpRecord) + Send + Sync>;

/// Pause between two tries of a final read.
const RETRY_EVERY: Duration = Duration::from_millis(250);

/// What a workload left behind, for [`final_reads`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Used {
    /// Every key that an operation was sent for.
    pub keys: Vec<String>,
    /// No operation so far has this process number or a higher one.
    pub next_process: u32,
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
    let targets: Arc<[Target]> = of_role(targets, spec.role.as_deref()).cloned().collect();
    let clients = spec.clients.get();
    if targets.is_empty() {
        return Used::default();
    }
    let registers = Registers::new(&workload.name, spec.keys.get(), spec.ops_per_key.get());
    let registers = Arc::new(Mutex::new(registers));
    let mut at_work = JoinSet::new();
    for number in 0..clients {
        let worker = Worker {
            chooser: Chooser {
                rng: seed.stream(&format!("workload {} client {number} operations", workload.name)),
                next_value: i64::from(number) + 1,
                value_step: i64::from(clients),
                mix: workload.mix,
            },
            registers: Arc::clone(&registers),
            hand: Hand {
                workload: workload.name.clone(),
                process: u32::from(number),
                process_step: u32::from(clients),
                client: workload.client.client(),
                at: usize::from(number) % targets.len(),
                targets: Arc::clone(&targets),
                timeout: spec.timeout.0,
                clock: Arc::clone(&clock),
                sink: Arc::clone(&sink),
            },
        };
        let pace =
            Pace::new(spec, number, seed.stream(&format!("workload {} client {number} pace", workload.name)));
        at_work.spawn(worker.work(pace, stop.clone()));
    }
    let mut next_process = u32::from(clients);
    while let Some(finished) = at_work.join_next().await {
        next_process = next_process.max(finished.unwrap_or_default());
    }
    let keys = std::mem::replace(&mut *lock(&registers), Registers::new(&workload.name, 0, 0));
    Used { keys: keys.into_used(), next_process }
}

/// Reads every key once more, each retried on one node after another until it is answered or `deadline`
/// passes. Every try is recorded as an ordinary read. The error names the keys without an answer.
pub async fn final_reads(
    workload: &Workload,
    targets: &[Target],
    used: &Used,
    clock: Clock,
    sink: Sink,
    deadline: Instant,
) -> Result<(), Vec<String>> {
    let spec = &workload.spec;
    let targets: Arc<[Target]> = of_role(targets, spec.role.as_deref()).cloned().collect();
    if targets.is_empty() {
        return if used.keys.is_empty() { Ok(()) } else { Err(used.keys.clone()) };
    }
    let readers = usize::from(spec.clients.get());
    let mut at_work = JoinSet::new();
    for number in 0..readers.min(used.keys.len()) {
        let keys: Vec<String> = used.keys.iter().skip(number).step_by(readers).cloned().collect();
        let hand = Hand {
            workload: workload.name.clone(),
            process: used.next_process + u32::try_from(number).unwrap_or_default(),
            process_step: 0,
            client: workload.client.client(),
            at: number % targets.len(),
            targets: Arc::clone(&targets),
            timeout: spec.timeout.0,
            clock: Arc::clone(&clock),
            sink: Arc::clone(&sink),
        };
        at_work.spawn(hand.read_all(keys, deadline));
    }
    let mut unread = Vec::new();
    while let Some(finished) = at_work.join_next().await {
        unread.extend(finished.unwrap_or_default());
    }
    unread.sort();
    if unread.is_empty() { Ok(()) } else { Err(unread) }
}

/// When a client's operations are due: evenly spread with some jitter, at the client's share of the rate.
/// Turns that a slow operation made it miss are left out, not made up for in a burst.
struct Pace {
    period: Duration,
    turn: Instant,
    rng: ChaCha8Rng,
}

impl Pace {
    fn new(spec: &WorkloadSpec, number: u16, rng: ChaCha8Rng) -> Self {
        let period = Duration::from_secs_f64(f64::from(spec.clients.get()) / spec.rate.0);
        let offset = period.mul_f64(f64::from(number) / f64::from(spec.clients.get()));
        Pace { period, turn: Instant::now() + offset, rng }
    }

    /// When the next operation is to start.
    fn next(&mut self) -> Instant {
        let due = self.turn + self.period.mul_f64(self.rng.random_range(0.0..0.5));
        self.turn = (self.turn + self.period).max(Instant::now());
        due
    }
}

/// One client of a running workload.
struct Worker {
    chooser: Chooser,
    registers: Arc<Mutex<Registers>>,
    hand: Hand,
}

impl Worker {
    /// Works until told to stop; the first process number that it did not use.
    async fn work(mut self, mut pace: Pace, stop: CancellationToken) -> u32 {
        while stop.run_until_cancelled(sleep_until(pace.next())).await.is_some() {
            let chosen = lock(&self.registers).choose(&mut self.chooser);
            let Some((slot, key, op)) = chosen else { break };
            let deadline = Instant::now() + self.hand.timeout;
            let record = self.hand.perform(&key, op, deadline).await;
            lock(&self.registers).observe(slot, &key, op, record.outcome, &record.output);
        }
        self.hand.process + 1
    }
}

fn lock(registers: &Mutex<Registers>) -> MutexGuard<'_, Registers> {
    registers.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What performs operations and records them: a client, the node it is at, and its process number.
struct Hand {
    workload: String,
    process: u32,
    /// Added to the process number when an operation was lost: the lost one stays open for ever, and one
    /// process has at most one open operation.
    process_step: u32,
    client: Box<dyn Client>,
    at: usize,
    targets: Arc<[Target]>,
    timeout: Duration,
    clock: Clock,
    sink: Sink,
}

impl Hand {
    async fn perform(&mut self, key: &str, op: RegisterOp, deadline: Instant) -> OpRecord {
        let invoked_us = (self.clock)();
        let (node, answer) = match self.targets.get(self.at % self.targets.len().max(1)) {
            Some(target) => {
                let dialer = target.dialer.as_ref();
                let answer = self.client.invoke(&target.node, dialer, key, op, deadline).await;
                (target.node.clone(), answer)
            }
            None => (String::new(), super::client::Answer::fail("no node")),
        };
        let record = OpRecord {
            workload: self.workload.clone(),
            process: self.process,
            node,
            key: key.to_owned(),
            f: op.f().to_owned(),
            input: op.input(),
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
        if record.outcome != OpOutcome::Ok {
            self.at += 1;
        }
        record
    }

    /// The keys that were not answered before `deadline`.
    async fn read_all(mut self, keys: Vec<String>, deadline: Instant) -> Vec<String> {
        let mut unread = Vec::new();
        for key in keys {
            loop {
                let limit = (Instant::now() + self.timeout).min(deadline);
                let started = Instant::now();
                if self.perform(&key, RegisterOp::Read, limit).await.outcome == OpOutcome::Ok {
                    break;
                }
                if started + RETRY_EVERY >= deadline {
                    unread.push(key);
                    break;
                }
                sleep_until(started + RETRY_EVERY).await;
            }
        }
        unread
    }
}
