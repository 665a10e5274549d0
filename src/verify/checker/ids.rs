//! Unique ids: no id was handed out twice.

use std::collections::HashMap;

use super::Limits;
use super::finding::{Finding, count};
use super::linear::{Elements, History, HistoryChecker, Meter, OutOf, deed, told};
use crate::journal::{OpOutcome, OpRecord, Verdict};

/// See the module.
pub struct UniqueIds;

impl HistoryChecker for UniqueIds {
    const NAME: &'static str = "unique_ids";
    const KINDS: &'static [&'static str] = &["unique_ids"];

    fn check(&self, history: &History<'_>, limits: Limits) -> Result<Finding, OutOf> {
        let mut meter = Meter::new(limits);
        let mut numbers: HashMap<&str, Elements> = HashMap::new();
        let mut firsts: HashMap<(&str, usize), &OpRecord> = HashMap::new();
        let (mut ids, mut wrong) = (0, Vec::new());
        for op in history.ops.iter().filter(|op| op.f == "generate" && op.outcome == OpOutcome::Ok) {
            meter.spend(Elements::COST + 2 * size_of::<(&str, usize, &OpRecord)>())?;
            ids += 1;
            if op.output.is_null() {
                wrong.push(deed(op, "was given no id"));
                continue;
            }
            let number = numbers.entry(&op.workload).or_default().number(&op.output);
            match firsts.get(&(op.workload.as_str(), number)) {
                None => {
                    firsts.insert((&op.workload, number), op);
                }
                Some(first) => {
                    let given = format!("was given {}", op.output);
                    wrong.push(format!(
                        "{} twice:\n  {}\n  {}",
                        op.output,
                        deed(first, &given),
                        deed(op, &given)
                    ));
                }
            }
        }
        let finding = match (wrong.len(), ids) {
            (0, 0) => Finding::new(Verdict::Error, "nothing was learned: no id was made"),
            (0, some) => Finding::new(Verdict::Pass, format!("{}, all different", count(some, "id"))),
            (some, all) => {
                Finding::new(Verdict::Fail, format!("{some} of {} handed out before", count(all, "id")))
            }
        };
        Ok(finding
            .measured("ids", ids as f64)
            .measured("duplicated", wrong.len() as f64)
            .detailed(told(wrong, "ids")))
    }
}
