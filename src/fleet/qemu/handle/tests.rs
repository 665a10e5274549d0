use std::net::Ipv4Addr;

use super::super::snapshot::key;
use super::super::volumes::Volumes;
use super::*;
use crate::fleet::process::ProcessId;
use crate::fleet::provider::Lifetime;
use crate::store::ImageId;
use crate::units::Size;

fn plan() -> FleetPlan {
    let node = NodePlan {
        name: "web-1".to_owned(),
        role: "web".to_owned(),
        index: 1,
        zone: "a".to_owned(),
        address: Ipv4Addr::new(10, 77, 0, 11),
        image: ImageId::from_hash(blake3::hash(b"")),
        memory: Size(512 << 20),
        cpus: 1,
        disk: Size(4 << 30),
        ready: None,
        files: Vec::new(),
        volumes: Vec::new(),
    };
    FleetPlan { name: "shop".to_owned(), nodes: vec![node] }
}

/// The handle of a fleet whose supervisor has left again.
fn fleet(home: &Home, restored: Option<WakeBy>) -> QemuFleet {
    let folder = Folder::of(home, "shop");
    folder.remove().unwrap();
    let setup = Setup {
        id: "1".to_owned(),
        home: home.root().to_owned(),
        plan: plan(),
        lifetime: Lifetime::UntilDown,
        keep_logs: None,
        pcap: None,
        boot: BTreeMap::new(),
        identity: "1".to_owned(),
        restored,
        frames: Vec::new(),
        volumes: Volumes::of(home, "shop", Lifetime::UntilDown, folder.root()),
        made: Made::Some,
    };
    folder.create(&setup, None).unwrap();
    folder.write_setup(&setup).unwrap();
    let record = FleetRecord {
        id: setup.id,
        name: "shop".to_owned(),
        folder: folder.root().to_owned(),
        lifetime: setup.lifetime,
        creator: ProcessId::current().unwrap(),
        supervisor: None,
        created_at: String::new(),
        images: BTreeSet::new(),
    };
    let (lease, _) = StdUnixStream::pair().unwrap();
    let mut supervisor = std::process::Command::new("true").spawn().unwrap();
    supervisor.wait().unwrap();
    let store = Store::open(home).unwrap();
    QemuFleet::open(home.clone(), store, record, Some(Owner { lease, supervisor })).unwrap()
}

#[tokio::test]
async fn a_snapshot_whose_fleet_does_not_become_ready_is_dropped() {
    // Without a QEMU there are no snapshots.
    let Some(key) = key(&plan()) else { return };
    let dir = tempfile::tempdir().unwrap();
    let home = Home::at(dir.path());
    let store = Store::open(&home).unwrap();
    create_private_dir(&store.snapshot_dir(&key)).unwrap();

    let node = &plan().nodes[0];
    let late = async |fleet: QemuFleet| {
        let waited = fleet.wait_ready(node, Instant::now()).await;
        assert!(matches!(waited, Err(FleetError::NotReady { .. })), "{waited:?}");
        store.snapshot(&key).is_some()
    };
    assert!(late(fleet(&home, None)).await, "it was booted");
    // What a fault did to it later says nothing about what it came from.
    let was_ready = fleet(&home, Some(WakeBy::Port));
    was_ready.proven().insert(node.name.clone());
    assert!(late(was_ready).await, "it was ready before");
    assert!(!late(fleet(&home, Some(WakeBy::Port))).await, "the next fleet would come to the same");
    // It is gone already.
    assert!(!late(fleet(&home, Some(WakeBy::Port))).await);
}
