//! What becomes of faults in a guest when what holds them, or those who set them, die.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use ovenproof::fleet::Provider;
use serde_json::{Value, json};

use super::FLEET;
use super::guest::{Guest, IDLE, until};
use super::harness::provider;

pub(super) async fn a_keeper_that_is_killed_ends_its_fault(guest: &Guest) {
    let fault = guest.begin("process.pause", json!({ "which": { "service": "nginx" } })).await;
    guest.says("kill -KILL $(cat /run/ovenproof/t-process.pause/keeper)").await;
    until("the service goes on", async || guest.answers().await).await;
    guest.end(fault).await;
}

pub(super) async fn a_guest_without_a_service_manager_s_help_does_it_itself(guest: &Guest) {
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
pub(super) async fn client() {
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

pub(super) async fn a_killed_client_leaves_nothing(guest: &Guest) {
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

pub(super) async fn a_crash_ends_in_another_boot(guest: &Guest) {
    const BOOT_ID: &str = "cat /proc/sys/kernel/random/boot_id";
    let before = guest.says(BOOT_ID).await;
    let mut crash = guest.begin("instance.panic", json!({})).await;
    crash.heal().await.expect("healed");
    println!("  {}", crash.verify_healed().await.expect("verified"));
    crash.back().await.expect("back");
    assert_ne!(guest.says(BOOT_ID).await, before);
}
