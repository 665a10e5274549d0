//! Every fault of the catalogue against real machines.

use std::path::PathBuf;
use std::process::Command;

use crate::machines::{assert_nothing_runs, baked, home, run};

/// The folder of a run that `--json` printed.
fn folder(stdout: &str) -> PathBuf {
    let runs: serde_json::Value = serde_json::from_str(stdout).expect("JSON");
    let id = runs[0]["header"]["run"].as_str().expect("a run id");
    home().join("runs").join(id)
}

/// The journal of a run that `--json` printed.
fn journal(stdout: &str) -> String {
    std::fs::read_to_string(folder(stdout).join("journal.jsonl")).expect("a journal")
}

/// The lines of a journal that contain `what`.
fn count(journal: &str, what: &str) -> usize {
    journal.lines().filter(|line| line.contains(what)).count()
}

/// Runs a scenario of so many faults, all of which must be proven and verified to be gone.
fn all_proven_and_undone(scenario: &str, faults: usize) {
    baked(&["web"]);
    let said = run(&["--json", "run", scenario, "--seed", "7", "--pcap"]).exits(0);
    let journal = journal(&said.stdout);
    let capture = folder(&said.stdout).join("network.pcap");
    let infos = Command::new("capinfos").arg("-c").arg(&capture).output().expect("capinfos");
    assert!(infos.status.success() && infos.stderr.is_empty(), "{infos:?}");
    let read = Command::new("tcpdump").arg("-enr").arg(capture).output().expect("tcpdump");
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let read = String::from_utf8_lossy(&read.stdout).into_owned();
    assert!(read.contains("10.77.0.1") && read.contains("10.77.0.11") && read.lines().count() > 100);
    assert_eq!(count(&journal, "{\"injected\":"), faults, "{journal}");
    assert_eq!(count(&journal, "{\"proven\":"), faults, "{journal}");
    assert_eq!(count(&journal, "\"verified\":true"), faults, "{journal}");
    assert_eq!(count(&journal, "{\"not_proven\":"), 0, "{journal}");
    assert_nothing_runs();
}

#[test]
fn every_fault_is_proven_and_undone() {
    all_proven_and_undone("tests/fixtures/every-fault.yaml", 20);
}

#[test]
fn faults_of_disks_are_proven_and_undone() {
    all_proven_and_undone("tests/fixtures/disk-faults.yaml", 7);
}

#[test]
fn faults_inside_guests_are_proven_and_undone() {
    all_proven_and_undone("tests/fixtures/guest-faults.yaml", 11);
}

#[test]
fn the_same_seed_gives_the_same_schedule_and_another_seed_another() {
    baked(&["web"]);
    let schedule = |seed: &str| {
        let said = run(&["--json", "check", "tests/fixtures/every-fault.yaml", "--seed", seed]).exits(0);
        let checked: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
        checked[0]["schedule"].clone()
    };
    assert!(schedule("7").as_array().is_some_and(|steps| steps.len() == 20));
    assert_eq!(schedule("7"), schedule("7"));
    assert_eq!(schedule("7"), schedule("7"));
    assert_ne!(schedule("7"), schedule("8"));
}
