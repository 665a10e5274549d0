//! Faults inside real guests, seen from inside the guest and from its clients, and what becomes of them when
//! those who set them die.
//!
//! It bakes the image `web`, or finds it baked, in the home that `OVENPROOF_TEST_HOME` names.

#![expect(clippy::print_stdout, clippy::expect_used, clippy::panic, reason = "a test without a harness")]

use std::sync::Arc;
use std::time::Duration;

use ovenproof::fleet::plan::resolve;
use ovenproof::fleet::{Fleet, FleetSpec, Launch, Lifetime, Provider, RoleSpec};
use serde_json::json;
use tokio::time::Instant;

mod disks;
mod effects;
mod ends;
mod guest;
#[path = "../common/harness.rs"]
mod harness;
mod powerless;
mod spoilt;

use guest::Guest;

/// A cold boot in translation on a busy machine.
const BOOT: Duration = Duration::from_secs(400);
const FLEET: &str = "inside";

fn main() {
    let Some(asked) = harness::asked() else { return };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match asked.first().is_some_and(|first| first == "client") {
        true => runtime.block_on(ends::client()),
        false => runtime.block_on(tests()),
    }
}

async fn tests() {
    harness::bake("web");
    let started = Instant::now();
    let fleet = create().await;
    let since = |what: &str| println!("{what} after {:.1} s", started.elapsed().as_secs_f64());
    since("ready");
    let (one, two) = (Guest::of(&fleet, "web-1"), Guest::of(&fleet, "web-2"));
    tokio::join!(
        async {
            effects::the_clock_is_wrong_and_right_again(&one).await;
            effects::the_memory_is_full(&one).await;
            effects::the_disk_is_full(&one).await;
            effects::the_cpu_is_busy(&one).await;
            disks::reads_fail_where_the_fault_is(&one).await;
            disks::bits_are_wrong_and_right_again(&one).await;
            disks::reads_are_late(&one).await;
            disks::the_disk_stands_still(&one).await;
            disks::what_meets_no_request_is_not_proven(&one).await;
        },
        async {
            effects::processes_stand_still(&two).await;
            effects::a_service_is_stopped_and_stays_so(&two).await;
            effects::processes_are_killed(&two).await;
            effects::a_file_is_damaged_and_mended(&two).await;
            spoilt::what_is_not_there_is_refused(&two).await;
            ends::a_keeper_that_is_killed_ends_its_fault(&two).await;
            ends::a_guest_without_a_service_manager_s_help_does_it_itself(&two).await;
        },
    );
    since("all of them effective");
    tokio::join!(
        spoilt::resources_without_effect_are_not_proven(&one),
        spoilt::services_without_effect_are_not_proven(&two),
        powerless::what_changes_nothing_is_not_proven(&fleet),
    );
    since("none of them proven without effect");
    ends::a_killed_client_leaves_nothing(&one).await;
    tokio::join!(
        async {
            disks::nothing_can_be_written(&two).await;
            spoilt::a_crash_without_effect_is_not_proven(&two).await;
            ends::a_crash_ends_in_another_boot(&two).await;
        },
        disks::the_power_is_cut(&one, "all", true),
    );
    disks::the_power_is_cut(&two, "none", false).await;
    since("all good");
}

/// Two servers, from a snapshot if there is one.
async fn create() -> Arc<dyn Fleet> {
    // As it stands in a file: of what else a role may have, nothing matters here.
    let volumes = json!({ "data": { "size": "64M", "mount": "/srv/data" } });
    let role = json!({ "image": "web", "count": 2, "memory": "256M", "volumes": volumes });
    let role: RoleSpec = serde_json::from_value(role).expect("a role");
    let store = harness::store();
    let spec = FleetSpec::from([("web".to_owned(), role)]);
    let plan = resolve(FLEET, &spec, |reference| store.resolve(reference)).expect("a plan");
    let launch =
        Launch { plan, lifetime: Lifetime::Run, warm: true, volumes_from: None, keep_logs: None, pcap: None };
    let fleet = harness::provider().create(launch).await.expect("a fleet");
    for node in &fleet.plan().nodes {
        fleet.wait_ready(node, Instant::now() + BOOT).await.expect("ready");
    }
    if !fleet.restored() {
        fleet.save().await.expect("saved");
    }
    fleet
}
