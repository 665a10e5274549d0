//! How much faster a fleet is restored than booted, and how much less memory forks take. Prints tables; `--json
//! FILE` writes the same as JSON. Numbers to compare, never a test.
//!
//! Its parts are `time` and `memory`; with the name of one, only that is measured. It runs the tool itself on a home
//! of its own (`OVENPROOF_TEST_HOME`), as a user would: times are those of `ovenproof up`, from its start until it
//! returns with all nodes ready.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a benchmark prints, and one that cannot run has nothing better to do than to say where"
)]

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const RESTORES: usize = 20;
const FORKS: usize = 4;
const COLD: usize = 2;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let after = |name: &str| arguments.iter().skip_while(|argument| *argument != name).nth(1);
    let parts = ["time", "memory"].map(|part| (part, arguments.iter().any(|argument| argument == part)));
    let all = parts.iter().all(|(_, asked)| !asked);
    ovenproof(&["bake", "images/etcd.yaml"]);

    let mut measured = serde_json::Map::new();
    for (part, asked) in parts {
        if asked || all {
            let values = if part == "time" { time() } else { forks() };
            measured.insert(part.to_owned(), values);
        }
    }
    if let Some(file) = after("--json") {
        std::fs::write(file, format!("{:#}\n", Value::Object(measured))).expect("the JSON file");
    }
}

/// From nothing to all nodes ready, booted and restored.
fn time() -> Value {
    let mut cold = Vec::new();
    for _ in 0..COLD {
        cold.push(up("cold", &["--cold"]));
        down("cold");
    }
    cold.sort();
    let mut restored = Vec::new();
    for _ in 0..RESTORES {
        restored.push(up("warm", &[]));
        down("warm");
    }
    restored.sort();

    let boot = cold[0].as_secs_f64();
    println!("{:44} {:>10} {:>10} {:>8}", "three nodes of etcd, all ready", "cold", "restored", "ratio");
    for (what, took) in [("median", restored[RESTORES / 2]), ("worst", restored[RESTORES - 1])] {
        let (what, took) = (format!("time (best cold, {what} of {RESTORES})"), took.as_secs_f64());
        println!("{what:44} {boot:>9.1}s {took:>9.2}s {:>7.1}x", boot / took);
    }
    let seconds = |times: &[Duration]| times.iter().map(Duration::as_secs_f64).collect::<Vec<_>>();
    json!({ "cold_seconds": seconds(&cold), "restored_seconds": seconds(&restored) })
}

/// What fleets that run at the same time have in memory.
fn forks() -> Value {
    let colds: Vec<String> = (1..=COLD).map(|index| format!("cold-{index}")).collect();
    // One after the other: two at once would each get half the machine.
    for name in &colds {
        up(name, &["--cold"]);
    }
    let booted = memory();
    colds.iter().for_each(|name| down(name));

    let forks: Vec<String> = (1..=FORKS).map(|index| format!("fork-{index}")).collect();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for name in &forks {
            scope.spawn(|| up(name, &[]));
        }
    });
    let took = began.elapsed().as_secs_f64();
    let restored = memory();
    forks.iter().for_each(|name| down(name));

    println!(
        "{:44} {:>9}M {:>9}M {:>7.2}x",
        format!("memory of {COLD} cold fleets, {FORKS} restored at once"),
        booted >> 20,
        restored >> 20,
        booted as f64 / restored as f64
    );
    println!("{:44} {:>10} {took:>9.2}s", format!("until all of these {FORKS} are ready"), "");
    json!({
        "cold_fleets": COLD,
        "cold_bytes": booted,
        "restored_fleets": FORKS,
        "restored_bytes": restored,
        "restored_seconds": took,
    })
}

fn home() -> PathBuf {
    let home = std::env::var_os("OVENPROOF_TEST_HOME").filter(|home| !home.is_empty());
    home.map_or_else(|| std::env::temp_dir().join("ovenproof-test-home"), PathBuf::from)
}

fn ovenproof(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ovenproof"));
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).env("OVENPROOF_HOME", home());
    let output = command.output().expect("the tool");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The snapshot is there after the first cold one; that a fleet is restored, or not, is looked at each time.
fn up(name: &str, more: &[&str]) -> Duration {
    let started = Instant::now();
    let said = ovenproof(&[&["--json", "up", "etcd", "-n", "3", "--name", name], more].concat());
    let took = started.elapsed();
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(said["restored"], json!(more.is_empty()), "{name}: {said}");
    took
}

fn down(name: &str) {
    ovenproof(&["down", name]);
}

/// What all machines of our home have in memory, in bytes; pages that several share count once in all.
fn memory() -> u64 {
    let home = home().display().to_string();
    let mut kibibytes = 0;
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let words = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&words);
        if line.starts_with("qemu-system-") && line.contains(&home) {
            let rollup = std::fs::read_to_string(entry.path().join("smaps_rollup")).unwrap_or_default();
            let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
            let pss =
                pss.and_then(|rest| rest.split_whitespace().next()).and_then(|value| value.parse().ok());
            kibibytes += pss.unwrap_or(0_u64);
        }
    }
    kibibytes << 10
}
