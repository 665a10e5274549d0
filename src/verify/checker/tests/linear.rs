//! The linear checkers: against a brute-force one on small histories, and on stories written by hand.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::journal::{OpOutcome, OpRecord, Verdict};
use crate::verify::Budget;
use crate::verify::checker::finding::Finding;
use crate::verify::checker::linear::{History, HistoryChecker};
use crate::verify::checker::{append, bank, counter, ids, queue, set};

fn op(f: &str, input: Value, output: Value, outcome: OpOutcome, from: u64, to: u64) -> OpRecord {
    OpRecord {
        workload: "w".to_owned(),
        process: 0,
        node: "n-1".to_owned(),
        key: "k".to_owned(),
        f: f.to_owned(),
        input,
        output,
        outcome,
        invoked_us: from * 1000,
        completed_us: to * 1000,
        detail: "because".to_owned(),
    }
}

fn judged<T: HistoryChecker>(checker: &T, ops: &[OpRecord]) -> Finding {
    let history = History { ops: ops.iter().collect(), plans: Default::default() };
    checker.judge(&history, Budget::default().start())
}

/// The state after `op` took effect, if its answer is right then.
type Model = fn(&[i64], &OpRecord) -> Option<Vec<i64>>;

fn with(state: &[i64], value: &Value) -> Option<Vec<i64>> {
    Some([state, &[value.as_i64()?]].concat())
}

fn list(state: &[i64], op: &OpRecord) -> Option<Vec<i64>> {
    match op.f.as_str() {
        "append" => with(state, &op.input),
        _ => (op.output == json!(state)).then(|| state.to_vec()),
    }
}

fn bag(state: &[i64], op: &OpRecord) -> Option<Vec<i64>> {
    let mut sorted = state.to_vec();
    sorted.sort_unstable();
    match op.f.as_str() {
        "add" => with(state, &op.input),
        _ => (op.output == json!(sorted)).then(|| state.to_vec()),
    }
}

fn sum(state: &[i64], op: &OpRecord) -> Option<Vec<i64>> {
    let total: i64 = state.iter().sum();
    match op.f.as_str() {
        "add" => with(state, &op.input),
        _ => (op.output == json!(total)).then(|| state.to_vec()),
    }
}

fn lines(state: &[i64], op: &OpRecord) -> Option<Vec<i64>> {
    match op.f.as_str() {
        "enqueue" => with(state, &op.input),
        _ if op.output.is_null() => state.is_empty().then(Vec::new),
        _ => {
            let at = state.iter().position(|value| op.output == json!(value))?;
            Some([&state[..at], &state[at + 1..]].concat())
        }
    }
}

/// Tries every order that real time allows.
fn brute_force(model: Model, ops: &[OpRecord]) -> bool {
    fn place(model: Model, ops: &[OpRecord], placed: &mut Vec<bool>, state: &[i64]) -> bool {
        let open = |op: &OpRecord| op.outcome == OpOutcome::Indeterminate;
        if ops.iter().zip(placed.iter()).all(|(op, done)| *done || open(op)) {
            return true;
        }
        for index in 0..ops.len() {
            let before = |other: usize| !open(&ops[other]) && ops[other].completed_us < ops[index].invoked_us;
            if placed[index] || (0..ops.len()).any(|other| !placed[other] && before(other)) {
                continue;
            }
            let Some(after) = model(state, &ops[index]) else { continue };
            placed[index] = true;
            if place(model, ops, placed, &after) {
                return true;
            }
            placed[index] = false;
        }
        false
    }
    let ops: Vec<OpRecord> = ops.iter().filter(|op| op.outcome != OpOutcome::Fail).cloned().collect();
    place(model, &ops, &mut vec![false; ops.len()], &[])
}

/// What one operation is to be: whether it changes something, its times, its end, and how its answer is bent.
type Draft = (bool, u64, u64, u8, u8);

fn drafts() -> impl Strategy<Value = Vec<Draft>> {
    prop::collection::vec((any::<bool>(), 0_u64..20, 0_u64..10, 0_u8..8, 0_u8..24), 1..7)
}

/// A history of a service that is right but for the answers that are bent: operations take effect in the order
/// of their ends.
fn history(
    drafts: Vec<Draft>,
    change: &str,
    look: &str,
    answer: fn(&mut Vec<i64>) -> Value,
) -> Vec<OpRecord> {
    let mut drafts: Vec<(usize, Draft)> = drafts.into_iter().enumerate().collect();
    drafts.sort_by_key(|(_, (_, from, lasts, ..))| from + lasts);
    let mut state = Vec::new();
    let mut ops = Vec::new();
    for (number, (changes, from, lasts, end, bent)) in drafts {
        let value = number as i64 + 1;
        let outcome = match end {
            0 => OpOutcome::Fail,
            1 | 2 => OpOutcome::Indeterminate,
            _ => OpOutcome::Ok,
        };
        let record = if changes {
            if outcome == OpOutcome::Ok || end == 1 {
                state.push(value);
            }
            op(change, json!(value), Value::Null, outcome, from, from + lasts)
        } else if outcome == OpOutcome::Ok {
            let right = answer(&mut state);
            op(look, Value::Null, bend(right, bent), outcome, from, from + lasts)
        } else {
            continue;
        };
        ops.push(record);
    }
    ops
}

