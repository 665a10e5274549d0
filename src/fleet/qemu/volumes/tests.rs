use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use gpt::mbr::ProtectiveMBR;
use gpt::partition_types::{EFI, LINUX_FS};

use super::*;
use crate::fleet::ledger::{FleetRecord, Ledger, heal};
use crate::fleet::plan::NodePlan;
use crate::fleet::process::ProcessId;
use crate::fleet::qemu::folder::{Folder, Setup};
use crate::store::Manifest;

/// A home whose store has one image, with an empty root.
struct Site {
    _dir: tempfile::TempDir,
    home: Home,
    store: Store,
    image: ImageId,
}

const DISK_BYTES: u64 = 40 << 20;

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let store = Store::open(&home).unwrap();
        let image = ImageId::from_hash(blake3::hash(b"image"));
        let folder = store.root().join("images").join(image.as_str());
        fs::create_dir_all(&folder).unwrap();
        let disk = folder.join("disk.raw");
        let mut file = File::create_new(&disk).unwrap();
        file.set_len(DISK_BYTES).unwrap();
        let sectors = u32::try_from(DISK_BYTES / 512 - 1).unwrap();
        ProtectiveMBR::with_lb_size(sectors).overwrite_lba0(&mut file).unwrap();
        let mut table = gpt::GptConfig::new().writable(true).create_from_device(file, None).unwrap();
        table.add_partition("esp", 1 << 20, EFI, 0, None).unwrap();
        table.add_partition("root", 32 << 20, LINUX_FS, 0, None).unwrap();
        let root = table.partitions()[&2].first_lba * 512;
        table.write().unwrap();
        let mkfs = std::process::Command::new("mkfs.ext4")
            .args(["-q", "-F", "-E", &format!("offset={root}")])
            .arg(&disk)
            .arg("32768k")
            .status();
        assert!(mkfs.unwrap().success());
        fs::write(folder.join("vmlinuz"), "").unwrap();
        let manifest = Manifest { disk_bytes: DISK_BYTES, ..Manifest::blank(image.clone(), "db") };
        fs::write(folder.join("manifest.json"), serde_json::to_vec(&manifest).unwrap()).unwrap();
        Site { _dir: dir, home, store, image }
    }

    fn plan(&self, nodes: u8, megabytes: u64) -> FleetPlan {
        let node = |index: u8| NodePlan {
            name: format!("db-{index}"),
            role: "db".to_owned(),
            index,
            zone: "a".to_owned(),
            address: Ipv4Addr::new(10, 77, 0, 10 + index),
            image: self.image.clone(),
            memory: Size(64 << 20),
            cpus: 1,
            disk: Size(1 << 30),
            ready: None,
            files: Vec::new(),
            volumes: vec![VolumePlan {
                name: "data".to_owned(),
                size: Size(megabytes << 20),
                mount: "/lost+found".to_owned(),
            }],
        };
        FleetPlan { name: "shop".to_owned(), nodes: (1..=nodes).map(node).collect() }
    }

    fn volumes(&self) -> Volumes {
        Volumes::of(&self.home, "shop", Lifetime::UntilDown, Path::new("/nowhere"))
    }

    fn prepare(&self, plan: &FleetPlan, origin: Origin<'_>) -> Result<Made, VolumeError> {
        let made = self.volumes().missing(plan);
        self.volumes().prepare(plan, &self.store, origin).map(|()| made)
    }
}

#[test]
fn volumes_are_made_once_and_grow() {
    let site = Site::new();
    assert!(site.volumes().are_fresh());
    let plan = site.plan(1, 16);
    assert_eq!(site.prepare(&plan, Origin::Empty).unwrap(), Made::All);
    let disk = site.volumes().disk("db-1", &plan.nodes[0].volumes[0]);
    let before = fs::read(&disk).unwrap();
    // The directory that it goes on belongs to root and is for nobody else.
    assert_eq!(before.len(), 16 << 20);

    assert_eq!(site.prepare(&plan, Origin::Empty).unwrap(), Made::Some);
    assert!(fs::read(&disk).unwrap() == before, "it was written to");
    assert_eq!(site.prepare(&site.plan(2, 32), Origin::Empty).unwrap(), Made::Some);
    let sizes: Vec<String> = (list(&site.home).unwrap().iter())
        .map(|volume| format!("{}/{} {}", volume.fleet, volume.name, volume.record.size))
        .collect();
    assert_eq!(sizes, ["shop/db-1.data 32M", "shop/db-2.data 32M"]);
    assert_eq!(fs::metadata(&disk).unwrap().len(), 32 << 20);
    let smaller = site.prepare(&plan, Origin::Empty).unwrap_err().to_string();
    let expected = "the volume `db-1.data` is for 16M, but it has 32M already, and volumes do not shrink";
    assert_eq!(smaller, expected);
}

