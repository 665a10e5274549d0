//! Expectations that are judged from the operations of workloads of certain kinds alone.

use super::facts::{Facts, attempts};
use super::known::{Complaint, Known};
use super::{Expect, Finding};
use crate::journal::Verdict;
use crate::verify::Budget;
use crate::verify::checker::linear::HistoryChecker;

impl<T: HistoryChecker> Expect for T {
    fn title(&self) -> String {
        T::NAME.replace('_', " ")
    }

    fn check(&self, known: &Known<'_>) -> Result<(), Complaint> {
        known.has_kind_for(&format!("`{}`", T::NAME), T::KINDS)
    }

    fn judge(&self, facts: &Facts<'_>, budget: Budget) -> Finding {
        let history = facts.history(T::KINDS);
        match facts.too_little("operation", &attempts(&history.ops)) {
            Some(why) => Finding::new(Verdict::Error, why),
            None => HistoryChecker::judge(self, &history, budget.start()),
        }
    }
}
