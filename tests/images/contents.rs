//! What is said of an image: manifest, files, bill of materials, and how two of them differ.

use std::fs;
use std::process::Command;

use ovenproof::home::Home;
use ovenproof::store::Store;
use serde_json::{Value, json};

use crate::common;
use crate::homes::{Copy, baked};

#[test]
fn the_manifest_says_what_went_in_and_what_came_out() {
    baked("web");
    let copy = Copy::new();
    let manifest = &copy.ask(&["images", "show", "web"])["manifest"];
    let inputs = manifest["inputs"].as_array().expect("inputs");
    assert_eq!(inputs[0]["work"]["base"]["suite"], "bookworm");
    assert!(inputs.iter().any(|input| input["work"]["packages"] == serde_json::json!(["nginx-light"])));
    let kernel = manifest["kernel"].as_str().expect("a kernel");
    assert!(kernel.ends_with("-cloud-amd64"), "{kernel}");
    let files = copy.ask(&["images", "show", "web", "--files"]);
    let file = |path: &str| files.as_array().expect("files").iter().find(|file| file["path"] == path);
    let site = file("/etc/nginx/sites-available/default").expect("the site");
    let template = fs::read(common::root().join("templates/web-site.conf")).expect("the template");
    assert_eq!(site["digest"], blake3::hash(&template).to_hex().as_str());
    assert_eq!((&site["uid"], &site["mode"]), (&0.into(), &0o644.into()));
    assert_eq!(file("/etc/machine-id").expect("an empty file")["size"], 0);
    assert!(file("/etc/ssh/ssh_host_ed25519_key").is_none());
    let listed = copy.run(&["images", "show", "web", "--files"]).exits(0);
    assert!(listed.stdout.contains("/bin -> usr/bin\n"), "{}", listed.stdout);
}

#[test]
fn the_bill_of_materials_is_valid_by_the_standards_own_schema() {
    baked("web");
    let copy = Copy::new();
    let text = copy.run(&["images", "show", "web", "--sbom"]).exits(0).stdout;
    let bill: Value = serde_json::from_str(&text).expect("JSON");
    let named = |name: &str| {
        let components = bill["components"].as_array().expect("components");
        components.iter().filter(|component| component["name"] == name).count()
    };
    assert_eq!((named("nginx-light"), named("libc6")), (1, 1));
    let file = copy.home().join("bill.json");
    fs::write(&file, text).expect("a file");
    let validate = common::root().join("tests/fixtures/cyclonedx/validate.py");
    // Debian's own, where its modules are.
    let said = Command::new("/usr/bin/python3").arg(validate).arg(&file).output().expect("python3");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}

#[test]
fn two_images_differ_by_what_was_added() {
    baked("base");
    baked("web");
    let copy = Copy::new();
    let diff = copy.ask(&["images", "diff", "base", "web"]);
    let names = |what: &Value| {
        let members = what.as_array().expect("a list").clone();
        members.into_iter().filter_map(|member| Some(member["name"].as_str()?.to_owned())).collect::<Vec<_>>()
    };
    assert!(names(&diff["packages"]["added"]).contains(&"nginx-light".to_owned()));
    assert!(names(&diff["packages"]["removed"]).is_empty());
    assert_eq!(diff["kernel"], Value::Null);
    let said = copy.run(&["images", "diff", "web", "base"]).exits(0).stdout;
    for line in ["  - /usr/sbin/nginx\n", "  ~ /var/lib/dpkg/status (content)\n", "kernel command line\n"] {
        assert!(said.contains(line), "{line} is not in\n{said}");
    }
    let same = copy.run(&["images", "diff", "web", "web"]).exits(0).stdout;
    assert_eq!(same, "the images hold the same\n");
}

#[test]
fn an_image_shows_what_moved_a_channel_to_it() {
    let id = baked("base");
    let copy = Copy::new();
    let store = Store::open(&Home::at(copy.home())).expect("a store");
    let id = id.parse().expect("an id");
    let run = json!({ "run": "r-1", "scenario": "boots", "seed": 7, "verdict": "pass" });
    store.promote("base", "proven", &id, &json!({ "runs": [&run] })).expect("a channel");

    let said = copy.run(&["images", "show", "base"]).exits(0).stdout;
    assert!(said.lines().any(|line| line.starts_with("channels ") && line.contains("proven")), "{said}");
    assert!(said.contains("\nproven    since 20"), "{said}");
    assert!(said.contains("\n          pass  boots, seed 7, run r-1\n"), "{said}");
    let shown = copy.ask(&["images", "show", "base"]);
    assert_eq!(shown["promotions"]["proven"]["evidence"]["runs"][0], run);
}

#[test]
fn an_exported_disk_holds_the_same_in_every_format() {
    baked("base");
    let copy = Copy::new();
    let disk = copy.ask(&["images", "show", "base"])["dir"].as_str().expect("a folder").to_owned();
    let disk = format!("{disk}/disk.raw");
    for format in ["raw", "qcow2", "vmdk"] {
        let target = copy.home().join(format!("base.{format}"));
        let target = target.to_str().expect("a plain path");
        fs::write(target, "what was there before").expect("a file");
        copy.run(&["images", "export", "base", "--format", format, "-o", target]).exits(0);
        let compared = Command::new("qemu-img").args(["compare", "-F", format, &disk, target]).output();
        let compared = compared.expect("qemu-img");
        assert!(compared.status.success(), "{format}: {}", String::from_utf8_lossy(&compared.stdout));
        fs::remove_file(target).expect("gone");
    }
    let nowhere = copy.home().join("nowhere/base.raw");
    copy.run(&["images", "export", "base", "-o", nowhere.to_str().expect("a plain path")]).exits(4);
    copy.run(&["images", "export", "base", "-o", copy.home().to_str().expect("a plain path")]).exits(4);
}
