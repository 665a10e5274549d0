//! Real systems: what theory says of each must be found, the losses of the controls as well.

use crate::common::Said;
use crate::machines::{assert_nothing_runs, baked, run};

/// Runs a scenario that must fail because acknowledged writes are gone, and says so.
#[track_caller]
fn loses(scenario: &str) -> Said {
    let said = run(&["run", scenario, "--seed", "7"]).exits(1);
    assert!(said.stdout.contains("✗ no acknowledged write lost"), "{}", said.stdout);
    assert!(said.stdout.contains("acknowledged and gone"), "{}", said.stdout);
    assert_nothing_runs();
    said
}

/// The same, of a fleet that then is as well as before.
#[track_caller]
fn loses_and_comes_back(scenario: &str) {
    let said = loses(scenario);
    assert!(said.stdout.contains("✓ the fleet comes back"), "{}", said.stdout);
    assert!(said.stdout.contains("✓ no console findings"), "{}", said.stdout);
}

#[test]
fn etcd_keeps_what_it_acknowledged_through_power_cuts() {
    baked(&["etcd"]);
    let said = run(&["run", "scenarios/power-cut-etcd.yaml", "--seed", "7"]).exits(0);
    assert!(said.stdout.contains("✓ no acknowledged write lost"), "{}", said.stdout);
    assert!(said.stdout.contains("3 instances said the same"), "{}", said.stdout);
    assert_nothing_runs();
}

#[test]
fn etcd_that_does_not_sync_is_found_out_by_a_power_cut() {
    baked(&["etcd-unsynced"]);
    // That all come back is not promised: a member may find that it agreed to what it has no more, and refuse.
    loses("scenarios/controls/etcd-unsynced.yaml");
}

#[test]
fn an_etcd_cluster_rises_from_its_volumes() {
    baked(&["etcd"]);
    let said = run(&["run", "scenarios/phoenix-etcd.yaml", "--seed", "7"]).exits(0);
    assert!(said.stdout.contains("✓ no acknowledged write lost"), "{}", said.stdout);
    assert!(said.stdout.contains("3 instances said the same"), "{}", said.stdout);
    assert_nothing_runs();
}

#[test]
fn an_etcd_cluster_without_volumes_does_not_rise_again_as_it_was() {
    baked(&["etcd"]);
    loses_and_comes_back("scenarios/controls/phoenix-etcd.yaml");
}

#[test]
fn a_synchronous_postgres_pair_keeps_what_it_acknowledged() {
    baked(&["postgres"]);
    let said = run(&["run", "scenarios/postgres-failover-sync.yaml", "--seed", "7"]).exits(0);
    assert!(said.stdout.contains("acknowledged writes lost (RPO)"), "{}", said.stdout);
    assert_nothing_runs();
}

#[test]
fn an_asynchronous_postgres_pair_is_found_out() {
    baked(&["postgres-async"]);
    loses_and_comes_back("scenarios/controls/postgres-async.yaml");
}

#[test]
fn a_replaced_postgres_server_keeps_what_lies_on_its_volume() {
    baked(&["postgres"]);
    run(&["run", "scenarios/postgres-replace.yaml", "--seed", "7"]).exits(0);
    assert_nothing_runs();
}

#[test]
fn a_replaced_postgres_server_without_a_volume_is_found_out() {
    baked(&["postgres"]);
    loses_and_comes_back("scenarios/controls/postgres-replace.yaml");
}

#[test]
fn redis_keeps_what_a_replica_confirmed() {
    baked(&["redis"]);
    let said = run(&["run", "scenarios/redis-sentinel.yaml", "--seed", "7"]).exits(0);
    assert!(said.stdout.contains("3 instances said the same"), "{}", said.stdout);
    assert_nothing_runs();
}

#[test]
fn redis_loses_what_nobody_confirmed() {
    baked(&["redis"]);
    loses_and_comes_back("scenarios/controls/redis-sentinel.yaml");
}

#[test]
fn a_load_balancer_hides_the_loss_of_a_server() {
    baked(&["proxy", "web"]);
    run(&["run", "scenarios/proxy-kill-one.yaml", "--seed", "7"]).exits(0);
    assert_nothing_runs();
}

#[test]
fn every_kind_of_workload_and_expectation_works_on_a_real_machine() {
    baked(&["redis"]);
    let said = run(&["run", "tests/fixtures/every-workload.yaml", "--seed", "7"]).exits(0);
    for judged in
        ["linearizable", "set", "append", "bank", "counter", "unique ids", "queue", "somebody bumped"]
    {
        assert!(said.stdout.contains(&format!("✓ {judged}\n")), "{judged}: {}", said.stdout);
    }
    assert_nothing_runs();
}
