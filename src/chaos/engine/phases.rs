//! The phases of a run on a fleet that exists.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::fault::{Life, Outcome};
use super::{COMES_BACK, Options, symptoms};
use crate::chaos::faults::{BootIds, FaultSpec};
use crate::chaos::scenario::Scenario;
use crate::fleet::timing::timings;
use crate::fleet::{Fleet, FleetError, Provider};
use crate::journal::event::{Judged, ScheduledFault};
use crate::journal::{Event, Journal, Phase, Verdict};
use crate::seed::Seed;
use crate::units::Span;
use crate::verify::probes::{Mode, SteadyProbe, holds, run_probes};
use crate::verify::question::{Record, ask_after, ask_before};
use crate::verify::symptoms as trouble;
use crate::verify::workload::{NotClosed, Sink, Used, close, prepare, run_workload};
use crate::verify::{Budget, Clock, Target, judge};

/// Pause between two looks at a steady state that does not hold.
const LOOK: Duration = Duration::from_millis(500);
/// For an instance whose image does not say how long it may take to be ready.
const READY: Duration = Duration::from_secs(180);

/// Why a run ended early.
#[derive(Debug)]
pub(super) enum Stop {
    Interrupted,
    /// Nothing was learned about the image.
    Broken(String),
}

/// What the phases found.
#[derive(Debug, Default)]
pub(super) struct Finding {
    pub(super) has_workload: bool,
    /// Why the run cannot pass although nothing is known against the image.
    pub(super) problems: Vec<String>,
    /// Faults that the provider cannot do.
    pub(super) skipped: Vec<String>,
    pub(super) judged: Vec<Judged>,
}

impl Finding {
    pub(super) fn is_clean(&self) -> bool {
        self.problems.is_empty() && self.judged.iter().all(|judged| judged.verdict == Verdict::Pass)
    }

    pub(super) fn with_problem(mut self, problem: String) -> Self {
        self.add_problem(problem);
        self
    }

    /// Adds what may be known already: a bug that is met twice is one.
    fn add_problem(&mut self, problem: String) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}

/// What everything that happens on the fleet shares.
pub(super) struct Stage {
    pub(super) scenario: Scenario,
    pub(super) fleet: Arc<dyn Fleet>,
    pub(super) journal: Arc<Journal>,
    pub(super) seed: Seed,
    pub(super) cancel: CancellationToken,
    warm: bool,
    pub(super) boot_ids: BootIds,
    /// Every instance as probes and clients reach it.
    pub(super) targets: Vec<Target>,
    /// What faults take of instances, an instance or `INSTANCE PART`: held until it is over.
    taken: std::sync::Mutex<BTreeMap<String, Arc<RwLock<()>>>>,
}

impl Stage {
    pub(super) fn new(scenario: Scenario, fleet: Arc<dyn Fleet>, options: &Options) -> Self {
        let nodes = &options.plan.nodes;
        let targets = nodes.iter().map(|node| {
            let (of, name) = (Arc::clone(&fleet), node.name.clone());
            Target {
                node: node.name.clone(),
                role: node.role.clone(),
                address: node.address,
                dialer: fleet.dialer(&node.name),
                session: fleet.session(&node.name),
                further: Arc::new(move || of.session(&name)),
            }
        });
        Stage {
            targets: targets.collect(),
            taken: std::sync::Mutex::default(),
            warm: options.warm,
            scenario,
            fleet,
            journal: Arc::clone(&options.journal),
            seed: options.seed,
            cancel: options.cancel.clone(),
            boot_ids: BootIds::default(),
        }
    }

    /// The next run on such a fleet need not boot it; that there is no snapshot is no reason to stop.
    async fn save(&self) {
        let text = match self.fleet.save().await {
            Ok(false) => return,
            Ok(true) => "saved a snapshot of the fleet, from which the next run starts".to_owned(),
            Err(error) => format!("no snapshot of the fleet was saved: {error}"),
        };
        self.journal.record(Event::Note { text });
    }

    /// Waits until these, instances or parts of them, are this fault's own.
    pub(super) async fn hold(&self, what: impl Iterator<Item = String>) -> Vec<OwnedRwLockWriteGuard<()>> {
        let mut held = Vec::new();
        for lock in self.locks(what) {
            held.push(lock.write_owned().await);
        }
        held
    }

