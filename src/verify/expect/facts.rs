//! What a journal says, sorted by kind: operations, probes, faults and the time in which they count.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::journal::{Entry, Event, OpRecord, Phase};
use crate::verify::checker::linear::History;
use crate::verify::service::{self, Attempt, Fault, Times};

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
    /// Probes that are not measured all the time.
    part_time: BTreeSet<&'a str>,
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

impl<'a> Facts<'a> {
    pub(super) fn of(entries: &'a [Entry]) -> Self {
        let end = entries.iter().map(|entry| entry.at_us).max().unwrap_or_default();
        let mut facts = Facts {
            ops: Vec::new(),
            workloads: BTreeMap::new(),
            said: Vec::new(),
            probes: Vec::new(),
            part_time: BTreeSet::new(),
            faults: faults(entries),
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
                Event::Probe { probe, node: None, ok, latency_us, .. } => {
                    let attempt = Attempt { start: at.saturating_sub(*latency_us), end: at, ok: *ok };
                    facts.probes.push((probe, attempt));
                }
                Event::PartTime { probe } => {
                    facts.part_time.insert(probe);
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
            let under =
                |fault: &Fault<'_>| attempt.start <= fault.met_until() && fault.injected <= attempt.end;
            self.faults.iter().any(under)
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

    /// All by which it is known that the service is well: each probe that is measured all the time, and the
    /// operations if there are any.
    pub(super) fn signs(&self) -> Vec<Vec<Attempt>> {
        let operations = self.attempts(None);
        let watching = self.probe_names().into_iter().filter(|name| !self.part_time.contains(name));
        let mut signs: Vec<Vec<Attempt>> = watching.map(|name| self.probe(name)).collect();
        if !operations.is_empty() {
            signs.push(operations);
        }
        signs
    }

    /// The recovery times of every fault, as `noticed` shows them; without it, as clients notice them.
    pub(super) fn times(&self, noticed: Option<&[Attempt]>) -> Vec<(&'a str, Times)> {
        let signs = self.signs();
        let operations = self.attempts(None);
        // Operations are what clients notice; without any, the first probe stands for them.
        let own = if operations.is_empty() { signs.first() } else { Some(&operations) };
        let noticed = noticed.or(own.map(Vec::as_slice)).unwrap_or_default();
        let signs: Vec<&[Attempt]> = signs.iter().map(Vec::as_slice).collect();
        let names = self.faults.iter().map(|fault| fault.name);
        names.zip(service::times(&self.faults, noticed, &signs)).collect()
    }
}

pub(super) fn attempts(ops: &[&OpRecord]) -> Vec<Attempt> {
    ops.iter().map(|op| Attempt::from(*op)).collect()
}

/// The faults that a journal tells of, in the order of their injection.
pub(crate) fn faults(entries: &[Entry]) -> Vec<Fault<'_>> {
    let mut faults: Vec<Fault<'_>> = Vec::new();
    let mut moments = BTreeSet::new();
    for Entry { at_us, event, .. } in entries {
        match event {
            Event::Scheduled { steps } => {
                let some = steps.iter().filter(|step| step.heal_at_us.is_none());
                moments.extend(some.map(|step| step.fault.as_str()));
            }
            Event::Injected { fault, .. } => {
                faults.push(Fault { name: fault, injected: *at_us, healed: None, moment: false });
            }
            Event::Healed { fault, .. } => {
                let open = faults.iter_mut().rev().find(|open| open.name == fault);
                if let Some(open) = open.filter(|open| open.healed.is_none()) {
                    open.healed = Some(*at_us);
                }
            }
            _ => {}
        }
    }
    // Only now: nothing says that the schedule stands before what comes of it.
    for fault in &mut faults {
        fault.moment = moments.contains(fault.name);
    }
    faults
}

/// Whether the fault of this name, such as `f1-instance.kill`, is of this kind.
pub(super) fn is_of_kind(fault: &str, kind: &str) -> bool {
    fault.split_once('-').is_some_and(|(_, name)| name == kind)
}
