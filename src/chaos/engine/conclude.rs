//! From what was found to the verdict of the run, and the rule that a run in which too little happened is
//! never a pass.

use std::collections::BTreeSet;

use super::RunResult;
use super::phases::Finding;
use crate::journal::{Entry, Event, OpOutcome, Phase, Verdict};
use crate::verify::expect::faults;

/// The verdict over everything, with the reason in one line.
pub(super) fn conclude(mut finding: Finding, entries: &[Entry]) -> RunResult {
    finding.problems.extend(too_little(entries, finding.has_workload));
    let judged = finding.judged.iter().map(|judged| judged.verdict);
    let problems = finding.problems.iter().map(|_| Verdict::Error);
    // What the provider cannot do was not tested: nobody knows whether the image would have survived it.
    let skipped = finding.skipped.iter().map(|_| Verdict::Unknown);
    let verdict = Verdict::of_all(judged.chain(problems).chain(skipped));
    let unmet: Vec<String> = (finding.judged.iter().filter(|judged| judged.verdict == verdict))
        .map(|judged| format!("{}: {}", judged.expectation, judged.message))
        .collect();
    let reason = match verdict {
        Verdict::Pass => String::new(),
        Verdict::Fail => unmet.join("; "),
        Verdict::Error => [finding.problems, unmet].concat().join("; "),
        Verdict::Unknown if finding.skipped.is_empty() => unmet.join("; "),
        Verdict::Unknown => {
            let skipped = format!("this provider cannot do {}", finding.skipped.join(", "));
            [vec![skipped], unmet].concat().join("; ")
        }
    };
    RunResult { verdict, reason }
}

/// Says what is missing for the run to mean anything.
fn too_little(entries: &[Entry], has_workload: bool) -> Vec<String> {
    let mut missing = Vec::new();
    let start = |wanted: Phase| {
        let found =
            entries.iter().find(|e| matches!(&e.event, Event::PhaseStarted { phase } if *phase == wanted));
        found.map_or(u64::MAX, |entry| entry.at_us)
    };
    let (chaos, recovery) = (start(Phase::Chaos), start(Phase::Recovery));
    let scheduled =
        entries.iter().any(|e| matches!(&e.event, Event::Scheduled { steps } if !steps.is_empty()));
    let faults = faults(entries);
    if scheduled && faults.is_empty() {
        missing.push("no fault took place".to_owned());
    }
    let (mut succeeded, mut met) = (0_usize, BTreeSet::new());
    let mut meet = |from: u64, to: u64| {
        let under = faults.iter().filter(|fault| from < fault.met_until() && fault.injected < to);
        met.extend(under.map(|fault| fault.name));
    };
    for entry in entries {
        match &entry.event {
            Event::Op(op) if op.invoked_us >= chaos && op.invoked_us < recovery => {
                succeeded += usize::from(op.outcome == OpOutcome::Ok);
                meet(op.invoked_us, op.completed_us);
            }
            Event::Probe { latency_us, .. } if !has_workload => {
                meet(entry.at_us.saturating_sub(*latency_us), entry.at_us);
            }
            _ => {}
        }
    }
    if has_workload && succeeded == 0 {
        missing.push("no operation of the workload succeeded".to_owned());
    }
    let what = if has_workload { "no operation took place" } else { "no probe was measured" };
    for fault in faults.iter().filter(|fault| !met.contains(fault.name)) {
        missing.push(format!("{what} during {}", fault.name));
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::event::{OpRecord, ScheduledFault};

    /// Two faults, one of 10 s and a moment, and operations that begin at these seconds and take one.
    fn missing(ops: &[u64]) -> Vec<String> {
        let second = 1_000_000;
        let step = |fault: &str, at: u64, heal_at_us| ScheduledFault {
            fault: fault.to_owned(),
            kind: "k".to_owned(),
            inject_at_us: at,
            heal_at_us,
            params: serde_json::Value::Null,
            targets: Vec::new(),
        };
        let steps = vec![step("long", 10 * second, Some(20 * second)), step("moment", 40 * second, None)];
        let injected = |fault: &str| Event::Injected { fault: fault.to_owned(), targets: Vec::new() };
        let healed =
            |fault: &str| Event::Healed { fault: fault.to_owned(), verified: true, evidence: String::new() };
        let mut events = vec![
            (0, Event::Scheduled { steps }),
            (0, Event::PhaseStarted { phase: Phase::Chaos }),
            (10, injected("long")),
            (20, healed("long")),
            (40, injected("moment")),
            (40, healed("moment")),
            (60, Event::PhaseStarted { phase: Phase::Recovery }),
        ];
        events.extend(ops.iter().map(|at| {
            let op = OpRecord {
                workload: "w".to_owned(),
                process: 0,
                node: "n".to_owned(),
                key: "k".to_owned(),
                f: "read".to_owned(),
                input: serde_json::Value::Null,
                output: serde_json::Value::Null,
                outcome: OpOutcome::Ok,
                invoked_us: at * second,
                completed_us: (at + 1) * second,
                detail: String::new(),
            };
            (at + 1, Event::Op(op))
        }));
        let entries: Vec<Entry> =
            events.into_iter().map(|(at, event)| Entry { at_us: at * second, event }).collect();
        too_little(&entries, true)
    }

    #[test]
    fn every_fault_must_be_met_by_something() {
        assert_eq!(missing(&[5, 15, 30, 50]), [] as [&str; 0]);
        assert_eq!(missing(&[5, 30, 50]), ["no operation took place during long"]);
        assert_eq!(missing(&[15]), ["no operation took place during moment"]);
        assert_eq!(
            missing(&[]),
            [
                "no operation of the workload succeeded",
                "no operation took place during long",
                "no operation took place during moment"
            ]
        );
    }
}
