//! From what was found to the verdict of the run, and the rule that a run in which too little happened is
//! never a pass.

use super::RunResult;
use super::phases::Finding;
use crate::journal::{Entry, Event, OpOutcome, Phase, Verdict};

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
    let faults = windows(entries);
    if scheduled && faults.is_empty() {
        missing.push("no fault took place".to_owned());
    }
    let overlaps = |from: u64, to: u64| faults.iter().any(|(begin, end)| from < *end && *begin < to);
    let (mut succeeded, mut overlapped, mut probed) = (0_usize, false, false);
    for entry in entries {
        match &entry.event {
            Event::Op(op) if op.invoked_us >= chaos && op.invoked_us < recovery => {
                succeeded += usize::from(op.outcome == OpOutcome::Ok);
                overlapped |= overlaps(op.invoked_us, op.completed_us);
            }
            Event::Probe { latency_us, .. } => {
                probed |= overlaps(entry.at_us.saturating_sub(*latency_us), entry.at_us);
            }
            _ => {}
        }
    }
    if has_workload && succeeded == 0 {
        missing.push("no operation of the workload succeeded".to_owned());
    }
    if !faults.is_empty() && has_workload && !overlapped {
        missing.push("no operation took place during a fault".to_owned());
    }
    if !faults.is_empty() && !has_workload && !probed {
        missing.push("no probe was measured during a fault".to_owned());
    }
    missing
}

/// From when to when each fault was at work, in microseconds.
fn windows(entries: &[Entry]) -> Vec<(u64, u64)> {
    let mut windows = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let Event::Injected { fault: id, .. } = &entry.event else { continue };
        let later = entries.iter().skip(index);
        let healed = later.filter(|e| matches!(&e.event, Event::Healed { fault, .. } if fault == id));
        // A moment counts as one microsecond, so that something can overlap it.
        let end = healed.map(|e| e.at_us).next().unwrap_or(u64::MAX).max(entry.at_us + 1);
        windows.push((entry.at_us, end));
    }
    windows
}
