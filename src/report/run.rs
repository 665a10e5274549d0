//! A run as reports see it: plain values, put together by `fold`.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::fold::Fold;
use super::numbers::{Numbers, Recovery};
use crate::journal::event::{Judged, RunStarted, Symptom};
use crate::journal::{self, Entry, JournalError, OpRecord, Phase, Verdict};

/// Everything a report says about one run; serialized without its single measurements. Times are microseconds since the run started.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    /// Where the journal lies, if it came from a file.
    pub journal: Option<PathBuf>,
    /// Console logs and whatever else was kept beside the journal, in order of their names.
    pub attachments: Vec<PathBuf>,
    /// Reports that were written of it, for those who print where they are.
    pub reports: Vec<PathBuf>,
    pub header: RunStarted,
    /// In order of their start.
    pub phases: Vec<PhaseSpan>,
    /// In the order of the schedule.
    pub faults: Vec<FaultRun>,
    #[serde(skip)]
    pub probes: Vec<ProbeSeries>,
    /// In order of completion.
    #[serde(skip)]
    pub ops: Vec<OpRecord>,
    pub instances: Vec<InstanceChange>,
    /// In the order of the header, then those the header does not know.
    pub expectations: Vec<Expectation>,
    /// What the instances' own consoles and logs told of.
    pub symptoms: Vec<Symptom>,
    pub notes: Vec<(u64, String)>,
    pub baseline: Baseline,
    pub numbers: Numbers,
    /// Never better than the worst of what was judged.
    pub verdict: Verdict,
    pub reason: String,
    /// The time of the last entry.
    pub duration_us: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PhaseSpan {
    pub phase: Phase,
    pub start_us: u64,
    /// Start of the next phase, or the end of the run.
    pub end_us: u64,
}

/// One fault with all that is known of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FaultRun {
    pub id: String,
    pub state: FaultState,
    /// The catalogue's name; empty when the schedule does not name this fault.
    pub kind: String,
    pub params: Value,
    pub targets: Vec<String>,
    /// Whether the schedule gives it an end of its own, unlike a reboot.
    pub lasts: bool,
    pub injected_us: Option<u64>,
    pub proven: Option<Evidence>,
    /// Why it did not take effect.
    pub not_proven: Option<Evidence>,
    pub skipped: Option<String>,
    pub healed: Option<Evidence>,
    pub heal_verified: bool,
    /// The longest outage that met the fault. Faults that overlap share it: nobody can tell whose it was.
    pub outage_us: Option<u64>,
    /// From its injection to the first success after that outage.
    pub from_injection_us: Option<u64>,
    /// From its end to the first success.
    pub first_success: Recovery,
    /// From its end to steady state.
    pub recovery: Recovery,
    /// The acknowledged writes whose loss is counted for it; `None` when the scenario did not ask.
    pub lost_writes: Option<u64>,
}

/// When something was learned of a fault, and what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evidence {
    pub at_us: u64,
    pub text: String,
}

/// How a fault's story ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultState {
    /// Took effect and is known to be gone.
    Healed,
    /// The provider cannot do it.
    Skipped,
    /// The run ended before it was due.
    NotReached,
    /// Tried, but it did not take effect or left no proof.
    NotProven,
    /// Took effect, and nobody knows whether it is gone.
    NotHealed,
}

/// The measurements of one probe on one node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProbeSeries {
    pub probe: String,
    pub node: Option<String>,
    /// In order of time.
    pub samples: Vec<ProbeSample>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProbeSample {
    pub at_us: u64,
    pub ok: bool,
    pub latency_us: u64,
    pub detail: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstanceChange {
    pub at_us: u64,
    pub node: String,
    pub what: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Expectation {
    pub name: String,
    /// `None`: the run ended before it was judged.
    pub judged: Option<Judged>,
    pub at_us: u64,
}

/// Whether the steady state held before the first fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Baseline {
    Held,
    /// Checked, and the run went no further.
    Broken,
    /// The fleet never came so far.
    NotReached,
}

impl Expectation {
    /// An expectation that nobody judged is an error.
    pub fn verdict(&self) -> Verdict {
        self.judged.as_ref().map_or(Verdict::Error, |judged| judged.verdict)
    }
}

impl FaultRun {
    pub(super) fn new(id: &str) -> Self {
        FaultRun {
            id: id.to_owned(),
            state: FaultState::NotReached,
            kind: String::new(),
            params: Value::Null,
            targets: Vec::new(),
            lasts: false,
            injected_us: None,
            proven: None,
            not_proven: None,
            skipped: None,
            healed: None,
            heal_verified: false,
            outage_us: None,
            from_injection_us: None,
            first_success: Recovery::NotMeasured,
            recovery: Recovery::NotMeasured,
            lost_writes: None,
        }
    }

    /// What its state is, by all that is known of it.
    pub(super) fn ended_as(&self) -> FaultState {
        match (&self.skipped, &self.not_proven, self.injected_us, &self.proven, &self.healed) {
            (Some(_), ..) => FaultState::Skipped,
            (_, Some(_), ..) => FaultState::NotProven,
            (_, _, None, None, _) => FaultState::NotReached,
            (_, _, _, None, _) => FaultState::NotProven,
            (.., Some(_)) if self.heal_verified => FaultState::Healed,
            _ => FaultState::NotHealed,
        }
    }

    /// The short name: `f1` of `f1-network.partition`.
    pub fn short(&self) -> &str {
        self.id.split('-').next().unwrap_or(&self.id)
    }

    /// `f1 network.partition`, whatever of it is known.
    pub fn title(&self) -> String {
        if self.kind.is_empty() { self.id.clone() } else { format!("{} {}", self.short(), self.kind) }
    }
}

impl Run {
    /// Reads and folds the journal at `path`, and notes the logs that were kept beside it.
    pub fn load(path: &Path) -> Result<Run, JournalError> {
        let mut run = Run::from_entries(&journal::read(path)?);
        run.journal = Some(path.to_owned());
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folders = files(dir, |kind| kind.is_dir());
        run.attachments = [dir.to_owned()]
            .iter()
            .chain(&folders)
            .flat_map(|folder| files(folder, |kind| kind.is_file()))
            .filter(|file| file.extension().is_some_and(|kind| kind == "log" || kind == "pcap"))
            .collect();
        Ok(run)
    }

    pub fn from_entries(entries: &[Entry]) -> Run {
        let mut fold = Fold::default();
        for entry in entries {
            fold.take(entry);
        }
        fold.finish()
    }

    /// The RPO: acknowledged writes that were lost, and how many were acknowledged in all. `None` when the
    /// scenario did not ask.
    pub fn lost_writes(&self) -> Option<(u64, u64)> {
        let judged = self.expectations.iter().filter_map(|expectation| expectation.judged.as_ref());
        let number = |judged: &Judged, name: &str| judged.measured.get(name).map(|number| *number as u64);
        let mut known = judged.filter_map(|judged| {
            Some((number(judged, "lost_writes")?, number(judged, "acknowledged_writes")?))
        });
        known.next()
    }

    /// The phase's own span; `None` if the run never came so far.
    pub fn phase(&self, phase: Phase) -> Option<PhaseSpan> {
        self.phases.iter().copied().find(|span| span.phase == phase)
    }
}

/// What lies in a folder, sorted; nothing when it cannot be read: logs are a help, not a must.
fn files(dir: &Path, wanted: impl Fn(fs::FileType) -> bool) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let found = entries.flatten().filter(|entry| entry.file_type().is_ok_and(&wanted));
    let mut paths: Vec<PathBuf> = found.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}
