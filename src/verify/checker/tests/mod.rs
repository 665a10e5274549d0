//! The checker against a brute-force one on small histories, and on long ones whose verdict is known.

mod linear;

use std::time::Duration;

use proptest::prelude::*;
use rand::RngExt;

use super::Budget;
use super::history::{ABSENT, Action, OPEN, Op};
use super::linearizable::{Outcome, check};
use super::shrink::smallest_violation;
use crate::seed::Seed;

/// Tries every order that real time allows.
fn brute_force(ops: &[Op]) -> bool {
    fn place(ops: &[Op], placed: &mut Vec<bool>, value: u32) -> bool {
        if ops.iter().zip(placed.iter()).all(|(op, done)| *done || op.completed == OPEN) {
            return true;
        }
        for index in 0..ops.len() {
            let op = ops[index];
            let too_early = (0..ops.len()).any(|other| !placed[other] && ops[other].completed < op.invoked);
            if placed[index] || too_early {
                continue;
            }
            let after = match op.action {
                Action::Read(found) if found == value => value,
                Action::Differs(other) if other != value => value,
                Action::Write(new) => new,
                Action::Cas { expected, new } if expected == value => new,
                _ => continue,
            };
            placed[index] = true;
            if place(ops, placed, after) {
                return true;
            }
            placed[index] = false;
        }
        false
    }
    place(ops, &mut vec![false; ops.len()], ABSENT)
}

fn action(values: u32) -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => (0..=values).prop_map(Action::Read),
        1 => (0..=values).prop_map(Action::Differs),
        // Nothing is a value too: a removal writes it.
        3 => (0..=values).prop_map(Action::Write),
        2 => (0..=values, 1..=values).prop_map(|(expected, new)| Action::Cas { expected, new }),
    ]
}

fn ops(most: usize, values: u32) -> impl Strategy<Value = Vec<Op>> {
    let op = (action(values), 0_u64..24, 0_u64..12, prop::bool::weighted(0.25));
    prop::collection::vec(op, 0..=most).prop_map(|parts| {
        let make = |(record, (action, invoked, lasts, open)): (usize, (Action, u64, u64, bool))| {
            let is_read = matches!(action, Action::Read(_) | Action::Differs(_));
            let completed = if open && !is_read { OPEN } else { invoked + lasts };
            Op { action, invoked, completed, record }
        };
        parts.into_iter().enumerate().map(make).collect()
    })
}

/// Gives every write and cas a value of its own, as the workloads do, and lets reads follow suit.
fn with_unique_values(mut ops: Vec<Op>) -> Vec<Op> {
    let count = ops.len() as u32;
    let setters: Vec<u32> = (0..count)
        .filter(|index| ops[*index as usize].action.sets().is_some())
        .map(|index| index + 1)
        .collect();
    let pick = |value: u32| match setters.get(value as usize % (setters.len() + 1)) {
        Some(setter) => *setter,
        None => ABSENT,
    };
    for (index, op) in ops.iter_mut().enumerate() {
        let own = index as u32 + 1;
        op.action = match op.action {
            Action::Read(value) => Action::Read(pick(value)),
            Action::Differs(value) => Action::Differs(pick(value)),
            Action::Write(_) => Action::Write(own),
            Action::Cas { expected, .. } => Action::Cas { expected: pick(expected), new: own },
        };
    }
    ops
}

