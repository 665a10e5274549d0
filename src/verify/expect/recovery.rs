//! Recovery: how long the service takes to be back after a fault.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::availability::millis;
use super::facts::Facts;
use super::known::{Complaint, Known};
use super::{Expect, Finding, count};
use crate::journal::Verdict;
use crate::units::Span;
use crate::verify::Budget;
use crate::verify::service::{Attempt, Back, Times};

/// After every heal, the service is back within this time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct RecoversWithin(pub Span);

impl Expect for RecoversWithin {
    fn title(&self) -> String {
        format!("recovers within {}", self.0)
    }

    fn check(&self, known: &Known<'_>) -> Result<(), Complaint> {
        known.has_recoveries()
    }

    /// Judges every heal after which no other fault was at work. The service is back when an operation that
    /// began after the heal has succeeded, and so has a measurement of every steady probe.
    fn judge(&self, facts: &Facts<'_>, _: Budget) -> Finding {
        let limit = self.0;
        let everything: Vec<Attempt> = facts.signs().concat();
        if let Some(why) = facts.too_little("operation or measurement", &everything) {
            return Finding::new(Verdict::Error, why);
        }
        let limit_us = u64::try_from(limit.0.as_micros()).unwrap_or(u64::MAX);
        let mut worst = 0;
        let (mut judged, mut late, mut unclear, mut unwatched) = (0, Vec::new(), Vec::new(), 0);
        let times = facts.times(None);
        for (fault, times) in &times {
            match times.steady {
                Back::After(time) if time <= limit_us => {
                    judged += 1;
                    worst = worst.max(time);
                }
                Back::After(time) => late.push(format!("{fault}: back {} after the heal", millis(time))),
                Back::Never(time) | Back::Unclear(time, _) if time > limit_us => {
                    late.push(format!("{fault}: not back {} after the heal", millis(time)));
                }
                Back::Never(_) => {
                    unwatched += 1;
                    unclear.push(format!("{fault}: nobody watched long enough after it was healed"));
                }
                Back::Unclear(_, why) => unclear.push(format!("{fault}: {why}")),
            }
        }
        let mut finding = match (late.is_empty(), judged) {
            (false, _) => Finding::new(
                Verdict::Fail,
                format!("{} took longer than {limit}: {}", count(late.len(), "recovery"), late.join("; ")),
            ),
            (true, 0) => Finding::new(Verdict::Error, "nothing was learned: no recovery could be observed"),
            (true, _) if unwatched > 0 => Finding::new(Verdict::Unknown, unclear.join("; ")),
            (true, _) => Finding::new(
                Verdict::Pass,
                format!("back at most {} after each of {}", millis(worst), count(judged, "heal")),
            )
            .measured("slowest_recovery_ms", worst as f64 / 1e3),
        };
        finding.detail = unclear.join("\n");
        finding.measured.extend(measure_faults(&times));
        finding
    }
}

/// For every fault, in milliseconds: the longest outage that it met (`downtime_ms.FAULT`), from its injection
/// to the end of that outage (`rto_from_injection_ms.FAULT`), and from its heal to the first success
/// (`rto_from_heal_ms.FAULT`) and to steady state (`steady_from_heal_ms.FAULT`).
pub(super) fn measure_faults(times: &[(&str, Times)]) -> BTreeMap<String, f64> {
    let mut measured = BTreeMap::new();
    for (fault, times) in times {
        let known = [
            ("downtime", times.downtime),
            ("rto_from_injection", times.from_injection),
            ("rto_from_heal", times.success.known()),
            ("steady_from_heal", times.steady.known()),
        ];
        for (what, time) in known {
            if let Some(time) = time {
                measured.insert(format!("{what}_ms.{fault}"), time as f64 / 1e3);
            }
        }
    }
    measured
}
