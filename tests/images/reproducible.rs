//! Baking twice gives the same bytes, and if not, it is said where.

use crate::common;
use crate::homes::{Copy, baked, recipe};

#[test]
fn a_shipped_image_bakes_to_the_same_bytes() {
    baked("etcd");
    let copy = Copy::new();
    let said = copy.ask(&["bake", "images/etcd.yaml", "--verify-reproducible"]);
    assert_eq!(said["reproduced"]["differences"], serde_json::json!([]));
    assert!(common::everything_below(&copy.store().join("tmp")).is_empty(), "something is left");
}

#[test]
fn a_step_that_tells_the_time_is_found_out() {
    baked("base");
    let folder = tempfile::tempdir().expect("a folder");
    let steps = "run:\n  - command: date +%N > /etc/baked-at; mkfifo /etc/pipe-$(date +%N)\n";
    let path = recipe(folder.path(), "timely", steps);
    let said = Copy::new().run(&["bake", &path, "--verify-reproducible"]).exits(1);
    assert!(said.stdout.contains("/etc/baked-at differs in content"), "{}", said.stdout);
    assert_eq!(said.stdout.matches("  /etc/pipe-").count(), 2, "{}", said.stdout);
    assert_eq!(said.stdout.lines().count(), 5, "{}", said.stdout);
}
