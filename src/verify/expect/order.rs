//! Linearizability of every register of every workload.

use super::facts::{Facts, REGISTERS, attempts};
use super::known::{Complaint, Known};
use super::{Expect, Finding, count};
use crate::journal::Verdict;
use crate::verify::Budget;
use crate::verify::checker::explain::explain;
use crate::verify::checker::history::{OPEN, by_key};
use crate::verify::checker::linearizable::{Outcome, check};
use crate::verify::checker::shrink::smallest_violation;

/// So many violated registers are explained in full; the rest are named.
const EXPLAINED: usize = 3;

/// See [`Expectation`](super::Expectation).
pub(super) struct Linearizable;

impl Expect for Linearizable {
    fn title(&self) -> String {
        "linearizable".to_owned()
    }

    fn check(&self, known: &Known<'_>) -> Result<(), Complaint> {
        known.has_kind_for("`linearizable`", REGISTERS)
    }

    /// Judges register by register; the time is shared by all, the memory is used by one after another.
    fn judge(&self, facts: &Facts<'_>, budget: Budget) -> Finding {
        let ops = facts.of_kinds(REGISTERS);
        if let Some(why) = facts.too_little("operation", &attempts(&ops)) {
            return Finding::new(Verdict::Error, why);
        }
        let histories = match by_key(&ops) {
            Ok(histories) => histories,
            Err(why) => return Finding::new(Verdict::Error, why),
        };
        let limits = budget.start();
        let (mut violated, mut undecided) = (Vec::new(), Vec::new());
        for history in &histories {
            match check(&history.ops, limits) {
                Outcome::Linearizable => {}
                Outcome::Violated => violated.push(history),
                Outcome::Unknown(why) => undecided.push(format!("{}: out of {why}", history.key)),
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
        let mut parts: Vec<String> = violated
            .iter()
            .take(EXPLAINED)
            .map(|history| {
                let piece = smallest_violation(&history.ops, limits);
                explain(history, &ops, &piece)
            })
            .collect();
        if violated.len() > EXPLAINED {
            let names: Vec<&str> = violated.iter().skip(EXPLAINED).map(|history| history.key).collect();
            parts.push(format!("Also not linearizable: {}", names.join(", ")));
        }
        parts.extend(undecided);
        finding.detail = parts.join("\n\n");
        finding
            .measured("registers", histories.len() as f64)
            .measured("operations", operations as f64)
            .measured("indeterminate", open as f64)
            .measured("violated_registers", violated.len() as f64)
    }
}
