//! Faults inside a guest as the guest and its clients meet them, while they last and when they are over.

use serde_json::json;

use super::guest::{Guest, IDLE};

const AVAILABLE: &str = "awk '/MemAvailable/ { print $2 }' /proc/meminfo";

pub(super) async fn the_clock_is_wrong_and_right_again(guest: &Guest) {
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

pub(super) async fn the_memory_is_full(guest: &Guest) {
    let before = guest.number(AVAILABLE).await;
    let full = guest.begin("resource.memory", json!({ "fill": "90%" })).await;
    let during = guest.number(AVAILABLE).await;
    assert!(during * 2 < before, "{during} KiB of {before} are available");
    guest.end(full).await;
    let after = guest.number(AVAILABLE).await;
    assert!(after > during * 2, "{after} KiB are available, {during} were during the fault");
}

pub(super) async fn the_disk_is_full(guest: &Guest) {
    const WRITE: &str = "dd if=/dev/zero of=/var/tmp/some bs=1M count=8 conv=fsync 2> /dev/null";
    let full = guest.begin("disk.fill", json!({ "path": "/var", "leave": "1M" })).await;
    assert!(!guest.run(WRITE).await.0, "8M fit where 1M is left");
    guest.end(full).await;
    assert!(guest.run(WRITE).await.0, "there is room again");
    assert_eq!(guest.says("ls -A /var | grep ovenproof").await, "");
}

pub(super) async fn the_cpu_is_busy(guest: &Guest) {
    let busy = guest.begin("resource.cpu", json!({})).await;
    let idle = guest.number(IDLE).await;
    assert!(idle < 20, "idle for {idle}0 ms of a second");
    guest.end(busy).await;
    let half = guest.begin("resource.cpu", json!({ "load": "50%" })).await;
    guest.end(half).await;
}

pub(super) async fn processes_stand_still(guest: &Guest) {
    assert!(guest.answers().await);
    let paused = guest.begin("process.pause", json!({ "which": { "service": "nginx" } })).await;
    assert!(!guest.answers().await, "a paused service answers");
    guest.end(paused).await;
    assert!(guest.answers().await);
}

pub(super) async fn a_service_is_stopped_and_stays_so(guest: &Guest) {
    let stopped = guest.begin("service.stop", json!({ "service": "nginx" })).await;
    assert!(!guest.answers().await);
    guest.says("systemctl start nginx").await;
    assert_eq!(guest.says("systemctl is-active nginx").await, "inactive", "somebody could start it");
    guest.end(stopped).await;
    assert!(guest.answers().await);
}

pub(super) async fn processes_are_killed(guest: &Guest) {
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

pub(super) async fn a_file_is_damaged_and_mended(guest: &Guest) {
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
