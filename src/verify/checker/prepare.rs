//! Makes a register's history easier to judge without changing the verdict.

use std::collections::{HashMap, HashSet};

use super::history::{ABSENT, Action, OPEN, Op, ValueId};

/// A history whose values are numbered densely from 0, which is [`ABSENT`].
pub(super) struct Prepared {
    pub(super) ops: Vec<Op>,
    pub(super) values: usize,
}

/// Settles, drops and merges; each step says why it is sound.
pub(super) fn prepare(ops: &[Op]) -> Prepared {
    let mut ops = ops.to_vec();
    settle(&mut ops);
    drop_unseen(&mut ops);
    merge_values(ops)
}

/// An operation that alone set `v`, which a completed operation found there, took effect, and did so before
/// that one ended: whatever its own client saw, its end is at the latest the end of the first that found it.
///
/// This turns every indeterminate operation whose value was seen into an ordinary one. What it settles may
/// itself have needed a value (a compare-and-set), so it repeats until nothing changes.
fn settle(ops: &mut [Op]) {
    let mut setters: HashMap<ValueId, u32> = HashMap::new();
    for value in ops.iter().filter_map(|op| op.action.sets()) {
        *setters.entry(value).or_default() += 1;
    }
    loop {
        let mut first_seen: HashMap<ValueId, u64> = HashMap::new();
        for op in ops.iter().filter(|op| op.completed != OPEN) {
            if let Some(value) = op.action.needs() {
                let end = first_seen.entry(value).or_insert(OPEN);
                *end = op.completed.min(*end);
            }
        }
        let mut changed = false;
        for op in ops.iter_mut() {
            let Some(value) = op.action.sets() else { continue };
            let alone = value != ABSENT && setters.get(&value) == Some(&1);
            let Some(end) = first_seen.get(&value).filter(|_| alone) else { continue };
            // Seen before it started: a violation, which the search finds; times stay in order.
            let end = (*end).max(op.invoked);
            if end < op.completed {
                op.completed = end;
                changed = true;
            }
        }
        if !changed {
            return;
        }
    }
}

/// An indeterminate operation whose value nothing needs may be taken to have never happened.
///
/// Take any order that explains the history and has it in it: what follows it directly neither found its
/// value nor can be an operation that needs it, so it is an operation that needs no value, a write. Without
/// it, the same order explains the rest. An operation that found the register to *differ* from some value
/// breaks the argument, so histories with those are left as they are.
fn drop_unseen(ops: &mut Vec<Op>) {
    if ops.iter().any(|op| matches!(op.action, Action::Differs(_))) {
        return;
    }
    loop {
        let needed: HashSet<ValueId> = ops.iter().filter_map(|op| op.action.needs()).collect();
        let before = ops.len();
        ops.retain(|op| op.completed != OPEN || op.action.sets().is_none_or(|value| needed.contains(&value)));
        if ops.len() == before {
            return;
        }
    }
}

/// Values that no operation found or looked for cannot be told apart, so they become one, and the writes
/// that set them become interchangeable.
fn merge_values(mut ops: Vec<Op>) -> Prepared {
    let mut numbers: HashMap<ValueId, ValueId> = HashMap::from([(ABSENT, ABSENT)]);
    let mut next = ABSENT + 1;
    for op in &ops {
        let mentioned = match op.action {
            Action::Differs(value) => Some(value),
            other => other.needs(),
        };
        if let Some(value) = mentioned {
            numbers.entry(value).or_insert_with(|| {
                next += 1;
                next - 1
            });
        }
    }
    let number = |value: ValueId| numbers.get(&value).copied().unwrap_or(next);
    for op in &mut ops {
        op.action = match op.action {
            Action::Read(value) => Action::Read(number(value)),
            Action::Differs(value) => Action::Differs(number(value)),
            Action::Write(value) => Action::Write(number(value)),
            Action::Cas { expected, new } => Action::Cas { expected: number(expected), new: number(new) },
        };
    }
    Prepared { ops, values: next as usize + 1 }
}
