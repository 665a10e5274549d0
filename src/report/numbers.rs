//! What the clients felt: counts, availability, latency, outages, and how soon all was well again.

use serde::Serialize;

use super::run::ProbeSeries;
use crate::journal::{OpOutcome, OpRecord};

/// Numbers over the operations that began in the chaos phase, the ones that expectations are judged by;
/// times in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Numbers {
    pub ok: usize,
    pub failed: usize,
    pub indeterminate: usize,
    /// Acknowledged operations among all, 0 to 1; `None` without operations.
    pub availability: Option<f64>,
    /// See [`waits`].
    pub longest_outage_us: Option<u64>,
    /// Of acknowledged operations, by nearest rank.
    pub p50_us: Option<u64>,
    pub p99_us: Option<u64>,
}

/// A stretch of time in which clients waited and nobody got an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    pub start_us: u64,
    pub end_us: u64,
}

/// Something that was tried, and whether it was well: an operation, or a measurement of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attempt {
    start_us: u64,
    end_us: u64,
    ok: bool,
}

/// How soon after a fault ended the service was back: an operation that began after the end had succeeded,
/// and so had a measurement of every probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Recovery {
    /// Microseconds.
    After(u64),
    /// Something was tried again and again, and never succeeded.
    Never,
    /// Its end is not known, or another fault was at work, or nobody looked.
    NotMeasured,
}

impl Numbers {
    /// `ops` in order of completion.
    pub(super) fn of(ops: &[&OpRecord]) -> Self {
        let waits = waits(ops);
        let count = |outcome| ops.iter().filter(|op| op.outcome == outcome).count();
        let ok = count(OpOutcome::Ok);
        let acknowledged = ops.iter().filter(|op| op.outcome == OpOutcome::Ok);
        let mut latencies: Vec<u64> =
            acknowledged.map(|op| op.completed_us.saturating_sub(op.invoked_us)).collect();
        latencies.sort_unstable();
        Numbers {
            ok,
            failed: count(OpOutcome::Fail),
            indeterminate: count(OpOutcome::Indeterminate),
            availability: (!ops.is_empty()).then(|| ok as f64 / ops.len() as f64),
            longest_outage_us: waits.iter().map(|wait| wait.end_us - wait.start_us).max(),
            p50_us: quantile(&latencies, 0.50),
            p99_us: quantile(&latencies, 0.99),
        }
    }

    pub fn ops(&self) -> usize {
        self.ok + self.failed + self.indeterminate
    }
}

