//! What may come: two bakes at once, death at any moment, a full disk. The store is whole, and the next bake
//! goes on from what is finished.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use rand::{RngExt, SeedableRng};

use crate::common::{Said, everything_below};
use crate::oven::{Kitchen, home, json};

const STEPS: &str = "run:\n  - command: echo 1 > /srv/1\n  - command: head -c 3000000 /dev/urandom > /srv/2\n  - command: rm -r /etc/ssh/sshd_config.d && mkdir /etc/ssh/sshd_config.d\n  - command: echo 4 > /srv/4\n";

/// Every layer of the store says what it is, and nothing is in the making.
fn assert_whole() {
    for entry in fs::read_dir(home().join("store/layers")).expect("layers").flatten() {
        let record = fs::read(entry.path().join("layer.json")).expect("every layer has its record");
        serde_json::from_slice::<serde_json::Value>(&record).expect("a whole record");
        assert!(entry.path().join("tree").is_dir() || entry.path().join("disk").is_file());
    }
    let left = everything_below(&home().join("store/tmp"));
    assert!(left.is_empty(), "left: {left:?}");
}

#[test]
fn a_bake_killed_at_any_moment_costs_only_what_was_in_the_making() {
    let kitchen = Kitchen::new();
    kitchen.bake("base");
    kitchen.recipe("mortal", STEPS);
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(20);
    let mut ended = false;
    for round in 0..14 {
        let mut bake = kitchen.command(&["bake", "mortal"]);
        let mut bake = bake.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the tool starts");
        // Early ones hit the first steps; each goes on from where the one before got.
        let moment = Duration::from_millis(random.random_range(0..300 + 60 * round));
        let pidfd = rustix::process::pidfd_open(
            rustix::process::Pid::from_child(&bake),
            rustix::process::PidfdFlags::empty(),
        );
        let pidfd = pidfd.expect("it was started");
        let left = moment.try_into().expect("a short time");
        let mut events = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
        ended |= rustix::event::poll(&mut events, Some(&left)).expect("a moment") == 1;
        // It may have ended just now.
        let _ = bake.kill();
        bake.wait().expect("its end");
    }
    kitchen.run(&["images", "fsck"]).exits(0);
    let last = kitchen.bake("mortal");
    assert!(ended || last["reused"] == false, "it was killed each time, so the last one made it");
    assert_whole();
    assert_eq!(kitchen.bake("mortal")["reused"], true);
    kitchen.run(&["images", "remove", "mortal"]).exits(0);
}

#[test]
fn two_bakes_at_once_make_the_same_thing_once() {
    let kitchen = Kitchen::new();
    kitchen.bake("base");
    kitchen.recipe("twin", "run:\n  - command: cat /proc/sys/kernel/random/uuid > /srv/id\n");
    kitchen.recipe("single", "run:\n  - command: echo single > /srv/id\n");
    let start = |name: &str| {
        let mut bake = kitchen.command(&["--json", "bake", name]);
        bake.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the tool starts")
    };
    let bakes = [start("twin"), start("twin"), start("single")];
    let baked: Vec<serde_json::Value> =
        bakes.into_iter().map(|bake| json(Said::from(bake.wait_with_output().expect("its end")))).collect();
    assert_eq!(baked[0]["id"], baked[1]["id"]);
    assert_ne!(baked[0]["id"], baked[2]["id"]);
    assert_whole();
    for image in ["twin", "single"] {
        kitchen.run(&["images", "remove", image]).exits(0);
    }
}

/// In memory, in a mount namespace of its own: gone with the command. Argument 1 is the tool, 2 the home whose
/// layers are copied, the rest those layers.
const FULL: &str = r#"
tool=$1 store=$2/store
shift 2
mount -t tmpfs -o size=1500m none /mnt
export OVENPROOF_HOME=/mnt NO_COLOR=1
mkdir -p -m 700 /mnt/store/layers /mnt/cache
for layer in "$@"; do cp -a "$store/layers/$layer" /mnt/store/layers/; done
cp -a "$store/../cache/resolved" /mnt/cache/
if "$tool" bake crowded > /mnt/said 2>&1; then echo "it fits?"; exit 1; fi
cat /mnt/said
"$tool" images fsck
echo "== then"
mv images/roomy images/crowded.yaml
"$tool" bake crowded 2>&1
find /mnt/store/tmp -mindepth 1
"#;

#[test]
fn a_full_disk_is_an_error_and_the_next_bake_goes_on() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let kitchen = Kitchen::new();
    let base = kitchen.bake("base");
    let small = "run:\n  - command: echo small > /srv/small\n";
    kitchen.recipe("crowded", &format!("{small}  - command: head -c 4G /dev/zero > /srv/large\n"));
    kitchen.put("images/roomy", &format!("name: crowded\nfrom: base\n{small}"));
    let layers =
        base["layers"].as_array().expect("layers").iter().map(|layer| layer.as_str().expect("an id"));
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-euc", FULL, "full"]);
    command.arg(env!("CARGO_BIN_EXE_ovenproof")).arg(home()).args(layers).current_dir(kitchen.path(""));
    let said: Said = command.stdin(Stdio::null()).output().expect("unshare is installed").into();
    let said = said.exits(0);
    let (before, after) = said.stdout.split_once("== then").expect("both bakes");
    assert!(before.contains("No space left on device"), "{before}");
    let reused = |line: &&str| line.contains("echo small") && line.contains("reused");
    assert_eq!(after.lines().filter(reused).count(), 1, "{after}");
    assert!(after.trim_end().lines().last().is_some_and(|line| line.starts_with("crowded ")), "{after}");
}
