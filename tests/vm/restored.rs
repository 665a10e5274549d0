//! Fleets that are restored instead of booted: their service goes on where it was, they know the time, and any number
//! of them run at once without meeting.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::common;
use crate::machines::{Running, assert_nothing_runs, copy_base, eventually, home, machines, run};

/// A member of etcd. The second one keeps a lease at the first, over one connection that is made once; a key is there
/// for as long as it does. A connection that waits for long is no reason to give it up.
const RECIPE: &str = r#"name: leased
from: etcd
files:
  - path: /usr/local/sbin/hold
    mode: "0755"
    content: |
      #!/bin/sh
      set -e
      export ETCDCTL_API=3 ETCDCTL_KEEPALIVE_TIME=1h ETCDCTL_KEEPALIVE_TIMEOUT=1h
      etcdctl endpoint health
      lease=$(etcdctl lease grant 30 | cut -d ' ' -f 2)
      echo "$lease" > /srv/data/lease
      etcdctl put --lease="$lease" held "$lease"
      exec etcdctl --endpoints=http://leased-1:2379 lease keep-alive "$lease"
  - path: /etc/systemd/system/hold.service
    content: |
      [Unit]
      After=etcd.service
      ConditionHost=leased-2
      StartLimitIntervalSec=0

      [Service]
      ExecStart=/usr/local/sbin/hold
      Restart=always
      RestartSec=1

      [Install]
      WantedBy=multi-user.target
services:
  enable: [hold.service]
instance:
  volumes: { data: { size: 64M, mount: /srv/data } }
  ready:
    probe:
      exec:
        command: ETCDCTL_API=3 etcdctl get held | grep -q . && { test "$(hostname)" != leased-2 || journalctl -u hold | grep -q keepalived; }
        timeout: 20s
    within: 240s
"#;

/// On the same fleet as `up leased -n 2` gives.
const SCENARIO: &str = r#"name: a lease is kept over slow links
seed: 7
fleet: { leased: { image: leased, count: 2 } }
steady:
  - name: members
    on: each
    every: 1s
    probe: { http: { port: 2379, path: /health, timeout: 4s, expect: { json: { health: "true" } } } }
timeline:
  - { at: 1s, for: 2s, inject: { network.delay: { target: { all: leased }, delay: 20ms } } }
duration: 4s
expect:
  - availability: { probe: members, at_least: 50% }
"#;

/// Seconds by which a busy host may make a clock wrong.
const SANE: f64 = 2.0;

const NODES: [&str; 2] = ["leased-1", "leased-2"];

/// Writes the recipe, all that it stands on, and the scenario.
fn write_files(folder: &Path) -> (String, String) {
    let (images, templates) = (folder.join("images"), folder.join("templates"));
    for made in [&images, &templates] {
        fs::create_dir(made).expect("a folder");
    }
    copy_base(&images);
    for file in ["images/etcd.yaml", "templates/etcd.env"] {
        fs::copy(common::root().join(file), folder.join(file)).expect("what etcd is made of");
    }
    let write = |path: PathBuf, text: &str| {
        fs::write(&path, text).expect("a file");
        path.to_str().expect("a plain path").to_owned()
    };
    (write(images.join("leased.yaml"), RECIPE), write(folder.join("lease.yaml"), SCENARIO))
}

fn on(node: &str, command: &str) -> String {
    run(&["exec", node, "--", "sh", "-c", &format!("export ETCDCTL_API=3; {command}")]).exits(0).stdout
}

/// Ends all fleets. Their data goes too: it would be another fleet that comes back to it.
fn down() {
    run(&["down", "--all", "--volumes"]).exits(0);
    assert_nothing_runs();
    let left = run(&["--json", "volumes"]).exits(0).stdout;
    assert!(!left.contains("leased-"), "{left}");
}

/// The lease, which the volume has too, and the connection over which it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    lease: String,
    connection: String,
}

