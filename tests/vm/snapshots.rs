//! Fleets that are restored instead of booted, and snapshots that are not whole.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::machines::{Running, assert_nothing_runs, baked, eventually, home, run, unfinished};

/// No other test has a fleet of one `base` with so much.
const MEMORY: &str = "400M";
const BYTES: u64 = 400 << 20;

/// The folders of the snapshots of our fleet.
fn snapshots() -> Vec<PathBuf> {
    let folders = fs::read_dir(home().join("store/snapshots")).into_iter().flatten().flatten();
    let fits = |folder: &PathBuf| fs::metadata(folder.join("base-1.ram")).is_ok_and(|ram| ram.len() == BYTES);
    folders.map(|entry| entry.path()).filter(fits).collect()
}

/// Another folder with the same files.
fn link(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        fs::hard_link(entry.path(), to.join(entry.file_name())).expect("a link");
    }
}

/// Replaces something in what the snapshot says of itself.
fn rewrite(folder: &Path, from: &str, to: &str) {
    let record = folder.join("snapshot.json");
    let text = fs::read_to_string(&record).expect("a record");
    assert!(text.contains(from), "{text}");
    // Not written in place: others have a link to it.
    fs::remove_file(&record).expect("removed");
    fs::write(&record, text.replace(from, to)).expect("a record");
}

/// Replaces a file by one of so many bytes, all of them zero.
fn blank(folder: &Path, name: &str, bytes: u64) {
    let path = folder.join(name);
    fs::remove_file(&path).expect("removed");
    fs::File::create_new(&path).and_then(|file| file.set_len(bytes)).expect("another file");
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
fn what_is_not_whole_is_dropped_with_a_line_and_a_client_killed_while_it_saves_leaves_nothing() {
    baked(&["base"]);
    let up = ["--json", "up", "base", "--memory", MEMORY, "--name", "damaged"];
    run(&up).exits(0);
    run(&["down", "damaged"]).exits(0);
    let whole = snapshots();
    let [place] = &whole[..] else { panic!("one was saved: {whole:?}") };
    let key = place.file_name().and_then(|key| key.to_str()).expect("a plain name");
    let kept = tempfile::tempdir_in(home()).expect("a folder beside the store");
    let kept = kept.path().join("snapshot");
    link(place, &kept);

    // Each is dropped before anything starts, so none need boot to the end.
    let other = "0".repeat(key.len());
    let format = fs::read_to_string(place.join("snapshot.json")).expect("a record");
    let format =
        format.split('"').find(|text| text.starts_with("ovenproof fleet snapshot v")).expect("a format");
    let older = format!("it has the format `ovenproof fleet snapshot v1`, expected `{format}`");
    let state = fs::metadata(place.join("base-1.state")).expect("a state").len();
    type Damage<'a> = &'a dyn Fn(&Path);
    let damages: [(Damage, &str); 6] = [
        (&|folder| rewrite(folder, key, &other), "it is the snapshot of another fleet"),
        (&|folder| rewrite(folder, format, "ovenproof fleet snapshot v1"), &older),
        (&|folder| blank(folder, "base-1.state", state), "base-1.state is not what was saved"),
        (&|folder| blank(folder, "base-1.ram", BYTES), "base-1.ram is not what was saved"),
        (
            &|folder| fs::remove_file(folder.join("base-1.root")).expect("removed"),
            "base-1.root: No such file",
        ),
        (
            &|folder| fs::remove_file(folder.join("snapshot.json")).expect("removed"),
            "snapshot.json: No such file",
        ),
    ];
    for (damage, why) in damages {
        if !place.exists() {
            link(&kept, place);
        }
        damage(place);
        let mut running = Running::start(&up);
        running.wait_for(&format!(
            "warning: a snapshot cannot be used and is dropped; the fleet boots instead: {why}"
        ));
        eventually("it is dropped", Duration::from_secs(30), || !place.exists());
        running.signal("KILL");
        running.end();
        run(&["down", "--all"]).exits(0);
        assert_nothing_runs();
    }

    // Truncated; this time it boots to the end, and is killed while it saves another one.
    link(&kept, place);
    blank(place, "base-1.ram", 1 << 20);
    let mut running = Running::start(&up);
    let expected = format!("base-1.ram has {} bytes, expected {BYTES}", 1 << 20);
    running.wait_for(&expected);
    let saving = || unfinished().iter().any(|work| work.join("snapshot").is_dir());
    eventually("it saves", Duration::from_secs(180), saving);
    running.signal("KILL");
    assert_eq!(running.end().0, None, "it ended before it was killed");
    assert!(snapshots().is_empty(), "half a snapshot is there");

    // The fleet itself was to stay, and goes on.
    let said = run(&["exec", "damaged/base-1", "--", "date", "+%s"]).exits(0);
    let time: f64 = said.stdout.trim().parse().expect("a time");
    assert!((now() - time).abs() < 60.0, "it said {time}");
    run(&["down", "damaged"]).exits(0);
    let left = unfinished();
    assert!(left.is_empty(), "left: {left:?}");

    // What was kept of it is as good as it was, and `gc` leaves it alone.
    link(&kept, place);
    run(&["gc"]).exits(0);
    let said = run(&up).exits(0);
    assert!(said.stdout.contains("\"restored\": true"), "{}", said.stdout);
    run(&["down", "damaged"]).exits(0);
    assert_nothing_runs();
}
