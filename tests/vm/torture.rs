//! Client, supervisor, machine or management connection end at random moments, and nothing is left each time.
//!
//! `OVENPROOF_TORTURE` says how often, `OVENPROOF_TORTURE_SEED` with which seed; both are printed.

#![expect(clippy::print_stdout, reason = "a failure must say which moment it was")]

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use ovenproof::seed::Seed;
use rand::RngExt;
use rand::seq::IndexedRandom;

use crate::common::everything_below;
use crate::machines::{
    Running, assert_nothing_runs, baked, eventually, home, machines, run, supervisors, unfinished,
};

/// How often, within the time that the VM tests have.
const ROUNDS: u32 = 10;
/// For a command that has lost something to notice, undo everything and end.
const END: Duration = Duration::from_secs(90);

/// What is done when something ends in the middle of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Run,
    Up,
    Down,
}

/// What ends.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Client,
    Supervisor,
    Machine,
    /// The connections to a machine's SSH server.
    Management,
}

impl Deed {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Deed::Run => &["run", "tests/fixtures/torture.yaml"],
            Deed::Up => &["up", "base", "-n", "2", "--memory", "256M", "--name", "rack"],
            Deed::Down => &["down", "rack"],
        }
    }

    fn prepare(self) {
        if self == Deed::Down {
            run(Deed::Up.arguments()).exits(0);
        }
    }
}

fn number(name: &str, default: u32) -> u32 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

#[test]
fn whatever_ends_at_whatever_moment_nothing_is_left() {
    baked(&["base"]);
    let (rounds, seed) = (number("OVENPROOF_TORTURE", ROUNDS), number("OVENPROOF_TORTURE_SEED", 7));
    println!("{rounds} rounds with seed {seed}");
    // Undisturbed, to leave the snapshots from which every round starts, and to see how long each takes.
    let deeds = [Deed::Run, Deed::Up, Deed::Down];
    run(Deed::Up.arguments()).exits(0);
    run(Deed::Down.arguments()).exits(0);
    let lengths = deeds.map(|deed| {
        let begun = Instant::now();
        run(deed.arguments()).exits(0);
        begun.elapsed()
    });
    println!("undisturbed: {lengths:?}");

    let mut lot = Seed(u64::from(seed)).stream("torture");
    let mut broken = 0;
    for round in 1..=rounds {
        let (deed, length) = *deeds.iter().zip(lengths).collect::<Vec<_>>().choose(&mut lot).expect("a deed");
        let victims = [Victim::Client, Victim::Supervisor, Victim::Machine, Victim::Management];
        let victim = *victims.choose(&mut lot).expect("a victim");
        let moment = length.mul_f64(lot.random_range(0.0..1.0));
        println!("round {round}: {victim:?} after {moment:?} of {deed:?}");
        broken += torture(*deed, victim, moment);
    }
    // In a few rounds chance may never choose them, and to break them takes root.
    let root = rustix::process::geteuid().is_root();
    assert!(broken > 0 || rounds < 50 || !root, "no connection was ever broken");
}

/// Gives the number of connections that it broke.
fn torture(deed: Deed, victim: Victim, moment: Duration) -> usize {
    deed.prepare();
    let mut running = Running::start(deed.arguments());
    std::thread::park_timeout(moment);
    match victim {
        Victim::Client => running.signal("KILL"),
        Victim::Supervisor => supervisors().into_iter().for_each(kill),
        Victim::Machine => machines().into_iter().take(1).for_each(kill),
        // As soon as there is a connection.
        Victim::Management => {}
    }
    let (mut code, mut broken) = (None, 0);
    eventually("the command ends", END, || {
        if matches!(victim, Victim::Management) && broken == 0 {
            broken = machines().into_iter().map(hang_up).sum();
        }
        code = running.child.try_wait().expect("a child");
        code.is_some()
    });
    let (_, log) = running.end();
    println!("  {}; {}", code.expect("it ended"), log.lines().last().unwrap_or("it said nothing"));
    if matches!(victim, Victim::Management) {
        println!("  {broken} connections were broken");
    }

    let healed = run(&["heal"]).exits(0);
    print!("  {}", healed.stdout);
    if deed != Deed::Run {
        // Servers outlive their clients until they are told to go.
        run(&["down", "--all"]).exits(0);
    }
    nothing_is_left();
    broken
}

/// Kills a process, which may have ended just now.
fn kill(pid: u32) {
    let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).output();
}

/// Breaks the TCP connections that this process has, as a firewall or a lost route would; gives their number.
fn hang_up(pid: u32) -> usize {
    let Ok(listed) = Command::new("ss").args(["-Htnp", "state", "established"]).output() else { return 0 };
    let owner = format!("pid={pid},");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let ours = listed.lines().filter(|line| line.contains(&owner));
    let ports = ours.filter_map(|line| Some(line.split_whitespace().nth(2)?.rsplit_once(':')?.1));
    ports.map(break_connections).sum()
}

/// Needs root; without it the round is a gentle one.
fn break_connections(port: &str) -> usize {
    let broken = Command::new("ss").args(["-HK", "src", "127.0.0.1", "sport", "=", port]).output();
    broken.map_or(0, |said| String::from_utf8_lossy(&said.stdout).lines().count())
}

fn nothing_is_left() {
    assert_nothing_runs();
    assert_eq!(supervisors(), [0_u32; 0], "a supervisor is left");
    let home = home();
    let ledger = fs::read_to_string(home.join("ledger.jsonl")).unwrap_or_default();
    assert_eq!(ledger, "", "the ledger knows of something");
    let name = home.display().to_string();
    for file in ["/proc/self/mountinfo", "/proc/net/unix"] {
        let text = fs::read_to_string(file).expect("/proc is there");
        assert!(!text.contains(&name), "{file}: {text}");
    }
    assert!(everything_below(&home.join("fleets")).is_empty());
    assert!(unfinished().is_empty(), "left: {:?}", unfinished());
}
