//! Images as AMIs: uploaded once, found again, copied, shared, and nothing left of what was killed.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use aws_sdk_ec2::types::{BootModeValues, Image, ImageAttributeName, Snapshot};
use ovenproof::home::Home;
use ovenproof::store::{ImageId, Manifest, Store};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{self, Said, everything_below};
use crate::moto::{Moto, REGION, SECRET};

const BLOCK: u64 = 512 << 10;

/// A home with an image `tiny` of 64 MiB, of which `blocks` blocks hold something.
pub(crate) fn home(blocks: u64) -> (TempDir, ImageId) {
    let folder = tempfile::tempdir().expect("a folder");
    let id = ImageId::from_hash(blake3::hash(format!("an image of {blocks} blocks").as_bytes()));
    let store = Store::open(&Home::at(folder.path())).expect("a store");
    let dir = store.root().join("images").join(id.as_str());
    fs::create_dir_all(&dir).expect("a folder");
    let disk = File::create(dir.join("disk.raw")).expect("a disk");
    disk.set_len(64 << 20).expect("a length");
    for block in 0..blocks {
        disk.write_all_at(&block.to_le_bytes(), block * BLOCK + 8 * block).expect("written");
        disk.write_all_at(b"something", block * BLOCK + 70_000).expect("written");
    }
    File::create(dir.join("vmlinuz")).expect("a kernel");
    let mut manifest = Manifest::blank(id.clone(), "tiny");
    manifest.disk_bytes = 64 << 20;
    manifest.stored_bytes = blocks * 8192;
    let text = serde_json::to_vec(&manifest).expect("a manifest");
    fs::write(dir.join("manifest.json"), text).expect("written");
    let name = store.root().join("names/tiny");
    fs::create_dir_all(&name).expect("a folder");
    fs::write(name.join("latest"), id.as_str()).expect("written");
    (folder, id)
}

pub(crate) fn run(moto: &Moto, home: &Path, arguments: &[&str]) -> Said {
    let said: Said = moto.ovenproof(home).args(arguments).output().expect("the tool starts").into();
    assert!(!said.stdout.contains(SECRET) && !said.stderr.contains(SECRET), "a secret was printed");
    said
}

fn publish(moto: &Moto, home: &Path, more: &[&str]) -> Value {
    let arguments = ["--json", "images", "publish", "tiny", "--on", "ec2"];
    let said = run(moto, home, &[&arguments, more].concat()).exits(0);
    serde_json::from_str(&said.stdout).expect("a document")
}

/// What the account holds in a region.
pub(crate) fn account(moto: &Moto, region: &str) -> (Vec<Image>, Vec<Snapshot>) {
    let client = moto.client(region);
    tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
        let images = client.describe_images().owners("self").send().await.expect("images");
        let snapshots = client.describe_snapshots().owner_ids("self").send().await.expect("snapshots");
        (images.images().to_vec(), snapshots.snapshots().to_vec())
    })
}

/// The accounts that may launch an AMI.
fn shared_with(moto: &Moto, ami: &str) -> Vec<String> {
    let client = moto.client(REGION);
    let call =
        client.describe_image_attribute().image_id(ami).attribute(ImageAttributeName::LaunchPermission);
    let answer =
        tokio::runtime::Runtime::new().expect("a runtime").block_on(call.send()).expect("an attribute");
    let allowed = answer.launch_permissions().iter();
    allowed.filter_map(|permission| permission.user_id().map(str::to_owned)).collect()
}

fn tag<'a>(image: &'a Image, key: &str) -> Option<&'a str> {
    image.tags().iter().find(|tag| tag.key() == Some(key))?.value()
}

pub(crate) fn assert_no_secret_below(home: &Path) {
    for path in everything_below(home) {
        if path.is_file() && path.extension().is_none_or(|kind| kind != "raw") {
            let bytes = fs::read(&path).expect("read");
            let found = bytes.windows(SECRET.len()).any(|piece| piece == SECRET.as_bytes());
            assert!(!found, "a secret in {}", path.display());
        }
    }
}

#[test]
fn an_image_becomes_an_ami_once_and_is_found_by_its_id_ever_after() {
    let moto = Moto::start();
    let (home, id) = home(40);
    let first = publish(&moto, home.path(), &["--share", "123456789012", "--deprecate", "90d"]);
    assert_eq!(first["published"][0]["reused"], false, "{first}");
    let (images, snapshots) = account(&moto, REGION);
    assert_eq!((images.len(), snapshots.len()), (1, 1), "{images:#?} {snapshots:#?}");
    let ami = &images[0];
    assert_eq!(ami.image_id(), first["published"][0]["ami"].as_str());
    assert_eq!(tag(ami, "ovenproof:image"), Some(id.as_str()));
    assert_eq!(tag(ami, "ovenproof:expires"), None, "what is whole has no end");
    assert_eq!(ami.boot_mode(), Some(&BootModeValues::Uefi));
    assert!(ami.deprecation_time().is_some());
    assert_eq!(shared_with(&moto, ami.image_id().expect("an id")), ["123456789012"]);
    let snapshot = &snapshots[0];
    assert!(snapshot.tags().iter().any(|tag| tag.value() == Some(id.as_str())));
    assert!(snapshot.tags().iter().all(|tag| tag.key() != Some("ovenproof:expires")));

    let again = publish(&moto, home.path(), &["--region", REGION, "--region", "us-west-2"]);
    assert_eq!(again["published"][0]["ami"], first["published"][0]["ami"]);
    assert_eq!(again["published"][0]["reused"], true);
    assert_eq!(again["published"][1]["reused"], false);
    assert_eq!(account(&moto, REGION).1.len(), 1, "nothing was uploaded again");
    let (copies, snapshots) = account(&moto, "us-west-2");
    assert_eq!((copies.len(), snapshots.len()), (1, 1));
    assert_eq!(tag(&copies[0], "ovenproof:image"), Some(id.as_str()));
    assert_eq!(tag(&copies[0], "ovenproof:expires"), None);
    let third = publish(&moto, home.path(), &["--region", "us-west-2"]);
    assert_eq!(third["published"][0]["reused"], true);
    assert_no_secret_below(home.path());
}

#[test]
fn an_image_that_is_gone_takes_its_ami_with_it_but_not_in_a_dry_run() {
    let moto = Moto::start();
    let (home, id) = home(2);
    publish(&moto, home.path(), &[]);
    let kept = run(&moto, home.path(), &["images", "gc", "--ec2"]).exits(0);
    assert_eq!(account(&moto, REGION).0.len(), 1, "{}", kept.stdout);
    let store = Store::open(&Home::at(home.path())).expect("a store");
    store.remove(&id).expect("removed");
    let said = run(&moto, home.path(), &["images", "gc", "--ec2", "--dry-run"]).exits(0);
    assert!(said.stdout.contains("would remove the AMI ami-"), "{}", said.stdout);
    assert_eq!(account(&moto, REGION).0.len(), 1);
    run(&moto, home.path(), &["images", "gc", "--ec2"]).exits(0);
    let (images, snapshots) = account(&moto, REGION);
    assert!(images.is_empty() && snapshots.is_empty(), "{images:#?} {snapshots:#?}");
}

#[test]
fn the_policy_allows_our_calls_and_tags_nothing_that_is_there_already() {
    let home = tempfile::tempdir().expect("a folder");
    let said = common::run(home.path(), ["schema", "iam-policy"]).exits(0);
    insta::assert_snapshot!("iam_policy", said.stdout);
}
