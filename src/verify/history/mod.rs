//! Histories that were recorded elsewhere, judged by the same checkers as those of a run.

pub mod edn;
mod load;
pub mod picture;

#[cfg(test)]
mod tests;

use serde_json::{Value, json};

pub use load::{BadHistory, Loaded, load};

use super::Budget;
use super::checker::finding::Finding;
use super::checker::linear::{History, HistoryChecker};
use super::checker::{append, bank, counter, ids, queue, registers, set};

/// What a history is a history of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// `read`, `write` and `cas`.
    Register,
    /// The same and `delete`.
    KeyValue,
    /// `acquire` and `release`.
    Lock,
    /// `add` and `read`.
    Set,
    /// `append` and `read`, or `txn` of steps `[:append k v]` and `[:r k vs]`.
    Append,
    /// `transfer` and `read`.
    Bank,
    /// `add` and `read`.
    Counter,
    /// `generate`.
    UniqueIds,
    /// `enqueue`, `dequeue` and `drain`.
    Queue,
}

impl Model {
    pub fn name(self) -> &'static str {
        match self {
            Model::Register => "register",
            Model::KeyValue => "key-value",
            Model::Lock => "lock",
            Model::Set => "set",
            Model::Append => "append",
            Model::Bank => "bank",
            Model::Counter => "counter",
            Model::UniqueIds => "unique-ids",
            Model::Queue => "queue",
        }
    }

    /// The kinds of workloads that a journal may call it.
    fn kinds(self) -> &'static [&'static str] {
        match self {
            Model::Register | Model::KeyValue | Model::Lock => registers::Linearizable::KINDS,
            Model::Set => set::Set::KINDS,
            Model::Append => append::Append::KINDS,
            Model::Bank => bank::Bank::KINDS,
            Model::Counter => counter::Counter::KINDS,
            Model::UniqueIds => ids::UniqueIds::KINDS,
            Model::Queue => queue::Queue::KINDS,
        }
    }

    fn has(self, f: &str) -> bool {
        match self {
            Model::Register => matches!(f, "read" | "write" | "cas"),
            Model::KeyValue => matches!(f, "read" | "write" | "cas" | "delete"),
            Model::Lock => false,
            Model::Set | Model::Counter => matches!(f, "add" | "read"),
            Model::Append => matches!(f, "append" | "read"),
            Model::Bank => matches!(f, "transfer" | "read"),
            Model::UniqueIds => f == "generate",
            Model::Queue => matches!(f, "enqueue" | "dequeue"),
        }
    }

    /// Judges what was loaded. `total`: what the accounts of a bank hold together; without it, and without a
    /// journal that says so, the first read is taken for right.
    pub fn judge(self, loaded: &Loaded, total: Option<i64>, budget: Budget) -> Finding {
        let given: Option<Value> = total.map(|total| json!({ "total": total }));
        let mut history = History {
            ops: loaded.ops.iter().collect(),
            plans: loaded.plans.iter().map(|(workload, plan)| (workload.as_str(), plan)).collect(),
        };
        if let Some(plan) = &given {
            history.plans.extend(loaded.ops.iter().map(|op| (op.workload.as_str(), plan)));
        }
        let limits = budget.start();
        match self {
            Model::Register | Model::KeyValue | Model::Lock => {
                registers::Linearizable.judge(&history, limits)
            }
            Model::Set => set::Set.judge(&history, limits),
            Model::Append => append::Append.judge(&history, limits),
            Model::Bank => bank::Bank.judge(&history, limits),
            Model::Counter => counter::Counter.judge(&history, limits),
            Model::UniqueIds => ids::UniqueIds.judge(&history, limits),
            Model::Queue => queue::Queue.judge(&history, limits),
        }
    }
}
