//! How much faster a fleet is restored than booted, and how much less memory forks take. Prints a table; `--json
//! FILE` writes the same as JSON. Numbers to compare, never a test.
//!
//! It runs the tool itself on a home of its own (`OVENPROOF_TEST_HOME`), as a user would: times are those of
//! `ovenproof up`, from its start until it returns with all nodes ready.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a benchmark prints, and one that cannot run has nothing better to do than to say where"
)]

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

const RESTORES: usize = 20;
const FORKS: usize = 4;
const COLD: usize = 2;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let json_file = arguments.find(|argument| argument == "--json").and_then(|_| arguments.next());
    ovenproof(&["bake", "images/etcd.yaml"]);

    let colds: Vec<String> = (1..=COLD).map(|index| format!("cold-{index}")).collect();
    // One after the other: two at once would each get half the machine.
    let cold: Vec<Duration> = colds.iter().map(|name| up(name, &["--cold"])).collect();
    let cold_memory = memory();
    colds.iter().for_each(|name| down(name));

    let mut restored = Vec::new();
    for _ in 0..RESTORES {
        restored.push(up("warm", &[]));
        down("warm");
    }
    restored.sort();

    let forks: Vec<String> = (1..=FORKS).map(|index| format!("fork-{index}")).collect();
    for name in &forks {
        up(name, &[]);
    }
    let fork_memory = memory();
    forks.iter().for_each(|name| down(name));

    let boot = cold.iter().min().map_or(0.0, Duration::as_secs_f64);
    let (median, worst) = (restored[RESTORES / 2].as_secs_f64(), restored[RESTORES - 1].as_secs_f64());
    println!("{:44} {:>10} {:>10} {:>8}", "three nodes of etcd, all ready", "cold", "restored", "ratio");
    println!("{:44} {boot:>9.1}s {median:>9.2}s {:>7.1}x", "time (best cold, median of 20)", boot / median);
    println!("{:44} {boot:>9.1}s {worst:>9.2}s {:>7.1}x", "time (best cold, worst of 20)", boot / worst);
    println!(
        "{:44} {:>9}M {:>9}M {:>7.2}x",
        format!("memory of {COLD} cold fleets, {FORKS} restored"),
        cold_memory >> 20,
        fork_memory >> 20,
        cold_memory as f64 / fork_memory as f64
    );
    if let Some(file) = json_file {
        let seconds = |times: &[Duration]| times.iter().map(Duration::as_secs_f64).collect::<Vec<_>>();
        let all = json!({
            "cold_seconds": seconds(&cold),
            "restored_seconds": seconds(&restored),
            "cold_fleets": COLD,
            "cold_bytes": cold_memory,
            "restored_fleets": FORKS,
            "restored_bytes": fork_memory,
        });
        std::fs::write(&file, format!("{all:#}\n")).expect("the JSON file");
    }
}

fn home() -> PathBuf {
    let home = std::env::var_os("OVENPROOF_TEST_HOME").filter(|home| !home.is_empty());
    home.map_or_else(|| std::env::temp_dir().join("ovenproof-test-home"), PathBuf::from)
}

fn ovenproof(arguments: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ovenproof"));
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).env("OVENPROOF_HOME", home());
    let output = command.output().expect("the tool");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
}

fn up(name: &str, more: &[&str]) -> Duration {
    let started = Instant::now();
    ovenproof(&[&["up", "etcd", "-n", "3", "--name", name], more].concat());
    started.elapsed()
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