    /// Waits until none of these is another fault's own, and keeps it so.
    pub(super) async fn share(&self, what: impl Iterator<Item = String>) -> Vec<OwnedRwLockReadGuard<()>> {
        let mut held = Vec::new();
        for lock in self.locks(what) {
            held.push(lock.read_owned().await);
        }
        held
    }

    /// In one order for everyone, so that two faults never wait for each other.
    fn locks(&self, what: impl Iterator<Item = String>) -> Vec<Arc<RwLock<()>>> {
        let mut sorted: Vec<String> = what.collect();
        sorted.sort();
        let mut taken = self.taken.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        sorted.into_iter().map(|name| Arc::clone(taken.entry(name).or_default())).collect()
    }

    fn phase(&self, phase: Phase) {
        self.journal.record(Event::PhaseStarted { phase });
    }

    fn note(&self, text: impl Into<String>) {
        self.journal.record(Event::Note { text: text.into() });
    }

    fn clock(&self) -> Clock {
        let journal = Arc::clone(&self.journal);
        Arc::new(move || journal.elapsed_us())
    }

    fn sink(&self) -> Sink {
        let journal = Arc::clone(&self.journal);
        Arc::new(move |op| journal.record(Event::Op(op)))
    }

    fn record(&self) -> Record {
        let journal = Arc::clone(&self.journal);
        Arc::new(move |event| journal.record(event))
    }

    /// Runs `work` unless the run is cancelled first.
    async fn unless_cancelled<T>(&self, work: impl Future<Output = T>) -> Result<T, Stop> {
        self.cancel.run_until_cancelled(work).await.ok_or(Stop::Interrupted)
    }

    /// The probes of these modes.
    fn probes(&self, wanted: impl Fn(Mode) -> bool) -> Vec<SteadyProbe> {
        self.scenario.steady().into_iter().filter(|probe| wanted(probe.mode)).collect()
    }

    /// Looks at these probes until all hold; after `limit`, the error says which do not.
    async fn steady_within(&self, limit: Duration, probes: &[SteadyProbe]) -> Result<Duration, String> {
        let started = Instant::now();
        loop {
            let look = Instant::now();
            match holds(probes, &self.targets).await {
                Ok(()) => {
                    self.record_well(look.elapsed(), probes);
                    return Ok(started.elapsed());
                }
                Err(reason) if started.elapsed() >= limit => return Err(reason),
                Err(_) => sleep(LOOK).await,
            }
        }
    }

    /// A look at the steady state that found it well is a measurement of every probe: whoever asks later how
    /// soon the service was steady again shall find it.
    fn record_well(&self, took: Duration, probes: &[SteadyProbe]) {
        for probe in probes {
            self.journal.record(Event::Probe {
                probe: probe.name.clone(),
                node: None,
                ok: true,
                latency_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
                detail: String::new(),
            });
        }
    }
}

