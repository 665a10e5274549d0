//! What several reports say in the same words.

use super::numbers::Recovery;
use super::run::{Evidence, FaultRun, FaultState, Run};
use super::words;
use crate::journal::Verdict;

pub(super) fn mark(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "✓",
        Verdict::Fail => "✗",
        Verdict::Unknown => "?",
        Verdict::Error => "!",
    }
}

/// What was tested, where, and with which seed: enough to name the run.
pub(super) fn identity(run: &Run) -> String {
    let header = &run.header;
    let mut parts: Vec<String> =
        header.images.iter().map(|(role, id)| format!("{role} {}", words::short(id))).collect();
    parts.extend([
        header.provider.clone(),
        format!("seed {}", header.seed),
        format!("run {}", header.run),
        words::span(run.duration_us),
    ]);
    parts.join(" · ")
}

/// Targets and times of a fault: `etcd-2  48.0s to 60.0s`.
pub(super) fn when(fault: &FaultRun) -> String {
    let times = match (fault.injected_us, &fault.healed) {
        (Some(from), Some(healed)) => format!("{} to {}", words::at(from), words::at(healed.at_us)),
        (Some(from), None) => format!("from {}", words::at(from)),
        (None, _) => return String::new(),
    };
    if fault.targets.is_empty() {
        return times;
    }
    format!("{times} on {}", words::line(&fault.targets.join(", ")))
}

/// What is known of the fault itself, a sentence each.
pub(super) fn evidence(fault: &FaultRun) -> Vec<String> {
    let text = |evidence: &Option<Evidence>, or: &str| {
        evidence.as_ref().map_or_else(|| or.to_owned(), |evidence| evidence.text.clone())
    };
    let mut told = vec![match fault.state {
        FaultState::Skipped => format!("skipped: {}", fault.skipped.as_deref().unwrap_or_default()),
        FaultState::NotReached => "not reached: the run ended before it was due".to_owned(),
        FaultState::NotProven => {
            format!("did not take effect: {}", text(&fault.not_proven, "it left no proof"))
        }
        FaultState::Healed | FaultState::NotHealed => format!("proof: {}", text(&fault.proven, "")),
    }];
    if fault.state == FaultState::NotHealed {
        told.push(format!("not known to be undone: {}", text(&fault.healed, "the run ended first")));
    }
    told
}

/// [`evidence`], and what clients and probes noticed of the fault.
pub(super) fn consequences(fault: &FaultRun) -> Vec<String> {
    let mut told = evidence(fault);
    if matches!(fault.state, FaultState::Healed | FaultState::NotHealed) {
        let outage = fault.outage_us.zip(fault.from_injection_us).map(|(outage, from)| {
            let (outage, from) = (words::span(outage), words::span(from));
            format!("clients waited at most {outage}, over {from} after injection")
        });
        let recovery = match (fault.first_success, fault.recovery) {
            (Recovery::After(first), Recovery::After(steady)) if first < steady => {
                let (first, steady) = (words::span(first), words::span(steady));
                Some(format!("back {first} and steady {steady} after its end (RTO)"))
            }
            (_, Recovery::After(steady)) => Some(format!("back {} after its end (RTO)", words::span(steady))),
            (Recovery::After(first), Recovery::Never) => {
                Some(format!("back {} after its end, never steady again", words::span(first)))
            }
            (_, Recovery::Never) => Some("not back before the end of the run".to_owned()),
            (Recovery::After(first), Recovery::NotMeasured) => {
                Some(format!("back {} after its end (RTO)", words::span(first)))
            }
            (_, Recovery::NotMeasured) => None,
        };
        let lost = fault
            .lost_writes
            .map(|lost| format!("{} lost (RPO)", words::plural(lost as usize, "acknowledged write")));
        let both: Vec<String> = outage.into_iter().chain(recovery).chain(lost).collect();
        if !both.is_empty() {
            told.push(both.join("; "));
        }
    }
    told
}

/// The numbers over all operations of the chaos phase.
pub(super) fn service(run: &Run) -> Vec<String> {
    let numbers = &run.numbers;
    let mut lines = vec![format!(
        "{}: {} ok, {} failed, {} indeterminate; availability {}",
        words::plural(numbers.ops(), "operation"),
        words::count(numbers.ok),
        words::count(numbers.failed),
        words::count(numbers.indeterminate),
        words::percent(numbers.availability.unwrap_or(0.0)),
    )];
    let mut times = Vec::new();
    if let Some(us) = numbers.longest_outage_us {
        times.push(format!("longest outage {}", words::span(us)));
    }
    if let (Some(p50), Some(p99)) = (numbers.p50_us, numbers.p99_us) {
        times.push(format!("latency p50 {}, p99 {}", words::span(p50), words::span(p99)));
    }
    if !times.is_empty() {
        lines.push(times.join("; "));
    }
    if let Some((lost, acknowledged)) = run.lost_writes() {
        let (lost, acknowledged) = (words::count(lost as usize), words::count(acknowledged as usize));
        lines.push(format!("{lost} of {acknowledged} acknowledged writes lost (RPO)"));
    }
    lines
}

/// The command that runs the same schedule again; `None` when the journal is not in a file.
pub(super) fn replay(run: &Run) -> Option<String> {
    let journal = run.journal.as_ref()?.to_string_lossy();
    let words = ["ovenproof", "run", &run.header.scenario_file, "--replay", &journal];
    // A text with a zero byte cannot be a word of a command.
    shlex::try_join(words).ok()
}

/// What happened to a fault, a line each, with its times.
pub(super) fn story(fault: &FaultRun) -> Vec<String> {
    let mut story = Vec::new();
    if let Some(at) = fault.injected_us {
        let on = match fault.targets.is_empty() {
            true => String::new(),
            false => format!(" on {}", fault.targets.join(", ")),
        };
        story.push((at, format!("injected{on}")));
    }
    let told = [
        ("proof: ", &fault.proven),
        ("not proven: ", &fault.not_proven),
        (if fault.heal_verified { "healed: " } else { "healed, not verified: " }, &fault.healed),
    ];
    for (what, evidence) in told {
        if let Some(evidence) = evidence {
            story.push((evidence.at_us, format!("{what}{}", evidence.text)));
        }
    }
    story.sort_by_key(|(at, _)| *at);
    story.into_iter().map(|(at, text)| format!("{}  {}", words::at(at), words::line(&text))).collect()
}
