//! What a journal says, sorted by kind: operations, probes, faults and the time in which they count.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::journal::{Entry, Event, OpOutcome, OpRecord, Phase};
use crate::verify::checker::linear::History;

/// The kinds of workloads whose keys are registers.
pub(super) const REGISTERS: &[&str] = &["register", "key_value"];

/// The kinds of workloads whose keys hold many values, each of which is promised.
pub(super) const COLLECTIONS: &[&str] = &["set", "append", "queue"];

/// The facts that expectations are judged by. Times are microseconds since the run started.
pub(super) struct Facts<'a> {
    pub(super) ops: Vec<&'a OpRecord>,
    /// Kind and plan by the workload's name.
    workloads: BTreeMap<&'a str, (&'a str, &'a Value)>,
    /// What instances said, with the time.
    pub(super) said: Vec<(u64, Saying<'a>)>,
    /// Measurements of whole probes, over all their nodes.
    pub(super) probes: Vec<(&'a str, Attempt)>,
    /// In the order of their injection.
    pub(super) faults: Vec<Fault<'a>>,
    faults_planned: bool,
    /// Start and end of the chaos phase; of everything, if the journal has no such phase.
    pub(super) chaos: (u64, u64),
}

/// What an instance said when it was asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Saying<'a> {
    /// The title of the expectation.
    pub(super) expectation: &'a str,
    pub(super) node: &'a str,
    pub(super) round: u32,
    /// The error says why it gave no answer.
    pub(super) answer: Result<&'a str, &'a str>,
}

/// A fault that was injected.
pub(super) struct Fault<'a> {
    pub(super) name: &'a str,
    pub(super) injected: u64,
    /// `None`: the journal does not say that it ended.
    pub(super) healed: Option<u64>,
}

/// Something that was tried, and whether it was well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) ok: bool,
}

impl From<&OpRecord> for Attempt {
    fn from(op: &OpRecord) -> Self {
        let end = op.completed_us.max(op.invoked_us);
        Attempt { start: op.invoked_us, end, ok: op.outcome == OpOutcome::Ok }
    }
}

impl<'a> Facts<'a> {
    pub(super) fn of(entries: &'a [Entry]) -> Self {
        let end = entries.iter().map(|entry| entry.at_us).max().unwrap_or_default();
        let mut facts = Facts {
            ops: Vec::new(),
            workloads: BTreeMap::new(),
            said: Vec::new(),
            probes: Vec::new(),
            faults: Vec::new(),
            faults_planned: false,
            chaos: (0, end),
        };
        let mut in_chaos = false;
        for entry in entries {
            let at = entry.at_us;
            match &entry.event {
                Event::PhaseStarted { phase: Phase::Chaos } => {
                    facts.chaos = (at, end);
                    in_chaos = true;
                }
                Event::PhaseStarted { .. } if in_chaos => {
                    facts.chaos.1 = at;
                    in_chaos = false;
                }
                Event::Scheduled { steps } => facts.faults_planned |= !steps.is_empty(),
                Event::Injected { fault, .. } => {
                    facts.faults.push(Fault { name: fault, injected: at, healed: None });
                }
                Event::Healed { fault, .. } => {
                    let open = facts.faults.iter_mut().rev().find(|open| open.name == fault);
                    if let Some(open) = open.filter(|open| open.healed.is_none()) {
                        open.healed = Some(at);
                    }
                }
                Event::Probe { probe, node: None, ok, latency_us, .. } => {
                    let attempt = Attempt { start: at.saturating_sub(*latency_us), end: at, ok: *ok };
                    facts.probes.push((probe, attempt));
                }
                Event::Op(op) => facts.ops.push(op),
                Event::Workload { workload, kind, plan } => {
                    facts.workloads.insert(workload, (kind, plan));
                }
                Event::Said { expectation, node, round, answer, detail } => {
                    let answer = answer.as_deref().ok_or(detail.as_str());
                    facts.said.push((at, Saying { expectation, node, round: *round, answer }));
                }
                _ => {}
            }
        }
        facts
    }

