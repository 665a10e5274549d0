//! Expectations: what a scenario says must hold, judged from the journal of the run alone.
//!
//! What is measured on the way, under these names in [`Judged::measured`]:
//!
//! | expectation | numbers |
//! |---|---|
//! | no acknowledged write lost | `acknowledged_writes`, `lost_writes` (the RPO, in writes) |
//! | linearizable | `registers`, `operations`, `indeterminate`, `violated_registers` |
//! | availability | `availability` (0 to 1), `operations` or `measurements`, `longest_outage_ms`, `p50_ms`, `p95_ms`, `p99_ms` |
//! | recovers within | `slowest_recovery_ms` |
//! | the last two, for each fault | `downtime_ms.FAULT`, `rto_from_injection_ms.FAULT`, `rto_from_heal_ms.FAULT`, `steady_from_heal_ms.FAULT` |

mod availability;
mod facts;
mod lost;
mod order;
mod recovery;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::checker::Budget;
use crate::journal::event::Judged;
use crate::journal::{Entry, Verdict};
use crate::units::{Share, Span};
use facts::Facts;

/// Something that must hold for the run to pass.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Expectation {
    /// Every register ends with a value that the acknowledged writes allow.
    NoAcknowledgedWriteLost,
    /// Every register behaved as if each operation took effect at one instant between its start and its end.
    Linearizable,
    /// The service was there for its clients.
    Availability(Availability),
    /// After every heal, the service is back within this time.
    RecoversWithin(Span),
}

/// Limits on what clients noticed while faults were at work, from the start of the chaos phase to its end;
/// all that are given must hold.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Availability {
    /// Judge the measurements of the steady probe of this name instead of the operations of the workloads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<String>,
    /// Judge only the operations of this workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// Acknowledged operations as a share of all that ended, were refused or given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<Share>,
    /// The longest time in which operations were tried and none was acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest_outage: Option<Span>,
    /// Half of the acknowledged operations were at most this slow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50: Option<Span>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95: Option<Span>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99: Option<Span>,
}

impl Expectation {
    /// The expectation in words, as reports name it.
    pub fn title(&self) -> String {
        match self {
            Expectation::NoAcknowledgedWriteLost => "no acknowledged write lost".to_owned(),
            Expectation::Linearizable => "linearizable".to_owned(),
            Expectation::Availability(availability) => availability.title(),
            Expectation::RecoversWithin(limit) => format!("recovers within {limit}"),
        }
    }
}

impl Availability {
    fn title(&self) -> String {
        let of = match (&self.probe, &self.workload) {
            (Some(name), _) | (None, Some(name)) => format!(" of {name}"),
            (None, None) => String::new(),
        };
        let spans = [
            ("longest outage", self.longest_outage),
            ("p50", self.p50),
            ("p95", self.p95),
            ("p99", self.p99),
        ];
        let limits: Vec<String> = self
            .at_least
            .map(|share| format!("at least {share}"))
            .into_iter()
            .chain(spans.into_iter().filter_map(|(name, span)| Some(format!("{name} {}", span?))))
            .collect();
        match limits.is_empty() {
            true => format!("availability{of}"),
            false => format!("availability{of}: {}", limits.join(", ")),
        }
    }
}

/// Judges every expectation over the journal of one run. Faults, phases, operations and probes are all
/// taken from `entries`; a checker that crashes leaves its own expectation unknown and the others judged.
pub fn judge(expectations: &[Expectation], entries: &[Entry], budget: Budget) -> Vec<Judged> {
    let facts = Facts::of(entries);
    expectations
        .iter()
        .map(|expectation| {
            let finding = catch_unwind(AssertUnwindSafe(|| expectation.judge(&facts, budget)));
            let finding = finding.unwrap_or_else(|_| Finding::new(Verdict::Unknown, "the checker crashed"));
            Judged {
                expectation: expectation.title(),
                verdict: finding.verdict,
                message: finding.message,
                detail: finding.detail,
                measured: finding.measured,
            }
        })
        .collect()
}

impl Expectation {
    fn judge(&self, facts: &Facts<'_>, budget: Budget) -> Finding {
        match self {
            Expectation::NoAcknowledgedWriteLost => lost::judge(facts),
            Expectation::Linearizable => order::judge(facts, budget),
            Expectation::Availability(limits) => availability::judge(limits, facts),
            Expectation::RecoversWithin(limit) => recovery::judge(*limit, facts),
        }
    }
}

/// What was found about one expectation.
struct Finding {
    verdict: Verdict,
    message: String,
    detail: String,
    measured: BTreeMap<String, f64>,
}

impl Finding {
    fn new(verdict: Verdict, message: impl Into<String>) -> Self {
        Finding { verdict, message: message.into(), detail: String::new(), measured: BTreeMap::new() }
    }

    fn measured(mut self, name: impl Into<String>, number: f64) -> Self {
        self.measured.insert(name.into(), number);
        self
    }
}

/// `1 write`, `2 writes`.
fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