fn bend(answer: Value, how: u8) -> Value {
    match (answer, how) {
        (Value::Array(mut items), 0) => {
            items.pop();
            items.into()
        }
        (Value::Array(mut items), 1) if !items.is_empty() => {
            items.remove(0);
            items.into()
        }
        (Value::Array(mut items), 2) if items.len() > 1 => {
            items.swap(0, 1);
            items.into()
        }
        (Value::Array(mut items), 3) => {
            items.push(json!(9));
            items.into()
        }
        (Value::Number(number), 0..=2) => json!(number.as_i64().unwrap_or_default() + i64::from(how) * 2 - 2),
        (right, _) => right,
    }
}

#[expect(clippy::ptr_arg, reason = "as other models need it")]
fn sorted(state: &mut Vec<i64>) -> Value {
    let mut sorted = state.clone();
    sorted.sort_unstable();
    json!(sorted)
}

fn is_wrong(finding: &Finding) -> bool {
    finding.verdict == Verdict::Fail
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// For lists of elements that are appended once, the rules that are checked are all that there are.
    #[test]
    fn lists_agree_with_brute_force(drafts in drafts()) {
        let ops = history(drafts, "append", "read", |state| json!(state));
        let right = brute_force(list, &ops);
        let found = judged(&append::Append, &ops);
        prop_assert_eq!(is_wrong(&found), !right && ops.iter().any(|op| op.outcome == OpOutcome::Ok), "{:?} {:?}", found, ops);
    }

    #[test]
    fn no_right_set_is_called_wrong(drafts in drafts()) {
        let ops = history(drafts, "add", "read", sorted);
        let found = judged(&set::Set, &ops);
        prop_assert!(!(is_wrong(&found) && brute_force(bag, &ops)), "{found:?} {ops:?}");
    }

    #[test]
    fn no_right_counter_is_called_wrong(drafts in drafts()) {
        let ops = history(drafts, "add", "read", |state| json!(state.iter().sum::<i64>()));
        let found = judged(&counter::Counter, &ops);
        prop_assert!(!(is_wrong(&found) && brute_force(sum, &ops)), "{found:?} {ops:?}");
    }

    #[test]
    fn no_right_queue_is_called_wrong(drafts in drafts()) {
        let ops = history(drafts, "enqueue", "dequeue", |state| state.pop().map_or(Value::Null, |value| json!(value)));
        let found = judged(&queue::Queue, &ops);
        prop_assert!(!(is_wrong(&found) && brute_force(lines, &ops)), "{found:?} {ops:?}");
    }

    #[test]
    fn garbage_makes_no_checker_panic(
        parts in prop::collection::vec((0_usize..7, 0_usize..8, 0_usize..8, 0_u8..3, any::<u64>(), any::<u64>()), 0..12)
    ) {
        let names = ["add", "read", "append", "transfer", "generate", "enqueue", "dequeue"];
        let values = [json!(1), json!(i64::MIN), json!(i64::MAX), json!("x"), json!([1, [2]]), json!({"0": -1}), json!(0.5), Value::Null];
        let outcomes = [OpOutcome::Ok, OpOutcome::Fail, OpOutcome::Indeterminate];
        let ops: Vec<OpRecord> = parts.into_iter().map(|(f, input, output, outcome, from, to)| OpRecord {
            invoked_us: from, completed_us: to,
            ..op(names[f], values[input].clone(), values[output].clone(), outcomes[usize::from(outcome)], 0, 0)
        }).collect();
        let succeeded = ops.iter().any(|op| op.outcome == OpOutcome::Ok);
        let findings = [
            judged(&set::Set, &ops), judged(&append::Append, &ops), judged(&bank::Bank, &ops),
            judged(&counter::Counter, &ops), judged(&ids::UniqueIds, &ops), judged(&queue::Queue, &ops),
        ];
        for finding in findings {
            prop_assert!(succeeded || finding.verdict == Verdict::Error, "{finding:?}");
        }
    }
}

