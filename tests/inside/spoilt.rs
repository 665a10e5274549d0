//! Every fault that is done in a guest, spoilt there: what has no effect may not be taken for a fault.

use std::time::Duration;

use ovenproof::chaos::faults::Fault;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::guest::{Guest, SOON};

/// To look a few times in a slow guest.
const LOOKED: Duration = Duration::from_secs(4);

/// A fault, and how it is kept from having an effect.
struct Spoilt {
    name: &'static str,
    params: Value,
    /// A tool that it uses, and what that tool does until it is over.
    tool: Option<(&'static str, &'static str)>,
    /// What is done in the guest as soon as it has begun; `$dir` is the fault's folder.
    after: &'static str,
}

fn with(name: &'static str, params: Value, tool: &'static str, instead: &'static str) -> Spoilt {
    Spoilt { name, params, tool: Some((tool, instead)), after: "" }
}

fn then(name: &'static str, params: Value, after: &'static str) -> Spoilt {
    Spoilt { name, params, tool: None, after }
}

/// What the machine has, and does.
pub(super) async fn resources_without_effect_are_not_proven(guest: &Guest) {
    const DATE: &str = "[ \"$1\" = -s ] || exec \"$tool\" \"$@\"";
    for spoilt in [
        with("clock.skew", json!({ "by": "2h" }), "date", DATE),
        with("clock.strobe", json!({ "by": "2h", "every": "100ms" }), "date", DATE),
        // Gives out none of the zeroes that are to fill the memory.
        with("resource.memory", json!({ "fill": "90%" }), "head", "exit 0"),
        // Stands still before it has used any.
        then("resource.cpu", json!({}), "kill -s STOP -- \"-$(cat $dir/group)\""),
        with("disk.fill", json!({ "path": "/var", "leave": "1M" }), "fallocate", "exit 0"),
    ] {
        is_not_proven(guest, spoilt).await;
    }
}

/// What runs on it, and what that has.
pub(super) async fn services_without_effect_are_not_proven(guest: &Guest) {
    const WHOLE: &str = "seq 1000 > /root/whole";
    const START: &str = "rm /run/systemd/system/nginx.service.d/ovenproof-* && \
                         systemctl daemon-reload && systemctl start nginx";
    guest.does(WHOLE).await;
    for spoilt in [
        then("process.pause", json!({ "which": { "service": "nginx" } }), "pkill -CONT nginx"),
        then("service.stop", json!({ "service": "nginx" }), START),
        then("file.corrupt", json!({ "path": "/root/whole", "flips": 5 }), WHOLE),
        // The first process ignores what it is told.
        then("process.kill", json!({ "which": { "name": "systemd" }, "signal": "kill" }), ""),
    ] {
        is_not_proven(guest, spoilt).await;
    }
}

/// A kernel that was told to crash, and did not hear it.
pub(super) async fn a_crash_without_effect_is_not_proven(guest: &Guest) {
    const TRIGGER: &str = "/proc/sysrq-trigger";
    guest.does(&format!("cat /proc/sys/kernel/panic > /run/panic && mount --bind /dev/null {TRIGGER}")).await;
    let mut crash = guest.arm("instance.panic", json!({}), SOON);
    crash.inject().await.expect("it was told");
    let proof = timeout(LOOKED, crash.prove()).await;
    assert!(proof.is_err(), "no kernel has crashed, and it looks no further: {proof:?}");
    // Healing it takes a reboot, which the crash that follows takes as well.
    guest.does(&format!("umount {TRIGGER} && cat /run/panic > /proc/sys/kernel/panic")).await;
}

async fn is_not_proven(guest: &Guest, Spoilt { name, params, tool, after }: Spoilt) {
    if let Some((tool, instead)) = tool {
        let there = format!("/usr/bin/{tool}");
        guest
            .does(&format!(
                "cp --force {there} /root/{tool} && printf '#!/bin/sh\\ntool=/root/{tool}\\n%s\\n' '{instead}' > /root/spoilt && \
                 chmod +x /root/spoilt && mount --bind /root/spoilt {there}"
            ))
            .await;
    }
    let mut fault = guest.arm(name, params, SOON);
    fault.inject().await.unwrap_or_else(|error| panic!("{name}: {error}"));
    if !after.is_empty() {
        guest.does(&format!("dir=/run/ovenproof/t-{name}; {after}")).await;
    }
    not_proven(name, &mut *fault).await;
    println!("{name} without effect: {}", fault.seen());
    if let Some((tool, _)) = tool {
        // What the fault does until it has ended goes on with the file that it has open.
        guest.does(&format!("umount --lazy /usr/bin/{tool}")).await;
    }
    guest.end(fault).await;
}

/// Looks for a proof until something was seen, and finds none.
async fn not_proven(name: &str, fault: &mut dyn Fault) {
    let (limit, mut patience) = (Instant::now() + SOON, LOOKED);
    loop {
        let proof = timeout(patience, fault.prove()).await;
        assert!(!matches!(proof, Ok(Ok(_))), "{name} has no effect, and is proven: {proof:?}");
        if !fault.seen().is_empty() {
            return;
        }
        assert!(Instant::now() < limit, "{name}: nobody has looked, so nothing is shown");
        // One look can take longer than that.
        patience *= 2;
    }
}

/// What the guest does not have cannot be broken, and is no fault either.
pub(super) async fn what_is_not_there_is_refused(guest: &Guest) {
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
