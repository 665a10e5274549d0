//! Baking twice gives the same bytes, and if not, it is said where.

use crate::common;
use crate::homes::{baked, recipe, shared};

#[test]
fn a_shipped_image_bakes_to_the_same_bytes() {
    baked("etcd");
    let said =
        common::run(&shared(), ["--json", "bake", "images/etcd.yaml", "--verify-reproducible"]).exits(0);
    let said: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
    assert_eq!(said["reproduced"]["differences"], serde_json::json!([]));
    assert!(common::everything_below(&shared().join("store/tmp")).is_empty(), "something is left");
}

#[test]
fn a_step_that_tells_the_time_is_found_out() {
    baked("base");
    let folder = tempfile::tempdir().expect("a folder");
    let steps = "run:\n  - command: date +%N > /etc/baked-at; mkfifo /etc/pipe-$(date +%N)\n";
    let path = recipe(folder.path(), "timely", steps);
    let said = common::run(&shared(), ["bake", &path, "--verify-reproducible"]).exits(1);
    assert!(said.stdout.contains("/etc/baked-at differs in content"), "{}", said.stdout);
    assert_eq!(said.stdout.matches("  /etc/pipe-").count(), 2, "{}", said.stdout);
    assert_eq!(said.stdout.lines().count(), 5, "{}", said.stdout);
    common::run(&shared(), ["images", "rm", "timely"]).exits(0);
}
