//! Recovery: how long the service takes to be back after a fault.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::availability::millis;
use super::facts::{Attempt, Facts, Fault, gaps};
use super::known::{Complaint, Known};
use super::{Expect, Finding, count};
use crate::journal::Verdict;
use crate::units::Span;
use crate::verify::Budget;

/// After every heal, the service is back within this time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct RecoversWithin(pub Span);

/// What is known about one heal.
enum Recovery {
    /// Back after so many microseconds.
    After(u64),
    /// Not back after so many microseconds, which was longer than allowed.
    NotWithin(u64),
    /// Nobody knows, and why.
    Unclear(&'static str),
}

impl Expect for RecoversWithin {
    fn title(&self) -> String {
        format!("recovers within {}", self.0)
    }

    fn check(&self, known: &Known<'_>) -> Result<(), Complaint> {
        known.has_faults()
    }

    /// Judges every heal after which no other fault was at work. The service is back when an operation that
    /// began after the heal has succeeded, and so has a measurement of every steady probe.
    fn judge(&self, facts: &Facts<'_>, _: Budget) -> Finding {
        let limit = self.0;
        let operations = facts.attempts(None);
        let mut signs: Vec<Vec<Attempt>> =
            facts.probe_names().into_iter().map(|name| facts.probe(name)).collect();
        if !operations.is_empty() {
            signs.push(operations.clone());
        }
        let everything: Vec<Attempt> = signs.iter().flatten().copied().collect();
        if let Some(why) = facts.too_little("operation or measurement", &everything) {
            return Finding::new(Verdict::Error, why);
        }
        let limit_us = u64::try_from(limit.0.as_micros()).unwrap_or(u64::MAX);
        let mut worst = 0;
        let (mut judged, mut late, mut unclear) = (0, Vec::new(), Vec::new());
        for fault in &facts.faults {
            match after(fault, facts, &signs, limit_us) {
                Recovery::After(time) if time <= limit_us => {
                    judged += 1;
                    worst = worst.max(time);
                }
                Recovery::After(time) => {
                    late.push(format!("{}: back {} after the heal", fault.name, millis(time)))
                }
                Recovery::NotWithin(time) => {
                    late.push(format!("{}: not back {} after the heal", fault.name, millis(time)));
                }
                Recovery::Unclear(why) => unclear.push(format!("{}: {why}", fault.name)),
            }
        }
        let mut finding = match (late.is_empty(), judged) {
            (false, _) => Finding::new(
                Verdict::Fail,
                format!("{} took longer than {limit}: {}", count(late.len(), "recovery"), late.join("; ")),
            ),
            (true, 0) => Finding::new(Verdict::Error, "nothing was learned: no recovery could be observed"),
            (true, _) => Finding::new(
                Verdict::Pass,
                format!("back at most {} after each of {}", millis(worst), count(judged, "heal")),
            )
            .measured("slowest_recovery_ms", worst as f64 / 1e3),
        };
        finding.detail = unclear.join("\n");
        // Operations are what clients notice; without any, the first probe stands for them.
        let noticed = if operations.is_empty() { signs.first() } else { Some(&operations) };
        finding.measured.extend(noticed.map(|attempts| measure_faults(facts, attempts)).unwrap_or_default());
        finding
    }
}

fn after(fault: &Fault<'_>, facts: &Facts<'_>, signs: &[Vec<Attempt>], limit: u64) -> Recovery {
    let Some(healed) = fault.healed else { return Recovery::Unclear("its end is not in the journal") };
    let others = || facts.faults.iter().filter(|other| !std::ptr::eq(*other, fault));
    if others().any(|other| other.injected <= healed && other.healed.is_none_or(|end| end > healed)) {
        return Recovery::Unclear("another fault was still at work when it was healed");
    }
    let next_fault = others().map(|other| other.injected).filter(|injected| *injected > healed).min();
    let mut slowest = 0;
    for attempts in signs {
        let since = || attempts.iter().filter(|attempt| attempt.start >= healed);
        let back = since().filter(|attempt| attempt.ok).map(|attempt| attempt.end).min();
        let watched = since().map(|attempt| attempt.end).max().unwrap_or(healed);
        let until = watched.min(next_fault.unwrap_or(u64::MAX));
        match back {
            Some(back) if back <= until => slowest = slowest.max(back - healed),
            _ if until - healed > limit => return Recovery::NotWithin(until - healed),
            _ if next_fault.is_some_and(|next| next <= watched) => {
                return Recovery::Unclear("the next fault came before the service was back");
            }
            _ => return Recovery::Unclear("nobody watched long enough after it was healed"),
        }
    }
    Recovery::After(slowest)
}

/// For every fault, in milliseconds: the longest outage that it met (`downtime_ms.FAULT`), from its injection
/// to the end of that outage (`rto_from_injection_ms.FAULT`), and from its heal to the end of the first
/// attempt begun after it that succeeded (`rto_from_heal_ms.FAULT`).
///
/// Overlapping faults share their outages: nobody can tell whose they were.
pub(super) fn measure_faults(facts: &Facts<'_>, attempts: &[Attempt]) -> BTreeMap<String, f64> {
    let gaps = gaps(attempts);
    let mut measured = BTreeMap::new();
    for fault in &facts.faults {
        let mut note = |what: &str, micros: u64| {
            measured.insert(format!("{what}_ms.{}", fault.name), micros as f64 / 1e3);
        };
        let healed = fault.healed.unwrap_or(u64::MAX);
        let met = gaps.iter().filter(|(start, end)| *start <= healed && *end >= fault.injected);
        if let Some((start, end)) = met.max_by_key(|(start, end)| end - start) {
            note("downtime", end - start);
            note("rto_from_injection", end - fault.injected);
        }
        let back = attempts.iter().filter(|attempt| attempt.ok && attempt.start >= healed);
        if let Some(back) = back.map(|attempt| attempt.end).min() {
            note("rto_from_heal", back - healed);
        }
    }
    measured
}
