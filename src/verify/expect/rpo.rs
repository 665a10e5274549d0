//! The recovery point objective: how many acknowledged writes may be gone in the end.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::facts::Facts;
use super::known::{Complaint, Known};
use super::lost::NoAcknowledgedWriteLost;
use super::{Expect, Finding, count};
use crate::journal::Verdict;
use crate::verify::Budget;

/// At most so many acknowledged writes are lost in the whole run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Rpo(pub u32);

impl Expect for Rpo {
    fn title(&self) -> String {
        format!("rpo: at most {} lost", count(self.0 as usize, "acknowledged write"))
    }

    fn check(&self, known: &Known<'_>) -> Result<(), Complaint> {
        NoAcknowledgedWriteLost.check(known)
    }

    /// What is lost is defined in one place; here it is only said how much of it may be.
    fn judge(&self, facts: &Facts<'_>, budget: Budget) -> Finding {
        let mut finding = NoAcknowledgedWriteLost.judge(facts, budget);
        let lost = finding.measured.get("lost_writes").copied();
        if finding.verdict == Verdict::Fail && lost.is_some_and(|lost| lost <= f64::from(self.0)) {
            finding.verdict = Verdict::Pass;
        }
        finding
    }
}
