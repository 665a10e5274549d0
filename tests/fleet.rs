//! The life of real fleets of VMs, as those who break them see it.
//!
//! It bakes the image `etcd`, or finds it baked, in the home that `OVENPROOF_TEST_HOME` names.

#![expect(clippy::print_stdout, clippy::expect_used, clippy::panic, reason = "a test without a harness")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ovenproof::fleet::plan::resolve;
use ovenproof::fleet::{
    Fleet, FleetSpec, InstanceAction, InstanceState, Launch, Lifetime, Provider, RoleSpec, ledger,
};
use ovenproof::guest::{DialError, SessionError};
use ovenproof::network::{Impairment, LinkRule, RuleSet};
use tokio::time::Instant;

#[path = "common/harness.rs"]
mod harness;

use harness::{home, provider, store};

/// A cold boot in translation on a busy machine.
const BOOT: Duration = Duration::from_secs(400);

/// Its nodes get ready, alone and in threes.
const IMAGE: &str = "etcd";

fn main() {
    let Some(asked) = harness::asked() else { return };
    match asked.as_slice() {
        [client, name] if client == "client" => hold(name),
        _ => tests(),
    }
}

fn tests() {
    harness::bake(IMAGE);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let fleet = create("life", 3).await;
        every_action_takes_effect_and_can_be_undone(&fleet).await;
        names_resolve_and_links_break(&fleet).await;
        a_dropped_handle_takes_its_fleet_along(fleet).await;
        a_killed_supervisor_leaves_nothing_that_heal_does_not_find().await;
        a_killed_client_takes_its_fleet_along();
    });
    println!("all good");
}

async fn create(name: &str, count: u8) -> Arc<dyn Fleet> {
    let role = RoleSpec {
        image: IMAGE.to_owned().into(),
        count,
        zones: Vec::new(),
        memory: None,
        cpus: None,
        volumes: BTreeMap::new(),
    };
    let store = store();
    let spec = FleetSpec::from([("node".to_owned(), role)]);
    let plan = resolve(name, &spec, |reference| store.resolve(reference)).expect("a plan");
    let launch = Launch {
        plan,
        lifetime: Lifetime::Run,
        warm: false,
        volumes_from: None,
        keep_logs: Some(logs(name)),
        pcap: None,
    };
    provider().create(launch).await.expect("a fleet")
}

fn logs(name: &str) -> PathBuf {
    home().runs().join(format!("test-{name}"))
}

async fn every_action_takes_effect_and_can_be_undone(fleet: &Arc<dyn Fleet>) {
    let started = Instant::now();
    for node in &fleet.plan().nodes {
        fleet.wait_ready(node, started + BOOT).await.expect("ready");
        println!("{} ready after {:.1} s", node.name, started.elapsed().as_secs_f64());
    }
    let node = &fleet.plan().nodes[0];
    let name = node.name.as_str();
    let session = fleet.session(name);
    let port = match &node.ready {
        Some((ovenproof::guest::probe::ProbeSpec::Http(http), _)) => http.port,
        _ => 22,
    };
    let boot_id = async || {
        let output = session.exec("cat /proc/sys/kernel/random/boot_id", Instant::now() + BOOT).await;
        output.expect("boot id").text()
    };
    let state = async || fleet.status(name).await.expect("status").state;
    let dial = async |port: u16| {
        fleet.dialer(name).dial(port, Instant::now() + Duration::from_secs(3)).await.map(drop)
    };
    let first = boot_id().await;
    assert_eq!(dial(port).await, Ok(()));
    assert_eq!(dial(1).await, Err(DialError::Refused));
    session.put("/root/kept", b"kept", 0o600, Instant::now() + BOOT).await.expect("put");
    session.exec("sync", Instant::now() + BOOT).await.expect("sync");

    timed("freeze", fleet.act(name, InstanceAction::Freeze)).await;
    assert_eq!(state().await, InstanceState::Frozen);
    assert_eq!(dial(port).await, Err(DialError::TimedOut));
    let frozen = session.exec("true", Instant::now() + Duration::from_secs(2)).await.expect_err("no answer");
    assert!(matches!(frozen, SessionError::TimedOut | SessionError::Connect(_)), "{frozen}");
    timed("thaw", fleet.act(name, InstanceAction::Thaw)).await;
    assert_eq!(boot_id().await, first, "nothing in it noticed");

    timed("kill", fleet.act(name, InstanceAction::Kill)).await;
    assert_eq!(state().await, InstanceState::Stopped);
    assert_eq!(dial(port).await, Err(DialError::Unreachable));
    let stopped =
        session.exec("true", Instant::now() + Duration::from_secs(30)).await.expect_err("no answer");
    assert_eq!(stopped, SessionError::Connect(format!("{name} is stopped")));
    timed("start", fleet.act(name, InstanceAction::Start)).await;
    timed("ready again", fleet.wait_ready(node, Instant::now() + BOOT)).await;
    let second = boot_id().await;
    assert_ne!(second, first);
    assert_eq!(session.get("/root/kept", Instant::now() + BOOT).await.expect("get"), b"kept");

    timed("stop", fleet.act(name, InstanceAction::Stop)).await;
    assert_eq!(state().await, InstanceState::Stopped);
    timed("start", fleet.act(name, InstanceAction::Start)).await;
    timed("ready again", fleet.wait_ready(node, Instant::now() + BOOT)).await;
    let third = boot_id().await;

    timed("reboot", fleet.act(name, InstanceAction::Reboot)).await;
    assert_eq!(fleet.status(name).await.expect("status").boots, 4);
    timed("ready again", fleet.wait_ready(node, Instant::now() + BOOT)).await;
    assert_ne!(boot_id().await, third);
    let console = String::from_utf8_lossy(&fleet.console(name).await.expect("console")).into_owned();
    assert_eq!(console.matches(&format!("of {name}, ")).count(), 4, "each boot is marked");
}

