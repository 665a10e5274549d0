//! A snapshot is sealed once: EBS refuses to be told a second time, and we may not know that we told it.

use std::sync::Mutex;

use crate::images::{account, home};
use crate::killed::{PUBLISH, killed_when, publish};
use crate::moto::{Moto, REGION};
use crate::proxy::{Fate, Proxy};

fn kill_when_sealed(moto: &Moto, home: &std::path::Path) {
    let strike = |_: usize, name: &str| (name == "CompleteSnapshot").then_some(Fate::LoseAnswer);
    assert!(killed_when(moto, home, &PUBLISH, strike));
}

#[test]
fn a_lost_answer_is_no_reason_to_give_the_snapshot_up() {
    let moto = Moto::start();
    let (home, _) = home(3);
    let lost = Mutex::new(false);
    let proxy = Proxy::before(&moto.url, move |_, name| {
        let first = name == "CompleteSnapshot" && !std::mem::replace(&mut *lost.lock().expect("lost"), true);
        if first { Fate::LoseAnswer } else { Fate::Pass }
    });
    publish(&proxy, home.path()).exits(0);
    assert_eq!((proxy.count("CompleteSnapshot"), proxy.count("StartSnapshot")), (2, 1));
    assert_eq!(account(&moto, REGION).0.len(), 1);
}

#[test]
fn what_was_killed_before_it_learned_of_the_seal_goes_on_while_that_is_under_way() {
    let moto = Moto::start();
    let (home, _) = home(3);
    kill_when_sealed(&moto, home.path());
    let proxy = Proxy::before(&moto.url, |_, _| Fate::Pass);
    publish(&proxy, home.path()).exits(0);
    // Told again because `pending` may mean either, and refused.
    let calls = ["CompleteSnapshot", "StartSnapshot", "PutSnapshotBlock"].map(|name| proxy.count(name));
    assert_eq!(calls, [1, 0, 0], "{:?}", proxy.calls());
    assert_eq!((account(&moto, REGION).0.len(), account(&moto, REGION).1.len()), (1, 1));
}

#[test]
fn what_was_killed_before_it_learned_of_the_seal_goes_on_when_that_is_done() {
    let moto = Moto::start();
    let (home, _) = home(3);
    kill_when_sealed(&moto, home.path());
    // The second look sees that it is done.
    account(&moto, REGION);
    account(&moto, REGION);
    let proxy = Proxy::before(&moto.url, |_, _| Fate::Pass);
    publish(&proxy, home.path()).exits(0);
    let calls = ["CompleteSnapshot", "StartSnapshot", "PutSnapshotBlock"].map(|name| proxy.count(name));
    assert_eq!(calls, [0, 0, 0], "{:?}", proxy.calls());
    assert_eq!((account(&moto, REGION).0.len(), account(&moto, REGION).1.len()), (1, 1));
}

#[test]
fn a_snapshot_that_ebs_will_not_seal_is_removed_and_the_reason_is_told() {
    let moto = Moto::start();
    let (home, _) = home(3);
    let proxy = Proxy::before(&moto.url, |_, name| match name {
        "CompleteSnapshot" => Fate::Refuse(400, "ValidationException"),
        _ => Fate::Pass,
    });
    let said = publish(&proxy, home.path()).exits(4);
    assert!(said.stderr.contains("EC2 refused CompleteSnapshot"), "{}", said.stderr);
    assert!(account(&moto, REGION).1.is_empty());
}