fn held(fleet: &str) -> Held {
    let connections = "ss -Htn state established dst leased-1:2379 | awk '{ print $3, $4 }' | sort";
    let ask = format!("etcdctl get held --print-value-only; cat /srv/data/lease; {connections}");
    let said = on(&format!("{fleet}/leased-2"), &ask);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 3, "expected the lease, twice, and one connection: {said}");
    assert_eq!(lines[0], lines[1]);
    Held { lease: lines[0].to_owned(), connection: lines[2].to_owned() }
}

/// How often the lease was renewed since it was granted.
fn renewed(fleet: &str) -> usize {
    let said = on(&format!("{fleet}/leased-2"), "journalctl -u hold | grep -c keepalived");
    said.trim().parse().expect("a number")
}

/// What a machine says of time, and 16 random bytes; the middle of asking, by our own clock.
struct Clocks {
    uptime: f64,
    random: String,
    asked: Instant,
}

fn clocks(fleet: &str, node: &str) -> Clocks {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970").as_secs_f64();
    let (before, began) = (now(), Instant::now());
    let ask = "date +%s.%N; cut -d ' ' -f 1 /proc/uptime; head -c 16 /dev/urandom | od -An -tx1";
    let said = on(&format!("{fleet}/{node}"), ask);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{fleet}/{node}: {said}");
    let time: f64 = lines[0].parse().expect("a time");
    assert!((before - SANE..now() + SANE).contains(&time), "{fleet}/{node}: asked at {before}, said {time}");
    let asked = began + began.elapsed() / 2;
    Clocks { uptime: lines[1].parse().expect("seconds"), random: lines[2].to_owned(), asked }
}

/// The journals of the last runs, newest first.
fn journals(said: &str) -> String {
    let said: Value = serde_json::from_str(said).expect("JSON");
    let runs = said.as_array().or_else(|| said["runs"].as_array()).expect("runs");
    let dir = home().join("runs").join(runs[0]["header"]["run"].as_str().expect("a run id"));
    fs::read_to_string(dir.join("journal.jsonl")).expect("a journal")
}

