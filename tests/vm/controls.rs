//! Controls that must fail: a tool that passes these proves nothing by passing others.

use crate::machines::{assert_nothing_runs, baked, run};

#[test]
fn a_service_that_acknowledges_before_it_stores_is_found_out() {
    baked(&["forgetful"]);
    let said = run(&["run", "scenarios/controls/forgetful.yaml", "--seed", "7"]).exits(1);
    assert!(said.stdout.contains("FAIL"), "{}", said.stdout);
    assert!(said.stdout.contains("✗ no acknowledged write lost"), "{}", said.stdout);
    assert_nothing_runs();
}

#[test]
fn a_steady_state_that_cannot_hold_is_an_error_and_not_a_verdict_about_the_image() {
    baked(&["web"]);
    let said = run(&["run", "scenarios/controls/impossible-probe.yaml", "--seed", "7"]).exits(4);
    assert!(said.stdout.contains("steady state does not hold before the first fault"), "{}", said.stdout);
    assert_nothing_runs();
}

#[test]
fn a_fault_without_effect_is_an_error_and_not_a_pass() {
    baked(&["web"]);
    let said = run(&["run", "tests/fixtures/no-effect.yaml", "--seed", "7"]).exits(4);
    assert!(said.stdout.contains("lives on"), "{}", said.stdout);
    assert_nothing_runs();
}

#[test]
fn a_fault_aimed_at_nobody_is_refused_before_anything_starts() {
    let said = run(&["run", "scenarios/controls/no-such-target.yaml"]).exits(2);
    assert!(said.stderr.contains("no-such-target.yaml:"), "{}", said.stderr);
    assert_nothing_runs();
}

#[test]
fn a_page_behind_two_servers_stays_up_when_one_is_lost() {
    baked(&["web"]);
    let said = run(&["run", "scenarios/web-kill-one.yaml", "--seed", "7"]).exits(0);
    assert!(said.stdout.contains("PASS"), "{}", said.stdout);
}