/// Nearest rank in a sorted slice; `None` when it is empty.
pub(super) fn quantile(sorted: &[u64], share: f64) -> Option<u64> {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// Every stretch between two acknowledgements during which at least one operation was under way; `ops` in
/// order of completion. Time in which nobody asked does not count, so a slow workload is not an outage.
pub(super) fn waits(ops: &[&OpRecord]) -> Vec<Wait> {
    // For each operation, when the earliest of it and of those that completed later was invoked.
    let mut asked_since: Vec<u64> = ops.iter().map(|op| op.invoked_us).collect();
    let mut earliest = u64::MAX;
    for asked in asked_since.iter_mut().rev() {
        earliest = earliest.min(*asked);
        *asked = earliest;
    }
    let mut waits = Vec::new();
    let mut last_ack = 0;
    let mut open: Option<u64> = None;
    for (op, asked) in ops.iter().zip(asked_since) {
        let start = *open.get_or_insert(asked.max(last_ack));
        if op.outcome == OpOutcome::Ok {
            waits.push(Wait { start_us: start, end_us: op.completed_us.max(start) });
            last_ack = op.completed_us;
            open = None;
        }
    }
    if let (Some(start), Some(last)) = (open, ops.last()) {
        waits.push(Wait { start_us: start, end_us: last.completed_us.max(start) });
    }
    waits
}

/// The longest wait that met the span.
pub(super) fn longest_met(waits: &[Wait], from: u64, until: u64) -> Option<u64> {
    let met = waits.iter().filter(|wait| wait.end_us >= from && wait.start_us <= until);
    met.map(|wait| wait.end_us - wait.start_us).max()
}

/// What shows whether the service is back: the operations, and each probe. Where a probe is measured as a
/// whole, its single nodes do not count: the service may well be back while a node is not.
pub(super) fn signs(ops: &[OpRecord], probes: &[ProbeSeries]) -> Vec<Vec<Attempt>> {
    let whole = |probe: &str| probes.iter().any(|other| other.probe == probe && other.node.is_none());
    let counted = probes.iter().filter(|series| series.node.is_none() || !whole(&series.probe));
    let mut signs: Vec<Vec<Attempt>> = counted
        .map(|series| {
            let attempt = |sample: &super::run::ProbeSample| Attempt {
                start_us: sample.at_us.saturating_sub(sample.latency_us),
                end_us: sample.at_us,
                ok: sample.ok,
            };
            series.samples.iter().map(attempt).collect()
        })
        .collect();
    if !ops.is_empty() {
        let attempt = |op: &OpRecord| Attempt {
            start_us: op.invoked_us,
            end_us: op.completed_us,
            ok: op.outcome == OpOutcome::Ok,
        };
        signs.push(ops.iter().map(attempt).collect());
    }
    signs
}

/// `healed`: the end of the fault; `next`: when the next one was injected. The slowest sign decides.
pub(super) fn recovery(signs: &[Vec<Attempt>], healed: u64, next: Option<u64>) -> Recovery {
    let mut slowest = None;
    for attempts in signs {
        let since = || attempts.iter().filter(|attempt| attempt.start_us >= healed);
        let back = since().filter(|attempt| attempt.ok).map(|attempt| attempt.end_us).min();
        match back {
            Some(back) if next.is_none_or(|next| back <= next) => slowest = slowest.max(Some(back - healed)),
            None if next.is_none() && since().next().is_some() => return Recovery::Never,
            _ => return Recovery::NotMeasured,
        }
    }
    slowest.map_or(Recovery::NotMeasured, Recovery::After)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::run::ProbeSample;
    use proptest::prelude::*;
    use serde_json::Value;

    fn op(invoked_us: u64, completed_us: u64, outcome: OpOutcome) -> OpRecord {
        OpRecord {
            workload: "w".into(),
            process: 0,
            node: "n".into(),
            key: "k".into(),
            f: "read".into(),
            input: Value::Null,
            output: Value::Null,
            outcome,
            invoked_us,
            completed_us,
            detail: String::new(),
        }
    }

    fn wait(start_us: u64, end_us: u64) -> Wait {
        Wait { start_us, end_us }
    }

    #[test]
    fn an_outage_is_time_without_acknowledgement_while_somebody_waits() {
        use OpOutcome::*;
        let ops = [
            op(0, 10, Ok),
            // Asked at 20, refused; asked at 30, unanswered; the next acknowledgement comes at 500.
            op(20, 25, Fail),
            op(30, 400, Indeterminate),
            op(410, 500, Ok),
            // Nobody asked from 500 to 900.
            op(900, 910, Ok),
        ];
        let ops: Vec<&OpRecord> = ops.iter().collect();
        assert_eq!(waits(&ops), [wait(0, 10), wait(20, 500), wait(900, 910)]);
        assert_eq!(Numbers::of(&ops).longest_outage_us, Some(480));
        assert_eq!(longest_met(&waits(&ops), 100, 200), Some(480));
        assert_eq!(longest_met(&waits(&ops), 600, 700), None);
    }

    #[test]
    fn a_service_that_never_comes_back_is_down_to_the_end() {
        let ops = [op(0, 10, OpOutcome::Ok), op(20, 5_020, OpOutcome::Indeterminate)];
        assert_eq!(waits(&ops.iter().collect::<Vec<_>>()).last(), Some(&wait(20, 5_020)));
    }

    fn series(node: Option<&str>, samples: &[(u64, bool)]) -> ProbeSeries {
        let sample = |(at_us, ok): &(u64, bool)| ProbeSample {
            at_us: *at_us,
            ok: *ok,
            latency_us: 1,
            detail: String::new(),
        };
        ProbeSeries {
            probe: "p".into(),
            node: node.map(str::to_owned),
            samples: samples.iter().map(sample).collect(),
        }
    }

    #[test]
    fn recovery_is_decided_by_the_slowest_sign() {
        let quick = [op(101, 110, OpOutcome::Ok)];
        let slow = series(None, &[(105, false), (150, false), (180, true)]);
        let signs = |probes: &[ProbeSeries]| signs(&quick, probes);
        assert_eq!(recovery(&signs(&[]), 100, None), Recovery::After(10));
        assert_eq!(recovery(&signs(std::slice::from_ref(&slow)), 100, None), Recovery::After(80));
        assert_eq!(recovery(&signs(&[series(None, &[(120, false)])]), 100, None), Recovery::Never);
        // The next fault came first: nobody knows when it would have been back.
        assert_eq!(recovery(&signs(&[slow]), 100, Some(170)), Recovery::NotMeasured);
        assert_eq!(recovery(&[], 100, None), Recovery::NotMeasured);
    }

    #[test]
    fn a_service_can_be_back_while_a_node_is_not() {
        let probes = [series(None, &[(120, true)]), series(Some("n"), &[(120, false), (130, false)])];
        assert_eq!(recovery(&signs(&[], &probes), 100, None), Recovery::After(20));
        assert_eq!(recovery(&signs(&[], &probes[1..]), 100, None), Recovery::Never);
    }

    proptest! {
        #[test]
        fn waits_never_overlap_and_lie_within_the_operations(
            raw in prop::collection::vec((0_u64..1_000, 0_u64..200, 0_u8..3), 1..40)
        ) {
            let outcome = |n| match n {
                0 => OpOutcome::Ok,
                1 => OpOutcome::Fail,
                _ => OpOutcome::Indeterminate,
            };
            let mut ops: Vec<_> = raw.iter().map(|(at, took, o)| op(*at, at + took, outcome(*o))).collect();
            ops.sort_by_key(|op| op.completed_us);
            let waits = waits(&ops.iter().collect::<Vec<_>>());
            prop_assert!(waits.windows(2).all(|pair| pair[0].end_us <= pair[1].start_us));
            let first = ops.iter().map(|op| op.invoked_us).min().unwrap();
            let last = ops.last().unwrap().completed_us;
            prop_assert!(waits.iter().all(|w| first <= w.start_us && w.start_us <= w.end_us && w.end_us <= last));
        }
    }
}
