//! Faults inside real guests, seen from inside the guest and from its clients, and what becomes of them when
//! those who set them die.
//!
//! It bakes the image `web`, or finds it baked, in the home that `OVENPROOF_TEST_HOME` names. It has no test
//! harness because a fleet's supervisor is this very executable, started again with other arguments.

#![expect(clippy::print_stdout, clippy::expect_used, clippy::panic, reason = "a test without a harness")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ovenproof::chaos::faults::{BootIds, Fault, FaultSpec, Scene};
use ovenproof::fleet::plan::resolve;
use ovenproof::fleet::qemu::{Qemu, SUPERVISE, supervisor};
use ovenproof::fleet::{Fleet, FleetSpec, Launch, Lifetime, Provider, RoleSpec};
use ovenproof::guest::Session;
use ovenproof::home::Home;
use ovenproof::seed::Seed;
use ovenproof::store::Store;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

mod disks;

/// A cold boot in translation on a busy machine.
const BOOT: Duration = Duration::from_secs(400);
/// For what takes seconds.
const SOON: Duration = Duration::from_secs(120);
const FLEET: &str = "inside";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [_, SUPERVISE, folder] => {
            if let Err(error) = supervisor::supervise(Path::new(folder)) {
                println!("{error}");
            }
        }
        [_, "client"] => runtime().block_on(client()),
        _ => runtime().block_on(tests()),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("a runtime")
}

