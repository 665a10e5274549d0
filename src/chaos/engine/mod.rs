//! The engine: one scenario, one fleet, from boot to verdict.
//!
//! The phases follow one another in [`run`]: boot, baseline, chaos, recovery, check, teardown. Whatever
//! happens in one of them, every fault is undone, the fleet is destroyed and the journal gets its last
//! line. What the record means is judged elsewhere; here it is made, and made sure that it means anything.

mod conclude;
mod fault;
mod leader;
mod logs;
mod phases;
mod symptoms;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::scenario::Scenario;
use crate::fleet::{FleetPlan, Launch, Lifetime, Provider};
use crate::journal::event::{RunStarted, ScheduledFault};
use crate::journal::{Event, Journal, Phase, Verdict};
use crate::seed::Seed;
use crate::verify::Budget;
use crate::verify::symptoms::NO_TROUBLE;
use phases::{Finding, Stage, Stop};

/// The expectation that every run has: when every fault is undone, every instance is ready and steady
/// state holds within the scenario's `recovery`.
pub const COMES_BACK: &str = "the fleet comes back";

/// The file in the run's folder that every frame between the instances is recorded in, if that is wanted.
pub const CAPTURE: &str = "network.pcap";

/// What a run needs besides scenario and provider.
pub struct Options {
    /// The run's id; the fleet is called like it.
    pub run: String,
    pub seed: Seed,
    /// What [`Scenario::schedule`] drew, or the schedule of a run that is replayed.
    pub schedule: Vec<ScheduledFault>,
    /// The fleet, with every image pinned.
    pub plan: FleetPlan,
    /// The run's folder: logs are kept in `logs/` there.
    pub dir: PathBuf,
    pub journal: Arc<Journal>,
    /// Cancelled: undo everything, then return.
    pub cancel: CancellationToken,
    pub budget: Budget,
    /// Use a snapshot of the fleet if there is one, and leave one if there is none.
    pub warm: bool,
    /// Record every frame between the instances in the run's folder.
    pub pcap: bool,
}

/// How a run ended; everything else is in its journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunResult {
    pub verdict: Verdict,
    /// One line; empty for a pass.
    pub reason: String,
}

/// Runs `scenario` on a fleet of its own.
pub async fn run(scenario: &Scenario, provider: &dyn Provider, options: Options) -> RunResult {
    let journal = Arc::clone(&options.journal);
    journal.record(Event::RunStarted(header(scenario, provider, &options)));
    journal.record(Event::Scheduled { steps: options.schedule.clone() });
    journal.record(Event::Note {
        text: "the schedule and the choices of the workload follow from the seed; the timing of guests, and \
               with it the order of events, does not"
            .to_owned(),
    });
    let result = match on_a_fleet(scenario, provider, &options).await {
        Ok(finding) => conclude::conclude(finding, &journal.entries()),
        Err(Stop::Interrupted) => RunResult { verdict: Verdict::Error, reason: "interrupted".to_owned() },
        Err(Stop::Broken(reason)) => RunResult { verdict: Verdict::Error, reason },
    };
    let RunResult { verdict, reason } = result.clone();
    journal.record(Event::RunFinished { verdict, reason });
    result
}

/// Creates the fleet, runs the phases on it and destroys it, however they end.
async fn on_a_fleet(
    scenario: &Scenario,
    provider: &dyn Provider,
    options: &Options,
) -> Result<Finding, Stop> {
    let journal = &options.journal;
    journal.record(Event::PhaseStarted { phase: Phase::Boot });
    let logs = options.dir.join("logs");
    let launch = Launch {
        plan: options.plan.clone(),
        lifetime: Lifetime::Run,
        warm: options.warm,
        volumes_from: None,
        keep_logs: Some(logs.clone()),
        pcap: options.pcap.then(|| options.dir.join(CAPTURE)),
    };
    let fleet = provider.create(launch).await.map_err(|error| Stop::Broken(error.to_string()))?;
    if options.pcap {
        journal.record(Event::Note { text: format!("every frame is recorded in {CAPTURE}") });
    }
    if fleet.restored() {
        journal.record(Event::Note { text: "the fleet was restored from a snapshot".to_owned() });
    }
    let mut stage = Stage::new(scenario.clone(), Arc::clone(&fleet), options);
    // What ends when the fleet is lost is this run, not those that come after it.
    stage.cancel = options.cancel.child_token();
    let (watched, cancel) = (Arc::clone(&fleet), stage.cancel.clone());
    let lost = tokio::spawn(async move {
        let why = watched.lost().await;
        cancel.cancel();
        why
    });
    let mut found = phases::all(&Arc::new(stage), provider, &options.schedule, options.budget).await;
    match lost.is_finished() {
        true => found = Err(Stop::Broken(lost.await.unwrap_or_else(|error| error.to_string()))),
        false => lost.abort(),
    }
    journal.record(Event::PhaseStarted { phase: Phase::Teardown });
    let passed = found.as_ref().is_ok_and(Finding::is_clean);
    if !passed && !options.cancel.is_cancelled() {
        logs::collect(&fleet, &logs).await;
    }
    match fleet.destroy().await {
        Ok(()) => found,
        Err(error) => {
            let text = format!("the fleet could not be destroyed: {error}");
            journal.record(Event::Note { text: text.clone() });
            found.map(|finding| finding.with_problem(text))
        }
    }
}

fn header(scenario: &Scenario, provider: &dyn Provider, options: &Options) -> RunStarted {
    let images: BTreeMap<String, String> =
        options.plan.nodes.iter().map(|node| (node.role.clone(), node.image.to_string())).collect();
    let titles = scenario.expectations().into_iter().map(|expectation| expectation.title());
    RunStarted {
        run: options.run.clone(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: jiff::Timestamp::now().to_string(),
        scenario: scenario.spec.name.value.clone(),
        scenario_file: scenario.path.display().to_string(),
        scenario_digest: scenario.digest(),
        seed: options.seed.0,
        provider: provider.name().to_owned(),
        images,
        expectations: titles.chain([COMES_BACK.to_owned(), NO_TROUBLE.to_owned()]).collect(),
    }
}

#[cfg(test)]
mod tests;