/// A long story of elements that are read in between, then bent at the end.
#[test]
fn violations_are_told_with_the_operations_that_prove_them() {
    use OpOutcome::{Fail, Indeterminate, Ok};
    let say = |finding: Finding| format!("{}: {}\n{}", finding.verdict, finding.message, finding.detail);
    let add = |value: i64, outcome, at| op("add", json!(value), Value::Null, outcome, at, at + 5);
    let read = |values: Value, at| op("read", Value::Null, values, Ok, at, at + 5);
    let told = say(judged(
        &set::Set,
        &[
            add(1, Ok, 0),
            add(2, Ok, 10),
            add(3, Indeterminate, 20),
            add(4, Fail, 30),
            read(json!([1, 2]), 40),
            read(json!([2, 4, 2]), 50),
            read(json!([2, 7]), 60),
        ],
    ));
    insta::assert_snapshot!("set", told);

    let put = |value: i64, at| op("append", json!(value), Value::Null, Ok, at, at + 5);
    let told = say(judged(
        &append::Append,
        &[
            put(1, 0),
            put(2, 10),
            put(3, 20),
            read(json!([2, 1]), 30),
            read(json!([2, 1, 3]), 40),
            read(json!([2]), 50),
        ],
    ));
    let fork = say(judged(
        &append::Append,
        &[put(1, 0), put(2, 0), read(json!([1, 2]), 30), read(json!([2, 1]), 40)],
    ));
    insta::assert_snapshot!("append", format!("{told}\n\n{fork}"));

    let plan = json!({ "accounts": [0, 1], "balance": 100 });
    let moved = op("transfer", json!({"from": 0, "to": 1, "amount": 5}), Value::Null, Ok, 0, 5);
    let bad = [
        moved,
        read(json!({"0": 95, "1": 105}), 10),
        read(json!({"0": 95, "1": 100}), 20),
        read(json!({"0": 95}), 30),
    ];
    let history = History { ops: bad.iter().collect(), plans: [("w", &plan)].into() };
    insta::assert_snapshot!("bank", say(bank::Bank.judge(&history, Budget::default().start())));

    let told = say(judged(
        &counter::Counter,
        &[
            add(3, Ok, 0),
            add(4, Indeterminate, 10),
            read(json!(3), 20),
            read(json!(2), 30),
            read(json!(8), 40),
        ],
    ));
    insta::assert_snapshot!("counter", told);

    let id = |value: i64, at| op("generate", Value::Null, json!(value), Ok, at, at + 5);
    insta::assert_snapshot!("ids", say(judged(&ids::UniqueIds, &[id(1, 0), id(2, 10), id(1, 20)])));

    let into = |value: i64, at| op("enqueue", json!(value), Value::Null, Ok, at, at + 5);
    let out = |value: Value, at| op("dequeue", Value::Null, value, Ok, at, at + 5);
    let told = say(judged(
        &queue::Queue,
        &[
            into(1, 0),
            into(2, 10),
            into(3, 20),
            out(json!(1), 30),
            out(json!(1), 40),
            out(json!(9), 50),
            out(Value::Null, 60),
        ],
    ));
    insta::assert_snapshot!("queue", told);
}

#[test]
fn what_proves_nothing_never_passes() {
    use OpOutcome::{Indeterminate, Ok};
    let open = [op("add", json!(1), Value::Null, Indeterminate, 0, 5)];
    assert_eq!(judged(&set::Set, &[]).verdict, Verdict::Error);
    assert_eq!(judged(&set::Set, &open).verdict, Verdict::Error);
    // Never read, never emptied, taken by nobody knows whom.
    assert_eq!(judged(&set::Set, &[op("add", json!(1), Value::Null, Ok, 0, 5)]).verdict, Verdict::Unknown);
    assert_eq!(
        judged(&append::Append, &[op("append", json!(1), Value::Null, Ok, 0, 5)]).verdict,
        Verdict::Unknown
    );
    let put = op("enqueue", json!(1), Value::Null, Ok, 0, 5);
    assert_eq!(judged(&queue::Queue, std::slice::from_ref(&put)).verdict, Verdict::Unknown);
    let taken = op("dequeue", Value::Null, Value::Null, Indeterminate, 10, 15);
    let empty = op("dequeue", Value::Null, Value::Null, Ok, 20, 25);
    assert_eq!(judged(&queue::Queue, &[put.clone(), taken, empty.clone()]).verdict, Verdict::Unknown);
    assert_eq!(judged(&queue::Queue, &[put, empty]).verdict, Verdict::Fail);

    let ops: Vec<OpRecord> = (0..5000).map(|n| op("add", json!(n), Value::Null, Ok, n, n + 1)).collect();
    let history = History { ops: ops.iter().collect(), plans: Default::default() };
    let tight = Budget { memory_bytes: 10_000, ..Budget::default() };
    assert_eq!(set::Set.judge(&history, tight.start()).message, "out of memory");
    let late = Budget { time: std::time::Duration::ZERO, ..Budget::default() };
    assert_eq!(set::Set.judge(&history, late.start()).message, "out of time");
}