async fn tests() {
    let baked = Command::new(env!("CARGO_BIN_EXE_ovenproof"))
        .args(["bake", "images/web.yaml"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("OVENPROOF_HOME", home().root())
        .status();
    assert!(baked.expect("the tool").success());
    let started = Instant::now();
    let fleet = create().await;
    println!("ready after {:.1} s", started.elapsed().as_secs_f64());
    let (one, two) = (Guest::of(&fleet, "web-1"), Guest::of(&fleet, "web-2"));
    tokio::join!(
        async {
            the_clock_is_wrong_and_right_again(&one).await;
            the_memory_is_full(&one).await;
            the_disk_is_full(&one).await;
            the_cpu_is_busy(&one).await;
            disks::reads_fail_where_the_fault_is(&one).await;
            disks::bits_are_wrong_and_right_again(&one).await;
            disks::reads_are_late(&one).await;
            disks::the_disk_stands_still(&one).await;
            disks::what_meets_no_request_is_not_proven(&one).await;
        },
        async {
            processes_stand_still(&two).await;
            a_service_is_stopped_and_stays_so(&two).await;
            processes_are_killed(&two).await;
            a_file_is_damaged_and_mended(&two).await;
            what_is_not_so_is_not_proven(&two).await;
            a_keeper_that_is_killed_ends_its_fault(&two).await;
            a_guest_without_a_service_manager_s_help_does_it_itself(&two).await;
        },
    );
    a_killed_client_leaves_nothing(&one).await;
    tokio::join!(
        async {
            disks::nothing_can_be_written(&two).await;
            a_crash_ends_in_another_boot(&two).await;
        },
        disks::the_power_is_cut(&one, "all", true),
    );
    disks::the_power_is_cut(&two, "none", false).await;
    println!("all good after {:.1} s", started.elapsed().as_secs_f64());
}

fn home() -> Home {
    let home = std::env::var_os("OVENPROOF_TEST_HOME").filter(|home| !home.is_empty());
    Home::at(home.map_or_else(|| std::env::temp_dir().join("ovenproof-test-home"), PathBuf::from))
}

fn provider() -> Qemu {
    Qemu::new(home(), Store::open(&home()).expect("a store"))
}

/// Two servers, from a snapshot if there is one.
async fn create() -> Arc<dyn Fleet> {
    // As it stands in a file: of what else a role may have, nothing matters here.
    let role: RoleSpec =
        serde_json::from_value(json!({ "image": "web", "count": 2, "memory": "256M" })).expect("a role");
    let store = Store::open(&home()).expect("a store");
    let spec = FleetSpec::from([("web".to_owned(), role)]);
    let plan = resolve(FLEET, &spec, |reference| store.resolve(reference)).expect("a plan");
    let launch =
        Launch { plan, lifetime: Lifetime::Run, warm: true, volumes_from: None, keep_logs: None, pcap: None };
    let fleet = provider().create(launch).await.expect("a fleet");
    for node in &fleet.plan().nodes {
        fleet.wait_ready(node, Instant::now() + BOOT).await.expect("ready");
    }
    if !fleet.restored() {
        fleet.save().await.expect("saved");
    }
    fleet
}

/// One guest, as somebody sees it who knows nothing of faults.
struct Guest {
    fleet: Arc<dyn Fleet>,
    name: String,
    session: Arc<dyn Session>,
}

impl Guest {
    fn of(fleet: &Arc<dyn Fleet>, name: &str) -> Self {
        Guest { fleet: Arc::clone(fleet), name: name.to_owned(), session: fleet.session(name) }
    }

    async fn run(&self, command: &str) -> (bool, String) {
        let output = self.session.exec(command, Instant::now() + SOON).await.expect("an answer");
        (output.success(), output.text())
    }

    async fn says(&self, command: &str) -> String {
        self.run(command).await.1
    }

    async fn number(&self, command: &str) -> i64 {
        let text = self.says(command).await;
        text.parse().unwrap_or_else(|_| panic!("{}: `{command}` says `{text}`", self.name))
    }

    /// Milliseconds by which its clock is ahead of ours.
    async fn ahead(&self) -> i64 {
        let theirs = self.number("date +%s%3N").await;
        let ours = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time");
        theirs - i64::try_from(ours.as_millis()).expect("a time")
    }

    /// Whether the service answers its clients.
    async fn answers(&self) -> bool {
        let (plan, ready) = (self.fleet.plan(), Duration::from_secs(3));
        let node = plan.nodes.iter().find(|node| node.name == self.name).expect("the node");
        let Some((probe, _)) = &node.ready else { panic!("the image has a readiness probe") };
        let (dialer, session) = (self.fleet.dialer(&self.name), self.fleet.session(&self.name));
        let measured = ovenproof::guest::probe::measure(probe, &*dialer, &*session);
        timeout(ready, measured).await.is_ok_and(|measured| measured.ok)
    }

    fn arm(&self, name: &str, mut params: Value, lasts: Duration) -> Box<dyn Fault> {
        params["target"] = json!({ "nodes": [self.name] });
        let spec = FaultSpec::from_params(name, &params).expect("a fault");
        spec.kind().arm(Scene {
            fault: format!("t-{name}"),
            fleet: Arc::clone(&self.fleet),
            targets: vec![self.name.clone()],
            lasts: Some(lasts),
            seed: Seed(7),
            boot_ids: BootIds::default(),
        })
    }

    /// Injects a fault and waits for its proof.
    async fn begin(&self, name: &str, params: Value) -> Box<dyn Fault> {
        let mut fault = self.arm(name, params, SOON);
        fault.inject().await.unwrap_or_else(|error| panic!("{name}: {error}"));
        match timeout(SOON, fault.prove()).await {
            Ok(proof) => println!("{name}: {}", proof.unwrap_or_else(|error| panic!("{name}: {error}"))),
            Err(_) => panic!("{name} left no proof: {}", fault.seen()),
        }
        fault
    }

    /// Heals it and has that verified.
    async fn end(&self, mut fault: Box<dyn Fault>) {
        fault.heal().await.expect("healed");
        println!("  {}", fault.verify_healed().await.expect("verified"));
        fault.back().await.expect("back");
        assert_eq!(self.says("ls /run/ovenproof").await, "", "nothing of it is left in {}", self.name);
    }
}

const AVAILABLE: &str = "awk '/MemAvailable/ { print $2 }' /proc/meminfo";
/// Hundredths of a second of idleness in a second.
const IDLE: &str = "idle() { read -r cpu a b c idle rest < /proc/stat; echo $idle; }; \
                    i=$(idle); sleep 1; echo $(($(idle) - i))";

async fn the_clock_is_wrong_and_right_again(guest: &Guest) {
    let before = guest.ahead().await;
    let skew = guest.begin("clock.skew", json!({ "by": "2h", "direction": "back" })).await;
    let off = guest.ahead().await - before;
    assert!((-7_215_000..-7_185_000).contains(&off), "{off} ms");
    guest.end(skew).await;
    let off = guest.ahead().await - before;
    assert!(off.abs() < 5000, "{off} ms");

    let strobe = guest.begin("clock.strobe", json!({ "by": "1h", "every": "100ms" })).await;
    let mut seen = Vec::new();
    while !(seen.iter().any(|off| *off > 3_000_000) && seen.iter().any(|off| *off < 600_000)) {
        assert!(seen.len() < 200, "{seen:?}");
        seen.push(guest.ahead().await - before);
    }
    guest.end(strobe).await;
    let off = guest.ahead().await - before;
    assert!(off.abs() < 5000, "{off} ms");
}

async fn the_memory_is_full(guest: &Guest) {
    let before = guest.number(AVAILABLE).await;
    let full = guest.begin("resource.memory", json!({ "fill": "90%" })).await;
    let during = guest.number(AVAILABLE).await;
    assert!(during * 2 < before, "{during} KiB of {before} are available");
    guest.end(full).await;
    let after = guest.number(AVAILABLE).await;
    assert!(after > during * 2, "{after} KiB are available, {during} were during the fault");
}

async fn the_disk_is_full(guest: &Guest) {
    const WRITE: &str = "dd if=/dev/zero of=/var/tmp/some bs=1M count=8 conv=fsync 2> /dev/null";
    let full = guest.begin("disk.fill", json!({ "path": "/var", "leave": "1M" })).await;
    assert!(!guest.run(WRITE).await.0, "8M fit where 1M is left");
    guest.end(full).await;
    assert!(guest.run(WRITE).await.0, "there is room again");
    assert_eq!(guest.says("ls -A /var | grep ovenproof").await, "");
}

async fn the_cpu_is_busy(guest: &Guest) {
    let busy = guest.begin("resource.cpu", json!({})).await;
    let idle = guest.number(IDLE).await;
    assert!(idle < 20, "idle for {idle}0 ms of a second");
    guest.end(busy).await;
    let half = guest.begin("resource.cpu", json!({ "load": "50%" })).await;
    guest.end(half).await;
}

async fn processes_stand_still(guest: &Guest) {
    assert!(guest.answers().await);
    let paused = guest.begin("process.pause", json!({ "which": { "service": "nginx" } })).await;
    assert!(!guest.answers().await, "a paused service answers");
    guest.end(paused).await;
    assert!(guest.answers().await);
}

async fn a_service_is_stopped_and_stays_so(guest: &Guest) {
    let stopped = guest.begin("service.stop", json!({ "service": "nginx" })).await;
    assert!(!guest.answers().await);
    guest.says("systemctl start nginx").await;
    assert_eq!(guest.says("systemctl is-active nginx").await, "inactive", "somebody could start it");
    guest.end(stopped).await;
    assert!(guest.answers().await);
}

async fn processes_are_killed(guest: &Guest) {
    guest.says("systemd-run --quiet --unit=victim --property=Restart=always sleep 2147483647").await;
    const PID: &str = "systemctl show --property MainPID --value victim";
    let before = guest.number(PID).await;
    let killed = guest.begin("process.kill", json!({ "which": { "service": "victim" } })).await;
    assert!(!guest.run(&format!("test -e /proc/{before}")).await.0, "it lives on");
    guest.end(killed).await;
    let again = json!({ "which": { "name": "sleep" }, "signal": "term", "every": "300ms" });
    let killed = guest.begin("process.kill", again).await;
    guest.end(killed).await;
    guest.says("systemctl stop victim").await;
}

async fn a_file_is_damaged_and_mended(guest: &Guest) {
    const SUM: &str = "sha256sum /var/www/html/index.html; stat -c %s /var/www/html/index.html";
    let before = guest.says(SUM).await;
    for damage in [json!({ "flips": 5 }), json!({ "truncate": "10B" })] {
        let mut params = damage;
        params["path"] = json!("/var/www/html/index.h*");
        let damaged = guest.begin("file.corrupt", params).await;
        assert_ne!(guest.says(SUM).await, before);
        guest.end(damaged).await;
        assert_eq!(guest.says(SUM).await, before);
    }
    // What the service has written meanwhile is its own.
    let params = json!({ "path": "/root/log", "flips": 3 });
    guest.says("seq 100 > /root/log").await;
    let damaged = guest.begin("file.corrupt", params).await;
    guest.says("seq 200 > /root/log").await;
    guest.end(damaged).await;
    assert_eq!(guest.says("seq 200 | cmp - /root/log && echo same").await, "same");
}

/// The first process ignores what it is told: the fault has no effect, and must not be taken for one.
async fn what_is_not_so_is_not_proven(guest: &Guest) {
    let params = json!({ "which": { "name": "systemd" }, "signal": "kill" });
    let mut fault = guest.arm("process.kill", params, SOON);
    fault.inject().await.expect("injected");
    let proof = timeout(Duration::from_secs(10), fault.prove()).await;
    assert!(proof.is_err(), "{proof:?}");
    assert!(fault.seen().contains("lives on"), "{}", fault.seen());
    guest.end(fault).await;
    for (name, params) in [
        ("process.pause", json!({ "which": { "name": "nobody" } })),
        ("service.stop", json!({ "service": "nobody" })),
        ("disk.fill", json!({ "path": "/nowhere", "leave": "0B" })),
        ("file.corrupt", json!({ "path": "/nowhere" })),
        ("resource.cpu", json!({ "cores": 64 })),
    ] {
        let mut fault = guest.arm(name, params, SOON);
        let refused = fault.inject().await.expect_err(name);
        println!("{name}: {refused}");
        guest.end(fault).await;
    }
}

async fn a_keeper_that_is_killed_ends_its_fault(guest: &Guest) {
    let fault = guest.begin("process.pause", json!({ "which": { "service": "nginx" } })).await;
    guest.says("kill -KILL $(cat /run/ovenproof/t-process.pause/keeper)").await;
    until("the service goes on", async || guest.answers().await).await;
    guest.end(fault).await;
}

async fn a_guest_without_a_service_manager_s_help_does_it_itself(guest: &Guest) {
    guest.says("mv /usr/bin/systemd-run /root").await;
    let mut fault = guest.arm("process.pause", json!({ "which": { "name": "nginx" } }), Duration::ZERO);
    fault.inject().await.expect("injected");
    assert!(!guest.answers().await);
    // Nobody ends it.
    until("its timer has ended it", async || guest.says("ls /run/ovenproof").await.is_empty()).await;
    assert!(guest.answers().await);
    guest.end(fault).await;
    let fault = guest.begin("process.pause", json!({ "which": { "name": "nginx" } })).await;
    guest.end(fault).await;
    assert!(guest.answers().await);
    guest.says("mv /root/systemd-run /usr/bin").await;
}

/// What a client holds that is about to be killed; all of it at once, in a guest that can hardly breathe.
fn held() -> [(&'static str, Value); 7] {
    [
        ("clock.skew", json!({ "by": "3h" })),
        ("disk.fill", json!({ "path": "/", "fill": "97%" })),
        ("service.stop", json!({ "service": "systemd-resolved" })),
        ("process.pause", json!({ "which": { "service": "nginx" } })),
        ("file.corrupt", json!({ "path": "/var/www/html/index.html" })),
        ("resource.memory", json!({ "fill": "80%" })),
        ("resource.cpu", json!({})),
    ]
}

/// Runs in a process of its own: sets all faults, says so, and waits to be killed.
async fn client() {
    let fleet = provider().attach(FLEET).await.expect("the fleet");
    let guest = Guest::of(&fleet, "web-1");
    let mut faults = Vec::new();
    for (name, params) in held() {
        let mut fault = guest.arm(name, params, Duration::ZERO);
        fault.inject().await.unwrap_or_else(|error| panic!("{name}: {error}"));
        println!("{name}");
        faults.push(fault);
    }
    println!("held");
    std::future::pending::<()>().await;
}

async fn a_killed_client_leaves_nothing(guest: &Guest) {
    const STATE: &str = "sha256sum /var/www/html/index.html; systemctl is-active systemd-resolved; \
                         ls /run/systemd/system | grep -c resolved";
    let (ahead, state) = (guest.ahead().await, guest.says(STATE).await);
    let mut client =
        Command::new("/proc/self/exe").arg("client").stdout(Stdio::piped()).spawn().expect("a client");
    let mut lines = BufReader::new(client.stdout.take().expect("its output")).lines();
    assert!(lines.any(|line| line.is_ok_and(|line| line == "held")), "the client failed");
    client.kill().expect("killed");
    client.wait().expect("its end");
    until("every timer has run out", async || guest.says("ls /run/ovenproof").await.is_empty()).await;
    assert_eq!(guest.says(STATE).await, state);
    assert!(guest.answers().await);
    let off = guest.ahead().await - ahead;
    assert!(off.abs() < 5000, "{off} ms");
    assert_eq!(guest.says("systemctl list-units --plain --no-legend 'ovenproof-*'").await, "");
    let idle = guest.number(IDLE).await;
    assert!(idle > 20, "idle for only {idle}0 ms of a second");
    println!("a killed client left nothing");
}

async fn a_crash_ends_in_another_boot(guest: &Guest) {
    const BOOT_ID: &str = "cat /proc/sys/kernel/random/boot_id";
    let before = guest.says(BOOT_ID).await;
    let mut crash = guest.begin("instance.panic", json!({})).await;
    crash.heal().await.expect("healed");
    println!("  {}", crash.verify_healed().await.expect("verified"));
    crash.back().await.expect("back");
    assert_ne!(guest.says(BOOT_ID).await, before);
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let limit = Instant::now() + SOON;
    while !holds().await {
        assert!(Instant::now() < limit, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
