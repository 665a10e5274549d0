//! From entries to a run: the one pass over a journal that every report is made from.
//!
//! Pure: the same entries give the same [`Run`] on every machine. Nothing is judged here; what the journal
//! says is only put together, and what it fails to say (a run that was killed) counts against it.

use std::collections::{BTreeMap, BTreeSet};

use super::numbers::Numbers;
use super::run::{
    Baseline, Evidence, Expectation, FaultRun, InstanceChange, PhaseSpan, ProbeSample, ProbeSeries, Run,
};
use crate::journal::event::{Judged, RunStarted, Symptom};
use crate::journal::{Entry, Event, OpRecord, Phase, Verdict};
use crate::verify::service::{self, Attempt};

/// No run lasts longer: 35 years.
const LATEST_US: u64 = 1 << 50;

#[derive(Default)]
pub(super) struct Fold {
    header: Option<RunStarted>,
    phases: Vec<PhaseSpan>,
    faults: Vec<FaultRun>,
    probes: Vec<ProbeSeries>,
    /// Probes that are not measured all the time.
    part_time: BTreeSet<String>,
    ops: Vec<OpRecord>,
    instances: Vec<InstanceChange>,
    judged: Vec<(u64, Judged)>,
    symptoms: Vec<Symptom>,
    notes: Vec<(u64, String)>,
    finished: Option<(Verdict, String)>,
    last_us: u64,
}

impl Fold {
    pub(super) fn take(&mut self, entry: &Entry) {
        // The writer's clock never goes back; a file that was tampered with must not make sums overflow.
        self.last_us = self.last_us.max(entry.at_us.min(LATEST_US));
        let at_us = self.last_us;
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
            Event::PartTime { probe } => {
                self.part_time.insert(probe.clone());
            }
            Event::Op(op) => {
                let mut op = op.clone();
                op.invoked_us = op.invoked_us.min(LATEST_US);
                op.completed_us = op.completed_us.clamp(op.invoked_us, LATEST_US);
                self.ops.push(op);
            }
            Event::Judged(judged) => self.judged.push((at_us, judged.clone())),
            Event::Symptom(symptom) => self.symptoms.push(symptom.clone()),
            // For those who read the journal.
            Event::Timing(_) => {}
            Event::Note { text } => self.notes.push((at_us, text.clone())),
            // What these come to is in the verdict on the expectation that asked for them.
            Event::Workload { .. } | Event::Said { .. } => {}
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
        let operations: Vec<Attempt> = self.ops.iter().map(Attempt::from).collect();
        let mut signs = signs(&self.probes, &self.part_time);
        if !operations.is_empty() {
            signs.push(operations.clone());
        }
        // Operations are what clients notice; without any, the first probe stands for them.
        let noticed =
            if operations.is_empty() { signs.first().cloned().unwrap_or_default() } else { operations };
        let signs: Vec<&[Attempt]> = signs.iter().map(Vec::as_slice).collect();
        let known: Vec<(usize, service::Fault<'_>)> = self
            .faults
            .iter()
            .enumerate()
            .filter_map(|(at, fault)| {
                let healed = fault.healed.as_ref().map(|healed| healed.at_us);
                let (name, injected, moment) = (&fault.id, fault.injected_us?, !fault.lasts);
                Some((at, service::Fault { name, injected, healed, moment }))
            })
            .collect();
        let (indices, known): (Vec<usize>, Vec<service::Fault<'_>>) = known.into_iter().unzip();
        let times = service::times(&known, &noticed, &signs);
        for fault in &mut self.faults {
            fault.state = fault.ended_as();
        }
        for fault in &mut self.faults {
            let lost = format!("rpo.{}", fault.id);
            let known = self.judged.iter().find_map(|(_, judged)| judged.measured.get(&lost));
            fault.lost_writes = known.map(|number| *number as u64);
        }
        for (at, times) in indices.into_iter().zip(times) {
            let Some(fault) = self.faults.get_mut(at) else { continue };
            fault.outage_us = times.downtime;
            fault.from_injection_us = times.from_injection;
            fault.first_success = times.success.into();
            fault.recovery = times.steady.into();
        }
    }

    pub(super) fn finish(mut self) -> Run {
        if let Some(last) = self.phases.last_mut() {
            last.end_us = self.last_us;
        }
        self.ops.sort_by_key(|op| op.completed_us);
        // In the order of their appearance, as expectations see them.
        self.measure_faults();
        self.probes.sort_by(|a, b| (&a.probe, &a.node).cmp(&(&b.probe, &b.node)));
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
            symptoms: self.symptoms,
            notes: self.notes,
            baseline,
            duration_us: self.last_us,
        }
    }
}

/// What each probe shows that is measured all the time. Where a probe is measured as a whole, its single nodes do not count: the service may
/// well be back while a node is not.
fn signs(probes: &[ProbeSeries], part_time: &BTreeSet<String>) -> Vec<Vec<Attempt>> {
    let whole = |probe: &str| probes.iter().any(|other| other.probe == probe && other.node.is_none());
    let watching = probes.iter().filter(|series| !part_time.contains(&series.probe));
    let counted = watching.filter(|series| series.node.is_none() || !whole(&series.probe));
    let attempt = |sample: &ProbeSample| Attempt {
        start: sample.at_us.saturating_sub(sample.latency_us),
        end: sample.at_us,
        ok: sample.ok,
    };
    counted.map(|series| series.samples.iter().map(attempt).collect()).collect()
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
    use crate::report::run::FaultState;
    use crate::report::sample;
    use proptest::prelude::*;

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

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn no_times_make_a_report_impossible(times in prop::collection::vec(any::<u64>(), 1..9)) {
            let mut entries = sample::failing();
            let mut times = times.into_iter().cycle();
            for entry in &mut entries {
                let mut next = || times.next().unwrap();
                match &mut entry.event {
                    Event::Op(op) => (op.invoked_us, op.completed_us) = (next(), next()),
                    Event::Probe { latency_us, .. } => *latency_us = next(),
                    Event::Judged(judged) => {
                        judged.measured.insert("longest_outage_ms".into(), next() as f64);
                    }
                    _ => entry.at_us = next(),
                }
            }
            let run = Run::from_entries(&entries);
            let _ = crate::report::terminal::summary(&run, false, 80);
            let _ = crate::report::markdown::summary(std::slice::from_ref(&run));
            crate::report::junit::write(std::slice::from_ref(&run), Vec::new()).unwrap();
            crate::report::html::page(&run, std::path::Path::new("/")).unwrap();
        }
    }
}
