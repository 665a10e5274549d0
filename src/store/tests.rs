use super::*;

struct Bench {
    store: Store,
    _dir: tempfile::TempDir,
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&Home::at(dir.path())).unwrap();
    Bench { store, _dir: dir }
}

fn id(start: &str) -> ImageId {
    format!("{start:0<64}").parse().unwrap()
}

impl Bench {
    fn add(&self, name: &str, id: &ImageId, baked_at: &str) -> Image {
        let work = self.store.begin_image(id).unwrap();
        let part = work.dir().join("image");
        fs::create_dir(&part).unwrap();
        fs::write(part.join("disk.raw"), "disk").unwrap();
        fs::write(part.join("vmlinuz"), "kernel").unwrap();
        fs::write(part.join("files.jsonl"), "").unwrap();
        let manifest = Manifest {
            layers: vec!["l1".to_owned()],
            kernel_cmdline: "root=PARTUUID=x rw".to_owned(),
            disk_bytes: 4,
            stored_bytes: 4,
            digests: Digests {
                disk: digest::sparse_digest(&part.join("disk.raw")).unwrap(),
                kernel: blake3::hash(b"kernel").to_hex().to_string(),
                initrd: None,
                files: blake3::hash(b"").to_hex().to_string(),
            },
            baked_at: baked_at.to_owned(),
            ..Manifest::blank(id.clone(), name)
        };
        fs::write(part.join("manifest.json"), serde_json::to_vec(&manifest).unwrap()).unwrap();
        let image = self.store.publish_image(id, work, &part).unwrap();
        self.store.set_latest(name, id).unwrap();
        image
    }
}

#[test]
fn an_image_is_found_by_name_id_prefix_and_channel() {
    let bench = bench();
    bench.add("etcd", &id("aaaa1"), "2026-01-01T00:00:00Z");
    bench.add("etcd", &id("aaaa2"), "2026-01-02T00:00:00Z");
    let store = &bench.store;
    assert_eq!(store.resolve("etcd").unwrap().id(), &id("aaaa2"));
    assert_eq!(store.resolve("aaaa1").unwrap().id(), &id("aaaa1"));
    let evidence = serde_json::json!({ "run": 7 });
    store.promote("etcd", "stable", &id("aaaa1"), &evidence).unwrap();
    assert_eq!(store.resolve("etcd:stable").unwrap().id(), &id("aaaa1"));
    assert_eq!(store.channels("etcd").unwrap()["stable"].evidence, evidence);
    let again = store.promote("etcd", "stable", &id("aaaa2"), &evidence).unwrap();
    assert_eq!(again.previous, Some(id("aaaa1")));
}

#[test]
fn what_cannot_be_found_is_told_apart() {
    let bench = bench();
    bench.add("etcd", &id("aaaa1"), "2026-01-01T00:00:00Z");
    bench.add("web", &id("aaaa2"), "2026-01-01T00:00:00Z");
    let refuse = |reference: &str| bench.store.resolve(reference).unwrap_err();
    assert!(matches!(refuse("etdc"), StoreError::NoSuchImage { close, .. } if close == ["etcd"]));
    assert!(matches!(refuse("aaaa"), StoreError::Ambiguous { candidates, .. } if candidates.len() == 2));
    assert!(matches!(refuse("aaa"), StoreError::NoSuchImage { .. }), "too short for a prefix");
    assert!(matches!(refuse("etcd:stable"), StoreError::NoSuchChannel { known, .. } if known.is_empty()));
    assert!(matches!(refuse("../x:stable"), StoreError::BadName(_)));
    assert!(matches!(refuse("../x"), StoreError::NoSuchImage { .. }));
}

#[test]
fn damage_is_named_and_spares_the_others() {
    let bench = bench();
    let broken = bench.add("web", &id("bbbb1"), "2026-01-01T00:00:00Z");
    let short = bench.add("app", &id("cccc1"), "2026-01-01T00:00:00Z");
    bench.add("etcd", &id("aaaa1"), "2026-01-01T00:00:00Z");
    fs::write(Image::manifest_path(&broken.dir), "{ half").unwrap();
    fs::write(short.disk(), "dis").unwrap();
    assert!(matches!(bench.store.resolve("web").unwrap_err(), StoreError::Damaged { .. }));
    assert!(matches!(bench.store.resolve("app").unwrap_err(), StoreError::Damaged { .. }));
    let names: Vec<String> =
        bench.store.list().unwrap().into_iter().map(|image| image.manifest.name).collect();
    assert_eq!(names, ["etcd"]);
}

