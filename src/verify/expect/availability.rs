//! Availability: how the service looked to its clients while faults were at work.
//!
//! The share counts attempts, and clients that wait for an answer make fewer attempts in an outage than
//! before it. The share alone therefore flatters a service that hangs; the longest outage does not.

use std::time::Duration;

use super::facts::Facts;
use super::recovery::measure_faults;
use super::{Availability, Finding};
use crate::journal::Verdict;
use crate::units::{Share, Span};
use crate::verify::service::{self, Attempt, gaps};

/// Judges what began in the chaos phase.
pub(super) fn judge(limits: &Availability, facts: &Facts<'_>) -> Finding {
    let (what, all) = match &limits.probe {
        Some(probe) => ("measurement", facts.probe(probe)),
        None => ("operation", facts.attempts(limits.workload.as_deref())),
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
    if let Some(least) = limits.at_least.filter(|least| share < least.0) {
        broken.push(format!("availability is {}, expected at least {least}", rounded(share)));
    }
    let spans = [
        ("longest outage", limits.longest_outage, longest),
        ("p50", limits.p50, quantile(50)),
        ("p95", limits.p95, quantile(95)),
        ("p99", limits.p99, quantile(99)),
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
