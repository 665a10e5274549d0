//! What `run` and `gate` have in common: from scenario files to runs with their reports on disk.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::kind::{self, Kind};
use super::{Failure, Printer};
use crate::chaos::Scenario;
use crate::chaos::engine::{self, Options};
use crate::diagnostic::{BadFile, closest, read_text};
use crate::fleet::plan::resolve;
use crate::fleet::{FleetPlan, Provider};
use crate::home::{Home, create_private_dir};
use crate::journal::event::ScheduledFault;
use crate::journal::{Journal, Verdict};
use crate::report::{Run, html, junit, progress, terminal};
use crate::seed::Seed;
use crate::store::Store;
use crate::verify::Budget;

/// One run to be made: everything is decided, nothing has happened.
pub(crate) struct Job {
    run: String,
    scenario: Scenario,
    seed: Seed,
    schedule: Vec<ScheduledFault>,
    plan: FleetPlan,
}

/// Images that go before those that scenarios name: a role or an image's name, and what to use for it.
pub(crate) type Pins = BTreeMap<String, String>;

impl Job {
    /// The run of `scenario` with `seed`; without a `schedule`, the one that the seed gives.
    pub(crate) fn new(
        scenario: Scenario,
        seed: Seed,
        schedule: Option<Vec<ScheduledFault>>,
        pins: &Pins,
        store: &Store,
    ) -> Result<Self, Failure> {
        let schedule = match schedule {
            Some(schedule) => schedule,
            None => scenario.schedule(seed)?,
        };
        let mut spec = scenario.spec.fleet.clone();
        for (role, wanted) in &mut spec {
            let name = wanted.image.value.split(':').next().unwrap_or_default().to_owned();
            if let Some(image) = pins.get(role).or_else(|| pins.get(&name)) {
                wanted.image.value.clone_from(image);
            }
        }
        for wanted in spec.values() {
            // Looked up here for the sake of the hints that come with a name that is not there.
            store.resolve(&wanted.image.value)?;
        }
        let now = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S");
        let run = format!("{now}-{:04x}", rand::random::<u16>());
        let plan = resolve(&format!("run-{run}"), &spec, |reference| store.resolve(reference))
            .map_err(|error| BadFile::at(&scenario.path, &scenario.text, error.at, error.message))?;
        scenario.fits(&plan)?;
        Ok(Job { run, scenario, seed, schedule, plan })
    }
}

/// Refuses pins that match no role of any scenario: a slip there would test another image than meant.
pub(crate) fn check_pins(pins: &Pins, scenarios: &[Scenario]) -> Result<(), Failure> {
    let roles = || scenarios.iter().flat_map(|scenario| &scenario.spec.fleet);
    let known: Vec<&str> = roles()
        .flat_map(|(role, spec)| [role.as_str(), spec.image.value.split(':').next().unwrap_or_default()])
        .collect();
    let Some(name) = pins.keys().find(|name| !known.contains(&name.as_str())) else { return Ok(()) };
    let failure = Failure::user(format!("no scenario has a role or an image `{name}`"));
    Err(match closest(name, known.iter().copied()) {
        Some(near) => failure.hint(format!("did you mean `{near}`?")),
        None => failure,
    })
}

/// How runs are made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    /// Fleets are restored from snapshots where there are any, and leave some where there are none.
    pub(crate) warm: bool,
    /// Every frame is recorded.
    pub(crate) pcap: bool,
}

/// Makes the runs one after another; each gets a folder with its journal and reports. After an interrupt,
/// those that were not begun are left out.
pub(crate) async fn conduct(
    jobs: Vec<Job>,
    manner: Manner,
    provider: &dyn Provider,
    home: &Home,
    printer: &Printer,
) -> Result<Vec<Run>, Failure> {
    let cancel = CancellationToken::new();
    listen(cancel.clone(), *printer)?;
    let mut runs = Vec::new();
    for job in jobs {
        if cancel.is_cancelled() {
            break;
        }
        let run = one(job, manner, provider, home, printer, cancel.clone()).await?;
        printer.line(terminal::summary(&run, printer.colours_results(), printer.width()));
        runs.push(run);
    }
    Ok(runs)
}

async fn one(
    job: Job,
    manner: Manner,
    provider: &dyn Provider,
    home: &Home,
    printer: &Printer,
    cancel: CancellationToken,
) -> Result<Run, Failure> {
    let dir = home.runs().join(&job.run);
    create_private_dir(&dir)?;
    fs::write(dir.join("scenario.yaml"), &job.scenario.text)?;
    let path = dir.join("journal.jsonl");
    let journal = Journal::create(&path)?;
    let mut entries = journal.subscribe();
    let shown = *printer;
    let showing = tokio::spawn(async move {
        while let Some(entry) = entries.recv().await {
            if let Some(line) = progress::line(&entry) {
                shown.progress(line);
            }
        }
    });
    let options = Options {
        run: job.run,
        seed: job.seed,
        schedule: job.schedule,
        plan: job.plan,
        dir: dir.clone(),
        journal: journal.clone(),
        cancel,
        budget: Budget::default(),
        warm: manner.warm,
        pcap: manner.pcap,
    };
    engine::run(&job.scenario, provider, options).await;
    journal.close()?;
    // The subscription ended with the journal; what it still held is printed first.
    let _ = showing.await;
    let mut run = Run::load(&path)?;
    for (name, bytes) in [
        ("junit.xml", junit_of(std::slice::from_ref(&run))?),
        ("report.html", html::page(&run, &dir).map_err(Failure::infrastructure)?.into_bytes()),
    ] {
        let file = dir.join(name);
        write(&file, &bytes)?;
        run.reports.push(file);
    }
    Ok(run)
}

/// The JUnit document over these runs.
pub(crate) fn junit_of(runs: &[Run]) -> Result<Vec<u8>, Failure> {
    let mut xml = Vec::new();
    junit::write(runs, &mut xml)?;
    Ok(xml)
}

/// Writes a file that the user asked for.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let written = parent.map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(path, bytes));
    written.map_err(|error| Failure::user(format!("{}: {error}", path.display())))
}

/// What all runs together come to.
pub(crate) fn verdict(runs: &[Run], wanted: usize) -> Verdict {
    let missing = (runs.len() < wanted).then_some(Verdict::Error);
    Verdict::of_all(runs.iter().map(|run| run.verdict).chain(missing))
}

pub(crate) fn exit_code(verdict: Verdict) -> ExitCode {
    ExitCode::from(verdict.exit_code())
}

/// Loads every scenario before anything is started: a slip in the last file must not cost a night.
pub(crate) fn load_all(paths: &[PathBuf]) -> Result<Vec<Scenario>, Failure> {
    let load = |path: &PathBuf| {
        let text = read_text(path)?;
        Scenario::parse(path, text.clone()).map_err(|bad| kind::explain(bad, &text, Kind::Scenario))
    };
    paths.iter().map(|path| load(path).map_err(Failure::from)).collect()
}

/// The first interrupt ends the run in order; the second ends us at once, and the fleet's supervisor, which
/// holds a lease on us, ends the fleet.
fn listen(cancel: CancellationToken, printer: Printer) -> Result<(), Failure> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if cancel.is_cancelled() {
                #[expect(clippy::exit, reason = "whoever interrupts twice does not want to wait")]
                std::process::exit(i32::from(Verdict::Error.exit_code()));
            }
            printer.progress(
                "interrupted: undoing every fault and destroying the fleet; once more ends at once",
            );
            cancel.cancel();
        }
    });
    Ok(())
}
