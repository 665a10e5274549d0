//! How fast histories are judged, and in how much memory. Prints a table; `--json FILE` writes the same as JSON.
//! Numbers to compare, never a test.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark prints, and one that cannot run has nothing better to do than to say where"
)]

use std::time::{Duration, Instant};

use ovenproof::journal::{OpOutcome, OpRecord};
use ovenproof::seed::Seed;
use ovenproof::verify::Budget;
use ovenproof::verify::checker::history::{ABSENT, Action, OPEN, Op};
use ovenproof::verify::checker::linear::{History, HistoryChecker};
use ovenproof::verify::checker::linearizable::{Outcome, check};
use ovenproof::verify::checker::set::Set;
use rand::RngExt;
use serde_json::{Value, json};

/// Each history gets this; a checker that needs more says `unknown`.
const BUDGET: Budget = Budget { time: Duration::from_secs(60), memory_bytes: 512 << 20 };

fn main() {
    let mut arguments = std::env::args().skip(1);
    let json_file = arguments.find(|argument| argument == "--json").and_then(|_| arguments.next());
    println!("{:<58} {:>10} {:>9} {:>9}", "history", "verdict", "seconds", "peak MiB");
    let mut rows = Vec::new();
    let mut row = |name: String, judge: &mut dyn FnMut() -> String| {
        let before = peak_bytes();
        let start = Instant::now();
        let verdict = judge();
        let seconds = start.elapsed().as_secs_f64();
        // How much the process had to grow beyond what making the history took.
        let grown = (peak_bytes() - before) as f64 / f64::from(1 << 20);
        println!("{name:<58} {verdict:>10} {seconds:>9.3} {grown:>9.1}");
        rows.push(json!({ "history": name, "verdict": verdict, "seconds": seconds, "grown_mib": grown }));
    };

    for (clients, values) in [(5, 0), (10, 0), (20, 0), (5, 5), (10, 5), (20, 5)] {
        let of = if values == 0 { "each value once".to_owned() } else { format!("{values} values") };
        let ops = history(1, clients, 10_000, values);
        row(format!("register, valid, 10,000 ops, {clients} clients, {of}"), &mut || {
            told(&check(&ops, BUDGET.start()))
        });
    }
    for clients in [5, 10, 20, 30] {
        let ops = bad_last_read(history(1, clients, 1_000, 5), 0);
        row(format!("register, bad last read, 1,000 ops, {clients} clients"), &mut || {
            told(&check(&ops, BUDGET.start()))
        });
    }
    for lost in [4, 8, 12, 20] {
        let ops = bad_last_read(history(1, 5, 1_000, 5), lost);
        row(format!("the same, 5 clients, {lost} crashed writes"), &mut || {
            told(&check(&ops, BUDGET.start()))
        });
    }
    let tight = Budget { memory_bytes: 1 << 20, ..BUDGET };
    let ops = bad_last_read(history(1, 30, 1_000, 5), 20);
    row("the same, 30 clients, 20 crashed writes, 1 MiB allowed".to_owned(), &mut || {
        told(&check(&ops, tight.start()))
    });

    let records = set(1_000_000);
    let history = History { ops: records.iter().collect(), plans: Default::default() };
    row("set, 1,000,000 additions, 10 reads".to_owned(), &mut || {
        Set.judge(&history, BUDGET.start()).verdict.to_string()
    });

    if let Some(file) = json_file {
        std::fs::write(&file, format!("{:#}\n", Value::from(rows))).expect("the JSON file");
    }
}

fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Linearizable => "pass".to_owned(),
        Outcome::Violated => "fail".to_owned(),
        Outcome::Unknown(_) => "unknown".to_owned(),
    }
}

/// The most memory that this process has ever had.
fn peak_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

/// A history of a register that is correct by construction: each client's operation takes effect at a random
/// instant of its interval. `values`: how many different ones are written; 0 writes each once.
fn history(seed: u64, clients: usize, count: usize, values: u32) -> Vec<Op> {
    let mut rng = Seed(seed).stream("history");
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
    let mut ops = Vec::new();
    for (_, invoked, completed, record) in planned {
        let action = if rng.random_bool(0.5) {
            Action::Read(value)
        } else {
            fresh += 1;
            value = if values == 0 { fresh } else { rng.random_range(1..=values) };
            Action::Write(value)
        };
        ops.push(Op { action, invoked, completed, record });
    }
    ops.sort_by_key(|op| op.invoked);
    ops
}

/// When all is over, 1 is written and 2 is read. `lost` writes of other values never ended.
fn bad_last_read(mut ops: Vec<Op>, lost: usize) -> Vec<Op> {
    let end = ops.iter().map(|op| op.completed).max().unwrap();
    let middle = end / 2;
    for index in 0..lost {
        let action = Action::Write(3 + u32::try_from(index % 3).unwrap());
        let invoked = middle + u64::try_from(index).unwrap() * 7;
        ops.push(Op { action, invoked, completed: OPEN, record: ops.len() });
    }
    for (action, at) in [(Action::Write(1), end + 10), (Action::Read(2), end + 30)] {
        ops.push(Op { action, invoked: at, completed: at + 10, record: ops.len() });
    }
    ops
}

/// Additions without pause, of which every one is found in the reads that follow.
fn set(count: i64) -> Vec<OpRecord> {
    let op = |f: &str, input: Value, output: Value, at: i64| OpRecord {
        workload: "set".to_owned(),
        process: 0,
        node: "n-1".to_owned(),
        key: "set-0-0".to_owned(),
        f: f.to_owned(),
        input,
        output,
        outcome: OpOutcome::Ok,
        invoked_us: at.unsigned_abs(),
        completed_us: at.unsigned_abs() + 5,
        detail: String::new(),
    };
    let mut ops = Vec::new();
    for number in 0..count {
        ops.push(op("add", json!(number), Value::Null, number * 10));
        if (number + 1) % (count / 10) == 0 {
            ops.push(op("read", Value::Null, (0..=number).collect(), number * 10 + 6));
        }
    }
    ops
}