/// Everything between the creation of the fleet and its end. Every fault is over when this returns.
pub(super) async fn all(
    stage: &Arc<Stage>,
    provider: &dyn Provider,
    schedule: &[ScheduledFault],
    budget: Budget,
) -> Result<Finding, Stop> {
    let watch = CancellationToken::new();
    // However this ends, nobody goes on watching.
    let _over = watch.clone().drop_guard();
    let (watcher, until) = (Arc::clone(stage), watch.clone());
    let watching = tokio::spawn(async move { symptoms::watch(&watcher, until).await });
    stage.unless_cancelled(boot(stage)).await??;
    stage.phase(Phase::Baseline);
    for probe in stage.probes(|mode| mode != Mode::Continuous) {
        stage.journal.record(Event::PartTime { probe: probe.name });
    }
    let first = stage.probes(Mode::holds_before);
    let baseline = stage.unless_cancelled(stage.steady_within(stage.scenario.spec.settle.0, &first)).await?;
    baseline.map_err(|reason| {
        Stop::Broken(format!("steady state does not hold before the first fault: {}", one_line(&reason)))
    })?;
    if stage.warm {
        stage.unless_cancelled(stage.save()).await?;
    }

    let until = Instant::now() + stage.scenario.spec.settle.0;
    for workload in &stage.scenario.workloads {
        let ready = stage.unless_cancelled(prepare(workload, &stage.targets, until)).await?;
        stage.journal.record(ready.map_err(|reason| Stop::Broken(one_line(&reason)))?);
    }
    let expectations = stage.scenario.expectations();
    stage.unless_cancelled(ask_before(&expectations, &stage.targets, stage.record())).await?;
    stage.unless_cancelled(stage.boot_ids.read_all(&stage.fleet)).await?;

    let mut finding = Finding { has_workload: !stage.scenario.workloads.is_empty(), ..Default::default() };
    let lives = lives(stage, provider, schedule, &mut finding)?;
    stage.phase(Phase::Chaos);
    let probing = tokio::spawn(probe(Arc::clone(stage), Mode::Continuous, watch.clone()));
    let during = watch.child_token();
    let passing = tokio::spawn(probe(Arc::clone(stage), Mode::During, during.clone()));
    let (used, outcomes) = chaos(stage, lives, &mut finding).await;
    during.cancel();
    // Nothing that is measured during the timeline is measured after it.
    let _ = passing.await;
    stage.phase(Phase::Recovery);
    let back = recover(stage, &used, outcomes, &mut finding).await;
    watch.cancel();
    // Who crashed has left its last words on standard error; the record is whole up to there.
    let _ = (probing.await, watching.await);
    let back = back?;
    let unasked = stage.unless_cancelled(symptoms::ask(stage)).await?;

    stage.phase(Phase::Check);
    let (expectations, entries) = (stage.scenario.expectations(), stage.journal.entries());
    let calm = trouble::judge(&stage.scenario.exceptions(), &unasked, &entries);
    let judging = tokio::task::spawn_blocking(move || judge(&expectations, &entries, budget));
    let judged = stage.unless_cancelled(judging).await?;
    let judged = judged.map_err(|error| Stop::Broken(format!("the checkers crashed: {error}")))?;
    for judged in judged.into_iter().chain([back, calm]) {
        stage.journal.record(Event::Judged(judged.clone()));
        finding.judged.push(judged);
    }
    Ok(finding)
}

/// Waits until every instance is ready.
async fn boot(stage: &Stage) -> Result<(), Stop> {
    let started = Instant::now();
    let mut booting = JoinSet::new();
    for node in &stage.fleet.plan().nodes {
        let (fleet, node) = (Arc::clone(&stage.fleet), node.clone());
        stage.journal.record(Event::Instance { node: node.name.clone(), what: "started".to_owned() });
        booting.spawn(async move {
            let within = node.ready.as_ref().map_or(READY, |(_, within)| within.0);
            (node.name.clone(), fleet.wait_ready(&node, started + within).await)
        });
    }
    let mut ready = BTreeMap::new();
    while let Some(booted) = booting.join_next().await {
        match booted {
            Ok((node, Ok(()))) => {
                ready.insert(node.clone(), started.elapsed());
                stage.journal.record(Event::Instance { node, what: "ready".to_owned() });
            }
            Ok((_, Err(error))) => {
                if let FleetError::NotReady { console, .. } | FleetError::Start { console, .. } = &error {
                    stage.note(format!("the end of its console:\n{console}"));
                }
                return Err(Stop::Broken(error.to_string()));
            }
            Err(crash) => return Err(Stop::Broken(format!("waiting for an instance crashed: {crash}"))),
        }
    }
    for timing in timings(stage.fleet.as_ref(), started, &ready).await {
        stage.journal.record(Event::Timing(timing));
    }
    Ok(())
}

/// The faults that this provider can do; the others are recorded as skipped.
fn lives(
    stage: &Arc<Stage>,
    provider: &dyn Provider,
    schedule: &[ScheduledFault],
    finding: &mut Finding,
) -> Result<Vec<(ScheduledFault, FaultSpec)>, Stop> {
    let mut able = Vec::new();
    for step in schedule {
        let spec = FaultSpec::from_params(&step.kind, &step.params)
            .map_err(|error| Stop::Broken(format!("{} cannot be understood: {error}", step.fault)))?;
        match provider.capable(spec.kind().needs()) {
            Ok(()) => able.push((step.clone(), spec)),
            Err(reason) => {
                finding.skipped.push(step.fault.clone());
                stage.journal.record(Event::Skipped { fault: step.fault.clone(), reason });
            }
        }
    }
    Ok(able)
}

async fn probe(stage: Arc<Stage>, mode: Mode, stop: CancellationToken) {
    run_probes(&stage.probes(|of| of == mode), &stage.targets, stage.record(), stop).await;
}

