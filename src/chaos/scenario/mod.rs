//! Scenario files: a fleet, its steady state, a workload, a timeline of faults, and what must hold.
//!
//! [`Scenario::load`] is the one way from a file to something that can be run; what it returns has passed
//! every check that needs neither an image nor a machine. It touches nothing.

mod check;

use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schedule::{Step, schedule};
use super::target::Roster;
use crate::diagnostic::{BadFile, Located, parse_yaml, read_text};
use crate::fleet::{FleetPlan, FleetSpec};
use crate::guest::probe::ProbeSpec;
use crate::journal::event::ScheduledFault;
use crate::seed::Seed;
use crate::units::Span;
use crate::verify::Expectation;
use crate::verify::probes::SteadyProbe;
use crate::verify::symptoms::Exception;
use crate::verify::workload::{Workload, WorkloadSpec};

/// A scenario as it is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScenarioSpec {
    pub name: Located<String>,
    /// What it is about, for reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Without it each run draws one and prints it; `--seed` goes before both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<Seed>,
    pub fleet: FleetSpec,
    /// The instance of a role for which this probe passes is the role's leader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<ProbeSpec>,
    /// What the service does while nothing is wrong. It must hold before the first fault, and again after
    /// the last.
    pub steady: Vec<Located<SteadyProbe>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workload: Vec<Located<WorkloadSpec>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<Step>,
    /// How long workload and timeline run; without it, until ten seconds after the last fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<Located<Span>>,
    /// How long the service may take to be steady before the first fault, once every instance is ready.
    #[serde(default = "one_minute")]
    pub settle: Span,
    /// How long the service may take to be steady again when every fault is undone.
    #[serde(default = "one_minute")]
    pub recovery: Span,
    /// What must hold, besides that the fleet comes back.
    pub expect: Vec<Located<Expectation>>,
    /// Trouble on consoles and in logs that is known and does not fail the run, each until a certain day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Located<Exception>>,
}

fn one_minute() -> Span {
    Span(Duration::from_secs(60))
}

/// What runs on after the last fault, when the scenario does not say.
const AFTERMATH: Duration = Duration::from_secs(10);

/// A scenario that passed every check.
#[derive(Clone)]
pub struct Scenario {
    pub path: PathBuf,
    /// The file, word for word.
    pub text: String,
    pub spec: ScenarioSpec,
    pub workloads: Vec<Workload>,
    pub roster: Roster,
}

impl Scenario {
    /// Reads and checks the file at `path`.
    pub fn load(path: &Path) -> Result<Self, BadFile> {
        Self::parse(path, read_text(path)?)
    }

    /// Checks `text`, which is what stands at `path`.
    pub fn parse(path: &Path, text: String) -> Result<Self, BadFile> {
        let spec: ScenarioSpec = parse_yaml(path, &text)?;
        let (roster, workloads) = check::all(path, &text, &spec)?;
        let scenario = Scenario { path: path.to_owned(), text, spec, workloads, roster };
        scenario.schedule(scenario.spec.seed.unwrap_or(Seed(0)))?;
        Ok(scenario)
    }

    /// BLAKE3 of the file.
    pub fn digest(&self) -> String {
        blake3::hash(self.text.as_bytes()).to_hex().to_string()
    }

    /// The concrete schedule that `seed` gives.
    pub fn schedule(&self, seed: Seed) -> Result<Vec<ScheduledFault>, BadFile> {
        schedule(&self.spec.timeline, &self.roster, seed).map_err(|conflict| {
            let at = self.spec.timeline.get(conflict.step).and_then(|step| step.inject.at);
            BadFile::at(&self.path, &self.text, at, conflict.message)
                .help("let one end before the other begins, or choose other targets")
        })
    }

    /// Checks what could not be known without the images of the fleet.
    pub fn fits(&self, plan: &FleetPlan) -> Result<(), BadFile> {
        for step in &self.spec.timeline {
            let kind = step.inject.kind();
            let candidates = kind.target().candidates(&self.roster);
            for node in plan.nodes.iter().filter(|node| candidates.contains(&node.name)) {
                kind.fits(node)
                    .map_err(|message| BadFile::at(&self.path, &self.text, step.inject.at, message))?;
            }
        }
        Ok(())
    }

    /// Length of the chaos phase.
    pub fn duration(&self) -> Duration {
        duration(&self.spec)
    }

    pub fn steady(&self) -> Vec<SteadyProbe> {
        self.spec.steady.iter().map(|probe| probe.value.clone()).collect()
    }

    pub fn expectations(&self) -> Vec<Expectation> {
        self.spec.expect.iter().map(|expectation| expectation.value.clone()).collect()
    }

    pub fn exceptions(&self) -> Vec<Exception> {
        self.spec.allow.iter().map(|exception| exception.value.clone()).collect()
    }
}

fn duration(spec: &ScenarioSpec) -> Duration {
    let ends = spec.timeline.iter().map(Step::ends);
    spec.duration.as_ref().map_or_else(|| ends.max().unwrap_or_default() + AFTERMATH, |given| given.value.0)
}

#[cfg(test)]
mod tests;