#[test]
fn removing_moves_the_name_to_the_newest_one_left() {
    let bench = bench();
    for (start, day) in [("aaaa1", 1), ("aaaa2", 2), ("aaaa3", 3)] {
        bench.add("etcd", &id(start), &format!("2026-01-0{day}T00:00:00Z"));
    }
    bench.store.promote("etcd", "stable", &id("aaaa3"), &serde_json::Value::Null).unwrap();
    let refused = bench.store.remove(&id("aaaa3")).unwrap_err();
    assert!(matches!(refused, StoreError::Pinned { channel, .. } if channel == "etcd:stable"));
    bench.store.promote("etcd", "stable", &id("aaaa2"), &serde_json::Value::Null).unwrap();
    bench.store.remove(&id("aaaa3")).unwrap();
    assert_eq!(bench.store.resolve("etcd").unwrap().id(), &id("aaaa2"));
    bench.store.promote("etcd", "stable", &id("aaaa1"), &serde_json::Value::Null).unwrap();
    bench.store.remove(&id("aaaa2")).unwrap();
    assert_eq!(bench.store.resolve("etcd").unwrap().id(), &id("aaaa1"));
}

#[test]
fn removing_the_last_image_removes_its_name() {
    let bench = bench();
    bench.add("etcd", &id("aaaa1"), "2026-01-01T00:00:00Z");
    bench.store.remove(&id("aaaa1")).unwrap();
    assert!(matches!(bench.store.resolve("etcd").unwrap_err(), StoreError::NoSuchImage { .. }));
    assert!(bench.store.names().unwrap().is_empty());
}

#[test]
fn garbage_is_what_no_name_no_channel_and_no_fleet_needs() {
    let bench = bench();
    let store = &bench.store;
    for (start, day) in [("aaaa1", 1), ("aaaa2", 2), ("aaaa3", 3), ("aaaa4", 4)] {
        bench.add("etcd", &id(start), &format!("2026-01-0{day}T00:00:00Z"));
    }
    for layer in ["l1", "l2"] {
        fs::create_dir_all(store.layer_dir(layer).join("tree")).unwrap();
        fs::write(store.layer_dir(layer).join("tree/file"), vec![1; 10_000]).unwrap();
    }
    store.promote("etcd", "stable", &id("aaaa1"), &serde_json::Value::Null).unwrap();
    fs::create_dir_all(store.root().join("tmp/dead")).unwrap();
    let garbage = store.garbage(&[id("aaaa2")].into()).unwrap();
    let images: Vec<_> = garbage.images.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(images, [id("aaaa3")]);
    assert_eq!((garbage.layers.as_slice(), garbage.unfinished), (&["l2".to_owned()] as &[_], 1));
    assert!(garbage.bytes >= 10_000, "{}", garbage.bytes);
    assert_eq!(store.list().unwrap().len(), 4, "looking removes nothing");
    store.collect(&garbage).unwrap();
    assert!(store.garbage(&[id("aaaa2")].into()).unwrap().is_empty());
    assert_eq!((store.list().unwrap().len(), store.layers().unwrap()), (3, vec!["l1".to_owned()]));
}

#[test]
fn what_shares_its_bytes_with_something_that_stays_frees_none() {
    let bench = bench();
    let old = bench.add("etcd", &id("aaaa1"), "2026-01-01T00:00:00Z");
    let new = bench.add("etcd", &id("aaaa2"), "2026-01-02T00:00:00Z");
    fs::write(old.disk(), vec![1; 1 << 20]).unwrap();
    let alone = bench.store.garbage(&Default::default()).unwrap().bytes;
    fs::remove_file(new.disk()).unwrap();
    fs::hard_link(old.disk(), new.disk()).unwrap();
    let shared = bench.store.garbage(&Default::default()).unwrap().bytes;
    assert_eq!(alone - shared, 1 << 20);
}

#[test]
fn who_collects_garbage_waits_for_who_bakes() {
    let bench = bench();
    let (first, second) = (bench.store.in_use().unwrap(), bench.store.in_use().unwrap());
    let (told, waits) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let alone = scope.spawn(|| bench.store.alone(move || told.send(()).unwrap()).map(drop));
        waits.recv().unwrap();
        assert!(!alone.is_finished());
        drop((first, second));
        alone.join().unwrap().unwrap();
    });
}

#[test]
fn a_changed_byte_is_found_wherever_it_is() {
    let bench = bench();
    let image = bench.add("etcd", &id("aaaa1"), "2026-01-01T00:00:00Z");
    bench.store.check_image(image.id()).unwrap();
    for (path, other) in [(image.disk(), "disc"), (image.kernel(), "kernal"), (image.files_path(), "x")] {
        let before = fs::read(&path).unwrap();
        fs::write(&path, other).unwrap();
        let error = bench.store.check_image(image.id()).unwrap_err();
        assert!(matches!(&error, StoreError::Damaged { path: at, .. } if *at == path), "{error}");
        fs::write(&path, before).unwrap();
    }
    bench.store.check_image(image.id()).unwrap();
    assert!(bench.store.dangling().unwrap().is_empty());
    bench.store.promote("etcd", "stable", image.id(), &serde_json::Value::Null).unwrap();
    bench.store.discard_damaged(image.id()).unwrap();
    let dangling = bench.store.dangling().unwrap();
    let what: Vec<_> = dangling.iter().map(|(kind, name, _)| (*kind, name.as_str())).collect();
    assert_eq!(what, [("name", "etcd"), ("channel", "etcd:stable")]);
}