/// Workload and timeline, for as long as the scenario says or until cancelled. What the workloads used,
/// and the faults, some of which may still be waiting for their instances to be back.
async fn chaos(
    stage: &Arc<Stage>,
    lives: Vec<(ScheduledFault, FaultSpec)>,
    finding: &mut Finding,
) -> (Vec<Used>, JoinSet<Outcome>) {
    let began = Instant::now();
    let mut faults = JoinSet::new();
    for (step, spec) in lives {
        faults.spawn(Life { stage: Arc::clone(stage), step, spec, began }.live());
    }
    let enough = CancellationToken::new();
    let mut working = JoinSet::new();
    for index in 0..stage.scenario.workloads.len() {
        let (stage, enough) = (Arc::clone(stage), enough.clone());
        working.spawn(async move {
            let Some(workload) = stage.scenario.workloads.get(index) else { return (index, Used::default()) };
            let (clock, sink) = (stage.clock(), stage.sink());
            (index, run_workload(workload, &stage.targets, stage.seed, clock, sink, enough).await)
        });
    }
    let end = sleep_until(began + stage.scenario.duration());
    // Cancelled or over: both end the work.
    let _ = stage.cancel.run_until_cancelled(end).await;
    enough.cancel();
    // What became of a workload that crashed itself nobody knows: there is nothing to close.
    let mut used = vec![Used::default(); stage.scenario.workloads.len()];
    while let Some(over) = working.join_next().await {
        match over {
            Ok((index, some)) => {
                if let Some(used) = used.get_mut(index) {
                    *used = some;
                }
            }
            Err(crash) => finding.add_problem(format!("a workload crashed: {crash}")),
        }
    }
    (used, faults)
}

/// Waits for the faults to be over, for steady state and for the last reads; says whether the fleet came
/// back.
async fn recover(
    stage: &Stage,
    used: &[Used],
    mut faults: JoinSet<Outcome>,
    finding: &mut Finding,
) -> Result<Judged, Stop> {
    let (mut missing, mut left) = (Vec::new(), Vec::new());
    while let Some(over) = faults.join_next().await {
        match over {
            Ok(outcome) => {
                finding.problems.extend(outcome.problems);
                missing.extend(outcome.not_back);
                left.extend(outcome.left);
            }
            Err(crash) => finding.problems.push(format!("a fault crashed: {crash}")),
        }
    }
    let limit = stage.scenario.spec.recovery;
    let last = stage.probes(Mode::holds_after);
    let steady = stage.unless_cancelled(stage.steady_within(limit.0, &last)).await?;
    let deadline = Instant::now() + limit.0;
    for (workload, used) in stage.scenario.workloads.iter().zip(used) {
        let looks = close(workload, &stage.targets, used, stage.clock(), stage.sink(), deadline);
        for why in &used.crashed {
            finding.add_problem(one_line(why));
        }
        match stage.unless_cancelled(looks).await? {
            Ok(()) => {}
            Err(NotClosed::Unanswered(why)) => missing.push(why),
            Err(NotClosed::Crashed(why)) => finding.add_problem(one_line(&why)),
        }
    }
    let expectations = stage.scenario.expectations();
    stage.unless_cancelled(ask_after(&expectations, &stage.targets, stage.record())).await?;
    let mut measured = BTreeMap::new();
    match steady {
        Ok(took) => {
            measured.insert("steady_after_ms".to_owned(), took.as_secs_f64() * 1e3);
        }
        Err(reason) => missing.push(format!("steady state does not hold again within {limit}: {reason}")),
    }
    let (verdict, message) = match missing.first() {
        None => {
            let took = tidy(measured.get("steady_after_ms"));
            (Verdict::Pass, format!("steady again {took} after the last fault was over"))
        }
        Some(first) if left.is_empty() => (Verdict::Fail, one_line(first)),
        Some(first) => (Verdict::Error, format!("{}, while {} lasts", one_line(first), left.join(", "))),
    };
    let detail = missing.join("\n");
    Ok(Judged { expectation: COMES_BACK.to_owned(), verdict, message, detail, measured })
}

fn tidy(millis: Option<&f64>) -> Span {
    Span(Duration::from_millis(millis.map_or(0, |millis| millis.round() as u64)))
}

/// The first line of `text`, and a sign that there is more.
fn one_line(text: &str) -> String {
    match text.split_once('\n') {
        None => text.to_owned(),
        Some((first, _)) => format!("{first} ..."),
    }
}
