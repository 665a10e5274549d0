//! Acknowledged writes that are gone: the one thing that a person who stored something cares about.
//!
//! Only reads that began after the last acknowledged write of their register are looked at. What was wrong on
//! the way is the business of linearizability.

use std::collections::BTreeSet;

use super::facts::{Facts, REGISTERS, attempts};
use super::known::{Complaint, Known};
use super::{Expect, Finding, count};
use crate::journal::{OpRecord, Verdict};
use crate::verify::Budget;
use crate::verify::checker::explain::{Teller, seconds};
use crate::verify::checker::history::{ABSENT, KeyHistory, OPEN, Op, ValueId, by_key};

/// So many lost registers are told of in full.
const TOLD: usize = 20;

/// A register that ended with a value it must not have.
struct Loss<'a> {
    history: &'a KeyHistory<'a>,
    found: &'a Op,
    /// Acknowledged after whatever set the value that was found; in order of their end.
    lost: Vec<&'a Op>,
}

enum End<'a> {
    /// Nothing was acknowledged, so nothing was promised.
    NothingPromised,
    NeverRead,
    Kept,
    Lost(Loss<'a>),
}

/// See [`Expectation`](super::Expectation).
pub(super) struct NoAcknowledgedWriteLost;

impl Expect for NoAcknowledgedWriteLost {
    fn title(&self) -> String {
        "no acknowledged write lost".to_owned()
    }

    fn check(&self, known: &Known<'_>) -> Result<(), Complaint> {
        known.has_kind_for(&format!("`{}`", self.title()), REGISTERS)
    }

    fn judge(&self, facts: &Facts<'_>, _: Budget) -> Finding {
        let ops = facts.of_kinds(REGISTERS);
        if let Some(why) = facts.too_little("operation", &attempts(&ops)) {
            return Finding::new(Verdict::Error, why);
        }
        let histories = match by_key(&ops) {
            Ok(histories) => histories,
            Err(why) => return Finding::new(Verdict::Error, why),
        };
        let (mut losses, mut unread, mut kept) = (Vec::new(), Vec::new(), 0);
        for history in &histories {
            match end_of(history) {
                End::NothingPromised => {}
                End::NeverRead => unread.push(history.key),
                End::Kept => kept += 1,
                End::Lost(loss) => losses.push(loss),
            }
        }
        let acknowledged = histories.iter().flat_map(acknowledged).count();
        let lost: usize = losses.iter().map(|loss| loss.lost.len()).sum();
        let mut finding = match (losses.len(), unread.len(), kept) {
            (0, 0, 0) => Finding::new(Verdict::Error, "nothing was learned: no write was acknowledged"),
            (0, 0, _) => Finding::new(
                Verdict::Pass,
                format!(
                    "{} acknowledged on {}, all accounted for",
                    count(acknowledged, "write"),
                    count(kept, "register")
                ),
            ),
            (0, some, _) => Finding::new(
                Verdict::Unknown,
                format!("{} never answered after the last acknowledged write", count(some, "register")),
            ),
            (some, ..) => Finding::new(
                Verdict::Fail,
                format!(
                    "{} of {acknowledged} acknowledged lost, on {}",
                    count(lost, "write"),
                    count(some, "register")
                ),
            ),
        };
        let mut lines: Vec<String> = losses.iter().take(TOLD).map(|loss| loss.tell(&ops)).collect();
        if losses.len() > TOLD {
            lines.push(format!("and {} more", count(losses.len() - TOLD, "register")));
        }
        if !unread.is_empty() {
            lines.push(format!("never answered at the end: {}", unread.join(", ")));
        }
        finding.detail = lines.join("\n");
        finding.measured("acknowledged_writes", acknowledged as f64).measured("lost_writes", lost as f64)
    }
}

/// Writes and compare-and-sets that were promised.
fn acknowledged<'a>(history: &'a KeyHistory<'_>) -> impl Iterator<Item = &'a Op> {
    history.ops.iter().filter(|op| op.completed != OPEN && op.action.sets().is_some())
}

fn end_of<'a>(history: &'a KeyHistory<'a>) -> End<'a> {
    let Some(last_end) = acknowledged(history).map(|op| op.completed).max() else {
        return End::NothingPromised;
    };
    let last_start = acknowledged(history).map(|op| op.invoked).max().unwrap_or_default();
    // Whatever no other acknowledged write followed may have been the last; what nobody saw ending may take
    // effect at any time.
    let possible: BTreeSet<ValueId> = history
        .ops
        .iter()
        .filter(|op| op.completed >= last_start)
        .filter_map(|op| op.action.sets())
        .collect();
    let mut finals = history
        .ops
        .iter()
        .filter(|op| op.invoked > last_end && op.action.sets().is_none())
        .filter_map(|op| Some((op, op.action.needs()?)))
        .peekable();
    if finals.peek().is_none() {
        return End::NeverRead;
    }
    match finals.find(|(_, value)| !possible.contains(value)) {
        None => End::Kept,
        Some((found, value)) => {
            // Set by an acknowledged write, or by nobody at all.
            let set_at = acknowledged(history)
                .filter(|op| value != ABSENT && op.action.sets() == Some(value))
                .map(|op| op.completed)
                .max();
            let mut lost: Vec<&Op> =
                acknowledged(history).filter(|op| set_at.is_none_or(|end| op.invoked > end)).collect();
            lost.sort_by_key(|op| op.completed);
            End::Lost(Loss { history, found, lost })
        }
    }
}

impl Loss<'_> {
    fn tell(&self, records: &[&OpRecord]) -> String {
        let teller = Teller { history: self.history, records };
        let found = format!("{} at {}", teller.deed(self.found), seconds(self.found.completed));
        match self.lost.as_slice() {
            [.., last] => format!(
                "{}: {found}, but {} (acknowledged at {}); acknowledged and gone: {}",
                self.history.key,
                teller.deed(last),
                seconds(last.completed),
                self.lost.len()
            ),
            [] => format!("{}: {found}, which no acknowledged write allows", self.history.key),
        }
    }
}