    /// Why `attempts` prove nothing, if they do not: none was well, or none met a fault although faults were
    /// planned. `what` names them, such as `operation`.
    pub(super) fn too_little(&self, what: &str, attempts: &[Attempt]) -> Option<String> {
        if attempts.is_empty() {
            return Some(format!("nothing was learned: there was no {what}"));
        }
        if !attempts.iter().any(|attempt| attempt.ok) {
            return Some(format!("nothing was learned: no {what} succeeded"));
        }
        if self.faults.is_empty() {
            return self
                .faults_planned
                .then(|| "nothing was learned: faults were planned and none was injected".to_owned());
        }
        let meets = |attempt: &Attempt| {
            self.faults.iter().any(|fault| {
                attempt.start <= fault.healed.unwrap_or(u64::MAX) && fault.injected <= attempt.end
            })
        };
        (!attempts.iter().any(meets)).then(|| format!("nothing was learned: no {what} met a fault"))
    }

    /// The kind of a workload.
    pub(super) fn kind_of(&self, workload: &str) -> &'a str {
        self.workloads.get(workload).map_or("register", |known| known.0)
    }

    /// The operations of workloads of these kinds.
    pub(super) fn of_kinds(&self, kinds: &[&str]) -> Vec<&'a OpRecord> {
        self.ops.iter().filter(|op| kinds.contains(&self.kind_of(&op.workload))).copied().collect()
    }

    /// The same with what their workloads were told.
    pub(super) fn history(&self, kinds: &[&str]) -> History<'a> {
        let plans = self.workloads.iter().map(|(name, (_, plan))| (*name, *plan)).collect();
        History { ops: self.of_kinds(kinds), plans }
    }

    /// The operations as attempts; `workload` limits them to one workload.
    pub(super) fn attempts(&self, workload: Option<&str>) -> Vec<Attempt> {
        let chosen = |op: &&&OpRecord| workload.is_none_or(|name| op.workload == name);
        self.ops.iter().filter(chosen).map(|op| Attempt::from(*op)).collect()
    }

    /// The measurements of one probe.
    pub(super) fn probe(&self, name: &str) -> Vec<Attempt> {
        self.probes.iter().filter(|(probe, _)| *probe == name).map(|(_, attempt)| *attempt).collect()
    }

    /// The names of the probes, in order of appearance.
    pub(super) fn probe_names(&self) -> Vec<&'a str> {
        let mut names = Vec::new();
        for (name, _) in &self.probes {
            if !names.contains(name) {
                names.push(*name);
            }
        }
        names
    }

    /// Whether `attempt` began in the chaos phase.
    pub(super) fn in_chaos(&self, attempt: &Attempt) -> bool {
        (self.chaos.0..=self.chaos.1).contains(&attempt.start)
    }
}

pub(super) fn attempts(ops: &[&OpRecord]) -> Vec<Attempt> {
    ops.iter().map(|op| Attempt::from(*op)).collect()
}

/// The stretches in which something was under way or refused and nothing succeeded: each begins at the last
/// success, or at the first attempt after it if nothing was under way, and lasts to the next success, or to
/// the end of the last attempt. Pairs of start and end, in order of time.
pub(super) fn gaps(attempts: &[Attempt]) -> Vec<(u64, u64)> {
    let mut by_end = attempts.to_vec();
    by_end.sort_by_key(|attempt| attempt.end);
    // For each attempt, the earliest start among it and all that ended later.
    let mut earliest: Vec<u64> = Vec::with_capacity(by_end.len());
    let mut least = u64::MAX;
    for attempt in by_end.iter().rev() {
        least = least.min(attempt.start);
        earliest.push(least);
    }
    earliest.reverse();
    let mut gaps = Vec::new();
    let mut last_ok = 0;
    let mut begins = None;
    for (attempt, earliest) in by_end.iter().zip(&earliest) {
        let begin = *begins.get_or_insert((*earliest).max(last_ok));
        if attempt.ok {
            gaps.push((begin, attempt.end));
            last_ok = attempt.end;
            begins = None;
        }
    }
    if let (Some(begin), Some(last)) = (begins, by_end.last()) {
        gaps.push((begin, last.end));
    }
    gaps
}
