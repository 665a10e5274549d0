//! What goes, what stays, and what is found damaged.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::common;
use crate::homes::{Copy, baked, recipe};

/// Replaces a file, which may be a link to one that others use.
fn replace(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("a file");
    change(&mut bytes);
    fs::remove_file(path).expect("removed");
    fs::write(path, bytes).expect("written");
}

/// The folder of a layer of this kind that the image was made of.
fn layer(copy: &Copy, image: &str, kind: &str) -> PathBuf {
    let shown = copy.ask(&["images", "show", image]);
    let inputs = shown["manifest"]["inputs"].as_array().expect("inputs").clone();
    let input = inputs.iter().find(|input| input["work"].get(kind).is_some()).expect("the layer");
    copy.store().join("layers").join(input["layer"].as_str().expect("an id"))
}

#[test]
fn damage_is_found_named_dropped_and_made_again() {
    let id = baked("base");
    let copy = Copy::tidy();
    copy.run(&["images", "fsck"]).exits(0);
    let kernel = copy.store().join("images").join(&id).join("vmlinuz");
    replace(&kernel, |bytes| bytes[100] ^= 1);
    let files = layer(&copy, "base", "files");
    let name = files.file_name().and_then(|name| name.to_str()).expect("an id").to_owned();
    replace(&files.join("tree/etc/sysctl.d/50-panic.conf"), |bytes| bytes.push(b'#'));

    let said = copy.run(&["images", "fsck"]).exits(1);
    assert!(said.stdout.contains(&format!("damaged image {}", &id[..12])), "{}", said.stdout);
    assert!(said.stdout.contains(&format!("damaged layer {}", &name[..12])), "{}", said.stdout);
    assert!(files.exists(), "looking removes nothing");
    copy.run(&["images", "fsck", "--repair"]).exits(0);
    assert!(!files.exists() && !kernel.exists());
    let again = copy.ask(&["bake", "images/base.yaml"]);
    assert_eq!((&again["id"], &again["reused"]), (&json!(id), &json!(false)));
    copy.run(&["images", "fsck"]).exits(0);
}

#[test]
fn what_nobody_needs_goes_and_a_bake_under_way_is_waited_for() {
    baked("base");
    let copy = Copy::tidy();
    let folder = tempfile::tempdir().expect("a folder");
    let files = |content: &str| format!("files:\n  - path: /etc/kept\n    content: {content}\n");
    let bake = |content: &str| {
        copy.ask(&["bake", &recipe(folder.path(), "kept", &files(content))])["id"]
            .as_str()
            .expect("an id")
            .to_owned()
    };
    let (old, new) = (bake("old"), bake("new"));
    let removed = |said: &Value| said["removed"]["images"].as_array().expect("images").clone();
    let would = copy.ask(&["images", "gc", "--dry-run"]);
    assert_eq!(removed(&would), [json!([old, "kept"])]);
    copy.run(&["images", "show", &old]).exits(0);
    // The recipe and the lock files beside it stand for the old one again.
    recipe(folder.path(), "kept", &files("old"));
    assert_eq!(removed(&copy.ask(&["images", "gc", "--dry-run"])), [json!(null); 0]);
    recipe(folder.path(), "kept", &files("new"));

    // A bake that has looked at its layers and takes its time.
    let steps = "run:\n  - command: '[ -e /etc/ovenproof-never ] || sleep 86399'\n";
    let path = recipe(folder.path(), "slow", steps);
    let mut baking = common::ovenproof(copy.home());
    baking.args(["bake", &path]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut baking = baking.spawn().expect("the tool");
    let mut progress = BufReader::new(baking.stderr.take().expect("its progress")).lines();
    progress
        .find(|line| line.as_ref().is_ok_and(|line| line.starts_with("base")))
        .expect("a layer")
        .expect("text");
    let mut collecting = common::ovenproof(copy.home());
    collecting.args(["images", "gc"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut collecting = collecting.spawn().expect("the tool");
    let mut told = BufReader::new(collecting.stderr.take().expect("its progress")).lines();
    let line = told.next().expect("a line").expect("text");
    assert!(line.contains("waiting for a bake"), "{line}");
    assert!(collecting.try_wait().expect("its state").is_none());
    baking.kill().expect("killed");
    baking.wait().expect("its end");

    let said = common::Said::from(collecting.wait_with_output().expect("its end")).exits(0);
    assert!(said.stdout.contains(&format!("removed image {} kept", &old[..12])), "{}", said.stdout);
    assert!(said.stdout.contains("removed 1 pieces of unfinished work"), "{}", said.stdout);
    copy.run(&["images", "show", &old]).exits(2);
    copy.run(&["images", "show", &new]).exits(0);
    copy.run(&["images", "fsck"]).exits(0);
    assert_eq!(copy.run(&["images", "gc"]).exits(0).stdout, "nothing to remove\n");
    let reused = copy.ask(&["bake", "images/base.yaml"]);
    assert_eq!(reused["reused"], true);
}
