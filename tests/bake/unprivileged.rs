//! Without root: the same image, and nothing left that only root could remove.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::oven::{Kitchen, home, json, unprivileged_home};

#[test]
fn root_and_others_bake_the_same_image() {
    let kitchen = Kitchen::new();
    kitchen.recipe(
        "owned",
        "files:\n  - { path: /srv/page, content: hello, owner: 'www-data:www-data', mode: '0600' }\n\
         run:\n  - command: rm -r /etc/ssh/sshd_config.d; mkdir /etc/ssh/sshd_config.d; install -d -o games /srv/d; id -u > /srv/id\n\
         test:\n  - test \"$(stat -c %U /srv/page)\" = www-data && test -z \"$(ls /etc/ssh/sshd_config.d)\"\n  - test \"$(cat /srv/id)\" = 0\n",
    );
    let ours = kitchen.bake("owned");
    let theirs = json(kitchen.run_unprivileged(&["--json", "bake", "owned"]));
    assert_eq!(ours["id"], theirs["id"]);
    let again = json(kitchen.run_unprivileged(&["--json", "bake", "owned"]));
    assert_eq!(again["reused"], true);
    if rustix::process::geteuid().is_root() {
        let id = ours["id"].as_str().expect("an id");
        let disk = |home: std::path::PathBuf| home.join("store/images").join(id).join("disk.raw");
        let (one, other) = (disk(home()), disk(unprivileged_home()));
        let same = std::process::Command::new("cmp").args([&one, &other]).output().expect("cmp");
        assert!(same.status.success(), "{}", String::from_utf8_lossy(&same.stdout));
        // What belongs to other users of the image belongs to ids of nobody's own.
        let layers = theirs["layers"].as_array().expect("a list").iter();
        let tree = |layer: &serde_json::Value| {
            unprivileged_home().join("store/layers").join(layer.as_str().expect("an id")).join("tree")
        };
        let owners: Vec<u32> =
            layers.filter_map(|layer| Some(fs::metadata(tree(layer).join("srv/page")).ok()?.uid())).collect();
        assert_eq!(owners, [1_000_000 + 33 - 1]);
    }
    crate::common::run(&home(), ["images", "remove", "owned"]).exits(0);
    kitchen.run_unprivileged(&["images", "remove", "owned"]).exits(0);
    let left = crate::common::everything_below(&unprivileged_home().join("store/tmp"));
    assert!(left.is_empty(), "left: {left:?}");
}

#[test]
fn a_store_belongs_to_one_user() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let kitchen = Kitchen::new();
    kitchen.recipe("foreign", "run: [{ command: 'true' }]\n");
    json(kitchen.run_unprivileged(&["--json", "bake", "base"]));
    let mut command = kitchen.command(&["bake", "foreign"]);
    let said = command.env("OVENPROOF_HOME", unprivileged_home()).output().expect("the tool starts");
    let said = crate::common::Said::from(said).exits(2);
    assert!(said.stderr.contains("belongs to user 65534"), "{}", said.stderr);
}
