//! The recovery time objective: how soon the service must be back after a fault, or after one kind of fault.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::availability::millis;
use super::facts::{Facts, is_of_kind};
use super::known::{Complaint, Known};
use super::{Expect, Finding, count};
use crate::journal::Verdict;
use crate::units::Span;
use crate::verify::Budget;
use crate::verify::service::{Attempt, Back, Times};

/// After a fault, the service is back within a certain time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rto {
    /// Judge only faults of this kind, such as `instance.kill`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// From when the time counts.
    pub from: From,
    /// What ends it.
    #[serde(default)]
    pub until: Until,
    pub at_most: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum From {
    Injection,
    Heal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// The first success of what clients notice; from the injection, the first one after the longest outage.
    #[default]
    FirstSuccess,
    /// An operation has succeeded, and a measurement of every steady probe; known after the heal alone.
    Steady,
}

impl Rto {
    fn means(&self, fault: &str) -> bool {
        self.fault.as_ref().is_none_or(|kind| is_of_kind(fault, kind))
    }

    /// What is known of one fault; times in microseconds.
    fn of(&self, times: &Times, lasted: Option<u64>) -> Back {
        match (self.from, self.until) {
            (From::Heal, Until::FirstSuccess) => times.success,
            (From::Heal, Until::Steady) => times.steady,
            (From::Injection, Until::FirstSuccess) => times
                .from_injection
                .map_or(Back::Unclear(0, "nobody looked while it was at work"), Back::After),
            (From::Injection, Until::Steady) => {
                let lasted = lasted.unwrap_or_default();
                match times.steady {
                    Back::After(time) => Back::After(time.saturating_add(lasted)),
                    Back::Never(time) => Back::Never(time.saturating_add(lasted)),
                    Back::Unclear(time, why) => Back::Unclear(time, why),
                }
            }
        }
    }
}

impl Expect for Rto {
    fn title(&self) -> String {
        let what = self.fault.as_ref().map_or_else(|| "every fault".to_owned(), Clone::clone);
        let from = match self.from {
            From::Injection => "injection",
            From::Heal => "heal",
        };
        let until = match self.until {
            Until::FirstSuccess => "",
            Until::Steady => " to steady state",
        };
        format!("rto: {what}, from {from}{until} at most {}", self.at_most)
    }

    fn check(&self, known: &Known<'_>) -> Result<(), Complaint> {
        known.has_recoveries()?;
        self.fault.as_ref().map_or(Ok(()), |kind| known.has_fault(kind))
    }

    fn judge(&self, facts: &Facts<'_>, _: Budget) -> Finding {
        let everything: Vec<Attempt> = facts.signs().concat();
        if let Some(why) = facts.too_little("operation or measurement", &everything) {
            return Finding::new(Verdict::Error, why);
        }
        let limit = u64::try_from(self.at_most.0.as_micros()).unwrap_or(u64::MAX);
        let (mut worst, mut judged, mut unwatched) = (0, 0, 0);
        let (mut late, mut unclear) = (Vec::new(), Vec::new());
        let lasted = facts.faults.iter().map(|fault| Some(fault.healed?.saturating_sub(fault.injected)));
        for ((fault, times), lasted) in facts.times(None).iter().zip(lasted) {
            if !self.means(fault) {
                continue;
            }
            match self.of(times, lasted) {
                Back::After(time) if time <= limit => {
                    judged += 1;
                    worst = worst.max(time);
                }
                Back::After(time) => late.push(format!("{fault}: {}", millis(time))),
                Back::Never(time) | Back::Unclear(time, _) if time > limit => {
                    late.push(format!("{fault}: not back after {}", millis(time)));
                }
                Back::Never(_) => {
                    unwatched += 1;
                    unclear.push(format!("{fault}: nobody watched long enough"));
                }
                Back::Unclear(_, why) => unclear.push(format!("{fault}: {why}")),
            }
        }
        let mut finding = match (late.is_empty(), judged) {
            (false, _) => {
                Finding::new(Verdict::Fail, format!("longer than {}: {}", self.at_most, late.join("; ")))
            }
            (true, 0) => {
                Finding::new(Verdict::Error, "nothing was learned: no such recovery could be observed")
            }
            (true, _) if unwatched > 0 => Finding::new(Verdict::Unknown, unclear.join("; ")),
            (true, _) => Finding::new(
                Verdict::Pass,
                format!("at most {} after {}", millis(worst), count(judged, "fault")),
            )
            .measured("slowest_ms", worst as f64 / 1e3),
        };
        finding.detail = unclear.join("\n");
        finding
    }
}
