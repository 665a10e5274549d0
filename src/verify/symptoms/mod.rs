//! Signs of trouble that an instance gives by itself: a panic, a process that was killed for memory, a failed
//! unit, a broken file system. Every run expects that there are none, whatever else it expects.
//!
//! Who looks where is decided above; here it is said what a line means ([`kind_of`]) and, from the journal
//! alone, whether what was seen speaks against the image ([`judge`]): not what a fault of the run explains,
//! and not what the scenario makes an exception for.

mod allow;
mod patterns;

use std::collections::BTreeMap;

pub use allow::{Day, Exception};
pub use patterns::kind_of;

use crate::journal::event::{Judged, Symptom, SymptomKind};
use crate::journal::{Entry, Event, Verdict};

/// The expectation that every run has, as reports name it.
pub const NO_TROUBLE: &str = "no console findings";

/// Trouble may show this much later than the fault that caused it, in microseconds.
const GRACE_US: u64 = 30_000_000;
/// So many lines are told of in full.
const TOLD: usize = 20;

/// A fault at work on certain instances, from when to when.
struct Work<'a> {
    fault: &'a str,
    /// Its name in the catalogue.
    what: &'a str,
    targets: &'a [String],
    from: u64,
    until: u64,
}

/// Judges every symptom in the journal of one run. `unasked` says which instances could not be asked in the
/// end: of them nobody knows.
pub fn judge(exceptions: &[Exception], unasked: &[String], entries: &[Entry]) -> Judged {
    let today = today(entries);
    let work = work(entries);
    let mut told = Vec::new();
    let mut found: BTreeMap<SymptomKind, Vec<&str>> = BTreeMap::new();
    let (mut findings, mut explained, mut allowed, mut environment) = (0_usize, 0_usize, 0_usize, 0_usize);
    let symptoms = entries.iter().filter_map(|entry| match &entry.event {
        Event::Symptom(symptom) => Some(symptom),
        _ => None,
    });
    for symptom in symptoms {
        let seen = symptom.seen_us as f64 / 1e6;
        let mut tell = |what: String| {
            let Symptom { node, source, kind, line, .. } = symptom;
            told.push(format!("{seen:.1} s, {node}, {} in the {}{what}: {line}", kind.text(), source.text()));
        };
        if symptom.kind == SymptomKind::Environment {
            environment += 1;
            tell(" (about the machine underneath, not the image)".to_owned());
            continue;
        }
        if let Some(cause) = work.iter().find(|work| work.explains(symptom)) {
            explained += 1;
            tell(format!(" (explained by {})", cause.fault.replacen('-', " ", 1)));
            continue;
        }
        let exception = exceptions.iter().find(|exception| symptom.line.contains(&exception.pattern));
        match exception {
            Some(exception) if today.is_some_and(|today| today <= exception.until) => {
                allowed += 1;
                tell(format!(" (allowed until {}: {})", exception.until, exception.reason));
                continue;
            }
            Some(expired) => tell(format!(" (was allowed until {}: {})", expired.until, expired.reason)),
            None => tell(String::new()),
        }
        findings += 1;
        let nodes = found.entry(symptom.kind).or_default();
        if !nodes.contains(&symptom.node.as_str()) {
            nodes.push(&symptom.node);
        }
    }
    let verdict = match (findings, unasked.is_empty()) {
        (0, true) => Verdict::Pass,
        (0, false) => Verdict::Unknown,
        _ => Verdict::Fail,
    };
    let mut message = match verdict {
        Verdict::Pass => "no sign of trouble on any console or in any log".to_owned(),
        Verdict::Fail => {
            let kinds = found.iter().map(|(kind, nodes)| format!("{} on {}", kind.text(), nodes.join(", ")));
            kinds.collect::<Vec<_>>().join("; ")
        }
        _ => format!("nobody knows: {}", unasked.join("; ")),
    };
    let aside = [
        (explained, "explained by a fault"),
        (allowed, "allowed"),
        (environment, "about the machine underneath"),
    ];
    let aside: Vec<String> =
        aside.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    if !aside.is_empty() {
        message = format!("{message} ({})", aside.join(", "));
    }
    if told.len() > TOLD {
        let more = told.split_off(TOLD).len();
        told.push(format!("and {more} more"));
    }
    if verdict == Verdict::Fail {
        told.extend(unasked.iter().cloned());
    }
    let counts = [
        ("findings", findings),
        ("explained", explained),
        ("allowed", allowed),
        ("environment", environment),
    ];
    Judged {
        expectation: NO_TROUBLE.to_owned(),
        verdict,
        message,
        detail: told.join("\n"),
        measured: counts.iter().map(|(name, count)| ((*name).to_owned(), *count as f64)).collect(),
    }
}

/// The day on which the run started, in UTC. Without it, no exception holds.
fn today(entries: &[Entry]) -> Option<Day> {
    entries.iter().find_map(|entry| match &entry.event {
        Event::RunStarted(header) => header.started_at.get(..10)?.parse().ok(),
        _ => None,
    })
}

fn work(entries: &[Entry]) -> Vec<Work<'_>> {
    let mut all: Vec<Work<'_>> = Vec::new();
    for entry in entries {
        match &entry.event {
            Event::Injected { fault, targets } => all.push(Work {
                fault,
                what: fault.split_once('-').map_or(fault.as_str(), |(_, name)| name),
                targets,
                from: entry.at_us,
                until: u64::MAX,
            }),
            Event::Healed { fault, .. } => {
                if let Some(work) = all.iter_mut().find(|work| work.fault == fault) {
                    work.until = entry.at_us.saturating_add(GRACE_US);
                }
            }
            _ => {}
        }
    }
    all
}

impl Work<'_> {
    /// Whether this fault, by its nature, leads to such trouble, there and then.
    fn explains(&self, symptom: &Symptom) -> bool {
        let leads_to: &[SymptomKind] = match self.what {
            "instance.panic" => &[SymptomKind::KernelPanic],
            "resource.memory" => &[SymptomKind::OutOfMemory, SymptomKind::HungTask, SymptomKind::FailedUnit],
            "disk.io_error" | "disk.read_only" | "disk.bit_flip" => &[
                SymptomKind::IoError,
                SymptomKind::FileSystem,
                SymptomKind::HungTask,
                SymptomKind::FailedUnit,
            ],
            "disk.io_stall" | "disk.io_delay" => {
                &[SymptomKind::HungTask, SymptomKind::IoError, SymptomKind::FailedUnit]
            }
            // A signal may be one that leaves a core, and what reads damaged bytes may crash.
            "process.kill" | "file.corrupt" => &[SymptomKind::FailedUnit, SymptomKind::Segfault],
            "disk.fill" | "process.pause" | "service.stop" | "clock.skew" | "clock.strobe" => {
                &[SymptomKind::FailedUnit]
            }
            _ => &[],
        };
        leads_to.contains(&symptom.kind)
            && self.targets.contains(&symptom.node)
            && (self.from..=self.until).contains(&symptom.seen_us)
    }
}

#[cfg(test)]
mod tests;