#[test]
fn what_was_half_made_never_counts() {
    let site = Site::new();
    let left = site.home.volumes().join(".shop.new/db-1.data");
    create_private_dir(&left).unwrap();
    fs::write(left.join(DISK), "half").unwrap();
    assert!(site.volumes().are_fresh());
    assert_eq!(unfinished(&site.home).unwrap(), ["shop"]);
    assert_eq!(site.prepare(&site.plan(1, 16), Origin::Empty).unwrap(), Made::All);
    assert_eq!(unfinished(&site.home).unwrap(), [""; 0]);
    create_private_dir(&left).unwrap();
    assert!(sweep(&site.home, "shop").unwrap());
    assert!(!sweep(&site.home, "shop").unwrap());
    assert_eq!(list(&site.home).unwrap().len(), 1);
}

#[test]
fn a_snapshot_brings_back_what_was_there() {
    let site = Site::new();
    let plan = site.plan(2, 16);
    let snapshots = VolumeSnapshots::of(&site.home);
    assert!(matches!(snapshots.save(&site.home, "shop", "monday"), Err(VolumeError::NoVolumes(_))));
    site.prepare(&plan, Origin::Empty).unwrap();
    let disk = site.volumes().disk("db-1", &plan.nodes[0].volumes[0]);
    let then = fs::read(&disk).unwrap();
    snapshots.save(&site.home, "shop", "monday").unwrap();
    let again = snapshots.save(&site.home, "shop", "monday");
    assert!(matches!(again, Err(VolumeError::SnapshotExists(_))));
    assert_eq!(snapshots.list().unwrap()["monday"].volumes.len(), 2);

    remove_of(&site.home, "shop", Some("db-2.data")).unwrap();
    assert!(matches!(remove_of(&site.home, "shop", Some("x")), Err(VolumeError::NoSuchVolume(_))));
    assert_eq!(list(&site.home).unwrap().len(), 1);
    remove_of(&site.home, "shop", None).unwrap();
    assert!(site.volumes().are_fresh());
    assert_eq!(site.prepare(&plan, Origin::VolumeSnapshot(&snapshots, "monday")).unwrap(), Made::All);
    assert!(fs::read(&disk).unwrap() == then, "it is not what was saved");
    remove_of(&site.home, "shop", None).unwrap();
    let missing = site.prepare(&site.plan(3, 16), Origin::VolumeSnapshot(&snapshots, "monday"));
    assert_eq!(missing.unwrap_err().to_string(), "the snapshot `monday` has no volume `db-3.data`");
    assert_eq!(unfinished(&site.home).unwrap(), [""; 0], "what was made before that is gone");
    assert!(site.volumes().are_fresh(), "a part of them is there");
    snapshots.remove("monday").unwrap();
    assert!(matches!(snapshots.get("monday"), Err(VolumeError::NoSuchSnapshot(_))));
}

#[test]
fn volumes_of_a_fleet_whose_creator_died_before_any_machine_ran_go_with_it() {
    let site = Site::new();
    let plan = site.plan(1, 16);
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let dead = ProcessId::of(child.id()).unwrap();
    child.wait().unwrap();
    // A fleet of which this is known, and with these volumes, dies.
    let healed = |supervisor: Option<ProcessId>| {
        let folder = Folder::of(&site.home, "shop");
        let setup = Setup {
            id: "1".to_owned(),
            home: site.home.root().to_owned(),
            plan: plan.clone(),
            lifetime: Lifetime::UntilDown,
            keep_logs: None,
            pcap: None,
            boot: BTreeMap::new(),
            identity: "1".to_owned(),
            restored: None,
            frames: Vec::new(),
            volumes: site.volumes(),
            made: site.volumes().missing(&plan),
        };
        let record = FleetRecord {
            id: setup.id.clone(),
            name: "shop".to_owned(),
            folder: folder.root().to_owned(),
            lifetime: setup.lifetime,
            creator: dead.clone(),
            supervisor,
            created_at: String::new(),
            images: Default::default(),
        };
        Ledger::of(&site.home).begin(record).unwrap();
        fs::create_dir_all(folder.root()).unwrap();
        folder.write_setup(&setup).unwrap();
        site.volumes().prepare(&plan, &site.store, Origin::Empty).unwrap();
        (heal(&site.home).unwrap(), list(&site.home).unwrap().len())
    };
    let rest = "removed what was left of the fleet `shop`".to_owned();
    let gone = "removed the volumes of the fleet `shop`, which it never had".to_owned();
    assert_eq!(healed(None), (vec![gone, rest.clone()], 0));
    // Its machines may have written to them.
    assert_eq!(healed(Some(dead.clone())), (vec![rest.clone()], 1));
    // Those of an earlier fleet of that name are not this one's to lose.
    assert_eq!(healed(None), (vec![rest], 1));
}
