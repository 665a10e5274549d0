//! Publishing when calls fail, and when it is killed at any call.

use std::path::Path;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::common::Said;
use crate::images::{account, assert_no_secret_below, home, run};
use crate::moto::{Moto, REGION, ovenproof_at};
use crate::proxy::{Fate, Proxy};

pub(crate) const PUBLISH: [&str; 5] = ["images", "publish", "tiny", "--on", "ec2"];

pub(crate) fn publish(proxy: &Proxy, home: &Path) -> Said {
    ovenproof_at(&proxy.url, home).args(PUBLISH).output().expect("the tool starts").into()
}

/// Runs a command and kills it at the first call for which `strike`, asked with the call's number and name, has a fate;
/// it can do nothing more after that. False if it ended before.
pub(crate) fn killed_when(
    moto: &Moto,
    home: &Path,
    arguments: &[&str],
    strike: impl Fn(usize, &str) -> Option<Fate> + Send + Sync + 'static,
) -> bool {
    let struck = AtomicBool::new(false);
    let proxy = Proxy::before(&moto.url, move |number, name| {
        if struck.load(Ordering::SeqCst) {
            return Fate::LoseCall;
        }
        let fate = strike(number, name);
        struck.store(fate.is_some(), Ordering::SeqCst);
        fate.unwrap_or(Fate::Pass)
    });
    let mut command = ovenproof_at(&proxy.url, home);
    let mut process =
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
    let ended = loop {
        match proxy.lost.recv_timeout(Duration::from_millis(100)) {
            Ok(()) => break None,
            Err(_) => {
                if let Some(status) = process.try_wait().expect("its state") {
                    break Some(status);
                }
            }
        }
    };
    if ended.is_none() {
        process.kill().expect("killed");
        process.wait().expect("waited for");
    }
    ended.is_none()
}

/// Publishes and is killed at call `at`, of which `fate` comes.
fn killed_at(moto: &Moto, home: &Path, at: usize, fate: Fate) -> bool {
    killed_when(moto, home, &PUBLISH, move |number, _| (number >= at).then_some(fate))
}

/// Removes all AMIs and snapshots of a region.
pub(crate) fn clear(moto: &Moto, region: &str) {
    let client = moto.client(region);
    let (images, snapshots) = account(moto, region);
    tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
        for ami in images {
            let id = ami.image_id().expect("an id");
            client.deregister_image().image_id(id).send().await.expect("deregistered");
        }
        for snapshot in snapshots {
            let id = snapshot.snapshot_id().expect("an id");
            client.delete_snapshot().snapshot_id(id).send().await.expect("deleted");
        }
    });
}

#[test]
fn nothing_is_left_in_the_account_wherever_it_is_killed() {
    let moto = Moto::start();
    let (home, _) = home(3);
    let mut points = 0;
    for (step, fate) in [(1, Fate::LoseAnswer), (3, Fate::LoseCall)] {
        for at in (0..).step_by(step) {
            if !killed_at(&moto, home.path(), at, fate) {
                break;
            }
            points += 1;
            run(&moto, home.path(), &["gc", "--ec2"]).exits(0);
            let (images, snapshots) = account(&moto, REGION);
            let whole =
                images.iter().any(|ami| ami.tags().iter().all(|tag| tag.key() != Some("ovenproof:expires")));
            if whole {
                break;
            }
            assert!(images.is_empty(), "killed at call {at}, {fate:?}: {images:#?}");
            assert!(snapshots.is_empty(), "killed at call {at}, {fate:?}: {snapshots:#?}");
        }
        // Whatever had become of it, the next one makes it whole, and its removal leaves nothing.
        run(&moto, home.path(), &PUBLISH).exits(0);
        assert_eq!(account(&moto, REGION).0.len(), 1);
        clear(&moto, REGION);
    }
    assert!(points > 15, "only {points} points");
    assert_no_secret_below(home.path());
}

#[test]
fn an_upload_that_was_killed_goes_on_where_it_was() {
    let moto = Moto::start();
    let (home, _) = home(100);
    assert!(killed_at(&moto, home.path(), 60, Fate::LoseCall));
    let proxy = Proxy::before(&moto.url, |_, _| Fate::Pass);
    publish(&proxy, home.path()).exits(0);
    // 32 may have been under way.
    let again = proxy.count("PutSnapshotBlock");
    assert!(again < 80, "{again} of 100 blocks went up again");
    assert_eq!(proxy.count("StartSnapshot"), 0);
    assert_eq!(account(&moto, REGION).1.len(), 1);
}

#[test]
fn throttling_and_lost_answers_lose_nothing_and_make_nothing_twice() {
    let moto = Moto::start();
    let (home, _) = home(4);
    let seen = Mutex::new(std::collections::BTreeSet::new());
    let proxy = Proxy::before(&moto.url, move |number, name| {
        // The first call of each kind meets trouble.
        if !seen.lock().expect("names").insert(name.to_owned()) {
            return Fate::Pass;
        }
        match name {
            "StartSnapshot" => Fate::LoseAnswer,
            "RegisterImage" => Fate::LoseCall,
            _ if number % 2 == 0 => Fate::Refuse(503, "RequestLimitExceeded"),
            _ => Fate::Refuse(400, "ThrottlingException"),
        }
    });
    publish(&proxy, home.path()).exits(0);
    let (images, snapshots) = account(&moto, REGION);
    assert_eq!((images.len(), snapshots.len()), (1, 1), "{:?}", proxy.calls());
    assert_eq!(proxy.count("StartSnapshot"), 2);
}

#[test]
fn what_cannot_be_finished_is_removed_and_the_reason_is_told() {
    let moto = Moto::start();
    let (home, _) = home(2);
    let proxy = Proxy::before(&moto.url, |_, name| match name {
        "RegisterImage" => Fate::Refuse(403, "UnauthorizedOperation"),
        _ => Fate::Pass,
    });
    let said = publish(&proxy, home.path()).exits(4);
    assert!(
        said.stderr.contains("EC2 refused RegisterImage: refused (UnauthorizedOperation)"),
        "{}",
        said.stderr
    );
    assert!(said.stderr.contains("ovenproof schema iam-policy"), "{}", said.stderr);
    assert!(account(&moto, REGION).1.is_empty());
    run(&moto, home.path(), &PUBLISH).exits(0);
}
