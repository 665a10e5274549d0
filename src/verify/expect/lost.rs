//! Acknowledged writes that are gone: the one thing that a person who stored something cares about.
//!
//! Only reads that began after the last acknowledged write of their register are looked at. What was wrong on
//! the way is the business of linearizability.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::facts::{COLLECTIONS, Facts, REGISTERS, attempts};
use super::known::{Complaint, Known};
use super::{Expect, Finding, count};
use crate::journal::{OpRecord, Verdict};
use crate::verify::Budget;
use crate::verify::checker::explain::{Teller, seconds};
use crate::verify::checker::history::{ABSENT, KeyHistory, OPEN, Op, ValueId, by_key};
use crate::verify::checker::linear::{History, Lost, Meter, OutOf, keys};
use crate::verify::checker::{append, queue, set};
use crate::verify::service::Fault;

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
        known.has_kind_for(&format!("`{}`", self.title()), &[REGISTERS, COLLECTIONS].concat())
    }

    fn judge(&self, facts: &Facts<'_>, budget: Budget) -> Finding {
        Tally::of(facts, budget).map_or_else(|why| why, |tally| tally.finding(facts))
    }
}

/// What was promised and what became of it, over all keys.
#[derive(Default)]
pub(super) struct Tally {
    /// A key, in words.
    what: &'static str,
    acknowledged: usize,
    /// When each of the lost was acknowledged.
    lost: Vec<u64>,
    /// Keys of which something was lost, each told.
    losses: Vec<String>,
    pub(super) unread: Vec<String>,
    kept: usize,
}

impl Tally {
    /// The error is the finding when there is nothing to count, or no budget.
    pub(super) fn of(facts: &Facts<'_>, budget: Budget) -> Result<Self, Finding> {
        let (registers, collections) = (facts.of_kinds(REGISTERS), facts.history(COLLECTIONS));
        let all: Vec<&OpRecord> = registers.iter().chain(&collections.ops).copied().collect();
        if let Some(why) = facts.too_little("operation", &attempts(&all)) {
            return Err(Finding::new(Verdict::Error, why));
        }
        let what = if collections.ops.is_empty() { "register" } else { "key" };
        let mut tally = Tally { what, ..Tally::default() };
        tally.registers(&registers).map_err(|why| Finding::new(Verdict::Error, why))?;
        tally
            .collections(facts, &collections, budget)
            .map_err(|OutOf(what)| Finding::new(Verdict::Unknown, format!("out of {what}")))?;
        Ok(tally)
    }

    pub(super) fn lost(&self) -> usize {
        self.lost.len()
    }

    /// How many of the lost are counted for each fault: for those that were at work when it was acknowledged;
    /// otherwise for the next one, which found it not yet safe; after the last, for that one.
    pub(super) fn by_fault<'a>(&self, facts: &Facts<'a>) -> Vec<(&'a str, usize)> {
        let mut counted: Vec<(&Fault<'a>, usize)> = facts.faults.iter().map(|fault| (fault, 0)).collect();
        for at in &self.lost {
            let at_work =
                |fault: &Fault<'_>| fault.injected <= *at && fault.healed.is_none_or(|end| *at <= end);
            let next = facts.faults.iter().find(|fault| fault.injected > *at).or(facts.faults.last());
            let nobody = !facts.faults.iter().any(at_work);
            for (fault, lost) in &mut counted {
                *lost += usize::from(at_work(fault) || (nobody && next == Some(*fault)));
            }
        }
        counted.into_iter().map(|(fault, lost)| (fault.name, lost)).collect()
    }

    fn registers(&mut self, ops: &[&OpRecord]) -> Result<(), String> {
        let histories = by_key(ops)?;
        for history in &histories {
            self.acknowledged += acknowledged(history).count();
            match end_of(history) {
                End::NothingPromised => {}
                End::NeverRead => self.unread.push(history.key.to_owned()),
                End::Kept => self.kept += 1,
                End::Lost(loss) => {
                    self.lost.extend(loss.lost.iter().map(|op| op.completed));
                    self.losses.push(loss.tell(ops));
                }
            }
        }
        Ok(())
    }

    /// Sets, lists and queues: whatever was acknowledged is found at the end.
    fn collections(&mut self, facts: &Facts<'_>, history: &History<'_>, budget: Budget) -> Result<(), OutOf> {
        let mut meter = Meter::new(budget.start());
        for ((workload, key), ops) in keys(history) {
            let (acknowledged, lost, told, unread) = match facts.kind_of(workload) {
                "set" => {
                    let story = set::look(key, &ops, &mut meter)?;
                    let told = Lost::texts(&story.lost);
                    (story.acknowledged, story.lost, told, story.never_read > 0)
                }
                "append" => {
                    let story = append::look(key, &ops, &mut meter)?;
                    let told = Lost::texts(&story.lost);
                    (story.acknowledged, story.lost, told, story.never_read > 0)
                }
                _ => {
                    let story = queue::look(key, &ops, &mut meter)?;
                    // What a dequeue without an answer may have taken is not known to be lost.
                    let unclear = !story.missing.is_empty() && story.lost() == 0;
                    let told = Lost::texts(&story.missing);
                    // Which of the missing are lost nobody knows: those that were acknowledged last count.
                    let (lost, mut missing) = (story.lost(), story.missing);
                    missing.sort_by_key(|lost| Reverse(lost.known_us));
                    missing.truncate(lost);
                    (story.acknowledged, missing, told, unclear)
                }
            };
            self.acknowledged += acknowledged;
            match (acknowledged, lost.len(), unread) {
                (0, ..) => {}
                (_, 0, true) => self.unread.push(key.to_owned()),
                (_, 0, false) => self.kept += 1,
                _ => {
                    self.lost.extend(lost.iter().map(|lost| lost.known_us));
                    self.losses.push(told.join("\n"));
                }
            }
        }
        Ok(())
    }

    pub(super) fn finding(&self, facts: &Facts<'_>) -> Finding {
        let (what, acknowledged) = (self.what, self.acknowledged);
        let finding = match (self.losses.len(), self.unread.len(), self.kept) {
            (0, 0, 0) => Finding::new(Verdict::Error, "nothing was learned: no write was acknowledged"),
            (0, 0, kept) => Finding::new(
                Verdict::Pass,
                format!(
                    "{} acknowledged on {}, all accounted for",
                    count(acknowledged, "write"),
                    count(kept, what)
                ),
            ),
            (0, some, _) => Finding::new(
                Verdict::Unknown,
                format!("{} never answered after the last acknowledged write", count(some, what)),
            ),
            (some, ..) => Finding::new(
                Verdict::Fail,
                format!(
                    "{} of {acknowledged} acknowledged lost, on {}",
                    count(self.lost(), "write"),
                    count(some, what)
                ),
            ),
        };
        let mut lines: Vec<String> = self.losses.iter().take(TOLD).cloned().collect();
        if self.losses.len() > TOLD {
            lines.push(format!("and {} more", count(self.losses.len() - TOLD, what)));
        }
        if !self.unread.is_empty() {
            lines.push(format!("never answered at the end: {}", self.unread.join(", ")));
        }
        let finding = finding
            .detailed(lines.join("\n"))
            .measured("acknowledged_writes", acknowledged as f64)
            .measured("lost_writes", self.lost() as f64);
        self.by_fault(facts)
            .into_iter()
            .fold(finding, |finding, (fault, lost)| finding.measured(format!("rpo.{fault}"), lost as f64))
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
