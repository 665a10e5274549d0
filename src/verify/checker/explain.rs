//! A violation in words that a person can follow.

use std::fmt::Write;

use super::history::{ABSENT, Action, KeyHistory, OPEN, Op, ValueId};
use crate::journal::{OpOutcome, OpRecord};

/// What the operations `piece`, taken from `history`, show: the operations in order of time, and why no order
/// explains them. `records` are those that the history was made from.
pub fn explain(history: &KeyHistory<'_>, records: &[&OpRecord], piece: &[Op]) -> String {
    let teller = Teller { history, records };
    let mut text = format!(
        "Register {} (workload {}): no order explains these {} of its {} operations:\n",
        history.key,
        history.workload,
        piece.len(),
        history.ops.len(),
    );
    let mut piece = piece.to_vec();
    piece.sort_by_key(|op| (op.invoked, op.record));
    for op in &piece {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {}", teller.line(op));
    }
    text.push_str(&teller.reason(&piece));
    text
}

/// A time of the run, in seconds.
pub fn seconds(micros: u64) -> String {
    format!("{}.{:03} s", micros / 1_000_000, micros / 1_000 % 1_000)
}

/// Puts the operations of one register into words; `records` are those its history was made from.
pub struct Teller<'a> {
    pub history: &'a KeyHistory<'a>,
    pub records: &'a [&'a OpRecord],
}

impl Teller<'_> {
    fn value(&self, value: ValueId) -> String {
        match self.history.values.get(value as usize) {
            Some(value) if !value.is_null() => value.to_string(),
            _ => "nothing".to_owned(),
        }
    }

    /// Who did it, such as `client 3 read 7 from etcd-2`.
    pub fn deed(&self, op: &Op) -> String {
        let (process, node) = match self.records.get(op.record) {
            Some(record) => (record.process, record.node.as_str()),
            None => (0, "?"),
        };
        let what = match op.action {
            Action::Read(value) => format!("read {} from {node}", self.value(value)),
            Action::Differs(value) => {
                format!("was told by {node} that it does not hold {}", self.value(value))
            }
            Action::Write(value) => format!("wrote {} to {node}", self.value(value)),
            Action::Cas { expected, new } => {
                format!("replaced {} by {} on {node}", self.value(expected), self.value(new))
            }
        };
        format!("client {process} {what}")
    }

    fn line(&self, op: &Op) -> String {
        let from = seconds(op.invoked);
        // A piece of history knows less than the record: what ended after it is open there.
        let ended = self.records.get(op.record).filter(|record| record.outcome == OpOutcome::Ok);
        match ended {
            Some(record) => format!("{from} to {}: {}", seconds(record.completed_us), self.deed(op)),
            None => format!("{from}, never acknowledged: {}", self.deed(op)),
        }
    }

    /// Why the last answer cannot be right, as far as one of the usual reasons applies.
    fn reason(&self, piece: &[Op]) -> String {
        let answered = piece.iter().filter(|op| op.action.needs().is_some() && op.completed != OPEN);
        let Some(last) = answered.max_by_key(|op| (op.completed, op.record)) else {
            return format!("{GENERIC}.");
        };
        let Some(found) = last.action.needs() else { return format!("{GENERIC}.") };
        let claim = format!("{} at {}, but ", capitalized(&self.deed(last)), seconds(last.completed));
        let because = self
            .never_set(found)
            .or_else(|| self.set_later(found, last))
            .or_else(|| self.replaced_twice(found, last, piece))
            .or_else(|| self.replaced_before(found, last, piece));
        match because {
            Some(because) => format!("{claim}{because}."),
            None => format!("{claim}{GENERIC_AFTER_BUT}."),
        }
    }

    fn setters(&self, value: ValueId) -> impl Iterator<Item = &Op> {
        self.history.ops.iter().filter(move |op| op.action.sets() == Some(value))
    }

    fn never_set(&self, found: ValueId) -> Option<String> {
        if found == ABSENT || self.setters(found).next().is_some() {
            return None;
        }
        let text = self.history.values.get(found as usize)?;
        let refused = self.records.iter().find(|record| {
            let sets = record.input == *text || record.input.get(1) == Some(text);
            let here = record.workload == self.history.workload && record.key == self.history.key;
            here && sets && record.outcome == OpOutcome::Fail
        });
        Some(match refused {
            Some(record) => format!(
                "the only attempt to write it was refused: client {} on {} at {}, {}",
                record.process,
                record.node,
                seconds(record.completed_us),
                record.detail
            ),
            None => "nobody ever wrote it".to_owned(),
        })
    }

    fn set_later(&self, found: ValueId, last: &Op) -> Option<String> {
        let first = self.setters(found).min_by_key(|op| op.invoked)?;
        (found != ABSENT && first.invoked > last.completed)
            .then(|| format!("it was written only later: {}", self.line(first)))
    }

    /// Two compare-and-sets both took the value away that was set once.
    fn replaced_twice(&self, found: ValueId, last: &Op, piece: &[Op]) -> Option<String> {
        let is_cas = |op: &&Op| matches!(op.action, Action::Cas { expected, .. } if expected == found);
        let times_set = self.setters(found).count() + usize::from(found == ABSENT);
        let other =
            piece.iter().filter(is_cas).find(|op| op.record != last.record && op.completed != OPEN)?;
        (is_cas(&last) && times_set == 1).then(|| {
            format!("it was set only once and already replaced: {} ({})", self.deed(other), self.when(other))
        })
    }

    /// The value was there, then an operation that ended before the last one started showed another.
    fn replaced_before(&self, found: ValueId, last: &Op, piece: &[Op]) -> Option<String> {
        let shows = |op: &Op| op.action.sets().or(op.action.needs());
        let newest = piece
            .iter()
            .filter(|op| op.completed < last.invoked && shows(op).is_some_and(|value| value != found))
            .filter(|newer| self.setters(found).all(|setter| setter.completed < newer.invoked))
            .max_by_key(|op| op.completed)?;
        let since = match found {
            ABSENT => String::new(),
            _ => format!(", and nobody wrote {} since", self.value(found)),
        };
        Some(format!("before that began, {} ({}){since}", self.deed(newest), self.when(newest)))
    }

    fn when(&self, op: &Op) -> String {
        match op.action {
            Action::Write(_) | Action::Cas { .. } => format!("acknowledged at {}", seconds(op.completed)),
            Action::Read(_) | Action::Differs(_) => format!("answered at {}", seconds(op.completed)),
        }
    }
}

const GENERIC: &str = "Whatever order is tried, as far as time allows it, at least one answer is wrong";
const GENERIC_AFTER_BUT: &str =
    "whatever order is tried for the others, as far as time allows it, at least one answer is wrong";

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
