//! Counters: every read lies between what must have been added by then and what may have been.
//!
//! At least everything that was acknowledged before the read began; at most everything that had begun when the read
//! ended and was not refused. Amounts below zero swap sides.

use serde_json::Value;

use super::Limits;
use super::finding::{Finding, count};
use super::linear::{History, HistoryChecker, Meter, OutOf, deed, keys, told};
use crate::journal::{OpOutcome, OpRecord, Verdict};

/// See the module.
pub struct Counter;

/// Amounts by time, summed up.
struct Sums(Vec<(u64, i128)>);

impl Sums {
    fn new(mut amounts: Vec<(u64, i64)>) -> Self {
        amounts.sort_unstable();
        let mut sum = 0;
        Sums(
            amounts
                .into_iter()
                .map(|(time, amount)| {
                    sum += i128::from(amount);
                    (time, sum)
                })
                .collect(),
        )
    }

    /// The sum of everything earlier than `time`, and at it if `inclusive`.
    fn until(&self, time: u64, inclusive: bool) -> i128 {
        let end = self.0.partition_point(|(at, _)| *at < time || (inclusive && *at == time));
        end.checked_sub(1).and_then(|last| self.0.get(last)).map_or(0, |(_, sum)| *sum)
    }
}

impl HistoryChecker for Counter {
    const NAME: &'static str = "counter";
    const KINDS: &'static [&'static str] = &["counter"];

    fn check(&self, history: &History<'_>, limits: Limits) -> Result<Finding, OutOf> {
        let mut meter = Meter::new(limits);
        let (mut reads, mut acknowledged, mut wrong) = (0, 0, Vec::new());
        for ((_, key), ops) in keys(history) {
            meter.spend(ops.len() * 2 * size_of::<(u64, i128)>())?;
            let adds: Vec<(&OpRecord, i64)> = ops
                .iter()
                .filter(|op| op.f == "add" && op.outcome != OpOutcome::Fail)
                .filter_map(|op| Some((*op, op.input.as_i64()?)))
                .collect();
            acknowledged += adds.iter().filter(|(op, _)| op.outcome == OpOutcome::Ok).count();
            let sums = |positive: bool, ended: bool| {
                let chosen = adds.iter().filter(|(op, amount)| {
                    (*amount > 0) == positive && (!ended || op.outcome == OpOutcome::Ok)
                });
                Sums::new(
                    chosen
                        .map(|(op, amount)| (if ended { op.completed_us } else { op.invoked_us }, *amount))
                        .collect(),
                )
            };
            let (up_done, up_begun) = (sums(true, true), sums(true, false));
            let (down_done, down_begun) = (sums(false, true), sums(false, false));
            for read in ops.iter().filter(|op| op.f == "read" && op.outcome == OpOutcome::Ok) {
                meter.spend(0)?;
                reads += 1;
                let (from, to) = (read.invoked_us, read.completed_us);
                let least = up_done.until(from, false) + down_begun.until(to, true);
                let most = up_begun.until(to, true) + down_done.until(from, false);
                let found = match &read.output {
                    Value::Null => Some(0),
                    other => other.as_i64(),
                };
                let Some(found) = found else {
                    wrong.push(format!(
                        "{key}: {}, which is no number",
                        deed(read, &format!("read {}", read.output))
                    ));
                    continue;
                };
                if !(least..=most).contains(&i128::from(found)) {
                    let told = deed(read, &format!("read {found}"));
                    wrong.push(match i128::from(found) < least {
                        true => format!(
                            "{key}: {told}, but {least} had been added and acknowledged before it began"
                        ),
                        false => {
                            format!("{key}: {told}, but no more than {most} had been asked for when it ended")
                        }
                    });
                }
            }
        }
        let finding = match (wrong.len(), reads, acknowledged) {
            (0, 0, _) => Finding::new(Verdict::Error, "nothing was learned: no read succeeded"),
            (0, _, 0) => Finding::new(Verdict::Error, "nothing was learned: no addition was acknowledged"),
            (0, some, adds) => Finding::new(
                Verdict::Pass,
                format!("{} within bounds; {}", count(some, "read"), count(adds, "addition")),
            ),
            (some, all, _) => {
                Finding::new(Verdict::Fail, format!("{some} of {} out of bounds", count(all, "read")))
            }
        };
        Ok(finding
            .measured("reads", reads as f64)
            .measured("additions", acknowledged as f64)
            .measured("wrong_reads", wrong.len() as f64)
            .detailed(told(wrong, "reads out of bounds")))
    }
}