fn agrees_with_brute_force(ops: &[Op]) -> Result<(), TestCaseError> {
    let wanted = brute_force(ops);
    match check(ops, Budget::default().start()) {
        Outcome::Linearizable => prop_assert!(wanted, "called linearizable: {ops:?}"),
        Outcome::Violated => {
            prop_assert!(!wanted, "called violated: {ops:?}");
            let piece = smallest_violation(ops, Budget::default().start());
            prop_assert!(!brute_force(&piece), "not a proof: {piece:?} of {ops:?}");
        }
        Outcome::Unknown(why) => prop_assert!(false, "unknown: {why}"),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn few_values_agree_with_brute_force(ops in ops(8, 2)) {
        agrees_with_brute_force(&ops)?;
    }

    #[test]
    fn several_values_agree_with_brute_force(ops in ops(8, 4)) {
        agrees_with_brute_force(&ops)?;
    }

    #[test]
    fn unique_values_agree_with_brute_force(ops in ops(8, 8)) {
        agrees_with_brute_force(&with_unique_values(ops))?;
    }
}

/// A history of a register that is correct by construction: each client's operation takes effect at a random
/// instant of its interval. `values`: how many different ones are written; 0 writes each once.
fn correct_history(seed: u64, clients: usize, count: usize, values: u32, lost: f64) -> Vec<Op> {
    let mut rng = Seed(seed).stream("history");
    // (instant of effect, invoked, completed): clients take turns without pause.
    let mut free_at = vec![0_u64; clients];
    let mut planned = Vec::new();
    for record in 0..count {
        let client = (0..clients).min_by_key(|client| free_at[*client]).unwrap();
        let invoked = free_at[client] + rng.random_range(1..20);
        let completed = invoked + rng.random_range(10..100);
        free_at[client] = completed;
        planned.push((rng.random_range(invoked..=completed), invoked, completed, record));
    }
    planned.sort_unstable();
    let (mut value, mut fresh) = (ABSENT, 0);
    let mut ops: Vec<Op> = Vec::new();
    for (_, invoked, completed, record) in planned {
        let is_lost = rng.random_bool(lost);
        let mut new = || match values {
            0 => {
                fresh += 1;
                fresh
            }
            some => rng.random_range(1..=some),
        };
        let (one, two) = (new(), new());
        let action = match rng.random_range(0..5) {
            0 | 1 => Action::Read(value),
            2 | 3 => Action::Write(one),
            _ if value != ABSENT && one % 2 == 0 => Action::Cas { expected: value, new: two },
            _ if value != one => Action::Differs(one),
            _ => Action::Read(value),
        };
        let sets = action.sets();
        let took_effect = !is_lost || rng.random_bool(0.5);
        value = sets.filter(|_| took_effect).unwrap_or(value);
        let completed = if is_lost && sets.is_some() { OPEN } else { completed };
        ops.push(Op { action, invoked, completed, record });
    }
    ops.sort_by_key(|op| op.invoked);
    ops
}

/// The last read answers with a value that was there long ago.
fn break_last_read(ops: &mut [Op]) {
    let old = ops.iter().find_map(|op| op.action.sets()).unwrap();
    let last = ops.iter_mut().rfind(|op| matches!(op.action, Action::Read(_))).unwrap();
    last.action = Action::Read(old);
}

/// Sizes at which checkers that remember every configuration of the past run out of time or memory.
#[test]
fn long_histories_are_judged_and_bad_reads_are_found() {
    for (clients, count, values, lost) in [
        (10, 10_000, 0, 0.0),
        (10, 10_000, 5, 0.0),
        (20, 10_000, 5, 0.0),
        (30, 4_000, 0, 0.02),
        (20, 2_000, 5, 0.01),
    ] {
        let mut ops = correct_history(1, clients, count, values, lost);
        let judge = |ops: &[Op]| check(ops, Budget::default().start());
        assert_eq!(judge(&ops), Outcome::Linearizable, "{clients} {count} {values} {lost}");
        if values == 0 {
            break_last_read(&mut ops);
            assert_eq!(judge(&ops), Outcome::Violated, "{clients} {count} {values} {lost}");
            let piece = smallest_violation(&ops, Budget::default().start());
            assert_eq!(judge(&piece), Outcome::Violated);
            assert!(piece.len() <= 6, "{piece:?}");
        }
    }
}

#[test]
fn a_spent_budget_is_unknown_and_never_a_verdict() {
    let ops = correct_history(3, 40, 3_000, 3, 0.05);
    let none = Budget { time: Duration::ZERO, ..Budget::default() };
    assert!(matches!(check(&ops, none.start()), Outcome::Unknown(_)));
}
