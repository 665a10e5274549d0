//! Data that outlives machines, fleets and power.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::machines::{
    Running, assert_nothing_runs, baked, eventually, home, machines, run, signal, supervisor,
};

const FLEET: &str = "volumes-test";

#[test]
fn data_is_where_it_was_left_when_a_fleet_comes_back() {
    baked(&["base"]);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("fleet.yaml");
    let write = |size: &str| {
        let role = format!(
            "{{ image: base, memory: 256M, volumes: {{ data: {{ size: {size}, mount: /srv/data }} }} }}"
        );
        fs::write(&file, format!("name: {FLEET}\nfleet:\n  keep: {role}\n")).expect("a file");
    };
    let path = file.to_str().expect("a path");
    let volume = home().join("volumes").join(FLEET).join("keep-1.data/disk.raw");
    let on = |command: &str| run(&["exec", "keep-1", "--", "sh", "-c", command]).exits(0).stdout;
    write("64M");
    run(&["up", path]).exits(0);
    on("echo kept > /srv/data/kept; sync; echo lost > /root/lost");
    let said = run(&["volumes", "rm", FLEET]).exits(2);
    assert!(said.stderr.contains("runs on its volumes"), "{}", said.stderr);
    run(&["volumes", "snapshot", FLEET, "volumes-test"]).exits(0);
    let saved = home().join("volume-snapshots/volumes-test/keep-1.data.raw");
    assert_eq!(on_disk(&saved, "/kept"), "kept\n");
    // What serves the disks is killed, and the machine goes with it.
    signal(supervisor(), "KILL");
    eventually("the machine ends", Duration::from_secs(30), || machines().is_empty());
    assert_eq!(on_disk(&volume, "/kept"), "kept\n");

    write("128M");
    let said = run(&["--json", "up", path, "--timings"]).exits(0);
    assert!(
        said.stdout.contains("\"restored\": false"),
        "memory that knows nothing of the data: {}",
        said.stdout
    );
    for stage in ["start", "firmware", "kernel", "userspace", "service"] {
        assert!(said.stdout.contains(&format!("\"stage\": \"{stage}\"")), "no {stage} in {}", said.stdout);
    }
    let found = on("cat /srv/data/kept; ls /root; df -m --output=size /srv/data | tail -n 1");
    let (kept, size) = found.trim().split_once('\n').expect("two lines");
    assert_eq!(kept, "kept", "the root disk is another one, the volume is not");
    assert!(size.trim().parse::<u32>().is_ok_and(|size| size > 64), "it did not grow: {size}");
    let said = run(&["up", path, "--name", "other", "--from-volume-snapshot", "no-such"]).exits(2);
    assert!(said.stderr.contains("no snapshot of volumes `no-such`"), "{}", said.stderr);

    // Not yet flushed, when it is asked to go.
    on("echo late > /srv/data/late");
    assert_eq!(
        run(&["down", FLEET]).exits(0).stdout,
        format!("the fleet `{FLEET}` is gone; its volumes stay\n")
    );
    assert_eq!(on_disk(&volume, "/late"), "late\n");
    assert_nothing_runs();
    run(&["volumes", "rm", FLEET]).exits(0);

    // From the snapshot of the first: the volume is as it was then, and the machine knows it.
    write("64M");
    let said = run(&["--json", "up", path]).exits(0);
    assert!(said.stdout.contains("\"restored\": true"), "{}", said.stdout);
    on("test ! -e /srv/data/kept && echo again > /srv/data/again");
    run(&["down", FLEET]).exits(0);
    assert_eq!(on_disk(&volume, "/again"), "again\n");
    run(&["volumes", "rm", FLEET]).exits(0);

    // A guest that could not shut down yet is not waited for.
    write("128M");
    let mut booting = Running::start(&["up", path]);
    eventually("it boots", Duration::from_secs(60), || run(&["list"]).stdout.contains("running"));
    let said = run(&["down", FLEET]).exits(0);
    assert!(said.stderr.contains("keep-1 is not up and cannot shut down in order"), "{}", said.stderr);
    booting.end();
    assert_nothing_runs();
    run(&["volumes", "rm", FLEET]).exits(0);
    run(&["volumes", "rm", "--snapshot", "volumes-test"]).exits(0);
    let left = run(&["--json", "volumes"]).exits(0).stdout;
    assert!(!left.contains(FLEET), "{left}");
    assert_nothing_runs();
}

#[test]
fn replaced_machines_find_their_data_and_a_whole_fleet_rises_from_it() {
    baked(&["base"]);
    let said = run(&["--json", "run", "tests/fixtures/phoenix.yaml", "--seed", "7"]).exits(0);
    let runs: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
    let dir = home().join("runs").join(runs[0]["header"]["run"].as_str().expect("a run id"));
    let journal = fs::read_to_string(dir.join("journal.jsonl")).expect("a journal");
    let count = |what: &str| journal.lines().filter(|line| line.contains(what)).count();
    assert_eq!((count("{\"proven\":"), count("\"verified\":true")), (4, 4), "{journal}");
    assert_eq!(count("its rule is gone; in all, the block server delayed"), 1, "{journal}");
    assert!(count("{\"timing\":") > 2, "{journal}");
    // Replaced and risen again; lost its power, which took nothing that it had synced, and risen again. One that is
    // gone again before anybody asked it has not put itself on the list.
    let last = |node: &str| last_machine(&dir.join("logs").join(format!("{node}.console.log")));
    assert!(matches!(last("keep-1"), Some(2 | 3)), "{:?}", last("keep-1"));
    assert_eq!(last("keep-2"), Some(2));
    assert_nothing_runs();
    let left = run(&["--json", "volumes"]).exits(0).stdout;
    assert!(!left.contains("keep-"), "{left}");
}

/// A file of the file system on a disk; what is only in its journal is written back before.
fn on_disk(disk: &Path, file: &str) -> String {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let tool = |name: &str, arguments: &[&str]| {
        Command::new(name).args(arguments).arg(disk).env("PATH", &path).output().expect(name)
    };
    let checked = tool("e2fsck", &["-fp"]);
    assert!(checked.status.code().is_some_and(|code| code <= 1), "{checked:?}");
    let read = tool("debugfs", &["-R", &format!("cat {file}")]);
    String::from_utf8_lossy(&read.stdout).into_owned()
}

/// How many machines the volume had seen when the last of them said so.
fn last_machine(console: &Path) -> Option<u32> {
    let text = fs::read(console).expect("a console log");
    let text = String::from_utf8_lossy(&text).into_owned();
    let said = text.lines().rev().find_map(|line| line.split_once("volume: machine "))?.1;
    said.split(' ').next()?.parse().ok()
}
