//! What checkers share that need to look at every operation only a few times: the history by key, elements as
//! numbers, the budget, and the words in which operations are told.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use serde_json::Value;

use super::Limits;
use super::explain::seconds;
use super::finding::Finding;
use crate::journal::{OpOutcome, OpRecord, Verdict};

/// So many violations are told of in full.
pub(in crate::verify) const TOLD: usize = 10;

/// The operations of the workloads of one kind, and what those workloads were told in the beginning.
#[derive(Debug, Clone, Default)]
pub struct History<'a> {
    pub ops: Vec<&'a OpRecord>,
    /// By workload.
    pub plans: BTreeMap<&'a str, &'a Value>,
}

/// A checker of whole histories. One file each; registered where scenarios and the command line find it.
pub trait HistoryChecker {
    /// The name of the model, and of the expectation.
    const NAME: &'static str;
    /// The kinds of workloads that it judges.
    const KINDS: &'static [&'static str];

    /// Judges `history`, which has at least one operation that succeeded; the error says which part of the
    /// budget was not enough.
    fn check(&self, history: &History<'_>, limits: Limits) -> Result<Finding, OutOf>;

    /// The verdict on `history`: never a pass for one that proves nothing.
    fn judge(&self, history: &History<'_>, limits: Limits) -> Finding {
        if history.ops.is_empty() {
            return Finding::new(Verdict::Error, "nothing was learned: there was no operation");
        }
        if !history.ops.iter().any(|op| op.outcome == OpOutcome::Ok) {
            return Finding::new(Verdict::Error, "nothing was learned: no operation succeeded");
        }
        self.check(history, limits)
            .unwrap_or_else(|OutOf(what)| Finding::new(Verdict::Unknown, format!("out of {what}")))
    }
}

/// The part of the budget that was not enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOf(pub &'static str);

/// Counts what a checker spends.
pub(in crate::verify) struct Meter {
    limits: Limits,
    bytes: usize,
    steps: u32,
}

impl Meter {
    pub(in crate::verify) fn new(limits: Limits) -> Self {
        Meter { limits, bytes: 0, steps: 0 }
    }

    /// One step, for which `bytes` are remembered.
    pub(in crate::verify) fn spend(&mut self, bytes: usize) -> Result<(), OutOf> {
        self.bytes += bytes;
        if self.bytes > self.limits.memory_bytes {
            return Err(OutOf("memory"));
        }
        self.steps = self.steps.wrapping_add(1);
        let late = |deadline| Instant::now() >= deadline;
        match self.steps.is_multiple_of(4096) && self.limits.deadline.is_some_and(late) {
            true => Err(OutOf("time")),
            false => Ok(()),
        }
    }
}

/// The operations of each key, by workload and key.
pub(in crate::verify) fn keys<'a>(history: &History<'a>) -> Vec<((&'a str, &'a str), Vec<&'a OpRecord>)> {
    let mut slots: HashMap<(&str, &str), usize> = HashMap::new();
    let mut keys: Vec<((&str, &str), Vec<&OpRecord>)> = Vec::new();
    for op in &history.ops {
        let name = (op.workload.as_str(), op.key.as_str());
        let slot = *slots.entry(name).or_insert_with(|| {
            keys.push((name, Vec::new()));
            keys.len() - 1
        });
        if let Some((_, ops)) = keys.get_mut(slot) {
            ops.push(op);
        }
    }
    keys.sort_by_key(|(name, _)| *name);
    keys
}

/// Something that was acknowledged and is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::verify) struct Lost {
    /// When it was known to be there, in microseconds since the run started.
    pub(in crate::verify) known_us: u64,
    pub(in crate::verify) told: String,
}

impl Lost {
    /// What is told of each.
    pub(in crate::verify) fn texts(lost: &[Lost]) -> Vec<String> {
        lost.iter().map(|lost| lost.told.clone()).collect()
    }
}

/// Elements as numbers, in the order in which they were first named.
#[derive(Default)]
pub(in crate::verify) struct Elements {
    numbers: HashMap<i64, u32>,
    others: HashMap<String, u32>,
    count: u32,
}

impl Elements {
    /// Bytes that a new element takes, roughly.
    pub(in crate::verify) const COST: usize = 48;

    pub(in crate::verify) fn number(&mut self, value: &Value) -> usize {
        let next = self.count;
        let found = match value.as_i64() {
            Some(number) => *self.numbers.entry(number).or_insert(next),
            None => *self.others.entry(value.to_string()).or_insert(next),
        };
        self.count += u32::from(found == next);
        found as usize
    }

    pub(in crate::verify) fn find(&self, value: &Value) -> Option<usize> {
        let found = match value.as_i64() {
            Some(number) => self.numbers.get(&number),
            None => self.others.get(&value.to_string()),
        };
        found.map(|number| *number as usize)
    }

    pub(in crate::verify) fn len(&self) -> usize {
        self.count as usize
    }
}

/// The items of an answer that is a list; nothing for anything else.
pub(in crate::verify) fn items(output: &Value) -> &[Value] {
    output.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Who did what and when, such as `client 3 added 7 on etcd-2 (1.200 s to 1.250 s, acknowledged)`.
pub(in crate::verify) fn deed(op: &OpRecord, what: &str) -> String {
    let on = if op.node.is_empty() { String::new() } else { format!(" on {}", op.node) };
    let ended = match op.outcome {
        OpOutcome::Ok => format!("{} to {}", seconds(op.invoked_us), seconds(op.completed_us)),
        OpOutcome::Fail => format!("refused at {}: {}", seconds(op.completed_us), op.detail),
        OpOutcome::Indeterminate => format!("from {}, never acknowledged", seconds(op.invoked_us)),
    };
    format!("client {} {what}{on} ({ended})", op.process)
}

/// The first of many violations, and how many more there are.
pub(in crate::verify) fn told(mut lines: Vec<String>, what: &str) -> String {
    let more = lines.len().saturating_sub(TOLD);
    lines.truncate(TOLD);
    if more > 0 {
        lines.push(format!("and {more} more {what}"));
    }
    lines.join("\n")
}

/// The nearest rank: one that really occurred. `sorted` ascends.
pub(in crate::verify) fn quantile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}
