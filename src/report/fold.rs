//! From entries to a run: the one pass over a journal that every report is made from.
//!
//! Pure: the same entries give the same [`Run`] on every machine. Nothing is judged here; what the journal
//! says is only put together, and what it fails to say (a run that was killed) counts against it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::numbers::{self, Numbers, Recovery};
use crate::journal::event::{Judged, RunStarted};
use crate::journal::{self, Entry, Event, JournalError, OpRecord, Phase, Verdict};

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
    /// The longest time in which clients waited without any acknowledgement that met the fault. Faults that
    /// overlap share it: nobody can tell whose it was.
    pub outage_us: Option<u64>,
    pub recovery: Recovery,
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
    fn new(id: &str) -> Self {
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
            recovery: Recovery::NotMeasured,
        }
    }

    fn ended_as(&self) -> FaultState {
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

    /// The phase's own span; `None` if the run never came so far.
    pub fn phase(&self, phase: Phase) -> Option<PhaseSpan> {
        self.phases.iter().copied().find(|span| span.phase == phase)
    }
}

#[derive(Default)]
struct Fold {
    header: Option<RunStarted>,
    phases: Vec<PhaseSpan>,
    faults: Vec<FaultRun>,
    probes: Vec<ProbeSeries>,
    ops: Vec<OpRecord>,
    instances: Vec<InstanceChange>,
    judged: Vec<(u64, Judged)>,
    notes: Vec<(u64, String)>,
    finished: Option<(Verdict, String)>,
    last_us: u64,
}

impl Fold {
    fn take(&mut self, entry: &Entry) {
        let at_us = entry.at_us;
        self.last_us = self.last_us.max(at_us);
        let evidence = |text: &String| Some(Evidence { at_us, text: text.clone() });
        match &entry.event {
            Event::RunStarted(header) => self.header = Some(header.clone()),
            Event::PhaseStarted { phase } => {
                if let Some(last) = self.phases.last_mut() {
                    last.end_us = at_us;
                }
                self.phases.push(PhaseSpan { phase: *phase, start_us: at_us, end_us: at_us });
            }
            Event::Scheduled { steps } => {
                for step in steps {
                    let fault = self.fault(&step.fault);
                    fault.kind.clone_from(&step.kind);
                    fault.params = step.params.clone();
                    fault.lasts = step.heal_at_us.is_some();
                    fault.targets.clone_from(&step.targets);
                }
            }
            Event::Instance { node, what } => {
                self.instances.push(InstanceChange { at_us, node: node.clone(), what: what.clone() });
            }
            Event::Injected { fault, targets } => {
                let fault = self.fault(fault);
                fault.injected_us = Some(at_us);
                if !targets.is_empty() {
                    fault.targets.clone_from(targets);
                }
            }
            Event::Proven { fault, evidence: text } => self.fault(fault).proven = evidence(text),
            Event::NotProven { fault, reason } => self.fault(fault).not_proven = evidence(reason),
            Event::Healed { fault, verified, evidence: text } => {
                let fault = self.fault(fault);
                fault.healed = evidence(text);
                fault.heal_verified = *verified;
            }
            Event::Skipped { fault, reason } => self.fault(fault).skipped = Some(reason.clone()),
            Event::Probe { probe, node, ok, latency_us, detail } => {
                let sample = ProbeSample { at_us, ok: *ok, latency_us: *latency_us, detail: detail.clone() };
                self.series(probe, node.as_deref()).samples.push(sample);
            }
            Event::Op(op) => self.ops.push(op.clone()),
            Event::Judged(judged) => self.judged.push((at_us, judged.clone())),
            Event::Note { text } => self.notes.push((at_us, text.clone())),
            Event::RunFinished { verdict, reason } => self.finished = Some((*verdict, reason.clone())),
        }
    }

    fn fault(&mut self, id: &str) -> &mut FaultRun {
        let index = self.faults.iter().position(|fault| fault.id == id).unwrap_or(self.faults.len());
        if index == self.faults.len() {
            self.faults.push(FaultRun::new(id));
        }
        &mut self.faults[index]
    }

    fn series(&mut self, probe: &str, node: Option<&str>) -> &mut ProbeSeries {
        let found = self.probes.iter().position(|s| s.probe == probe && s.node.as_deref() == node);
        let index = found.unwrap_or(self.probes.len());
        if index == self.probes.len() {
            let (probe, node) = (probe.to_owned(), node.map(str::to_owned));
            self.probes.push(ProbeSeries { probe, node, samples: Vec::new() });
        }
        &mut self.probes[index]
    }

    fn measure_faults(&mut self) {
        let waits = numbers::waits(&self.ops.iter().collect::<Vec<_>>());
        let signs = numbers::signs(&self.ops, &self.probes);
        let healed = |fault: &FaultRun| fault.healed.as_ref().map(|healed| healed.at_us);
        let spans: Vec<_> = self.faults.iter().map(|f| (f.id.clone(), f.injected_us, healed(f))).collect();
        for fault in &mut self.faults {
            fault.state = fault.ended_as();
            let Some(from) = fault.injected_us else { continue };
            let ended = healed(fault);
            fault.outage_us = numbers::longest_met(&waits, from, ended.unwrap_or(self.last_us));
            let Some(ended) = ended else { continue };
            let others = || spans.iter().filter(|(id, ..)| *id != fault.id);
            let at_work = others().any(|(_, from, to)| {
                from.is_some_and(|from| from <= ended) && to.is_none_or(|to| to > ended)
            });
            if !at_work {
                let next = others().filter_map(|(_, from, _)| *from).filter(|from| *from > ended).min();
                fault.recovery = numbers::recovery(&signs, ended, next);
            }
        }
    }