#[test]
fn a_service_goes_on_where_it_was_in_any_number_of_fleets_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let (recipe, scenario) = write_files(folder.path());
    run(&["bake", &recipe]).exits(0);
    // What is left of a run that failed would keep them from being restored.
    for fleet in ["first", "cold", "torn", "left", "right", "again"] {
        let _ = run(&["volumes", "rm", fleet]);
    }
    let up = |name: &str| run(&["--json", "up", "leased", "-n", "2", "--name", name, "--timings"]).exits(0);
    up("first");
    let (before, ran) = (held("first"), NODES.map(|node| clocks("first", node)));
    down();

    // A snapshot that is there is no reason not to boot.
    let mut running = Running::start(&["up", "leased", "-n", "2", "--name", "cold", "--cold"]);
    let console = home().join("fleets/cold/nodes/leased-1/console.log");
    let mut said = String::new();
    eventually("the machine starts", Duration::from_secs(60), || {
        said =
            fs::read(&console).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        said.contains("boot 1 of leased-1")
    });
    assert!(!said.contains("restored"), "{said}");
    running.signal("KILL");
    running.end();
    down();

    // Killed at some moment of a restore: what is left of it is a whole fleet, or nothing, and the snapshot is as
    // good as before.
    let restore = || Running::start(&["up", "leased", "-n", "2", "--name", "torn"]);
    for moment in ["starting leased-1", "a machine", "restored it from a snapshot"] {
        let mut running = restore();
        match moment {
            "a machine" => eventually(moment, Duration::from_secs(60), || !machines().is_empty()),
            line => running.wait_for(line),
        }
        running.signal("KILL");
        running.end();
        down();
    }

    let asked = Instant::now();
    let fleets = ["left", "right"];
    let mut forks = fleets.map(|fleet| Running::start(&["up", "leased", "-n", "2", "--name", fleet]));
    for fork in &mut forks {
        let (code, log) = fork.end();
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("restored it from a snapshot"), "{log}");
    }
    let renewals = fleets.map(renewed);

    // They know the time and go on from one moment, and share no random numbers.
    let mut random = BTreeSet::new();
    for fleet in fleets {
        for (node, before) in NODES.into_iter().zip(&ran) {
            let first = clocks(fleet, node);
            assert!(first.uptime > 1.0, "it began anew");
            let since = asked.elapsed().as_secs_f64();
            assert!(
                first.uptime < before.uptime + since + SANE,
                "{fleet}/{node} knows that it stood still: it runs for {} s, did for {} s, {since} s ago",
                first.uptime,
                before.uptime
            );
            let second = clocks(fleet, node);
            assert!(second.uptime > first.uptime, "it goes backwards");
            let (here, there) = (second.asked - first.asked, second.uptime - first.uptime);
            assert!((here.as_secs_f64() - there).abs() < SANE, "{here:?} took {there} s in {fleet}/{node}");
            random.extend([first.random, second.random]);
        }
    }
    assert_eq!(random.len(), 8, "{random:?}");

    // The lease was never lost and the connection over which it is kept never closed, neither here nor there.
    for fleet in fleets {
        assert_eq!(held(fleet), before, "{fleet}");
    }

    // They have the same addresses, and know nothing of each other: neither their networks nor their disks.
    let serve = "mkdir /run/www; hostname > /run/www/index.html; busybox httpd -p 8080 -h /run/www";
    on("left/leased-2", serve);
    assert_eq!(on("left/leased-1", "curl -sS http://leased-2:8080/"), "leased-2\n");
    assert_eq!(
        on("right/leased-1", "curl -s http://leased-2:8080/; echo $?"),
        "7\n",
        "it reached the other one"
    );
    let write = "etcdctl put whose left; echo left > /root/whose; echo left > /srv/data/whose; sync";
    on("left/leased-1", write);
    assert_eq!(on("left/leased-2", "etcdctl get whose --print-value-only"), "left\n");
    assert_eq!(on("right/leased-2", "etcdctl get whose --print-value-only"), "");
    on(
        "right/leased-1",
        "echo 3 > /proc/sys/vm/drop_caches; test ! -e /root/whose && test ! -e /srv/data/whose",
    );
    for (fleet, before) in fleets.into_iter().zip(renewals) {
        eventually("the lease is renewed", Duration::from_secs(60), || renewed(fleet) > before);
        assert_eq!(
            held(fleet).lease,
            on(&format!("{fleet}/leased-1"), "etcdctl get held --print-value-only").trim()
        );
    }
    run(&["down", "right", "--volumes"]).exits(0);

    // A machine of a restored fleet boots from its own disk like any other.
    let write = "echo kept > /root/kept; echo kept > /srv/data/kept; sync; cat /etc/machine-id /proc/sys/kernel/random/boot_id";
    let before = on("left/leased-1", write);
    run(&["exec", "left/leased-1", "--", "systemctl", "reboot"]);
    let mut after = String::new();
    eventually("the machine boots again", Duration::from_secs(240), || {
        let read = "cat /etc/machine-id /proc/sys/kernel/random/boot_id /srv/data/kept /root/kept";
        after = run(&["exec", "left/leased-1", "--", "sh", "-c", read]).stdout;
        after.ends_with("kept\nkept\n") && !after.starts_with(&before)
    });
    assert_eq!(before.lines().next(), after.lines().next(), "it has another machine id");
    down();

    // Where the seconds go, also in the journal of whatever restores it.
    let stages = ["start", "restore", "clock", "readiness"];
    let timed = |text: &str, name: &str| {
        stages.iter().all(|stage| text.contains(&format!("\"stage\":{name}\"{stage}\"")))
    };
    let said = up("again").stdout;
    assert!(said.contains("\"restored\": true") && timed(&said, " "), "{said}");
    down();
    let gate = ["--json", "gate", &recipe, "--scenario", &scenario, "--channel", "restored"];
    for arguments in [&["--json", "run", &scenario][..], &gate] {
        let journal = journals(&run(arguments).exits(0).stdout);
        assert!(timed(&journal, ""), "{arguments:?}: {journal}");
        assert!(journal.contains("the fleet was restored from a snapshot"), "{arguments:?}: {journal}");
    }
    assert_nothing_runs();
}
