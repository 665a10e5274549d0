//! Disks that fail, power that is cut, and what of it the guests see.

use crate::machines::{assert_nothing_runs, baked, home, run};

/// The journal of a run that `--json` printed.
fn journal(stdout: &str) -> Vec<String> {
    let runs: serde_json::Value = serde_json::from_str(stdout).expect("JSON");
    let id = runs[0]["header"]["run"].as_str().expect("a run id");
    let path = home().join("runs").join(id).join("journal.jsonl");
    std::fs::read_to_string(path).expect("a journal").lines().map(str::to_owned).collect()
}

#[test]
fn every_disk_fault_is_proven_and_undone() {
    baked(&["web"]);
    let said = run(&["--json", "run", "tests/fixtures/disk-faults.yaml", "--seed", "7"]).exits(0);
    let journal = journal(&said.stdout);
    let count = |what: &str| journal.iter().filter(|line| line.contains(what)).count();
    assert_eq!(count("{\"proven\":"), 6, "{journal:#?}");
    assert_eq!(count("\"verified\":true"), 6, "{journal:#?}");
    assert_eq!(count("{\"not_proven\":"), 0, "{journal:#?}");
    assert_eq!(count("writes that it had not flushed"), 1, "{journal:#?}");
    assert_nothing_runs();
}
