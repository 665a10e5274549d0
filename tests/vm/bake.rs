//! Baking for real: only what changed, never half an image, and a clear word when it fails.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common;
use crate::machines::{Running, baked, copy_base, home, run};

/// A recipe on top of `base` in a folder of its own.
fn recipe(folder: &Path, name: &str, rest: &str) -> String {
    copy_base(folder);
    let path = folder.join(format!("{name}.yaml"));
    fs::write(&path, format!("name: {name}\nfrom: base\n{rest}")).expect("a recipe");
    path.to_str().expect("a plain path").to_owned()
}

#[test]
fn nothing_changed_is_nothing_done() {
    baked(&["etcd"]);
    let bake = || -> serde_json::Value {
        let said = run(&["--json", "bake", "images/etcd.yaml"]).exits(0);
        serde_json::from_str(&said.stdout).expect("JSON")
    };
    let (first, second) = (bake(), bake());
    assert_eq!(second["reused"], true);
    assert_eq!(first["id"], second["id"]);
}

#[test]
fn a_step_that_fails_says_what_it_said_and_makes_no_image() {
    baked(&["base"]);
    let folder = tempfile::tempdir().expect("a folder");
    let run_step = "run:\n  - command: echo about to fail; ls /nowhere\n";
    let path = recipe(folder.path(), "failing", run_step);
    let said = run(&["bake", &path]).exits(4);
    assert!(said.stderr.contains("about to fail") && said.stderr.contains("/nowhere"), "{}", said.stderr);
    run(&["images", "show", "failing"]).exits(2);
}

#[test]
fn a_test_that_fails_makes_no_image() {
    baked(&["base"]);
    let folder = tempfile::tempdir().expect("a folder");
    let path = recipe(folder.path(), "untested", "test:\n  - test -e /etc/not-there\n");
    let said = run(&["bake", &path]).exits(4);
    assert!(said.stderr.contains("/etc/not-there"), "{}", said.stderr);
    run(&["images", "show", "untested"]).exits(2);
}

#[test]
fn a_killed_bake_leaves_no_process_and_the_next_one_goes_on() {
    baked(&["base"]);
    let folder = tempfile::tempdir().expect("a folder");
    let marker = format!("sleep 86{:03}", std::process::id() % 1000);
    let steps =
        format!("run:\n  - command: \"true\"\n  - command: '[ -e /etc/ovenproof-never ] || {marker}'\n");
    let path = recipe(folder.path(), "killed", &steps);
    let mut running = Running::start(&["bake", &path]);
    let asleep = || {
        let processes = fs::read_dir("/proc").expect("/proc").flatten();
        let lines = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
        lines.filter(|line| String::from_utf8_lossy(line).replace('\0', " ").trim() == marker).count()
    };
    let limit = std::time::Duration::from_secs(120);
    crate::machines::eventually("the step runs", limit, || asleep() == 1);
    running.signal("KILL");
    running.end();
    crate::machines::eventually("the step ends with the bake", limit, || asleep() == 0);
    let path = recipe(folder.path(), "killed", "run:\n  - command: \"true\"\n");
    run(&["bake", &path]).exits(0);
    let left = common::everything_below(&home().join("store/tmp"));
    assert!(left.is_empty(), "left: {left:?}");
    run(&["images", "remove", "killed"]).exits(0);
}

#[test]
fn a_full_disk_is_an_error_and_costs_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = recipe(folder.path(), "crowded", "");
    let small = folder.path().join("small");
    fs::create_dir(&small).expect("a folder");
    // A file system of its own in a mount namespace of its own: gone with the command.
    let script = "mount -t tmpfs -o size=96m none \"$1\" && shift && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(&small);
    command.arg(env!("CARGO_BIN_EXE_ovenproof")).args(["bake", &path]).env("OVENPROOF_HOME", &small);
    let said = command.stdin(Stdio::null()).output().expect("unshare is installed");
    let said = common::Said::from(said).exits(4);
    assert!(said.stderr.contains("No space left on device"), "{}", said.stderr);
}
