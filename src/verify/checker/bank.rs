//! Banks: whatever is moved, every read of all accounts together shows the same total.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Limits;
use super::finding::{Finding, count};
use super::linear::{History, HistoryChecker, Meter, OutOf, deed, keys, told};
use crate::journal::{OpOutcome, Verdict};

/// See the module.
pub struct Bank;

/// What a bank must hold: the accounts and their sum.
struct Promise {
    accounts: Vec<String>,
    total: i128,
}

impl Promise {
    /// From what the workload was told: `accounts`, and the `balance` of each or the `total`.
    fn of(plan: &Value) -> Option<Self> {
        let name = |account: &Value| account.as_str().map_or_else(|| account.to_string(), str::to_owned);
        let accounts: Vec<String> =
            plan.get("accounts").and_then(Value::as_array).into_iter().flatten().map(name).collect();
        let each = |balance: i64| i128::from(balance) * accounts.len() as i128;
        let total = match (plan.get("total").and_then(Value::as_i64), plan.get("balance")) {
            (Some(total), _) => i128::from(total),
            (None, balance) => each(balance?.as_i64()?),
        };
        Some(Promise { accounts, total })
    }
}

/// Balance by account; the error says what is wrong with the answer.
fn balances(output: &Value) -> Result<BTreeMap<&str, i64>, String> {
    let members = output.as_object().ok_or_else(|| format!("{output} is not the balances of accounts"))?;
    members
        .iter()
        .map(|(account, balance)| match balance.as_i64() {
            Some(number) => Ok((account.as_str(), number)),
            None => Err(format!("account {account} holds {balance}, which is no amount")),
        })
        .collect()
}

impl HistoryChecker for Bank {
    const NAME: &'static str = "bank";
    const KINDS: &'static [&'static str] = &["bank"];

    fn check(&self, history: &History<'_>, limits: Limits) -> Result<Finding, OutOf> {
        let mut meter = Meter::new(limits);
        let (mut reads, mut transfers, mut wrong, mut guessed) = (0, 0, Vec::new(), false);
        for ((workload, key), ops) in keys(history) {
            let mut promise = history.plans.get(workload).and_then(|plan| Promise::of(plan));
            transfers += ops.iter().filter(|op| op.f == "transfer" && op.outcome == OpOutcome::Ok).count();
            let mut of_key: Vec<_> =
                ops.iter().filter(|op| op.f == "read" && op.outcome == OpOutcome::Ok).collect();
            of_key.sort_by_key(|read| read.completed_us);
            for read in of_key {
                meter.spend(0)?;
                reads += 1;
                let found = match balances(&read.output) {
                    Ok(found) => found,
                    Err(why) => {
                        wrong.push(format!("{key}: {}: {why}", deed(read, "read")));
                        continue;
                    }
                };
                let total: i128 = found.values().map(|balance| i128::from(*balance)).sum();
                let promise = promise.get_or_insert_with(|| {
                    guessed = true;
                    Promise { accounts: found.keys().map(|account| (*account).to_owned()).collect(), total }
                });
                let missing: Vec<&str> = promise
                    .accounts
                    .iter()
                    .map(String::as_str)
                    .filter(|account| !found.contains_key(account))
                    .collect();
                let strangers: Vec<&str> = found
                    .keys()
                    .copied()
                    .filter(|account| {
                        !promise.accounts.is_empty() && !promise.accounts.iter().any(|known| known == account)
                    })
                    .collect();
                let negative = found.iter().find(|(_, balance)| **balance < 0);
                let why = match (total == promise.total, missing.first(), strangers.first(), negative) {
                    (_, Some(account), ..) => format!("account {account} is missing"),
                    (_, _, Some(account), _) => format!("there is an account {account}, which nobody opened"),
                    (false, ..) => {
                        format!("the sum is {total}, and it was {} in the beginning", promise.total)
                    }
                    (_, _, _, Some((account, balance))) => format!("account {account} is at {balance}"),
                    (true, None, None, None) => continue,
                };
                let shown: Vec<String> =
                    found.iter().map(|(account, balance)| format!("{account}: {balance}")).collect();
                wrong.push(format!("{key}: {why}.\n  {}", deed(read, &format!("read {}", shown.join(", ")))));
            }
        }
        let finding = match (wrong.len(), reads) {
            (0, 0) => Finding::new(Verdict::Error, "nothing was learned: no read of the accounts succeeded"),
            (0, _) if transfers == 0 => {
                Finding::new(Verdict::Error, "nothing was learned: no transfer was acknowledged")
            }
            (0, some) => {
                let by = if guessed { ", taking the first for right" } else { "" };
                Finding::new(
                    Verdict::Pass,
                    format!(
                        "the total was kept in {}{by}; {}",
                        count(some, "read"),
                        count(transfers, "transfer")
                    ),
                )
            }
            (some, all) => Finding::new(Verdict::Fail, format!("{some} of {} wrong", count(all, "read"))),
        };
        Ok(finding
            .measured("reads", reads as f64)
            .measured("transfers", transfers as f64)
            .measured("wrong_reads", wrong.len() as f64)
            .detailed(told(wrong, "wrong reads")))
    }
}
