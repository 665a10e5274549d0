//! Fleets that are restored instead of booted, and snapshots that are not whole.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::machines::{Running, assert_nothing_runs, baked, eventually, home, run, unfinished};

/// The folders of the snapshots whose first node is a `base-1` with so much memory: each test has its own.
fn snapshots(megabytes: u64) -> Vec<PathBuf> {
    let folders = fs::read_dir(home().join("store/snapshots")).into_iter().flatten().flatten();
    let fits = |folder: &PathBuf| {
        fs::metadata(folder.join("base-1.ram")).is_ok_and(|ram| ram.len() == megabytes << 20)
    };
    folders.map(|entry| entry.path()).filter(fits).collect()
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970").as_secs_f64()
}

#[test]
fn fleets_from_one_snapshot_know_the_time_and_share_no_random_numbers() {
    baked(&["base"]);
    let up = |name: &str| run(&["--json", "up", "base", "-n", "2", "--name", name]).exits(0);
    up("first");
    run(&["down", "first"]).exits(0);

    let mut random = BTreeSet::new();
    for fleet in ["left", "right"] {
        let said = up(fleet);
        assert!(said.stdout.contains("\"restored\": true"), "{}", said.stdout);
        assert!(said.stderr.contains("restored it from a snapshot"), "{}", said.stderr);
    }
    for fleet in ["left", "right"] {
        for node in ["base-1", "base-2"] {
            let ask = "date +%s.%N; head -c 16 /dev/urandom | od -An -tx1; getent hosts base-1 base-2";
            let before = now();
            let said = run(&["exec", &format!("{fleet}/{node}"), "--", "sh", "-c", ask]).exits(0);
            let mut lines = said.stdout.lines();
            let time: f64 = lines.next().and_then(|line| line.parse().ok()).expect("a time");
            assert!((before - 0.2..now() + 0.2).contains(&time), "asked at {before}, said {time}");
            random.insert(lines.next().expect("random bytes").to_owned());
            assert_eq!(lines.count(), 2, "names do not resolve: {}", said.stdout);
        }
    }
    assert_eq!(random.len(), 4, "{random:?}");

    // They stand on the same files and have the same addresses, and know nothing of each other.
    run(&["exec", "left/base-1", "--", "sh", "-c", "echo left > /root/whose; sync"]).exits(0);
    run(&["exec", "right/base-1", "--", "test", "!", "-e", "/root/whose"]).exits(0);
    run(&["exec", "right/base-2", "--", "busybox", "ping", "-c", "1", "-W", "5", "base-1"]).exits(0);

    // A machine of a restored fleet boots from its own disk like any other.
    let write = "echo kept > /root/kept; sync; cat /etc/machine-id /proc/sys/kernel/random/boot_id";
    let before = run(&["exec", "left/base-1", "--", "sh", "-c", write]).exits(0).stdout;
    run(&["exec", "left/base-1", "--", "systemctl", "reboot"]);
    let mut after = String::new();
    eventually("the machine boots again", Duration::from_secs(180), || {
        let read = "cat /etc/machine-id /proc/sys/kernel/random/boot_id /root/kept";
        after = run(&["exec", "left/base-1", "--", "sh", "-c", read]).stdout;
        after.ends_with("kept\n") && !after.starts_with(&before)
    });
    assert_eq!(before.lines().next(), after.lines().next(), "it has another machine id");

    run(&["down", "--all"]).exits(0);
    assert_nothing_runs();

    // Killed at some moment of a restore: what is left of it is a whole fleet, or nothing, and the snapshot is
    // as good as before.
    for moment in ["starting base-1", "restored it from a snapshot"] {
        let mut running = Running::start(&["up", "base", "-n", "2", "--name", "torn"]);
        running.wait_for(moment);
        running.signal("KILL");
        running.end();
        run(&["down", "--all"]).exits(0);
        assert_nothing_runs();
    }
    let said = up("again");
    assert!(said.stdout.contains("\"restored\": true"), "{}", said.stdout);
    run(&["down", "again"]).exits(0);
    assert_nothing_runs();
}

#[test]
fn a_damaged_snapshot_is_dropped_with_a_line_that_says_so() {
    baked(&["base"]);
    let up = || run(&["--json", "up", "base", "--memory", "400M", "--name", "damaged"]).exits(0);
    up();
    run(&["down", "damaged"]).exits(0);
    let whole = snapshots(400);
    assert!(!whole.is_empty(), "nothing was saved");
    for folder in whole {
        let ram = fs::OpenOptions::new().write(true).open(folder.join("base-1.ram")).expect("its memory");
        ram.set_len(1 << 20).expect("a shorter file");
    }

    let said = up();
    assert!(said.stdout.contains("\"restored\": false"), "{}", said.stdout);
    let line = said.stderr.lines().find(|line| line.starts_with("warning: "));
    let expected = "warning: a snapshot cannot be used and is dropped; the fleet boots instead: \
                    base-1.ram has 1048576 bytes, expected 419430400";
    assert_eq!(line, Some(expected), "{}", said.stderr);
    run(&["down", "damaged"]).exits(0);
    assert!(!snapshots(400).is_empty(), "no new one was saved");
    assert_nothing_runs();
}

#[test]
fn a_client_killed_while_it_saves_leaves_no_half_snapshot() {
    baked(&["base"]);
    for old in snapshots(416) {
        fs::remove_dir_all(old).expect("no snapshot");
    }
    let mut running = Running::start(&["up", "base", "--memory", "416M", "--name", "half"]);
    let saving = || unfinished().iter().any(|work| work.join("snapshot").is_dir());
    eventually("it saves", Duration::from_secs(180), saving);
    running.signal("KILL");
    assert_eq!(running.end().0, None, "it ended before it was killed");
    assert!(snapshots(416).is_empty(), "half a snapshot is there");

    // The fleet itself was to stay, and goes on.
    let said = run(&["exec", "half/base-1", "--", "date", "+%s"]).exits(0);
    let time: f64 = said.stdout.trim().parse().expect("a time");
    assert!((now() - time).abs() < 60.0, "it said {time}");
    run(&["down", "half"]).exits(0);
    let left = unfinished();
    assert!(left.is_empty(), "left: {left:?}");
    assert_nothing_runs();
}
