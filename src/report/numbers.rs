//! What the clients felt: counts, availability, latency, outages, and how soon all was well again.

use serde::Serialize;

use super::fold::ProbeSeries;
use crate::journal::{OpOutcome, OpRecord};

/// Numbers over every operation of a run; times in microseconds.
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

/// How soon after a fault ended every probe was good again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Recovery {
    /// Microseconds; 0 when no probe missed after the end.
    After(u64),
    /// The last measurement of some probe was still bad.
    Never,
    /// No probe measured after the end.
    NotMeasured,
}

impl Numbers {
    pub(super) fn of(ops: &[OpRecord], waits: &[Wait]) -> Self {
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
pub(super) fn waits(ops: &[OpRecord]) -> Vec<Wait> {
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

/// The longest wait that touches the span; the part of it before `from` does not count.
pub(super) fn longest_within(waits: &[Wait], from: u64, until: u64) -> Option<u64> {
    let touching = waits.iter().filter(|wait| wait.end_us >= from && wait.start_us <= until);
    touching.map(|wait| wait.end_us - wait.start_us.max(from)).max()
}

/// When, after `end`, every probe was good for the first time since its last miss that began the stretch
/// after `end`: the slowest probe decides.
pub(super) fn recovery(probes: &[ProbeSeries], end: u64) -> Recovery {
    let mut slowest = None;
    for series in probes {
        let mut after = series.samples.iter().filter(|sample| sample.at_us >= end).peekable();
        if after.peek().is_none() {
            continue;
        }
        let missed = after.peek().is_some_and(|first| !first.ok);
        match after.find(|sample| sample.ok) {
            Some(good) => {
                let took = if missed { good.at_us - end } else { 0 };
                slowest = slowest.max(Some(took));
            }
            None => return Recovery::Never,
        }
    }
    slowest.map_or(Recovery::NotMeasured, Recovery::After)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fold::ProbeSample;
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
        assert_eq!(waits(&ops), [wait(0, 10), wait(20, 500), wait(900, 910)]);
        assert_eq!(Numbers::of(&ops, &waits(&ops)).longest_outage_us, Some(480));
        // A fault from 100 to 200 is answerable for the part after its injection.
        assert_eq!(longest_within(&waits(&ops), 100, 200), Some(400));
        assert_eq!(longest_within(&waits(&ops), 600, 700), None);
    }

    #[test]
    fn a_service_that_never_comes_back_is_down_to_the_end() {
        let ops = [op(0, 10, OpOutcome::Ok), op(20, 5_020, OpOutcome::Indeterminate)];
        assert_eq!(waits(&ops).last(), Some(&wait(20, 5_020)));
    }

    #[test]
    fn recovery_is_decided_by_the_slowest_probe() {
        let series = |samples: &[(u64, bool)]| ProbeSeries {
            probe: "p".into(),
            node: None,
            samples: samples
                .iter()
                .map(|(at_us, ok)| ProbeSample {
                    at_us: *at_us,
                    ok: *ok,
                    latency_us: 1,
                    detail: String::new(),
                })
                .collect(),
        };
        let quick = series(&[(90, false), (110, true)]);
        let slow = series(&[(105, false), (150, false), (180, true)]);
        assert_eq!(recovery(std::slice::from_ref(&quick), 100), Recovery::After(0));
        assert_eq!(recovery(&[quick.clone(), slow.clone()], 100), Recovery::After(80));
        assert_eq!(recovery(&[quick, series(&[(120, false)])], 100), Recovery::Never);
        assert_eq!(recovery(&[slow], 1_000), Recovery::NotMeasured);
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
            let waits = waits(&ops);
            prop_assert!(waits.windows(2).all(|pair| pair[0].end_us <= pair[1].start_us));
            let first = ops.iter().map(|op| op.invoked_us).min().unwrap();
            let last = ops.last().unwrap().completed_us;
            prop_assert!(waits.iter().all(|w| first <= w.start_us && w.start_us <= w.end_us && w.end_us <= last));
        }
    }
}
