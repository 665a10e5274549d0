//! What the clients felt, in numbers: counts, availability, latency, outages. How outages and recovery times are
//! defined is said in one place, [`crate::verify::service`].

use serde::Serialize;

use crate::journal::{OpOutcome, OpRecord};
use crate::verify::service::{Attempt, Back, gaps, quantile};

/// Numbers over the operations that began in the chaos phase, the ones that expectations are judged by;
/// times in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Numbers {
    pub ok: usize,
    pub failed: usize,
    pub indeterminate: usize,
    /// Acknowledged operations among all, 0 to 1; `None` without operations.
    pub availability: Option<f64>,
    /// See [`gaps`].
    pub longest_outage_us: Option<u64>,
    /// Of acknowledged operations, by nearest rank.
    pub p50_us: Option<u64>,
    pub p99_us: Option<u64>,
}

/// How soon after a fault ended the service was back.
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

impl From<Back> for Recovery {
    fn from(back: Back) -> Self {
        match back {
            Back::After(time) => Recovery::After(time),
            Back::Never(_) => Recovery::Never,
            Back::Unclear(..) => Recovery::NotMeasured,
        }
    }
}

impl Numbers {
    pub(super) fn of(ops: &[&OpRecord]) -> Self {
        let attempts: Vec<Attempt> = ops.iter().map(|op| Attempt::from(*op)).collect();
        let count = |outcome| ops.iter().filter(|op| op.outcome == outcome).count();
        let ok = count(OpOutcome::Ok);
        let acknowledged = attempts.iter().filter(|attempt| attempt.ok);
        let mut latencies: Vec<u64> = acknowledged.map(|attempt| attempt.end - attempt.start).collect();
        latencies.sort_unstable();
        Numbers {
            ok,
            failed: count(OpOutcome::Fail),
            indeterminate: count(OpOutcome::Indeterminate),
            availability: (!ops.is_empty()).then(|| ok as f64 / ops.len() as f64),
            longest_outage_us: gaps(&attempts).into_iter().map(|(start, end)| end - start).max(),
            p50_us: quantile(&latencies, 0.50),
            p99_us: quantile(&latencies, 0.99),
        }
    }

    pub fn ops(&self) -> usize {
        self.ok + self.failed + self.indeterminate
    }
}
