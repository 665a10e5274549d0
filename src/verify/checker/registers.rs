//! Linearizability of every register: each behaved as if every operation took effect at one instant between its
//! start and its end.

use super::Limits;
use super::explain::explain;
use super::finding::{Finding, count};
use super::history::{OPEN, by_key};
use super::linear::{History, HistoryChecker, OutOf};
use super::linearizable::{Outcome, check};
use super::shrink::smallest_violation;
use crate::journal::{OpOutcome, OpRecord, Verdict};

/// So many violated registers are explained in full; the rest are named.
const EXPLAINED: usize = 3;

/// See the module.
pub struct Linearizable;

impl HistoryChecker for Linearizable {
    const NAME: &'static str = "linearizable";
    const KINDS: &'static [&'static str] = &["register", "key_value"];

    /// Judges register by register; the time is shared by all, the memory is used by one after another.
    fn check(&self, history: &History<'_>, limits: Limits) -> Result<Finding, OutOf> {
        let histories = match by_key(&history.ops) {
            Ok(histories) => histories,
            Err(why) => return Ok(Finding::new(Verdict::Error, why)),
        };
        let (mut violated, mut undecided) = (Vec::new(), Vec::new());
        for register in &histories {
            match check(&register.ops, limits) {
                Outcome::Linearizable => {}
                Outcome::Violated => violated.push(register),
                Outcome::Unknown(why) => undecided.push(format!("{}: out of {why}", register.key)),
            }
        }
        let operations: usize = histories.iter().map(|history| history.ops.len()).sum();
        let open =
            histories.iter().flat_map(|history| &history.ops).filter(|op| op.completed == OPEN).count();
        let registers = count(histories.len(), "register");
        let mut finding = match (violated.len(), undecided.len()) {
            (0, 0) => Finding::new(
                Verdict::Pass,
                format!("{registers}, {}, {open} of them indeterminate", count(operations, "operation")),
            ),
            (0, _) => Finding::new(
                Verdict::Unknown,
                format!("{} of {registers} could not be judged within the budget", undecided.len()),
            ),
            (some, _) => Finding::new(Verdict::Fail, format!("{some} of {registers} not linearizable")),
        };
        let mut parts = Vec::new();
        for register in violated.iter().take(EXPLAINED) {
            let piece = smallest_violation(&register.ops, limits);
            parts.push(explain(register, &history.ops, &piece));
            if finding.piece.is_empty() {
                let records =
                    piece.iter().filter_map(|op| history.ops.get(op.record).map(|record| (op, record)));
                finding.piece = records.map(|(op, record)| shown(op.completed, record)).collect();
            }
        }
        if violated.len() > EXPLAINED {
            let names: Vec<&str> = violated.iter().skip(EXPLAINED).map(|history| history.key).collect();
            parts.push(format!("Also not linearizable: {}", names.join(", ")));
        }
        parts.extend(undecided);
        Ok(finding
            .detailed(parts.join("\n\n"))
            .measured("registers", histories.len() as f64)
            .measured("operations", operations as f64)
            .measured("indeterminate", open as f64)
            .measured("violated_registers", violated.len() as f64))
    }
}

/// A record as its piece of history knows it: what ended after the piece is open there.
fn shown(completed: u64, record: &OpRecord) -> OpRecord {
    match completed {
        OPEN => OpRecord { outcome: OpOutcome::Indeterminate, ..record.clone() },
        _ => record.clone(),
    }
}