async fn names_resolve_and_links_break(fleet: &Arc<dyn Fleet>) {
    let nodes = &fleet.plan().nodes;
    let session = fleet.session(&nodes[0].name);
    let deadline = || Instant::now() + BOOT;
    for other in nodes {
        let looked_up = session.exec(&format!("getent ahostsv4 {}", other.name), deadline()).await;
        assert!(looked_up.expect("getent").text().contains(&other.address.to_string()), "{}", other.name);
    }
    let cut = Impairment { cut: true, ..Impairment::default() };
    let rule = LinkRule { from: "client".to_owned(), to: nodes[0].name.clone(), impairment: cut };
    let rules = RuleSet { fault: "f1".to_owned(), seed: 1, rules: vec![rule] };
    let dial = async || {
        let limit = Instant::now() + Duration::from_secs(3);
        fleet.dialer(&nodes[0].name).dial(22, limit).await.map(drop)
    };
    assert_eq!(dial().await, Ok(()));
    fleet.impair(rules.clone()).await.expect("impaired");
    assert_eq!(dial().await, Err(DialError::TimedOut));
    assert!(fleet.counters("f1").await.expect("counters").is_some_and(|counters| counters.dropped > 0));
    assert!(fleet.repair("f1").await.expect("repaired").dropped > 0);
    assert_eq!(dial().await, Ok(()));

    // What another handle breaks is mended when that handle is gone.
    let other = provider().attach("life").await.expect("attached");
    other.impair(rules).await.expect("impaired");
    other.act(&nodes[1].name, InstanceAction::Freeze).await.expect("frozen");
    drop(other);
    until("the lease of a dropped handle to end", async || {
        fleet.counters("f1").await.expect("counters").is_none()
            && fleet.status(&nodes[1].name).await.expect("status").state == InstanceState::Running
    })
    .await;
}

async fn a_dropped_handle_takes_its_fleet_along(fleet: Arc<dyn Fleet>) {
    drop(fleet);
    until("the fleet to be gone", async || nothing_is_left("life")).await;
    assert!(logs("life").join("node-1.console.log").exists(), "logs are kept");
    assert!(ledger::heal(&home()).expect("healed").is_empty());
}

async fn a_killed_supervisor_leaves_nothing_that_heal_does_not_find() {
    let fleet = create("headless", 1).await;
    let record = records("headless").pop().expect("a record");
    let supervisor = record.supervisor.expect("a supervisor").pid;
    assert_eq!(hypervisors_below(&record.folder).len(), 1);
    kill(supervisor);
    until("the VMs to die with their supervisor", async || hypervisors_below(&record.folder).is_empty())
        .await;
    assert!(record.folder.exists());
    let said = ledger::heal(&home()).expect("healed");
    assert_eq!(said, ["removed what was left of the fleet `headless`"]);
    assert!(nothing_is_left("headless"));
    fleet.destroy().await.expect("destroying what is gone is no error");
}

/// Runs in a process of its own: creates a fleet, says so, and waits to be killed.
fn hold(name: &str) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let _fleet = create(name, 1).await;
        println!("created");
        std::future::pending::<()>().await;
    });
}

fn a_killed_client_takes_its_fleet_along() {
    let mut client = Command::new("/proc/self/exe")
        .args(["client", "orphan"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("a client");
    let mut line = String::new();
    BufReader::new(client.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
    assert_eq!(line.trim(), "created");
    assert!(!nothing_is_left("orphan"));
    kill(client.id());
    client.wait().expect("its end");
    let limit = std::time::Instant::now() + Duration::from_secs(30);
    while !nothing_is_left("orphan") {
        assert!(std::time::Instant::now() < limit, "waited in vain for the orphan to be gone");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn records(name: &str) -> Vec<ledger::FleetRecord> {
    let fleets = ledger::Ledger::of(&home()).fleets().expect("a ledger");
    fleets.into_iter().filter(|record| record.name == name).collect()
}

fn nothing_is_left(name: &str) -> bool {
    let folder = home().fleets().join(name);
    records(name).is_empty() && !folder.exists() && hypervisors_below(&folder).is_empty()
}

fn hypervisors_below(folder: &Path) -> Vec<PathBuf> {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten().map(|entry| entry.path());
    let deleted = format!("{} (deleted)", folder.display());
    let works_there = |process: &PathBuf| {
        std::fs::read_link(process.join("cwd"))
            .is_ok_and(|cwd| cwd == folder || cwd.as_os_str() == deleted.as_str())
            && std::fs::read_link(process.join("exe")).is_ok_and(|exe| exe.to_string_lossy().contains("qemu"))
    };
    processes.filter(works_there).collect()
}

fn kill(pid: u32) {
    let status = Command::new("kill").args(["-KILL", &pid.to_string()]).status().expect("kill");
    assert!(status.success());
}

async fn timed<E: std::fmt::Display>(what: &str, work: impl Future<Output = Result<(), E>>) {
    let started = Instant::now();
    if let Err(error) = work.await {
        panic!("{what}: {error}");
    }
    println!("{what} took {:.2} s", started.elapsed().as_secs_f64());
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < limit, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