    fn finish(mut self) -> Run {
        if let Some(last) = self.phases.last_mut() {
            last.end_us = self.last_us;
        }
        self.ops.sort_by_key(|op| op.completed_us);
        self.probes.sort_by(|a, b| (&a.probe, &a.node).cmp(&(&b.probe, &b.node)));
        self.measure_faults();
        let chaos = self.phases.iter().find(|span| span.phase == Phase::Chaos);
        let counts =
            |op: &&OpRecord| chaos.is_none_or(|span| (span.start_us..=span.end_us).contains(&op.invoked_us));
        let numbers = Numbers::of(&self.ops.iter().filter(counts).collect::<Vec<_>>());
        let header = self.header.unwrap_or_else(unknown_header);
        let expectations = expectations(&header, self.judged);
        let has = |phase| self.phases.iter().any(|span| span.phase == phase);
        let baseline = match (has(Phase::Chaos), has(Phase::Baseline)) {
            (true, _) => Baseline::Held,
            (false, true) => Baseline::Broken,
            (false, false) => Baseline::NotReached,
        };
        let (said, reason) =
            self.finished.unwrap_or_else(|| (Verdict::Error, "the run did not end".to_owned()));
        let parts = expectations.iter().filter_map(|e| e.judged.as_ref().map(|judged| judged.verdict));
        let unproven = self.faults.iter().filter(|f| f.not_proven.is_some()).map(|_| Verdict::Error);
        Run {
            journal: None,
            attachments: Vec::new(),
            reports: Vec::new(),
            numbers,
            verdict: Verdict::of_all(parts.chain(unproven).chain([said])),
            reason,
            header,
            phases: self.phases,
            faults: self.faults,
            probes: self.probes,
            ops: self.ops,
            instances: self.instances,
            expectations,
            notes: self.notes,
            baseline,
            duration_us: self.last_us,
        }
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

/// Judged twice (a run that was resumed): the later one stands.
fn expectations(header: &RunStarted, judged: Vec<(u64, Judged)>) -> Vec<Expectation> {
    let mut all: Vec<Expectation> = Vec::new();
    for name in &header.expectations {
        all.push(Expectation { name: name.clone(), judged: None, at_us: 0 });
    }
    for (at_us, judged) in judged {
        match all.iter_mut().find(|known| known.name == judged.expectation) {
            Some(known) => (known.at_us, known.judged) = (at_us, Some(judged)),
            None => all.push(Expectation { name: judged.expectation.clone(), judged: Some(judged), at_us }),
        }
    }
    all
}

/// For a journal that ended before its first line was written.
fn unknown_header() -> RunStarted {
    RunStarted {
        run: "unknown".to_owned(),
        tool_version: "unknown".to_owned(),
        started_at: "1970-01-01T00:00:00Z".to_owned(),
        scenario: "unknown scenario".to_owned(),
        scenario_file: String::new(),
        scenario_digest: String::new(),
        seed: 0,
        provider: "unknown".to_owned(),
        images: BTreeMap::new(),
        expectations: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn a_run_that_was_killed_is_an_error_unless_a_violation_was_found() {
        let killed = Run::from_entries(&sample::killed());
        assert_eq!((killed.verdict, killed.reason.as_str()), (Verdict::Error, "the run did not end"));
        assert_eq!(Run::from_entries(&[]).verdict, Verdict::Error);

        let mut failed = sample::failing();
        failed.pop();
        assert_eq!(Run::from_entries(&failed).verdict, Verdict::Fail);
    }

    #[test]
    fn a_fault_without_proof_is_never_a_pass() {
        let run = Run::from_entries(&sample::not_proven());
        assert_eq!(run.verdict, Verdict::Error);
        assert_eq!(run.faults[0].state, FaultState::NotProven);
    }

    #[test]
    fn phases_faults_and_expectations_are_put_together() {
        let run = Run::from_entries(&sample::passing());
        assert_eq!(run.verdict, Verdict::Pass);
        assert_eq!(run.baseline, Baseline::Held);
        assert!(run.phases.is_sorted_by_key(|span| span.start_us));
        assert!(run.phases.windows(2).all(|pair| pair[0].end_us == pair[1].start_us));
        let states: Vec<_> = run.faults.iter().map(|f| (f.short(), f.state)).collect();
        assert_eq!(
            states,
            [
                ("f1", FaultState::Healed),
                ("f2", FaultState::Healed),
                ("f3", FaultState::Healed),
                ("f4", FaultState::Skipped),
            ]
        );
        // Chosen at the moment of injection, not by the schedule.
        assert_eq!(run.faults[1].targets, ["etcd-1"]);
        assert!(run.expectations.iter().all(|e| e.verdict() == Verdict::Pass));
    }

    #[test]
    fn an_expectation_nobody_judged_is_an_error() {
        let run = Run::from_entries(&sample::baseline_broken());
        assert_eq!(run.baseline, Baseline::Broken);
        assert!(run.expectations.iter().all(|e| e.verdict() == Verdict::Error));
        assert!(run.faults.iter().all(|f| f.state == FaultState::NotReached));
    }
}
