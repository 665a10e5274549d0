//! The smallest piece of a history that already proves a violation.

use std::collections::{BTreeSet, HashMap};

use super::Limits;
use super::history::{Action, OPEN, Op, ValueId};
use super::linearizable::{Outcome, check};

/// A piece of `ops`, which are known to be violated, that is violated too and from which nothing more can be
/// left out; when the limits are reached, the smallest found by then.
///
/// Only such pieces are tried as a correct register can always explain: what was known at an earlier time,
/// fewer operations that only look, and all operations on some values left out together. So the piece is a
/// proof in itself, and not an effect of leaving something out.
pub fn smallest_violation(ops: &[Op], limits: Limits) -> Vec<Op> {
    let shrinker = Shrinker { limits };
    let mut ops = shrinker.earliest(ops);
    let looks = |op: &Op| matches!(op.action, Action::Differs(_));
    let without_differs: Vec<Op> = ops.iter().filter(|op| !looks(op)).copied().collect();
    if shrinker.is_violated(&without_differs) {
        ops = without_differs;
    }
    loop {
        let before = ops.len();
        // With a value's operations gone the register holds an older one in their place, which an operation
        // that found it to differ would notice.
        if !ops.iter().any(looks) {
            let groups = groups(&ops);
            ops = shrinker.without(ops, &groups);
        }
        let observers: Vec<BTreeSet<usize>> = ops
            .iter()
            .filter(|op| op.action.sets().is_none())
            .map(|op| BTreeSet::from([op.record]))
            .collect();
        ops = shrinker.without(ops, &observers);
        if ops.len() == before {
            return ops;
        }
    }
}

struct Shrinker {
    limits: Limits,
}

impl Shrinker {
    fn is_violated(&self, ops: &[Op]) -> bool {
        check(ops, self.limits) == Outcome::Violated
    }

    /// The history as it was known at the earliest time at which it could not be explained any more.
    fn earliest(&self, ops: &[Op]) -> Vec<Op> {
        let ends: BTreeSet<u64> = ops.iter().map(|op| op.completed).collect();
        let ends: Vec<u64> = ends.into_iter().collect();
        // What cannot be explained at one time cannot be explained later.
        let first = ends.partition_point(|end| !self.is_violated(&up_to(ops, *end)));
        match ends.get(first) {
            Some(end) => up_to(ops, *end),
            None => ops.to_vec(),
        }
    }

    /// Leaves out as many of `parts`, sets of records, as it can: large chunks first, then smaller ones.
    fn without(&self, mut ops: Vec<Op>, parts: &[BTreeSet<usize>]) -> Vec<Op> {
        let mut parts: Vec<&BTreeSet<usize>> = parts.iter().collect();
        let mut size = parts.len().div_ceil(2);
        while size > 0 && !parts.is_empty() {
            let mut kept = Vec::new();
            for chunk in parts.chunks(size) {
                let gone = |op: &Op| chunk.iter().any(|part| part.contains(&op.record));
                let fewer: Vec<Op> = ops.iter().filter(|op| !gone(op)).copied().collect();
                match self.is_violated(&fewer) {
                    true => ops = fewer,
                    false => kept.extend_from_slice(chunk),
                }
            }
            parts = kept;
            size = if size == 1 { 0 } else { size.div_ceil(2) };
        }
        ops
    }
}

/// What was known at the time `at`: what had started, with whatever had not ended yet open.
fn up_to(ops: &[Op], at: u64) -> Vec<Op> {
    ops.iter()
        .filter(|op| op.invoked <= at)
        .filter(|op| op.completed <= at || op.action.sets().is_some())
        .map(|op| Op { completed: if op.completed <= at { op.completed } else { OPEN }, ..*op })
        .collect()
}

/// The records of each value; values that a compare-and-set joins belong together.
fn groups(ops: &[Op]) -> Vec<BTreeSet<usize>> {
    let mut joined: HashMap<ValueId, ValueId> = HashMap::new();
    fn root(joined: &HashMap<ValueId, ValueId>, mut value: ValueId) -> ValueId {
        while let Some(next) = joined.get(&value) {
            value = *next;
        }
        value
    }
    for op in ops {
        if let Action::Cas { expected, new } = op.action {
            let (a, b) = (root(&joined, expected), root(&joined, new));
            if a != b {
                joined.insert(a, b);
            }
        }
    }
    let mut groups: HashMap<ValueId, BTreeSet<usize>> = HashMap::new();
    for op in ops {
        if let Some(value) = op.action.sets().or(op.action.needs()) {
            groups.entry(root(&joined, value)).or_default().insert(op.record);
        }
    }
    let mut groups: Vec<BTreeSet<usize>> = groups.into_values().collect();
    groups.sort();
    groups
}
