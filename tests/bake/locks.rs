//! Lock files, and the cache of packages, while the archive moves on.

use std::fs;

use serde_json::Value;

use crate::archive::Archive;
use crate::oven::{Kitchen, home, json};

/// Version of a package in the image of a recipe.
fn version(kitchen: &Kitchen, image: &str, package: &str) -> String {
    let shown = json(kitchen.run(&["--json", "images", "show", image]));
    let packages = shown["manifest"]["packages"].as_array().expect("packages").iter();
    let found = packages.clone().find(|found| found["name"] == package).expect("it is installed");
    found["version"].as_str().expect("a version").to_owned()
}

/// Forgets an image and the layers that only it has.
fn forget(kitchen: &Kitchen, image: &Value, shared: &Value) {
    let shared = shared["layers"].as_array().expect("layers");
    for layer in image["layers"].as_array().expect("layers").iter().filter(|layer| !shared.contains(layer)) {
        let path = home().join("store/layers").join(layer.as_str().expect("an id"));
        fs::remove_dir_all(path).expect("a layer");
    }
    kitchen.run(&["images", "remove", image["name"].as_str().expect("a name")]).exits(0);
}

#[test]
fn a_lock_holds_while_the_archive_moves_on() {
    let (kitchen, archive) = (Kitchen::new(), Archive::open());
    archive.publish(&[("oven-tea", "1.0")]);
    // What an earlier run of this test has downloaded.
    for entry in fs::read_dir(home().join("cache/apt/archives")).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("oven-") {
            fs::remove_file(entry.path()).expect("a package");
        }
    }
    let source = archive.source();
    kitchen.recipe(
        "local",
        &format!("files:\n  - {{ path: /etc/apt/sources.list.d/local.list, content: \"{source}\\n\" }}\n"),
    );
    let tea = |packages: &str| {
        kitchen.put("images/tea.yaml", &format!("name: tea\nfrom: local\npackages: {packages}\n"));
    };
    tea("[oven-tea]");
    let lock = || fs::read_to_string(kitchen.path("images/tea.lock")).unwrap_or_default();
    kitchen.run(&["bake", "tea", "--locked"]).exits(2);
    let first = kitchen.bake("tea");
    let local = kitchen.bake("local");
    assert_eq!(archive.downloaded(), ["oven-tea_1.0_all.deb"]);
    assert!(lock().ends_with("- request: ['oven-tea']\n  packages:\n  - oven-tea 1.0 all\n"), "{}", lock());
    assert!(kitchen.path("images/base.lock").is_file());
    assert!(!kitchen.path("images/local.lock").exists(), "it installs nothing itself");
    assert_eq!(kitchen.bake("tea")["reused"], true);

    // Without a lock file it is known what it came to; a second recipe finds the package in the cache.
    fs::remove_file(kitchen.path("images/tea.lock")).expect("the lock");
    assert_eq!(kitchen.bake("tea")["id"], first["id"]);
    kitchen.put("images/other.yaml", "name: other\nfrom: local\nrun: [{ command: 'true' }]\n");
    kitchen.put("images/tea-two.yaml", "name: tea-two\nfrom: other\npackages: [oven-tea]\n");
    let two = kitchen.bake("tea-two");
    assert_eq!(archive.downloaded(), [""; 0]);
    forget(&kitchen, &two, &local);

    // The archive moves on; the cache has the old version.
    archive.publish(&[("oven-tea", "1.1"), ("oven-cup", "2")]);
    forget(&kitchen, &first, &local);
    let again = json(kitchen.run(&["--json", "bake", "tea", "--locked"]));
    assert_eq!((&again["id"], &again["reused"]), (&first["id"], &Value::Bool(false)));
    assert_eq!(version(&kitchen, "tea", "oven-tea"), "1.0");

    // Another package: what was there stays, and the lock is not the whole truth.
    tea("[oven-tea, oven-cup]");
    let said = kitchen.run(&["bake", "tea", "--locked"]).exits(2);
    assert!(said.stderr.contains("was made for other packages"), "{}", said.stderr);
    let more = json(kitchen.run(&["--json", "bake", "tea"]));
    assert_eq!(version(&kitchen, "tea", "oven-tea"), "1.0");
    assert_eq!(more["locks"][0]["changes"], serde_json::json!(["+ oven-cup 2"]));

    // Nobody has the old version any more: an error, not another image under the same lock.
    forget(&kitchen, &more, &local);
    fs::remove_file(home().join("cache/apt/archives/oven-tea_1.0_all.deb")).expect("in the cache");
    let said = kitchen.run(&["bake", "tea"]).exits(4);
    assert!(
        said.stderr.contains("oven-tea 1.0 -> 1.1") && said.stderr.contains("--update"),
        "{}",
        said.stderr
    );
    let said = kitchen.run(&["bake", "tea", "--update"]).exits(0);
    assert!(said.stderr.contains("oven-tea 1.0 -> 1.1"), "{}", said.stderr);
    assert!(lock().contains("oven-tea 1.1 all") && lock().contains("oven-cup 2 all"), "{}", lock());
    kitchen.run(&["bake", "tea", "--locked"]).exits(0);
    for image in ["tea", "local"] {
        kitchen.run(&["images", "remove", image]).exits(0);
    }
}
