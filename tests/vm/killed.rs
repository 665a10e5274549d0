//! Whatever is killed, and whenever: nothing stays.

use std::time::Duration;

use crate::machines::{Running, assert_nothing_runs, baked, eventually, machines, run, signal, supervisor};

/// Ends everything of a fleet that has lost its client or its supervisor.
const GONE: Duration = Duration::from_secs(30);

fn partitioned() -> Running {
    baked(&["etcd"]);
    let mut running = Running::start(&["run", "scenarios/etcd-partition.yaml", "--seed", "7"]);
    running.wait_for("proof    f1 network.partition");
    assert_eq!(machines().len(), 3);
    running
}

#[test]
fn a_client_killed_during_a_partition_takes_its_fleet_along() {
    let mut running = partitioned();
    running.signal("KILL");
    running.end();
    eventually("the machines end with their client", GONE, || machines().is_empty());
    run(&["heal"]).exits(0);
    assert_nothing_runs();
}

#[test]
fn a_supervisor_killed_during_a_partition_leaves_no_machine_and_no_verdict() {
    let mut running = partitioned();
    signal(supervisor(), "KILL");
    eventually("the machines end with their supervisor", GONE, || machines().is_empty());
    let (code, log) = running.end();
    assert_eq!(code, Some(4), "{log}");
    run(&["heal"]).exits(0);
    assert_nothing_runs();
}

#[test]
fn an_interrupt_during_a_partition_heals_and_destroys() {
    let mut running = partitioned();
    running.signal("INT");
    let (code, log) = running.end();
    assert_eq!(code, Some(4), "{log}");
    assert!(log.contains("heal     f1 network.partition"), "{log}");
    assert!(log.contains("interrupted"), "{log}");
    assert_nothing_runs();
}
