//! Availability: how the service looked to its clients while faults were at work.
//!
//! The share counts attempts, and clients that wait for an answer make fewer attempts in an outage than
//! before it. The share alone therefore flatters a service that hangs; the longest outage does not.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::facts::Facts;
use super::known::{Complaint, Known};
use super::recovery::measure_faults;
use super::{Expect, Finding};
use crate::journal::Verdict;
use crate::units::{Share, Span};
use crate::verify::Budget;
use crate::verify::service::{self, Attempt, gaps};

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

impl Expect for Availability {
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

    fn check(&self, known: &Known<'_>) -> Result<(), Complaint> {
        let limits = [self.longest_outage, self.p50, self.p95, self.p99];
        if self.at_least.is_none() && limits.iter().all(Option::is_none) {
            return Err(Complaint::new("`availability` sets no limit")
                .help("give at least one of `at_least`, `longest_outage`, `p50`, `p95`, `p99`"));
        }
        if let Some(name) = &self.probe {
            return known.has_probe(name);
        }
        known.has_workload_for("`availability` without `probe`")?;
        self.workload.as_ref().map_or(Ok(()), |name| known.has_workload(name))
    }

    /// Judges what began in the chaos phase.
    fn judge(&self, facts: &Facts<'_>, _: Budget) -> Finding {
        let (what, all) = match &self.probe {
            Some(probe) => ("measurement", facts.probe(probe)),
            None => ("operation", facts.attempts(self.workload.as_deref())),
        };
        let attempts: Vec<Attempt> = all.into_iter().filter(|attempt| facts.in_chaos(attempt)).collect();
        if let Some(why) = facts.too_little(what, &attempts) {
            return Finding::new(Verdict::Error, why);
        }
        let ok = attempts.iter().filter(|attempt| attempt.ok).count();
        let share = ok as f64 / attempts.len().max(1) as f64;
        let longest = gaps(&attempts).into_iter().map(|(start, end)| end - start).max().unwrap_or_default();
        let mut latencies: Vec<u64> =
            attempts.iter().filter(|attempt| attempt.ok).map(|attempt| attempt.end - attempt.start).collect();
        latencies.sort_unstable();
        let quantile =
            |percent: u32| service::quantile(&latencies, f64::from(percent) / 100.0).unwrap_or_default();

        let mut finding = Finding::new(
            Verdict::Pass,
            format!(
                "{} of {} {what}s succeeded ({}), longest outage {}, p99 {}",
                ok,
                attempts.len(),
                rounded(share),
                millis(longest),
                millis(quantile(99))
            ),
        )
        .measured("availability", share)
        .measured(format!("{what}s"), attempts.len() as f64)
        .measured("longest_outage_ms", longest as f64 / 1e3);
        let mut broken = Vec::new();
        if let Some(least) = self.at_least.filter(|least| share < least.0) {
            broken.push(format!("availability is {}, expected at least {least}", rounded(share)));
        }
        let spans = [
            ("longest outage", self.longest_outage, longest),
            ("p50", self.p50, quantile(50)),
            ("p95", self.p95, quantile(95)),
            ("p99", self.p99, quantile(99)),
        ];
        for (name, limit, found) in spans {
            if let Some(limit) = limit.filter(|limit| Duration::from_micros(found) > limit.0) {
                broken.push(format!("{name} is {}, expected at most {limit}", millis(found)));
            }
        }
        for percent in [50, 95, 99] {
            finding = finding.measured(format!("p{percent}_ms"), quantile(percent) as f64 / 1e3);
        }
        if !broken.is_empty() {
            finding.verdict = Verdict::Fail;
            finding.detail = std::mem::replace(&mut finding.message, broken.join("; "));
        }
        finding.measured.extend(measure_faults(&facts.times(Some(&attempts))));
        finding
    }
}

/// To a hundredth of a percent and never up to a round figure that was not reached.
fn rounded(share: f64) -> Share {
    Share((share * 1e4).floor() / 1e4)
}

/// Whole milliseconds are enough for a person; the exact figures are among the measured ones.
pub(super) fn millis(micros: u64) -> Span {
    match micros {
        0..10_000 => Span(Duration::from_micros(micros)),
        _ => Span(Duration::from_millis(micros / 1_000)),
    }
}
